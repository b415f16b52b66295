//! What each client may do: who it is, and what the rules say of it.
//!
//! Owns: the rules in force, of each session whose it is ([`Principal`]), and which subscriptions are to be compared to them.
//! Always holds: without rules nobody is asked anything; with rules, a session of which nobody knows whose it is may do nothing. Decisions
//! about the topics that a client used lately are kept; a change of the rules voids them.
//! Leaves to others: what the rules mean (`auth::acl`), comparing subscriptions (`review`), what a refusal leads to (`publish`,
//! `subscribe`, `end`).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use core::net::IpAddr;

use super::principal::{ClientIdentity, Principal, kind_of};
use super::recent_decisions::RecentDecision;
use super::rights::{ClientRights, RemoteWord};
use super::sessions::Sessions;
use crate::auth::acl::{Publication, RuleSet, SubscribeRight};
use crate::auth::{AskedTopic, TopicAction, TopicAnswer, TopicsQuestion};
use crate::ids::{Qos, SessionId};
use crate::time::{Deadline, Now};

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
    /// Counts the changes of the rules: decisions by others are void.
    rules_number: u32,
    /// Whether a client has had rules of its own, or others that decide.
    has_ruled: bool,
    /// Whether anybody is asked: what the way of a message looks at.
    pub checks: bool,
    /// Whether somebody else is asked about topics of any client.
    asks_others: bool,
    /// By slot of the session; empty where nobody needs to be known.
    principals: Vec<Option<Box<Principal>>>,
    /// Sessions that were read back without a word of whose they are.
    unknown: BTreeSet<SessionId>,
    /// Whether it makes a difference who a client is, whatever the rules.
    tells_apart: bool,
    looks: Vec<Look>,
    /// Slots below are to be visited since the rules changed.
    walk: u32,
    /// Sessions whose subscriptions are to be looked at, with how many are left, from the last to the first.
    reviews: VecDeque<(SessionId, usize)>,
}

impl AccessControl {
    /// With these rules from the start. `tells_apart`: it makes a difference who a client is, also without rules.
    pub(super) const fn new(rules: Option<Arc<RuleSet>>, tells_apart: bool) -> Self {
        let checks = rules.is_some();
        Self {
            rules,
            rules_number: 0,
            has_ruled: false,
            checks,
            asks_others: false,
            principals: Vec::new(),
            unknown: BTreeSet::new(),
            tells_apart,
            looks: Vec::new(),
            walk: 0,
            reviews: VecDeque::new(),
        }
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
    pub(super) fn principal(&self, id: SessionId) -> Option<&Principal> {
        self.principals.get(id.0 as usize)?.as_deref()
    }

    /// This client comes back to its session: what it was allowed to subscribe to it still is, if it is the same user and the same back end
    /// decides.
    pub(super) fn hand_over_grants(&mut self, id: SessionId, principal: &mut Principal) {
        let Some(held) = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else { return };
        if !held.hands_filters_to(principal) {
            return;
        }
        if let (Some(held), Some(remote)) = (held.remote.as_deref_mut(), principal.remote.as_deref_mut()) {
            remote.inherit(held);
        }
    }

    /// Whether it makes a difference who a client is.
    pub(super) const fn tells_apart(&self) -> bool {
        self.tells_apart || self.checks
    }

    /// Nobody knows whose this session is.
    pub(super) fn set_unknown(&mut self, id: SessionId) {
        if self.tells_apart() {
            self.unknown.insert(id);
        }
    }

    /// Whether nobody knows whose this session is, and it makes a difference.
    pub(super) fn is_unknown(&self, id: SessionId) -> bool {
        !self.unknown.is_empty() && self.unknown.contains(&id)
    }

    /// From now on the session is this client's; `None` where it makes no difference.
    pub(super) fn set_principal(&mut self, id: SessionId, principal: Option<Principal>) {
        let slot = id.0 as usize;
        if !self.unknown.is_empty() {
            self.unknown.remove(&id);
        }
        if let Some(principal) = principal {
            // From the first client on that has rules of its own, each one is asked about.
            self.has_ruled |= principal.is_ruled();
            self.checks |= self.has_ruled;
            self.asks_others |= principal.remote.is_some();
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

    /// Whether a client may publish this; the last answers are kept.
    #[inline]
    pub(super) fn may_publish(&mut self, sessions: &Sessions, id: SessionId, publication: Publication<'_>) -> bool {
        let kind = kind_of(publication);
        let known = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut);
        if let Some(allowed) = known.and_then(|known| known.published.find(self.rules_number, publication.topic, kind))
        {
            return allowed;
        }
        self.decide_publish(sessions, id, publication, kind)
    }

    #[cold]
    fn decide_publish(&mut self, sessions: &Sessions, id: SessionId, publication: Publication<'_>, kind: u8) -> bool {
        let Some(principal) = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return self.rules.is_none();
        };
        let who = principal.identity.who(&sessions.get(id).client_id);
        let Publication { topic, qos, retain } = publication;
        let asked = || AskedTopic { action: TopicAction::Publish, topic: topic.into(), qos, retain };
        let remote = principal.remote_word(asked);
        let allowed =
            principal.rights.decide(self.rules.as_deref(), remote, |rules| rules.may_publish(&who, publication));
        // What somebody has still to decide about is asked about again.
        if remote != RemoteWord::Nothing {
            principal.published.keep(RecentDecision { topic: topic.into(), rules: self.rules_number, kind, allowed });
        }
        allowed
    }

    /// Whether a client may receive a message on this topic; the last answers are kept.
    #[inline]
    pub(super) fn may_receive(&mut self, sessions: &Sessions, id: SessionId, topic: &str) -> bool {
        let known = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut);
        if let Some(allowed) = known.and_then(|known| known.received.find(self.rules_number, topic, 0)) {
            return allowed;
        }
        self.decide_receive(sessions, id, topic)
    }

    #[cold]
    fn decide_receive(&mut self, sessions: &Sessions, id: SessionId, topic: &str) -> bool {
        let allowed = self.would_receive(sessions, id, topic);
        if let Some(principal) = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut) {
            principal.received.keep(RecentDecision { topic: topic.into(), rules: self.rules_number, kind: 0, allowed });
        }
        allowed
    }

    /// The decision itself.
    pub(super) fn would_receive(&self, sessions: &Sessions, id: SessionId, topic: &str) -> bool {
        let Some(principal) = self.principal(id) else { return self.rules.is_none() };
        let who = principal.identity.who(&sessions.get(id).client_id);
        let remote = principal.delivery_word(topic);
        principal.rights.decide(self.rules.as_deref(), remote, |rules| rules.may_receive(&who, topic))
    }

    /// What a client may receive of this filter. One that may receive a part of it has each message looked at from now on.
    pub(super) fn may_subscribe(&mut self, id: SessionId, client_id: &str, filter: &str, qos: Qos) -> SubscribeRight {
        self.decide_filter(id, client_id, (filter, qos), false)
    }

    /// The same of a filter that it is subscribed to.
    pub(super) fn may_stay_subscribed(
        &mut self,
        id: SessionId,
        client_id: &str,
        filter: &str,
        qos: Qos,
    ) -> SubscribeRight {
        self.decide_filter(id, client_id, (filter, qos), true)
    }

    fn decide_filter(
        &mut self,
        id: SessionId,
        client_id: &str,
        (filter, qos): (&str, Qos),
        is_held: bool,
    ) -> SubscribeRight {
        let Some(principal) = self.principal(id) else {
            return if self.rules.is_none() { SubscribeRight::Wholly } else { SubscribeRight::Refused };
        };
        let who = principal.identity.who(client_id);
        let asked = || AskedTopic { action: TopicAction::Subscribe, topic: filter.into(), qos, retain: false };
        let remote = match (is_held, principal.remote.as_deref()) {
            (true, Some(remote)) => RemoteWord::Said(remote.of_held_filter(filter)),
            _ => principal.remote_word(asked),
        };
        let ask = |rules: &RuleSet| {
            let (right, rule) = rules.may_subscribe(&who, filter, qos);
            (right, rule.is_some())
        };
        let right = principal.rights.decide_subscription(self.rules.as_deref(), remote, ask);
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
        self.checks = rules.is_some() || self.has_ruled;
        self.rules = rules;
        self.rules_number = self.rules_number.wrapping_add(1);
        self.review_all();
    }

    /// All subscriptions are to be compared to the rules.
    pub(super) fn review_all(&mut self) {
        self.looks.fill(Look::UntilReviewed);
        self.walk = self.principals.len() as u32;
        self.reviews.clear();
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

    /// Whether somebody else is asked about topics of any client.
    #[inline]
    pub(super) const fn asks_others(&self) -> bool {
        self.asks_others
    }

    /// Whether this publication is one of the last that were decided about, and the decision still holds: mostly it is.
    pub(super) fn has_just_decided(&mut self, now: Now, id: SessionId, publication: Publication<'_>) -> bool {
        let kind = kind_of(publication);
        let Some(principal) = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return true;
        };
        let Some(remote) = principal.remote.as_deref_mut() else { return true };
        if remote.forget_expired(now) {
            principal.published.forget();
        }
        principal.published.knows(self.rules_number, publication.topic, kind)
    }

    /// Whether somebody else has to be asked about this before it is decided.
    pub(super) fn is_undecided(&mut self, now: Now, id: SessionId, client_id: &str, asked: &AskedTopic) -> bool {
        let Some(principal) = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return false;
        };
        let Some(remote) = principal.remote.as_deref_mut() else { return false };
        if remote.forget_expired(now) {
            principal.published.forget();
        }
        self.misses_word(id, client_id, asked)
    }

    /// Whether nobody has said anything about this, and somebody has to.
    fn misses_word(&self, id: SessionId, client_id: &str, asked: &AskedTopic) -> bool {
        let Some(principal) = self.principal(id) else { return false };
        let has_word = principal.remote.as_deref().is_none_or(|remote| remote.get(asked).is_some());
        if principal.rights.is_superuser || has_word {
            return false;
        }
        // What the client's own rules, or the file's superusers, leave no question about is none.
        let who = principal.identity.who(client_id);
        let AskedTopic { action, ref topic, qos, retain } = *asked;
        let is_spared = self.rules.as_deref().is_some_and(|rules| rules.spares(&who));
        let speaks = principal.rights.rules.as_deref().is_some_and(|rules| match action {
            TopicAction::Publish => rules.may_publish(&who, Publication { topic, qos, retain }).rule.is_some(),
            TopicAction::Subscribe => rules.may_subscribe(&who, topic, qos).1.is_some(),
        });
        !is_spared && !speaks
    }

    /// Whether what was refused was refused because nobody has been asked about it.
    #[cold]
    pub(super) fn is_unanswered(&self, id: SessionId, client_id: &str, asked: impl FnOnce() -> AskedTopic) -> bool {
        let asks = self.principal(id).is_some_and(|principal| principal.remote.is_some());
        asks && self.misses_word(id, client_id, &asked())
    }

    /// The same of a will, which is kept in mind.
    pub(super) fn undecided_will(
        &mut self,
        now: Now,
        id: SessionId,
        client_id: &str,
        will: &Publication<'_>,
    ) -> Option<AskedTopic> {
        let &Publication { topic, qos, retain } = will;
        let asked = AskedTopic { action: TopicAction::Publish, topic: topic.into(), qos, retain };
        let is_undecided = self.is_undecided(now, id, client_id, &asked);
        let principal = self.principals.get_mut(id.0 as usize)?.as_deref_mut()?;
        is_undecided.then(|| principal.remote.as_deref_mut().map(|remote| remote.set_will(topic, qos, retain)))?
    }

    /// The question about some topics of a client.
    pub(super) fn question(&self, id: SessionId, client_id: &str, topics: Vec<AskedTopic>) -> Option<TopicsQuestion> {
        let ClientIdentity { user, listener, peer } = &self.principal(id)?.identity;
        let (user, listener, peer) = (user.clone(), listener.name.clone(), *peer);
        Some(TopicsQuestion { client_id: client_id.into(), user, listener, peer, topics })
    }

    /// Somebody else has decided.
    pub(super) fn keep_decision(&mut self, now: Now, id: SessionId, asked: AskedTopic, answer: TopicAnswer) {
        let Some(principal) = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else { return };
        let cache_s = principal.identity.listener.auth.acl_http_cache_s;
        if let Some(remote) = principal.remote.as_deref_mut() {
            remote.keep(now, cache_s, asked, answer);
            principal.forget_decisions();
        }
    }

    /// The method of enhanced authentication by which a session's client came in.
    pub(super) fn method(&self, id: SessionId) -> Option<&str> {
        self.principal(id)?.rights.method.as_deref()
    }

    /// A client has authenticated itself again: other rights from now on.
    pub(super) fn set_rights(&mut self, id: SessionId, rights: ClientRights) {
        let Some(principal) = self.principals.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else { return };
        principal.rights = rights;
        principal.forget_decisions();
        self.has_ruled |= principal.is_ruled();
        self.checks |= self.has_ruled;
    }

    /// Who a session's client is, for a question about it.
    pub(super) fn asked_as(&self, id: SessionId) -> Option<(Box<str>, Option<IpAddr>)> {
        let ClientIdentity { listener, peer, .. } = &self.principal(id)?.identity;
        Some((listener.name.clone(), *peer))
    }

    /// When what a session's client has shown is worth nothing any more.
    pub(super) fn ends(&self, id: SessionId) -> Option<Deadline> {
        self.principal(id)?.rights.ends
    }

    /// The verified user name of a session's client.
    pub(super) fn user(&self, id: SessionId) -> Option<&str> {
        self.principal(id)?.identity.user.as_deref()
    }
}
