//! State as records again: what a page of a checkpoint is made of.

use super::{LogState, StoredDelivery, StoredSession};
use crate::ids::{SessionId, ShardId};
use crate::store::format::{ForwardTarget, ListOf, LogRecord, QueuedRecord};

impl StoredSession {
    /// Appends the records that rebuild the session in a page as of `base`.
    pub fn encode(&self, session: SessionId, base: u64, out: &mut Vec<u8>) {
        self.for_each_record(session, &mut |record| record.encode(base, out));
    }

    /// Gives out the records that rebuild the session.
    pub fn for_each_record(&self, session: SessionId, each: &mut dyn FnMut(&LogRecord<'_>)) {
        let Self { client_id, expiry_s, begun, .. } = self;
        each(&LogRecord::SessionBegun { session, client_id, expiry_s: *expiry_s, at: *begun });
        if let Some(owner) = self.owner() {
            each(&LogRecord::SessionOwner { session, owner, keeps_filters: false });
        }
        for filter in self.allowed_filters() {
            each(&LogRecord::FilterDecided { session, filter, is_allowed: true });
        }
        if let Some(at) = self.disconnected {
            each(&LogRecord::Disconnected { session, at });
        }
        if let Some(will) = &self.will {
            let (message, delay_s, message_expiry_s) = (will.message, will.delay_s, will.message_expiry_s);
            each(&LogRecord::WillSet { session, message, delay_s, message_expiry_s });
            if let Some(decision) = will.decision {
                each(&LogRecord::WillDecided { session, decision });
            }
        }
        for (filter, subscription) in self.subscriptions.iter() {
            let (options, identifier) = (subscription.options, subscription.identifier);
            each(&LogRecord::Subscribed { session, filter, options, identifier });
        }
        for &packet_id in &self.exchanges {
            each(&LogRecord::ExchangeOpened { session, packet_id });
        }
        for delivery in &self.deliveries {
            delivery.for_its_record(session, each);
        }
    }
}

impl StoredDelivery {
    fn for_its_record(&self, session: SessionId, each: &mut dyn FnMut(&LogRecord<'_>)) {
        match (self.message, self.packet_id) {
            (Some(message), packet_id) => {
                let extra = self.extra.as_deref();
                let queued = QueuedRecord {
                    session,
                    message,
                    qos: self.qos,
                    retain: self.retain,
                    packet_id,
                    group: extra.and_then(|extra| extra.group),
                    ids: ListOf::Values(extra.map_or(&[], |extra| &extra.ids)),
                };
                each(&LogRecord::Queued(queued));
            }
            (None, Some(packet_id)) => each(&LogRecord::Released { session, packet_id }),
            (None, None) => {}
        }
    }
}

impl LogState {
    /// Appends the records of all retained messages, those that were deleted included: an older write may still be on its way.
    pub fn encode_retained(&self, base: u64, out: &mut Vec<u8>) {
        for (topic, retained) in &self.retained {
            let (stamp, message) = (retained.stamp, retained.message);
            LogRecord::Retained { topic, stamp, message }.encode(base, out);
        }
    }

    /// Appends the records of what goes to other logs, and the counts of both directions.
    pub fn encode_mailbox(&self, base: u64, out: &mut Vec<u8>) {
        for (to, number) in self.mailbox.numbered() {
            self.encode_forwards(to, base, out);
            LogRecord::OutboxCount { to, number }.encode(base, out);
        }
        for (from, number) in self.mailbox.taken() {
            LogRecord::InboxTaken { from, number }.encode(base, out);
        }
    }

    fn encode_forwards(&self, to: ShardId, base: u64, out: &mut Vec<u8>) {
        for forward in self.mailbox.forwards(to) {
            let target = ForwardTarget {
                to,
                number: forward.number,
                message: forward.message,
                plain: forward.plain,
                retained: forward.retained,
                groups: ListOf::Values(&forward.groups),
            };
            LogRecord::Forward(target).encode(base, out);
        }
    }
}
