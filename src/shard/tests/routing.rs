//! Who gets what: wildcards, overlapping subscriptions, identifiers, no-local.

use super::harness::{World, options, v5, v5_kept};
use super::show::{publish, publish1, publish2, retained};
use crate::codec::{Connect, Packet, SubscriptionOptions, Version};

#[test]
fn wildcards_match_levels_and_never_dollar_topics() {
    let mut world = World::with(1, |settings| settings.sys_interval_s = 10);
    let cases = [("+/+", "two"), ("a/#", "below"), ("#", "all"), ("+", "one"), ("/+", "slash"), ("a/+/c", "middle")];
    let peers = cases.map(|(filter, name)| {
        let peer = world.client(name);
        world.subscribe(peer, filter, 0);
        peer
    });
    let publisher = world.client("pub");
    for topic in ["a", "a/b", "a/b/c", "/b", "a/"] {
        world.send(publisher, &Packet::Publish(publish(topic, ".")));
    }
    world.pass_s(60); // $SYS is published meanwhile
    let topics = peers.map(|peer| {
        let lines = world.read(peer);
        lines.iter().map(|line| line.split(' ').nth(1).unwrap_or_default().to_owned()).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(topics, ["a/b /b a/", "a a/b a/b/c a/", "a a/b a/b/c /b a/", "a", "/b", "a/b/c"]);
}

#[test]
fn overlapping_subscriptions_deliver_once_with_the_highest_qos_and_all_identifiers() {
    for shards in [1, 3] {
        let mut world = World::of(shards);
        let sub = world.client(&world.name_on(0, "sub"));
        world.subscribe_with(sub, "a/#", options(0), Some(1));
        world.subscribe_with(sub, "a/+", options(2), Some(2));
        world.subscribe_with(sub, "a/b", options(1), None);
        assert_eq!(world.read(sub).len(), 3);
        let publisher = world.client(&world.name_on(shards as u8 - 1, "pub"));
        world.send(publisher, &Packet::Publish(publish2(1, "a/b", "x")));
        let lines = world.read(sub);
        assert!(
            lines == ["PUBLISH a/b q2 #1 ids=[1, 2] x"] || lines == ["PUBLISH a/b q2 #1 ids=[2, 1] x"],
            "{lines:?}"
        );
        world.send(publisher, &Packet::Publish(publish("a/c/d", "y")));
        assert_eq!(world.read(sub), ["PUBLISH a/c/d ids=[1] y"]);
    }
}

#[test]
fn subscribing_again_replaces_options_and_identifier() {
    let mut world = World::new();
    let sub = world.client("sub");
    world.subscribe_with(sub, "t", options(2), Some(9));
    world.subscribe_with(sub, "t", options(1), None);
    assert_eq!(world.read(sub), ["SUBACK #1 [2]", "SUBACK #1 [1]"]);
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(publish2(1, "t", "x")));
    assert_eq!(world.read(sub), ["PUBLISH t q1 #1 x"]);
    assert_eq!(world.shards[0].gauges().subscriptions, 1);
}

#[test]
fn the_lower_qos_of_publication_and_subscription_counts() {
    let mut world = World::new();
    let subs = [0, 1, 2].map(|qos| {
        let peer = world.client(&format!("sub{qos}"));
        world.subscribe(peer, "t", qos);
        peer
    });
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(publish("t", "0")));
    world.send(publisher, &Packet::Publish(publish1(1, "t", "1")));
    world.send(publisher, &Packet::Publish(publish2(2, "t", "2")));
    assert_eq!(world.read(subs[0]), ["PUBLISH t 0", "PUBLISH t 1", "PUBLISH t 2"]);
    assert_eq!(world.read(subs[1]), ["PUBLISH t 0", "PUBLISH t q1 #1 1", "PUBLISH t q1 #2 2"]);
    assert_eq!(world.read(subs[2]), ["PUBLISH t 0", "PUBLISH t q1 #1 1", "PUBLISH t q2 #2 2"]);
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it_and_nobody_elses() {
    let no_local = SubscriptionOptions { no_local: true, ..options(0) };
    for shards in [1, 3] {
        let mut world = World::of(shards);
        let chatty = world.client(&world.name_on(0, "chatty"));
        world.subscribe_with(chatty, "t", no_local, None);
        let other = world.client(&world.name_on(shards as u8 - 1, "other"));
        world.subscribe_with(other, "t", no_local, None);
        for peer in [chatty, other] {
            assert_eq!(world.read(peer), ["SUBACK #1 [0]"]);
        }
        world.send(chatty, &Packet::Publish(publish("t", "mine")));
        world.send(other, &Packet::Publish(publish("t", "theirs")));
        assert_eq!(world.read(chatty), ["PUBLISH t theirs"]);
        assert_eq!(world.read(other), ["PUBLISH t mine"]);
        // Another subscription of the same client may still want it.
        world.subscribe(chatty, "#", 0);
        world.send(chatty, &Packet::Publish(publish("t", "mine")));
        assert_eq!(world.read(chatty), ["PUBLISH t mine"]);
    }
}

#[test]
fn no_local_holds_for_a_message_that_queued_while_the_client_was_away() {
    let mut world = World::of(2);
    let name = world.name_on(0, "c");
    let peer = world.connect(&v5_kept(&name));
    let no_local = SubscriptionOptions { no_local: true, ..options(1) };
    world.subscribe_with(peer, "t", no_local, None);
    assert_eq!(world.read(peer), ["SUBACK #1 [1]"]);
    world.send(peer, &Packet::Publish(publish1(1, "t", "mine")));
    assert_eq!(world.read(peer), ["PUBACK #1"]);
    world.cut(peer);
    assert_eq!(world.resume(&v5_kept(&name)).1, ["CONNACK success present"]);
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut world = World::new();
    let peer = world.client("c");
    world.subscribe_with(peer, "$share/g/t", SubscriptionOptions { no_local: true, ..options(0) }, None);
    assert_eq!(world.read(peer), ["DISCONNECT protocol error", "CLOSED protocol_error"]);
}

#[test]
fn retain_as_published_shows_the_publishers_flag_and_only_it() {
    for shards in [1, 2] {
        let mut world = World::of(shards);
        let keeps = world.client(&world.name_on(0, "keeps"));
        world.subscribe_with(keeps, "t", SubscriptionOptions { retain_as_published: true, ..options(0) }, None);
        assert_eq!(world.read(keeps), ["SUBACK #1 [0]"]);
        let clears = world.client(&world.name_on(0, "clears"));
        world.subscribe(clears, "t", 0);
        let old = world.connect(&Connect::new(Version::V311, &world.name_on(0, "old"), true));
        world.subscribe(old, "t", 0);
        let publisher = world.client(&world.name_on(shards as u8 - 1, "pub"));
        world.send(publisher, &Packet::Publish(retained(publish("t", "kept"))));
        world.send(publisher, &Packet::Publish(publish("t", "live")));
        assert_eq!(world.read(keeps), ["PUBLISH t retain kept", "PUBLISH t live"]);
        assert_eq!(world.read(clears), ["PUBLISH t kept", "PUBLISH t live"]);
        assert_eq!(world.read(old), ["PUBLISH t kept", "PUBLISH t live"]);
    }
}

#[test]
fn unsubscribing_ends_delivery_on_every_shard_and_says_what_it_found() {
    let mut world = World::of(2);
    let sub = world.client(&world.name_on(0, "sub"));
    world.subscribe(sub, "t", 0);
    let mut bytes = Vec::new();
    crate::codec::encode_unsubscribe(Version::V5, super::harness::id(5), ["t", "u", "a/#/b"], &mut bytes);
    world.send_bytes(sub, &bytes);
    assert_eq!(world.read(sub), ["UNSUBACK #5 [0, 17, 143]"]);
    let publisher = world.client(&world.name_on(1, "pub"));
    world.crossed.clear();
    world.send(publisher, &Packet::Publish(publish1(1, "t", "x")));
    assert_eq!(world.read(publisher), ["PUBACK #1 no matching subscribers"]);
    assert!(world.crossed.is_empty(), "{:?}", world.crossed);
    assert!(world.read(sub).is_empty());
}

#[test]
fn one_message_crosses_to_a_shard_however_many_subscribers_it_has() {
    let mut world = World::of(3);
    let subs: Vec<_> = (0..10)
        .map(|n| {
            let peer = world.client(&world.name_on(1, &format!("sub{n}-")));
            world.subscribe(peer, if n % 2 == 0 { "t" } else { "+" }, 0);
            peer
        })
        .collect();
    let publisher = world.client(&world.name_on(0, "pub"));
    world.crossed.clear();
    world.send(publisher, &Packet::Publish(publish("t", "x")));
    assert_eq!(world.crossed, ["Publish"]);
    for sub in subs {
        assert_eq!(world.read(sub), ["PUBLISH t x"]);
    }
}

#[test]
fn forwarded_properties_reach_a_5_0_subscriber_unchanged_and_an_older_one_not_at_all() {
    let mut world = World::of(2);
    let new = world.client(&world.name_on(0, "new"));
    let old = world.connect(&Connect::new(Version::V311, &world.name_on(0, "old"), true));
    for peer in [new, old] {
        world.subscribe(peer, "t", 0);
    }
    let publisher = world.connect(&v5(&world.name_on(1, "pub")));
    let mut block = Vec::new();
    crate::codec::Property::ContentType("text/plain").write_to(&mut block);
    crate::codec::Property::UserProperty("k", "v").write_to(&mut block);
    let properties = crate::codec::Forwarded::from_clean_block(&block);
    world.send(publisher, &Packet::Publish(crate::codec::Publish { properties, ..publish("t", "x") }));
    let raw = world.read_raw(new);
    assert!(raw.windows(block.len()).any(|window| window == block));
    assert_eq!(world.read(old), ["PUBLISH t x"]);
}
