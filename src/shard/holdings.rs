//! What a shard holds, counted: for tests and the simulator, which say what must be left of it, and for whoever
//! wants to know where memory goes.
//!
//! Always holds: looking changes nothing. Both functions visit every session and are not for the data path.

use super::Shard;
use crate::session::{Exchange, Outbound, QueuedMemory};

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
    pub owed_subacks: usize,
    /// Acknowledgements that wait for the store.
    pub waiting_for_store: usize,
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
            owed_subacks: self.router.announcements.owed(),
            waiting_for_store: self.clients.record_log.waiting(),
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
        let settings = &self.clients.settings;
        let (mut connected, mut ended) = (0, 0);
        let mut subscriptions = 0;
        let (mut stored_messages, mut stored_bytes) = (0, 0);
        let mut ended_subscriptions = (0, 0);
        for (id, session) in self.clients.sessions.iter() {
            subscriptions += session.subscriptions.len();
            if session.has_ended {
                ended += 1;
                ended_subscriptions.0 += session.subscriptions.len();
                ended_subscriptions.1 += session.subscriptions.shared_len();
                assert_ne!(
                    self.clients.sessions.find(&session.client_id),
                    Some(id),
                    "nobody finds a session that has ended"
                );
                assert!(
                    self.clients.sessions.ended().contains(&id) && session.link.is_none(),
                    "it is being taken down"
                );
                assert!(session.outbound().is_none() && session.will.is_none(), "nothing else is left of it");
                continue;
            }
            assert_eq!(self.clients.sessions.find(&session.client_id), Some(id), "a client id leads to its session");
            assert!(session.subscriptions.len() <= settings.subscriptions_max as usize, "subscriptions are bounded");
            let mut text = String::new();
            session
                .subscriptions
                .places()
                .iter()
                .for_each(|place| self.router.index.filter_text(place.entry, &mut text));
            assert_eq!(session.subscriptions_bytes as usize, text.len(), "bytes of filters are counted");
            for place in session.subscriptions.shared().iter().skip(session.groups_to_update as usize) {
                let online = self.router.index.is_online(place.entry, place.position);
                assert_eq!(online, Some(session.link.is_some()), "its groups know whether its client is there");
            }
            assert!(session.groups_to_update == 0 || session.has_work, "or will be told");
            assert!(
                session.link.is_some() || session.is_persistent(),
                "a session that is not kept ends with its client"
            );
            if let Some(link) = session.link.as_deref() {
                connected += 1;
                assert_eq!(
                    self.clients.sessions.of_connection(link.connection),
                    Some(id),
                    "a connection leads to its session"
                );
                let acks = link.acks.as_deref().map_or(0, crate::session::AckQueue::len);
                assert!(u16::try_from(acks).is_ok(), "waiting acknowledgements are bounded");
                assert!(link.replays() <= settings.subscriptions_max as usize, "replays are bounded");
                if let Some(replay) = link.backlog.as_deref().and_then(|backlog| backlog.replays.first()) {
                    let held = session.subscriptions.position(replay.entry);
                    assert!(held.is_some(), "a replay ends with its subscription");
                }
            } else {
                assert!(session.expires().is_none() || session.armed_tick.is_some(), "somebody will look at it");
            }
            let Some(outbound) = session.outbound() else { continue };
            stored_messages += outbound.len() as u64;
            stored_bytes += outbound.queued_bytes();
            assert!(outbound.queued() <= settings.queued_messages_max as usize, "the queue is bounded in messages");
            assert!(outbound.queued_bytes() <= settings.queued_bytes_max, "the queue is bounded in bytes");
            assert!(outbound.window().len() <= settings.inflight_max, "the window is bounded");
            let mut ids: Vec<u16> = outbound.window().iter().map(|(packet_id, _)| packet_id.get()).collect();
            assert_eq!(ids.len(), usize::from(outbound.window().len()), "the window counts its messages");
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), usize::from(outbound.window().len()), "no identifier is used twice at a time");
            let settled =
                outbound.window().iter().filter(|(_, exchange)| matches!(exchange, Exchange::Completed)).count();
            assert_eq!(settled, 0, "what is settled is not in flight");
        }
        assert_eq!(connected, self.clients.sessions.connected(), "connections are counted");
        assert_eq!(ended, self.clients.sessions.ended().len(), "sessions that have ended are counted");
        assert_eq!(
            ended_subscriptions,
            self.clients.sessions.ended_subscriptions(),
            "and what they were subscribed to"
        );
        assert_eq!(stored_messages, self.clients.queues.messages(), "what is queued and in flight is counted");
        assert_eq!(stored_bytes, self.clients.queues.queued_bytes(), "and its bytes");
        assert_eq!(subscriptions, self.router.index.subscriptions_count(), "index and sessions agree");
        assert!(self.router.retained.len() <= self.router.retained.entries(), "live messages are entries");
    }
}
