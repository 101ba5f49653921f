//! Digests: what fell inside `send_interval`, gathered into one mail.
