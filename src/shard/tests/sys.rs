//! `$SYS`: the numbers are those of all shards, and presence is told.

use super::harness::{World, options, v5_kept};
use super::show::{publish, publish1};
use crate::codec::Packet;

fn world(shards: usize) -> World {
    World::with(shards, |settings| {
        settings.sys_interval_s = 10;
        settings.node_name = "n1".into();
    })
}

/// The value of one `$SYS/broker` topic as a fresh subscriber sees it.
fn value(world: &mut World, name: &str) -> String {
    let peer = world.client("reader");
    world.subscribe_with(peer, &format!("$SYS/broker/{name}"), options(0), None);
    let lines = world.read(peer);
    world.cut(peer);
    let line = lines.iter().find(|line| line.starts_with("PUBLISH")).unwrap_or_else(|| panic!("{name}: {lines:?}"));
    line.split_once(" retain ").expect("it is retained").1.to_owned()
}

#[test]
fn the_numbers_add_up_over_all_shards() {
    for shards in [1, 3] {
        let mut world = world(shards);
        for shard in 0..shards as u8 {
            let sub = world.connect(&v5_kept(&world.name_on(shard, "kept")));
            world.subscribe(sub, "t", 1);
            world.subscribe(sub, "$share/g/u", 0);
            world.cut(sub);
            let live = world.client(&world.name_on(shard, "live"));
            world.subscribe(live, "t", 0);
        }
        let publisher = world.client("pub");
        for number in 1..=4 {
            world.send(publisher, &Packet::Publish(publish1(number, "t", "12345")));
        }
        world.send(publisher, &Packet::Publish(publish("$SYS/broker/version", "mine")));
        world.pass_s(21);
        let count = shards as u64;
        let expected = [
            ("clients/connected", count + 1),
            ("clients/disconnected", count),
            ("clients/total", 2 * count + 1),
            ("publish/messages/received", 5),
            ("publish/bytes/received", 24),
            ("subscriptions/count", 3 * count),
            ("shared_subscriptions/count", count),
            ("store/messages/count", 4 * count),
            ("store/messages/bytes", 4 * 6 * count),
            ("publish/messages/dropped", 1),
        ];
        for (name, expected) in expected {
            assert_eq!(value(&mut world, name), expected.to_string(), "{name} with {shards} shards");
        }
        assert_eq!(value(&mut world, "uptime"), "21 seconds");
        assert!(value(&mut world, "version").starts_with("dunlin version "));
    }
}

#[test]
fn the_first_numbers_come_early_and_only_changes_are_published() {
    let mut world = world(1);
    let peer = world.client("c");
    world.subscribe(peer, "$SYS/broker/#", 0);
    world.pass_s(2);
    assert!(world.read(peer).len() > 20);
    world.pass_s(300);
    let _ = world.read(peer);
    world.pass_s(10);
    let lines = world.read(peer);
    assert!(lines.iter().any(|line| line.starts_with("PUBLISH $SYS/broker/uptime ")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("PUBLISH $SYS/broker/version ")), "{lines:?}");
}

#[test]
fn presence_is_told_with_an_id_that_cannot_break_out() {
    let mut world = world(2);
    let watcher = world.client(&world.name_on(1, "watcher"));
    world.subscribe_with(watcher, "$SYS/brokers/n1/clients/+/+", options(0), None);
    let _ = world.read(watcher);
    let peer = world.client("a/+\"b");
    world.cut(peer);
    let raw = world.read_raw(watcher);
    let text = String::from_utf8_lossy(&raw);
    for part in [
        "$SYS/brokers/n1/clients/a%2F%2B\"b/connected",
        "{\"client_id\":\"a/+\\\"b\",\"event\":\"connected\",\"time_ms\":1700000000000}",
        "$SYS/brokers/n1/clients/a%2F%2B\"b/disconnected",
        "\"reason\":\"socket_closed\"}",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
