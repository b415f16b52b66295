//! Peers that come and go: a new one is told everything a page at a time, one that is gone is forgotten on every shard.

use super::harness::{World, options};
use super::node_pair::{NodePair, OTHER};
use super::nodes::view_of;
use crate::ids::{ShardId, ShardSet};
use crate::limits::INTEREST_PAGE_FILTERS;
use crate::shard::mesh::MeshMessage;
use crate::shard::{Command, Input, Reply, RequestId};
use crate::store::LogRoom;
use crate::topic::{Interest, SubscribedFilter};

/// Filters of every kind, the same for each number.
fn filters(count: usize) -> Vec<String> {
    let one = |n: usize| match n % 4 {
        0 => format!("exact/{n}"),
        1 => format!("below/{n}/#"),
        2 => format!("+/{n}"),
        _ => format!("$share/g/{n}"),
    };
    (0..count).map(one).collect()
}

/// A client of each shard of a node subscribes to its part of these.
fn subscribe_all(world: &mut World, filters: &[String]) {
    let shards = world.shards.len();
    for shard in 0..shards {
        let name = world.name_on(shard as u8, "sub");
        let peer = world.client(&name);
        for filter in filters.iter().skip(shard).step_by(shards) {
            world.subscribe_with(peer, filter, options(0), None);
        }
    }
}

/// Of these filters, those that any shard of a node believes the other node to want.
fn wanted(world: &World, filters: &[String]) -> usize {
    let mut only = ShardSet::default();
    only.insert(OTHER);
    let is_wanted = |filter: &&String| {
        let filter = SubscribedFilter::parse(filter, 9).unwrap();
        let nothing = match filter.share {
            Some(_) => Interest::Shared { online: 0, total: 0, durable: false },
            None => Interest::Plain { any: false, durable: false },
        };
        let wants: Vec<bool> = world
            .shards
            .iter()
            .map(|shard| !shard.router.index.interest_with(&filter, nothing, only).is_nothing())
            .collect();
        assert!(wants.iter().all(|other| *other == wants[0]), "shards know the same of {filter:?}");
        wants[0]
    };
    filters.iter().filter(is_wanted).count()
}

fn sees(world: &mut World, slots: &[u8]) {
    assert_eq!(world.ask(0, Command::UseCluster(view_of(slots))), Reply::Done);
}

#[test]
fn a_turn_tells_and_forgets_no_more_than_a_page() {
    let all = filters(3 * INTEREST_PAGE_FILTERS);
    for shards in [1, 2] {
        let mut pair = NodePair::apart(shards);
        subscribe_all(&mut pair.0[0], &all);
        let world = &mut pair.0[0];
        world.hold_work();
        sees(world, &[OTHER.0]);
        let mut turns = 0;
        let mut said = 0;
        while world.shards[0].has_work() {
            world.work_once(0);
            let now = world.to_peers.len();
            assert!(now - said <= INTEREST_PAGE_FILTERS + 1, "{} in one turn", now - said);
            (turns, said) = (turns + 1, now);
        }
        assert!(turns >= 3, "{turns}");
        assert_eq!(said, all.len() + 1, "each filter, and that these were all");
        world.release_work();
        sees(&mut pair.0[1], &[OTHER.0]);
        pair.carry_all();
        assert_eq!(wanted(&pair.0[1], &all), all.len());

        let world = &mut pair.0[1];
        sees(world, &[]);
        world.hold_work();
        world.command(0, 77, Command::ForgetSlot(OTHER));
        for shard in 0..shards {
            let mut turns = 0;
            while world.shards[shard].has_work() {
                assert!(world.replies().is_empty(), "something is left");
                world.work_once(shard);
                turns += 1;
            }
            assert!(turns >= 3, "{turns}");
        }
        assert_eq!(world.replies(), [(RequestId(77), Reply::Done)]);
        assert_eq!(wanted(world, &all), 0);
    }
}

#[test]
fn a_process_is_forgotten_behind_the_view_that_has_it_no_more() {
    let mut pair = NodePair::joined(2);
    let all = filters(40);
    subscribe_all(&mut pair.0[1], &all);
    pair.carry_all();
    let world = &mut pair.0[0];
    assert_eq!(wanted(world, &all), 40);
    assert!(matches!(world.ask(0, Command::ForgetSlot(OTHER)), Reply::Refused(_)), "it is in the view");
    assert!(matches!(world.ask(0, Command::ForgetSlot(ShardId(1))), Reply::Refused(_)), "it is a shard of this node");
    assert!(matches!(world.ask(1, Command::ForgetSlot(ShardId(8))), Reply::Refused(_)), "shard 0 has them forget");
    assert!(matches!(World::new().ask(0, Command::ForgetSlot(OTHER)), Reply::Refused(_)), "there is no cluster");
    // What shard 0 has heard last, and the view, are still on their way to the other shard.
    world.hold_mesh();
    let interest = Interest::Plain { any: true, durable: true };
    let message = MeshMessage::Interest { number: 1_000, filter: "last/+".into(), interest };
    world.turn(0, Input::Mesh { from: OTHER, message, bytes: &[] });
    sees(world, &[]);
    world.command(0, 77, Command::ForgetSlot(OTHER));
    assert!(matches!(world.ask(0, Command::ForgetSlot(OTHER)), Reply::NotNow(_)));
    assert!(world.replies().is_empty());
    world.release_mesh();
    assert_eq!(world.replies(), [(RequestId(77), Reply::Done)]);
    assert_eq!(wanted(world, &all), 0);
    assert_eq!(wanted(world, &["last/+".to_owned()]), 0);
}

#[test]
fn a_peer_comes_and_goes_in_each_state_and_another_process_takes_its_slot() {
    let all = filters(30);
    for words in (0..80).step_by(3) {
        for holds_mesh in [false, true] {
            let mut pair = NodePair::apart(2);
            pair.0.iter_mut().for_each(|world| subscribe_all(world, &all));
            if holds_mesh {
                pair.0[0].hold_mesh();
            }
            pair.meet();
            for word in 0..words {
                pair.carry_one(word % 2);
            }
            // One of the two processes is gone, and the other sees another in its slot.
            pair.0[0].to_peers.clear();
            sees(&mut pair.0[0], &[]);
            pair.0[0].command(0, 77, Command::ForgetSlot(OTHER));
            pair.0[0].release_mesh();
            assert_eq!(pair.0[0].replies(), [(RequestId(77), Reply::Done)], "after {words} words");
            assert_eq!(wanted(&pair.0[0], &all), 0, "after {words} words");
            pair.0[1] = World::in_memory(2, |_| {});
            subscribe_all(&mut pair.0[1], &all[..7]);
            pair.0[0].counted_by.clear();
            pair.meet();
            pair.carry_all();
            assert_eq!((wanted(&pair.0[0], &all), wanted(&pair.0[1], &all)), (7, 30), "after {words} words");
            assert!(pair.0.iter().all(|world| world.counted_by == [OTHER]), "after {words} words");
            assert!(pair.0.iter().all(|world| world.ended_links.is_empty()), "after {words} words");
        }
    }
}

#[test]
fn a_peer_whose_link_is_behind_is_told_more_when_it_takes_more() {
    let mut pair = NodePair::apart(2);
    let all = filters(20);
    subscribe_all(&mut pair.0[0], &all);
    let world = &mut pair.0[0];
    world.hold_work();
    let said = |room| Input::Mesh { from: OTHER, message: MeshMessage::LogRoom { room }, bytes: &[] };
    sees(world, &[8, OTHER.0]);
    world.turn(0, said(LogRoom::Behind));
    world.release_work();
    assert!(world.to_peers.iter().all(|(_, slot, _)| *slot == ShardId(8)), "others are told meanwhile");
    assert_eq!(world.to_peers.len(), all.len() + 1);
    assert!(!world.shards[0].has_work(), "nobody asks again and again");
    world.to_peers.clear();
    world.turn(0, said(LogRoom::Enough));
    assert!(world.to_peers.iter().all(|(_, slot, _)| *slot == OTHER));
    assert_eq!(world.to_peers.len(), all.len() + 1);
}
