//! Plugins for Bewit, in Rust: a filter has a say in whether a mail is sent, a renderer shows result rows its own way.
//!
//! A filter is one short function:
//!
//! ```
//! use bewit_plugin::prelude::*;
//!
//! struct Vip;
//!
//! impl Filter for Vip {
//!     fn decide(&self, event: &Event) -> Answer {
//!         if event.labels.iter().any(|label| label == "vip") { keep("A VIP's machine.") } else { abstain() }
//!     }
//! }
//!
//! export_filter!(Vip);
//! ```
//!
//! The package's name, version and description are the plugin's. It is a `cdylib` for `wasm32-unknown-unknown`;
//! `bewit plugin build` builds it and makes the component. What a plugin can rely on stands in the WIT package
//! `bewit:plugin`, of which the folder `wit` of this crate is a copy.
//!
//! - Settings: implement [`Plugin`] too, and export with `export_filter!(Name: Plugin)`.
//! - Rows: [`Event::rows`] streams them.
//! - Renderers: [`Renderer`], [`Fragment`] and [`export_renderer!`].
//! - Tests: [`testing`] stands in for the host, so that `cargo test` runs where you are.

#[doc(hidden)]
pub mod bindings;

mod answer;
mod event;
mod export;
mod fragment;
mod host;
pub mod log;
mod plugin;
mod rows;
pub mod testing;

#[doc(hidden)]
pub use export::Instance;

pub use answer::{Answer, Failure, IntoNotes, abstain, discard, force, keep, reject, retry};
pub use bindings::filter::exports::bewit::plugin::filter::Verdict;
pub use bindings::imports::bewit::plugin::types::{Event, Note, Source, Tone};
pub use fragment::{
    Alignment, Attachment, Badge, Bar, Bars, Block, Code, Column, Fact, Fragment, Image, Rendered, Table,
};
pub use host::{file, now, rule};
pub use plugin::{Filter, NoSettings, Plugin, Problem, Problems, Renderer, Setting};
pub use rows::{Row, Rows, RowsError, Typed};

/// Everything that a plugin usually needs.
pub mod prelude {
    pub use crate::{
        Answer, Event, Failure, Filter, Fragment, Note, Plugin, Problem, Problems, Rendered, Renderer, Row, Rows,
        Setting, Source, Table, Tone, Verdict, abstain, discard, export_filter, export_plugin, export_renderer, file,
        force, keep, log, now, reject, retry, rule,
    };
    pub use serde::Deserialize;
}
