//! What each client may do: who it is, and what the rules say of it.
//!
//! Owns: the rules in force, of each session who its client is ([`Principal`]), and which subscriptions are to be compared to them.
//! Always holds: without rules nobody is asked anything; with rules, a session of which nobody knows whose it is may do nothing. A
//! decision about the topic that a client used last is kept; a change of the rules voids it.
//! Leaves to others: what the rules mean (`auth::acl`), comparing subscriptions (`review`), what a refusal leads to (`publish`,
//! `subscribe`, `end`).

use std::collections::VecDeque;
use std::sync::Arc;

use core::net::IpAddr;

use super::sessions::Sessions;
use crate::auth::acl::{Publication, RuleSet, SubscribeRight, Who};
use crate::ids::{Qos, SessionId};
use crate::settings::ListenerSettings;

/// Whose client a session is.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    identity: ClientIdentity,
    published: LastDecision,
    received: LastDecision,
}

/// Who a client is, as far as rules ask.
#[derive(Clone, Debug)]
struct ClientIdentity {
    /// The user name that somebody has verified.
    user: Option<Box<str>>,
    listener: Arc<ListenerSettings>,
    peer: Option<IpAddr>,
}

impl ClientIdentity {
    fn who<'a>(&'a self, client_id: &'a str) -> Who<'a> {
        Who { client_id, user: self.user.as_deref(), listener: &self.listener.name, peer: self.peer }
    }
}

/// The last topic that was decided about; an empty one is none.
#[derive(Clone, Debug, Default)]
struct LastDecision {
    topic: Box<str>,
    /// QoS and RETAIN, on which a rule may depend.
    kind: u8,
    allowed: bool,
}

impl LastDecision {
    #[inline]
    fn is_about(&self, topic: &str, kind: u8) -> bool {
        self.kind == kind && *self.topic == *topic
    }
}

impl Principal {
    /// Of a client with a user name that somebody has verified, or without, that came by `listener`.
    pub(super) fn new(user: Option<&str>, listener: &Arc<ListenerSettings>, peer: Option<IpAddr>) -> Self {
        let identity = ClientIdentity { user: user.map(Into::into), listener: Arc::clone(listener), peer };
        Self { identity, published: LastDecision::default(), received: LastDecision::default() }
    }
}

/// Which messages for a session are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// None: whatever its subscriptions match may be received.
    Never,
    /// All, until its subscriptions have been compared to the rules.
    UntilReviewed,
    /// All: a subscription of it has more topics than it may receive.
    Always,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct AccessControl {
    rules: Option<Arc<RuleSet>>,
    /// Whether anybody is asked: what the way of a message looks at.
    pub checks: bool,
    /// By slot of the session; empty where nobody needs to be known.
    principals: Vec<Option<Box<Principal>>>,
    looks: Vec<Look>,
    /// Slots below are to be visited since the rules changed.
    walk: u32,
    /// Sessions whose subscriptions are to be looked at, with how many are left, from the last to the first.
    reviews: VecDeque<(SessionId, usize)>,
}

impl AccessControl {
    /// With these rules from the start.
    pub(super) const fn new(rules: Option<Arc<RuleSet>>) -> Self {
        let checks = rules.is_some();
        Self { rules, checks, principals: Vec::new(), looks: Vec::new(), walk: 0, reviews: VecDeque::new() }
    }

    /// Whether each message for a session is looked at. Of one that nobody knows they are.
    #[inline]
    pub(super) fn looks_at(&self, id: SessionId) -> bool {
        self.looks.get(id.0 as usize).is_none_or(|look| *look != Look::Never)
    }

    /// Whether subscriptions wait to be looked at again.
    pub(super) fn has_reviews(&self) -> bool {
        self.walk > 0 || !self.reviews.is_empty()
    }

    /// Whose client a session is, if that is known.
    fn principal(&self, id: SessionId) -> Option<&Principal> {
        self.principals.get(id.0 as usize)?.as_deref()
    }

    /// From now on the session is this client's; `None` where it makes no difference.
    pub(super) fn set_principal(&mut self, id: SessionId, principal: Option<Principal>) {
        let slot = id.0 as usize;
        if let Some(principal) = principal {
            if self.principals.len() <= slot {
                self.principals.resize_with(slot + 1, || None);
                self.looks.resize(slot + 1, Look::Always);
            }
            self.principals[slot] = Some(Box::new(principal));
            self.looks[slot] = Look::Never;
        } else if let Some(known) = self.principals.get_mut(slot) {
            *known = None;
            self.looks[slot] = Look::Always;
        }
    }

    /// Whether a client may publish this; the last answer is kept.
    #[inline]
    pub(super) fn may_publish(&mut self, sessions: &Sessions, id: SessionId, publication: Publication<'_>) -> bool {
        let kind = publication.qos as u8 | u8::from(publication.retain) << 2;
        match self.principal(id) {
            Some(known) if known.published.is_about(publication.topic, kind) => known.published.allowed,
            _ => self.decide_publish(sessions, id, publication, kind),
        }
    }

    #[cold]
    fn decide_publish(&mut self, sessions: &Sessions, id: SessionId, publication: Publication<'_>, kind: u8) -> bool {
        let Some(rules) = &self.rules else { return true };
        let Some(principal) = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return false;
        };
        let who = principal.identity.who(&sessions.get(id).client_id);
        let allowed = rules.may_publish(&who, publication).allowed;
        principal.published = LastDecision { topic: publication.topic.into(), kind, allowed };
        allowed
    }

    /// Whether a client may receive a message on this topic; the last answer is kept.
    #[inline]
    pub(super) fn may_receive(&mut self, sessions: &Sessions, id: SessionId, topic: &str) -> bool {
        match self.principal(id) {
            Some(known) if known.received.is_about(topic, 0) => known.received.allowed,
            _ => self.decide_receive(sessions, id, topic),
        }
    }

    #[cold]
    fn decide_receive(&mut self, sessions: &Sessions, id: SessionId, topic: &str) -> bool {
        let Some(rules) = &self.rules else { return true };
        let Some(principal) = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return false;
        };
        let allowed = rules.may_receive(&principal.identity.who(&sessions.get(id).client_id), topic).allowed;
        principal.received = LastDecision { topic: topic.into(), kind: 0, allowed };
        allowed
    }

    /// What a client may receive of this filter. One that may receive a part of it has each message looked at from now on.
    pub(super) fn may_subscribe(&mut self, id: SessionId, client_id: &str, filter: &str, qos: Qos) -> SubscribeRight {
        let Some(rules) = &self.rules else { return SubscribeRight::Wholly };
        let Some(principal) = self.principal(id) else { return SubscribeRight::Refused };
        let right = rules.may_subscribe(&principal.identity.who(client_id), filter, qos).0;
        if right == SubscribeRight::Partly {
            self.looks[id.0 as usize] = Look::Always;
        }
        right
    }

    /// Compares a session's subscriptions, of which there are so many, to the rules.
    pub(super) fn begin_review(&mut self, id: SessionId, subscriptions: usize) {
        if let Some(look) = self.looks.get_mut(id.0 as usize) {
            *look = Look::UntilReviewed;
        }
        self.reviews.push_back((id, subscriptions));
    }

    /// All of them have been compared. `has_more`: what is on its way may be of one that is no more.
    pub(super) fn end_review(&mut self, id: SessionId, has_more: bool) {
        if let Some(look) = self.looks.get_mut(id.0 as usize)
            && *look == Look::UntilReviewed
        {
            *look = if has_more { Look::Always } else { Look::Never };
        }
    }

    /// Other rules. All subscriptions are to be compared to them.
    pub(super) fn replace(&mut self, rules: Option<Arc<RuleSet>>) {
        self.checks = rules.is_some();
        self.rules = rules;
        self.looks.fill(Look::UntilReviewed);
        self.walk = self.principals.len() as u32;
        self.reviews.clear();
        for principal in self.principals.iter_mut().flatten() {
            (principal.published, principal.received) = (LastDecision::default(), LastDecision::default());
        }
    }

    /// The next session whose client is known, since the rules have changed; looks at so many slots at most. None while
    /// subscriptions wait.
    pub(super) fn next_to_review(&mut self, slots: usize) -> Option<SessionId> {
        for _ in 0..slots {
            if self.walk == 0 || !self.reviews.is_empty() {
                return None;
            }
            self.walk -= 1;
            let id = SessionId(self.walk);
            if self.principal(id).is_some() {
                return Some(id);
            }
        }
        None
    }

    /// The session whose subscriptions are compared next, and how many of them are left.
    pub(super) fn take_review(&mut self) -> Option<(SessionId, usize)> {
        self.reviews.pop_front()
    }

    /// So many are left.
    pub(super) fn put_review_back(&mut self, id: SessionId, left: usize) {
        self.reviews.push_front((id, left));
    }

    /// The verified user name of a session's client.
    pub(super) fn user(&self, id: SessionId) -> Option<&str> {
        self.principal(id)?.identity.user.as_deref()
    }
}
