//! One way to ask SQLite and PostgreSQL: connections, statements and values of either.
//!
//! Statements are written once. `$1` names a value on both; where the two differ, PostgreSQL's schema has functions under
//! SQLite's names (`json_each`, `json_valid`, …, see `schema/postgres/`), and [`Conn::kind`] picks between two texts for
//! what is left.

use std::borrow::Cow;
use std::marker::PhantomData;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    Arguments, AssertSqlSafe, Connection, FromRow, PgConnection, PgPool, Postgres, SqlSafeStr, SqlStr, Sqlite,
    SqliteConnection, SqlitePool, Transaction,
};

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// What is SQLite's, or what is PostgreSQL's.
    pub(super) fn pick<T>(self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Conn {
    Sqlite(SqliteConnection),
    Postgres(Box<PgConnection>),
    /// In one snapshot, which ends when this is dropped.
    SqliteLook(Transaction<'static, Sqlite>),
    /// The same.
    PostgresLook(Transaction<'static, Postgres>),
}

impl Conn {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) | Self::SqliteLook(_) => Kind::Sqlite,
            Self::Postgres(_) | Self::PostgresLook(_) => Kind::Postgres,
        }
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        // SQLite: the write lock is taken before anything is read, so that no snapshot can be too old.
        let statement = self.kind().pick("BEGIN IMMEDIATE", "BEGIN");
        self.raw(statement).await
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.raw("COMMIT").await
    }

    /// SQLite may have rolled back by itself; then this one is refused, and that is all right.
    pub(super) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        self.raw("ROLLBACK").await
    }

    /// Runs statements that take no values.
    pub(super) async fn raw(&mut self, statements: &'static str) -> Result<(), sqlx::Error> {
        match self.into() {
            On::Sqlite(conn) => sqlx::raw_sql(statements).execute(conn).await.map(drop),
            On::Postgres(conn) => sqlx::raw_sql(statements).execute(conn).await.map(drop),
            On::SqlitePool(_) | On::PostgresPool(_) => Err(sqlx::Error::PoolClosed),
        }
    }

    /// The same, of a text that was put together from texts of this program.
    pub(super) async fn script(&mut self, statements: String) -> Result<(), sqlx::Error> {
        let statements = AssertSqlSafe(statements);
        match self.into() {
            On::Sqlite(conn) => sqlx::raw_sql(statements).execute(conn).await.map(drop),
            On::Postgres(conn) => sqlx::raw_sql(statements).execute(conn).await.map(drop),
            On::SqlitePool(_) | On::PostgresPool(_) => Err(sqlx::Error::PoolClosed),
        }
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
            Self::SqliteLook(look) => look.rollback().await,
            Self::PostgresLook(look) => look.rollback().await,
        }
    }
}

/// Connections for those who ask.
#[derive(Debug, Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
        }
    }

    /// One snapshot: what is changed meanwhile is seen whole or not at all.
    pub(super) async fn look(&self) -> Result<Conn, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => pool.begin().await.map(Conn::SqliteLook),
            Self::Postgres(pool) => {
                pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map(Conn::PostgresLook)
            }
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Where a statement runs.
#[derive(Debug)]
pub(super) enum On<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
    SqlitePool(&'c SqlitePool),
    PostgresPool(&'c PgPool),
}

impl<'c> From<&'c mut Conn> for On<'c> {
    fn from(conn: &'c mut Conn) -> Self {
        match conn {
            Conn::Sqlite(conn) => Self::Sqlite(conn),
            Conn::Postgres(conn) => Self::Postgres(conn),
            Conn::SqliteLook(look) => Self::Sqlite(look),
            Conn::PostgresLook(look) => Self::Postgres(look),
        }
    }
}

impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        match pool {
            Pool::Sqlite(pool) => Self::SqlitePool(pool),
            Pool::Postgres(pool) => Self::PostgresPool(pool),
        }
    }
}

/// A value of a statement.
#[derive(Debug, Clone)]
pub(super) enum Value<'q> {
    Bool(bool),
    Int(Option<i64>),
    Text(Option<Cow<'q, str>>),
    Bytes(Cow<'q, [u8]>),
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl<'q> From<&'q str> for Value<'q> {
    fn from(value: &'q str) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }
}

impl<'q> From<&'q String> for Value<'q> {
    fn from(value: &'q String) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Text(Some(Cow::Owned(value)))
    }
}

impl<'q> From<Option<&'q str>> for Value<'q> {
    fn from(value: Option<&'q str>) -> Self {
        Self::Text(value.map(Cow::Borrowed))
    }
}

impl<'q> From<&'q Option<String>> for Value<'q> {
    fn from(value: &'q Option<String>) -> Self {
        Self::Text(value.as_deref().map(Cow::Borrowed))
    }
}

impl<'q> From<&'q [u8]> for Value<'q> {
    fn from(value: &'q [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(value))
    }
}

impl<'q> From<&'q Vec<u8>> for Value<'q> {
    fn from(value: &'q Vec<u8>) -> Self {
        Self::Bytes(Cow::Borrowed(value))
    }
}

/// A row that either database can give.
pub(super) trait Given: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}
impl<T> Given for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

/// A statement with its values, whose rows are `T`.
#[derive(Debug)]
pub(super) struct Query<'q, T> {
    sql: SqlStr,
    values: Vec<Value<'q>>,
    row: PhantomData<fn() -> T>,
}

/// A statement without rows.
pub(super) fn query<'q>(sql: impl SqlSafeStr) -> Query<'q, (i64,)> {
    query_as(sql)
}

/// A statement with rows.
pub(super) fn query_as<'q, T>(sql: impl SqlSafeStr) -> Query<'q, T> {
    Query { sql: sql.into_sql_str(), values: Vec::new(), row: PhantomData }
}

/// How many rows a statement changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Changed(u64);

impl Changed {
    pub(super) fn rows_affected(self) -> u64 {
        self.0
    }
}

impl<'q, T> Query<'q, T> {
    pub(super) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(super) async fn execute<'c>(self, on: impl Into<On<'c>>) -> Result<Changed, sqlx::Error> {
        let Self { sql, values, .. } = self;
        let changed = match on.into() {
            On::Sqlite(conn) => sqlx::query_with(sql, lite(values)?).execute(conn).await?.rows_affected(),
            On::SqlitePool(pool) => sqlx::query_with(sql, lite(values)?).execute(pool).await?.rows_affected(),
            On::Postgres(conn) => sqlx::query_with(sql, postgres(values)?).execute(conn).await?.rows_affected(),
            On::PostgresPool(pool) => sqlx::query_with(sql, postgres(values)?).execute(pool).await?.rows_affected(),
        };
        Ok(Changed(changed))
    }
}

impl<T: Given> Query<'_, T> {
    pub(super) async fn fetch_all<'c>(self, on: impl Into<On<'c>>) -> Result<Vec<T>, sqlx::Error> {
        let Self { sql, values, .. } = self;
        match on.into() {
            On::Sqlite(conn) => sqlx::query_as_with(sql, lite(values)?).fetch_all(conn).await,
            On::SqlitePool(pool) => sqlx::query_as_with(sql, lite(values)?).fetch_all(pool).await,
            On::Postgres(conn) => sqlx::query_as_with(sql, postgres(values)?).fetch_all(conn).await,
            On::PostgresPool(pool) => sqlx::query_as_with(sql, postgres(values)?).fetch_all(pool).await,
        }
    }

    pub(super) async fn fetch_optional<'c>(self, on: impl Into<On<'c>>) -> Result<Option<T>, sqlx::Error> {
        let Self { sql, values, .. } = self;
        match on.into() {
            On::Sqlite(conn) => sqlx::query_as_with(sql, lite(values)?).fetch_optional(conn).await,
            On::SqlitePool(pool) => sqlx::query_as_with(sql, lite(values)?).fetch_optional(pool).await,
            On::Postgres(conn) => sqlx::query_as_with(sql, postgres(values)?).fetch_optional(conn).await,
            On::PostgresPool(pool) => sqlx::query_as_with(sql, postgres(values)?).fetch_optional(pool).await,
        }
    }

    pub(super) async fn fetch_one<'c>(self, on: impl Into<On<'c>>) -> Result<T, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The rows one by one, none of them kept.
    pub(super) fn fetch(self, conn: &mut Conn) -> BoxStream<'_, Result<T, sqlx::Error>>
    where
        T: 'static,
    {
        let failed = |error| futures_util::stream::once(std::future::ready(Err(error))).boxed();
        match conn.into() {
            On::Sqlite(conn) => match lite(self.values) {
                Ok(values) => sqlx::query_as_with(self.sql, values).fetch(conn),
                Err(error) => failed(error),
            },
            On::Postgres(conn) => match postgres(self.values) {
                Ok(values) => sqlx::query_as_with(self.sql, values).fetch(conn),
                Err(error) => failed(error),
            },
            On::SqlitePool(_) | On::PostgresPool(_) => failed(sqlx::Error::PoolClosed),
        }
    }
}

/// A statement whose rows have one column.
#[derive(Debug)]
pub(super) struct Scalar<'q, T>(Query<'q, (T,)>);

/// A statement whose rows have one column.
pub(super) fn query_scalar<'q, T>(sql: impl SqlSafeStr) -> Scalar<'q, T> {
    Scalar(query_as(sql))
}

impl<'q, T> Scalar<'q, T>
where
    (T,): Given,
{
    pub(super) fn bind(self, value: impl Into<Value<'q>>) -> Self {
        Self(self.0.bind(value))
    }

    pub(super) async fn fetch_all<'c>(self, on: impl Into<On<'c>>) -> Result<Vec<T>, sqlx::Error> {
        Ok(self.0.fetch_all(on).await?.into_iter().map(|(value,)| value).collect())
    }

    pub(super) async fn fetch_optional<'c>(self, on: impl Into<On<'c>>) -> Result<Option<T>, sqlx::Error> {
        Ok(self.0.fetch_optional(on).await?.map(|(value,)| value))
    }

    pub(super) async fn fetch_one<'c>(self, on: impl Into<On<'c>>) -> Result<T, sqlx::Error> {
        Ok(self.0.fetch_one(on).await?.0)
    }
}

fn lite(values: Vec<Value<'_>>) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        match value {
            Value::Bool(value) => arguments.add(value),
            Value::Int(value) => arguments.add(value),
            Value::Text(Some(Cow::Borrowed(value))) => arguments.add(value),
            Value::Text(Some(Cow::Owned(value))) => arguments.add(value),
            Value::Text(None) => arguments.add(None::<String>),
            Value::Bytes(value) => arguments.add(&*value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn postgres(values: Vec<Value<'_>>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Bool(value) => arguments.add(value),
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value.as_deref().map(without_nul)),
            Value::Bytes(value) => arguments.add(&*value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// PostgreSQL has no text with a NUL in it: its picture takes its place.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { Cow::Borrowed(text) }
}

/// The values of one row.
#[derive(Debug)]
pub(super) struct RowOf<'a, 'q>(&'a mut Vec<Value<'q>>);

impl<'q> RowOf<'_, 'q> {
    pub(super) fn push_bind(&mut self, value: impl Into<Value<'q>>) -> &mut Self {
        self.0.push(value.into());
        self
    }
}

/// A statement with the rows as `VALUES` between its head and its tail. Every row has the same number of values, one at
/// least.
pub(super) fn with_rows<'q, T, R>(
    (head, tail): (&'static str, &'static str),
    rows: impl IntoIterator<Item = R>,
    mut bind: impl FnMut(&mut RowOf<'_, 'q>, R),
) -> Query<'q, T> {
    use std::fmt::Write;
    let mut sql = String::from(head);
    sql.push_str("VALUES ");
    let mut values = Vec::new();
    for (number, row) in rows.into_iter().enumerate() {
        let before = values.len();
        bind(&mut RowOf(&mut values), row);
        sql.push_str(if number == 0 { "(" } else { ", (" });
        for place in before + 1..=values.len() {
            let _ = write!(sql, "{}${place}", if place == before + 1 { "" } else { ", " });
        }
        sql.push(')');
    }
    sql.push_str(tail);
    // Nothing but texts of this program and the numbers of values.
    Query { sql: AssertSqlSafe(sql).into_sql_str(), values, row: PhantomData }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered() {
        let rows = [(1i64, "a"), (2, "b")];
        let query: Query<'_, (i64,)> = with_rows(("INSERT INTO t (a, b) ", " RETURNING a"), rows, |values, (a, b)| {
            values.push_bind(a).push_bind(b);
        });
        assert_eq!(query.sql.as_str(), "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) RETURNING a");
        assert_eq!(query.values.len(), 4);
    }

    #[test]
    fn a_nul_has_a_picture() {
        assert_eq!(without_nul("a\0b"), "a␀b");
        assert!(matches!(without_nul("ab"), Cow::Borrowed("ab")));
    }
}
