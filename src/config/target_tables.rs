//! Reading `[sink.kafka]`, `[sink.nats]`, `[sink.postgres]`, `[sink.parquet]` and what sources have of them.
//!
//! Always holds: what comes back is whole and within its bounds; else there is a problem with its place.
//! Leaves to others: what is read means (`targets`), the tables around (`sinks`, `sources`).

use std::{path::PathBuf, time::Duration};

use super::secrets::secret;
use super::tables::TableReader;
use super::targets::{
    KafkaClusterSettings, KafkaLogin, KafkaSinkSettings, NatsLogin, NatsServerSettings, NatsSinkSettings,
    ParquetSettings, ParquetType, PostgresSettings, TlsClientSettings,
};
use crate::limits::{SINK_TIMEOUT_DEFAULT_MS, SINK_TIMEOUT_MAX_MS, TARGET_COLUMNS_MAX};
use crate::settings::Unit;
use crate::template::{Formula, Template};

const POSTGRES_PORT: u64 = 5432;
/// What a topic becomes where nothing is said.
const NATS_SUBJECT: &str = "{{ topic | nats_subject }}";
/// SASL as librdkafka has it built in.
const MECHANISMS: [(&str, &str); 3] =
    [("plain", "PLAIN"), ("scram-sha-256", "SCRAM-SHA-256"), ("scram-sha-512", "SCRAM-SHA-512")];
const PARQUET_TYPES: [(&str, ParquetType); 6] = [
    ("text", ParquetType::Text),
    ("bytes", ParquetType::Bytes),
    ("integer", ParquetType::Integer),
    ("number", ParquetType::Number),
    ("boolean", ParquetType::Boolean),
    ("time", ParquetType::Time),
];
/// Properties of librdkafka that the broker's promises rest on, or that have keys of their own.
const OWN_PROPERTIES: [&str; 18] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "log_level",
    "message.timeout.ms",
    "metadata.broker.list",
    "request.required.acks",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "transactional.id",
];

/// `[sink.postgres]`
pub(super) fn postgres(table: &mut TableReader<'_, '_>) -> Option<PostgresSettings> {
    check_build(table, "database", cfg!(feature = "postgres"), "PostgreSQL");
    let hosts = table.texts("host").unwrap_or_else(|| vec!["localhost".to_owned()]);
    let port = table.number("port", Unit::Count, 1..=u64::from(u16::MAX)).unwrap_or(POSTGRES_PORT) as u16;
    let (database, user) = (table.needed_text("database"), table.needed_text("username"));
    let (password, tls, timeout) = (secret(table, "password_file", "password_variable"), tls(table), timeout(table));
    let name = table.needed_text("table");
    let columns = formulas(table);
    let key = table.texts("key").unwrap_or_default();
    let keeps_old = table.choice("existing", &[("update", false), ("keep", true)]);
    if let Some(missing) = key.iter().find(|name| columns.iter().all(|(column, _)| column != *name)) {
        table.problem_of("key", format!("{missing:?} is none of the columns"));
    }
    if keeps_old.is_some() && key.is_empty() {
        table.problem_of("existing", "rows are only looked for where there is a key");
    }
    if hosts.is_empty() {
        table.problem_of("host", "it is empty");
    }
    Some(PostgresSettings {
        hosts,
        port,
        database: database?,
        user: user?,
        password,
        tls,
        table: name?,
        columns,
        key,
        keeps_old: keeps_old.unwrap_or(false),
        timeout,
    })
}

/// `[sink.parquet]`; files begin with the sink's name where nothing is said.
pub(super) fn parquet(table: &mut TableReader<'_, '_>, sink: &str) -> Option<ParquetSettings> {
    check_build(table, "folder", cfg!(feature = "parquet"), "Parquet");
    let folder = table.needed_text("folder").map(PathBuf::from);
    let prefix = table.text("prefix").unwrap_or_else(|| sink.to_owned());
    if prefix.is_empty() || prefix.starts_with('.') || prefix.contains(['/', '\0']) {
        table.problem_of("prefix", "files begin with it: it may not be empty, begin with a dot or have a slash");
    }
    let compresses = table.choice("compression", &[("snappy", true), ("none", false)]);
    let columns = formulas(table).into_iter().map(|(name, (kind, formula))| (name, formula, kind)).collect();
    Some(ParquetSettings { folder: folder?, prefix, columns, compresses: compresses.unwrap_or(true) })
}

/// Where rows go in NATS, and how it is reached.
pub(super) fn nats(table: &mut TableReader<'_, '_>) -> Option<NatsSinkSettings> {
    let server = nats_server(table);
    let subject = template(table, "subject", NATS_SUBJECT);
    let jetstream = table.switch("jetstream").unwrap_or(true);
    Some(NatsSinkSettings { server: server?, subject: subject?, jetstream })
}

/// How NATS is reached.
pub(super) fn nats_server(table: &mut TableReader<'_, '_>) -> Option<NatsServerSettings> {
    check_build(table, "servers", cfg!(feature = "nats"), "NATS");
    let servers = needed_texts(table, "servers");
    if servers.iter().flatten().any(|server| server.contains('@')) {
        // Not what it is: whoever reads the log is not to read it there.
        let text = "an address has no user and no password, because it is shown: give username with password_file, or token_file";
        table.problem_of("servers", text);
    }
    let user = table.text("username");
    let (password, token) =
        (secret(table, "password_file", "password_variable"), secret(table, "token_file", "token_variable"));
    let credentials = table.text("credentials_file").map(PathBuf::from);
    let ways = [user.is_some(), token.is_some(), credentials.is_some()];
    if ways.into_iter().filter(|given| *given).count() > 1 {
        table
            .problem_of("username", "username, token and credentials_file are three ways to say who it is: choose one");
    }
    let login = match (user, password, token, credentials) {
        (Some(user), Some(password), ..) => NatsLogin::Password(user, password),
        (Some(_), None, ..) => {
            table.problem_of("username", "a user has a password: password_file or password_variable");
            NatsLogin::None
        }
        (None, _, Some(token), _) => NatsLogin::Token(token),
        (None, _, None, Some(path)) => NatsLogin::Credentials(path),
        (None, _, None, None) => NatsLogin::None,
    };
    let (tls, timeout) = (tls(table), timeout(table));
    Some(NatsServerSettings { servers: servers?, login, tls, timeout })
}

/// Where rows go in a cluster, what keeps them in order, and how it is reached.
pub(super) fn kafka(table: &mut TableReader<'_, '_>) -> Option<KafkaSinkSettings> {
    let cluster = kafka_cluster(table);
    if !table.has("topic") {
        table.problem_of("topic", "it is missing");
    }
    let topic = template(table, "topic", "");
    let key = if table.has("key") { template(table, "key", "") } else { None };
    Some(KafkaSinkSettings { cluster: cluster?, topic: topic?, key })
}

/// How a Kafka cluster is reached.
pub(super) fn kafka_cluster(table: &mut TableReader<'_, '_>) -> Option<KafkaClusterSettings> {
    check_build(table, "brokers", cfg!(feature = "kafka"), "Kafka");
    let brokers = needed_texts(table, "brokers");
    let user = table.text("username");
    let (password, mechanism) =
        (secret(table, "password_file", "password_variable"), table.choice("sasl", &MECHANISMS));
    let login = match (user, password) {
        (Some(user), Some(password)) => {
            let mechanism = mechanism.unwrap_or("SCRAM-SHA-512").to_owned();
            Some(KafkaLogin { mechanism, user, password })
        }
        (None, None) => {
            if mechanism.is_some() {
                table.problem_of("sasl", "it needs username and password_file or password_variable");
            }
            None
        }
        _ => {
            table.problem_of("username", "username and password_file or password_variable go together");
            None
        }
    };
    let (tls, timeout) = (tls(table), timeout(table));
    let properties = table.entries("properties");
    if let Some((name, _)) = properties.iter().find(|(name, _)| OWN_PROPERTIES.contains(&name.as_str())) {
        table.problem_of(
            "properties",
            format!("{name} is set by the broker, from keys of its own or for what it promises"),
        );
    }
    Some(KafkaClusterSettings { brokers: brokers?, tls, login, timeout, properties })
}

/// Says of a key that nothing can come of it, where the build has no part for it.
fn check_build(table: &mut TableReader<'_, '_>, key: &'static str, is_built: bool, what: &str) {
    if !is_built {
        table.problem_of(key, format!("this dunlin was built without {what}"));
    }
}

/// What a column is read as: a formula, perhaps with a type before it.
trait ColumnText: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

impl ColumnText for Formula {
    fn read(text: &str) -> Result<Self, String> {
        Formula::parse(text)
    }
}

/// `number: payload.t`
impl ColumnText for (ParquetType, Formula) {
    fn read(text: &str) -> Result<Self, String> {
        let typed = text.split_once(':').map(|(word, formula)| (word.trim(), formula));
        let found = typed.and_then(|(word, formula)| {
            PARQUET_TYPES.iter().find(|(name, _)| *name == word).map(|(_, kind)| (*kind, formula))
        });
        let (kind, formula) = found.ok_or_else(|| {
            let words: Vec<&str> = PARQUET_TYPES.iter().map(|(word, _)| *word).collect();
            format!("{text:?} does not begin with a type and a colon: {}", words.join(", "))
        })?;
        Ok((kind, Formula::parse(formula.trim())?))
    }
}

/// `columns`: names, and what goes there.
fn formulas<T: ColumnText>(table: &mut TableReader<'_, '_>) -> Vec<(String, T)> {
    if !table.has("columns") {
        table.problem_of("columns", "it is missing");
    }
    let pairs = table.entries("columns");
    if pairs.len() > TARGET_COLUMNS_MAX {
        table.problem_of("columns", format!("there may be {TARGET_COLUMNS_MAX}"));
    }
    let mut columns = Vec::new();
    for (name, text) in pairs {
        match T::read(&text) {
            Ok(column) => columns.push((name, column)),
            Err(why) => table.problem_of("columns", format!("{name}: {why}")),
        }
    }
    columns
}

fn template(table: &mut TableReader<'_, '_>, key: &'static str, fallback: &str) -> Option<Template> {
    if table.has(key) { table.made(key, Template::parse) } else { Template::parse(fallback).ok() }
}

fn needed_texts(table: &mut TableReader<'_, '_>, key: &'static str) -> Option<Vec<String>> {
    let texts = table.texts(key);
    if texts.as_ref().is_none_or(Vec::is_empty) {
        table.problem_of(key, "it is missing");
        return None;
    }
    texts
}

/// TLS where it is asked for, or where a file for it is named.
fn tls(table: &mut TableReader<'_, '_>) -> Option<TlsClientSettings> {
    let is_on = table.switch("tls");
    let mut path = |key| table.text(key).map(PathBuf::from);
    let (ca, certificate, key) = (path("tls_ca"), path("tls_cert"), path("tls_key"));
    if certificate.is_some() != key.is_some() {
        table.problem_of("tls_cert", "tls_cert and tls_key go together");
    }
    let is_named = ca.is_some() || certificate.is_some();
    if is_on == Some(false) && is_named {
        table.problem_of("tls", "it is off, and files for it are named");
    }
    is_on.unwrap_or(is_named).then(|| TlsClientSettings { ca, identity: certificate.zip(key) })
}

fn timeout(table: &mut TableReader<'_, '_>) -> Duration {
    let given = table.millis("timeout", 100..=SINK_TIMEOUT_MAX_MS);
    Duration::from_millis(given.unwrap_or(SINK_TIMEOUT_DEFAULT_MS))
}

#[cfg(test)]
mod tests {
    use toml::de::{DeTable, DeValue};

    use super::*;
    use crate::config::secrets::SecretPlace;

    /// What is read of a table, and what is wrong with it.
    fn read<T>(text: &str, read: impl FnOnce(&mut TableReader<'_, '_>) -> T) -> (T, Vec<String>) {
        let document = DeTable::parse(text).unwrap();
        let mut reader = TableReader::new("[sink.x]", document.get_ref(), 0..0);
        let value = read(&mut reader);
        (value, reader.finish().into_iter().map(|(_, text)| text).collect())
    }

    #[test]
    fn a_whole_table_is_read() {
        let text = "host = '/run/postgresql'\ndatabase = 'd'\nusername = 'u'\npassword_file = '/p'\ntable = 'a.b'\nkey = 'k'\n\
            timeout = '5s'\n[columns]\nz = 'topic'\nk = 'payload.k'\n";
        let (settings, problems) = read(text, postgres);
        assert_eq!(problems, Vec::<String>::new());
        let settings = settings.unwrap();
        assert_eq!(settings.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["z", "k"]);
        assert_eq!((settings.port, settings.timeout), (5432, Duration::from_secs(5)));
        assert_eq!(settings.password, Some(SecretPlace::File("/p".into())));

        let text = "folder = '/f'\n[columns]\nt = 'number: payload.t'\nraw = 'bytes: output'\n";
        let (settings, problems) = read(text, |table| parquet(table, "kilns"));
        assert_eq!((problems, settings.as_ref().unwrap().prefix.as_str()), (Vec::new(), "kilns"));
        assert_eq!(settings.unwrap().columns[0].2, ParquetType::Number);

        let text = "brokers = ['a:9092', 'b:9092']\ntopic = 'x.{{ topic }}'\ntls_ca = '/ca'\nusername = 'u'\n\
            password_variable = 'P'\nsasl = 'plain'\nproperties = { 'linger.ms' = '5' }\n";
        let (settings, problems) = read(text, kafka);
        assert_eq!(problems, Vec::<String>::new());
        let cluster = settings.unwrap().cluster;
        assert_eq!(cluster.login.unwrap().mechanism, "PLAIN");
        assert_eq!(cluster.tls.unwrap().ca, Some("/ca".into()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let of = |text: &str, kind: &str| match kind {
            "postgres" => read(text, |table| postgres(table).is_some()).1,
            "parquet" => read(text, |table| parquet(table, "p").is_some()).1,
            "nats" => read(text, |table| nats(table).is_some()).1,
            _ => read(text, |table| kafka(table).is_some()).1,
        };
        for (kind, text, expected) in [
            ("postgres", "database = 'd'\nusername = 'u'\ntable = 't'\n", "columns: it is missing"),
            ("postgres", "username = 'u'\ntable = 't'\ncolumns = { a = 'topic' }", "database: it is missing"),
            ("postgres", "key = 'z'\ncolumns = { a = 'topic' }", "\"z\" is none of the columns"),
            ("postgres", "columns = { a = 'topic |' }", "columns: a: "),
            ("postgres", "password = 'x'\ncolumns = { a = 'topic' }", "unknown key \"password\""),
            ("parquet", "folder = '/f'\nprefix = '../x'\ncolumns = { a = 'text: topic' }", "prefix"),
            ("parquet", "folder = '/f'\ncolumns = { a = 'topic' }", "does not begin with a type"),
            ("nats", "subject = 'x'", "servers: it is missing"),
            ("nats", "servers = 'a'\nusername = 'u'\n", "a user has a password"),
            ("nats", "servers = 'a'\ntoken_file = '/t'\ncredentials_file = '/c'\n", "choose one"),
            ("kafka", "brokers = 'a'", "topic: it is missing"),
            ("kafka", "brokers = 'a'\ntopic = 't'\nproperties = { acks = '0' }", "acks is set by the broker"),
            ("kafka", "brokers = 'a'\ntopic = 't'\ntls = false\ntls_ca = '/c'", "it is off"),
            ("kafka", "brokers = 'a'\ntopic = 't'\nsasl = 'plain'", "it needs username"),
            ("kafka", "brokers = 'a'\ntopic = 't'\ntls_cert = '/c'", "go together"),
        ] {
            let problems = of(text, kind);
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}: {problems:?}");
        }
    }

    #[test]
    fn there_may_be_so_many_columns() {
        let columns: Vec<String> = (0..=TARGET_COLUMNS_MAX).map(|number| format!("c{number} = 'topic'\n")).collect();
        let text = format!("database = 'd'\nusername = 'u'\ntable = 't'\n[columns]\n{}", columns.concat());
        let (_, problems) = read(&text, postgres);
        assert!(problems.iter().any(|problem| problem.contains("there may be 256")), "{problems:?}");
    }

    #[test]
    fn an_inner_tables_problems_are_told_with_the_outer_ones() {
        let document = DeTable::parse("[kafka]\nbroker = 'a'\n").unwrap();
        assert!(matches!(document.get_ref().values().next().unwrap().get_ref(), DeValue::Table(_)));
        let mut reader = TableReader::new("[[sink]]", document.get_ref(), 0..0);
        let mut inner = reader.table("kafka", "[sink.kafka]").unwrap();
        assert_eq!(kafka(&mut inner), None);
        reader.take_problems(inner);
        let problems = reader.finish();
        assert!(problems.iter().any(|(_, text)| text.contains("did you mean brokers?")), "{problems:?}");
    }
}
