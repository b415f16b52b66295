//! What was read back from a log becomes a shard's state again.
//!
//! Always holds: a session keeps the slot that the log names it by; what was in flight keeps its packet identifier and is sent
//! again when its client is back; one that was being taken down goes on ending, whoever has its client id now; nothing is written down: the log has it already. Whoever was connected counts as disconnected
//! from the restart on, and times that ran on meanwhile have run on. What was on its way comes back when every shard knows what the sessions of all are
//! subscribed to: a delivery finds its shared subscription though all members are elsewhere, and a forward who is to have it.
//! Leaves to others: reading (`store`, `runtime`), and what is due by now: timers see to it.

use super::Shard;
use super::Turn;
use super::clients::Clients;
use super::owners::KnownListeners;
use super::restored_log::{RestoreStep, RestoredLog, RestoredRetained, RestoredSessions};
use super::router::Router;
use crate::ids::SessionId;
use crate::session::{Delivery, DiskDelivery, Exchange, Place, Session, SubscriptionIds, Will};
use crate::store::state::{StoredDelivery, StoredSession};
use crate::telemetry::DropReason;
use crate::time::{Deadline, Now, Timestamp};
use crate::topic::{GroupTag, SubscribedFilter, Subscriber};

impl Shard {
    pub(super) fn handle_restore(&mut self, turn: &mut Turn<'_>, step: RestoreStep<'_>) {
        match step {
            RestoreStep::Sessions(restored) => self.restore_sessions(turn, restored),
            RestoreStep::Announce => self.work(turn),
            RestoreStep::Deliveries(log) => self.restore_deliveries(turn, log),
        }
    }

    fn restore_sessions(&mut self, turn: &mut Turn<'_>, restored: &RestoredSessions<'_>) {
        let &RestoredSessions { log, retained, listeners, lost } = restored;
        let Self { clients, router, .. } = self;
        assert_eq!(clients.sessions.len(), 0, "a shard that has sessions is restored");
        clients.counters.drops[DropReason::StorageDamaged as usize] += u64::from(lost);
        let mut listeners = KnownListeners::new(listeners);
        let mut slots: Vec<(SessionId, &StoredSession)> = log.state.sessions().collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        for &(id, stored) in &slots {
            clients.restore_session(turn.now, id, stored, log);
            clients.restore_owner(id, stored, &mut listeners);
            if !stored.was_ending() {
                router.restore_subscriptions(turn, clients, id, stored);
                clients.arm(turn.now, id);
            }
        }
        if clients.access.checks {
            // Rules may be others than they were.
            clients.access.review_all();
        }
        for RestoredRetained { topic, stamp, message, is_on_its_way } in retained {
            // It comes, and is written down then.
            if !(*is_on_its_way && clients.logs_retained(topic)) {
                router.retained.write(turn.now, topic, message.clone(), *stamp);
            }
        }
    }

    fn restore_deliveries(&mut self, turn: &mut Turn<'_>, log: &RestoredLog) {
        assert!(self.is_restored(), "deliveries are restored before others know of the subscriptions");
        let Self { clients, router, .. } = self;
        let mut slots: Vec<(SessionId, &StoredSession)> = log.state.sessions().collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        for &(id, stored) in &slots {
            router.restore_deliveries(clients, id, stored, log);
        }
        self.restore_forwards(turn, &log.state.mailbox, |id| log.message(id).cloned());
    }
}

impl Clients {
    fn restore_session(&mut self, now: Now, id: SessionId, stored: &StoredSession, log: &RestoredLog) {
        let key = self.sessions.key(&stored.client_id);
        let mut session = Session::new(&stored.client_id, key);
        let gone = stored.disconnected.unwrap_or(Timestamp(now.unix_ms));
        let (disconnected, before_zero_s) = instant_of(now, gone);
        session.disconnected = Some(disconnected);
        session.expiry_s =
            if stored.expiry_s == u32::MAX { u32::MAX } else { stored.expiry_s.saturating_sub(before_zero_s).max(1) };
        session.counts_as_durable = true;
        for &packet_id in &stored.exchanges {
            session.exchanges.insert(packet_id);
        }
        if let Some(will) = &stored.will
            && let Some(message) = log.message(will.message)
        {
            let delay_s = will.delay_s.saturating_sub(before_zero_s);
            session.will = Some(Box::new(Will::restored(message.clone(), delay_s, will.message_expiry_s)));
        }
        if stored.was_ending() {
            self.sessions.restore_ending(id, session);
        } else {
            self.sessions.restore(id, session);
        }
    }
}

impl Router {
    fn restore_subscriptions(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        id: SessionId,
        stored: &StoredSession,
    ) {
        for (text, subscription) in stored.subscriptions.iter() {
            let Ok(filter) = SubscribedFilter::parse(text, u16::MAX) else { continue };
            let (options, identifier) = (subscription.options, subscription.identifier);
            let inserted = self.index.insert(&filter, Subscriber { session: id, options, identifier }, true);
            let session = clients.sessions.get_mut(id);
            session.subscriptions.set(Place { entry: inserted.entry, position: inserted.position });
            session.subscriptions_bytes += text.len() as u32;
            if let Some(change) = inserted.change {
                self.announce(turn, clients, text, change);
            }
        }
        // A member is taken to be online when it subscribes.
        self.connection_changed(turn, clients, id);
    }

    fn restore_deliveries(&mut self, clients: &mut Clients, id: SessionId, stored: &StoredSession, log: &RestoredLog) {
        for delivery in &stored.deliveries {
            let outbound = clients.sessions.get_mut(id).outbound_mut();
            match (delivery.packet_id, self.restored(delivery, log)) {
                (Some(packet_id), Some(exchange)) => outbound.restore(packet_id, exchange, &mut clients.queues),
                (None, Some(Exchange::Published(delivery))) if outbound.queued_on_disk() == 0 => {
                    outbound.enqueue(delivery, &mut clients.queues);
                }
                // What one queue has in memory may stand behind what another has on the disk.
                (None, Some(Exchange::Published(delivery))) => {
                    outbound.enqueue_on_disk(DiskDelivery::of(&delivery), &mut clients.queues);
                }
                (None, None) => {
                    if let Some(delivery) = self.restored_on_disk(delivery, log) {
                        outbound.enqueue_on_disk(delivery, &mut clients.queues);
                    }
                }
                (Some(_), None) | (None, Some(_)) => {}
            }
        }
        if let Some(outbound) = clients.sessions.get(id).outbound() {
            let longest = &mut clients.longest_restored;
            longest.messages = longest.messages.max(outbound.queued() as u32);
            longest.bytes = longest.bytes.max(outbound.queued_bytes());
            clients.most_in_flight_restored = clients.most_in_flight_restored.max(outbound.window().len());
        }
    }

    /// One whose message stays on the disk. `None` where it is lost.
    fn restored_on_disk(&self, stored: &StoredDelivery, log: &RestoredLog) -> Option<DiskDelivery> {
        let stored_as = stored.message?;
        let (ids, group) = self.restored_extra(stored);
        let (qos, retain, len_bytes) = (stored.qos, stored.retain, log.len_on_disk(stored_as)?);
        // When it expires its body says.
        Some(DiskDelivery { stored_as, len_bytes, qos, retain, ids, group, expires: None })
    }

    fn restored_extra(&self, stored: &StoredDelivery) -> (SubscriptionIds, GroupTag) {
        let extra = stored.extra.as_deref();
        let group = extra.and_then(|extra| extra.group).and_then(|key| self.index.group_by_key(key));
        let ids = SubscriptionIds::from_slice(extra.map_or(&[], |extra| &extra.ids));
        (ids, group.map_or(GroupTag::NONE, |group| self.index.group_tag(group)))
    }

    /// `None` for one whose message is not in memory.
    fn restored(&self, stored: &StoredDelivery, log: &RestoredLog) -> Option<Exchange> {
        let Some(stored_as) = stored.message else { return Some(Exchange::Released) };
        let message = log.message(stored_as)?.clone();
        let (ids, group) = self.restored_extra(stored);
        Some(Exchange::Published(Delivery { message, ids, qos: stored.qos, retain: stored.retain, group, stored_as }))
    }
}

/// When that was on the monotonic clock, and how many seconds before its zero: the machine may have been started since.
const fn instant_of(now: Now, timestamp: Timestamp) -> (Deadline, u32) {
    let Deadline(instant) = now.deadline_of(timestamp);
    let before_zero_ms = now.unix_ms.saturating_sub(now.ms()).saturating_sub(timestamp.0);
    let before_zero_s = before_zero_ms / 1_000;
    (Deadline(instant), if before_zero_s > u32::MAX as u64 { u32::MAX } else { before_zero_s as u32 })
}
