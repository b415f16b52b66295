//! Subscribers that take less than publishers send: with `--full-queue hold-back` whoever publishes waits for a while, and with
//! `--full-queue-code quota-exceeded` it is told of what nobody could take.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::packets::{Connect, PUBACK, Publish, V5, V311, prop};
use crate::world::{World, with_flags};

/// QoS 1 messages with these identifiers, which are their payloads, too.
fn burst(ids: std::ops::RangeInclusive<u16>, topic: &str) -> Vec<u8> {
    ids.flat_map(|id| Publish::new(topic, id.to_string()).qos(1).id(id).encode(V311)).collect()
}

/// Everything in one go, and nothing read before all is written: as mqtt.js does.
fn publish_all(publisher: &mut Client, count: u16, topic: &str) {
    publisher.send_quietly(&burst(1..=count, topic));
    for id in 1..=count {
        publisher.expect_ack(PUBACK, id);
    }
}

// covers: [MQTT-4.6.0-5] (5.0)
#[test]
fn a_burst_of_5000_to_a_healthy_subscriber_arrives_whole() {
    with_flags(&["--full-queue", "hold-back"], |w| {
        let topic = w.topic("burst");
        let (mut subscriber, _) = w.connect(&Connect::new(V5, w.id("sub")).prop(prop::receive_maximum(20_u16)));
        assert_eq!(subscriber.subscribe(&topic, 1), 1);
        let mut publisher = w.client(V311, "pub");
        std::thread::scope(|scope| {
            scope.spawn(|| publish_all(&mut publisher, 5_000, &topic));
            for number in 1..=5_000 {
                assert_eq!(subscriber.take().text(), number.to_string());
            }
        });
        publisher.ping();
    });
}

#[test]
fn a_subscriber_that_stops_holds_its_publishers_for_a_while_and_not_for_ever() {
    let flags = ["--full-queue", "hold-back", "--max-queued-messages", "100", "--max-inflight", "10"];
    with_flags(&flags, |w| {
        let topic = w.topic("stuck");
        let mut stuck = w.client(V5, "stuck");
        assert_eq!(stuck.subscribe(&topic, 1), 1);
        let mut publisher = w.client(V311, "pub");
        let began = Instant::now();
        publisher.send_quietly(&burst(1..=200, &topic));
        // Ten in flight, and not quite half of a hundred.
        for id in 1..=59 {
            publisher.expect_ack(PUBACK, id);
        }
        assert!(began.elapsed() < Duration::from_secs(4), "these wait for nobody");
        publisher.expect_ack(PUBACK, 60);
        let waited = began.elapsed();
        assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&waited), "{waited:?}");
        for id in 61..=200 {
            publisher.expect_ack(PUBACK, id);
        }
        publisher.ping();
        assert!(began.elapsed() < waited + Duration::from_secs(3), "it has been given up");
        // What has found room comes when its client goes on.
        for number in 1..=110 {
            assert_eq!(stuck.take().text(), number.to_string());
        }
    });
}

// covers: [MQTT-4.3.3-9] (5.0)
#[test]
fn a_publisher_can_be_told_that_nobody_could_take_its_message() {
    with_flags(&["--full-queue-code", "quota-exceeded", "--max-queued-messages", "1"], |w| {
        let topic = w.topic("full");
        let away = Connect::new(V5, w.id("away")).persistent();
        let (mut subscriber, _) = w.connect(&away);
        assert_eq!(subscriber.subscribe(&topic, 1), 1);
        subscriber.disconnect();
        let mut new = w.client(V5, "new");
        assert_eq!(new.deliver(Publish::new(&topic, "taken").qos(1)), 0);
        for qos in [1, 2, 1, 2] {
            assert_eq!(new.deliver(Publish::new(&topic, "refused").qos(qos)), 0x97);
        }
        let mut old = w.client(V311, "old");
        for qos in [1, 2] {
            assert_eq!(old.deliver(Publish::new(&topic, "dropped").qos(qos)), 0, "it cannot be told");
        }
        let mut there = w.client(V5, "there");
        assert_eq!(there.subscribe(&topic, 0), 0);
        assert_eq!(new.deliver(Publish::new(&topic, "for one").qos(2)), 0, "one that takes it is enough");
        there.take_payload("for one");
        let (mut subscriber, _) = w.connect(&away);
        subscriber.take_payload("taken");
        assert_eq!(new.deliver(Publish::new(&topic, "there is room").qos(2)), 0);
        subscriber.take_payload("there is room");
    });
}

#[test]
fn a_full_queue_keeps_the_latest_where_that_is_set() {
    with_flags(&["--queue-full", "oldest", "--max-queued-messages", "2"], keeps_the_latest);
    with_flags(&["--full-queue", "drop-oldest", "--max-queued-messages", "2"], keeps_the_latest);
}

fn keeps_the_latest(w: &World) {
    let topic = w.topic("latest");
    let away = Connect::new(V5, w.id("away")).persistent();
    let (mut subscriber, _) = w.connect(&away);
    assert_eq!(subscriber.subscribe(&topic, 1), 1);
    subscriber.disconnect();
    let mut publisher = w.client(V311, "pub");
    for number in 1..=5 {
        publisher.deliver(Publish::new(&topic, format!("n{number}")).qos(1));
    }
    let (mut subscriber, connack) = w.connect(&away);
    assert!(connack.session_present);
    subscriber.take_payload("n4");
    subscriber.take_payload("n5");
    w.fence(&mut publisher, &mut subscriber);
}

#[test]
fn qos_0_is_queued_for_a_session_that_is_away_where_that_is_set() {
    with_flags(&["--queue-qos0"], |w| {
        let topic = w.topic("away");
        for version in [V311, V5] {
            let away = Connect::new(version, w.id("away")).persistent();
            let (mut subscriber, _) = w.connect(&away);
            assert_eq!(subscriber.subscribe(&topic, 1), 1);
            subscriber.disconnect();
            let mut publisher = w.client(V311, "pub");
            publisher.publish(&topic, "first");
            publisher.deliver(Publish::new(&topic, "second").qos(1));
            publisher.publish(&topic, "third");
            // Behind it, so that its PUBACK says that the third has been queued.
            publisher.deliver(Publish::new(&topic, "fourth").qos(1));
            let (mut subscriber, connack) = w.connect(&away);
            assert!(connack.session_present);
            for (payload, qos) in [("first", 0), ("second", 1), ("third", 0), ("fourth", 1)] {
                assert_eq!(subscriber.take_payload(payload).qos, qos, "{payload}");
            }
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}
