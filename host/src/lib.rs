//! Bewit hears of an event (first of all: a Velociraptor flow has completed), decides by rules whether somebody must
//! know, writes the mail, and does not let go of it until a mail server has taken it.
//!
//! ```text
//! intake ─▶ examine ─▶ gather ─▶ decide ─▶ judge ─▶ compose ─▶ commit ─▶ deliver ─▶ record
//! ```
//!
//! Data flows in that direction only. [`event`] and [`rule`] are pure; [`compose`] reads result rows and writes
//! attachments through the handles it is given; [`outbox`] is the one place that remembers; [`delivery`] is the one
//! place that talks to a mail server. `ARCHITECTURE.md` has the map.

pub mod app;
pub mod blob;
pub mod cli;
pub mod compose;
pub mod config;
pub mod delivery;
pub mod digests;
pub mod event;
pub mod facts;
pub mod fault;
pub mod findings;
pub mod fragment;
mod guests;
pub mod intake;
pub mod judge;
pub mod lint;
pub mod locale;
pub mod mail;
pub mod meter;
pub mod outbox;
pub mod pipeline;
pub mod plugin;
pub mod postponed;
pub mod publish;
pub mod reload;
pub mod rule;
pub mod simulate;
pub mod snapshot;
pub mod text;
mod token;
pub mod velociraptor;
pub mod watch;
pub mod web;
