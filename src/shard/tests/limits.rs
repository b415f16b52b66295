//! Message expiry, packet size, depth and counts.

use super::harness::{World, options, v5, v5_kept};
use super::show::{publish, publish1, retained};
use super::will::will;
use crate::codec::{AckKind, Connect, ConnectWill, Packet, Publish, Version};
use crate::telemetry::DropReason;

#[test]
fn the_expiry_that_a_subscriber_sees_is_what_remains() {
    let mut world = World::new();
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(Publish { message_expiry_s: Some(10), ..publish1(1, "t", "x") }));
    world.send(publisher, &Packet::Publish(Publish { message_expiry_s: Some(3), ..publish1(2, "t", "y") }));
    world.pass_s(4);
    let (_, answer) = world.resume(&v5_kept("sub"));
    assert_eq!(answer, ["CONNACK success present", "PUBLISH t q1 #1 expiry=6 x"]);
    assert_eq!(world.dropped(DropReason::Expired), 1);
}

#[test]
fn a_retained_message_shows_what_remains_and_goes_when_nothing_does() {
    let mut world = World::new();
    let publisher = world.client("pub");
    let expiring = Publish { message_expiry_s: Some(10), ..retained(publish("t", "x")) };
    world.send(publisher, &Packet::Publish(expiring));
    world.pass_s(7);
    let sub = world.client("sub");
    world.subscribe_with(sub, "t", options(0), None);
    assert_eq!(world.read(sub), ["SUBACK #1 [0]", "PUBLISH t retain expiry=3 x"]);
    world.pass_s(3);
    world.subscribe(sub, "t", 0);
    world.pass_s(60 + 2);
    assert_eq!(world.shards[0].gauges().retained_messages, 0);
}

#[test]
fn a_message_beyond_the_clients_packet_size_is_dropped_and_the_client_stays() {
    let mut world = World::new();
    let small = Connect { maximum_packet_size_bytes: 60, receive_maximum: 2, ..v5("small") };
    let small = world.connect(&small);
    world.subscribe(small, "t", 1);
    let other = world.client("other");
    world.subscribe(other, "t", 0);
    let publisher = world.client("pub");
    let text = "x".repeat(100);
    for number in 1..=5 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &text)));
        world.send(publisher, &Packet::Publish(publish("t", &text)));
    }
    world.send(publisher, &Packet::Publish(publish1(6, "t", "fits")));
    assert_eq!(world.read(small), ["PUBLISH t q1 #1 fits"], "and the others take no place in its window");
    assert_eq!(world.dropped(DropReason::PacketTooLarge), 10);
    assert_eq!(world.read(other).len(), 11);
}

#[test]
fn a_resumed_session_may_take_less_than_before() {
    let mut world = World::new();
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    let publisher = world.client("pub");
    let text = "x".repeat(100);
    world.send(publisher, &Packet::Publish(publish1(1, "t", &text)));
    world.send(publisher, &Packet::Publish(publish1(2, "t", "fits")));
    assert_eq!(world.read(sub).len(), 2);
    world.cut(sub);
    world.send(publisher, &Packet::Publish(publish1(3, "t", &text)));
    world.send(publisher, &Packet::Publish(publish1(4, "t", "too")));
    let (sub, answer) = world.resume(&Connect { maximum_packet_size_bytes: 60, ..v5_kept("sub") });
    assert_eq!(answer, ["CONNACK success present", "PUBLISH t q1 #2 dup fits", "PUBLISH t q1 #3 too"]);
    world.ack(sub, AckKind::PubAck, 2);
    world.ack(sub, AckKind::PubAck, 3);
    assert_eq!(world.shards[0].gauges().stored_messages, 0);
    assert_eq!(world.dropped(DropReason::PacketTooLarge), 2);
}

#[test]
fn a_topic_too_deep_is_refused_message_by_message() {
    let mut world = World::with(1, |settings| settings.topic_levels_max = 3);
    let peer = world.client("c");
    world.subscribe(peer, "a/b/c", 0);
    world.send(peer, &Packet::Publish(publish1(1, "a/b/c", "x")));
    world.send(peer, &Packet::Publish(publish1(2, "a/b/c/d", "x")));
    world.send(peer, &Packet::Publish(publish("a/b/c/d", "x")));
    assert_eq!(world.read(peer), ["PUBLISH a/b/c x", "PUBACK #1", "PUBACK #2 topic name invalid"]);
    assert_eq!(world.dropped(DropReason::TopicRefused), 2);
    world.subscribe_with(peer, "a/b/c/#", options(0), None);
    assert_eq!(world.read(peer), ["SUBACK #1 [143]"]);
}

#[test]
fn a_filter_that_is_none_is_refused_in_suback_and_before_5_0_by_closing() {
    let mut world = World::new();
    let peer = world.client("c");
    world.subscribe_with(peer, "a/#/b", options(0), None);
    assert_eq!(world.read(peer), ["SUBACK #1 [143]"]);
    let peer = world.connect(&Connect::new(Version::V311, "d", true));
    world.subscribe_with(peer, "a/#/b", options(0), None);
    assert_eq!(world.read(peer), ["CLOSED protocol_error"]);
}

#[test]
fn subscriptions_and_retained_messages_have_their_limits() {
    let mut world = World::with(1, |settings| {
        settings.subscriptions_max = 2;
        settings.retained_max = 2;
    });
    let peer = world.client("c");
    world.subscribe(peer, "a", 0);
    world.subscribe(peer, "b", 0);
    world.subscribe_with(peer, "c", options(0), None);
    assert_eq!(world.read(peer), ["SUBACK #1 [151]"]);
    world.subscribe(peer, "b", 0);
    world.unsubscribe(peer, "a");
    world.subscribe(peer, "c", 0);
    for (number, topic) in [(1, "x"), (2, "y"), (3, "z"), (4, "y")] {
        world.send(peer, &Packet::Publish(retained(publish1(number, topic, "v"))));
    }
    let answers = world.read(peer);
    assert_eq!(answers[2], "PUBACK #3 quota exceeded");
    assert_eq!(answers[3], "PUBACK #4 no matching subscribers");
    world.send(peer, &Packet::Publish(retained(publish("x", ""))));
    world.send(peer, &Packet::Publish(retained(publish1(5, "z", "v"))));
    assert_eq!(world.read(peer), ["PUBACK #5 no matching subscribers"]);
}

#[test]
fn retained_messages_have_a_limit_in_bytes_and_give_back_what_they_held() {
    // Two messages of ten bytes, topic included, and five bytes more.
    let mut world = World::with(1, |settings| settings.retained_max_bytes = 25);
    let peer = world.client("c");
    let mut retain = |number, topic: &str, payload: &str| {
        world.send(peer, &Packet::Publish(retained(publish1(number, topic, payload))));
        world.read(peer).remove(0)
    };
    let (kept, refused) = ("no matching subscribers", "quota exceeded");
    assert_eq!(retain(1, "x", "123456789"), format!("PUBACK #1 {kept}"));
    assert_eq!(retain(2, "y", "123456789"), format!("PUBACK #2 {kept}"));
    assert_eq!(retain(3, "z", "12345"), format!("PUBACK #3 {refused}"));
    assert_eq!(retain(4, "z", "1234"), format!("PUBACK #4 {kept}"), "to the last byte");
    // In the place of an old one, as much as that gives back.
    assert_eq!(retain(5, "x", "1234567890"), format!("PUBACK #5 {refused}"));
    assert_eq!(retain(6, "x", "abcdefghi"), format!("PUBACK #6 {kept}"));
    assert_eq!(retain(7, "x", ""), format!("PUBACK #7 {kept}"), "a deletion needs no room");
    assert_eq!(retain(8, "y", "12345678901234567890"), format!("PUBACK #8 {refused}"));
    assert_eq!(retain(9, "y", "1234567890123456789"), format!("PUBACK #9 {kept}"));

    let will =
        |payload| Connect { will: Some(ConnectWill { retain: true, topic: "x", payload, ..will(0) }), ..v5("w") };
    world.connect(&will(b"1")); // nobody is kept out for a message that may never come, or find room by then
    world.connect(&will(b""));
}

#[test]
fn sessions_have_a_limit_that_keeps_nobody_from_coming_back() {
    let mut world = World::with(1, |settings| settings.sessions_max = 2);
    let kept = world.connect(&v5_kept("kept"));
    world.cut(kept);
    world.connect(&v5("connected"));
    let refused = world.open(&v5_kept("new"));
    assert_eq!(world.read(refused), ["CONNACK quota exceeded", "CLOSED no_room"]);
    let refused = world.open(&Connect::new(Version::V311, "old", true));
    assert_eq!(world.read(refused), ["CONNACK server unavailable", "CLOSED no_room"]);
    // Who has a session may come back, take it over, or begin anew in its place.
    let (_, answers) = world.resume(&v5_kept("kept"));
    assert_eq!(answers, ["CONNACK success present"]);
    world.connect(&v5("kept"));
    let there = world.connect(&v5("connected"));
    world.cut(there); // and with its connection the session ends
    world.connect(&v5_kept("new"));
}

#[test]
fn shards_have_equal_parts_of_the_sessions() {
    let mut world = World::with(2, |settings| settings.sessions_max = 3);
    for shard in 0..2 {
        for (number, stem) in ["a", "b", "c"].into_iter().enumerate() {
            let name = world.name_on(shard, stem);
            let peer = world.open(&v5(&name));
            let admitted = world.read(peer)[0].starts_with("CONNACK success");
            assert_eq!(admitted, number < 2, "{name} of shard {shard}");
        }
    }
}

#[test]
fn an_answer_beyond_the_clients_packet_size_ends_the_connection() {
    let mut world = World::new();
    let peer = world.connect(&Connect { maximum_packet_size_bytes: 30, ..v5("c") });
    let filters: Vec<String> = (0..40).map(|n| format!("t{n}")).collect();
    let mut bytes = Vec::new();
    let filters = filters.iter().map(|filter| crate::codec::SubscribeFilter { filter, options: options(0) });
    crate::codec::encode_subscribe(Version::V5, super::harness::id(1), None, filters, &mut bytes);
    world.send_bytes(peer, &bytes);
    assert_eq!(world.read(peer), ["DISCONNECT packet too large", "CLOSED packet_too_large"]);
}

#[test]
fn a_slow_client_may_acknowledge_a_message_as_large_as_its_outbox_but_not_ask_on_and_on() {
    let mut world = World::with(1, |settings| {
        settings.outbox_max_bytes = 4_096;
        settings.packet_size_max_bytes = 8_192;
    });
    let sub = world.client("sub");
    world.subscribe(sub, "t", 1);
    let publisher = world.client("pub");
    world.block(sub);
    for (number, size) in [(1, 4_000), (2, 8_000)] {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &"x".repeat(size))));
    }
    assert!(world.stuck_bytes(sub) > 12_000, "the second went out because the first had left room");
    world.ack(sub, AckKind::PubAck, 1);
    world.send(sub, &Packet::PingReq);
    assert!(world.stuck_bytes(sub) < 16_384);
    // It never reads an answer, and asks for another 10,000 bytes of them.
    for _ in 0..5_000 {
        world.send(sub, &Packet::PingReq);
    }
    let stuck = world.stuck_bytes(sub);
    assert!((16_384..16_390).contains(&stuck), "{stuck} bytes wait");
    assert_eq!(world.read(sub), ["CLOSED resources"]);
}

#[test]
fn the_filters_of_a_session_are_bounded_in_bytes_and_give_them_back() {
    let mut world = World::with(2, |_| {});
    let peer = world.client("c");
    let long = |number: usize| format!("{number:05}/{}", "x".repeat(60_000));
    let fits = crate::limits::SUBSCRIPTIONS_MAX_BYTES as usize / long(0).len();
    for number in 0..fits {
        world.subscribe(peer, &long(number), 0);
    }
    world.subscribe_with(peer, &long(fits), options(0), None);
    assert_eq!(world.read(peer), ["SUBACK #1 [151]"]);
    world.subscribe(peer, &long(0), 1); // no new one
    world.unsubscribe(peer, &long(0));
    world.subscribe(peer, &long(fits), 0);
    world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
}
