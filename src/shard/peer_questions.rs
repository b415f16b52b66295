//! Questions of other nodes, until all whom a message has gone to on this node have said what became of it.
//!
//! Owns: who has asked, how many confirmations are missing, and the reception so far ([`PeerQuestions`]).
//! Always holds: each question is answered once, to the process that has asked, or not at all when that is gone. On this node it is an acknowledgement
//! of [`ConnectionId::OF_NODE`], whose numbers ascend; one that waits is given to no other question.
//! Leaves to others: who is to confirm (`from_nodes`), and confirming (`ack`).

use std::collections::{BTreeMap, VecDeque};

use super::{ConfirmToken, Confirmation};
use crate::ids::{ConnectionId, ShardId};
use crate::session::{AckNumber, Reception};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct PeerQuestions {
    last: u32,
    waiting: BTreeMap<AckNumber, PeerQuestion>,
    ready: VecDeque<PeerQuestion>,
    /// How many processes that had a slot are gone.
    gone: BTreeMap<ShardId, u32>,
}

#[derive(Clone, Copy, Debug)]
struct PeerQuestion {
    /// As the peer names it.
    asked: ConfirmToken,
    /// Which of the processes that had its slot: how many were gone.
    process: u32,
    /// Confirmations that are missing.
    waits: u8,
    reception: Reception,
}

impl PeerQuestions {
    /// What the next question is called on this node.
    pub(super) fn next_token(&mut self, own: ShardId) -> ConfirmToken {
        loop {
            self.last = self.last.wrapping_add(1);
            let number = AckNumber(self.last);
            if !self.waiting.contains_key(&number) {
                return ConfirmToken { shard: own, connection: ConnectionId::OF_NODE, number };
            }
        }
    }

    /// A peer has asked `asked`, which is called `number` here and waits for so many confirmations; what is known is in the other.
    pub(super) fn add(&mut self, number: AckNumber, asked: Confirmation, waits: u8) {
        let Confirmation { token: asked, reception } = asked;
        let process = self.gone_of(asked.shard);
        let question = PeerQuestion { asked, process, waits, reception };
        if waits == 0 {
            self.ready.push_back(question);
        } else {
            let before = self.waiting.insert(number, question);
            assert!(before.is_none(), "a number that waits is given to no other question");
        }
    }

    /// One of those whom a question waits for has confirmed.
    pub(super) fn confirm(&mut self, number: AckNumber, reception: Reception) {
        let question = self.waiting.get_mut(&number).expect("nobody confirms more than was asked for");
        question.waits -= 1;
        question.reception = question.reception.max(reception);
        if question.waits == 0 {
            self.ready.extend(self.waiting.remove(&number));
        }
    }

    /// A peer's process is gone: it is answered nothing any more.
    pub(super) fn end(&mut self, peer: ShardId) {
        let gone = self.gone.entry(peer).or_default();
        *gone = gone.wrapping_add(1);
    }

    /// What is said to the process that asked first among those whose questions wait for nobody any more; `None` if there is none.
    pub(super) fn next_answer(&mut self) -> Option<Confirmation> {
        loop {
            let PeerQuestion { asked, process, reception, .. } = self.ready.pop_front()?;
            if process == self.gone_of(asked.shard) {
                return Some(Confirmation { token: asked, reception });
            }
        }
    }

    /// Questions that have no answer, those of processes that are gone included.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.ready.len()
    }

    fn gone_of(&self, peer: ShardId) -> u32 {
        self.gone.get(&peer).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ShardId = ShardId(8);
    const OTHER: ShardId = ShardId(9);

    fn asked(shard: ShardId, number: u32) -> Confirmation {
        Confirmation::of(ConfirmToken { shard, connection: ConnectionId::of_node(3), number: AckNumber(number) })
    }

    fn answers(questions: &mut PeerQuestions) -> Vec<Confirmation> {
        std::iter::from_fn(|| questions.next_answer()).collect()
    }

    #[test]
    fn a_question_is_answered_once_when_the_last_has_confirmed() {
        let mut questions = PeerQuestions::default();
        let first = questions.next_token(ShardId(1));
        questions.add(first.number, asked(PEER, 70), 2);
        let second = questions.next_token(ShardId(1));
        assert_eq!((second.shard, second.connection), (ShardId(1), ConnectionId::OF_NODE));
        questions.add(second.number, asked(OTHER, 70).and(Reception::QueuesFull), 0);
        assert_eq!(answers(&mut questions), [asked(OTHER, 70).and(Reception::QueuesFull)], "nobody has to confirm");
        questions.confirm(first.number, Reception::Taken);
        assert!(answers(&mut questions).is_empty() && questions.len() == 1);
        questions.confirm(first.number, Reception::QueuesFull);
        assert_eq!(answers(&mut questions), [asked(PEER, 70).and(Reception::Taken)]);
        assert!(answers(&mut questions).is_empty() && questions.len() == 0);
    }

    #[test]
    fn a_process_that_is_gone_is_answered_nothing_and_the_next_in_its_slot_is() {
        let mut questions = PeerQuestions::default();
        let tokens = [(); 4].map(|()| questions.next_token(ShardId(0)));
        questions.add(tokens[0].number, asked(PEER, 1), 1);
        questions.add(tokens[1].number, asked(PEER, 2), 0);
        questions.add(tokens[2].number, asked(OTHER, 1), 1);
        questions.end(PEER);
        questions.add(tokens[3].number, asked(PEER, 1), 1);
        for token in [tokens[0], tokens[2], tokens[3]] {
            questions.confirm(token.number, Reception::Taken);
        }
        let expected = [asked(OTHER, 1), asked(PEER, 1)].map(|asked| asked.and(Reception::Taken));
        assert_eq!(answers(&mut questions), expected);
        assert_eq!(questions.len(), 0);
    }

    #[test]
    fn a_number_that_waits_is_not_given_again() {
        let mut questions = PeerQuestions { last: u32::MAX, ..PeerQuestions::default() };
        let token = questions.next_token(ShardId(0));
        questions.add(token.number, asked(PEER, 1), 1);
        questions.last = u32::MAX;
        assert_eq!((token.number, questions.next_token(ShardId(0)).number), (AckNumber(0), AckNumber(1)));
    }
}
