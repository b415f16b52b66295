//! Questions to shards, from tasks that wait for the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::inbox::{InboxSender, SendError};
use crate::limits::ADMIN_REPLY_MAX_S;
use crate::shard::{Command, Reply};
use crate::telemetry::Report;

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
