//! Takeovers in a row: some are let through, more only as time passes, and whoever is refused disturbs nobody.

use super::harness::{World, v5, v5_kept};
use crate::codec::{Connect, Packet, Version};
use crate::limits::{TAKEOVER_REFILL_MS, TAKEOVERS_BURST};

/// Uses up what is let through in a row.
fn take_over_as_often_as_it_goes(world: &mut World, connect: &Connect<'_>) {
    for _ in 0..=TAKEOVERS_BURST {
        world.open(connect);
    }
}

const REFUSED: [&str; 2] = ["CONNACK connection rate exceeded", "CLOSED takeover_rate"];

#[test]
fn a_loop_of_takeovers_is_damped_and_the_connection_that_is_there_stays() {
    for connect in [v5("c"), v5_kept("c")] {
        let mut world = World::new();
        let mut holder = world.open(&connect);
        for _ in 0..TAKEOVERS_BURST {
            let next = world.open(&connect);
            let ended = ["DISCONNECT session taken over", "CLOSED session_taken_over"];
            assert!(world.read(holder).ends_with(&ended.map(String::from)));
            holder = next;
        }
        assert!(world.read(holder)[0].starts_with("CONNACK success"));
        for _ in 0..100 {
            let late = world.open(&connect);
            assert_eq!(world.read(late), REFUSED);
        }
        world.send(holder, &Packet::PingReq);
        assert_eq!(world.read(holder), ["PINGRESP"]);
    }
}

#[test]
fn as_many_takeovers_are_let_through_as_the_time_that_has_passed_pays_for() {
    let mut world = World::new();
    let connect = v5_kept("c");
    take_over_as_often_as_it_goes(&mut world, &connect);
    for _ in 0..5 {
        world.pass_ms(TAKEOVER_REFILL_MS - 1);
        let early = world.open(&connect);
        assert_eq!(world.read(early), REFUSED);
        world.pass_ms(1);
        let late = world.open(&connect);
        assert!(world.read(late)[0].starts_with("CONNACK success"));
    }
    // A long quiet connection has paid for a whole row of them.
    world.pass_ms(u64::from(TAKEOVERS_BURST) * TAKEOVER_REFILL_MS);
    for _ in 0..TAKEOVERS_BURST {
        let next = world.open(&connect);
        assert!(world.read(next)[0].starts_with("CONNACK success"));
    }
    let more = world.open(&connect);
    assert_eq!(world.read(more), REFUSED);
}

#[test]
fn a_client_that_closes_before_it_comes_back_is_never_held_up() {
    let mut world = World::new();
    for _ in 0..10 * usize::from(TAKEOVERS_BURST) {
        let peer = world.open(&v5_kept("c"));
        assert!(world.read(peer)[0].starts_with("CONNACK success"));
        world.cut(peer);
    }
}

#[test]
fn before_5_0_the_refusal_is_server_unavailable() {
    let mut world = World::new();
    let connect = Connect::new(Version::V311, "c", true);
    take_over_as_often_as_it_goes(&mut world, &connect);
    let late = world.open(&connect);
    assert_eq!(world.read(late), ["CONNACK server unavailable", "CLOSED takeover_rate"]);
}
