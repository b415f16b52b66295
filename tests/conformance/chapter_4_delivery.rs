//! Chapters 4.1 to 4.6: session state, the QoS protocols, redelivery and order.

use std::collections::HashMap;

use crate::client::Client;
use crate::decode::Packet;
use crate::packets::{Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, V5, V311, VERSIONS, Version, ack, prop};
use crate::world::{World, everywhere, with_flags};

/// A subscriber whose session is kept, subscribed at QoS 2, and the CONNECT to come back with.
fn keeper(w: &World, version: Version, topic: &str) -> (Client, Connect) {
    let connect = Connect::new(version, w.id("sub")).persistent();
    let (mut client, _) = w.connect(&connect);
    client.subscribe(topic, 2);
    (client, connect)
}

// covers: [MQTT-4.2-1] (5.0)
// covers: [MQTT-7.1.1-1] [MQTT-7.0.0-2] (3.1.1)
#[test]
fn the_protocol_runs_over_tcp_without_any_extension() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "plain");
            let topic = w.topic("plain");
            client.subscribe(&topic, 1);
            client.deliver(Publish::new(&topic, "x").qos(1));
            client.take_payload("x");
        }
    });
}

// covers: [MQTT-4.3.2-5] (5.0)
// covers: [MQTT-4.3.2-2] (3.1.1)
#[test]
fn after_puback_the_same_identifier_is_a_new_message_whatever_dup_says() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("again");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 1);
            for (i, dup) in [false, true, false, true].into_iter().enumerate() {
                let message = Publish { dup, ..Publish::new(&topic, i.to_string()).qos(1).id(9) };
                publisher.send(message.encode(version));
                publisher.expect_ack(PUBACK, 9);
                subscriber.take_payload(&i.to_string());
            }
        }
    });
}

// covers: [MQTT-4.3.3-10] [MQTT-4.3.3-8] (5.0)
// covers: [MQTT-4.3.3-2] (3.1.1)
#[test]
fn a_qos_2_publish_repeated_before_pubrel_is_delivered_once() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("once");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 2);
            for _ in 0..4 {
                publisher.send(Publish::new(&topic, "once").qos(2).id(3).dup().encode(version));
                publisher.expect_ack(PUBREC, 3);
            }
            publisher.send(ack(PUBREL, 3));
            assert_eq!(publisher.expect_ack(PUBCOMP, 3), 0);
            subscriber.take_payload("once");
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-4.3.3-10] [MQTT-4.3.3-12] [MQTT-4.1.0-1] (5.0)
// covers: [MQTT-4.3.3-2] [MQTT-4.4.0-1] [MQTT-3.1.2-4] (3.1.1)
#[test]
fn qos_2_duplicates_across_a_reconnect_are_delivered_once() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("once");
            let mut subscriber = w.client(version, "sub");
            subscriber.subscribe(&topic, 2);
            let connect = Connect::new(version, w.id("pub")).persistent();
            let (mut publisher, _) = w.connect(&connect);
            for id in [1, 2] {
                publisher.send(Publish::new(&topic, id.to_string()).qos(2).id(id).encode(version));
                publisher.expect_ack(PUBREC, id);
            }
            publisher.send(ack(PUBREL, 2));
            publisher.expect_ack(PUBCOMP, 2);
            publisher.vanish();
            let (mut publisher, _) = w.connect(&connect);
            // 1 was never released: the repeat is the same message. 2 is settled, and its
            // identifier is a new message.
            publisher.send(Publish::new(&topic, "1").qos(2).id(1).dup().encode(version));
            publisher.expect_ack(PUBREC, 1);
            publisher.send(ack(PUBREL, 1));
            assert_eq!(publisher.expect_ack(PUBCOMP, 1), 0);
            publisher.send(ack(PUBREL, 2));
            assert_eq!(publisher.expect_ack(PUBCOMP, 2), 0);
            publisher.send(Publish::new(&topic, "2 again").qos(2).id(2).dup().encode(version));
            publisher.expect_ack(PUBREC, 2);
            publisher.send(ack(PUBREL, 2));
            assert_eq!(publisher.expect_ack(PUBCOMP, 2), 0);
            for text in ["1", "2", "2 again"] {
                subscriber.take_payload(text);
            }
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-4.3.3-10] (5.0)
#[test]
fn a_clean_start_forgets_half_open_qos_2_exchanges() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("forget");
            let mut subscriber = w.client(version, "sub");
            subscriber.subscribe(&topic, 2);
            let id = w.id("pub");
            let (mut publisher, _) = w.connect(&Connect::new(version, &id).persistent());
            publisher.send(Publish::new(&topic, "first").qos(2).id(1).encode(version));
            publisher.expect_ack(PUBREC, 1);
            subscriber.take_payload("first");
            publisher.vanish();
            let (mut publisher, _) = w.connect(&Connect::new(version, &id));
            publisher.send(Publish::new(&topic, "second").qos(2).id(1).dup().encode(version));
            publisher.expect_ack(PUBREC, 1);
            subscriber.take_payload("second");
        }
    });
}

// covers: [MQTT-4.3.3-12] (5.0)
// covers: [MQTT-4.3.3-2] (3.1.1)
#[test]
fn after_pubcomp_the_same_identifier_is_a_new_message() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("again");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 2);
            for i in 0..4 {
                let message = Publish { dup: i % 2 == 1, ..Publish::new(&topic, i.to_string()).qos(2).id(9) };
                publisher.send(message.encode(version));
                publisher.expect_ack(PUBREC, 9);
                publisher.send(ack(PUBREL, 9));
                assert_eq!(publisher.expect_ack(PUBCOMP, 9), 0);
                subscriber.take_payload(&i.to_string());
            }
        }
    });
}

// covers: [MQTT-4.3.3-8] (5.0)
// covers: [MQTT-4.3.3-2] (3.1.1)
#[test]
fn qos_2_is_delivered_onward_at_the_publish() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("onward");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 2);
            publisher.send(Publish::new(&topic, "x").qos(2).id(1).encode(version));
            publisher.expect_ack(PUBREC, 1);
            subscriber.take_payload("x");
            publisher.send(ack(PUBREL, 1));
            publisher.expect_ack(PUBCOMP, 1);
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-4.3.3-13] (5.0)
#[test]
fn an_inbound_qos_2_exchange_is_completed_after_its_message_has_expired() {
    everywhere(|w| {
        let mut publisher = w.client(V5, "pub");
        publisher.send(Publish::new(w.topic("gone"), "x").qos(2).id(1).prop(prop::message_expiry(1)).encode(V5));
        publisher.expect_ack(PUBREC, 1);
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        publisher.send(Publish::new(w.topic("gone"), "x").qos(2).id(1).dup().prop(prop::message_expiry(1)).encode(V5));
        publisher.expect_ack(PUBREC, 1);
        publisher.send(ack(PUBREL, 1));
        assert_eq!(publisher.expect_ack(PUBCOMP, 1), 0);
    });
}

// covers: [MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.3.3-6] (5.0)
// covers: [MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-4.6.0-1] [MQTT-4.6.0-4] (3.1.1)
#[test]
fn a_resumed_session_gets_what_was_open_with_its_identifiers_in_its_order() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("resend");
            let (mut client, connect) = keeper(w, version, &topic);
            let mut publisher = w.client(version, "pub");
            for i in 0..6 {
                publisher.deliver(Publish::new(&topic, i.to_string()).qos(1 + i % 2));
            }
            let first: Vec<Publish> = (0..6).map(|i| client.expect_payload(&i.to_string())).collect();
            assert!(first.iter().all(|p| !p.dup));
            // 0 is settled, 1 and 3 are released, 2, 4 and 5 are open.
            client.send(ack(PUBACK, first[0].id));
            for i in [1, 3] {
                client.send(ack(PUBREC, first[i].id));
                assert_eq!(client.expect_ack(PUBREL, first[i].id), 0);
            }
            client.ping();
            client.vanish();
            for _ in 0..2 {
                let (mut client, _) = w.connect(&connect);
                let (mut publishes, mut releases) = (Vec::new(), Vec::new());
                for _ in 0..5 {
                    match client.recv() {
                        Packet::Publish(publish) => {
                            assert!(publish.dup, "a repeated PUBLISH has DUP 1: {publish:?}");
                            publishes.push((publish.id, publish.qos, publish.text()));
                        }
                        Packet::Ack(a) if a.first == PUBREL => releases.push(a.id),
                        other => panic!("{other:?}"),
                    }
                }
                let wanted: Vec<_> = [2, 4, 5].iter().map(|i| (first[*i].id, first[*i].qos, i.to_string())).collect();
                assert_eq!(publishes, wanted, "in the order they were first sent");
                assert_eq!(releases, [first[1].id, first[3].id], "PUBREL in the order of the PUBRECs");
                w.fence(&mut publisher, &mut client);
                client.vanish();
            }
            let (mut client, _) = w.connect(&connect);
            for _ in 0..5 {
                match client.recv() {
                    Packet::Publish(publish) => client.acknowledge(&publish),
                    Packet::Ack(a) => client.send(ack(PUBCOMP, a.id)),
                    other => panic!("{other:?}"),
                }
            }
            client.ping();
            client.vanish();
            let (mut client, _) = w.connect(&connect);
            w.fence(&mut publisher, &mut client);
        }
    });
}

// covers: [MQTT-4.4.0-1] (5.0)
// covers: [MQTT-4.4.0-1] (3.1.1)
#[test]
fn nothing_is_sent_again_while_the_connection_lasts() {
    everywhere(|w| {
        let watched: Vec<_> = [V311, V5]
            .into_iter()
            .map(|version| {
                let topic = w.topic(&format!("open/{version:?}"));
                let (mut client, _) = keeper(w, version, &topic);
                let mut publisher = w.client(version, "pub");
                publisher.deliver(Publish::new(&topic, "one").qos(1));
                publisher.deliver(Publish::new(&topic, "two").qos(2));
                client.expect_payload("one");
                let two = client.expect_payload("two");
                client.send(ack(PUBREC, two.id));
                client.expect_ack(PUBREL, two.id);
                (client, publisher)
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(2_500));
        for (mut client, mut publisher) in watched {
            w.fence(&mut publisher, &mut client);
        }
    });
}

// covers: [MQTT-2.2.1-4] [MQTT-4.4.0-1] (5.0)
// covers: [MQTT-2.3.1-4] [MQTT-4.4.0-1] (3.1.1)
#[test]
fn new_messages_of_a_resumed_session_avoid_the_identifiers_still_open() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("resume");
            let (mut client, connect) = keeper(w, version, &topic);
            let mut publisher = w.client(version, "pub");
            let mut open: HashMap<u16, String> = HashMap::new();
            for i in 0..5 {
                publisher.deliver(Publish::new(&topic, format!("before {i}")).qos(1));
                let publish = client.expect_publish();
                open.insert(publish.id, publish.text());
            }
            client.vanish();
            let (mut client, _) = w.connect(&connect);
            for i in 0..5 {
                publisher.deliver(Publish::new(&topic, format!("after {i}")).qos(1));
            }
            for _ in 0..10 {
                let publish = client.expect_publish();
                if publish.text().starts_with("before") {
                    assert_eq!(open.get(&publish.id), Some(&publish.text()), "its own identifier");
                } else {
                    assert!(open.insert(publish.id, publish.text()).is_none(), "{} is in use", publish.id);
                }
            }
            for id in open.keys() {
                client.send(ack(PUBACK, *id));
            }
            w.fence(&mut publisher, &mut client);
        }
    });
}

// covers: [MQTT-4.6.0-5] [MQTT-4.6.0-6] (5.0)
// covers: [MQTT-4.6.0-5] [MQTT-4.6.0-6] (3.1.1)
#[test]
fn each_publishers_order_is_kept_for_every_qos() {
    everywhere(|w| {
        for qos in 0..=2 {
            let topic = w.topic("order");
            let mut subscribers: Vec<Client> = [V311, V5].map(|version| w.client(version, "sub")).into();
            for subscriber in &mut subscribers {
                subscriber.subscribe(&topic, 2);
            }
            let mut publishers: Vec<Client> = (0..3).map(|_| w.client(V311, "pub")).collect();
            for i in 0..60u16 {
                for (p, publisher) in publishers.iter_mut().enumerate() {
                    publisher.send(Publish::new(&topic, format!("{p} {i}")).qos(qos).id(i + 1).encode(V311));
                }
            }
            for publisher in publishers.iter_mut().filter(|_| qos == 2) {
                (1..=60).for_each(|id| assert_eq!(publisher.expect_ack(PUBREC, id), 0));
                publisher.send((1..=60).flat_map(|id| ack(PUBREL, id)).collect::<Vec<u8>>());
            }
            for subscriber in &mut subscribers {
                let mut next = [0; 3];
                for _ in 0..180 {
                    let text = subscriber.take().text();
                    let (p, i) = text.split_once(' ').expect("two numbers");
                    let (p, i): (usize, u32) = (p.parse().expect("a number"), i.parse().expect("a number"));
                    assert_eq!(i, next[p], "publisher {p} at QoS {qos}");
                    next[p] += 1;
                }
            }
        }
    });
}

// covers: [MQTT-4.6.0-5] [MQTT-4.4.0-1] (5.0)
// covers: [MQTT-4.6.0-1] [MQTT-4.6.0-6] (3.1.1)
#[test]
fn order_survives_a_window_a_queue_and_a_reconnect() {
    everywhere(|w| {
        for qos in 1..=2 {
            let topic = w.topic("order");
            let connect = Connect::new(V5, w.id("sub")).persistent().prop(prop::receive_maximum(3));
            let (mut client, _) = w.connect(&connect);
            client.subscribe(&topic, 2);
            let mut publisher = w.client(V5, "pub");
            for i in 0..30 {
                publisher.deliver(Publish::new(&topic, i.to_string()).qos(qos));
            }
            let mut next = 0;
            for round in 0..10 {
                // Two settled, one left open: it comes again first after the reconnect.
                for _ in 0..2 {
                    client.take_payload(&next.to_string());
                    next += 1;
                }
                if round < 9 {
                    client.expect_payload(&next.to_string());
                }
                client.vanish();
                client = w.connect(&connect).0;
            }
            for i in next..30 {
                client.take_payload(&i.to_string());
            }
            w.fence(&mut publisher, &mut client);
        }
    });
}

// covers: [MQTT-2.2.1-5] (5.0)
// covers: [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4] (3.1.1)
#[test]
fn the_servers_acknowledgements_come_in_the_order_of_what_they_acknowledge() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "pub");
            let ids: Vec<u16> = (1..=20).map(|i| i * 37).collect();
            let publishes = |qos| -> Vec<u8> {
                ids.iter().flat_map(|id| Publish::new(w.topic("acks"), "x").qos(qos).id(*id).encode(version)).collect()
            };
            client.send(publishes(1));
            for id in &ids {
                client.expect_ack(PUBACK, *id);
            }
            client.send(publishes(2));
            for id in &ids {
                client.expect_ack(PUBREC, *id);
            }
            client.send(ids.iter().flat_map(|id| ack(PUBREL, *id)).collect::<Vec<u8>>());
            for id in &ids {
                client.expect_ack(PUBCOMP, *id);
            }
            let topic = w.topic("rel");
            client.subscribe(&topic, 2);
            let mut publisher = w.client(version, "other");
            let mut open = Vec::new();
            for _ in 0..10 {
                publisher.deliver(Publish::new(&topic, "x").qos(2));
                open.push(client.expect_publish().id);
            }
            open.reverse();
            client.send(open.iter().flat_map(|id| ack(PUBREC, *id)).collect::<Vec<u8>>());
            for id in &open {
                client.expect_ack(PUBREL, *id);
            }
        }
    });
}

// covers: [MQTT-4.5.0-1] (5.0)
// covers: [MQTT-4.5.0-1] (3.1.1)
#[test]
fn a_message_reaches_every_session_that_matches_whatever_its_version() {
    everywhere(|w| {
        let topic = w.topic("all");
        let mut live: Vec<Client> = VERSIONS.map(|version| w.client(version, "live")).into();
        for client in &mut live {
            client.subscribe(&topic, 2);
        }
        let away: Vec<Connect> = VERSIONS
            .map(|version| {
                let (client, connect) = keeper(w, version, &topic);
                client.disconnect();
                connect
            })
            .into();
        for version in VERSIONS {
            let mut publisher = w.client(version, "pub");
            for qos in 1..=2 {
                publisher.deliver(Publish::new(&topic, format!("{version:?} {qos}")).qos(qos));
            }
        }
        let mut back: Vec<Client> = away.iter().map(|connect| w.connect(connect).0).collect();
        for client in live.iter_mut().chain(&mut back) {
            for version in VERSIONS {
                for qos in 1..=2 {
                    assert_eq!(client.take_payload(&format!("{version:?} {qos}")).qos, qos);
                }
            }
        }
    });
}

// covers: [MQTT-4.5.0-1] (5.0)
#[test]
fn a_full_offline_queue_keeps_what_it_has_and_the_session() {
    with_flags(&["--max-queued-messages", "5"], |w| {
        let topic = w.topic("full");
        let (client, connect) = keeper(w, V5, &topic);
        client.disconnect();
        let mut publisher = w.client(V5, "pub");
        for i in 0..20 {
            let code = publisher.deliver(Publish::new(&topic, i.to_string()).qos(1));
            assert!(code == 0 || code == 0x10 || code == 0x97, "{code:#04x}");
        }
        let (mut client, connack) = w.connect(&connect);
        assert!(connack.session_present);
        let kept: Vec<u32> = (0..5).map(|_| client.take().text().parse().expect("numbers")).collect();
        assert!(kept.windows(2).all(|pair| pair[1] == pair[0] + 1), "five that follow each other: {kept:?}");
        w.fence(&mut publisher, &mut client);
    });
}
