//! What a back end has said of one client: kept for a while, so that it is asked once for each topic.
//!
//! Always holds: at most [`TOPIC_DECISIONS_MAX`] decisions are kept, and the oldest goes first; one whose time is over counts until the
//! client's next packet, so that what was decided for a packet holds for it. Topics are compared by keyed hashes first: 256 long ones that
//! are alike but for their ends would take milliseconds.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};

use crate::auth::acl::TopicPattern;
use crate::auth::{AskedTopic, TopicAction, TopicAnswer, TopicDecision};
use crate::ids::Qos;
use crate::limits::TOPIC_DECISIONS_MAX;
use crate::time::{Deadline, Now};

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct RemoteDecisions {
    /// In the order in which their time is over.
    kept: VecDeque<KeptDecision>,
    /// Filters that the client was allowed, with the hashes of their texts; what they match is delivered.
    granted: VecDeque<(u64, TopicPattern)>,
    key: RandomState,
    /// The will, which may be published long after it was decided about.
    will: Option<(AskedTopic, Option<TopicDecision>)>,
}

#[derive(Clone, Debug)]
struct KeptDecision {
    hash: u64,
    asked: AskedTopic,
    decision: TopicDecision,
    until: Deadline,
}

impl RemoteDecisions {
    /// The client comes back: the filters that it was allowed stay so, as they do while it is connected.
    pub(super) fn inherit(&mut self, held: &mut Self) {
        self.granted = std::mem::take(&mut held.granted);
        self.key = held.key.clone();
    }

    /// The filters that the client was allowed before a restart, the latest last.
    pub(super) fn restore_filters(&mut self, filters: &[Box<str>]) {
        for filter in filters {
            self.grant(filter, true);
        }
    }

    /// The filters that the client was allowed, the latest last.
    #[cfg(test)]
    pub(super) fn filters(&self) -> impl Iterator<Item = &TopicPattern> {
        self.granted.iter().map(|(_, filter)| filter)
    }

    /// What was said of the will, if it was.
    #[cfg(test)]
    pub(super) fn will_decision(&self) -> Option<TopicDecision> {
        self.will.as_ref().and_then(|&(_, decision)| decision)
    }

    /// Whether this is the question about the will.
    pub(super) fn is_about_will(&self, asked: &AskedTopic) -> bool {
        self.will.as_ref().is_some_and(|(will, _)| will == asked)
    }

    /// What was said of the will.
    pub(super) fn decide_will(&mut self, decision: TopicDecision) {
        if let Some((_, decided)) = &mut self.will {
            *decided = Some(decision);
        }
    }

    /// Forgets what has no time any more. Returns whether there was anything.
    pub(super) fn forget_expired(&mut self, now: Now) -> bool {
        let before = self.kept.len();
        while self.kept.front().is_some_and(|kept| kept.until.is_due(now)) {
            self.kept.pop_front();
        }
        self.kept.len() < before
    }

    /// What was said of this.
    pub(super) fn get(&self, asked: &AskedTopic) -> Option<TopicDecision> {
        let of_will = self.will.as_ref().filter(|(will, _)| will == asked).and_then(|&(_, decision)| decision);
        let hash = self.key.hash_one(asked);
        let is_this = |kept: &&KeptDecision| kept.hash == hash && kept.asked == *asked;
        of_will.or_else(|| self.kept.iter().find(is_this).map(|kept| kept.decision))
    }

    /// Keeps what was said, for a time or for the packet that it was asked for.
    pub(super) fn keep(&mut self, now: Now, cache_s: u32, asked: AskedTopic, answer: TopicAnswer) {
        let TopicAnswer { decision, is_kept } = answer;
        if self.is_about_will(&asked) {
            self.decide_will(decision);
        }
        if asked.action == TopicAction::Subscribe {
            self.grant(&asked.topic, decision == TopicDecision::Allow);
        }
        let hash = self.key.hash_one(&asked);
        self.kept.retain(|kept| kept.hash != hash || kept.asked != asked);
        if self.kept.len() >= TOPIC_DECISIONS_MAX {
            self.kept.pop_front();
        }
        let until = if is_kept { now.after_s(cache_s) } else { now.after_ms(0) };
        let at = self.kept.partition_point(|kept| kept.until <= until);
        self.kept.insert(at, KeptDecision { hash, asked, decision, until });
    }

    fn grant(&mut self, filter: &str, is_allowed: bool) {
        let Ok(pattern) = TopicPattern::literal(filter) else { return };
        let hash = self.key.hash_one(filter);
        self.granted.retain(|(other, granted)| *other != hash || *granted != pattern);
        if is_allowed {
            if self.granted.len() >= TOPIC_DECISIONS_MAX {
                self.granted.pop_front();
            }
            self.granted.push_back((hash, pattern));
        }
    }

    /// What holds for a filter that the client is subscribed to, also when its decision has no time any more.
    pub(super) fn of_held_filter(&self, filter: &str) -> TopicDecision {
        let hash = self.key.hash_one(filter);
        let is_granted = self.granted.iter().any(|(other, pattern)| {
            *other == hash && TopicPattern::literal(filter).is_ok_and(|literal| *pattern == literal)
        });
        if is_granted { TopicDecision::Allow } else { TopicDecision::Ignore }
    }

    /// Whether the client was allowed a filter that matches this topic.
    pub(super) fn delivers(&self, topic: &str) -> bool {
        self.granted.iter().any(|(_, pattern)| pattern.matches_topic(topic))
    }

    /// The client leaves this will, about which somebody is asked.
    pub(super) fn set_will(&mut self, topic: &str, qos: Qos, retain: bool) -> AskedTopic {
        let asked = AskedTopic { action: TopicAction::Publish, topic: topic.into(), qos, retain };
        self.will = Some((asked.clone(), None));
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Now {
        Now { mono_ns: s * 1_000_000_000, unix_ms: 0 }
    }

    fn asked(topic: &str) -> AskedTopic {
        AskedTopic { action: TopicAction::Publish, topic: topic.into(), qos: Qos::AtMostOnce, retain: false }
    }

    const ALLOW: TopicAnswer = TopicAnswer { decision: TopicDecision::Allow, is_kept: true };

    #[test]
    fn a_decision_is_kept_for_its_time_and_one_of_a_failure_for_its_packet() {
        let mut decisions = RemoteDecisions::default();
        decisions.keep(at(0), 60, asked("a"), ALLOW);
        decisions.keep(at(1), 60, asked("b"), TopicAnswer { decision: TopicDecision::Deny, is_kept: false });
        assert_eq!(decisions.get(&asked("b")), Some(TopicDecision::Deny), "until the next packet");
        assert!(decisions.forget_expired(at(1)));
        assert_eq!((decisions.get(&asked("a")), decisions.get(&asked("b"))), (Some(TopicDecision::Allow), None));
        let other_qos = AskedTopic { qos: Qos::AtLeastOnce, ..asked("a") };
        assert_eq!(decisions.get(&other_qos), None, "a back end may tell them apart");
        assert!(!decisions.forget_expired(at(59)) && decisions.forget_expired(at(60)));
        assert_eq!(decisions.get(&asked("a")), None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_will_stays() {
        let mut decisions = RemoteDecisions::default();
        let will = decisions.set_will("will", Qos::AtMostOnce, false);
        assert_eq!(decisions.get(&will), None);
        decisions.keep(at(0), 60, will.clone(), ALLOW);
        for n in 0..=TOPIC_DECISIONS_MAX {
            let filter = AskedTopic { action: TopicAction::Subscribe, ..asked(&format!("f/{n}")) };
            decisions.keep(at(0), 60, filter, ALLOW);
        }
        assert_eq!((decisions.kept.len(), decisions.granted.len()), (TOPIC_DECISIONS_MAX, TOPIC_DECISIONS_MAX));
        assert!(decisions.delivers("f/1") && !decisions.delivers("f/0") && !decisions.delivers("x"));
        decisions.forget_expired(at(1_000));
        assert_eq!(decisions.get(&will), Some(TopicDecision::Allow));
    }
}
