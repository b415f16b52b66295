//! What shards are told, and the slots that processes get.

use std::collections::BTreeMap;

use crate::cluster::{
    BootId, ClusterView, NodeId, NodeStanding, PeerProcess, PeerSlots, RangeCount, RangeId, RangePlace, RangeServer,
};
use crate::ids::{ShardId, ShardSet};
use crate::limits::SHARDS_MAX;

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn view() -> ClusterView {
    let peer = |number: u16, slot: u8| PeerProcess {
        node: node(number),
        boot: BootId(u64::from(number)),
        slot: ShardId(slot),
        at: "127.0.0.1:1885".parse().unwrap(),
        name: format!("node-{number}"),
        server: None,
    };
    ClusterView {
        epoch: 4,
        ranges: RangeCount::new(4).unwrap(),
        owners: [RangePlace::Here, RangePlace::Coming, RangePlace::Peer(node(7)), RangePlace::Nobody].into(),
        peers: [peer(7, 2), peer(9, 63)].into(),
        standing: NodeStanding::Serves,
    }
}

#[test]
fn a_client_is_where_its_range_is() {
    let view = view();
    let mut met = BTreeMap::new();
    for client in 0..100 {
        let id = format!("client-{client}");
        met.insert(view.ranges.range_of(&id).0, view.place_of(&id));
    }
    assert_eq!(met.into_values().collect::<Vec<_>>(), view.owners.to_vec());
    assert_eq!(view.place_of_range(RangeId(4)), RangePlace::Nobody);
    let empty = ClusterView { owners: Box::default(), ..view };
    assert_eq!(empty.place_of("client-1"), RangePlace::Nobody, "a view that says nothing panics nowhere");
}

#[test]
fn a_range_is_served_by_who_can_be_named_and_by_nobody_while_this_node_may_not_serve() {
    let view = view();
    let peer = view.peer(node(7)).unwrap();
    let servers = [RangeServer::Own, RangeServer::Nobody, RangeServer::Peer(peer), RangeServer::Nobody];
    assert_eq!([0, 1, 2, 3].map(|range| view.server_of(RangeId(range))), servers);
    assert!(view.serves_any());
    let unknown = ClusterView { peers: Box::default(), ..view.clone() };
    assert_eq!(unknown.server_of(RangeId(2)), RangeServer::Nobody, "no process of that member is known");
    for standing in [NodeStanding::Alone, NodeStanding::Paused] {
        let view = ClusterView { standing, ..view.clone() };
        assert!((0..4).all(|range| view.server_of(RangeId(range)) == RangeServer::Nobody) && !view.serves_any());
    }
    let coming = ClusterView { owners: [RangePlace::Coming; 4].into(), ..view };
    assert!(!coming.serves_any());
}

#[test]
fn a_slot_stands_for_one_process() {
    let view = view();
    assert_eq!(view.slots().iter().collect::<Vec<_>>(), [ShardId(2), ShardId(63)]);
    assert!(view.slots().and(ShardSet::first(2)).is_empty());
    assert_eq!(view.peer_at(ShardId(63)), view.peer(node(9)));
    assert_eq!(view.peer(node(9)).unwrap().name, "node-9");
    assert_eq!((view.peer(node(1)), view.peer_at(ShardId(3))), (None, None));
}

/// One of the processes that come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Apart,
    Linked(ShardId),
}

#[test]
fn no_two_processes_share_a_slot_and_none_gets_one_that_is_being_forgotten() {
    for shards in [1, 2, 43, 60, 64] {
        let mut slots = PeerSlots::new(shards);
        let mut lives = [Life::Apart; 64];
        let (mut boots, mut leaving) = ([0_u64; 64], Vec::new());
        let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ shards as u64;
        let mut below = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % bound
        };
        let mut refused = 0;
        for _ in 0..20_000 {
            let who = below(64);
            let process = |boots: &[u64; 64]| (node(who as u16 + 1), BootId(boots[who]));
            match (below(3), lives[who]) {
                (0 | 1, Life::Apart) => {
                    let (number, boot) = process(&boots);
                    let in_use: Vec<ShardId> =
                        lives.into_iter().filter_map(Life::slot).chain(leaving.clone()).collect();
                    let Some(slot) = slots.take(number, boot) else {
                        assert_eq!(in_use.len(), SHARDS_MAX - shards, "one is refused only where none is free");
                        refused += 1;
                        continue;
                    };
                    let lowest = (shards as u8..64).map(ShardId).find(|slot| !in_use.contains(slot));
                    assert_eq!(Some(slot), lowest);
                    lives[who] = Life::Linked(slot);
                }
                (0, Life::Linked(slot)) => {
                    let (number, boot) = process(&boots);
                    assert_eq!(slots.take(number, boot), Some(slot), "who asks again keeps what it has");
                }
                (_, Life::Linked(slot)) => {
                    slots.gone(slot);
                    leaving.push(slot);
                    lives[who] = Life::Apart;
                    // It may come back as the same process, if it was only out of the map.
                    boots[who] += below(2) as u64;
                }
                _ if !leaving.is_empty() => slots.forgotten(leaving.swap_remove(below(leaving.len()))),
                _ => {}
            }
        }
        assert!(refused > 0 || shards < 43, "so few slots are all taken at some time: {shards}");
    }
}

impl Life {
    fn slot(self) -> Option<ShardId> {
        if let Self::Linked(slot) = self { Some(slot) } else { None }
    }
}

#[test]
#[should_panic(expected = "a slot is forgotten once, after its process has gone")]
fn a_slot_that_has_a_process_is_not_free() {
    let mut slots = PeerSlots::new(2);
    let slot = slots.take(node(1), BootId(1)).unwrap();
    slots.forgotten(slot);
}

#[test]
#[should_panic(expected = "a real shard is no peer")]
fn a_real_shard_is_never_forgotten() {
    PeerSlots::new(2).gone(ShardId(1));
}
