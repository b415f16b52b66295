//! What a shard says to another node, as frames of a link, and back.
//!
//! Always holds: whatever a peer sends is a message that a shard of ours could have sent, or a refusal; nothing of it is taken on trust: topics, filters
//! and properties are parsed, a plain interest is in a plain filter. Times cross as what is left of them. A short message stays where it lies
//! in the bytes that were received.
//! Leaves to others: which slot a link is of, what counts and what is said again (`cluster`), whom it is passed to.
//!
//! A question's token is a shard of the node that asks and a number. It travels in [`ConfirmToken`]: on the node that asks with its own shard, on the node
//! that is asked with the slot of the other and the other's shard as connection, see [`ConnectionId::of_node`].

use smallvec::SmallVec;

use super::mesh::{ConfirmToken, Confirmation, InterestTold, MeshMessage, MessageInTransit, PublishDetails};
use crate::cluster::{LinkFrame, LinkInterest, LinkOut, LinkPublish, LinkReception, LinkRefusal, LinkRoom, LinkToken};
use crate::codec::Forwarded;
use crate::ids::{ConnectionId, ShardId, WriteStamp};
use crate::session::{AckNumber, Copied, Message, MessageRef, Reception, expiry_of};
use crate::time::{Deadline, Now};
use crate::topic::{Interest, MemberRoom, SubscribedFilter, TopicName};

/// No clock shows so late a time: in the year 2262.
const STAMP_MAX_NS: u64 = i64::MAX as u64;

/// Says a message of this shard to the peer of a link; `bytes` are its batch's. What has no meaning on another node is not said.
pub fn encode(now: Now, message: &MeshMessage, bytes: &[u8], out: &mut LinkOut) {
    match message {
        MeshMessage::Publish { message, plain, details } => {
            let message = match message {
                MessageInTransit::Copied(copied) => copied.borrow(bytes),
                MessageInTransit::Shared(message) => message.borrow(),
            };
            encode_publish(now, &message, *plain, details.as_deref(), out);
        }
        MeshMessage::Barrier { token } => out.append(&LinkFrame::Barrier { token: question(*token) }),
        MeshMessage::Stored { confirmation: Confirmation { token, reception } } => {
            let reception = match reception {
                Reception::NotTaken => LinkReception::NotTaken,
                Reception::QueuesFull => LinkReception::QueuesFull,
                Reception::Taken => LinkReception::Taken,
            };
            let token = LinkToken { shard: token.connection.slot as u8, number: token.number.0 };
            out.append(&LinkFrame::Stored { token, reception });
        }
        MeshMessage::Interest { number, filter, interest } => {
            let frame = LinkInterest { number: *number, plain: false, durable: false, online: 0, total: 0, filter };
            out.append(&LinkFrame::Interest(match *interest {
                Interest::Plain { any, durable } => LinkInterest { plain: any, durable, ..frame },
                Interest::Shared { online, total, durable } => LinkInterest { durable, online, total, ..frame },
            }));
        }
        MeshMessage::Applied { number } => out.append(&LinkFrame::Applied { number: *number }),
        MeshMessage::GroupRoom { key, room } => {
            let room = match room {
                MemberRoom::Full => LinkRoom::Full,
                MemberRoom::Queue => LinkRoom::Queue,
                MemberRoom::Window => LinkRoom::Window,
            };
            out.append(&LinkFrame::GroupRoom { key: *key, room });
        }
        MeshMessage::RetainedDeleted { topic, stamp } => {
            out.append(&LinkFrame::RetainedDeleted { stamp: *stamp, topic });
        }
        MeshMessage::ToldInterest { told: InterestTold::All, .. } => out.append(&LinkFrame::SyncEnd),
        MeshMessage::Synced => out.append(&LinkFrame::Synced),
        MeshMessage::Counted => out.append(&LinkFrame::Counted),
        // These are for this node's own shards.
        MeshMessage::LogRoom { .. }
        | MeshMessage::Report(_)
        | MeshMessage::View(_)
        | MeshMessage::PeerInterest { .. }
        | MeshMessage::PeerApplied { .. }
        | MeshMessage::PeerRoom { .. }
        | MeshMessage::PeerStored { .. }
        | MeshMessage::TellInterest { .. }
        | MeshMessage::ForgetSlot { .. }
        | MeshMessage::SlotForgotten { .. }
        | MeshMessage::ToldInterest { .. } => {}
    }
}

fn encode_publish(
    now: Now,
    message: &MessageRef<'_>,
    plain: bool,
    details: Option<&PublishDetails>,
    out: &mut LinkOut,
) {
    let mut written = Vec::new();
    let properties = message.properties.as_block().unwrap_or_else(|| {
        message.properties.write_to(&mut written);
        &written
    });
    let keys = details.map_or(&[][..], |details| &details.groups);
    let groups: SmallVec<[u8; 16]> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    out.append(&LinkFrame::Publish(LinkPublish {
        qos: message.qos,
        retain: message.retain,
        plain,
        passed_on: details.is_some_and(|details| details.passed_on),
        expires_in_ms: message.expires.map(|expires| left_ms(now, expires)),
        publisher: message.publisher,
        stamp: details.and_then(|details| details.retained),
        confirm: details.and_then(|details| details.confirm).map(|asked| question(asked.token)),
        groups: &groups,
        topic: message.topic,
        properties,
        payload: message.payload,
    }));
}

/// What is left until a message ends. 0 is said of one that never waits alone; one that has ended meanwhile has a millisecond, in which it ends there.
fn left_ms(now: Now, expires: Deadline) -> u64 {
    if expires == expiry_of(now, 0) { 0 } else { expires.0.saturating_sub(now.ms()).max(1) }
}

fn question(token: ConfirmToken) -> LinkToken {
    LinkToken { shard: token.shard.0, number: token.number.0 }
}

/// What the process with the slot `from` says in a frame that lies in `bytes`.
pub fn decode(now: Now, frame: &LinkFrame<'_>, from: ShardId, bytes: &[u8]) -> Result<MeshMessage, LinkRefusal> {
    let asked = |token: LinkToken| ConfirmToken {
        shard: from,
        connection: ConnectionId::of_node(token.shard),
        number: AckNumber(token.number),
    };
    Ok(match frame {
        LinkFrame::Publish(publish) => {
            let confirm = publish.confirm.map(|token| Confirmation::of(asked(token)));
            let details = PublishDetails {
                groups: publish.group_keys().collect(),
                retained: publish.stamp,
                confirm,
                passed_on: publish.passed_on,
                ..PublishDetails::default()
            };
            let message = decode_publish(now, publish, bytes)?;
            MeshMessage::Publish { message, plain: publish.plain, details: details.boxed() }
        }
        LinkFrame::Barrier { token } => MeshMessage::Barrier { token: asked(*token) },
        LinkFrame::Stored { token, reception } => {
            let own = ConfirmToken {
                shard: ShardId(token.shard),
                connection: ConnectionId::of_node(from.0),
                number: AckNumber(token.number),
            };
            let reception = match reception {
                LinkReception::NotTaken => Reception::NotTaken,
                LinkReception::QueuesFull => Reception::QueuesFull,
                LinkReception::Taken => Reception::Taken,
            };
            MeshMessage::Stored { confirmation: Confirmation { token: own, reception } }
        }
        LinkFrame::Interest(interest) => MeshMessage::Interest {
            number: interest.number,
            filter: interest.filter.into(),
            interest: decode_interest(interest)?,
        },
        LinkFrame::Applied { number } => MeshMessage::Applied { number: *number },
        LinkFrame::GroupRoom { key, room } => {
            let room = match room {
                LinkRoom::Full => MemberRoom::Full,
                LinkRoom::Queue => MemberRoom::Queue,
                LinkRoom::Window => MemberRoom::Window,
            };
            MeshMessage::GroupRoom { key: *key, room }
        }
        LinkFrame::RetainedDeleted { stamp, topic } => {
            parse_topic(topic)?;
            check_stamp(*stamp)?;
            MeshMessage::RetainedDeleted { topic: (*topic).into(), stamp: *stamp }
        }
        LinkFrame::SyncEnd => MeshMessage::ToldInterest { peer: from, told: InterestTold::All },
        LinkFrame::Synced => MeshMessage::Synced,
        LinkFrame::Counted => MeshMessage::Counted,
        LinkFrame::Hello(_)
        | LinkFrame::Proof(_)
        | LinkFrame::Forward(_)
        | LinkFrame::Received { .. }
        | LinkFrame::Ping { .. } => return Err(LinkRefusal::Order),
    })
}

fn decode_publish(now: Now, publish: &LinkPublish<'_>, bytes: &[u8]) -> Result<MessageInTransit, LinkRefusal> {
    parse_topic(publish.topic)?;
    publish.stamp.map_or(Ok(()), check_stamp)?;
    // One that is passed on is for members of groups and for nobody else.
    if publish.passed_on && (publish.plain || publish.stamp.is_some() || publish.groups.is_empty()) {
        return Err(LinkRefusal::Content("a message that was passed on"));
    }
    let properties = Forwarded::checked(publish.properties).ok_or(LinkRefusal::Content("a block of properties"))?;
    let message = MessageRef {
        topic: publish.topic,
        qos: publish.qos,
        retain: publish.retain,
        expires: publish.expires_in_ms.map(|left| if left == 0 { expiry_of(now, 0) } else { now.after_ms(left) }),
        publisher: publish.publisher,
        properties,
        payload: publish.payload,
    };
    let at = publish.topic.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
    Ok(match Copied::lying_at(&message, bytes, at) {
        Some(copied) => MessageInTransit::Copied(copied),
        None => MessageInTransit::Shared(Message::new(&message)),
    })
}

fn decode_interest(interest: &LinkInterest<'_>) -> Result<Interest, LinkRefusal> {
    let refused = LinkRefusal::Content("an interest");
    let filter = SubscribedFilter::parse(interest.filter, u16::MAX).map_err(|_| refused)?;
    let LinkInterest { plain, durable, online, total, .. } = *interest;
    match filter.share {
        None if total == 0 && (plain || !durable) => Ok(Interest::Plain { any: plain, durable }),
        Some(_) if !plain && (total > 0 || !durable) => Ok(Interest::Shared { online, total, durable }),
        _ => Err(refused),
    }
}

/// A node's stamps go on behind all that it has seen: a peer must not bring them to their end.
fn check_stamp(stamp: WriteStamp) -> Result<(), LinkRefusal> {
    if stamp.time_ns > STAMP_MAX_NS { Err(LinkRefusal::Content("a stamp")) } else { Ok(()) }
}

fn parse_topic(topic: &str) -> Result<TopicName<'_>, LinkRefusal> {
    TopicName::parse(topic, u16::MAX).map_err(|_| LinkRefusal::Content("a topic"))
}
