//! Chapter 3.1: what a client asks of the server in CONNECT: keep alive, packet size, problem information, aliases.

use std::time::{Duration, Instant};

use crate::client::{Client, Event};
use crate::decode::Packet;
use crate::packets::{
    Connect, PINGREQ, PUBACK, PUBREC, Publish, V5, V311, VERSIONS, Value, Version, frame, prop, subscribe, unsubscribe,
};
use crate::world::{World, everywhere, with_flags};

/// Waits for the server to close a silent client; how long it took.
fn silence_until_closed(client: &mut Client, since: Instant) -> Duration {
    client.expect_refusal(&[0x8D]);
    since.elapsed()
}

// covers: [MQTT-3.1.2-22] [MQTT-3.2.2-22] (5.0)
// covers: [MQTT-3.1.2-24] (3.1.1)
#[test]
fn a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    everywhere(|w| {
        let since = Instant::now();
        let mut clients: Vec<Client> = VERSIONS
            .into_iter()
            .map(|version| {
                let (client, connack) = w.connect(&Connect::new(version, w.id("silent")).keep_alive(2));
                assert_eq!(connack.property(prop::SERVER_KEEP_ALIVE), None, "the client's own value is used");
                client
            })
            .collect();
        for client in &mut clients {
            let waited = silence_until_closed(client, since);
            assert!(waited >= Duration::from_millis(2_900), "{:?}: too early, after {waited:?}", client.version);
            assert!(waited < Duration::from_secs(6), "{:?}: too late, after {waited:?}", client.version);
        }
    });
}

/// Keeps a client with keep alive 1 busy for two seconds with packets made by `next`; it must not be closed.
fn stays(client: &mut Client, mut next: impl FnMut(u16) -> Vec<u8>) {
    for i in 1..=6 {
        std::thread::sleep(Duration::from_millis(400));
        client.send(next(i));
    }
    let deadline = Instant::now() + Duration::from_millis(300);
    loop {
        match client.next_event(deadline) {
            Event::Timeout => return,
            Event::Packet(Packet::Disconnect(d)) => panic!("{:?}: closed with {:#04x}", client.version, d.code),
            Event::Packet(_) => {}
            Event::Closed => panic!("{:?}: closed although it was not silent", client.version),
        }
    }
}

// covers: [MQTT-3.1.2-22] [MQTT-3.12.4-1] (5.0)
// covers: [MQTT-3.1.2-24] [MQTT-3.12.4-1] (3.1.1)
#[test]
fn any_packet_keeps_a_client_alive() {
    everywhere(|w| {
        std::thread::scope(|scope| {
            for version in [V311, V5] {
                let topic = w.topic("busy");
                let makers: [Box<dyn FnMut(u16) -> Vec<u8> + Send>; 4] = [
                    Box::new(|_| frame(PINGREQ, [])),
                    Box::new(move |_| Publish::new("busy", "x").encode(version)),
                    Box::new(move |i| subscribe(version, i, &[], &[("busy/s", 0)])),
                    Box::new(move |i| Publish::new("busy/1", "x").qos(1).id(i).encode(version)),
                ];
                for mut maker in makers {
                    let (mut client, _) = w.connect(&Connect::new(version, w.id("busy")).keep_alive(1));
                    let _ = &topic;
                    scope.spawn(move || stays(&mut client, &mut maker));
                }
            }
        });
    });
}

// covers: [MQTT-3.1.2-22] (5.0)
// covers: [MQTT-3.1.2-24] (3.1.1)
#[test]
fn what_the_server_sends_does_not_keep_a_client_alive() {
    everywhere(|w| {
        let topic = w.topic("fed");
        let mut publisher = w.client(V5, "pub");
        let since = Instant::now();
        let (mut client, _) = w.connect(&Connect::new(V5, w.id("fed")).keep_alive(1));
        client.subscribe(&topic, 0);
        loop {
            publisher.publish(&topic, "x");
            match client.next_event(Instant::now() + Duration::from_millis(200)) {
                Event::Packet(Packet::Disconnect(d)) => {
                    assert_eq!(d.code, 0x8D);
                    break;
                }
                Event::Closed => panic!("closed without DISCONNECT 0x8D"),
                _ => assert!(since.elapsed() < Duration::from_secs(6), "a silent client is still served"),
            }
        }
        assert!(since.elapsed() >= Duration::from_millis(1_400));
    });
}

/// A slow link takes longer for one large packet than the keep alive allows; that is not silence. One byte now and then is.
#[test]
fn bytes_of_a_packet_that_grows_keep_a_client_alive_and_a_dribble_does_not() {
    everywhere(|w| {
        let topic = w.topic("slow");
        let mut subscriber = w.client(V5, "sub");
        subscriber.subscribe(&topic, 0);
        let (mut writer, _) = w.connect(&Connect::new(V5, w.id("slow")).keep_alive(1));
        let (mut dribbler, _) = w.connect(&Connect::new(V5, w.id("dribble")).keep_alive(1));
        let packet = Publish::new(topic, "x".repeat(60_000)).encode(V5);
        let begun = Instant::now();
        for (number, piece) in packet.chunks(packet.len().div_ceil(9)).enumerate() {
            std::thread::sleep(
                Duration::from_millis(400).saturating_mul(number as u32 + 1).saturating_sub(begun.elapsed()),
            );
            writer.send(piece);
            dribbler.send(&packet[number..=number]);
        }
        assert_eq!(subscriber.expect_publish().payload.len(), 60_000);
        writer.ping();
        dribbler.expect_refusal(&[0x8D]);
    });
}

// covers: [MQTT-3.1.2-22] (5.0)
// covers: [MQTT-3.1.2-24] (3.1.1)
#[test]
fn keep_alive_0_never_closes() {
    everywhere(|w| {
        let mut clients: Vec<Client> = VERSIONS.into_iter().map(|version| w.client(version, "quiet")).collect();
        std::thread::sleep(Duration::from_millis(2_500));
        for client in &mut clients {
            client.ping();
        }
    });
}

// covers: [MQTT-3.2.2-22] [MQTT-3.1.2-22] (5.0)
#[test]
fn a_keep_alive_above_the_servers_limit_is_lowered_announced_and_used() {
    with_flags(&["--keep-alive-max", "1"], |w| {
        for wanted in [100, 0] {
            let since = Instant::now();
            let (mut client, connack) = w.connect(&Connect::new(V5, w.id("cap")).keep_alive(wanted));
            assert_eq!(connack.number(prop::SERVER_KEEP_ALIVE), Some(1), "asked for {wanted}");
            let waited = silence_until_closed(&mut client, since);
            assert!(waited >= Duration::from_millis(1_400) && waited < Duration::from_secs(5), "after {waited:?}");
        }
    });
}

// covers: [MQTT-3.1.2-24] [MQTT-3.1.2-25] (5.0)
#[test]
fn a_message_above_the_clients_maximum_packet_size_is_dropped_and_not_the_client() {
    everywhere(|w| {
        for qos in 0..=2 {
            let topic = w.topic("size");
            let connect =
                Connect::new(V5, w.id("small")).prop(prop::maximum_packet_size(200)).prop(prop::receive_maximum(2));
            let (mut small, _) = w.connect(&connect);
            let mut large = w.client(V5, "large");
            let mut publisher = w.client(V5, "pub");
            small.subscribe(&topic, qos);
            large.subscribe(&topic, qos);
            // More of them than the receive maximum: a dropped one counts as delivered and uses up no quota.
            for _ in 0..5 {
                publisher.deliver(Publish::new(&topic, "x".repeat(300)).qos(qos));
                assert_eq!(large.take().payload.len(), 300);
            }
            publisher.deliver(Publish::new(&topic, "fits").qos(qos));
            small.take_payload("fits");
            large.take_payload("fits");
            // One byte below, at and above the limit: the payload's place in the packet is all but the overhead.
            let overhead = Publish::new(&topic, "").qos(qos).id(1).encode(V5).len() + 1;
            for (size, arrives) in [(199, true), (200, true), (201, false)] {
                let payload = "y".repeat(size - overhead);
                publisher.deliver(Publish::new(&topic, &payload).qos(qos));
                if arrives {
                    small.take_payload(&payload);
                    assert_eq!(small.last_raw[0] & 0x30, if qos == 2 { 0x20 } else { 0x30 });
                }
                large.take_payload(&payload);
            }
            w.fence(&mut publisher, &mut small);
        }
    });
}

// covers: [MQTT-3.1.2-24] [MQTT-3.1.2-25] (5.0)
#[test]
fn properties_count_towards_the_maximum_packet_size() {
    everywhere(|w| {
        let topic = w.topic("size");
        let connect = Connect::new(V5, w.id("small")).prop(prop::maximum_packet_size(150));
        let (mut small, _) = w.connect(&connect);
        let mut publisher = w.client(V5, "pub");
        small.subscribe_with(&[(&topic, 1)], &[prop::subscription_id(268_435_455)]);
        let with_user = |n: usize| Publish::new(&topic, "p").qos(1).prop(prop::user("k", "v".repeat(n)));
        publisher.deliver(with_user(150));
        publisher.deliver(with_user(50));
        let publish = small.take_payload("p");
        assert_eq!(publish.property(prop::USER), Some(&Value::Pair(b"k".to_vec(), vec![b'v'; 50])));
        w.fence(&mut publisher, &mut small);
    });
}

// covers: [MQTT-3.1.2-25] [MQTT-4.4.0-1] (5.0)
#[test]
fn queued_messages_too_large_for_the_resuming_client_are_dropped_and_the_rest_comes() {
    everywhere(|w| {
        let topic = w.topic("size");
        let connect = Connect::new(V5, w.id("small")).resume().expiry(60);
        let (mut client, _) = w.connect(&connect);
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut publisher = w.client(V5, "pub");
        for (text, qos) in [("before", 1), ("x", 1), ("between", 2), ("x", 2), ("after", 1)] {
            let payload = if text == "x" { text.repeat(400) } else { text.to_owned() };
            publisher.deliver(Publish::new(&topic, payload).qos(qos));
        }
        let (mut client, connack) = w.connect(&connect.prop(prop::maximum_packet_size(200)));
        assert!(connack.session_present);
        for text in ["before", "between", "after"] {
            client.take_payload(text);
        }
        w.fence(&mut publisher, &mut client);
    });
}

// covers: [MQTT-3.1.2-24] [MQTT-3.1.2-25] (5.0)
#[test]
fn a_retained_message_too_large_for_the_subscriber_is_left_out() {
    everywhere(|w| {
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(w.topic("r/large"), "x".repeat(400)).qos(1).retain());
        publisher.deliver(Publish::new(w.topic("r/small"), "fits").qos(1).retain());
        let (mut small, _) = w.connect(&Connect::new(V5, w.id("small")).prop(prop::maximum_packet_size(200)));
        small.subscribe(&w.topic("r/+"), 1);
        small.take_payload("fits");
        w.fence(&mut publisher, &mut small);
    });
}

// covers: [MQTT-3.1.2-24] [MQTT-3.2.2-19] [MQTT-3.2.2-20] (5.0)
#[test]
fn no_packet_exceeds_a_very_small_maximum_packet_size() {
    everywhere(|w| {
        // CONNACK with what the server has to announce may not fit: then the connection closes, but nothing larger comes
        // (the client checks the size of every packet).
        for size in [1, 2, 4, 5, 8, 16, 24, 32, 48] {
            let mut client = w.start(&Connect::new(V5, w.id("tiny")).prop(prop::maximum_packet_size(size)));
            match client.next_event(Instant::now() + crate::client::PATIENCE) {
                Event::Packet(Packet::ConnAck(connack)) if connack.code == 0 => client.ping(),
                Event::Packet(Packet::ConnAck(_)) => client.expect_closed(),
                Event::Closed => {}
                other => panic!("maximum packet size {size}: {other:?}"),
            }
            let refused =
                Connect::new(V5, w.id("tiny")).prop(prop::maximum_packet_size(size)).prop(prop::auth_method(b"x"));
            let mut client = w.start(&refused);
            client.expect_no_session();
        }
    });
}

// covers: [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] (5.0)
// covers: [MQTT-3.7.2-2] [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] (5.0)
// covers: [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.1.2-24] (5.0)
#[test]
fn refusals_leave_out_what_the_clients_maximum_packet_size_has_no_room_for() {
    everywhere(|w| {
        // Room for CONNACK and for each bare answer; a reason string would exceed it. The client checks every size.
        let (mut client, connack) = w.connect(&Connect::new(V5, w.id("tiny")).prop(prop::maximum_packet_size(40)));
        assert_eq!(connack.code, 0);
        provoke(&mut client);
        client.send(frame(0x00, []));
        client.expect_refusal(&[0x81, 0x82]);
    });
}

/// Makes the server send an acknowledgement of each kind with a refusal in it where there can be one.
#[track_caller]
fn provoke(client: &mut Client) {
    client.send(Publish::new("$SYS/refused", "x").qos(1).id(101).encode(V5));
    assert!(client.await_ack(PUBACK, 101) >= 0x80, "publishing to $SYS is refused");
    client.send(Publish::new("$SYS/refused", "x").qos(2).id(102).encode(V5));
    assert!(client.await_ack(PUBREC, 102) >= 0x80, "publishing to $SYS is refused");
    client.send(crate::packets::ack(PUBREC, 103));
    assert_eq!(client.await_ack(crate::packets::PUBREL, 103), 0x92, "PUBREC of nothing");
    client.send(crate::packets::ack(crate::packets::PUBREL, 104));
    assert_eq!(client.await_ack(crate::packets::PUBCOMP, 104), 0x92, "PUBREL of nothing");
    client.send(subscribe(V5, 105, &[], &[("a/#/b", 1)]));
    assert!(matches!(client.recv(), Packet::SubAck(s) if s.codes == [0x8F]));
    client.send(unsubscribe(V5, 106, &["never/subscribed"]));
    assert!(matches!(client.recv(), Packet::UnsubAck(u) if u.codes == [0x11]));
}

// covers: [MQTT-3.1.2-29] (5.0)
#[test]
fn without_problem_information_acknowledgements_carry_neither_reason_string_nor_user_properties() {
    everywhere(|w| {
        let (mut client, _) = w.connect(&Connect::new(V5, w.id("terse")).prop(prop::request_problem(0)));
        let requests = [
            Publish::new("$SYS/refused", "x").qos(1).id(101).encode(V5),
            Publish::new("$SYS/refused", "x").qos(2).id(102).encode(V5),
            crate::packets::ack(PUBREC, 103),
            crate::packets::ack(crate::packets::PUBREL, 104),
            subscribe(V5, 105, &[], &[("a/#/b", 1)]),
            unsubscribe(V5, 106, &["never/subscribed"]),
        ];
        for request in requests {
            client.send(request);
            let props = match client.recv() {
                Packet::Ack(ack) => ack.props,
                Packet::SubAck(codes) | Packet::UnsubAck(codes) => codes.props,
                other => panic!("an acknowledgement is expected, not {other:?}"),
            };
            assert!(props.is_empty(), "{props:?}");
        }
        // User properties of a PUBLISH are none of this: they always pass.
        let topic = w.topic("user");
        client.subscribe(&topic, 0);
        client.send(Publish::new(&topic, "x").prop(prop::user("k", "v")).encode(V5));
        assert_eq!(client.expect_publish().props, [prop::user("k", "v")]);
    });
}

/// Publishes to `topics` in turn, several rounds, and returns the alias property of each delivery.
fn aliases_seen(w: &World, connect: &Connect, topics: usize) -> Vec<Option<u16>> {
    let (mut subscriber, _) = w.connect(connect);
    let mut publisher = w.client(V5, "pub");
    subscriber.subscribe(&w.topic("alias/#"), 0);
    let mut seen = Vec::new();
    for round in 0..4 {
        for i in 0..topics {
            let topic = w.topic(&format!("alias/{i}"));
            publisher.publish(&topic, &format!("{round}"));
            let publish = subscriber.expect_publish();
            assert_eq!(publish.topic, topic, "aliases resolve to the right topic");
            seen.push(match publish.property(prop::TOPIC_ALIAS) {
                Some(Value::Two(alias)) => Some(*alias),
                _ => None,
            });
        }
    }
    seen
}

// covers: [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11] [MQTT-3.3.2-8] (5.0)
#[test]
fn topic_aliases_to_the_client_stay_within_its_maximum() {
    everywhere(|w| {
        for connect in
            [Connect::new(V5, w.id("none")), Connect::new(V5, w.id("zero")).prop(prop::topic_alias_maximum(0))]
        {
            assert!(aliases_seen(w, &connect, 3).iter().all(Option::is_none), "none were allowed");
        }
        for max in [1, 2, 5, u16::MAX] {
            let connect = Connect::new(V5, w.id("some")).prop(prop::topic_alias_maximum(max));
            let seen = aliases_seen(w, &connect, 4);
            assert!(seen.iter().flatten().all(|alias| (1..=max).contains(alias)), "{seen:?} above {max}");
        }
    });
}

// covers: [MQTT-3.3.2-7] [MQTT-3.1.2-26] (5.0)
#[test]
fn the_servers_aliases_begin_anew_with_each_connection() {
    everywhere(|w| {
        let topic = w.topic("alias");
        let connect = Connect::new(V5, w.id("again")).resume().expiry(60).prop(prop::topic_alias_maximum(10));
        let mut publisher = w.client(V5, "pub");
        for round in 0..3 {
            // A reader of its own for each connection: it fails on an alias that this connection was never told.
            let (mut subscriber, connack) = w.connect(&connect);
            assert_eq!(connack.session_present, round > 0);
            if round == 0 {
                subscriber.subscribe(&topic, 1);
            }
            for _ in 0..3 {
                publisher.deliver(Publish::new(&topic, "x").qos(1));
                assert_eq!(subscriber.take_payload("x").topic, topic);
            }
            subscriber.disconnect();
        }
    });
}

/// Sends one PUBLISH above the limit of a broker with `--max-packet-size 2000`, and one just at it.
fn packet_of_exactly(version: Version, size: usize) -> Vec<u8> {
    let empty = Publish::new("size", "").encode(version).len() + 1;
    let packet = Publish::new("size", "x".repeat(size - empty)).encode(version);
    assert_eq!(packet.len(), size);
    packet
}

// covers: [MQTT-3.2.2-15] (5.0)
#[test]
fn a_packet_above_the_servers_maximum_packet_size_is_refused() {
    with_flags(&["--max-packet-size", "2000"], |w| {
        for version in VERSIONS {
            let (mut client, connack) = w.connect(&Connect::new(version, w.id("size")));
            if version == V5 {
                assert_eq!(connack.number(prop::MAXIMUM_PACKET_SIZE), Some(2_000));
            }
            client.send(packet_of_exactly(version, 2_000));
            client.ping();
            client.send(packet_of_exactly(version, 2_001));
            client.expect_refusal(&[0x95]);
            // Only the header is needed to know: nothing is read for it.
            let mut client = w.client(version, "size");
            client.send([0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
            client.expect_refusal(&[0x95]);
        }
    });
}
