//! A Velociraptor server, asked over its gRPC API: who we are ([`credentials`]), how it is reached (`connect`), what a
//! query is and what comes back ([`client`]), what a completion becomes ([`completion`]), what can go wrong ([`error`]), and
//! the queries themselves ([`queries`]).
//!
//! Nothing outside this folder names a type of gRPC. What a row means is the business of whoever asked.

#[cfg(test)]
mod artifacts_tests;
pub mod client;
pub mod completion;
mod connect;
pub mod credentials;
pub mod error;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "`cargo xtask proto` makes it")]
mod proto;
pub mod queries;
pub mod validity;
