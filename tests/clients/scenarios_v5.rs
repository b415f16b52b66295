//! What MQTT 5.0 adds, as clients meet it.

use std::time::{Duration, Instant};

use crate::peer::{Peer, passed_on};
use crate::scenarios::expect_alternating;
use crate::stage::{Library, Stage};
use crate::support::is_dunlin;
use crate::words::{Command, Connect, Event, Message, Properties, Subscription, Will};

/// Content type, response topic, correlation data, payload format and user properties come out as they went in, live and
/// from the retained store.
pub(crate) fn properties_are_passed_on_unchanged(stage: &Stage) {
    let topic = stage.topic("properties");
    let mut live = stage.subscriber("live", &topic, 1);
    let mut publisher = stage.peer("pub");
    publisher.publish(Message::new(&topic, "{}", 1).with(passed_on()).retained());
    let mut late = stage.subscriber("late", &topic, 1);
    for message in [live.expect(&topic, "{}"), late.expect(&topic, "{}")] {
        assert_eq!(message.properties, as_told_by(stage, passed_on()));
    }
    // And none comes out where none went in.
    publisher.publish(Message::new(&topic, "plain", 1));
    assert_eq!(live.expect(&topic, "plain").properties, Properties::default());
}

/// mqtt.js keeps user properties in an object, so that equal names come together in both directions.
fn as_told_by(stage: &Stage, mut properties: Properties) -> Properties {
    if stage.client().library == Library::MqttJs {
        let names: Vec<String> = properties.user.iter().map(|(name, _)| name.clone()).collect();
        properties.user.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
    }
    properties
}

/// A client's aliases: set, used without a topic, set anew. The subscriber never sees them.
pub(crate) fn aliases_of_the_client_are_resolved(stage: &Stage) {
    let mut subscriber = stage.subscriber("sub", &stage.topic("alias/#"), 1);
    let mut publisher = stage.peer("pub");
    let (one, other) = (stage.topic("alias/one"), stage.topic("alias/other"));
    let aliased = |topic: &str, text: &str| {
        Message::new(topic, text, 1).with(Properties { topic_alias: Some(3), ..Properties::default() })
    };
    publisher.publish(aliased(&one, "sets"));
    publisher.publish(aliased("", "uses"));
    publisher.publish(aliased(&other, "sets anew"));
    publisher.publish(aliased("", "uses the new one"));
    subscriber.expect(&one, "sets");
    subscriber.expect(&one, "uses");
    subscriber.expect(&other, "sets anew");
    subscriber.expect(&other, "uses the new one");
}

/// A client that allows the server two aliases gets every topic right, of more topics than aliases.
pub(crate) fn aliases_of_the_server_are_understood(stage: &Stage) {
    let connect = Connect { topic_alias_maximum: Some(2), ..stage.connect("sub") };
    let (mut subscriber, _) = Peer::connected(stage, "sub", connect);
    subscriber.subscribe(&stage.topic("alias/#"), 1);
    let mut publisher = stage.peer("pub");
    for round in 0..5 {
        for name in ["a", "b", "c", "d"] {
            publisher.publish(Message::new(stage.topic(&format!("alias/{name}")), format!("{round} {name}"), 1));
        }
    }
    for round in 0..5 {
        for name in ["a", "b", "c", "d"] {
            subscriber.expect(&stage.topic(&format!("alias/{name}")), &format!("{round} {name}"));
        }
    }
}

/// A message that waited has less time left when it is sent on, and one whose time is over is not sent at all.
pub(crate) fn expired_messages_are_not_delivered(stage: &Stage) {
    let topic = stage.topic("expiry");
    let persistent = Connect { clean: false, session_expiry_s: Some(300), ..stage.connect("sub") };
    let (mut subscriber, _) = Peer::connected(stage, "sub", persistent.clone());
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    let mut publisher = stage.peer("pub");
    let lasting = |text: &str, message_expiry_s| {
        Message::new(&topic, text, 1).with(Properties { message_expiry_s, ..Properties::default() })
    };
    let published = Instant::now();
    publisher.publish(lasting("short", Some(1)));
    publisher.publish(lasting("long", Some(300)));
    publisher.publish(lasting("for ever", None));
    // Time itself is what is tested: nothing tells when a second is over but the clock. Brokers may count whole seconds.
    std::thread::sleep(Duration::from_millis(2_500));

    let (mut subscriber, present) = Peer::connected(stage, "again", persistent);
    assert!(present);
    let long = subscriber.expect(&topic, "long");
    let left_s = long.properties.message_expiry_s.expect("what is left is sent on [MQTT-3.3.2-6]");
    let least_s = 300 - u32::try_from(published.elapsed().as_secs()).unwrap_or(300) - 1;
    assert!((least_s..=298).contains(&left_s), "{left_s} s left of 300, {least_s} at least");
    assert_eq!(subscriber.expect(&topic, "for ever").properties.message_expiry_s, None);
    subscriber.expect_nothing_before(&mut publisher, Message::new(&topic, "end", 1));
}

/// A message carries the identifiers of the subscriptions that it matched, and of no other.
pub(crate) fn subscription_identifiers_come_with_messages(stage: &Stage) {
    let mut subscriber = stage.peer("sub");
    let mut subscribe = |filter: &str, id: Option<u32>| {
        let subscription = Subscription { filter: stage.topic(filter), qos: 1, ..Subscription::default() };
        assert_eq!(subscriber.subscribe_with(vec![subscription], id), [1]);
    };
    subscribe("ids/a", Some(7));
    subscribe("ids/+/x", Some(268_435_455));
    subscribe("ids/none", None);
    let mut publisher = stage.peer("pub");
    for (tail, expected) in [("ids/a", vec![7]), ("ids/b/x", vec![268_435_455]), ("ids/none", vec![])] {
        publisher.publish(Message::new(stage.topic(tail), tail, 1));
        assert_eq!(subscriber.expect(&stage.topic(tail), tail).properties.subscription_ids, expected);
    }

    // Overlapping ones: one message with both or one message for each, the server's choice [MQTT-3.3.4-3].
    let mut both = stage.peer("both");
    for (tail, id) in [("over/#", 1), ("over/+", 2)] {
        let subscription = Subscription { filter: stage.topic(tail), qos: 1, ..Subscription::default() };
        assert_eq!(both.subscribe_with(vec![subscription], Some(id)), [1]);
    }
    publisher.publish(Message::new(stage.topic("over/lap"), "lap", 1));
    let mut ids = Vec::new();
    while ids.len() < 2 {
        ids.extend(both.expect(&stage.topic("over/lap"), "lap").properties.subscription_ids);
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
}

/// No local, retain as published and the three ways of retain handling.
pub(crate) fn subscription_options_are_kept(stage: &Stage) {
    let topic = stage.topic("options");
    let mut peer = stage.peer("self");
    let mut publisher = stage.peer("pub");
    publisher.publish(Message::new(&topic, "stored", 1).retained());

    let mut with = |subscription: Subscription| {
        let subscription = Subscription { filter: topic.clone(), qos: 1, ..subscription };
        assert_eq!(peer.subscribe_with(vec![subscription], None), [1]);
    };
    with(Subscription { no_local: true, retain_handling: 2, ..Subscription::default() });
    // Not new any more, so nothing is sent [MQTT-3.3.1-10]; replacing keeps one subscription.
    with(Subscription { no_local: true, retain_handling: 1, ..Subscription::default() });
    peer.publish(Message::new(&topic, "own", 1));
    peer.expect_nothing_before(&mut publisher, Message::new(&topic, "other's", 1));

    let mut as_published = stage.peer("rap");
    let subscription =
        Subscription { filter: topic.clone(), qos: 1, retain_as_published: true, ..Subscription::default() };
    assert_eq!(as_published.subscribe_with(vec![subscription], None), [1]);
    assert!(as_published.expect(&topic, "stored").retain);
    publisher.publish(Message::new(&topic, "kept", 1).retained());
    assert!(as_published.expect(&topic, "kept").retain, "RETAIN as published [MQTT-3.3.1-13]");
    publisher.publish(Message::new(&topic, "not kept", 1));
    assert!(!as_published.expect(&topic, "not kept").retain);

    let mut new_only = stage.peer("new");
    let subscription = Subscription { filter: topic.clone(), qos: 1, retain_handling: 1, ..Subscription::default() };
    assert_eq!(new_only.subscribe_with(vec![subscription], None), [1]);
    assert!(new_only.expect(&topic, "kept").retain, "a new subscription with retain handling 1 gets what is stored");
}

/// UNSUBACK tells what was there from what was not.
pub(crate) fn unsubscribing_from_nothing_is_told(stage: &Stage) {
    let mut peer = stage.subscriber("sub", &stage.topic("there"), 1);
    assert_eq!(peer.unsubscribe(&stage.topic("never")), [0x11], "no subscription existed");
    assert_eq!(peer.unsubscribe(&stage.topic("there")), [0x00]);
    assert_eq!(peer.unsubscribe(&stage.topic("there")), [0x11]);
}

/// PUBACK says success with subscribers, and success or "no matching subscribers" without.
pub(crate) fn publishing_tells_whether_anybody_listened(stage: &Stage) {
    let topic = stage.topic("heard");
    let mut subscriber = stage.subscriber("sub", &topic, 1);
    let mut publisher = stage.peer("pub");
    let heard = publisher.publish(Message::new(&topic, "heard", 1));
    assert!(matches!(heard, None | Some(0)), "{heard:?}");
    subscriber.expect(&topic, "heard");
    let unheard = publisher.publish(Message::new(stage.topic("unheard"), "", 1));
    assert!(matches!(unheard, None | Some(0 | 0x10)), "{unheard:?}");
}

/// A filter that breaks the rules is refused with a reason, whichever of the two ways the server takes.
pub(crate) fn an_invalid_filter_is_refused(stage: &Stage) {
    let mut peer = stage.peer("sub");
    // gmqtt sends what it is told; the others refuse a misplaced `#` themselves, but not a group without a name.
    let from_gmqtt = stage.client().library == Library::Gmqtt;
    let filter = if from_gmqtt { "a/#/b" } else { "$share//b" }.to_owned();
    let subscriptions = vec![Subscription { filter, qos: 1, ..Subscription::default() }];
    // SUBACK with 0x8F, or DISCONNECT with 0x8F, 0x81 or 0x82: the specification leaves open how malformed this is.
    match peer.ask(Command::Subscribe { subscriptions, id: None }) {
        Event::Suback { reasons } if !is_dunlin() && !from_gmqtt => {
            assert_eq!(reasons, [1], "Mosquitto 2.0.11 grants it");
        }
        Event::Suback { reasons } => assert_eq!(reasons, [0x8F]),
        Event::Closed => {
            let reason = peer.disconnected();
            assert!([0x81, 0x82, 0x8F].contains(&reason), "{reason:#x}");
        }
        other => panic!("an invalid filter was answered with {other:?}"),
    }
}

/// An empty client id is given one, which tells two such clients apart.
pub(crate) fn a_nameless_client_gets_a_name(stage: &Stage) {
    let assigned = |name: &str| {
        let mut peer = Peer::new(stage, name);
        match peer.ask(Command::Connect(Connect { id: String::new(), ..stage.connect(name) })) {
            Event::Connack { reason: 0, assigned_id: Some(id), .. } => (peer, id),
            other => panic!("a CONNECT without a client id was answered with {other:?}"),
        }
    };
    let (mut first, one) = assigned("one");
    let (_second, two) = assigned("two");
    assert!(!one.is_empty() && one != two, "{one:?} and {two:?}");
    // Not taken over by the other.
    first.subscribe(&stage.topic("here"), 0);
}

/// A delayed will comes after its delay with its properties, and not at all if the client is back before.
pub(crate) fn a_delayed_will_waits(stage: &Stage) {
    let mut subscriber = stage.subscriber("sub", &stage.topic("will/+"), 1);
    let mut publisher = stage.peer("pub");
    let with_will = |name: &str, delay_s: u32| {
        let message = Message::new(stage.topic(&format!("will/{name}")), name, 1).with(passed_on());
        let will = Some(Will { message, delay_s: Some(delay_s) });
        Connect { clean: false, session_expiry_s: Some(300), will, ..stage.connect(name) }
    };
    // The client that comes back has started before, so that it is back in time however slowly a client starts.
    let mut back = stage.peer("warm");
    back.tell(Command::Disconnect);
    back.closed();
    Peer::connected(stage, "back", with_will("back", 2)).0.vanish();
    assert!(matches!(
        back.ask(Command::Connect(with_will("back", 2))),
        Event::Connack { reason: 0, session_present: true, .. }
    ));

    Peer::connected(stage, "gone", with_will("gone", 1)).0.vanish();
    let vanished = Instant::now();
    let will = subscriber.expect(&stage.topic("will/gone"), "gone");
    // Half a second of grace for brokers that count whole seconds.
    assert!(vanished.elapsed() >= Duration::from_millis(500), "after {:?} of 1 s", vanished.elapsed());
    assert_eq!(will.properties, as_told_by(stage, passed_on()));
    // By now the first will's delay would be over as well.
    std::thread::sleep(Duration::from_millis(1_500));
    subscriber.expect_nothing_before(&mut publisher, Message::new(stage.topic("will/end"), "end", 1));
    back.disconnect();
}

/// A subscriber that takes few messages at a time gets all of them.
pub(crate) fn a_small_receive_maximum_loses_nothing(stage: &Stage) {
    let topic = stage.topic("window");
    let connect = Connect { receive_maximum: Some(2), ..stage.connect("sub") };
    let (mut subscriber, _) = Peer::connected(stage, "sub", connect);
    subscriber.subscribe(&topic, 2);
    let mut publisher = stage.peer("pub");
    // Mosquitto 2.0.11 exceeds the window and changes the order where QoS 1 and 2 meet.
    if is_dunlin() {
        publisher.publish_all((0..60_u8).map(|n| Message::new(&topic, n.to_string(), 1 + n % 2)).collect());
        expect_alternating(&mut subscriber, &topic, 60);
    }
    publisher.publish_all((0..60_u8).map(|n| Message::new(&topic, n.to_string(), 1)).collect());
    for n in 0..60_u8 {
        subscriber.expect(&topic, &n.to_string());
    }
}
