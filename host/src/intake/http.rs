//! `POST /v1/events`: JSON Lines over HTTP, acknowledged after the commit.
