//! One topic's part in the tail: what is known of it, what is being written, what waits behind that.
//!
//! Always holds: one question about a topic is on its way at a time. A write that was superseded by a later one is as good as stored once that
//! one is. What has come by a link is stored by whoever has it, if the engine does not show it: its writer may have died. What has waited, or may be stored already, is written by compare with what the engine has; so only a write that is fresh can overtake a later one,
//! while everybody still keeps that.
//! Leaves to others: when, and how many topics at once (`retained`).

use bytes::Bytes;

use super::retained_entry::RetainedEntry;
use crate::ids::WriteStamp;
use crate::limits::{RANGE_RETRY_MS, RETAINED_COALESCE_MS, RETAINED_KEPT_MS, RETAINED_LATE_MS, RETAINED_ORPHAN_MS};
use crate::time::{Deadline, Now};

/// The latest write that the engine has, or has had.
#[derive(Clone, Debug)]
pub(super) struct StoredEntry {
    pub(super) stamp: WriteStamp,
    pub(super) bytes: Bytes,
}

/// A write that the engine has not, as far as this node knows.
#[derive(Debug)]
pub(super) struct WaitingWrite<C> {
    stamp: WriteStamp,
    bytes: Bytes,
    confirms: Vec<C>,
    since: Deadline,
    from: WriteOrigin,
}

/// Why this node would store a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOrigin {
    /// A shard of this node has made it.
    Own,
    /// It came by a link: its own node stores it, if that lives.
    Peer,
    /// The engine has had it, and an earlier one stands in its place.
    Mend,
}

/// What the engine is asked about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteStep {
    /// What it has, and where.
    Look,
    /// Store the write, if the topic's last sequence is this; whatever it is, with `None`.
    Append(Option<u64>),
}

/// The write of which something is asked.
#[derive(Debug)]
struct ActiveWrite<C> {
    write: WaitingWrite<C>,
    step: WriteStep,
    /// When to ask, or the number under which it was asked.
    at: Result<Deadline, u64>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct RetainedTopic<C> {
    pub(super) stored: Option<StoredEntry>,
    /// The highest sequence that the topic has had, and what stood there.
    top: Option<(u64, WriteStamp)>,
    active: Option<ActiveWrite<C>>,
    next: Option<WaitingWrite<C>>,
    appended_at: Option<Deadline>,
    pub(super) kept_until: Deadline,
}

/// What the engine is to be asked.
pub(super) struct TopicQuestion {
    pub(super) step: WriteStep,
    /// Decides under which name it is stored.
    pub(super) from: WriteOrigin,
    pub(super) stamp: WriteStamp,
    pub(super) bytes: Bytes,
}

impl<C> RetainedTopic<C> {
    pub(super) const fn new() -> Self {
        Self { stored: None, top: None, active: None, next: None, appended_at: None, kept_until: Deadline(0) }
    }

    /// A write of this node; whom to confirm at once.
    pub(super) fn write(&mut self, (stamp, bytes): (WriteStamp, Bytes), confirm: Option<C>, now: Now) -> Option<C> {
        if let Some(active) = self.active.as_mut().filter(|active| active.write.stamp >= stamp) {
            active.write.confirms.extend(confirm);
            return None;
        }
        if let Some(next) = &mut self.next {
            if next.stamp < stamp {
                (next.stamp, next.bytes) = (stamp, bytes);
            }
            if std::mem::replace(&mut next.from, WriteOrigin::Own) == WriteOrigin::Peer {
                next.since = now.after_ms(0);
            }
            next.confirms.extend(confirm);
            return None;
        }
        if self.stored.as_ref().is_some_and(|stored| stored.stamp >= stamp) && !self.is_overtaken() {
            return confirm;
        }
        let (confirms, since) = (confirm.into_iter().collect(), now.after_ms(0));
        self.next = Some(WaitingWrite { stamp, bytes, confirms, since, from: WriteOrigin::Own });
        None
    }

    /// A write of another node that has come by a link.
    pub(super) fn write_of_peer(&mut self, (stamp, bytes): (WriteStamp, Bytes), now: Now) {
        let is_stored = self.stored.as_ref().is_some_and(|stored| stored.stamp >= stamp);
        if is_stored || self.is_written_here(stamp) {
            return;
        }
        if let Some(next) = &mut self.next {
            // It is superseded, and who waits for it waits for the later one.
            (next.stamp, next.bytes) = (stamp, bytes);
            return;
        }
        let since = now.after_ms(0);
        self.next = Some(WaitingWrite { stamp, bytes, confirms: Vec::new(), since, from: WriteOrigin::Peer });
    }

    /// Whether this node has that write, or a later one, from its own shards.
    pub(super) fn is_written_here(&self, stamp: WriteStamp) -> bool {
        let writes = self.active.as_ref().map(|active| &active.write).into_iter().chain(&self.next);
        writes.into_iter().any(|write| write.stamp >= stamp)
    }

    /// The engine has had this write at this sequence. Whether that is new.
    pub(super) fn see(&mut self, sequence: u64, entry: (WriteStamp, &Bytes), now: Now) -> bool {
        let (stamp, bytes) = entry;
        if self.top.is_none_or(|(top, _)| top < sequence) {
            self.top = Some((sequence, stamp));
        }
        self.kept_until = now.after_ms(RETAINED_KEPT_MS);
        let is_new = self.stored.as_ref().is_none_or(|stored| stored.stamp < stamp);
        if is_new {
            self.stored = Some(StoredEntry { stamp, bytes: bytes.clone() });
        }
        let latest = self.stored.as_ref().map(|stored| stored.stamp);
        if !self.is_overtaken() {
            self.next.take_if(|next| next.confirms.is_empty() && Some(next.stamp) <= latest);
        }
        self.mend(now);
        is_new
    }

    /// What stands at this sequence cannot be read. Whether this node has something to write there.
    pub(super) fn see_damage(&mut self, sequence: u64, now: Now) -> bool {
        if self.top.is_none_or(|(top, _)| top < sequence) {
            self.top = Some((sequence, WriteStamp::default()));
        }
        self.mend(now);
        self.active.is_some() || self.next.is_some()
    }

    fn is_overtaken(&self) -> bool {
        let (Some(stored), Some((_, top))) = (&self.stored, self.top) else { return false };
        top < stored.stamp
    }

    /// Writes the latest over an earlier one that has overtaken it.
    fn mend(&mut self, now: Now) {
        let (Some(stored), Some((sequence, _)), true) = (&self.stored, self.top, self.is_overtaken()) else { return };
        if self.active.is_some() || self.next.as_ref().is_some_and(|next| next.stamp >= stored.stamp) {
            return;
        }
        // What waits is superseded by it.
        let confirms = self.next.take().map(|next| next.confirms).unwrap_or_default();
        let (stamp, bytes, at) = (stored.stamp, stored.bytes.clone(), now.after_ms(0));
        let write = WaitingWrite { stamp, bytes, confirms, since: at, from: WriteOrigin::Mend };
        self.active = Some(ActiveWrite { write, step: WriteStep::Append(Some(sequence)), at: Ok(at) });
    }

    /// Bytes that are kept of the latest write.
    pub(super) fn kept_bytes(&self) -> usize {
        self.stored.as_ref().map_or(0, |stored| stored.bytes.len())
    }

    /// When there is something to ask, as far as no answer comes before.
    pub(super) fn due_at(&self) -> Option<Deadline> {
        if let Some(active) = &self.active {
            return active.at.ok();
        }
        let next = self.next.as_ref()?;
        if next.from == WriteOrigin::Peer {
            return Some(Deadline(next.since.0.saturating_add(RETAINED_ORPHAN_MS)));
        }
        let coalesced = self.appended_at.filter(|_| next.confirms.is_empty());
        Some(coalesced.map_or(next.since, |at| next.since.max(Deadline(at.0.saturating_add(RETAINED_COALESCE_MS)))))
    }

    /// Nothing of this node waits for the engine.
    pub(super) const fn is_idle(&self) -> bool {
        self.active.is_none() && self.next.is_none()
    }

    /// What is asked under this number now; else whom to confirm, because there is nothing to ask any more.
    pub(super) fn begin(&mut self, number: u64, now: Now) -> Result<TopicQuestion, Vec<C>> {
        if self.active.is_none() {
            let Some(write) = self.next.take() else { return Err(Vec::new()) };
            if self.stored.as_ref().is_some_and(|stored| stored.stamp >= write.stamp) && !self.is_overtaken() {
                return Err(write.confirms);
            }
            let is_late = now.ms().saturating_sub(write.since.0) >= RETAINED_LATE_MS;
            let step =
                if is_late || write.from == WriteOrigin::Peer { WriteStep::Look } else { WriteStep::Append(None) };
            self.active = Some(ActiveWrite { write, step, at: Ok(now.after_ms(0)) });
        }
        let active = self.active.as_mut().expect("it is there by now");
        active.at = Err(number);
        if matches!(active.step, WriteStep::Append(_)) {
            self.appended_at = Some(now.after_ms(0));
        }
        let WaitingWrite { stamp, from, .. } = active.write;
        Ok(TopicQuestion { step: active.step, from, stamp, bytes: active.write.bytes.clone() })
    }

    /// What was asked is stored: whom to confirm.
    pub(super) fn handle_stored(&mut self, sequence: u64, now: Now) -> Vec<C> {
        let Some(active) = self.active.take() else { return Vec::new() };
        let WaitingWrite { stamp, bytes, confirms, .. } = active.write;
        self.see(sequence, (stamp, &bytes), now);
        confirms
    }

    /// Nobody knows what became of it, or something else stands there: it is looked at what does.
    pub(super) fn handle_failed(&mut self, is_refused: bool, now: Now) {
        if let Some(active) = &mut self.active {
            active.step = WriteStep::Look;
            active.at = Ok(now.after_ms(if is_refused { 0 } else { RANGE_RETRY_MS }));
        }
    }

    /// What the engine has of the topic: the last sequence, 0 for nothing, and what can be read there. Whom to confirm, if the write is superseded,
    /// and whether by one that was not seen before.
    pub(super) fn handle_last(
        &mut self,
        sequence: u64,
        entry: Option<(&RetainedEntry<'_>, &Bytes)>,
        now: Now,
    ) -> (Vec<C>, bool) {
        let Some(mut active) = self.active.take() else { return (Vec::new(), false) };
        if let Some((entry, bytes)) = entry.filter(|(entry, _)| entry.stamp >= active.write.stamp) {
            let is_own = entry.stamp == active.write.stamp || self.is_written_here(entry.stamp);
            let is_new = self.see(sequence, (entry.stamp, bytes), now) && !is_own;
            return (active.write.confirms, is_new);
        }
        (active.step, active.at) = (WriteStep::Append(Some(sequence)), Ok(now.after_ms(0)));
        self.active = Some(active);
        (Vec::new(), false)
    }
}
