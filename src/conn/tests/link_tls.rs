//! Links over TLS: handshakes that are run elsewhere, HELLO behind them, and nodes that are not believed.

use super::links::terms;
use super::nodes::{LinkedNode, view_of};
use super::*;
use crate::cluster::{LinkFrame, LinkTrust, NodeId};
use crate::conn::tls::tests::{Pki, node_dialler, node_listener};
use crate::conn::{DialLayers, InputHandler, LinkTerms, LinkWord};
use crate::limits::LINK_HELLO_MS;
use crate::settings::ListenerKind;

/// A shard of a node with certificates of the first authority, which believes the second, and knows the other node of two.
fn secure(number: u16, own: u8, shards: u8, [shows, believes]: [&Pki; 2]) -> LinkedNode {
    let handovers: Arc<[AtomicU32]> = (0..shards).map(|_| AtomicU32::new(0)).collect();
    secure_among(number, own, &handovers, [shows, believes])
}

fn secure_among(number: u16, own: u8, handovers: &Arc<[AtomicU32]>, [shows, believes]: [&Pki; 2]) -> LinkedNode {
    let dials = DialLayers::Tls(node_dialler(Some(shows), believes));
    let terms = LinkTerms { trust: LinkTrust::Certificate, dials, ..terms(number) };
    let peer = 3 - number;
    let mut node = LinkedNode::shard(own, handovers, terms, Some((peer, peer.into())));
    let settings = ListenerSettings { kind: ListenerKind::Cluster, ..ListenerSettings::default() };
    let layers = ListenerLayers::Tls(node_listener(shows, believes));
    node.connections.replace_listener(0, Arc::new(settings), Arc::default(), layers);
    node
}

/// Two ends of one connection.
struct SecureLink {
    dials: LinkedNode,
    accepts: LinkedNode,
    dialled: ConnectionId,
    accepted: ConnectionId,
    piece: usize,
}

/// Runs what is to be run. What else is to be done comes back.
fn drain(node: &mut LinkedNode) -> Vec<Operation> {
    let mut others = Vec::new();
    while let Some(operation) = node.connections.next_operation() {
        match operation {
            Operation::Handshake { connection, mut handshake } => {
                handshake.run();
                node.connections.handshaken(&mut node.core, connection, *handshake);
            }
            other => others.push(other),
        }
    }
    others
}

/// The connection that a node opens, which is taken.
fn dialled(node: &mut LinkedNode) -> ConnectionId {
    node.pass_ms(0);
    let Some(Operation::Dial { connection, .. }) = node.operations().pop() else { panic!("nobody is dialled") };
    node.connections.connected(connection, Ok(SocketId::new(0, 3)));
    connection
}

impl SecureLink {
    fn new(mut dials: LinkedNode, mut accepts: LinkedNode, piece: usize) -> Self {
        let dialled = dialled(&mut dials);
        assert!(dials.words().is_empty(), "there is nothing to be sent before the handshake was run");
        let accepted = accepts.accept();
        let begun = drain(&mut dials);
        assert!(matches!(begun[..], [Operation::ReceiveOnce { connection, .. }] if connection == dialled), "{begun:?}");
        Self { dials, accepts, dialled, accepted, piece }
    }

    /// Both until neither says anything. What else is to be done comes back, of each.
    fn exchange(&mut self) -> [Vec<Operation>; 2] {
        let mut others = [Vec::new(), Vec::new()];
        loop {
            let there = self.dials.words();
            for piece in there.chunks(self.piece) {
                self.accepts.hears(self.accepted, piece);
                others[1].extend(drain(&mut self.accepts));
            }
            let back = self.accepts.words();
            for piece in back.chunks(self.piece) {
                self.dials.hears(self.dialled, piece);
                others[0].extend(drain(&mut self.dials));
            }
            if there.is_empty() && back.is_empty() {
                return others;
            }
        }
    }

    fn says(&mut self, number: u64, slot: ShardId) {
        self.dials.connections.link_out(slot).unwrap().append(&LinkFrame::Applied { number });
    }
}

#[test]
fn nodes_know_each_other_by_their_certificates_and_hear_each_other() {
    let pki = Pki::new();
    for piece in [usize::MAX, 1, 100] {
        let (first, second) = (secure(1, 0, 1, [&pki, &pki]), secure(2, 0, 1, [&pki, &pki]));
        let mut link = SecureLink::new(first, second, piece);
        link.exchange();
        let known = link.accepts.connections.link_peer(link.accepted).unwrap();
        assert_eq!((known.node, known.shards), (NodeId::new(1), (1, 0)));
        assert_eq!(link.dials.connections.link_peer(link.dialled).unwrap().node, NodeId::new(2));
        assert_eq!(link.dials.connections.link_news()[0].word, LinkWord::Linked);
        for number in 1..=100 {
            link.says(number, ShardId(1));
        }
        link.exchange();
        assert_eq!(link.accepts.core.numbers, (1..=100).collect::<Vec<u64>>());
        assert_eq!(link.dials.connections.link_out(ShardId(1)).unwrap().waiting_bytes(), 0, "the other has said so");
        assert!(link.dials.refusals().is_empty() && link.accepts.refusals().is_empty());
    }
}

#[test]
fn a_link_goes_to_the_shard_that_hears_it_with_its_keys() {
    let pki = Pki::new();
    let handovers: Arc<[AtomicU32]> = (0..2).map(|_| AtomicU32::new(0)).collect();
    let [accepts, mut hears] = [0, 1].map(|own| secure_among(2, own, &handovers, [&pki, &pki]));
    let mut link = SecureLink::new(secure(1, 1, 2, [&pki, &pki]), accepts, usize::MAX);
    let [_, others] = link.exchange();
    let Some(Operation::HandOver { ticket, target: ShardId(1), .. }) = others.into_iter().next_back() else {
        panic!("it stays")
    };
    let (_, handover) = link.accepts.connections.handovers().next().unwrap();
    hears.connections.take_handover(&mut hears.core, handover);
    hears.connections.adopted(&mut hears.core, ticket, SocketId::new(0, 9));
    link.accepts.connections.handed_over(ticket);
    let Some(Operation::Receive { connection, .. }) = hears.operations().pop() else { panic!("it is not heard") };
    (link.accepts, link.accepted) = (hears, connection);
    link.exchange();
    link.says(7, ShardId(2));
    link.exchange();
    assert_eq!(link.accepts.core.numbers, [7]);
    assert_eq!(link.dials.connections.link_news()[0].word, LinkWord::Linked);
}

#[test]
fn who_is_not_believed_hears_why_and_is_dialled_again() {
    let (pki, other, expired) = (Pki::new(), Pki::new(), Pki::expired());
    for (dials, accepts) in [
        ([&pki, &pki], [&other, &pki]),
        ([&other, &pki], [&pki, &pki]),
        ([&pki, &expired], [&expired, &pki]),
        ([&expired, &pki], [&pki, &expired]),
    ] {
        let mut link = SecureLink::new(secure(1, 0, 1, dials), secure(2, 0, 1, accepts), usize::MAX);
        let others = link.exchange();
        for (node, others) in [&mut link.dials, &mut link.accepts].into_iter().zip(others) {
            let mut others = others;
            others.extend(node.operations());
            assert_eq!(node.refusals(), [CloseReason::LinkTls], "each has a line");
            assert_eq!(node.connections.counters().closes[CloseReason::LinkTls as usize], 1);
            // Whoever has had the last word gives the other its time to read it.
            for operation in others {
                if let Operation::FinishSending { connection, .. } = operation {
                    node.connections.finished(connection);
                }
            }
            node.pass_ms(LINGER_MS);
            node.pass_ms(200);
            let is_dial = |operation: &Operation| matches!(operation, Operation::Dial { .. });
            let dials = node.operations().iter().filter(|operation| is_dial(operation)).count();
            assert_eq!((node.connections.len(), dials), (1, 1), "nothing is left but what it dials itself");
        }
        assert!(link.accepts.core.numbers.is_empty());
    }
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up_wherever_it_is() {
    let pki = Pki::new();
    let mut node = secure(1, 0, 1, [&pki, &pki]);
    let id = dialled(&mut node);
    let Some(Operation::Handshake { connection, mut handshake }) = node.operations().pop() else {
        panic!("it is not run")
    };
    assert_eq!(connection, id);
    let now = node.core.now();
    node.connections.use_view(now, NodeId::new(1), view_of(None, ShardId(1)));
    assert!(matches!(node.operations()[..], [Operation::Close { .. }]) && !handshake.is_wanted());
    handshake.run();
    node.connections.handshaken(&mut node.core, id, *handshake);
    assert!(node.operations().is_empty() && node.words().is_empty());
    // One whose other end says nothing.
    let mut node = secure(1, 0, 1, [&pki, &pki]);
    dialled(&mut node);
    drain(&mut node);
    assert!(!node.words().is_empty());
    node.pass_ms(LINK_HELLO_MS);
    assert_eq!(node.refusals(), [CloseReason::LinkTimeout]);
}

#[test]
fn no_node_is_dialled_in_the_open_that_has_certificates() {
    let pki = Pki::new();
    let mut node = secure(1, 0, 1, [&pki, &pki]);
    let id = dialled(&mut node);
    drain(&mut node);
    let said = node.words();
    assert_eq!(said[0], 22, "it is a handshake");
    assert!(!said.windows(5).any(|part| part == b"fleet"), "and no HELLO");
    // Who answers with one of its own in the open is nobody.
    let answer = super::links::encoded(LinkFrame::Hello(super::nodes::hello(Some(2), 2)));
    node.hears(id, &answer);
    assert_eq!(node.refusals(), [CloseReason::LinkTls]);
    assert!(node.words().is_empty());
}
