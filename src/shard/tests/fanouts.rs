//! Messages with more subscribers than one turn serves.

use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{publish, publish1};
use super::will::will;
use crate::codec::{Connect, ConnectWill, Disconnect, Packet, Version};
use crate::limits::FANOUTS_MAX;
use crate::shard::Shard;

/// Two subscribers a turn; the work is held.
fn world(shards: usize) -> World {
    let mut world = World::with(shards, |settings| settings.subscribers_per_turn = 2);
    world.hold_work();
    world
}

fn check(world: &World) {
    world.shards.iter().for_each(Shard::assert_invariants);
}

/// Clients that subscribe to one filter.
fn subscribers(world: &mut World, count: usize, filter: &str, qos: u8) -> Vec<Peer> {
    let peers: Vec<Peer> = (0..count).map(|number| world.client(&format!("s{number}"))).collect();
    for &peer in &peers {
        world.subscribe(peer, filter, qos);
    }
    peers
}

/// Several packets that come in one go.
fn send_together(world: &mut World, peer: Peer, packets: &[Packet<'_>]) {
    let mut bytes = Vec::new();
    for packet in packets {
        packet.encode(Version::V5, &mut bytes);
    }
    world.send_bytes(peer, &bytes);
}

#[test]
fn each_turn_serves_a_part_and_the_acknowledgement_waits_for_the_last() {
    for qos in [0, 1] {
        let mut world = world(1);
        let peers = subscribers(&mut world, 5, "t", qos);
        let publisher = world.client("p");
        let message = if qos == 0 { publish("t", "x") } else { publish1(7, "t", "x") };
        send_together(&mut world, publisher, &[Packet::Publish(message), Packet::PingReq]);
        assert_eq!(world.read(publisher), ["PINGRESP"], "little is under way");
        // With QoS 1 fewer at a time.
        let parts: &[usize] = if qos == 0 { &[2, 2, 1] } else { &[1; 5] };
        for &expected in parts {
            assert!(world.shards[0].delivers_to_many());
            assert!(world.read(publisher).is_empty());
            world.work_once(0);
            let served = peers.iter().map(|&peer| world.read(peer).len()).sum::<usize>();
            assert_eq!(served, expected);
            check(&world);
        }
        assert!(!world.shards[0].delivers_to_many());
        assert_eq!(world.read(publisher), if qos == 0 { &[][..] } else { &["PUBACK #7"] });
    }
}

#[test]
fn whoever_adds_to_much_is_read_no_further_until_that_is_delivered() {
    let mut world = world(1);
    let peers = subscribers(&mut world, 5, "t", 0);
    let publisher = world.client("p");
    // Seven to five subscribers are more than sixteen turns of two.
    let mut packets = vec![Packet::Publish(publish("t", "x")); 7];
    packets.push(Packet::PingReq);
    packets.push(Packet::Publish(publish("t", "x")));
    send_together(&mut world, publisher, &packets);
    for _ in 0..5 {
        assert!(world.read(publisher).is_empty());
        world.work_once(0);
        check(&world);
    }
    world.release_work();
    assert_eq!(world.read(publisher), ["PINGRESP"]);
    assert!(peers.into_iter().all(|peer| world.read(peer).len() == 8));
}

#[test]
fn messages_that_have_come_as_far_in_one_list_reach_each_subscriber_together() {
    let mut world = World::with(1, |settings| settings.subscribers_per_turn = 6);
    world.hold_work();
    let peers = subscribers(&mut world, 7, "t", 0);
    let publisher = world.client("p");
    let all = ["PUBLISH t 1", "PUBLISH t 2", "PUBLISH t 3"];
    send_together(&mut world, publisher, &["1", "2", "3"].map(|text| Packet::Publish(publish("t", text))));
    for pair in peers.chunks(2) {
        world.work_once(0);
        check(&world);
        for &peer in pair {
            assert_eq!(world.read(peer), all);
        }
    }
    assert!(!world.shards[0].delivers_to_many());
}

#[test]
fn a_message_that_came_later_catches_up_alone_and_then_goes_on_with_the_others() {
    let mut world = World::with(1, |settings| settings.subscribers_per_turn = 6);
    world.hold_work();
    let peers = subscribers(&mut world, 8, "t", 0);
    let publisher = world.client("p");
    world.send(publisher, &Packet::Publish(publish("t", "1")));
    world.work_once(0);
    let later = world.client("later");
    world.subscribe(later, "t", 0);
    send_together(&mut world, publisher, &["2", "3"].map(|text| Packet::Publish(publish("t", text))));
    world.release_work();
    check(&world);
    assert!(peers.into_iter().all(|peer| world.read(peer) == ["PUBLISH t 1", "PUBLISH t 2", "PUBLISH t 3"]));
    assert_eq!(world.read(later), ["PUBLISH t 2", "PUBLISH t 3"], "it subscribed behind the first");
}

#[test]
fn no_more_come_in_while_as_many_as_may_be_are_under_way() {
    let mut world = world(1);
    let peers = subscribers(&mut world, 5, "t", 0);
    for number in 0..FANOUTS_MAX {
        assert!(!world.shards[0].is_overloaded());
        let publisher = world.client(&format!("p{number}"));
        world.send(publisher, &Packet::Publish(publish("t", "x")));
    }
    assert!(world.shards[0].is_overloaded());
    (0..5).for_each(|_| world.work_once(0));
    assert!(!world.shards[0].is_overloaded());
    world.release_work();
    assert!(peers.into_iter().all(|peer| world.read(peer).len() == FANOUTS_MAX));
}

#[test]
fn an_acknowledgement_waits_until_all_subscribers_have_their_message_on_stable_storage() {
    for shards in [1, 3] {
        let mut world = world(shards);
        world.release_work();
        for number in 0..12 {
            let peer = world.connect(&v5_kept(&format!("s{number}")));
            world.subscribe(peer, "t", 1);
            world.cut(peer);
        }
        world.hold_work();
        let publisher = world.client("p");
        world.send(publisher, &Packet::Publish(publish1(7, "t", "x")));
        assert!(world.read(publisher).is_empty());
        world.hold_store();
        world.release_work();
        assert!(world.read(publisher).is_empty(), "delivered, and not stored");
        world.release_store();
        assert_eq!(world.read(publisher), ["PUBACK #7"]);
        for number in 0..12 {
            let (_, lines) = world.resume(&v5_kept(&format!("s{number}")));
            assert_eq!(lines, ["CONNACK success present", "PUBLISH t q1 #1 x"]);
        }
    }
}

#[test]
fn a_repetition_over_another_connection_waits_for_what_is_under_way() {
    let mut world = world(1);
    let peers = subscribers(&mut world, 5, "t", 0);
    let connect = v5_kept("p");
    let publisher = world.connect(&connect);
    let message = crate::codec::Publish { qos: crate::ids::Qos::ExactlyOnce, ..publish1(7, "t", "x") };
    world.send(publisher, &Packet::Publish(message));
    let (publisher, lines) = world.resume(&connect);
    assert_eq!(lines, ["CONNACK success present"]);
    world.send(publisher, &Packet::Publish(crate::codec::Publish { dup: true, ..message }));
    world.work_once(0);
    assert!(world.read(publisher).is_empty());
    world.release_work();
    assert_eq!(world.read(publisher), ["PUBREC #7"]);
    for peer in peers {
        assert_eq!(world.read(peer), ["PUBLISH t x"], "once");
    }
}

#[test]
fn a_session_is_given_what_it_lacks_before_anything_newer() {
    let mut world = world(1);
    let peers = subscribers(&mut world, 5, "t/#", 0);
    let (first, second) = (world.client("p"), world.client("q"));
    world.subscribe(peers[4], "other", 0);
    world.subscribe(peers[3], "$share/g/shared", 0);
    world.send(first, &Packet::Publish(publish("t/1", "old")));
    world.send(second, &Packet::Publish(publish("other", "new")));
    world.send(second, &Packet::Publish(publish("shared", "new")));
    assert_eq!(world.read(peers[4]), ["PUBLISH t/1 old", "PUBLISH other new"]);
    assert_eq!(world.read(peers[3]), ["PUBLISH t/1 old", "PUBLISH shared new"]);
    check(&world);
    world.send(second, &Packet::Publish(publish("t/2", "newer")));
    world.release_work();
    for (at, &peer) in peers.iter().enumerate() {
        let both = ["PUBLISH t/1 old", "PUBLISH t/2 newer"];
        assert_eq!(world.read(peer), both[usize::from(at > 2)..], "{at}");
    }
}

#[test]
fn who_unsubscribes_is_given_it_before_and_who_subscribes_later_is_not() {
    let mut world = world(1);
    let peers = subscribers(&mut world, 6, "t", 0);
    let publisher = world.client("p");
    world.send(publisher, &Packet::Publish(publish("t", "x")));
    world.work_once(0);
    let late = world.client("late");
    world.subscribe(late, "t", 0);
    world.unsubscribe_silently(peers[1], "t");
    world.unsubscribe_silently(peers[3], "t");
    check(&world);
    // A session that ends, and one whose slot another gets.
    world.send(peers[2], &Packet::Disconnect(Disconnect::default()));
    let another = world.client("another");
    check(&world);
    world.release_work();
    let lines: Vec<Vec<String>> = peers.iter().map(|&peer| world.read(peer)).collect();
    let got = ["PUBLISH t x".to_owned()];
    let last = ["PUBLISH t x".to_owned(), "UNSUBACK #2 [0]".to_owned()];
    assert_eq!(lines[0], got);
    assert_eq!(lines[1], last);
    assert_eq!(lines[3], last);
    assert_eq!((&lines[4][..], &lines[5][..]), (&got[..], &got[..]));
    assert!(world.read(late).is_empty() && world.read(another).is_empty());
}

#[test]
fn who_matches_by_several_filters_has_it_once_with_the_highest_qos_and_all_identifiers() {
    let mut world = world(1);
    let peers: Vec<Peer> = (0..5).map(|number| world.client(&format!("s{number}"))).collect();
    for (at, &peer) in peers.iter().enumerate() {
        for (filter, qos, identifier) in [("t/#", 0, 1), ("t/+", 1, 2), ("t/a", 0, 3)].into_iter().take(1 + at % 3) {
            world.subscribe_with(peer, filter, options(qos), Some(identifier));
            world.read(peer);
        }
    }
    let publisher = world.client("p");
    world.send(publisher, &Packet::Publish(publish1(1, "t/a", "x")));
    world.unsubscribe_silently(peers[4], "t/#");
    assert_eq!(world.read(peers[4]), ["PUBLISH t/a q1 #1 ids=[1, 2] x", "UNSUBACK #2 [0]"]);
    check(&world);
    world.release_work();
    assert_eq!(world.read(peers[0]), ["PUBLISH t/a ids=[1] x"]);
    assert_eq!(world.read(peers[1]), ["PUBLISH t/a q1 #1 ids=[1, 2] x"]);
    assert_eq!(world.read(peers[2]), ["PUBLISH t/a q1 #1 ids=[1, 2, 3] x"]);
    assert_eq!(world.read(peers[3]), ["PUBLISH t/a ids=[1] x"]);
    assert!(world.read(peers[4]).is_empty());
}

/// Subscribers that come and go, filters that overlap, several publishers: whoever subscribed all the time gets every message of
/// each publisher once, in its order.
#[test]
fn whatever_comes_and_goes_everybody_who_stays_gets_everything_once_and_in_order() {
    for seed in 1..200_u64 {
        let mut random = seed;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut world = world(1);
        let filters = ["a/#", "a/+", "+/x", "a/x"];
        let stay: Vec<Peer> = (0..4).map(|number| world.client(&format!("stays{number}"))).collect();
        for (at, &peer) in stay.iter().enumerate() {
            world.subscribe(peer, filters[at], 0);
            if at % 2 == 0 {
                world.subscribe(peer, filters[(at + 1) % 4], 0);
            }
        }
        let publishers = [world.client("p0"), world.client("p1"), world.client("p2")];
        let mut sent = [0; 3];
        let mut guests: Vec<Peer> = Vec::new();
        for step in 0..60 {
            match next(10) {
                0..=2 => {
                    let guest = world.connect(&Connect { keep_alive_s: 0, ..v5(&format!("g{step}")) });
                    world.subscribe_with(guest, filters[next(4) as usize], options(0), None);
                    world.subscribe_with(guest, filters[next(4) as usize], options(0), None);
                    guests.push(guest);
                }
                3 if !guests.is_empty() => {
                    let guest = guests[next(guests.len() as u64) as usize];
                    world.unsubscribe_silently(guest, filters[next(4) as usize]);
                }
                4 if !guests.is_empty() => {
                    let guest = guests.swap_remove(next(guests.len() as u64) as usize);
                    world.send(guest, &Packet::Disconnect(Disconnect::default()));
                }
                5..=7 => {
                    let from = next(3) as usize;
                    sent[from] += 1;
                    world.send(publishers[from], &Packet::Publish(publish("a/x", &format!("{from}-{}", sent[from]))));
                }
                _ => world.work_once(0),
            }
            check(&world);
        }
        world.release_work();
        for &peer in &stay {
            let lines = world.read(peer);
            for (from, &count) in sent.iter().enumerate() {
                let prefix = format!("PUBLISH a/x {from}-");
                let got: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
                let all: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
                assert_eq!(got, all, "seed {seed}");
            }
        }
        for guest in guests {
            let mut lines = world.read(guest);
            lines.retain(|line| line.starts_with("PUBLISH"));
            let count = lines.len();
            lines.dedup();
            lines.sort_unstable();
            lines.dedup();
            assert_eq!(lines.len(), count, "seed {seed}: nothing twice");
        }
    }
}

/// The list that it was on its way through is gone with the last of them.
#[test]
fn a_message_whose_subscribers_have_all_left_is_done() {
    for served in 0..3 {
        let mut world = world(1);
        let peers = subscribers(&mut world, 5, "t", 0);
        let publisher = world.client("p");
        world.send(publisher, &Packet::Publish(publish1(7, "t", "x")));
        (0..served).for_each(|_| world.work_once(0));
        for peer in peers {
            world.close_socket(peer);
            check(&world);
        }
        world.work_once(0);
        assert!(!world.shards[0].delivers_to_many());
        let answer = world.read(publisher);
        assert!(matches!(&answer[..], [one] if one.starts_with("PUBACK #7")), "{answer:?}");
    }
}

#[test]
fn wills_that_are_due_at_once_are_no_more_than_may_be_under_way() {
    let mut world = world(1);
    let peers = subscribers(&mut world, 5, "will", 0);
    let wills = 2 * FANOUTS_MAX;
    for number in 0..wills {
        let will = ConnectWill { topic: "will", ..will(0) };
        world.connect(&Connect { keep_alive_s: 10, will: Some(will), ..v5(&format!("w{number}")) });
    }
    world.later_ms(20_000);
    world.work_once(0);
    check(&world);
    assert_eq!(world.shards[0].router.fanouts.len(), FANOUTS_MAX);
    let served: Vec<usize> = peers.iter().map(|&peer| world.read(peer).len()).collect();
    assert_eq!(served.iter().sum::<usize>(), FANOUTS_MAX, "one subscriber has all of them");
    world.release_work();
    world.pass_ms(1_000);
    for (at, peer) in peers.into_iter().enumerate() {
        assert_eq!(world.read(peer).len(), wills - served[at]);
    }
}
