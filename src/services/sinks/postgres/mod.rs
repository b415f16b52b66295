//! Rows into a table of PostgreSQL, or of what speaks its protocol and has COPY, such as TimescaleDB.
//!
//! Owns: one connection, which is opened with the next batch where there is none.
//! Always holds: a batch is one transaction: the table has all of its good rows when it is acknowledged, and none before. What the
//! server says of values (a type, a constraint) is the fault of a row, which is found by halving the batch; whatever else it says is
//! the server's, and the batch is tried again.
//! Leaves to others: how long to wait before that (`worker`), which columns there are (`config`), text of values ([`text`]), TLS ([`tls`]).
//!
//! With key columns a batch goes into a temporary table first, and from there over what the table has: a row that is sent again after
//! an acknowledgement got lost changes nothing then. Without, it stands there twice.

mod text;
mod tls;

use std::fmt;
use std::ops::Range;
use std::pin::pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::SinkExt as _;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::delivered::{DeliverError, Delivered};
use super::row::Row;
use super::values::values_of;
use crate::config::targets::PostgresSettings;
use crate::services::tls_client::client_config;
use text::{ColumnKind, push_value};

/// Bytes of a batch that are handed to the connection at once.
const COPY_PART_BYTES: usize = 64 * 1024;
/// The temporary table that a batch goes through on its way over rows that are there.
const STAGING: &str = "pg_temp.dunlin_batch";
/// Its column for the order of rows: the last of one key wins.
const ORDINAL: &str = "dunlin_ordinal";

/// Opened with the next batch, and again after a failure.
pub(crate) struct PostgresTarget {
    settings: PostgresSettings,
    connected: Option<Connected>,
}

impl fmt::Debug for PostgresTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PostgresTarget").field("settings", &self.settings).finish_non_exhaustive()
    }
}

struct Connected {
    client: Client,
    kinds: Vec<ColumnKind>,
    copy: Statement,
    merge: Option<Statement>,
}

/// Why a part of a batch did not get in.
enum BatchRefusal {
    /// Something about a value in it.
    OfRows(String),
    /// Anything else.
    OfServer(String),
}

impl From<tokio_postgres::Error> for BatchRefusal {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else { return Self::OfServer(words_of(&error)) };
        let text = match said.detail() {
            Some(detail) => format!("{} ({}): {detail}", said.message(), said.code().code()),
            None => format!("{} ({})", said.message(), said.code().code()),
        };
        if is_fault_of_row(said.code().code()) { Self::OfRows(text) } else { Self::OfServer(text) }
    }
}

/// Whether a state of SQL is about the values of a row.
fn is_fault_of_row(state: &str) -> bool {
    // Cardinality, data, integrity, WITH CHECK OPTION, limits of a value, raised by a trigger.
    let classes = ["21", "22", "23", "44", "54", "P0"];
    state == "42804" || classes.iter().any(|class| state.starts_with(class))
}

impl PostgresTarget {
    pub(crate) const fn new(settings: PostgresSettings) -> Self {
        Self { settings, connected: None }
    }

    pub(crate) async fn deliver(&mut self, batch: &[Row]) -> Result<Delivered, DeliverError> {
        let limit = self.settings.timeout;
        // A connection whose transaction was given up half-way is not used again: it is taken out here, and put back at the end.
        let connected = match self.connected.take() {
            Some(connected) if !connected.client.is_closed() => connected,
            _ => timeout(limit, self.connect())
                .await
                .map_err(|_| no_answer("connecting"))?
                .map_err(DeliverError::retry)?,
        };
        match self.transaction(&connected, batch).await {
            Ok(delivered) => {
                self.connected = Some(connected);
                Ok(delivered)
            }
            Err(BatchRefusal::OfRows(why) | BatchRefusal::OfServer(why)) => Err(DeliverError::retry(why)),
        }
    }

    async fn connect(&self) -> Result<Connected, String> {
        let settings = &self.settings;
        let mut config = Config::new();
        config
            .dbname(&settings.database)
            .user(&settings.user)
            .application_name("dunlin")
            .connect_timeout(settings.timeout);
        for host in &settings.hosts {
            config.host(host);
        }
        config.port(settings.port);
        if let Some(password) = &settings.password {
            config.password(password.read()?);
        }
        let client = match &settings.tls {
            None => {
                let (client, connection) =
                    config.ssl_mode(SslMode::Disable).connect(NoTls).await.map_err(|e| words_of(&e))?;
                tokio::spawn(connection);
                client
            }
            Some(tls) => {
                let make = tls::MakeRustls(client_config(tls)?);
                let (client, connection) =
                    config.ssl_mode(SslMode::Require).connect(make).await.map_err(|e| words_of(&e))?;
                tokio::spawn(connection);
                client
            }
        };
        self.prepare(client).await.map_err(|refusal| match refusal {
            BatchRefusal::OfRows(why) | BatchRefusal::OfServer(why) => why,
        })
    }

    async fn prepare(&self, client: Client) -> Result<Connected, BatchRefusal> {
        let settings = &self.settings;
        let (table, columns) = (quoted_path(&settings.table), self.column_list());
        let shape = client.prepare(&format!("SELECT {columns} FROM {table}")).await?;
        let kinds = shape.columns().iter().map(|column| ColumnKind::of(column.type_())).collect();
        if settings.key.is_empty() {
            let copy = client.prepare(&format!("COPY {table} ({columns}) FROM STDIN")).await?;
            return Ok(Connected { client, kinds, copy, merge: None });
        }
        let staging = format!(
            "CREATE TEMP TABLE dunlin_batch ON COMMIT DELETE ROWS AS SELECT 0::bigint AS {ORDINAL}, {columns} FROM {table} WITH NO DATA"
        );
        client.batch_execute(&staging).await?;
        let copy = client.prepare(&format!("COPY {STAGING} ({ORDINAL}, {columns}) FROM STDIN")).await?;
        let merge = client.prepare(&self.merge()).await?;
        Ok(Connected { client, kinds, copy, merge: Some(merge) })
    }

    /// From the temporary table over the rows that are there: the last of each key.
    fn merge(&self) -> String {
        let settings = &self.settings;
        let (table, columns) = (quoted_path(&settings.table), self.column_list());
        let key = settings.key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let others = settings.columns.iter().map(|(name, _)| name).filter(|name| !settings.key.contains(name));
        let sets = others.map(|name| format!("{0} = EXCLUDED.{0}", quoted(name))).collect::<Vec<_>>().join(", ");
        let action =
            if settings.keeps_old || sets.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {sets}") };
        let order = if settings.keeps_old { "ASC" } else { "DESC" };
        format!(
            "WITH rows AS (DELETE FROM {STAGING} RETURNING *) INSERT INTO {table} ({columns}) \
             SELECT DISTINCT ON ({key}) {columns} FROM rows ORDER BY {key}, {ORDINAL} {order} ON CONFLICT ({key}) DO {action}"
        )
    }

    fn column_list(&self) -> String {
        self.settings.columns.iter().map(|(name, _)| quoted(name)).collect::<Vec<_>>().join(", ")
    }

    /// Each answer has its time, and not all of them together: many rows that the server refuses take many.
    async fn answered<T, E: Into<BatchRefusal>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BatchRefusal> {
        let late = || BatchRefusal::OfServer("the server has not answered to a batch in time".to_owned());
        timeout(self.settings.timeout, asked).await.map_err(|_| late())?.map_err(Into::into)
    }

    async fn transaction(&self, connected: &Connected, batch: &[Row]) -> Result<Delivered, BatchRefusal> {
        let mut rejected = Vec::new();
        let mut lines: Vec<(usize, Bytes)> = Vec::with_capacity(batch.len());
        for (at, row) in batch.iter().enumerate() {
            match self.line(connected, at, row) {
                Ok(line) => lines.push((at, line)),
                Err(why) => rejected.push((at, why)),
            }
        }
        // A constraint that waits for the end of the transaction could not be told of a row.
        self.answered(connected.client.batch_execute("BEGIN; SET CONSTRAINTS ALL IMMEDIATE")).await?;
        let mut parts: Vec<Range<usize>> = Vec::from([Range { start: 0, end: lines.len() }]);
        while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
            self.answered(connected.client.batch_execute("SAVEPOINT dunlin")).await?;
            let Err(refusal) = self.answered(copy(connected, &lines[part.clone()])).await else { continue };
            let BatchRefusal::OfRows(why) = refusal else { return Err(refusal) };
            self.answered(connected.client.batch_execute("ROLLBACK TO SAVEPOINT dunlin")).await?;
            if part.len() == 1 {
                rejected.push((lines[part.start].0, why));
            } else {
                let middle = part.start + part.len() / 2;
                parts.extend([middle..part.end, part.start..middle]);
            }
        }
        self.answered(connected.client.batch_execute("COMMIT")).await?;
        rejected.sort_unstable();
        Ok(if rejected.is_empty() { Delivered::All } else { Delivered::Some { rejected } })
    }

    /// A row as COPY has it.
    fn line(&self, connected: &Connected, at: usize, row: &Row) -> Result<Bytes, String> {
        let values = values_of(row);
        let mut line = Vec::with_capacity(row.len_bytes() + 64);
        if connected.merge.is_some() {
            line.extend_from_slice(at.to_string().as_bytes());
            line.push(b'\t');
        }
        for (index, ((name, formula), kind)) in self.settings.columns.iter().zip(&connected.kinds).enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            let pushed = formula.value(&values).and_then(|value| push_value(&mut line, *kind, &value));
            pushed.map_err(|why| format!("column {name}: {why}"))?;
        }
        line.push(b'\n');
        Ok(line.into())
    }
}

/// Copies some lines in, and from the temporary table into the table if there is one.
async fn copy(connected: &Connected, lines: &[(usize, Bytes)]) -> Result<(), BatchRefusal> {
    let sink = connected.client.copy_in::<_, Bytes>(&connected.copy).await?;
    let mut sink = pin!(sink);
    let mut part = BytesMut::with_capacity(COPY_PART_BYTES);
    for (_, line) in lines {
        part.put_slice(line);
        if part.len() >= COPY_PART_BYTES {
            sink.feed(part.split().freeze()).await?;
        }
    }
    if !part.is_empty() {
        sink.feed(part.freeze()).await?;
    }
    sink.finish().await?;
    if let Some(merge) = &connected.merge {
        connected.client.execute(merge, &[]).await?;
    }
    Ok(())
}

fn no_answer(to: &str) -> DeliverError {
    DeliverError::retry(format!("the server has not answered to {to} in time"))
}

/// An error with its causes, whose own text names only its kind.
fn words_of(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A name in quotes, so that it can be nothing else.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.table` in quotes.
fn quoted_path(path: &str) -> String {
    path.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests;
