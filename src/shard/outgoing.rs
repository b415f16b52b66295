//! One message on its way to its subscribers: what is special about each copy, and the packets that come of it.
//!
//! Always holds: the encoded form of a message is made once per layout (version, QoS, RETAIN) and patched per subscriber; only what
//! is special to one subscriber (subscription identifiers, topic aliases, a repetition) is encoded for it alone.
//! Leaves to others: who gets a copy (`deliver`), and what its session keeps of it (`send`).

use smallvec::SmallVec;

use super::hold_back::Fullest;
use super::{Effect, Effects, Encoded, Turn};
use crate::codec::{PublishOut, Version};
use crate::ids::{PacketId, Qos, SubscriptionId, TopicAlias};
use crate::limits::PAYLOAD_BY_REFERENCE_MIN_BYTES;
use crate::session::{Delivery, Link, Reception, Routed, TopicForm};
use crate::topic::GroupTag;

/// One encoded packet; a long payload stands beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    encoded: Encoded,
    /// Index into the effects' payloads, and its length.
    payload: Option<(u32, u32)>,
}

impl Outgoing {
    const fn len(self) -> u32 {
        self.encoded.len() + if let Some((_, len)) = self.payload { len } else { 0 }
    }
}

/// What tells forms apart: version, QoS and RETAIN in the low byte, above it how many bytes of the topic its client does not see.
type Layout = u32;

/// One message on its way to its subscribers, and the forms in which it has been encoded so far, by layout. There are twelve
/// layouts and mostly one subscriber, so nothing is laid out in advance. `None`: MQTT has no such packet.
#[derive(Debug)]
pub(super) struct Fanout<'a> {
    pub routed: Routed<'a>,
    /// What became of it so far.
    pub reception: Reception,
    /// The fullest queue that it has met so far, where that matters.
    pub fullest: Fullest,
    forms: SmallVec<[(Layout, Option<Outgoing>); 2]>,
}

impl<'a> Fanout<'a> {
    #[inline]
    pub(super) fn new(routed: Routed<'a>) -> Self {
        Self { routed, reception: Reception::default(), fullest: Fullest::default(), forms: SmallVec::new() }
    }
}

/// The shared subscription that a session was picked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PickedFor {
    /// As a delivery remembers it.
    pub tag: GroupTag,
    /// As it is told to others, and written down.
    pub key: u64,
}

impl PickedFor {
    /// A plain subscription.
    pub(super) const NONE: Self = Self { tag: GroupTag::NONE, key: 0 };
}

/// What is special about one copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryOptions<'a> {
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub ids: &'a [SubscriptionId],
    /// The shared subscription that it is for.
    pub group: PickedFor,
}

impl<'a> DeliveryOptions<'a> {
    /// Of a delivery that was made before; `ids` are its own.
    pub(super) fn of(delivery: &Delivery, ids: &'a [SubscriptionId]) -> Self {
        let group = PickedFor { tag: delivery.group, key: 0 };
        Self { qos: delivery.qos, retain: delivery.retain, dup: false, ids, group }
    }
}

/// Sends one copy. `flush` counts the shard's flushes.
pub(super) fn send_publish(
    link: &mut Link,
    flush: u32,
    outgoing: Outgoing,
    packet_id: Option<PacketId>,
    fx: &mut Effects,
) {
    link.add_outbox(flush, outgoing.len());
    let (connection, encoded) = (link.connection, outgoing.encoded);
    fx.list.push(match outgoing.payload {
        None => Effect::Send { connection, encoded, packet_id },
        Some((payload, _)) => Effect::SendPayload { connection, encoded, packet_id, payload },
    });
}

/// Encodes one copy, or takes the form that was encoded before. `None` when it is too large for the client, or lies outside of its mount
/// point.
pub(super) fn encode(
    turn: &mut Turn<'_>,
    fanout: &mut Fanout<'_>,
    link: &mut Link,
    copy: &DeliveryOptions<'_>,
    mount: Option<&str>,
) -> Option<Outgoing> {
    let mut topic = fanout.routed.message.topic;
    let mut mount_bytes = 0;
    if let Some(mount) = mount {
        topic = topic.strip_prefix(mount).filter(|rest| !rest.is_empty())?;
        mount_bytes = mount.len() as u32;
    }
    let max_bytes = link.packet_size_max_bytes;
    let fits = |outgoing: &Outgoing| outgoing.len() <= max_bytes;
    let is_v5 = link.version.is_v5();
    if !copy.dup && (!is_v5 || copy.ids.is_empty() && link.alias_max == 0 && !link.is_service()) {
        let layout = u32::from(is_v5) * 6 + copy.qos as u32 * 2 + u32::from(copy.retain);
        let layout = layout | mount_bytes << 8;
        if let Some(&(_, outgoing)) = fanout.forms.iter().find(|&&(made, _)| made == layout) {
            return outgoing.filter(fits);
        }
        let fields = TopicFields { topic, topic_alias: None };
        let outgoing = encode_form(turn, &mut fanout.routed, link.version, copy, fields);
        fanout.forms.push((layout, outgoing));
        return outgoing.filter(fits);
    }
    encode_for_it_alone(turn, fanout, link, copy, topic)
}

/// A copy that is like no other: with identifiers or aliases of its own, or sent again.
fn encode_for_it_alone(
    turn: &mut Turn<'_>,
    fanout: &mut Fanout<'_>,
    link: &mut Link,
    copy: &DeliveryOptions<'_>,
    topic: &str,
) -> Option<Outgoing> {
    let max_bytes = link.packet_size_max_bytes;
    let fits = |outgoing: &Outgoing| outgoing.len() <= max_bytes;
    if link.is_service() {
        return encode_for_service(turn, fanout, copy, topic).filter(fits);
    }
    let form = match (link.version.is_v5(), link.alias_max) {
        (false, _) | (_, 0) => TopicForm::Name,
        (true, max) => link.aliases_out.get_or_insert_default().form(topic, max),
    };
    let fields = match form {
        TopicForm::Name => TopicFields { topic, topic_alias: None },
        TopicForm::NameAndAlias(alias) => TopicFields { topic, topic_alias: Some(alias) },
        TopicForm::Alias(alias) => TopicFields { topic: "", topic_alias: Some(alias) },
    };
    let outgoing = encode_form(turn, &mut fanout.routed, link.version, copy, fields).filter(fits);
    if !matches!(form, TopicForm::NameAndAlias(_)) {
        return outgoing;
    }
    if outgoing.is_none() {
        // To teach an alias takes three bytes; without them it may fit.
        let fields = TopicFields { topic, topic_alias: None };
        return encode_form(turn, &mut fanout.routed, link.version, copy, fields).filter(fits);
    }
    if let Some(aliases) = link.aliases_out.as_deref_mut() {
        aliases.sent(topic);
    }
    outgoing
}

/// So many ticks can be told: a subscription identifier has 28 bits (MQTT 5.0, 3.8.2.1.2), which is ten months.
const WAITED_TICKS_MAX: u32 = (1 << 28) - 2;

/// A copy for a service of the broker's own: behind the identifiers of its subscriptions stands how long the message has waited, in ticks of the timers
/// and one more (`services::local` reads it). No client can say so.
#[cold]
fn encode_for_service(
    turn: &mut Turn<'_>,
    fanout: &mut Fanout<'_>,
    copy: &DeliveryOptions<'_>,
    topic: &str,
) -> Option<Outgoing> {
    let waited = if copy.qos == Qos::AtMostOnce {
        fanout.routed.already_shared().map_or(0, |message| message.waited_ticks(turn.now))
    } else {
        fanout.routed.share().waited_ticks(turn.now)
    };
    let mut ids = SmallVec::<[SubscriptionId; 4]>::from_slice(copy.ids);
    ids.push(SubscriptionId::MIN.saturating_add(waited.min(WAITED_TICKS_MAX)));
    let copy = DeliveryOptions { ids: &ids, ..*copy };
    encode_form(turn, &mut fanout.routed, Version::V5, &copy, TopicFields { topic, topic_alias: None })
}

/// What a PUBLISH says of its topic.
#[derive(Clone, Copy, Debug)]
struct TopicFields<'a> {
    /// Empty where the alias says it all.
    topic: &'a str,
    topic_alias: Option<TopicAlias>,
}

/// Encodes one form. `None` when MQTT has no such packet: a message of the largest size can gain bytes on its way.
fn encode_form(
    turn: &mut Turn<'_>,
    routed: &mut Routed<'_>,
    version: Version,
    copy: &DeliveryOptions<'_>,
    TopicFields { topic, topic_alias }: TopicFields<'_>,
) -> Option<Outgoing> {
    let message = &routed.message;
    let packet = PublishOut {
        version,
        topic,
        topic_alias,
        qos: copy.qos,
        dup: copy.dup,
        retain: copy.retain,
        packet_id: (copy.qos != Qos::AtMostOnce).then_some(PacketId::MIN), // patched per subscriber
        message_expiry_s: message.expires.map(|expires| expires.left_s(turn.now)), // [MQTT-3.3.2-6]
        subscription_ids: copy.ids,
        forwarded: message.properties,
        payload: message.payload,
    };
    let measured = packet.measured()?;
    if message.payload.len() < PAYLOAD_BY_REFERENCE_MIN_BYTES {
        let encoded = turn.fx.encode(|out| measured.encode(out).packet_id_at);
        return Some(Outgoing { encoded, payload: None });
    }
    let len = message.payload.len() as u32;
    let encoded = turn.fx.encode(|out| measured.encode_head(out).packet_id_at);
    let payload = turn.fx.payload(routed.share().long_payload().expect("its length is what makes it long"));
    Some(Outgoing { encoded, payload: Some((payload, len)) })
}
