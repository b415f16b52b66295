//! Events below `$SYS/brokers`: subscriptions, and messages that a session loses. Coming and going are in `sys`.

use super::harness::{Peer, World, options, v5, v5_kept};
use super::many_filters::{names, subscribe_bytes};
use super::show::publish1;
use crate::codec::{Packet, Side, Version, decode, frame};
use crate::limits::{CLIENT_EVENTS_PER_TURN, LOSS_OVER_S};
use crate::shard::Settings;
use crate::telemetry::DropReason;

const UNIX_MS: u64 = 1_700_000_000_000;

fn world(shards: usize, choose: impl FnOnce(&mut Settings)) -> World {
    World::with(shards, |settings| {
        settings.sys_interval_s = 10;
        settings.node_name = "n1".into();
        choose(settings);
    })
}

/// A client that watches what happens with `client`, and has its SUBACK.
fn watcher(world: &mut World, watcher: &str, client: &str) -> Peer {
    let watcher = world.client(watcher);
    world.subscribe_with(watcher, &format!("$SYS/brokers/n1/clients/{client}/+"), options(0), None);
    let _ = world.read(watcher);
    watcher
}

/// The end of the topic and the payload of what a client was sent since.
fn events(world: &mut World, peer: Peer) -> Vec<String> {
    let raw = world.read_raw(peer);
    let (mut rest, mut events) = (&raw[..], Vec::new());
    while let Some((one, len)) = frame::next(rest, u32::MAX).expect("whole packets") {
        let Ok(Packet::Publish(publish)) = decode(one, Version::V5, Side::Client) else { panic!("a PUBLISH") };
        let event = publish.topic.rsplit_once('/').expect("levels").1;
        let payload = std::str::from_utf8(publish.payload).expect("JSON");
        assert!(payload.contains(&format!("\"event\":\"{event}\"")), "{payload}");
        events.push(payload.replace(&format!(",\"event\":\"{event}\""), "").replacen('{', &format!("{event} {{"), 1));
        rest = &rest[len..];
    }
    events
}

#[test]
fn subscribing_and_unsubscribing_are_told_of_every_shard_and_in_order() {
    for shards in [1, 3] {
        let mut world = world(shards, |settings| settings.topic_levels_max = 6);
        let watcher = watcher(&mut world, "watcher", "+");
        let client = world.client("c");
        world.subscribe(client, "a/\"b", 1);
        world.subscribe_with(client, "1/2/3/4/5/6/7", options(0), None); // refused: too many levels
        let _ = world.read(client);
        world.subscribe(client, "$share/g/a/#", 0);
        world.unsubscribe(client, "a/\"b");
        world.unsubscribe_silently(client, "never");
        world.cut(client);
        let told = events(&mut world, watcher);
        let line = |event: &str, more: &str| format!("{event} {{\"client_id\":\"c\",\"time_ms\":{UNIX_MS}{more}}}");
        let expected = [
            line("connected", ""),
            line("subscribed", ",\"filter\":\"a/\\\"b\",\"qos\":1"),
            line("subscribed", ",\"filter\":\"$share/g/a/#\",\"qos\":0"),
            line("unsubscribed", ",\"filter\":\"a/\\\"b\",\"reason\":\"client_request\""),
            line("disconnected", ",\"reason\":\"socket_closed\""),
        ];
        assert_eq!(told, expected, "{shards} shards");
    }
}

#[test]
fn nothing_is_told_where_nobody_asks_or_the_interval_is_off() {
    let mut world = world(1, |_| {});
    let client = world.client("c");
    world.subscribe(client, "a", 1);
    let peer = watcher(&mut world, "watcher", "c");
    assert_eq!(events(&mut world, peer), [""; 0], "what happened before");
    let mut settings = world.settings();
    settings.sys_interval_s = 0;
    world.ask(0, crate::shard::Command::Reload(std::sync::Arc::new(settings)));
    world.subscribe(client, "b", 1);
    world.cut(client);
    assert_eq!(events(&mut world, peer), [""; 0]);
}

#[test]
fn a_packet_of_many_filters_is_told_of_in_parts_and_whole() {
    let mut world = world(1, |_| {});
    let watcher = watcher(&mut world, "watcher", "c");
    let client = world.client("c");
    let _ = events(&mut world, watcher);
    world.hold_work();
    let filters = names(4 * CLIENT_EVENTS_PER_TURN);
    world.send_bytes(client, &subscribe_bytes(Version::V5, &filters));
    assert_eq!(world.read(client).len(), 1, "SUBACK does not wait for it");
    let mut told = 0;
    while told < filters.len() {
        world.work_once(0);
        let events = events(&mut world, watcher);
        assert_eq!(events.len(), CLIENT_EVENTS_PER_TURN);
        for (event, filter) in events.iter().zip(&filters[told..]) {
            assert!(event.contains(&format!("\"filter\":\"{filter}\"")), "{event}");
        }
        told += events.len();
    }
    world.release_work();
    assert_eq!(events(&mut world, watcher), [""; 0]);
}

fn publish_many(world: &mut World, publisher: Peer, count: usize) {
    for _ in 0..count {
        world.send(publisher, &Packet::Publish(publish1(1, "t", "12345")));
    }
    let _ = world.read(publisher);
}

#[test]
fn a_session_that_loses_messages_is_told_of_twice_however_many_they_are() {
    for shards in [1, 3] {
        let mut world = world(shards, |settings| settings.queued_messages_max = 2);
        let away = world.connect(&v5_kept("away"));
        world.subscribe(away, "t", 1);
        world.cut(away);
        let peer = watcher(&mut world, "watcher", "away");
        let publisher = world.client("pub");
        publish_many(&mut world, publisher, 2);
        assert_eq!(events(&mut world, peer), [""; 0]);
        publish_many(&mut world, publisher, 100);
        let begun = format!(
            "dropped {{\"client_id\":\"away\",\"time_ms\":{UNIX_MS},\"state\":\"begun\",\"reason\":\"queue_full\",\"messages\":1,\
             \"queued\":2,\"queued_bytes\":12}}"
        );
        assert_eq!(events(&mut world, peer), [begun]);
        world.pass_s(u64::from(LOSS_OVER_S) + 1);
        let over = "\"state\":\"over\",\"reason\":\"queue_full\",\"messages\":100,\"duration_ms\":0}";
        let told = events(&mut world, peer);
        assert!(told.len() == 1 && told[0].ends_with(over), "{told:?}");
        // What is given up with a session is told when it has ended.
        world.connect(&v5("away"));
        let told = events(&mut world, peer);
        let over = "\"state\":\"over\",\"reason\":\"session_ended\",\"messages\":2,\"duration_ms\":0}";
        assert_eq!(told.iter().filter(|event| event.starts_with("dropped")).count(), 1, "{told:?}");
        assert!(told.iter().any(|event| event.ends_with(over)), "{told:?}");
    }
}

#[test]
fn a_watcher_that_loses_the_events_makes_no_flood_of_them() {
    let mut world = world(1, |settings| settings.outbox_max_bytes = 16 * 1024);
    let slow = watcher(&mut world, "slow", "+");
    world.block(slow);
    let client = world.client("c");
    for _ in 0..500 {
        world.subscribe(client, "a/filter/that/is/a/few/bytes/long", 1);
    }
    let lost = world.dropped(DropReason::OutboxFull);
    assert!(lost > 0, "the outbox is full");
    world.pass_s(60);
    assert!(world.dropped(DropReason::OutboxFull) <= lost + 60, "of itself it is told now and then");
}
