//! Keep alive: one and a half times what was agreed, and not a packet less.

use super::harness::{World, v5};
use crate::codec::{Connect, Packet};
use crate::limits::DUE_PER_TURN;
use crate::shard::Input;
use crate::telemetry::TransportCounters;

#[test]
fn a_silent_client_is_closed_after_one_and_a_half_times_its_keep_alive() {
    let mut world = World::new();
    let peer = world.connect(&Connect { keep_alive_s: 10, ..v5("c") });
    world.pass_s(14);
    assert!(world.read(peer).is_empty());
    world.pass_s(3); // seconds are whole and timers have their tick
    assert_eq!(world.read(peer), ["DISCONNECT keep alive timeout", "CLOSED keep_alive_timeout"]);
}

#[test]
fn one_and_a_half_times_the_keep_alive_is_kept_to_a_thirtieth() {
    for (keep_alive_s, late_ms) in [(1, 250), (3, 250), (5, 350), (19, 900), (60, 3_000)] {
        let mut world = World::new();
        let peer = world.connect(&Connect { keep_alive_s, ..v5("c") });
        world.pass_ms(u64::from(keep_alive_s) * 1_500);
        assert!(world.read(peer).is_empty(), "{keep_alive_s}");
        world.pass_ms(late_ms);
        assert_eq!(world.read(peer).len(), 2, "{keep_alive_s}: a DISCONNECT, and the end");
    }
}

#[test]
fn so_many_a_turn_are_closed_where_all_fall_silent_at_once() {
    let mut world = World::new();
    let peers: Vec<_> = (0..DUE_PER_TURN + 10)
        .map(|number| world.connect(&Connect { keep_alive_s: 10, ..v5(&format!("c{number}")) }))
        .collect();
    world.pass_ms(14_900);
    world.later_ms(5_000);
    for expected in [DUE_PER_TURN, 10] {
        world.turn(0, Input::Tick { transport: &TransportCounters::default() });
        assert_eq!(peers.iter().filter(|&&peer| !world.read(peer).is_empty()).count(), expected);
    }
}

#[test]
fn any_packet_keeps_a_client_alive() {
    let mut world = World::new();
    let peer = world.connect(&Connect { keep_alive_s: 10, ..v5("c") });
    for _ in 0..20 {
        world.pass_s(14);
        world.send(peer, &Packet::PingReq);
        assert_eq!(world.read(peer), ["PINGRESP"]);
    }
    world.pass_s(17);
    assert_eq!(world.read(peer), ["DISCONNECT keep alive timeout", "CLOSED keep_alive_timeout"]);
}

#[test]
fn keep_alive_0_is_for_ever_unless_the_operator_caps_it() {
    let mut world = World::new();
    let peer = world.connect(&v5("c"));
    world.pass_s(1_000_000);
    assert!(world.read(peer).is_empty());
    for asked_s in [0, 60] {
        let mut world = World::with(1, |settings| settings.keep_alive_max_s = 20);
        let peer = world.open(&Connect { keep_alive_s: asked_s, ..v5("c") });
        assert_eq!(world.read(peer), ["CONNACK success keep_alive=20"]);
        world.pass_s(32);
        assert_eq!(world.read(peer), ["DISCONNECT keep alive timeout", "CLOSED keep_alive_timeout"]);
    }
}

/// The promise is 1.5 times the keep alive. Until then nothing is cut off, and a quarter of a second later at most it is.
#[test]
fn a_short_keep_alive_ends_within_a_quarter_of_a_second() {
    for phase_ms in [0, 1, 37, 99, 100, 499, 990, 999] {
        for keep_alive_s in [1, 2, 3] {
            let mut world = World::new();
            world.pass_ms(phase_ms);
            let peer = world.connect(&Connect { keep_alive_s, ..v5("c") });
            world.pass_ms(1_234);
            world.send(peer, &Packet::PingReq);
            assert_eq!(world.read(peer), ["PINGRESP"]);
            let patience_ms = u64::from(keep_alive_s) * 1_500;
            world.pass_ms(patience_ms - 1);
            assert!(world.read(peer).is_empty(), "keep alive {keep_alive_s}, begun at {phase_ms}: too early");
            world.pass_ms(251);
            let end = ["DISCONNECT keep alive timeout", "CLOSED keep_alive_timeout"];
            assert_eq!(world.read(peer), end, "keep alive {keep_alive_s}, begun at {phase_ms}");
        }
    }
}

/// A shard's pump wakes for each instant at which somebody is due: longer keep alives share theirs.
#[test]
fn keep_alives_that_are_not_short_come_due_together() {
    let mut world = World::new();
    for n in 0..1_000 {
        world.pass_ms(7);
        world.connect(&Connect { keep_alive_s: 60, ..v5(&format!("c{n}")) });
    }
    let mut instants = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let due = world.shards[0].next_deadline().expect("the shard tidies up each second");
        instants.insert(due.0);
        world.pass_ms(due.0.saturating_sub(world.now.ms()).max(1));
    }
    let off_the_second = instants.iter().filter(|instant| *instant % 1_000 != 0).count();
    assert_eq!(off_the_second, 0, "{instants:?}");
}

#[test]
fn a_client_that_cannot_be_told_a_keep_alive_may_have_another_maximum() {
    use crate::codec::Version::{V5, V311};
    // Both maximums, the version, what is asked for; what is in force.
    let cases = [
        (20, 0, V5, 60, 20),
        (20, 0, V311, 60, 20),
        (20, 40, V5, 60, 20),
        (20, 40, V311, 60, 40),
        (20, 40, V311, 0, 40),
        (20, 40, V311, 30, 30),
        (20, u16::MAX, V311, 600, 600),
        (20, u16::MAX, V311, 0, 0),
        (u16::MAX, 40, V5, 600, 600),
        (u16::MAX, 40, V311, 600, 40),
    ];
    for (v5_max, old_max, version, asked, expected) in cases {
        let mut world = World::with(1, |settings| {
            settings.keep_alive_max_s = v5_max;
            settings.keep_alive_max_before_v5_s = old_max;
        });
        world.open(&Connect { keep_alive_s: asked, ..Connect::new(version, "c", true) });
        let in_force = world.events.iter().find_map(|event| match event {
            crate::shard::Event::Connected { keep_alive_s, .. } => Some(*keep_alive_s),
            _ => None,
        });
        assert_eq!(in_force, Some(expected), "maximums {v5_max} and {old_max}, {version:?} asks for {asked}");
    }
}

/// The timers of sessions that are gone are found stale when they come due, which must not be in a day.
#[test]
fn short_sessions_with_a_long_keep_alive_leave_no_timers_for_long() {
    let mut world = World::new();
    for n in 0..100 {
        let peer = world.connect(&Connect { keep_alive_s: u16::MAX, ..v5(&format!("c{n}")) });
        world.cut(peer);
    }
    let kept = world.connect(&Connect { keep_alive_s: 60_000, ..v5("kept") });
    world.pass_s(601);
    assert_eq!(world.shards[0].holdings().timers, 1);
    world.pass_s(89_390);
    assert!(world.read(kept).is_empty());
    world.pass_s(20);
    assert_eq!(world.read(kept), ["DISCONNECT keep alive timeout", "CLOSED keep_alive_timeout"]);
}
