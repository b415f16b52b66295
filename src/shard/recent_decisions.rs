//! What was decided about the topics that a client used lately: mostly it uses them again.
//!
//! Always holds: a decision that was made by other rules says nothing; one client's are bounded by [`ACL_DECISIONS_KEPT`], and by
//! [`ACL_DECISION_TOPIC_MAX_BYTES`] each beside the last; a client with one topic pays for one.

use crate::limits::{ACL_DECISION_TOPIC_MAX_BYTES, ACL_DECISIONS_KEPT};

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentDecisions {
    /// The one that was made last.
    last: RecentDecision,
    /// Those before it, where there are some.
    others: Option<Box<OtherDecisions>>,
}

/// What was decided about one topic; an empty one is none.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentDecision {
    pub topic: Box<str>,
    /// The number of the rules that it is by: it says nothing once there are others.
    pub rules: u32,
    /// QoS and RETAIN, on which a rule may depend.
    pub kind: u8,
    pub allowed: bool,
}

/// Found by their order, or by a mark of the topic.
#[derive(Clone, Debug, Default)]
struct OtherDecisions {
    marks: [u64; ACL_DECISIONS_KEPT - 1],
    kept: Vec<RecentDecision>,
    /// The place of the next one.
    next: usize,
    /// The one behind that which was found last: whoever takes turns mostly does it in one order.
    expected: usize,
}

impl RecentDecision {
    #[inline]
    fn is_about(&self, rules: u32, topic: &str, kind: u8) -> bool {
        // Names differ at their ends: most of the others are told apart there, before all their bytes are compared.
        self.topic.len() == topic.len()
            && self.topic.as_bytes().last() == topic.as_bytes().last()
            && (self.rules, self.kind) == (rules, kind)
            && *self.topic == *topic
    }
}

impl RecentDecisions {
    /// What was decided about this by these rules, if that is still known.
    #[inline]
    pub(super) fn find(&mut self, rules: u32, topic: &str, kind: u8) -> Option<bool> {
        if self.last.is_about(rules, topic, kind) {
            return Some(self.last.allowed);
        }
        self.others.as_deref_mut()?.find(rules, topic, kind)
    }

    /// Whether that is known. Nothing changes by asking, so that whoever asks for the decision next finds it at once.
    pub(super) fn knows(&self, rules: u32, topic: &str, kind: u8) -> bool {
        self.last.is_about(rules, topic, kind)
            || self.others.as_deref().is_some_and(|others| others.place_of(rules, topic, kind).is_some())
    }

    /// One more.
    pub(super) fn keep(&mut self, decision: RecentDecision) {
        let before = std::mem::replace(&mut self.last, decision);
        if let Some(others) = self.others.as_deref_mut() {
            others.forget(&self.last);
        }
        let is_same = before.kind == self.last.kind && before.topic == self.last.topic;
        if !is_same && !before.topic.is_empty() && before.topic.len() <= ACL_DECISION_TOPIC_MAX_BYTES {
            self.others.get_or_insert_default().keep(before);
        }
    }

    /// None of them holds any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl OtherDecisions {
    /// Apart from those who use one topic, whose way stays short.
    #[inline(never)]
    fn find(&mut self, rules: u32, topic: &str, kind: u8) -> Option<bool> {
        let at = self.place_of(rules, topic, kind)?;
        let allowed = self.kept[at].allowed;
        self.expected = if at + 1 < self.kept.len() { at + 1 } else { 0 };
        Some(allowed)
    }

    #[inline]
    fn place_of(&self, rules: u32, topic: &str, kind: u8) -> Option<usize> {
        match self.kept.get(self.expected) {
            Some(kept) if kept.is_about(rules, topic, kind) => Some(self.expected),
            _ => self.search(rules, topic, kind),
        }
    }

    fn search(&self, rules: u32, topic: &str, kind: u8) -> Option<usize> {
        let mark = mark_of(topic, kind);
        let mut marked = self.marks.iter().zip(&self.kept);
        marked.position(|(other, kept)| *other == mark && kept.is_about(rules, topic, kind))
    }

    fn keep(&mut self, decision: RecentDecision) {
        let mark = mark_of(&decision.topic, decision.kind);
        let is_free = self.kept.get(self.next).is_some_and(|kept| kept.topic.is_empty());
        if is_free || self.kept.len() == self.marks.len() {
            self.kept[self.next] = decision;
        } else {
            self.next = self.kept.len();
            self.kept.push(decision);
        }
        self.marks[self.next] = mark;
        self.next = (self.next + 1) % self.marks.len();
    }

    /// What was decided about the same before, by whatever rules.
    fn forget(&mut self, decision: &RecentDecision) {
        let is_same = |kept: &RecentDecision| kept.kind == decision.kind && kept.topic == decision.topic;
        if let Some(at) = self.kept.iter().position(is_same) {
            self.kept[at] = RecentDecision::default();
            self.next = at;
        }
    }
}

/// Tells most topics of a client apart without reading all of them: their length, their end and their middle.
#[inline]
fn mark_of(topic: &str, kind: u8) -> u64 {
    let bytes = topic.as_bytes();
    let eight = |from: usize| {
        let eight = bytes.get(from..).and_then(<[u8]>::first_chunk).copied();
        eight.map(u64::from_le_bytes)
    };
    let ends = match (eight(bytes.len().saturating_sub(8)), eight(bytes.len().saturating_sub(8) / 2)) {
        (Some(end), Some(middle)) => end ^ middle.rotate_left(27),
        _ => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    ends ^ (bytes.len() as u64) << 48 ^ u64::from(kind) << 40
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(recent: &mut RecentDecisions, rules: u32, topic: &str, kind: u8) -> Option<bool> {
        let knows = recent.knows(rules, topic, kind);
        let found = recent.find(rules, topic, kind);
        assert_eq!(found.is_some(), knows, "{topic}");
        found
    }

    fn decided(topic: &str, kind: u8, rules: u32, allowed: bool) -> RecentDecision {
        RecentDecision { topic: topic.into(), rules, kind, allowed }
    }

    #[test]
    fn a_client_that_takes_turns_with_its_topics_is_decided_about_once_for_each() {
        let mut recent = RecentDecisions::default();
        let topics: Vec<String> = (0..ACL_DECISIONS_KEPT).map(|n| format!("fleet/truck-{n}/speed")).collect();
        let mut decisions = 0;
        for round in 0..5 {
            for (n, topic) in topics.iter().enumerate() {
                if let Some(allowed) = find(&mut recent, 1, topic, 0) {
                    assert_eq!(allowed, n % 2 == 0, "{round} {topic}");
                } else {
                    decisions += 1;
                    recent.keep(decided(topic, 0, 1, n % 2 == 0));
                }
            }
        }
        assert_eq!(decisions, topics.len());
    }

    #[test]
    fn no_decision_speaks_for_another_topic_kind_or_set_of_rules() {
        let mut recent = RecentDecisions::default();
        // Short ones, and ones that are alike at the places that are marked.
        let alike = ["a", "b", "a/b", "x/1111/middle/1111/end", "x/2222/middle/1111/end", "y/1111/middle/1111/end"];
        for (n, topic) in alike.iter().enumerate() {
            assert_eq!(find(&mut recent, 1, topic, 0), None, "{topic}");
            recent.keep(decided(topic, 0, 1, n % 2 == 0));
            assert_eq!(find(&mut recent, 1, topic, 0), Some(n % 2 == 0));
            assert_eq!(find(&mut recent, 1, topic, 1), None, "another QoS");
            assert_eq!(find(&mut recent, 2, topic, 0), None, "other rules");
        }
        for (n, topic) in alike.iter().enumerate() {
            assert_eq!(find(&mut recent, 1, topic, 0), Some(n % 2 == 0), "{topic}");
        }
        recent.forget();
        assert_eq!(find(&mut recent, 1, "a", 0), None);
    }

    #[test]
    fn a_newer_decision_takes_the_place_of_an_older_one_about_the_same() {
        let mut recent = RecentDecisions::default();
        for rules in 1..50 {
            for topic in ["a/long/topic/1", "a/long/topic/2", "a/long/topic/3"] {
                assert_eq!(find(&mut recent, rules, topic, 0), None);
                recent.keep(decided(topic, 0, rules, rules % 2 == 0));
            }
            for topic in ["a/long/topic/1", "a/long/topic/2", "a/long/topic/3"] {
                assert_eq!(find(&mut recent, rules, topic, 0), Some(rules % 2 == 0), "{topic}");
            }
            assert!(recent.others.as_ref().unwrap().kept.len() <= 3);
        }
    }

    #[test]
    fn what_is_kept_of_a_client_is_bounded() {
        let mut recent = RecentDecisions::default();
        for n in 0..1_000 {
            recent.keep(decided(&format!("{n}/{}", "x".repeat(n)), 0, 1, true));
        }
        let others = recent.others.as_ref().unwrap();
        assert_eq!(others.kept.len(), ACL_DECISIONS_KEPT - 1);
        assert!(others.kept.iter().all(|kept| kept.topic.len() <= ACL_DECISION_TOPIC_MAX_BYTES));
    }
}
