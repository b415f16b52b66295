//! The lane by which a thread that is no shard puts commands to one and gets its answers, and by which it answers what the
//! shard asks.
//!
//! Always holds: the lane is bounded both ways, and neither side waits for the other: a full lane refuses the command, an
//! answer that nobody takes is dropped, and a question that nobody can take is answered with "unavailable". A shard that sleeps
//! wakes for a command and for a verdict. What one lane was given is handled in the order in which it was sent, a few
//! commands in each turn ([`COMMANDS_PER_TURN`]).
//! Leaves to others: what a command means (`shard`), who may give it, and who finds the answers.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::auth::{Ask, AskId, Verdict};
use crate::ids::ShardId;
use crate::limits::{COMMANDS_PER_TURN, INBOX_COMMANDS, PENDING_CONNECTS_MAX, VERDICTS_PER_TURN};
use crate::ring::PlaneHandle;
use crate::shard::{Command, Reply, RequestId};

/// Takes the answer to a command, on the shard's thread: it may pass it on and no more. It is dropped unused when the shard
/// stops before it has answered.
type ReplyTo = Box<dyn FnOnce(Reply) + Send>;

/// A command and where its answer goes.
struct AskedCommand {
    command: Command,
    reply_to: ReplyTo,
}

/// Where the questions of shards go, each with the shard that asks: the verdict goes back by that shard's lane. One for all
/// shards.
pub(crate) type Asker = Sender<(ShardId, Ask)>;

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

impl<T> From<TrySendError<T>> for SendError {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Self::Full,
            TrySendError::Disconnected(_) => Self::Stopped,
        }
    }
}

/// The end of a lane that sends. May be cloned and used by any thread.
#[derive(Clone)]
pub(crate) struct InboxSender {
    requests: Sender<AskedCommand>,
    verdicts: Sender<(AskId, Verdict)>,
    sockets: Sender<OwnedFd>,
    plane: PlaneHandle,
}

impl InboxSender {
    /// Answers a question of the shard. An answer that does not reach it is as good as none: the question has a deadline.
    pub(crate) fn answer(&self, ask: AskId, verdict: Verdict) -> Result<(), SendError> {
        self.verdicts.try_send((ask, verdict)).map_err(SendError::from)?;
        self.plane.wake();
        Ok(())
    }

    /// Connects a service of this process: the shard takes the socket for an accepted one. Where there is no room for it, its other end sees it close.
    pub(crate) fn connect(&self, socket: OwnedFd) -> Result<(), SendError> {
        self.sockets.try_send(socket).map_err(SendError::from)?;
        self.plane.wake();
        Ok(())
    }

    /// Sends a command; its answer comes by the channel that is returned, or the channel is closed without one when the shard
    /// stops.
    pub(crate) fn send(&self, command: Command) -> Result<Receiver<Reply>, SendError> {
        let (reply_to, reply) = bounded(1);
        // Whoever asked may have given up.
        self.send_then(command, move |reply| drop(reply_to.try_send(reply)))?;
        Ok(reply)
    }

    /// Sends a command; its answer is handed to `then` on the shard's thread, which must not be held up by it. `then` is
    /// dropped unused when the shard stops first.
    pub(crate) fn send_then(
        &self,
        command: Command,
        then: impl FnOnce(Reply) + Send + 'static,
    ) -> Result<(), SendError> {
        self.requests.try_send(AskedCommand { command, reply_to: Box::new(then) }).map_err(SendError::from)?;
        self.plane.wake();
        Ok(())
    }
}

/// The shard's end of a lane.
pub(crate) struct Inbox {
    requests: Receiver<AskedCommand>,
    /// Who waits for which answer.
    waiting: HashMap<RequestId, ReplyTo>,
    last: RequestId,
    commands_taken: usize,
    verdicts: Receiver<(AskId, Verdict)>,
    verdicts_taken: usize,
    /// Of services that connect.
    sockets: Receiver<OwnedFd>,
    /// Nobody answers without it.
    asker: Option<(ShardId, Asker)>,
    /// Questions that nobody could take.
    unanswered: VecDeque<AskId>,
}

/// A lane to the shard whose plane `plane` reaches. What the shard asks goes to `asker`, if anybody answers.
pub(crate) fn lane(plane: PlaneHandle, asker: Option<(ShardId, Asker)>) -> (InboxSender, Inbox) {
    let (requests_sender, requests) = bounded(INBOX_COMMANDS);
    let (verdicts_sender, verdicts) = bounded(PENDING_CONNECTS_MAX);
    let (sockets_sender, sockets) = bounded(INBOX_COMMANDS);
    let inbox = Inbox {
        requests,
        waiting: HashMap::new(),
        last: RequestId(0),
        commands_taken: 0,
        verdicts,
        verdicts_taken: 0,
        sockets,
        asker,
        unanswered: VecDeque::new(),
    };
    let sender = InboxSender { requests: requests_sender, verdicts: verdicts_sender, sockets: sockets_sender, plane };
    (sender, inbox)
}

impl Inbox {
    /// A turn begins: as many commands and verdicts may be taken again.
    pub(crate) const fn begin_turn(&mut self) {
        self.commands_taken = 0;
        self.verdicts_taken = 0;
    }

    /// Passes a question on to whoever answers.
    pub(crate) fn ask(&mut self, ask: Ask) {
        let id = ask.id;
        let is_taken = self.asker.as_ref().is_some_and(|(shard, asker)| asker.try_send((*shard, ask)).is_ok());
        if !is_taken {
            self.unanswered.push_back(id);
        }
    }

    /// The next verdict that this turn has time for.
    pub(crate) fn next_verdict(&mut self) -> Option<(AskId, Verdict)> {
        if self.verdicts_taken == VERDICTS_PER_TURN {
            return None;
        }
        let unanswered = self.unanswered.pop_front().map(|ask| (ask, Verdict::Unavailable));
        let verdict = unanswered.or_else(|| self.verdicts.try_recv().ok())?;
        self.verdicts_taken += 1;
        Some(verdict)
    }

    /// The next service that connects.
    pub(crate) fn next_socket(&mut self) -> Option<OwnedFd> {
        self.sockets.try_recv().ok()
    }

    /// The next command that this turn has time for, and the name of its answer.
    pub(crate) fn next_command(&mut self) -> Option<(RequestId, Command)> {
        if self.commands_taken == COMMANDS_PER_TURN {
            return None;
        }
        let AskedCommand { command, reply_to } = self.requests.try_recv().ok()?;
        self.commands_taken += 1;
        self.last.0 += 1;
        self.waiting.insert(self.last, reply_to);
        Some((self.last, command))
    }

    /// Gives an answer to whoever waits for it.
    pub(crate) fn reply(&mut self, request: RequestId, reply: Reply) {
        let reply_to = self.waiting.remove(&request).expect("a command is answered once");
        reply_to(reply);
    }

    /// Whether no command, no verdict and no service waits.
    pub(crate) fn is_quiet(&self) -> bool {
        self.requests.is_empty() && self.verdicts.is_empty() && self.sockets.is_empty() && self.unanswered.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{ConnectQuestion, Question};
    use crate::codec::{Connect, Version};
    use crate::ids::ConnectionId;
    use crate::ring::{Plane, PlaneConfig};
    use crate::time::Deadline;
    use std::time::{Duration, Instant};

    fn plane() -> Plane {
        Plane::new(PlaneConfig { sockets_max: 16, buffers: 16, ..PlaneConfig::default() }).unwrap()
    }

    #[test]
    fn each_answer_reaches_who_asked_and_a_turn_takes_a_few_commands() {
        let plane = plane();
        let (sender, mut inbox) = lane(plane.handle(), None);
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
        let (sender, inbox) = lane(plane.handle(), None);
        let kept: Vec<_> = (0..INBOX_COMMANDS).map(|_| sender.send(Command::Counts).unwrap()).collect();
        assert_eq!(sender.send(Command::Counts).map(drop), Err(SendError::Full));
        drop(inbox);
        assert_eq!(sender.send(Command::Counts).map(drop), Err(SendError::Stopped));
        assert!(kept.iter().all(|answer| answer.try_recv().is_err()), "and no answer comes any more");
    }

    #[test]
    fn an_asker_who_gave_up_holds_nothing_up() {
        let plane = plane();
        let (sender, mut inbox) = lane(plane.handle(), None);
        drop(sender.send(Command::Counts).unwrap());
        let (request, _) = inbox.next_command().unwrap();
        inbox.reply(request, Reply::Done);
        assert!(inbox.waiting.is_empty());
    }

    #[test]
    fn a_plane_that_sleeps_wakes_for_every_command() {
        let mut plane = plane();
        let (sender, mut inbox) = lane(plane.handle(), None);
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

    fn ask(number: u64) -> Ask {
        let connect = Connect::new(Version::V5, "c", true);
        let question = Question::Connect(Box::new(ConnectQuestion::about(&connect, "public")));
        Ask { id: AskId(number), connection: ConnectionId::new(number as u32, 0), deadline: Deadline(5_000), question }
    }

    #[test]
    fn a_question_reaches_who_answers_and_a_pump_that_sleeps_wakes_for_the_verdict() {
        let mut plane = plane();
        let (asker, questions) = bounded(4);
        let (sender, mut inbox) = lane(plane.handle(), Some((ShardId(3), asker)));
        let answerer = std::thread::spawn(move || {
            for (shard, ask) in questions {
                assert_eq!(shard, ShardId(3));
                sender.answer(ask.id, Verdict::Admit).unwrap();
            }
        });
        for number in 0..200 {
            inbox.ask(ask(number));
            let deadline = Instant::now() + Duration::from_secs(20);
            let verdict = loop {
                inbox.begin_turn();
                if let Some(verdict) = inbox.next_verdict() {
                    break verdict;
                }
                assert!(Instant::now() < deadline, "the plane slept on");
                plane.wait(Some(Duration::from_secs(20)), || inbox.is_quiet()).unwrap();
            };
            assert_eq!(verdict, (AskId(number), Verdict::Admit));
        }
        drop(inbox);
        answerer.join().unwrap();
    }

    #[test]
    fn what_nobody_can_take_is_unavailable_a_few_each_turn() {
        let plane = plane();
        let (_, mut inbox) = lane(plane.handle(), None);
        let (asker, questions) = bounded(1);
        let (_, mut slow) = lane(plane.handle(), Some((ShardId(0), asker)));
        slow.ask(ask(1));
        slow.ask(ask(2));
        assert_eq!(slow.next_verdict(), Some((AskId(2), Verdict::Unavailable)), "the lane is full");
        assert_eq!((slow.next_verdict(), questions.len()), (None, 1));
        for number in 0..2 * VERDICTS_PER_TURN as u64 {
            inbox.ask(ask(number));
        }
        let mut answered = Vec::new();
        while !inbox.is_quiet() {
            inbox.begin_turn();
            let turn: Vec<_> = std::iter::from_fn(|| inbox.next_verdict()).collect();
            assert_eq!(turn.len(), VERDICTS_PER_TURN);
            answered.extend(turn);
        }
        assert!((0..).zip(answered).all(|(number, verdict)| verdict == (AskId(number), Verdict::Unavailable)));
    }
}
