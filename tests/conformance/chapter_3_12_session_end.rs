//! Chapters 3.12 to 3.15: PINGREQ, DISCONNECT, AUTH.

use std::time::Duration;

use crate::decode::Packet;
use crate::packets::{
    AUTH, Connect, DISCONNECT, PINGREQ, Publish, V5, V31, V311, VERSIONS, disconnect_with, field, frame, prop,
    properties,
};
use crate::world::{everywhere, with_own_brokers};

// covers: [MQTT-3.12.4-1] (5.0)
// covers: [MQTT-3.12.4-1] (3.1.1)
#[test]
fn every_pingreq_is_answered_by_one_pingresp() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "ping");
            client.ping();
            client.send([PINGREQ, 0].repeat(50));
            for _ in 0..50 {
                assert_eq!(client.recv(), Packet::PingResp);
                assert_eq!(client.last_raw, [0xD0, 0]);
            }
            client.publish(&w.topic("x"), "y");
            client.ping();
        }
    });
}

// covers: [MQTT-3.14.1-1] (5.0)
// covers: [MQTT-3.14.1-1] (3.1.1)
#[test]
fn disconnect_with_reserved_flags_is_malformed_and_leaves_the_will() {
    everywhere(|w| {
        for version in [V311, V5] {
            for flags in [1, 2, 4, 8, 15] {
                let topic = w.topic("will");
                let mut observer = w.client(version, "obs");
                observer.subscribe(&topic, 1);
                let will = crate::packets::Will::new(&topic, "malformed");
                let (mut client, _) = w.connect(&Connect::new(version, w.id("bye")).will(will));
                client.send(frame(DISCONNECT | flags, []));
                client.expect_refusal(&[0x81]);
                observer.take_payload("malformed");
            }
        }
    });
}

// covers: [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1] [MQTT-4.13.1-1] (5.0)
#[test]
fn the_servers_disconnect_has_a_listed_reason_and_is_the_last_packet() {
    everywhere(|w| {
        let connect = Connect::new(V5, w.id("end")).expiry(60);
        let provocations: [(Vec<u8>, &[u8]); 5] = [
            (frame(0x00, []), &[0x81, 0x82]),
            (connect.encode(), &[0x82]),
            (Publish::new("a/#", "x").encode(V5), &[0x81, 0x82, 0x90]),
            (frame(0xD0, []), &[0x81, 0x82]),
            (frame(AUTH, []), &[0x82, 0x8C]),
        ];
        for (bytes, reasons) in provocations {
            let (mut client, _) = w.connect(&connect);
            // What comes behind is not answered any more.
            client.send([bytes, frame(PINGREQ, [])].concat());
            client.expect_refusal(reasons);
        }
    });
}

// covers: [MQTT-3.14.4-2] [MQTT-3.14.4-1] (5.0)
// covers: [MQTT-3.14.4-2] (3.1.1)
#[test]
fn after_a_clients_disconnect_the_server_closes_without_a_word() {
    everywhere(|w| {
        for version in VERSIONS {
            w.client(version, "bye").disconnect();
        }
        for bytes in [disconnect_with(0, &[]), frame(DISCONNECT, [0]), disconnect_with(0x04, &[prop::user("k", "v")])] {
            let mut client = w.client(V5, "bye");
            client.send(bytes);
            assert_eq!(client.raw_until_closed(), b"");
        }
        let w31 = w.client(V31, "bye");
        w31.disconnect();
    });
}

// covers: [MQTT-3.14.2-1] (5.0)
#[test]
fn a_clients_disconnect_with_a_reason_only_servers_use_is_refused() {
    everywhere(|w| {
        for code in [0x01, 0x8E, 0x8B, 0x8D, 0xFF] {
            let mut client = w.client(V5, "bye");
            client.send(disconnect_with(code, &[]));
            match client.next_event(std::time::Instant::now() + crate::client::PATIENCE) {
                crate::client::Event::Closed => {}
                crate::client::Event::Packet(Packet::Disconnect(d)) => {
                    assert!(d.code == 0x81 || d.code == 0x82, "{code:#04x} answered by {d:?}");
                    client.expect_closed();
                }
                other => panic!("{code:#04x}: {other:?}"),
            }
        }
    });
}

// covers: [MQTT-3.15.1-1] (5.0)
#[test]
fn auth_with_reserved_flags_is_malformed() {
    everywhere(|w| {
        for flags in 1..16 {
            let mut client = w.client(V5, "auth");
            client.send(frame(AUTH | flags, []));
            client.expect_refusal(&[0x81]);
        }
    });
}

// covers: [MQTT-4.12.0-7] [MQTT-4.12.1-2] [MQTT-4.12.0-6] [MQTT-3.15.2-1] (5.0)
#[test]
fn auth_without_an_authentication_method_in_connect_is_a_protocol_error() {
    everywhere(|w| {
        let method = properties(V5, &[prop::auth_method(b"SCRAM-SHA-1"), prop::auth_data(b"x")]);
        let with = |code: u8| frame(AUTH, [&[code][..], &method].concat());
        for packet in [frame(AUTH, []), frame(AUTH, [0]), with(0x18), with(0x19), with(0x00), with(0x80)] {
            let mut client = w.client(V5, "auth");
            client.send(packet);
            client.expect_refusal(&[0x82, 0x81, 0x8C]);
        }
    });
}

// covers: [MQTT-3.15.1-1] (5.0)
// covers: [MQTT-2.2.2-1] (3.1.1)
#[test]
fn auth_does_not_exist_before_5_0() {
    everywhere(|w| {
        for version in [V31, V311] {
            let mut client = w.client(version, "auth");
            client.send(frame(AUTH, field("")));
            client.expect_closed();
        }
    });
}

// covers: [MQTT-3.14.2-1] [MQTT-3.14.4-2] [MQTT-3.1.2-23] (5.0)
#[test]
fn a_server_that_shuts_down_says_so() {
    with_own_brokers(&[], |w, broker| {
        let mut clients: Vec<_> = VERSIONS.into_iter().map(|version| w.client(version, "live")).collect();
        broker.terminate();
        for client in &mut clients {
            client.expect_refusal(&[0x8B]);
        }
        assert!(broker.wait_gone(Duration::from_secs(15)), "the process ends after SIGTERM");
    });
}
