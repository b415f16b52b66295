//! Shared subscriptions of two nodes: each message to one member, wherever it is, to one that can take it first.

use super::harness::{Peer, World, options, v5, v5_kept};
use super::node_pair::{NodePair, OTHER};
use super::nodes::view_of;
use super::show::{publish, publish1, publish2};
use crate::codec::{AckKind, Connect, Packet};
use crate::ids::ShardId;
use crate::shard::mesh::MeshMessage;
use crate::shard::{Command, Input, Reply};
use crate::telemetry::DropReason;
use crate::topic::{Interest, MemberRoom, SubscribedFilter};

const GROUP: &str = "$share/g/t";

/// A member on a shard of a node; all words of that have been said.
fn member(pair: &mut NodePair, node: usize, (shard, stem): (u8, &str), receive_maximum: u16) -> Peer {
    let name = pair.0[node].name_on(shard, stem);
    let peer = pair.0[node].connect(&Connect { receive_maximum, ..v5_kept(&name) });
    pair.0[node].subscribe_with(peer, GROUP, options(2), None);
    pair.carry_all();
    assert_eq!(pair.0[node].read(peer), ["SUBACK #1 [2]"]);
    peer
}

fn publisher(pair: &mut NodePair, node: usize, shard: u8) -> Peer {
    let name = pair.0[node].name_on(shard, "pub");
    pair.0[node].client(&name)
}

fn send(pair: &mut NodePair, node: usize, peer: Peer, number: u16) {
    let (id, text) = (number + 1, number.to_string());
    let packet = match number % 3 {
        0 => publish("t", &text),
        1 => publish1(id, "t", &text),
        _ => publish2(id, "t", &text),
    };
    pair.0[node].send(peer, &Packet::Publish(packet));
}

/// The numbers of the messages that a member has got since it last looked, all of which it acknowledges.
fn take(world: &mut World, peer: Peer) -> Vec<u16> {
    let mut numbers = Vec::new();
    for line in world.read(peer).iter().filter(|line| line.starts_with("PUBLISH")) {
        numbers.push(line.rsplit(' ').next().unwrap().parse().unwrap());
        let id = line.split('#').nth(1).and_then(|rest| rest.split(' ').next());
        if let Some(id) = id.map(|id| id.parse().unwrap()) {
            let kind = if line.contains(" q2 ") { AckKind::PubRec } else { AckKind::PubAck };
            world.ack(peer, kind, id);
            if kind == AckKind::PubRec {
                world.ack(peer, AckKind::PubComp, id);
            }
        }
    }
    numbers
}

fn pass_ms(pair: &mut NodePair, ms: u64) {
    pair.0.iter_mut().for_each(|world| world.pass_ms(ms));
}

#[test]
fn each_message_reaches_one_of_twelve_members_and_each_member_gets_its_share() {
    let mut pair = NodePair::joined(2);
    let mut members = Vec::new();
    for node in [0, 1] {
        for shard in [0, 1] {
            for stem in ["a", "b", "c"] {
                members.push((node, member(&mut pair, node, (shard, stem), u16::MAX)));
            }
        }
    }
    for node in [0, 1] {
        for shard in [0, 1] {
            let publisher = publisher(&mut pair, node, shard);
            for number in 0..120 {
                send(&mut pair, node, publisher, number);
                if number % 7 == 0 {
                    pair.carry_all();
                }
            }
            pair.carry_all();
            let answers = pair.0[node].read(publisher);
            assert_eq!(answers.iter().filter(|line| line.starts_with("PUBACK")).count(), 40, "{answers:?}");
            assert_eq!(answers.iter().filter(|line| line.starts_with("PUBREC")).count(), 40, "{answers:?}");
            let mut all = Vec::new();
            for &(at, member) in &members {
                let numbers = take(&mut pair.0[at], member);
                assert_eq!(numbers.len(), 10, "as many as the others");
                all.extend(numbers);
            }
            all.sort_unstable();
            assert_eq!(all, (0..120).collect::<Vec<_>>(), "each once");
        }
    }
    assert!(pair.0.iter().all(|world| world.ended_links.is_empty()));
    assert!(pair.0.iter().all(|world| world.dropped(DropReason::NoGroupMember) == 0));
}

#[test]
fn members_leave_while_it_crosses_and_another_node_gets_it_once() {
    for remains in [true, false] {
        let mut pair = NodePair::joined(2);
        let leave: Vec<Peer> = [0, 1].map(|shard| member(&mut pair, 1, (shard, "leaves"), u16::MAX)).into();
        let stays = member(&mut pair, 0, (1, "stays"), u16::MAX);
        let publisher = publisher(&mut pair, 0, 0);
        let mut numbers = 0..30;
        numbers.by_ref().take(24).for_each(|number| send(&mut pair, 0, publisher, number));
        // Half of them has come to shards of the other node, the rest is on its way to it.
        pair.0[1].hold_mesh();
        (0..8).for_each(|_| assert!(pair.carry_one(0).is_some()));
        for peer in leave {
            pair.0[1].unsubscribe_silently(peer, GROUP);
        }
        if !remains {
            pair.0[0].unsubscribe_silently(stays, GROUP);
        }
        let got_before: usize = take(&mut pair.0[0], stays).len();
        pair.0[1].release_mesh();
        pair.carry_all();
        let mut served: Vec<u16> = take(&mut pair.0[0], stays);
        let nobodys: u64 = pair.0.iter().map(|world| world.dropped(DropReason::NoGroupMember)).sum();
        if remains {
            assert_eq!(nobodys, 0);
            assert!(served.len() + got_before >= 16, "{}", served.len());
        } else {
            assert!(served.is_empty() && nobodys > 0, "{nobodys}");
        }
        let acknowledged = pair.0[0].read(publisher).len();
        assert_eq!(acknowledged, 16, "of QoS 1 and 2");
        served.sort_unstable();
        assert!(served.windows(2).all(|two| two[0] < two[1]), "each once: {served:?}");
        assert!(pair.0.iter().all(|world| world.ended_links.is_empty()));
    }
}

#[test]
fn a_slow_member_of_another_node_gets_what_it_can_take_and_its_share_again_when_it_has_caught_up() {
    for shards in [1, 2] {
        let mut pair = NodePair::joined(shards);
        let slow = member(&mut pair, 1, (shards as u8 - 1, "slow"), 1);
        let fast = member(&mut pair, 0, (0, "fast"), u16::MAX);
        let publisher = publisher(&mut pair, 0, 0);
        let mut told = 0;
        let mut arrived = 0;
        for number in 0..600 {
            let packet = publish1(number % 60 + 1, "t", "1");
            pair.0[0].send(publisher, &Packet::Publish(packet));
            for _ in 0..4 {
                let said = [pair.carry(0), pair.carry(1)].concat();
                told += said.iter().filter(|word| *word == "GROUPROOM").count();
            }
            assert_eq!(pair.0[0].read(publisher).len(), 1, "it is acknowledged");
            arrived += take(&mut pair.0[0], fast).len();
            pass_ms(&mut pair, 1);
        }
        assert_eq!(pair.0[1].read(slow).len(), 1);
        let waiting = 600 - arrived - 1;
        assert!(waiting <= 60, "{waiting} wait for the slow one while the other idles");
        assert!((1..=600 / 20 + 1).contains(&told), "{told}");
        pair.carry_all();
        pass_ms(&mut pair, 100);
        pair.carry_all();
        for id in 1..=waiting as u16 + 1 {
            pair.0[1].ack(slow, AckKind::PubAck, id);
        }
        let _ = pair.0[1].read(slow);
        for _ in 0..3 {
            pass_ms(&mut pair, 40);
            pair.carry_all();
        }
        let mut counts = [0, 0];
        for number in 0..20 {
            pair.0[0].send(publisher, &Packet::Publish(publish1(number + 1, "t", "1")));
            pair.carry_all();
            counts[0] += take(&mut pair.0[0], fast).len();
            counts[1] += take(&mut pair.0[1], slow).len();
            pair.carry_all();
        }
        assert_eq!(counts, [10, 10], "{shards} shards");
    }
}

#[test]
fn peers_are_told_the_best_of_all_shards_once_in_so_long_and_new_ones_behind_the_filter() {
    let rival = ShardId(8);
    let mut world = World::in_memory(2, |_| {});
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[rival.0]))), Reply::Done);
    let members = [0, 1].map(|shard| {
        let name = world.name_on(shard, "m");
        let peer = world.connect(&Connect { receive_maximum: 1, ..v5(&name) });
        world.subscribe(peer, GROUP, 1);
        peer
    });
    let publisher = world.client(&world.name_on(1, "pub"));
    let key = world.shards[0].router.index.key_of(&SubscribedFilter::parse(GROUP, 9).unwrap()).unwrap();
    let told = |world: &mut World| {
        let said: Vec<_> = world.to_peers.drain(..).collect();
        let rooms = said.into_iter().filter_map(|(_, slot, batch)| match batch.messages[0] {
            MeshMessage::GroupRoom { key: of, room } if of == key => Some((slot, room)),
            _ => None,
        });
        rooms.collect::<Vec<_>>()
    };
    let publish = |world: &mut World, numbers: std::ops::Range<u16>| {
        for number in numbers {
            world.send(publisher, &Packet::Publish(publish1(number, "t", "x")));
        }
    };
    publish(&mut world, 1..5);
    assert!(told(&mut world).is_empty(), "nobody else has members");
    let rivals = |online| MeshMessage::Interest {
        number: 1,
        filter: GROUP.into(),
        interest: Interest::Shared { online, total: 1, durable: true },
    };
    world.turn(0, Input::Mesh { from: rival, message: rivals(1), bytes: &[] });
    // The rival takes none, so it is the members here that are asked.
    let full = MeshMessage::GroupRoom { key, room: MemberRoom::Full };
    world.turn(0, Input::Mesh { from: rival, message: full, bytes: &[] });
    publish(&mut world, 5..9);
    assert_eq!(told(&mut world), [(rival, MemberRoom::Queue)], "both are busy, which is told once");
    world.ack(members[0], AckKind::PubAck, 1);
    world.pass_ms(1);
    assert!(told(&mut world).is_empty(), "so soon nothing is told");
    // Another node comes, and is told the same.
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[rival.0, OTHER.0]))), Reply::Done);
    let to_new: Vec<_> = world.to_peers.iter().filter(|(_, slot, _)| *slot == OTHER).collect();
    let at = |wanted: fn(&MeshMessage) -> bool| to_new.iter().position(|(_, _, batch)| wanted(&batch.messages[0]));
    let interest = at(|message| matches!(message, MeshMessage::Interest { .. })).expect("it is told the filter");
    let room = at(|message| matches!(message, MeshMessage::GroupRoom { .. })).expect("and the room");
    assert!(interest < room, "behind the filter");
    // Both shards have the filter.
    assert_eq!(told(&mut world), [(OTHER, MemberRoom::Queue); 2]);
    // The members catch up.
    for member in members {
        for id in 1..=4 {
            world.ack(member, AckKind::PubAck, id);
        }
    }
    world.pass_ms(100);
    let everybody = [(rival, MemberRoom::Window), (OTHER, MemberRoom::Window)];
    assert_eq!(told(&mut world), everybody);
    world.pass_ms(1_000);
    assert!(told(&mut world).is_empty(), "once");
}
