//! Splitting a stream of bytes into lines, without holding an over-long one.
