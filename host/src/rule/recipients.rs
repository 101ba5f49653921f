//! Whom to tell: listed recipients, then the executor, then the address in the client's metadata.
