//! The harness of the acceptance tests: everything is seen from outside, through the binary, its files and its
//! conversations. Nothing here links against the product.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a harness says that something is wrong by panicking"
)]

pub mod env;
pub mod event;
pub mod exposition;
pub mod guest;
pub mod http;
pub mod mail;
pub mod postfix;
pub mod process;
pub mod sink;
pub mod site;
pub mod tools;
pub mod velociraptor;
pub mod wait;

pub use env::{Daemon, TestEnv};
pub use sink::{Action, Phase, SinkBuilder, SmtpSink};
pub use site::Site;
pub use wait::{budget, wait_for, wait_until};
