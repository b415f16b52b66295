//! What one client may do, whoever says it: its own rules, somebody who is asked, the rules of the file.
//!
//! Always holds: they are looked at in that order, and the first that speaks decides; who is asked and has not answered says no; a superuser
//! is asked nothing.

use std::sync::Arc;

use crate::auth::TopicDecision;
use crate::auth::acl::{Decision, RuleSet, SubscribeRight};
use crate::time::Deadline;

/// What a client may do beside what the rules of the file say.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientRights {
    /// No rule applies to it.
    pub is_superuser: bool,
    /// Rules of its own, which are looked at before those of the file.
    pub rules: Option<Arc<RuleSet>>,
    /// When the connection ends unless it has shown something newer by then.
    pub ends: Option<Deadline>,
    /// The method of enhanced authentication by which it came in.
    pub method: Option<Box<str>>,
}

impl ClientRights {
    /// Whether they say anything about topics.
    pub(super) const fn speak(&self) -> bool {
        self.is_superuser || self.rules.is_some()
    }

    /// The decision of the client's rules, or else of somebody who is asked, or else of the file's rules.
    pub(super) fn decide<'a>(
        &'a self,
        rules: Option<&'a RuleSet>,
        remote: RemoteWord,
        ask: impl Fn(&'a RuleSet) -> Decision<'a>,
    ) -> bool {
        if self.is_superuser {
            return true;
        }
        if let Some(own) = self.rules.as_deref().map(&ask).filter(|decision| decision.rule.is_some()) {
            return own.allowed;
        }
        match remote {
            RemoteWord::Said(TopicDecision::Allow) => true,
            RemoteWord::Said(TopicDecision::Deny | TopicDecision::Unasked) | RemoteWord::Nothing => false,
            // What a client's own rules do not name is not allowed, where there are no others.
            RemoteWord::NotAsked => rules.map_or(self.rules.is_none(), |rules| ask(rules).allowed),
            RemoteWord::Said(TopicDecision::Ignore) => rules.is_some_and(|rules| ask(rules).allowed),
        }
    }

    /// What may come of a subscription, likewise.
    pub(super) fn decide_subscription(
        &self,
        rules: Option<&RuleSet>,
        remote: RemoteWord,
        ask: impl Fn(&RuleSet) -> (SubscribeRight, bool),
    ) -> SubscribeRight {
        if self.is_superuser {
            return SubscribeRight::Wholly;
        }
        let right = match self.rules.as_deref().map(&ask) {
            Some((right, true)) => return right,
            _ => match remote {
                RemoteWord::Said(TopicDecision::Allow) => SubscribeRight::Wholly,
                RemoteWord::Said(TopicDecision::Deny | TopicDecision::Unasked) | RemoteWord::Nothing => {
                    SubscribeRight::Refused
                }
                RemoteWord::Said(TopicDecision::Ignore) => rules.map_or(SubscribeRight::Refused, |rules| ask(rules).0),
                RemoteWord::NotAsked if rules.is_none() && self.rules.is_none() => SubscribeRight::Wholly,
                RemoteWord::NotAsked => rules.map_or(SubscribeRight::Refused, |rules| ask(rules).0),
            },
        };
        // The client's own rules may cut out a part.
        if right == SubscribeRight::Wholly && self.rules.is_some() { SubscribeRight::Partly } else { right }
    }
}

/// What somebody else says of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteWord {
    /// Nobody is asked about this client.
    NotAsked,
    /// Nothing yet.
    Nothing,
    Said(TopicDecision),
}
