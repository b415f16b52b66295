//! What the targets of sinks have to know: `[sink.kafka]`, `[sink.nats]`, `[sink.postgres]`, `[sink.parquet]`.
//!
//! Always holds: names of columns and fields are known to be such; what is secret is not shown by `Debug`.
//! Leaves to others: how the tables are read (`target_tables`), and whether a server answers (the targets).

use std::{fmt, fs, path::PathBuf, time::Duration};

use crate::template::{Formula, Template};

/// A password or the like, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HiddenText(String);

impl HiddenText {
    /// For whoever must be shown it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HiddenText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

/// Where a secret is: it is read when a connection is opened, so that a new one is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretPlace {
    /// A file, whose first line it is.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl SecretPlace {
    /// What is there now.
    pub(crate) fn read(&self) -> Result<HiddenText, String> {
        let text = match self {
            Self::File(path) => fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?,
            Self::Variable(name) => std::env::var(name).map_err(|error| format!("the variable {name}: {error}"))?,
        };
        Ok(HiddenText(text.lines().next().unwrap_or_default().to_owned()))
    }
}

/// TLS towards a server: the files are read when a connection is opened, so that renewed ones are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsClientSettings {
    /// Authorities; those of the system where there are none.
    pub(crate) ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// `[sink.postgres]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostgresSettings {
    /// Host names or addresses, or folders of a Unix socket, tried in this order.
    pub(crate) hosts: Vec<String>,
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: Option<SecretPlace>,
    pub(crate) tls: Option<TlsClientSettings>,
    /// With its schema, if it is not found without.
    pub(crate) table: String,
    /// Names of columns, and what goes there.
    pub(crate) columns: Vec<(String, Formula)>,
    /// Columns of a unique index: a row that is there already is written over. None: rows are only added.
    pub(crate) key: Vec<String>,
    /// Whether a row that is there already stays as it is.
    pub(crate) keeps_old: bool,
    /// Longest wait for the server.
    pub(crate) timeout: Duration,
}

/// `[sink.parquet]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParquetSettings {
    /// Where files go; it must exist.
    pub(crate) folder: PathBuf,
    /// How names of files begin.
    pub(crate) prefix: String,
    /// Columns of the files, in their order.
    pub(crate) columns: Vec<(String, Formula, ParquetType)>,
    /// Whether Snappy makes them smaller.
    pub(crate) compresses: bool,
}

/// What a column of a Parquet file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParquetType {
    /// UTF-8.
    Text,
    /// Any bytes.
    Bytes,
    /// 64 bits, signed.
    Integer,
    /// A double.
    Number,
    /// True or false.
    Boolean,
    /// Milliseconds since 1970, UTC.
    Time,
}

/// `[sink.nats]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NatsSinkSettings {
    pub(crate) server: NatsServerSettings,
    /// Where a row goes.
    pub(crate) subject: Template,
    /// Whether a stream acknowledges each message. Without, a server that is killed loses what it has not passed on.
    pub(crate) jetstream: bool,
}

/// How NATS is reached, by sinks and sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NatsServerSettings {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub(crate) servers: Vec<String>,
    pub(crate) login: NatsLogin,
    pub(crate) tls: Option<TlsClientSettings>,
    /// Longest wait for the server.
    pub(crate) timeout: Duration,
}

/// Who we are to a NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NatsLogin {
    /// Nobody in particular.
    None,
    /// User and password.
    Password(String, SecretPlace),
    /// A token.
    Token(SecretPlace),
    /// A file of credentials, as `nsc` writes it.
    Credentials(PathBuf),
}

/// `[sink.kafka]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaSinkSettings {
    pub(crate) cluster: KafkaClusterSettings,
    /// Where a row goes.
    pub(crate) topic: Template,
    /// What decides which partition, and so what stays in order. None: what the sink orders by, or nothing.
    pub(crate) key: Option<Template>,
}

/// How a Kafka cluster is reached, by sinks and sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaClusterSettings {
    /// `HOST:PORT`, some brokers of the cluster.
    pub(crate) brokers: Vec<String>,
    pub(crate) tls: Option<TlsClientSettings>,
    pub(crate) login: Option<KafkaLogin>,
    /// Longest wait until a message is acknowledged.
    pub(crate) timeout: Duration,
    /// Further properties of librdkafka, as they are.
    pub(crate) properties: Vec<(String, String)>,
}

/// SASL towards a Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaLogin {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub(crate) mechanism: String,
    pub(crate) user: String,
    pub(crate) password: SecretPlace,
}
