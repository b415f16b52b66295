//! MQTT 3.1 (protocol name MQIsdp, level 3): its own short list, numbered in `normative.tsv`.

use crate::packets::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, V5, V31, V311, VERSIONS, Will, ack, subscribe, unsubscribe,
};
use crate::world::everywhere;

// covers: [MQIsdp-1] [MQIsdp-2] (3.1)
#[test]
fn mqisdp_with_level_3_is_accepted_and_connack_has_no_session_present() {
    everywhere(|w| {
        let connect = Connect::new(V31, w.id("old")).resume();
        for _ in 0..2 {
            let (client, _) = w.connect(&connect);
            assert_eq!(client.last_raw, [0x20, 2, 0, 0]);
            client.disconnect();
        }
    });
}

// covers: [MQIsdp-3] (3.1)
#[test]
fn mqisdp_with_another_level_is_refused() {
    everywhere(|w| {
        for level in [0, 1, 2, 4] {
            let mut connect = Connect::new(V31, w.id("old"));
            connect.level = level;
            w.start(&connect).expect_connect_refused(&[1]);
        }
    });
}

// covers: [MQIsdp-4] (3.1)
#[test]
fn an_empty_identifier_is_refused_with_code_2_whatever_clean_session_says() {
    everywhere(|w| {
        w.start(&Connect::new(V31, "")).expect_connect_refused(&[2]);
        w.start(&Connect::new(V31, "").resume()).expect_connect_refused(&[2]);
        let id: String = w.id("x").chars().cycle().take(23).collect();
        let (mut client, _) = w.connect(&Connect::new(V31, id));
        client.ping();
    });
}

// covers: [MQIsdp-5] [MQIsdp-15] (3.1)
#[test]
fn clean_session_decides_what_waits_for_a_client_of_3_1() {
    everywhere(|w| {
        let topic = w.topic("keep");
        let connect = Connect::new(V31, w.id("old")).resume();
        let (mut client, _) = w.connect(&connect);
        client.subscribe(&topic, 1);
        let mut publisher = w.client(V31, "pub");
        publisher.deliver(Publish::new(&topic, "open").qos(1));
        client.expect_payload("open");
        client.disconnect();
        publisher.deliver(Publish::new(&topic, "queued").qos(2));
        let (mut client, _) = w.connect(&connect);
        assert!(client.take_payload("open").dup);
        let queued = client.take_payload("queued");
        assert_eq!((queued.dup, queued.qos), (false, 1));
        client.disconnect();
        publisher.deliver(Publish::new(&topic, "discarded").qos(1));
        let mut clean = connect.clone();
        clean.clean = true;
        let (mut client, _) = w.connect(&clean);
        publisher.deliver(Publish::new(&topic, "not subscribed").qos(1));
        w.fence(&mut publisher, &mut client);
    });
}

// covers: [MQIsdp-6] (3.1)
#[test]
fn the_will_of_a_3_1_client_has_its_qos_and_retain_flag() {
    everywhere(|w| {
        let topic = w.topic("will");
        let mut observer = w.client(V31, "obs");
        observer.subscribe(&topic, 2);
        let will = Will::new(&topic, "gone").qos(2).retain();
        let id = w.id("old");
        let (client, _) = w.connect(&Connect::new(V31, &id).will(will.clone()));
        client.vanish();
        assert_eq!(observer.take_payload("gone").qos, 2);
        w.settle_retained(&mut w.connect(&Connect::new(V31, &id)).0);
        let mut late = w.client(V31, "late");
        late.subscribe(&topic, 2);
        assert!(late.take_payload("gone").retain);
        observer.deliver(Publish::new(&topic, "").qos(1).retain());
        observer.take_payload("");
        let (client, _) = w.connect(&Connect::new(V31, w.id("old")).will(will));
        client.disconnect();
        let mut other = w.client(V31, "other");
        w.fence(&mut other, &mut observer);
    });
}

// covers: [MQIsdp-7] (3.1)
#[test]
fn a_silent_3_1_client_is_closed() {
    everywhere(|w| {
        let began = std::time::Instant::now();
        let (mut client, _) = w.connect(&Connect::new(V31, w.id("old")).keep_alive(1));
        client.expect_closed();
        assert!(began.elapsed() >= std::time::Duration::from_millis(1_400));
    });
}

// covers: [MQIsdp-8] (3.1)
#[test]
fn a_second_3_1_connection_of_an_identifier_replaces_the_first() {
    everywhere(|w| {
        let connect = Connect::new(V31, w.id("old"));
        let (mut first, _) = w.connect(&connect);
        let (mut second, _) = w.connect(&connect);
        first.expect_closed();
        second.ping();
    });
}

// covers: [MQIsdp-9] [MQIsdp-11] [MQIsdp-12] [MQIsdp-14] (3.1)
#[test]
fn every_exchange_of_3_1_works() {
    everywhere(|w| {
        let mut client = w.client(V31, "old");
        let topic = w.topic("x");
        let filters = [(topic.as_str(), 2), ("other/a", 0), ("other/b", 1)];
        assert_eq!(client.subscribe_with(&filters, &[]), [2, 0, 1]);
        for published in 0..=2 {
            client.deliver(Publish::new(&topic, "x").qos(published));
            assert_eq!(client.take_payload("x").qos, published);
        }
        client.unsubscribe(&[&topic]);
        client.deliver(Publish::new(&topic, "x").qos(1));
        client.ping();
    });
}

// covers: [MQIsdp-10] (3.1)
#[test]
fn repeated_requests_of_3_1_carry_dup_in_their_header() {
    everywhere(|w| {
        let mut client = w.client(V31, "old");
        let topic = w.topic("dup");
        let with_dup = |mut packet: Vec<u8>| {
            packet[0] |= 0x08;
            packet
        };
        for _ in 0..2 {
            client.send(with_dup(subscribe(V31, 1, &[], &[(&topic, 2)])));
            assert!(matches!(client.recv(), crate::decode::Packet::SubAck(s) if s.codes == [2]));
        }
        client.send(Publish::new(&topic, "x").qos(2).id(5).encode(V31));
        client.await_ack(PUBREC, 5);
        client.send(with_dup(ack(PUBREL, 5)));
        client.await_ack(PUBCOMP, 5);
        client.take_payload("x");
        client.send(with_dup(unsubscribe(V31, 2, &[&topic])));
        assert!(matches!(client.recv(), crate::decode::Packet::UnsubAck(u) if u.id == 2));
    });
}

// covers: [MQIsdp-13] (3.1)
#[test]
fn retained_messages_reach_3_1_clients_with_their_flag() {
    everywhere(|w| {
        let topic = w.topic("kept");
        let mut publisher = w.client(V31, "pub");
        let mut live = w.client(V31, "live");
        live.subscribe(&topic, 1);
        publisher.deliver(Publish::new(&topic, "kept").qos(1).retain());
        assert!(!live.take_payload("kept").retain);
        let mut late = w.client(V31, "late");
        late.subscribe(&topic, 1);
        assert!(late.take_payload("kept").retain);
        publisher.deliver(Publish::new(&topic, "").qos(1).retain());
        live.take_payload("");
        let mut none = w.client(V31, "none");
        none.subscribe(&topic, 1);
        w.fence(&mut publisher, &mut none);
    });
}

// covers: [MQIsdp-16] (3.1)
#[test]
fn wildcards_of_3_1_match_as_in_later_versions() {
    everywhere(|w| {
        for (filter, hits) in
            [("#", &["a", "a/b", "/"][..]), ("+", &["a", ""]), ("a/+/c", &["a/b/c", "a//c"]), ("a/#", &["a", "a/b/c"])]
        {
            let mut client = w.client(V31, "old");
            client.subscribe(&w.topic(&format!("m/{filter}")), 0);
            for hit in hits {
                client.publish(&w.topic(&format!("m/{hit}")), hit);
                client.expect_payload(hit);
            }
            client.ping();
        }
    });
}

// covers: [MQIsdp-17] [MQIsdp-9] (3.1)
#[test]
fn clients_of_every_version_exchange_messages() {
    everywhere(|w| {
        for from in VERSIONS {
            for to in [V31, V311, V5] {
                let topic = w.topic("mixed");
                let mut subscriber = w.client(to, "sub");
                let mut publisher = w.client(from, "pub");
                subscriber.subscribe(&topic, 2);
                for qos in 0..=2 {
                    let text = format!("{from:?} {to:?} {qos}");
                    publisher.deliver(Publish::new(&topic, &text).qos(qos));
                    let publish = subscriber.expect_payload(&text);
                    assert_eq!((publish.qos, publish.props.len()), (qos, 0));
                    if qos == 1 {
                        subscriber.send(ack(PUBACK, publish.id));
                    } else {
                        subscriber.acknowledge(&publish);
                    }
                }
            }
        }
    });
}
