//! A node's process as its edge and its shards would make one around `ClusterNode`: what it knows of the content of the logs that it owns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin::cluster::{
    BatchKind, BootId, ClusterDocument, ClusterNode, ClusterView, Mark, NodeIdentity, RangeBatch, RangeCount, RangeId,
};

use super::canary::{Cage, Canary};
use super::oracle::{SLICES, ids};

/// What a node knows of the log of a range that it claims.
#[derive(Debug)]
pub(crate) struct Content {
    /// The ids that it has read and appended, by slice.
    pub(crate) slices: Vec<Vec<u64>>,
    /// Of its run, while it owns the range.
    pub(crate) mark: Option<Mark>,
    /// Ids by the number of the batch that they are in, until that is durable.
    pub(crate) waiting: BTreeMap<u64, Vec<u64>>,
    /// The next page of the state that it makes.
    pub(crate) page: Option<u64>,
    /// It was lost.
    pub(crate) is_over: bool,
    pub(crate) is_quarantined: bool,
}

impl Content {
    pub(crate) fn new() -> Self {
        Self {
            slices: vec![Vec::new(); SLICES as usize],
            mark: None,
            waiting: BTreeMap::new(),
            page: None,
            is_over: false,
            is_quarantined: false,
        }
    }

    /// What a batch says that was read. A page is how its slice was at its place, whatever came before.
    pub(crate) fn restore(&mut self, batch: &RangeBatch<'_>, cage: &mut Cage) {
        if cage.breaks(Canary::ForgetBatch, 20) {
            return;
        }
        match batch.header.kind {
            BatchKind::Mark => {}
            BatchKind::State(state) => {
                self.slices[state.page as usize] = ids(batch.records).collect();
            }
            BatchKind::Records => {
                let times = if cage.breaks(Canary::TakeTwice, 20) { 2 } else { 1 };
                for id in ids(batch.records) {
                    self.slices[(id % SLICES) as usize].extend(std::iter::repeat_n(id, times));
                }
            }
        }
    }

    /// Appends ids, if there is room.
    pub(crate) fn append(&mut self, node: &mut ClusterNode, range: RangeId, new: &[u64]) -> bool {
        let records: Vec<u8> = new.iter().flat_map(|id| id.to_le_bytes()).collect();
        let Some(n) = node.append(range, new.len() as u32, &records) else { return false };
        self.waiting.insert(n, new.to_vec());
        for id in new {
            self.slices[(id % SLICES) as usize].push(*id);
        }
        true
    }

    /// Appends the next page of a state, if one is made and there is room.
    pub(crate) fn append_page(&mut self, node: &mut ClusterNode, range: RangeId) {
        let Some(page) = self.page else { return };
        let slice = &self.slices[page as usize];
        let records: Vec<u8> = slice.iter().flat_map(|id| id.to_le_bytes()).collect();
        if node.append_state(range, page + 1 == SLICES, slice.len() as u32, &records).is_some() {
            self.page = (page + 1 < SLICES).then_some(page + 1);
        }
    }
}

/// Shards that a node has beside what stands for its peers.
const SHARDS: usize = 2;

/// One process, or none.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Which of its lives it is: what is said to an earlier one is lost.
    pub(crate) life: u64,
    pub(crate) boot: u64,
    pub(crate) cluster: Option<ClusterNode>,
    /// What its peers are told of it.
    pub(crate) is_heard: bool,
    /// What its shards go by.
    pub(crate) view: Option<Arc<ClusterView>>,
    pub(crate) contents: BTreeMap<RangeId, Content>,
    /// Whether it looks at the store of documents now and then.
    pub(crate) watches: bool,
    /// It does nothing, until then.
    pub(crate) paused_until: u64,
    /// Nothing of what it says or hears arrives, until then.
    pub(crate) cut_until: u64,
    /// What it says arrives later than that.
    pub(crate) stuck_until: u64,
    /// It starts again then.
    pub(crate) starts_at: Option<u64>,
    /// Events of the store that it has seen.
    pub(crate) seen: usize,
    /// What it has asked and has no answer to.
    pub(crate) open: BTreeSet<u64>,
}

impl Node {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            life: 0,
            boot: 0,
            cluster: None,
            is_heard: false,
            view: None,
            contents: BTreeMap::new(),
            watches: false,
            paused_until: 0,
            cut_until: 0,
            stuck_until: 0,
            starts_at: Some(0),
            seen: 0,
            open: BTreeSet::new(),
        }
    }

    /// A new process.
    pub(crate) fn begin(&mut self, ranges: u16, contends: bool) {
        let boot = self.boot;
        let ranges = RangeCount::new(ranges).expect("a world has as many as may be");
        let identity = NodeIdentity {
            name: self.name.clone(),
            boot: BootId(boot),
            link: "127.0.0.1:1885".to_owned(),
            server: None,
            version: "0.1.0".to_owned(),
            cluster: ClusterDocument { name: "sim".to_owned(), ranges, hash_seeds: [boot; 4] },
        };
        let mut cluster = ClusterNode::new(identity, SHARDS);
        cluster.contend(contends);
        (self.cluster, self.view, self.is_heard) = (Some(cluster), None, false);
        self.contents.clear();
        (self.seen, self.watches) = (0, false);
        self.open.clear();
        self.life += 1;
    }

    pub(crate) fn stop(&mut self, starts_at: Option<u64>) {
        (self.cluster, self.view) = (None, None);
        self.contents.clear();
        self.life += 1;
        self.starts_at = starts_at;
    }

    pub(crate) fn runs(&self, now: u64) -> bool {
        self.cluster.is_some() && now >= self.paused_until
    }
}
