//! Questions to shards, from tasks that wait for the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::inbox::{InboxSender, SendError};
use crate::limits::ADMIN_REPLY_MAX_S;
use crate::shard::{Command, Reply};
use crate::telemetry::Report;

/// How long a change waits before it looks again whether a lane has room: a shard takes some commands a turn.
const ROOM_PAUSE: Duration = Duration::from_millis(1);

/// The way to all shards.
#[derive(Clone)]
pub(super) struct Shards(Arc<[InboxSender]>);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    /// Its lane is full, or it has stopped.
    #[error("shard {0} takes no question: {1}")]
    NotTaken(usize, SendError),
    /// It has stopped before it answered.
    #[error("shard {0} has stopped")]
    Stopped(usize),
    /// It has not answered in time.
    #[error("shard {0} has not answered within {ADMIN_REPLY_MAX_S} s")]
    Late(usize),
}

impl Shards {
    pub(super) fn new(inboxes: Vec<InboxSender>) -> Self {
        Self(inboxes.into())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The answer of one shard, which is numbered from 0.
    pub(super) async fn ask(&self, shard: usize, command: Command) -> Result<Reply, Unanswered> {
        let answer = self.send(shard, command)?;
        wait(shard, answer).await
    }

    /// Asks all shards at once. The answers are in their order.
    pub(super) async fn ask_all(&self, command: &Command) -> Result<Vec<Reply>, Unanswered> {
        let sent = (0..self.len()).map(|shard| self.send(shard, command.clone()));
        let sent = sent.collect::<Result<Vec<_>, _>>()?;
        let mut replies = Vec::with_capacity(sent.len());
        for (shard, answer) in sent.into_iter().enumerate() {
            replies.push(wait(shard, answer).await?);
        }
        Ok(replies)
    }

    /// Asks all shards for a change. Whatever one of them answers, the others are asked and heard, and a full lane is waited for: who takes a
    /// change back behind this knows that each shard sees both, in this order.
    pub(super) async fn change_all(&self, command: &Command) -> Result<Vec<Reply>, Unanswered> {
        let until = Instant::now() + Duration::from_secs(ADMIN_REPLY_MAX_S);
        let mut sent = Vec::with_capacity(self.len());
        for shard in 0..self.len() {
            sent.push(self.send_into_room(shard, command, until).await);
        }
        let mut replies = Vec::with_capacity(sent.len());
        for (shard, sent) in sent.into_iter().enumerate() {
            replies.push(match sent {
                Ok(answer) => wait(shard, answer).await,
                Err(unanswered) => Err(unanswered),
            });
        }
        replies.into_iter().collect()
    }

    /// Sends it as soon as the shard's lane has room.
    async fn send_into_room(
        &self,
        shard: usize,
        command: &Command,
        until: Instant,
    ) -> Result<oneshot::Receiver<Reply>, Unanswered> {
        loop {
            match self.send(shard, command.clone()) {
                Err(Unanswered::NotTaken(_, SendError::Full)) if Instant::now() < until => sleep(ROOM_PAUSE).await,
                sent => return sent,
            }
        }
    }

    /// Asks about one client. Its own shard knows it, the others do not.
    pub(super) async fn ask_owner(&self, command: &Command) -> Result<Reply, Unanswered> {
        let replies = self.ask_all(command).await?;
        Ok(replies.into_iter().find(|reply| *reply != Reply::NotFound).unwrap_or(Reply::NotFound))
    }

    /// What all have counted, and what each holds.
    pub(super) async fn counts(&self) -> Result<Vec<Report>, Unanswered> {
        let replies = self.ask_all(&Command::Counts).await?;
        Ok(replies
            .into_iter()
            .filter_map(|reply| match reply {
                Reply::Counts(report) => Some(*report),
                _ => None,
            })
            .collect())
    }

    /// The same of each shard by itself: nobody waits for one that does not answer for longer than `patience`.
    pub(super) async fn counts_of_each(&self, patience: Duration) -> Vec<Result<Report, Unanswered>> {
        let until = Instant::now() + patience;
        let sent: Vec<_> = (0..self.len()).map(|shard| self.send(shard, Command::Counts)).collect();
        let mut reports = Vec::with_capacity(sent.len());
        for (shard, sent) in sent.into_iter().enumerate() {
            let reply = match sent {
                Ok(answer) => timeout_at(until, answer).await.map_err(|_| Unanswered::Late(shard)),
                Err(unanswered) => Err(unanswered),
            };
            reports.push(match reply {
                Ok(Ok(Reply::Counts(report))) => Ok(*report),
                Ok(_) => Err(Unanswered::Stopped(shard)),
                Err(unanswered) => Err(unanswered),
            });
        }
        reports
    }

    fn send(&self, shard: usize, command: Command) -> Result<oneshot::Receiver<Reply>, Unanswered> {
        let (reply_to, reply) = oneshot::channel();
        let then = move |reply| drop(reply_to.send(reply)); // whoever asked may have given up
        self.0[shard].send_then(command, then).map_err(|error| Unanswered::NotTaken(shard, error))?;
        Ok(reply)
    }
}

async fn wait(shard: usize, answer: oneshot::Receiver<Reply>) -> Result<Reply, Unanswered> {
    match timeout(Duration::from_secs(ADMIN_REPLY_MAX_S), answer).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(_)) => Err(Unanswered::Stopped(shard)),
        Err(_) => Err(Unanswered::Late(shard)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::lane;
    use crate::ring::{Plane, PlaneConfig};

    #[tokio::test]
    async fn a_shard_that_does_not_answer_keeps_nobody_from_the_others_numbers() {
        let plane = Plane::new(PlaneConfig { sockets_max: 16, buffers: 16, ..PlaneConfig::default() }).unwrap();
        let (lively, mut inbox) = lane(plane.handle(), None);
        let (stalled, _silent) = lane(plane.handle(), None);
        let (stopped, gone) = lane(plane.handle(), None);
        drop(gone);
        let shards = Shards::new(vec![stalled, lively, stopped]);
        let asked = tokio::spawn(async move { shards.counts_of_each(Duration::from_millis(200)).await });
        let begun = Instant::now();
        let request = loop {
            tokio::task::yield_now().await;
            inbox.begin_turn();
            if let Some((request, Command::Counts)) = inbox.next_command() {
                break request;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "nobody asks");
        };
        let mut report = Report::default();
        report.counters.packets_sent = 7;
        inbox.reply(request, Reply::Counts(Box::new(report)));
        let told = asked.await.unwrap();
        assert_eq!(told[0], Err(Unanswered::Late(0)));
        assert_eq!(told[1].as_ref().map(|report| report.counters.packets_sent), Ok(7));
        assert_eq!(told[2], Err(Unanswered::NotTaken(2, SendError::Stopped)));
    }
}
