//! What one node knows of the process of another beside its documents: what their links say.
//!
//! Always holds: a process that is not linked is believed nothing; one that is linked and has not spoken yet is taken to be heard, which is the
//! worse for us. A member counts as cut off only while it beats: who does not is dead by the other rule.
//! Leaves to others: links themselves (`conn`), beats (`membership`), what follows for clients (`node`).

use super::range::BootId;
use crate::ids::ShardId;
use crate::limits::{CUT_OFF_BEATS, PAUSE_MS};
use crate::time::{Deadline, Now};

/// What is known of a peer from the links between it and this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerWord {
    /// All links stand, both ways. To a node that is no member yet: its probe was answered by one that knows the secret.
    Linked,
    /// One of them does not stand any more.
    Broken,
    /// Whether its beats come back to it, as its PINGs and its answers to ours say.
    Heard(bool),
    /// It waits for this node before each SUBACK from now on, and this node for it.
    Counted,
}

/// The process of another member.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownPeer {
    pub(super) boot: BootId,
    pub(super) slot: ShardId,
    is_linked: bool,
    is_heard: bool,
    has_counted: bool,
    /// Of its newest document, and when that came.
    beat: u64,
    beat_at: Deadline,
    /// How often it has beaten while it was not linked.
    beats_apart: u32,
}

impl KnownPeer {
    pub(super) const fn new((boot, slot): (BootId, ShardId), beat: u64, now: Now) -> Self {
        Self {
            boot,
            slot,
            is_linked: false,
            is_heard: true,
            has_counted: false,
            beat,
            beat_at: now.after_ms(0),
            beats_apart: 0,
        }
    }

    pub(super) const fn handle(&mut self, word: PeerWord) {
        match word {
            PeerWord::Linked => {
                (self.is_linked, self.is_heard) = (true, true);
                self.beats_apart = 0;
            }
            PeerWord::Broken => {
                self.is_linked = false;
                self.beats_apart = 0;
            }
            PeerWord::Heard(is_heard) => self.is_heard = is_heard,
            PeerWord::Counted => self.has_counted = true,
        }
    }

    /// Its newest document has this beat.
    pub(super) const fn see_beat(&mut self, beat: u64, now: Now) {
        if beat == self.beat {
            return;
        }
        (self.beat, self.beat_at) = (beat, now.after_ms(0));
        if !self.is_linked {
            self.beats_apart = self.beats_apart.saturating_add(1);
        }
    }

    pub(super) const fn is_linked(&self) -> bool {
        self.is_linked
    }

    /// Whether it is linked, and says that nothing comes back to it: it cannot have the map changed.
    pub(super) const fn is_unheard(&self) -> bool {
        self.is_linked && !self.is_heard
    }

    pub(super) const fn has_counted(&self) -> bool {
        self.has_counted
    }

    /// Whether it beats, and has done so for long without a link.
    pub(super) const fn is_cut_off(&self, now: Now) -> bool {
        let is_silent = now.ms().saturating_sub(self.beat_at.0) >= PAUSE_MS;
        !self.is_linked && self.beats_apart >= CUT_OFF_BEATS && !is_silent
    }
}
