//! A node's process: its shards with their connections, the lanes between them, its clients, and what it knows of the cluster.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use dunlin::cluster::{BootId, ClusterView, LinkNonces, LinkSecret, LinkTrust, NodeId, PeerSlots};
use dunlin::conn::{ConnectRates, Connections, ConnectionsConfig, DialLayers, InputHandler, LinkTerms, ListenerLayers};
use dunlin::ids::{ConnectionId, PacketId, Qos, ShardId};
use dunlin::settings::{ListenerKind, ListenerSettings};
use dunlin::shard::{Effects, Input, LogStart, MeshBatch, MeshMessage, ProcessContext, Settings, Shard, Turn};
use dunlin::time::Now;

use super::clients::Client;
use super::plan::Plan;
use super::streams::{FrameFate, Streams};

/// A shard of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) node: usize,
    pub(crate) shard: usize,
}

/// What names in messages are hashed with, the same on all nodes.
const HASH_SEED: u64 = 7;

/// A shard and what is around it.
pub(crate) struct Host {
    pub(crate) shard: Shard,
    pub(crate) connections: Connections,
    pub(crate) fx: Effects,
    /// What it goes by.
    pub(crate) view: Option<Arc<ClusterView>>,
    /// Of what it says to each slot, so many words were noted and links have not taken them.
    pub(crate) noted: BTreeMap<ShardId, usize>,
    /// Buffers that its connections have not heard yet.
    pub(crate) kept: BTreeMap<u32, Vec<u8>>,
    pub(crate) buffers: u32,
}

/// Another node's process, as this one knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownPeer {
    pub(crate) boot: u64,
    pub(crate) slot: ShardId,
    /// Both wait for each other.
    pub(crate) counts: bool,
}

pub(crate) struct Process {
    pub(crate) boot: u64,
    pub(crate) hosts: Vec<Host>,
    /// From one shard to another.
    pub(crate) lanes: BTreeMap<(usize, usize), VecDeque<MeshBatch>>,
    pub(crate) clients: Vec<Client>,
    pub(crate) slots: PeerSlots,
    pub(crate) peers: BTreeMap<usize, KnownPeer>,
    /// The map that it has seen.
    pub(crate) seen: Option<usize>,
    /// Its clients are let in.
    pub(crate) is_open: bool,
    pub(crate) born_quiet_ms: u64,
    /// Slots of processes that are gone, until all shards have forgotten them.
    pub(crate) not_forgotten: BTreeSet<ShardId>,
    /// Those that its shards are forgetting, by request.
    pub(crate) forgetting: BTreeMap<u64, ShardId>,
    pub(crate) requests: u64,
}

/// A node, whether a process of it lives or not.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) process: Option<Process>,
    /// Which of its lives it is: what was meant for an earlier one is lost.
    pub(crate) life: u64,
    pub(crate) paused_until: u64,
    /// What its clocks show more than those of the world.
    pub(crate) mono_ahead_ms: u64,
    pub(crate) unix_ahead_ms: u64,
    /// Its shards are slow to hear each other, until then.
    pub(crate) lanes_stuck_until: u64,
}

impl Process {
    pub(crate) fn new(node: usize, boot: u64, now: Now, plan: &Plan) -> Self {
        let (shards, deliveries_per_turn) = (plan.shards, plan.deliveries);
        let settings = Settings { shards, deliveries_per_turn, sys_interval_s: 0, ..Settings::default() };
        let context = ProcessContext::new(settings, HASH_SEED, now);
        let handovers: Arc<[AtomicU32]> = (0..plan.shards).map(|_| AtomicU32::new(0)).collect();
        let host = |shard: usize| {
            let own = ShardId(shard as u8);
            let mut connections = Connections::new(ConnectionsConfig {
                own,
                shards: plan.shards,
                connections_max: 1_000,
                connections: Arc::default(),
                rates: Arc::new(ConnectRates::none()),
                handovers: Arc::clone(&handovers),
                settings: Arc::clone(&context.settings),
                instance: boot,
            });
            let listener = ListenerSettings { kind: ListenerKind::Cluster, ..ListenerSettings::default() };
            connections.add_listener(Arc::new(listener), Arc::default(), ListenerLayers::None);
            connections.use_links(terms(node, boot, shard, plan));
            connections.set_heard(true);
            let shard = Shard::new(own, &context, now, LogStart::default());
            let (noted, kept) = (BTreeMap::new(), BTreeMap::new());
            Host { shard, connections, fx: Effects::default(), view: None, noted, kept, buffers: 0 }
        };
        Self {
            boot,
            hosts: (0..plan.shards).map(host).collect(),
            lanes: BTreeMap::new(),
            clients: Client::of_node(node, boot, plan),
            slots: PeerSlots::new(plan.shards),
            peers: BTreeMap::new(),
            seen: None,
            is_open: false,
            born_quiet_ms: 0,
            not_forgotten: BTreeSet::new(),
            forgetting: BTreeMap::new(),
            requests: 0,
        }
    }

    /// Whether all peers that it knows wait for it, and it for them.
    pub(crate) fn counts_all(&self) -> bool {
        self.seen.is_some() && self.peers.values().all(|peer| peer.counts)
    }
}

/// The number of a node as others have it.
pub(crate) fn number(node: usize) -> NodeId {
    NodeId::new(node as u16 + 1).expect("a world has few nodes")
}

fn terms(node: usize, boot: u64, shard: usize, plan: &Plan) -> LinkTerms {
    let secret = || LinkSecret::new(b"sixteen bytes, or more").expect("they are");
    let mut seed = [shard as u8; 32];
    seed[..8].copy_from_slice(&boot.to_le_bytes());
    LinkTerms {
        trust: if plan.has_secret { LinkTrust::Secret(secret()) } else { LinkTrust::Certificate },
        dials: DialLayers::None,
        cluster: "sim".into(),
        node: Some(number(node)),
        boot: BootId(boot),
        nonces: LinkNonces::new(seed),
    }
}

/// A shard as its connections see it.
pub(crate) struct Told<'a> {
    pub(crate) now: Now,
    pub(crate) shard: &'a mut Shard,
    pub(crate) fx: &'a mut Effects,
    pub(crate) view: Option<&'a ClusterView>,
    pub(crate) streams: &'a mut Streams,
    /// The process and the shard.
    pub(crate) own: (u64, usize),
    /// Messages of other nodes that a canary passes on.
    pub(crate) passed_on: Vec<(ShardId, Vec<u8>)>,
    /// What was found wrong first.
    pub(crate) failed: Result<(), String>,
}

impl Told<'_> {
    fn arrives(&mut self, from: ShardId, message: &MeshMessage, frame: &[u8]) -> Result<FrameFate, String> {
        let peer = self.view.and_then(|view| view.peer_at(from));
        let peer = peer.ok_or_else(|| format!("{message:?} comes of slot {}, which is nobody's", from.0))?;
        self.streams.arrive((peer.boot.0, self.own.0, self.own.1), frame)
    }
}

impl InputHandler for Told<'_> {
    fn now(&self) -> Now {
        self.now
    }

    fn is_full_for(&self, client_id: &str, listener: u8) -> bool {
        self.shard.is_full_for(client_id, listener)
    }

    fn handle(&mut self, input: Input<'_>) {
        if self.failed.is_err() {
            return;
        }
        if let Input::Mesh { from, message, bytes } = &input {
            match self.arrives(*from, message, bytes) {
                Ok(FrameFate::Heard) => {}
                Ok(FrameFate::HeardTwice) => {
                    let (from, message, bytes) = (*from, message.clone(), *bytes);
                    self.shard.handle(&mut Turn { now: self.now, fx: self.fx }, Input::Mesh { from, message, bytes });
                }
                Ok(FrameFate::PassedOn) => self.passed_on.push((*from, bytes.to_vec())),
                Ok(FrameFate::Swallowed) => return,
                Err(what) => {
                    self.failed = Err(what);
                    return;
                }
            }
        }
        self.shard.handle(&mut Turn { now: self.now, fx: self.fx }, input);
    }

    fn has_asked_about(&self, _: ConnectionId) -> bool {
        false
    }

    fn holds_sender(&mut self) -> bool {
        std::mem::take(&mut self.fx.holds_sender)
    }

    fn deliveries(&self) -> u32 {
        self.fx.deliveries
    }

    fn is_overloaded(&self) -> bool {
        self.shard.is_overloaded()
    }

    fn has_more_for(&self, connection: ConnectionId) -> bool {
        self.shard.has_more_for(connection)
    }

    fn has_room_for(&self, connection: ConnectionId, packet_id: PacketId, qos: Qos) -> bool {
        self.shard.has_room_for(connection, packet_id, qos)
    }
}
