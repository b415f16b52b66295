//! What is counted. Each case is made ready, warmed up by one run, and counted in the next, in units: packets, matches,
//! deliveries.

use dunlin::codec::{Packet, PublishOut, Side, Version, decode, frame};
use dunlin::ids::{MessageId, Qos, SessionId, ShardId};
use dunlin::session::{Delivery, Message, MessageRef, SubscriptionIds, Window};
use dunlin::time::ShortInstant;
use dunlin::topic::{GroupTag, Matches, SubscribedFilter, Subscriber, SubscriptionIndex, TopicName};
use std::hint::black_box;

use crate::connected::{come_and_go, one_in_one_out};
use crate::world::{Client, World, acks, publish, subscribe, subscribe_all, unsubscribe_all};

/// One thing to count.
pub(super) struct Case {
    /// Its name in the baseline.
    pub(super) name: &'static str,
    /// Makes it ready.
    pub(super) ready: fn() -> Box<dyn FnMut()>,
    /// How many units one run has.
    pub(super) units: u64,
}

const TOPIC: &str = "fleet/berlin/truck-0042/telemetry";
const PAIRS: u16 = 100;
const ROUNDS: u64 = 1_000;
/// Of one client: so many that work which is done for each of them at each of them shows itself.
const MANY_FILTERS: usize = 10_000;
const FILTERS_PER_PACKET: usize = 1_000;

/// All cases, in the order in which they are counted.
pub(super) const CASES: [Case; 25] = [
    Case {
        name: "codec: decode PUBLISH QoS 0",
        ready: || decoding(publish(TOPIC, Qos::AtMostOnce, false, 1)),
        units: ROUNDS,
    },
    Case {
        name: "codec: decode PUBLISH QoS 1",
        ready: || decoding(publish(TOPIC, Qos::AtLeastOnce, false, 1)),
        units: ROUNDS,
    },
    Case { name: "codec: decode PUBACK", ready: || decoding(acks(0x40, 7..=7)), units: ROUNDS },
    Case { name: "codec: encode PUBLISH QoS 1", ready: encoding, units: ROUNDS },
    Case { name: "trie: match 1 exact of 30,000", ready: || matching(exact), units: ROUNDS },
    Case { name: "trie: match 3 mixed of 30,000", ready: || matching(mixed), units: ROUNDS },
    Case { name: "session: window, 8 in and 8 out", ready: windowing, units: 8 },
    Case { name: "connection: PUBLISH in, PUBLISH out", ready: || one_in_one_out(ROUNDS), units: ROUNDS },
    Case { name: "connection: CONNECT to DISCONNECT", ready: || come_and_go(100), units: 100 },
    Case {
        name: "turn: one-to-one QoS 0, 1 each",
        ready: || pairs(World::new(), Qos::AtMostOnce, 1),
        units: PAIRS as u64,
    },
    Case {
        name: "turn: one-to-one QoS 0, 16 each",
        ready: || pairs(World::new(), Qos::AtMostOnce, 16),
        units: 16 * PAIRS as u64,
    },
    Case {
        name: "turn: one-to-one QoS 1, 8 each",
        ready: || pairs(World::new(), Qos::AtLeastOnce, 8),
        units: 8 * PAIRS as u64,
    },
    Case {
        name: "turn: one-to-one QoS 2, 4 each",
        ready: || pairs(World::new(), Qos::ExactlyOnce, 4),
        units: 4 * PAIRS as u64,
    },
    Case { name: "turn: QoS 0 to the other shard, 16 each", ready: across, units: 16 * PAIRS as u64 },
    Case {
        name: "turn: rules, one-to-one QoS 0, 16 each",
        ready: || pairs(World::with_rules(), Qos::AtMostOnce, 16),
        units: 16 * PAIRS as u64,
    },
    Case {
        name: "turn: rules, one-to-one QoS 1, 8 each",
        ready: || pairs(World::with_rules(), Qos::AtLeastOnce, 8),
        units: 8 * PAIRS as u64,
    },
    Case {
        name: "turn: 4 topics in turn QoS 0, 16 each",
        ready: || taking_turns(World::new()),
        units: 16 * PAIRS as u64,
    },
    Case {
        name: "turn: rules, 4 topics in turn QoS 0, 16 each",
        ready: || taking_turns(World::with_rules()),
        units: 16 * PAIRS as u64,
    },
    Case { name: "turn: 1 to 1,000 QoS 0", ready: || fan_out(World::new()), units: 1_000 },
    Case { name: "turn: rules, 1 to 1,000 QoS 0", ready: || fan_out(World::with_rules()), units: 1_000 },
    Case { name: "turn: 1,000 retained to one", ready: sweep, units: 1_000 },
    Case { name: "turn: backlog of 100 QoS 1", ready: backlog, units: 100 },
    Case { name: "turn: connect, subscribe, leave", ready: coming_and_going, units: 100 },
    Case { name: "turn: 10,000 filters behind replays end", ready: replays_end, units: MANY_FILTERS as u64 },
    Case { name: "turn: a session of 10,000 filters ends", ready: session_ends, units: MANY_FILTERS as u64 },
];

/// Cases with the same work without rules, and with a file of 10,000 and 20 about each client.
pub(super) const WITH_RULES: [(&str, &str); 4] = [
    ("turn: one-to-one QoS 0, 16 each", "turn: rules, one-to-one QoS 0, 16 each"),
    ("turn: one-to-one QoS 1, 8 each", "turn: rules, one-to-one QoS 1, 8 each"),
    ("turn: 4 topics in turn QoS 0, 16 each", "turn: rules, 4 topics in turn QoS 0, 16 each"),
    ("turn: 1 to 1,000 QoS 0", "turn: rules, 1 to 1,000 QoS 0"),
];

/// What rules may make of the same work at most, whatever the baseline says.
pub(super) const RULES_RATIO_MAX: f64 = 1.05;

fn decoding(packet: Vec<u8>) -> Box<dyn FnMut()> {
    Box::new(move || {
        for _ in 0..ROUNDS {
            let Ok(Some((frame, _))) = frame::next(black_box(&packet), 1 << 20) else { panic!("a whole packet") };
            match decode(frame, Version::V311, Side::Server) {
                Ok(Packet::Publish(publish)) => drop(black_box((publish.topic, publish.payload, publish.packet_id))),
                Ok(packet) => drop(black_box(packet)),
                Err(error) => panic!("{error}"),
            }
        }
    })
}

fn encoding() -> Box<dyn FnMut()> {
    let mut out = Vec::with_capacity(256);
    Box::new(move || {
        for _ in 0..ROUNDS {
            out.clear();
            let message = PublishOut {
                version: Version::V311,
                topic: black_box(TOPIC),
                topic_alias: None,
                qos: Qos::AtLeastOnce,
                dup: false,
                retain: false,
                packet_id: Some(dunlin::ids::PacketId::MIN),
                message_expiry_s: None,
                subscription_ids: &[],
                forwarded: dunlin::codec::Forwarded::EMPTY,
                payload: black_box(&[b'x'; 64]),
            };
            black_box(message.encode(&mut out));
        }
    })
}

fn exact(n: usize) -> String {
    format!("count/{n}/x")
}

fn mixed(n: usize) -> String {
    match (n % 3, n / 3) {
        (0, n) => format!("count/{n}/x"),
        (1, n) => format!("count/{n}/#"),
        (_, n) => format!("count/{n}/+"),
    }
}

fn matching(filter: fn(usize) -> String) -> Box<dyn FnMut()> {
    let mut index = SubscriptionIndex::new(42, ShardId(0));
    for n in 0..30_000 {
        let text = filter(n);
        let filter = SubscribedFilter::parse(&text, 16).expect("a filter");
        let subscriber = Subscriber { session: SessionId(n as u32), options: 0, identifier: None };
        let _ = index.insert(&filter, subscriber, false);
    }
    let topics: Vec<String> = (0..ROUNDS as usize).map(|n| format!("count/{}/x", n * 7 % 10_000)).collect();
    let mut found = Matches::new();
    Box::new(move || {
        for topic in &topics {
            index.matches(TopicName::parse(topic, 16).expect("a topic"), &mut found);
            assert!(!black_box(&found).is_empty());
        }
    })
}

fn windowing() -> Box<dyn FnMut()> {
    let message = Message::new(&MessageRef {
        topic: TOPIC,
        qos: Qos::AtLeastOnce,
        retain: false,
        expires: None,
        publisher: None,
        properties: dunlin::codec::Forwarded::EMPTY,
        payload: b"x",
    });
    let delivery = Delivery {
        message,
        ids: SubscriptionIds::None,
        qos: Qos::AtLeastOnce,
        retain: false,
        group: GroupTag::NONE,
        stored_as: MessageId::NONE,
    };
    let mut window = Window::default();
    Box::new(move || {
        let ids = [(); 8].map(|()| window.push(delivery.clone(), ShortInstant::default()));
        for id in ids {
            assert!(black_box(window.complete(id)).is_some());
        }
    })
}

/// Publishers with a subscriber each; every message goes all the way its QoS asks for.
fn pairs(mut world: World, qos: Qos, each: u16) -> Box<dyn FnMut()> {
    let mut ends: Vec<(Client, Client)> = Vec::new();
    for number in 0..PAIRS {
        let slot = u32::from(number) * 2;
        let subscriber = world.connect(slot, &format!("subscriber-{number}"), true);
        world.receive(subscriber, &subscribe(&format!("p/{number}"), qos));
        ends.push((subscriber, world.connect(slot + 1, &format!("publisher-{number}"), true)));
    }
    world.finish_turn();
    let messages: Vec<Vec<u8>> = (0..PAIRS)
        .map(|number| (1..=each).flat_map(|id| publish(&format!("p/{number}"), qos, false, id)).collect())
        .collect();
    let packets = [1, 2, 4][qos as usize] * u64::from(each) * u64::from(PAIRS);
    let mut first = 1;
    Box::new(move || {
        let before = world.packets_sent();
        for ((_, publisher), messages) in ends.iter().zip(&messages) {
            world.receive(*publisher, messages);
        }
        world.finish_turn();
        // The broker counts its own identifiers on.
        let own = first..=first + each - 1;
        first = if first > 60_000 { panic!("too many runs") } else { first + each };
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => answer(&mut world, ends.iter().map(|(subscriber, _)| *subscriber), &acks(0x40, own)),
            Qos::ExactlyOnce => {
                answer(&mut world, ends.iter().map(|(_, publisher)| *publisher), &acks(0x62, 1..=each));
                answer(&mut world, ends.iter().map(|(subscriber, _)| *subscriber), &acks(0x50, own.clone()));
                answer(&mut world, ends.iter().map(|(subscriber, _)| *subscriber), &acks(0x70, own));
            }
        }
        assert_eq!(world.packets_sent() - before, packets, "every message goes all the way");
    })
}

/// Publishers that use four topics one after the other, as devices with several sensors do, with a subscriber each.
fn taking_turns(mut world: World) -> Box<dyn FnMut()> {
    let mut publishers: Vec<(Client, Vec<u8>)> = Vec::new();
    for number in 0..PAIRS {
        let slot = u32::from(number) * 2;
        let subscriber = world.connect(slot, &format!("subscriber-{number}"), true);
        world.receive(subscriber, &subscribe(&format!("p/{number}/+"), Qos::AtMostOnce));
        let publisher = world.connect(slot + 1, &format!("publisher-{number}"), true);
        let messages =
            (0..16).flat_map(|n| publish(&format!("p/{number}/sensor-{}", n % 4), Qos::AtMostOnce, false, 0));
        publishers.push((publisher, messages.collect()));
    }
    world.finish_turn();
    Box::new(move || {
        let before = world.packets_sent();
        for (publisher, messages) in &publishers {
            world.receive(*publisher, messages);
        }
        world.finish_turn();
        assert_eq!(world.packets_sent() - before, 16 * u64::from(PAIRS), "every message arrives");
    })
}

fn answer(world: &mut World, clients: impl Iterator<Item = Client>, bytes: &[u8]) {
    for client in clients {
        world.receive(client, bytes);
    }
    world.finish_turn();
}

/// Publishers on one shard, their subscribers on the other.
fn across() -> Box<dyn FnMut()> {
    let mut worlds = World::two();
    let mut publishers: Vec<(Client, Vec<u8>)> = Vec::new();
    for number in 0..PAIRS {
        let topic = format!("p/{number}");
        let subscriber = worlds[1].connect(u32::from(number), &format!("subscriber-{number}"), true);
        worlds[1].receive(subscriber, &subscribe(&topic, Qos::AtMostOnce));
        World::exchange(&mut worlds);
        let publisher = worlds[0].connect(u32::from(number), &format!("publisher-{number}"), true);
        publishers.push((publisher, publish(&topic, Qos::AtMostOnce, false, 0).repeat(16)));
    }
    Box::new(move || {
        let before = worlds[1].packets_sent();
        for (publisher, messages) in &publishers {
            worlds[0].receive(*publisher, messages);
        }
        worlds[0].finish_turn();
        World::exchange(&mut worlds);
        assert_eq!(worlds[1].packets_sent() - before, 16 * u64::from(PAIRS), "every message crosses");
    })
}

fn fan_out(mut world: World) -> Box<dyn FnMut()> {
    for number in 0..1_000 {
        let subscriber = world.connect(number, &format!("subscriber-{number}"), true);
        world.receive(subscriber, &subscribe("out", Qos::AtMostOnce));
    }
    let publisher = world.connect(1_000, "publisher", true);
    let message = publish("out", Qos::AtMostOnce, false, 0);
    Box::new(move || {
        let before = world.packets_sent();
        world.receive(publisher, &message);
        world.finish_turn();
        assert_eq!(world.packets_sent() - before, 1_000);
    })
}

fn sweep() -> Box<dyn FnMut()> {
    let mut world = World::new();
    let publisher = world.connect(0, "publisher", true);
    for number in 0..1_000 {
        let topic = format!("retained/{}/{}", number / 100, number % 100);
        world.receive(publisher, &publish(&topic, Qos::AtMostOnce, true, 0));
        world.finish_turn();
    }
    let subscriber = world.connect(1, "subscriber", true);
    let everything = subscribe("#", Qos::AtMostOnce);
    Box::new(move || {
        let before = world.packets_sent();
        world.receive(subscriber, &everything);
        world.finish_turn();
        assert_eq!(world.packets_sent() - before, 1_001, "SUBACK, and every message");
    })
}

fn backlog() -> Box<dyn FnMut()> {
    let mut world = World::new();
    let publisher = world.connect(0, "publisher", true);
    let sleeper = world.connect(1, "sleeper", false);
    world.receive(sleeper, &subscribe("sleep", Qos::AtLeastOnce));
    world.finish_turn();
    world.close(sleeper);
    let messages: Vec<u8> = (1..=100).flat_map(|id| publish("sleep", Qos::AtLeastOnce, false, id)).collect();
    let mut first = 1;
    Box::new(move || {
        world.receive(publisher, &messages);
        world.finish_turn();
        let before = world.packets_sent();
        let sleeper = world.connect(1, "sleeper", false);
        // A window full, then one for one.
        world.receive(sleeper, &acks(0x40, first..=first + 99));
        world.finish_turn();
        if world.packets_sent() - before < 101 {
            world.receive(sleeper, &acks(0x40, first..=first + 99));
            world.finish_turn();
        }
        assert_eq!(world.packets_sent() - before, 101, "CONNACK, and every message");
        first += 100;
        world.close(sleeper);
    })
}

fn coming_and_going() -> Box<dyn FnMut()> {
    let mut world = World::new();
    let names: Vec<String> = (0..100).map(|number| format!("guest-{number}")).collect();
    let filters: Vec<Vec<u8>> =
        (0..100).map(|number| subscribe(&format!("guest/{number}/cmd"), Qos::AtMostOnce)).collect();
    Box::new(move || {
        let guests: Vec<Client> = (0..).zip(&names).map(|(slot, name)| world.connect(slot, name, true)).collect();
        for (guest, filter) in guests.iter().zip(&filters) {
            world.receive(*guest, filter);
        }
        world.finish_turn();
        for guest in guests {
            world.receive(guest, &[0xe0, 0]);
        }
        world.finish_turn();
    })
}

/// SUBSCRIBE packets for many filters of one client.
fn many_filters() -> (Vec<String>, Vec<Vec<u8>>) {
    let filters: Vec<String> = (0..MANY_FILTERS).map(|number| format!("own/{number}")).collect();
    let packets = filters.chunks(FILTERS_PER_PACKET).map(|filters| subscribe_all(filters, Qos::AtLeastOnce)).collect();
    (filters, packets)
}

/// A client that acknowledges nothing subscribes, so that every replay waits behind the first, and unsubscribes.
fn replays_end() -> Box<dyn FnMut()> {
    let mut world = World::new();
    let publisher = world.connect(0, "publisher", true);
    for number in 0..1_000 {
        world.receive(publisher, &publish(&format!("retained/{number}"), Qos::AtLeastOnce, true, 1));
        world.finish_turn();
    }
    let subscriber = world.connect(1, "subscriber", true);
    world.receive(subscriber, &subscribe("retained/#", Qos::AtLeastOnce));
    world.finish_turn();
    let (filters, subscribes) = many_filters();
    let unsubscribes: Vec<Vec<u8>> = filters.chunks(FILTERS_PER_PACKET).map(unsubscribe_all).collect();
    Box::new(move || {
        let before = world.packets_sent();
        for packet in subscribes.iter().chain(&unsubscribes) {
            world.receive(subscriber, packet);
            world.finish_turn();
        }
        let answers = (subscribes.len() + unsubscribes.len()) as u64;
        assert_eq!(world.packets_sent() - before, answers, "every packet is answered, and no replay goes on");
    })
}

/// A client with many subscriptions comes and goes.
fn session_ends() -> Box<dyn FnMut()> {
    let mut world = World::new();
    let (_, subscribes) = many_filters();
    Box::new(move || {
        let guest = world.connect(0, "guest", true);
        for packet in &subscribes {
            world.receive(guest, packet);
            world.finish_turn();
        }
        world.receive(guest, &[0xe0, 0]);
        world.finish_turn();
    })
}
