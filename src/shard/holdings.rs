//! What a shard holds, counted: for tests and the simulator, which say what must be left of it, and for whoever
//! wants to know where memory goes.
//!
//! Always holds: looking changes nothing. Both functions visit every session and are not for the data path.

use super::Shard;
use super::clients::Clients;
use crate::ids::{SessionId, is_of_service};
use crate::session::{AckQueue, Exchange, Link, Outbound, QueuedMemory, Session};

/// What one shard holds, by what it is held for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Sessions that have ended and whose subscriptions are being taken out of the index.
    pub ended_sessions: usize,
    /// Distinct filters in the index, those of other shards included.
    pub filters: usize,
    /// Topics in the retained store, those included whose deletion is still remembered.
    pub retained_entries: usize,
    /// Timers that have not come due, stale ones included.
    pub timers: usize,
    /// Places in the list of sessions with work.
    pub work: usize,
    /// SUBACKs that wait for other shards.
    pub pending_subacks: usize,
    /// Acknowledgements that wait for the store.
    pub waiting_for_store: usize,
    /// Sessions whose queues others wait for or have waited for, and publishers that are not read meanwhile.
    pub held_back: usize,
    /// CONNECTs that wait for a verdict.
    pub pending_connects: usize,
    /// Messages on their way to more subscribers than one turn serves.
    pub fanouts: usize,
    /// Questions to other nodes that have no answer.
    pub questions: usize,
    /// Questions of other nodes that have none.
    pub peer_questions: usize,
    /// Bytes of the subscription index.
    pub index_bytes: usize,
}

impl Shard {
    /// Counts what the shard holds.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            sessions: self.clients.sessions.len(),
            ended_sessions: self.clients.sessions.ended().len(),
            filters: self.router.index.filters_count(),
            retained_entries: self.router.retained.entries(),
            timers: self.clients.timers.len(),
            work: self.clients.work.len(),
            pending_subacks: self.router.announcements.pending(),
            waiting_for_store: self.clients.record_log.waiting(),
            held_back: self.clients.hold_back.sessions().len() + self.clients.hold_back.publishers,
            pending_connects: self.pending.len(),
            fanouts: self.router.fanouts.len(),
            questions: self.router.nodes.as_ref().map_or(0, |nodes| nodes.asked.len()),
            peer_questions: self.clients.questions.len(),
            index_bytes: self.router.index.memory_bytes(),
        }
    }

    /// Checks what must hold of all shards of a process between two inputs.
    ///
    /// # Panics
    /// When something does not.
    pub fn assert_invariants_of_all(shards: &[Self]) {
        let sessions = shards.iter().flat_map(|shard| shard.clients.sessions.iter());
        let queued = sessions.filter_map(|(_, session)| session.outbound()).flat_map(Outbound::queue);
        let memory = shards[0].clients.queues.memory();
        assert_eq!(memory.taken_bytes(), QueuedMemory::count(queued), "memory of what is queued is counted");
    }

    /// Checks what must hold of one shard between two inputs.
    ///
    /// # Panics
    /// When something does not.
    pub fn assert_invariants(&self) {
        let Self { clients, router, .. } = self;
        let mut sum = Sum::default();
        for (id, session) in clients.sessions.iter() {
            sum.subscriptions += session.subscriptions.len();
            if let Some(outbound) = session.outbound() {
                sum.stored_messages += outbound.len() as u64;
                sum.stored_bytes += outbound.queued_bytes();
                self.assert_outbound(&session.client_id, outbound);
            }
            if session.has_ended {
                sum.ended += 1;
                sum.ended_subscriptions.0 += session.subscriptions.len();
                sum.ended_subscriptions.1 += session.subscriptions.shared_len();
                self.assert_is_being_taken_down(id, session);
                continue;
            }
            sum.connected += usize::from(session.link.is_some());
            sum.held_back += usize::from(session.link.as_deref().is_some_and(Link::is_held_back));
            self.assert_session(id, session);
        }
        assert_eq!(sum.connected, clients.sessions.connected(), "connections are counted");
        assert_eq!(sum.held_back, clients.hold_back.publishers, "publishers that are not read are counted");
        for id in clients.hold_back.sessions() {
            let session = clients.sessions.try_get(id);
            assert!(session.is_some_and(|session| session.link.is_some()), "nobody waits for who is away");
        }
        assert_eq!(sum.ended, clients.sessions.ended().len(), "sessions that have ended are counted");
        let ended_subscriptions = clients.sessions.ended_subscriptions();
        assert_eq!(sum.ended_subscriptions, ended_subscriptions, "and what they were subscribed to");
        assert_eq!(sum.stored_messages, clients.queues.messages(), "what is queued and in flight is counted");
        assert_eq!(sum.stored_bytes, clients.queues.queued_bytes(), "and its bytes");
        assert_eq!(sum.subscriptions, router.index.subscriptions_count(), "index and sessions agree");
        assert!(router.retained.len() <= router.retained.entries(), "live messages are entries");
        router.fanouts.assert_invariants(|entry| router.index.subscribers_count(entry));
        self.pending.assert_invariants();
    }

    fn assert_is_being_taken_down(&self, id: SessionId, session: &Session) {
        let sessions = &self.clients.sessions;
        assert_ne!(sessions.find(&session.client_id), Some(id), "nobody finds a session that has ended");
        assert!(sessions.ended().contains(&id) && session.link.is_none(), "it is being taken down");
        assert!(session.will.is_none(), "nothing else is left of it");
    }

    fn assert_session(&self, id: SessionId, session: &Session) {
        let Self { clients, router, .. } = self;
        let subscriptions_max = clients.settings.subscriptions_max as usize;
        assert_eq!(clients.sessions.find(&session.client_id), Some(id), "a client id leads to its session");
        assert!(session.subscriptions.len() <= subscriptions_max, "subscriptions are bounded");
        let mut text = String::new();
        session.subscriptions.places().iter().for_each(|place| router.index.filter_text(place.entry, &mut text));
        assert_eq!(session.subscriptions_bytes as usize, text.len(), "bytes of filters are counted");
        for place in session.subscriptions.shared().iter().skip(session.groups_to_update as usize) {
            let online = router.index.is_online(place.entry, place.position);
            assert_eq!(online, Some(session.link.is_some()), "its groups know whether its client is there");
        }
        assert!(session.groups_to_update == 0 || session.has_work, "or will be updated");
        let Some(link) = session.link.as_deref() else {
            assert!(session.is_persistent(), "a session that is not kept ends with its client");
            assert!(session.expires().is_none() || session.armed_tick.is_some(), "somebody will look at it");
            return;
        };
        let connection = clients.sessions.of_connection(link.connection);
        assert_eq!(connection, Some(id), "a connection leads to its session");
        let acks = link.acks.as_deref().map_or(0, AckQueue::len);
        assert!(u16::try_from(acks).is_ok(), "waiting acknowledgements are bounded");
        assert!(link.replays() <= subscriptions_max, "replays are bounded");
        if let Some(replay) = link.backlog.as_deref().and_then(|backlog| backlog.replays.first()) {
            let held = session.subscriptions.position(replay.entry);
            assert!(held.is_some(), "a replay ends with its subscription");
        }
    }

    fn assert_outbound(&self, client_id: &str, outbound: &Outbound) {
        let Clients { settings, longest_restored: restored, .. } = &self.clients;
        let window = outbound.window();
        let messages_max = settings.queued_messages_max.max(restored.messages);
        assert!(outbound.queued() <= messages_max as usize, "the queue is bounded in messages");
        let bytes_max = settings.queued_bytes_max.max(restored.bytes);
        assert!(outbound.queued_bytes() <= bytes_max, "the queue is bounded in bytes");
        let in_flight_max = settings.inflight_max.max(self.clients.most_in_flight_restored);
        assert!(window.len() <= in_flight_max || is_of_service(client_id), "the window is bounded");
        let mut ids: Vec<u16> = window.iter().map(|(packet_id, _)| packet_id.get()).collect();
        assert_eq!(ids.len(), usize::from(window.len()), "the window counts its messages");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), usize::from(window.len()), "no identifier is used twice at a time");
        let completed = window.iter().filter(|(_, exchange)| matches!(exchange, Exchange::Completed)).count();
        assert_eq!(completed, 0, "what is completed is not in flight");
    }
}

/// What the sessions come to, counted one by one.
#[derive(Default)]
struct Sum {
    connected: usize,
    held_back: usize,
    ended: usize,
    subscriptions: usize,
    ended_subscriptions: (usize, usize),
    stored_messages: u64,
    stored_bytes: u64,
}
