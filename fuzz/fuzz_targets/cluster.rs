//! Whatever other nodes, the engine or its store say: documents, frames and what they mean to a shard, a handshake, messages of a log,
//! retained messages.

#![no_main]

use dunlin::cluster::{
    BootId, ClusterDocument, ClusterMap, LINK_NONCE_BYTES, LinkFrame, LinkHandshake, LinkHello, LinkInterest, LinkOut,
    LinkPublish, LinkReception, LinkRoom, LinkSecret, LinkSide, LinkTexts, LinkToken, LinkTrust, LogAnswer, MapChange,
    NodeDocument, NodeId, RangeBatch, RangeClaim, RangeId, RangeLog, RetainedEntry, RetainedSubject, RetainedTail,
};
use dunlin::codec::Forwarded;
use dunlin::ids::{ClientKey, Qos, ShardId, WriteStamp};
use dunlin::limits::LINK_FRAME_MAX_BYTES;
use dunlin::shard::link_words::{decode, encode};
use dunlin::time::Now;
use libfuzzer_sys::fuzz_target;

fn documents(bytes: &[u8]) {
    if let Ok(document) = ClusterDocument::decode(bytes) {
        assert_eq!(ClusterDocument::decode(&document.encode()), Ok(document));
    }
    if let Ok(document) = NodeDocument::decode(bytes) {
        assert_eq!(NodeDocument::decode(&document.encode()), Ok(document));
    }
    let Ok(map) = ClusterMap::decode(bytes) else { return };
    assert_eq!(ClusterMap::decode(&map.encode()), Ok(map.clone()));
    let members: Vec<NodeId> = map.members().map(|(node, _)| node).collect();
    let mut changes = vec![MapChange::Rebalance, MapChange::Join { name: "one more".to_owned() }];
    for node in members {
        changes.extend([MapChange::Death(node), MapChange::CutOff(node), MapChange::Leave(node)]);
    }
    for change in changes {
        if let Some(changed) = map.after(&change) {
            assert_eq!(ClusterMap::decode(&changed.encode()), Ok(changed));
        }
    }
}

fn frames(mut bytes: &[u8]) {
    while let Ok(Some((frame, len))) = LinkFrame::next(bytes, LINK_FRAME_MAX_BYTES) {
        let mut again = Vec::new();
        frame.encode(&mut again);
        assert_eq!(again, bytes[..len]);
        heard(&frame, bytes);
        match frame {
            LinkFrame::Publish(publish) => {
                assert_eq!(publish.group_keys().count(), publish.groups.len() / 8);
                if let Some(properties) = Forwarded::checked(publish.properties) {
                    let mut written = Vec::new();
                    properties.iter().for_each(|property| property.write_to(&mut written));
                    assert_eq!(written, publish.properties);
                }
            }
            LinkFrame::Forward(forward) => {
                let names = forward.identity.unwrap_or_default().alternative_names;
                let mut written = Vec::new();
                assert_eq!(LinkTexts::write(names.iter(), &mut written), names);
            }
            _ => {}
        }
        bytes = &bytes[len..];
    }
}

/// What a shard takes of a peer, it can say to another, which takes it as well.
fn heard(frame: &LinkFrame<'_>, bytes: &[u8]) {
    let (now, slot) = (Now { mono_ns: 1, unix_ms: 1 }, ShardId(9));
    let Ok(message) = decode(now, frame, slot, bytes) else { return };
    let mut out = LinkOut::default();
    encode(now, &message, bytes, &mut out);
    out.connected(0).expect("nothing was sent that could be received");
    let said = out.next_bytes().expect("what comes by a link can be said by one");
    let (again, len) = LinkFrame::next(&said, LINK_FRAME_MAX_BYTES).expect("a frame").expect("all of it");
    assert_eq!(len, said.len());
    assert!(decode(now, &again, slot, &said).is_ok(), "{again:?}");
}

/// The input as choices, of which there are enough: 0 when it is used up.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes([(); 8].map(|()| self.byte()))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn text(&mut self) -> &'a str {
        self.bytes().utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }

    fn filter(&mut self) -> &'a str {
        match self.byte() % 4 {
            0 => "a/+/#",
            1 => "$share/g/a/+",
            _ => self.text(),
        }
    }

    fn token(&mut self) -> LinkToken {
        LinkToken { shard: self.byte(), number: self.number() as u32 }
    }

    fn stamp(&mut self) -> WriteStamp {
        WriteStamp { time_ns: self.number(), shard: self.byte() }
    }

    fn publish(&mut self) -> LinkPublish<'a> {
        let groups = self.bytes();
        LinkPublish {
            qos: Qos::from_bits(self.byte() % 3).expect("one of three"),
            retain: self.bit(),
            plain: self.bit(),
            passed_on: self.byte() % 8 == 0,
            expires_in_ms: self.bit().then(|| self.number()),
            publisher: self.bit().then(|| ClientKey(self.number())),
            stamp: self.bit().then(|| self.stamp()),
            confirm: self.bit().then(|| self.token()),
            groups: &groups[..groups.len() / 8 * 8],
            topic: if self.bit() { "a/b" } else { self.text() },
            properties: if self.bit() { &[] } else { self.bytes() },
            payload: self.bytes(),
        }
    }

    fn frame(&mut self) -> LinkFrame<'a> {
        match self.byte() % 12 {
            0 | 1 => {
                let (total, online) = (self.number() as u32, self.number() as u32);
                let (plain, durable) = (self.bit(), self.bit());
                let (number, filter) = (self.number(), self.filter());
                let online = if total == 0 { 0 } else { online % total };
                LinkFrame::Interest(LinkInterest { number, plain, durable, online, total, filter })
            }
            2 => LinkFrame::SyncEnd,
            3 => LinkFrame::Synced,
            4 => LinkFrame::Counted,
            5 => LinkFrame::Applied { number: self.number() },
            6 => {
                let reception = match self.byte() % 3 {
                    0 => LinkReception::NotTaken,
                    1 => LinkReception::QueuesFull,
                    _ => LinkReception::Taken,
                };
                LinkFrame::Stored { token: self.token(), reception }
            }
            7 => LinkFrame::Barrier { token: self.token() },
            8 => {
                let room = match self.byte() % 3 {
                    0 => LinkRoom::Full,
                    1 => LinkRoom::Queue,
                    _ => LinkRoom::Window,
                };
                LinkFrame::GroupRoom { key: self.number(), room }
            }
            9 => LinkFrame::RetainedDeleted { stamp: self.stamp(), topic: self.text() },
            _ => LinkFrame::Publish(self.publish()),
        }
    }
}

/// What a node may say, one frame behind the other.
fn words(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut link = Vec::new();
    while !choices.0.is_empty() {
        choices.frame().encode(&mut link);
    }
    frames(&link);
}

fn handshake(bytes: &[u8]) {
    let secret = LinkSecret::new(b"sixteen bytes or more").expect("long enough");
    let hello = LinkHello {
        versions: (1, 1),
        node: NodeId::new(1),
        boot: BootId(1),
        shards: (1, 0),
        carries_client: false,
        nonce: [7; LINK_NONCE_BYTES],
        cluster: "fleet",
    };
    for side in [LinkSide::Dials, LinkSide::Accepts] {
        let mut handshake = LinkHandshake::new(side, LinkTrust::Secret(secret.clone()), &hello);
        let _ = handshake.handle_bytes(bytes);
        assert_eq!(handshake.peer(), None, "nobody guesses a proof");
    }
}

fn log(bytes: &[u8]) {
    let now = Now { mono_ns: 1, unix_ms: 1 };
    let node = NodeId::new(1).expect("a node");
    let mut log = RangeLog::new(RangeClaim { range: RangeId(0), node, boot: BootId(1), attempt: 1, floor: 0 });
    let _ = log.next_operation(now);
    log.handle_answer(LogAnswer::Info { first: 1, last: 9 }, now);
    let _ = log.next_operation(now);
    if let Some(batch) = log.handle_message(1, 1, bytes) {
        assert_eq!(RangeBatch::read(bytes), Ok(batch));
    }
}

fn retained(bytes: &[u8]) {
    let entry = RetainedEntry::read(bytes);
    if let Ok(entry) = entry {
        assert_eq!(entry.encode(), bytes);
    }
    let (now, seeds) = (Now { mono_ns: 1, unix_ms: 1 }, [1, 2, 3, 4]);
    let subject = RetainedSubject::of(&seeds, entry.map_or("t", |entry| entry.topic));
    let mut tail = RetainedTail::<()>::new(seeds);
    tail.handle_message(subject, 1, bytes, now);
    assert!(tail.next_news(now).is_some(), "it is told, or told as damaged");
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    match choice % 5 {
        0 => documents(bytes),
        1 => frames(bytes),
        2 => {
            handshake(bytes);
            log(bytes);
        }
        3 => words(bytes),
        _ => retained(bytes),
    }
});
