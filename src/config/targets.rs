//! What the targets of sinks have to know: `[sink.kafka]`, `[sink.nats]`, `[sink.postgres]`, `[sink.parquet]`.
//!
//! Always holds: names of columns and fields are known to be such.
//! Leaves to others: how the tables are read (`target_tables`), and whether a server answers (the targets).

use std::{path::PathBuf, time::Duration};

use super::secrets::SecretPlace;
use crate::template::{Formula, Template};

/// TLS towards a server: the files are read when a connection is opened, so that renewed ones are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsClientSettings {
    /// Authorities; those of the system where there are none.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// `[sink.postgres]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    /// Host names or addresses, or folders of a Unix socket, tried in this order.
    pub hosts: Vec<String>,
    /// The same at each of the hosts.
    pub port: u16,
    /// Which of the server's the table is in.
    pub database: String,
    /// Who we are.
    pub user: String,
    /// Where the password is.
    pub password: Option<SecretPlace>,
    /// TLS, where it is spoken.
    pub tls: Option<TlsClientSettings>,
    /// With its schema, if it is not found without.
    pub table: String,
    /// Names of columns, and what goes there.
    pub columns: Vec<(String, Formula)>,
    /// Columns of a unique index: a row that is there already is written over. None: rows are only added.
    pub key: Vec<String>,
    /// Whether a row that is there already stays as it is.
    pub keeps_old: bool,
    /// Longest wait for the server.
    pub timeout: Duration,
}

/// `[sink.parquet]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParquetSettings {
    /// Where files go; it must exist.
    pub folder: PathBuf,
    /// How names of files begin.
    pub prefix: String,
    /// Columns of the files, in their order.
    pub columns: Vec<(String, Formula, ParquetType)>,
    /// Whether Snappy makes them smaller.
    pub compresses: bool,
}

/// What a column of a Parquet file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParquetType {
    /// UTF-8.
    Text,
    /// Whatever a payload may be.
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

/// Where rows go in NATS, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsSinkSettings {
    /// How it is reached.
    pub server: NatsServerSettings,
    /// Where a row goes.
    pub subject: Template,
    /// Whether a stream acknowledges each message. Without, a server that is killed loses what it has not passed on.
    pub jetstream: bool,
}

/// How NATS is reached, by sinks and sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsServerSettings {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub servers: Vec<String>,
    /// Who we are.
    pub login: NatsLogin,
    /// TLS, where it is spoken.
    pub tls: Option<TlsClientSettings>,
    /// Longest wait for the server.
    pub timeout: Duration,
}

/// Who we are to a NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsLogin {
    /// Nobody in particular.
    None,
    /// User and password.
    Password(String, SecretPlace),
    /// Whoever knows it comes in.
    Token(SecretPlace),
    /// A file of credentials, as `nsc` writes it.
    Credentials(PathBuf),
}

/// Where rows go in a cluster, what keeps them in order, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSinkSettings {
    /// How it is reached.
    pub cluster: KafkaClusterSettings,
    /// Where a row goes.
    pub topic: Template,
    /// What decides which partition, and so what stays in order. None: what the sink orders by, or nothing.
    pub key: Option<Template>,
}

/// How a Kafka cluster is reached, by sinks and sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaClusterSettings {
    /// `HOST:PORT`, some brokers of the cluster.
    pub brokers: Vec<String>,
    /// TLS, where it is spoken.
    pub tls: Option<TlsClientSettings>,
    /// Who we are.
    pub login: Option<KafkaLogin>,
    /// Longest wait until a message is acknowledged.
    pub timeout: Duration,
    /// Further properties of librdkafka, as they are.
    pub properties: Vec<(String, String)>,
}

/// SASL towards a Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaLogin {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// Who we are.
    pub user: String,
    /// Where the password is.
    pub password: SecretPlace,
}
