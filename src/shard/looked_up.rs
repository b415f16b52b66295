//! Clients as others see them: a page of those that are looked for, and all of one.

use super::Shard;
use super::command::{
    ClientCursor, ClientDetails, ClientFilter, ClientSummary, ConnectionDetails, EdgeFacts, PAGE_MAX, PAGE_MAX_BYTES,
    Reply, SLOTS_PER_PAGE,
};
use super::shown::ip_of;
use crate::ids::SessionId;
use crate::session::{Outbound, Session};
use crate::time::Now;

impl Shard {
    /// A page of those that are looked for, of so many at most.
    pub(super) fn list_clients(
        &self,
        filter: &ClientFilter,
        after: Option<ClientCursor>,
        (limit, edge): (u16, &dyn EdgeFacts),
    ) -> Reply {
        let limit = usize::from(limit.clamp(1, PAGE_MAX));
        let begin = ClientCursor { next: 0, end: self.clients.sessions.slots(), within: 0 };
        let ClientCursor { next, end, .. } = after.unwrap_or(begin);
        let mut page = Vec::with_capacity(limit.min(self.clients.sessions.len()));
        let (mut slot, mut bytes, mut looked_through) = (next, 0, 0);
        let slots_end = end.min(next.saturating_add(SLOTS_PER_PAGE));
        while slot < slots_end && page.len() < limit && bytes.max(looked_through) < PAGE_MAX_BYTES {
            let id = SessionId(slot);
            if let Some(session) = self.clients.sessions.try_get(id).filter(|session| !session.has_ended)
                && self.is_looked_for(filter, (id, session), edge)
            {
                let summary = self.summary(id, session, edge);
                bytes += summary.len_bytes();
                page.push(summary);
            }
            // Beginnings are compared at once, whole names are read.
            looked_through += if filter.contains.is_empty() { 0 } else { self.id_bytes(id) };
            slot += 1;
        }
        Reply::Clients { page, next: (slot < end).then_some(ClientCursor { next: slot, end, within: 0 }) }
    }

    fn is_looked_for(&self, filter: &ClientFilter, (id, session): (SessionId, &Session), edge: &dyn EdgeFacts) -> bool {
        let ClientFilter { prefix, contains, user, network, connected } = filter;
        session.client_id.starts_with(&**prefix)
            && session.client_id.contains(&**contains)
            && connected.is_none_or(|connected| connected == session.link.is_some())
            && user.as_deref().is_none_or(|user| self.user_of(id) == Some(user))
            && network.is_none_or(|network| {
                let connection = session.link.as_deref().map(|link| link.connection);
                let address = match connection {
                    Some(connection) => edge.peer(connection).and_then(ip_of),
                    None => self.clients.access.principal(id).and_then(|principal| principal.identity.peer),
                };
                address.is_some_and(|address| network.contains(address.to_canonical()))
            })
    }

    fn id_bytes(&self, id: SessionId) -> usize {
        self.clients.sessions.try_get(id).map_or(0, |session| session.client_id.len())
    }

    fn user_of(&self, id: SessionId) -> Option<&str> {
        self.clients.access.principal(id)?.identity.user.as_deref()
    }

    fn summary(&self, id: SessionId, session: &Session, edge: &dyn EdgeFacts) -> ClientSummary {
        ClientSummary {
            client_id: session.client_id.clone(),
            connected: session.link.as_deref().map(|link| link.version),
            user: self.user_of(id).map(Into::into),
            peer: session.link.as_deref().and_then(|link| edge.peer(link.connection)),
            subscriptions: session.subscriptions.len() as u32,
            messages: session.outbound().map_or(0, |outbound| outbound.len() as u32),
        }
    }

    /// What one client holds.
    pub(super) fn describe_client(&self, now: Now, client_id: &str, edge: &dyn EdgeFacts) -> Reply {
        let Some(id) = self.clients.sessions.find(client_id) else { return Reply::NotFound };
        let session = self.clients.sessions.get(id);
        let connection = session.link.as_deref().map(|link| ConnectionDetails {
            listener: edge.listener(link.connection).map(Into::into),
            tls: edge.tls(link.connection),
            connected_ms: now.ms().saturating_sub(link.connected.0),
            silent_s: link.silent_s(now),
            keep_alive_s: link.keep_alive_s,
            receive_maximum: link.window_max,
            packet_size_max_bytes: link.packet_size_max_bytes,
            unsent_bytes: link.outbox_bytes(self.clients.flush),
        });
        let (outbound, traffic) = (session.outbound(), &self.clients.traffic);
        Reply::Client(Box::new(ClientDetails {
            summary: self.summary(id, session, edge),
            connection,
            session_expiry_s: if session.outlives_connection() { session.expiry_s } else { 0 },
            disconnected_at: session.disconnected.map(|instant| now.timestamp_of(instant)),
            expires_at: session.expires().map(|instant| now.timestamp_of(instant)),
            in_flight: outbound.map_or(0, |outbound| outbound.window().len()),
            queued: outbound.map_or(0, |outbound| outbound.queued() as u32),
            queued_bytes: outbound.map_or(0, Outbound::queued_bytes),
            oldest_queued_ms: outbound.and_then(|outbound| outbound.oldest_ms(now)),
            open_exchanges: session.exchanges.len() as u32,
            has_will: session.will.is_some(),
            traffic: traffic.of(id, session.key).map(|counted| (counted, traffic.counted_ms(now))),
            lost: self.clients.losses.of_service(id),
        }))
    }
}
