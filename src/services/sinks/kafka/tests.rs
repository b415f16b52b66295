//! Against the cluster that librdkafka has for tests: Kafka's protocol over TCP, by code that others wrote, but not Apache's broker.

use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Headers as _, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::config::targets::KafkaClusterSettings;
use crate::services::sinks::samples::row;
use crate::template::Template;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let cluster = MockCluster::new(3).unwrap();
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 3).unwrap();
    }
    cluster
}

fn settings(cluster: &Cluster, topic: &str) -> KafkaSinkSettings {
    KafkaSinkSettings {
        cluster: KafkaClusterSettings {
            brokers: cluster.bootstrap_servers().split(',').map(str::to_owned).collect(),
            tls: None,
            login: None,
            timeout: Duration::from_secs(8),
            properties: vec![("compression.type".to_owned(), "lz4".to_owned())],
        },
        topic: Template::parse(topic).unwrap(),
        key: None,
    }
}

/// Everything that a topic holds, as another client reads it.
async fn all_of(cluster: &Cluster, topic: &str, count: usize) -> Vec<OwnedMessage> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "tests");
    config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let consumer: StreamConsumer = config.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let mut messages = Vec::new();
    while messages.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), consumer.recv()).await;
        messages.push(next.expect("a message").unwrap().detach());
    }
    let more = tokio::time::timeout(Duration::from_millis(1_500), consumer.recv()).await;
    assert!(more.is_err(), "there is one more than was sent");
    messages
}

fn text(message: &OwnedMessage) -> &str {
    std::str::from_utf8(message.payload().unwrap_or_default()).unwrap()
}

#[tokio::test]
async fn a_topic_has_each_row_with_key_headers_and_time() {
    let cluster = cluster(&[("plant.7", 4)]);
    let mut target = KafkaTarget::new(settings(&cluster, "{{ topic | kafka_topic }}"));
    let mut batch: Vec<_> = (0..200).map(|id| row(id, "plant/7", &id.to_string())).collect();
    for row in &mut batch {
        row.key = Some(format!("kiln-{}", row.id % 5).into_bytes().into());
        row.user_properties = vec![("unit".into(), "C".into())];
    }
    assert_eq!(target.deliver(&batch).await, Ok(Delivered::All));
    let messages = all_of(&cluster, "plant.7", 200).await;
    for key in 0..5_usize {
        let name = format!("kiln-{key}");
        let of_key: Vec<_> = messages.iter().filter(|message| message.key() == Some(name.as_bytes())).collect();
        let numbers: Vec<usize> = of_key.iter().map(|message| text(message).parse().unwrap()).collect();
        assert_eq!(numbers, (key..200).step_by(5).collect::<Vec<_>>(), "rows of one key are out of order");
        assert!(of_key.windows(2).all(|pair| pair[0].partition() == pair[1].partition()));
    }
    let headers = messages[0].headers().unwrap();
    let all: Vec<_> = headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect();
    assert!(all.contains(&("mqtt-topic", b"plant/7")) && all.contains(&("unit", b"C")), "{all:?}");
    assert_eq!(messages[0].timestamp().to_millis(), Some(1_796_040_000_123));
}

#[tokio::test]
async fn what_the_producer_sends_again_by_itself_stands_there_once() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT};
    let cluster = cluster(&[("t", 1)]);
    let mut target = KafkaTarget::new(settings(&cluster, "t"));
    assert_eq!(target.deliver(&[row(0, "t", "0")]).await, Ok(Delivered::All));
    let errors = [RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    let batch: Vec<_> = (1..100).map(|id| row(id, "t", &id.to_string())).collect();
    assert_eq!(target.deliver(&batch).await, Ok(Delivered::All));
    let messages = all_of(&cluster, "t", 100).await;
    let numbers: Vec<u32> = messages.iter().map(|message| text(message).parse().unwrap()).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn brokers_that_are_down_are_tried_again_and_nothing_is_lost() {
    let cluster = cluster(&[("t", 1)]);
    let mut short = settings(&cluster, "t");
    short.cluster.timeout = Duration::from_secs(2);
    let mut target = KafkaTarget::new(short);
    for broker in 1..=3 {
        cluster.broker_down(broker).unwrap();
    }
    let batch = [row(1, "t", "1"), row(2, "t", "2")];
    let down = target.deliver(&batch).await;
    assert!(matches!(down, Err(DeliverError::Retry { .. })), "{down:?}");
    for broker in 1..=3 {
        cluster.broker_up(broker).unwrap();
    }
    let mut delivered = target.deliver(&batch).await;
    for _ in 0..10 {
        if delivered.is_ok() {
            break;
        }
        delivered = target.deliver(&batch).await;
    }
    assert_eq!(delivered, Ok(Delivered::All));
    let messages = all_of(&cluster, "t", 2).await;
    assert_eq!(messages.iter().map(text).collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test]
async fn a_row_that_the_cluster_never_takes_is_named() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    let cluster = cluster(&[("t", 1)]);
    let mut target = KafkaTarget::new(settings(&cluster, "t"));
    let long = "x".repeat(2_000_000);
    let delivered = target.deliver(&[row(1, "t", "1"), row(2, "t", &long), row(3, "t", "3")]).await;
    let Ok(Delivered::Some { rejected }) = delivered else { panic!("{delivered:?}") };
    assert_eq!(rejected.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1], "{rejected:?}");
    cluster.request_errors(RDKafkaApiKey::Produce, &[RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let delivered = target.deliver(&[row(4, "t", "4")]).await;
    assert!(matches!(&delivered, Ok(Delivered::Some { rejected }) if rejected.len() == 1), "{delivered:?}");
    let messages = all_of(&cluster, "t", 2).await;
    assert_eq!(messages.iter().map(text).collect::<Vec<_>>(), ["1", "3"]);
}
