//! Which events are known.

use std::collections::HashSet;

use sqlx::{QueryBuilder, Sqlite};

use super::OutboxError;
use super::store::Outbox;
use crate::event::EventKey;

impl Outbox {
    /// Which of these keys are known already, so that nothing is composed in vain.
    ///
    /// # Errors
    /// What the database says.
    pub async fn known(&self, keys: &[EventKey]) -> Result<HashSet<EventKey>, OutboxError> {
        // Bound values, not JSON: a key with a NUL in it must not be taken for a shorter one.
        const GROUP: usize = 200;
        let mut known = HashSet::new();
        for group in keys.chunks(GROUP) {
            let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
                "SELECT org_id, client_id, flow_id, timestamp FROM event
                 WHERE (org_id, client_id, flow_id, timestamp) IN (VALUES ",
            );
            let mut rows = query.separated(", ");
            for key in group {
                rows.push("(");
                rows.push_bind_unseparated(&key.org_id);
                rows.push_unseparated(", ");
                rows.push_bind_unseparated(&key.client_id);
                rows.push_unseparated(", ");
                rows.push_bind_unseparated(&key.flow_id);
                rows.push_unseparated(", ");
                rows.push_bind_unseparated(key.timestamp);
                rows.push_unseparated(")");
            }
            rows.push_unseparated(")");
            let rows: Vec<(String, String, String, i64)> = query.build_query_as().fetch_all(self.readers()).await?;
            known.extend(rows.into_iter().map(|(org_id, client_id, flow_id, timestamp)| EventKey {
                org_id,
                client_id,
                flow_id,
                timestamp,
            }));
        }
        Ok(known)
    }
}
