//! Chapter 3.1: Clean Start, session expiry and takeover: when a session is found again and when it is not.

use std::time::{Duration, Instant};

use crate::client::PATIENCE;
use crate::decode::Packet;
use crate::packets::{
    Connect, DISCONNECT, PUBACK, PUBLISH, Publish, V5, V31, V311, VERSIONS, Version, ack, disconnect_with, frame, prop,
};
use crate::world::{World, eventually, everywhere, with_flags};

/// A session that is away: subscribed at QoS 2, with one message waiting.
fn away(w: &World, version: Version, id: &str, topic: &str) {
    let (mut client, connack) = w.connect(&Connect::new(version, id).persistent());
    assert!(!connack.session_present);
    client.subscribe(topic, 2);
    client.disconnect();
    let mut publisher = w.client(version, "pub");
    publisher.deliver(Publish::new(topic, "while away").qos(1));
    publisher.disconnect();
}

// covers: [MQTT-3.1.2-5] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-3.1.3-2] [MQTT-3.1.4-4] [MQTT-4.1.0-1] [MQTT-4.5.0-1] (5.0)
// covers: [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.4-3] [MQTT-3.2.2-2] [MQTT-4.1.0-1] [MQTT-4.5.0-1] (3.1.1)
#[test]
fn a_resumed_session_has_its_subscriptions_and_its_messages() {
    everywhere(|w| {
        for version in VERSIONS {
            let (id, topic) = (w.id("sub"), w.topic("resume"));
            away(w, version, &id, &topic);
            let (mut client, connack) = w.connect(&Connect::new(version, &id).persistent());
            assert_eq!(connack.session_present, version != V31, "3.1 has no Session Present");
            client.take_payload("while away");
            let mut publisher = w.client(version, "pub");
            publisher.deliver(Publish::new(&topic, "back").qos(2));
            assert_eq!(client.take_payload("back").qos, 2);
            w.fence(&mut publisher, &mut client);
        }
    });
}

// covers: [MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-3.1.4-4] (5.0)
// covers: [MQTT-3.1.2-6] [MQTT-3.2.2-1] [MQTT-3.1.4-3] (3.1.1)
#[test]
fn a_clean_start_discards_the_session() {
    everywhere(|w| {
        for version in VERSIONS {
            let (id, topic) = (w.id("sub"), w.topic("clean"));
            away(w, version, &id, &topic);
            let (mut client, connack) = w.connect(&Connect::new(version, &id));
            assert!(!connack.session_present);
            let mut publisher = w.client(version, "pub");
            publisher.deliver(Publish::new(&topic, "not subscribed any more").qos(1));
            w.fence(&mut publisher, &mut client);
            client.disconnect();
            let (_client, connack) = w.connect(&Connect::new(version, &id).persistent());
            assert!(!connack.session_present, "the clean session is not used again");
        }
    });
}

// covers: [MQTT-3.1.2-6] [MQTT-3.2.2-3] (5.0)
// covers: [MQTT-3.1.2-4] [MQTT-3.2.2-3] (3.1.1)
#[test]
fn without_a_session_to_resume_a_new_one_begins() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("new");
            let (mut client, connack) = w.connect(&Connect::new(version, w.id("new")).resume());
            assert!(!connack.session_present);
            client.subscribe(&topic, 0);
            client.publish(&topic, "to itself");
            client.expect_payload("to itself");
        }
    });
}

// covers: [MQTT-4.1.0-2] [MQTT-3.1.2-23] (5.0)
#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    everywhere(|w| {
        for connect in [Connect::new(V5, w.id("none")).resume(), Connect::new(V5, w.id("zero")).resume().expiry(0)] {
            let (client, _) = w.connect(&connect);
            client.disconnect();
            let (client, connack) = w.connect(&connect);
            assert!(!connack.session_present, "after DISCONNECT");
            client.vanish();
            // The server may learn of the lost connection late, but a takeover then ends the old session all the same.
            let (_client, connack) = w.connect(&connect);
            assert!(!connack.session_present, "after the connection was lost");
        }
    });
}

// covers: [MQTT-3.1.2-6] [MQTT-4.1.0-1] (3.1.1)
#[test]
fn a_clean_session_of_3_1_1_ends_with_its_connection() {
    everywhere(|w| {
        let id = w.id("clean");
        w.connect(&Connect::new(V311, &id)).0.disconnect();
        let (client, connack) = w.connect(&Connect::new(V311, &id).resume());
        assert!(!connack.session_present);
        client.disconnect();
        let (_client, connack) = w.connect(&Connect::new(V311, &id).resume());
        assert!(connack.session_present);
    });
}

// covers: [MQTT-4.1.0-2] [MQTT-3.2.2-3] [MQTT-3.1.2-23] (5.0)
#[test]
fn session_present_is_0_after_the_session_has_expired_and_1_before() {
    everywhere(|w| {
        let (id, topic) = (w.id("sub"), w.topic("expiry"));
        let connect = |expiry| Connect::new(V5, &id).resume().expiry(expiry);
        let (mut client, _) = w.connect(&connect(60));
        client.subscribe(&topic, 1);
        client.vanish();
        let (client, connack) = w.connect(&connect(1));
        assert!(connack.session_present, "within its expiry");
        client.disconnect();
        std::thread::sleep(Duration::from_secs(2));
        let (mut client, connack) = w.connect(&connect(1));
        assert!(!connack.session_present, "after its expiry");
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "the subscription is gone too").qos(1));
        w.fence(&mut publisher, &mut client);
    });
}

// covers: [MQTT-4.1.0-1] (5.0)
#[test]
fn a_session_does_not_expire_while_it_is_connected() {
    everywhere(|w| {
        let connect = Connect::new(V5, w.id("long")).resume().expiry(1);
        let (mut client, _) = w.connect(&connect);
        std::thread::sleep(Duration::from_millis(1_800));
        client.ping();
        client.vanish();
        let (_client, connack) = w.connect(&connect);
        assert!(connack.session_present, "its time began when the connection ended");
    });
}

// covers: [MQTT-3.1.2-23] [MQTT-4.1.0-2] (5.0)
#[test]
fn disconnect_can_shorten_and_lengthen_the_session_expiry() {
    everywhere(|w| {
        let id = w.id("change");
        let connect = |expiry| Connect::new(V5, &id).resume().expiry(expiry);
        let (client, _) = w.connect(&connect(60));
        client.disconnect_with(0, &[prop::session_expiry(0)]);
        let (client, connack) = w.connect(&connect(1));
        assert!(!connack.session_present, "ended by DISCONNECT with expiry 0");
        client.disconnect_with(0, &[prop::session_expiry(60)]);
        std::thread::sleep(Duration::from_millis(1_800));
        let (_client, connack) = w.connect(&connect(1));
        assert!(connack.session_present, "kept by DISCONNECT with a longer expiry");
    });
}

// covers: [MQTT-4.13.1-1] (5.0)
#[test]
fn disconnect_must_not_give_a_session_an_expiry_that_had_none() {
    everywhere(|w| {
        let mut client = w.client(V5, "zero");
        client.send(disconnect_with(0, &[prop::session_expiry(10)]));
        client.expect_refusal(&[0x82]);
    });
}

// covers: [MQTT-3.1.2-23] (5.0)
#[test]
fn the_greatest_session_expiry_is_accepted_or_lowered_openly() {
    everywhere(|w| {
        let connect = Connect::new(V5, w.id("ever")).resume().expiry(u32::MAX);
        let (client, connack) = w.connect(&connect);
        if let Some(granted) = connack.number(prop::SESSION_EXPIRY) {
            assert!(granted > 0, "{connack:?}");
        }
        client.disconnect();
        let (_client, connack) = w.connect(&connect);
        assert!(connack.session_present);
    });
}

// covers: [MQTT-4.1.0-2] (5.0)
#[test]
fn a_session_expiry_above_the_servers_limit_is_lowered_and_announced() {
    with_flags(&["--session-expiry-max", "1"], |w| {
        let connect = Connect::new(V5, w.id("cap")).resume().expiry(100);
        let (client, connack) = w.connect(&connect);
        assert_eq!(connack.number(prop::SESSION_EXPIRY), Some(1));
        client.disconnect();
        std::thread::sleep(Duration::from_secs(2));
        let (_client, connack) = w.connect(&connect);
        assert!(!connack.session_present);
    });
}

#[test]
fn beyond_the_limit_on_sessions_new_clients_are_refused_and_who_has_one_comes_back() {
    with_flags(&["--max-sessions", "10", "--log-level", "error"], |w| {
        let mut kept: Vec<String> = Vec::new();
        loop {
            let id = w.id(&format!("kept-{}", kept.len()));
            let mut client = w.start(&Connect::new(V5, &id).resume().expiry(100));
            let connack = client.expect_connack();
            if connack.code != 0 {
                assert_eq!(connack.code, 0x97, "quota exceeded");
                client.expect_closed();
                w.start(&Connect::new(V311, &id)).expect_connect_refused(&[3]);
                break;
            }
            client.disconnect();
            kept.push(id);
            assert!(kept.len() <= 10, "ten sessions were asked for");
        }
        // Each shard has a part of the ten, and the first that is full refuses.
        assert!(kept.len() >= 2, "{kept:?}");
        for id in &kept {
            let (client, connack) = w.connect(&Connect::new(V5, id).resume().expiry(0));
            assert!(connack.session_present, "{id}");
            client.disconnect();
        }
        w.connect(&Connect::new(V5, w.id("new")).resume().expiry(100));
    });
}

// covers: [MQTT-3.1.4-3] [MQTT-3.2.2-3] (5.0)
// covers: [MQTT-3.1.4-2] (3.1.1)
#[test]
fn a_second_connection_of_an_identifier_takes_the_session_over() {
    everywhere(|w| {
        for old_version in VERSIONS {
            for new_version in VERSIONS {
                let (id, topic) = (w.id("sub"), w.topic("taken"));
                let (mut old, _) = w.connect(&Connect::new(old_version, &id).persistent());
                old.subscribe(&topic, 1);
                let (mut new, connack) = w.connect(&Connect::new(new_version, &id).persistent());
                assert_eq!(connack.session_present, new_version != V31);
                old.expect_refusal(&[0x8E]);
                let mut publisher = w.client(V5, "pub");
                publisher.deliver(Publish::new(&topic, "to the new one").qos(1));
                new.take_payload("to the new one");
                new.ping();
            }
        }
    });
}

// covers: [MQTT-3.1.4-3] [MQTT-3.1.2-4] (5.0)
// covers: [MQTT-3.1.4-2] [MQTT-3.1.2-6] (3.1.1)
#[test]
fn a_takeover_with_a_clean_start_ends_the_old_session_first() {
    everywhere(|w| {
        for version in VERSIONS {
            let (id, topic) = (w.id("sub"), w.topic("taken"));
            let (mut old, _) = w.connect(&Connect::new(version, &id).persistent());
            old.subscribe(&topic, 1);
            let (mut new, connack) = w.connect(&Connect::new(version, &id));
            assert!(!connack.session_present);
            old.expect_refusal(&[0x8E]);
            let mut publisher = w.client(version, "pub");
            publisher.deliver(Publish::new(&topic, "nobody's").qos(1));
            w.fence(&mut publisher, &mut new);
        }
    });
}

// covers: [MQTT-3.1.4-3] (5.0)
// covers: [MQTT-3.1.4-2] (3.1.1)
#[test]
fn a_chain_of_takeovers_leaves_one_connection() {
    everywhere(|w| {
        for version in VERSIONS {
            let connect = Connect::new(version, w.id("chain")).persistent();
            let mut clients = vec![w.connect(&connect).0];
            for _ in 0..10 {
                let (new, _) = w.connect(&connect);
                let mut old = clients.pop().expect("one is always left");
                old.expect_refusal(&[0x8E]);
                clients.push(new);
            }
            clients[0].ping();
        }
    });
}

// covers: [MQTT-3.1.4-3] [MQTT-4.4.0-1] (5.0)
// covers: [MQTT-3.1.4-2] [MQTT-4.4.0-1] (3.1.1)
#[test]
fn a_takeover_hands_over_what_the_old_connection_had_not_acknowledged() {
    everywhere(|w| {
        for version in VERSIONS {
            let (id, topic) = (w.id("sub"), w.topic("handover"));
            let (mut old, _) = w.connect(&Connect::new(version, &id).persistent());
            old.subscribe(&topic, 2);
            let mut publisher = w.client(version, "pub");
            publisher.deliver(Publish::new(&topic, "one").qos(1));
            publisher.deliver(Publish::new(&topic, "two").qos(2));
            let (one, two) = (old.expect_payload("one"), old.expect_payload("two"));
            let (mut new, _) = w.connect(&Connect::new(version, &id).persistent());
            let again = new.take_payload("one");
            assert_eq!((again.id, again.dup), (one.id, true));
            let again = new.take_payload("two");
            assert_eq!((again.id, again.dup), (two.id, true));
            w.fence(&mut publisher, &mut new);
        }
    });
}

// covers: [MQTT-3.14.4-3] [MQTT-3.2.2-3] (5.0)
// covers: [MQTT-3.14.4-2] (3.1.1)
#[test]
fn what_a_client_sends_behind_disconnect_is_not_processed() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("behind");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 0);
            let mut client = w.client(version, "gone");
            client.send([frame(DISCONNECT, []), Publish::new(&topic, "too late").encode(version)].concat());
            client.expect_closed();
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-4.5.0-1] (5.0)
// covers: [MQTT-3.1.2-5] [MQTT-4.5.0-1] (3.1.1)
#[test]
fn qos_0_is_not_queued_for_a_session_that_is_away() {
    everywhere(|w| {
        for version in VERSIONS {
            let (id, topic) = (w.id("sub"), w.topic("qos0"));
            let connect = Connect::new(version, &id).persistent();
            let (mut client, _) = w.connect(&connect);
            client.subscribe(&topic, 2);
            client.disconnect();
            let mut publisher = w.client(version, "pub");
            publisher.deliver(Publish::new(&topic, "qos 0"));
            publisher.deliver(Publish::new(&topic, "qos 1").qos(1));
            let (mut client, _) = w.connect(&connect);
            client.take_payload("qos 1");
            w.fence(&mut publisher, &mut client);
        }
    });
}

// covers: [MQTT-3.1.2-5] [MQTT-4.6.0-5] (5.0)
// covers: [MQTT-3.1.2-5] [MQTT-4.6.0-6] (3.1.1)
#[test]
fn a_long_queue_is_delivered_whole_and_in_order() {
    everywhere(|w| {
        for version in [V311, V5] {
            let (id, topic) = (w.id("sub"), w.topic("queue"));
            let connect = Connect::new(version, &id).persistent();
            let (mut client, _) = w.connect(&connect);
            client.subscribe(&topic, 1);
            client.disconnect();
            let mut publisher = w.client(version, "pub");
            for i in 0..500 {
                publisher.send(Publish::new(&topic, i.to_string()).qos(1).id(i + 1).encode(version));
            }
            for i in 0..500 {
                publisher.expect_ack(PUBACK, i + 1);
            }
            let (mut client, _) = w.connect(&connect);
            for i in 0..500 {
                let publish = client.expect_payload(&i.to_string());
                client.send(ack(PUBACK, publish.id));
            }
            w.fence(&mut publisher, &mut client);
        }
    });
}

// covers: [MQTT-3.1.4-3] (5.0)
#[test]
fn a_client_that_vanished_is_replaced_without_delay() {
    everywhere(|w| {
        let connect = Connect::new(V5, w.id("gone")).persistent();
        for round in 0..5 {
            let (client, connack) = w.connect(&connect);
            assert_eq!(connack.session_present, round > 0);
            client.vanish();
        }
    });
}

// covers: [MQTT-3.1.2-23] [MQTT-3.2.2-3] (5.0)
// covers: [MQTT-3.1.2-4] (3.1.1)
#[test]
fn a_session_is_kept_across_protocol_versions() {
    everywhere(|w| {
        let (id, topic) = (w.id("both"), w.topic("both"));
        away(w, V311, &id, &topic);
        let (mut client, connack) = w.connect(&Connect::new(V5, &id).persistent());
        assert!(connack.session_present);
        client.take_payload("while away");
        client.disconnect();
        let (_client, connack) = w.connect(&Connect::new(V311, &id).persistent());
        assert!(connack.session_present);
    });
}

// covers: [MQTT-3.1.2-7] (3.1.1)
#[test]
fn retained_messages_outlive_the_session_that_published_them() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("stays");
            let mut publisher = w.client(version, "pub");
            publisher.deliver(Publish::new(&topic, "stays").qos(1).retain());
            publisher.disconnect();
            let mut subscriber = w.client(version, "sub");
            subscriber.subscribe(&topic, 1);
            let publish = subscriber.take_payload("stays");
            assert!(publish.retain);
        }
    });
}

// covers: [MQTT-4.1.0-2] [MQTT-4.1.0-1] (5.0)
// covers: [MQTT-4.1.0-2] (3.1.1)
#[test]
fn a_session_lives_at_least_as_long_as_its_connection() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("lives");
            let mut client = w.client(version, "lives");
            client.subscribe(&topic, 1);
            let mut publisher = w.client(version, "pub");
            let began = Instant::now();
            eventually("a second passes", PATIENCE, || {
                client.ping();
                std::thread::sleep(Duration::from_millis(100));
                began.elapsed() > Duration::from_secs(1)
            });
            publisher.deliver(Publish::new(&topic, "still there").qos(1));
            client.take_payload("still there");
        }
    });
}

// covers: [MQTT-3.1.4-6] (5.0)
#[test]
fn a_publish_cut_off_by_the_end_of_its_connection_is_not_delivered() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("half");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 0);
            let mut client = w.client(version, "half");
            let whole = Publish::new(&topic, "half of this").encode(version);
            assert_eq!(whole[0], PUBLISH);
            client.send(&whole[..whole.len() - 4]);
            client.cut_off();
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.2.2-3] (5.0)
// covers: [MQTT-3.2.2-2] (3.1.1)
#[test]
fn session_present_tells_of_a_session_that_holds_nothing() {
    everywhere(|w| {
        for version in [V311, V5] {
            let connect = Connect::new(version, w.id("empty")).persistent();
            w.connect(&connect).0.disconnect();
            let (mut client, connack) = w.connect(&connect);
            assert!(connack.session_present);
            client.ping();
            let Packet::PingResp = ({
                client.send(frame(crate::packets::PINGREQ, []));
                client.recv()
            }) else {
                panic!("nothing but PINGRESP comes from an empty session")
            };
        }
    });
}
