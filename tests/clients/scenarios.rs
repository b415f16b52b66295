//! What every client must be able to do in every version it speaks.
//!
//! A scenario is written once and played by every client. It uses one library for all its parts, so that both directions of
//! that library are tried.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::peer::Peer;
use crate::stage::{Stage, WAIT};
use crate::support::is_dunlin;
use crate::words::{Connect, Message, Subscription, Version, Will};

/// Messages of a run that must keep its order: more than any window between the two.
const BURST_MESSAGES: usize = 300;
/// Messages for a shared subscription of two members.
const SHARED_MESSAGES: usize = 100;
/// What each of the two must get of them at least. Chance alone goes below once in a thousand million runs.
const SHARED_LEAST: usize = 20;

/// QoS 0, 1 and 2 in each combination of publisher and subscriber: delivered once, with the lower of the two.
pub(crate) fn every_qos_both_ways(stage: &Stage) {
    let mut publisher = stage.peer("pub");
    let mut subscriber = stage.peer("sub");
    for granted in 0..=2_u8 {
        subscriber.subscribe(&stage.topic(&format!("{granted}/+")), granted);
    }
    for granted in 0..=2_u8 {
        for sent in 0..=2_u8 {
            let topic = stage.topic(&format!("{granted}/{sent}"));
            // All byte values: a payload is no text.
            let payload: Vec<u8> = (0..=255).collect();
            publisher.publish(Message::new(&topic, &payload, sent));
            let message = subscriber.message();
            assert_eq!(
                (&message.topic, message.qos),
                (&topic, granted.min(sent)),
                "published {sent}, granted {granted}"
            );
            assert_eq!(message.payload, payload);
            assert!(!message.retain, "a message that was not stored has RETAIN 0 [MQTT-3.3.1-9]");
        }
    }
    subscriber.expect_nothing_before(&mut publisher, Message::new(stage.topic("2/end"), "end", 2));
    publisher.disconnect();
    subscriber.disconnect();
}

/// Many messages at once of each QoS arrive once and in their order [MQTT-4.6.0-6].
pub(crate) fn a_burst_keeps_its_order(stage: &Stage) {
    let mut publisher = stage.peer("pub");
    for qos in 0..=2 {
        let topic = stage.topic(&format!("burst/{qos}"));
        let mut subscriber = stage.subscriber(&format!("sub{qos}"), &topic, qos);
        publisher.publish_all((0..BURST_MESSAGES).map(|n| Message::new(&topic, n.to_string(), qos)).collect());
        for n in 0..BURST_MESSAGES {
            subscriber.expect(&topic, &n.to_string());
        }
        subscriber.expect_nothing_before(&mut publisher, Message::new(&topic, "end", qos));
    }
}

/// Five times what a queue holds, published before any acknowledgement is looked at: a publisher that is held back loses nothing.
pub(crate) fn a_burst_of_5000_arrives_whole(stage: &Stage) {
    let topic = stage.topic("burst");
    let mut subscriber = stage.subscriber("sub", &topic, 1);
    let mut publisher = stage.peer("pub");
    publisher.publish_all((0..5_000).map(|n| Message::new(&topic, n.to_string(), 1)).collect());
    for n in 0..5_000 {
        subscriber.expect(&topic, &n.to_string());
    }
    subscriber.expect_nothing_before(&mut publisher, Message::new(&topic, "end", 1));
}

/// A payload of many segments and buffers, both ways.
pub(crate) fn a_large_payload_arrives_whole(stage: &Stage) {
    let topic = stage.topic("large");
    let mut subscriber = stage.subscriber("sub", &topic, 1);
    let mut publisher = stage.peer("pub");
    let payload: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for qos in [1, 0] {
        publisher.publish(Message::new(&topic, &payload, qos));
        let message = subscriber.message();
        assert!(message.payload == payload, "{} bytes of {} came, or others", message.payload.len(), payload.len());
    }
}

/// Exact filters, `+` and `#`, and what they do not match.
pub(crate) fn wildcards_match_whole_levels(stage: &Stage) {
    let mut publisher = stage.peer("pub");
    let cases: [(&str, &[&str], &[&str]); 4] = [
        ("a/b", &["a/b"], &["a", "a/b/c", "a/B"]),
        ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/b/c", "a/b/c/d"]),
        ("a/#", &["a", "a/b", "a/b/c"], &["ab", "b/a"]),
        ("+/+", &["a/b", "/b"], &["a", "a/b/c"]),
    ];
    for (n, (filter, matching, others)) in cases.into_iter().enumerate() {
        let base = stage.topic(&format!("case{n}"));
        let mut subscriber = stage.subscriber(&format!("sub{n}"), &format!("{base}/{filter}"), 1);
        subscriber.subscribe(&format!("{base}-end"), 1);
        for topic in others.iter().chain(matching) {
            publisher.publish(Message::new(format!("{base}/{topic}"), *topic, 1));
        }
        for topic in matching {
            subscriber.expect(&format!("{base}/{topic}"), topic);
        }
        subscriber.expect_nothing_before(&mut publisher, Message::new(format!("{base}-end"), "end", 1));
    }
}

/// After UNSUBACK nothing comes for that filter, and the other filter goes on.
pub(crate) fn unsubscribing_ends_the_flow(stage: &Stage) {
    let (gone, kept) = (stage.topic("gone"), stage.topic("kept"));
    let mut subscriber = stage.subscriber("sub", &gone, 1);
    subscriber.subscribe(&kept, 1);
    let mut publisher = stage.peer("pub");
    publisher.publish(Message::new(&gone, "before", 1));
    subscriber.expect(&gone, "before");
    let reasons = subscriber.unsubscribe(&gone);
    assert!(reasons.iter().all(|reason| *reason == 0), "{reasons:?}");
    publisher.publish(Message::new(&gone, "after", 1));
    subscriber.expect_nothing_before(&mut publisher, Message::new(&kept, "kept", 1));
}

/// Retained: a new subscriber gets the last one marked, one who was there gets it live, an empty one clears.
pub(crate) fn retained_is_set_replaced_and_cleared(stage: &Stage) {
    let topic = stage.topic("state");
    let mut publisher = stage.peer("pub");
    let mut present = stage.subscriber("early", &topic, 1);
    for text in ["first", "second"] {
        publisher.publish(Message::new(&topic, text, 1).retained());
        let live = present.expect(&topic, text);
        assert!(!live.retain, "who was subscribed gets it with RETAIN 0 [MQTT-3.3.1-9]");
    }
    let mut late = stage.subscriber("late", &topic, 1);
    let stored = late.expect(&topic, "second");
    assert!(stored.retain, "who subscribes later gets it with RETAIN 1 [MQTT-3.3.1-8]");
    assert_eq!(stored.qos, 1);
    let mut wild = stage.subscriber("wild", &stage.topic("#"), 0);
    assert_eq!(wild.expect(&topic, "second").qos, 0, "granted QoS 0 limits what was stored with 1");

    publisher.publish(Message::new(&topic, "", 1).retained());
    present.expect(&topic, "");
    let mut after = stage.subscriber("after", &topic, 1);
    after.expect_nothing_before(&mut publisher, Message::new(&topic, "live", 1));
}

/// The will is published when the client vanishes and is not when it says goodbye; a retained one stays.
pub(crate) fn the_will_of_a_vanished_client_is_published(stage: &Stage) {
    let (vanished, polite) = (stage.topic("will/vanished"), stage.topic("will/polite"));
    let mut subscriber = stage.subscriber("sub", &stage.topic("will/+"), 1);
    let mut publisher = stage.peer("pub");
    let with_will = |name: &str, topic: &str| Connect {
        will: Some(Will { message: Message::new(topic, "gone", 1).retained(), delay_s: None }),
        ..stage.connect(name)
    };
    Peer::connected(stage, "polite", with_will("polite", &polite)).0.disconnect();
    Peer::connected(stage, "vanish", with_will("vanish", &vanished)).0.vanish();
    let will = subscriber.expect(&vanished, "gone");
    assert_eq!((will.qos, will.retain), (1, false));
    subscriber.expect_nothing_before(&mut publisher, Message::new(stage.topic("will/end"), "end", 1));
    let mut late = stage.subscriber("late", &stage.topic("will/#"), 1);
    assert!(late.expect(&vanished, "gone").retain, "a will with RETAIN 1 is stored [MQTT-3.1.2-17]");
    late.expect_nothing_before(&mut publisher, Message::new(stage.topic("will/end"), "end", 1));
}

/// A session outlives its connection: subscriptions, and messages of QoS 1 and 2 in their order.
pub(crate) fn a_session_waits_for_its_client(stage: &Stage) {
    let topic = stage.topic("session");
    let persistent = Connect { clean: false, session_expiry_s: Some(300), ..stage.connect("sub") };
    // MQTT 3.1 has no such flag, and its CONNACK's byte is reserved.
    let expect_present = |present: bool, expected: bool| {
        assert!(stage.version() == Version::V31 || present == expected, "session present: {present}");
    };
    let mut publisher = stage.peer("pub");
    let (mut first, present) = Peer::connected(stage, "first", persistent.clone());
    expect_present(present, false);
    first.subscribe(&topic, 2);
    first.disconnect();

    publisher.publish_all((0..20_u8).map(|n| Message::new(&topic, n.to_string(), 1 + n % 2)).collect());
    let (mut second, present) = Peer::connected(stage, "second", persistent.clone());
    expect_present(present, true);
    expect_alternating(&mut second, &topic, 20);
    // The subscription is part of the session.
    second.expect_nothing_before(&mut publisher, Message::new(&topic, "live", 1));
    second.wait_until_heard();
    second.vanish();

    publisher.publish(Message::new(&topic, "while away", 1));
    let (mut third, present) = Peer::connected(stage, "third", persistent.clone());
    expect_present(present, true);
    third.expect(&topic, "while away");
    third.disconnect();

    let clean = Connect { clean: true, session_expiry_s: None, ..persistent };
    let (mut fresh, present) = Peer::connected(stage, "fresh", clean);
    expect_present(present, false);
    publisher.publish(Message::new(&topic, "for nobody", 1));
    let end = stage.topic("end");
    fresh.subscribe(&end, 1);
    fresh.expect_nothing_before(&mut publisher, Message::new(&end, "end", 1));
}

/// Messages 0 to `count` that were published with QoS 1 and 2 in turn: the order is that of each QoS [MQTT-4.6.0-6], because
/// many clients hand out QoS 2 only at its PUBREL.
#[track_caller]
pub(crate) fn expect_alternating(subscriber: &mut Peer, topic: &str, count: u8) {
    let mut messages: Vec<Message> = (0..count).map(|_| subscriber.message()).collect();
    messages.sort_by_key(|message| message.qos);
    let came: Vec<(u8, &str)> = messages.iter().map(|message| (message.qos, message.text())).collect();
    let numbers: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let of_qos = |qos: u8| numbers.iter().skip(usize::from(qos) - 1).step_by(2).map(move |text| (qos, text.as_str()));
    assert_eq!(came, of_qos(1).chain(of_qos(2)).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| message.topic == topic));
}

/// Two members of a group get each message once between them and both get their part; who is not in it gets all.
pub(crate) fn a_shared_subscription_divides_messages(stage: &Stage) {
    let topic = stage.topic("jobs");
    let shared = format!("$share/crew/{topic}");
    let mut members = [stage.subscriber("m1", &shared, 1), stage.subscriber("m2", &shared, 1)];
    let mut observer = stage.subscriber("all", &topic, 1);
    let mut publisher = stage.peer("pub");
    publisher.publish_all((0..SHARED_MESSAGES).map(|n| Message::new(&topic, n.to_string(), 1)).collect());
    for n in 0..SHARED_MESSAGES {
        observer.expect(&topic, &n.to_string());
    }

    let mut seen = HashSet::new();
    let mut counts = [0, 0];
    let mut ended = [false, false];
    let deadline = Instant::now() + WAIT;
    // Messages of one publisher keep their order at each member, so once both have seen an end nothing else can come.
    let mut ends = 0;
    while ended != [true, true] {
        assert!(Instant::now() < deadline, "got {counts:?} of {SHARED_MESSAGES} and ends {ended:?} in {WAIT:?}");
        if seen.len() == SHARED_MESSAGES {
            ends += 1;
            publisher.publish(Message::new(&topic, format!("end {ends}"), 1));
        }
        for (at, member) in members.iter_mut().enumerate() {
            while let Some(message) = member.message_within(Duration::from_millis(50)) {
                if message.text().starts_with("end") {
                    ended[at] = true;
                } else {
                    assert!(seen.insert(message.payload.clone()), "{} came twice", message.text());
                    counts[at] += 1;
                }
            }
        }
    }
    assert_eq!(counts.iter().sum::<usize>(), SHARED_MESSAGES);
    assert!(counts.iter().all(|count| *count >= SHARED_LEAST), "divided {counts:?}");
}

/// Everything that an application wants goes into one packet, as mqtt.js does it; the messages behind it wait for it.
pub(crate) fn thousands_of_topics_are_one_subscribe(stage: &Stage) {
    let topics: Vec<String> = (0..3_000).map(|n| stage.topic(&format!("plant/{n}"))).collect();
    let subscription = |filter: &String| Subscription { filter: filter.clone(), qos: 1, ..Subscription::default() };
    let mut peer = stage.peer("all");
    for _ in 0..2 {
        let reasons = peer.subscribe_with(topics.iter().map(subscription).collect(), None);
        assert_eq!(reasons, vec![1; topics.len()]);
        for n in [0, 1_500, 2_999] {
            peer.publish(Message::new(&topics[n], n.to_string(), 1));
            peer.expect(&topics[n], &n.to_string());
        }
    }
}

/// A second connection with the same client id ends the first [MQTT-3.1.4-2] and goes on itself.
pub(crate) fn a_takeover_ends_the_first_connection(stage: &Stage) {
    let topic = stage.topic("takeover");
    let mut first = stage.peer("same");
    let mut second = stage.peer("same");
    // Mosquitto 2.0.11 closes without a word.
    if stage.version() == Version::V5 && is_dunlin() {
        assert_eq!(first.disconnected(), 0x8E, "session taken over");
    }
    first.closed();
    second.subscribe(&topic, 1);
    let mut publisher = stage.peer("pub");
    publisher.publish(Message::new(&topic, "still here", 1));
    second.expect(&topic, "still here");
}
