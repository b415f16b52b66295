//! A node among others: what it is told of the cluster, and what it says of itself.

use std::sync::Arc;

use super::harness::{Peer, World, options, v5_kept};
use super::show::{publish, publish1, publish2, retained};
use crate::cluster::{BootId, ClusterView, NodeId, NodeStanding, PeerProcess, RangeCount, RangePlace};
use crate::codec::{AckKind, Packet};
use crate::ids::{ShardId, ShardSet};
use crate::shard::mesh::MeshMessage;
use crate::shard::{Command, Input, Reply};
use crate::topic::{Interest, MemberRoom};

/// A view in which other nodes' processes have these slots.
pub(super) fn view_of(slots: &[u8]) -> Arc<ClusterView> {
    let peer = |slot: &u8| PeerProcess {
        node: NodeId::new(u16::from(*slot)).unwrap(),
        boot: BootId(u64::from(*slot)),
        slot: ShardId(*slot),
        at: "127.0.0.1:1885".parse().unwrap(),
        name: format!("node-{slot}"),
        server: None,
    };
    Arc::new(ClusterView {
        epoch: 1,
        ranges: RangeCount::new(1).unwrap(),
        owners: [RangePlace::Here].into(),
        peers: slots.iter().map(peer).collect(),
        standing: NodeStanding::Serves,
    })
}

#[test]
fn the_view_comes_by_shard_0_before_all_that_is_about_it() {
    let mut world = World::of(3);
    let view = view_of(&[3, 63]);
    assert!(matches!(world.ask(1, Command::UseCluster(Arc::clone(&view))), Reply::Refused(_)));
    assert!(world.views.is_empty() && world.shards.iter().all(|shard| shard.router.nodes.is_none()));
    assert_eq!(world.ask(0, Command::UseCluster(Arc::clone(&view))), Reply::Done);
    assert_eq!(world.crossed[..2], ["View", "View"]);
    assert_eq!(world.views.drain(..).map(|(shard, _)| shard).collect::<Vec<_>>(), [0, 1, 2]);
    for shard in &world.shards {
        assert_eq!(shard.router.nodes.as_ref().expect("a view").view, view);
    }
    let next = Arc::new(ClusterView { epoch: 2, ..(*view).clone() });
    assert_eq!(world.ask(0, Command::UseCluster(Arc::clone(&next))), Reply::Done);
    assert!(world.views.iter().all(|(_, view)| *view == next) && world.views.len() == 3);
    assert!(world.ended_links.is_empty());
}

#[test]
fn what_shard_0_hears_of_a_peer_is_passed_on_applied_and_answered() {
    let mut world = World::of(2);
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[2]))), Reply::Done);
    world.crossed.clear();
    let peer = ShardId(2);
    let says = |world: &mut World, message| world.turn(0, Input::Mesh { from: peer, message, bytes: &[] });
    let interest = Interest::Plain { any: true, durable: true };
    says(&mut world, MeshMessage::Interest { number: 1, filter: "a/+".into(), interest });
    let interest = Interest::Shared { online: 1, total: 1, durable: false };
    says(&mut world, MeshMessage::Interest { number: 2, filter: "$share/g/t".into(), interest });
    assert_eq!(world.crossed, ["PeerInterest", "PeerApplied", "PeerInterest", "PeerApplied"]);
    let index = &mut world.shards[1].router.index;
    let topic = |text| crate::topic::TopicName::parse(text, 9).unwrap();
    let mut matches = crate::topic::Matches::default();
    let everybody = ShardSet(u64::MAX);
    index.matches(topic("a/b"), &mut matches);
    assert!(matches.shards.contains(peer) && matches.durable_shards.contains(peer));
    index.matches(topic("t"), &mut matches);
    let group = matches.groups[0];
    assert_eq!(index.pick_elsewhere(group, everybody), Some(peer));
    let key = index.group_key(group);
    says(&mut world, MeshMessage::GroupRoom { key, room: MemberRoom::Full });
    assert_eq!(world.shards[1].router.index.pick_elsewhere(group, everybody), None);
    says(&mut world, MeshMessage::GroupRoom { key: key ^ 1, room: MemberRoom::Full });
    assert!(world.ended_links.is_empty());
}

/// Messages of every kind between two shards; what crossed, byte for byte, and what subscribers got.
fn run(view: Option<Arc<ClusterView>>) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut world = World::of(2);
    if let Some(view) = view {
        assert_eq!(world.ask(0, Command::UseCluster(view)), Reply::Done);
    }
    world.keep_crossed_bytes();
    let subscribers: Vec<Peer> = [0, 1]
        .map(|shard| {
            let name = world.name_on(shard, "sub");
            let peer = world.connect(&v5_kept(&name));
            world.subscribe(peer, "a/+", 2);
            world.subscribe_with(peer, "$share/g/s", options(1), None);
            peer
        })
        .into();
    let name = world.name_on(0, "pub");
    let publisher = world.client(&name);
    for packet in [publish("a/b", "x"), publish1(1, "a/b", "y"), publish2(2, "a/c", "z"), publish1(3, "s", "one")] {
        world.send(publisher, &Packet::Publish(packet));
    }
    world.ack(publisher, AckKind::PubRel, 2);
    world.send(publisher, &Packet::Publish(retained(publish("r", "kept"))));
    world.send(publisher, &Packet::Publish(publish1(4, "a/long", &"l".repeat(9_000))));
    let crossed = world.crossed_bytes();
    assert!(crossed.iter().filter(|line| line.contains("Publish")).count() >= 5, "{crossed:?}");
    let everybody = subscribers.into_iter().chain([publisher]);
    (crossed, everybody.map(|peer| world.read_raw(peer)).collect())
}

#[test]
fn with_peers_that_want_nothing_shards_say_byte_for_byte_what_they_said() {
    assert_eq!(run(Some(view_of(&[2, 63]))), run(None));
}
