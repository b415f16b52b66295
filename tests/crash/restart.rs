//! What is there after kill -9, one thing at a time.

use std::time::Duration;

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, Publish};

/// Longer than what there is takes to come.
const QUIET: Duration = Duration::from_millis(500);

fn take_all(client: &mut Client) -> Vec<Publish> {
    std::iter::from_fn(|| client.take(QUIET).expect("the broker lives")).collect()
}

fn payloads(publishes: &[Publish]) -> Vec<String> {
    publishes.iter().map(|publish| String::from_utf8_lossy(&publish.payload).into_owned()).collect()
}

#[test]
fn what_was_acknowledged_for_an_offline_session_is_delivered_once_it_is_back() {
    for shards in ["1", "3"] {
        let data = DataDirectory::new(&format!("offline-{shards}"));
        let broker = Broker::start(&data, &["--shards", shards]);
        let mut subscriber = Client::connect(broker.address, "subscriber", false, None).unwrap();
        subscriber.subscribe("orders/#", 2).unwrap();
        subscriber.disconnect();
        let mut expected = Vec::new();
        for number in 0..60_u16 {
            // Publishers of all shards.
            let mut publisher =
                Client::connect(broker.address, &format!("publisher-{}", number % 6), true, None).unwrap();
            let qos = if number % 2 == 0 { 2 } else { 4 };
            publisher.publish_through("orders/new", number.to_string().as_bytes(), qos, 1).unwrap();
            expected.push(number.to_string());
        }
        broker.kill();
        let broker = Broker::start(&data, &["--shards", shards]);
        let mut subscriber = Client::connect(broker.address, "subscriber", false, None).unwrap();
        assert!(subscriber.session_present);
        let got = take_all(&mut subscriber);
        assert_eq!(payloads(&got), expected, "{shards} shards: {}", broker.log());
        assert!(got.iter().all(|publish| publish.topic == "orders/new" && !publish.dup));
    }
}

#[test]
fn retained_messages_survive_and_deleted_ones_do_not_come_back() {
    let data = DataDirectory::new("retained");
    let broker = Broker::start(&data, &["--shards", "2"]);
    for (at, topic) in ["r/kept", "r/changed", "r/deleted", "r/exact"].into_iter().enumerate() {
        let mut client = Client::connect(broker.address, &format!("first-{at}"), true, None).unwrap();
        client.publish_through(topic, b"old", if at == 3 { 5 } else { 3 }, 1).unwrap();
    }
    for at in 0..4 {
        // By another client, and so perhaps by another shard.
        let mut client = Client::connect(broker.address, &format!("second-{at}"), true, None).unwrap();
        client.publish_through("r/changed", format!("new {at}").as_bytes(), 3, 1).unwrap();
        client.publish_through("r/deleted", b"", 3, 2).unwrap();
    }
    broker.kill();
    let broker = Broker::start(&data, &["--shards", "2"]);
    let mut reader = Client::connect(broker.address, "reader", true, None).unwrap();
    reader.subscribe("r/#", 1).unwrap();
    let mut got: Vec<(String, String)> = take_all(&mut reader)
        .into_iter()
        .map(|publish| (publish.topic, String::from_utf8(publish.payload).unwrap()))
        .collect();
    got.sort();
    let expected = [("r/changed", "new 3"), ("r/exact", "old"), ("r/kept", "old")];
    assert_eq!(got, expected.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())));
}
