//! Keep alive: one and a half times what was agreed, and not a packet less.

use super::harness::{World, v5};
use crate::codec::{Connect, Packet};

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
