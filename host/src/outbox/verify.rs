//! The conservation law, checked.
