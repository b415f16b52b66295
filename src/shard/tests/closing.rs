//! Ranges that a node serves no more: who is closed, what is not said any more, and when the command is answered.

use std::sync::Arc;

use super::harness::{Peer, World, options, v5, v5_kept};
use super::nodes::view_of;
use super::show::{publish1, publish2};
use super::will::will;
use crate::auth::{Policy, Verdict};
use crate::cluster::{ClusterView, RangeCount, RangeId, RangePlace, RangeSet};
use crate::codec::{AckKind, Connect, Disconnect, Packet, ReasonCode, Version};
use crate::ids::ShardId;
use crate::limits::{ASKS_EXPIRED_PER_TICK, CLOSED_PER_TICK};
use crate::shard::{Command, Reply, RequestId, SessionFate};
use crate::telemetry::CloseReason;

/// The range that is closed, of two.
const LOST: u16 = 0;
const STAYS: u16 = 1;
const TOLD: [&str; 2] = ["DISCONNECT use another server", "CLOSED range_lost"];

fn view(places: [RangePlace; 2]) -> Arc<ClusterView> {
    Arc::new(ClusterView { ranges: RangeCount::new(2).unwrap(), owners: places.into(), ..(*view_of(&[])).clone() })
}

/// A node that serves both ranges.
fn serve_both(world: &mut World) {
    assert_eq!(world.ask(0, Command::UseCluster(view([RangePlace::Here; 2]))), Reply::Done);
}

/// The view that comes before the command.
fn lose_range(world: &mut World) {
    assert_eq!(world.ask(0, Command::UseCluster(view([RangePlace::Nobody, RangePlace::Here]))), Reply::Done);
}

fn set_of(ranges: &[u16]) -> RangeSet {
    let mut set = RangeSet::default();
    for &range in ranges {
        set.insert(RangeId(range));
    }
    set
}

fn close(world: &mut World, shard: usize, request: u64) {
    world.command(shard, request, Command::CloseRanges(set_of(&[LOST])));
}

/// A client id of a range, which `shard` owns.
fn name_in(world: &World, shard: u8, range: u16, stem: &str) -> String {
    let ranges = RangeCount::new(2).unwrap();
    (0..10_000)
        .map(|n| format!("{stem}{n}"))
        .find(|name| {
            ranges.range_of(name) == RangeId(range) && ShardId::owner_of(name, world.shards.len()) == ShardId(shard)
        })
        .expect("the hashes reach every shard and range")
}

/// A node of one shard that writes nothing down and forgets one session a tick, when the test says so; with so many sessions that go first.
fn slow_world(first: usize) -> World {
    let mut world = World::in_memory(1, |settings| settings.subscriptions_per_turn = 1);
    serve_both(&mut world);
    for number in 0..first {
        let name = name_in(&world, 0, LOST, &format!("first-{number}-"));
        let peer = world.connect(&v5_kept(&name));
        world.cut(peer);
    }
    world.hold_work();
    world
}

#[test]
fn clients_are_told_to_go_elsewhere_and_nothing_is_left_of_their_sessions() {
    for keeps_log in [false, true] {
        let mut world = if keeps_log { World::new() } else { World::in_memory(1, |_| {}) };
        serve_both(&mut world);
        let heir_name = name_in(&world, 0, STAYS, "heir");
        let heir = world.client(&heir_name);
        world.subscribe(heir, "will", 0);
        let [v5_name, old_name, away_name] = ["new", "old", "away"].map(|stem| name_in(&world, 0, LOST, stem));
        let with_will = |base| Connect { will: Some(will(0)), ..base };
        let connected = world.connect(&with_will(v5_kept(&v5_name)));
        world.subscribe(connected, "a/+", 1);
        let old = world.connect(&with_will(Connect::new(Version::V311, &old_name, false)));
        let away = world.connect(&Connect { will: Some(will(100)), ..v5_kept(&away_name) });
        world.subscribe(away, "a/b", 2);
        world.cut(away);
        world.send(heir, &Packet::Publish(publish1(1, "a/b", "queued")));
        assert_eq!(world.read(heir), ["PUBACK #1"]);
        assert_eq!(world.read(connected), ["PUBLISH a/b q1 #1 queued"]);
        world.compare_no_more();
        let written = world.shards[0].clients.record_log.last();

        lose_range(&mut world);
        close(&mut world, 0, 7);
        assert_eq!(world.replies(), [(RequestId(7), Reply::Done)]);
        assert_eq!(world.read(connected), TOLD);
        assert_eq!(world.read(old), ["CLOSED range_lost"]);
        assert_eq!(world.shards[0].clients.record_log.last(), written, "nothing is written");
        world.pass_s(10_000);
        assert!(world.read(heir).is_empty(), "no will");
        let gauges = world.shards[0].gauges();
        assert_eq!((gauges.clients_connected, gauges.clients_disconnected), (1, 0));
        assert_eq!((gauges.subscriptions, gauges.stored_messages), (1, 0));
        assert_eq!(world.shards[0].counters().closes[CloseReason::RangeLost as usize], 2);
        assert!(!world.shards[0].has_work());

        serve_both(&mut world);
        let (_, answer) = world.resume(&v5_kept(&v5_name));
        assert_eq!(answer, ["CONNACK success"], "a session that begins anew");
    }
}

#[test]
fn nothing_is_acknowledged_from_the_first_tick_on() {
    let mut world = World::in_memory(2, |settings| settings.subscriptions_per_turn = 1);
    serve_both(&mut world);
    for number in 0..10 {
        let name = name_in(&world, 0, LOST, &format!("first-{number}-"));
        world.connect(&v5_kept(&name));
    }
    let other_name = name_in(&world, 1, STAYS, "other");
    let other = world.connect(&v5_kept(&other_name));
    world.subscribe(other, "t", 1);
    let name = name_in(&world, 0, LOST, "waits");
    let waits = world.client(&name);
    let [talks, pings, leaves] = ["talks", "pings", "leaves"].map(|stem| {
        let name = name_in(&world, 0, LOST, stem);
        world.connect(&Connect { will: Some(will(0)), ..v5(&name) })
    });
    world.hold_mesh();
    world.hold_work();
    world.send(waits, &Packet::Publish(publish1(1, "t", "crosses")));
    world.send(waits, &Packet::Publish(publish2(2, "t", "crosses")));
    world.subscribe_with(waits, "news", options(1), None);
    assert!(world.read(waits).is_empty(), "the other shard has not answered");
    lose_range(&mut world);
    close(&mut world, 0, 7);
    world.release_mesh();
    assert!(world.read(waits).is_empty(), "what is answered now is said to nobody");
    assert_eq!(world.read(other), ["PUBLISH t q1 #1 crosses", "PUBLISH t q1 #2 crosses"]);
    world.send(talks, &Packet::Publish(publish1(1, "t", "late")));
    assert_eq!(world.read(talks), TOLD);
    world.send(pings, &Packet::PingReq);
    assert_eq!(world.read(pings), TOLD);
    world.send(leaves, &Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill)));
    assert_eq!(world.read(leaves), TOLD);
    assert!(world.read(other).is_empty(), "nothing of it is heard");
    assert!(world.replies().is_empty(), "it is not done");
    world.release_work();
    assert_eq!(world.replies(), [(RequestId(7), Reply::Done)]);
    assert_eq!(world.read(waits), TOLD);
    world.ack(other, AckKind::PubAck, 1);
    world.send(other, &Packet::PingReq);
    assert_eq!(world.read(other), ["PINGRESP"]);
}

/// Some way for a session to end, in words and done.
type End = (&'static str, fn(&mut World, Peer, &str));

#[test]
fn however_a_session_of_such_a_range_ends_its_will_is_not_published() {
    let ends: [End; 5] = [
        ("its socket breaks", |world, peer, _| world.cut(peer)),
        ("it is silent", |world, _, _| world.pass_s(17)),
        ("it sends garbage", |world, peer, _| world.send_bytes(peer, &[0])),
        ("an operator ends it", |world, _, name| {
            let command = Command::Disconnect { client_id: name.into(), session: SessionFate::Ended, reason: None };
            assert_eq!(world.ask(0, command), Reply::Done);
        }),
        ("the broker stops", |world, _, _| {
            world.turn(0, crate::shard::Input::Shutdown);
            world.work_once(0);
        }),
    ];
    for (how, end) in ends {
        let mut world = slow_world(100);
        let heir_name = name_in(&world, 0, STAYS, "heir");
        let heir = world.client(&heir_name);
        world.subscribe(heir, "will", 0);
        let name = name_in(&world, 0, LOST, "c");
        let kept = Connect { will: Some(will(0)), keep_alive_s: 10, ..v5_kept(&name) };
        let peer = world.connect(&kept);
        let away_name = name_in(&world, 0, LOST, "away");
        let away = world.connect(&Connect { will: Some(will(5)), session_expiry_s: 8, ..v5(&away_name) });
        world.cut(away);
        lose_range(&mut world);
        close(&mut world, 0, 7);
        assert!(world.shards[0].clients.sessions.find(&name).is_some(), "it is not its turn");
        end(&mut world, peer, &name);
        assert!(world.shards[0].clients.sessions.find(&name).is_none(), "{how}");
        world.pass_s(20);
        assert!(world.shards[0].clients.sessions.find(&away_name).is_none(), "{how}");
        world.release_work();
        assert!(!world.read(heir).iter().any(|line| line.starts_with("PUBLISH")), "{how}");
        assert_eq!(world.replies(), [(RequestId(7), Reply::Done)], "{how}");
    }
}

#[test]
fn connects_of_these_ranges_are_refused_those_that_wait_among_them() {
    const REFUSED: [&str; 2] = ["CONNACK server unavailable", "CLOSED unavailable"];
    let mut world = slow_world(3);
    let count = ASKS_EXPIRED_PER_TICK + 10;
    let waiting: Vec<Peer> = (0..count)
        .map(|number| {
            let name = name_in(&world, 0, LOST, &format!("waits-{number}-"));
            world.open_by(Policy::Ask, &v5(&name))
        })
        .collect();
    let stays_name = name_in(&world, 0, STAYS, "stays");
    let stays = world.open_by(Policy::Ask, &v5(&stays_name));
    let asks: Vec<_> = std::mem::take(&mut world.asks).into_iter().map(|ask| ask.id).collect();
    lose_range(&mut world);
    close(&mut world, 0, 7);
    let refused = |world: &mut World| waiting.iter().filter(|peer| world.read(**peer) == REFUSED).count();
    assert_eq!(refused(&mut world), ASKS_EXPIRED_PER_TICK, "of one turn");
    // What somebody says of the next one meanwhile changes nothing.
    let verdict = crate::shard::Input::Verdict { ask: asks[ASKS_EXPIRED_PER_TICK], verdict: Verdict::Admit };
    world.turn(0, verdict);
    let late_name = name_in(&world, 0, LOST, "late");
    let late = world.open(&v5(&late_name));
    assert_eq!(world.read(late), REFUSED);
    let asked = world.open_by(Policy::Ask, &v5(&late_name));
    assert_eq!(world.read(asked), REFUSED);
    world.release_work();
    assert_eq!(refused(&mut world), 10);
    assert_eq!(world.replies(), [(RequestId(7), Reply::Done)]);
    assert_eq!(world.shards[0].holdings().pending_connects, 1);
    let admitted = crate::shard::Input::Verdict { ask: asks[count], verdict: Verdict::Admit };
    world.turn(0, admitted);
    assert_eq!(world.read(stays), ["CONNACK success"]);
}

#[test]
fn it_is_answered_when_the_view_of_the_shard_does_not_have_them_here() {
    let mut world = World::in_memory(2, |_| {});
    serve_both(&mut world);
    let name = name_in(&world, 1, LOST, "c");
    let peer = world.connect(&v5_kept(&name));
    world.hold_mesh();
    lose_range(&mut world);
    close(&mut world, 0, 7);
    assert_eq!(world.replies(), [(RequestId(7), Reply::Done)]);
    close(&mut world, 1, 8);
    assert_eq!(world.read(peer), TOLD);
    assert!(world.replies().is_empty() && !world.shards[1].has_work(), "the view is on its way to shard 1");
    let back = world.open(&v5_kept(&name));
    assert_eq!(world.read(back), ["CONNACK server unavailable", "CLOSED unavailable"]);
    world.release_mesh();
    assert_eq!(world.replies(), [(RequestId(8), Reply::Done)]);
}

#[test]
fn a_tick_closes_so_many_connections_and_forgets_so_many_sessions() {
    for is_connected in [true, false] {
        let mut world = World::in_memory(1, |settings| settings.subscriptions_per_turn = 200);
        serve_both(&mut world);
        let count = 2 * CLOSED_PER_TICK + 50;
        for number in 0..count {
            let name = name_in(&world, 0, LOST, &format!("c{number}-"));
            let peer = world.client(&name);
            if !is_connected {
                world.cut(peer);
                let peer = world.connect(&v5_kept(&name));
                world.subscribe(peer, &format!("own/{number}"), 1);
                world.cut(peer);
            }
        }
        lose_range(&mut world);
        world.hold_work();
        let held = |world: &World| world.shards[0].clients.sessions.len();
        close(&mut world, 0, 7);
        let mut before = count;
        // A session with a subscription counts for two.
        let most = if is_connected { CLOSED_PER_TICK } else { 100 };
        for _ in 0..2 {
            assert_eq!(before - held(&world), most, "connected: {is_connected}");
            before = held(&world);
            assert!(world.shards[0].has_work() && world.replies().is_empty());
            world.work_once(0);
        }
        assert_eq!((held(&world), world.replies().len()), if is_connected { (0, 1) } else { (count - 300, 0) });
        world.release_work();
        assert_eq!((held(&world), world.shards[0].gauges().subscriptions), (0, 0));
    }
}

#[test]
fn what_a_forgotten_member_of_a_group_has_not_acknowledged_goes_to_another() {
    let mut world = World::in_memory(1, |_| {});
    serve_both(&mut world);
    let name = name_in(&world, 0, LOST, "member");
    let member = world.connect(&v5_kept(&name));
    world.subscribe_with(member, "$share/g/t", options(1), None);
    assert_eq!(world.read(member), ["SUBACK #1 [1]"]);
    let stays_name = name_in(&world, 0, STAYS, "stays");
    let stays = world.client(&stays_name);
    world.send(stays, &Packet::Publish(publish1(1, "t", "once")));
    assert_eq!(world.read(stays), ["PUBACK #1"]);
    assert_eq!(world.read(member), ["PUBLISH t q1 #1 once"]);
    world.subscribe_with(stays, "$share/g/t", options(1), None);
    assert_eq!(world.read(stays), ["SUBACK #1 [1]"]);
    lose_range(&mut world);
    close(&mut world, 0, 7);
    assert_eq!(world.read(member), TOLD);
    assert_eq!(world.read(stays), ["PUBLISH t q1 #1 once"]);
}

#[test]
fn a_range_is_closed_by_one_command_at_a_time_and_only_in_a_cluster() {
    let mut world = World::in_memory(1, |_| {});
    let both = || Command::CloseRanges(set_of(&[LOST, STAYS]));
    assert!(matches!(world.ask(0, both()), Reply::Refused(_)));
    let mut world = slow_world(20);
    let stays_name = name_in(&world, 0, STAYS, "stays");
    let stays = world.client(&stays_name);
    lose_range(&mut world);
    close(&mut world, 0, 7);
    assert!(matches!(world.ask(0, both()), Reply::NotNow(_)));
    world.send(stays, &Packet::PingReq);
    assert_eq!(world.read(stays), ["PINGRESP"]);
    // The other one goes as well, while the first is under way.
    assert_eq!(world.ask(0, Command::UseCluster(view([RangePlace::Nobody; 2]))), Reply::Done);
    world.command(0, 8, Command::CloseRanges(set_of(&[STAYS])));
    world.release_work();
    assert_eq!(world.replies(), [(RequestId(7), Reply::Done), (RequestId(8), Reply::Done)]);
    assert_eq!(world.read(stays), TOLD);
    let Reply::Counts(counts) = world.ask(0, Command::Counts) else { panic!("no counts") };
    assert_eq!(counts.gauges.clients_disconnected, 0);
    assert!(!world.shards[0].has_work());
}
