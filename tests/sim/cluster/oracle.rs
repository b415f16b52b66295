//! What must hold, told from all that the engine has ever stored and from what nodes have acknowledged.
//!
//! It reads logs by a judge of its own, which knows nothing of damage, purges or states: it sees every message in the order in which it was stored.

use std::collections::{BTreeMap, BTreeSet};

use dunlin::cluster::{BatchKind, Mark, RangeBatch};

use super::engine::EngineLog;

/// Slices of a state: a page has the ids of one.
pub(crate) const SLICES: u64 = 3;

/// How long two nodes may take themselves for the owner of one range: until the one that was called dead hears of it.
const OVERLAP_MAX_MS: u64 = 4_000;

/// What was seen, so that a run that sees nothing is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) acknowledged: u64,
    pub(crate) owned: u64,
    pub(crate) lost: u64,
    pub(crate) void: u64,
    pub(crate) said_again: u64,
    pub(crate) refused: u64,
    pub(crate) early: u64,
    pub(crate) step_downs: u64,
    pub(crate) begun_anew: u64,
    pub(crate) quarantined: u64,
    pub(crate) deaths: u64,
    pub(crate) expelled: u64,
    pub(crate) paused: u64,
    pub(crate) moved: u64,
    pub(crate) purged: u64,
    pub(crate) stale: u64,
    pub(crate) short: u64,
    /// Members that were put out for want of links, nodes that joined, and moments in which one served on unheard.
    pub(crate) cut_off: u64,
    pub(crate) joined: u64,
    pub(crate) served_on: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, other: Self) {
        for (sum, more) in self.all_mut().into_iter().zip({ other }.all_mut()) {
            *sum += *more;
        }
    }

    fn all_mut(&mut self) -> [&mut u64; 20] {
        [
            &mut self.acknowledged,
            &mut self.owned,
            &mut self.lost,
            &mut self.void,
            &mut self.said_again,
            &mut self.refused,
            &mut self.early,
            &mut self.step_downs,
            &mut self.begun_anew,
            &mut self.quarantined,
            &mut self.deaths,
            &mut self.expelled,
            &mut self.paused,
            &mut self.moved,
            &mut self.purged,
            &mut self.stale,
            &mut self.short,
            &mut self.cut_off,
            &mut self.joined,
            &mut self.served_on,
        ]
    }
}

/// What counts in one log.
#[derive(Debug, Default)]
struct Truth {
    judged: u64,
    run: Option<(Mark, u64)>,
    /// Sequence and id, in order.
    counted: Vec<(u64, u64)>,
    known: BTreeSet<u64>,
    void: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    truths: BTreeMap<u16, Truth>,
    acknowledged: BTreeMap<u16, BTreeSet<u64>>,
    /// Since when more than one node serves a range.
    overlaps: BTreeMap<u16, u64>,
    pub(crate) stats: Stats,
}

impl Oracle {
    /// Looks at what has been stored since.
    pub(crate) fn look(&mut self, range: u16, log: &EngineLog) -> Result<(), String> {
        let truth = self.truths.entry(range).or_default();
        while truth.judged < log.last() {
            truth.judged += 1;
            let bytes = &log.messages[truth.judged as usize - 1];
            let batch = RangeBatch::read(bytes).map_err(|error| format!("what was stored is no batch: {error}"))?;
            truth.judge(&batch).map_err(|what| format!("range {range}, sequence {}: {what}", truth.judged))?;
        }
        self.stats.void = self.truths.values().map(|truth| truth.void).sum();
        Ok(())
    }

    /// Everything that was acknowledged counts, now and ever.
    pub(crate) fn acknowledged(&mut self, range: u16, id: u64) -> Result<(), String> {
        if !self.truths.get(&range).is_some_and(|truth| truth.known.contains(&id)) {
            return Err(format!("range {range}: {id} was acknowledged and does not count"));
        }
        self.stats.acknowledged += 1;
        self.acknowledged.entry(range).or_default().insert(id);
        Ok(())
    }

    /// Who owns a range knows all that counts before its MARK, once, in order.
    pub(crate) fn owned(&mut self, range: u16, mark: Mark, slices: &[Vec<u64>]) -> Result<(), String> {
        self.stats.owned += 1;
        let truth = self.truths.entry(range).or_default();
        for (slice, known) in slices.iter().enumerate() {
            let before = truth.counted.iter().filter(|(sequence, _)| *sequence < mark.sequence).map(|(_, id)| *id);
            let counted: Vec<u64> = before.filter(|id| id % SLICES == slice as u64).collect();
            if *known != counted {
                let missing: Vec<&u64> = counted.iter().filter(|id| !known.contains(id)).take(5).collect();
                let extra: Vec<&u64> = known.iter().filter(|id| !counted.contains(id)).take(5).collect();
                return Err(format!(
                    "range {range}, mark {mark:?}: a new owner has {} of {} ids, missing {missing:?}, beside them {extra:?}",
                    known.len(),
                    counted.len()
                ));
            }
        }
        let acknowledged = self.acknowledged.entry(range).or_default();
        match acknowledged.iter().find(|id| !truth.known.contains(id)) {
            Some(id) => Err(format!("range {range}: {id} was acknowledged and lost")),
            None => Ok(()),
        }
    }

    /// Who serves clients of a range at this moment.
    pub(crate) fn serving(&mut self, range: u16, nodes: usize, now: u64) -> Result<(), String> {
        if nodes <= 1 {
            self.overlaps.remove(&range);
            return Ok(());
        }
        let since = *self.overlaps.entry(range).or_insert(now);
        if now - since > OVERLAP_MAX_MS {
            return Err(format!("range {range}: {nodes} nodes serve its clients since {} ms", now - since));
        }
        Ok(())
    }
}

impl Truth {
    fn judge(&mut self, batch: &RangeBatch<'_>) -> Result<(), String> {
        let header = batch.header;
        let is_in_place = header.mark.sequence + header.n == self.judged;
        match (header.kind, self.run) {
            (BatchKind::Mark, _) if is_in_place => self.run = Some((header.mark, 1)),
            (_, Some((mark, n))) if mark == header.mark && n == header.n && is_in_place => {
                self.run = Some((mark, n + 1));
                if header.kind == BatchKind::Records {
                    for id in ids(batch.records) {
                        self.counted.push((self.judged, id));
                        if !self.known.insert(id) {
                            return Err(format!("{id} counts twice"));
                        }
                    }
                }
            }
            _ => {
                self.run = None;
                self.void += 1;
            }
        }
        Ok(())
    }
}

/// The ids that records stand for.
pub(crate) fn ids(records: &[u8]) -> impl Iterator<Item = u64> {
    records.chunks_exact(8).map(|id| u64::from_le_bytes(id.try_into().expect("eight bytes")))
}
