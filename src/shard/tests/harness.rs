//! A world in which shards live without a runtime: scripted peers, a mesh that keeps order, a store that confirms.
//!
//! What always holds: one input is one turn; its effects are applied in their order, then comes `Flushed`, then
//! mesh, store and work run until nothing moves. Mesh, store, work and a peer's socket can be held, and are released in order.
//! What a peer receives is shown as text, one line a packet, so that a test reads like a transcript.

mod kinds;
mod restore;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::replayed::compare;
use super::show::show;
use crate::auth::{Ask, Policy};
use crate::cluster::ClusterView;
use crate::codec::{Ack, AckKind, Connect, Forwarded, Packet, ReasonCode, Side, Version, frame};
use crate::codec::{SubscribeFilter, SubscriptionOptions, encode_subscribe, encode_unsubscribe};
use crate::ids::{ConnectionId, INTERNAL_LISTENER, MessageId, PacketId, ShardId, SubscriptionId};
use crate::session::{Message, MessageRef};
use crate::settings::ListenerSettings;
use crate::shard::{
    Command, ConnectInfo, DiskRead, Effect, Effects, Event, Input, MeshBatch, PeerFault, ProcessContext, Reply,
    RequestId, Settings, Shard, Turn, UserNameBasis,
};
use crate::store::format::{InboxCount, LogRecord, Records};
use crate::store::state::LogState;
use crate::store::{LogKeeping, LogStart, Position, RecordGroup};
use crate::telemetry::{CountsByListener, DropReason, TransportCounters};
use crate::time::Now;
use kinds::kind;

/// A connection as the test names it.
pub(super) type Peer = usize;

#[derive(Debug)]
struct PeerState {
    shard: usize,
    connection: ConnectionId,
    version: Version,
    /// Bytes that the client has not read yet.
    received: Vec<u8>,
    /// Bytes that its socket does not take; `None` while it takes everything.
    stuck: Option<Vec<u8>>,
    /// Bytes that wait for the shard's word.
    waiting: Option<Vec<u8>>,
    closed: Option<&'static str>,
    /// What it has sent behind a packet that is under way.
    held: Option<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    is_closed: bool,
}

/// What one turn has written.
struct Change {
    first: u64,
    records: Vec<u8>,
    inbox: Vec<InboxCount>,
}

/// See the module's text.
pub(super) struct World {
    pub(super) shards: Vec<Shard>,
    settings: Arc<Settings>,
    pub(super) now: Now,
    pub(super) events: Vec<Event>,
    /// Questions that nobody has answered.
    pub(super) asks: Vec<Ask>,
    peers: Vec<PeerState>,
    fx: Effects,
    /// Batches of one message each.
    mesh: VecDeque<(ShardId, ShardId, MeshBatch)>,
    mesh_held: bool,
    stored: Vec<Position>,
    /// What each shard's log comes to.
    logs: Vec<LogState>,
    inputs: u64,
    /// What it has written and its store has not.
    written: Vec<Vec<Change>>,
    /// What would be there after a crash.
    pub(super) durable: Vec<LogState>,
    /// Whose store makes nothing durable.
    slow_store: Option<usize>,
    is_restored: bool,
    store_held: bool,
    work_held: bool,
    /// Peers that were held and are to be heard again.
    resumed: VecDeque<Peer>,
    /// Messages that crossed the mesh, as `Debug` names them.
    pub(super) crossed: Vec<&'static str>,
    /// The same whole, with their batches' bytes, once somebody wants them.
    crossed_bytes: Option<Vec<String>>,
    /// What is for other nodes: the shard that says it, their slot, batches of one message each.
    pub(super) to_peers: VecDeque<(usize, ShardId, MeshBatch)>,
    /// Whose links were ended, and why.
    pub(super) ended_links: Vec<(ShardId, PeerFault)>,
    /// Peers that have said that they wait for this node.
    pub(super) counted_by: Vec<ShardId>,
    /// What the edge of which shard was told of the cluster.
    pub(super) views: Vec<(usize, Arc<ClusterView>)>,
    /// Records that went to the stores, as `Debug` names them.
    pub(super) recorded: Vec<String>,
    /// Messages that were written down, by their log. Properties aside.
    pub(super) bodies: BTreeMap<(usize, MessageId), Message>,
    /// What shards have asked for.
    pub(super) reads: VecDeque<(usize, DiskRead)>,
    reads_held: bool,
    /// Messages that connected clients lost.
    pub(super) lost_by_listener: CountsByListener,
    /// What holds on the listeners that there are after a restart.
    pub(super) listeners: Arc<[Arc<ListenerSettings>]>,
}

impl World {
    /// One shard, nothing published by the broker itself.
    pub(super) fn new() -> Self {
        Self::with(1, |_| {})
    }

    /// Several shards with default settings, and no `$SYS`.
    pub(super) fn of(shards: usize) -> Self {
        Self::with(shards, |_| {})
    }

    /// `shards` shards with settings of the test's choice.
    pub(super) fn with(shards: usize, choose: impl FnOnce(&mut Settings)) -> Self {
        Self::behind(Position(0), shards, choose)
    }

    /// The same whose logs have so many records already.
    pub(super) fn behind(last: Position, shards: usize, choose: impl FnOnce(&mut Settings)) -> Self {
        Self::begin(LogStart { keeping: LogKeeping::Disk, last }, shards, choose)
    }

    /// Shards that write nothing down.
    pub(super) fn in_memory(shards: usize, choose: impl FnOnce(&mut Settings)) -> Self {
        Self { is_restored: true, ..Self::begin(LogStart::default(), shards, choose) }
    }

    fn begin(start: LogStart, shards: usize, choose: impl FnOnce(&mut Settings)) -> Self {
        let now = Now { mono_ns: 1_000_000_000_000, unix_ms: 1_700_000_000_000 };
        let mut settings = Settings { shards, sys_interval_s: 0, ..Settings::default() };
        choose(&mut settings);
        let process = ProcessContext::new(settings, 42, now);
        let last = start.last;
        let shard = |n| Shard::new(ShardId(n as u8), &process, now, LogStart { ..start });
        Self {
            shards: (0..shards).map(shard).collect(),
            settings: Arc::clone(&process.settings),
            now,
            events: Vec::new(),
            asks: Vec::new(),
            peers: Vec::new(),
            fx: Effects::default(),
            mesh: VecDeque::new(),
            mesh_held: false,
            stored: vec![last; shards],
            logs: (0..shards).map(|_| LogState::default()).collect(),
            inputs: 0,
            written: (0..shards).map(|_| Vec::new()).collect(),
            durable: (0..shards).map(|_| LogState::default()).collect(),
            slow_store: None,
            is_restored: false,
            store_held: false,
            work_held: false,
            resumed: VecDeque::new(),
            crossed: Vec::new(),
            crossed_bytes: None,
            to_peers: VecDeque::new(),
            ended_links: Vec::new(),
            counted_by: Vec::new(),
            views: Vec::new(),
            recorded: Vec::new(),
            bodies: BTreeMap::new(),
            reads: VecDeque::new(),
            reads_held: false,
            lost_by_listener: CountsByListener::default(),
            listeners: Arc::new([Arc::new(ListenerSettings::default())]),
        }
    }

    /// How much is wanted in the log from now on.
    pub(super) fn set_verbosity(&mut self, verbosity: crate::telemetry::Verbosity) {
        self.fx.watch(verbosity, None);
    }

    /// Which messages are sampled from now on.
    pub(super) fn sample(&mut self, sampling: Option<crate::shard::SpanSampling>) {
        self.fx.watch(crate::telemetry::Verbosity::Info, sampling.map(Arc::new));
    }

    /// Sampled messages, and spans of them, that were too many.
    pub(super) fn spans_lost(&self) -> u64 {
        self.fx.spans_lost
    }

    /// What live tails watch from now on, and all turns together may tell them.
    pub(super) fn watch(&mut self, tails: Option<Arc<crate::shard::TailFilters>>) {
        (self.fx.tails, self.fx.tail_told) = (tails, 0);
    }

    /// Messages that were too many to be told to live tails.
    pub(super) fn tail_skipped(&self) -> u64 {
        self.fx.tail_skipped
    }

    /// A client id that `shard` owns.
    pub(super) fn name_on(&self, shard: u8, stem: &str) -> String {
        (0..10_000)
            .map(|n| format!("{stem}{n}"))
            .find(|name| ShardId::owner_of(name, self.shards.len()) == ShardId(shard))
            .expect("the hash reaches every shard")
    }

    /// A connection with its CONNECT, whatever comes of it.
    pub(super) fn open(&mut self, connect: &Connect<'_>) -> Peer {
        self.open_by(Policy::Admit, connect)
    }

    /// The same by a listener with this policy.
    pub(super) fn open_by(&mut self, policy: Policy, connect: &Connect<'_>) -> Peer {
        self.open_as(policy, UserNameBasis::Claim, connect)
    }

    /// The same of a client whose name rests on this.
    pub(super) fn open_as(&mut self, policy: Policy, user_name: UserNameBasis, connect: &Connect<'_>) -> Peer {
        self.open_at(ListenerSettings { policy, ..ListenerSettings::default() }, user_name, connect)
    }

    /// The same by a listener with these settings.
    pub(super) fn open_at(
        &mut self,
        listener: ListenerSettings,
        user_name: UserNameBasis,
        connect: &Connect<'_>,
    ) -> Peer {
        let peer = self.peers.len();
        let shard = ShardId::owner_of(connect.client_id, self.shards.len()).index();
        let connection = ConnectionId::new(peer as u32, 7);
        self.peers.push(PeerState {
            shard,
            connection,
            version: connect.version,
            received: Vec::new(),
            stuck: None,
            waiting: None,
            closed: None,
            held: None,
        });
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        let (frame, _) = frame::next(&bytes, u32::MAX).unwrap().unwrap();
        let connect = Connect::decode(frame).unwrap();
        let listener = Arc::new(listener);
        let info = ConnectInfo {
            assigned_client_id: false,
            listener_index: if listener.is_internal { INTERNAL_LISTENER } else { 0 },
            peer: None,
            listener: &listener,
            identity: None,
            user_name,
        };
        self.turn(shard, Input::Connect { connection, connect: &connect, info });
        peer
    }

    /// A connection that is accepted; its CONNACK has been read.
    pub(super) fn connect(&mut self, connect: &Connect<'_>) -> Peer {
        let peer = self.open(connect);
        let answer = self.read(peer);
        assert!(answer[0].starts_with("CONNACK success"), "{answer:?}");
        // What else came (a resumed session's messages) is the test's to read.
        let rest = answer.len() > 1;
        assert!(!rest, "use `resume` where more than CONNACK comes: {answer:?}");
        peer
    }

    /// A connection that is accepted, and what it received.
    pub(super) fn resume(&mut self, connect: &Connect<'_>) -> (Peer, Vec<String>) {
        let peer = self.open(connect);
        let answer = self.read(peer);
        (peer, answer)
    }

    /// A 5.0 client with a clean start and nothing special.
    pub(super) fn client(&mut self, client_id: &str) -> Peer {
        self.connect(&v5(client_id))
    }

    /// Sends bytes as they are, cut into frames as the edge does it.
    pub(super) fn send_bytes(&mut self, peer: Peer, bytes: &[u8]) {
        let PeerState { shard, connection, version, .. } = self.peers[peer];
        if let Some(held) = &mut self.peers[peer].held {
            held.bytes.extend(bytes);
            return;
        }
        let max = self.settings.packet_size_max_bytes;
        let mut rest = bytes;
        loop {
            let input = match frame::next(rest, max) {
                Ok(None) => return,
                Err(error) => {
                    rest = &[];
                    Input::BadPacket { connection, error }
                }
                Ok(Some((frame, len))) => {
                    rest = &rest[len..];
                    match crate::codec::decode(frame, version, Side::Server) {
                        Ok(packet) => Input::Packet { connection, packet },
                        Err(error) => Input::BadPacket { connection, error },
                    }
                }
            };
            self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, input);
            let is_held = std::mem::take(&mut self.fx.holds_sender);
            if is_held {
                self.peers[peer].held = Some(Held { bytes: rest.to_vec(), is_closed: false });
            }
            self.apply(shard);
            self.run_until_idle();
            if is_held {
                return;
            }
        }
    }

    /// What came behind a packet that was under way is heard.
    fn hear_resumed(&mut self, peer: Peer) {
        let Some(held) = self.peers[peer].held.take().filter(|_| self.peers[peer].closed.is_none()) else { return };
        self.send_bytes(peer, &held.bytes);
        if held.is_closed {
            self.close_socket(peer);
        }
    }

    /// Encodes a packet in the peer's version and lets it arrive whole.
    pub(super) fn send(&mut self, peer: Peer, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.peers[peer].version, &mut bytes);
        self.send_bytes(peer, &bytes);
    }

    /// Sends an acknowledgement.
    pub(super) fn ack(&mut self, peer: Peer, kind: AckKind, number: u16) {
        self.send(peer, &Packet::Ack(Ack::new(kind, id(number), ReasonCode::Success)));
    }

    /// SUBSCRIBE with packet identifier 1 for one filter; what came up to the SUBACK and behind it is left to be read.
    pub(super) fn subscribe_with(
        &mut self,
        peer: Peer,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) {
        let mut bytes = Vec::new();
        let version = self.peers[peer].version;
        let identifier = identifier.map(|number| SubscriptionId::new(number).unwrap());
        encode_subscribe(version, id(1), identifier, [SubscribeFilter { filter, options }], &mut bytes);
        self.send_bytes(peer, &bytes);
    }

    /// A subscription that is granted, with nothing retained to be replayed.
    pub(super) fn subscribe(&mut self, peer: Peer, filter: &str, qos: u8) {
        self.subscribe_with(peer, filter, options(qos), None);
        assert_eq!(self.read(peer), [format!("SUBACK #1 [{qos}]")]);
    }

    /// UNSUBSCRIBE with packet identifier 2, whose answer is left to be read.
    pub(super) fn unsubscribe_silently(&mut self, peer: Peer, filter: &str) {
        let mut bytes = Vec::new();
        encode_unsubscribe(self.peers[peer].version, id(2), [filter], &mut bytes);
        self.send_bytes(peer, &bytes);
    }

    /// UNSUBSCRIBE that is answered.
    pub(super) fn unsubscribe(&mut self, peer: Peer, filter: &str) {
        self.unsubscribe_silently(peer, filter);
        let answer = self.read(peer);
        assert!(answer.last().is_some_and(|last| last.starts_with("UNSUBACK #2")), "{answer:?}");
    }

    /// What the peer has received since it last looked, a line a packet; the last line is `CLOSED reason` if so.
    pub(super) fn read(&mut self, peer: Peer) -> Vec<String> {
        let state = &mut self.peers[peer];
        let bytes = std::mem::take(&mut state.received);
        let mut lines = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((frame, len)) = frame::next(rest, u32::MAX).expect("the broker sends packets") {
            let packet = crate::codec::decode(frame, state.version, Side::Client).expect("the broker sends valid ones");
            lines.push(show(&packet));
            rest = &rest[len..];
        }
        assert!(rest.is_empty(), "half a packet was sent");
        if let Some(reason) = state.closed.take() {
            lines.push(format!("CLOSED {reason}"));
        }
        lines
    }

    /// The bytes that the peer has received since it last looked.
    pub(super) fn read_raw(&mut self, peer: Peer) -> Vec<u8> {
        std::mem::take(&mut self.peers[peer].received)
    }

    /// The peer's socket breaks.
    pub(super) fn cut(&mut self, peer: Peer) {
        let PeerState { shard, connection, .. } = self.peers[peer];
        self.turn(shard, Input::Closed { connection });
        assert_eq!(self.read(peer).last().map(String::as_str), Some("CLOSED socket_closed"));
    }

    /// The peer's socket breaks, whatever comes of it and when.
    pub(super) fn close_socket(&mut self, peer: Peer) {
        let PeerState { shard, connection, .. } = self.peers[peer];
        if let Some(held) = &mut self.peers[peer].held {
            held.is_closed = true;
            return;
        }
        self.turn(shard, Input::Closed { connection });
    }

    /// The same, after the peer was sent what it never read.
    pub(super) fn cut_with_unread(&mut self, peer: Peer, unread: &[&str]) {
        assert_eq!(self.read(peer), unread);
        self.cut(peer);
    }

    /// The peer stops reading.
    pub(super) fn block(&mut self, peer: Peer) {
        self.peers[peer].stuck.get_or_insert_default();
    }

    /// The peer reads again, and everything that was stuck.
    pub(super) fn unblock(&mut self, peer: Peer) {
        let state = &mut self.peers[peer];
        let bytes = state.stuck.take().expect("it was blocked");
        state.received.extend(bytes);
        let (shard, connection) = (state.shard, state.connection);
        self.turn(shard, Input::Blocked { connection, bytes: 0 });
    }

    /// Bytes that the broker has sent and a blocked peer's socket has not taken.
    pub(super) fn stuck_bytes(&self, peer: Peer) -> usize {
        self.peers[peer].stuck.as_ref().map_or(0, Vec::len)
    }

    /// Time passes; every deadline on the way is met at its instant.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        let end = self.now.mono_ns + ms * 1_000_000;
        loop {
            let next = self.shards.iter().filter_map(Shard::next_deadline).map(|due| due.0 * 1_000_000).min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.set_clock(next.max(self.now.mono_ns));
            for shard in 0..self.shards.len() {
                if self.shards[shard].next_deadline().is_some_and(|due| due.is_due(self.now)) {
                    self.turn(shard, Input::Tick { transport: &TransportCounters::default() });
                }
            }
        }
        self.set_clock(end);
    }

    /// The same in seconds.
    pub(super) fn pass_s(&mut self, seconds: u64) {
        self.pass_ms(seconds * 1_000);
    }

    /// Time passes, and nobody looks.
    pub(super) fn later_ms(&mut self, ms: u64) {
        self.set_clock(self.now.mono_ns + ms * 1_000_000);
    }

    fn set_clock(&mut self, mono_ns: u64) {
        self.now.unix_ms += (mono_ns - self.now.mono_ns) / 1_000_000;
        self.now.mono_ns = mono_ns;
    }

    /// Keeps all that crosses the mesh from now on.
    pub(super) fn keep_crossed_bytes(&mut self) {
        self.crossed_bytes = Some(Vec::new());
    }

    /// What has crossed since.
    pub(super) fn crossed_bytes(&mut self) -> Vec<String> {
        self.crossed_bytes.take().expect("it was kept")
    }

    /// Messages between shards stay on their way from now on.
    pub(super) fn hold_mesh(&mut self) {
        self.mesh_held = true;
    }

    /// They arrive, in order.
    pub(super) fn release_mesh(&mut self) {
        self.mesh_held = false;
        self.run_until_idle();
    }

    /// The oldest message from one shard to another arrives, while the mesh is held. Returns whether there was one.
    pub(super) fn deliver_one(&mut self, from: u8, to: u8) -> bool {
        let pair = (ShardId(from), ShardId(to));
        let Some(at) = self.mesh.iter().position(|&(from, to, _)| (from, to) == pair) else { return false };
        let (from, to, batch) = self.mesh.remove(at).unwrap();
        self.hear(from, to, batch);
        self.run_until_idle();
        true
    }

    /// Nothing becomes durable from now on.
    pub(super) fn hold_store(&mut self) {
        self.store_held = true;
    }

    /// Nothing of one shard becomes durable from now on, or everything again.
    pub(super) fn set_slow_store(&mut self, shard: Option<usize>) {
        self.slow_store = shard;
        self.run_until_idle();
    }

    /// Everything becomes durable.
    pub(super) fn release_store(&mut self) {
        self.store_held = false;
        self.run_until_idle();
    }

    /// Work that no packet asks for stays undone from now on.
    pub(super) fn hold_work(&mut self) {
        self.work_held = true;
    }

    /// One turn of it.
    pub(super) fn work_once(&mut self, shard: usize) {
        self.turn(shard, Input::Tick { transport: &TransportCounters::default() });
    }

    /// It is done.
    pub(super) fn release_work(&mut self) {
        self.work_held = false;
        self.run_until_idle();
    }

    /// Messages dropped for `reason`, on all shards.
    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.shards.iter().map(|shard| shard.counters().drops[reason as usize]).sum()
    }

    /// What the shards were made with.
    pub(super) fn settings(&self) -> Settings {
        (*self.settings).clone()
    }

    /// Gives a shard a command. Its answer may come later: [`Self::replies`].
    pub(super) fn command(&mut self, shard: usize, request: u64, command: Command) {
        let transport = TransportCounters::default();
        self.turn(shard, Input::Command { request: RequestId(request), command, edge: &transport });
    }

    /// Gives a shard a command that is answered at once.
    pub(super) fn ask(&mut self, shard: usize, command: Command) -> Reply {
        self.command(shard, 0, command);
        let mut replies = self.replies();
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0).1
    }

    /// The answers that have come since it was last called.
    pub(super) fn replies(&mut self) -> Vec<(RequestId, Reply)> {
        std::mem::take(&mut self.fx.replies)
    }

    /// One input to one shard, and all that follows from it.
    pub(super) fn turn(&mut self, shard: usize, input: Input<'_>) {
        self.fx.deliveries = 0;
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, input);
        self.apply(shard);
        self.run_until_idle();
    }

    /// What one shard says to another arrives.
    fn hear(&mut self, from: ShardId, to: ShardId, batch: MeshBatch) {
        let MeshBatch { messages, bytes } = batch;
        for message in messages {
            self.shards[to.index()]
                .handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Mesh { from, message, bytes: &bytes });
            self.apply(to.index());
        }
    }

    /// Runs mesh, store and work until nothing moves.
    pub(super) fn run_until_idle(&mut self) {
        for _ in 0..1_000_000 {
            if let Some(peer) = self.resumed.pop_front() {
                self.hear_resumed(peer);
            } else if !self.mesh_held
                && let Some((from, to, batch)) = self.mesh.pop_front()
            {
                self.hear(from, to, batch);
            } else if !self.store_held
                && let Some(shard) = (0..self.shards.len())
                    .find(|&shard| self.stored[shard] != Position(0) && self.slow_store != Some(shard))
            {
                let position = std::mem::take(&mut self.stored[shard]);
                for Change { first, records, inbox } in self.written[shard].drain(..) {
                    self.durable[shard].apply_change(Records::of_batch(&records, first), &inbox);
                }
                self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Durable { position });
                self.apply(shard);
            } else if !self.reads_held
                && let Some((shard, read)) = self.reads.pop_front()
            {
                self.answer_read(shard, read);
            } else if !self.work_held
                && let Some(shard) = self.shards.iter().position(Shard::has_work)
            {
                self.shards[shard].handle(
                    &mut Turn { now: self.now, fx: &mut self.fx },
                    Input::Tick { transport: &TransportCounters::default() },
                );
                self.apply(shard);
            } else {
                return;
            }
        }
        panic!("the shards never come to rest");
    }

    /// What is read from the disk stays on its way from now on.
    pub(super) fn hold_reads(&mut self) {
        self.reads_held = true;
    }

    /// It arrives.
    pub(super) fn release_reads(&mut self) {
        self.reads_held = false;
        self.run_until_idle();
    }

    fn answer_read(&mut self, shard: usize, DiskRead { session, messages }: DiskRead) {
        let bodies = messages.into_iter().map(|id| (id, self.bodies.get(&(shard, id)).cloned())).collect();
        let input = Input::Bodies { session, bodies };
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, input);
        self.apply(shard);
    }

    /// What a shard has written: it comes to what the shard holds.
    fn take_log(&mut self, shard: usize) {
        if self.is_restored {
            if !self.fx.log.is_empty() {
                self.stored[shard] = self.fx.log.last;
            }
            return;
        }
        if !self.fx.log.is_empty() {
            let RecordGroup { records, count, inbox, .. } = self.fx.log.group();
            let last = self.fx.log.last;
            let first = last.0 + 1 - u64::from(count);
            let read = Records::of_batch(records, first);
            self.written[shard].push(Change { first, records: records.to_vec(), inbox: inbox.to_vec() });
            self.logs[shard].apply_change(read.clone(), inbox);
            for found in read.clone().flatten() {
                if let LogRecord::Message(message) = found.record {
                    let (id, properties) = (message.id, Forwarded::EMPTY);
                    let (topic, payload, publisher) = (message.topic, message.payload, message.publisher);
                    let (qos, retain) = (message.qos, message.retain);
                    let expires = message.expires.map(|at| self.now.deadline_of(at));
                    let message =
                        Message::new(&MessageRef { topic, qos, retain, expires, publisher, properties, payload });
                    self.bodies.insert((shard, id), message);
                }
            }
            let read: Vec<_> = read.map(|found| format!("{:?}", found.expect("a record").record)).collect();
            assert_eq!(read.len(), count as usize, "the shard lost count of its records");
            let name = |text: &String| text.split(['(', ' ']).next().unwrap_or_default().to_owned();
            self.recorded.extend(read.iter().map(name));
            self.stored[shard] = last;
        }
        // Large worlds less often: what went wrong stays wrong.
        self.inputs += 1;
        let log = &self.logs[shard];
        if log.messages.len() + log.sessions_len() + log.retained.len() < 64 || self.inputs.is_multiple_of(512) {
            compare(&self.shards[shard], &self.logs[shard]);
        }
    }

    /// What a shard says to the others of its node, and to other nodes.
    fn take_mesh(&mut self, shard: usize) {
        for (to, batch) in self.fx.mesh.batches() {
            assert_ne!(to.index(), shard, "a shard sends itself no messages: {batch:?}");
            for single in batch.singles() {
                if to.is_slot(self.settings.shards) {
                    self.to_peers.push_back((shard, to, single));
                    continue;
                }
                self.crossed.push(kind(&single.messages[0]));
                if let Some(crossed) = &mut self.crossed_bytes {
                    crossed.push(format!("{shard} to {}: {single:?}", to.0));
                }
                self.mesh.push_back((ShardId(shard as u8), to, single));
            }
        }
    }

    /// Does what a shard asks for, and says what the sockets did not take.
    fn apply(&mut self, shard: usize) {
        let mut stuck = Vec::new();
        for effect in &self.fx.list {
            let (connection, encoded, packet_id, payload) = match *effect {
                Effect::Send { connection, encoded, packet_id } => (connection, encoded, packet_id, None),
                Effect::SendPayload { connection, encoded, packet_id, payload } => {
                    (connection, encoded, packet_id, Some(payload))
                }
                Effect::BoundPackets { .. } => continue,
                Effect::Resume { connection } | Effect::HearAuth { connection } => {
                    self.resumed.push_back(connection.slot as usize);
                    continue;
                }
                Effect::Hold { connection } => {
                    self.peers[connection.slot as usize].waiting = Some(Vec::new());
                    continue;
                }
                Effect::Release { connection } => {
                    let state = &mut self.peers[connection.slot as usize];
                    let bytes = state.waiting.take().expect("it is released once");
                    state.stuck.as_mut().unwrap_or(&mut state.received).extend(bytes);
                    continue;
                }
                Effect::EndLink { slot, fault } => {
                    self.ended_links.push((slot, fault));
                    continue;
                }
                Effect::Close { connection, reason } => {
                    let state = &mut self.peers[connection.slot as usize];
                    assert!(state.closed.is_none(), "closed twice");
                    state.closed = Some(reason.label());
                    continue;
                }
            };
            let state = &mut self.peers[connection.slot as usize];
            assert!(state.shard == shard && state.closed.is_none(), "sent after the connection was closed");
            if state.stuck.is_some() {
                stuck.push(connection);
            }
            let out = state.waiting.as_mut().or(state.stuck.as_mut()).unwrap_or(&mut state.received);
            self.fx.copy_to(encoded, packet_id, out);
            if let Some(payload) = payload {
                out.extend_from_slice(&self.fx.payloads[payload as usize]);
            }
        }
        self.take_mesh(shard);
        self.take_log(shard);
        self.reads.extend(self.fx.reads.drain(..).map(|read| (shard, read)));
        self.events.append(&mut self.fx.events);
        if let Some(lost) = self.fx.lost_by_listener() {
            self.lost_by_listener.add(lost);
        }
        self.asks.append(&mut self.fx.asks);
        self.counted_by.append(&mut self.fx.counted_by);
        self.views.extend(self.fx.view.take().map(|view| (shard, view)));
        self.fx.clear();
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Flushed);
        for connection in stuck {
            let bytes = self.stuck_bytes(connection.slot as usize) as u32;
            self.shards[shard]
                .handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Blocked { connection, bytes });
        }
        assert!(self.fx.list.is_empty(), "a blocked socket is no reason to send");
    }
}

/// A 5.0 client with a clean start and no session to keep.
pub(super) fn v5(client_id: &str) -> Connect<'_> {
    Connect::new(Version::V5, client_id, true)
}

/// A 5.0 client that comes back to its session, which is kept for an hour.
pub(super) fn v5_kept(client_id: &str) -> Connect<'_> {
    Connect { session_expiry_s: 3_600, ..Connect::new(Version::V5, client_id, false) }
}

/// A packet identifier.
pub(super) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// Subscription options that are nothing but a QoS.
pub(super) fn options(qos: u8) -> SubscriptionOptions {
    SubscriptionOptions::from_bits(qos).unwrap()
}
