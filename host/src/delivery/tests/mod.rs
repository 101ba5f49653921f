//! Delivery against scripted servers in this process, over pipes: no ports, and no real time where a clock can be paused.

mod deadlines;
mod flow;
mod login;
mod mailbox;
mod memory;
mod outage;
mod polite;
mod support;
mod transactions;
