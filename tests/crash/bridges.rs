//! Two brokers with a bridge between them, killed over and over while clients publish at one and subscribe at the other.
//!
//! `BRIDGE_CYCLES` says how often one of them is killed (6 where nobody says), `CRASH_SEED` repeats what a failed run names.

use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::Client;
use crate::cycles::{FLAGS, Fleet, PUBLISHERS, SUBSCRIBERS, number_from, prepare, publish, spawn, subscribe};
use crate::ports::Port;

/// How long everything may take to arrive in the end: a bridge waits between two attempts.
const DRAIN_MAX: Duration = Duration::from_secs(90);

/// A broker at a port that it keeps, and what starts it again.
struct Bridged {
    data: DataDirectory,
    port: Port,
    flags: Vec<String>,
    broker: Option<Broker>,
}

impl Bridged {
    fn start(name: &str, more: impl FnOnce(&DataDirectory) -> Vec<String>) -> Self {
        let (data, port) = (DataDirectory::new(name), Port::claim());
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.extend(["--port".to_owned(), port.to_string()]);
        flags.extend(more(&data));
        let mut bridged = Self { data, port, flags, broker: None };
        bridged.start_again();
        bridged
    }

    fn start_again(&mut self) {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.broker = Some(Broker::start(&self.data, &flags));
    }

    fn kill(&mut self) {
        self.broker.take().expect("it runs").kill();
        self.start_again();
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("it runs")
    }
}

/// The broker that has the bridge.
fn bridging(name: &str, other: &Port, topics: &str) -> Bridged {
    let table = format!(
        "[[bridge]]\nname = \"b\"\naddress = \"127.0.0.1:{other}\"\ntopics = [{topics}]\nreconnect_max = \"1s\"\n"
    );
    Bridged::start(name, |data| vec!["--config".to_owned(), data.beside("toml", &table)])
}

/// Kills one or the other; `brokers` are the one that publishers come to and the one that subscribers are at.
fn kill_and_count(name: &str, brokers: &mut [Bridged; 2]) {
    let cycles = number_from("BRIDGE_CYCLES", 6);
    let mut random = number_from("CRASH_SEED", u64::from(std::process::id()));
    let seed = random;
    prepare(brokers[1].broker());
    await_bridge(brokers);
    let fleet = Fleet::between(brokers[0].port.address(), brokers[1].port.address(), Duration::from_millis(1));
    let subscribers = spawn(&fleet, SUBSCRIBERS, subscribe);
    let publishers = spawn(&fleet, PUBLISHERS, publish);
    let mut kills = [0, 0];
    for cycle in 0..cycles {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis(300 + (random >> 33) % 2_200));
        // Each of them, and in no order that the other could get used to.
        let which = if cycle < 2 { cycle as usize } else { (random >> 62) as usize % 2 };
        brokers[which].kill();
        kills[which] += 1;
    }
    fleet.stops_publishing.store(true, SeqCst);
    for publisher in publishers {
        publisher.join().expect("it has nothing to panic about");
    }
    let deadline = Instant::now() + DRAIN_MAX;
    while !fleet.ledger.is_complete(SUBSCRIBERS) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_millis(1_500)); // for what should not come
    fleet.stop();
    for subscriber in subscribers {
        subscriber.join().expect("it has nothing to panic about");
    }
    let acknowledged = fleet.ledger.acknowledged_count();
    let violations = fleet.ledger.violations(SUBSCRIBERS);
    println!(
        "{name}, seed {seed}: {kills:?} kills, {acknowledged} messages acknowledged, {} violations",
        violations.len()
    );
    let logs = || brokers.iter().map(|bridged| bridged.broker().log()).collect::<Vec<_>>().join("\n---\n");
    assert!(violations.is_empty(), "CRASH_SEED={seed}: {violations:#?}\n{}", logs());
    assert!(acknowledged as u64 > cycles * 10, "{acknowledged} messages are no load");
}

/// Until a message passes: both sessions of the bridge are there from then on.
fn await_bridge(brokers: &[Bridged; 2]) {
    let [from, to] = [0, 1].map(|at| brokers[at].port.address());
    let mut taker = Client::connect(to, "taker", true, None).expect("the broker is there");
    taker.subscribe("t/#", 1).expect("it is there");
    let mut giver = Client::connect(from, "giver", true, None).expect("the broker is there");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < deadline, "no message passes the bridge: {}", brokers[0].broker().log());
        giver.publish("t/first", b"", 0, 0).expect("it is there");
        if taker.next(Duration::from_millis(200)).expect("it is there").is_some() {
            break;
        }
    }
    // Those of before are nobody's who counts.
    for broker in brokers {
        let subscribers = (0..SUBSCRIBERS).map(|subscriber| format!("subscriber-{subscriber}"));
        for subscriber in subscribers {
            drop(Client::connect(broker.port.address(), &subscriber, true, None).expect("the broker is there"));
        }
    }
    drop((giver, taker));
    prepare(brokers[1].broker());
}

#[test]
fn a_bridge_out_loses_nothing_acknowledged_and_passes_qos_2_once_whoever_is_killed() {
    let other = Bridged::start("bridge-out-there", |_| Vec::new());
    let one = bridging("bridge-out-here", &other.port, "\"t/# out 2\"");
    kill_and_count("out", &mut [one, other]);
}

#[test]
fn a_bridge_in_loses_nothing_acknowledged_and_passes_qos_2_once_whoever_is_killed() {
    let other = Bridged::start("bridge-in-there", |_| Vec::new());
    let one = bridging("bridge-in-here", &other.port, "\"t/# in 2\"");
    kill_and_count("in", &mut [other, one]);
}

/// Each of two brokers bridges to the other: a message passes, and does not go round for ever.
#[test]
fn two_brokers_that_bridge_to_each_other_end_a_message_that_goes_round() {
    let (first_port, second_port) = (Port::claim(), Port::claim());
    let start = |name: &str, own: &Port, other: &Port| {
        let data = DataDirectory::new(name);
        let table = format!(
            "[[bridge]]\nname = \"{name}\"\naddress = \"127.0.0.1:{other}\"\ntopics = [\"t/# both 1\"]\nreconnect_max = \"1s\"\nmax_hops = 2\n"
        );
        let file = data.beside("toml", &table);
        let broker = Broker::start(&data, &["--port", &own.to_string(), "--config", &file, "--log-level", "info"]);
        (broker, data)
    };
    let (first, _first_data) = start("loop-a", &first_port, &second_port);
    let (second, _second_data) = start("loop-b", &second_port, &first_port);
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_open = |broker: &Broker| broker.log().contains("connector_connected");
    while !(is_open(&first) && is_open(&second)) {
        assert!(Instant::now() < deadline, "{}\n{}", first.log(), second.log());
        thread::sleep(Duration::from_millis(50));
    }
    let mut here = Client::connect(first.address, "here", true, None).expect("the broker is there");
    let mut there = Client::connect(second.address, "there", true, None).expect("the broker is there");
    here.subscribe("t/#", 0).expect("it is there");
    there.subscribe("t/#", 0).expect("it is there");
    let mut giver = Client::connect(first.address, "giver", true, None).expect("the broker is there");
    giver.publish_through("t/x", b"once", 2, 7).expect("it is there");
    let count = |client: &mut Client| {
        let mut count = 0;
        while client.next(Duration::from_secs(2)).expect("it is there").is_some() {
            count += 1;
        }
        count
    };
    let (of_here, of_there) = (count(&mut here), count(&mut there));
    // Out by one bridge, back by the other, and so by each of the two: then it has passed two.
    assert!((1..=4).contains(&of_here) && (1..=4).contains(&of_there), "{of_here} here, {of_there} there");
    let has_ended = |broker: &Broker| broker.log().contains("reason=hops");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !(has_ended(&first) || has_ended(&second)) {
        assert!(Instant::now() < deadline, "no bridge has counted it: {}\n{}", first.log(), second.log());
        thread::sleep(Duration::from_millis(50));
    }
}

/// The first of two addresses is silent, then there, then not: the bridge is at the one that answers.
#[test]
fn a_bridge_goes_to_the_next_address_and_keeps_what_it_has_meanwhile() {
    let away = Port::claim();
    let there = Bridged::start("fail-over-there", |_| Vec::new());
    let table = format!(
        "[[bridge]]\nname = \"b\"\naddress = [\"127.0.0.1:{away}\", \"127.0.0.1:{}\"]\ntopics = [\"t/# out 1\"]\nreconnect_max = \"1s\"\n",
        there.port
    );
    let here = Bridged::start("fail-over-here", |data| vec!["--config".to_owned(), data.beside("toml", &table)]);
    let mut brokers = [here, there];
    await_bridge(&brokers);
    brokers[1].broker.take().expect("it runs").kill();
    let mut giver = Client::connect(brokers[0].port.address(), "giver", true, None).expect("the broker is there");
    for number in 0..20 {
        giver.publish_through("t/9", format!("9 {number}").as_bytes(), 2, number + 1).expect("it is there");
    }
    brokers[1].start_again();
    let mut taker =
        Client::connect(brokers[1].port.address(), "subscriber-0", false, None).expect("the broker is there");
    assert!(taker.session_present);
    let mut arrived = std::collections::BTreeSet::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while arrived.len() < 20 {
        assert!(Instant::now() < deadline, "{arrived:?}: {}", brokers[0].broker().log());
        if let Some(crate::client::Received::Publish(publish)) =
            taker.next(Duration::from_millis(200)).expect("it is there")
        {
            taker.answer(crate::client::PUBACK, publish.packet_id).expect("it is there");
            arrived.insert(publish.payload);
        }
    }
}
