//! Small things that every statement needs: times, lists of ids, texts for people, and what an error means.

use std::fmt::Write;

use jiff::Timestamp;

use crate::rule::Priority;
use crate::text::{ELLIPSIS, clean};

/// Bytes of a reply or reason that are kept.
pub(super) const REPLY_LIMIT: usize = 2048;

/// Unix milliseconds, as times are stored.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// A stored time.
pub(super) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// When the next mail is due. The index has the priority first: three looks at its three beginnings.
pub(super) const NEXT_DUE: &str = "SELECT min(at) FROM (
    SELECT min(next_at) AS at FROM recipient WHERE priority = 0 AND next_at IS NOT NULL
    UNION ALL SELECT min(next_at) FROM recipient WHERE priority = 1 AND next_at IS NOT NULL
    UNION ALL SELECT min(next_at) FROM recipient WHERE priority = 2 AND next_at IS NOT NULL) AS first";

/// A priority as it is stored: the first to go has the least.
pub(super) fn rank(priority: Priority) -> i64 {
    priority as i64
}

/// A stored priority.
pub(super) fn priority(rank: i64) -> Priority {
    Priority::ALL.into_iter().find(|priority| *priority as i64 == rank).unwrap_or_default()
}

/// A stored number that is never below zero, and far from the end.
pub(super) fn number(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(if stored < 0 { 0 } else { u32::MAX })
}

/// Row ids as a JSON array, for `json_each`: one statement for any number of rows.
pub(super) fn ids(all: impl IntoIterator<Item = i64>) -> String {
    let mut text = String::from("[");
    for id in all {
        if text.len() > 1 {
            text.push(',');
        }
        let _ = write!(text, "{id}");
    }
    text.push(']');
    text
}

/// A stranger's text for storage, clean and on one line: at most [`REPLY_LIMIT`] bytes, line breaks as ` / `.
pub(super) fn kept(text: &str) -> String {
    // What would be cut off in the end is not looked at.
    let head = text.get(..text.floor_char_boundary(REPLY_LIMIT)).unwrap_or_default();
    let mut out = clean(head.trim_end_matches(['\r', '\n', ' '])).replace('\n', " / ").replace('\t', " ");
    if out.len() > REPLY_LIMIT || head.len() < text.len() {
        // Room for the ellipsis, which has three bytes.
        out.truncate(out.floor_char_boundary(REPLY_LIMIT - ELLIPSIS.len_utf8()));
        out.push(ELLIPSIS);
    }
    out
}

/// What an error of SQLite's means for those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No space; nothing was stored; may heal.
    Full,
    /// Another process writes; may heal.
    Busy,
    /// The file is no database, or a damaged one.
    Damaged,
    /// A read, write or sync failed, or it cannot be known what is on disk: never tried again.
    Storage,
    /// The statement's own fault.
    Statement,
}

/// Sorts an error by SQLite's result code (<https://www.sqlite.org/rescode.html>).
pub(super) fn trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
            match (code & 0xff, code) {
                // SQLITE_FULL; SQLITE_IOERR_SHMSIZE is what a full disk looks like to the WAL index.
                (13, _) | (_, 4874) => Trouble::Full,
                // SQLITE_BUSY, SQLITE_LOCKED
                (5 | 6, _) => Trouble::Busy,
                // SQLITE_CORRUPT, SQLITE_NOTADB
                (11 | 26, _) => Trouble::Damaged,
                // SQLITE_PERM, NOMEM, READONLY, IOERR, CANTOPEN, PROTOCOL
                (3 | 7 | 8 | 10 | 14 | 15, _) => Trouble::Storage,
                _ => Trouble::Statement,
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => Trouble::Storage,
        _ => Trouble::Statement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_json() {
        assert_eq!(ids([]), "[]");
        assert_eq!(ids([1, -2, i64::MAX]), format!("[1,-2,{}]", i64::MAX));
    }

    #[test]
    fn replies_are_legible_and_short() {
        assert_eq!(kept("250-one\r\n250 two\r\n"), "250-one / 250 two");
        assert_eq!(kept("a\0b\x1b[31m\u{202e}c\u{7f}\u{85}"), "a␀b␛[31m[U+202E]c␡[U+0085]");
        for text in
            ["x".repeat(5000), "ä".repeat(5000), "\u{202e}".repeat(5000), "\n".repeat(5000) + "x", "x\n".repeat(5000)]
        {
            let short = kept(&text);
            assert!(short.len() <= REPLY_LIMIT, "{}", short.len());
            assert!(short.ends_with('…'));
        }
    }

    #[test]
    fn times_are_read_back() {
        let now = Timestamp::from_millisecond(1_753_900_000_123).unwrap();
        assert_eq!(timestamp(millis(now)), now);
        assert_eq!(timestamp(i64::MAX), Timestamp::MAX);
        assert_eq!(timestamp(i64::MIN), Timestamp::MIN);
    }
}
