//! A SUBACK leaves when the other nodes know as well: two nodes, each word between them carried by hand.

use super::harness::{Peer, World, options};
use super::node_pair::{NodePair, OTHER};
use super::nodes::view_of;
use crate::ids::{ShardId, ShardSet};
use crate::session::AckNumber;
use crate::session::Reception;
use crate::shard::mesh::{InterestTold, MeshMessage};
use crate::shard::{Command, Input, PeerFault, Reply};
use crate::topic::{Interest, MemberRoom, SubscribedFilter};

fn client(world: &mut World, shard: u8, stem: &str) -> Peer {
    let name = world.name_on(shard, stem);
    world.client(&name)
}

fn subscribe(world: &mut World, peer: Peer, filter: &str) {
    world.subscribe_with(peer, filter, options(1), None);
}

/// What a shard's index says a peer is interested in.
fn known_of(world: &World, shard: usize, slot: ShardId, filter: &str) -> Interest {
    let index = &world.shards[shard].router.index;
    let filter = SubscribedFilter::parse(filter, 9).unwrap();
    let nothing = match filter.share {
        Some(_) => Interest::Shared { online: 0, total: 0, durable: false },
        None => Interest::Plain { any: false, durable: false },
    };
    let mut only = ShardSet::default();
    only.insert(slot);
    index.interest_with(&filter, nothing, only)
}

const WANTED: Interest = Interest::Plain { any: true, durable: false };
const UNWANTED: Interest = Interest::Plain { any: false, durable: false };

#[test]
fn a_suback_waits_until_every_shard_of_the_other_node_has_applied() {
    for shard in [0, 1] {
        let mut pair = NodePair::joined(2);
        let peer = client(&mut pair.0[0], shard, "sub");
        subscribe(&mut pair.0[0], peer, "a/b");
        assert!(pair.0[0].read(peer).is_empty(), "the other node knows nothing yet");
        pair.0[1].hold_mesh();
        assert_eq!(pair.carry(0), ["INTEREST a/b"]);
        assert!(pair.carry(1).is_empty(), "one of its shards knows nothing yet");
        assert_eq!(known_of(&pair.0[1], 0, OTHER, "a/b"), WANTED);
        assert_eq!(known_of(&pair.0[1], 1, OTHER, "a/b"), UNWANTED);
        pair.0[1].release_mesh();
        assert_eq!(known_of(&pair.0[1], 1, OTHER, "a/b"), WANTED);
        assert!(pair.0[0].read(peer).is_empty());
        assert_eq!(pair.carry(1), ["APPLIED"]);
        assert_eq!(pair.0[0].read(peer), ["SUBACK #1 [1]"]);
    }
}

#[test]
fn a_node_of_one_shard_waits_as_well() {
    let mut pair = NodePair::joined(1);
    let peer = client(&mut pair.0[1], 0, "sub");
    subscribe(&mut pair.0[1], peer, "a/+");
    assert!(pair.0[1].read(peer).is_empty());
    assert_eq!((pair.carry(1), pair.carry(0)), (vec!["INTEREST a/+".to_owned()], vec!["APPLIED".to_owned()]));
    assert_eq!(pair.0[1].read(peer), ["SUBACK #1 [1]"]);
    pair.0[1].unsubscribe(peer, "a/+");
    assert_eq!(pair.carry(1), ["INTEREST a/+"]);
    assert_eq!(known_of(&pair.0[0], 0, OTHER, "a/+"), UNWANTED);
}

#[test]
fn peers_hear_what_all_shards_want_and_only_when_that_changes() {
    let mut pair = NodePair::joined(2);
    let peers = [0, 1].map(|shard| client(&mut pair.0[0], shard, "sub"));
    subscribe(&mut pair.0[0], peers[0], "t");
    subscribe(&mut pair.0[0], peers[1], "t");
    // The second is no news, and is not known either before the first is.
    assert_eq!(pair.0[0].to_peers.len(), 1);
    assert!(peers.iter().all(|peer| pair.0[0].read(*peer).is_empty()));
    pair.carry_all();
    for peer in [peers[0], peers[1]] {
        assert_eq!(pair.0[0].read(peer), ["SUBACK #1 [1]"]);
    }
    pair.0[0].unsubscribe(peers[0], "t");
    assert!(pair.0[0].to_peers.is_empty(), "the other shard still wants it");
    pair.0[0].unsubscribe(peers[1], "t");
    assert_eq!(pair.carry(0), ["INTEREST t"]);
    pair.carry_all();
    assert_eq!(known_of(&pair.0[1], 1, OTHER, "t"), UNWANTED);
    // Members of all shards are counted together.
    for (joined, peer) in peers.into_iter().enumerate() {
        subscribe(&mut pair.0[0], peer, "$share/g/t");
        pair.carry_all();
        let members = joined as u32 + 1;
        let told = Interest::Shared { online: members, total: members, durable: false };
        assert_eq!(known_of(&pair.0[1], 1, OTHER, "$share/g/t"), told);
    }
    pair.0[0].cut_with_unread(peers[0], &["SUBACK #1 [1]"]);
    pair.carry_all();
    let told = Interest::Shared { online: 1, total: 1, durable: false };
    assert_eq!(known_of(&pair.0[1], 0, OTHER, "$share/g/t"), told);
}

#[test]
fn a_new_peer_is_told_everything_and_waited_for_from_then_on() {
    let mut pair = NodePair::apart(2);
    let peers = [0, 1].map(|shard| client(&mut pair.0[0], shard, "sub"));
    for (peer, filters) in peers.into_iter().zip([["a/b", "c/+"], ["a/b", "$share/g/#"]]) {
        for filter in filters {
            subscribe(&mut pair.0[0], peer, filter);
            assert_eq!(pair.0[0].read(peer), ["SUBACK #1 [1]"], "alone it waits for nobody");
        }
    }
    pair.meet();
    let told = pair.carry(0);
    let mut filters: Vec<&str> = told.iter().filter_map(|word| word.strip_prefix("INTEREST ")).collect();
    filters.sort_unstable();
    assert_eq!(filters, ["$share/g/#", "a/b", "a/b", "c/+"]);
    assert_eq!(told.last().map(String::as_str), Some("SYNCEND"));
    // It does not count yet.
    subscribe(&mut pair.0[0], peers[0], "late");
    assert_eq!(pair.0[0].read(peers[0]), ["SUBACK #1 [1]"]);
    assert!(pair.0[0].counted_by.is_empty());
    assert_eq!(pair.carry(1).last().map(String::as_str), Some("SYNCED"));
    subscribe(&mut pair.0[0], peers[0], "later");
    assert!(pair.0[0].read(peers[0]).is_empty(), "from here on it does");
    assert_eq!(pair.carry(0).iter().filter(|word| *word == "COUNTED").count(), 1);
    assert_eq!(pair.0[1].counted_by, [OTHER]);
    pair.carry_all();
    assert_eq!(pair.0[0].read(peers[0]), ["SUBACK #1 [1]"]);
    for filter in ["a/b", "c/+", "late", "later"] {
        assert_eq!(known_of(&pair.0[1], 1, OTHER, filter), WANTED, "{filter}");
    }
    assert_eq!(pair.0[0].counted_by, [OTHER]);
}

#[test]
fn what_moves_from_shard_to_shard_while_a_peer_is_told_all_is_told() {
    // Shard 0 is walked first, then shard 1: the filter leaves the second when the first has been passed.
    let mut pair = NodePair::apart(2);
    let peers = [0, 1].map(|shard| client(&mut pair.0[0], shard, "sub"));
    pair.0[0].subscribe(peers[1], "moves", 1);
    let world = &mut pair.0[0];
    world.hold_mesh();
    world.hold_work();
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[OTHER.0]))), Reply::Done);
    world.work_once(0); // shard 0 has nothing to tell
    world.work_once(0); // shard 1 is asked
    subscribe(world, peers[0], "moves");
    world.unsubscribe_silently(peers[1], "moves");
    world.release_work();
    world.release_mesh();
    assert_eq!(pair.0[1].ask(0, Command::UseCluster(view_of(&[OTHER.0]))), Reply::Done);
    pair.carry_all();
    assert_eq!(known_of(&pair.0[1], 0, OTHER, "moves"), WANTED);
    assert_eq!(known_of(&pair.0[1], 1, OTHER, "moves"), WANTED);
}

#[test]
fn nobody_waits_for_a_peer_that_has_left_the_view() {
    let mut pair = NodePair::joined(2);
    let peers = [0, 1].map(|shard| client(&mut pair.0[0], shard, "sub"));
    for peer in peers {
        subscribe(&mut pair.0[0], peer, "a/b");
        assert!(pair.0[0].read(peer).is_empty());
    }
    assert_eq!(pair.0[0].ask(0, Command::UseCluster(view_of(&[]))), Reply::Done);
    for peer in peers {
        assert_eq!(pair.0[0].read(peer), ["SUBACK #1 [1]"]);
    }
    // What is still said by the process that has gone is not heard, and ends nothing.
    pair.carry(0);
    pair.carry(1);
    assert!(pair.0[0].ended_links.is_empty());
}

/// A peer that says this by the link of shard 0 and is what its node thinks of it.
fn says(world: &mut World, shard: usize, message: MeshMessage) -> Vec<PeerFault> {
    world.turn(shard, Input::Mesh { from: OTHER, message, bytes: &[] });
    world
        .ended_links
        .drain(..)
        .map(|(slot, fault)| (slot == OTHER).then_some(fault).expect("the one that spoke"))
        .collect()
}

#[test]
fn what_a_peer_says_wrongly_ends_its_links_and_nothing_else() {
    let mut pair = NodePair::joined(2);
    let world = &mut pair.0[0];
    let interest = |number, filter: &str, interest| MeshMessage::Interest { number, filter: filter.into(), interest };
    let shared = Interest::Shared { online: 1, total: 1, durable: false };
    assert!(says(world, 0, interest(5, "a", WANTED)).is_empty());
    let wrong = [
        (MeshMessage::Applied { number: 1_000 }, PeerFault::Applied),
        (interest(4, "b", WANTED), PeerFault::Announced),
        (interest(6, "b", shared), PeerFault::Interest),
        (interest(6, "$share/g/b", WANTED), PeerFault::Interest),
        (interest(6, "b/#/c", WANTED), PeerFault::Interest),
        (MeshMessage::Synced, PeerFault::Order),
        (MeshMessage::Counted, PeerFault::Order),
        (MeshMessage::ToldInterest { peer: OTHER, told: InterestTold::All }, PeerFault::Order),
        (MeshMessage::ToldInterest { peer: OTHER, told: InterestTold::Filter("a".into()) }, PeerFault::Order),
        (MeshMessage::TellInterest { peer: OTHER }, PeerFault::Order),
        (MeshMessage::PeerApplied { number: 1 }, PeerFault::Order),
        (MeshMessage::PeerInterest { peer: OTHER, number: 9, filter: "b".into(), interest: WANTED }, PeerFault::Order),
        (MeshMessage::PeerStored { peer: OTHER, number: AckNumber(1), reception: Reception::Taken }, PeerFault::Order),
        (MeshMessage::View(view_of(&[])), PeerFault::Order),
    ];
    for (message, fault) in wrong {
        let said = format!("{message:?}");
        assert_eq!(says(world, 0, message), [fault], "{said}");
    }
    for message in [interest(6, "b", WANTED), MeshMessage::Applied { number: 0 }, MeshMessage::Synced] {
        assert_eq!(says(world, 1, message), [PeerFault::Order], "shard 0 hears what a node says");
    }
    for shard in [0, 1] {
        assert_eq!(known_of(world, shard, OTHER, "b"), UNWANTED);
        assert_eq!(known_of(world, shard, OTHER, "a"), WANTED);
    }
    // It goes on where it was.
    let peer = client(world, 1, "sub");
    subscribe(world, peer, "x");
    pair.carry_all();
    assert_eq!(pair.0[0].read(peer), ["SUBACK #1 [1]"]);
}

#[test]
fn a_peer_counts_when_both_nodes_wait_for_each_other() {
    let all = || MeshMessage::ToldInterest { peer: OTHER, told: InterestTold::All };
    for counted_first in [false, true] {
        let mut world = World::in_memory(2, |_| {});
        assert_eq!(world.ask(0, Command::UseCluster(view_of(&[OTHER.0]))), Reply::Done);
        assert!(says(&mut world, 0, all()).is_empty());
        let words = [MeshMessage::Synced, MeshMessage::Counted];
        let (first, second) = if counted_first { (1, 0) } else { (0, 1) };
        assert!(says(&mut world, 0, words[first].clone()).is_empty());
        assert!(world.counted_by.is_empty(), "one of both may not know what the other's clients want");
        assert!(says(&mut world, 0, words[second].clone()).is_empty());
        assert_eq!(world.counted_by, [OTHER]);
    }
}

#[test]
fn a_peer_counts_when_every_shard_knows_what_it_has_promised_before() {
    let mut world = World::in_memory(2, |_| {});
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[OTHER.0]))), Reply::Done);
    assert!(says(&mut world, 0, MeshMessage::ToldInterest { peer: OTHER, told: InterestTold::All }).is_empty());
    assert!(says(&mut world, 0, MeshMessage::Synced).is_empty());
    world.hold_mesh();
    let late = MeshMessage::Interest { number: 1, filter: "late".into(), interest: WANTED };
    for word in [late, MeshMessage::Counted] {
        assert!(says(&mut world, 0, word).is_empty());
    }
    assert!(world.counted_by.is_empty(), "a client of shard 1 would not reach who subscribed late");
    world.release_mesh();
    assert_eq!(known_of(&world, 1, OTHER, "late"), WANTED);
    assert_eq!(world.counted_by, [OTHER]);
}

#[test]
fn the_room_of_a_peers_members_reaches_every_shard() {
    let mut pair = NodePair::joined(3);
    let far = client(&mut pair.0[1], 2, "far");
    pair.0[1].subscribe_with(far, "$share/g/t", options(0), None);
    pair.carry_all();
    let world = &mut pair.0[0];
    let filter = SubscribedFilter::parse("$share/g/t", 9).unwrap();
    let group =
        |world: &World, shard: usize| world.shards[shard].router.index.find(&filter).expect("the peer's members");
    let key = world.shards[0].router.index.group_key(group(world, 0));
    for room in [MemberRoom::Full, MemberRoom::Window] {
        assert!(says(world, 0, MeshMessage::GroupRoom { key, room }).is_empty());
        for shard in 0..3 {
            let elsewhere = world.shards[shard].router.index.pick_elsewhere(group(world, shard), ShardSet(u64::MAX));
            assert_eq!(elsewhere, (room == MemberRoom::Window).then_some(OTHER), "shard {shard}");
        }
    }
}
