//! Asking the access rules, and comparing subscriptions to rules that have changed: so many in each turn.
//!
//! Always holds: from the turn on in which rules change, nothing is delivered that they do not allow; a subscription that they do not
//! allow is taken away, and told.

use std::sync::Arc;

use super::clients::Clients;
use super::deliver::options_of;
use super::lifecycle::UnsubscribedBy;
use super::{Event, Shard, Turn};
use crate::auth::AskedTopic;
use crate::auth::acl::{Publication, RuleSet, SubscribeRight};
use crate::ids::{Qos, SessionId};
use crate::limits::{ACL_REVIEWS_PER_TURN, ACL_SLOTS_PER_TURN};
use crate::session::MessageRef;
use crate::topic::SubscribedFilter;

impl Clients {
    /// Whether a client may publish this message, or leave it as its will.
    #[inline]
    pub(super) fn may_publish(&mut self, id: SessionId, message: &MessageRef<'_>) -> bool {
        let MessageRef { topic, qos, retain, .. } = *message;
        !self.access.checks || self.check_publish(id, Publication { topic, qos, retain })
    }

    /// The same where there are rules.
    #[inline]
    pub(super) fn check_publish(&mut self, id: SessionId, publication: Publication<'_>) -> bool {
        self.access.may_publish(&self.sessions, id, publication)
    }

    /// Whether what was refused was refused because nobody has been asked about it.
    #[cold]
    pub(super) fn is_unanswered(&self, id: SessionId, asked: impl FnOnce() -> AskedTopic) -> bool {
        self.access.is_unanswered(id, &self.sessions.get(id).client_id, asked)
    }

    /// Whether a client may receive a message on this topic. To be asked where there are rules.
    pub(super) fn may_receive(&mut self, id: SessionId, topic: &str) -> bool {
        !self.access.looks_at(id) || self.access.may_receive(&self.sessions, id, topic)
    }

    /// The same for whoever looks: nothing is remembered of it.
    pub(super) fn would_receive(&self, id: SessionId, topic: &str) -> bool {
        !self.access.checks || !self.access.looks_at(id) || self.access.would_receive(&self.sessions, id, topic)
    }

    /// Whether a client may be subscribed to what a filter asks for, without `$share/name/`.
    pub(super) fn may_subscribe(&mut self, id: SessionId, filter: &SubscribedFilter<'_>, qos: Qos) -> bool {
        if !self.access.checks {
            return true;
        }
        let client_id = &self.sessions.get(id).client_id;
        self.access.may_subscribe(id, client_id, filter.filter.as_str(), qos) != SubscribeRight::Refused
    }

    /// Whether it may go on being subscribed to it.
    fn may_stay_subscribed(&mut self, id: SessionId, filter: &SubscribedFilter<'_>, qos: Qos) -> bool {
        let client_id = &self.sessions.get(id).client_id;
        self.access.may_stay_subscribed(id, client_id, filter.filter.as_str(), qos) != SubscribeRight::Refused
    }

    /// Whether the session is one of another user's, or nobody knows whose: then this client may not have it.
    pub(super) fn is_of_another_user(&self, id: SessionId, user: Option<&str>) -> bool {
        self.access.user(id) != user || self.access.is_unknown(id)
    }

    /// Compares what a session has to the rules: its subscriptions, and what is queued of ones that may be no more.
    pub(super) fn review(&mut self, id: SessionId) {
        let session = self.sessions.get(id);
        let (held, has_more) = (session.subscriptions.len(), session.outbound().is_some());
        if self.access.checks && (held > 0 || has_more) {
            self.access.begin_review(id, held);
        }
    }
}

impl Shard {
    /// Other rules from now on. Who has subscribed to what is no longer allowed loses it in the turns that follow, and is sent
    /// nothing of it meanwhile.
    pub(super) fn use_rules(&mut self, rules: Option<Arc<RuleSet>>) {
        self.clients.access.replace(rules);
    }

    /// One turn's part of looking at subscriptions again.
    pub(super) fn review_subscriptions(&mut self, turn: &mut Turn<'_>) {
        while let Some(id) = self.clients.access.next_to_review(ACL_SLOTS_PER_TURN) {
            let held = self.clients.sessions.try_get(id).map_or(0, |session| session.subscriptions.len());
            self.clients.access.begin_review(id, held);
        }
        let mut left = ACL_REVIEWS_PER_TURN;
        while left > 0
            && let Some((id, number)) = self.clients.access.take_review()
        {
            let done = self.review_one_session(turn, id, number, left);
            left -= done.min(left);
        }
    }

    /// Looks at some of a session's subscriptions, from the `number`th down. Returns how many.
    fn review_one_session(&mut self, turn: &mut Turn<'_>, id: SessionId, number: usize, most: usize) -> usize {
        let mut number = number;
        for done in 0..most {
            let session = self.clients.sessions.try_get(id).filter(|session| !session.has_ended);
            let places = session.map(|session| session.subscriptions.places()).unwrap_or_default();
            number = number.min(places.len());
            if number == 0 {
                let has_more = session.is_some_and(|session| session.outbound().is_some());
                self.clients.access.end_review(id, has_more);
                return done.max(1);
            }
            number -= 1;
            let place = places[number];
            let mut text = String::new();
            self.router.index.filter_text(place.entry, &mut text);
            let filter = SubscribedFilter::parse(&text, u16::MAX).expect("the index holds what SUBSCRIBE checked");
            let qos = options_of(self.router.index.get(place.entry, place.position)).qos;
            if !self.clients.may_stay_subscribed(id, &filter, qos) {
                self.revoke(turn, id, &filter, &text);
            }
        }
        self.clients.access.put_review_back(id, number);
        most
    }

    fn revoke(&mut self, turn: &mut Turn<'_>, id: SessionId, filter: &SubscribedFilter<'_>, text: &str) {
        self.router.unsubscribe(turn, &mut self.clients, id, filter, text);
        let client_id = self.clients.sessions.get(id).client_id.clone();
        self.tell_unsubscribed(turn, id, text, UnsubscribedBy::AccessRules);
        turn.fx.events.push(Event::SubscriptionRevoked { client_id, filter: text.into() });
    }
}
