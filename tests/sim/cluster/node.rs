//! A node as an edge and a shard would make one of the cluster's parts: its membership, the logs of what it owns, and what it knows of their content.

use std::collections::{BTreeMap, BTreeSet};

use dunlin::cluster::{
    BatchKind, BootId, ClusterDocument, Mark, Membership, NodeIdentity, RangeBatch, RangeCount, RangeLog,
};

use super::canary::{Cage, Canary};
use super::oracle::{SLICES, ids};

/// A range that a node owns by its map.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) log: RangeLog,
    /// The ids that it has read and appended, by slice.
    pub(crate) slices: Vec<Vec<u64>>,
    /// From when it serves.
    pub(crate) mark: Option<Mark>,
    /// Ids by the number of the batch that they are in, until that is durable.
    pub(crate) waiting: BTreeMap<u64, Vec<u64>>,
    /// The next page of the state that it makes.
    pub(crate) page: Option<u64>,
    /// It is over: claimed again then.
    pub(crate) again_at: Option<u64>,
    pub(crate) is_quarantined: bool,
}

impl Claim {
    pub(crate) fn new(log: RangeLog) -> Self {
        Self {
            log,
            slices: vec![Vec::new(); SLICES as usize],
            mark: None,
            waiting: BTreeMap::new(),
            page: None,
            again_at: None,
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
    pub(crate) fn append(&mut self, new: &[u64]) -> bool {
        let Some(owner) = self.log.owner().filter(|owner| owner.has_room()) else { return false };
        let records: Vec<u8> = new.iter().flat_map(|id| id.to_le_bytes()).collect();
        let n = owner.append(new.len() as u32, &records);
        self.waiting.insert(n, new.to_vec());
        for id in new {
            self.slices[(id % SLICES) as usize].push(*id);
        }
        true
    }

    /// Appends the next page of a state, if one is made and there is room.
    pub(crate) fn append_page(&mut self) {
        let Some(page) = self.page else { return };
        let Some(owner) = self.log.owner().filter(|owner| owner.has_room()) else { return };
        let slice = &self.slices[page as usize];
        let records: Vec<u8> = slice.iter().flat_map(|id| id.to_le_bytes()).collect();
        owner.append_state(page + 1 == SLICES, slice.len() as u32, &records);
        self.page = (page + 1 < SLICES).then_some(page + 1);
    }
}

/// One process, or none.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Which of its lives it is: what is said to an earlier one is lost.
    pub(crate) life: u64,
    pub(crate) boot: u64,
    pub(crate) membership: Option<Membership>,
    pub(crate) claims: BTreeMap<u16, Claim>,
    pub(crate) attempts: u32,
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
            membership: None,
            claims: BTreeMap::new(),
            attempts: 0,
            paused_until: 0,
            cut_until: 0,
            stuck_until: 0,
            starts_at: Some(0),
            seen: 0,
            open: BTreeSet::new(),
        }
    }

    /// A new membership, of a new process or of one that is out.
    pub(crate) fn begin(&mut self, ranges: u16) {
        let boot = self.boot;
        let ranges = RangeCount::new(ranges).expect("a world has as many as may be");
        let identity = NodeIdentity {
            name: self.name.clone(),
            boot: BootId(boot),
            link: format!("{}:1885", self.name),
            version: "0.1.0".to_owned(),
            cluster: ClusterDocument { name: "sim".to_owned(), ranges, hash_seeds: [boot; 4] },
        };
        self.membership = Some(Membership::new(identity));
        self.claims.clear();
        self.seen = 0;
        self.open.clear();
        self.life += 1;
    }

    pub(crate) fn stop(&mut self, starts_at: Option<u64>) {
        self.membership = None;
        self.claims.clear();
        self.life += 1;
        self.starts_at = starts_at;
    }

    pub(crate) fn runs(&self, now: u64) -> bool {
        self.membership.is_some() && now >= self.paused_until
    }
}
