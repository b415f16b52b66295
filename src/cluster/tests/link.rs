//! Frames between nodes, and how nodes know each other.

use crate::cluster::{
    BootId, LINK_NONCE_BYTES, LINK_RECORD_HEAD_BYTES, LinkForward, LinkFrame, LinkFrameError, LinkHandshake, LinkHello,
    LinkIdentity, LinkInterest, LinkPublish, LinkReception, LinkRefusal, LinkRoom, LinkSecret, LinkSide, LinkTexts,
    LinkToken, LinkTrust, NodeId,
};
use crate::ids::{ClientKey, PeerAddress, Qos, UnixPeer, WriteStamp};
use crate::limits::{
    LINK_FORWARD_MAX_BYTES, LINK_FRAME_MAX_BYTES, LINK_GROUPS_MAX, LINK_HELLO_MAX_BYTES, LINK_SECRET_MIN_BYTES,
};

fn hello(node: u16, nonce: u8) -> LinkHello<'static> {
    LinkHello {
        versions: (1, 3),
        node: NodeId::new(node),
        boot: BootId(u64::from(node)),
        shards: (4, 2),
        carries_client: false,
        nonce: [nonce; LINK_NONCE_BYTES],
        cluster: "fleet",
    }
}

const PUBLISH: LinkPublish<'static> = LinkPublish {
    qos: Qos::ExactlyOnce,
    retain: true,
    plain: false,
    passed_on: true,
    expires_in_ms: Some(0),
    publisher: Some(ClientKey(u64::MAX)),
    stamp: Some(WriteStamp { time_ns: 1 << 60, shard: 63 }),
    confirm: Some(LinkToken { shard: 7, number: 70_000 }),
    groups: b"8 bytes.16 bytes",
    topic: "a/b",
    properties: b"\x01\x00",
    payload: b"payload",
};

const FORWARD: LinkForward<'static> = LinkForward {
    listener: "tcp",
    peer: None,
    version: 5,
    client_id: Some("auto-1"),
    proved_user: Some("user"),
    identity: None,
};

fn frames() -> Vec<LinkFrame<'static>> {
    let interest = LinkInterest { number: 7, plain: true, durable: false, online: 2, total: 3, filter: "$share/g/a/+" };
    let token = LinkToken { shard: 1, number: u32::MAX };
    vec![
        LinkFrame::Hello(hello(1, 9)),
        LinkFrame::Hello(LinkHello { node: None, ..hello(1, 9) }),
        LinkFrame::Hello(LinkHello { carries_client: true, ..hello(1, 9) }),
        LinkFrame::Proof([5; 32]),
        LinkFrame::Received { count: 5 },
        LinkFrame::Ping { number: 12, is_answer: true, is_heard: false },
        LinkFrame::Interest(interest),
        LinkFrame::Interest(LinkInterest { plain: false, durable: true, online: 0, total: 0, ..interest }),
        LinkFrame::SyncEnd,
        LinkFrame::Synced,
        LinkFrame::Counted,
        LinkFrame::Applied { number: 8 },
        LinkFrame::Publish(PUBLISH),
        LinkFrame::Publish(LinkPublish { expires_in_ms: None, groups: b"", payload: b"", ..PUBLISH }),
        LinkFrame::Publish(LinkPublish { publisher: None, stamp: None, confirm: None, ..PUBLISH }),
        LinkFrame::Stored { token, reception: LinkReception::QueuesFull },
        LinkFrame::Barrier { token },
        LinkFrame::GroupRoom { key: 9, room: LinkRoom::Window },
        LinkFrame::RetainedDeleted { stamp: WriteStamp { time_ns: 3, shard: 4 }, topic: "a" },
    ]
}

fn forwards(names: LinkTexts<'_>) -> Vec<LinkFrame<'_>> {
    let unix = UnixPeer { process_id: Some(4), user_id: 5, group_id: 6 };
    let peers = [
        None,
        Some(PeerAddress::Ip("127.0.0.1:1883".parse().unwrap())),
        Some(PeerAddress::Ip("[fe80::1%3]:1883".parse().unwrap())),
        Some(PeerAddress::Unix(unix)),
        Some(PeerAddress::Unix(UnixPeer { process_id: None, ..unix })),
    ];
    let identity = LinkIdentity {
        common_name: Some(""),
        subject: Some("CN=a"),
        tls_version: Some("TLSv1.3"),
        alternative_names: names,
    };
    let identities = [None, Some(LinkIdentity::default()), Some(identity)];
    let mut frames: Vec<_> = peers.map(|peer| LinkFrame::Forward(LinkForward { peer, ..FORWARD })).into();
    frames.extend(identities.map(|identity| LinkFrame::Forward(LinkForward { identity, version: 3, ..FORWARD })));
    frames.push(LinkFrame::Forward(LinkForward { client_id: None, proved_user: None, ..FORWARD }));
    frames
}

fn encoded(frame: &LinkFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

#[test]
fn frames_read_back_one_after_the_other_however_they_come() {
    let (mut stream, mut names) = (Vec::new(), Vec::new());
    let all = [frames(), forwards(LinkTexts::write(["a.example", "", "b"], &mut names))].concat();
    for frame in &all {
        let bytes = encoded(frame);
        for len in 0..bytes.len() {
            assert_eq!(LinkFrame::next(&bytes[..len], LINK_FRAME_MAX_BYTES), Ok(None), "{frame:?}");
        }
        stream.extend_from_slice(&bytes);
    }
    let mut rest = stream.as_slice();
    for frame in &all {
        let (read, len) = LinkFrame::next(rest, LINK_FRAME_MAX_BYTES).unwrap().unwrap();
        assert_eq!(read, *frame);
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
}

#[test]
fn lists_within_a_frame_are_walked_in_their_order() {
    assert_eq!(PUBLISH.group_keys().collect::<Vec<_>>(), [*b"8 bytes.", *b"16 bytes"].map(u64::from_le_bytes));
    let mut names = Vec::new();
    let texts = LinkTexts::write(["a.example", "", "b"], &mut names);
    assert_eq!(texts.iter().collect::<Vec<_>>(), ["a.example", "", "b"]);
    assert_eq!(LinkTexts::default().iter().next(), None);
}

#[test]
fn what_is_of_two_processes_and_not_of_their_connection_is_counted() {
    let counted = frames().iter().filter(|frame| frame.is_counted()).count();
    assert_eq!(counted, frames().len() - 6, "HELLO thrice, PROOF, RECEIVED and PING are not");
    assert!(!LinkFrame::Forward(FORWARD).is_counted());
}

#[test]
fn whatever_is_taken_has_one_form_and_nothing_else_panics() {
    let mut names = Vec::new();
    for frame in [frames(), forwards(LinkTexts::write(["a.example", "", "b"], &mut names))].concat() {
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
            // A payload is all that is left of its frame, so a shorter one is another message.
            let is_shorter = |payload: &[u8]| len >= bytes.len() - 4 - payload.len();
            match frame {
                LinkFrame::Publish(publish) if is_shorter(publish.payload) => assert!(read.is_ok(), "{frame:?}: {len}"),
                _ => assert!(matches!(read, Err(LinkFrameError::Invalid(_))), "{frame:?}: {len}"),
            }
        }
        let long = [&(bytes.len() as u32 - 3).to_le_bytes(), &bytes[4..], b"x"].concat();
        let read = LinkFrame::next(&long, LINK_FRAME_MAX_BYTES);
        assert_eq!(matches!(frame, LinkFrame::Publish(_)), read.is_ok(), "{frame:?}: {read:?}");
    }
}

#[test]
fn a_length_is_looked_at_before_anything_else() {
    let len = LINK_FRAME_MAX_BYTES as u32 + 1;
    assert_eq!(LinkFrame::next(&len.to_le_bytes(), usize::MAX), Err(LinkFrameError::TooLong(len)));
    assert_eq!(LinkFrame::next(&300_u32.to_le_bytes(), 299), Err(LinkFrameError::TooLong(300)));
    assert_eq!(LinkFrame::next(&[0; 4], 10), Err(LinkFrameError::Invalid("an empty frame")));
    assert_eq!(LinkFrame::next(&[1, 0, 0, 0, 99], 10), Err(LinkFrameError::Kind(99)));
    let groups = vec![1; 8 * (LINK_GROUPS_MAX + 1)];
    let many = encoded(&LinkFrame::Publish(LinkPublish { groups: &groups, ..PUBLISH }));
    let refused = LinkFrameError::Invalid("a number of groups");
    assert_eq!(LinkFrame::next(&many, LINK_FRAME_MAX_BYTES), Err(refused));
    let most = LinkFrame::Publish(LinkPublish { groups: &groups[8..], ..PUBLISH });
    assert!(LinkFrame::next(&encoded(&most), LINK_FRAME_MAX_BYTES).is_ok());
}

#[test]
fn a_client_that_there_is_too_much_to_say_of_is_not_forwarded() {
    let rest = encoded(&LinkFrame::Forward(LinkForward { identity: Some(LinkIdentity::default()), ..FORWARD }));
    let longest = "x".repeat(LINK_FORWARD_MAX_BYTES - (rest.len() - 4) - 4);
    let mut longer = longest.clone();
    longer.push('x');
    let [longest, longer] = [&longest, &longer].map(|subject| {
        let identity = Some(LinkIdentity { subject: Some(subject), ..LinkIdentity::default() });
        encoded(&LinkFrame::Forward(LinkForward { identity, ..FORWARD }))
    });
    assert!(LinkFrame::next(&longest, LINK_FRAME_MAX_BYTES).is_ok());
    let refused = LinkFrameError::TooLong(LINK_FORWARD_MAX_BYTES as u32 + 1);
    assert_eq!(LinkFrame::next(&longer, LINK_FRAME_MAX_BYTES), Err(refused));
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
        assert_eq!((peer.node, peer.boot, peer.shards, peer.version), (NodeId::new(2), BootId(2), (4, 2), 1));
        assert_eq!(own.node, NodeId::new(1));
    }
}

#[test]
fn a_process_that_is_no_member_yet_may_try_whom_it_reaches() {
    let probe = |boot: u64, nonce| LinkHello { node: None, boot: BootId(boot), ..hello(1, nonce) };
    let mut dials = LinkHandshake::new(LinkSide::Dials, secret(1), &probe(7, 11));
    let mut accepts = LinkHandshake::new(LinkSide::Accepts, secret(1), &probe(8, 22));
    talk(&mut dials, &mut accepts).unwrap();
    assert_eq!(dials.peer().map(|peer| (peer.node, peer.boot)), Some((None, BootId(8))));
    // It has tried itself: another address of its own.
    let mut accepts = LinkHandshake::new(LinkSide::Accepts, secret(1), &probe(7, 22));
    let mut dials = LinkHandshake::new(LinkSide::Dials, secret(1), &probe(7, 11));
    assert_eq!(accepts.handle_bytes(&dials.take_out()), Err(LinkRefusal::Itself));
}

#[test]
fn what_comes_behind_the_handshake_is_left_for_others() {
    let (mut dials, mut accepts) = ends(LinkTrust::Certificate, LinkTrust::Certificate);
    let mut bytes = dials.take_out();
    let len = bytes.len();
    LinkFrame::Applied { number: 1 }.encode(&mut bytes);
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
    assert_eq!(accepts.handle_bytes(&encoded(&LinkFrame::Applied { number: 1 })), Err(LinkRefusal::Order));
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
    // Who accepts forwards nobody.
    let (mut dials, _) = ends(secret(1), secret(1));
    let answer = encoded(&LinkFrame::Hello(LinkHello { carries_client: true, ..hello(2, 1) }));
    assert_eq!(dials.handle_bytes(&answer), Err(LinkRefusal::Order));
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
