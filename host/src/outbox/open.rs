//! Opening an outbox: where it may lie, what SQLite must be and be set to, schema, integrity, and what a crash left.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::OutboxError;
use super::db::{Conn, On, query, query_as};
use super::sql::{Trouble, trouble};
use crate::blob::sync_folder;

/// `PRAGMA application_id` of an outbox: "Bewi".
const APPLICATION_ID: i64 = 0x4265_7769;

/// Steps of the schema; `PRAGMA user_version` counts those that were made. Each runs in one transaction; once released,
/// none is ever changed.
const STEPS: [&str; 5] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
];

/// The schema this program writes.
#[allow(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub(super) const SCHEMA: i64 = STEPS.len() as i64;

/// SQLite before it can lose committed writes when a checkpoint meets a writer in WAL mode.
const OLDEST: (u32, u32, u32) = (3, 51, 3);

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);

/// A database up to this size is read whole when it is opened; of a larger one, the tables that delivery lives on.
const CHECKED_WHOLE: u64 = 64 * 1024 * 1024;

/// A file beside the database, named after it.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The folder of the blobs of a database.
#[must_use]
pub fn blob_folder(database: &Path) -> PathBuf {
    beside(database, ".blobs")
}

/// The folder that a database lies in.
pub(super) fn folder(database: &Path) -> PathBuf {
    match database.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// An [`OutboxError::Unusable`].
pub(super) fn unusable(path: &Path, reason: impl Into<String>) -> OutboxError {
    OutboxError::Unusable { path: path.to_owned(), reason: reason.into() }
}

/// What to tell people of a damaged database.
pub(super) fn damaged(path: &Path, detail: impl std::fmt::Display) -> OutboxError {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    unusable(
        path,
        format!(
            "the database is damaged ({detail}). Stop bewit, keep a copy of {name}, {name}-wal and {name}.blobs, then put \
             a backup in their place, or move them away to start with an empty outbox: what was still queued in it must \
             then be looked for in the copy"
        ),
    )
}

/// An error of SQLite's while opening, with what to do if it is damage.
pub(super) fn opening(path: &Path, error: sqlx::Error) -> OutboxError {
    match trouble(&error) {
        Trouble::Damaged => damaged(path, error),
        Trouble::Storage => unusable(path, format!("cannot be opened: {error}")),
        _ => OutboxError::Database(error),
    }
}

/// Makes folder and file if they are not there, and looks at what is there before SQLite may change it.
pub(super) fn prepare(path: &Path) -> Result<(), OutboxError> {
    let folder = folder(path);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| unusable(path, format!("its folder cannot be made: {error}")))?;
    if let Some(name) = super::space::network_file_system(&folder)? {
        return Err(unusable(
            path,
            format!("{name} is a network file system, on which SQLite loses data: put the outbox on a local disk"),
        ));
    }
    match File::options().read(true).write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            // SQLite syncs the folder for its journals, not for the database itself.
            file.sync_all()?;
            sync_folder(&folder)?;
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unusable(path, format!("cannot be made: {error}"))),
    }
    let cannot = |error: io::Error| unusable(path, format!("cannot be opened: {error}"));
    let meta = fs::metadata(path).map_err(cannot)?;
    if !meta.is_file() {
        return Err(unusable(path, "is no file"));
    }
    File::options().read(true).write(true).open(path).map_err(cannot)?;
    look_at_header(path)?;
    // Mails are nobody else's business.
    if meta.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    }
    Ok(())
}

/// Refuses what is no SQLite database, or one of another program's (<https://www.sqlite.org/fileformat.html>, 1.3).
pub(super) fn look_at_header(path: &Path) -> Result<(), OutboxError> {
    let mut header = Vec::with_capacity(100);
    File::open(path)
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .map_err(|error| unusable(path, format!("cannot be opened: {error}")))?;
    if header.is_empty() {
        return Ok(());
    }
    if !header.starts_with(b"SQLite format 3\0") || header.len() < 100 {
        return Err(damaged(path, "it does not begin as an SQLite database"));
    }
    let application = header.get(68..72).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(u32::from_be_bytes);
    // Zero while the first transaction is in the write-ahead log alone; asked again after opening.
    if application.is_some_and(|id| id != 0 && i64::from(id) != APPLICATION_ID) {
        return Err(unusable(path, "is a database of another program"));
    }
    Ok(())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .disable_statement_logging()
        .pragma("mmap_size", "0")
        .pragma("temp_store", "MEMORY")
}

/// A connection that writes.
pub(super) fn writing(path: &Path) -> SqliteConnectOptions {
    options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("secure_delete", "FAST")
        .pragma("cache_size", "-16384")
        // Checkpoints are the writer's own, since SQLite keeps the errors of its automatic ones to itself.
        .pragma("wal_autocheckpoint", "0")
}

/// A connection that only reads.
pub(super) fn reading(path: &Path) -> SqliteConnectOptions {
    options(path).read_only(true).pragma("query_only", "ON").pragma("cache_size", "-4096")
}

/// Opens the connection that writes, with everything about it checked, and the schema brought up to date.
pub(super) async fn connect(path: &Path) -> Result<Conn, OutboxError> {
    let mut options = writing(path);
    if fs::metadata(path)?.len() == 0 {
        // Only a new file takes these.
        options = options.page_size(8192).auto_vacuum(SqliteAutoVacuum::Incremental);
    }
    let mut conn = Conn::Sqlite(options.connect().await.map_err(|error| opening(path, error))?);
    settle(&mut conn, path).await?;
    // SQLite syncs the folder when it makes its log there, but does not look whether that worked.
    sync_folder(&folder(path))?;
    Ok(conn)
}

async fn settle(conn: &mut Conn, path: &Path) -> Result<(), OutboxError> {
    let (version,): (String,) = query_as("SELECT sqlite_version()").fetch_one(&mut *conn).await?;
    if !new_enough(&version) {
        return Err(unusable(
            path,
            format!("SQLite {version} can lose committed data; this program must be built with 3.51.3 or newer"),
        ));
    }
    migrate(conn, path).await?;
    for (pragma, wanted) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
        ("secure_delete", "2"),
        ("wal_autocheckpoint", "0"),
        ("busy_timeout", "5000"),
    ] {
        let got = pragma_text(conn, pragma).await.map_err(|error| opening(path, error))?;
        if got != wanted {
            return Err(unusable(path, format!("SQLite keeps `{pragma}` at {got} instead of {wanted}")));
        }
    }
    Ok(())
}

/// A pragma's value as text.
async fn pragma_text(conn: &mut Conn, pragma: &str) -> Result<String, sqlx::Error> {
    use sqlx::{Row, ValueRef};
    let On::Sqlite(conn) = conn.into() else { return Ok(String::new()) };
    let row = sqlx::query(AssertSqlSafe(format!("PRAGMA {pragma}"))).fetch_one(conn).await?;
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(String::new());
    }
    match row.try_get::<i64, _>(0) {
        Ok(number) => Ok(number.to_string()),
        Err(_) => row.try_get::<String, _>(0),
    }
}

fn new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next()) >= OLDEST
}

/// Brings the schema up to date: each step with its number in one transaction.
async fn migrate(conn: &mut Conn, path: &Path) -> Result<(), OutboxError> {
    let fail = |error| opening(path, error);
    let mut version = schema_version(conn, path).await?;
    if version == SCHEMA {
        return Ok(());
    }
    let start = usize::try_from(version).unwrap_or(0);
    for step in STEPS.iter().skip(start) {
        version += 1;
        let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}");
        let script = [*step, ";", &stamp].concat();
        conn.begin().await.map_err(fail)?;
        // On an error the connection is dropped, and with it the transaction.
        conn.script(script).await.map_err(fail)?;
        conn.commit().await.map_err(fail)?;
        crate::fault::point("after_migrate");
    }
    // So that the file itself says from now on what it is.
    conn.raw("PRAGMA wal_checkpoint(TRUNCATE)").await.map_err(fail)?;
    Ok(())
}

/// The schema of an open database: 0 for a new one. Refuses what is none of ours, or of a newer program.
pub(super) async fn schema_version(conn: &mut Conn, path: &Path) -> Result<i64, OutboxError> {
    let (application, version, tables): (i64, i64, i64) = query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
                (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(|error| opening(path, error))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, 1..=SCHEMA) => Ok(version),
        (APPLICATION_ID, _) if version > SCHEMA => Err(unusable(
            path,
            format!("was written by a newer bewit (schema {version}, this one knows {SCHEMA}): run that one"),
        )),
        _ => Err(unusable(path, "is a database of another program")),
    }
}

/// Reads a small database whole, and of a large one the tables that delivery lives on.
pub(super) async fn check_integrity(conn: &mut Conn, path: &Path) -> Result<(), OutboxError> {
    const WHOLE: &[&str] = &["PRAGMA quick_check(1)"];
    const PARTS: &[&str] = &[
        "PRAGMA quick_check('recipient')",
        "PRAGMA quick_check('postponed')",
        "PRAGMA quick_check('tally')",
        "PRAGMA quick_check('throttle')",
        "PRAGMA quick_check('position')",
    ];
    let checks = if fs::metadata(path)?.len() <= CHECKED_WHOLE { WHOLE } else { PARTS };
    for check in checks {
        let (answer,): (String,) =
            query_as(*check).fetch_one(&mut *conn).await.map_err(|error| opening(path, error))?;
        if answer != "ok" {
            return Err(damaged(path, answer.replace('\n', "; ")));
        }
    }
    Ok(())
}

/// Puts back what a crash left claimed: before the final dot into the queue; after it by the configuration. Answers
/// how many were put back and held.
pub(super) async fn recover(conn: &mut Conn, hold_ambiguous: bool, now: i64) -> Result<(u64, u64), sqlx::Error> {
    crate::fault::point("before_recover");
    conn.begin().await?;
    let found = put_back(conn, hold_ambiguous, now).await;
    if found.is_ok() {
        conn.commit().await?;
    } else {
        let _ = conn.rollback().await;
    }
    found
}

async fn put_back(conn: &mut Conn, hold_ambiguous: bool, now: i64) -> Result<(u64, u64), sqlx::Error> {
    const LOST: &str = "the process ended before the server's reply to the final dot";
    query(
        "INSERT INTO attempt (recipient, at, outcome, reply)
         SELECT id, $1, CASE WHEN $2 THEN 'held' ELSE 'interrupted' END, $3 FROM recipient WHERE state = 'in_data'",
    )
    .bind(now)
    .bind(hold_ambiguous)
    .bind(LOST)
    .execute(&mut *conn)
    .await?;
    let held = if hold_ambiguous {
        query(
            "UPDATE recipient SET state = 'held', attempts = attempts + 1, reason = $2, updated = $1
             WHERE state = 'in_data'",
        )
        .bind(now)
        .bind(LOST)
        .execute(&mut *conn)
        .await?
        .rows_affected()
    } else {
        0
    };
    // `updated` is the time of the claim: they keep their place before what came later.
    let queued = query(
        "UPDATE recipient SET attempts = attempts + CASE WHEN state = 'in_data' THEN 1 ELSE 0 END, state = 'queued',
           next_at = updated
         WHERE state IN ('sending', 'in_data')",
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    Ok((queued, held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, good) in [
            ("3.51.2", false),
            ("3.51.3", true),
            ("3.51.10", true),
            ("3.52", true),
            ("3.40.1", false),
            ("4.0.0", true),
            ("", false),
            ("3.51", false),
        ] {
            assert_eq!(new_enough(version), good, "{version}");
        }
    }

    #[tokio::test]
    async fn a_file_that_was_made_but_not_furnished_is_furnished_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bewit.db");
        prepare(&path).unwrap();
        // As far as a crash lets it come: the settings are in the file, the schema is not.
        let options = writing(&path).page_size(8192).auto_vacuum(SqliteAutoVacuum::Incremental);
        sqlx::Connection::close(options.connect().await.unwrap()).await.unwrap();
        assert!(fs::metadata(&path).unwrap().len() > 0);
        prepare(&path).unwrap();
        let mut conn = connect(&path).await.unwrap();
        for (pragma, wanted) in [("page_size", "8192"), ("auto_vacuum", "2"), ("user_version", "5")] {
            assert_eq!(pragma_text(&mut conn, pragma).await.unwrap(), wanted, "{pragma}");
        }
        conn.close().await.unwrap();
    }

    #[test]
    fn names_beside() {
        assert_eq!(blob_folder(Path::new("/var/lib/bewit/bewit.db")), Path::new("/var/lib/bewit/bewit.db.blobs"));
        assert_eq!(folder(Path::new("bewit.db")), Path::new("."));
        assert_eq!(folder(Path::new("/bewit.db")), Path::new("/"));
    }
}
