//! Whose client a session is: what rules ask of it, what it may do beside them, and what was decided lately.

use std::sync::Arc;

use core::net::IpAddr;

use super::recent_decisions::RecentDecisions;
use super::remote_decisions::RemoteDecisions;
use super::rights::{ClientRights, RemoteWord};
use crate::auth::acl::{Publication, Who};
use crate::auth::{AskedTopic, TopicDecision};
use crate::settings::ListenerSettings;

/// Whose client a session is.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    pub identity: ClientIdentity,
    pub rights: ClientRights,
    /// What somebody else has decided about it, where somebody is asked.
    pub remote: Option<Box<RemoteDecisions>>,
    pub published: RecentDecisions,
    pub received: RecentDecisions,
}

/// Who a client is, as far as rules ask.
#[derive(Clone, Debug)]
pub(super) struct ClientIdentity {
    /// The user name that somebody has verified.
    pub user: Option<Box<str>>,
    pub listener: Arc<ListenerSettings>,
    pub peer: Option<IpAddr>,
}

impl ClientIdentity {
    pub(super) fn who<'a>(&'a self, client_id: &'a str) -> Who<'a> {
        Who { client_id, user: self.user.as_deref(), listener: &self.listener.name, peer: self.peer }
    }
}

/// What a rule may depend on beside the topic.
#[inline]
pub(super) fn kind_of(publication: Publication<'_>) -> u8 {
    publication.qos as u8 | u8::from(publication.retain) << 2
}

impl Principal {
    /// Of a client with a user name that somebody has verified, or without, that came by `listener`.
    pub(super) fn new(user: Option<&str>, listener: &Arc<ListenerSettings>, peer: Option<IpAddr>) -> Self {
        let identity = ClientIdentity { user: user.map(Into::into), listener: Arc::clone(listener), peer };
        let (published, received) = (RecentDecisions::default(), RecentDecisions::default());
        let remote = listener.auth.acl_http_url.get().map(|_| Box::default());
        Self { identity, rights: ClientRights::default(), remote, published, received }
    }

    /// What somebody else has said of this.
    pub(super) fn remote_word(&self, asked: impl FnOnce() -> AskedTopic) -> RemoteWord {
        match self.remote.as_deref() {
            None => RemoteWord::NotAsked,
            Some(remote) => remote.get(&asked()).map_or(RemoteWord::Nothing, RemoteWord::Said),
        }
    }

    /// Whether a message on this topic is to be decided about as one that was subscribed to.
    pub(super) fn delivery_word(&self, topic: &str) -> RemoteWord {
        match self.remote.as_deref() {
            None => RemoteWord::NotAsked,
            Some(remote) if remote.delivers(topic) => RemoteWord::Said(TopicDecision::Allow),
            Some(_) => RemoteWord::Said(TopicDecision::Ignore),
        }
    }

    /// What was decided about topics is to be decided again.
    pub(super) fn forget_decisions(&mut self) {
        self.published.forget();
        self.received.forget();
    }

    /// Whether its rules, or those of others, say anything.
    pub(super) const fn is_ruled(&self) -> bool {
        self.rights.speak() || self.remote.is_some()
    }

    /// Whether the filters that a back end has allowed this client stay allowed for the next one: it is the same user, and the same back end
    /// decides.
    pub(super) fn hands_filters_to(&self, next: &Self) -> bool {
        let (old, new) = (&self.identity, &next.identity);
        old.user == new.user && old.listener.auth.acl_http_url == new.listener.auth.acl_http_url
    }

    /// The same with what was said of it when it came in.
    pub(super) fn with_rights(self, rights: ClientRights) -> Self {
        Self { rights, ..self }
    }
}
