//! Publishers that wait for subscribers' queues, and what they are told of messages that nobody could take.

use super::harness::{Peer, World, v5, v5_kept};
use super::show::{publish, publish1};
use crate::codec::{AckKind, Connect, Packet, Publish, Version};
use crate::ids::Qos;
use crate::limits::{HOLD_BACK_MAX_MS, HOLD_BACK_PUBLISHERS_MAX, HOLD_BACK_RELEASED_PER_TURN, HOLD_BACK_UNACKED_MAX};
use crate::settings::{FullQueue, FullQueueCode};
use crate::shard::{Settings, Shard};
use crate::telemetry::DropReason;

/// Half of a queue is four messages; one at a time is in flight.
fn narrow(settings: &mut Settings) {
    settings.full_queue = FullQueue::HoldBack;
    settings.queued_messages_max = 8;
    settings.inflight_max = 1;
}

/// A world where publisher and subscriber are of different shards if there are several.
struct Pair {
    world: World,
    sub: Peer,
    sub_name: String,
    publisher: Peer,
}

impl Pair {
    fn new(shards: usize, choose: impl FnOnce(&mut Settings)) -> Self {
        let mut world = World::with(shards, choose);
        let sub_name = world.name_on((shards - 1) as u8, "sub");
        let sub = world.connect(&v5_kept(&sub_name));
        world.subscribe(sub, "t", 1);
        let name = world.name_on(0, "pub");
        let publisher = world.client(&name);
        Self { world, sub, sub_name, publisher }
    }

    fn publish(&mut self, numbers: std::ops::RangeInclusive<u16>) {
        for number in numbers {
            self.world.send(self.publisher, &Packet::Publish(publish1(number, "t", &number.to_string())));
        }
    }

    /// The identifiers of the acknowledgements that have come.
    fn acknowledged(&mut self) -> Vec<u16> {
        self.world.shards.iter().for_each(Shard::assert_invariants);
        self.world.read(self.publisher).iter().map(|line| line["PUBACK #".len()..].parse().unwrap()).collect()
    }

    /// The subscriber acknowledges what it has received, until nothing comes any more or so many have come.
    fn take(&mut self, most: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let lines = self.world.read(self.sub);
            if lines.is_empty() {
                break;
            }
            for line in lines {
                let (_, rest) = line.split_once('#').expect("a PUBLISH of QoS 1");
                let (number, text) = rest.split_once(' ').unwrap();
                taken.push(text.to_owned());
                self.world.ack(self.sub, AckKind::PubAck, number.parse().unwrap());
            }
        }
        taken
    }
}

#[test]
fn an_acknowledgement_waits_while_the_subscribers_queue_is_half_full() {
    for shards in [1, 3] {
        let mut pair = Pair::new(shards, narrow);
        pair.publish(1..=6);
        assert_eq!(pair.acknowledged(), [1, 2, 3, 4], "one in flight, three queued; the fourth queued waits");
        pair.take(1);
        assert!(pair.acknowledged().is_empty(), "four are queued");
        pair.take(1);
        assert_eq!(pair.acknowledged(), [5, 6]);
        assert_eq!(pair.take(10).len(), 4);
        pair.publish(7..=7);
        assert_eq!(pair.acknowledged(), [7]);
        assert_eq!(pair.world.shards.iter().map(|shard| shard.holdings().held_back).sum::<usize>(), 0);
    }
}

#[test]
fn bytes_count_as_messages_do() {
    let mut pair = Pair::new(1, |settings| {
        narrow(settings);
        (settings.queued_messages_max, settings.queued_bytes_max) = (1_000, 1_024);
    });
    let text = "x".repeat(299);
    for number in 1..=3 {
        pair.world.send(pair.publisher, &Packet::Publish(publish1(number, "t", &text)));
    }
    assert_eq!(pair.acknowledged(), [1, 2], "600 of 1,024 bytes are queued with the third");
    pair.take(1);
    assert_eq!(pair.acknowledged(), [3]);
}

#[test]
fn a_subscriber_that_stops_is_given_up_until_its_queue_has_drained() {
    for shards in [1, 3] {
        let mut pair = Pair::new(shards, narrow);
        pair.publish(1..=7);
        assert_eq!(pair.acknowledged(), [1, 2, 3, 4]);
        pair.world.pass_ms(HOLD_BACK_MAX_MS - 1);
        assert!(pair.acknowledged().is_empty());
        pair.world.pass_ms(1);
        assert_eq!(pair.acknowledged(), [5, 6, 7]);
        pair.publish(8..=12);
        assert_eq!(pair.acknowledged(), [8, 9, 10, 11, 12], "nobody waits for it again");
        assert_eq!(pair.world.dropped(DropReason::QueueFull), 3, "its limit drops as ever");
        assert_eq!(pair.take(5).len(), 5);
        pair.publish(13..=14);
        assert_eq!(pair.acknowledged(), [13, 14], "three are queued, and it has not been down to two");
        pair.take(10);
        pair.publish(15..=19);
        assert_eq!(pair.acknowledged(), [15, 16, 17, 18], "it is waited for again");
    }
}

#[test]
fn nobody_waits_for_a_client_that_goes_or_is_away() {
    for shards in [1, 3] {
        let mut pair = Pair::new(shards, narrow);
        pair.publish(1..=6);
        assert_eq!(pair.acknowledged(), [1, 2, 3, 4]);
        pair.world.close_socket(pair.sub);
        assert_eq!(pair.acknowledged(), [5, 6]);
        pair.publish(7..=10);
        assert_eq!(pair.acknowledged(), [7, 8, 9, 10]);
        let name = pair.sub_name.clone();
        (pair.sub, _) = pair.world.resume(&v5_kept(&name));
        pair.publish(11..=11);
        assert!(pair.acknowledged().is_empty(), "it is back, and its queue is full");
        pair.sub = pair.world.resume(&v5_kept(&name)).0;
        assert_eq!(pair.acknowledged(), [11], "its connection was taken over");
        pair.publish(12..=12);
        pair.world.connect(&v5(&name));
        assert_eq!(pair.acknowledged(), [12], "its session has ended");
    }
}

#[test]
fn what_waits_for_room_and_for_the_store_waits_for_both() {
    for shards in [1, 3] {
        let mut pair = Pair::new(shards, narrow);
        pair.publish(1..=5);
        assert_eq!(pair.acknowledged(), [1, 2, 3, 4]);
        pair.world.hold_store();
        pair.publish(6..=6);
        pair.take(3);
        assert!(pair.acknowledged().is_empty(), "five was stored, and its subscriber's acknowledgements not yet");
        pair.world.release_store();
        assert_eq!(pair.acknowledged(), [5, 6]);
    }
}

#[test]
fn a_message_that_takes_several_turns_waits_for_the_fullest_it_meets() {
    for shards in [1, 3] {
        let mut pair = Pair::new(shards, |settings| {
            narrow(settings);
            settings.subscribers_per_turn = 2;
        });
        for number in 0..12 {
            let peer = pair.world.client(&format!("other{number}"));
            pair.world.subscribe(peer, "t", 0);
        }
        pair.publish(1..=6);
        assert_eq!(pair.acknowledged(), [1, 2, 3, 4]);
        pair.take(2);
        assert_eq!(pair.acknowledged(), [5, 6]);
    }
}

#[test]
fn a_shared_subscription_without_room_is_waited_for() {
    for shards in [1, 3] {
        let mut pair = Pair::new(shards, narrow);
        pair.world.unsubscribe(pair.sub, "t");
        pair.world.subscribe(pair.sub, "$share/g/t", 1);
        pair.publish(1..=6);
        assert_eq!(pair.acknowledged(), [1, 2, 3, 4]);
        pair.take(2);
        assert_eq!(pair.acknowledged(), [5, 6]);
    }
}

/// As mqtt.js does: it writes all and then looks.
fn burst(version: Version, from: u16, count: u16, topic: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in from..from + count {
        Packet::Publish(publish1(number, topic, &number.to_string())).encode(version, &mut bytes);
    }
    bytes
}

#[test]
fn a_burst_of_5000_from_a_client_before_5_arrives_whole_and_in_order() {
    for shards in [1, 3] {
        let mut pair = Pair::new(shards, |settings| settings.full_queue = FullQueue::HoldBack);
        let name = pair.world.name_on(0, "old");
        pair.publisher = pair.world.connect(&Connect::new(Version::V311, &name, true));
        pair.world.send_bytes(pair.publisher, &burst(Version::V311, 1, 5_000, "t"));
        let mut acknowledged = pair.acknowledged();
        assert_eq!(acknowledged.len(), 64 + 499, "in flight, and not quite half of a queue of 1,000");
        let mut taken = Vec::new();
        loop {
            let some = pair.take(1);
            acknowledged.extend(pair.acknowledged());
            if some.is_empty() {
                break;
            }
            taken.extend(some);
        }
        assert_eq!(taken, (1..=5_000).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(acknowledged, (1..=5_000).collect::<Vec<_>>());
        assert_eq!(pair.world.dropped(DropReason::QueueFull), 0);
    }
}

/// Each reads its messages and its acknowledgements, as long as it is heard: no time has to pass for it.
#[test]
fn two_clients_that_publish_to_each_other_do_not_wait_for_one_another() {
    for shards in [1, 3] {
        let mut world = World::with(shards, |settings| {
            settings.full_queue = FullQueue::HoldBack;
            settings.queued_messages_max = 100;
        });
        let peers = [("a", 0), ("b", shards - 1)].map(|(topic, shard)| {
            let name = world.name_on(shard as u8, topic);
            let peer = world.connect(&Connect::new(Version::V311, &name, true));
            world.subscribe(peer, topic, 1);
            peer
        });
        for round in 0..10 {
            for (at, topic) in ["b", "a"].iter().enumerate() {
                world.send_bytes(peers[at], &burst(Version::V311, 1 + round * 100, 100, topic));
            }
        }
        let (mut received, mut acknowledged) = ([0; 2], [0; 2]);
        loop {
            let before = (received, acknowledged);
            for (at, &peer) in peers.iter().enumerate() {
                for line in world.read(peer) {
                    if line.starts_with("PUBACK") {
                        acknowledged[at] += 1;
                        continue;
                    }
                    received[at] += 1;
                    let number = line.split(['#', ' ']).nth(4).unwrap().parse().unwrap();
                    world.ack(peer, AckKind::PubAck, number);
                }
            }
            if (received, acknowledged) == before {
                break;
            }
        }
        assert_eq!(acknowledged, [1_000; 2]);
        let lost = world.dropped(DropReason::QueueFull);
        assert_eq!(received[0] + received[1] + lost, 2_000, "each is delivered, or dropped and counted");
    }
}

#[test]
fn a_publisher_that_is_not_read_is_not_silent() {
    for shards in [1, 3] {
        let mut pair = Pair::new(shards, |settings| settings.full_queue = FullQueue::HoldBack);
        let name = pair.world.name_on(0, "old");
        let connect = Connect { keep_alive_s: 1, ..Connect::new(Version::V311, &name, true) };
        pair.publisher = pair.world.connect(&connect);
        let mut bytes = burst(Version::V311, 1, 700, "t");
        Packet::PingReq.encode(Version::V311, &mut bytes);
        pair.world.send_bytes(pair.publisher, &bytes);
        let before = pair.world.read(pair.publisher).len();
        pair.world.pass_ms(1_400);
        assert!(pair.world.read(pair.publisher).is_empty(), "it is not read");
        pair.world.pass_ms(400);
        assert_eq!(pair.world.read(pair.publisher), ["PINGRESP"], "its messages wait, and it is read");
        assert_eq!(before, 64 + 499);
        pair.world.pass_ms(1_800);
        assert_eq!(pair.world.read(pair.publisher), ["CLOSED keep_alive_timeout"], "now it is silent");
    }
}

#[test]
fn a_publisher_that_owes_an_acknowledgement_waits_like_any_other() {
    let mut pair = Pair::new(1, |settings| settings.full_queue = FullQueue::HoldBack);
    pair.publisher = pair.world.connect(&Connect::new(Version::V311, "old", true));
    pair.world.subscribe(pair.publisher, "own", 1);
    pair.world.send(pair.publisher, &Packet::Publish(publish1(1, "own", "x")));
    assert_eq!(pair.world.read(pair.publisher).len(), 2, "PUBACK, and the message, which it does not acknowledge");
    pair.world.send_bytes(pair.publisher, &burst(Version::V311, 2, 5_000, "t"));
    let mut taken = 0;
    loop {
        let some = pair.take(1).len();
        taken += some;
        if some == 0 {
            break;
        }
    }
    assert_eq!((taken, pair.world.dropped(DropReason::QueueFull)), (5_000, 0));
}

#[test]
fn a_publisher_whose_own_queue_is_half_full_is_read_again_and_not_held() {
    let mut pair = Pair::new(1, narrow);
    pair.world.subscribe(pair.publisher, "own", 1);
    pair.world.send_bytes(pair.publisher, &burst(Version::V5, 1, 100, "t"));
    pair.world.send(pair.publisher, &Packet::PingReq);
    assert!(!pair.world.read(pair.publisher).contains(&"PINGRESP".to_owned()));
    assert_eq!(pair.world.shards[0].holdings().held_back, 2);
    let other = pair.world.client("other");
    for number in 1..=4 {
        pair.world.send(other, &Packet::Publish(publish1(number, "own", "x")));
        assert!(!pair.world.read(pair.publisher).contains(&"PINGRESP".to_owned()), "one in flight, three queued");
    }
    pair.world.send(other, &Packet::Publish(publish1(5, "own", "y")));
    assert!(pair.world.read(pair.publisher).contains(&"PINGRESP".to_owned()));
    pair.world.send_bytes(pair.publisher, &burst(Version::V5, 101, 40, "t"));
    pair.world.send(pair.publisher, &Packet::PingReq);
    assert!(pair.world.read(pair.publisher).contains(&"PINGRESP".to_owned()));
}

#[test]
fn no_more_than_so_many_wait_before_a_publisher_is_not_read() {
    let mut pair = Pair::new(1, narrow);
    pair.world.send_bytes(pair.publisher, &burst(Version::V5, 1, 1_000, "t"));
    assert_eq!(pair.acknowledged().len(), 4);
    let received = pair.world.shards[0].counters().publish_received;
    assert_eq!(received, 4 + HOLD_BACK_UNACKED_MAX as u64);
    let counters = pair.world.shards[0].counters();
    assert_eq!((counters.acks_held_back, counters.publishers_held_back), (HOLD_BACK_UNACKED_MAX as u64, 1));
    pair.world.close_socket(pair.sub);
    assert_eq!(pair.acknowledged().len(), 996);
}

#[test]
fn a_qos_0_publisher_is_never_held() {
    let mut pair = Pair::new(1, narrow);
    pair.publish(1..=6);
    pair.acknowledged();
    for _ in 0..100 {
        pair.world.send(pair.publisher, &Packet::Publish(publish("t", "x")));
    }
    pair.world.send(pair.publisher, &Packet::PingReq);
    assert_eq!(pair.world.read(pair.publisher), ["PINGRESP"]);
}

fn tells(settings: &mut Settings) {
    settings.full_queue_code = FullQueueCode::QuotaExceeded;
    (settings.queued_messages_max, settings.inflight_max) = (1, 1);
}

#[test]
fn a_publisher_is_told_when_nobody_could_take_its_message() {
    for (shards, is_away) in [(1, true), (1, false), (3, true), (3, false)] {
        let mut pair = Pair::new(shards, tells);
        if is_away {
            pair.world.close_socket(pair.sub);
        }
        let fits = if is_away { 1 } else { 2 };
        pair.publish(1..=4);
        let told = |world: &mut World, peer| {
            let lines = world.read(peer);
            lines.iter().filter(|line| line.ends_with("quota exceeded")).count()
        };
        assert_eq!(told(&mut pair.world, pair.publisher), 4 - fits);
        let name = pair.world.name_on(0, "old");
        let old = pair.world.connect(&Connect::new(Version::V311, &name, true));
        pair.world.send(old, &Packet::Publish(publish1(9, "t", "x")));
        assert_eq!(pair.world.read(old), ["PUBACK #9"], "it cannot be told");
        // On each shard somebody who can take it is enough.
        for shard in 0..shards {
            let name = pair.world.name_on(shard as u8, "there");
            let there = pair.world.connect(&v5(&name));
            pair.world.subscribe(there, "t", 0);
            pair.publish(5..=5);
            assert_eq!(pair.world.read(pair.publisher), ["PUBACK #5"], "shard {shard}");
            pair.world.close_socket(there);
        }
        pair.publish(6..=6);
        assert_eq!(told(&mut pair.world, pair.publisher), 1);
        pair.world.send(pair.publisher, &Packet::Publish(publish1(7, "nobody", "x")));
        assert_eq!(pair.world.read(pair.publisher), ["PUBACK #7 no matching subscribers"]);
    }
}

#[test]
fn an_exchange_ends_with_the_pubrec_that_says_so() {
    for shards in [1, 3] {
        let mut pair = Pair::new(shards, tells);
        pair.world.close_socket(pair.sub);
        pair.publish(1..=1);
        assert_eq!(pair.world.read(pair.publisher), ["PUBACK #1"]);
        let name = pair.world.name_on(0, "kept");
        let publisher = pair.world.connect(&v5_kept(&name));
        let message = Publish { qos: Qos::ExactlyOnce, ..publish1(7, "t", "x") };
        for _ in 0..2 {
            pair.world.send(publisher, &Packet::Publish(message));
            assert_eq!(pair.world.read(publisher), ["PUBREC #7 quota exceeded"], "the second time it is a new message");
        }
        pair.world.ack(publisher, AckKind::PubRel, 7);
        assert_eq!(pair.world.read(publisher), ["PUBCOMP #7 packet identifier not found"]);
        let count = |what: &str| pair.world.recorded.iter().filter(|one| *one == what).count();
        assert_eq!((count("ExchangeOpened"), count("ExchangeClosed")), (2, 2));
        pair.world.shards.iter().for_each(Shard::assert_invariants);
    }
}

#[test]
fn who_publishes_to_many_full_queues_is_told_in_the_end() {
    for shards in [1, 3] {
        let mut world = World::with(shards, |settings| {
            tells(settings);
            settings.subscribers_per_turn = 2;
        });
        let subs: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
        for name in &subs {
            let peer = world.connect(&v5_kept(name));
            world.subscribe(peer, "t", 1);
            world.close_socket(peer);
        }
        let publisher = world.client("p");
        let expected = ["PUBACK #1", "PUBACK #2 quota exceeded", "PUBACK #3"];
        for (at, line) in expected.iter().enumerate() {
            if at == 2 {
                world.resume(&v5_kept(&subs[11]));
            }
            world.send(publisher, &Packet::Publish(publish1(1 + at as u16, "t", "x")));
            assert_eq!(world.read(publisher), [*line]);
        }
    }
}

#[test]
fn other_shards_are_asked_only_where_it_is_set() {
    for (is_set, expected) in [(false, 0), (true, 1)] {
        let mut world = World::with(2, |settings| {
            if is_set {
                settings.full_queue = FullQueue::HoldBack;
            }
        });
        let sub = world.name_on(1, "sub");
        let sub = world.connect(&v5(&sub));
        world.subscribe(sub, "t", 1);
        let publisher = world.name_on(0, "pub");
        let publisher = world.connect(&v5(&publisher));
        world.send(publisher, &Packet::Publish(publish1(1, "t", "x")));
        assert_eq!(world.crossed.iter().filter(|one| **one == "Stored").count(), expected);
        assert_eq!(world.read(publisher), ["PUBACK #1"]);
    }
}

/// Publishers enough that more would wait than a turn lets go.
fn many_publishers(count: usize) -> (Pair, Vec<Peer>) {
    let mut pair = Pair::new(1, |settings| {
        narrow(settings);
        settings.queued_messages_max = 1;
    });
    pair.publish(1..=2);
    let peers: Vec<Peer> = (0..count).map(|number| pair.world.client(&format!("p{number}"))).collect();
    for &peer in &peers {
        pair.world.send_bytes(peer, &burst(Version::V5, 1, 100, "t"));
    }
    (pair, peers)
}

#[test]
fn no_more_publishers_than_so_many_are_held() {
    let (pair, peers) = many_publishers(HOLD_BACK_PUBLISHERS_MAX + 3);
    pair.world.shards[0].assert_invariants();
    assert_eq!(pair.world.shards[0].holdings().held_back, HOLD_BACK_PUBLISHERS_MAX + 1);
    let received = pair.world.shards[0].counters().publish_received as usize;
    assert_eq!(received, 2 + HOLD_BACK_PUBLISHERS_MAX * HOLD_BACK_UNACKED_MAX + 3 * 100, "{} publish", peers.len());
}

#[test]
fn a_turn_lets_so_many_acknowledgements_go() {
    let (mut pair, peers) = many_publishers(20);
    let waiting = 1 + 20 * HOLD_BACK_UNACKED_MAX;
    assert!(waiting > 2 * HOLD_BACK_RELEASED_PER_TURN);
    pair.world.hold_work();
    pair.world.close_socket(pair.sub);
    let count = |pair: &mut Pair| {
        let all = peers.iter().chain([&pair.publisher]).copied().collect::<Vec<_>>();
        let sum = all.into_iter().map(|peer| pair.world.read(peer).len()).sum::<usize>();
        pair.world.shards[0].assert_invariants();
        sum
    };
    // Who is read again meanwhile is acknowledged at once, behind its own.
    assert!(count(&mut pair) >= HOLD_BACK_RELEASED_PER_TURN && pair.world.shards[0].has_work());
    let left = pair.world.shards[0].holdings().held_back;
    assert!(left > 0, "some are not read yet");
    pair.world.release_work();
    count(&mut pair);
    assert!(!pair.world.shards[0].has_work());
    assert_eq!(pair.world.shards[0].holdings().held_back, 0);
    let received = pair.world.shards[0].counters().publish_received as usize;
    assert_eq!(received, 2 + 20 * 100);
}
