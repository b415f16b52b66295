//! Questions about topics on their way through a back end: a request for each topic, one answer for all of a question.
//!
//! Always holds: each question is answered once, when the last of its topics is decided; each request ends, if only because its time is
//! over, so nothing stays here for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::http::{HttpAnswer, HttpAuthorizer, HttpRequest};
use super::{AskId, AuthAnswer, TopicAnswer, TopicDecision, TopicsQuestion, Verdict};
use crate::ids::ShardId;

/// A question of which some topics are decided.
#[derive(Debug)]
struct PendingTopics {
    shard: ShardId,
    ask: AskId,
    authorizer: Arc<HttpAuthorizer>,
    answers: Vec<Option<TopicAnswer>>,
    left: usize,
}

/// Names one topic of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicPlace {
    question: u64,
    at: usize,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct TopicAsks {
    pending: BTreeMap<u64, PendingTopics>,
    last: u64,
}

impl TopicAsks {
    /// Requests that are to be sent for a question.
    pub(super) fn begin(
        &mut self,
        shard: ShardId,
        ask: AskId,
        question: &TopicsQuestion,
        authorizer: &Arc<HttpAuthorizer>,
    ) -> Vec<(TopicPlace, HttpRequest)> {
        self.last += 1;
        let (count, number) = (question.topics.len(), self.last);
        let requests = question.topics.iter().enumerate().map(|(at, asked)| {
            let request = authorizer.request(question, asked);
            (TopicPlace { question: number, at }, request)
        });
        let requests = requests.collect();
        let authorizer = Arc::clone(authorizer);
        self.pending.insert(number, PendingTopics { shard, ask, authorizer, answers: vec![None; count], left: count });
        requests
    }

    /// One topic is decided. Returns the answer if it was the last.
    pub(super) fn finish(&mut self, place: TopicPlace, answer: &HttpAnswer) -> Option<AuthAnswer> {
        let answer = self.pending.get(&place.question)?.authorizer.answer(answer);
        self.finish_with(place, answer)
    }

    /// There is no room to ask about one topic. Returns the answer if it was the last.
    pub(super) fn skip(&mut self, place: TopicPlace) -> Option<AuthAnswer> {
        self.finish_with(place, TopicAnswer { decision: TopicDecision::Unasked, is_kept: false })
    }

    fn finish_with(&mut self, place: TopicPlace, answer: TopicAnswer) -> Option<AuthAnswer> {
        let pending = self.pending.get_mut(&place.question)?;
        let slot = pending.answers.get_mut(place.at)?;
        if slot.replace(answer).is_none() {
            pending.left -= 1;
        }
        if pending.left > 0 {
            return None;
        }
        let PendingTopics { shard, ask, answers, .. } = self.pending.remove(&place.question)?;
        let answers = answers.into_iter().flatten().collect();
        Some(AuthAnswer { shard, ask, verdict: Verdict::Topics(answers) })
    }
}
