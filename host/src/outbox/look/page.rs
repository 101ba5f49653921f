//! Lists in pieces: the newest first, from a row on, never all of it.

use crate::outbox::OutboxError;

/// Entries of a page, about.
pub const PAGE: usize = 25;

/// Rows that are looked at for one page. If they do not fill it, it says from where to look on.
pub const LOOKED_AT: usize = 2000;

/// Rows that are read at a time.
pub(super) const AT_A_TIME: usize = 100;

/// A piece of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// What to ask for next: rows before this one; `None`: this is the end of the list.
    pub next: Option<i64>,
    /// Whether it is short because [`LOOKED_AT`] rows were looked at, not because there are no more.
    pub cut: bool,
}

/// Fills a page. `some` answers at most so many candidates before a row, newest first, each with its row, those that
/// are not wanted as `None`; fewer than asked for: there are no more.
pub(super) async fn fill<T, F>(before: Option<i64>, mut some: F) -> Result<Page<T>, OutboxError>
where
    F: AsyncFnMut(i64, usize) -> Result<Vec<(i64, Option<T>)>, OutboxError>,
{
    let mut page = Page { items: Vec::new(), next: None, cut: false };
    let mut before = before.unwrap_or(i64::MAX);
    let mut looked_at = 0;
    loop {
        let found = some(before, AT_A_TIME).await?;
        let last = found.len() < AT_A_TIME;
        for (row, item) in found {
            // A row may have several entries: they stay together.
            if page.items.len() >= PAGE && row != before {
                page.next = Some(before);
                return Ok(page);
            }
            before = row;
            looked_at += 1;
            page.items.extend(item);
        }
        if last {
            return Ok(page);
        }
        if looked_at >= LOOKED_AT {
            page.next = Some(before);
            page.cut = page.items.len() < PAGE;
            return Ok(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of the rows 1 to `rows`, of which every `wanted`th is wanted.
    async fn page(rows: i64, wanted: i64, before: Option<i64>) -> Page<i64> {
        fill(before, async |before, most| {
            let all = (1..=rows).rev().filter(|row| *row < before).take(most);
            Ok(all.map(|row| (row, (row % wanted == 0).then_some(row))).collect())
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn pages_follow_each_other_without_a_gap() {
        for (rows, wanted) in [(0, 1), (1, 1), (25, 1), (26, 1), (100, 1), (201, 3), (5000, 700), (3000, 5000)] {
            let (mut all, mut before, mut pages) = (Vec::new(), None, 0);
            loop {
                let found = page(rows, wanted, before).await;
                assert!(found.items.len() <= PAGE);
                assert_eq!(found.cut, found.next.is_some() && found.items.len() < PAGE);
                all.extend(found.items);
                pages += 1;
                match found.next {
                    Some(next) => before = Some(next),
                    None => break,
                }
            }
            let wanted: Vec<i64> = (1..=rows).rev().filter(|row| row % wanted == 0).collect();
            assert_eq!(all, wanted);
            assert!(pages <= 1 + wanted.len() / PAGE + usize::try_from(rows).unwrap() / LOOKED_AT, "{rows}: {pages}");
        }
    }
}
