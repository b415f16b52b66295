//! Copies of a data directory that were made while a broker used it, each started from: nothing is missing in it that was acknowledged before
//! the copy began, and what QoS 2 says holds over all of its logs.
//!
//! `BACKUP_ROUNDS` says how many copies are made.

use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use dunlin::ids::ShardId;
use dunlin::runtime::disk::{Access, Directory, DirectoryMedium};
use dunlin::store::format::LogId;
use dunlin::store::recover_log;

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, PATIENCE};
use crate::cycles::{FLAGS, Fleet, PUBLISHERS, SUBSCRIBERS, number_from, prepare, publish, spawn};
use crate::ledger::{Ledger, Sent};
use crate::small_disk::{left_out, on_small_disk};

const RETAINED_TOPICS: usize = 8;
/// How long nothing has to come before everything has.
const QUIET: Duration = Duration::from_secs(1);
/// Every copy is read to its end, so publishers take their time.
const REST: Duration = Duration::from_millis(10);

/// What goes on beside the messages that are counted, and fills and empties segments.
struct Churn {
    broker: std::net::SocketAddr,
    stops: AtomicBool,
    /// By topic: the last number that was acknowledged.
    retained: Mutex<[u32; RETAINED_TOPICS]>,
}

impl Churn {
    /// Large messages to a persistent session that takes them.
    fn fill(&self) {
        let mut reader = Client::connect(self.broker, "churn-reader", false, None).expect("the broker is there");
        reader.subscribe("churn", 1).expect("the broker is there");
        let mut writer = Client::connect(self.broker, "churn-writer", true, None).expect("the broker is there");
        while !self.stops.load(SeqCst) {
            writer.publish_through("churn", &vec![7; 60_000], 2, 9).expect("the broker is there");
            reader.take(PATIENCE).expect("the broker is there").expect("it comes");
        }
    }

    /// Retained messages whose numbers ascend.
    fn retain(&self) {
        let mut client = Client::connect(self.broker, "retainer", true, None).expect("the broker is there");
        for number in 1.. {
            let topic = number as usize % RETAINED_TOPICS;
            let qos = if topic.is_multiple_of(2) { 1 } else { 2 };
            let payload = number.to_string();
            client
                .publish_through(&format!("kept/{topic}"), payload.as_bytes(), qos << 1 | 1, 9)
                .expect("the broker is there");
            self.retained.lock().expect("nobody panics with it")[topic] = number;
            if self.stops.load(SeqCst) {
                return;
            }
        }
    }
}

/// A copy, and what was acknowledged before it was begun.
struct Copied {
    data: DataDirectory,
    acknowledged: Vec<Sent>,
    retained: [u32; RETAINED_TOPICS],
}

fn backup(from: &DataDirectory, to: &DataDirectory) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    command.args(["store", "backup"]).arg(from.path()).arg(to.path()).output().expect("the binary runs")
}

fn copy(data: &DataDirectory, fleet: &Fleet, churn: &Churn, round: u64) -> Copied {
    let to = DataDirectory::new(&format!("backup-copy-{round}"));
    let acknowledged = fleet.ledger.all_acknowledged();
    let retained = *churn.retained.lock().expect("nobody panics with it");
    let output = backup(data, &to);
    let told = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success() && told[0].contains("everything is whole"), "{round}: {told:?}");
    Copied { data: to, acknowledged, retained }
}

/// Holds the logs of a copy against each other: none has taken over what another has not sent. Gives how much was taken over.
fn fits_together(data: &DataDirectory) -> u64 {
    let directory = Directory::open(data.path(), Access::Read).expect("a data directory");
    let manifest = directory.manifest().expect("it is whole").expect("it is there").manifest;
    let read = |shard: u16| {
        let log = LogId { generation: manifest.generation, shard: ShardId(shard as u8) };
        recover_log(&mut DirectoryMedium::new(&directory), manifest.node, log).expect("it can be read")
    };
    let logs: Vec<_> = (0..manifest.shards).map(read).collect();
    let mut all = 0;
    for (from, log) in (0_u8..).map(ShardId).zip(&logs) {
        for (to, numbered) in log.state.mailbox.numbered() {
            let taken = logs[usize::from(to.0)].state.mailbox.taken_from(from);
            assert!(taken <= numbered, "{to:?} has taken over {taken} of {numbered} of {from:?}");
        }
        all += log.state.mailbox.taken().map(|(_, number)| number).sum::<u64>();
    }
    all
}

/// Starts a broker on a copy and holds what its clients get against what was acknowledged.
fn check(Copied { data, acknowledged, retained }: Copied, shards: &str) {
    assert!(fits_together(&data) > 0, "nothing has crossed from shard to shard");
    let flags: Vec<&str> = FLAGS.iter().map(|flag| if *flag == "3" { shards } else { *flag }).collect();
    let broker = Broker::start(&data, &flags);
    let ledger = Ledger::default();
    for sent in &acknowledged {
        ledger.acknowledged(*sent);
    }
    let drain = |subscriber| {
        let id = format!("subscriber-{subscriber}");
        let mut client = Client::connect(broker.address, &id, false, None).expect("the broker is there");
        assert!(client.session_present, "{id}");
        while let Some(publish) = client.take(QUIET).expect("the broker is there") {
            ledger.arrived(subscriber, Sent::read(&publish.payload).expect("nobody else has published"));
        }
    };
    thread::scope(|scope| {
        let drain = &drain;
        (0..SUBSCRIBERS).for_each(|subscriber| _ = scope.spawn(move || drain(subscriber)));
    });
    let violations = ledger.violations(SUBSCRIBERS);
    assert!(violations.is_empty(), "{violations:#?}\n{}", broker.log());
    let mut client = Client::connect(broker.address, "looks", true, None).expect("the broker is there");
    client.subscribe("kept/#", 2).expect("the broker is there");
    let mut found = [0; RETAINED_TOPICS];
    while let Some(publish) = client.take(QUIET).expect("the broker is there") {
        let topic: usize = publish.topic["kept/".len()..].parse().expect("a number");
        found[topic] = String::from_utf8(publish.payload).expect("a number").parse().expect("a number");
    }
    assert!(found.iter().zip(retained).all(|(found, acknowledged)| *found >= acknowledged), "{found:?} {retained:?}");
    assert!(!broker.log().contains("store_damaged"), "{}", broker.log());
}

fn newest_segment(data: &DataDirectory) -> u32 {
    let names = data.files().into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    names.filter_map(|name| name.strip_prefix("segment-")?.parse().ok()).max().unwrap_or(0)
}

/// Copies of one broker: its clients are to get all that is in each of them, so there is an end to that.
const ROUNDS_OF_ONE: u64 = 8;

#[test]
fn a_copy_of_a_running_broker_has_all_that_was_acknowledged_and_fits_together() {
    let mut left = number_from("BACKUP_ROUNDS", ROUNDS_OF_ONE);
    while left > 0 {
        let rounds = left.min(ROUNDS_OF_ONE);
        copy_one_broker(rounds);
        left -= rounds;
    }
}

fn copy_one_broker(rounds: u64) {
    let data = DataDirectory::new("backup");
    let broker = Broker::start(&data, &FLAGS);
    prepare(&broker);
    let fleet = Fleet::resting(broker.address, REST);
    let churn = Churn { broker: broker.address, stops: AtomicBool::new(false), retained: Mutex::default() };
    let publishers = spawn(&fleet, PUBLISHERS, publish);
    let copies: Vec<Copied> = thread::scope(|scope| {
        let others = [scope.spawn(|| churn.fill()), scope.spawn(|| churn.retain())];
        thread::sleep(Duration::from_millis(300));
        let copies = (0..rounds).map(|round| copy(&data, &fleet, &churn, round)).collect();
        churn.stops.store(true, SeqCst);
        for thread in others {
            thread.join().expect("it has nothing to panic about");
        }
        copies
    });
    fleet.stops_publishing.store(true, SeqCst);
    for publisher in publishers {
        publisher.join().expect("it has nothing to panic about");
    }
    let made = newest_segment(&data);
    assert!(made > 20, "{made} segments were begun: none was used again");
    broker.kill();
    // Without a broker, too, and what was acknowledged to the last.
    let last = copy(&data, &fleet, &churn, rounds);
    assert!(last.acknowledged.len() > 500, "{} messages are no load", last.acknowledged.len());
    println!("{rounds} copies, {made} segments, {} messages acknowledged", last.acknowledged.len());
    for (copied, shards) in copies.into_iter().chain([last]).zip(["3", "2"].into_iter().cycle()) {
        check(copied, shards);
    }
}

#[test]
fn a_place_without_room_is_told_and_left_empty() {
    let to = DataDirectory::new("backup-small");
    let name = "backup::a_place_without_room_is_told_and_left_empty";
    on_small_disk(name, to.path(), 1024 * 1024, |disk| {
        if matches!(disk, crate::small_disk::SmallDisk::Shared { .. }) {
            return left_out("without a disk of its own nothing can be said of a copy on one that is full");
        }
        let data = DataDirectory::new("backup-large");
        let broker = Broker::start(&data, &["--shards", "1"]);
        let mut client = Client::connect(broker.address, "keeps", false, None).expect("the broker is there");
        client.subscribe("t", 1).expect("the broker is there");
        client.disconnect();
        let mut writer = Client::connect(broker.address, "writes", true, None).expect("the broker is there");
        for _ in 0..60 {
            writer.publish_through("t", &vec![7; 60_000], 2, 9).expect("the broker is there");
        }
        // A disk that was made a moment ago has a folder of its own.
        let place = to.path().join("copy");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let output = command.args(["store", "backup"]).arg(data.path()).arg(&place).output().expect("the binary runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(71), "{told}");
        let is_told = told.contains("has no room") || told.contains("No space left on device");
        assert!(is_told && told.lines().count() == 1 && told.contains(&*place.to_string_lossy()), "{told}");
        assert!(!place.exists(), "{told}");
    });
}

/// A broker that is killed and started over and over while it is copied: each copy is of one of them.
#[test]
fn a_broker_that_starts_meanwhile_is_noticed() {
    let data = DataDirectory::new("backup-restarts");
    let broker = Broker::start(&data, &FLAGS);
    prepare(&broker);
    let fleet = Fleet::resting(broker.address, REST);
    let publishers = spawn(&fleet, PUBLISHERS, publish);
    let churn = Churn { broker: broker.address, stops: AtomicBool::new(true), retained: Mutex::default() };
    let (broker, copies) = thread::scope(|scope| {
        let copies = scope.spawn(|| (100..104).map(|round| copy(&data, &fleet, &churn, round)).collect::<Vec<_>>());
        let mut broker = broker;
        while !copies.is_finished() {
            thread::sleep(Duration::from_millis(700));
            broker.kill();
            broker = Broker::start(&data, &FLAGS);
            fleet.set_address(broker.address);
        }
        (broker, copies.join().expect("they are made"))
    });
    fleet.stops_publishing.store(true, SeqCst);
    for publisher in publishers {
        publisher.join().expect("it has nothing to panic about");
    }
    broker.kill();
    for copied in copies {
        check(copied, "3");
    }
}
