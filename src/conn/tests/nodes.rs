//! Links of two nodes over pipes that cut what they carry, stall and break; and who is no peer.

use std::collections::VecDeque;

use super::links::{encoded, terms};
use super::*;
use crate::cluster::{
    BootId, ClusterView, LinkFrame, LinkHandshake, LinkHello, LinkSealer, LinkSide, NodeId, NodeStanding, PeerProcess,
    RangeCount,
};
use crate::conn::{InputHandler, LinkNews, LinkTerms, LinkWord};
use crate::ids::{PacketId, Qos, WriteStamp};
use crate::limits::{LINK_HELLO_MS, LINK_PING_MS, LINK_PINGS_MISSED, LINK_TURN_BYTES};
use crate::settings::ListenerKind;
use crate::shard::{Input, MeshMessage, MeshOut};

/// A node has one shard: its peer has the next number.
pub(super) const SLOT: ShardId = ShardId(1);

/// The shard of a node: what it is told by its peer.
pub(super) struct Heard {
    pub(super) now: Now,
    /// The number of its peer.
    slot: ShardId,
    pub(super) numbers: Vec<u64>,
    pub(super) topics: Vec<usize>,
    /// What each word counts as.
    pub(super) cost: u32,
    pub(super) deliveries: u32,
    pub(super) is_overloaded: bool,
}

impl InputHandler for Heard {
    fn now(&self) -> Now {
        self.now
    }

    fn is_full_for(&self, _: &str, _: u8) -> bool {
        false
    }

    fn handle(&mut self, input: Input<'_>) {
        let Input::Mesh { from, message, .. } = input else { return };
        assert_eq!(from, self.slot);
        self.deliveries += self.cost;
        match message {
            MeshMessage::Applied { number } => self.numbers.push(number),
            MeshMessage::RetainedDeleted { topic, .. } => self.topics.push(topic.len()),
            other => panic!("{other:?}"),
        }
    }

    fn has_asked_about(&self, _: ConnectionId) -> bool {
        false
    }

    fn holds_sender(&mut self) -> bool {
        false
    }

    fn deliveries(&self) -> u32 {
        self.deliveries
    }

    fn is_overloaded(&self) -> bool {
        self.is_overloaded
    }

    fn has_more_for(&self, _: ConnectionId) -> bool {
        false
    }

    fn has_room_for(&self, _: ConnectionId, _: PacketId, _: Qos) -> bool {
        true
    }
}

/// One node of two, or one of its shards.
pub(super) struct LinkedNode {
    pub(super) connections: Connections,
    pub(super) core: Heard,
}

/// A view with this process, under this slot.
pub(super) fn view_of(peer: Option<(u16, u64)>, slot: ShardId) -> Arc<ClusterView> {
    let process = |(node, boot): (u16, u64)| PeerProcess {
        node: NodeId::new(node).unwrap(),
        boot: BootId(boot),
        slot,
        at: "192.0.2.9:1884".parse().unwrap(),
        name: format!("node-{node}"),
        server: None,
    };
    Arc::new(ClusterView {
        epoch: 1,
        ranges: RangeCount::new(12).unwrap(),
        owners: Box::default(),
        peers: peer.into_iter().map(process).collect(),
        standing: NodeStanding::Serves,
    })
}

impl LinkedNode {
    /// A node whose links are accepted by its first listener, and that knows a process of another.
    pub(super) fn new(terms: LinkTerms, peer: Option<(u16, u64)>) -> Self {
        let handovers: Arc<[AtomicU32]> = Arc::new([AtomicU32::new(0)]);
        Self::shard(0, &handovers, terms, peer)
    }

    /// One of the shards of such a node, of which there are as many as there are counts of handovers.
    pub(super) fn shard(own: u8, handovers: &Arc<[AtomicU32]>, terms: LinkTerms, peer: Option<(u16, u64)>) -> Self {
        let shards = handovers.len();
        let slot = ShardId(shards as u8);
        let settings = Settings { shards, sys_interval_s: 0, ..Settings::default() };
        let mut connections = Connections::new(ConnectionsConfig {
            own: ShardId(own),
            shards,
            connections_max: 10,
            connections: Arc::default(),
            rates: Arc::new(ConnectRates::none()),
            handovers: Arc::clone(handovers),
            settings: Arc::new(settings),
            instance: 1,
        });
        let listener = ListenerSettings { kind: ListenerKind::Cluster, ..ListenerSettings::default() };
        connections.add_listener(Arc::new(listener), Arc::default(), ListenerLayers::None);
        let node = terms.node;
        connections.use_links(terms);
        connections.set_heard(true);
        connections.use_view(START, node, view_of(peer, slot));
        let (numbers, topics) = (Vec::new(), Vec::new());
        let core = Heard { now: START, slot, numbers, topics, cost: 0, deliveries: 0, is_overloaded: false };
        Self { connections, core }
    }

    pub(super) fn operations(&mut self) -> Vec<Operation> {
        std::iter::from_fn(|| self.connections.next_operation()).collect()
    }

    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.core.now.mono_ns += ms * 1_000_000;
        self.connections.handle_deadlines(&mut self.core);
    }

    pub(super) fn hears(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.connections.begin_turn();
        self.connections.received(&mut self.core, id, bytes, false, || panic!("it is within its budget"));
    }

    /// What its connections send.
    pub(super) fn words(&mut self) -> Vec<u8> {
        self.connections.take_links(self.core.now, &mut MeshOut::default());
        let flush = self.connections.begin_flush(&mut self.core);
        let sent =
            self.connections.sends(&flush).flat_map(|(_, _, outbox)| outbox.pieces().collect::<Vec<_>>().concat());
        let sent = sent.collect();
        self.connections.finish_flush(&mut self.core, flush, std::iter::empty());
        sent
    }

    /// A connection that somebody has opened to it.
    pub(super) fn accept(&mut self) -> ConnectionId {
        let now = self.core.now;
        self.connections.accepted(now, 0, SocketId::new(0, 7), Peer::Unknown);
        match self.operations().pop() {
            Some(Operation::ReceiveOnce { connection, .. }) => connection,
            other => panic!("{other:?}"),
        }
    }

    /// The connection that it opens, which is taken.
    pub(super) fn dials(&mut self) -> ConnectionId {
        self.pass_ms(0);
        let Some(Operation::Dial { connection, .. }) = self.operations().pop() else { panic!("nobody is dialled") };
        self.connections.connected(connection, Ok(SocketId::new(0, 3)));
        self.operations();
        connection
    }

    pub(super) fn refusals(&mut self) -> Vec<CloseReason> {
        self.connections.refused().map(|refused| refused.reason).collect()
    }

    /// The other end of a connection is this process, and each knows the other.
    pub(super) fn meets(&mut self, id: ConnectionId, side: LinkSide, hello: &LinkHello<'_>) -> LinkSealer {
        self.hears_of(id, side, hello).expect("both know each other")
    }

    /// The other end of a connection is this process. `None` if it was not let in.
    fn hears_of(&mut self, id: ConnectionId, side: LinkSide, hello: &LinkHello<'_>) -> Option<LinkSealer> {
        let mut peer = LinkHandshake::new(side, terms(1).trust, hello);
        for _ in 0..2 {
            let said = peer.take_out();
            if !said.is_empty() {
                self.hears(id, &said);
            }
            let words = self.words();
            if peer.peer().is_none() {
                peer.handle_bytes(&words).unwrap();
            }
        }
        let last = peer.take_out();
        if !last.is_empty() {
            self.hears(id, &last);
        }
        self.operations();
        peer.records().map(|(sealer, _)| sealer)
    }
}

pub(super) fn hello(node: Option<u16>, boot: u64) -> LinkHello<'static> {
    LinkHello {
        versions: (1, 1),
        node: node.map(|node| NodeId::new(node).unwrap()),
        boot: BootId(boot),
        shards: (1, 0),
        carries_client: false,
        nonce: [boot as u8; 32],
        cluster: "fleet",
    }
}

/// A frame that takes many receives, with a topic of [`LARGE`] bytes.
pub(super) fn large(topic: &str) -> LinkFrame<'_> {
    LinkFrame::RetainedDeleted { stamp: WriteStamp { time_ns: 1, shard: 0 }, topic }
}

pub(super) const LARGE: usize = 60_000;

pub(super) fn record(sealer: &mut LinkSealer, frame: LinkFrame<'_>) -> Vec<u8> {
    let mut record = Vec::new();
    sealer.seal(&encoded(frame), &mut record);
    record
}

// --- two nodes -----------------------------------------------------------------------------------------------------

/// A connection between the two, while either end is open.
#[derive(Default)]
struct Pipe {
    /// Who receives at each end, and whether once.
    receives: [Option<(ConnectionId, bool)>; 2],
    /// On the way to each end.
    bytes: [VecDeque<u8>; 2],
    is_closed: [bool; 2],
}

struct TwoNodes {
    nodes: [LinkedNode; 2],
    pipes: Vec<Pipe>,
    dice: u64,
    said: [u64; 2],
    /// Whether the network does harm.
    is_bad: bool,
}

impl TwoNodes {
    fn new(seed: u64) -> Self {
        let nodes = [LinkedNode::new(terms(1), Some((2, 2))), LinkedNode::new(terms(2), Some((1, 1)))];
        Self { nodes, pipes: Vec::new(), dice: seed.wrapping_mul(2) + 1, said: [0; 2], is_bad: true }
    }

    fn below(&mut self, max: usize) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as usize % max
    }

    /// One of so many times, while the network is bad.
    fn goes_wrong(&mut self, one_of: usize) -> bool {
        self.is_bad && self.below(one_of) == 0
    }

    fn carry_out(&mut self, at: usize) {
        for operation in self.nodes[at].operations() {
            match operation {
                Operation::Dial { connection, .. } => self.dial(at, connection),
                Operation::ReceiveOnce { socket, connection } => {
                    self.pipes[socket.slot() as usize].receives[at] = Some((connection, true));
                }
                Operation::Receive { socket, connection } => {
                    self.pipes[socket.slot() as usize].receives[at] = Some((connection, false));
                }
                Operation::Send { socket, connection, bytes } => {
                    let pipe = &mut self.pipes[socket.slot() as usize];
                    if !pipe.is_closed[1 - at] {
                        pipe.bytes[1 - at].extend(bytes);
                    }
                    let node = &mut self.nodes[at];
                    node.connections.sent(&mut node.core, connection, false);
                }
                Operation::Close { socket, .. } | Operation::Abort { socket, .. } => {
                    let pipe = &mut self.pipes[socket.slot() as usize];
                    (pipe.receives[at], pipe.is_closed[at]) = (None, true);
                    pipe.bytes[at].clear();
                }
                Operation::GiveUpDial { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn dial(&mut self, from: usize, connection: ConnectionId) {
        if self.goes_wrong(6) {
            return; // no answer
        }
        if self.goes_wrong(4) {
            self.nodes[from].connections.connected(connection, Err(111));
            return;
        }
        let socket = SocketId::new(0, self.pipes.len() as u32);
        self.pipes.push(Pipe::default());
        self.nodes[from].connections.connected(connection, Ok(socket));
        let to = &mut self.nodes[1 - from];
        to.connections.accepted(to.core.now, 0, socket, Peer::Unknown);
        self.carry_out(1 - from);
        self.carry_out(from);
    }

    /// Sockets take what there is, or not all of it.
    fn flush(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.connections.take_links(node.core.now, &mut MeshOut::default());
        let flush = node.connections.begin_flush(&mut node.core);
        let sends: Vec<(ConnectionId, usize, Vec<u8>)> = node
            .connections
            .sends(&flush)
            .map(|(id, socket, outbox)| (id, socket.slot() as usize, outbox.pieces().collect::<Vec<_>>().concat()))
            .collect();
        let mut short = Vec::new();
        for (id, pipe, bytes) in sends {
            let sent = if self.goes_wrong(3) { self.below(bytes.len()) } else { bytes.len() };
            if sent < bytes.len() {
                short.push(ShortSent { connection: id, sent, broken: false });
            }
            if !self.pipes[pipe].is_closed[1 - at] {
                self.pipes[pipe].bytes[1 - at].extend(&bytes[..sent]);
            }
        }
        let node = &mut self.nodes[at];
        node.connections.finish_flush(&mut node.core, flush, short.into_iter());
        self.carry_out(at);
    }

    /// Something arrives at one end of a connection.
    fn deliver(&mut self, pipe: usize, at: usize) {
        let Some((id, is_once)) = self.pipes[pipe].receives[at] else { return };
        let waiting = self.pipes[pipe].bytes[at].len();
        if waiting == 0 {
            if self.pipes[pipe].is_closed[1 - at] {
                self.pipes[pipe].receives[at] = None;
                let node = &mut self.nodes[at];
                node.connections.receive_ended(&mut node.core, id, ReceiveEnd::PeerGone);
                self.carry_out(at);
            }
            return;
        }
        let count = if self.is_bad { 1 + self.below(waiting.min(5_000)) } else { waiting.min(5_000) };
        let bytes: Vec<u8> = self.pipes[pipe].bytes[at].drain(..count).collect();
        if is_once {
            self.pipes[pipe].receives[at] = None;
        }
        let node = &mut self.nodes[at];
        node.connections.begin_turn();
        node.connections.received(&mut node.core, id, &bytes, !is_once, || panic!("it is within its budget"));
        self.carry_out(at);
    }

    fn say(&mut self, at: usize) {
        let is_large = self.below(20) == 0;
        let stream = self.nodes[at].connections.link_out(SLOT).expect("the view has it");
        if is_large {
            stream.append(&large(&"t".repeat(LARGE)));
        } else {
            self.said[at] += 1;
            stream.append(&LinkFrame::Applied { number: self.said[at] });
        }
    }

    fn step(&mut self) {
        let at = self.below(2);
        if self.is_bad && self.below(3) > 0 {
            self.say(at);
        }
        if self.goes_wrong(60) && !self.pipes.is_empty() {
            // The last connections are those that stand.
            let pipe = self.pipes.len() - 1 - self.below(self.pipes.len().min(3));
            let pipe = &mut self.pipes[pipe];
            pipe.bytes.iter_mut().for_each(VecDeque::clear);
            pipe.is_closed = [true; 2];
        }
        let ms = if self.goes_wrong(50) { 700 } else { self.below(40) as u64 };
        for at in [0, 1] {
            self.nodes[at].pass_ms(ms);
            self.carry_out(at);
            self.flush(at);
        }
        for pipe in self.pipes.len().saturating_sub(6)..self.pipes.len() {
            for at in [0, 1] {
                if !self.goes_wrong(3) {
                    self.deliver(pipe, at);
                }
            }
        }
    }
}

#[test]
fn what_is_said_arrives_once_and_in_order_whatever_becomes_of_connections() {
    let mut broken = 0;
    for seed in 0..24 {
        let mut world = TwoNodes::new(seed);
        for _ in 0..600 {
            world.step();
        }
        world.is_bad = false;
        for _ in 0..600 {
            world.step();
        }
        for at in [0, 1] {
            let wanted: Vec<u64> = (1..=world.said[at]).collect();
            assert_eq!(world.nodes[1 - at].core.numbers, wanted, "seed {seed}");
            assert!(world.nodes[1 - at].core.topics.iter().all(|len| *len == LARGE));
            let node = &mut world.nodes[at];
            let stream = node.connections.link_out(SLOT).unwrap();
            assert_eq!(stream.waiting_bytes(), 0, "the other end has said so: seed {seed}");
            assert_eq!(node.connections.len(), 2, "one link each way: seed {seed}");
            let linked = LinkNews { boot: BootId(2 - at as u64), word: LinkWord::Linked };
            assert!(node.connections.link_news().contains(&linked), "seed {seed}");
        }
        broken += world.pipes.len();
    }
    assert!(broken > 24 * 8, "{broken} connections in all");
}

// --- one node, and others that the test speaks for -----------------------------------------------------------------

#[test]
fn only_processes_of_members_have_links() {
    let cases = [
        (Some((2, 2)), None),
        (Some((2, 3)), Some(CloseReason::LinkNotMember)),
        (None, Some(CloseReason::LinkNotMember)),
    ];
    for (known, refused) in cases {
        let mut node = LinkedNode::new(terms(1), known);
        let id = node.accept();
        node.hears_of(id, LinkSide::Dials, &hello(Some(2), 2));
        let refusals = node.refusals();
        assert_eq!(refusals, refused.into_iter().collect::<Vec<_>>(), "{known:?}");
        assert_eq!(node.connections.link_peer(id).is_some(), refused.is_none());
    }
    // And the one that answers must be the one that was dialled.
    for (boot, refused) in [(2, vec![]), (5, vec![CloseReason::LinkNotMember])] {
        let mut node = LinkedNode::new(terms(1), Some((2, 2)));
        let id = node.dials();
        node.meets(id, LinkSide::Accepts, &hello(Some(2), boot));
        assert_eq!(node.refusals(), refused, "{boot}");
    }
}

#[test]
fn a_link_stands_when_the_other_end_has_said_what_it_has() {
    let mut node = LinkedNode::new(terms(1), Some((2, 2)));
    node.connections.link_out(SLOT).unwrap().append(&LinkFrame::Counted);
    let id = node.dials();
    let mut sealer = node.meets(id, LinkSide::Accepts, &hello(Some(2), 2));
    assert!(node.words().is_empty() && node.connections.link_news().is_empty(), "it may have had it");
    node.hears(id, &record(&mut sealer, LinkFrame::Received { count: 0 }));
    assert_eq!(node.connections.link_news(), [LinkNews { boot: BootId(2), word: LinkWord::Linked }]);
    assert!(!node.words().is_empty());
    // It says that it has more than there is.
    node.hears(id, &record(&mut sealer, LinkFrame::Received { count: 2 }));
    assert_eq!(node.refusals(), [CloseReason::LinkMalformed]);
    assert_eq!(node.connections.link_news(), [LinkNews { boot: BootId(2), word: LinkWord::Broken }]);
}

#[test]
fn a_link_is_given_so_much_a_turn_and_nothing_while_it_is_behind() {
    let mut node = LinkedNode::new(terms(1), Some((2, 2)));
    let id = node.dials();
    let mut sealer = node.meets(id, LinkSide::Accepts, &hello(Some(2), 2));
    node.hears(id, &record(&mut sealer, LinkFrame::Received { count: 0 }));
    let topic = "t".repeat(LARGE);
    let stream = node.connections.link_out(SLOT).unwrap();
    for _ in 0..20 {
        stream.append(&large(&topic));
    }
    let first = node.words().len();
    assert!((LINK_TURN_BYTES..LINK_TURN_BYTES + 200).contains(&first), "{first}, with its tags");
    // The socket takes one byte of what comes next.
    node.connections.take_links(node.core.now, &mut MeshOut::default());
    let flush = node.connections.begin_flush(&mut node.core);
    let short = ShortSent { connection: id, sent: 1, broken: false };
    node.connections.finish_flush(&mut node.core, flush, [short].into_iter());
    assert!(node.words().is_empty());
    node.connections.sent(&mut node.core, id, false);
    let rest: usize = std::iter::from_fn(|| Some(node.words().len()).filter(|len| *len > 0)).sum();
    let all = 20 * LARGE;
    assert!((all - 2 * LINK_TURN_BYTES..all).contains(&rest), "{rest} in the turns that follow");
}

#[test]
fn frames_that_have_not_their_turn_end_a_link() {
    let token = crate::cluster::LinkToken { shard: 0, number: 1 };
    let frames = [
        LinkFrame::Received { count: 0 },
        LinkFrame::Ping { number: 1, is_answer: true, is_heard: true },
        LinkFrame::Hello(hello(Some(2), 2)),
        LinkFrame::Interest(crate::cluster::LinkInterest {
            number: 1,
            plain: true,
            durable: false,
            online: 0,
            total: 0,
            filter: "a/#/b",
        }),
    ];
    for frame in frames {
        let mut node = LinkedNode::new(terms(1), Some((2, 2)));
        let id = node.accept();
        let mut sealer = node.meets(id, LinkSide::Dials, &hello(Some(2), 2));
        node.hears(id, &record(&mut sealer, frame));
        assert_eq!(node.refusals(), [CloseReason::LinkMalformed], "{frame:?}");
    }
    // Whoever was dialled says nothing that counts.
    let mut node = LinkedNode::new(terms(1), Some((2, 2)));
    let id = node.dials();
    let mut sealer = node.meets(id, LinkSide::Accepts, &hello(Some(2), 2));
    node.hears(id, &record(&mut sealer, LinkFrame::Barrier { token }));
    assert_eq!(node.refusals(), [CloseReason::LinkMalformed]);
}

#[test]
fn pings_tell_who_is_heard_and_a_silent_peer_is_dialled_anew() {
    let mut node = LinkedNode::new(terms(1), Some((2, 2)));
    let id = node.dials();
    let mut sealer = node.meets(id, LinkSide::Accepts, &hello(Some(2), 2));
    node.hears(id, &record(&mut sealer, LinkFrame::Received { count: 0 }));
    node.connections.link_news();
    for (number, is_heard) in (1..).zip([true, false, false]) {
        node.pass_ms(LINK_PING_MS);
        assert!(!node.words().is_empty(), "a PING");
        node.hears(id, &record(&mut sealer, LinkFrame::Ping { number, is_answer: true, is_heard }));
    }
    assert_eq!(node.connections.link_news(), [LinkNews { boot: BootId(2), word: LinkWord::Heard(false) }]);
    let dead_ms = LINK_PING_MS * u64::from(LINK_PINGS_MISSED);
    node.pass_ms(dead_ms - 1);
    assert!(node.refusals().is_empty());
    node.pass_ms(1);
    assert_eq!(node.refusals(), [CloseReason::LinkSilent]);
    node.operations();
    node.pass_ms(1_000);
    assert!(matches!(node.operations()[..], [Operation::Dial { .. }]));

    // At the other end as well.
    let mut node = LinkedNode::new(terms(1), Some((2, 2)));
    let id = node.accept();
    let mut sealer = node.meets(id, LinkSide::Dials, &hello(Some(2), 2));
    node.words();
    node.hears(id, &record(&mut sealer, LinkFrame::Ping { number: 7, is_answer: false, is_heard: true }));
    assert!(!node.words().is_empty(), "an answer");
    node.pass_ms(dead_ms);
    assert!(node.refusals().contains(&CloseReason::LinkSilent));
}

#[test]
fn a_later_connection_of_a_shard_takes_the_place_of_the_earlier_one() {
    let mut node = LinkedNode::new(terms(1), Some((2, 2)));
    let first = node.accept();
    let mut sealer = node.meets(first, LinkSide::Dials, &hello(Some(2), 2));
    node.hears(first, &record(&mut sealer, LinkFrame::Applied { number: 1 }));
    node.words();
    let second = node.accept();
    let mut sealer = node.meets(second, LinkSide::Dials, &hello(Some(2), 2));
    assert_eq!(node.refusals(), [CloseReason::LinkClosed]);
    assert_eq!((node.connections.link_peer(first), node.connections.len()), (None, 1));
    node.hears(second, &record(&mut sealer, LinkFrame::Applied { number: 2 }));
    assert_eq!(node.core.numbers, [1, 2]);
}

#[test]
fn links_end_with_the_process_and_what_was_for_it_with_them() {
    let mut node = LinkedNode::new(terms(1), Some((2, 2)));
    let (dialled, accepted) = (node.dials(), node.accept());
    node.words();
    node.meets(accepted, LinkSide::Dials, &hello(Some(2), 2));
    node.connections.link_out(SLOT).unwrap().append(&LinkFrame::Counted);
    let now = node.core.now;
    node.connections.use_view(now, NodeId::new(1), view_of(Some((2, 9)), SLOT));
    assert!(node.connections.is_empty(), "{dialled:?} {accepted:?}");
    assert!(node.refusals().is_empty(), "it is no fault");
    assert_eq!(node.connections.link_out(SLOT).unwrap().waiting_bytes(), 0, "another process has the slot");
    node.operations();
    node.dials();
    node.connections.use_view(now, NodeId::new(1), view_of(None, SLOT));
    assert!(node.connections.is_empty() && node.connections.link_out(SLOT).is_none());
    assert_eq!(node.connections.next_deadline().filter(|due| due.is_due(now)), None, "nobody is to be dialled");
}

#[test]
fn who_is_no_member_only_tries_whether_it_reaches_others() {
    let mut node = LinkedNode::new(LinkTerms { node: None, ..terms(1) }, Some((2, 2)));
    let id = node.dials();
    node.meets(id, LinkSide::Accepts, &hello(Some(2), 2));
    assert_eq!(node.connections.link_news(), [LinkNews { boot: BootId(2), word: LinkWord::Reached }]);
    assert!(node.connections.is_empty() && node.refusals().is_empty());
    node.pass_ms(60_000);
    assert!(node.operations().is_empty(), "once is enough");
    // It becomes a member, and links to the other.
    let now = node.core.now;
    node.connections.use_view(now, NodeId::new(1), view_of(Some((2, 2)), SLOT));
    node.dials();

    // The other end lets it try, and does not keep it.
    let mut node = LinkedNode::new(terms(1), None);
    let id = node.accept();
    node.meets(id, LinkSide::Dials, &hello(None, 2));
    assert_eq!((node.refusals().len(), node.connections.len()), (0, 1));
    node.pass_ms(LINK_HELLO_MS);
    assert_eq!((node.refusals().len(), node.connections.len()), (0, 0));
    let id = node.accept();
    let mut sealer = node.meets(id, LinkSide::Dials, &LinkHello { nonce: [77; 32], ..hello(None, 2) });
    node.hears(id, &record(&mut sealer, LinkFrame::Counted));
    assert_eq!(node.refusals(), [CloseReason::LinkMalformed], "it has nothing to say");
}
