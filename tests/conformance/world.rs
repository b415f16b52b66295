//! Where a test runs: every shard count, both placements, and a transport of single bytes.
//!
//! [`everywhere`] runs one test body in all [`SETTINGS`] at once, each with topics and client identifiers of its own, and
//! tells at the end in which settings it failed, with what passed over each connection.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::broker::{self, Broker};
use crate::client::Client;
use crate::decode::ConnAck;
use crate::packets::{Connect, Version};
use crate::placement;

/// One way to run a test.
pub(crate) struct Setting {
    name: &'static str,
    shards: usize,
    /// Clients go to different shards in turn; otherwise all to one.
    spread: bool,
    /// The client writes one byte at a time.
    bytewise: bool,
}

const fn setting(name: &'static str, shards: usize, spread: bool, bytewise: bool) -> Setting {
    Setting { name, shards, spread, bytewise }
}

/// All ways to run a test.
static SETTINGS: [Setting; 8] = [
    setting("1-shard", 1, false, false),
    setting("2-shards-same", 2, false, false),
    setting("2-shards-different", 2, true, false),
    setting("5-shards-same", 5, false, false),
    setting("5-shards-different", 5, true, false),
    setting("1-shard-bytewise", 1, false, true),
    setting("2-shards-bytewise", 2, true, true),
    setting("5-shards-bytewise", 5, true, true),
];
/// The one in which costs are measured.
const MEASURED: usize = 2;

/// What one run of a test body sees: a broker, names of its own, and the record of all its connections.
pub(crate) struct World {
    pub(crate) addr: SocketAddr,
    setting: &'static Setting,
    unique: String,
    home: usize,
    placed: AtomicUsize,
    log: Arc<Transcript>,
}

/// Runs the test body in every setting against the shared brokers.
pub(crate) fn everywhere(test: impl Fn(&World) + Sync) {
    let settings = SETTINGS.iter().filter(|s| selected(s)).map(|s| (s, broker::shared(s.shards))).collect();
    run(settings, &test);
}

/// Runs the test body in every setting but those of single bytes: for the few whose tens of thousands of packets would take
/// minutes that way. What they prove about packets, others prove byte by byte.
pub(crate) fn in_whole_packets(test: impl Fn(&World) + Sync) {
    run(SETTINGS.iter().filter(|s| !s.bytewise && selected(s)).map(|s| (s, broker::shared(s.shards))).collect(), &test);
}

/// Runs the test body in every setting against brokers that were started with `flags`.
pub(crate) fn with_flags(flags: &[&str], test: impl Fn(&World) + Sync) {
    with_brokers(&SETTINGS, flags, |world, _| test(world));
}

/// Like [`with_flags`] for a body that stops its broker or reads its log.
pub(crate) fn with_own_brokers(flags: &[&str], test: impl Fn(&World, &Broker) + Sync) {
    with_brokers(&SETTINGS, flags, test);
}

/// Like [`with_own_brokers`] for one broker of two shards, whose memory and CPU time the body measures: with several at
/// once on one machine it would measure the others too.
pub(crate) fn measured(flags: &[&str], test: impl Fn(&World, &Broker) + Sync) {
    with_brokers(&SETTINGS[MEASURED..=MEASURED], flags, test);
}

fn with_brokers(settings: &'static [Setting], flags: &[&str], test: impl Fn(&World, &Broker) + Sync) {
    if broker::external().is_some() {
        eprintln!("not run against an external broker: needs {flags:?}");
        return;
    }
    // One for each setting, not for each shard count: a limit of the whole broker must not be shared by two runs.
    let settings: Vec<&'static Setting> = settings.iter().filter(|s| selected(s)).collect();
    let brokers: Vec<Broker> = settings.iter().map(|s| Broker::start(s.shards, flags)).collect();
    run_with(settings.into_iter().zip(&brokers).collect(), &test);
}

/// `DUNLIN_TEST_SETTING` picks the settings whose name contains it. An external broker has no shards to choose from.
fn selected(setting: &Setting) -> bool {
    if broker::external().is_some() && setting.name != "1-shard" && !setting.bytewise {
        return false;
    }
    let Ok(wanted) = std::env::var("DUNLIN_TEST_SETTING") else { return true };
    // A name that is none would let every test pass without having run.
    assert!(
        SETTINGS.iter().any(|s| s.name.contains(&wanted)),
        "DUNLIN_TEST_SETTING={wanted} is part of no setting's name"
    );
    setting.name.contains(&wanted)
}

fn run(settings: Vec<(&'static Setting, &Broker)>, test: &(impl Fn(&World) + Sync)) {
    run_with(settings, &|world: &World, _: &Broker| test(world));
}

fn run_with(settings: Vec<(&'static Setting, &Broker)>, test: &(impl Fn(&World, &Broker) + Sync)) {
    if settings.is_empty() {
        eprintln!("not run: DUNLIN_TEST_SETTING leaves none of this test's settings");
        return;
    }
    let failures: Mutex<Vec<String>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (setting, broker) in settings {
            let failures = &failures;
            let body = move || {
                let world = World::new(setting, broker.addr);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(&world, broker))) {
                    let report = world.report(&message(&*panic), broker);
                    failures.lock().expect("pushing does not panic").push(report);
                }
            };
            std::thread::Builder::new().name(setting.name.into()).spawn_scoped(scope, body).expect("a thread starts");
        }
    });
    let failures = failures.into_inner().expect("pushing does not panic");
    assert!(failures.is_empty(), "failed in {} setting(s)\n{}", failures.len(), failures.join("\n"));
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "a panic".into())
}

impl World {
    fn new(setting: &'static Setting, addr: SocketAddr) -> World {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        // Two runs against one external broker must not meet each other's sessions and retained messages.
        let start = START.get_or_init(|| {
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |d| d.as_millis() as u64 / 100 % 0x000F_FFFF)
        });
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        World {
            addr,
            setting,
            unique: format!("{start:x}x{number:x}"),
            home: number % setting.shards,
            placed: AtomicUsize::new(0),
            log: Arc::new(Transcript { began: Instant::now(), lines: Mutex::new(Vec::new()) }),
        }
    }

    /// A topic or filter below a level that no other run of any test uses.
    pub(crate) fn topic(&self, tail: &str) -> String {
        format!("{}/{tail}", self.unique)
    }

    /// A new client identifier of at most 23 letters and digits. Identifiers go to the shards in turn where the setting
    /// spreads them, so the first two are never on one shard; otherwise all belong to one shard.
    pub(crate) fn id(&self, label: &str) -> String {
        let turn = self.placed.fetch_add(1, Ordering::Relaxed);
        let shard = if self.setting.spread { (self.home + turn) % self.setting.shards } else { self.home };
        let id = placement::id_on(shard, self.setting.shards, &format!("{label}{}t{turn:x}s", self.unique));
        assert!(id.len() <= 23, "{id} is longer than MQTT 3.1 allows");
        id
    }

    /// A TCP connection on which nothing was sent.
    #[track_caller]
    pub(crate) fn open(&self, version: Version, label: &str) -> Client {
        Client::open(self.addr, version, label, self.setting.bytewise, Arc::clone(&self.log))
    }

    /// A connection on which this CONNECT was sent and nothing read.
    #[track_caller]
    pub(crate) fn start(&self, connect: &Connect) -> Client {
        let id = String::from_utf8_lossy(&connect.id).into_owned();
        let label: String = id.split(&self.unique).next().unwrap_or("client").chars().take(12).collect();
        let mut client = self.open(connect.version, if label.is_empty() { "client" } else { &label });
        client.start(connect);
        client
    }

    /// A connection whose CONNECT was accepted.
    #[track_caller]
    pub(crate) fn connect(&self, connect: &Connect) -> (Client, ConnAck) {
        let mut client = self.start(connect);
        let connack = client.expect_connack();
        assert_eq!(connack.code, 0, "CONNECT refused: {connack:?}");
        (client, connack)
    }

    /// A connected client with a new identifier and a clean session.
    #[track_caller]
    pub(crate) fn client(&self, version: Version, label: &str) -> Client {
        self.connect(&Connect::new(version, self.id(label))).0
    }

    /// Waits until every shard has what `client`, and others of its shard, have written to retained topics so far. A write
    /// with QoS 1 is acknowledged when all have it, and shards keep the order; QoS 0 and wills tell nobody.
    #[track_caller]
    pub(crate) fn settle_retained(&self, client: &mut Client) {
        client.deliver(crate::packets::Publish::new(format!("settled-{}", self.unique), "").qos(1).retain());
    }

    /// Proves that nothing (more) is on its way to `to` from `from`: a marker published by `from` after all else is the
    /// next thing that `to` gets.
    #[track_caller]
    pub(crate) fn fence(&self, from: &mut Client, to: &mut Client) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let marker = self.topic(&format!("fence/{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let code = to.subscribe(&marker, 0);
        assert_eq!(code, 0, "the marker's subscription is granted");
        from.publish(&marker, "fence");
        let next = to.recv();
        match next {
            crate::decode::Packet::Publish(p) if p.topic == marker => {}
            other => panic!("expected nothing before the marker {marker:?}, got {other:?}"),
        }
    }

    /// [`World::fence`] for a subscriber whose wildcard subscriptions match the marker as well.
    #[track_caller]
    pub(crate) fn fence_wildcard(&self, from: &mut Client, to: &mut Client) {
        let marker = self.topic(&format!("fence{}", self.placed.fetch_add(1, Ordering::Relaxed)));
        to.subscribe(&marker, 0);
        from.publish(&marker, "fence");
        let next = to.expect_publish();
        assert_eq!((next.topic.as_str(), next.qos), (marker.as_str(), 0), "expected nothing before the marker");
    }

    fn report(&self, message: &str, broker: &Broker) -> String {
        let mut text = format!("=== {} ({})\n{message}\n", self.setting.name, self.addr);
        if let Some(obituary) = broker.obituary() {
            let _ = writeln!(text, "{obituary}");
        }
        let lines = self.log.lines.lock().map(|l| l.clone()).unwrap_or_default();
        let skipped = lines.len().saturating_sub(60);
        let _ = writeln!(text, "--- what passed ({skipped} earlier lines left out)");
        for line in &lines[skipped..] {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// The record of what passed over the connections of one run.
pub(crate) struct Transcript {
    began: Instant,
    lines: Mutex<Vec<String>>,
}

impl Transcript {
    pub(crate) fn add(&self, label: &str, what: &str) {
        let line = format!("{:9.4} {label:>8} {what}", self.began.elapsed().as_secs_f64());
        if let Ok(mut lines) = self.lines.lock() {
            lines.push(line);
        }
    }
}

/// Waits until `condition` holds, looking every few milliseconds.
#[track_caller]
pub(crate) fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
