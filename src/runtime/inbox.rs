//! The lane by which a thread that is no shard puts commands to one, and gets its answers.
//!
//! Always holds: the lane is bounded, and neither side waits for the other: a full lane refuses the command, and an answer
//! that nobody takes is dropped. A shard that sleeps wakes for a command. Commands of one lane are handled in the order in which
//! they were sent, a few in each turn ([`COMMANDS_PER_TURN`]).
//! Leaves to others: what a command means (`shard`), and who may give it.

use std::collections::HashMap;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::limits::{COMMANDS_PER_TURN, INBOX_COMMANDS};
use crate::ring::PlaneHandle;
use crate::shard::{Command, Reply, RequestId};

/// A command and where its answer goes.
struct Request {
    command: Command,
    reply_to: Sender<Reply>,
}

/// Why a command did not reach its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// Too many commands wait for it.
    #[error("too many commands wait for the shard")]
    Full,
    /// Nobody takes commands any more: the process is stopping.
    #[error("the shard has stopped")]
    Stopped,
}

/// The end of a lane that sends. May be cloned and used by any thread.
#[derive(Clone)]
pub(crate) struct InboxSender {
    requests: Sender<Request>,
    plane: PlaneHandle,
}

impl InboxSender {
    /// Sends a command; its answer comes by the channel that is returned, or the channel is closed without one when the shard
    /// stops.
    pub(crate) fn send(&self, command: Command) -> Result<Receiver<Reply>, SendError> {
        let (reply_to, reply) = bounded(1);
        match self.requests.try_send(Request { command, reply_to }) {
            Ok(()) => {
                self.plane.wake();
                Ok(reply)
            }
            Err(TrySendError::Full(_)) => Err(SendError::Full),
            Err(TrySendError::Disconnected(_)) => Err(SendError::Stopped),
        }
    }
}

/// The shard's end of a lane.
pub(crate) struct Inbox {
    requests: Receiver<Request>,
    /// Who waits for which answer.
    waiting: HashMap<RequestId, Sender<Reply>>,
    last: RequestId,
    taken: usize,
}

/// A lane to the shard whose plane `plane` reaches.
pub(crate) fn lane(plane: PlaneHandle) -> (InboxSender, Inbox) {
    let (sender, requests) = bounded(INBOX_COMMANDS);
    let inbox = Inbox { requests, waiting: HashMap::new(), last: RequestId(0), taken: 0 };
    (InboxSender { requests: sender, plane }, inbox)
}

impl Inbox {
    /// A turn begins: as many commands may be taken again.
    pub(crate) const fn begin_turn(&mut self) {
        self.taken = 0;
    }

    /// The next command that this turn has time for, and the name of its answer.
    pub(crate) fn next_command(&mut self) -> Option<(RequestId, Command)> {
        if self.taken == COMMANDS_PER_TURN {
            return None;
        }
        let Request { command, reply_to } = self.requests.try_recv().ok()?;
        self.taken += 1;
        self.last.0 += 1;
        self.waiting.insert(self.last, reply_to);
        Some((self.last, command))
    }

    /// Gives an answer to whoever waits for it.
    pub(crate) fn reply(&mut self, request: RequestId, reply: Reply) {
        let reply_to = self.waiting.remove(&request).expect("a command is answered once");
        // Whoever asked may have given up.
        let _ = reply_to.try_send(reply);
    }

    /// Whether no command waits.
    pub(crate) fn is_quiet(&self) -> bool {
        self.requests.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Plane, PlaneConfig};
    use std::time::Duration;

    fn plane() -> Plane {
        Plane::new(PlaneConfig { sockets_max: 16, buffers: 16, ..PlaneConfig::default() }).unwrap()
    }

    #[test]
    fn each_answer_reaches_who_asked_and_a_turn_takes_a_few_commands() {
        let plane = plane();
        let (sender, mut inbox) = lane(plane.handle());
        let answers: Vec<_> = (0..2 * COMMANDS_PER_TURN).map(|_| sender.send(Command::Counts).unwrap()).collect();
        let mut requests = Vec::new();
        while !inbox.is_quiet() {
            inbox.begin_turn();
            let turn: Vec<RequestId> =
                std::iter::from_fn(|| inbox.next_command()).map(|(request, _)| request).collect();
            assert_eq!(turn.len(), COMMANDS_PER_TURN);
            requests.extend(turn);
        }
        for (number, &request) in requests.iter().enumerate().rev() {
            inbox.reply(request, Reply::Deleted { messages: number as u64 });
        }
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer.try_recv(), Ok(Reply::Deleted { messages: number as u64 }));
        }
    }

    #[test]
    fn a_full_lane_refuses_and_a_stopped_shard_says_so() {
        let plane = plane();
        let (sender, inbox) = lane(plane.handle());
        let kept: Vec<_> = (0..INBOX_COMMANDS).map(|_| sender.send(Command::Counts).unwrap()).collect();
        assert_eq!(sender.send(Command::Counts).map(drop), Err(SendError::Full));
        drop(inbox);
        assert_eq!(sender.send(Command::Counts).map(drop), Err(SendError::Stopped));
        assert!(kept.iter().all(|answer| answer.try_recv().is_err()), "and no answer comes any more");
    }

    #[test]
    fn an_asker_who_gave_up_holds_nothing_up() {
        let plane = plane();
        let (sender, mut inbox) = lane(plane.handle());
        drop(sender.send(Command::Counts).unwrap());
        let (request, _) = inbox.next_command().unwrap();
        inbox.reply(request, Reply::Done);
        assert!(inbox.waiting.is_empty());
    }

    #[test]
    fn a_plane_that_sleeps_wakes_for_every_command() {
        let mut plane = plane();
        let (sender, mut inbox) = lane(plane.handle());
        let asker = std::thread::spawn(move || {
            for _ in 0..200 {
                let answer = sender.send(Command::Counts).unwrap();
                assert_eq!(answer.recv_timeout(Duration::from_secs(20)), Ok(Reply::Done), "the plane slept on");
            }
        });
        while !asker.is_finished() {
            plane.wait(Some(Duration::from_millis(100)), || inbox.is_quiet()).unwrap();
            inbox.begin_turn();
            while let Some((request, _)) = inbox.next_command() {
                inbox.reply(request, Reply::Done);
            }
        }
        asker.join().unwrap();
    }
}
