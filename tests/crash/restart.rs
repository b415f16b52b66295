//! What is there after kill -9, one thing at a time.

use std::time::Duration;

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, LastWill, PATIENCE, Publish, Received};

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
        // Those of one QoS come in their order: those of QoS 2 wait until their identifiers are written down.
        let of = |qos: u8| got.iter().filter(|publish| publish.qos == qos).cloned().collect::<Vec<_>>();
        let (even, odd) = (expected.iter().step_by(2), expected.iter().skip(1).step_by(2));
        assert!(payloads(&of(1)).iter().eq(even), "{shards} shards: {got:?} {}", broker.log());
        assert!(payloads(&of(2)).iter().eq(odd), "{shards} shards: {got:?} {}", broker.log());
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

#[test]
fn another_number_of_shards_reads_the_same_directory() {
    let data = DataDirectory::new("reshard");
    let broker = Broker::start(&data, &["--shards", "2"]);
    let ids: Vec<String> = (0..12).map(|number| format!("subscriber-{number}")).collect();
    for id in &ids {
        let mut subscriber = Client::connect(broker.address, id, false, None).unwrap();
        subscriber.subscribe(&format!("to/{id}"), 2).unwrap();
        subscriber.subscribe("to/all", 1).unwrap();
        subscriber.disconnect();
    }
    let long = vec![b'x'; 300_000];
    let mut publisher = Client::connect(broker.address, "publisher", true, None).unwrap();
    publisher.publish_through("to/all", &long, 2, 1).unwrap();
    publisher.publish_through("kept", b"retained", 3, 1).unwrap();
    for (number, id) in ids.iter().enumerate() {
        publisher.publish_through(&format!("to/{id}"), id.as_bytes(), 4, number as u16 + 2).unwrap();
    }
    publisher.publish_through("to/all", b"last", 2, 100).unwrap();
    broker.kill();
    for shards in ["3", "1", "2"] {
        // Twice each: what was written anew is read back as any other log.
        for _ in 0..2 {
            let broker = Broker::start(&data, &["--shards", shards]);
            assert!(!broker.log().contains("damaged"), "{shards} shards: {}", broker.log());
            broker.kill();
        }
    }
    let generations: Vec<_> =
        data.files().into_iter().filter(|file| !file.to_string_lossy().contains("log-4-")).collect();
    assert!(generations.is_empty(), "older generations are gone: {generations:?}");
    let broker = Broker::start(&data, &["--shards", "2"]);
    for id in &ids {
        let mut subscriber = Client::connect(broker.address, id, false, None).unwrap();
        assert!(subscriber.session_present);
        let got = take_all(&mut subscriber);
        let of = |qos: u8| {
            let of_it = got.iter().filter(move |publish| publish.qos == qos);
            of_it.map(|publish| publish.payload.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(1).iter().map(Vec::len).collect::<Vec<_>>(), [long.len(), 4], "{id}");
        assert_eq!((&of(1)[0], of(2)), (&long, vec![id.as_bytes().to_vec()]), "{id}");
    }
    let mut reader = Client::connect(broker.address, "reader", true, None).unwrap();
    reader.subscribe("#", 0).unwrap();
    assert!(payloads(&take_all(&mut reader)).contains(&"retained".to_owned()));
}

#[test]
fn subscriptions_and_their_end_survive() {
    let data = DataDirectory::new("subscriptions");
    let broker = Broker::start(&data, &["--shards", "2"]);
    let mut client = Client::connect(broker.address, "client", false, None).unwrap();
    client.subscribe("a", 1).unwrap();
    client.subscribe("b", 1).unwrap();
    client.unsubscribe("a").unwrap();
    broker.kill();
    let broker = Broker::start(&data, &["--shards", "2"]);
    for number in 0..8 {
        let mut publisher = Client::connect(broker.address, &format!("publisher-{number}"), true, None).unwrap();
        publisher.publish_through("a", b"nobody's", 2, 1).unwrap();
        publisher.publish_through("b", number.to_string().as_bytes(), 2, 2).unwrap();
    }
    let mut client = Client::connect(broker.address, "client", false, None).unwrap();
    assert!(client.session_present);
    assert_eq!(payloads(&take_all(&mut client)), ["0", "1", "2", "3", "4", "5", "6", "7"]);
    // A session that its client ends is gone for good.
    Client::connect(broker.address, "client", true, None).unwrap().disconnect();
    broker.kill();
    let broker = Broker::start(&data, &["--shards", "2"]);
    assert!(!Client::connect(broker.address, "client", false, None).unwrap().session_present);
}

#[test]
fn what_was_in_flight_is_sent_again_under_its_identifier() {
    let data = DataDirectory::new("in-flight");
    let broker = Broker::start(&data, &[]);
    let mut subscriber = Client::connect(broker.address, "subscriber", false, None).unwrap();
    subscriber.subscribe("t", 2).unwrap();
    let mut publisher = Client::connect(broker.address, "publisher", true, None).unwrap();
    publisher.publish_through("t", b"one", 2, 1).unwrap();
    publisher.publish_through("t", b"two", 4, 2).unwrap();
    let first: Vec<_> = (0..2).map(|_| subscriber.next(PATIENCE).unwrap().expect("it is connected")).collect();
    broker.kill();
    let broker = Broker::start(&data, &[]);
    let mut subscriber = Client::connect(broker.address, "subscriber", false, None).unwrap();
    let again: Vec<_> = (0..2).map(|_| subscriber.next(PATIENCE).unwrap().expect("it was not acknowledged")).collect();
    for (first, again) in first.into_iter().zip(again) {
        let (Received::Publish(first), Received::Publish(again)) = (first, again) else {
            panic!("two messages are in flight")
        };
        assert_eq!((again.dup, again), (true, Publish { dup: true, ..first }));
    }
    assert!(broker.log().contains("ready"));
}

#[test]
fn a_will_is_published_by_the_restart_and_once() {
    let data = DataDirectory::new("will");
    let broker = Broker::start(&data, &["--shards", "2"]);
    let mut heir = Client::connect(broker.address, "heir", false, None).unwrap();
    heir.subscribe("wills/#", 1).unwrap();
    heir.disconnect();
    let will = LastWill { topic: "wills/a".into(), payload: b"gone".to_vec(), qos: 1, retain: false };
    let testator = Client::connect(broker.address, "testator", false, Some(&will)).unwrap();
    broker.kill();
    drop(testator);
    let broker = Broker::start(&data, &["--shards", "2"]);
    std::thread::sleep(Duration::from_millis(500)); // nothing announces it to who is not connected
    broker.kill();
    let broker = Broker::start(&data, &["--shards", "2"]);
    let mut heir = Client::connect(broker.address, "heir", false, None).unwrap();
    assert_eq!(payloads(&take_all(&mut heir)), ["gone"], "{}", broker.log());
}
