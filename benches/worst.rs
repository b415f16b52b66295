//! What the worst packets cost one shard: CPU time a packet, for everything whose cost a peer can drive up.
//!
//! `cargo bench --bench worst`. Each case brings a shard into the state that makes its packet dear,
//! hands the packet to the codec and the shard, and takes the shortest of several runs, so that a busy machine adds little.
//! It fails
//! when one takes longer than it may. The results stand in `docs/LIMITS.md` (`tests/conformance/measured.tsv`).

#[path = "worst/bans.rs"]
mod bans;
#[path = "worst/closing.rs"]
mod closing;
#[path = "worst/index.rs"]
mod index;

use std::sync::Arc;
use std::time::Duration;

use dunlin::auth::acl::{RuleSet, parse_mosquitto};
use dunlin::auth::{Ask, Policy, Verdict};
use dunlin::codec::{
    AckKind, Connect, ConnectWill, PublishOut, ReasonCode, Side, SubscribeFilter, SubscriptionOptions, Version, decode,
    encode_ack, encode_subscribe, encode_unsubscribe, frame,
};
use dunlin::ids::{ConnectionId, PacketId, Qos, ShardId};
use dunlin::limits;
use dunlin::session::{Message, MessageRef};
use dunlin::settings::ListenerSettings;
use dunlin::shard::command::{Audience, ClientFilter, PAGE_MAX, TopBy, TopicsBy};
use dunlin::shard::{
    Command, ConnectInfo, DiskRead, DrainPlan, Effects, Input, MeshMessage, ProcessContext, Reply, RequestId,
    SessionFate, Settings, Shard, Turn, UserNameBasis,
};
use dunlin::store::{LogKeeping, LogStart, Position};
use dunlin::telemetry::TransportCounters;
use dunlin::time::Now;
use dunlin::topic::Cursor;

/// As the broker has it: what it costs to give memory back is part of a turn.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Processor time of this thread: what others take of a busy machine does not count.
struct Stopwatch(Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Self::now())
    }

    fn elapsed(&self) -> Duration {
        Self::now().saturating_sub(self.0)
    }

    fn now() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("a thread has used no negative time")
    }
}

/// One shard of two, and what it was last asked.
struct World {
    shard: Shard,
    fx: Effects,
    now: Now,
    next_slot: u32,
    /// Who clients are, where somebody has verified it.
    user: Option<&'static str>,
}

impl World {
    fn new() -> Self {
        Self::of(&Settings { shards: 2, sys_interval_s: 0, ..Settings::default() })
    }

    fn of(settings: &Settings) -> Self {
        Self::begin(settings, LogStart::default())
    }

    fn begin(settings: &Settings, log: LogStart) -> Self {
        let now = Now { mono_ns: 1_000_000_000_000, unix_ms: 1_700_000_000_000 };

        Self {
            shard: Shard::new(ShardId(0), &ProcessContext::new(settings.clone(), 7, now), now, log),
            fx: Effects::default(),
            now,
            next_slot: 0,
            user: None,
        }
    }

    fn name(stem: &str) -> String {
        let mut names = (0..).map(|n| format!("{stem}{n}"));
        names.find(|name| ShardId::owner_of(name, 2) == ShardId(0)).expect("the hash reaches every shard")
    }

    /// Does what the pump does between two inputs: everything is stored, applied by the other shard and sent.
    fn run_until_idle(&mut self) {
        for _ in 0..3 {
            let mut last = None;
            for (_, batch) in self.fx.mesh.batches() {
                let announced = batch.messages.drain(..).filter_map(|message| match message {
                    MeshMessage::Interest { number, .. } => Some(number),
                    _ => None,
                });
                last = last.max(announced.max());
            }
            let position = self.fx.log.last;
            let stored = !self.fx.log.is_empty();
            self.fx.clear();
            if let Some(number) = last {
                let input = Input::Mesh { from: ShardId(1), message: MeshMessage::Applied { number }, bytes: &[] };
                self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, input);
            }
            if stored && position > Position(0) {
                self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Durable { position });
            }
        }
        self.fx.clear();
        self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Flushed);
    }

    fn connect(&mut self, connect: &Connect<'_>) -> (ConnectionId, Duration) {
        self.next_slot += 1;
        let connection = ConnectionId::new(self.next_slot, 1);
        let mut bytes = Vec::new();
        Connect { username: self.user.or(connect.username), ..*connect }.encode(&mut bytes);
        let listener = Arc::new(ListenerSettings { policy: Policy::Admit, ..ListenerSettings::default() });
        let began = Stopwatch::start();
        let (frame, _) = frame::next(&bytes, u32::MAX).expect("a packet").expect("a whole one");
        let connect = Connect::decode(frame).expect("a CONNECT");
        let info = ConnectInfo {
            assigned_client_id: false,
            listener_index: 0,
            peer: None,
            listener: &listener,
            identity: None,
            user_name: if self.user.is_some() { UserNameBasis::Proof } else { UserNameBasis::Claim },
        };
        self.shard.handle(
            &mut Turn { now: self.now, fx: &mut self.fx },
            Input::Connect { connection, connect: &connect, info },
        );
        let took = began.elapsed();
        self.run_until_idle();
        (connection, took)
    }

    /// The socket of a connection is gone.
    fn close(&mut self, connection: ConnectionId) -> Duration {
        let began = Stopwatch::start();
        self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Closed { connection });
        let took = began.elapsed();
        self.run_until_idle();
        took
    }

    /// One packet through codec and shard; how long that took.
    fn packet(&mut self, connection: ConnectionId, bytes: &[u8]) -> Duration {
        let began = Stopwatch::start();
        let (frame, _) = frame::next(bytes, u32::MAX).expect("a packet").expect("a whole one");
        let packet = decode(frame, Version::V5, Side::Server).expect("a packet a client may send");
        self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Packet { connection, packet });
        let took = began.elapsed();
        self.run_until_idle();
        took
    }

    /// A packet with many filters, and the longest of the turns that it leads to.
    fn request(&mut self, connection: ConnectionId, bytes: &[u8]) -> Duration {
        self.packet(connection, bytes).max(self.turns())
    }

    /// One command; how long that took. Its answer is left in the effects.
    fn command(&mut self, command: Command) -> Duration {
        let (began, transport) = (Stopwatch::start(), TransportCounters::default());
        let input = Input::Command { request: RequestId(0), command, edge: &transport };
        self.shard.handle(&mut Turn { now: self.now, fx: &mut self.fx }, input);
        let took = began.elapsed();
        self.run_until_idle();
        took
    }

    /// What a command is answered.
    fn answer(&mut self, command: Command) -> Reply {
        self.command(command);
        self.fx.replies.pop().expect("an answer").1
    }

    /// The longest turn of those that the shard asks for until it has nothing left to do.
    fn turns(&mut self) -> Duration {
        let mut longest = Duration::ZERO;
        while self.shard.has_work() {
            longest = longest.max(self.tick());
        }
        longest
    }

    fn tick(&mut self) -> Duration {
        let began = Stopwatch::start();
        self.shard.handle(
            &mut Turn { now: self.now, fx: &mut self.fx },
            Input::Tick { transport: &TransportCounters::default() },
        );
        let took = began.elapsed();
        self.run_until_idle();
        took
    }
}

fn kept(name: &str) -> Connect<'_> {
    Connect { session_expiry_s: 3_600, keep_alive_s: 0, ..Connect::new(Version::V5, name, false) }
}

fn publish(topic: &str, qos: Qos, id: u16, retain: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packet = PublishOut {
        version: Version::V5,
        topic,
        topic_alias: None,
        qos,
        dup: false,
        retain,
        packet_id: PacketId::new(id).filter(|_| qos != Qos::AtMostOnce),
        message_expiry_s: None,
        subscription_ids: &[],
        forwarded: dunlin::codec::Forwarded::EMPTY,
        payload,
    };
    packet.encode(&mut bytes);
    bytes
}

fn subscribe(filters: &[String], qos: u8) -> Vec<u8> {
    let options = SubscriptionOptions::from_bits(qos).expect("a QoS");
    let filters = filters.iter().map(|filter| SubscribeFilter { filter, options });
    let mut bytes = Vec::new();
    encode_subscribe(Version::V5, PacketId::MIN, None, filters, &mut bytes);
    bytes
}

fn unsubscribe(filters: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_unsubscribe(Version::V5, PacketId::MIN, filters.iter().map(String::as_str), &mut bytes);
    bytes
}

/// A session with `count` subscriptions to filters of its own.
fn with_subscriptions(world: &mut World, name: &str, stem: &str, count: usize, qos: u8) -> ConnectionId {
    let (connection, _) = world.connect(&kept(name));
    let filters: Vec<String> = (0..count).map(|n| format!("{stem}/{name}/{n:06}")).collect();
    for filters in filters.chunks(limits::FILTERS_PER_SLICE as usize) {
        world.packet(connection, &subscribe(filters, qos));
    }
    connection
}

/// A client that acknowledges nothing has one replay under way and 99,000 more to wait for, of the filters that are returned.
fn with_replays(world: &mut World, connect: &Connect<'_>) -> (ConnectionId, Vec<String>) {
    let (publisher, _) = world.connect(&kept(&World::name("pub")));
    for n in 0..64 {
        world.packet(publisher, &publish(&format!("r/{n}"), Qos::AtLeastOnce, 1, true, b"x"));
    }
    let (connection, _) = world.connect(&Connect { receive_maximum: 1, ..*connect });
    world.packet(connection, &subscribe(&["r/#".to_owned()], 1));
    let filters: Vec<String> = (0..99_000).map(|n| format!("own/{n:06}")).collect();
    for filters in filters.chunks(limits::FILTERS_PER_SLICE as usize) {
        world.packet(connection, &subscribe(filters, 1));
    }
    (connection, filters)
}

/// All filters of `levels` levels of `a` and `+`: as many shapes as one topic can meet.
fn shapes(levels: u32) -> Vec<String> {
    let level = |bits: u32, at: u32| if bits >> at & 1 == 1 { "+" } else { "a" };
    (0..1 << levels).map(|bits| (0..levels).map(|at| level(bits, at)).collect::<Vec<_>>().join("/")).collect()
}

fn deep_filters() -> Vec<String> {
    let tail = vec!["l"; 126].join("/");
    (0..5_000).map(|n| format!("f/{n}/{tail}")).collect()
}

/// A shared subscription with so many members; the session of the one who holds 100,000 messages ends.
fn end_of_member(members: usize) -> Duration {
    let settings = Settings {
        shards: 2,
        sys_interval_s: 0,
        queued_messages_max: 200_000,
        queued_bytes_max: 1 << 30,
        ..Settings::default()
    };
    let mut world = World::of(&settings);
    let name = World::name("leaving");
    let connect = Connect { session_expiry_s: 0, receive_maximum: 1, ..kept(&name) };
    let (leaving, _) = world.connect(&connect);
    world.packet(leaving, &subscribe(&["$share/g/t".to_owned()], 1));
    let (publisher, _) = world.connect(&kept(&World::name("pub")));
    for _ in 0..100_000 {
        world.packet(publisher, &publish("t", Qos::AtLeastOnce, 1, false, b"x"));
    }
    if members > 1 {
        let (staying, _) = world.connect(&kept(&World::name("staying")));
        world.packet(staying, &subscribe(&["$share/g/t".to_owned()], 1));
    }
    world.close(leaving).max(world.turns())
}

/// What is tried, the milliseconds that it may take, and how to do it once.
type Case = (&'static str, u64, fn() -> Duration);

const CASES: &[Case] = &[
    ("a page of what a shard with a million filters is interested in", 1, index::own_interest),
    ("a page of forgetting a node with a million filters", 1, index::forgetting),
    ("closing ranges of 1,000,000 sessions, 20,000 of them connected, each tick", 1, closing::sessions),
    ("closing ranges while 8,192 CONNECTs wait, each tick", 1, closing::waiting),
    ("PUBLISH on a topic that 1,024 filters of one client match", 1, || {
        let mut world = World::new();
        let (sub, _) = world.connect(&kept(&World::name("sub")));
        world.request(sub, &subscribe(&shapes(10), 0));
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        let topic = ["a"; 10].join("/");
        world.packet(publisher, &publish(&topic, Qos::AtMostOnce, 0, false, b"x"))
    }),
    ("PUBLISH where as many shapes are in use as may be", 1, || {
        let mut world = World::new();
        let (sub, _) = world.connect(&kept(&World::name("sub")));
        world.request(sub, &subscribe(&shapes(12), 0));
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        let topic = ["a"; 12].join("/");
        world.packet(publisher, &publish(&topic, Qos::AtMostOnce, 0, false, b"x"))
    }),
    ("PUBLISH, retained, on a new topic of 128 levels and 65,000 bytes", 1, || {
        let mut world = World::new();
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        let topic = vec!["l".repeat(506); 128].join("/");
        world.packet(publisher, &publish(&topic, Qos::AtLeastOnce, 1, true, b"x"))
    }),
    ("PUBLISH of 1 MiB to 1 subscriber", 1, || {
        let mut world = World::new();
        let (sub, _) = world.connect(&kept(&World::name("sub")));
        world.packet(sub, &subscribe(&["t".to_owned()], 1));
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        world.packet(publisher, &publish("t", Qos::AtLeastOnce, 1, false, &vec![b'x'; 1_000_000]))
    }),
    ("PUBLISH with QoS 2 before 65,534 open exchanges", 1, || {
        let mut world = World::new();
        let (publisher, _) = world.connect(&Connect { ..Connect::new(Version::V311, &World::name("pub"), true) });
        let bytes = |id| {
            let mut bytes = publish("t", Qos::ExactlyOnce, id, false, b"x");
            bytes[1] -= 1; // 3.1.1 has no properties
            bytes.remove(7);
            bytes
        };
        for id in 2..=u16::MAX {
            old_packet(&mut world, publisher, &bytes(id));
        }
        old_packet(&mut world, publisher, &bytes(1))
    }),
    ("SUBSCRIBE to 5,000 new filters of 128 levels, and its turns", 1, || {
        let mut world = World::new();
        let (sub, _) = world.connect(&kept(&World::name("sub")));
        world.request(sub, &subscribe(&deep_filters(), 1))
    }),
    ("UNSUBSCRIBE from 5,000 filters of 128 levels, and its turns", 1, || {
        let mut world = World::new();
        let (sub, _) = world.connect(&kept(&World::name("sub")));
        world.request(sub, &subscribe(&deep_filters(), 1));
        world.request(sub, &unsubscribe(&deep_filters()))
    }),
    ("SUBSCRIBE with as many filters as one may have, and its turns", 1, || {
        let mut world = World::new();
        let (sub, _) = world.connect(&kept(&World::name("sub")));
        world.request(sub, &subscribe(&vec!["a".to_owned(); limits::FILTERS_PER_PACKET_MAX as usize], 1))
    }),
    ("the end of a member with 100,000 messages, and its turns", 1, || end_of_member(2)),
    ("the same where nobody else is a member", 1, || end_of_member(1)),
    ("UNSUBSCRIBE from 1,024 filters, 99,000 replays waiting", 1, || {
        let mut world = World::new();
        let (connection, filters) = with_replays(&mut world, &kept(&World::name("sub")));
        world.request(connection, &unsubscribe(&filters[..1_024]))
    }),
    ("a connection ends, 99,000 replays waiting, and its session with it", 1, || {
        let mut world = World::new();
        let name = World::name("sub");
        let (connection, _) = with_replays(&mut world, &Connect { session_expiry_s: 0, ..kept(&name) });
        world.close(connection).max(world.turns())
    }),
    ("a connection ends, 99,000 replays waiting, and its session is resumed", 1, || {
        let mut world = World::new();
        let name = World::name("sub");
        let (connection, _) = with_replays(&mut world, &kept(&name));
        world.close(connection).max(world.connect(&kept(&name)).1)
    }),
    ("SUBSCRIBE to # with 100,000 retained messages", 1, || {
        let mut world = World::new();
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        for n in 0..100_000 {
            world.packet(publisher, &publish(&format!("r/{}/{n}", n % 100), Qos::AtMostOnce, 0, true, b"x"));
        }
        let (sub, _) = world.connect(&kept(&World::name("sub")));
        let first = world.packet(sub, &subscribe(&["#".to_owned()], 0));
        (0..50).map(|_| world.tick()).max().unwrap_or_default().max(first)
    }),
    ("PUBACK with 1,000 messages behind it that have expired", 1, || {
        let mut world = World::new();
        let name = World::name("sub");
        let (sub, _) = world.connect(&Connect { receive_maximum: 1, ..kept(&name) });
        world.packet(sub, &subscribe(&["t".to_owned()], 1));
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        world.packet(publisher, &publish("t", Qos::AtLeastOnce, 1, false, b"x"));
        let mut expiring = publish("t", Qos::AtLeastOnce, 2, false, b"x");
        expiring[1] += 5;
        expiring[7] = 5;
        expiring.splice(8..8, [2, 0, 0, 0, 1]);
        for _ in 0..1_000 {
            world.packet(publisher, &expiring);
        }
        world.now.mono_ns += 2_000_000_000;
        let mut ack = Vec::new();
        encode_ack(Version::V5, AckKind::PubAck, PacketId::MIN, ReasonCode::Success, &mut ack);
        world.packet(sub, &ack)
    }),
    ("CONNECT that resumes a session with 100,000 subscriptions", 1, || {
        let mut world = World::new();
        let name = World::name("sub");
        with_subscriptions(&mut world, &name, "own", 99_999, 1);
        world.connect(&kept(&name)).1
    }),
    ("CONNECT that resumes 100,000 shared subscriptions, and its turns", 1, || {
        let mut world = World::new();
        let name = World::name("sub");
        let connection = with_subscriptions(&mut world, &name, "$share/own", 99_999, 1);
        let gone = world.close(connection).max(world.turns());
        world.connect(&kept(&name)).1.max(gone).max(world.turns())
    }),
    ("CONNECT that discards a session with 100,000 subscriptions, and its turns", 1, || {
        let mut world = World::new();
        let name = World::name("sub");
        with_subscriptions(&mut world, &name, "own", 99_999, 1);
        world.connect(&Connect { clean_start: true, ..kept(&name) }).1.max(world.turns())
    }),
    ("CONNECT that discards 100,000 shared subscriptions, and its turns", 1, || {
        let mut world = World::new();
        let name = World::name("sub");
        with_subscriptions(&mut world, &name, "$share/own", 99_999, 1);
        world.connect(&Connect { clean_start: true, ..kept(&name) }).1.max(world.turns())
    }),
    ("$SYS is published, 1,000,000 sessions", 1, || {
        let mut world = a_million_sessions();
        world.now.mono_ns += 2_000_000_000;
        world.tick()
    }),
    ("command: counts, 1,000,000 sessions", 1, || a_million_sessions().command(Command::Counts)),
    ("command: each page of 1,000,000 sessions", 1, || {
        let mut world = a_million_sessions();
        let (mut after, mut longest) = (None, Duration::ZERO);
        loop {
            longest = longest.max(world.command(Command::ListClients {
                after,
                limit: PAGE_MAX,
                filter: ClientFilter::default(),
            }));
            let Some((_, Reply::Clients { next, .. })) = world.fx.replies.pop() else { panic!("no page") };
            match next {
                Some(_) => after = next,
                None => return longest,
            }
        }
    }),
    ("command: each page of clients with ids of 65,000 bytes", 1, || {
        let mut world = World::of(&Settings { shards: 2, ..Settings::default() });
        for number in 0..300 {
            let name = World::name(&format!("{number}-{}", "x".repeat(65_000)));
            world.connect(&kept(&name));
        }
        world.command(Command::ListClients { after: None, limit: PAGE_MAX, filter: ClientFilter::default() })
    }),
    ("command: describe and list a client with 100,000 subscriptions", 1, || {
        let mut world = World::new();
        let name = World::name("sub");
        with_subscriptions(&mut world, &name, "own", 99_999, 1);
        let describe = world.command(Command::DescribeClient { client_id: name.as_str().into() });
        let list = Command::ListSubscriptions { client_id: name.as_str().into(), first: 99_000 };
        world.command(list).max(describe)
    }),
    ("command: each page of a search that finds nobody, 1,000,000 sessions", 1, || {
        let filter = ClientFilter {
            user: Some("nobody".into()),
            network: "192.0.2.0/24".parse().ok(),
            ..ClientFilter::default()
        };
        let mut world = a_million_sessions();
        let (mut after, mut longest) = (None, Duration::ZERO);
        loop {
            let command = Command::ListClients { after, limit: PAGE_MAX, filter: filter.clone() };
            longest = longest.max(world.command(command));
            let Some((_, Reply::Clients { next, .. })) = world.fx.replies.pop() else { panic!("no page") };
            match next {
                Some(_) => after = next,
                None => return longest,
            }
        }
    }),
    ("command: each page of the subscribers of a topic, 100,000 of 2 filters", 1, || {
        pages_of(&mut with_subscribers(100_000, &["t", "+"], 0), &Audience::Topic("t".into()))
    }),
    ("command: each page of 100,000 subscriptions of one client", 1, || {
        let mut world = World::new();
        with_subscriptions(&mut world, &World::name("sub"), "own", 99_999, 1);
        pages_of(&mut world, &Audience::All)
    }),
    ("command: each page of 100,000 shared subscriptions", 1, || {
        let mut world = World::new();
        with_subscriptions(&mut world, &World::name("sub"), "$share/own", 99_999, 1);
        let (mut first, mut longest) = (0, Duration::ZERO);
        loop {
            longest = longest.max(world.command(Command::ListGroups { first, limit: PAGE_MAX }));
            let Some((_, Reply::Groups { next, .. })) = world.fx.replies.pop() else { panic!("no page") };
            match next {
                Some(next) => first = next,
                None => return longest,
            }
        }
    }),
    ("command: the first of 1,000,000 sessions, and its turns", 1, || {
        let mut world = a_million_sessions();
        world.command(Command::ListTop { by: TopBy::Received, limit: PAGE_MAX }).max(world.turns())
    }),
    ("PUBLISH on a new topic while topics are counted, and the list of them", 1, || {
        let mut world = World::new();
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        let list = Command::ListTopics { by: TopicsBy::Messages, limit: limits::TOPICS_SEEN_MAX as u16 };
        world.command(list.clone());
        let topic = |n: usize| format!("{n:06}/{}", "x".repeat(limits::TOPIC_SEEN_MAX_BYTES - 7));
        let publish = |n| publish(&topic(n), Qos::AtMostOnce, 0, false, b"x");
        let longest = (0..3 * limits::TOPICS_SEEN_MAX).map(|n| world.packet(publisher, &publish(n))).max();
        world.command(list).max(longest.unwrap_or_default())
    }),
    ("command: disconnect a client with 100,000 subscriptions and end its session", 1, || {
        let mut world = World::new();
        let name = World::name("sub");
        with_subscriptions(&mut world, &name, "own", 99_999, 1);
        let command =
            Command::Disconnect { client_id: name.as_str().into(), session: SessionFate::Ended, reason: None };
        world.command(command).max(world.turns())
    }),
    ("command: publish to 100,000 subscribers, and its turns", 1, || {
        let mut world = with_subscribers(100_000, &["t"], 0);
        world.command(Command::Publish(Message::new(&message("t")))).max(world.turns())
    }),
    ("PUBLISH with QoS 1 to 100,000 kept sessions, and its turns", 1, || {
        let mut world = with_subscribers(100_000, &["t"], 1);
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        world.packet(publisher, &publish("t", Qos::AtLeastOnce, 1, false, b"x")).max(world.turns())
    }),
    ("PUBLISH to 50,000 sessions by three filters each, and its turns", 1, || {
        let mut world = with_subscribers(50_000, &["a/b", "a/+", "a/#"], 1);
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        world.packet(publisher, &publish("a/b", Qos::AtLeastOnce, 1, false, b"x")).max(world.turns())
    }),
    ("a page of 32 queued messages comes back from the disk", 1, || {
        let settings = Settings { shards: 2, sys_interval_s: 0, queued_memory_max_bytes: 0, ..Settings::default() };
        let mut world = World::begin(&settings, LogStart { keeping: LogKeeping::Disk, last: Position(0) });
        let name = World::name("sub");
        let connection = with_subscriptions(&mut world, &name, "own", 1, 1);
        world.close(connection);
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        let payload = [b'x'; 2_000];
        let topic = format!("own/{name}/000000");
        for number in 1..=limits::DISK_PAGE_MESSAGES as u16 {
            world.packet(publisher, &publish(&topic, Qos::AtLeastOnce, number, false, &payload));
        }
        world.connect(&kept(&name));
        let DiskRead { session, messages } = world.fx.reads.pop().expect("the client is there to take them");
        assert_eq!(messages.len(), limits::DISK_PAGE_MESSAGES);
        let body = Message::new(&MessageRef { payload: &payload, ..message(&topic) });
        let bodies = messages.into_iter().map(|id| (id, Some(body.clone()))).collect();
        let began = Stopwatch::start();
        world.shard.handle(&mut Turn { now: world.now, fx: &mut world.fx }, Input::Bodies { session, bodies });
        began.elapsed()
    }),
    ("command: delete 100,000 retained messages, each slice", 1, || {
        let mut world = World::new();
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        for n in 0..100_000 {
            world.packet(publisher, &publish(&format!("r/{}/{n}", n % 100), Qos::AtMostOnce, 0, true, b"x"));
        }
        world.command(Command::DeleteRetained { filter: "#".into() }).max(world.turns())
    }),
    ("command: a page of 100,000 retained messages, none of which matches", 1, || {
        let mut world = World::new();
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        for n in 0..100_000 {
            world.packet(publisher, &publish(&format!("r/{}/{n}", n % 100), Qos::AtMostOnce, 0, true, b"x"));
        }
        world.command(Command::ListRetained { filter: "+/+/none".into(), cursor: Cursor::default(), limit: 256 })
    }),
    ("command: new settings, 1,000,000 sessions", 1, || {
        let settings = Settings { shards: 2, subscriptions_max: 7, ..Settings::default() };
        a_million_sessions().command(Command::Reload(Arc::new(settings)))
    }),
    ("command: new rules, and none, 1,000,000 sessions of a known user, and its turns", 1, || {
        let mut world = World::of(&Settings { shards: 2, ..Settings::default() });
        world.user = Some("ann");
        with_sessions(&mut world, 1_000_000);
        let some = world.command(Command::UseRules(Some(nothing_is_allowed()))).max(world.turns());
        some.max(world.command(Command::UseRules(None))).max(world.turns())
    }),
    ("command: new rules that 100,000 subscriptions of a client break, and its turns", 1, || {
        let mut world = World::new();
        world.user = Some("ann");
        with_subscriptions(&mut world, &World::name("sub"), "own", 99_999, 1);
        let longest = world.command(Command::UseRules(Some(nothing_is_allowed()))).max(world.turns());
        let Reply::Counts(counts) = world.answer(Command::Counts) else { panic!("no counts") };
        assert_eq!(counts.gauges.subscriptions, 0, "all of them are taken away");
        longest
    }),
    ("command: as many bans and profiles as there may be, and none", 1, bans::as_many_as_may_be),
    ("command: drain 20,000 clients, and its ticks", 1, || {
        let mut world = World::of(&Settings { shards: 2, ..Settings::default() });
        with_clients(&mut world, 20_000);
        let plan = DrainPlan { clients_per_s: u32::MAX, server: Some("other.example:1883".into()), is_last: false };
        let mut longest = world.command(Command::Drain(Some(plan)));
        for _ in 0..2 * 20_000 / limits::CLOSED_PER_TICK {
            world.now.mono_ns += 100_000_000;
            longest = longest.max(world.tick()).max(world.turns());
        }
        let Reply::Counts(counts) = world.answer(Command::Counts) else { panic!("no counts") };
        assert_eq!(counts.gauges.clients_connected, 0, "all were asked to go");
        longest
    }),
    ("command: who of 20,000 clients has not acknowledged for longest, and its turns", 1, || {
        let mut world = with_subscribers(20_000, &["t"], 1);
        let (publisher, _) = world.connect(&kept(&World::name("pub")));
        for number in 1..=20 {
            world.packet(publisher, &publish("t", Qos::AtLeastOnce, number, false, b"x"));
            world.turns();
        }
        world.command(Command::ListTop { by: TopBy::AckAge, limit: PAGE_MAX }).max(world.turns())
    }),
    ("the verdicts of one turn, 8,192 CONNECTs waiting", 1, || {
        let (mut world, asks) = all_waiting();
        let began = Stopwatch::start();
        for ask in asks.iter().rev().take(limits::VERDICTS_PER_TURN) {
            let input = Input::Verdict { ask: ask.id, verdict: Verdict::Admit };
            world.shard.handle(&mut Turn { now: world.now, fx: &mut world.fx }, input);
        }
        began.elapsed()
    }),
    ("a tick when 8,192 CONNECTs have waited too long", 1, || {
        let (mut world, _) = all_waiting();
        world.now.mono_ns += (limits::VERDICT_TIMEOUT_MS + 1) * 1_000_000;
        world.tick()
    }),
    ("a tick of a broker that stops, 20,000 clients connected", 1, || {
        let mut world = World::of(&Settings { shards: 2, ..Settings::default() });
        with_clients(&mut world, 20_000);
        world.shard.handle(&mut Turn { now: world.now, fx: &mut world.fx }, Input::Shutdown);
        world.tick()
    }),
];

fn nothing_is_allowed() -> Arc<RuleSet> {
    Arc::new(parse_mosquitto("pattern read nothing\n").expect("rules"))
}

/// So many clients are connected.
fn with_clients(world: &mut World, count: usize) {
    for _ in 0..count {
        let name = World::name(&format!("stays-{}-", world.next_slot));
        world.connect(&kept(&name));
    }
}

/// So many clients, each subscribed to the same filters.
fn with_subscribers(count: usize, filters: &[&str], qos: u8) -> World {
    let mut world = World::of(&Settings { shards: 2, ..Settings::default() });
    let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
    let packet = subscribe(&filters, qos);
    let mut names = (0..).map(|n| format!("sub-{n}")).filter(|id| ShardId::owner_of(id, 2) == ShardId(0));
    for _ in 0..count {
        let (sub, _) = world.connect(&kept(&names.next().expect("they are endless")));
        world.packet(sub, &packet);
    }
    world
}

/// As many CONNECTs as may wait, each with the largest will that fits, and the questions about them.
fn all_waiting() -> (World, Vec<Ask>) {
    let mut world = World::of(&Settings { shards: 2, ..Settings::default() });
    let payload = vec![b'x'; 1_000];
    let listener = Arc::new(ListenerSettings { policy: Policy::Ask, ..ListenerSettings::default() });
    let info = ConnectInfo {
        assigned_client_id: false,
        listener_index: 0,
        peer: None,
        listener: &listener,
        identity: None,
        user_name: UserNameBasis::Claim,
    };
    let mut asks = Vec::new();
    for number in 0..limits::PENDING_CONNECTS_MAX as u32 {
        let name = World::name(&format!("waits-{number}-"));
        let will = ConnectWill {
            topic: "w",
            payload: &payload,
            qos: Qos::AtMostOnce,
            retain: false,
            delay_s: 0,
            message_expiry_s: None,
            properties: dunlin::codec::Forwarded::EMPTY,
        };
        let connect = Connect { will: Some(will), ..kept(&name) };
        let connection = ConnectionId::new(100 + number, 1);
        let input = Input::Connect { connection, connect: &connect, info };
        world.shard.handle(&mut Turn { now: world.now, fx: &mut world.fx }, input);
        asks.append(&mut world.fx.asks);
        world.fx.clear();
    }
    assert_eq!(asks.len(), limits::PENDING_CONNECTS_MAX, "there was room for all");
    (world, asks)
}

/// A million kept sessions without a connection.
fn a_million_sessions() -> World {
    let mut world = World::of(&Settings { shards: 2, ..Settings::default() });
    with_sessions(&mut world, 1_000_000);
    world
}

/// So many kept sessions without a connection.
fn with_sessions(world: &mut World, count: usize) {
    let mut names = (0..).map(|n| format!("session-{n}")).filter(|id| ShardId::owner_of(id, 2) == ShardId(0));
    for _ in 0..count {
        let name = names.next().expect("they are endless");
        let (connection, _) = world.connect(&kept(&name));
        world.close(connection);
    }
    world.tick(); // what is due once
}

/// The longest page of an audience.
fn pages_of(world: &mut World, of: &Audience) -> Duration {
    let (mut after, mut longest) = (None, Duration::ZERO);
    loop {
        longest = longest.max(world.command(Command::ListAudience { of: of.clone(), after, limit: PAGE_MAX }));
        let Some((_, Reply::Audience { next, .. })) = world.fx.replies.pop() else { panic!("no page") };
        match next {
            Some(_) => after = next,
            None => return longest,
        }
    }
}

fn message(topic: &str) -> MessageRef<'_> {
    MessageRef {
        topic,
        qos: Qos::AtMostOnce,
        retain: false,
        expires: None,
        publisher: None,
        properties: dunlin::codec::Forwarded::EMPTY,
        payload: b"x",
    }
}

fn old_packet(world: &mut World, connection: ConnectionId, bytes: &[u8]) -> Duration {
    let began = Stopwatch::start();
    let (frame, _) = frame::next(bytes, u32::MAX).expect("a packet").expect("a whole one");
    let packet = decode(frame, Version::V311, Side::Server).expect("a packet a client may send");
    world.shard.handle(&mut Turn { now: world.now, fx: &mut world.fx }, Input::Packet { connection, packet });
    let took = began.elapsed();
    world.run_until_idle();
    took
}

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut too_dear = 0;
    for (what, bound_ms, run) in
        CASES.iter().filter(|(what, ..)| wanted.as_ref().is_none_or(|wanted| what.contains(wanted)))
    {
        let shortest = (0..5).map(|_| run()).min().expect("five runs");
        let verdict = if shortest <= Duration::from_millis(*bound_ms) { "" } else { "  ABOVE ITS BOUND" };
        too_dear += u32::from(!verdict.is_empty());
        println!("{:>10.1} us of {bound_ms:>3} ms  {what}{verdict}", shortest.as_secs_f64() * 1e6);
    }
    assert!(too_dear == 0, "{too_dear} cases take longer than they may");
}
