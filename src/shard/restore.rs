//! What was read back from a log becomes a shard's state again.
//!
//! Always holds: a session keeps the slot that the log names it by; what was in flight keeps its packet identifier and is sent
//! again when its client is back; one that was being taken down goes on ending, whoever has its client id now; nothing is written down: the log has it already. Whoever was connected counts as disconnected
//! from the restart on, and times that ran on meanwhile have run on.
//! Leaves to others: reading (`store`, `runtime`), and what is due by now: timers see to it.

use std::sync::Arc;

use super::Shard;
use super::Turn;
use super::clients::Clients;
use super::owners::KnownListeners;
use super::router::Router;
use crate::codec::Forwarded;
use crate::ids::{MessageId, SessionId, WriteStamp};
use crate::session::{Delivery, Exchange, Message, MessageRef, Place, Session, SubscriptionIds, Will};
use crate::settings::ListenerSettings;
use crate::store::state::{LogState, StoredDelivery, StoredSession};
use crate::store::{Medium, MediumError, RecoveredLog, StoredMessage, read_message};
use crate::time::{Deadline, Now, Timestamp};
use crate::topic::{GroupTag, SubscribedFilter, Subscriber};

/// One shard's log, read back.
#[derive(Debug)]
pub struct RestoredLog {
    /// What it comes to.
    pub state: LogState,
    /// The messages that are wanted, by ascending id. Those whose bytes are lost are not among them.
    pub messages: Vec<(MessageId, Message)>,
}

/// A retained message of any log, or the memory of a deletion.
#[derive(Clone, Debug)]
pub struct RestoredRetained {
    /// Under which it is retained.
    pub topic: Box<str>,
    /// Of its latest write.
    pub stamp: WriteStamp,
    /// `None`: deleted.
    pub message: Option<Message>,
    /// It is in the log of the shard that it was published at, and on its way to the one whose log is to have it.
    pub is_on_its_way: bool,
}

/// Reads every message that somebody wants, by ascending id, and the ids of those whose bytes are lost.
#[allow(clippy::type_complexity, reason = "two lists that are told apart by what is in them")]
pub fn read_messages<M: Medium>(
    medium: &mut M,
    recovered: &RecoveredLog,
    now: Now,
) -> Result<(Vec<(MessageId, Message)>, Vec<MessageId>), MediumError> {
    let RecoveredLog { log, state, .. } = recovered;
    let (mut messages, mut lost) = (Vec::with_capacity(state.messages.len()), Vec::new());
    let mut ids: Vec<MessageId> = state.messages.iter().map(|(id, _)| id).collect();
    ids.sort_unstable(); // as they lie on the disk
    for id in ids {
        match read_message(medium, *log, state, id)? {
            Some(stored) => messages.push((id, to_message(&stored, now))),
            None => lost.push(id),
        }
    }
    Ok((messages, lost))
}

/// The message as sessions keep it.
fn to_message(stored: &StoredMessage, now: Now) -> Message {
    Message::new(&MessageRef {
        topic: &stored.topic,
        qos: stored.qos,
        retain: stored.retain,
        // What ended before the machine was started is over, and not for whoever can take it at once.
        expires: stored.expires.map(|at| now.deadline_of(at).max(Deadline(1))),
        publisher: stored.publisher,
        properties: Forwarded::from_clean_block(stored.properties()),
        payload: stored.payload(),
    })
}

impl RestoredLog {
    fn message(&self, id: MessageId) -> Option<&Message> {
        let at = self.messages.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.messages[at].1)
    }

    /// The retained messages of this log, for all shards, and those that it has on their way to others.
    pub fn retained(&self) -> impl Iterator<Item = RestoredRetained> {
        let stored = self.state.retained.iter().filter_map(|(topic, stored)| {
            let message = match stored.message {
                // One whose bytes are lost is as good as never written: an older one must not come back either.
                Some(id) => Some(self.message(id)?.clone()),
                None => None,
            };
            Some(RestoredRetained { topic: topic.clone(), stamp: stored.stamp, message, is_on_its_way: false })
        });
        let mailbox = &self.state.mailbox;
        let forwards = mailbox.numbered().flat_map(|(to, _)| mailbox.forwards(to)).filter_map(|forward| {
            let (stamp, message) = (forward.retained?, self.message(forward.message)?);
            let (topic, deletes) = (message.borrow().topic.into(), message.borrow().payload.is_empty());
            let message = (!deletes).then(|| message.clone());
            Some(RestoredRetained { topic, stamp, message, is_on_its_way: true })
        });
        stored.chain(forwards)
    }
}

impl Shard {
    /// Takes over what was read back, before anybody is served: its own log's sessions, which came by `listeners`, and the retained messages of all.
    /// [`Self::is_restored`] says when the other shards know of it.
    pub fn restore(
        &mut self,
        turn: &mut Turn<'_>,
        log: &RestoredLog,
        retained: &[RestoredRetained],
        listeners: &[Arc<ListenerSettings>],
    ) {
        let Self { clients, router, .. } = self;
        let mut listeners = KnownListeners::new(listeners);
        let mut slots: Vec<(SessionId, &StoredSession)> = log.state.sessions().collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        for &(id, stored) in &slots {
            clients.restore_session(turn.now, id, stored, log);
            clients.restore_owner(id, stored, &mut listeners);
            if !stored.was_ending() {
                router.restore_subscriptions(turn, clients, id, stored);
            }
        }
        // Shared subscriptions are known by now.
        for &(id, stored) in &slots {
            router.restore_deliveries(clients, id, stored, log);
            if !stored.was_ending() {
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
        self.restore_forwards(turn, &log.state.mailbox, |id| log.message(id).cloned());
    }

    /// Goes on with what is left of it.
    pub fn go_on_restoring(&mut self, turn: &mut Turn<'_>) {
        self.work(turn);
    }

    /// Whether every other shard has heard of all that this one's sessions are subscribed to.
    pub fn is_restored(&self) -> bool {
        self.clients.work.is_empty() && self.router.announcements.are_all_applied()
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
            if let Some(interest) = inserted.change {
                self.announce(turn, clients, text, interest);
            }
        }
        // A member is taken to be online when it subscribes.
        self.connection_changed(turn, clients, id);
    }

    fn restore_deliveries(&mut self, clients: &mut Clients, id: SessionId, stored: &StoredSession, log: &RestoredLog) {
        for delivery in &stored.deliveries {
            let Some(exchange) = self.restored(delivery, log) else { continue };
            let outbound = clients.sessions.get_mut(id).outbound_mut();
            match (delivery.packet_id, exchange) {
                (Some(packet_id), exchange) => outbound.restore(packet_id, exchange, &mut clients.queues),
                (None, Exchange::Published(delivery)) => outbound.enqueue(delivery, &mut clients.queues),
                (None, _) => {}
            }
        }
        if let Some(outbound) = clients.sessions.get(id).outbound() {
            let longest = &mut clients.longest_restored;
            longest.messages = longest.messages.max(outbound.queued() as u32);
            longest.bytes = longest.bytes.max(outbound.queued_bytes());
            clients.most_in_flight_restored = clients.most_in_flight_restored.max(outbound.window().len());
        }
    }

    /// `None` for one whose message is lost.
    fn restored(&self, stored: &StoredDelivery, log: &RestoredLog) -> Option<Exchange> {
        let Some(stored_as) = stored.message else { return Some(Exchange::Released) };
        let extra = stored.extra.as_deref();
        let group = extra.and_then(|extra| extra.group).and_then(|key| self.index.group_by_key(key));
        Some(Exchange::Published(Delivery {
            message: log.message(stored_as)?.clone(),
            ids: SubscriptionIds::from_slice(extra.map_or(&[], |extra| &extra.ids)),
            qos: stored.qos,
            retain: stored.retain,
            group: group.map_or(GroupTag::NONE, |group| self.index.group_tag(group)),
            stored_as,
        }))
    }
}

/// When that was on the monotonic clock, and how many seconds before its zero: the machine may have been started since.
const fn instant_of(now: Now, timestamp: Timestamp) -> (Deadline, u32) {
    let Deadline(instant) = now.deadline_of(timestamp);
    let before_zero_ms = now.unix_ms.saturating_sub(now.ms()).saturating_sub(timestamp.0);
    let before_zero_s = before_zero_ms / 1_000;
    (Deadline(instant), if before_zero_s > u32::MAX as u64 { u32::MAX } else { before_zero_s as u32 })
}
