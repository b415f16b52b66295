//! What nodes have stored in the engine, read by somebody else: who owns what, what counts in each log, and whether all servers have it.

use std::collections::BTreeMap;

use async_nats::jetstream::{self, Context};
use dunlin::cluster::{
    BatchKind, BootId, ClusterMap, LogAnswer, LogOperation, LogReader, NodeId, RangeClaim, RangeCount, RangeId,
};
use dunlin::config::cluster::EngineConfig;
use dunlin::services::cluster::Engine;
use dunlin::time::Now;

use super::block_on;

/// Who owns each range by the map, by name.
pub(crate) fn owners(config: &EngineConfig) -> Vec<Option<String>> {
    with_context(config, async |context| {
        let stream = context.get_stream("KV_dunlin_ctl").await.expect("it is there");
        let message = stream.get_last_raw_message_by_subject("$KV.dunlin_ctl.map").await.expect("there is a map");
        let map = ClusterMap::decode(&message.payload).expect("it is one");
        let name = |node: NodeId| map.member(node).expect("an owner is a member").name.clone();
        map.entries().iter().map(|entry| entry.owner.map(name)).collect()
    })
}

/// Whether each server has all of each stream, as their leaders say.
pub(crate) fn is_whole(config: &EngineConfig, ranges: RangeCount) -> bool {
    with_context(config, async |context| {
        let logs = ranges.all().map(|RangeId(range)| format!("dunlin_log_{range}"));
        for name in logs.chain(["KV_dunlin_ctl".to_owned()]) {
            let Ok(stream) = context.get_stream(&name).await else { return false };
            let Some(cluster) = &stream.cached_info().cluster else { return false };
            let is_current = cluster.replicas.iter().all(|replica| replica.current && !replica.offline);
            if cluster.leader.is_none() || cluster.replicas.len() != 2 || !is_current {
                return false;
            }
        }
        true
    })
}

/// The ids that count in the log of a range, as its next owner would read it, and how often each stands there.
pub(crate) fn ids(config: &EngineConfig, range: RangeId) -> BTreeMap<u64, usize> {
    with_context(config, async |context| {
        let stream = context.get_stream(format!("dunlin_log_{}", range.0)).await.expect("it is there");
        let state = &stream.cached_info().state;
        let node = NodeId::new(1).expect("there may be such a node");
        let mut reader = LogReader::new(RangeClaim { range, node, boot: BootId(0), attempt: 0, floor: 0 });
        let now = Now { mono_ns: 1, unix_ms: 1 };
        let mut ids = BTreeMap::new();
        while reader.end().is_none() {
            match reader.next_operation() {
                Some(LogOperation::Look) => {
                    let (first, last) = (state.first_sequence, state.last_sequence);
                    reader.handle_answer(LogAnswer::Info { first, last }, now);
                }
                Some(LogOperation::Read { read, from, to }) => {
                    for sequence in from..=to {
                        let message = stream.get_raw_message(sequence).await.expect("it is there");
                        let batch = reader.handle_message(read, sequence, &message.payload);
                        for batch in batch.into_iter().filter(|batch| batch.header.kind == BatchKind::Records) {
                            let id = batch.records.try_into().expect("a batch has one id");
                            *ids.entry(u64::from_le_bytes(id)).or_insert(0) += 1;
                        }
                    }
                }
                other => panic!("the log of range {} is damaged: {other:?}", range.0),
            }
        }
        ids
    })
}

fn with_context<T>(config: &EngineConfig, ask: impl AsyncFnOnce(&Context) -> T) -> T {
    block_on(async {
        let engine = Engine::reach(config, |_| ()).await.expect("it is as it has to be");
        ask(&jetstream::new(engine.client().clone())).await
    })
}
