//! A record's bytes: a kind, the length of what follows, and that.

use super::error::FormatError;
use super::fields::{FieldReader, put_varint, text, varint_bytes};
use super::forward::{ForwardTarget, put_count, put_stamp, take_count, take_stamp};
use super::message::{CHECKSUM_BYTES, MessageRecord, checked};
use super::owner::{BackEndDecision, SessionOwner};
use super::queued::QueuedRecord;
use super::record::{LogRecord, kind};
use crate::ids::{MessageId, PacketId, SessionId, SubscriptionId};
use crate::time::Timestamp;

impl<'a> LogRecord<'a> {
    /// Appends the record. `base` is its position, or that of the page it is in.
    pub fn encode(&self, base: u64, out: &mut Vec<u8>) {
        match *self {
            Self::Message(message) => {
                frame_of(kind::MESSAGE, message.len_bytes(), out);
                message.put(kind::MESSAGE, out);
            }
            Self::MessagePart { message, bytes } => {
                frame_of(kind::MESSAGE_PART, CHECKSUM_BYTES + varint_bytes(message.0) + bytes.len(), out);
                checked(kind::MESSAGE_PART, out, |out| {
                    put_varint(out, message.0);
                    out.extend_from_slice(bytes);
                });
            }
            Self::Queued(queued) => frame(kind::QUEUED, out, |out| queued.put(base, out)),
            Self::Sent { session, message, packet_id } => frame(kind::SENT, out, |out| {
                put_exchange(session, packet_id, out);
                message.put(base, out);
            }),
            Self::Released { session, packet_id } => exchange_frame(kind::RELEASED, session, packet_id, out),
            Self::Completed { session, packet_id } => exchange_frame(kind::COMPLETED, session, packet_id, out),
            Self::ExchangeOpened { session, packet_id } => {
                exchange_frame(kind::EXCHANGE_OPENED, session, packet_id, out);
            }
            Self::ExchangeClosed { session, packet_id } => {
                exchange_frame(kind::EXCHANGE_CLOSED, session, packet_id, out);
            }
            Self::Dropped { session, message, reason } => frame(kind::DROPPED, out, |out| {
                out.push(reason);
                put_varint(out, u64::from(session.0));
                message.put(base, out);
            }),
            Self::Retained { topic, stamp, message } => frame(kind::RETAINED, out, |out| {
                put_stamp(stamp, out);
                out.push(u8::from(message.is_some()));
                if let Some(message) = message {
                    message.put(base, out);
                }
                out.extend_from_slice(topic.as_bytes());
            }),
            Self::Forward(target) => frame(kind::FORWARD, out, |out| target.put(base, out)),
            Self::Started { at } => frame(kind::STARTED, out, |out| put_varint(out, at.0)),
            Self::OutboxCount { to, number } => frame(kind::OUTBOX_COUNT, out, |out| put_count(to, number, out)),
            Self::InboxTaken { from, number } => frame(kind::INBOX_TAKEN, out, |out| put_count(from, number, out)),
            _ => self.encode_of_session(base, out),
        }
    }

    /// Records of one session that have nothing to do with a delivery.
    fn encode_of_session(&self, base: u64, out: &mut Vec<u8>) {
        let session_frame = |kind, session: SessionId, out: &mut Vec<u8>, put: &dyn Fn(&mut Vec<u8>)| {
            frame(kind, out, |out| {
                put_varint(out, u64::from(session.0));
                put(out);
            });
        };
        match *self {
            Self::SessionBegun { session, client_id, expiry_s, at } => {
                session_frame(kind::SESSION_BEGUN, session, out, &|out| {
                    put_varint(out, u64::from(expiry_s));
                    put_varint(out, at.0);
                    out.extend_from_slice(client_id.as_bytes());
                });
            }
            Self::SessionEnded { session } => session_frame(kind::SESSION_ENDED, session, out, &|_| {}),
            Self::SessionExpiry { session, expiry_s } => {
                session_frame(kind::SESSION_EXPIRY, session, out, &|out| put_varint(out, u64::from(expiry_s)));
            }
            Self::Connected { session } => session_frame(kind::CONNECTED, session, out, &|_| {}),
            Self::Disconnected { session, at } => {
                session_frame(kind::DISCONNECTED, session, out, &|out| put_varint(out, at.0));
            }
            Self::WillSet { session, message, delay_s, message_expiry_s } => {
                session_frame(kind::WILL_SET, session, out, &|out| {
                    message.put(base, out);
                    put_varint(out, u64::from(delay_s));
                    put_varint(out, message_expiry_s.map_or(0, |seconds| u64::from(seconds) + 1));
                });
            }
            Self::WillCleared { session } => session_frame(kind::WILL_CLEARED, session, out, &|_| {}),
            Self::Subscribed { session, filter, options, identifier } => {
                session_frame(kind::SUBSCRIBED, session, out, &|out| {
                    out.push(options);
                    put_varint(out, identifier.map_or(0, |identifier| u64::from(identifier.get())));
                    out.extend_from_slice(filter.as_bytes());
                });
            }
            Self::Unsubscribed { session, filter } => {
                session_frame(kind::UNSUBSCRIBED, session, out, &|out| out.extend_from_slice(filter.as_bytes()));
            }
            Self::SessionOwner { session, owner, keeps_filters } => {
                session_frame(kind::SESSION_OWNER, session, out, &|out| owner.put(keeps_filters, out));
            }
            Self::FilterDecided { session, filter, is_allowed } => {
                session_frame(kind::FILTER_DECIDED, session, out, &|out| {
                    out.push(u8::from(is_allowed));
                    out.extend_from_slice(filter.as_bytes());
                });
            }
            Self::WillDecided { session, decision } => {
                session_frame(kind::WILL_DECIDED, session, out, &|out| out.push(decision as u8));
            }
            _ => unreachable!("`encode` has taken the others"),
        }
    }

    /// Reads the record of `kind` whose bytes are `body`; `base` as it was encoded with.
    #[inline]
    pub(super) fn decode(kind: u8, base: u64, body: &'a [u8]) -> Result<Self, FormatError> {
        let mut reader = FieldReader::new(body);
        let record = match kind {
            kind::QUEUED => return QueuedRecord::take(base, body).map(Self::Queued),
            kind::MESSAGE => return MessageRecord::take(body).map(Self::Message),
            kind::COMPLETED => take_exchange(&mut reader, |session, packet_id| Self::Completed { session, packet_id })?,
            kind::RELEASED => take_exchange(&mut reader, |session, packet_id| Self::Released { session, packet_id })?,
            kind::EXCHANGE_OPENED => {
                take_exchange(&mut reader, |session, packet_id| Self::ExchangeOpened { session, packet_id })?
            }
            kind::EXCHANGE_CLOSED => {
                take_exchange(&mut reader, |session, packet_id| Self::ExchangeClosed { session, packet_id })?
            }
            kind::SENT => {
                let packet_id = reader.packet_id()?;
                let session = take_session(&mut reader)?;
                Self::Sent { session, packet_id, message: MessageId::take(base, &mut reader)? }
            }
            kind::DROPPED => {
                let reason = reader.byte("a reason")?;
                let session = take_session(&mut reader)?;
                Self::Dropped { session, reason, message: MessageId::take(base, &mut reader)? }
            }
            kind::MESSAGE_PART => {
                let _checksum = reader.u32("a part")?;
                Self::MessagePart { message: MessageId(reader.varint("a message's id")?), bytes: reader.rest() }
            }
            kind::RETAINED => {
                let stamp = take_stamp(&mut reader)?;
                let message = match reader.byte("a retained message")? {
                    0 => None,
                    1 => Some(MessageId::take(base, &mut reader)?),
                    _ => return Err(FormatError::Invalid("a retained message")),
                };
                Self::Retained { stamp, message, topic: text(reader.rest(), "a topic")? }
            }
            kind::FORWARD => Self::Forward(ForwardTarget::take(base, &mut reader)?),
            kind::STARTED => Self::Started { at: Timestamp(reader.varint("a time")?) },
            kind::OUTBOX_COUNT => {
                let (to, number) = take_count(&mut reader)?;
                Self::OutboxCount { to, number }
            }
            kind::INBOX_TAKEN => {
                let (from, number) = take_count(&mut reader)?;
                Self::InboxTaken { from, number }
            }
            _ => Self::decode_of_session(kind, base, &mut reader)?,
        };
        if reader.is_empty() { Ok(record) } else { Err(FormatError::Invalid("a record's length")) }
    }

    fn decode_of_session(kind: u8, base: u64, reader: &mut FieldReader<'a>) -> Result<Self, FormatError> {
        if !matches!(kind, kind::SESSION_BEGUN..=kind::UNSUBSCRIBED | kind::SESSION_OWNER..=kind::WILL_DECIDED) {
            return Err(FormatError::Invalid("a record's kind"));
        }
        let session = take_session(reader)?;
        Ok(match kind {
            kind::SESSION_OWNER => {
                let (owner, keeps_filters) = SessionOwner::take(reader)?;
                Self::SessionOwner { session, owner, keeps_filters }
            }
            kind::FILTER_DECIDED => {
                let is_allowed = match reader.byte("a decision")? {
                    0 => false,
                    1 => true,
                    _ => return Err(FormatError::Invalid("a decision")),
                };
                Self::FilterDecided { session, is_allowed, filter: text(reader.rest(), "a filter")? }
            }
            kind::WILL_DECIDED => Self::WillDecided { session, decision: BackEndDecision::take(reader)? },
            kind::SESSION_BEGUN => Self::SessionBegun {
                session,
                expiry_s: reader.varint_u32("an expiry interval")?,
                at: Timestamp(reader.varint("a time")?),
                client_id: text(reader.rest(), "a client id")?,
            },
            kind::SESSION_ENDED => Self::SessionEnded { session },
            kind::SESSION_EXPIRY => Self::SessionExpiry { session, expiry_s: reader.varint_u32("an expiry interval")? },
            kind::CONNECTED => Self::Connected { session },
            kind::DISCONNECTED => Self::Disconnected { session, at: Timestamp(reader.varint("a time")?) },
            kind::WILL_SET => {
                let message = MessageId::take(base, reader)?;
                let delay_s = reader.varint_u32("a will's delay")?;
                let expiry = reader.varint("a will's expiry interval")?;
                let seconds =
                    |seconds| u32::try_from(seconds).map_err(|_| FormatError::Invalid("a will's expiry interval"));
                let message_expiry_s = expiry.checked_sub(1).map(seconds).transpose()?;
                Self::WillSet { session, message, delay_s, message_expiry_s }
            }
            kind::WILL_CLEARED => Self::WillCleared { session },
            kind::SUBSCRIBED => {
                let options = reader.byte("subscription options")?;
                let identifier = reader.varint_u32("a subscription identifier")?;
                let filter = text(reader.rest(), "a filter")?;
                Self::Subscribed { session, filter, options, identifier: SubscriptionId::new(identifier) }
            }
            _ => Self::Unsubscribed { session, filter: text(reader.rest(), "a filter")? },
        })
    }
}

fn take_session(reader: &mut FieldReader<'_>) -> Result<SessionId, FormatError> {
    reader.varint_u32("a session").map(SessionId)
}

fn put_exchange(session: SessionId, packet_id: PacketId, out: &mut Vec<u8>) {
    out.extend_from_slice(&packet_id.get().to_le_bytes());
    put_varint(out, u64::from(session.0));
}

fn exchange_frame(kind: u8, session: SessionId, packet_id: PacketId, out: &mut Vec<u8>) {
    frame(kind, out, |out| put_exchange(session, packet_id, out));
}

fn take_exchange<T>(
    reader: &mut FieldReader<'_>,
    make: impl FnOnce(SessionId, PacketId) -> T,
) -> Result<T, FormatError> {
    let packet_id = reader.packet_id()?;
    Ok(make(take_session(reader)?, packet_id))
}

/// Begins a record whose body will have `len` bytes.
fn frame_of(kind: u8, len: usize, out: &mut Vec<u8>) {
    out.push(kind);
    put_varint(out, len as u64);
}

/// Appends a record whose body is mostly shorter than 128 bytes, and is moved when it is not.
#[inline]
fn frame(kind: u8, out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[kind, 0]);
    let start = out.len();
    put(out);
    let len = out.len() - start;
    if len < 0x80 {
        out[start - 1] = len as u8;
        return;
    }
    let more = varint_bytes(len as u64) - 1;
    out.resize(out.len() + more, 0);
    out.copy_within(start..start + len, start + more);
    let mut length = Vec::with_capacity(more + 1);
    put_varint(&mut length, len as u64);
    out[start - 1..start + more].copy_from_slice(&length);
}
