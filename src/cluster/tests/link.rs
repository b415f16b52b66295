//! Frames between nodes, and how nodes know each other.

use crate::cluster::{
    BootId, LINK_NONCE_BYTES, LINK_RECORD_HEAD_BYTES, LinkFrame, LinkFrameError, LinkHandshake, LinkHello,
    LinkInterest, LinkPublish, LinkRefusal, LinkSecret, LinkSide, LinkTrust, Mark, NodeId, RangeId,
};
use crate::ids::Qos;
use crate::limits::{LINK_FRAME_MAX_BYTES, LINK_GROUPS_MAX, LINK_HELLO_MAX_BYTES, LINK_SECRET_MIN_BYTES};

fn hello(node: u16, nonce: u8) -> LinkHello<'static> {
    LinkHello {
        versions: (1, 3),
        node: NodeId::new(node).unwrap(),
        boot: BootId(u64::from(node)),
        shards: (4, 2),
        nonce: [nonce; LINK_NONCE_BYTES],
        cluster: "fleet",
    }
}

fn frames() -> Vec<LinkFrame<'static>> {
    let interest = LinkInterest { number: 7, plain: true, durable: false, members: 3, filter: "$share/g/a/+" };
    let publish = LinkPublish {
        number: u64::MAX,
        qos: Qos::ExactlyOnce,
        retain: true,
        plain: false,
        confirm: true,
        expires_in_ms: Some(0),
        groups: b"8 bytes.16 bytes",
        topic: "a/b",
        properties: b"\x01\x00",
        payload: b"payload",
    };
    let mark = Mark { sequence: 9, boot: BootId(8), attempt: 7 };
    vec![
        LinkFrame::Hello(hello(1, 9)),
        LinkFrame::Proof([5; 32]),
        LinkFrame::Interest(interest),
        LinkFrame::Interest(LinkInterest { plain: false, durable: true, members: 0, ..interest }),
        LinkFrame::SyncEnd { number: 7 },
        LinkFrame::Applied { number: 8 },
        LinkFrame::Publish(publish),
        LinkFrame::Publish(LinkPublish { expires_in_ms: None, groups: b"", payload: b"", ..publish }),
        LinkFrame::Stored { number: 9, taken: true },
        LinkFrame::Barrier { number: 10 },
        LinkFrame::Adopted { range: RangeId(3), mark },
        LinkFrame::Map { epoch: 11 },
        LinkFrame::Ping { number: 12, is_answer: true },
    ]
}

fn encoded(frame: &LinkFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

#[test]
fn frames_read_back_one_after_the_other_however_they_come() {
    let mut stream = Vec::new();
    for frame in frames() {
        let bytes = encoded(&frame);
        for len in 0..bytes.len() {
            assert_eq!(LinkFrame::next(&bytes[..len], LINK_FRAME_MAX_BYTES), Ok(None), "{frame:?}");
        }
        stream.extend_from_slice(&bytes);
    }
    let mut rest = stream.as_slice();
    for frame in frames() {
        let (read, len) = LinkFrame::next(rest, LINK_FRAME_MAX_BYTES).unwrap().unwrap();
        assert_eq!(read, frame);
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
}

#[test]
fn whatever_is_taken_has_one_form_and_nothing_else_panics() {
    for frame in frames() {
        let bytes = encoded(&frame);
        let mut changed = bytes.clone();
        for at in 0..bytes.len() {
            for byte in 0..=255 {
                changed[at] = byte;
                if let Ok(Some((read, len))) = LinkFrame::next(&changed, LINK_FRAME_MAX_BYTES) {
                    assert_eq!(encoded(&read), changed[..len], "{frame:?}");
                }
            }
            changed[at] = bytes[at];
        }
        // A body that is cut off within its frame, or goes on behind its fields.
        for len in 1..bytes.len() - 4 {
            let short = [&(len as u32).to_le_bytes(), &bytes[4..4 + len]].concat();
            let read = LinkFrame::next(&short, LINK_FRAME_MAX_BYTES);
            assert!(matches!(read, Err(LinkFrameError::Invalid(_))), "{frame:?}: {len}");
        }
        let long = [&(bytes.len() as u32 - 3).to_le_bytes(), &bytes[4..], b"x"].concat();
        assert!(matches!(LinkFrame::next(&long, LINK_FRAME_MAX_BYTES), Err(LinkFrameError::Invalid(_))));
    }
}

#[test]
fn a_length_is_looked_at_before_anything_else() {
    let len = LINK_FRAME_MAX_BYTES as u32 + 1;
    assert_eq!(LinkFrame::next(&len.to_le_bytes(), usize::MAX), Err(LinkFrameError::TooLong(len)));
    assert_eq!(LinkFrame::next(&300_u32.to_le_bytes(), 299), Err(LinkFrameError::TooLong(300)));
    assert_eq!(LinkFrame::next(&[0; 4], 10), Err(LinkFrameError::Invalid("an empty frame")));
    assert_eq!(LinkFrame::next(&[1, 0, 0, 0, 99], 10), Err(LinkFrameError::Kind(99)));
    let LinkFrame::Publish(publish) = frames()[6] else { panic!("a PUBLISH") };
    let groups = vec![1; 8 * (LINK_GROUPS_MAX + 1)];
    let many = encoded(&LinkFrame::Publish(LinkPublish { groups: &groups, ..publish }));
    assert_eq!(LinkFrame::next(&many, LINK_FRAME_MAX_BYTES), Err(LinkFrameError::Invalid("a PUBLISH")));
    let most = LinkFrame::Publish(LinkPublish { groups: &groups[8..], ..publish });
    assert!(LinkFrame::next(&encoded(&most), LINK_FRAME_MAX_BYTES).is_ok());
}

fn secret(byte: u8) -> LinkTrust {
    LinkTrust::Secret(LinkSecret::new(&[byte; LINK_SECRET_MIN_BYTES]).unwrap())
}

fn ends(dialer: LinkTrust, acceptor: LinkTrust) -> (LinkHandshake, LinkHandshake) {
    let dials = LinkHandshake::new(LinkSide::Dials, dialer, &hello(1, 11));
    (dials, LinkHandshake::new(LinkSide::Accepts, acceptor, &hello(2, 22)))
}

/// Passes on what both say, a byte at a time, until both are silent; all of it.
fn talk(dials: &mut LinkHandshake, accepts: &mut LinkHandshake) -> Result<[Vec<u8>; 2], LinkRefusal> {
    let mut said = [Vec::new(), Vec::new()];
    let mut unread = [Vec::new(), Vec::new()];
    loop {
        let out = [dials.take_out(), accepts.take_out()];
        if out.iter().all(Vec::is_empty) {
            return Ok(said);
        }
        for (from, bytes) in out.into_iter().enumerate() {
            said[from].extend_from_slice(&bytes);
            for byte in bytes {
                unread[from].push(byte);
                let to = if from == 0 { &mut *accepts } else { &mut *dials };
                let taken = to.handle_bytes(&unread[from])?;
                unread[from].drain(..taken);
            }
        }
    }
}

#[test]
fn ends_that_know_the_secret_or_have_certificates_know_each_other() {
    for trust in [secret(1), LinkTrust::Certificate] {
        let (mut dials, mut accepts) = ends(trust.clone(), trust);
        assert_eq!((dials.peer(), accepts.peer()), (None, None));
        talk(&mut dials, &mut accepts).unwrap();
        let (peer, own) = (dials.peer().unwrap(), accepts.peer().unwrap());
        assert_eq!((peer.node.get(), peer.boot, peer.shards, peer.version), (2, BootId(2), (4, 2), 1));
        assert_eq!(own.node.get(), 1);
    }
}

#[test]
fn what_comes_behind_the_handshake_is_left_for_others() {
    let (mut dials, mut accepts) = ends(LinkTrust::Certificate, LinkTrust::Certificate);
    let mut bytes = dials.take_out();
    let len = bytes.len();
    LinkFrame::Map { epoch: 1 }.encode(&mut bytes);
    assert_eq!(accepts.handle_bytes(&bytes), Ok(len));
    assert!(accepts.peer().is_some());
    assert!(accepts.records().is_none());
}

#[test]
fn nobody_without_the_secret_is_believed_at_either_end() {
    let (mut dials, mut accepts) = ends(secret(1), secret(2));
    assert_eq!(talk(&mut dials, &mut accepts), Err(LinkRefusal::Proof));
    assert_eq!((dials.peer(), accepts.peer()), (None, None));
    // One that has no secret at all sends no proof, and frames instead.
    let (mut dials, mut accepts) = ends(LinkTrust::Certificate, secret(1));
    talk(&mut dials, &mut accepts).unwrap();
    assert_eq!(accepts.peer(), None);
    assert_eq!(accepts.handle_bytes(&encoded(&LinkFrame::Map { epoch: 1 })), Err(LinkRefusal::Order));
    assert!(LinkSecret::new(&[1; LINK_SECRET_MIN_BYTES - 1]).is_none());
    assert_eq!(format!("{:?}", secret(b'x')), "Secret");
}

#[test]
fn what_was_heard_before_shows_nothing() {
    let (mut dials, mut accepts) = ends(secret(1), secret(1));
    let [dialed, accepted] = talk(&mut dials, &mut accepts).unwrap();
    // The same bytes again, to an acceptor with another nonce, or to a dialer with another one.
    let mut later = LinkHandshake::new(LinkSide::Accepts, secret(1), &hello(2, 23));
    assert_eq!(later.handle_bytes(&dialed), Err(LinkRefusal::Proof));
    let mut later = LinkHandshake::new(LinkSide::Dials, secret(1), &hello(1, 12));
    assert_eq!(later.handle_bytes(&accepted), Err(LinkRefusal::Proof));
    // Its own words, from one who says that they are another node's.
    let mut dials = LinkHandshake::new(LinkSide::Dials, secret(1), &hello(1, 13));
    let own = dials.take_out();
    assert_eq!(dials.handle_bytes(&own), Err(LinkRefusal::Itself));
    let mut mirror = LinkHandshake::new(LinkSide::Dials, secret(1), &hello(1, 14));
    let mut mirrored = encoded(&LinkFrame::Hello(hello(2, 15)));
    assert_eq!(mirror.handle_bytes(&mirrored), Ok(mirrored.len()));
    mirrored = mirror.take_out();
    let hello_bytes = encoded(&LinkFrame::Hello(hello(1, 14))).len();
    assert_eq!(mirror.handle_bytes(&mirrored[hello_bytes..]), Err(LinkRefusal::Proof));
}

#[test]
fn a_hello_that_somebody_changed_on_the_way_is_found_out() {
    let (mut dials, _) = ends(secret(1), secret(1));
    let bytes = dials.take_out();
    for bit in 0..bytes.len() * 8 {
        let (mut dials, mut accepts) = ends(secret(1), secret(1));
        dials.take_out();
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // A length that has grown is waited for; whatever is taken at all is not proved.
        if accepts.handle_bytes(&changed) == Ok(changed.len()) {
            dials.handle_bytes(&accepts.take_out()).unwrap();
            assert_eq!(accepts.handle_bytes(&dials.take_out()), Err(LinkRefusal::Proof), "bit {bit}");
        }
        assert_eq!(accepts.peer(), None, "bit {bit}");
    }
}

#[test]
fn strangers_are_refused_by_name() {
    let refusal = |hello: LinkHello<'_>| {
        let (_, mut accepts) = ends(secret(1), secret(1));
        accepts.handle_bytes(&encoded(&LinkFrame::Hello(hello)))
    };
    assert!(refusal(hello(1, 1)).is_ok());
    assert_eq!(refusal(LinkHello { cluster: "other", ..hello(1, 1) }), Err(LinkRefusal::Cluster));
    assert_eq!(refusal(hello(2, 1)), Err(LinkRefusal::Itself));
    assert_eq!(refusal(LinkHello { versions: (2, 3), ..hello(1, 1) }), Err(LinkRefusal::Version(2, 3)));
    let (_, mut accepts) = ends(secret(1), secret(1));
    let long = (LINK_HELLO_MAX_BYTES as u32 + 1).to_le_bytes();
    assert_eq!(accepts.handle_bytes(&long), Err(LinkFrameError::TooLong(LINK_HELLO_MAX_BYTES as u32 + 1).into()));
    assert_eq!(accepts.handle_bytes(&encoded(&LinkFrame::Proof([0; 32]))), Err(LinkRefusal::Order));
}

#[test]
fn records_come_in_their_order_and_from_the_peer_or_end_the_link() {
    let (mut dials, mut accepts) = ends(secret(1), secret(1));
    talk(&mut dials, &mut accepts).unwrap();
    let (mut seal, mut own) = dials.records().unwrap();
    let (_, mut open) = accepts.records().unwrap();
    let mut records = [Vec::new(), Vec::new()];
    seal.seal(b"one", &mut records[0]);
    seal.seal(b"one", &mut records[1]);
    for len in 0..records[0].len() {
        assert_eq!(open.open(&records[0][..len]), Ok(None));
    }
    for bit in 32..records[0].len() * 8 {
        let mut changed = records[0].clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open.open(&changed), Err(LinkRefusal::Record), "bit {bit}");
    }
    // One that comes too early, comes back, is taken for the other direction's, or is longer than any.
    assert_eq!(open.open(&records[1]), Err(LinkRefusal::Record));
    assert_eq!(own.open(&records[0]), Err(LinkRefusal::Record));
    let mut long = vec![0; LINK_RECORD_HEAD_BYTES];
    long[..4].copy_from_slice(&(LINK_FRAME_MAX_BYTES as u32 + 5).to_le_bytes());
    assert_eq!(open.open(&long), Err(LinkRefusal::Record));
    let whole = records.concat();
    let (frames, len) = open.open(&whole).unwrap().unwrap();
    assert_eq!(frames, b"one");
    assert_eq!(open.open(&whole), Err(LinkRefusal::Record));
    assert_eq!(open.open(&whole[len..]), Ok(Some((b"one".as_slice(), len))));
    // Another link of the same two has other keys.
    let mut again = LinkHandshake::new(LinkSide::Accepts, secret(1), &hello(2, 23));
    let mut dials = LinkHandshake::new(LinkSide::Dials, secret(1), &hello(1, 11));
    talk(&mut dials, &mut again).unwrap();
    assert_eq!(again.records().unwrap().1.open(&records[0]), Err(LinkRefusal::Record));
}
