//! What shards say to other nodes comes there as it was meant, and what nobody means is refused.

use crate::cluster::{LinkFrame, LinkInterest, LinkOut, LinkPublish, LinkReception, LinkRefusal, LinkToken};
use crate::codec::{Forwarded, Property};
use crate::ids::{ClientKey, ConnectionId, Qos, ShardId, WriteStamp};
use crate::limits::{LINK_FRAME_MAX_BYTES, PAYLOAD_BY_REFERENCE_MIN_BYTES};
use crate::session::{AckNumber, Copied, Message, MessageRef, Reception, expiry_of};
use crate::shard::link_words::{decode, encode};
use crate::shard::mesh::{ConfirmToken, Confirmation, InterestTold, MeshMessage, MessageInTransit, PublishDetails};
use crate::store::LogRoom;
use crate::time::{Deadline, Now};
use crate::topic::{Interest, MemberRoom};

const HERE: Now = Now { mono_ns: 5_000_000_000, unix_ms: 1_700_000_000_000 };
/// Another process, whose clock began elsewhere.
const THERE: Now = Now { mono_ns: 900_000_000_000, unix_ms: 1_700_000_000_007 };
/// What stands for the sender at the receiver.
const SLOT: ShardId = ShardId(9);

fn said(message: &MeshMessage, batch: &[u8]) -> Vec<u8> {
    let mut out = LinkOut::default();
    encode(HERE, message, batch, &mut out);
    out.connected(0).unwrap();
    out.next_bytes().map_or_else(Vec::new, Vec::from)
}

fn heard(bytes: &[u8]) -> Result<MeshMessage, LinkRefusal> {
    let (frame, len) = LinkFrame::next(bytes, LINK_FRAME_MAX_BYTES).unwrap().expect("a whole frame");
    assert_eq!(len, bytes.len());
    decode(THERE, &frame, SLOT, bytes)
}

fn frame_heard(frame: &LinkFrame<'_>) -> Result<MeshMessage, LinkRefusal> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    heard(&bytes)
}

fn published(message: &MeshMessage, bytes: &[u8]) -> (String, bool, PublishDetails) {
    let MeshMessage::Publish { message, plain, details } = message else { panic!("a PUBLISH: {message:?}") };
    let read = match message {
        MessageInTransit::Copied(copied) => copied.borrow(bytes),
        MessageInTransit::Shared(message) => message.borrow(),
    };
    (format!("{:?}", MessageRef { expires: None, ..read }), *plain, details.as_deref().cloned().unwrap_or_default())
}

#[test]
fn every_word_comes_as_it_was_said() {
    let words = [
        MeshMessage::Interest {
            number: 7,
            filter: "a/+".into(),
            interest: Interest::Plain { any: true, durable: true },
        },
        MeshMessage::Interest {
            number: 8,
            filter: "#".into(),
            interest: Interest::Plain { any: false, durable: false },
        },
        MeshMessage::Interest {
            number: u64::MAX,
            filter: "$share/g/a/#".into(),
            interest: Interest::Shared { online: 1, total: 2, durable: true },
        },
        MeshMessage::Applied { number: 9 },
        MeshMessage::GroupRoom { key: 3, room: MemberRoom::Full },
        MeshMessage::GroupRoom { key: 3, room: MemberRoom::Queue },
        MeshMessage::GroupRoom { key: 3, room: MemberRoom::Window },
        MeshMessage::RetainedDeleted { topic: "a".into(), stamp: WriteStamp { time_ns: 5, shard: 6 } },
        MeshMessage::ToldInterest { peer: SLOT, told: InterestTold::All },
        MeshMessage::Synced,
        MeshMessage::Counted,
    ];
    for word in words {
        let come = heard(&said(&word, &[])).unwrap();
        assert_eq!(format!("{come:?}"), format!("{word:?}"));
    }
    let of_this_node = [
        MeshMessage::LogRoom { room: LogRoom::Behind },
        MeshMessage::PeerInterest {
            peer: SLOT,
            number: 1,
            filter: "a".into(),
            interest: Interest::Plain { any: true, durable: false },
        },
        MeshMessage::PeerApplied { number: 1 },
        MeshMessage::PeerRoom { peer: SLOT, key: 3, room: MemberRoom::Full },
        MeshMessage::PeerStored { peer: SLOT, number: AckNumber(1), reception: Reception::Taken },
        MeshMessage::TellInterest { peer: SLOT },
        MeshMessage::ForgetSlot { slot: SLOT },
        MeshMessage::SlotForgotten { slot: SLOT },
        MeshMessage::ToldInterest { peer: SLOT, told: InterestTold::Page },
        MeshMessage::ToldInterest { peer: SLOT, told: InterestTold::Filter("a".into()) },
    ];
    for word in of_this_node {
        assert!(said(&word, &[]).is_empty(), "{word:?}");
    }
}

#[test]
fn a_question_finds_back_to_the_shard_that_asked() {
    let asked = ConfirmToken { shard: ShardId(3), connection: ConnectionId::of_node(1), number: AckNumber(70_000) };
    for reception in [Reception::NotTaken, Reception::QueuesFull, Reception::Taken] {
        let Ok(MeshMessage::Barrier { token }) = heard(&said(&MeshMessage::Barrier { token: asked }, &[])) else {
            panic!("a BARRIER")
        };
        assert_eq!(token, ConfirmToken { shard: SLOT, connection: ConnectionId::of_node(3), ..asked });
        let answer = MeshMessage::Stored { confirmation: Confirmation { token, reception } };
        let Ok(MeshMessage::Stored { confirmation }) = heard(&said(&answer, &[])) else { panic!("STORED") };
        let own = ConfirmToken { connection: ConnectionId::of_node(SLOT.0), ..asked };
        assert_eq!(confirmation, Confirmation { token: own, reception });
    }
}

/// A small generator of what a message may be.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| value(self))
    }
}

#[test]
fn messages_of_any_kind_come_as_they_were_published() {
    let mut longest = 0;
    for seed in 0..200 {
        let mut chance = Chance(seed);
        let mut properties = Vec::new();
        for _ in 0..chance.below(4) {
            Property::UserProperty("name", &"v".repeat(chance.below(30))).write_to(&mut properties);
        }
        if chance.below(2) == 0 {
            Property::CorrelationData(&[7; 5]).write_to(&mut properties);
        }
        let sizes = [0, 1, 200, PAYLOAD_BY_REFERENCE_MIN_BYTES - 1, PAYLOAD_BY_REFERENCE_MIN_BYTES, 70_000];
        let payload: Vec<u8> = (0..sizes[chance.below(sizes.len())]).map(|at| at as u8).collect();
        let topic = "level/".repeat(1 + chance.below(9));
        let message = MessageRef {
            topic: &topic,
            qos: Qos::from_bits(chance.below(3) as u8).unwrap(),
            retain: chance.below(2) == 0,
            expires: None,
            publisher: chance.maybe(|chance| ClientKey(chance.0)),
            properties: Forwarded::from_clean_block(&properties),
            payload: &payload,
        };
        let mut details = PublishDetails {
            groups: (0..chance.below(4) as u64).collect(),
            retained: chance.maybe(|chance| WriteStamp { time_ns: chance.0 >> 1, shard: 63 }),
            ..PublishDetails::default()
        };
        let (mut batch, plain) = (b"before it".to_vec(), chance.below(2) == 0);
        details.passed_on = !plain && details.retained.is_none() && !details.groups.is_empty();
        let copied = Copied::append(&message, &mut batch);
        let is_short = copied.is_some();
        let in_transit = match copied {
            Some(copied) => MessageInTransit::Copied(copied),
            None => MessageInTransit::Shared(Message::new(&message)),
        };
        let word = MeshMessage::Publish { message: in_transit, plain, details: Some(Box::new(details)) };
        let bytes = said(&word, &batch);
        let come = heard(&bytes).unwrap();
        assert_eq!(published(&come, &bytes), published(&word, &batch), "seed {seed}");
        let MeshMessage::Publish { message, details, .. } = &come else { unreachable!("it was one") };
        assert_eq!(matches!(message, MessageInTransit::Copied(_)), is_short, "a short one stays where it lies");
        assert!(details.as_deref().is_none_or(|details| *details != PublishDetails::default()));
        longest = longest.max(bytes.len());
    }
    assert!(longest > 70_000);
}

#[test]
fn a_time_crosses_as_what_is_left_of_it() {
    let came = |expires: Option<Deadline>| {
        let properties = Forwarded::EMPTY;
        let message = MessageRef {
            topic: "t",
            qos: Qos::AtLeastOnce,
            retain: false,
            expires,
            publisher: None,
            properties,
            payload: b"x",
        };
        let word = MeshMessage::Publish {
            message: MessageInTransit::Shared(Message::new(&message)),
            plain: true,
            details: None,
        };
        let bytes = said(&word, &[]);
        let come = heard(&bytes).unwrap();
        let MeshMessage::Publish { message: MessageInTransit::Copied(copied), details: None, .. } = come else {
            panic!("short, and with nothing beside it")
        };
        copied.borrow(&bytes).expires
    };
    assert_eq!(came(None), None);
    assert_eq!(came(Some(HERE.after_ms(1_234))), Some(THERE.after_ms(1_234)));
    assert_eq!(came(Some(HERE.after_ms(0))), Some(THERE.after_ms(1)), "it has ended, and ends there");
    assert_eq!(came(Some(Deadline(1))), Some(THERE.after_ms(1)));
    assert_eq!(came(Some(expiry_of(HERE, 0))), Some(expiry_of(THERE, 0)), "one that never waits does not wait there");
    assert_eq!(came(Some(Deadline(u64::MAX))), Some(Deadline(u64::MAX)));
}

#[test]
fn what_nobody_means_is_refused() {
    let publish = LinkPublish {
        qos: Qos::AtMostOnce,
        retain: false,
        plain: true,
        passed_on: false,
        expires_in_ms: Some(u64::MAX),
        publisher: None,
        stamp: None,
        confirm: Some(LinkToken { shard: 255, number: 0 }),
        groups: b"",
        topic: "a",
        properties: b"",
        payload: b"",
    };
    assert!(frame_heard(&LinkFrame::Publish(publish)).is_ok());
    let passed_on = LinkPublish { passed_on: true, plain: false, groups: &[7; 8], ..publish };
    assert!(frame_heard(&LinkFrame::Publish(passed_on)).is_ok());
    let hostile = [
        LinkPublish { topic: "a/#", ..publish },
        LinkPublish { topic: "+", ..publish },
        LinkPublish { properties: b"\x23\x00\x01", ..publish },
        LinkPublish { properties: b"\x01", ..publish },
        LinkPublish { passed_on: true, groups: &[7; 8], ..publish },
        LinkPublish { passed_on: true, plain: false, ..publish },
        LinkPublish {
            passed_on: true,
            plain: false,
            retain: true,
            stamp: Some(WriteStamp::default()),
            groups: &[7; 8],
            ..publish
        },
        LinkPublish { retain: true, stamp: Some(WriteStamp { time_ns: 1 << 63, shard: 0 }), ..publish },
    ];
    for publish in hostile {
        let refused = frame_heard(&LinkFrame::Publish(publish));
        assert!(matches!(refused, Err(LinkRefusal::Content(_))), "{publish:?}: {refused:?}");
    }
    let interest = LinkInterest { number: 1, plain: true, durable: false, online: 0, total: 0, filter: "a" };
    let shared = LinkInterest { plain: false, online: 1, total: 1, filter: "$share/g/a", ..interest };
    assert!(frame_heard(&LinkFrame::Interest(interest)).is_ok() && frame_heard(&LinkFrame::Interest(shared)).is_ok());
    let hostile = [
        LinkInterest { filter: "a/#/b", ..interest },
        LinkInterest { filter: "$share/g", ..shared },
        LinkInterest { filter: "$share/g+/a", ..shared },
        LinkInterest { filter: "$share/g/a", ..interest },
        LinkInterest { plain: true, ..shared },
        LinkInterest { filter: "a", ..shared },
        LinkInterest { plain: false, durable: true, ..interest },
        LinkInterest { online: 0, total: 0, durable: true, ..shared },
    ];
    for interest in hostile {
        let refused = frame_heard(&LinkFrame::Interest(interest));
        assert!(matches!(refused, Err(LinkRefusal::Content(_))), "{interest:?}: {refused:?}");
    }
    let late = WriteStamp { time_ns: u64::MAX, shard: 0 };
    for (stamp, topic) in [(WriteStamp::default(), "a/+"), (late, "a")] {
        let deleted = LinkFrame::RetainedDeleted { stamp, topic };
        assert!(matches!(frame_heard(&deleted), Err(LinkRefusal::Content(_))));
    }
    for frame in [LinkFrame::Received { count: 1 }, LinkFrame::Proof([0; 32])] {
        assert!(matches!(frame_heard(&frame), Err(LinkRefusal::Order)), "{frame:?}");
    }
    let answer = LinkFrame::Stored { token: LinkToken { shard: 255, number: 1 }, reception: LinkReception::Taken };
    assert!(frame_heard(&answer).is_ok(), "who it is for is looked up where it goes");
}
