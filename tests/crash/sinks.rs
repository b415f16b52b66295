//! A sink loses nothing: its target is away, the broker is killed, and everything arrives, in order for each key.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::Client;
use crate::ports::Port;
use crate::recorder::{Recorded, Recorder};

/// Topics whose messages stay in order.
const TOPICS: usize = 5;

/// A sink to a port, with four workers.
fn configuration(port: &Port) -> String {
    format!(
        "[[sink]]\nname = \"ledger\"\ntopics = [\"plant/+\"]\nworkers = 4\norder_by = \"{{{{ topic }}}}\"\n\
         template = \"{{{{ topic }}}} {{{{ payload }}}}\"\nbatch_messages = 20\nbatch_time = \"20ms\"\n\
         [sink.http]\nurl = \"http://{}/\"\nbody = \"lines\"\ntimeout = \"2s\"\n",
        port.address()
    )
}

/// Publishes so many messages with QoS 1, in turn on each topic, and waits until all are acknowledged.
fn publish(broker: &Broker, first: usize, count: usize) {
    let mut client = Client::connect(broker.address, "publisher", true, None).expect("the broker lives");
    for number in first..first + count {
        let topic = format!("plant/{}", number % TOPICS);
        let id = (number % 60_000 + 1) as u16;
        client.publish_through(&topic, number.to_string().as_bytes(), 2, id).expect("it is acknowledged");
    }
    client.disconnect();
}

/// The numbers that came on each topic, in the order in which they came first.
fn arrived(requests: &[Recorded]) -> BTreeMap<String, Vec<usize>> {
    let mut arrived: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for line in requests.iter().flat_map(|request| request.body.lines()) {
        let (topic, number) = line.split_once(' ').expect("topic and number");
        let number = number.parse().expect("a number");
        let of_topic = arrived.entry(topic.to_owned()).or_default();
        if !of_topic.contains(&number) {
            of_topic.push(number);
        }
    }
    arrived
}

fn count(requests: &[Recorded]) -> usize {
    arrived(requests).values().map(Vec::len).sum()
}

/// Nothing is missing, and what came first came in order.
fn check(requests: &[Recorded], count: usize) {
    let arrived = arrived(requests);
    let mut wrong = String::new();
    for topic in 0..TOPICS {
        let expected: Vec<usize> = (topic..count).step_by(TOPICS).collect();
        let found = arrived.get(&format!("plant/{topic}")).cloned().unwrap_or_default();
        if found != expected {
            let _ = writeln!(wrong, "plant/{topic}: {found:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn start(data: &DataDirectory, port: &Port) -> Broker {
    let file = data.beside("lines", &configuration(port));
    Broker::start(data, &["--config", &file, "--shards", "2"])
}

#[test]
fn a_target_that_is_away_costs_nothing_though_the_broker_is_killed() {
    let (data, port) = (DataDirectory::new("sink-away"), Port::claim());
    let broker = start(&data, &port);
    wait_for_session(&broker);
    publish(&broker, 0, 400);
    broker.kill();
    let broker = start(&data, &port);
    publish(&broker, 400, 100);
    let recorder = Recorder::start(Some(port.address()));
    let requests = recorder.wait_for("all of it arrives", |requests| count(requests) == 500);
    check(&requests, 500);
    broker.stop();
}

#[test]
fn a_broker_that_is_killed_while_it_delivers_delivers_the_rest() {
    let (data, port) = (DataDirectory::new("sink-killed"), Port::claim());
    let recorder = Recorder::start(Some(port.address()));
    let mut broker = start(&data, &port);
    wait_for_session(&broker);
    recorder.answer(503);
    publish(&broker, 0, 600);
    recorder.take(Duration::from_millis(30));
    recorder.answer(200);
    for part in 1..=3 {
        recorder.wait_for("a part of it arrives", |requests| count(requests) >= part * 100);
        broker.kill();
        broker = start(&data, &port);
    }
    let requests = recorder.wait_for("all of it arrives", |requests| count(requests) == 600);
    check(&requests, 600);
    broker.stop();
}

/// Kilobytes of memory that a broker has.
fn resident_kib(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What a template makes of a payload is little here; what it was made of is held as well, and counts.
#[test]
fn a_target_that_is_away_costs_no_more_memory_than_a_sink_may_hold_whatever_its_template_makes() {
    let (data, port) = (DataDirectory::new("sink-memory"), Port::claim());
    let table = format!(
        "[session]\nmax_queued_bytes = \"1GiB\"\nmax_queued_memory = \"8MiB\"\n[[sink]]\nname = \"ledger\"\ntopics = [\"plant/+\"]\ntemplate = \"{{{{ topic }}}}\"\n\
         [sink.http]\nurl = \"http://{}/\"\n",
        port.address()
    );
    let file = data.beside("lines", &table);
    let broker = Broker::start(&data, &["--config", &file, "--shards", "2"]);
    wait_for_session(&broker);
    let before = resident_kib(&broker);
    let mut client = Client::connect(broker.address, "publisher", true, None).expect("the broker lives");
    let payload = vec![b'x'; 900_000];
    let count = 300;
    for id in 1..=count {
        client.publish_through("plant/1", &payload, 2, id).expect("it is acknowledged");
    }
    // Read back from the disk, they come to the sink a page after the other, as long as it takes them.
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut calm, mut last) = (0, 0);
    while calm < 5 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(1));
        let now = resident_kib(&broker);
        calm = if now.abs_diff(last) < 1_000 { calm + 1 } else { 0 };
        last = now;
    }
    // 32 MiB of rows, as much in the session's window, 8 MiB of its queue, a few messages on their way, and what an allocator keeps.
    let grown = last.saturating_sub(before);
    println!("a target that is away costs {grown} KiB");
    assert!(grown < 110 * 1024, "{grown} KiB");
    let recorder = Recorder::start(Some(port.address()));
    recorder.wait_for("all of it arrives", |requests| requests.len() >= usize::from(count));
    broker.stop();
}

/// What is published before a sink has subscribed is for others.
fn wait_for_session(broker: &Broker) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !broker.log().contains("connector_connected kind=sink name=ledger") {
        assert!(Instant::now() < deadline, "the sink does not come: {}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}
