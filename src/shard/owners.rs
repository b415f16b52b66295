//! Whose a kept session is, in the log: written when it changes, and read back after a restart.
//!
//! Always holds: the log says of each kept session whose it is, behind its beginning and in the same change; what a restart knows of an owner is
//! what access checks ask of a session whose client is away (user, listener, address, rights, what a back end has allowed). A session of which that was
//! never written is nobody's: where clients are told apart, none of them has it, and nothing is delivered to it that rules are asked about.
//! Leaves to others: what rules mean (`access`), comparing subscriptions to those in force (`review`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::clients::Clients;
use super::principal::Principal;
use super::record_log::RecordLog;
use super::rights::ClientRights;
use super::{ConnectInfo, Turn};
use crate::auth::acl::{RuleSet, Who};
use crate::auth::{AskedTopic, TopicAction, TopicDecision};
use crate::ids::SessionId;
use crate::settings::ListenerSettings;
use crate::store::format::{BackEndDecision, LogRecord, SessionOwner};
use crate::store::state::StoredSession;

impl Principal {
    /// Writes down that a session is this client's.
    fn log(&self, turn: &mut Turn<'_>, log: &mut RecordLog, session: SessionId, keeps_filters: bool) {
        let rules = self.rights.rules.as_deref().map(RuleSet::to_bytes);
        let owner = SessionOwner {
            user: self.identity.user.as_deref(),
            listener: &self.identity.listener.name,
            peer: self.identity.peer,
            is_superuser: self.rights.is_superuser,
            asks_back_end: self.remote.is_some(),
            rules: rules.as_deref(),
        };
        log.append(turn, &LogRecord::SessionOwner { session, owner, keeps_filters });
    }

    /// Whether the log would say the same of both.
    fn is_written_like(&self, other: &Self) -> bool {
        let of =
            |principal: &Self| (principal.identity.peer, principal.rights.is_superuser, principal.remote.is_some());
        self.hands_filters_to(other)
            && self.identity.listener.name == other.identity.listener.name
            && self.rights.rules == other.rights.rules
            && of(self) == of(other)
    }
}

impl Clients {
    /// Whose client a session is from now on, in memory where that makes a difference. What it is subscribed to is looked at again.
    pub(super) fn set_owner(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        info: ConnectInfo<'_>,
        mut principal: Option<Principal>,
    ) {
        self.log_owner(turn, id, info, principal.as_ref());
        if let Some(principal) = &mut principal {
            self.access.hand_over_grants(id, principal);
        }
        self.access.set_principal(id, principal);
        self.review(id);
    }

    /// Writes down whose a kept session is from now on, unless the log says so already.
    fn log_owner(&mut self, turn: &mut Turn<'_>, id: SessionId, info: ConnectInfo<'_>, principal: Option<&Principal>) {
        if !self.is_written_down(id) {
            return;
        }
        let Some(principal) = principal else {
            // Nobody keeps it in mind, so it is written each time: a listener and an address.
            let (listener, peer) = (&*info.listener.name, info.peer);
            let owner =
                SessionOwner { user: None, listener, peer, is_superuser: false, asks_back_end: false, rules: None };
            let record = LogRecord::SessionOwner { session: id, owner, keeps_filters: false };
            return self.record_log.append(turn, &record);
        };
        let held = self.access.principal(id);
        if !held.is_some_and(|held| held.is_written_like(principal)) {
            let keeps_filters = held.is_some_and(|held| held.hands_filters_to(principal));
            principal.log(turn, &mut self.record_log, id, keeps_filters);
        }
    }

    /// The same of a client that stays who it is and has other rights.
    pub(super) fn log_rights(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        if self.is_written_down(id)
            && let Some(principal) = self.access.principal(id)
        {
            principal.log(turn, &mut self.record_log, id, true);
        }
    }

    /// Writes down what a back end says of a filter or a will, where a restart would not know it. To be called before it is kept.
    pub(super) fn log_decision(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        asked: &AskedTopic,
        decision: TopicDecision,
    ) {
        if !self.is_written_down(session) {
            return;
        }
        let Some(remote) = self.access.principal(session).and_then(|principal| principal.remote.as_deref()) else {
            return;
        };
        if asked.action == TopicAction::Subscribe {
            let is_allowed = decision == TopicDecision::Allow;
            // One that is allowed once more is the latest from now on.
            if is_allowed || remote.of_held_filter(&asked.topic) == TopicDecision::Allow {
                let record = LogRecord::FilterDecided { session, filter: &asked.topic, is_allowed };
                self.record_log.append(turn, &record);
            }
        } else if remote.is_about_will(asked) && self.sessions.get(session).will.is_some() {
            let decision = match decision {
                TopicDecision::Allow => BackEndDecision::Allow,
                TopicDecision::Deny => BackEndDecision::Deny,
                TopicDecision::Ignore => BackEndDecision::Ignore,
                TopicDecision::Unasked => return,
            };
            self.record_log.append(turn, &LogRecord::WillDecided { session, decision });
        }
    }

    fn is_written_down(&self, id: SessionId) -> bool {
        self.record_log.is_kept() && self.sessions.get(id).is_persistent()
    }

    /// A session is whose the log says it is, as far as that makes a difference.
    pub(super) fn restore_owner(&mut self, id: SessionId, stored: &StoredSession, listeners: &mut KnownListeners<'_>) {
        self.restore_profile(id, stored);
        let Some(owner) = stored.owner() else {
            return self.access.set_unknown(id);
        };
        let listener = listeners.named(&owner);
        let asks_back_end = listener.auth.acl_http_url.get().is_some();
        let has_rights = owner.user.is_some() || owner.is_superuser || owner.rules.is_some();
        if !has_rights && !asks_back_end && !self.access.tells_apart() {
            return; // nobody would ask
        }
        // Rules that cannot be read allow nothing.
        let read = |bytes| RuleSet::from_bytes(bytes).unwrap_or_else(|| RuleSet::of_one_client(Vec::new()));
        let rules = owner.rules.map(|bytes| Arc::new(read(bytes)));
        let rights = ClientRights { is_superuser: owner.is_superuser, rules, ..ClientRights::default() };
        let mut principal = Principal::new(owner.user, &listener, owner.peer).with_rights(rights);
        if owner.asks_back_end && listeners.is_gone(&owner) {
            principal.remote.get_or_insert_default();
        }
        if let Some(remote) = principal.remote.as_deref_mut() {
            remote.restore_filters(stored.allowed_filters());
            let decision = stored.will.as_ref().and_then(|will| will.decision);
            if let (Some(decision), Some(will)) = (decision, &self.sessions.get(id).will) {
                let will = will.kept().borrow();
                let decision = match decision {
                    BackEndDecision::Allow => TopicDecision::Allow,
                    BackEndDecision::Deny => TopicDecision::Deny,
                    BackEndDecision::Ignore => TopicDecision::Ignore,
                };
                remote.set_will(will.topic, will.qos, will.retain);
                remote.decide_will(decision);
            }
        }
        self.access.set_principal(id, Some(principal));
    }

    /// What holds for its client in place of the broker's settings, as long as it is away: bounds of its queue.
    fn restore_profile(&mut self, id: SessionId, stored: &StoredSession) {
        let owner = stored.owner();
        let user = owner.and_then(|owner| owner.user);
        let (listener, peer) = owner.map_or(("", None), |owner| (owner.listener, owner.peer));
        let who = Who { client_id: &stored.client_id, user, listener, peer };
        if let Some(profile) = self.profiled.profile_of(&who) {
            self.profiled.set(id, Some((profile, user)), false);
        }
    }
}

/// The listeners that there are, and those that sessions came by before and that are not configured any more.
#[derive(Debug)]
pub(super) struct KnownListeners<'a> {
    here: &'a [Arc<ListenerSettings>],
    gone: Vec<Arc<ListenerSettings>>,
}

impl<'a> KnownListeners<'a> {
    pub(super) const fn new(here: &'a [Arc<ListenerSettings>]) -> Self {
        Self { here, gone: Vec::new() }
    }

    fn is_gone(&self, owner: &SessionOwner<'_>) -> bool {
        !self.here.iter().any(|listener| *listener.name == *owner.listener)
    }

    /// The listener that a session's client came by. One that is gone has its name alone; and the back end of the others, if
    /// they have one together and it had one.
    fn named(&mut self, owner: &SessionOwner<'_>) -> Arc<ListenerSettings> {
        let mut known = self.here.iter().chain(&self.gone);
        if let Some(known) = known.find(|listener| *listener.name == *owner.listener) {
            return Arc::clone(known);
        }
        let mut listener = ListenerSettings { name: owner.listener.into(), ..ListenerSettings::default() };
        let urls: BTreeSet<&str> = self.here.iter().filter_map(|listener| listener.auth.acl_http_url.get()).collect();
        if owner.asks_back_end && urls.len() == 1 {
            let with_url = self.here.iter().find(|listener| listener.auth.acl_http_url.get().is_some());
            listener.auth = with_url.expect("one has it").auth.clone();
        }
        let listener = Arc::new(listener);
        self.gone.push(Arc::clone(&listener));
        listener
    }
}
