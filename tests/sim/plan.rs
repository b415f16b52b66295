//! What kind of world a seed makes: how many shards, how narrow the pipes, who lives in it.

use dunlin::codec::Version;
use dunlin::settings::FullQueue;
use dunlin::shard::Settings;

use crate::rng::Rng;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    /// Messages that a mesh channel holds before the sender keeps them itself.
    pub(crate) mesh_channel: usize,
    /// Messages kept by a sender beyond which its shard stops reading from clients.
    pub(crate) mesh_pause: usize,
    /// Bytes that a socket takes before it is full.
    pub(crate) socket_bytes: usize,
    /// Bytes of a receive buffer, and how many of them a shard has.
    pub(crate) buffer_bytes: usize,
    pub(crate) buffers: usize,
    /// Connections of the whole process; those above are told so.
    pub(crate) connections_max: u32,
    /// Sockets that cannot be handed over, in percent.
    pub(crate) handover_fails_percent: usize,
    /// Half of the connections come by a listener with a layer that inverts every byte.
    pub(crate) layered: bool,
    /// Half of the connections come by listeners whose clients somebody else decides about.
    pub(crate) asks: bool,
    /// An operator disconnects clients and publishes, and does not just look.
    pub(crate) operated: bool,
    /// Some peers say nothing, or too little.
    pub(crate) silents: bool,
    /// An operator has rules, profiles and bans, empties shards, and reads every kind of list.
    pub(crate) orders: bool,
    /// Those profiles have rates, too.
    pub(crate) rates: bool,
    /// Some limit is so low that messages may be dropped: what is missing must then be counted.
    pub(crate) tight: bool,
    /// Everything happens within seconds: nothing expires, and fights for a client id are fierce.
    pub(crate) dense: bool,
    /// Logs are on disks, and the process dies now and then.
    pub(crate) disks: bool,
    /// Disks give back something else than they were given, now and then.
    pub(crate) rots: bool,
    pub(crate) clients: Vec<ClientPlan>,
    pub(crate) hostiles: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) expiry_s: u32,
    pub(crate) keep_alive_s: u16,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_size_max_bytes: u32,
    pub(crate) topic_alias_maximum: u16,
    /// Hears wills and does nothing else.
    pub(crate) watcher: bool,
    /// Sends acknowledgements of QoS 1 in any order.
    pub(crate) shuffles: bool,
    /// Reads little at a time, and late.
    pub(crate) slow: bool,
    /// Shares its client id with another that comes back at once: it is taken over again and again.
    pub(crate) fights: bool,
    /// How often it gives its session up, in percent of its connects.
    pub(crate) clean_percent: usize,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let shards = rng.between(1, 5);
        let tight = rng.percent(25);
        let mut settings = Settings {
            shards,
            sys_interval_s: if rng.percent(15) { 10 } else { 0 },
            packet_size_max_bytes: 8 * 1024,
            inflight_max: *rng.pick(&[1, 2, 5, 20, 64]),
            receive_maximum: *rng.pick(&[1, 3, 10, 100]),
            queued_messages_max: if tight { 8 } else { 1_000_000 },
            queued_bytes_max: if tight && rng.percent(50) { 4_000 } else { 1 << 30 },
            // From sources of their own, so that what a seed does otherwise stays as it was when it found something.
            queued_memory_max_bytes: if tight {
                *Rng::new(!rng.clone().next()).pick(&[1_000, 10_000, 1 << 30])
            } else {
                1 << 30
            },
            topic_alias_max: *rng.pick(&[0, 2, 10]),
            outbox_max_bytes: *rng.pick(&[4 * 1024, 16 * 1024, 256 * 1024]),
            subscriptions_per_turn: *Rng::new(rng.clone().next()).pick(&[1, 1, 2, 8, 256]),
            deliveries_per_turn: *Rng::new(rng.clone().next() ^ 0xde11).pick(&[1, 3, 10, 16_384]),
            subscribers_per_turn: *Rng::new(rng.clone().next() ^ 0xfa07).pick(&[1, 1, 2, 3, 2_048]),
            full_queue: *Rng::new(rng.clone().next() ^ 0xf011).pick(&[FullQueue::DropNewest, FullQueue::HoldBack]),
            filters_per_slice: *Rng::new(rng.clone().next() ^ 0xf117).pick(&[1, 1, 2, 256]),
            ..Settings::default()
        };
        let count = rng.between(4, 14);
        let mut clients: Vec<ClientPlan> = (0..count).map(|n| ClientPlan::new(rng, n)).collect();
        let dense = rng.percent(15);
        clients[0].fights |= dense;
        for client in clients.iter_mut().filter(|client| client.fights) {
            // Which of two that fight is the last to arrive decides whose clean start counts: nobody could keep its half
            // of the session in step.
            (client.expiry_s, client.clean_percent) = (u32::MAX, 0);
        }
        clients.extend((0..2).map(|n| ClientPlan::watcher(&format!("watcher-{n}"))));
        // Again from a source of their own.
        let mut edge = Rng::new(!rng.clone().next() ^ 0xed9e);
        let buffer_bytes = *edge.pick(&[64, 512, 4_096]);
        let mut disks = edge.clone();
        let has_disks = disks.percent(50);
        if has_disks && disks.percent(50) {
            // Each message is written down at once for all who are to get it, so that nothing comes twice for a crash.
            settings.subscribers_per_turn = 2_048;
        }
        let orders = Rng::new(rng.clone().next() ^ 0x04de).percent(40);
        Self {
            buffer_bytes,
            buffers: *edge.pick(&[8, 400, 1_024]),
            connections_max: if edge.percent(25) { clients.len() as u32 + 1 } else { 1_000 },
            handover_fails_percent: *edge.pick(&[0, 2, 10]),
            layered: edge.percent(40),
            asks: edge.percent(30),
            operated: edge.percent(40),
            silents: Rng::new(rng.clone().next() ^ 0x51e7).percent(40),
            orders,
            rates: orders && Rng::new(rng.clone().next() ^ 0x9a7e).percent(50),
            settings,
            mesh_channel: rng.between(1, 16),
            mesh_pause: rng.between(8, 64),
            socket_bytes: *rng.pick(&[64, 1_000, 8_000, 64_000]),
            tight,
            dense,
            disks: has_disks,
            rots: has_disks && disks.percent(30),
            clients,
            hostiles: rng.between(0, 4),
        }
    }
}

impl ClientPlan {
    fn new(rng: &mut Rng, number: usize) -> Self {
        let version = *rng.pick(&[Version::V5, Version::V5, Version::V311, Version::V31]);
        let small = version.is_v5() && rng.percent(10);
        Self {
            name: format!("client-{number}"),
            version,
            expiry_s: *rng.pick(&[0, 5, 60, 3_600, u32::MAX]),
            keep_alive_s: *rng.pick(&[0, 0, 0, 5, 60]),
            receive_maximum: *rng.pick(&[1, 2, 7, 65_535]),
            packet_size_max_bytes: if small { 120 } else { u32::MAX },
            topic_alias_maximum: if version.is_v5() { *rng.pick(&[0, 1, 5]) } else { 0 },
            watcher: false,
            shuffles: rng.percent(30),
            slow: rng.percent(20),
            fights: rng.percent(4),
            clean_percent: *rng.pick(&[0, 10, 50]),
        }
    }

    fn watcher(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: Version::V5,
            expiry_s: u32::MAX,
            keep_alive_s: 0,
            receive_maximum: 65_535,
            packet_size_max_bytes: u32::MAX,
            topic_alias_maximum: 0,
            watcher: true,
            shuffles: false,
            slow: false,
            fights: false,
            clean_percent: 0,
        }
    }
}
