//! The first clients in some order: a walk over all sessions, a slice at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::clients::Clients;
use super::command::{PAGE_MAX, Reply, RequestId, SLOTS_PER_PAGE};
use super::shown::{TopBy, TopRow};
use crate::ids::SessionId;
use crate::session::{Outbound, Session};
use crate::time::Now;

/// A walk under way.
#[derive(Debug)]
pub(super) struct TopWalk {
    request: RequestId,
    by: TopBy,
    limit: usize,
    next: u32,
    /// One more than the last slot when it began: sessions that begin meanwhile cannot make it endless.
    end: u32,
    /// The least of the first is on top.
    best: BinaryHeap<Reverse<(u64, SessionId)>>,
}

impl TopWalk {
    /// At the begin.
    pub(super) fn new(clients: &Clients, request: RequestId, by: TopBy, limit: u16) -> Self {
        let limit = usize::from(limit.clamp(1, PAGE_MAX));
        Self { request, by, limit, next: 0, end: clients.sessions.slots(), best: BinaryHeap::with_capacity(limit + 1) }
    }

    /// One slice of it. The answer, when it has come to its end.
    pub(super) fn advance(&mut self, now: Now, clients: &Clients) -> Option<(RequestId, Reply)> {
        let until = self.end.min(self.next.saturating_add(SLOTS_PER_PAGE));
        for slot in self.next..until {
            let id = SessionId(slot);
            let Some(session) = clients.sessions.try_get(id).filter(|session| !session.has_ended) else { continue };
            let value = value_of(now, clients, (id, session), self.by);
            let is_first =
                self.best.len() < self.limit || self.best.peek().is_some_and(|Reverse((least, _))| value > *least);
            if value > 0 && is_first {
                self.best.push(Reverse((value, id)));
                if self.best.len() > self.limit {
                    self.best.pop();
                }
            }
        }
        self.next = until;
        (until == self.end).then(|| (self.request, self.answer(now, clients)))
    }

    fn answer(&mut self, now: Now, clients: &Clients) -> Reply {
        // Sorted by what is turned round: the greatest first.
        let first = std::mem::take(&mut self.best).into_sorted_vec();
        let row = |Reverse((value, id)): Reverse<(u64, SessionId)>| {
            let session = clients.sessions.try_get(id).filter(|session| !session.has_ended)?;
            Some(TopRow { client_id: session.client_id.clone(), value })
        };
        Reply::Top { rows: first.into_iter().filter_map(row).collect(), counted_ms: clients.traffic.counted_ms(now) }
    }
}

fn value_of(now: Now, clients: &Clients, (id, session): (SessionId, &Session), by: TopBy) -> u64 {
    let outbound = session.outbound();
    match by {
        TopBy::Queued => outbound.map_or(0, |outbound| outbound.queued() as u64),
        TopBy::QueuedBytes => outbound.map_or(0, Outbound::queued_bytes),
        TopBy::QueueAge => outbound.and_then(|outbound| outbound.oldest_ms(now)).unwrap_or_default(),
        TopBy::InFlight => outbound.map_or(0, |outbound| outbound.window().len().into()),
        TopBy::AckAge => {
            // Who is away acknowledges nothing, and is sent it again.
            let sent = session.link.as_ref().and(outbound).and_then(|outbound| outbound.window().oldest_sent());
            sent.map_or(0, |sent| sent.elapsed_ns(now) / 1_000_000)
        }
        by => {
            let Some(traffic) = clients.traffic.of(id, session.key) else { return 0 };
            match by {
                TopBy::Received => traffic.received.into(),
                TopBy::Sent => traffic.sent.into(),
                TopBy::ReceivedBytes => traffic.received_bytes,
                TopBy::SentBytes => traffic.sent_bytes,
                _ => traffic.drops.iter().map(|&drops| u64::from(drops)).sum(),
            }
        }
    }
}
