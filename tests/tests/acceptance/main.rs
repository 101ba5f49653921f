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
mod lint;
mod mail;
mod main_job;
mod metrics;
mod outbox;
mod peers;
mod plugins;
mod polite;
mod reload;
mod rules;
mod sandbox;
mod simulate;
mod smtp;
mod spool;
mod studio;
mod templates;
mod tls_auth;
mod top;
mod velociraptor_client;
mod velociraptor_facts;
mod velociraptor_tools;
mod velociraptor_watch;
