//! `[[sink]]`: other systems that messages go to.
//!
//! Always holds: a sink that exists has a name of its own, a topic filter and exactly one target; its condition and its templates
//! are compiled.
//! Leaves to others: what a sink does (`services::sinks`), reading its secrets, which may change while it runs, and the tables of its
//! targets (`sink_targets`).

use std::sync::Arc;

use super::changes::ConnectorTable;
use super::sink_targets::{self, TargetSettings};
use super::tables::{TableReader, is_service_name};
use crate::ids::Qos;
use crate::limits;
use crate::settings::Unit;
use crate::template::{Condition, Template};
use crate::topic::{SubscribedFilter, TopicName};

/// All that a `[[sink]]` table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// What it is called: in its client id, in metrics, in the API.
    pub name: Box<str>,
    /// Which messages it gets.
    pub topics: Vec<Box<str>>,
    /// The highest quality of service with which it does: 0 or 1.
    pub qos: Qos,
    /// Batches that are under way at a time.
    pub workers: usize,
    /// Messages for which it comes to the same stay in order, however many workers there are.
    pub order_by: Option<Template>,
    /// Messages for which it does not hold are passed over.
    pub condition: Option<Condition>,
    /// What the target gets of a message.
    pub format: SinkFormat,
    /// What one batch holds.
    pub batch: BatchBounds,
    /// Where messages go that cannot be delivered.
    pub dead_letters: Box<str>,
    /// How long the session outlives a sink that does not run, in seconds.
    pub session_expiry_s: u32,
    /// Messages of QoS 1 that it holds at a time.
    pub inflight_max: u16,
    /// Where its messages go.
    pub target: TargetSettings,
}

/// What a target gets of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkFormat {
    /// An object of JSON with the topic, the payload and all else that is known.
    Json,
    /// The payload.
    Raw,
    /// What a template makes of it.
    Template(Template),
}

/// How much goes into one batch: the first bound that is met closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchBounds {
    /// So many messages.
    pub messages: usize,
    /// So many bytes; a larger message is a batch by itself.
    pub bytes: usize,
    /// So many milliseconds after its first message.
    pub time_ms: u64,
}

/// Reads a table; what is wrong with it goes to the reader.
pub(super) fn read(table: &mut TableReader<'_, '_>) -> Option<SinkSettings> {
    let name = table.needed_text("name")?;
    if !is_service_name(&name) {
        table.problem_of("name", "letters, digits, '-', '_' and '.' are allowed, 64 of them at most");
        return None;
    }
    let topics = topics(table);
    let qos = table.number("qos", Unit::Count, 0..=1).map_or(Qos::AtLeastOnce, |qos| match qos {
        0 => Qos::AtMostOnce,
        _ => Qos::AtLeastOnce,
    });
    let batch = batch(table);
    let workers = table.number("workers", Unit::Count, 1..=limits::SINK_WORKERS_MAX as u64).unwrap_or(1) as usize;
    let order_by = table.made("order_by", Template::parse);
    let condition = table.made("condition", Condition::parse);
    let format = format(table);
    let dead_letters = table.made("dead_letters", |text| {
        let topic = TopicName::parse(text, u16::MAX).map_err(|_| "it is no topic name".to_owned())?;
        if topic.as_str().starts_with("$SYS") { Err("$SYS is the broker's own".to_owned()) } else { Ok(text.into()) }
    });
    let expiry = table.number("session_expiry", Unit::Seconds, 60..=u64::from(u32::MAX - 1));
    // Two batches for each worker: one is under way while the next is put together.
    let usual = (2 * workers * batch.messages).clamp(16, usize::from(limits::SINK_INFLIGHT_MAX));
    let inflight = table.number("max_inflight", Unit::Count, 1..=u64::from(limits::SINK_INFLIGHT_MAX));
    let target = sink_targets::read(table)?;
    Some(SinkSettings {
        dead_letters: dead_letters.unwrap_or_else(|| format!("$dead/{name}").into()),
        name: name.into(),
        topics,
        qos,
        workers,
        order_by,
        condition,
        format,
        batch,
        session_expiry_s: expiry.map_or(limits::SINK_SESSION_EXPIRY_DEFAULT_S, |seconds| seconds as u32),
        inflight_max: inflight.map_or(usual as u16, |number| number as u16),
        target,
    })
}

fn topics(table: &mut TableReader<'_, '_>) -> Vec<Box<str>> {
    let topics = table.texts("topics").unwrap_or_default();
    if topics.is_empty() {
        table.problem_of("topics", "it is missing: say which messages the sink gets, as topics = [\"plant/#\"]");
    }
    if topics.len() > limits::SINK_TOPICS_MAX {
        table.problem_of("topics", format!("{} are too many: {} are allowed", topics.len(), limits::SINK_TOPICS_MAX));
    }
    for topic in &topics {
        let filter = SubscribedFilter::parse(topic, u16::MAX).ok().filter(|filter| filter.share.is_none());
        if filter.is_none() {
            table.problem_of("topics", format!("{topic:?} is no topic filter that a sink can have"));
        }
    }
    topics.into_iter().map(Into::into).collect()
}

fn batch(table: &mut TableReader<'_, '_>) -> BatchBounds {
    let messages = table.number("batch_messages", Unit::Count, 1..=limits::SINK_BATCH_MESSAGES_MAX as u64);
    let bytes = table.number("batch_bytes", Unit::Bytes, 1..=limits::SINK_BATCH_MAX_BYTES as u64);
    let time_ms = table.millis("batch_time", 0..=limits::SINK_BATCH_TIME_MAX_MS);
    BatchBounds {
        messages: messages.map_or(limits::SINK_BATCH_MESSAGES_DEFAULT, |number| number as usize),
        bytes: bytes.map_or(limits::SINK_BATCH_DEFAULT_BYTES, |number| number as usize),
        time_ms: time_ms.unwrap_or(limits::SINK_BATCH_TIME_DEFAULT_MS),
    }
}

fn format(table: &mut TableReader<'_, '_>) -> SinkFormat {
    let is_raw = table.choice("format", &[("json", false), ("raw", true)]);
    match (is_raw, table.made("template", Template::parse)) {
        (Some(_), Some(_)) => {
            table.problem_of("format", "template says already what the target gets: leave one of them out");
            SinkFormat::Json
        }
        (_, Some(template)) => SinkFormat::Template(template),
        (Some(true), None) => SinkFormat::Raw,
        _ => SinkFormat::Json,
    }
}

/// One of these that writes files of the same folder and prefix: each would remove the other's.
pub(super) fn shares_files<'a>(new: &SinkSettings, known: &'a [Arc<SinkSettings>]) -> Option<&'a SinkSettings> {
    let TargetSettings::File(ours) = &new.target else { return None };
    let is_same = |other: &&Arc<SinkSettings>| matches!(&other.target, TargetSettings::File(theirs) if theirs.folder == ours.folder && theirs.prefix == ours.prefix);
    known.iter().find(is_same).map(AsRef::as_ref)
}

impl ConnectorTable for SinkSettings {
    const SECTION: &'static str = "sink";

    fn name(&self) -> &str {
        &self.name
    }

    fn told(&self) -> String {
        format!("{} to {} {}", self.topics.join(", "), self.target.word(), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, Invocation, System, load_on};
    use super::*;
    use crate::config::secrets::SecretPlace;
    use crate::config::sink_targets::{HttpBody, HttpLogin, TargetSettings};
    use crate::settings::Machine;

    fn load(file: &str) -> Result<Config, String> {
        let read = |_: &std::path::Path| Ok(file.to_owned());
        let system = System { machine: Machine { cores: 2, ..Machine::default() }, read_file: &read };
        match load_on(&system, ["dunlin", "-c", "d.toml"].map(Into::into), []) {
            Ok(Invocation::Run(config)) => Ok(*config),
            Ok(other) => panic!("{other:?}"),
            Err(ConfigError::Invalid { problems, .. }) => {
                Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_table_has_defaults_and_what_it_says() {
        let config = load("[[sink]]\nname = \"a\"\ntopics = \"x/#\"\n[sink.file]\nfolder = \"/tmp/x\"\n").unwrap();
        let sink = &config.sinks[0];
        assert_eq!(
            (sink.qos, sink.workers, &*sink.dead_letters, sink.inflight_max),
            (Qos::AtLeastOnce, 1, "$dead/a", 1_000)
        );
        assert_eq!((&sink.format, sink.batch.messages, sink.batch.time_ms), (&SinkFormat::Json, 500, 200));
        let config = load(
            "[[sink]]\nname = \"b\"\ntopics = [\"x/#\", \"$SYS/brokers/#\"]\nqos = 0\nworkers = 3\norder_by = \"{{ topic }}\"\n\
             condition = \"payload.t > 3\"\nformat = \"raw\"\nbatch_messages = 10\nbatch_time = \"250ms\"\n\
             dead_letters = \"dead/b\"\nmax_inflight = 7\n[sink.http]\nurl = \"https://h:8443/in?a=b\"\n\
             body = \"array\"\nusername = \"u\"\npassword_file = \"/p\"\ntimeout = \"5s\"\n[sink.http.headers]\nx-a = \"1\"\n",
        )
        .unwrap();
        let sink = &config.sinks[0];
        assert_eq!((sink.qos, sink.workers, &*sink.dead_letters, sink.inflight_max), (Qos::AtMostOnce, 3, "dead/b", 7));
        assert_eq!((sink.batch.messages, sink.batch.time_ms, sink.topics.len()), (10, 250, 2));
        let TargetSettings::Http(http) = &sink.target else { panic!("{:?}", sink.target) };
        assert_eq!((http.url.to_string().as_str(), http.url.port, http.timeout_ms), ("https://h:8443", 8_443, 5_000));
        assert_eq!(http.headers, [("x-a".to_owned(), "1".to_owned())]);
        assert_eq!(http.login, HttpLogin::Basic("u".to_owned(), SecretPlace::File("/p".into())));
        assert!(matches!(&http.body, HttpBody::Joined { begin, .. } if begin == "["));
    }

    #[test]
    fn what_is_printed_has_the_tables_and_is_read_as_the_same() {
        let file = "[[sink]]\nname = \"a\"\ntopics = [\n  \"x/#\",\n]\ntemplate = \'\'\'\n[not a table]\'\'\'\n[sink.http]\nurl = \"http://h/\"\n\
                    headers = { x-a = \"1\" }\n[node]\nshards = 2\n[[sink]]\nname = \"b\"\ntopics = [\"y\"]\n[sink.file]\nfolder = \"/f\" # here\n";
        let config = load(file).unwrap();
        let again = load(&config.to_toml()).unwrap();
        assert_eq!((again.sinks.len(), &again.sinks), (2, &config.sinks));
        assert_eq!(again.own_tables, config.own_tables);
    }

    #[test]
    fn what_is_wrong_with_a_table_is_told_with_its_line() {
        let http = "[sink.http]\nurl = \"http://h/\"\n";
        let head = "[[sink]]\nname = \"a\"\ntopics = [\"x\"]\n";
        for (file, expected) in [
            ("[[sink]]\ntopics = [\"x\"]\n".to_owned(), "d.toml:1: [[sink]] name: it is missing"),
            (format!("[[sink]]\nname = \"a b\"\n{http}"), "d.toml:2: [[sink]] name: letters"),
            (format!("[[sink]]\nname = \"a\"\ntopics = [\"x/#/y\"]\n{http}"), "\"x/#/y\" is no topic filter"),
            (format!("[[sink]]\nname = \"a\"\ntopics = [\"$share/g/x\"]\n{http}"), "is no topic filter"),
            (format!("{head}qos = 2\n{http}"), "d.toml:4: [[sink]] qos: allowed is 0 to 1"),
            (format!("{head}condition = \"a >\"\n{http}"), "d.toml:4: [[sink]] condition: syntax error"),
            (format!("{head}template = \"{{{{ a\"\n{http}"), "d.toml:4: [[sink]] template: syntax error"),
            (format!("{head}colour = 1\n{http}"), "d.toml:4: unknown key \"colour\" in [[sink]]"),
            (format!("{head}workerz = 1\n{http}"), "did you mean workers?"),
            (format!("{head}batch_time = \"2h\"\n{http}"), "batch_time: allowed is"),
            (format!("{head}dead_letters = \"a/+\"\n{http}"), "dead_letters: it is no topic name"),
            (head.to_owned(), "a sink has one target, not 0"),
            (format!("{head}{http}[sink.file]\nfolder = \"/x\"\n"), "a sink has one target, not 2"),
            (format!("{head}[sink.http]\nurl = \"ftp://h/\"\n"), "d.toml:5: [sink.http] url: a URL begins with"),
            (format!("{head}[sink.http]\nurl = \"http://u:p@h/\"\n"), "user and password have keys of their own"),
            (format!("{head}{http}bearer_file = \"/a\"\nusername = \"u\"\n"), "either a bearer token"),
            (format!("{head}{http}[sink.http.headers]\nHost = \"x\"\n"), "\"Host\" cannot be set"),
            (format!("{head}{http}{head}{http}"), "another [[sink]] has this name"),
            (
                format!(
                    "{head}[sink.file]\nfolder = \"/x\"\n[[sink]]\nname = \"b\"\ntopics = [\"y\"]\n[sink.file]\nfolder = \"/x/./\"\nprefix = \"messages\"\n"
                ),
                "d.toml:6: [[sink]] a writes files of this folder and prefix already",
            ),
            (format!("{head}[sink.file]\nfolder = \"here\"\n"), "folder: it is to be a whole path"),
            (format!("{head}[sink.file]\nfolder = \"/x\"\nprefix = \"../y\"\n"), "[sink.file] prefix"),
            (format!("{head}[sink.republish]\nqos = 1\n"), "[sink.republish] topic: it is missing"),
        ] {
            let problems = load(&file).unwrap_err();
            assert!(problems.contains(expected), "{expected:?} for {file}: {problems}");
        }
    }
}
