//! One session as the log has it.

use std::collections::VecDeque;

use super::messages::MessageTable;
use crate::ids::{PacketId, Qos, SubscriptionId};
use crate::limits::TOPIC_DECISIONS_MAX;
use crate::store::format::{BackEndDecision, MessageId, QueuedRecord, SessionOwner};
use crate::time::Timestamp;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Its key.
    pub client_id: Box<str>,
    /// How long it outlives a connection, in seconds; `u32::MAX` never ends.
    pub expiry_s: u32,
    /// When it began.
    pub begun: Timestamp,
    /// When its client went; `None` while it is connected.
    pub disconnected: Option<Timestamp>,
    /// Whose it is, as its record has it: there are millions, and few are asked about. `None`: a broker of format version 1 wrote it.
    owner: Option<Box<[u8]>>,
    /// Filters that a back end has allowed, the latest last.
    #[allow(clippy::box_collection, reason = "few sessions have any, and all would pay for an empty one")]
    allowed_filters: Option<Box<Vec<Box<str>>>>,
    /// Of the present or the last connection.
    pub will: Option<Box<StoredWill>>,
    /// In no order.
    pub subscriptions: StoredSubscriptions,
    /// What it is to get, the oldest first: what was sent stands before what was not.
    pub deliveries: VecDeque<StoredDelivery>,
    /// How many of these were sent.
    sent: u32,
    /// Packet identifiers of QoS 2 messages of the client that it has not released, ascending.
    pub exchanges: Vec<PacketId>,
}

/// What a client leaves behind when its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredWill {
    /// Topic, properties and payload.
    pub message: MessageId,
    /// How long after the connection's end it is published, in seconds.
    pub delay_s: u32,
    /// Its message expiry interval, counted from then.
    pub message_expiry_s: Option<u32>,
    /// What a back end has said of it, if one was asked and has answered.
    pub decision: Option<BackEndDecision>,
}

/// One message for one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDelivery {
    /// `None` once the client has it: its body is not needed any more.
    pub message: Option<MessageId>,
    /// QoS of this delivery: 1 or 2.
    pub qos: Qos,
    /// RETAIN of this delivery.
    pub retain: bool,
    /// Set once it was sent.
    pub packet_id: Option<PacketId>,
    /// What few deliveries have.
    pub extra: Option<Box<DeliveryExtra>>,
}

const _: () = assert!(size_of::<StoredDelivery>() <= 32, "there are millions");

/// What few deliveries have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryExtra {
    /// The key of the shared subscription that the session was picked for.
    pub group: Option<u64>,
    /// Identifiers of the subscriptions that it is delivered for.
    pub ids: Vec<SubscriptionId>,
}

impl StoredSession {
    pub(super) fn new(client_id: &str, expiry_s: u32, begun: Timestamp) -> Self {
        Self {
            client_id: client_id.into(),
            expiry_s,
            begun,
            disconnected: None,
            owner: None,
            allowed_filters: None,
            will: None,
            subscriptions: StoredSubscriptions::default(),
            deliveries: VecDeque::new(),
            sent: 0,
            exchanges: Vec::new(),
        }
    }

    /// Whether it was being taken down: nobody can come back to it.
    pub const fn was_ending(&self) -> bool {
        self.expiry_s == 0
    }

    /// When it ends, if nobody comes back.
    pub fn ends(&self) -> Option<Timestamp> {
        let gone = self.disconnected.filter(|_| self.expiry_s != u32::MAX)?;
        Some(Timestamp(gone.0.saturating_add(u64::from(self.expiry_s) * 1_000)))
    }

    /// Whose it is; `None` where that was never written down.
    pub fn owner(&self) -> Option<SessionOwner<'_>> {
        self.owner.as_deref().and_then(|bytes| SessionOwner::read(bytes).ok())
    }

    /// The filters that a back end has allowed, without `$share/name/`, the latest last.
    pub fn allowed_filters(&self) -> &[Box<str>] {
        self.allowed_filters.as_deref().map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn set_owner(&mut self, owner: &SessionOwner<'_>, keeps_filters: bool) {
        let mut bytes = Vec::new();
        owner.put(false, &mut bytes);
        self.owner = Some(bytes.into());
        if !keeps_filters {
            self.allowed_filters = None;
        }
    }

    /// A back end has spoken: a shard remembers as many filters as this does.
    pub(super) fn decide_filter(&mut self, filter: &str, is_allowed: bool) {
        let filters = self.allowed_filters.get_or_insert_default();
        filters.retain(|known| **known != *filter);
        if is_allowed {
            if filters.len() >= TOPIC_DECISIONS_MAX {
                filters.remove(0);
            }
            filters.push(filter.into());
        }
        if filters.is_empty() {
            self.allowed_filters = None;
        }
    }

    /// `false`: there is no will.
    pub(super) fn decide_will(&mut self, decision: BackEndDecision) -> bool {
        self.will.as_deref_mut().map(|will| will.decision = Some(decision)).is_some()
    }

    pub(super) fn queue(&mut self, queued: &QueuedRecord<'_>, messages: &mut MessageTable) {
        let has_extra = queued.group.is_some() || !queued.ids.is_empty();
        let extra = || Box::new(DeliveryExtra { group: queued.group, ids: queued.ids.iter().collect() });
        messages.want(queued.message);
        let delivery = StoredDelivery {
            message: Some(queued.message),
            qos: queued.qos,
            retain: queued.retain,
            packet_id: queued.packet_id,
            extra: has_extra.then(extra),
        };
        if delivery.packet_id.is_some() {
            // What is sent at once passes only by what cannot be sent at all.
            self.deliveries.insert(self.sent as usize, delivery);
            self.sent += 1;
        } else {
            self.deliveries.push_back(delivery);
        }
    }

    /// The oldest delivery of a message that was not sent. `false`: there is none.
    pub(super) fn send(&mut self, message: MessageId, packet_id: PacketId) -> bool {
        let sent = self.sent as usize;
        let Some(at) = (sent..self.deliveries.len()).find(|at| self.deliveries[*at].message == Some(message)) else {
            return false;
        };
        // Mostly it is the next one anyway.
        if let Some(mut delivery) = if at == sent { None } else { self.deliveries.remove(at) } {
            delivery.packet_id = Some(packet_id);
            self.deliveries.insert(sent, delivery);
        } else {
            self.deliveries[sent].packet_id = Some(packet_id);
        }
        self.sent += 1;
        true
    }

    /// The client has it. A delivery that is not known is one whose beginning was lost, or left out of a checkpoint: that
    /// its PUBREL is due is all there is to know.
    pub(super) fn release(&mut self, packet_id: PacketId, messages: &mut MessageTable) {
        if let Some(at) = self.find_sent(packet_id) {
            if let Some(message) = self.deliveries[at].message.take() {
                messages.release(message);
            }
            (self.deliveries[at].extra, self.deliveries[at].retain) = (None, false);
            return;
        }
        let qos = Qos::ExactlyOnce;
        let released = StoredDelivery { message: None, qos, retain: false, packet_id: Some(packet_id), extra: None };
        self.deliveries.insert(self.sent as usize, released);
        self.sent += 1;
    }

    pub(super) fn complete(&mut self, packet_id: PacketId, messages: &mut MessageTable) -> bool {
        let found = self.find_sent(packet_id);
        found.inspect(|at| self.remove(*at, messages)).is_some()
    }

    pub(super) fn drop_delivery(&mut self, message: MessageId, messages: &mut MessageTable) -> bool {
        let is_it = |delivery: &StoredDelivery| delivery.message == Some(message);
        let sent = self.sent as usize;
        // What is dropped has mostly waited longest, and was not sent.
        let waiting = self.deliveries.iter().skip(sent).position(is_it).map(|at| at + sent);
        let found = waiting.or_else(|| self.deliveries.iter().take(sent).position(is_it));
        found.inspect(|at| self.remove(*at, messages)).is_some()
    }

    pub(super) fn open_exchange(&mut self, packet_id: PacketId) {
        if let Err(at) = self.exchanges.binary_search(&packet_id) {
            self.exchanges.insert(at, packet_id);
        }
    }

    pub(super) fn close_exchange(&mut self, packet_id: PacketId) -> bool {
        let found = self.exchanges.binary_search(&packet_id);
        found.is_ok_and(|at| self.exchanges.remove(at) == packet_id)
    }

    pub(super) fn set_will(&mut self, will: Option<StoredWill>, messages: &mut MessageTable) {
        if let Some(new) = &will {
            messages.want(new.message);
        }
        if let Some(old) = std::mem::replace(&mut self.will, will.map(Box::new)) {
            messages.release(old.message);
        }
    }

    /// It has ended: nothing is wanted for it.
    pub(super) fn release_all(&mut self, messages: &mut MessageTable) {
        self.set_will(None, messages);
        self.deliveries.drain(..).filter_map(|delivery| delivery.message).for_each(|message| messages.release(message));
    }

    fn remove(&mut self, at: usize, messages: &mut MessageTable) {
        self.sent -= u32::from(at < self.sent as usize);
        if let Some(StoredDelivery { message: Some(message), .. }) = self.deliveries.remove(at) {
            messages.release(message);
        }
    }

    /// Acknowledgements come mostly for the oldest, or for the newest.
    fn find_sent(&self, packet_id: PacketId) -> Option<usize> {
        let is_it = |at: &usize| self.deliveries[*at].packet_id == Some(packet_id);
        let sent = self.sent as usize;
        let last = sent.checked_sub(1)?;
        Some(last).filter(|last| is_it(last) && !is_it(&0)).or_else(|| (0..sent).find(is_it))
    }
}

/// What a session is subscribed to: the latest word on each filter counts, and is found out when there are many words.
#[derive(Clone, Debug, Default)]
pub struct StoredSubscriptions {
    words: Vec<(Box<str>, Option<StoredSubscription>)>,
    /// So many from the first are sorted, each filter once, and subscribed to.
    tidy: usize,
}

/// How a session is subscribed to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSubscription {
    /// As SUBSCRIBE packs them.
    pub options: u8,
    /// What its deliveries are marked with.
    pub identifier: Option<SubscriptionId>,
}

impl StoredSubscriptions {
    /// Each filter with how it is subscribed to, sorted once the state is whole.
    pub fn iter(&self) -> impl Iterator<Item = (&str, StoredSubscription)> {
        self.words.iter().filter_map(|(filter, word)| Some((&**filter, (*word)?)))
    }

    /// Every word on every filter, also before the state is whole: the latest counts.
    pub fn words(&self) -> impl Iterator<Item = (&str, Option<StoredSubscription>)> {
        self.words.iter().map(|(filter, word)| (&**filter, *word))
    }

    /// How many there are, once the state is whole.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn push(&mut self, filter: &str, word: Option<StoredSubscription>) {
        self.words.push((filter.into(), word));
        if self.words.len() > 2 * self.tidy + 16 {
            self.tidy();
        }
    }

    pub(super) fn tidy(&mut self) {
        if self.tidy < self.words.len() {
            self.words.sort_by(|left, right| left.0.cmp(&right.0));
            // The sort is stable: of words on one filter the last is the latest.
            self.words.dedup_by(|later, kept| {
                let is_same = later.0 == kept.0;
                if is_same {
                    kept.1 = later.1;
                }
                is_same
            });
            self.words.retain(|(_, word)| word.is_some());
            self.words.shrink_to_fit();
            self.tidy = self.words.len();
        }
    }
}

impl PartialEq for StoredSubscriptions {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl Eq for StoredSubscriptions {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_latest_word_on_a_filter_counts() {
        let (mut stored, mut model) = (StoredSubscriptions::default(), BTreeMap::new());
        let mut random = 7_u64;
        for step in 0..5_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let filter = format!("f/{}", (random >> 33) % 200);
            if (random >> 20).is_multiple_of(3) {
                stored.push(&filter, None);
                model.remove(&filter);
            } else {
                let word = StoredSubscription { options: step as u8, identifier: None };
                stored.push(&filter, Some(word));
                model.insert(filter, word);
            }
        }
        stored.tidy();
        assert!(stored.iter().eq(model.iter().map(|(filter, word)| (filter.as_str(), *word))));
        assert!(stored.words.capacity() <= 400, "old words are forgotten");
    }
}
