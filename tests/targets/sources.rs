//! Messages of NATS and Kafka come here, and none is lost when the broker is killed.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::broker::{Broker, DataDirectory};
use crate::client::Client;
use crate::foreign::ForeignServer;
use crate::{LIMIT, await_log, numbers, take_all};

/// What `dunlin ctl source orders` says once it is as wanted.
fn await_told(data: &DataDirectory, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let command = command.args(["ctl", "--json", "--socket"]).arg(socket(data)).args(["source", "orders"]);
        let output = command.output().expect("it runs");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if output.status.success() && is_so(&told) {
            return told;
        }
        assert!(Instant::now() < deadline, "not in time: {what}: {told} {}", String::from_utf8_lossy(&output.stderr));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A scrape.
fn metrics(data: &DataDirectory) -> String {
    let mut stream = UnixStream::connect(socket(data)).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers, and closes");
    text
}

fn socket(data: &DataDirectory) -> PathBuf {
    data.path().with_extension("admin")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A broker with this configuration beside its data.
fn start(data: &DataDirectory, configuration: &str) -> Broker {
    let file = data.beside("lines", configuration);
    let socket = socket(data);
    let socket = socket.to_str().expect("UTF-8");
    Broker::start(data, &["--config", &file, "--shards", "2", "--admin-port", "off", "--admin-socket", socket])
}

/// The session of [`subscriber`] again: what waits for it comes at once.
fn again(broker: &Broker) -> Client {
    Client::connect(broker.address, "reader", false, None).expect("the broker lives")
}

/// A persistent session that gets all of a source.
fn subscriber(broker: &Broker) -> Client {
    let mut client = again(broker);
    client.subscribe("from/#", 1).expect("it is allowed");
    client
}

async fn stream_of(server: &ForeignServer) -> (jetstream::Context, stream::Stream) {
    let client = async_nats::connect(server.port.address().to_string()).await.expect("NATS");
    let context = jetstream::new(client);
    let config = stream::Config {
        name: "ORDERS".to_owned(),
        subjects: vec!["orders.>".to_owned()],
        ..stream::Config::default()
    };
    let stream = context.get_or_create_stream(config).await.expect("a stream");
    (context, stream)
}

fn nats_source(server: &ForeignServer) -> String {
    format!(
        "[[source]]\nname = \"orders\"\ntopic = \"from/{{{{ place | replace('.', '/') }}}}\"\n[source.nats]\n\
         servers = [\"{}\"]\nstream = \"ORDERS\"\ntimeout = \"5s\"\n",
        server.port.address()
    )
}

#[test]
fn a_stream_of_nats_is_read_to_its_end_though_the_broker_is_killed() {
    let (data, server, runtime) = (DataDirectory::new("source-nats"), ForeignServer::nats(), runtime());
    let (context, mut stream) = runtime.block_on(stream_of(&server));
    let mut broker = start(&data, &nats_source(&server));
    drop(subscriber(&broker));
    for number in 0..600 {
        runtime.block_on(async {
            let subject = format!("orders.{}", number % 3);
            let sent = context.publish(subject, number.to_string().into()).await.expect("NATS takes it");
            sent.await.expect("it is acknowledged");
        });
        if number == 200 || number == 400 {
            broker.kill();
            broker = start(&data, &nats_source(&server));
        }
    }
    let mut reader = again(&broker);
    take_all(&mut reader, &broker, &numbers(600));
    // Acknowledged to the end: nothing is left for another.
    runtime.block_on(async {
        let deadline = Instant::now() + LIMIT;
        loop {
            let consumer = stream.consumer_info("dunlin-orders").await.expect("it was made");
            if consumer.num_pending == 0 && consumer.num_ack_pending == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{consumer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(stream.info().await.expect("NATS").state.messages, 600);
    });
    let told = await_told(&data, "nothing waits", |told| told["lag_messages"] == 0);
    assert!(told["status"] == "connected" && told["failing"] == false && told["connects"] == 1, "{told}");
    let metrics = metrics(&data);
    for line in ["dunlin_source_lag_messages{source=\"orders\"} 0", "dunlin_source_connected{source=\"orders\"} 1"] {
        assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
    }
    assert!(told["messages"].as_u64() >= Some(1) && told["bytes"].as_u64() >= told["messages"].as_u64(), "{told}");
    broker.stop();
}

#[test]
fn a_message_that_mqtt_cannot_have_holds_nobody_up_and_a_server_may_come_later() {
    let (data, mut server, runtime) = (DataDirectory::new("source-odd"), ForeignServer::nats(), runtime());
    let (context, _stream) = runtime.block_on(stream_of(&server));
    let publish = |subject: &'static str, payload: &'static str| {
        runtime.block_on(async {
            // The client that publishes has to come again, too, when the server does.
            let deadline = Instant::now() + LIMIT;
            while context.publish(subject, payload.into()).await.expect("NATS takes it").await.is_err() {
                assert!(Instant::now() < deadline, "NATS does not come again");
            }
        });
    };
    publish("orders.a", "before");
    let configuration = nats_source(&server).replace("place | replace('.', '/')", "payload");
    server.kill();
    let broker = start(&data, &configuration);
    let mut reader = subscriber(&broker);
    await_log(&broker, "kind=source name=orders");
    let told = await_told(&data, "it fails", |told| told["failing"] == true);
    assert!(
        told["status"] == "connecting" && told["last_error"].is_string() && told["lag_messages"].is_null(),
        "{told}"
    );
    server.kill_and_start_nats();
    publish("orders.a", "a/+/wildcard");
    publish("orders.a", "after");
    let (order, _) = take_all(&mut reader, &broker, &["before".to_owned(), "after".to_owned()].into());
    assert_eq!(order, ["before", "after"]);
    await_log(&broker, "message 2 of the stream is left behind");
    let told = await_told(&data, "all of it is read", |told| told["lag_messages"] == 0);
    assert!(told["messages"] == 2 && told["left_behind"] == 1 && told["failures"].as_u64() >= Some(1), "{told}");
    assert!(told["status"] == "connected" && told["failing"] == false, "{told}");
    broker.stop();
}

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn kafka_source(cluster: &Cluster) -> String {
    format!(
        "[[source]]\nname = \"orders\"\ntopic = \"from/{{{{ place }}}}/{{{{ key }}}}\"\n[source.kafka]\n\
         brokers = [\"{}\"]\ntopics = [\"orders\"]\nproperties = {{ \"session.timeout.ms\" = \"6000\" }}\n",
        cluster.bootstrap_servers().replace(',', "\", \"")
    )
}

async fn produce(cluster: &Cluster, numbers: std::ops::Range<usize>) {
    let mut config = ClientConfig::new();
    let producer: FutureProducer =
        config.set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("Kafka");
    for number in numbers {
        let (key, payload) = ((number % 7).to_string(), number.to_string());
        let record = FutureRecord::to("orders").key(&key).payload(&payload);
        producer.send(record, LIMIT).await.expect("Kafka takes it");
    }
}

/// What a group has read, over all partitions.
fn committed(cluster: &Cluster, group: &str) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", group);
    let consumer: BaseConsumer = config.create().expect("Kafka");
    let mut asked = rdkafka::TopicPartitionList::new();
    asked.add_partition_range("orders", 0, 3);
    let offsets = consumer.committed_offsets(asked, Duration::from_secs(10)).expect("Kafka answers");
    offsets.elements().iter().filter_map(|element| element.offset().to_raw()).filter(|offset| *offset > 0).sum()
}

#[test]
fn topics_of_kafka_are_read_to_their_end_though_the_broker_is_killed() {
    let (data, runtime) = (DataDirectory::new("source-kafka"), runtime());
    let cluster = MockCluster::new(3).expect("a cluster for tests");
    cluster.create_topic("orders", 4, 3).expect("a topic");
    let mut broker = start(&data, &kafka_source(&cluster));
    drop(subscriber(&broker));
    for part in 0..3 {
        runtime.block_on(produce(&cluster, part * 100..part * 100 + 100));
        if part < 2 {
            std::thread::sleep(Duration::from_millis(300));
            broker.kill();
            broker = start(&data, &kafka_source(&cluster));
        }
    }
    let mut reader = again(&broker);
    take_all(&mut reader, &broker, &numbers(300));
    let deadline = Instant::now() + LIMIT;
    while committed(&cluster, "dunlin-orders") < 300 {
        assert!(Instant::now() < deadline, "{} are committed", committed(&cluster, "dunlin-orders"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let told = await_told(&data, "nothing waits", |told| told["lag_messages"] == 0);
    assert!(told["status"] == "connected" && told["failing"] == false, "{told}");
    // The next broker goes on where this one ended.
    broker.stop();
    runtime.block_on(produce(&cluster, 300..310));
    let broker = start(&data, &kafka_source(&cluster));
    let mut reader = again(&broker);
    let rest: BTreeSet<String> = (300..310).map(|number: usize| number.to_string()).collect();
    take_all(&mut reader, &broker, &rest);
    broker.stop();
}
