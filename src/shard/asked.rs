//! Questions of this shard to other nodes, whose answers somebody waits for.
//!
//! Owns: who waits, by the slot of the process that was asked and the number of the question ([`AskedPeers`]).
//! Always holds: each question counts once, as answered or as ended with its process; numbers ascend, and one that waits is given to no other question,
//! so that a late answer finds nothing. What a process that is gone was asked is handed out by the caller, as many as it likes at a time.
//! Leaves to others: what is asked, and what follows from an answer (`route_nodes`); which processes there are (`nodes`).

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use super::Confirmation;
use crate::ids::ShardId;
use crate::session::AckNumber;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct AskedPeers {
    last: u32,
    waiting: BTreeMap<ShardId, BTreeMap<AckNumber, Confirmation>>,
    /// Of processes that are gone.
    ended: VecDeque<BTreeMap<AckNumber, Confirmation>>,
}

impl AskedPeers {
    /// A peer is asked: who waits for its answer, and what is known so far. Returns the number of the question.
    pub(super) fn ask(&mut self, peer: ShardId, confirmation: Confirmation) -> AckNumber {
        let waiting = self.waiting.entry(peer).or_default();
        loop {
            self.last = self.last.wrapping_add(1);
            let number = AckNumber(self.last);
            if let Entry::Vacant(free) = waiting.entry(number) {
                free.insert(confirmation);
                return number;
            }
        }
    }

    /// A peer has answered: who has waited for that, if anybody.
    pub(super) fn answered(&mut self, peer: ShardId, number: AckNumber) -> Option<Confirmation> {
        self.waiting.get_mut(&peer)?.remove(&number)
    }

    /// A peer's process is gone: it answers nothing any more.
    pub(super) fn end(&mut self, peer: ShardId) {
        self.ended.extend(self.waiting.remove(&peer));
    }

    /// The next who has waited for a process that is gone.
    pub(super) fn next_ended(&mut self) -> Option<Confirmation> {
        loop {
            if let Some((_, confirmation)) = self.ended.front_mut()?.pop_first() {
                return Some(confirmation);
            }
            self.ended.pop_front();
        }
    }

    /// Whether there may be one.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Questions that have no answer, those to processes that are gone included.
    pub(super) fn len(&self) -> usize {
        self.waiting.values().chain(&self.ended).map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConfirmToken;
    use super::*;
    use crate::ids::ConnectionId;

    const PEER: ShardId = ShardId(8);
    const OTHER: ShardId = ShardId(9);

    fn confirmation(slot: u32) -> Confirmation {
        let connection = ConnectionId::new(slot, 0);
        Confirmation::of(ConfirmToken { shard: ShardId(0), connection, number: AckNumber(1) })
    }

    #[test]
    fn each_question_is_answered_once_by_whom_it_was_asked() {
        let mut asked = AskedPeers::default();
        let numbers = [1, 2].map(|slot| asked.ask(PEER, confirmation(slot)));
        let other = asked.ask(OTHER, confirmation(3));
        assert!(numbers[0] < numbers[1] && numbers[1] < other, "numbers ascend, whoever is asked");
        assert_eq!(asked.answered(OTHER, numbers[0]), None, "it was not asked that");
        assert_eq!(asked.answered(PEER, numbers[1]), Some(confirmation(2)));
        assert_eq!(asked.answered(PEER, numbers[1]), None, "once");
        assert_eq!(asked.answered(PEER, numbers[0]), Some(confirmation(1)));
        assert_eq!(asked.len(), 1);
    }

    #[test]
    fn what_a_process_that_is_gone_was_asked_counts_once_as_well() {
        let mut asked = AskedPeers::default();
        let numbers = [1, 2].map(|slot| asked.ask(PEER, confirmation(slot)));
        let other = asked.ask(OTHER, confirmation(3));
        assert_eq!(asked.answered(PEER, numbers[0]), Some(confirmation(1)));
        asked.end(PEER);
        asked.end(PEER);
        assert!(asked.has_ended());
        assert_eq!(asked.answered(PEER, numbers[1]), None, "it is gone");
        // Another process has its slot.
        let next = asked.ask(PEER, confirmation(4));
        assert!(next > numbers[1]);
        assert_eq!(asked.next_ended(), Some(confirmation(2)));
        assert_eq!(asked.next_ended(), None);
        assert!(!asked.has_ended());
        assert_eq!(
            (asked.answered(PEER, next), asked.answered(OTHER, other)),
            (Some(confirmation(4)), Some(confirmation(3)))
        );
        assert_eq!(asked.len(), 0);
    }

    #[test]
    fn a_number_that_waits_is_not_given_again() {
        let mut asked = AskedPeers { last: u32::MAX - 1, ..AskedPeers::default() };
        let numbers = [1, 2, 3].map(|slot| asked.ask(PEER, confirmation(slot)));
        assert_eq!(numbers, [AckNumber(u32::MAX), AckNumber(0), AckNumber(1)]);
        asked.last = u32::MAX - 1;
        assert_eq!(asked.answered(PEER, AckNumber(0)), Some(confirmation(2)));
        assert_eq!(asked.ask(PEER, confirmation(4)), AckNumber(0));
        assert_eq!(asked.ask(PEER, confirmation(5)), AckNumber(2));
    }
}
