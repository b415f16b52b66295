//! One message queued for one session.

use super::error::FormatError;
use super::fields::{FieldReader, put_varint};
use super::list::ListOf;
use crate::ids::{MessageId, PacketId, Qos, SessionId, SubscriptionId};

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedRecord<'a> {
    /// Slot of the session.
    pub session: SessionId,
    /// What it is to get.
    pub message: MessageId,
    /// QoS of this delivery: 1 or 2.
    pub qos: Qos,
    /// RETAIN of this delivery.
    pub retain: bool,
    /// The packet identifier, if it is sent at once. Otherwise a later record tells.
    pub packet_id: Option<PacketId>,
    /// The key of the shared subscription that the session was picked for.
    pub group: Option<u64>,
    /// Identifiers of the subscriptions that it is delivered for.
    pub ids: ListOf<'a, SubscriptionId>,
}

const QOS_2: u8 = 1;
const RETAIN: u8 = 1 << 1;
const PACKET_ID: u8 = 1 << 2;
const GROUP: u8 = 1 << 3;

impl<'a> QueuedRecord<'a> {
    pub(super) fn put(&self, base: u64, out: &mut Vec<u8>) {
        debug_assert_ne!(self.qos, Qos::AtMostOnce, "such a delivery is not stored");
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        out.push(
            flag(self.qos == Qos::ExactlyOnce, QOS_2)
                | flag(self.retain, RETAIN)
                | flag(self.packet_id.is_some(), PACKET_ID)
                | flag(self.group.is_some(), GROUP),
        );
        put_varint(out, u64::from(self.session.0));
        self.message.put(base, out);
        if let Some(packet_id) = self.packet_id {
            out.extend_from_slice(&packet_id.get().to_le_bytes());
        }
        if let Some(group) = self.group {
            out.extend_from_slice(&group.to_le_bytes());
        }
        self.ids.put(out);
    }

    pub(super) fn take(base: u64, body: &'a [u8]) -> Result<Self, FormatError> {
        let mut reader = FieldReader::new(body);
        let flags = reader.byte("a delivery")?;
        if flags & !(QOS_2 | RETAIN | PACKET_ID | GROUP) != 0 {
            return Err(FormatError::Invalid("a delivery's flags"));
        }
        let has = |flag| flags & flag != 0;
        Ok(Self {
            qos: if has(QOS_2) { Qos::ExactlyOnce } else { Qos::AtLeastOnce },
            retain: has(RETAIN),
            session: SessionId(reader.varint_u32("a session")?),
            message: MessageId::take(base, &mut reader)?,
            packet_id: if has(PACKET_ID) { Some(reader.packet_id()?) } else { None },
            group: if has(GROUP) { Some(reader.u64("a shared subscription")?) } else { None },
            ids: ListOf::check(reader.rest())?,
        })
    }
}
