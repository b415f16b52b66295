//! Links that are behind: what is dropped for them, and whose publishers are not read.

use super::harness::{Peer, World, options};
use super::node_pair::{NodePair, OTHER};
use super::nodes::view_of;
use super::show::{publish, publish1, publish2, retained};
use crate::codec::{Packet, Publish};
use crate::ids::ShardId;
use crate::limits::BEHIND_RELEASED_PER_TURN;
use crate::shard::{Command, Effects, Input, MeshMessage, Reply, Turn};
use crate::store::LogRoom;
use crate::telemetry::DropReason;

/// A third node, which is interested in `other`.
const THIRD: ShardId = ShardId(8);

/// The first node of two, of so many shards. The second is interested in `t`, a third one in `other`.
fn node(shards: usize) -> World {
    let mut pair = NodePair::joined(shards);
    let sub = pair.0[1].client("sub");
    pair.0[1].subscribe_with(sub, "t", options(2), None);
    pair.carry_all();
    let [mut world, _] = pair.0;
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[THIRD.0, OTHER.0]))), Reply::Done);
    let interest = crate::topic::Interest::Plain { any: true, durable: true };
    let message = MeshMessage::Interest { number: 1, filter: "other".into(), interest };
    world.turn(0, Input::Mesh { from: THIRD, message, bytes: &[] });
    world.to_peers.clear();
    world
}

fn says(world: &mut World, shard: usize, room: LogRoom) {
    world.turn(shard, Input::Mesh { from: OTHER, message: MeshMessage::LogRoom { room }, bytes: &[] });
}

fn send(world: &mut World, peer: Peer, publish: Publish<'_>) {
    world.send(peer, &Packet::Publish(publish));
}

fn client(world: &mut World, shard: u8, stem: &str) -> Peer {
    let name = world.name_on(shard, stem);
    world.client(&name)
}

#[test]
fn what_nobody_acknowledges_is_dropped_while_its_link_is_behind() {
    let mut world = node(1);
    let near = client(&mut world, 0, "near");
    world.subscribe_with(near, "#", options(0), None);
    world.to_peers.clear();
    says(&mut world, 0, LogRoom::Behind);
    let publisher = client(&mut world, 0, "pub");
    send(&mut world, publisher, publish("t", "1"));
    send(&mut world, publisher, publish("t", "2"));
    send(&mut world, publisher, publish("other", "3"));
    assert_eq!(world.dropped(DropReason::LinkFull), 2);
    let slots: Vec<ShardId> = world.to_peers.drain(..).map(|(_, slot, _)| slot).collect();
    assert_eq!(slots, [THIRD], "the link to another node is not behind");
    says(&mut world, 0, LogRoom::Enough);
    send(&mut world, publisher, publish("t", "4"));
    assert_eq!((world.to_peers.len(), world.dropped(DropReason::LinkFull)), (1, 2));
}

#[test]
fn who_publishes_what_has_to_arrive_is_not_read_until_the_link_has_room() {
    let messages = [publish1(1, "t", "x"), publish2(1, "t", "x"), retained(publish("r", "x"))];
    for message in messages {
        let mut world = node(2);
        let [held, other] = ["held", "other"].map(|stem| client(&mut world, 1, stem));
        says(&mut world, 1, LogRoom::Behind);
        send(&mut world, held, message);
        assert!(world.to_peers.iter().any(|(_, slot, _)| *slot == OTHER), "it is said");
        world.to_peers.clear();
        send(&mut world, held, publish1(2, "t", "y"));
        assert!(world.to_peers.is_empty(), "what comes behind it is not heard");
        // Who has nothing to do with that node goes on.
        send(&mut world, other, publish1(7, "nobody's", "z"));
        assert_eq!(world.read(other), ["PUBACK #7 no matching subscribers"]);
        send(&mut world, other, publish1(8, "other", "z"));
        send(&mut world, other, publish1(9, "other", "z"));
        assert_eq!(world.to_peers.drain(..).filter(|(_, slot, _)| *slot == THIRD).count(), 2);
        says(&mut world, 1, LogRoom::Enough);
        assert_eq!(world.to_peers.len(), 1, "it is heard");
        assert_eq!(world.dropped(DropReason::LinkFull), 0);
    }
}

#[test]
fn who_has_waited_for_a_process_that_is_gone_is_read() {
    let mut world = node(1);
    let held = client(&mut world, 0, "held");
    says(&mut world, 0, LogRoom::Behind);
    send(&mut world, held, publish1(1, "t", "x"));
    send(&mut world, held, publish1(2, "t", "y"));
    assert_eq!((world.to_peers.len(), world.read(held).len()), (1, 0));
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[THIRD.0]))), Reply::Done);
    assert_eq!(world.read(held).len(), 2, "both are acknowledged");
}

#[test]
fn many_publishers_are_read_again_some_in_a_turn() {
    let mut world = node(1);
    let count = BEHIND_RELEASED_PER_TURN + 10;
    let publishers: Vec<Peer> = (0..count).map(|number| client(&mut world, 0, &format!("p{number}-"))).collect();
    says(&mut world, 0, LogRoom::Behind);
    for publisher in &publishers {
        send(&mut world, *publisher, publish1(1, "t", "x"));
        send(&mut world, *publisher, publish1(2, "t", "y"));
    }
    assert_eq!(world.to_peers.len(), count);
    client(&mut world, 0, "p0-"); // it takes over
    world.to_peers.clear();
    world.hold_work();
    says(&mut world, 0, LogRoom::Enough);
    assert_eq!(world.to_peers.len(), BEHIND_RELEASED_PER_TURN - 1, "of which one has gone");
    assert!(world.shards[0].has_work());
    world.release_work();
    assert_eq!(world.to_peers.len(), count - 1);
    assert!(!world.shards[0].has_work());
}

#[test]
fn what_was_said_to_a_process_that_is_gone_is_not_said_to_the_next_in_its_slot() {
    let mut world = node(2);
    let mut fx = Effects::default();
    for slot in [THIRD, OTHER] {
        fx.mesh.to(slot).messages.push(MeshMessage::Counted);
    }
    let message = MeshMessage::View(view_of(&[THIRD.0]));
    let input = Input::Mesh { from: ShardId(0), message, bytes: &[] };
    world.shards[1].handle(&mut Turn { now: world.now, fx: &mut fx }, input);
    assert_eq!([THIRD, OTHER].map(|slot| fx.mesh.waiting_for(slot)), [1, 0]);
    assert_eq!(fx.mesh.batches_of_nodes(2).map(|(slot, _)| slot).collect::<Vec<_>>(), [THIRD]);
}
