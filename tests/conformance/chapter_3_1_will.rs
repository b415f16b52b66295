//! Chapter 3.1: the will message. When it is owed, when it is not, and what it looks like.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::packets::{AUTH, Connect, PINGRESP, Publish, V5, V31, V311, VERSIONS, Version, Will, frame, prop};
use crate::world::{World, everywhere};

/// A client that watches `topic`.
fn observer(w: &World, version: Version, topic: &str) -> Client {
    let mut observer = w.client(version, "obs");
    observer.subscribe(topic, 2);
    observer
}

// covers: [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-14] (5.0)
// covers: [MQTT-3.1.2-8] [MQTT-3.1.2-16] (3.1.1)
#[test]
fn the_will_is_published_when_the_connection_is_lost() {
    everywhere(|w| {
        for version in VERSIONS {
            for qos in 0..=2 {
                let topic = w.topic("will");
                let mut observer = observer(w, version, &topic);
                let will = Will::new(&topic, "lost").qos(qos);
                let (client, _) = w.connect(&Connect::new(version, w.id("dying")).will(will));
                client.vanish();
                let publish = observer.take_payload("lost");
                assert_eq!((publish.qos, publish.retain), (qos, false));
            }
        }
    });
}

// covers: [MQTT-3.1.2-10] [MQTT-3.1.2-8] [MQTT-3.14.4-3] (5.0)
// covers: [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3] (3.1.1)
#[test]
fn no_will_is_published_after_a_normal_disconnect() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("will");
            let mut observer = observer(w, version, &topic);
            let (client, _) = w.connect(&Connect::new(version, w.id("bye")).will(Will::new(&topic, "must not come")));
            client.disconnect();
            // The same session place again, so that whatever the disconnect set off has happened.
            let (mut client, _) = w.connect(&Connect::new(version, w.id("bye2")));
            w.fence(&mut client, &mut observer);
        }
        let topic = w.topic("will");
        let mut observer = observer(w, V5, &topic);
        let (client, _) = w.connect(&Connect::new(V5, w.id("bye")).will(Will::new(&topic, "must not come")).expiry(1));
        client.disconnect_with(0, &[]);
        std::thread::sleep(Duration::from_millis(1_600));
        let mut other = w.client(V5, "other");
        w.fence(&mut other, &mut observer);
    });
}

// covers: [MQTT-3.1.2-12] (3.1.1)
#[test]
fn a_client_without_a_will_leaves_none() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut observer = observer(w, version, &w.topic("#"));
            let (client, _) = w.connect(&Connect::new(version, w.id("plain")));
            client.vanish();
            let mut other = w.client(version, "other");
            w.fence(&mut other, &mut observer);
        }
    });
}

// covers: [MQTT-3.1.2-8] (5.0)
#[test]
fn disconnect_with_will_message_publishes_the_will() {
    everywhere(|w| {
        let topic = w.topic("will");
        let mut observer = observer(w, V5, &topic);
        for code in [0x04, 0x80] {
            let (client, _) = w.connect(&Connect::new(V5, w.id("bye")).will(Will::new(&topic, "as asked")));
            client.disconnect_with(code, &[]);
            observer.take_payload("as asked");
        }
    });
}

// covers: [MQTT-3.1.2-8] (5.0)
// covers: [MQTT-3.1.2-8] (3.1.1)
#[test]
fn a_client_that_is_closed_for_a_protocol_error_leaves_its_will() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("will");
            let mut observer = observer(w, version, &topic);
            let (mut client, _) = w.connect(&Connect::new(version, w.id("bad")).will(Will::new(&topic, "misbehaved")));
            client.send(frame(PINGRESP, []));
            client.expect_closed();
            observer.take_payload("misbehaved");
        }
    });
}

// covers: [MQTT-3.1.2-8] [MQTT-3.1.2-22] (5.0)
// covers: [MQTT-3.1.2-8] [MQTT-3.1.2-24] (3.1.1)
#[test]
fn a_client_that_falls_silent_leaves_its_will() {
    everywhere(|w| {
        let clients: Vec<_> = VERSIONS
            .into_iter()
            .map(|version| {
                let topic = w.topic(&format!("silent/{version:?}"));
                let observer = observer(w, version, &topic);
                let will = Will::new(&topic, "silent");
                (observer, w.connect(&Connect::new(version, w.id("silent")).keep_alive(1).will(will)).0)
            })
            .collect();
        for (mut observer, mut client) in clients {
            observer.take_payload("silent");
            client.expect_refusal(&[0x8D]);
        }
    });
}

// covers: [MQTT-3.1.2-14] [MQTT-3.1.2-15] (5.0)
// covers: [MQTT-3.1.2-16] [MQTT-3.1.2-17] (3.1.1)
#[test]
fn will_retain_decides_whether_the_will_is_stored() {
    everywhere(|w| {
        for version in VERSIONS {
            for retain in [false, true] {
                let topic = w.topic(&format!("will/{retain}"));
                let mut observer = observer(w, version, &topic);
                let will = Will::new(&topic, "last words").qos(1);
                let will = if retain { will.retain() } else { will };
                let id = w.id("dying");
                let (client, _) = w.connect(&Connect::new(version, &id).will(will));
                client.vanish();
                let live = observer.take_payload("last words");
                assert!(!live.retain, "established subscriptions get RETAIN 0");
                w.settle_retained(&mut w.connect(&Connect::new(version, &id)).0);
                let mut late = w.client(version, "late");
                late.subscribe(&topic, 1);
                if retain {
                    assert!(late.take_payload("last words").retain);
                    observer.deliver(Publish::new(&topic, "").qos(1).retain());
                    observer.take_payload("");
                } else {
                    late.ping();
                }
            }
        }
    });
}

// covers: [MQTT-3.1.2-8] [MQTT-3.1.2-10] (5.0)
#[test]
fn a_delayed_will_is_published_after_its_delay() {
    everywhere(|w| {
        let topic = w.topic("will");
        let mut observer = observer(w, V5, &topic);
        let will = Will::new(&topic, "delayed").qos(1).delay(1);
        let (client, _) = w.connect(&Connect::new(V5, w.id("dying")).expiry(60).will(will));
        let lost = Instant::now();
        client.vanish();
        observer.take_payload("delayed");
        let waited = lost.elapsed();
        assert!(waited >= Duration::from_millis(950), "after {waited:?}");
    });
}

// covers: [MQTT-3.1.3-9] [MQTT-3.1.2-8] (5.0)
#[test]
fn a_session_resumed_within_the_will_delay_leaves_no_will() {
    everywhere(|w| {
        let topic = w.topic("will");
        let mut observer = observer(w, V5, &topic);
        let connect = Connect::new(V5, w.id("dying")).resume().expiry(60);
        let (client, _) = w.connect(&connect.clone().will(Will::new(&topic, "must not come").delay(1)));
        client.vanish();
        let (mut client, connack) = w.connect(&connect);
        assert!(connack.session_present);
        std::thread::sleep(Duration::from_millis(1_800));
        w.fence(&mut client, &mut observer);
        // The connection that resumed it has no will at all.
        client.vanish();
        let mut other = w.client(V5, "other");
        w.fence(&mut other, &mut observer);
    });
}

// covers: [MQTT-3.1.2-8] [MQTT-4.1.0-2] (5.0)
#[test]
fn a_session_that_ends_before_the_will_delay_publishes_the_will_then() {
    everywhere(|w| {
        let topic = w.topic("will");
        let mut observer = observer(w, V5, &topic);
        let will = |text: &str| Will::new(&topic, text).delay(3_600);
        let (client, _) = w.connect(&Connect::new(V5, w.id("no")).will(will("no session")));
        client.vanish();
        observer.take_payload("no session");

        let (client, _) = w.connect(&Connect::new(V5, w.id("short")).expiry(1).will(will("expired")));
        client.vanish();
        observer.take_payload("expired");

        let connect = Connect::new(V5, w.id("clean")).expiry(60);
        let (client, _) = w.connect(&connect.clone().will(will("clean start")));
        client.vanish();
        let (mut client, _) = w.connect(&connect);
        observer.take_payload("clean start");

        let (client2, _) = w.connect(&Connect::new(V5, w.id("end")).expiry(60).will(will("expiry 0 in disconnect")));
        client2.disconnect_with(0x04, &[prop::session_expiry(0)]);
        observer.take_payload("expiry 0 in disconnect");
        w.fence(&mut client, &mut observer);
    });
}

// covers: [MQTT-3.1.2-8] [MQTT-3.1.4-3] (5.0)
// covers: [MQTT-3.1.2-8] [MQTT-3.1.4-2] (3.1.1)
#[test]
fn a_takeover_publishes_the_will_of_the_connection_that_was_taken() {
    everywhere(|w| {
        for version in VERSIONS {
            let (id, topic) = (w.id("taken"), w.topic("will"));
            let mut observer = observer(w, version, &topic);
            let connect = Connect::new(version, &id).persistent();
            let (mut old, _) = w.connect(&connect.clone().will(Will::new(&topic, "taken over")));
            let (mut new, _) = w.connect(&connect);
            old.expect_refusal(&[0x8E]);
            observer.take_payload("taken over");
            w.fence(&mut new, &mut observer);
        }
    });
}

// covers: [MQTT-3.1.3-9] [MQTT-3.1.4-3] [MQTT-3.1.2-8] (5.0)
#[test]
fn a_takeover_within_the_will_delay_keeps_the_will_back_unless_it_starts_clean() {
    everywhere(|w| {
        let (id, topic) = (w.id("taken"), w.topic("will"));
        let mut observer = observer(w, V5, &topic);
        let connect = Connect::new(V5, &id).resume().expiry(60);
        let delayed = |text: &str| connect.clone().will(Will::new(&topic, text).delay(1));
        let (mut old, _) = w.connect(&delayed("must not come"));
        let (mut new, _) = w.connect(&delayed("comes with the clean start"));
        old.expect_refusal(&[0x8E]);
        std::thread::sleep(Duration::from_millis(1_700));
        w.fence(&mut new, &mut observer);
        let began = Instant::now();
        let (mut clean, _) = w.connect(&Connect::new(V5, &id));
        new.expect_refusal(&[0x8E]);
        observer.take_payload("comes with the clean start");
        assert!(began.elapsed() < Duration::from_millis(900), "the session ended, so nothing was waited for");
        w.fence(&mut clean, &mut observer);
    });
}

// covers: [MQTT-3.1.2-10] (5.0)
// covers: [MQTT-3.1.2-10] (3.1.1)
#[test]
fn a_will_is_published_once_and_forgotten() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("will");
            let mut observer = observer(w, version, &topic);
            let connect = Connect::new(version, w.id("dying")).persistent();
            let (client, _) = w.connect(&connect.clone().will(Will::new(&topic, "once")));
            client.vanish();
            observer.take_payload("once");
            let (client, _) = w.connect(&connect);
            client.vanish();
            let (mut client, _) = w.connect(&connect);
            w.fence(&mut client, &mut observer);
        }
    });
}

// covers: [MQTT-3.1.2-7] (5.0)
// covers: [MQTT-3.1.2-8] (3.1.1)
#[test]
fn a_new_connection_brings_its_own_will() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("will");
            let mut observer = observer(w, version, &topic);
            let connect = |text: &str| Connect::new(version, w.id("same")).persistent().will(Will::new(&topic, text));
            let first = connect("first");
            let second = Connect { will: connect("second").will, ..first.clone() };
            w.connect(&first).0.disconnect();
            w.connect(&second).0.vanish();
            observer.take_payload("second");
            let mut other = w.client(version, "other");
            w.fence(&mut other, &mut observer);
        }
    });
}

// covers: [MQTT-3.1.3-10] [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-20] (5.0)
#[test]
fn the_wills_properties_are_forwarded_in_their_order() {
    everywhere(|w| {
        let topic = w.topic("will");
        let mut observer = observer(w, V5, &topic);
        let properties = [
            prop::payload_format(1),
            prop::content_type(b"text/plain"),
            prop::response_topic(b"reply/here"),
            prop::correlation_data(b"\0\x01\xFF"),
            prop::user("z", "1"),
            prop::user("a", "2"),
            prop::user("z", "0"),
        ];
        let will = properties.iter().fold(Will::new(&topic, "x").qos(1), |will, p| will.prop(p.clone()));
        let (client, _) = w.connect(&Connect::new(V5, w.id("dying")).will(will));
        client.vanish();
        let publish = observer.take_payload("x");
        for id in [prop::PAYLOAD_FORMAT, prop::CONTENT_TYPE, prop::RESPONSE_TOPIC, prop::CORRELATION_DATA] {
            let sent = properties.iter().find(|p| p.0 == id).map(|p| &p.1);
            assert_eq!(publish.property(id), sent, "{}", prop::name(id));
        }
        let users: Vec<_> = publish.props.iter().filter(|p| p.0 == prop::USER).collect();
        assert_eq!(users, properties[4..].iter().collect::<Vec<_>>());
        assert!(publish.property(prop::WILL_DELAY).is_none());
    });
}

// covers: [MQTT-3.3.2-6] (5.0)
#[test]
fn the_expiry_of_a_will_begins_when_it_is_published() {
    everywhere(|w| {
        let topic = w.topic("will");
        let mut observer = observer(w, V5, &topic);
        let will = Will::new(&topic, "x").qos(1).delay(1).prop(prop::message_expiry(100));
        let (client, _) = w.connect(&Connect::new(V5, w.id("dying")).expiry(60).will(will));
        client.vanish();
        let publish = observer.take_payload("x");
        assert_eq!(publish.property(prop::MESSAGE_EXPIRY), Some(&crate::packets::Value::Four(100)));
    });
}

// covers: [MQTT-3.1.2-8] (5.0)
// covers: [MQTT-3.1.2-8] (3.1.1)
#[test]
fn a_will_with_an_empty_payload_and_one_of_a_large_one_are_published() {
    everywhere(|w| {
        for version in [V31, V311, V5] {
            let topic = w.topic("will");
            let mut observer = observer(w, version, &topic);
            for size in [0, 1, 40_000] {
                let will = Will::new(&topic, vec![b'w'; size]).qos(1);
                let (client, _) = w.connect(&Connect::new(version, w.id("dying")).will(will));
                client.vanish();
                assert_eq!(observer.take().payload.len(), size);
            }
        }
    });
}

// covers: [MQTT-3.1.2-8] [MQTT-4.12.0-7] (5.0)
#[test]
fn a_client_closed_for_auth_without_a_method_leaves_its_will() {
    everywhere(|w| {
        let topic = w.topic("will");
        let mut observer = observer(w, V5, &topic);
        let (mut client, _) = w.connect(&Connect::new(V5, w.id("auth")).will(Will::new(&topic, "auth")));
        client.send(frame(AUTH, []));
        client.expect_refusal(&[0x82, 0x8C]);
        observer.take_payload("auth");
    });
}
