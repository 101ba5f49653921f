//! A Velociraptor server in the test's own process, as its API shows itself: mutual TLS, queries answered out of a
//! [`World`] that the test fills, and whatever may go wrong on the way, by script.
//!
//! ```no_run
//! # use acceptance::velociraptor::{At, Cut, FakeVelociraptor, Fault, Kind, User, When};
//! # use std::time::Duration;
//! let server = FakeVelociraptor::builder().second(Duration::from_millis(20)).start();
//! let file = server.api_file("api.config.yaml", User::Good); // as `config api_client` writes it
//! server.fault(Kind::Watch, When::Chance(0.5, 7), Fault::Disconnect(At::InRow(0..=50), Cut::Reset));
//! // … start Bewit, wait until `server.world().watchers("root", "System.Flow.Completion") == 1` …
//! for (client, flow) in server.world().add_flows("root", 10, 0, 1000) {
//!     server.world().complete("root", &client, &flow);
//! }
//! // … wait for the decisions …
//! assert_eq!(server.count(Kind::Flows), 1000);
//! server.assert_clean(); // every query understood, and no id in a query's text
//! ```
//!
//! Streams behave as a real server's do: log lines of their own, parts of `max_row` rows that go out when one more row
//! comes or `max_wait` is over, errors of VQL as log lines on a stream that ends well.
//!
//! What it is not: a VQL engine. It tells by the plugin what a query is for, works out its SELECT list, WHERE and
//! arguments, and complains of what it does not know. Whoever needs another answer puts a script in front
//! ([`FakeVelociraptor::script`]).

mod answers;
mod eval;
mod faults;
pub mod flow;
mod identity;
mod line;
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated")]
#[rustfmt::skip]
mod proto;
mod record;
mod server;
mod service;
mod stream;
#[cfg(test)]
mod tests;
mod vql;
mod world;

pub use answers::{Asked, Item, Kind};
pub use faults::{At, Cut, Fault, InForce, Random, When};
pub use flow::Flow;
pub use identity::{ApiFile, Leaf, SERVER_NAME, User};
pub use proto::PushEventRequest;
pub use record::Recorded;
pub use server::{Builder, FakeVelociraptor};
pub use service::Reply;
pub use stream::Beat;
pub use tonic::Code;
pub use world::{COMPLETIONS, Event, ROOT, World};
