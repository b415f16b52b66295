//! A relay between two sides that say what a test has them say.

use super::relay::{BridgeSide, Refusals, Relay, RelayBounds, RelayStep};
use crate::codec::{AckKind, Property, ReasonCode, Version};
use crate::ids::{PacketId, Qos};
use crate::limits::{BRIDGE_REFUSALS_MAX, USER_PROPERTIES_MAX};
use crate::services::connectors::NotPassed;
use crate::services::local::{LocalConnack, OwnedAck, OwnedPacket, OwnedPublish};

use AckKind::{PubAck, PubComp, PubRec, PubRel};
use BridgeSide::{Local, Remote};

fn bounds() -> RelayBounds {
    RelayBounds {
        topics: vec!["# out 2 up/ there/".parse().unwrap(), "# in 2 down/ here/".parse().unwrap()],
        hops_max: 3,
        outgoing_retain: true,
        remote_version: Version::V5,
        remote_qos_max: Qos::ExactlyOnce,
        remote_packet_max_bytes: 1_000_000,
        local: LocalConnack {
            session_present: true,
            receive_maximum: 100,
            packet_size_max_bytes: 1_000_000,
            qos_max: Qos::ExactlyOnce,
            retain_available: true,
        },
    }
}

fn relay(change: impl FnOnce(&mut RelayBounds)) -> Relay {
    let mut bounds = bounds();
    change(&mut bounds);
    Relay::new(bounds, Refusals::default())
}

fn publish(topic: &str, qos: Qos, id: u16) -> OwnedPublish {
    OwnedPublish { qos, packet_id: PacketId::new(id), retain: true, ..OwnedPublish::new(topic, "x") }
}

fn with_properties(publish: OwnedPublish, count: usize) -> OwnedPublish {
    let mut block = Vec::new();
    for _ in 0..count {
        Property::UserProperty("k", "v").write_to(&mut block);
    }
    OwnedPublish { properties: block.into(), ..publish }
}

fn ack(kind: AckKind, id: u16, reason: ReasonCode) -> OwnedPacket {
    OwnedPacket::Ack(OwnedAck::new(kind, PacketId::new(id).unwrap(), reason))
}

fn done(kind: AckKind, id: u16) -> OwnedPacket {
    ack(kind, id, ReasonCode::Success)
}

/// What follows, as lines.
fn told(steps: &[RelayStep]) -> Vec<String> {
    let id = |id: Option<PacketId>| id.map_or(0, PacketId::get);
    let line = |step: &RelayStep| match step {
        RelayStep::Publish(to, publish) => {
            let (qos, retain) = (publish.qos as u8, if publish.retain { " retain" } else { "" });
            format!("{to:?} PUBLISH {} q{qos} #{}{retain}", publish.topic, id(publish.packet_id))
        }
        RelayStep::Ack(to, ack) if ack.reason.is_error() => {
            format!("{to:?} {:?} #{} {}", ack.kind, ack.packet_id, ack.reason)
        }
        RelayStep::Ack(to, ack) => format!("{to:?} {:?} #{}", ack.kind, ack.packet_id),
        RelayStep::NotPassed(reason, _) => format!("not passed: {}", reason.label()),
        RelayStep::TryLater(_) => "later".to_owned(),
    };
    steps.iter().map(line).collect()
}

fn hear(relay: &mut Relay, from: BridgeSide, packet: OwnedPacket) -> Vec<String> {
    told(&relay.handle(from, packet))
}

#[test]
fn a_message_and_its_acknowledgements_pass_with_their_identifier_both_ways() {
    let mut relay = relay(|_| {});
    for (from, topic, there) in [(Local, "up/a", "Remote PUBLISH there/a"), (Remote, "here/a", "Local PUBLISH down/a")]
    {
        let (to, name) = (from.other(), format!("{from:?}"));
        let sent = hear(&mut relay, from, OwnedPacket::Publish(publish(topic, Qos::ExactlyOnce, 7)));
        assert_eq!(sent, [format!("{there} q2 #7 retain")]);
        assert_eq!(hear(&mut relay, to, done(PubRec, 7)), [format!("{name} PubRec #7")]);
        assert_eq!(hear(&mut relay, from, done(PubRel, 7)), [format!("{to:?} PubRel #7")]);
        assert_eq!(hear(&mut relay, to, done(PubComp, 7)), [format!("{name} PubComp #7")]);
        let sent = hear(&mut relay, from, OwnedPacket::Publish(publish(topic, Qos::AtLeastOnce, 8)));
        assert_eq!(sent, [format!("{there} q1 #8 retain")]);
        assert_eq!(hear(&mut relay, to, done(PubAck, 8)), [format!("{name} PubAck #8")]);
        let sent = hear(&mut relay, from, OwnedPacket::Publish(publish(topic, Qos::AtMostOnce, 0)));
        assert_eq!(sent, [format!("{there} q0 #0 retain")]);
    }
}

#[test]
fn what_a_side_takes_with_a_lower_quality_of_service_is_acknowledged_with_its_own_to_the_other() {
    let lower_both =
        |most: Qos| move |bounds: &mut RelayBounds| (bounds.remote_qos_max, bounds.local.qos_max) = (most, most);
    for (from, topic) in [(Local, "up/a"), (Remote, "here/a")] {
        let (to, name) = (from.other(), format!("{from:?}"));
        let mut once = relay(lower_both(Qos::AtLeastOnce));
        let sent = hear(&mut once, from, OwnedPacket::Publish(publish(topic, Qos::ExactlyOnce, 7)));
        assert!(sent.len() == 1 && sent[0].contains("q1 #7"), "{sent:?}");
        assert_eq!(hear(&mut once, to, done(PubAck, 7)), [format!("{name} PubRec #7")]);
        assert_eq!(hear(&mut once, from, done(PubRel, 7)), [format!("{name} PubComp #7")], "nobody else has it");
        // Refused, the exchange is over.
        hear(&mut once, from, OwnedPacket::Publish(publish(topic, Qos::ExactlyOnce, 8)));
        let refused = hear(&mut once, to, ack(PubAck, 8, ReasonCode::NotAuthorized));
        assert_eq!(
            refused,
            ["not passed: refused".to_owned(), format!("{name} PubRec #8 {}", ReasonCode::NotAuthorized)]
        );
        let mut never = relay(lower_both(Qos::AtMostOnce));
        let sent = hear(&mut never, from, OwnedPacket::Publish(publish(topic, Qos::ExactlyOnce, 7)));
        assert!(sent[0].contains("q0 #0") && sent[1] == format!("{name} PubRec #7"), "{sent:?}");
        assert_eq!(hear(&mut never, from, done(PubRel, 7)), [format!("{name} PubComp #7")]);
        let sent = hear(&mut never, from, OwnedPacket::Publish(publish(topic, Qos::AtLeastOnce, 7)));
        assert!(sent[0].contains("q0 #0") && sent[1] == format!("{name} PubAck #7"), "{sent:?}");
    }
    let mut without = relay(|bounds| (bounds.outgoing_retain, bounds.local.retain_available) = (false, false));
    for (from, topic) in [(Local, "up/a"), (Remote, "here/a")] {
        let sent = hear(&mut without, from, OwnedPacket::Publish(publish(topic, Qos::AtMostOnce, 0)));
        assert!(!sent[0].contains("retain"), "{sent:?}");
    }
}

#[test]
fn what_no_side_would_take_is_left_out_alone() {
    let large = |topic: &str, qos, id| OwnedPublish { payload: vec![0; 2_000].into(), ..publish(topic, qos, id) };
    let small = |bounds: &mut RelayBounds| {
        (bounds.remote_packet_max_bytes, bounds.local.packet_size_max_bytes) = (1_000, 1_000);
    };
    for (from, topic) in [(Local, "up/a"), (Remote, "here/a")] {
        let left_out = |ack: &str| ["not passed: too_large".to_owned(), format!("{from:?} {ack}")];
        let mut relay = self::relay(small);
        let sent = hear(&mut relay, from, OwnedPacket::Publish(large(topic, Qos::ExactlyOnce, 7)));
        assert_eq!(sent, left_out("PubRec #7"));
        assert_eq!(hear(&mut relay, from, done(PubRel, 7)), [format!("{from:?} PubComp #7")]);
        let mut relay = self::relay(|_| {});
        let most = with_properties(publish(topic, Qos::AtLeastOnce, 9), USER_PROPERTIES_MAX);
        assert_eq!(hear(&mut relay, from, OwnedPacket::Publish(most)), left_out("PubAck #9"), "no room for the hop");
        let one_less = with_properties(publish(topic, Qos::AtLeastOnce, 9), USER_PROPERTIES_MAX - 1);
        let sent = relay.handle(from, OwnedPacket::Publish(one_less));
        let [RelayStep::Publish(_, passed)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(passed.user_properties(), USER_PROPERTIES_MAX);
        let unreadable =
            OwnedPacket::Unreadable { qos: Qos::ExactlyOnce, packet_id: PacketId::new(3), why: "w".into() };
        let sent = hear(&mut relay, from, unreadable);
        assert_eq!(sent, ["not passed: refused".to_owned(), format!("{from:?} PubRec #3")]);
        assert_eq!(hear(&mut relay, from, done(PubRel, 3)), [format!("{from:?} PubComp #3")]);
    }
    // Before 5.0 nothing says how many bridges a message has passed.
    let mut relay = relay(|bounds| bounds.remote_version = Version::V311);
    let most = with_properties(publish("up/a", Qos::AtLeastOnce, 9), USER_PROPERTIES_MAX);
    assert_eq!(hear(&mut relay, Local, OwnedPacket::Publish(most)), ["Remote PUBLISH there/a q1 #9 retain"]);
    let elsewhere = OwnedPacket::Publish(publish("else/a", Qos::AtLeastOnce, 9));
    assert_eq!(hear(&mut relay, Local, elsewhere), ["not passed: no_topic", "Local PubAck #9"]);
}

#[test]
fn no_room_is_later_and_not_for_ever_where_there_is_room_for_others() {
    let quota = |id| ack(PubAck, id, ReasonCode::QuotaExceeded);
    let mut refusals = Refusals::default();
    // A full disk: nobody is taken, and nothing is given up.
    for _ in 0..3 * BRIDGE_REFUSALS_MAX {
        let mut relay = Relay::new(bounds(), refusals);
        assert_eq!(hear(&mut relay, Remote, quota(5)), ["later"]);
        assert_eq!(
            hear(&mut relay, Local, quota(6)),
            ["later"],
            "this broker says that of nothing that it never takes"
        );
        refusals = relay.into_refusals();
    }
    // There is room again, and not for this one.
    let mut relay = Relay::new(bounds(), refusals);
    assert_eq!(hear(&mut relay, Remote, done(PubAck, 4)), ["Local PubAck #4"]);
    let refused = hear(&mut relay, Remote, quota(5));
    let told = format!("Local PubAck #5 {}", ReasonCode::QuotaExceeded);
    assert_eq!(refused, ["not passed: refused".to_owned(), told]);
    // Another message has that identifier then, and all its tries.
    assert_eq!(hear(&mut relay, Remote, quota(5)), ["later"]);
    assert_eq!(hear(&mut relay, Remote, done(PubAck, 5)), ["Local PubAck #5"]);
}

#[test]
fn a_message_that_has_passed_enough_bridges_passes_no_more() {
    let mut relay = relay(|_| {});
    let mut block = Vec::new();
    Property::UserProperty("dunlin-hops", "3").write_to(&mut block);
    for (from, topic) in [(Local, "up/a"), (Remote, "here/a")] {
        let message = OwnedPublish { properties: block.clone().into(), ..publish(topic, Qos::AtLeastOnce, 2) };
        let left_out = ["not passed: hops".to_owned(), format!("{from:?} PubAck #2")];
        assert_eq!(hear(&mut relay, from, OwnedPacket::Publish(message)), left_out);
    }
    assert!(relay.handle(Local, OwnedPacket::PingResp).is_empty());
    assert_eq!(NotPassed::Hops.label(), "hops");
}
