//! Who is at the other end of a link: known, or refused by a reason of its own.

use super::*;
use crate::cluster::{
    BootId, LINK_NONCE_BYTES, LinkFrame, LinkHandshake, LinkHello, LinkNonces, LinkPeer, LinkSealer, LinkSecret,
    LinkSide, LinkTrust, NodeId,
};
use crate::conn::{DialLayers, LinkTerms};
use crate::limits::{LINK_HELLO_MAX_BYTES, LINK_HELLO_MS, PEERS_UNKNOWN_MAX};
use crate::settings::ListenerKind;

/// The index of the listener for links.
pub(super) const LINKS: u8 = 5;

fn trust(secret: &[u8]) -> LinkTrust {
    LinkTrust::Secret(LinkSecret::new(secret).unwrap())
}

fn secret() -> LinkTrust {
    trust(b"sixteen bytes, or more")
}

pub(super) fn terms(node: u16) -> LinkTerms {
    LinkTerms {
        trust: secret(),
        dials: DialLayers::None,
        cluster: "fleet".into(),
        node: NodeId::new(node),
        boot: BootId(node.into()),
        nonces: LinkNonces::new([node as u8; 32]),
    }
}

impl Stage {
    /// The first shard of a node.
    pub(super) fn node(number: u16) -> Self {
        let mut stage = Self::new();
        stage.add_link_listener();
        stage.connections.use_links(terms(number));
        stage
    }

    /// The same, and the other node of two is known to it.
    fn linked(number: u16) -> Self {
        let mut stage = Self::node(number);
        let now = stage.now;
        let peer = 3 - number;
        stage.connections.use_view(
            now,
            NodeId::new(number),
            super::nodes::view_of(Some((peer, peer.into())), ShardId(3)),
        );
        stage
    }

    pub(super) fn add_link_listener(&mut self) {
        let settings = ListenerSettings { kind: ListenerKind::Cluster, ..ListenerSettings::default() };
        let index = self.connections.add_listener(Arc::new(settings), Arc::default(), ListenerLayers::None);
        assert_eq!(index, LINKS);
    }

    /// A connection that this one has opened.
    fn dialled(&mut self) -> ConnectionId {
        let now = self.now;
        let id = self.connections.dial(now, "192.0.2.1:1884".parse().unwrap()).unwrap();
        self.connections.connected(id, Ok(SocketId::new(0, 9)));
        self.operations();
        id
    }

    /// What is sent to the one peer that there is.
    fn words(&mut self) -> Vec<u8> {
        self.flush().into_iter().flat_map(|(_, bytes)| bytes).collect()
    }

    fn hears(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.receive(id, bytes, false);
    }

    /// Why its one link ended, which has a line and a counter.
    fn refusal(&mut self) -> CloseReason {
        let lines: Vec<_> = self.connections.refused().collect();
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(self.connections.counters().closes[line.reason as usize], 1, "{}", line.text);
        assert!(line.reason.is_of_link() && !line.text.is_empty());
        assert!(self.connections.is_empty(), "it is closed");
        assert!(self.operations().iter().any(|operation| matches!(operation, Operation::Close { .. })));
        assert!(self.flush().is_empty(), "nobody hears why");
        line.reason
    }
}

fn hello(cluster: &str) -> LinkHello<'_> {
    LinkHello {
        versions: (1, 1),
        node: NodeId::new(2),
        boot: BootId(2),
        shards: (8, 6),
        carries_client: false,
        nonce: [9; LINK_NONCE_BYTES],
        cluster,
    }
}

pub(super) fn encoded(frame: LinkFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// Somebody who comes to a node, and the node. What it says first was heard.
fn stranger(trust: LinkTrust) -> (LinkHandshake, Stage, ConnectionId) {
    let (mut stranger, mut stage) = (LinkHandshake::new(LinkSide::Dials, trust, &hello("fleet")), Stage::linked(1));
    let id = stage.accept_by(LINKS);
    stage.hears(id, &stranger.take_out());
    stage.operations();
    (stranger, stage, id)
}

/// A node that this test speaks for, and one that knows it.
fn known() -> (LinkSealer, Stage, ConnectionId) {
    let (mut peer, mut stage, id) = stranger(secret());
    peer.handle_bytes(&stage.words()).unwrap();
    stage.hears(id, &peer.take_out());
    stage.operations();
    peer.handle_bytes(&stage.words()).unwrap();
    (peer.records().unwrap().0, stage, id)
}

#[test]
fn two_nodes_know_each_other_wherever_their_words_are_cut() {
    for piece in [1, 2, 3, 7, 40, 1_000] {
        let (mut first, mut second) = (Stage::linked(1), Stage::linked(2));
        let accepted = second.accept_by(LINKS);
        first.pass_ms(0);
        let Operation::Dial { connection: dialled, .. } = first.operation() else { panic!("nobody is dialled") };
        first.connections.connected(dialled, Ok(SocketId::new(0, 9)));
        for _ in 0..4 {
            for bytes in first.words().chunks(piece) {
                second.hears(accepted, bytes);
            }
            for bytes in second.words().chunks(piece) {
                first.hears(dialled, bytes);
            }
        }
        let peer = |node| LinkPeer {
            node: NodeId::new(node),
            boot: BootId(node.into()),
            shards: (3, 0),
            carries_client: false,
            version: 1,
        };
        assert_eq!(first.connections.link_peer(dialled), Some(peer(2)), "pieces of {piece}");
        assert_eq!(second.connections.link_peer(accepted), Some(peer(1)), "pieces of {piece}");
        for stage in [&mut first, &mut second] {
            let last = stage.operations().pop();
            assert!(matches!(last, Some(Operation::Receive { .. })), "it is heard on: {last:?}");
        }
    }
}

#[test]
fn who_does_not_know_the_secret_is_refused_at_both_ends() {
    let (mut stranger, mut stage, id) = stranger(trust(b"seventeen other bytes"));
    stranger.handle_bytes(&stage.words()).unwrap();
    stage.hears(id, &stranger.take_out());
    assert_eq!(stage.refusal(), CloseReason::LinkSecret);

    let mut stage = Stage::node(1);
    let id = stage.dialled();
    let mut stranger = LinkHandshake::new(LinkSide::Accepts, trust(b"seventeen other bytes"), &hello("fleet"));
    stranger.handle_bytes(&stage.words()).unwrap();
    stage.hears(id, &stranger.take_out());
    stranger.handle_bytes(&stage.words()).unwrap_err();
    stage.hears(id, &encoded(LinkFrame::Proof([1; 32])));
    assert_eq!(stage.refusal(), CloseReason::LinkSecret);
}

#[test]
fn words_of_another_time_are_refused() {
    let (mut peer, mut stage, id) = stranger(secret());
    let first = encoded(LinkFrame::Hello(hello("fleet")));
    peer.handle_bytes(&stage.words()).unwrap();
    let second = peer.take_out();
    stage.hears(id, &second);
    assert!(stage.connections.link_peer(id).is_some());
    stage.operations();
    stage.words();
    // The same again, by somebody who has seen it.
    let replayed = stage.accept_by(LINKS);
    stage.hears(replayed, &[first, second].concat());
    let lines: Vec<_> = stage.connections.refused().map(|line| line.reason).collect();
    assert_eq!(lines, [CloseReason::LinkSecret]);
    assert_eq!(stage.connections.len(), 1, "the first stays");
}

#[test]
fn words_that_come_back_from_where_they_went_are_refused() {
    let mut stage = Stage::node(1);
    let id = stage.dialled();
    let mirrored = stage.words();
    stage.hears(id, &mirrored);
    assert_eq!(stage.refusal(), CloseReason::LinkItself);

    let mut stage = Stage::node(1);
    let id = stage.dialled();
    stage.words();
    stage.hears(id, &encoded(LinkFrame::Hello(hello("fleet"))));
    stage.operations();
    let proof = stage.words();
    assert_eq!(proof.len(), 4 + 1 + 32);
    stage.hears(id, &proof);
    assert_eq!(stage.refusal(), CloseReason::LinkSecret);
}

#[test]
fn who_says_what_it_cannot_be_is_refused_by_name() {
    let too_long = (LINK_HELLO_MAX_BYTES as u32 + 1).to_le_bytes();
    let cases = [
        (encoded(LinkFrame::Hello(hello("other"))), CloseReason::LinkCluster),
        (encoded(LinkFrame::Hello(LinkHello { node: NodeId::new(1), ..hello("fleet") })), CloseReason::LinkItself),
        (encoded(LinkFrame::Hello(LinkHello { boot: BootId(1), ..hello("fleet") })), CloseReason::LinkItself),
        (encoded(LinkFrame::Hello(LinkHello { versions: (2, 9), ..hello("fleet") })), CloseReason::LinkVersion),
        (encoded(LinkFrame::Hello(LinkHello { shards: (8, 9), ..hello("fleet") })), CloseReason::LinkMalformed),
        (encoded(LinkFrame::Hello(LinkHello { shards: (8, 8), ..hello("fleet") })), CloseReason::LinkMalformed),
        (encoded(LinkFrame::Proof([0; 32])), CloseReason::LinkMalformed),
        (encoded(LinkFrame::Counted), CloseReason::LinkMalformed),
        (too_long.to_vec(), CloseReason::LinkMalformed),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), CloseReason::LinkMalformed),
        (connect_as("c", ShardId(0)), CloseReason::LinkMalformed),
    ];
    for (bytes, reason) in cases {
        let mut stage = Stage::node(1);
        let id = stage.accept_by(LINKS);
        stage.hears(id, &bytes);
        assert_eq!(stage.refusal(), reason, "{bytes:?}");
    }
    let (_, mut stage, id) = stranger(secret());
    stage.words();
    stage.hears(id, &encoded(LinkFrame::Counted));
    assert_eq!(stage.refusal(), CloseReason::LinkMalformed, "a frame before it is known");
}

#[test]
fn a_byte_a_second_is_no_way_to_stay() {
    let mut stage = Stage::node(1);
    let id = stage.accept_by(LINKS);
    for (second, byte) in (1..).zip(encoded(LinkFrame::Hello(hello("fleet")))) {
        stage.hears(id, &[byte]);
        stage.pass_ms(1_000);
        if second * 1_000 >= LINK_HELLO_MS {
            break;
        }
        assert_eq!(stage.connections.len(), 1, "after {second} s");
    }
    assert_eq!(stage.refusal(), CloseReason::LinkTimeout);
}

#[test]
fn who_goes_before_it_is_known_is_counted() {
    let (_, mut stage, id) = stranger(secret());
    stage.words();
    stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::PeerGone));
    assert_eq!(stage.refusal(), CloseReason::LinkClosed);
}

#[test]
fn a_record_that_was_not_sent_so_ends_the_link() {
    for twice in [false, true] {
        let (mut sealer, mut stage, id) = known();
        let mut record = Vec::new();
        sealer.seal(&[], &mut record);
        stage.hears(id, &record);
        assert_eq!(stage.connections.len(), 1, "one without frames is a record");
        stage.operations();
        if !twice {
            record.clear();
            sealer.seal(&[], &mut record);
            *record.last_mut().unwrap() ^= 1;
        }
        stage.hears(id, &record);
        assert_eq!(stage.refusal(), CloseReason::LinkMalformed);
    }
}

#[test]
fn of_those_that_are_not_known_the_oldest_makes_way() {
    let (_, mut stage, known) = known();
    let unknown: Vec<ConnectionId> = (0..PEERS_UNKNOWN_MAX).map(|_| stage.accept_by(LINKS)).collect();
    assert_eq!(stage.connections.len(), 1 + PEERS_UNKNOWN_MAX);
    let now = stage.now;
    stage.connections.accepted(now, LINKS, SocketId::new(0, 8), Peer::Unknown);
    let lines: Vec<_> = stage.connections.refused().map(|line| line.reason).collect();
    assert_eq!(lines, [CloseReason::LinkMadeWay]);
    assert_eq!(stage.connections.len(), 1 + PEERS_UNKNOWN_MAX);
    stage.operations();
    stage.hears(unknown[0], b"late");
    assert!(stage.operations().is_empty(), "it is gone");
    assert!(stage.connections.link_peer(known).is_some());
}

#[test]
fn links_take_no_places_of_clients() {
    let [mut stage, ..] = Stage::three(1);
    stage.add_link_listener();
    stage.connections.use_links(terms(1));
    for _ in 0..50 {
        stage.accept_by(LINKS);
    }
    assert_eq!(stage.connections.config().connections.load(Ordering::Relaxed), 0);
    stage.client("the only one");
    stage.pass_ms(LINK_HELLO_MS);
    assert_eq!((stage.connections.len(), stage.connections.config().connections.load(Ordering::Relaxed)), (1, 1));
}
