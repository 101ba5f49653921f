//! Which events are known.

use std::collections::HashSet;

use super::OutboxError;
use super::db::with_rows;
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
            let head = "SELECT org_id, client_id, flow_id, timestamp FROM event
                 WHERE (org_id, client_id, flow_id, timestamp) IN (";
            let query = with_rows((head, ")"), group, |values, key| {
                values
                    .push_bind(&key.org_id)
                    .push_bind(&key.client_id)
                    .push_bind(&key.flow_id)
                    .push_bind(key.timestamp);
            });
            let rows: Vec<(String, String, String, i64)> = query.fetch_all(self.readers()).await?;
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
