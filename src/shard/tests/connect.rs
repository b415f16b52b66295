//! CONNECT: session present, takeover, expiry, refusal.

use super::harness::{World, v5, v5_kept};
use super::show::{publish, publish1};
use crate::codec::{Connect, ConnectWill, Disconnect, Packet, ReasonCode, Version};
use crate::ids::Qos;
use crate::shard::Event;

/// A session is kept exactly as long as the client asked, and `session present` says whether it was.
#[test]
fn a_session_is_present_until_its_expiry_has_passed() {
    for (away_s, present) in [(0, true), (59, true), (60, false), (61, false), (1_000, false)] {
        let mut world = World::new();
        let kept = Connect { session_expiry_s: 60, ..Connect::new(Version::V5, "c", false) };
        let peer = world.connect(&kept);
        world.cut(peer);
        world.pass_s(away_s);
        let (_, answer) = world.resume(&kept);
        let expected = if present { "CONNACK success present" } else { "CONNACK success" };
        assert_eq!(answer, [expected], "after {away_s} s");
    }
}

#[test]
fn clean_start_ends_an_earlier_session_with_its_subscriptions() {
    let mut world = World::new();
    let peer = world.connect(&v5_kept("c"));
    world.subscribe(peer, "t", 1);
    world.cut(peer);
    let (peer, answer) = world.resume(&Connect { session_expiry_s: 60, ..v5("c") });
    assert_eq!(answer, ["CONNACK success"]);
    let publisher = world.client("p");
    world.send(publisher, &Packet::Publish(publish1(1, "t", "x")));
    assert_eq!(world.read(publisher), ["PUBACK #1 no matching subscribers"]);
    assert!(world.read(peer).is_empty());
}

#[test]
fn a_second_connection_takes_the_session_over() {
    let mut world = World::new();
    let first = world.connect(&v5_kept("c"));
    world.subscribe(first, "t", 0);
    let (second, answer) = world.resume(&v5_kept("c"));
    assert_eq!(world.read(first), ["DISCONNECT session taken over", "CLOSED session_taken_over"]);
    assert_eq!(answer, ["CONNACK success present"]);
    world.send(second, &Packet::Publish(publish("t", "x")));
    assert_eq!(world.read(second), ["PUBLISH t x"]);
    // What the old socket still had to say is nobody's word any more.
    world.send(first, &Packet::Publish(publish("t", "late")));
    assert!(world.read(second).is_empty());
}

#[test]
fn a_takeover_of_a_session_that_is_not_kept_begins_a_new_one() {
    let mut world = World::new();
    let first = world.connect(&v5("c"));
    world.subscribe(first, "t", 0);
    let (_, answer) = world.resume(&Connect::new(Version::V5, "c", false));
    assert_eq!(answer, ["CONNACK success"]);
    assert_eq!(world.shards[0].gauges().subscriptions, 0);
    assert_eq!(world.shards[0].gauges().clients_connected, 1);
}

#[test]
fn before_5_0_clean_session_0_keeps_the_session_and_3_1_has_no_flag_for_it() {
    for (version, expected) in [(Version::V311, "CONNACK success present"), (Version::V31, "CONNACK success")] {
        let mut world = World::new();
        let connect = Connect::new(version, "c", false);
        let peer = world.connect(&connect);
        world.cut(peer);
        world.pass_s(1_000);
        assert_eq!(world.resume(&connect).1, [expected]);
        assert_eq!(world.shards[0].gauges().clients_connected, 1);
        let clean = Connect::new(version, "c", true);
        assert_eq!(world.resume(&clean).1, ["CONNACK success"]);
    }
}

#[test]
fn the_operators_maximum_shortens_the_expiry_and_the_client_is_told() {
    let mut world = World::with(1, |settings| settings.session_expiry_max_s = 10);
    let peer = world.open(&v5_kept("c"));
    assert_eq!(world.read(peer), ["CONNACK success expiry=10"]);
    world.cut(peer);
    world.pass_s(11);
    assert_eq!(world.shards[0].gauges().clients_disconnected, 0);
    assert_eq!(world.shards[0].counters().sessions_expired, 1);
}

#[test]
fn disconnect_may_change_the_expiry_but_not_raise_it_from_0() {
    let mut world = World::new();
    let with_expiry =
        |seconds| Packet::Disconnect(Disconnect { session_expiry_s: Some(seconds), ..Disconnect::default() });
    let peer = world.connect(&v5_kept("c"));
    world.send(peer, &with_expiry(5));
    assert_eq!(world.read(peer), ["CLOSED client_disconnect"]);
    world.pass_s(4);
    assert_eq!(world.shards[0].gauges().clients_disconnected, 1);
    world.pass_s(1);
    assert_eq!(world.shards[0].gauges().clients_disconnected, 0);
    let peer = world.connect(&v5("c"));
    world.send(peer, &with_expiry(5));
    assert_eq!(world.read(peer), ["DISCONNECT protocol error", "CLOSED protocol_error"]);
    let peer = world.connect(&v5_kept("c"));
    world.send(peer, &with_expiry(0));
    assert_eq!(world.read(peer), ["CLOSED client_disconnect"]);
    assert_eq!(world.shards[0].gauges().clients_disconnected, 0);
}

#[test]
fn a_second_connect_and_an_auth_without_method_end_the_connection() {
    let mut world = World::new();
    let peer = world.client("c");
    world.send(peer, &Packet::Connect(v5("c")));
    assert_eq!(world.read(peer), ["DISCONNECT protocol error", "CLOSED protocol_error"]);
    let peer = world.client("c");
    // Wrong in itself as well, in a way that DISCONNECT has no code for.
    world.send_bytes(peer, b"\x10\x0c\x00\x04MQTT\x09\x02\x00\x3c\x00\x00");
    assert_eq!(world.read(peer), ["DISCONNECT protocol error", "CLOSED protocol_error"]);
    let peer = world.client("c");
    world.send_bytes(peer, &[0xf0, 0]);
    assert_eq!(world.read(peer), ["DISCONNECT protocol error", "CLOSED protocol_error"]);
    let peer = world.connect(&Connect::new(Version::V311, "c", true));
    world.send_bytes(peer, &[0xff]);
    assert_eq!(world.read(peer), ["CLOSED malformed"], "3.1.1 has no DISCONNECT from a server");
}

#[test]
fn a_refused_connect_leaves_an_earlier_session_alone() {
    let mut world = World::with(1, |settings| settings.qos_max = 1);
    let first = world.connect(&v5_kept("c"));
    let method = Connect { authentication_method: Some("SCRAM"), ..v5("c") };
    let second = world.open(&method);
    assert_eq!(world.read(second), ["CONNACK bad authentication method", "CLOSED authentication_method"]);
    let will = ConnectWill {
        topic: "will",
        payload: b"",
        qos: Qos::ExactlyOnce,
        retain: false,
        delay_s: 0,
        message_expiry_s: None,
        properties: crate::codec::Forwarded::EMPTY,
    };
    let third = world.open(&Connect { will: Some(will), ..v5("c") });
    assert_eq!(world.read(third), ["CONNACK QoS not supported", "CLOSED refused"]); // [MQTT-3.2.2-12]
    world.send(first, &Packet::PingReq);
    assert_eq!(world.read(first), ["PINGRESP"]);
}

#[test]
fn every_accepted_connect_has_its_two_events() {
    let mut world = World::new();
    // Begun late in a second: what ends milliseconds later has not lasted none, nor a second.
    world.pass_ms(990);
    let peer = world.client("c");
    world.pass_ms(55);
    world.send(peer, &Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
    let labels: Vec<String> = world
        .events
        .iter()
        .map(|event| match event {
            Event::Connected { client_id, clean_start, .. } => format!("{client_id} came, clean {clean_start}"),
            Event::Disconnected { client_id, reason, duration_ms, .. } => {
                format!("{client_id} went, {} after {duration_ms} ms", reason.label())
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(labels, ["c came, clean true", "c went, client_disconnect after 55 ms"]);
}

#[test]
fn shutdown_tells_every_client_and_lets_nobody_in() {
    let mut world = World::new();
    let new = world.client("new");
    let old = world.connect(&Connect::new(Version::V311, "old", true));
    world.turn(0, crate::shard::Input::Shutdown);
    assert_eq!(world.read(new), ["DISCONNECT server shutting down", "CLOSED server_shutdown"]);
    assert_eq!(world.read(old), ["CLOSED server_shutdown"]);
    let late = world.open(&v5("late"));
    assert_eq!(world.read(late), ["CONNACK server unavailable", "CLOSED unavailable"]);
}

/// The timer's granularity is no licence to resurrect what has expired.
#[test]
fn an_expired_session_is_gone_even_before_the_timer_has_looked() {
    let mut world = World::new();
    let kept = Connect { session_expiry_s: 60, ..Connect::new(Version::V5, "c", false) };
    world.pass_ms(30);
    let peer = world.connect(&kept);
    world.cut(peer);
    world.pass_ms(60_010); // the timer's tick is at 60,070 ms
    assert_eq!(world.resume(&kept).1, ["CONNACK success"]);
}

#[test]
fn a_client_that_takes_no_packet_of_connacks_size_is_not_sent_one() {
    let mut world = World::new();
    let kept = world.connect(&v5_kept("c"));
    for (maximum_packet_size_bytes, answer) in [(4, &[][..]), (10, &["CONNACK packet too large"])] {
        let tiny = Connect { maximum_packet_size_bytes, ..v5_kept("c") };
        let peer = world.open(&tiny);
        let lines = world.read(peer);
        assert_eq!(
            lines.split_last().unwrap(),
            (&"CLOSED refused".to_owned(), &answer.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()[..])
        );
    }
    assert!(world.read(kept).is_empty(), "the session it meant is not touched");
    let enough = Connect { maximum_packet_size_bytes: 16, ..v5("d") };
    let peer = world.open(&enough);
    assert_eq!(world.read(peer), ["CONNACK success"]);
}

#[test]
fn a_session_that_is_not_kept_any_more_is_written_down_as_ended() {
    let expiry_0 = Packet::Disconnect(Disconnect { session_expiry_s: Some(0), ..Disconnect::default() });
    let mut world = World::new();
    let peer = world.connect(&v5_kept("c"));
    world.send(peer, &expiry_0);
    assert_eq!(world.recorded, ["SessionBegun", "SessionOwner", "SessionEnded"]);
    let mut world = World::new();
    let peer = world.connect(&v5_kept("c"));
    world.cut(peer);
    let (peer, _) = world.resume(&Connect::new(Version::V5, "c", false));
    world.cut(peer);
    assert_eq!(world.recorded, ["SessionBegun", "SessionOwner", "Disconnected", "SessionEnded"]);
}

/// A second CONNECT that is also wrong: its error has a code in CONNACK, and none in DISCONNECT.
#[test]
fn a_second_connect_that_is_no_good_either_ends_the_connection() {
    for wrong in [&b"\x10\x0c\0\x04MQTT\x07\0\0\0\0\0"[..], b"\x10\x0c\0\x04MQTT\x04\0\0\0\0\0"] {
        let mut world = World::new();
        let peer = world.client("c");
        world.send_bytes(peer, wrong);
        assert_eq!(world.read(peer), ["DISCONNECT protocol error", "CLOSED protocol_error"]);
    }
}
