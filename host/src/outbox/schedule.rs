//! When to try again: the retry list, its jitter, and giving up; pure.
