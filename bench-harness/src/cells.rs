//! What is measured, as a table: each cell a load, where it runs, and which figure it is about.
//!
//! A cell that belongs to a series is one point of a curve. Names are what `--cells` takes; a word selects every cell whose
//! name contains it.

use crate::results::metric;
use crate::scenario::{KeptLoad, Pace, Scenario};
use crate::transport::Transport;

/// One load that every broker gets, and how its figure is called.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// For the command line and the results file.
    pub name: String,
    /// For tables.
    pub title: String,
    /// Where it is shown.
    pub section: Section,
    /// On which cores.
    pub placement: Placement,
    /// What its clients come by.
    pub transport: Transport,
    /// What happens.
    pub load: Load,
    /// The figure that it is about.
    pub headline: &'static str,
}

/// Where a cell is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Section {
    /// CPU a message, on one core.
    OneCore,
    /// How long a lump of work takes.
    Lumps,
    /// Idle clients and accepting.
    Idle,
    /// Latency at a fixed rate.
    Latency,
    /// What few messages cost a broker as it ships.
    LowRate,
    /// What a broker as it ships does while nothing happens.
    Silence,
    /// The whole machine.
    AllCores,
    /// The same load on one shard and on two.
    Shards,
    /// Messages that are on a disk when they are acknowledged.
    Durable,
    /// What others notice of them.
    Beside,
    /// CPU a message, on one core, over TLS and WebSocket.
    Secured,
    /// Idle clients and accepting, over TLS and WebSocket.
    Handshakes,
    /// What others notice of a fleet that comes back.
    Storms,
    /// A point of a curve.
    Series(Series, f64),
}

/// Curves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// CPU a message against connections.
    Connections,
    /// Memory against connections.
    Memory,
    /// CPU a delivered message against subscribers.
    FanOut,
}

/// On which cores a cell runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The broker on one core, with one thread where it can be told; the generator on another.
    OneCore,
    /// Both wherever the scheduler puts them, with a thread a core each.
    AllCores,
    /// Both wherever the scheduler puts them, the broker as it ships.
    AsShipped,
    /// So many cores for both together, and as many threads for the broker: what shares a core with the generator is slower
    /// than what has one to itself, so one thread is not given what two could not have.
    Shared(usize),
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Publishers with a subscriber each.
    Pairs {
        /// How many.
        pairs: u32,
        /// Of messages and subscriptions.
        qos: u8,
        /// Of each publisher, or of all together.
        pace: Pace,
    },
    /// Every subscriber wants everything.
    Star {
        /// How many publish.
        publishers: u32,
        /// How many listen.
        subscribers: u32,
        /// Under way a publisher.
        window: u32,
    },
    /// Subscribers with 100 wildcard filters each.
    Wildcards {
        /// How many.
        sites: u32,
    },
    /// Retained messages to one new subscriber, while others exchange messages.
    Sweep {
        /// How many.
        messages: u32,
        /// How often, two at least: the first is measured, others are watched beside all.
        sweeps: usize,
    },
    /// Sessions that return.
    Backlog {
        /// How many.
        sessions: u32,
        /// For each.
        messages: u32,
    },
    /// Silent clients: what they take of memory, and what accepting them costs.
    Idle {
        /// How many.
        clients: u32,
    },
    /// Clients that come, without a subscription: what accepting costs.
    Accept {
        /// How many.
        clients: u32,
    },
    /// Publishers to sessions that are away: what is acknowledged has to be on a disk.
    Durable {
        /// Of all of them together.
        in_flight: u32,
    },
    /// The same after some quiet seconds, beside others that exchange messages all the time.
    Beside {
        /// Of all of them together.
        in_flight: u32,
    },
    /// Silent clients for a while, or none at all: what a broker does that has nothing to do.
    Silence {
        /// How many.
        clients: u32,
    },
    /// A fleet that is cut off and comes back, while others exchange messages.
    Storm {
        /// How many.
        clients: u32,
    },
    /// A fleet that comes with names and passwords, for the first time and then again, while others exchange messages; before that
    /// without any.
    Logins {
        /// How many.
        clients: u32,
        /// Whose names they have.
        users: u32,
    },
}

impl Load {
    /// For loadtest.
    pub(crate) fn scenario(self, seconds: f64) -> Scenario {
        match self {
            Self::Pairs { pairs, qos, pace } => Scenario::pairs(pairs, qos, pace, seconds),
            Self::Star { publishers, subscribers, window } => {
                Scenario::star(publishers, subscribers, 0, Pace::Window(window), seconds)
            }
            Self::Wildcards { sites } => Scenario::wildcards(sites, 4, seconds),
            Self::Sweep { messages, sweeps } => Scenario::retained_sweep(messages, sweeps),
            Self::Backlog { sessions, messages } => Scenario::offline_backlog(sessions, u64::from(messages)),
            Self::Idle { clients } => Scenario::idle(clients),
            Self::Accept { clients } => Scenario::accept(clients),
            // How many there are to be is found by trying.
            Self::Durable { in_flight } | Self::Beside { in_flight } => {
                Scenario::kept(durable(in_flight), 0.0, TRIED_FIRST)
            }
            Self::Silence { clients } => Scenario::silence(clients, seconds * SILENCE_STAGES),
            Self::Storm { clients } => Scenario::storm(clients, seconds * QUIET_STAGES),
            Self::Logins { clients, users } => Scenario::comings(clients, users, seconds * QUIET_STAGES),
        }
    }

    /// For loadtest, where messages are kept: so many of each publisher. `None` for other loads.
    pub(crate) fn scenario_of(self, messages: u64, seconds: f64) -> Option<Scenario> {
        match self {
            Self::Durable { in_flight } => Some(Scenario::kept(durable(in_flight), 0.0, messages)),
            Self::Beside { in_flight } => Some(Scenario::kept(durable(in_flight), seconds + MORE_S, messages)),
            _ => None,
        }
    }

    /// Where brokers have their files, and what is asked of them.
    pub(crate) const fn storage(self) -> Storage {
        match self {
            Self::Durable { .. } | Self::Beside { .. } => Storage::Disk,
            _ => Storage::Memory,
        }
    }

    /// The same in small: to see that all of it works, not how fast.
    #[must_use]
    pub(crate) fn quick(self) -> Self {
        match self {
            Self::Pairs { pairs, qos, pace } => {
                let pace = if let Pace::PerSecond(_) = pace { Pace::PerSecond(500.0) } else { pace };
                Self::Pairs { pairs: pairs.min(10), qos, pace }
            }
            Self::Star { publishers, subscribers, window } => {
                Self::Star { publishers: publishers.min(20), subscribers: subscribers.min(20), window }
            }
            Self::Wildcards { .. } => Self::Wildcards { sites: 10 },
            Self::Sweep { sweeps, .. } => Self::Sweep { messages: 500, sweeps },
            Self::Backlog { .. } => Self::Backlog { sessions: 10, messages: 10 },
            Self::Idle { .. } => Self::Idle { clients: 50 },
            Self::Accept { .. } => Self::Accept { clients: 50 },
            Self::Durable { .. } => Self::Durable { in_flight: DURABLE_PUBLISHERS },
            Self::Beside { .. } => Self::Beside { in_flight: DURABLE_PUBLISHERS },
            Self::Silence { clients } => Self::Silence { clients: clients.min(50) },
            Self::Storm { .. } => Self::Storm { clients: 50 },
            Self::Logins { .. } => Self::Logins { clients: 40, users: 10 },
        }
    }
}

/// Where brokers have their files, and what is asked of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In memory, and nobody is to wait for them.
    Memory,
    /// On a disk, and what is acknowledged is to be there.
    Disk,
}

impl Storage {
    /// For start scripts.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// As often as fills a second of what others notice.
const SWEEPS: usize = 13;
/// Who publishes messages that are kept, and as many sessions that are away.
pub(crate) const DURABLE_PUBLISHERS: u32 = 16;
/// Bytes of such a message.
pub(crate) const DURABLE_PAYLOAD: u32 = 100;
/// So many are under way together, about.
pub(crate) const DURABLE_IN_FLIGHT: [u32; 3] = [64, 1_000, 10_000];
/// What others are watched beside.
pub(crate) const BESIDE: &str = "beside-durable";
/// So much longer are they watched before, and the load goes on: for a whole second more.
pub(crate) const MORE_S: f64 = 1.0;
/// Messages of each publisher in the first attempt at how many it takes.
pub(crate) const TRIED_FIRST: u64 = 100;

/// The name of the cell with so many under way.
pub(crate) fn durable_name(in_flight: u32) -> String {
    format!("durable-{in_flight}")
}

/// The same number for each publisher.
const fn durable(in_flight: u32) -> KeptLoad {
    KeptLoad { publishers: DURABLE_PUBLISHERS, window: in_flight / DURABLE_PUBLISHERS, payload: DURABLE_PAYLOAD }
}

fn durable_cells() -> Vec<Cell> {
    let each = DURABLE_IN_FLIGHT.map(|in_flight| {
        let load = durable(in_flight);
        let title = format!("16 publishers, {} in flight together", load.publishers * load.window);
        let load = Load::Durable { in_flight };
        Cell { title, ..one_core(&durable_name(in_flight), Section::Durable, load, metric::PER_SECOND) }
    });
    let load = Load::Beside { in_flight: 1_000 };
    let beside = Cell {
        title: "2,000 messages a second, 50 pairs, QoS 0, beside 992 durable ones in flight".to_owned(),
        ..one_core(BESIDE, Section::Beside, load, metric::OTHERS_BESIDE_TIMES)
    };
    each.into_iter().chain([beside]).collect()
}

/// All cells, in the order in which they are measured and shown.
pub(crate) fn all() -> Vec<Cell> {
    let mut cells = vec![
        pairs("p2p-qos0-w1", 500, 0, 1),
        pairs("p2p-qos0-w16", 500, 0, 16),
        pairs("p2p-qos1-w1", 500, 1, 1),
        pairs("p2p-qos1-w8", 500, 1, 8),
        pairs("p2p-qos2-w1", 200, 2, 1),
        pairs("p2p-qos2-w4", 200, 2, 4),
        star("fan-out", "one publisher to 1,000 subscribers, 8 in flight", 1, 1_000, 8),
        star("fan-in", "1,000 publishers to one subscriber, 4 in flight each", 1_000, 1, 4),
        Cell {
            title: "100,000 wildcard filters, 3 to 5 match each message".to_owned(),
            ..one_core("wildcards", Section::OneCore, Load::Wildcards { sites: 1_000 }, metric::CPU_US)
        },
        Cell {
            title: "100,000 retained messages to one `#` subscriber".to_owned(),
            ..one_core(
                "retained-sweep",
                Section::Lumps,
                Load::Sweep { messages: 100_000, sweeps: SWEEPS },
                metric::COMPLETE_MS,
            )
        },
        Cell {
            title: "1,000 sessions return, 100 queued QoS 1 messages each".to_owned(),
            ..one_core(
                "offline-backlog",
                Section::Lumps,
                Load::Backlog { sessions: 1_000, messages: 100 },
                metric::COMPLETE_MS,
            )
        },
        Cell {
            title: "15,000 idle clients, one subscription each".to_owned(),
            ..one_core("idle", Section::Idle, Load::Idle { clients: 15_000 }, metric::IDLE_BYTES)
        },
        Cell {
            title: "20,000 messages a second, 500 pairs, QoS 0, open loop".to_owned(),
            ..one_core("latency", Section::Latency, steady_rate(500), metric::P99_US)
        },
    ];
    cells.extend(LOW_RATES.map(|(qos, per_second, title)| low_rate(qos, per_second, title)));
    cells.extend(SILENT_CLIENTS.map(|(clients, title)| silence(clients, title)));
    cells.extend(durable_cells());
    let whole = |cell: &Cell| Cell {
        name: format!("all-{}", cell.name),
        section: Section::AllCores,
        placement: Placement::AllCores,
        ..cell.clone()
    };
    let on_all = ["p2p-qos0-w16", "p2p-qos1-w8", "fan-out", "fan-in"];
    let everywhere: Vec<Cell> = cells.iter().filter(|cell| on_all.contains(&cell.name.as_str())).map(whole).collect();
    cells.extend(everywhere);
    let of_shards: Vec<Cell> =
        SHARD_LOADS.iter().flat_map(|load| SHARD_COUNTS.map(|threads| on_shards(load, threads, &cells))).collect();
    cells.extend(of_shards);
    cells.extend(secured(&cells));
    cells.extend(storms());
    cells.extend(series());
    cells
}

/// What is measured over TLS and over WebSocket: every load on one core, idle clients, and what coming in costs.
fn secured(cells: &[Cell]) -> Vec<Cell> {
    // What TLS costs a message is told by a message alone, and by many at once.
    let at_once = Cell { section: Section::Secured, ..pairs(AT_ONCE, 20, 0, 50) };
    let mut all = vec![at_once.clone()];
    let loads = cells.iter().filter(|cell| cell.section == Section::OneCore).chain([&at_once]);
    for cell in loads {
        all.extend(OVER.map(|transport| over(cell, transport)));
    }
    for (name, title, transport) in IDLE_OVER {
        let load = Load::Idle { clients: 15_000 };
        let cell = one_core(name, Section::Handshakes, load, metric::IDLE_BYTES);
        all.push(Cell { title: title.to_owned(), transport, ..cell });
    }
    for (name, title, transport) in ACCEPT_OVER {
        let load = Load::Accept { clients: 5_000 };
        let cell = one_core(name, Section::Handshakes, load, metric::ACCEPT_US);
        all.push(Cell { title: title.to_owned(), transport, ..cell });
    }
    all
}

/// Fleets that come back, and what others notice of it.
fn storms() -> Vec<Cell> {
    let storm = |name: &str, clients: u32| Cell {
        title: format!("{},000 clients come back over TLS 1.3, whole handshakes", clients / 1_000),
        transport: Transport::Tls,
        ..one_core(name, Section::Storms, Load::Storm { clients }, metric::OTHERS_TIMES)
    };
    vec![
        storm(STORM, 20_000),
        storm("storm-tls-19000", 19_000),
        Cell {
            title: "10,000 clients log in, 1,000 users".to_owned(),
            ..one_core(LOGINS, Section::Storms, Load::Logins { clients: 10_000, users: 1_000 }, metric::OTHERS_TIMES)
        },
    ]
}

/// More clients than a broker may open files on a usual machine, unless it does without: dunlin's alone.
pub(crate) const STORM: &str = "storm-tls";
/// A fleet with names and passwords.
pub(crate) const LOGINS: &str = "logins";
/// So many measured stages are as long as the quiet before a storm: its 99th percentile needs more messages than a median.
const QUIET_STAGES: f64 = 2.0;

/// Fifty messages of each publisher at once, of twenty pairs.
pub(crate) const AT_ONCE: &str = "p2p-qos0-w50";

/// What every load on one core is measured over.
const OVER: [Transport; 2] = [Transport::Tls, Transport::Ws];

/// Idle clients.
const IDLE_OVER: [(&str, &str, Transport); 3] = [
    ("idle-tls", "idle, TLS 1.3", Transport::Tls),
    ("idle-ws", "idle, WebSocket", Transport::Ws),
    ("idle-wss", "idle, secure WebSocket", Transport::Wss),
];

/// Clients that come.
const ACCEPT_OVER: [(&str, &str, Transport); 4] = [
    ("accept-tcp", "accept to CONNACK, TCP", Transport::Tcp),
    ("accept-tls", "accept to CONNACK, TLS 1.3, P-256", Transport::Tls),
    ("accept-tls-client", "accept to CONNACK, TLS 1.3, P-256 and a client certificate", Transport::TlsMutual),
    ("accept-tls-rsa", "accept to CONNACK, TLS 1.3, RSA-2048", Transport::TlsRsa),
];

/// The name of a cell over something else than TCP.
pub(crate) fn over_name(cell: &str, transport: Transport) -> String {
    format!("{}-{cell}", transport.word())
}

fn over(cell: &Cell, transport: Transport) -> Cell {
    let with = if transport == Transport::Tls { "TLS 1.3" } else { "WebSocket" };
    Cell {
        name: over_name(&cell.name, transport),
        title: format!("{}, {with}", cell.title),
        section: Section::Secured,
        transport,
        ..cell.clone()
    }
}

/// What a broker as it ships is loaded with: QoS, messages a second, and the same in words.
const LOW_RATES: [(u8, u32, &str); 4] = [
    (1, 100, "100 messages a second, QoS 1"),
    (1, 1_000, "1,000 messages a second, QoS 1"),
    (1, 5_000, "5,000 messages a second, QoS 1"),
    (0, 1_000, "1,000 messages a second, QoS 0"),
];

/// Silent clients of a broker as it ships.
const SILENT_CLIENTS: [(u32, &str); 3] =
    [(0, "no clients"), (1_000, "1,000 idle clients"), (100_000, "100,000 idle clients")];
/// So many measured stages are as long as one of silence: a broker's timers may have ten seconds.
const SILENCE_STAGES: f64 = 7.0;
/// The one of them that is measured only where it is named: connecting so many clients takes minutes.
pub(crate) const LARGE: &str = "silence-100000";

fn low_rate(qos: u8, per_second: u32, title: &str) -> Cell {
    let load = Load::Pairs { pairs: 50, qos, pace: Pace::PerSecond(per_second.into()) };
    let (title, name) = (title.to_owned(), format!("low-rate-{per_second}-qos{qos}"));
    Cell { title, placement: Placement::AsShipped, ..one_core(&name, Section::LowRate, load, metric::CPU_US) }
}

fn silence(clients: u32, title: &str) -> Cell {
    let load = Load::Silence { clients };
    let (title, name) = (title.to_owned(), format!("silence-{clients}"));
    Cell { title, placement: Placement::AsShipped, ..one_core(&name, Section::Silence, load, metric::IDLE_CPU_MS) }
}

/// The figure that a cell is about.
pub(crate) fn headline(name: &str) -> Option<&'static str> {
    all().into_iter().find(|cell| cell.name == name).map(|cell| cell.headline)
}

/// What is measured on one shard and on two: cells on one core, by name.
pub(crate) const SHARD_LOADS: [&str; 5] = ["p2p-qos0-w1", "p2p-qos0-w16", "p2p-qos1-w8", "fan-out", SHARDS_DURABLE];
/// The one of them whose messages are kept on a disk.
pub(crate) const SHARDS_DURABLE: &str = "durable-1000";

/// The one of them that is drawn.
pub(crate) const SHARDS_SHOWN: &str = "p2p-qos0-w16";
/// Shards, and cores for them.
pub(crate) const SHARD_COUNTS: [usize; 2] = [1, 2];

/// The name of the cell that measures one of `SHARD_LOADS` on so many shards.
pub(crate) fn on_shards_name(load: &str, threads: usize) -> String {
    format!("shards-{threads}-{load}")
}

fn on_shards(load: &str, threads: usize, cells: &[Cell]) -> Cell {
    let of = cells.iter().find(|cell| cell.name == load).expect("it is one of the cells on one core");
    let name = on_shards_name(load, threads);
    Cell { name, section: Section::Shards, placement: Placement::Shared(threads), ..of.clone() }
}

/// The cells whose names contain one of the words; all but the large one without words. A word that selects nothing is an error.
pub(crate) fn selected(words: &[String]) -> Result<Vec<Cell>, String> {
    let cells = all();
    if let Some(word) = words.iter().find(|word| !cells.iter().any(|cell| cell.name.contains(*word))) {
        let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        return Err(format!("--cells {word}: no cell's name contains it; there are {}", names.join(", ")));
    }
    let is_name: Vec<bool> = words.iter().map(|word| cells.iter().any(|cell| cell.name == *word)).collect();
    let means = |(word, is_name): (&String, &bool), cell: &Cell| {
        if *is_name { cell.name == *word } else { cell.name.contains(word) }
    };
    let wanted = |cell: &Cell| {
        (words.is_empty() && cell.name != LARGE) || words.iter().zip(&is_name).any(|pair| means(pair, cell))
    };
    Ok(cells.into_iter().filter(wanted).collect())
}

fn series() -> Vec<Cell> {
    let point = |name: &str, series: Series, x: u32, load: Load, headline| {
        let section = Section::Series(series, f64::from(x));
        let who = if series == Series::FanOut { "subscribers" } else { "clients" };
        let title = format!("a point of the curve `{name}`: {x} {who}");
        Cell { title, ..one_core(&format!("series-{name}-{x}"), section, load, headline) }
    };
    let mut cells = Vec::new();
    for connections in [1_000, 3_000, 10_000, 18_000, 50_000, 100_000] {
        let load = steady_rate(connections / 2);
        cells.push(point("connections", Series::Connections, connections, load, metric::CPU_US));
    }
    for clients in [1_000, 3_000, 15_000, 50_000, 100_000] {
        let load = Load::Idle { clients };
        cells.push(point("memory", Series::Memory, clients, load, metric::IDLE_BYTES));
    }
    for subscribers in [1, 10, 100, 1_000, 10_000] {
        let load = Load::Star { publishers: 1, subscribers, window: 8 };
        cells.push(point("fan-out", Series::FanOut, subscribers, load, metric::CPU_US));
    }
    cells
}

/// The same load whatever the number of pairs.
fn steady_rate(pairs: u32) -> Load {
    Load::Pairs { pairs, qos: 0, pace: Pace::PerSecond(20_000.0) }
}

fn pairs(name: &str, pairs: u32, qos: u8, window: u32) -> Cell {
    let load = Load::Pairs { pairs, qos, pace: Pace::Window(window) };
    let title = format!("one-to-one QoS {qos}, {pairs} pairs, {window} in flight");
    Cell { title, ..one_core(name, Section::OneCore, load, metric::CPU_US) }
}

fn star(name: &str, title: &str, publishers: u32, subscribers: u32, window: u32) -> Cell {
    let load = Load::Star { publishers, subscribers, window };
    Cell { title: title.to_owned(), ..one_core(name, Section::OneCore, load, metric::CPU_US) }
}

fn one_core(name: &str, section: Section, load: Load, headline: &'static str) -> Cell {
    let (name, placement, transport) = (name.to_owned(), Placement::OneCore, Transport::Tcp);
    Cell { name, title: String::new(), section, placement, transport, load, headline }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_words_select_by_part() {
        let mut names: Vec<String> = all().into_iter().map(|cell| cell.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        let chosen = |word: &str| selected(&[word.to_owned()]).map(|cells| cells.len());
        assert_eq!(chosen("p2p-qos0-w16").expect("there"), 1, "a whole name means that cell");
        assert_eq!(
            chosen("qos0-w16").expect("there"),
            6,
            "on one core, on all, on one shard and on two, over TLS and WebSocket"
        );
        assert_eq!(selected(&[]).expect("all").len(), count - 1, "all but the large one");
        assert_eq!(chosen(LARGE).expect("there"), 1);
        let on_one_core = all().into_iter().filter(|cell| cell.section == Section::OneCore).count();
        assert_eq!(chosen("tls-p2p").expect("there") + chosen("tls-fan").expect("there") + 1, on_one_core + 1);
        assert_eq!(selected(&["accept-tls".to_owned()]).expect("there")[0].transport, Transport::Tls);
        assert_eq!(chosen("low-rate").expect("there"), LOW_RATES.len());
        assert_eq!(chosen(STORM).expect("there"), 1);
        assert_eq!(selected(&[LOGINS.to_owned()]).expect("there")[0].title, "10,000 clients log in, 1,000 users");
        assert_eq!(
            chosen("durable").expect("there"),
            6,
            "three in flights, one of them on shards, and who is beside it"
        );
        let on_disk = all().into_iter().filter(|cell| cell.load.storage() == Storage::Disk);
        assert!(on_disk.map(|cell| cell.name).all(|name| name.contains("durable")));
        assert!(chosen("fan-sideways").expect_err("there is none").contains("p2p-qos0-w1"));
    }
}
