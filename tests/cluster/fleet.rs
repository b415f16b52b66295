//! Nodes of one cluster in this process, each with a thread of its own, as the runtime will have them: what a node tells is done, and links are made up.
//!
//! Always holds: from when all ranges are served, none is without a node for longer than [`CLAIM`], and none has two for longer than [`TWO_OWNERS`]; nobody is
//! unheard alone, put out, or finds a log damaged. Whoever breaks that fails at once.
//! Leaves to others: what goes wrong and when (`nodes`), what is stored (`stored`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dunlin::cluster::{
    BootId, ClusterDocument, ClusterView, NodeIdentity, NodeNews, NodeStanding, PeerWord, RangeCount, RangeId,
    RangePlace,
};
use dunlin::config::cluster::EngineConfig;
use dunlin::ids::ShardId;
use dunlin::services::cluster::{ClusterAppend, ClusterDoor, ClusterNews, ClusterStart, ClusterWord, start_node};
use dunlin::time::Now;
use tokio::sync::mpsc::Receiver;

use super::LIMIT;
use super::servers::EngineServers;

/// Longest time that a range has nobody who serves it.
pub(crate) const CLAIM: Duration = Duration::from_secs(10);
/// Longest time that two nodes take themselves for the owner of one: what is promised of two connections of one client id.
const TWO_OWNERS: Duration = Duration::from_secs(4);
/// Time between two PINGs, and until a peer that is new knows everything.
const PING: Duration = Duration::from_millis(500);
const SYNC: Duration = Duration::from_millis(300);
/// Time until a link to a process that is gone is given up.
const SILENT: Duration = Duration::from_millis(1_500);
/// Time between two appends to each range.
const WORK: Duration = Duration::from_millis(100);
const SHARDS: usize = 2;

/// What a node's links have brought of a process.
#[derive(Clone, Copy, Debug)]
struct Contact {
    boot: u64,
    linked_at: Instant,
    heard_at: Instant,
    is_broken: bool,
}

/// A node's process.
struct FleetNode {
    name: &'static str,
    boot: u64,
    door: ClusterDoor,
    news: Receiver<ClusterNews>,
    view: Option<Arc<ClusterView>>,
    is_heard: bool,
    has_served: bool,
    /// Nobody takes its news.
    is_deaf: bool,
    contacts: BTreeMap<ShardId, Contact>,
    /// Ids by range and number, until they are durable.
    waiting: BTreeMap<(RangeId, u64), u64>,
}

/// All of them.
pub(crate) struct Fleet {
    servers: EngineServers,
    ranges: RangeCount,
    nodes: Vec<FleetNode>,
    boots: u64,
    pinged_at: Instant,
    worked_at: Instant,
    begun: Instant,
    next_id: u64,
    /// When each id was appended that is durable, by range.
    durable: BTreeMap<RangeId, BTreeMap<u64, Instant>>,
    appended_at: BTreeMap<u64, Instant>,
    /// Since when each range has nobody, or two.
    unserved: BTreeMap<RangeId, Instant>,
    twice: BTreeMap<RangeId, Instant>,
    /// Claims are to be quick from when all ranges were served.
    is_whole: bool,
    longest_claim: Duration,
}

impl FleetNode {
    fn serves(&self, range: RangeId) -> bool {
        let view = self.view.as_ref();
        view.is_some_and(|view| view.standing == NodeStanding::Serves && view.place_of_range(range) == RangePlace::Here)
    }

    /// The slot that the process of another one has here.
    fn slot_of(&self, boot: u64) -> Option<ShardId> {
        self.view.as_ref()?.peers.iter().find(|peer| peer.boot.0 == boot).map(|peer| peer.slot)
    }

    fn say(&self, word: ClusterWord) {
        self.door.say(word).expect("there is room for what is said seldom");
    }
}

impl Fleet {
    /// Of servers that run; there is no node yet.
    pub(crate) fn new(servers: EngineServers, ranges: u16) -> Self {
        let now = Instant::now();
        Self {
            servers,
            ranges: RangeCount::new(ranges).expect("there may be so many"),
            nodes: Vec::new(),
            boots: u64::from(std::process::id()) << 32,
            pinged_at: now,
            worked_at: now,
            begun: now,
            next_id: 0,
            durable: BTreeMap::new(),
            appended_at: BTreeMap::new(),
            unserved: BTreeMap::new(),
            twice: BTreeMap::new(),
            is_whole: false,
            longest_claim: Duration::ZERO,
        }
    }

    pub(crate) fn servers(&mut self) -> &mut EngineServers {
        &mut self.servers
    }

    pub(crate) const fn ranges(&self) -> RangeCount {
        self.ranges
    }

    /// A new process under this name.
    pub(crate) fn start(&mut self, name: &'static str) {
        self.boots += 1;
        let boot = self.boots;
        let cluster = ClusterDocument { name: "fleet".to_owned(), ranges: self.ranges, hash_seeds: [boot; 4] };
        let (link, version) = ("127.0.0.1:1885".to_owned(), "0.1.0".to_owned());
        let identity = NodeIdentity { name: name.to_owned(), boot: BootId(boot), link, server: None, version, cluster };
        let engine = self.servers.config("fleet", "sys");
        let (door, news) = start_node(ClusterStart { engine, identity, shards: SHARDS, clock }).expect("a thread");
        self.note(&format!("{name} starts as {boot:x}"));
        self.nodes.push(FleetNode {
            name,
            boot,
            door,
            news,
            view: None,
            is_heard: false,
            has_served: false,
            is_deaf: false,
            contacts: BTreeMap::new(),
            waiting: BTreeMap::new(),
        });
    }

    /// Its process ends, and says nothing before.
    pub(crate) fn end(&mut self, name: &str) {
        self.note(&format!("{name} ends"));
        self.nodes.retain(|node| node.name != name);
    }

    /// Nobody takes its news any more, while it has more and more to tell.
    pub(crate) fn flood(&mut self, name: &str) {
        let node = self.nodes.iter_mut().find(|node| node.name == name).expect("it runs");
        node.is_deaf = true;
        let begun = Instant::now();
        let mut refused_at = None;
        // Of no range: each has an answer all the same.
        let append = ClusterAppend { range: RangeId(63), tag: 0, count: 0, records: Vec::new() };
        while refused_at.is_none_or(|at: Instant| at.elapsed() < Duration::from_secs(1)) {
            assert!(begun.elapsed() < LIMIT, "there is room without an end");
            if node.door.append(append.clone()).is_ok() {
                refused_at = None;
            } else {
                refused_at.get_or_insert_with(Instant::now);
                sleep(Duration::from_millis(1));
            }
        }
    }

    /// Goes on until something is so, or fails.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < LIMIT, "it is not so that {what}: {}", self.words());
            self.step();
        }
        self.note(&format!("{what}, after {:?}", begun.elapsed()));
    }

    /// Goes on for a while.
    pub(crate) fn during(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.step();
        }
    }

    /// Goes on while somebody else looks at the engine.
    pub(crate) fn meanwhile<T: Send + 'static>(&mut self, look: impl FnOnce(&EngineConfig) -> T + Send + 'static) -> T {
        let config = self.servers.config("fleet", "sys");
        let looking = std::thread::spawn(move || look(&config));
        while !looking.is_finished() {
            self.step();
        }
        looking.join().expect("it has found what it looked for")
    }

    /// Whether each node serves its share of all ranges.
    pub(crate) fn is_served_evenly(&self) -> bool {
        let share = usize::from(self.ranges.get()) / self.nodes.len();
        self.is_served() && self.nodes.iter().all(|node| self.served_by(node.name).len() >= share)
    }

    pub(crate) fn is_served(&self) -> bool {
        self.ranges.all().all(|range| self.server_of(range).is_some())
    }

    /// Who serves a range, as long as it is one.
    pub(crate) fn server_of(&self, range: RangeId) -> Option<&'static str> {
        let heard = self.nodes.iter().filter(|node| !node.is_deaf);
        let mut serving = heard.filter(|node| node.serves(range)).map(|node| node.name);
        serving.next().filter(|_| serving.next().is_none())
    }

    pub(crate) fn served_by(&self, name: &str) -> Vec<RangeId> {
        self.ranges.all().filter(|range| self.server_of(*range) == Some(name)).collect()
    }

    /// Where the nodes see the server of each range, by their names.
    pub(crate) fn seen_by(&self, name: &str, range: RangeId) -> Option<RangePlace> {
        let node = self.nodes.iter().find(|node| node.name == name)?;
        node.view.as_ref().map(|view| view.place_of_range(range))
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.nodes.iter().map(|node| node.name).collect()
    }

    /// Whether in each range something is durable that was appended since.
    pub(crate) fn goes_on_since(&self, since: Instant) -> bool {
        let is_new = |range| self.durable.get(&range).is_some_and(|ids| ids.values().any(|at| *at > since));
        self.ranges.all().all(is_new) && self.nodes.iter().all(|node| node.is_heard)
    }

    /// What was said to be durable.
    pub(crate) fn durable(&self, range: RangeId) -> BTreeSet<u64> {
        self.durable.get(&range).into_iter().flatten().map(|(id, _)| *id).collect()
    }

    pub(crate) fn note(&self, what: &str) {
        println!("{:8.3} {what}", self.begun.elapsed().as_secs_f64());
    }

    fn words(&self) -> String {
        let served: Vec<_> = self.ranges.all().map(|range| (range.0, self.server_of(range))).collect();
        let nodes: Vec<_> = self.nodes.iter().map(|node| (node.name, node.is_heard, node.view.as_deref())).collect();
        format!("{served:?}; {nodes:#?}")
    }

    fn step(&mut self) {
        for index in 0..self.nodes.len() {
            while !self.nodes[index].is_deaf
                && let Ok(news) = self.nodes[index].news.try_recv()
            {
                self.take(index, news);
            }
        }
        self.link();
        self.work();
        self.look();
        sleep(Duration::from_millis(5));
    }

    fn take(&mut self, index: usize, news: ClusterNews) {
        let name = self.nodes[index].name;
        match news {
            ClusterNews::Node(news) => self.take_node(index, news),
            ClusterNews::Appended { range, tag, n } => {
                self.nodes[index].waiting.extend(n.map(|n| ((range, n), tag)));
            }
            ClusterNews::Failed(fault) => panic!("{name}: {fault}"),
            ClusterNews::Founded { document, .. } => assert_eq!(document.ranges, self.ranges),
            ClusterNews::Waits(_) | ClusterNews::Silent(_) | ClusterNews::Answers => {
                self.note(&format!("{name}: {news:?}"));
            }
        }
    }

    fn take_node(&mut self, index: usize, news: NodeNews) {
        if !matches!(news, NodeNews::View(_) | NodeNews::Durable { .. }) {
            self.note(&format!("{}: {news:?}", self.nodes[index].name));
        }
        let node = &mut self.nodes[index];
        match news {
            NodeNews::View(view) => {
                let is_alone = view.standing == NodeStanding::Alone && node.has_served;
                node.has_served |= view.standing == NodeStanding::Serves;
                node.view = Some(view);
                assert!(!is_alone, "{} is alone: {}", self.nodes[index].name, self.words());
            }
            NodeNews::Heard(is_heard) => node.is_heard = is_heard,
            NodeNews::CloseRanges(ranges) => node.say(ClusterWord::Closed(ranges)),
            NodeNews::ForgetSlot(slot) => {
                node.contacts.remove(&slot);
                node.say(ClusterWord::Forgotten(slot));
            }
            NodeNews::Durable { range, n } => {
                let durable: Vec<u64> = node.waiting.range((range, 0)..=(range, n)).map(|(_, id)| *id).collect();
                node.waiting.retain(|(of, number), _| *of != range || *number > n);
                for id in durable {
                    let appended_at = self.appended_at.remove(&id).expect("it was appended once");
                    self.durable.entry(range).or_default().insert(id, appended_at);
                }
            }
            NodeNews::BegunAnew(range) | NodeNews::Lost { range, .. } => node.waiting.retain(|(of, _), _| *of != range),
            NodeNews::Owned { .. } | NodeNews::Dead(_) => {}
            NodeNews::CutOff(_) | NodeNews::Expelled | NodeNews::Ends(_) | NodeNews::Quarantined { .. } => {
                panic!("{}: {news:?}", node.name);
            }
        }
    }

    /// Each node pings each process that it knows, and is answered by whom it knows or who does not know it yet.
    fn link(&mut self) {
        let now = Instant::now();
        self.end_links(now);
        if now - self.pinged_at < PING {
            return;
        }
        self.pinged_at = now;
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                let (one, other) = (&self.nodes[from], &self.nodes[to]);
                if one.slot_of(other.boot).is_none() || one.is_deaf || other.is_deaf {
                    continue;
                }
                let is_known = other.slot_of(one.boot).is_some();
                if is_known {
                    self.hear(to, from, now);
                }
                if is_known || !self.nodes[from].has_served {
                    self.hear(from, to, now);
                }
            }
        }
    }

    fn hear(&mut self, index: usize, of: usize, now: Instant) {
        let (boot, is_heard) = (self.nodes[of].boot, self.nodes[of].is_heard);
        let node = &mut self.nodes[index];
        let Some(slot) = node.slot_of(boot) else { return };
        let new = Contact { boot, linked_at: now, heard_at: now, is_broken: false };
        let known = node.contacts.get(&slot).copied().filter(|contact| contact.boot == boot && !contact.is_broken);
        let contact = Contact { heard_at: now, ..known.unwrap_or(new) };
        node.contacts.insert(slot, contact);
        if known.is_none() {
            node.say(ClusterWord::Peer(slot, PeerWord::Linked));
        }
        node.say(ClusterWord::Peer(slot, PeerWord::Heard(is_heard)));
        if now - contact.linked_at >= SYNC {
            node.say(ClusterWord::Peer(slot, PeerWord::Counted));
        }
    }

    /// A process that is gone is not heard any more. One that is there is, however long this test stood still.
    fn end_links(&mut self, now: Instant) {
        let alive: BTreeSet<u64> = self.nodes.iter().filter(|node| !node.is_deaf).map(|node| node.boot).collect();
        for node in self.nodes.iter_mut().filter(|node| !node.is_deaf) {
            for (slot, contact) in &mut node.contacts {
                let is_gone = !alive.contains(&contact.boot) && now - contact.heard_at >= SILENT;
                if is_gone && !std::mem::replace(&mut contact.is_broken, true) {
                    node.door.say(ClusterWord::Peer(*slot, PeerWord::Broken)).expect("there is room");
                }
            }
        }
    }

    /// Clients publish: a new id for each range, by who serves it.
    fn work(&mut self) {
        let now = Instant::now();
        if now - self.worked_at < WORK {
            return;
        }
        self.worked_at = now;
        for node in self.nodes.iter().filter(|node| !node.is_deaf) {
            for range in self.ranges.all().filter(|range| node.serves(*range)) {
                let (tag, records) = (self.next_id, self.next_id.to_le_bytes().to_vec());
                self.next_id += 1;
                self.appended_at.insert(tag, now);
                let _ = node.door.append(ClusterAppend { range, tag, count: 1, records });
            }
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.is_whole |= self.is_served();
        if !self.is_whole {
            return;
        }
        for range in self.ranges.all() {
            let serving = self.nodes.iter().filter(|node| !node.is_deaf && node.serves(range)).count();
            let since = |times: &mut BTreeMap<RangeId, Instant>, is_so: bool| {
                if is_so {
                    now - *times.entry(range).or_insert(now)
                } else {
                    times.remove(&range).map_or(Duration::ZERO, |since| now - since)
                }
            };
            let unserved = since(&mut self.unserved, serving == 0);
            let twice = since(&mut self.twice, serving > 1);
            self.longest_claim = self.longest_claim.max(unserved);
            assert!(unserved < CLAIM, "range {} is nobody's: {}", range.0, self.words());
            assert!(twice < TWO_OWNERS, "range {} has two: {}", range.0, self.words());
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.note(&format!("the longest claim took {:?}", self.longest_claim));
    }
}

fn clock() -> Now {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let begun = *BEGUN.get_or_init(Instant::now);
    Now { mono_ns: 1_000_000_000 + begun.elapsed().as_nanos() as u64, unix_ms: 1_700_000_000_000 }
}
