//! Links that are heard by another shard than the one that has accepted them.

use super::links::{encoded, terms};
use super::nodes::{LinkedNode, hello, record};
use super::*;
use crate::cluster::{LinkFrame, LinkHandshake, LinkHello, LinkSide, LinkTrust, NodeId};
use crate::conn::LinkTerms;
use crate::limits::LINK_HELLO_MS;

/// The socket that a link has on the shard that hears it.
const ADOPTED: SocketId = SocketId::new(0, 3);

/// All shards of a node that knows the second one of two.
struct Shards(Vec<LinkedNode>);

/// Another node's shard that has connected to one of them, and has not shown who it is.
struct Comer {
    handshake: LinkHandshake,
    at: usize,
    id: ConnectionId,
}

impl Shards {
    fn new(count: u8, trust: &LinkTrust) -> Self {
        let handovers: Arc<[AtomicU32]> = (0..count).map(|_| AtomicU32::new(0)).collect();
        let terms = || LinkTerms { trust: trust.clone(), ..terms(1) };
        Self((0..count).map(|own| LinkedNode::shard(own, &handovers, terms(), Some((2, 2)))).collect())
    }

    fn secret(count: u8) -> Self {
        Self::new(count, &terms(1).trust)
    }

    /// A shard of another node connects to one of these, and has heard who that is.
    fn comes(&mut self, at: usize, hello: &LinkHello<'_>) -> Comer {
        let mut handshake = LinkHandshake::new(LinkSide::Dials, terms(1).trust, hello);
        let node = &mut self.0[at];
        let id = node.accept();
        node.hears(id, &handshake.take_out());
        handshake.handle_bytes(&node.words()).unwrap();
        node.operations();
        Comer { handshake, at, id }
    }

    /// It shows who it is, and its link goes where it is heard, be it the socket that comes there first or the message.
    fn knows(&mut self, comer: &mut Comer, message_first: bool) {
        let proof = comer.handshake.take_out();
        self.0[comer.at].hears(comer.id, &proof);
        self.carry(comer, message_first);
        let words = self.0[comer.at].words();
        comer.handshake.handle_bytes(&words).unwrap();
        assert!(comer.handshake.peer().is_some(), "each knows the other");
    }

    /// Hands its link over, if it is to be.
    fn carry(&mut self, comer: &mut Comer, message_first: bool) {
        let Some((ticket, to, handover)) = self.sent_off(comer.at) else { return };
        let from = std::mem::replace(&mut comer.at, to);
        assert_eq!(self.pending(to), 1);
        let LinkedNode { connections, core } = &mut self.0[to];
        if message_first {
            connections.take_handover(core, handover);
            connections.adopted(core, ticket, ADOPTED);
        } else {
            connections.adopted(core, ticket, ADOPTED);
            connections.take_handover(core, handover);
        }
        self.0[from].connections.handed_over(ticket);
        assert!(self.0[from].connections.is_empty() && self.0[from].operations().is_empty());
        assert_eq!(self.pending(to), 0);
        let received = self.0[to].operations().into_iter().find_map(|operation| match operation {
            Operation::Receive { socket: ADOPTED, connection } => Some(connection),
            _ => None,
        });
        comer.id = received.expect("it is heard on");
    }

    /// What of the one link of a shard has left for another.
    fn sent_off(&mut self, at: usize) -> Option<(Ticket, usize, Handover)> {
        let node = &mut self.0[at];
        let Some(Operation::HandOver { socket, ticket, target }) = node.operations().pop() else { return None };
        assert_eq!(socket, SocketId::new(0, 7));
        let mut handovers: Vec<_> = node.connections.handovers().collect();
        assert_eq!(handovers.len(), 1);
        let (to, handover) = handovers.remove(0);
        assert_eq!(to, target);
        Some((ticket, to.index(), handover))
    }

    fn pending(&self, at: usize) -> u32 {
        self.0[0].connections.config().handovers[at].load(Ordering::Relaxed)
    }
}

/// HELLO of one of so many shards of the second node.
fn of_shard(count: u8, shard: u8) -> LinkHello<'static> {
    LinkHello { shards: (count, shard), ..hello(Some(2), 2) }
}

#[test]
fn each_shard_of_another_node_is_heard_by_one_of_ours_wherever_it_has_come_in() {
    for (theirs, ours) in [(5, 2), (2, 5), (3, 3), (1, 4)] {
        for (shard, at) in (0..theirs).flat_map(|shard| (0..ours).map(move |at| (shard, at))) {
            let mut shards = Shards::secret(ours);
            let mut comer = shards.comes(usize::from(at), &of_shard(theirs, shard));
            shards.knows(&mut comer, shard % 2 == 0);
            assert_eq!(comer.at, usize::from(shard % ours), "shard {shard} of {theirs} at shard {at} of {ours}");
            let peer = shards.0[comer.at].connections.link_peer(comer.id).unwrap();
            assert_eq!((peer.node, peer.shards), (NodeId::new(2), (theirs, shard)));
            let mut sealer = comer.handshake.records().unwrap().0;
            let node = &mut shards.0[comer.at];
            node.hears(comer.id, &record(&mut sealer, LinkFrame::Applied { number: 9 }));
            assert_eq!(node.core.numbers, [9]);
            assert!(!node.words().is_empty(), "it is told that this has come");
            assert!(node.refusals().is_empty());
        }
    }
}

#[test]
fn what_came_behind_the_first_words_goes_along() {
    for cut in [0, 3, 13] {
        let mut shards = Shards::new(2, &LinkTrust::Certificate);
        let id = shards.0[0].accept();
        let hello = of_shard(2, 1);
        let mut handshake = LinkHandshake::new(LinkSide::Dials, LinkTrust::Certificate, &hello);
        let frames: Vec<u8> = [1, 2].into_iter().flat_map(|number| encoded(LinkFrame::Applied { number })).collect();
        let (first, last) = frames.split_at(frames.len() - cut);
        shards.0[0].hears(id, &[&handshake.take_out(), first].concat());
        assert!(shards.0[0].core.numbers.is_empty(), "nothing is heard there");
        let mut comer = Comer { handshake, at: 0, id };
        shards.carry(&mut comer, true);
        assert_eq!(comer.at, 1);
        let words = shards.0[1].words();
        comer.handshake.handle_bytes(&words).unwrap();
        assert!(comer.handshake.peer().is_some(), "what its layers had to say goes along, too");
        shards.0[1].hears(comer.id, last);
        assert_eq!(shards.0[1].core.numbers, [1, 2], "cut {cut} before the end");
    }
}

#[test]
fn who_says_what_no_node_says_right_behind_its_proof_goes_nowhere() {
    let mut shards = Shards::secret(2);
    let mut comer = shards.comes(0, &of_shard(2, 1));
    let proof = comer.handshake.take_out();
    shards.0[0].hears(comer.id, &[&proof[..], &[0; 40]].concat());
    assert_eq!(shards.0[0].refusals(), [CloseReason::LinkMalformed]);
    assert!(shards.sent_off(0).is_none() && shards.0[0].connections.is_empty());
}

#[test]
fn a_later_connection_of_a_shard_takes_the_place_of_the_earlier_one_that_came_in_elsewhere() {
    let mut shards = Shards::secret(2);
    for (at, number) in [(0, 1), (1, 2), (0, 3)] {
        let nonce = [number as u8; 32];
        let mut comer = shards.comes(at, &LinkHello { nonce, ..of_shard(3, 1) });
        shards.knows(&mut comer, true);
        let mut sealer = comer.handshake.records().unwrap().0;
        shards.0[1].hears(comer.id, &record(&mut sealer, LinkFrame::Applied { number }));
        shards.0[1].words();
        shards.0[1].operations();
        let refused = if number == 1 { vec![] } else { vec![CloseReason::LinkClosed] };
        assert_eq!((shards.0[1].refusals(), shards.0[1].connections.len()), (refused, 1));
    }
    assert_eq!(shards.0[1].core.numbers, [1, 2, 3]);
}

#[test]
fn who_only_tries_stays_and_who_is_no_member_is_refused_where_it_would_be_heard() {
    let mut shards = Shards::secret(2);
    let mut comer = shards.comes(0, &LinkHello { shards: (2, 1), ..hello(None, 2) });
    shards.knows(&mut comer, true);
    assert_eq!(comer.at, 0);
    shards.0[0].pass_ms(LINK_HELLO_MS);
    assert!(shards.0[0].connections.link_peer(comer.id).is_none() && shards.0[0].refusals().is_empty());

    let mut shards = Shards::secret(2);
    let mut comer = shards.comes(0, &LinkHello { shards: (2, 1), ..hello(Some(3), 3) });
    let proof = comer.handshake.take_out();
    shards.0[0].hears(comer.id, &proof);
    let (ticket, to, handover) = shards.sent_off(0).unwrap();
    let LinkedNode { connections, core } = &mut shards.0[to];
    connections.take_handover(core, handover);
    connections.adopted(core, ticket, ADOPTED);
    assert_eq!((shards.0[0].refusals(), shards.0[1].refusals()), (vec![], vec![CloseReason::LinkNotMember]));
}

#[test]
fn a_shard_that_is_full_leaves_nothing_behind() {
    let mut shards = Shards::secret(2);
    let mut comer = shards.comes(0, &of_shard(5, 3));
    let proof = comer.handshake.take_out();
    shards.0[0].hears(comer.id, &proof);
    let (ticket, to, handover) = shards.sent_off(0).unwrap();
    let LinkedNode { connections, core } = &mut shards.0[to];
    connections.take_handover(core, handover);
    let socket = SocketId::new(0, 7);
    shards.0[0].connections.hand_over_failed(ticket, socket);
    assert!(matches!(shards.0[0].operations()[..], [Operation::Close { socket: closed, .. }] if closed == socket));
    assert_eq!(shards.0[0].refusals(), [CloseReason::LinkNoRoom]);
    let failed: Vec<_> = shards.0[0].connections.handovers().collect();
    for (to, failed) in failed {
        let LinkedNode { connections, core } = &mut shards.0[to.index()];
        connections.take_handover(core, failed);
    }
    for node in &shards.0 {
        assert_eq!((node.connections.len(), node.connections.handovers_pending()), (0, 0));
    }
    assert_eq!(shards.pending(1), 0);
}

#[test]
fn a_link_whose_socket_is_behind_goes_when_it_has_caught_up_or_ends_in_time() {
    for catches_up in [true, false] {
        let mut shards = Shards::secret(2);
        let mut handshake = LinkHandshake::new(LinkSide::Dials, terms(1).trust, &of_shard(2, 1));
        let node = &mut shards.0[0];
        let id = node.accept();
        node.hears(id, &handshake.take_out());
        // Its socket takes one byte of what it is told.
        let flush = node.connections.begin_flush(&mut node.core);
        let said: Vec<u8> = node
            .connections
            .sends(&flush)
            .flat_map(|(_, _, outbox)| outbox.pieces().collect::<Vec<_>>().concat())
            .collect();
        let short = ShortSent { connection: id, sent: 1, broken: false };
        node.connections.finish_flush(&mut node.core, flush, [short].into_iter());
        node.operations();
        handshake.handle_bytes(&said).unwrap();
        node.hears(id, &handshake.take_out());
        assert!(node.operations().is_empty(), "something is under way on it");
        assert_eq!(node.connections.handovers_pending(), 1);
        if catches_up {
            node.connections.sent(&mut node.core, id, false);
            let mut comer = Comer { handshake, at: 0, id };
            shards.carry(&mut comer, true);
            let words = shards.0[1].words();
            comer.handshake.handle_bytes(&words).unwrap();
            assert!(comer.handshake.peer().is_some());
        } else {
            node.pass_ms(LINK_HELLO_MS);
            assert!(node.refusals().contains(&CloseReason::LinkTimeout));
            assert_eq!(node.connections.handovers_pending(), 0);
        }
    }
}

#[test]
fn a_broker_that_stops_keeps_no_link_that_is_on_its_way() {
    let mut shards = Shards::secret(2);
    let mut comer = shards.comes(0, &of_shard(2, 1));
    let proof = comer.handshake.take_out();
    shards.0[0].hears(comer.id, &proof);
    let (ticket, to, handover) = shards.sent_off(0).unwrap();
    shards.0[to].connections.close_awaiting_connect();
    shards.0[to].operations();
    let LinkedNode { connections, core } = &mut shards.0[to];
    connections.take_handover(core, handover);
    connections.adopted(core, ticket, ADOPTED);
    assert!(matches!(shards.0[1].operations()[..], [Operation::Close { socket: ADOPTED, .. }]));
    assert_eq!((shards.0[1].connections.len(), shards.pending(1)), (0, 0));
}
