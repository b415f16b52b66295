//! The sessions of one shard: by slot, by client id and by connection.
//!
//! Always holds: a client id has at most one session; a connection leads to a session exactly while that session's link
//! leads back to the connection. A session that has ended is found by nobody who does not have its slot already: the
//! index does, until its last subscription is out of it, and so long the slot is not given to another.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::ids::{ClientKey, ConnectionId, NameKey, SessionId};
use crate::session::{Link, Place, Session};
use crate::slab::Slab;
use crate::topic::EntryId;

#[derive(Clone, Copy, Debug, Default)]
struct ConnectionSlot {
    generation: u32,
    /// Session slot plus one; 0 for none.
    session: u32,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Sessions {
    slab: Slab<Session>,
    by_client_id: HashTable<SessionId>,
    by_connection: Vec<ConnectionSlot>,
    names: NameKey,
    connected: usize,
    /// Of those, by the version of their connection.
    connected_by_version: [u64; 3],
    /// Of those, the broker's own services.
    services: usize,
    /// Those that have ended and still have subscriptions, the oldest first.
    ended: VecDeque<SessionId>,
    /// Their subscriptions that are still in the index, and how many of these are shared.
    ended_subscriptions: (usize, usize),
}

impl Sessions {
    /// No sessions. `names` is the same on all shards of a process.
    pub(super) fn new(names: NameKey) -> Self {
        Self {
            slab: Slab::default(),
            by_client_id: HashTable::new(),
            by_connection: Vec::new(),
            names,
            connected: 0,
            connected_by_version: [0; 3],
            services: 0,
            ended: VecDeque::new(),
            ended_subscriptions: (0, 0),
        }
    }

    /// A client id reduced to 64 bits, alike on all shards.
    pub(super) fn key(&self, client_id: &str) -> ClientKey {
        self.names.client(client_id)
    }

    /// The session that a client id has, if any: one that has ended is not found.
    pub(super) fn find(&self, client_id: &str) -> Option<SessionId> {
        self.find_by_key(self.key(client_id), client_id)
    }

    /// The session of a client id whose key is known.
    pub(super) fn find_by_key(&self, key: ClientKey, client_id: &str) -> Option<SessionId> {
        let slab = &self.slab;
        let same = |id: &SessionId| slab.get(id.0).is_some_and(|session| *session.client_id == *client_id);
        self.by_client_id.find(key.0, same).copied()
    }

    /// Begins a session for a client id that has none.
    pub(super) fn insert(&mut self, key: ClientKey, client_id: &str) -> SessionId {
        debug_assert!(key == self.key(client_id) && self.find_by_key(key, client_id).is_none());
        let id = SessionId(self.slab.insert(Session::new(client_id, key)));
        let slab = &self.slab;
        self.by_client_id.insert_unique(key.0, id, |id| slab.get(id.0).map_or(0, |session| session.key.0));
        id
    }

    /// Puts a session that was read back into the slot that its log knows it by.
    pub(super) fn restore(&mut self, id: SessionId, session: Session) {
        let key = session.key;
        debug_assert!(self.find_by_key(key, &session.client_id).is_none(), "a client id has one session");
        self.slab.insert_at(id.0, session);
        let slab = &self.slab;
        self.by_client_id.insert_unique(key.0, id, |id| slab.get(id.0).map_or(0, |session| session.key.0));
    }

    /// The same of one that had begun to end: its client id may have another session. It is subscribed to nothing any more.
    pub(super) fn restore_ending(&mut self, id: SessionId, mut session: Session) {
        debug_assert!(session.subscriptions.is_empty());
        session.has_ended = true;
        self.slab.insert_at(id.0, session);
        self.ended.push_back(id);
    }

    /// Ends a session that has no connection. Its slot is held until [`Self::free`].
    pub(super) fn end(&mut self, id: SessionId) {
        let session = self.get_mut(id);
        assert!(session.link.is_none() && !session.has_ended, "a session ends once, without a connection");
        session.has_ended = true;
        let (key, subscriptions) = (session.key, (session.subscriptions.len(), session.subscriptions.shared_len()));
        self.ended_subscriptions.0 += subscriptions.0;
        self.ended_subscriptions.1 += subscriptions.1;
        let entry = self.by_client_id.find_entry(key.0, |&other| other == id);
        entry.expect("until now it was found by its client id").remove();
        self.ended.push_back(id);
    }

    /// Takes a subscription from a session that has ended.
    pub(super) fn take_from_ended(&mut self, id: SessionId, entry: EntryId) -> Option<Place> {
        let subscriptions = &mut self.get_mut(id).subscriptions;
        let position = subscriptions.remove(entry)?;
        self.count_taken(entry);
        Some(Place { entry, position })
    }

    /// Takes any subscription from a session that has ended, a shared one as long as there is any.
    pub(super) fn take_any_from_ended(&mut self, id: SessionId) -> Option<Place> {
        let place = self.get_mut(id).subscriptions.pop()?;
        self.count_taken(place.entry);
        Some(place)
    }

    fn count_taken(&mut self, entry: EntryId) {
        self.ended_subscriptions.0 -= 1;
        self.ended_subscriptions.1 -= usize::from(entry.is_shared());
    }

    /// Subscriptions in the index of sessions that have ended, and how many of these are shared.
    pub(super) const fn ended_subscriptions(&self) -> (usize, usize) {
        self.ended_subscriptions
    }

    /// Gives the slot of an ended session free, of which the index knows nothing any more.
    pub(super) fn free(&mut self, id: SessionId) {
        let session = self.slab.remove(id.0).expect("a slot is given free once");
        assert!(session.has_ended && session.subscriptions.is_empty(), "nobody names a session that is gone");
        // Mostly it is the oldest, or the one that ended just now.
        if self.ended.front() == Some(&id) {
            self.ended.pop_front();
        } else {
            let at = self.ended.iter().rposition(|&other| other == id);
            self.ended.remove(at.expect("it has ended"));
        }
    }

    /// Sessions that have ended and still have subscriptions, the oldest first.
    pub(super) const fn ended(&self) -> &VecDeque<SessionId> {
        &self.ended
    }

    /// The session in a slot that is known to hold one.
    pub(super) fn get(&self, id: SessionId) -> &Session {
        self.slab.get(id.0).expect("whoever names a session knows that it exists")
    }

    /// The session in a slot that is known to hold one.
    pub(super) fn get_mut(&mut self, id: SessionId) -> &mut Session {
        self.slab.get_mut(id.0).expect("whoever names a session knows that it exists")
    }

    /// The session in a slot that may have been emptied meanwhile.
    pub(super) fn try_get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.slab.get_mut(id.0)
    }

    /// The session in a slot that may have been emptied meanwhile.
    pub(super) fn try_get(&self, id: SessionId) -> Option<&Session> {
        self.slab.get(id.0)
    }

    /// The session that a connection carries; `None` for a late word about one that has ended.
    pub(super) fn of_connection(&self, connection: ConnectionId) -> Option<SessionId> {
        let slot = self.by_connection.get(connection.slot as usize)?;
        (slot.generation == connection.generation() && slot.session > 0).then(|| SessionId(slot.session - 1))
    }

    /// Gives a session its connection.
    pub(super) fn attach(&mut self, id: SessionId, link: Link) {
        let (connection, version, is_service) = (link.connection, link.version, link.is_service());
        let index = connection.slot as usize;
        if self.by_connection.len() <= index {
            self.by_connection.resize(index + 1, ConnectionSlot::default());
        }
        self.by_connection[index] = ConnectionSlot { generation: connection.generation(), session: id.0 + 1 };
        let session = self.get_mut(id);
        assert!(session.link.is_none(), "a session has one connection at a time");
        session.link = Some(Box::new(link));
        session.disconnected = None;
        self.connected += 1;
        self.connected_by_version[version.index()] += 1;
        self.services += usize::from(is_service);
    }

    /// Takes its connection from a session.
    pub(super) fn detach(&mut self, id: SessionId) -> Option<Box<Link>> {
        let link = self.get_mut(id).link.take()?;
        self.by_connection[link.connection.slot as usize].session = 0;
        self.connected -= 1;
        self.connected_by_version[link.version.index()] -= 1;
        self.services -= usize::from(link.is_service());
        Some(link)
    }

    /// One more than the highest slot that has ever held a session.
    pub(super) const fn slots(&self) -> u32 {
        self.slab.slots()
    }

    /// Sessions that have not ended.
    pub(super) fn len(&self) -> usize {
        self.slab.len() - self.ended.len()
    }

    /// Sessions with a connection.
    pub(super) const fn connected(&self) -> usize {
        self.connected
    }

    /// Those of them that are services of the broker's own.
    pub(super) const fn services(&self) -> usize {
        self.services
    }

    /// Sessions with a connection, by its version: 3.1, 3.1.1, 5.0.
    pub(super) const fn connected_by_version(&self) -> [u64; 3] {
        self.connected_by_version
    }

    /// All sessions, ended ones included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.slab.iter().map(|(slot, session)| (SessionId(slot), session))
    }
}
