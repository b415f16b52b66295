//! `[[source]]`: topics of Kafka and subjects of NATS whose messages are published here.
//!
//! Always holds: a source that exists has a name of its own, one place that it reads from, and a topic that it publishes to.
//! Leaves to others: reading and publishing (`services::sources`), how the servers are reached (`targets`).

use super::changes::ConnectorTable;
use super::tables::{TableReader, is_service_name};
use super::target_tables::{kafka_cluster, nats_server};
use super::targets::{KafkaClusterSettings, NatsServerSettings};
use crate::ids::Qos;
use crate::limits::{SOURCE_INFLIGHT_DEFAULT, SOURCE_INFLIGHT_MAX, SOURCE_TOPICS_MAX};
use crate::settings::Unit;
use crate::template::Template;

/// What one table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// What it is called: in its client id, in metrics, in the API.
    pub name: Box<str>,
    /// Where a message is published.
    pub topic: Template,
    /// With which quality of service. With 0 nobody says whether it came.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// After how many seconds nobody needs it any more.
    pub message_expiry_s: Option<u32>,
    /// Messages that wait for their acknowledgement at a time.
    pub inflight_max: u16,
    /// Where it reads.
    pub(crate) feed: FeedSettings,
}

/// Where a source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FeedSettings {
    Kafka(KafkaFeedSettings),
    Nats(NatsFeedSettings),
}

impl FeedSettings {
    /// Where it is, for people.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Kafka(kafka) => kafka.cluster.brokers.join(", "),
            Self::Nats(nats) => format!("{} {}", nats.server.servers.join(", "), nats.stream),
        }
    }

    /// In a few words.
    fn told(&self) -> String {
        match self {
            Self::Kafka(kafka) => format!("{} of {}", kafka.topics.join(", "), kafka.cluster.brokers.join(", ")),
            Self::Nats(nats) => format!("{} of {}", nats.stream, nats.server.servers.join(", ")),
        }
    }
}

/// `[source.kafka]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaFeedSettings {
    pub(crate) cluster: KafkaClusterSettings,
    /// Names, or regular expressions that begin with `^`.
    pub(crate) topics: Vec<String>,
    /// Who has read how far: several brokers with one group share the partitions.
    pub(crate) group: String,
    /// Whether a group that has read nothing begins with what is there, or with what comes.
    pub(crate) from_start: bool,
}

/// `[source.nats]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NatsFeedSettings {
    pub(crate) server: NatsServerSettings,
    pub(crate) stream: String,
    /// The durable consumer that remembers how far it has read; it is made if it is not there.
    pub(crate) consumer: String,
    /// What of the stream is read; all of it where there is none.
    pub(crate) subjects: Vec<String>,
    /// Whether a consumer that is made begins with what is there, or with what comes.
    pub(crate) from_start: bool,
}

/// Where one begins that has read nothing yet.
const STARTS: [(&str, bool); 2] = [("earliest", true), ("latest", false)];

/// What a table comes to, unless something is wrong with it.
pub(super) fn read(table: &mut TableReader<'_, '_>) -> Option<SourceSettings> {
    let name = table.needed_text("name").filter(|name| is_service_name(name));
    if name.is_none() && table.has("name") {
        table.problem_of("name", "1 to 64 letters, digits, dots, hyphens and underscores");
    }
    if !table.has("topic") {
        table.problem_of("topic", "it is missing");
    }
    let topic = table.made("topic", Template::parse);
    let qos = table.number("qos", Unit::Count, 0..=1).map_or(Qos::AtLeastOnce, |qos| match qos {
        0 => Qos::AtMostOnce,
        _ => Qos::AtLeastOnce,
    });
    let retain = table.switch("retain").unwrap_or(false);
    let expiry = table.number("message_expiry", Unit::Seconds, 1..=u64::from(u32::MAX - 1));
    let inflight = table.number("max_inflight", Unit::Count, 1..=u64::from(SOURCE_INFLIGHT_MAX));
    let group = format!("dunlin-{}", name.as_deref().unwrap_or_default());
    let kafka = table.table("kafka", "[source.kafka]").map(|mut inner| {
        let feed = kafka(&mut inner, &group);
        table.take_problems(inner);
        feed.map(FeedSettings::Kafka)
    });
    let nats = table.table("nats", "[source.nats]").map(|mut inner| {
        let feed = nats(&mut inner, &group);
        table.take_problems(inner);
        feed.map(FeedSettings::Nats)
    });
    let feed = match (kafka, nats) {
        (Some(feed), None) | (None, Some(feed)) => feed,
        (None, None) => {
            table.problem_of("kafka", "a source reads from something: [source.kafka] or [source.nats]");
            None
        }
        (Some(_), Some(_)) => {
            table.problem_of("nats", "a source reads from one place: write a [[source]] for each");
            None
        }
    };
    Some(SourceSettings {
        name: name?.into(),
        topic: topic?,
        qos,
        retain,
        message_expiry_s: expiry.map(|seconds| seconds as u32),
        inflight_max: inflight.map_or(SOURCE_INFLIGHT_DEFAULT, |number| number as u16),
        feed: feed?,
    })
}

fn kafka(table: &mut TableReader<'_, '_>, group: &str) -> Option<KafkaFeedSettings> {
    let cluster = kafka_cluster(table);
    let topics = places(table, "topics", true);
    let group = table.text("group").unwrap_or_else(|| group.to_owned());
    let from_start = table.choice("start", &STARTS).unwrap_or(true);
    Some(KafkaFeedSettings { cluster: cluster?, topics, group, from_start })
}

fn nats(table: &mut TableReader<'_, '_>, group: &str) -> Option<NatsFeedSettings> {
    let server = nats_server(table);
    let stream = table.needed_text("stream");
    let consumer = table.text("consumer").unwrap_or_else(|| group.replace('.', "_"));
    let subjects = places(table, "subjects", false);
    let from_start = table.choice("start", &STARTS).unwrap_or(true);
    Some(NatsFeedSettings { server: server?, stream: stream?, consumer, subjects, from_start })
}

/// Topics or subjects.
fn places(table: &mut TableReader<'_, '_>, key: &'static str, is_needed: bool) -> Vec<String> {
    let places = table.texts(key).unwrap_or_default();
    if places.is_empty() && is_needed {
        table.problem_of(key, "it is missing");
    }
    if places.len() > SOURCE_TOPICS_MAX {
        table.problem_of(key, format!("there may be {SOURCE_TOPICS_MAX}"));
    }
    places
}

impl ConnectorTable for SourceSettings {
    const SECTION: &'static str = "source";

    fn name(&self) -> &str {
        &self.name
    }

    fn told(&self) -> String {
        self.feed.told()
    }
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    fn read_one(text: &str) -> (Option<SourceSettings>, Vec<String>) {
        let document = DeTable::parse(text).unwrap();
        let mut reader = TableReader::new("[[source]]", document.get_ref(), 0..0);
        let source = read(&mut reader);
        (source, reader.finish().into_iter().map(|(_, text)| text).collect())
    }

    #[test]
    fn a_source_has_a_name_a_topic_and_one_place_to_read_from() {
        let text = "name = 'orders'\ntopic = 'from/{{ place }}'\nretain = true\nmessage_expiry = '1h'\n\
            [kafka]\nbrokers = 'a:9092'\ntopics = ['orders']\n";
        let (source, problems) = read_one(text);
        assert_eq!(problems, Vec::<String>::new());
        let source = source.unwrap();
        assert_eq!((source.qos, source.message_expiry_s), (Qos::AtLeastOnce, Some(3_600)));
        assert_eq!(source.inflight_max, SOURCE_INFLIGHT_DEFAULT);
        let FeedSettings::Kafka(kafka) = &source.feed else { panic!("{source:?}") };
        assert_eq!((kafka.group.as_str(), kafka.from_start), ("dunlin-orders", true));

        let text = "name = 'n.1'\ntopic = 'x'\nqos = 0\n[nats]\nservers = 'a'\nstream = 'S'\nstart = 'latest'\n";
        let (source, problems) = read_one(text);
        assert_eq!(problems, Vec::<String>::new());
        let FeedSettings::Nats(nats) = source.unwrap().feed else { panic!("it reads from NATS") };
        assert_eq!((nats.consumer.as_str(), nats.from_start), ("dunlin-n_1", false));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let kafka = "[kafka]\nbrokers = 'a'\ntopics = 't'\n";
        for (text, expected) in [
            ("topic = 't'\n", "name: it is missing"),
            ("name = 'a b'\ntopic = 't'\n", "name: 1 to 64 letters"),
            ("name = 'a'\n", "topic: it is missing"),
            ("name = 'a'\ntopic = '{{ x'\n", "topic: "),
            ("name = 'a'\ntopic = 't'\nqos = 2\n", "qos: "),
            ("name = 'a'\ntopic = 't'\nretian = true\n", "did you mean retain?"),
            ("name = 'a'\ntopic = 't'\nmax_inflight = 0\n", "max_inflight: "),
            ("name = 'a'\ntopic = 't'\nmax_inflight = 20001\n", "allowed is 1 to 20000"),
        ] {
            let (_, problems) = read_one(&format!("{text}{kafka}"));
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}: {problems:?}");
        }
        for (text, expected) in [
            ("", "a source reads from something"),
            ("[kafka]\nbrokers = 'a'\ntopics = 't'\n[nats]\nservers = 'a'\nstream = 's'\n", "one place"),
            ("[kafka]\nbrokers = 'a'\n", "topics: it is missing"),
            ("[nats]\nservers = 'a'\n", "stream: it is missing"),
        ] {
            let (source, problems) = read_one(&format!("name = 'a'\ntopic = 't'\n{text}"));
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}: {problems:?}");
            assert!(source.is_none() || expected.contains("topics"), "{text}");
        }
    }

    #[test]
    fn there_may_be_so_many_topics() {
        let topics = vec!["'t'"; SOURCE_TOPICS_MAX + 1].join(", ");
        let (_, problems) =
            read_one(&format!("name = 'a'\ntopic = 't'\n[kafka]\nbrokers = 'a'\ntopics = [{topics}]\n"));
        assert!(problems.iter().any(|problem| problem.contains("there may be 1000")), "{problems:?}");
    }
}
