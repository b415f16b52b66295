//! Wills: sent when they are due, and only then.

use super::harness::{Peer, World, v5, v5_kept};
use super::show::{publish, retained};
use crate::codec::{Connect, ConnectWill, Disconnect, Forwarded, Packet, ReasonCode, Version};
use crate::ids::Qos;

pub(super) fn will(delay_s: u32) -> ConnectWill<'static> {
    ConnectWill {
        topic: "will",
        payload: b"gone",
        qos: Qos::AtLeastOnce,
        retain: false,
        delay_s,
        message_expiry_s: None,
        properties: Forwarded::EMPTY,
    }
}

/// A world with somebody who hears wills.
fn world() -> (World, Peer) {
    let mut world = World::new();
    let heir = world.client("heir");
    world.subscribe(heir, "will", 0);
    (world, heir)
}

#[test]
fn a_will_is_published_unless_the_client_says_goodbye() {
    // DISCONNECT's reason, or none for a broken socket; whether the will is sent.
    let cases = [
        (None, true),
        (Some(ReasonCode::NORMAL_DISCONNECTION), false),
        (Some(ReasonCode::DisconnectWithWill), true),
        (Some(ReasonCode::UnspecifiedError), true),
    ];
    for (reason, is_sent) in cases {
        for kept in [false, true] {
            let (mut world, heir) = world();
            let base = if kept { v5_kept("c") } else { v5("c") };
            let peer = world.connect(&Connect { will: Some(will(0)), ..base });
            match reason {
                None => world.cut(peer),
                Some(reason) => world.send(peer, &Packet::Disconnect(Disconnect::new(reason))),
            }
            let expected: &[&str] = if is_sent { &["PUBLISH will gone"] } else { &[] };
            assert_eq!(world.read(heir), expected, "{reason:?}, kept {kept}");
            world.pass_s(10_000);
            assert!(world.read(heir).is_empty(), "a will is published once");
        }
    }
}

#[test]
fn a_delayed_will_waits_for_its_delay_or_for_the_sessions_end() {
    for (delay_s, expiry_s, after_s) in [(10, 100, 10), (100, 10, 10), (10, 0, 0), (5, u32::MAX, 5)] {
        let (mut world, heir) = world();
        let peer = world.connect(&Connect { will: Some(will(delay_s)), session_expiry_s: expiry_s, ..v5("c") });
        world.cut(peer);
        if after_s > 0 {
            world.pass_ms(after_s * 1_000 - 1);
            assert!(world.read(heir).is_empty(), "delay {delay_s}, expiry {expiry_s}: too early");
            world.pass_ms(101);
        }
        assert_eq!(world.read(heir), ["PUBLISH will gone"], "delay {delay_s}, expiry {expiry_s}");
    }
}

#[test]
fn coming_back_in_time_takes_the_will_back() {
    let (mut world, heir) = world();
    let with_will = Connect { will: Some(will(10)), ..v5_kept("c") };
    let peer = world.connect(&with_will);
    world.cut(peer);
    world.pass_s(9);
    let (peer, _) = world.resume(&v5_kept("c"));
    world.pass_s(100);
    world.cut(peer);
    world.pass_s(10_000);
    assert!(world.read(heir).is_empty());
}

#[test]
fn a_takeover_publishes_an_undelayed_will_and_clean_start_also_a_delayed_one() {
    for (delay_s, clean_start, is_sent) in [(0, false, true), (0, true, true), (10, false, false), (10, true, true)] {
        let (mut world, heir) = world();
        let _first = world.connect(&Connect { will: Some(will(delay_s)), ..v5_kept("c") });
        let second = Connect { clean_start, ..v5_kept("c") };
        let _ = world.resume(&second);
        let expected: &[&str] = if is_sent { &["PUBLISH will gone"] } else { &[] };
        assert_eq!(world.read(heir), expected, "delay {delay_s}, clean start {clean_start}");
        world.pass_s(100);
        assert!(world.read(heir).is_empty());
    }
}

#[test]
fn a_protocol_error_and_a_keep_alive_timeout_publish_the_will() {
    let (mut world, heir) = world();
    let peer = world.connect(&Connect { will: Some(will(0)), ..v5("c") });
    world.send_bytes(peer, &[0x00]);
    assert_eq!(world.read(heir), ["PUBLISH will gone"]);
    let _silent = world.connect(&Connect { will: Some(will(0)), keep_alive_s: 10, ..v5("c") });
    world.pass_s(17);
    assert_eq!(world.read(heir), ["PUBLISH will gone"]);
}

#[test]
fn a_wills_expiry_begins_when_it_is_published() {
    let (mut world, heir) = world();
    let with_expiry = ConnectWill { message_expiry_s: Some(7), ..will(10) };
    let peer = world.connect(&Connect { will: Some(with_expiry), ..v5_kept("c") });
    world.cut(peer);
    world.pass_s(10);
    assert_eq!(world.read(heir), ["PUBLISH will expiry=7 gone"]);
}

#[test]
fn a_retained_will_is_retained() {
    let (mut world, heir) = world();
    let peer = world.connect(&Connect { will: Some(ConnectWill { retain: true, ..will(0) }), ..v5("c") });
    world.cut(peer);
    assert_eq!(world.read(heir), ["PUBLISH will gone"]);
    let late = world.client("late");
    world.subscribe_with(late, "will", super::harness::options(1), None);
    assert_eq!(world.read(late), ["SUBACK #1 [1]", "PUBLISH will q1 #1 retain gone"]);
}

#[test]
fn a_retained_will_beyond_the_limit_is_heard_and_not_kept() {
    let mut world = World::with(1, |settings| settings.retained_max = 1);
    let heir = world.client("heir");
    world.subscribe(heir, "will", 0);
    let filler = world.client("filler");
    world.send(filler, &Packet::Publish(retained(publish("other", "x"))));
    let peer = world.connect(&Connect { will: Some(ConnectWill { retain: true, ..will(0) }), ..v5("c") });
    world.cut(peer);
    assert_eq!(world.read(heir), ["PUBLISH will gone"]);
    assert_eq!(world.dropped(crate::telemetry::DropReason::RetainedFull), 1);
    assert_eq!(world.shards[0].gauges().retained_messages, 1);
}

#[test]
fn a_3_1_1_will_is_published_at_once_though_the_session_stays() {
    let (mut world, heir) = world();
    let peer = world.connect(&Connect { will: Some(will(0)), ..Connect::new(Version::V311, "c", false) });
    world.cut(peer);
    assert_eq!(world.read(heir), ["PUBLISH will gone"]);
}

#[test]
fn coming_back_after_the_delay_is_too_late_even_before_the_timer_has_looked() {
    let (mut world, heir) = world();
    world.pass_ms(30);
    let peer = world.connect(&Connect { will: Some(will(10)), ..v5_kept("c") });
    world.cut(peer);
    world.pass_ms(10_010);
    let _ = world.resume(&v5_kept("c"));
    assert_eq!(world.read(heir), ["PUBLISH will gone"]);
}

#[test]
fn a_will_for_a_group_is_not_given_to_the_client_that_left_it() {
    for kept in [false, true] {
        let mut world = World::new();
        let base = if kept { v5_kept("a") } else { v5("a") };
        let dying = world.connect(&Connect { will: Some(will(0)), ..base });
        let other = world.client("b");
        world.subscribe(dying, "$share/g/will", 0);
        world.subscribe(other, "$share/g/will", 0);
        world.cut(dying);
        assert_eq!(world.read(other), ["PUBLISH will gone"], "kept {kept}");
    }
}
