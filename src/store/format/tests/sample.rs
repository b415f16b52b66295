//! Any record there can be, from dice.

use core::net::IpAddr;

use crate::ids::{ClientKey, PacketId, Qos, SessionId, ShardId, SubscriptionId};
use crate::store::format::{
    BackEndDecision, ForwardTarget, KINDS, ListOf, LogRecord, MessageId, MessageRecord, QueuedRecord, SessionOwner,
    WriteStamp,
};
use crate::time::Timestamp;

/// Splitmix64 (Steele and others, 2014).
pub(in crate::store) struct Dice(u64);

impl Dice {
    pub(in crate::store) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::store) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 to before `end`.
    pub(in crate::store) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// As many small numbers as large ones.
    fn sized(&mut self) -> u64 {
        self.next() >> self.below(64)
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// What records borrow.
pub(in crate::store) struct Arena {
    text: String,
    bytes: Vec<u8>,
    ids: Vec<SubscriptionId>,
    groups: Vec<u64>,
}

impl Arena {
    pub(in crate::store) fn new(dice: &mut Dice) -> Self {
        let text_len = [0, 5, 40, 300][dice.below(4) as usize];
        let bytes_len = [0, 1, 100, 130, 20_000][dice.below(5) as usize];
        let ids =
            (0..dice.below(3)).filter_map(|_| SubscriptionId::new(dice.next() as u32 >> dice.below(32))).collect();
        Self {
            text: (0..text_len).map(|_| char::from(b'a' + dice.below(26) as u8)).chain(Some('ö')).collect(),
            bytes: (0..bytes_len).map(|_| dice.next() as u8).collect(),
            ids,
            groups: (0..dice.below(3)).map(|_| dice.next()).collect(),
        }
    }
}

pub(in crate::store) fn any_message<'a>(dice: &mut Dice, arena: &'a Arena, base: u64) -> MessageRecord<'a> {
    let properties = &arena.bytes[..arena.bytes.len().min(3)];
    MessageRecord {
        id: MessageId(dice.below(base.saturating_add(1).max(1))),
        qos: [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][dice.below(3) as usize],
        retain: dice.chance(),
        expires: dice.chance().then(|| Timestamp(dice.sized())),
        publisher: dice.chance().then(|| ClientKey(dice.next())),
        topic: &arena.text,
        properties,
        properties_bytes: properties.len() as u32,
        payload: &arena.bytes,
        later_bytes: if dice.chance() { 0 } else { dice.sized() as u32 },
    }
}

fn any_owner<'a>(dice: &mut Dice, arena: &'a Arena) -> SessionOwner<'a> {
    let bits = (u128::from(dice.next()) << 64) | u128::from(dice.next());
    SessionOwner {
        user: dice.chance().then_some(&*arena.text),
        listener: &arena.text,
        peer: [None, Some(IpAddr::from((bits as u32).to_le_bytes())), Some(IpAddr::from(bits.to_le_bytes()))]
            [dice.below(3) as usize],
        is_superuser: dice.chance(),
        asks_back_end: dice.chance(),
        rules: dice.chance().then_some(&*arena.bytes),
    }
}

/// A record of any kind at `base`.
pub(in crate::store) fn any_record<'a>(dice: &mut Dice, arena: &'a Arena, base: u64) -> LogRecord<'a> {
    let session = SessionId(dice.sized() as u32);
    let packet_id = PacketId::new(dice.next() as u16 | 1).expect("it is odd");
    let message = MessageId(base - (dice.sized() & 0x7fff).min(base));
    let stamp = WriteStamp { time_ns: dice.next(), shard: dice.next() as u8 };
    let (at, seconds) = (Timestamp(dice.sized()), dice.sized() as u32);
    let (text, shard) = (arena.text.as_str(), ShardId(dice.below(64) as u8));
    match 1 + dice.below(KINDS.len() as u64) {
        1 => LogRecord::SessionBegun { session, client_id: text, expiry_s: seconds, at },
        2 => LogRecord::SessionEnded { session },
        3 => LogRecord::SessionExpiry { session, expiry_s: seconds },
        4 => LogRecord::Connected { session },
        5 => LogRecord::Disconnected { session, at },
        6 => LogRecord::WillSet {
            session,
            message,
            delay_s: seconds,
            message_expiry_s: dice.chance().then_some(seconds),
        },
        7 => LogRecord::WillCleared { session },
        8 => LogRecord::Subscribed { session, filter: text, options: 0x2a, identifier: arena.ids.first().copied() },
        9 => LogRecord::Unsubscribed { session, filter: text },
        10 => LogRecord::Message(any_message(dice, arena, base)),
        11 => LogRecord::MessagePart { message, bytes: &arena.bytes },
        12 => LogRecord::Queued(QueuedRecord {
            session,
            message,
            qos: if dice.chance() { Qos::AtLeastOnce } else { Qos::ExactlyOnce },
            retain: dice.chance(),
            packet_id: dice.chance().then_some(packet_id),
            group: dice.chance().then(|| dice.next()),
            ids: ListOf::Values(&arena.ids),
        }),
        13 => LogRecord::Sent { session, message, packet_id },
        14 => LogRecord::Released { session, packet_id },
        15 => LogRecord::Completed { session, packet_id },
        16 => LogRecord::Dropped { session, message, reason: dice.next() as u8 },
        17 => LogRecord::ExchangeOpened { session, packet_id },
        18 => LogRecord::ExchangeClosed { session, packet_id },
        19 => LogRecord::Retained { topic: text, stamp, message: dice.chance().then_some(message) },
        20 => LogRecord::Forward(ForwardTarget {
            to: shard,
            number: dice.sized(),
            message,
            plain: dice.chance(),
            retained: dice.chance().then_some(stamp),
            groups: ListOf::Values(&arena.groups),
        }),
        21 => LogRecord::Started { at },
        22 => LogRecord::OutboxCount { to: shard, number: dice.sized() },
        23 => LogRecord::InboxTaken { from: shard, number: dice.sized() },
        24 => LogRecord::SessionOwner { session, owner: any_owner(dice, arena), keeps_filters: dice.chance() },
        25 => LogRecord::FilterDecided { session, filter: text, is_allowed: dice.chance() },
        _ => {
            let decisions = [BackEndDecision::Allow, BackEndDecision::Deny, BackEndDecision::Ignore];
            LogRecord::WillDecided { session, decision: decisions[dice.below(3) as usize] }
        }
    }
}
