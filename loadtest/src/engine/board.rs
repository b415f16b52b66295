//! What the workers of one process tell each other while they run: how far each stream is, what is owed to anybody, and who has
//! which message of the closed loop.
//!
//! Always holds: a worker never waits for another here; a note is taken in the turn after it was left, because its worker is woken for
//! it; `owed` is never less than what is really owed, because a message is added before it is sent and taken off after it came.
//!
//! Leaves to others: parts in other processes, of which nothing can be known while they run.

use super::tally::Tally;
use crate::plan::{Part, Plan};
use dunlin::ring::PlaneHandle;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What all workers of a process share.
pub(super) struct Board {
    /// Clients of this process, among all that share the plan.
    process: Part,
    desks: Vec<Desk>,
    /// By stream: the sequence number of its next message. Only the stream's own worker writes it.
    sequences: Box<[AtomicU32]>,
    any_sent: AtomicBool,
    owed: AtomicI64,
    /// How often a worker ended the action of a stage.
    actions_ended: AtomicU64,
    /// A worker is gone: nobody waits for it.
    has_left: AtomicBool,
}

/// Where the others leave notes for a worker.
#[derive(Default)]
struct Desk {
    notes: Mutex<Vec<Note>>,
    has_notes: AtomicBool,
    plane: OnceLock<PlaneHandle>,
}

/// A subscriber has a message of the closed loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) stream: u32,
    pub(super) sequence: u32,
}

impl Board {
    /// For so many workers, which share out the clients of the plan's part.
    pub(super) fn new(plan: &Plan, workers: u32) -> Arc<Self> {
        let streams = plan.groups.iter().filter_map(|group| {
            let publishing = group.publishing.as_ref()?;
            Some(publishing.targets.map_or(group.clients, |targets| targets.count))
        });
        Arc::new(Self {
            process: plan.part,
            desks: (0..workers).map(|_| Desk::default()).collect(),
            sequences: (0..streams.sum::<u32>()).map(|_| AtomicU32::new(0)).collect(),
            any_sent: AtomicBool::new(false),
            owed: AtomicI64::new(0),
            actions_ended: AtomicU64::new(0),
            has_left: AtomicBool::new(false),
        })
    }

    /// The part of the plan that a worker has.
    pub(super) fn part(&self, worker: u32) -> Part {
        Part { index: self.process.index + worker * self.process.of, of: self.process.of * self.desks.len() as u32 }
    }

    /// A worker will end no action any more.
    pub(super) fn leave(&self) {
        self.has_left.store(true, Ordering::SeqCst);
    }
}

/// A worker's own view of the board.
pub(super) struct Seat {
    board: Arc<Board>,
    worker: u32,
    /// By worker: notes of this turn.
    outgoing: Vec<Vec<Note>>,
    incoming: Vec<Note>,
    /// What of `owed` is this worker's.
    posted: i64,
    /// Actions that this worker ended.
    ended: u64,
}

impl Seat {
    pub(super) fn new(board: Arc<Board>, worker: u32) -> Self {
        let outgoing = board.desks.iter().map(|_| Vec::new()).collect();
        Self { board, worker, outgoing, incoming: Vec::new(), posted: 0, ended: 0 }
    }

    /// The clients of this process.
    pub(super) fn process(&self) -> Part {
        self.board.process
    }

    /// Whether all of the plan runs in this process.
    pub(super) fn is_whole(&self) -> bool {
        self.board.process.of == 1
    }

    /// How others wake this worker.
    pub(super) fn sit_down(&self, plane: PlaneHandle) {
        self.board.desks[self.worker as usize].plane.get_or_init(|| plane);
    }

    /// The sequence number of a stream's next message.
    #[inline]
    pub(super) fn next_of(&self, stream: u32) -> u32 {
        self.board.sequences[stream as usize].load(Ordering::Relaxed)
    }

    /// Takes the next sequence number of a stream of this worker.
    #[inline]
    pub(super) fn take_next(&self, stream: u32) -> u32 {
        let next = self.next_of(stream);
        self.board.sequences[stream as usize].store(next.wrapping_add(1), Ordering::Relaxed);
        if !self.any_sent() {
            self.board.any_sent.store(true, Ordering::Relaxed);
        }
        next
    }

    /// Whether anybody in this process has sent a message.
    #[inline]
    pub(super) fn any_sent(&self) -> bool {
        self.board.any_sent.load(Ordering::Relaxed)
    }

    /// Leaves a note for the worker of a publisher, if it is another one of this process. `index` is the publisher's in its group.
    #[inline]
    pub(super) fn note(&mut self, index: u32, note: Note) {
        let process = self.board.process;
        if self.outgoing.len() < 2 || index % process.of != process.index {
            return;
        }
        let worker = index / process.of % self.outgoing.len() as u32;
        if worker != self.worker {
            self.outgoing[worker as usize].push(note);
        }
    }

    /// Puts on the board what is new on this side. To be called before what was written is sent.
    pub(super) fn post(&mut self, tally: &Tally) {
        if self.outgoing.len() < 2 {
            return;
        }
        let balance = tally.balance();
        if balance != self.posted {
            self.board.owed.fetch_add(balance - self.posted, Ordering::SeqCst);
            self.posted = balance;
        }
        for (desk, notes) in self.board.desks.iter().zip(&mut self.outgoing).filter(|(_, notes)| !notes.is_empty()) {
            desk.notes.lock().unwrap_or_else(PoisonError::into_inner).append(notes);
            desk.has_notes.store(true, Ordering::SeqCst);
            if let Some(plane) = desk.plane.get() {
                plane.wake();
            }
        }
    }

    /// Whether somebody left a note.
    #[inline]
    pub(super) fn has_notes(&self) -> bool {
        self.board.desks[self.worker as usize].has_notes.load(Ordering::SeqCst)
    }

    /// The notes that others left; to be given back, so that their memory is used again.
    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        let mut notes = std::mem::take(&mut self.incoming);
        notes.clear();
        let desk = &self.board.desks[self.worker as usize];
        desk.has_notes.store(false, Ordering::SeqCst);
        std::mem::swap(&mut notes, &mut *desk.notes.lock().unwrap_or_else(PoisonError::into_inner));
        notes
    }

    /// Takes the list back.
    pub(super) fn give_back(&mut self, notes: Vec<Note>) {
        self.incoming = notes;
    }

    /// This worker has ended the action of a stage.
    pub(super) fn end_action(&mut self) {
        self.ended += 1;
        self.board.actions_ended.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether nothing is owed to anybody of this process, and nobody's action goes on that could change it.
    pub(super) fn is_settled(&mut self, tally: &Tally) -> bool {
        if self.outgoing.len() < 2 {
            return tally.owed() == 0;
        }
        self.post(tally);
        let have_all_ended = self.board.has_left.load(Ordering::SeqCst)
            || self.board.actions_ended.load(Ordering::SeqCst) >= self.ended * self.outgoing.len() as u64;
        have_all_ended && self.board.owed.load(Ordering::SeqCst) <= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use crate::preset::{self, Tuning};

    fn seats(workers: u32, process: Part) -> Vec<Seat> {
        let plan = Plan { part: process, ..preset::build("quick", &Tuning::default()).unwrap() };
        let board = Board::new(&plan, workers);
        (0..workers).map(|worker| Seat::new(Arc::clone(&board), worker)).collect()
    }

    #[test]
    fn a_note_reaches_the_worker_whose_part_has_the_publisher() {
        for of in [1, 3] {
            for index in 0..of {
                let mut seats = seats(4, Part { index, of });
                for client in 0..100 {
                    let note = Note { stream: client, sequence: 7 };
                    seats[0].note(client, note);
                    seats[0].post(&Tally::new(Outcome::default()));
                    let found: Vec<u32> =
                        (0..4).filter(|worker| !seats[*worker as usize].take_notes().is_empty()).collect();
                    let expected: Vec<u32> = (1..4).filter(|worker| seats[0].board.part(*worker).has(client)).collect();
                    assert_eq!(found, expected, "client {client} of part {index} of {of}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_settled_while_anybody_is_owed_or_acts() {
        let mut seats = seats(2, Part::default());
        let (mut sender, mut receiver) = (Tally::new(Outcome::default()), Tally::new(Outcome::default()));
        sender.outcome.verdict.deliveries[1].expected = 1;
        seats[0].post(&sender);
        seats[1].end_action();
        assert!(!seats[1].is_settled(&receiver), "the sender acts, and one is owed");
        seats[0].end_action();
        assert!(!seats[1].is_settled(&receiver) && !seats[0].is_settled(&sender), "one is owed");
        receiver.outcome.verdict.deliveries[1].received = 1;
        assert!(seats[1].is_settled(&receiver) && seats[0].is_settled(&sender));
        seats[0].end_action();
        assert!(!seats[0].is_settled(&sender), "the other has not ended this one");
        seats[0].board.leave();
        assert!(seats[0].is_settled(&sender));
    }

    #[test]
    fn sequences_are_one_for_all() {
        let seats = seats(2, Part::default());
        assert!(!seats[1].any_sent());
        assert_eq!((seats[0].take_next(5), seats[0].take_next(5), seats[1].next_of(5)), (0, 1, 2));
        assert!(seats[1].any_sent());
    }
}
