//! Messages to another node, and acknowledgements that wait for its answer.

use super::harness::{Peer, World, options, v5, v5_kept};
use super::node_pair::{NodePair, OTHER};
use super::nodes::view_of;
use super::show::{publish, publish1, publish2, retained};
use crate::codec::{AckKind, Connect, Packet, Publish, Version};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::{LINK_GROUPS_MAX, RELEASED_PER_TURN};
use crate::session::{AckNumber, Reception};
use crate::settings::FullQueueCode;
use crate::shard::{Command, ConfirmToken, Confirmation, Input, MeshMessage, PeerFault, Reply};

/// A client on a shard of a node.
fn client(world: &mut World, shard: u8, stem: &str) -> Peer {
    let name = world.name_on(shard, stem);
    world.client(&name)
}

/// One that subscribes on the second node; all words of that have been said.
fn subscriber(pair: &mut NodePair, shard: u8, filter: &str, qos: u8) -> Peer {
    let peer = client(&mut pair.0[1], shard, "sub");
    pair.0[1].subscribe_with(peer, filter, options(qos), None);
    pair.carry_all();
    assert_eq!(pair.0[1].read(peer), [format!("SUBACK #1 [{qos}]")]);
    peer
}

fn send(world: &mut World, peer: Peer, publish: Publish<'_>) {
    world.send(peer, &Packet::Publish(publish));
}

/// The first node's view has no other process any more.
fn part(pair: &mut NodePair) {
    assert_eq!(pair.0[0].ask(0, Command::UseCluster(view_of(&[]))), Reply::Done);
}

fn questions(world: &World) -> usize {
    world.shards.iter().map(|shard| shard.holdings().questions).sum()
}

#[test]
fn one_message_goes_to_an_interested_node_whatever_matches_there() {
    for shards in [1, 2] {
        let mut pair = NodePair::joined(shards);
        let last = shards as u8 - 1;
        let publisher = client(&mut pair.0[0], last, "pub");
        send(&mut pair.0[0], publisher, publish("a/b", "unwanted"));
        send(&mut pair.0[0], publisher, publish1(1, "a/b", "unwanted"));
        assert_eq!(pair.0[0].read(publisher), ["PUBACK #1 no matching subscribers"]);
        assert!(pair.0[0].to_peers.is_empty());
        let sub = subscriber(&mut pair, last, "a/b", 2);
        pair.0[1].subscribe_with(sub, "a/+", options(0), None);
        pair.carry_all();
        pair.0[1].read(sub);
        send(&mut pair.0[0], publisher, publish("a/b", "x"));
        assert_eq!(pair.carry(0), ["PUBLISH"]);
        assert_eq!(pair.0[1].read(sub), ["PUBLISH a/b x"]);
        assert!(pair.0[1].to_peers.is_empty(), "nobody asks about QoS 0");
        send(&mut pair.0[1], sub, publish("a/b", "own"));
        assert!(pair.0[1].to_peers.is_empty(), "nobody of the first node is interested");
        assert_eq!(questions(&pair.0[0]), 0);
    }
}

#[test]
fn an_acknowledgement_waits_for_the_other_node_whoever_subscribes_there() {
    for qos in [0, 1, 2] {
        let mut pair = NodePair::joined(1);
        let sub = subscriber(&mut pair, 0, "t", qos);
        let publisher = client(&mut pair.0[0], 0, "pub");
        send(&mut pair.0[0], publisher, publish1(1, "t", "one"));
        send(&mut pair.0[0], publisher, publish2(2, "t", "two"));
        send(&mut pair.0[0], publisher, publish1(3, "nobody", "three"));
        assert!(pair.0[0].read(publisher).is_empty() && questions(&pair.0[0]) == 2);
        assert_eq!(pair.carry(0), ["PUBLISH", "PUBLISH"]);
        assert_eq!(pair.0[1].read(sub).len(), 2);
        assert_eq!(pair.carry_one(1).as_deref(), Some("STORED"));
        assert_eq!(pair.0[0].read(publisher), ["PUBACK #1"]);
        assert_eq!(pair.carry(1), ["STORED"]);
        assert_eq!(pair.0[0].read(publisher), ["PUBREC #2", "PUBACK #3 no matching subscribers"]);
        pair.0[0].ack(publisher, AckKind::PubRel, 2);
        assert_eq!(pair.0[0].read(publisher), ["PUBCOMP #2"]);
        assert!(questions(&pair.0[0]) == 0 && pair.0[0].ended_links.is_empty());
    }
}

#[test]
fn an_answer_by_the_link_to_another_shard_finds_the_one_that_asked() {
    // What shard 2 asks is heard and answered by shard 0, whose link leads to shard 0.
    let mut pair = NodePair::joined_with([3, 2], |_| {});
    let sub = subscriber(&mut pair, 0, "t", 1);
    let publisher = client(&mut pair.0[0], 2, "pub");
    send(&mut pair.0[0], publisher, publish1(1, "t", "x"));
    assert_eq!(pair.carry(0), ["PUBLISH"]);
    assert_eq!(pair.0[1].read(sub), ["PUBLISH t q1 #1 x"]);
    pair.0[0].crossed.clear();
    assert_eq!(pair.carry(1), ["STORED"]);
    assert_eq!(pair.0[0].crossed, ["PeerStored"]);
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #1"]);
    assert_eq!(questions(&pair.0[0]), 0);
}

#[test]
fn nobody_waits_for_an_answer_of_a_process_that_is_gone() {
    let mut pair = NodePair::joined(1);
    subscriber(&mut pair, 0, "t", 1);
    let publisher = client(&mut pair.0[0], 0, "pub");
    send(&mut pair.0[0], publisher, publish1(1, "t", "x"));
    send(&mut pair.0[0], publisher, publish2(2, "t", "y"));
    assert!(pair.0[0].read(publisher).is_empty());
    part(&mut pair);
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #1", "PUBREC #2"]);
    pair.carry(0);
    assert_eq!(pair.carry(1), ["STORED", "STORED"]);
    assert!(pair.0[0].read(publisher).is_empty() && pair.0[0].ended_links.is_empty(), "late words are not heard");
    // What it was interested in is still being forgotten.
    send(&mut pair.0[0], publisher, publish1(3, "t", "z"));
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #3 no matching subscribers"]);
    assert!(pair.0[0].to_peers.is_empty() && questions(&pair.0[0]) == 0);
}

#[test]
fn an_answer_that_crosses_the_end_of_its_process_counts_once() {
    for answer_first in [true, false] {
        let mut pair = NodePair::joined_with([3, 2], |_| {});
        subscriber(&mut pair, 1, "t", 1);
        let publisher = client(&mut pair.0[0], 1, "pub");
        send(&mut pair.0[0], publisher, publish1(1, "t", "x"));
        assert_eq!(pair.carry(0), ["PUBLISH"]);
        let world = &mut pair.0[0];
        // It comes by another shard than the one that has asked and the one that is told of the end.
        let number = AckNumber(1);
        let token = ConfirmToken { shard: ShardId(1), connection: ConnectionId::of_node(OTHER.0), number };
        let message = MeshMessage::Stored { confirmation: Confirmation { token, reception: Reception::Taken } };
        world.hold_mesh();
        world.turn(2, Input::Mesh { from: OTHER, message, bytes: &[] });
        assert_eq!(world.ask(0, Command::UseCluster(view_of(&[]))), Reply::Done);
        let order = if answer_first { [2, 0] } else { [0, 2] };
        for from in order {
            assert!(world.deliver_one(from, 1));
        }
        assert_eq!(world.read(publisher), ["PUBACK #1"]);
        world.release_mesh();
        assert!(world.read(publisher).is_empty() && world.ended_links.is_empty());
    }
}

#[test]
fn a_turn_lets_so_many_go_that_waited_for_a_process_that_is_gone() {
    let mut pair = NodePair::joined(1);
    subscriber(&mut pair, 0, "t", 0);
    let count = RELEASED_PER_TURN + 1;
    let names = [0, 1].map(|number| pair.0[0].name_on(0, &format!("pub{number}-")));
    let publishers = names.map(|name| pair.0[0].connect(&Connect::new(Version::V311, &name, true)));
    for number in 0..count {
        let id = (number / 2) as u16 + 1;
        send(&mut pair.0[0], publishers[number % 2], publish1(id, "t", "x"));
        if number % 64 == 63 {
            pair.0[0].to_peers.clear();
        }
    }
    pair.0[0].hold_work();
    part(&mut pair);
    let mut released = [0; 2];
    for (turn, sum) in [(1, RELEASED_PER_TURN), (2, count)] {
        pair.0[0].work_once(0);
        for (at, peer) in publishers.iter().enumerate() {
            released[at] += pair.0[0].read(*peer).len();
        }
        assert_eq!(released.iter().sum::<usize>(), sum, "turn {turn}");
    }
    assert_eq!(questions(&pair.0[0]), 0);
}

#[test]
fn a_publisher_hears_that_no_node_could_take_its_message() {
    let mut pair = NodePair::joined_with([1, 1], |settings| {
        settings.full_queue_code = FullQueueCode::QuotaExceeded;
        settings.queued_messages_max = 1;
        settings.inflight_max = 1;
    });
    let sub = subscriber(&mut pair, 0, "t", 1);
    let publisher = client(&mut pair.0[0], 0, "pub");
    for number in 1..=3 {
        send(&mut pair.0[0], publisher, publish1(number, "t", "x"));
        pair.carry_all();
    }
    send(&mut pair.0[0], publisher, publish2(4, "t", "x"));
    pair.carry_all();
    let told = pair.0[0].read(publisher);
    assert_eq!(told, ["PUBACK #1", "PUBACK #2", "PUBACK #3 quota exceeded", "PUBREC #4 quota exceeded"]);
    assert_eq!(pair.0[1].read(sub).len(), 1);
    // One who takes it on this node is enough.
    let near = client(&mut pair.0[0], 0, "near");
    pair.0[0].subscribe_with(near, "t", options(0), None);
    pair.carry_all();
    send(&mut pair.0[0], publisher, publish1(5, "t", "x"));
    pair.carry_all();
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #5"]);
}

#[test]
fn a_retained_message_goes_to_every_node() {
    let mut pair = NodePair::joined(1);
    let publisher = client(&mut pair.0[0], 0, "pub");
    send(&mut pair.0[0], publisher, retained(publish("a", "0")));
    send(&mut pair.0[0], publisher, retained(publish1(1, "b", "1")));
    assert!(pair.0[0].read(publisher).is_empty(), "whoever subscribes there behind the PUBACK is shown it");
    assert_eq!((pair.carry(0), pair.carry(1)), (vec!["PUBLISH".to_owned(); 2], vec!["STORED".to_owned()]));
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #1 no matching subscribers"]);
    let stores = [0, 1].map(|node: usize| {
        let retained = &pair.0[node].shards[0].router.retained;
        (retained.state_of("a"), retained.state_of("b"))
    });
    assert!(stores[0] == stores[1] && stores[0].0.is_some() && stores[0].1.is_some());
}

#[test]
fn a_repetition_after_a_reconnect_waits_for_all_that_other_nodes_were_sent() {
    for ends in [false, true] {
        let mut pair = NodePair::joined(2);
        subscriber(&mut pair, 0, "t", 2);
        let name = pair.0[0].name_on(0, "pub");
        let publisher = pair.0[0].connect(&v5_kept(&name));
        send(&mut pair.0[0], publisher, publish2(1, "t", "x"));
        pair.0[0].cut_with_unread(publisher, &[]);
        let (publisher, _) = pair.0[0].resume(&v5_kept(&name));
        send(&mut pair.0[0], publisher, Publish { dup: true, ..publish2(1, "t", "x") });
        assert!(pair.0[0].read(publisher).is_empty());
        assert_eq!(pair.carry(0), ["PUBLISH", "BARRIER"]);
        if ends {
            part(&mut pair);
        } else {
            assert_eq!(pair.carry(1), ["STORED", "STORED"]);
        }
        assert_eq!(pair.0[0].read(publisher), ["PUBREC #1"]);
        assert_eq!(questions(&pair.0[0]), 0);
    }
}

#[test]
fn what_waits_for_this_nodes_disk_crosses_to_another_node_behind_it() {
    let mut world = World::of(1);
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[OTHER.0]))), Reply::Done);
    let interest = crate::topic::Interest::Plain { any: true, durable: true };
    let message = MeshMessage::Interest { number: 1, filter: "t".into(), interest };
    world.turn(0, Input::Mesh { from: OTHER, message, bytes: &[] });
    let publisher = world.connect(&v5_kept("pub"));
    world.to_peers.clear();
    world.hold_store();
    send(&mut world, publisher, publish2(1, "t", "first"));
    send(&mut world, publisher, publish2(2, "t", "second"));
    assert!(world.to_peers.is_empty(), "nothing of a change that a restart would take back");
    world.release_store();
    assert_eq!(world.to_peers.len(), 2);
    assert!(world.read(publisher).is_empty() && questions(&world) == 2);
    // The barrier of a repetition, and what else waits, is not for a process that is gone.
    world.hold_store();
    send(&mut world, publisher, publish2(3, "t", "third"));
    world.cut_with_unread(publisher, &[]);
    let publisher = world.open(&v5_kept("pub"));
    send(&mut world, publisher, Publish { dup: true, ..publish2(1, "t", "first") });
    world.to_peers.clear();
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[]))), Reply::Done);
    world.release_store();
    assert!(world.to_peers.is_empty());
    assert_eq!(world.read(publisher), ["CONNACK success present", "PUBREC #1"]);
    assert_eq!(questions(&world), 0);
}

#[test]
fn a_peer_answers_what_it_was_asked_once() {
    let mut pair = NodePair::joined(2);
    subscriber(&mut pair, 0, "t", 1);
    let publisher = client(&mut pair.0[0], 0, "pub");
    send(&mut pair.0[0], publisher, publish1(1, "t", "x"));
    let world = &mut pair.0[0];
    let mut says = |shard: u8, number: u32| {
        let token = ConfirmToken {
            shard: ShardId(shard),
            connection: ConnectionId::of_node(OTHER.0),
            number: AckNumber(number),
        };
        let message = MeshMessage::Stored { confirmation: Confirmation { token, reception: Reception::Taken } };
        world.turn(0, Input::Mesh { from: OTHER, message, bytes: &[] });
        (world.read(publisher), std::mem::take(&mut world.ended_links))
    };
    let wrong = vec![(OTHER, PeerFault::Answer)];
    assert_eq!(says(0, 2), (vec![], wrong.clone()), "a question that was never asked");
    assert_eq!(says(2, 1), (vec![], wrong.clone()), "a shard that there is not");
    assert_eq!(says(OTHER.0, 1), (vec![], wrong.clone()), "a peer's");
    assert_eq!(says(255, 1), (vec![], wrong.clone()));
    assert_eq!(says(1, 1), (vec![], vec![]), "where it has to be looked up, it may be late");
    assert_eq!(says(0, 1), (vec!["PUBACK #1".to_owned()], vec![]));
    assert_eq!(says(0, 1), (vec![], wrong), "twice");
}

#[test]
fn members_of_a_group_on_two_nodes_are_picked_by_turns() {
    let mut pair = NodePair::joined(1);
    let far = subscriber(&mut pair, 0, "$share/g/t", 1);
    let near = client(&mut pair.0[0], 0, "near");
    pair.0[0].subscribe_with(near, "$share/g/t", options(1), None);
    pair.carry_all();
    pair.0[0].read(near);
    let publisher = client(&mut pair.0[0], 0, "pub");
    for number in 1..=10 {
        send(&mut pair.0[0], publisher, publish1(number, "t", "x"));
        pair.carry_all();
        assert_eq!(pair.0[0].read(publisher), [format!("PUBACK #{number}")]);
    }
    assert_eq!((pair.0[0].read(near).len(), pair.0[1].read(far).len()), (5, 5));
    // From then on the members of a process that is gone get nothing, though they are not all forgotten yet.
    part(&mut pair);
    for number in 11..=20 {
        send(&mut pair.0[0], publisher, publish1(number, "t", "x"));
        assert_eq!(pair.0[0].read(publisher), [format!("PUBACK #{number}")]);
    }
    assert_eq!(pair.0[0].read(near).len(), 10);
    assert!(pair.0[0].to_peers.is_empty());
    pair.0[0].cut(near);
    send(&mut pair.0[0], publisher, publish1(21, "t", "x"));
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #21 no matching subscribers"]);
}

#[test]
fn a_group_whose_members_here_have_left_is_served_on_another_node() {
    // Shard 0 picks shard 1, whose member leaves while the message crosses: the other node has one.
    let mut pair = NodePair::joined(2);
    let far = subscriber(&mut pair, 1, "$share/g/t", 1);
    let near_name = pair.0[0].name_on(1, "near");
    let near = pair.0[0].connect(&Connect { receive_maximum: 5, ..v5(&near_name) });
    pair.0[0].subscribe_with(near, "$share/g/t", options(1), None);
    pair.carry_all();
    pair.0[0].read(near);
    let publisher = client(&mut pair.0[0], 0, "pub");
    pair.0[0].hold_mesh();
    send(&mut pair.0[0], publisher, publish1(1, "t", "x"));
    send(&mut pair.0[0], publisher, publish1(2, "t", "y"));
    assert_eq!(pair.0[0].to_peers.len(), 1, "one of them went there at once");
    pair.carry_all();
    pair.0[0].unsubscribe_silently(near, "$share/g/t");
    pair.0[0].release_mesh();
    pair.carry_all();
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #1", "PUBACK #2"]);
    assert_eq!(pair.0[1].read(far).len(), 2);
    assert_eq!(questions(&pair.0[0]), 0);
}

#[test]
fn more_groups_than_a_frame_may_name_take_a_second_one() {
    let count = LINK_GROUPS_MAX + 1;
    let mut pair = NodePair::joined_with([1, 1], |settings| settings.subscriptions_max = count as u32 + 1);
    let sub = client(&mut pair.0[1], 0, "sub");
    for group in 0..count {
        pair.0[1].subscribe_with(sub, &format!("$share/g{group}/t"), options(0), None);
        pair.carry_all();
    }
    pair.0[1].subscribe_with(sub, "t", options(0), None);
    pair.carry_all();
    assert_eq!(pair.0[1].read(sub).len(), count + 1);
    let publisher = client(&mut pair.0[0], 0, "pub");
    send(&mut pair.0[0], publisher, publish1(1, "t", "x"));
    assert_eq!(pair.carry(0), ["PUBLISH", "PUBLISH"]);
    assert_eq!(pair.0[1].read(sub).len(), count + 1, "each once");
    assert_eq!(pair.carry(1), ["STORED", "STORED"]);
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #1"]);
}
