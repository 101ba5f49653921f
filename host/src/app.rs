//! The composition root: builds a snapshot, connects intake, decisions, composing, outbox and delivery, runs, reloads
//! and stops them.
