//! The view model: what a template sees. Every text in it is clean (controls made visible), none of it is escaped.

use serde::{Deserialize, Serialize};

/// Everything a template of a flow completion can name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct View {}
