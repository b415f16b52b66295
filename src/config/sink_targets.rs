//! `[sink.http]`, `[sink.file]`, `[sink.republish]`: where the messages of a sink go.
//!
//! Always holds: a secret is not in the configuration: it is in a file or a variable, which is read when it is needed.
//! Leaves to others: the other keys of a `[[sink]]` (`sinks`), and connecting.

use std::fmt;
use std::path::{Path, PathBuf};

use super::secrets::{SecretPlace, secret};
use super::tables::{TableReader, is_service_name};
use super::target_tables;
use super::targets::{KafkaSinkSettings, NatsSinkSettings, ParquetSettings, PostgresSettings};
use crate::ids::Qos;
use crate::limits;
use crate::settings::Unit;
use crate::template::Template;

/// One of the kinds of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSettings {
    /// Requests to a server.
    Http(Box<HttpSinkSettings>),
    /// Lines in files of a folder.
    File(FileSinkSettings),
    /// Messages on other topics.
    Republish(RepublishSettings),
    /// Messages on topics of a Kafka cluster.
    Kafka(Box<KafkaSinkSettings>),
    /// Messages on subjects of NATS.
    Nats(Box<NatsSinkSettings>),
    /// Rows of a table.
    Postgres(Box<PostgresSettings>),
    /// Files of Parquet in a folder.
    Parquet(Box<ParquetSettings>),
}

impl TargetSettings {
    /// What kind it is, in a word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::File(_) => "file",
            Self::Republish(_) => "republish",
            Self::Kafka(_) => "kafka",
            Self::Nats(_) => "nats",
            Self::Postgres(_) => "postgres",
            Self::Parquet(_) => "parquet",
        }
    }
}

/// Where it is, without what is secret.
impl fmt::Display for TargetSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(settings) => settings.url.fmt(out),
            Self::File(settings) => settings.folder.display().fmt(out),
            Self::Republish(settings) => settings.topic.source().fmt(out),
            Self::Kafka(settings) => settings.cluster.brokers.join(", ").fmt(out),
            Self::Nats(settings) => settings.server.servers.join(", ").fmt(out),
            Self::Postgres(settings) => {
                write!(out, "{} {} of {}", settings.hosts.join(", "), settings.table, settings.database)
            }
            Self::Parquet(settings) => settings.folder.display().fmt(out),
        }
    }
}

/// What `[sink.http]` says of the server and of requests to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSinkSettings {
    /// Where requests go.
    pub url: HttpUrl,
    /// `POST` or `PUT`.
    pub method: SinkRequestMethod,
    /// Names and values, beside those that are always there.
    pub headers: Vec<(String, String)>,
    /// Who we are to the server.
    pub login: HttpLogin,
    /// The header that holds the signature, and the key of it.
    pub signature: Option<(String, SecretPlace)>,
    /// How the rows of a batch stand in a body.
    pub body: HttpBody,
    /// Of the body; by default what the way of writing says.
    pub content_type: Option<String>,
    /// What an answer of status 200 says.
    pub answer: HttpAnswerKind,
    /// Authorities that a certificate may come from; those of the system where there are none.
    pub ca: Option<PathBuf>,
    /// Longest wait for an answer, in milliseconds.
    pub timeout_ms: u64,
}

/// A URL, in parts.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// Whether it is `https`.
    pub is_tls: bool,
    /// A name or an address, an IPv6 one without its brackets.
    pub host: String,
    /// As given, or the usual one of the scheme.
    pub port: u16,
    /// Path and query, at least `/`.
    pub path: String,
}

/// How a request is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkRequestMethod {
    /// What servers add.
    Post,
    /// What replaces what is there.
    Put,
}

/// Who we are to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpLogin {
    /// Nobody in particular.
    None,
    /// A token in `Authorization: Bearer`.
    Bearer(SecretPlace),
    /// User and password in `Authorization: Basic`.
    Basic(String, SecretPlace),
}

/// How rows stand in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpBody {
    /// One row is one request.
    Single,
    /// What stands before the first, between two, and behind the last.
    Joined {
        /// Before the first.
        begin: String,
        /// Between two.
        between: String,
        /// Behind the last.
        end: String,
        /// Of the body where none is given.
        content_type: &'static str,
        /// Whether a row is a line: one with a line break would be several rows to whoever reads it.
        one_line: bool,
    },
}

/// What is read in an answer of status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpAnswerKind {
    /// Nothing: all is well.
    Status,
    /// A status of each row, as Elasticsearch's and `OpenSearch`'s bulk API says it.
    Elasticsearch,
}

/// What `[sink.file]` says of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSinkSettings {
    /// Where files go; made if it is not there.
    pub folder: PathBuf,
    /// How their names begin.
    pub prefix: String,
    /// A file that has so many bytes is followed by the next.
    pub rotate_bytes: u64,
    /// ... or that is so old, in seconds.
    pub rotate_s: u64,
    /// Files that are kept; the oldest goes.
    pub keep_files: usize,
}

/// What `[sink.republish]` says of the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepublishSettings {
    /// Where a message goes.
    pub topic: Template,
    /// With which quality of service.
    pub qos: Qos,
    /// Whether it becomes its topic's retained message.
    pub retain: bool,
    /// How many republishing sinks and bridges a message may have passed and still pass this one.
    pub hops_max: u8,
}

impl HttpUrl {
    /// Reads a URL; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (is_tls, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err("a URL begins with http:// or https://".to_owned());
        };
        let (authority, path) = rest.find(['/', '?']).map_or((rest, "/"), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("user and password have keys of their own".to_owned());
        }
        let usual = if is_tls { 443 } else { 80 };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']').ok_or("the address in brackets does not end")?;
                (host, behind.strip_prefix(':'))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(usual), |port| port.parse().map_err(|_| format!("{port:?} is no port")))?;
        if host.is_empty() || !text.is_ascii() || text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err(format!("{text:?} is no URL"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let path = path.split('#').next().unwrap_or("/").to_owned();
        Ok(Self { is_tls, host: host.to_owned(), port, path })
    }

    /// Host and port as a header names them.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        // Path and query may hold a secret: those of webhooks do.
        write!(out, "{scheme}://{}", self.authority())
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Reads the one table of a target that there is.
pub(super) fn read(table: &mut TableReader<'_, '_>) -> Option<TargetSettings> {
    let keys = ["http", "file", "republish", "kafka", "nats", "postgres", "parquet"];
    let given: Vec<&str> = keys.into_iter().filter(|key| table.has(key)).collect();
    if given.len() != 1 {
        let text = format!("a sink has one target, not {}: [sink.{}]", given.len(), keys.join("], [sink."));
        let span = table.span();
        table.problem(&span, text);
    }
    let http = table.table("http", "[sink.http]").and_then(|mut inner| {
        let target = http(&mut inner);
        table.take_problems(inner);
        target.map(|target| TargetSettings::Http(Box::new(target)))
    });
    let file = table.table("file", "[sink.file]").and_then(|mut inner| {
        let target = file(&mut inner);
        table.take_problems(inner);
        target.map(TargetSettings::File)
    });
    let republish = table.table("republish", "[sink.republish]").and_then(|mut inner| {
        let target = republish(&mut inner);
        table.take_problems(inner);
        target.map(TargetSettings::Republish)
    });
    let kafka = table.table("kafka", "[sink.kafka]").and_then(|mut inner| {
        let target = target_tables::kafka(&mut inner);
        table.take_problems(inner);
        target.map(|target| TargetSettings::Kafka(Box::new(target)))
    });
    let nats = table.table("nats", "[sink.nats]").and_then(|mut inner| {
        let target = target_tables::nats(&mut inner);
        table.take_problems(inner);
        target.map(|target| TargetSettings::Nats(Box::new(target)))
    });
    let postgres = table.table("postgres", "[sink.postgres]").and_then(|mut inner| {
        let target = target_tables::postgres(&mut inner);
        table.take_problems(inner);
        target.map(|target| TargetSettings::Postgres(Box::new(target)))
    });
    let sink = table.text("name").unwrap_or_default();
    let parquet = table.table("parquet", "[sink.parquet]").and_then(|mut inner| {
        let target = target_tables::parquet(&mut inner, &sink);
        table.take_problems(inner);
        target.map(|target| TargetSettings::Parquet(Box::new(target)))
    });
    http.or(file).or(republish).or(kafka).or(nats).or(postgres).or(parquet)
}

fn http(table: &mut TableReader<'_, '_>) -> Option<HttpSinkSettings> {
    if !table.has("url") {
        table.problem_of("url", "it is missing");
    }
    let url = table.made("url", HttpUrl::parse);
    let method = table.choice("method", &[("POST", SinkRequestMethod::Post), ("PUT", SinkRequestMethod::Put)]);
    let headers = table.entries("headers");
    for (name, value) in &headers {
        let is_right = hyper::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
            && hyper::header::HeaderValue::from_str(value).is_ok();
        let ours = ["content-length", "transfer-encoding", "host", "connection"];
        if !is_right || ours.contains(&name.to_ascii_lowercase().as_str()) {
            table.problem_of("headers", format!("{name:?} cannot be set"));
        }
    }
    let login = login(table);
    let header = table.text("signature_header").unwrap_or_else(|| "X-Dunlin-Signature".to_owned());
    if hyper::header::HeaderName::from_bytes(header.as_bytes()).is_err() {
        table.problem_of("signature_header", "it is no name of a header");
    }
    let key = secret(table, "signature_key_file", "signature_key_variable");
    let body = body(table);
    let answer =
        table.choice("answer", &[("status", HttpAnswerKind::Status), ("elasticsearch", HttpAnswerKind::Elasticsearch)]);
    let timeout_ms = table.millis("timeout", 100..=limits::SINK_TIMEOUT_MAX_MS);
    Some(HttpSinkSettings {
        method: method.unwrap_or(SinkRequestMethod::Post),
        headers,
        login,
        signature: key.map(|key| (header, key)),
        body,
        content_type: table.text("content_type"),
        answer: answer.unwrap_or(HttpAnswerKind::Status),
        ca: table.text("tls_ca").map(PathBuf::from),
        timeout_ms: timeout_ms.unwrap_or(limits::SINK_TIMEOUT_DEFAULT_MS),
        url: url?,
    })
}

fn login(table: &mut TableReader<'_, '_>) -> HttpLogin {
    let bearer = secret(table, "bearer_file", "bearer_variable");
    let user = table.text("username");
    let password = secret(table, "password_file", "password_variable");
    match (bearer, user, password) {
        (None, None, None) => HttpLogin::None,
        (Some(token), None, None) => HttpLogin::Bearer(token),
        (None, Some(user), Some(password)) => HttpLogin::Basic(user, password),
        _ => {
            let span = table.span();
            table.problem(&span, "[sink.http]: either a bearer token, or username and a password, or neither");
            HttpLogin::None
        }
    }
}

fn body(table: &mut TableReader<'_, '_>) -> HttpBody {
    let joined = |begin: &str, between: &str, end: &str, content_type| HttpBody::Joined {
        begin: begin.to_owned(),
        between: between.to_owned(),
        end: end.to_owned(),
        content_type,
        one_line: false,
    };
    let kind = table.choice("body", &[("single", 0), ("lines", 1), ("array", 2), ("joined", 3)]);
    let (begin, between, end) = (table.text("begin"), table.text("between"), table.text("end"));
    if kind != Some(3) && (begin.is_some() || between.is_some() || end.is_some()) {
        table.problem_of("body", "begin, between and end are for body = \"joined\"");
    }
    match kind {
        Some(1) => HttpBody::Joined {
            begin: String::new(),
            between: "\n".to_owned(),
            end: "\n".to_owned(),
            content_type: "application/x-ndjson",
            one_line: true,
        },
        Some(2) => joined("[", ",", "]", "application/json"),
        Some(3) => joined(
            &begin.unwrap_or_default(),
            &between.unwrap_or_default(),
            &end.unwrap_or_default(),
            "application/json",
        ),
        _ => HttpBody::Single,
    }
}

fn file(table: &mut TableReader<'_, '_>) -> Option<FileSinkSettings> {
    let folder = table.needed_text("folder");
    let prefix = table.text("prefix").unwrap_or_else(|| "messages".to_owned());
    if !is_service_name(&prefix) || prefix.starts_with('.') {
        table.problem_of("prefix", "letters, digits, '-', '_' and '.' are allowed, not '.' first");
    }
    let rotate_bytes =
        table.number("rotate_bytes", Unit::Bytes, limits::SINK_FILE_MIN_BYTES..=limits::SINK_FILE_MAX_BYTES);
    let rotate_s = table.number("rotate_time", Unit::Seconds, 1..=limits::SINK_FILE_TIME_MAX_S);
    let keep = table.number("keep_files", Unit::Count, 1..=limits::SINK_FILES_MAX as u64);
    let folder = folder.filter(|folder| !folder.is_empty())?;
    if !Path::new(&folder).is_absolute() {
        table.problem_of("folder", "it is to be a whole path, as /var/lib/dunlin-files");
    }
    Some(FileSinkSettings {
        folder: folder.into(),
        prefix,
        rotate_bytes: rotate_bytes.unwrap_or(limits::SINK_FILE_DEFAULT_BYTES),
        rotate_s: rotate_s.unwrap_or(limits::SINK_FILE_TIME_DEFAULT_S),
        keep_files: keep.map_or(limits::SINK_FILES_DEFAULT, |keep| keep as usize),
    })
}

fn republish(table: &mut TableReader<'_, '_>) -> Option<RepublishSettings> {
    if !table.has("topic") {
        table.problem_of("topic", "it is missing");
    }
    let topic = table.made("topic", Template::parse);
    let qos = table.number("qos", Unit::Count, 0..=1);
    let hops = table.number("max_hops", Unit::Count, 1..=u64::from(u8::MAX));
    let retain = table.switch("retain").unwrap_or(false);
    Some(RepublishSettings {
        qos: if qos == Some(0) { Qos::AtMostOnce } else { Qos::AtLeastOnce },
        retain,
        hops_max: hops.map_or(limits::SINK_HOPS_DEFAULT, |hops| hops as u8),
        topic: topic?,
    })
}
