//! Topic aliases, both ways.

use super::harness::{World, v5, v5_kept};
use super::show::{alias, publish, publish1};
use crate::codec::{Connect, Packet, Publish};

#[test]
fn a_clients_alias_stands_for_the_topic_it_was_last_given() {
    let mut world = World::with(1, |settings| settings.topic_alias_max = 2);
    let sub = world.client("sub");
    world.subscribe(sub, "#", 0);
    let peer = world.client("c");
    let named = |number, topic| Publish { topic_alias: Some(alias(number)), ..publish(topic, "x") };
    for packet in [named(1, "a"), named(1, ""), named(2, "b"), named(1, "c"), named(1, ""), named(2, "")] {
        world.send(peer, &Packet::Publish(packet));
    }
    let topics = ["a", "a", "b", "c", "c", "b"].map(|topic| format!("PUBLISH {topic} x"));
    assert_eq!(world.read(sub), topics);
}

#[test]
fn an_alias_that_is_unknown_or_above_the_maximum_ends_the_connection() {
    for (number, topic) in [(1, ""), (3, "a"), (3, "")] {
        let mut world = World::with(1, |settings| settings.topic_alias_max = 2);
        let peer = world.client("c");
        world.send(peer, &Packet::Publish(Publish { topic_alias: Some(alias(number)), ..publish(topic, "x") }));
        assert_eq!(world.read(peer), ["DISCONNECT topic alias invalid", "CLOSED topic_alias_invalid"]);
    }
}

#[test]
fn aliases_end_with_the_connection() {
    let mut world = World::new();
    let peer = world.connect(&v5_kept("c"));
    world.send(peer, &Packet::Publish(Publish { topic_alias: Some(alias(1)), ..publish("a", "x") }));
    world.cut(peer);
    let (peer, _) = world.resume(&v5_kept("c"));
    world.send(peer, &Packet::Publish(Publish { topic_alias: Some(alias(1)), ..publish("", "x") }));
    assert_eq!(world.read(peer), ["DISCONNECT topic alias invalid", "CLOSED topic_alias_invalid"]);
}

#[test]
fn a_client_that_takes_aliases_is_given_them_up_to_its_maximum() {
    let mut world = World::new();
    let sub = world.connect(&Connect { topic_alias_maximum: 2, ..v5("sub") });
    let plain = world.client("plain");
    world.subscribe(sub, "#", 1);
    world.subscribe(plain, "#", 0);
    let publisher = world.client("pub");
    for topic in ["a", "a", "b", "c", "b"] {
        world.send(publisher, &Packet::Publish(publish(topic, "x")));
    }
    world.send(publisher, &Packet::Publish(publish1(1, "a", "y")));
    assert_eq!(
        world.read(sub),
        [
            "PUBLISH a alias=1 x",
            "PUBLISH - alias=1 x",
            "PUBLISH b alias=2 x",
            "PUBLISH c x",
            "PUBLISH - alias=2 x",
            "PUBLISH - q1 #1 alias=1 y"
        ]
    );
    assert_eq!(world.read(plain).len(), 6);
}

#[test]
fn what_is_sent_again_names_its_topic_again() {
    let mut world = World::new();
    let connect = Connect { topic_alias_maximum: 5, ..v5_kept("sub") };
    let sub = world.connect(&connect);
    world.subscribe(sub, "t", 1);
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(publish1(1, "t", "x")));
    world.send(publisher, &Packet::Publish(publish1(2, "t", "y")));
    assert_eq!(world.read(sub), ["PUBLISH t q1 #1 alias=1 x", "PUBLISH - q1 #2 alias=1 y"]);
    world.cut(sub);
    let (_, answer) = world.resume(&connect);
    assert_eq!(answer[1..], ["PUBLISH t q1 #1 dup alias=1 x", "PUBLISH - q1 #2 dup alias=1 y"]);
}

#[test]
fn a_dropped_packet_teaches_no_alias() {
    let mut world = World::new();
    let sub = world.connect(&Connect { topic_alias_maximum: 5, maximum_packet_size_bytes: 40, ..v5("sub") });
    world.subscribe(sub, "t", 0);
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(publish("t", &"x".repeat(100))));
    world.send(publisher, &Packet::Publish(publish("t", "y")));
    assert_eq!(world.read(sub), ["PUBLISH t alias=1 y"]);
}

/// An alias is a help where there is room for it, and no reason to drop what fits without.
#[test]
fn a_message_that_fits_only_without_a_new_alias_goes_without() {
    let mut world = World::new();
    // Fixed header 2, topic 3, packet identifier 2, property length 1, payload: 40 with the name alone.
    let connect = Connect { topic_alias_maximum: 5, maximum_packet_size_bytes: 40, ..v5_kept("sub") };
    let sub = world.connect(&connect);
    world.subscribe(sub, "+", 1);
    let publisher = world.client("pub");
    let text = "x".repeat(32);
    world.send(publisher, &Packet::Publish(publish1(1, "t", &text)));
    world.send(publisher, &Packet::Publish(publish("t", "y")));
    assert_eq!(world.read(sub), [format!("PUBLISH t q1 #1 {text}"), "PUBLISH t alias=1 y".to_owned()]);
    world.cut(sub);
    let (_, answer) = world.resume(&connect);
    assert_eq!(answer[1..], [format!("PUBLISH t q1 #1 dup {text}")]);
}

#[test]
fn a_client_that_takes_any_number_of_aliases_is_given_few() {
    let most = usize::from(crate::limits::TOPIC_ALIAS_OUT_MAX);
    let mut world = World::new();
    let sub = world.connect(&Connect { topic_alias_maximum: u16::MAX, ..v5("sub") });
    world.subscribe(sub, "#", 0);
    let publisher = world.client("pub");
    for topic in 0..most + 20 {
        world.send(publisher, &Packet::Publish(publish(&topic.to_string(), "x")));
    }
    let lines = world.read(sub);
    assert_eq!(lines.len(), most + 20);
    assert_eq!(lines.iter().filter(|line| line.contains("alias=")).count(), most);
}
