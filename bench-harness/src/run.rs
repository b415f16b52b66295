//! Rounds: cell by cell, the brokers take turns in each round, so that what else the machine does falls on all of them. One
//! that loses messages, or fails otherwise, has no speed: it is spared the further rounds of that cell.
//!
//! The results file is written after every cell, or after all of those that take turns with each other: what was measured
//! is not lost with what was not.

use crate::broker::{BUILT_IN, Broker, Choice, IN_MEMORY, REDIS};
use crate::cells::{self, Cell, Load, Placement, Section, Storage};
use crate::cli::RunOptions;
use crate::machine::Machine;
use crate::measure::Setup;
use crate::results::{Figures, Measurement, Results};
use crate::transport::Certificates;
use crate::{floor, generator, index, redis};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::path::Path;

/// Who takes part only if named, but where messages are kept on a disk: RabbitMQ takes 20 s to start, each time.
const LEFT_OUT: &str = "rabbitmq";
/// Whose curves are drawn beside dunlin's and those of added brokers without being named: the yardstick and the fastest peer. A plot of
/// eight curves shows nothing, and measuring them takes an hour.
const IN_CURVES: [&str; 2] = ["mosquitto", "flashmq"];
/// Length of a measured stage with `--quick`.
const QUICK_S: f64 = 0.3;

/// Measures and writes the results file.
pub(crate) fn run(options: &RunOptions) -> Result<(), String> {
    let cells = cells::selected(&options.cells)?;
    let brokers = brokers(options)?;
    let loadtest = std::fs::canonicalize(&options.loadtest)
        .map_err(|error| format!("{}: {error} (scripts/bench builds it)", options.loadtest.display()))?;
    let open_files_max = raise_open_files()?;
    let scratch = Scratch::new()?;
    let disk = Scratch::on_disk(&options.disk)?;
    let setup = Setup {
        loadtest,
        broker_core: options.broker_core,
        generator_core: options.generator_core,
        seconds: if options.quick { QUICK_S } else { options.seconds },
        quick: options.quick,
        scratch: scratch.0.clone(),
        disk: disk.0.clone(),
        open_files_max,
        may_go_ahead: generator::may_go_ahead(),
        certificates: if cells.iter().any(|cell| cell.transport.has_tls()) {
            Certificates::make(&scratch.0.join("certificates"))
        } else {
            Err("no cell that was asked for needs any".to_owned())
        },
    };
    if !setup.may_go_ahead {
        println!(
            "No right to real-time priorities (CAP_SYS_NICE): what others notice of a sweep will hold how long the \
             generator waits for its own core."
        );
    }
    let mut results = Results::read(&options.results)?;
    results.machine = Machine::here(&options.remark);
    for broker in &brokers {
        results.brokers.insert(broker.name.clone(), broker.version.clone());
        if let Err(reason) = &broker.version {
            println!("{:<16} is missing: {reason}", broker.name);
        }
    }
    if let Some(parent) = options.results.parent() {
        std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    }
    // Cells that are compared with each other take turns, too.
    let shared = |cell: &Cell| matches!(cell.placement, Placement::Shared(_));
    for together in cells.chunk_by(|left, right| shared(left) && shared(right)) {
        results.replace(measure_cells(together, &brokers, options, &setup));
        results.write(&options.results)?;
    }
    if let Some(trie) = &options.trie {
        results.index = index::measure(trie)?;
        results.write(&options.results)?;
    }
    println!("{} holds what was measured", options.results.display());
    Ok(())
}

/// Prints what there is.
pub(crate) fn list() {
    for cell in cells::all() {
        println!("{:<26} {}", cell.name, cell.title);
    }
    println!();
    for name in BUILT_IN {
        match Broker::built_in(name).version {
            Ok(version) => println!("{name:<26} {version}"),
            Err(reason) => println!("{name:<26} MISSING: {reason}"),
        }
    }
}

fn brokers(options: &RunOptions) -> Result<Vec<Broker>, String> {
    let added = options.added.iter().map(|text| Broker::added(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(name) = options.brokers.iter().find(|name| !BUILT_IN.contains(&name.as_str())) {
        return Err(format!(
            "--brokers {name}: there are {}; others by --broker {name}=path/to/start.sh",
            BUILT_IN.join(", ")
        ));
    }
    let wanted = |name: &&&str| options.brokers.is_empty() || options.brokers.iter().any(|wanted| wanted == *name);
    let built_in = BUILT_IN.iter().filter(|name| wanted(name)).map(|name| Broker::built_in(name));
    Ok(built_in.chain(added).collect())
}

/// Whether a broker takes part in a cell, where none was named.
fn takes_part(cell: &Cell, broker: &str) -> bool {
    match cell.section {
        // Two shards are compared with one.
        Section::Shards => broker.starts_with("dunlin") && broker != IN_MEMORY,
        Section::Durable => true,
        _ if broker == LEFT_OUT => false,
        Section::Beside => broker.starts_with("dunlin") || IN_CURVES.contains(&broker) || !BUILT_IN.contains(&broker),
        // Others have a file open for each client; the next cell is theirs.
        Section::Storms if cell.name == cells::STORM => broker.starts_with("dunlin"),
        _ if matches!(cell.section, Section::Series(..)) || cell.name == cells::LARGE => {
            broker == "dunlin" || IN_CURVES.contains(&broker) || !BUILT_IN.contains(&broker)
        }
        _ => true,
    }
}

fn measure_cells(cells: &[Cell], brokers: &[Broker], options: &RunOptions, setup: &Setup) -> Vec<Measurement> {
    let mut measurements = Vec::new();
    let rounds = if options.quick { 1 } else { options.rounds };
    for (round, cell) in (1..=rounds).flat_map(|round| cells.iter().map(move |cell| (round, cell))) {
        if round == 1 || cells.len() > 1 {
            println!("{}: {}", cell.name, cell.title);
        }
        let keep = |broker: &str, choice: Option<&Choice>, outcome: Result<Figures, String>| {
            let name = choice.map_or(broker.to_owned(), |choice| format!("{broker} {}", choice.name));
            println!("  {round} {name:<24} {}", in_words(cell, &outcome));
            let (cell, broker) = (cell.name.clone(), broker.to_owned());
            Measurement { cell, broker, choice: choice.map(|choice| choice.words.clone()), round, outcome }
        };
        let is_asked = |broker: &&Broker| !options.brokers.is_empty() || takes_part(cell, &broker.name);
        // One that has no such listener, no such files or no users has no line: nothing is wrong with it.
        let has_users = |broker: &&Broker| !matches!(cell.load, Load::Logins { .. }) || broker.has_passwords();
        let is_asked = |broker: &&Broker| can(broker, cell) && has_users(broker) && is_asked(broker);
        for broker in brokers.iter().filter(|broker| broker.version.is_ok()).filter(is_asked) {
            for choice in choices(cell, broker) {
                // Its fault is what the tables will say of it, whatever came after.
                let choice = choice.as_ref();
                if !has_failed(&measurements, &cell.name, &broker.name, choice) {
                    let outcome = match broker.name.as_str() {
                        REDIS => redis::measure(broker, cell, setup),
                        _ => setup.measure(cell, broker, choice),
                    };
                    measurements.push(keep(&broker.name, choice, outcome));
                }
            }
        }
        if let Some(relay) = options.relay.as_deref().filter(|_| floor::covers(cell)) {
            measurements.push(keep(floor::NAME, None, floor::measure(relay, cell, setup)));
        }
    }
    measurements
}

/// Whether a broker can do what the cell is about.
fn can(broker: &Broker, cell: &Cell) -> bool {
    let is_loaded = broker.name != REDIS || redis::covers(cell);
    is_loaded && broker.has(cell.transport) && broker.keeps(cell.load.storage())
}

/// What is measured of a broker in a cell: all that its users choose between, unless it is to be as it ships. What has to be
/// known of how it keeps messages is said with each.
fn choices(cell: &Cell, broker: &Broker) -> Vec<Option<Choice>> {
    let storage = cell.load.storage();
    let how = broker.how_it_keeps(storage).filter(|_| storage == Storage::Disk);
    if broker.choices.is_empty() || cell.placement == Placement::AsShipped {
        return vec![how.map(|words| Choice { name: storage.word().to_owned(), words: words.to_owned() })];
    }
    let with = |choice: &Choice| {
        let words = how.map_or(choice.words.clone(), |how| format!("{how}; {}", choice.words));
        Some(Choice { name: choice.name.clone(), words })
    };
    broker.choices.iter().map(with).collect()
}

/// Whether an earlier round had no figures, or not every message.
fn has_failed(measurements: &[Measurement], cell: &str, broker: &str, choice: Option<&Choice>) -> bool {
    let words = choice.map(|choice| choice.words.as_str());
    let of_both = |one: &&Measurement| one.cell == cell && one.broker == broker && one.choice.as_deref() == words;
    let is_whole = |one: &Measurement| one.outcome.as_ref().is_ok_and(|figures| figures.verdict.faults.is_empty());
    !measurements.iter().filter(of_both).all(is_whole)
}

fn in_words(cell: &Cell, outcome: &Result<Figures, String>) -> String {
    match outcome {
        Err(problem) => format!("FAILED: {problem}"),
        Ok(figures) => {
            let mut words = match figures.values.get(cell.headline) {
                Some(value) => format!("{value:10.2} {}", cell.headline),
                None => format!("no {}", cell.headline),
            };
            for fault in &figures.verdict.faults {
                words.push_str("; ");
                words.push_str(fault);
            }
            words
        }
    }
}

/// Brokers and load inherit it.
fn raise_open_files() -> Result<u64, String> {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    raised.map_err(|error| format!("the limit on open files: {error}"))
}

/// A directory of this run's, gone when it ends.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        // In memory where it can be: no broker is to wait for a disk that others do not write to.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("dunlin-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// Where brokers wait for a disk. The path is whole: they start in other directories.
    fn on_disk(parent: &Path) -> Result<Self, String> {
        let path = parent.join(format!("dunlin-bench-{}", std::process::id()));
        let io = |error| format!("{}: {error}", path.display());
        std::fs::create_dir_all(&path).map_err(io)?;
        std::fs::canonicalize(&path).map(Self).map_err(io)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        // Leftovers in the temporary directory hurt nobody.
        let _ = std::fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_brokers_users_choose_between_is_measured_but_not_where_it_is_to_be_as_it_ships() {
        let broker = Broker::built_in("mosquitto-debian");
        let names = |cell: &str| {
            let cell = cells::selected(&[cell.to_owned()]).expect("there").remove(0);
            choices(&cell, &broker).into_iter().map(|choice| choice.map(|one| one.name)).collect::<Vec<_>>()
        };
        assert_eq!(names("p2p-qos0-w1"), [Some("nagle".to_owned()), Some("nodelay".to_owned())]);
        assert_eq!(names("low-rate-100-qos1"), [None]);
    }

    #[test]
    fn how_a_broker_keeps_messages_is_said_with_its_choice_where_they_are_to_be_on_a_disk() {
        let words = |broker: &str, cell: &str| {
            let cell = cells::selected(&[cell.to_owned()]).expect("there").remove(0);
            let all = choices(&cell, &Broker::built_in(broker)).into_iter();
            all.map(|choice| choice.map_or(String::new(), |one| one.words)).collect::<Vec<_>>()
        };
        let mosquitto = words("mosquitto-debian", "durable-64");
        assert!(mosquitto.iter().all(|words| words.starts_with("not synced") && words.contains("TCP_NODELAY")));
        assert_eq!(mosquitto.len(), 2);
        assert_eq!(
            (words("dunlin", "durable-64"), words("dunlin", "idle")),
            (vec![String::new()], vec![String::new()])
        );
        assert!(words(IN_MEMORY, "durable-64")[0].starts_with("not synced"));
    }

    #[test]
    fn redis_and_the_memory_store_are_there_where_messages_are_kept_and_nowhere_else() {
        let all = cells::all();
        let of = |name: &str| {
            let broker = Broker::built_in(name);
            let there = all.iter().filter(|cell| can(&broker, cell) && takes_part(cell, name));
            there.map(|cell| cell.name.clone()).collect::<Vec<_>>()
        };
        let durable = cells::DURABLE_IN_FLIGHT.map(cells::durable_name).to_vec();
        assert_eq!(of("redis"), durable);
        assert_eq!(of(LEFT_OUT), durable);
        assert_eq!(of(IN_MEMORY), [durable, vec![cells::BESIDE.to_owned()]].concat());
    }

    #[test]
    fn unless_named_all_are_in_the_tables_and_few_in_the_curves() {
        let cell = |name: &str| cells::selected(&[name.to_owned()]).expect("there").remove(0);
        let of = |name: &str| {
            let all = ["dunlin", "mosquitto", "nats", "flashmq", "dunlin-before"];
            all.into_iter().filter(|broker| takes_part(&cell(name), broker)).collect::<Vec<_>>()
        };
        assert_eq!(of("p2p-qos0-w1"), ["dunlin", "mosquitto", "nats", "flashmq", "dunlin-before"]);
        assert_eq!(of("series-memory-1000"), ["dunlin", "mosquitto", "flashmq", "dunlin-before"]);
        assert_eq!(of(cells::LARGE), ["dunlin", "mosquitto", "flashmq", "dunlin-before"]);
        assert_eq!(of("shards-2-p2p-qos0-w1"), ["dunlin", "dunlin-before"]);
        assert_eq!(of(cells::STORM), ["dunlin", "dunlin-before"]);
        assert_eq!(of("storm-tls-19000"), ["dunlin", "mosquitto", "nats", "flashmq", "dunlin-before"]);
    }
}
