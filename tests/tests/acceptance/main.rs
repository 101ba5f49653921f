//! Bewit seen from outside: one test binary, a module for each topic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test says that something is wrong by panicking"
)]

mod cli;
mod crash;
mod doubt;
mod hostile;
mod http;
mod limits;
mod mail;
mod main_job;
mod outbox;
mod peers;
mod plugins;
mod reload;
mod rules;
mod sandbox;
mod smtp;
mod spool;
mod templates;
mod tls_auth;
