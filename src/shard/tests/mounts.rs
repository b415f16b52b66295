//! Mount points: what clients see, and what the broker knows of it.

use std::sync::Arc;

use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{alias, publish, publish1, retained};
use crate::auth::acl::parse_mosquitto;
use crate::auth::{ClientProfile, MountPoint, Policy, Profile, ProfileScope, Profiles};
use crate::codec::{AckKind, Connect, ConnectWill, Packet, Publish};
use crate::settings::ListenerSettings;
use crate::shard::{Command, Shard, UserNameBasis};
use crate::telemetry::DropReason;

/// A client of this user that comes by a listener with this mount point, and what it is answered.
fn open(world: &mut World, mount: &str, connect: &Connect<'_>) -> (Peer, Vec<String>) {
    let mut listener = ListenerSettings { policy: Policy::Admit, ..ListenerSettings::default() };
    listener.auth.mount_point = MountPoint::parse(mount).unwrap();
    let peer = world.open_at(listener, UserNameBasis::Proof, connect);
    let lines = world.read(peer);
    (peer, lines)
}

fn mounted(world: &mut World, mount: &str, client_id: &str) -> Peer {
    let (peer, lines) = open(world, mount, &v5(client_id));
    assert_eq!(lines, ["CONNACK success"]);
    peer
}

#[test]
fn clients_of_one_mount_point_see_their_own_topics_and_others_the_whole_ones() {
    for shards in [1, 2] {
        let mut world = World::of(shards);
        let names: Vec<String> = (0..4).map(|n| world.name_on((n % shards) as u8, &format!("c{n}-"))).collect();
        let (one, two) = (mounted(&mut world, "t/", &names[0]), mounted(&mut world, "t/", &names[1]));
        let (other, bare) = (mounted(&mut world, "u/", &names[2]), world.client(&names[3]));
        for peer in [one, two, other, bare] {
            world.subscribe(peer, "#", 1);
        }
        world.send(one, &Packet::Publish(publish1(1, "a/b", "x")));
        assert_eq!(world.read(one), ["PUBLISH a/b q1 #1 x", "PUBACK #1"]);
        assert_eq!(
            (world.read(two), world.read(bare)),
            (vec!["PUBLISH a/b q1 #1 x".into()], vec!["PUBLISH t/a/b q1 #1 x".into()])
        );
        assert!(world.read(other).is_empty());
        // What an outsider sends to it has its own name there. What lies at its door does not come in.
        world.send(bare, &Packet::Publish(publish("t/from/outside", "y")));
        world.send(bare, &Packet::Publish(publish("t", "z")));
        assert_eq!(world.read(two), ["PUBLISH from/outside y"]);
        assert!(world.dropped(DropReason::AccessDenied) > 0);
        // The broker's own topics are others' there.
        world.send(one, &Packet::Publish(publish("$SYS/x", "s")));
        world.read(bare);
        world.unsubscribe(two, "#");
        world.send(one, &Packet::Publish(publish("a", "x")));
        assert!(world.read(two).is_empty());
        world.shards.iter().for_each(Shard::assert_invariants);
    }
}

#[test]
fn shared_subscriptions_retained_messages_wills_and_aliases_are_mounted_as_well() {
    let mut world = World::new();
    let (one, two) = (mounted(&mut world, "t/%c/../", "one"), mounted(&mut world, "t/one/../", "two"));
    let bare = world.client("bare");
    world.send(one, &Packet::Publish(retained(publish("r", "kept"))));
    world.subscribe_with(two, "r", options(0), None);
    assert_eq!(world.read(two), ["SUBACK #1 [0]", "PUBLISH r retain kept"]);
    world.subscribe_with(bare, "t/one/../r", options(0), None);
    assert_eq!(world.read(bare), ["SUBACK #1 [0]", "PUBLISH t/one/../r retain kept"]);
    world.subscribe(two, "$share/g/s/+", 0);
    world.send(bare, &Packet::Publish(publish("t/one/../s/1", "shared")));
    assert_eq!(world.read(two), ["PUBLISH s/1 shared"]);
    world.unsubscribe(two, "$share/g/s/+");
    // Aliases are each side's own: theirs name their topics.
    world.send(one, &Packet::Publish(Publish { topic_alias: Some(alias(1)), ..publish("r", "1") }));
    world.send(one, &Packet::Publish(Publish { topic_alias: Some(alias(1)), ..publish("", "2") }));
    assert_eq!(world.read(two), ["PUBLISH r 1", "PUBLISH r 2"]);
    assert_eq!(world.read(bare), ["PUBLISH t/one/../r 1", "PUBLISH t/one/../r 2"]);
    let aliased = Connect { topic_alias_maximum: 4, ..v5("three") };
    let (three, _) = open(&mut world, "t/one/../", &aliased);
    world.subscribe_with(three, "r", options(0), None);
    assert_eq!(world.read(three), ["SUBACK #1 [0]", "PUBLISH r retain alias=1 kept"]);
    world.send(one, &Packet::Publish(publish("r", "3")));
    assert_eq!(world.read(three), ["PUBLISH - alias=1 3"]);
    world.read(two);
    world.read(bare);
    let will = ConnectWill { topic: "r", ..will("gone") };
    let (dying, _) = open(&mut world, "t/one/../", &Connect { will: Some(will), ..v5("dying") });
    world.cut(dying);
    assert_eq!(
        (world.read(two), world.read(bare)),
        (vec!["PUBLISH r gone".into()], vec!["PUBLISH t/one/../r gone".into()])
    );
}

fn will(payload: &str) -> ConnectWill<'_> {
    ConnectWill {
        topic: "",
        qos: crate::ids::Qos::AtMostOnce,
        retain: false,
        payload: payload.as_bytes(),
        delay_s: 0,
        message_expiry_s: None,
        properties: crate::codec::Forwarded::EMPTY,
    }
}

#[test]
fn ids_that_could_lead_elsewhere_are_refused_and_topics_stay_within_their_bounds() {
    let mut world = World::new();
    for (user, expected) in [(Some("ann"), true), (Some("a/b"), false), (Some("+"), false), (None, false)] {
        let (_, lines) = open(&mut world, "t/%u/", &Connect { username: user, ..v5("c") });
        assert_eq!(lines[0].starts_with("CONNACK success"), expected, "{user:?}: {lines:?}");
    }
    let peer = mounted(&mut world, "t/", "long");
    let topic = "x".repeat(65_534);
    world.send(peer, &Packet::Publish(publish1(1, &topic, "")));
    world.subscribe_with(peer, &topic, options(0), None);
    let lines = world.read(peer);
    assert_eq!(lines, ["PUBACK #1 topic name invalid", "SUBACK #1 [143]"]);
    let deep = vec!["x"; 128].join("/");
    world.send(peer, &Packet::Publish(publish1(2, &deep, "")));
    assert_eq!(world.read(peer), ["PUBACK #2 topic name invalid"], "with its mount point it is too deep");
}

#[test]
fn rules_see_whole_topics_and_a_profile_says_another_mount_point_than_the_listener() {
    let mut world = World::new();
    let rules = parse_mosquitto("topic readwrite p/a\n").unwrap();
    world.ask(0, Command::UseRules(Some(Arc::new(rules))));
    let settings = ClientProfile { mount_point: Some(MountPoint::parse("p/").unwrap()), ..ClientProfile::default() };
    let profile = Profile { scope: ProfileScope::of_clients(["c"]), settings };
    world.ask(0, Command::UseProfiles(Some(Arc::new(Profiles::new(vec![profile])))));
    let peer = mounted(&mut world, "t/", "c");
    world.subscribe(peer, "a", 0);
    world.subscribe_with(peer, "b", options(0), None);
    assert_eq!(world.read(peer), ["SUBACK #1 [135]"]);
    world.send(peer, &Packet::Publish(publish1(1, "a", "x")));
    world.send(peer, &Packet::Publish(publish1(2, "b", "x")));
    assert_eq!(world.read(peer), ["PUBLISH a x", "PUBACK #1", "PUBACK #2 not authorized"]);
}

#[test]
fn a_session_that_comes_back_under_another_mount_point_is_shown_nothing_of_the_old_one() {
    let mut world = World::new();
    let bare = world.client("bare");
    let (peer, _) = open(&mut world, "t/", &v5_kept("c"));
    world.subscribe(peer, "a", 1);
    world.cut(peer);
    world.send(bare, &Packet::Publish(publish1(1, "t/a", "for t")));
    let (peer, lines) = open(&mut world, "u/", &v5_kept("c"));
    assert_eq!(lines, ["CONNACK success present"]);
    world.send(bare, &Packet::Publish(publish1(2, "t/a", "for t")));
    assert!(world.read(peer).is_empty());
    assert_eq!(world.dropped(DropReason::AccessDenied), 2);
    world.cut(peer);
    let (peer, lines) = open(&mut world, "t/", &v5_kept("c"));
    assert_eq!(lines, ["CONNACK success present"]);
    world.send(bare, &Packet::Publish(publish1(3, "t/a", "x")));
    assert_eq!(world.read(peer), ["PUBLISH a q1 #1 x"]);
    world.ack(peer, AckKind::PubAck, 1);
    world.shards.iter().for_each(Shard::assert_invariants);
}

#[test]
fn clients_with_and_without_a_mount_point_are_sent_one_message_each_in_its_form() {
    let mut world = World::new();
    let peers: Vec<Peer> =
        (0..40).map(|n| mounted(&mut world, if n % 2 == 0 { "none" } else { "t/" }, &format!("c{n}"))).collect();
    for (n, &peer) in peers.iter().enumerate() {
        world.subscribe(peer, if n % 2 == 0 { "t/a" } else { "a" }, 0);
    }
    world.send(peers[1], &Packet::Publish(publish("a", "x")));
    for (n, &peer) in peers.iter().enumerate() {
        assert_eq!(world.read(peer), [if n % 2 == 0 { "PUBLISH t/a x" } else { "PUBLISH a x" }]);
    }
}
