//! What a start writes down before anything else: that it is one, and which messages are lost.
//!
//! Always holds: whoever was connected when the process before ended counts as disconnected from now on; nobody waits any more for messages whose bytes
//! are lost, which is written down, so that it is told and counted once.

use crate::ids::{PacketId, SessionId, WriteStamp};
use crate::store::format::{LogRecord, MessageId};
use crate::store::state::LogState;
use crate::store::{RecordGroup, Urgency};
use crate::telemetry::DropReason;
use crate::time::Timestamp;

/// The first records of a start.
#[derive(Debug)]
pub struct StartRecords {
    /// Encoded one behind the other.
    records: Vec<u8>,
    count: u32,
    /// What was kept and is lost: deliveries, wills, retained messages.
    pub lost: u32,
}

impl StartRecords {
    /// Of a log that was read back, whose last record is at `last`, when a broker starts `at` this time. The messages in `lost` could not be read; they
    /// ascend.
    pub fn of(state: &LogState, lost: &[MessageId], last: u64, at: Timestamp) -> Self {
        let mut records = Vec::new();
        LogRecord::Started { at }.encode(last + 1, &mut records);
        let lost = LostMessages::of(state, lost, last + 1);
        records.extend_from_slice(&lost.records);
        Self { records, count: 1 + lost.count, lost: lost.count }
    }

    /// All of them, as a log takes them.
    pub fn group(&self) -> RecordGroup<'_> {
        RecordGroup { records: &self.records, count: self.count, inbox: &[], urgency: Urgency::Awaited }
    }
}

/// What a log has to say of messages that are lost.
#[derive(Debug, Default)]
struct LostMessages {
    /// Encoded behind the position that was given.
    records: Vec<u8>,
    /// How many they are: a delivery, a will or a retained message each.
    count: u32,
}

impl LostMessages {
    /// Of a log that was read back, whose last record is at `last`; `lost` ascends. What is on its way to other logs is not sent, and dead as soon as
    /// they have taken over something newer.
    fn of(state: &LogState, lost: &[MessageId], last: u64) -> Self {
        let mut found = Self::default();
        if lost.is_empty() {
            return found;
        }
        let is_lost = |id: MessageId| lost.binary_search(&id).is_ok();
        let mut push = |record: &LogRecord<'_>| {
            found.count += 1;
            record.encode(last + u64::from(found.count), &mut found.records);
        };
        let mut slots: Vec<_> = state.sessions().collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        for (session, stored) in slots {
            if stored.will.as_deref().is_some_and(|will| is_lost(will.message)) {
                push(&LogRecord::WillCleared { session });
            }
            for delivery in &stored.deliveries {
                let Some(message) = delivery.message.filter(|message| is_lost(*message)) else { continue };
                push(&end_of(session, message, delivery.packet_id));
            }
        }
        for (topic, retained) in &state.retained {
            if retained.message.is_some_and(is_lost) {
                // Behind the write that is lost, and before every other.
                let stamp = WriteStamp { shard: u8::MAX, ..retained.stamp };
                push(&LogRecord::Retained { topic, stamp, message: None });
            }
        }
        found
    }
}

/// The record that ends a delivery.
const fn end_of(session: SessionId, message: MessageId, packet_id: Option<PacketId>) -> LogRecord<'static> {
    match packet_id {
        Some(packet_id) => LogRecord::Completed { session, packet_id },
        None => LogRecord::Dropped { session, message, reason: DropReason::StorageDamaged as u8 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Qos;
    use crate::store::format::{ListOf, MessageRecord, QueuedRecord, Records};
    use crate::time::Timestamp;

    fn apply(state: &mut LogState, records: &[u8], first: u64) -> u64 {
        state.apply_change(Records::of_batch(records, first), &[]);
        first + Records::of_batch(records, first).count() as u64
    }

    #[test]
    fn what_is_lost_ends_and_nothing_else_does() {
        let session = SessionId(4);
        let message = |id| {
            LogRecord::Message(MessageRecord {
                id: MessageId(id),
                qos: Qos::ExactlyOnce,
                retain: true,
                expires: None,
                publisher: None,
                topic: "t",
                properties: &[],
                properties_bytes: 0,
                payload: b"p",
                later_bytes: 0,
            })
        };
        let queued = |id, packet_id| {
            let (message, ids, qos) = (MessageId(id), ListOf::Values(&[]), Qos::AtLeastOnce);
            LogRecord::Queued(QueuedRecord { session, message, qos, retain: false, packet_id, group: None, ids })
        };
        let stamp = WriteStamp { time_ns: 7, shard: 3 };
        let records = [
            LogRecord::SessionBegun { session, client_id: "c", expiry_s: 60, at: Timestamp(1) },
            message(2),
            message(3),
            queued(2, PacketId::new(9)),
            queued(2, None),
            queued(3, None),
            LogRecord::WillSet { session, message: MessageId(2), delay_s: 0, message_expiry_s: None },
            LogRecord::Retained { topic: "lost", stamp, message: Some(MessageId(2)) },
            LogRecord::Retained { topic: "kept", stamp, message: Some(MessageId(3)) },
        ];
        let mut bytes = Vec::new();
        for (base, record) in (1..).zip(&records) {
            record.encode(base, &mut bytes);
        }
        let mut state = LogState::default();
        let next = apply(&mut state, &bytes, 1);
        assert_eq!(LostMessages::of(&state, &[], next - 1).count, 0);
        let lost = LostMessages::of(&state, &[MessageId(2)], next - 1);
        assert_eq!(lost.count, 4, "two deliveries, a will, a retained message");
        apply(&mut state, &lost.records, next);
        assert_eq!(state.unmatched, 0, "all of them are known");
        assert!(state.messages.iter().all(|(id, _)| id == MessageId(3)), "nobody wants it");
        let stored = state.session(session).expect("it goes on");
        assert_eq!(stored.deliveries.iter().map(|delivery| delivery.message).collect::<Vec<_>>(), [Some(MessageId(3))]);
        assert!(stored.will.is_none() && state.retained["lost"].message.is_none());
        assert!(state.retained["kept"].message.is_some());
        assert_eq!(LostMessages::of(&state, &[MessageId(2)], next + 3).count, 0, "it is said once");
    }
}
