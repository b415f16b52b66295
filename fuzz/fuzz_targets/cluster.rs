//! Whatever other nodes, the engine or its store say: documents, frames, a handshake, messages of a log, retained messages.

#![no_main]

use dunlin::cluster::{
    BootId, ClusterDocument, ClusterMap, LINK_NONCE_BYTES, LinkFrame, LinkHandshake, LinkHello, LinkSecret, LinkSide,
    LinkTexts, LinkTrust, LogAnswer, MapChange, NodeDocument, NodeId, RangeBatch, RangeClaim, RangeId, RangeLog,
    RetainedEntry, RetainedSubject, RetainedTail,
};
use dunlin::codec::Forwarded;
use dunlin::limits::LINK_FRAME_MAX_BYTES;
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

fn handshake(bytes: &[u8]) {
    let secret = LinkSecret::new(b"sixteen bytes or more").expect("long enough");
    let hello = LinkHello {
        versions: (1, 1),
        node: NodeId::new(1),
        boot: BootId(1),
        shards: (1, 0),
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
    match choice % 4 {
        0 => documents(bytes),
        1 => frames(bytes),
        2 => retained(bytes),
        _ => {
            handshake(bytes);
            log(bytes);
        }
    }
});
