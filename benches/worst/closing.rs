//! Ranges of client ids that a node serves no more: the longest turn until all of their clients are closed.

use std::sync::Arc;
use std::time::Duration;

use dunlin::cluster::{ClusterView, NodeStanding, RangeCount, RangePlace, RangeSet};
use dunlin::limits;
use dunlin::shard::{Command, Reply, Settings};

use super::{World, all_waiting, with_clients, with_sessions};

const SESSIONS: usize = 1_000_000;
const CONNECTED: usize = 20_000;

/// All ranges of a node that serves none, from the command on.
fn close_all(world: &mut World) -> Duration {
    let ranges = RangeCount::default();
    let view = ClusterView {
        epoch: 1,
        ranges,
        owners: ranges.all().map(|_| RangePlace::Nobody).collect(),
        peers: [].into(),
        standing: NodeStanding::Serves,
    };
    assert_eq!(world.answer(Command::UseCluster(Arc::new(view))), Reply::Done);
    let mut all = RangeSet::default();
    ranges.all().for_each(|range| all.insert(range));
    let longest = world.command(Command::CloseRanges(all)).max(world.turns());
    assert!(matches!(world.fx.replies.pop(), Some((_, Reply::Done))), "it is answered when all are closed");
    let Reply::Counts(counts) = world.answer(Command::Counts) else { panic!("no counts") };
    assert_eq!((counts.gauges.clients_connected, counts.gauges.clients_disconnected), (0, 0), "nobody is left");
    longest
}

/// A million kept sessions, some of them connected.
pub(crate) fn sessions() -> Duration {
    let mut world = World::of(&Settings { shards: 2, ..Settings::default() });
    with_clients(&mut world, CONNECTED);
    with_sessions(&mut world, SESSIONS - CONNECTED);
    close_all(&mut world)
}

/// As many CONNECTs as may wait for a verdict.
pub(crate) fn waiting() -> Duration {
    let (mut world, asks) = all_waiting();
    assert_eq!(asks.len(), limits::PENDING_CONNECTS_MAX);
    close_all(&mut world)
}
