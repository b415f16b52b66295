//! Nodes of a cluster on three servers of its engine, of which each is killed and stopped in turn.

use std::time::{Duration, Instant};

use dunlin::cluster::RangePlace;

use super::fleet::Fleet;
use super::servers::EngineServers;
use super::stored;

/// How long a server stands still: longer than any other takes over for it.
const STOPPED: Duration = Duration::from_secs(10);
const NAMES: [&str; 3] = ["one", "two", "three"];

/// Three nodes that serve all ranges on three servers.
fn three_nodes() -> Fleet {
    let mut fleet = Fleet::new(EngineServers::started(3, &[]), 6);
    for name in NAMES {
        fleet.start(name);
    }
    fleet.until("three nodes serve all ranges", Fleet::is_served_evenly);
    let begun = Instant::now();
    fleet.until("what is appended is durable", |fleet| fleet.goes_on_since(begun));
    fleet
}

/// Who serves what is what the documents say, and every node sees it so.
fn agree(fleet: &mut Fleet) {
    fleet.until("all ranges are served", Fleet::is_served);
    let owners = fleet.meanwhile(stored::owners);
    for (range, owner) in fleet.ranges().all().zip(owners) {
        assert_eq!(fleet.server_of(range), owner.as_deref(), "range {}", range.0);
        for name in fleet.names() {
            let place = fleet.seen_by(name, range);
            let is_right = if Some(name) == owner.as_deref() {
                place == Some(RangePlace::Here)
            } else {
                matches!(place, Some(RangePlace::Peer(_)))
            };
            assert!(is_right, "{name} sees range {} at {place:?}", range.0);
        }
    }
}

/// What was said to be durable counts in the logs, once.
fn keeps_its_word(fleet: &mut Fleet) {
    for range in fleet.ranges().all() {
        let durable = fleet.durable(range);
        let stored = fleet.meanwhile(move |config| stored::ids(config, range));
        let lost: Vec<&u64> = durable.iter().filter(|id| !stored.contains_key(id)).collect();
        let twice: Vec<_> = stored.iter().filter(|(_, times)| **times > 1).collect();
        assert!(lost.is_empty() && twice.is_empty(), "range {}: lost {lost:?}, twice {twice:?}", range.0);
        assert!(!durable.is_empty(), "range {}: nothing was appended", range.0);
    }
}

/// All servers have everything again.
fn heal(fleet: &mut Fleet) {
    let begun = Instant::now();
    let ranges = fleet.ranges();
    while !fleet.meanwhile(move |config| stored::is_whole(config, ranges)) {
        assert!(begun.elapsed() < super::LIMIT, "a server lacks something");
        fleet.during(Duration::from_millis(200));
    }
    fleet.note(&format!("the engine is whole after {:?}", begun.elapsed()));
}

#[test]
fn each_server_is_killed_and_a_node_with_it() {
    let mut fleet = three_nodes();
    for (index, name) in NAMES.into_iter().enumerate() {
        fleet.note(&format!("n{index} is killed"));
        fleet.servers().kill(index);
        let killed = Instant::now();
        fleet.until("the cluster goes on", |fleet| fleet.goes_on_since(killed));
        fleet.end(name);
        fleet.until("the others serve all ranges", Fleet::is_served_evenly);
        let served = Instant::now();
        fleet.until("what they append is durable", |fleet| fleet.goes_on_since(served));
        fleet.servers().start(index);
        fleet.start(name);
        fleet.until("it serves its share again", Fleet::is_served_evenly);
        heal(&mut fleet);
        agree(&mut fleet);
    }
    keeps_its_word(&mut fleet);
}

#[test]
fn each_server_stands_still_and_goes_on() {
    let mut fleet = three_nodes();
    for index in 0..3 {
        fleet.note(&format!("n{index} stands still"));
        fleet.servers().stop(index);
        let stopped = Instant::now();
        fleet.until("the cluster goes on without it", |fleet| fleet.goes_on_since(stopped));
        fleet.during(STOPPED.saturating_sub(stopped.elapsed()));
        fleet.note(&format!("n{index} goes on"));
        fleet.servers().go_on(index);
        let gone_on = Instant::now();
        fleet.until("the cluster goes on with it", |fleet| fleet.goes_on_since(gone_on));
        heal(&mut fleet);
        agree(&mut fleet);
    }
    keeps_its_word(&mut fleet);
}

#[test]
fn a_node_whose_news_nobody_takes_loses_what_it_owns() {
    let mut fleet = Fleet::new(EngineServers::started(1, &[]), 2);
    for name in ["one", "two"] {
        fleet.start(name);
    }
    fleet.until("two nodes serve all ranges", Fleet::is_served_evenly);
    fleet.flood("one");
    fleet.until("the other one serves all ranges", |fleet| fleet.served_by("two").len() == 2);
}
