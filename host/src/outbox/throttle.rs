//! `send_interval`: what is sent now, later, gathered or dropped; pure.
