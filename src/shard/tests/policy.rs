//! What the operator's settings say of single messages, and that a rule about a message is none about its client.

use super::harness::{Peer, World, options, v5};
use super::show::{publish, publish1, publish2, retained};
use super::will::will;
use crate::codec::{
    Connect, ConnectWill, Packet, Publish, SubscribeFilter, SubscriptionOptions, Version, encode_subscribe,
};
use crate::ids::Qos;
use crate::settings::{Acceptance, RefusedDollarTopics};
use crate::shard::Event;
use crate::telemetry::DropReason;

const BRIDGE_STATE: &str = "$SYS/broker/connection/edge/state";

fn v311(client_id: &str) -> Connect<'_> {
    Connect::new(Version::V311, client_id, true)
}

/// The topics of messages and wills that the log has told as refused.
fn told(world: &World) -> Vec<String> {
    let topics = world.events.iter().filter_map(|event| match event {
        Event::MessageRefused { client_id, topic, .. } => Some(format!("{client_id} {topic}")),
        _ => None,
    });
    topics.collect()
}

/// A client with a will on `topic`, which leaves without a word; what `heir` hears of it.
fn hear_will(world: &mut World, heir: Peer, base: Connect<'_>, will: ConnectWill<'_>) -> Vec<String> {
    let peer = world.connect(&Connect { will: Some(will), ..base });
    world.cut(peer);
    world.read(heir)
}

#[test]
fn a_will_that_is_not_taken_is_left_out_and_its_client_let_in() {
    for base in [v5("c"), v311("c"), Connect::new(Version::V31, "c", true)] {
        let mut world = World::with(1, |settings| {
            settings.topic_levels_max = 8;
            settings.message_size_max_bytes = 4;
            settings.control_characters = Acceptance::Refuse;
        });
        let heir = world.client("heir");
        world.subscribe(heir, "#", 0);
        world.subscribe(heir, "$aws/#", 0);
        for topic in ["$SYS/broker/uptime", "$aws/x", "1/2/3/4/5/6/7/8/9", "a\u{7}"] {
            assert!(hear_will(&mut world, heir, base, ConnectWill { topic, ..will(0) }).is_empty(), "{topic}");
        }
        assert_eq!(told(&world), ["c $SYS/broker/uptime", "c $aws/x", "c 1/2/3/4/5/6/7/8/9", "c a\u{7}"]);
        assert_eq!(world.dropped(DropReason::TopicRefused), 4);
        let large = ConnectWill { payload: b"gone!", ..will(0) };
        assert!(hear_will(&mut world, heir, base, large).is_empty());
        assert_eq!(world.dropped(DropReason::MessageTooLarge), 1);
        assert_eq!(hear_will(&mut world, heir, base, will(0)), ["PUBLISH will gone"]);
    }
}

#[test]
fn bridges_tell_their_state_by_message_and_by_will() {
    for base in [v5("edge"), v311("edge"), Connect { is_bridge: true, ..v311("edge") }] {
        let mut world = World::with(1, |settings| settings.retained_max = 1);
        let monitor = world.client("monitor");
        world.subscribe(monitor, "$SYS/broker/connection/+/state", 1);
        world.subscribe(monitor, "#", 0);
        let will = ConnectWill { topic: BRIDGE_STATE, payload: b"0", retain: true, ..will(0) };
        let edge = world.connect(&Connect { will: Some(will), ..base });
        world.send(edge, &Packet::Publish(retained(publish1(1, BRIDGE_STATE, "1"))));
        assert_eq!(world.read(edge), ["PUBACK #1"]);
        assert_eq!(world.read(monitor), [format!("PUBLISH {BRIDGE_STATE} q1 #1 1")]);
        // It is kept, and takes a place like any other message of a client's.
        world.send(edge, &Packet::Publish(retained(publish1(2, "t", "x"))));
        if base.version.is_v5() {
            assert_eq!(world.read(edge), ["PUBACK #2 quota exceeded"]);
        }
        assert_eq!(world.dropped(DropReason::RetainedFull), 1);
        let _ = world.read(edge);
        world.cut(edge);
        assert_eq!(world.read(monitor), [format!("PUBLISH {BRIDGE_STATE} q1 #2 0")]);
        let late = world.client("late");
        world.subscribe_with(late, BRIDGE_STATE, options(0), None);
        assert_eq!(world.read(late), ["SUBACK #1 [0]".to_owned(), format!("PUBLISH {BRIDGE_STATE} retain 0")]);
    }
}

#[test]
fn dollar_topics_are_the_clients_where_the_operator_says_so() {
    for (refused, aws) in [(RefusedDollarTopics::All, false), (RefusedDollarTopics::Sys, true)] {
        let mut world = World::with(1, |settings| settings.refused_dollar_topics = refused);
        let sub = world.client("sub");
        world.subscribe(sub, "$aws/#", 0);
        world.subscribe(sub, "$SYS/#", 0);
        let publisher = world.client("pub");
        for (number, topic) in
            [(1, "$aws/x"), (2, "$SYS/broker/version"), (3, "$SYS"), (4, "$share/g/t"), (5, "$aws/y")]
        {
            world.send(publisher, &Packet::Publish(publish1(number, topic, "x")));
        }
        let refusal = |number| format!("PUBACK #{number} topic name invalid");
        let answers = world.read(publisher);
        assert_eq!(answers[1..4], [2, 3, 4].map(refusal));
        if aws {
            assert_eq!((answers[0].as_str(), answers[4].as_str()), ("PUBACK #1", "PUBACK #5"));
            assert_eq!(world.read(sub), ["PUBLISH $aws/x x", "PUBLISH $aws/y x"]);
            assert_eq!(told(&world), ["pub $SYS/broker/version"], "a connection has one line");
        } else {
            assert_eq!((&answers[0], &answers[4]), (&refusal(1), &refusal(5)));
            assert!(world.read(sub).is_empty());
            assert_eq!(told(&world), ["pub $aws/x"], "a connection has one line");
        }
        assert_eq!(world.dropped(DropReason::TopicRefused), if aws { 3 } else { 5 });
    }
}

#[test]
fn control_characters_are_refused_where_the_operator_says_so() {
    for (policy, refuses) in [(Acceptance::Accept, false), (Acceptance::Refuse, true)] {
        let mut world = World::with(1, |settings| settings.control_characters = policy);
        let peer = world.client("c");
        for (number, topic) in [(1, "a\u{1}b"), (2, "a\u{ffff}")] {
            world.send(peer, &Packet::Publish(publish1(number, topic, "x")));
            let expected = if refuses { "topic name invalid" } else { "no matching subscribers" };
            assert_eq!(world.read(peer), [format!("PUBACK #{number} {expected}")]);
        }
        let old = world.connect(&v311("old"));
        for (peer, code) in [(peer, 143), (old, 128)] {
            let filters =
                ["t/\u{85}/+", "$share/g\u{2}/t", "t"].map(|filter| SubscribeFilter { filter, options: options(1) });
            let mut bytes = Vec::new();
            let version = if peer == old { Version::V311 } else { Version::V5 };
            encode_subscribe(version, super::harness::id(1), None, filters, &mut bytes);
            world.send_bytes(peer, &bytes);
            let expected =
                if refuses { format!("SUBACK #1 [{code}, {code}, 1]") } else { "SUBACK #1 [1, 1, 1]".to_owned() };
            assert_eq!(world.read(peer), [expected]);
        }
        let named = world.open(&v5("a\u{9f}"));
        let answer = world.read(named);
        assert_eq!(answer[0] == "CONNACK client identifier not valid", refuses, "{answer:?}");
    }
}

#[test]
fn the_highest_qos_is_announced_and_kept_to() {
    for (qos_max, above) in [(0, publish1(1, "t", "x")), (1, publish2(1, "t", "x")), (0, publish2(1, "t", "x"))] {
        let mut world = World::with(1, |settings| settings.qos_max = qos_max);
        let (sub, answer) = world.resume(&v5("sub"));
        assert_eq!(answer, [format!("CONNACK success max_qos={qos_max}")]);
        world.subscribe_with(sub, "t", options(2), None);
        assert_eq!(world.read(sub), [format!("SUBACK #1 [{qos_max}]")]);

        let (new, _) = world.resume(&v5("new"));
        world.send(new, &Packet::Publish(publish("t", "allowed")));
        world.send(new, &Packet::Publish(above));
        assert_eq!(world.read(new), ["DISCONNECT QoS not supported", "CLOSED protocol_error"]);
        assert_eq!(world.read(sub), ["PUBLISH t allowed"]);
        let will = ConnectWill { topic: "t", qos: above.qos, ..will(0) };
        let refused = world.open(&Connect { will: Some(will), ..v5("new") });
        assert_eq!(world.read(refused), ["CONNACK QoS not supported", "CLOSED refused"]);

        // Who could not be told is served as far as it goes.
        let old = world.connect(&Connect { will: Some(will), ..v311("old") });
        world.send(old, &Packet::Publish(above));
        let acknowledgement = if above.qos == Qos::ExactlyOnce { "PUBREC #1" } else { "PUBACK #1" };
        assert_eq!(world.read(old), [acknowledgement]);
        world.cut(old);
        let heard = if qos_max == 0 {
            ["PUBLISH t x", "PUBLISH t gone"]
        } else {
            ["PUBLISH t q1 #1 x", "PUBLISH t q1 #2 gone"]
        };
        assert_eq!(world.read(sub), heard);
    }
}

#[test]
fn without_retained_messages_nobody_retains_one() {
    let mut world = World::with(1, |settings| settings.retain_available = false);
    let (sub, answer) = world.resume(&v5("sub"));
    assert_eq!(answer, ["CONNACK success retain=0"]);
    world.subscribe(sub, "t", 1);
    let (new, _) = world.resume(&v5("new"));
    world.send(new, &Packet::Publish(retained(publish("t", "x"))));
    assert_eq!(world.read(new), ["DISCONNECT retain not supported", "CLOSED protocol_error"]);
    let will = ConnectWill { topic: "t", retain: true, ..will(0) };
    let refused = world.open(&Connect { will: Some(will), ..v5("new") });
    assert_eq!(world.read(refused), ["CONNACK retain not supported", "CLOSED refused"]);
    let old = world.connect(&Connect { will: Some(will), ..v311("old") });
    world.send(old, &Packet::Publish(retained(publish("t", "y"))));
    world.cut(old);
    assert_eq!(world.read(sub), ["PUBLISH t y", "PUBLISH t q1 #1 gone"]);
    assert_eq!(world.shards[0].gauges().retained_messages, 0);
}

#[test]
fn a_message_too_large_is_refused_and_its_client_stays() {
    let mut world = World::with(1, |settings| settings.message_size_max_bytes = 4);
    let peer = world.client("c");
    world.subscribe(peer, "t", 0);
    let old = world.connect(&v311("old"));
    for sender in [peer, old] {
        world.send(sender, &Packet::Publish(publish1(1, "t", "1234")));
        world.send(sender, &Packet::Publish(publish1(2, "t", "12345")));
        world.send(sender, &Packet::Publish(publish("t", "12345")));
    }
    assert_eq!(
        world.read(peer),
        ["PUBLISH t 1234", "PUBACK #1", "PUBACK #2 implementation specific error", "PUBLISH t 1234"]
    );
    assert_eq!(world.read(old), ["PUBACK #1", "PUBACK #2"]);
    assert_eq!(world.dropped(DropReason::MessageTooLarge), 4);
    assert_eq!(told(&world), ["c t", "old t"]);
}

#[test]
fn a_bridge_hears_nothing_of_its_own_and_retain_as_it_was_published() {
    for version in [Version::V31, Version::V311] {
        let mut world = World::new();
        let other = world.client("other");
        let plain = world.connect(&Connect::new(version, "plain", true));
        let bridge = world.connect(&Connect { is_bridge: true, ..Connect::new(version, "bridge", true) });
        for peer in [plain, bridge] {
            world.subscribe(peer, "a/#", 1);
            world.send(peer, &Packet::Publish(publish("a/own", "x")));
        }
        world.send(other, &Packet::Publish(retained(publish("a/r", "y"))));
        world.send(other, &Packet::Publish(publish("a/n", "z")));
        let heard = ["PUBLISH a/own x", "PUBLISH a/own x", "PUBLISH a/r y", "PUBLISH a/n z"];
        assert_eq!(world.read(plain), heard);
        assert_eq!(world.read(bridge), ["PUBLISH a/r retain y", "PUBLISH a/n z"]);
        // A share's messages are for one member, and that one may be who published: No Local is not for shares.
        world.subscribe(bridge, "$share/g/s", 0);
        world.send(bridge, &Packet::Publish(publish("s", "mine")));
        assert_eq!(world.read(bridge), ["PUBLISH s mine"]);
    }
}

#[test]
fn an_empty_client_id_is_refused_where_the_operator_says_so() {
    for (policy, admits) in [(Acceptance::Accept, true), (Acceptance::Refuse, false)] {
        let settings = crate::shard::Settings { empty_client_ids: policy, ..crate::shard::Settings::default() };
        for version in [Version::V311, Version::V5] {
            let connect = Connect::new(version, "auto-1", true);
            assert_eq!(settings.check_connect(&connect, true).is_ok(), admits);
            assert!(settings.check_connect(&connect, false).is_ok());
        }
    }
}

/// An interval of 0 is for whoever can take the message now.
#[test]
fn a_message_with_an_expiry_of_0_goes_to_whoever_can_take_it_at_once() {
    let mut world = World::of(2);
    let near = world.client(&world.name_on(0, "near"));
    let far = world.client(&world.name_on(1, "far"));
    let busy = world.connect(&Connect { receive_maximum: 1, ..v5(&world.name_on(0, "busy")) });
    let away_name = world.name_on(0, "away");
    let away = world.connect(&super::harness::v5_kept(&away_name));
    for peer in [near, far, busy, away] {
        world.subscribe(peer, "t", 1);
    }
    world.cut(away);
    let publisher = world.client(&world.name_on(0, "pub"));
    world.send(publisher, &Packet::Publish(publish1(1, "t", "first")));
    for peer in [near, far, busy] {
        assert_eq!(world.read(peer), ["PUBLISH t q1 #1 first"]);
    }
    let at_once = |number| Publish { message_expiry_s: Some(0), ..retained(publish1(number, "t", "now")) };
    world.hold_mesh();
    world.send(publisher, &Packet::Publish(at_once(2)));
    world.pass_ms(5); // it is on its way to the other shard
    world.release_mesh();
    assert_eq!(world.read(near), ["PUBLISH t q1 #2 expiry=0 now"]);
    assert_eq!(world.read(far), ["PUBLISH t q1 #2 expiry=0 now"]);
    assert!(world.read(busy).is_empty(), "its window is full, and this message does not wait");
    let (_, answer) = world.resume(&super::harness::v5_kept(&away_name));
    assert_eq!(answer, ["CONNACK success present", "PUBLISH t q1 #1 first"]);
    assert_eq!(world.dropped(DropReason::Expired), 2);
    let late = world.client("late");
    world.subscribe_with(late, "t", SubscriptionOptions::default(), None);
    assert_eq!(world.read(late), ["SUBACK #1 [0]"], "what does not wait is not retained either");
}

#[test]
fn retained_messages_end_when_the_operator_says_unless_they_say_so_themselves() {
    let mut world = World::with(2, |settings| {
        settings.retained_expiry_s = 100;
        settings.sys_interval_s = 3_600;
    });
    world.pass_s(2); // the broker's own numbers
    let own = world.shards[0].gauges().retained_messages;
    assert!(own > 20);
    let live = world.client(&world.name_on(0, "live"));
    world.subscribe(live, "+", 0);
    let publisher = world.client(&world.name_on(1, "pub"));
    world.send(publisher, &Packet::Publish(retained(publish("plain", "x"))));
    let own_end = Publish { message_expiry_s: Some(500), ..retained(publish("ends", "y")) };
    world.send(publisher, &Packet::Publish(own_end));
    assert_eq!(world.read(live), ["PUBLISH plain x", "PUBLISH ends expiry=500 y"], "live ones are as published");
    world.pass_s(60);
    let shown = |world: &mut World| {
        let replays: Vec<Vec<String>> = (0..2)
            .map(|shard| {
                let reader = world.client(&world.name_on(shard, "reader"));
                world.subscribe_with(reader, "+", options(0), None);
                let lines = world.read(reader)[1..].to_vec();
                world.cut(reader);
                lines
            })
            .collect();
        assert_eq!(replays[0], replays[1]);
        replays[0].clone()
    };
    assert_eq!(shown(&mut world), ["PUBLISH ends retain expiry=440 y", "PUBLISH plain retain expiry=40 x"]);
    world.pass_s(50);
    assert_eq!(shown(&mut world), ["PUBLISH ends retain expiry=390 y"]);
    assert_eq!(world.shards[0].gauges().retained_messages, own + 1, "the broker's own stay");
}

#[test]
fn the_brokers_own_topics_take_no_room_from_clients() {
    let mut world = World::with(1, |settings| {
        settings.retained_max = 2;
        settings.retained_max_bytes = 100;
        settings.sys_interval_s = 10;
    });
    world.pass_s(2);
    assert!(world.shards[0].gauges().retained_messages > 20);
    let peer = world.client("c");
    for number in 1..=2 {
        world.send(peer, &Packet::Publish(retained(publish1(number, &format!("t{number}"), "x"))));
        assert_eq!(world.read(peer), [format!("PUBACK #{number} no matching subscribers")]);
    }
    world.send(peer, &Packet::Publish(retained(publish1(3, "t3", "x"))));
    assert_eq!(world.read(peer), ["PUBACK #3 quota exceeded"]);
    assert_eq!(told(&world), ["c t3"]);
}
