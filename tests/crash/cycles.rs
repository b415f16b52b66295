//! A broker that is killed over and over while clients publish and subscribe through it, and come back each time.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, PUBACK, PUBCOMP, PUBREC, PUBREL, Received};
use crate::ledger::{Ledger, Sent};

pub(crate) const PUBLISHERS: usize = 5;
pub(crate) const SUBSCRIBERS: usize = 3;
const IN_FLIGHT_MAX: usize = 8;
/// How long everything may take to arrive in the end.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// More shards than one, so that messages cross; and queues that drop nothing.
pub(crate) const FLAGS: [&str; 8] =
    ["--shards", "3", "--max-queued-messages", "1000000", "--checkpoint-interval", "1s", "--log-level", "warn"];

/// What all clients know.
pub(crate) struct Fleet {
    address: Mutex<SocketAddr>,
    /// Where subscribers are, if not there.
    subscribers_at: Option<SocketAddr>,
    pub(crate) ledger: Ledger,
    /// Publishers finish what they have begun, and begin nothing.
    pub(crate) stops_publishing: AtomicBool,
    /// Subscribers go.
    stops: AtomicBool,
    /// How long a publisher rests between two messages.
    rest: Duration,
}

impl Fleet {
    pub(crate) fn new(address: SocketAddr) -> Arc<Self> {
        let (stops_publishing, stops) = (AtomicBool::new(false), AtomicBool::new(false));
        let (address, ledger, rest) = (Mutex::new(address), Ledger::default(), Duration::ZERO);
        Arc::new(Self { address, subscribers_at: None, ledger, stops_publishing, stops, rest })
    }

    /// Publishers at one broker, which rest between two messages, and subscribers at another.
    pub(crate) fn between(from: SocketAddr, to: SocketAddr, rest: Duration) -> Arc<Self> {
        let fleet = Arc::into_inner(Self::new(from)).expect("nobody else has it yet");
        Arc::new(Self { subscribers_at: Some(to), rest, ..fleet })
    }

    /// Subscribers are to go.
    pub(crate) fn stop(&self) {
        self.stops.store(true, SeqCst);
    }

    /// Publishers that rest between two messages.
    pub(crate) fn resting(address: SocketAddr, rest: Duration) -> Arc<Self> {
        let fleet = Arc::into_inner(Self::new(address)).expect("nobody else has it yet");
        Arc::new(Self { rest, ..fleet })
    }

    pub(crate) fn set_address(&self, address: SocketAddr) {
        *self.address.lock().expect("nobody panics with it") = address;
    }

    /// Connects a persistent session, however long it takes. `None`: the broker is away.
    fn connect(&self, id: &str, was_there: &mut bool) -> Option<Client> {
        let address = *self.address.lock().expect("nobody panics with it");
        let address = self.subscribers_at.filter(|_| id.starts_with("subscriber")).unwrap_or(address);
        let Ok(client) = Client::connect(address, id, false, None) else {
            thread::sleep(Duration::from_millis(10));
            return None;
        };
        if *was_there && !client.session_present {
            self.ledger.violation(format!("the session of {id} is lost"));
        }
        *was_there = true;
        Some(client)
    }
}

/// One of a publisher's messages that is not completed.
struct Flight {
    sent: Sent,
    packet_id: u16,
    is_released: bool,
}

pub(crate) fn publish(fleet: &Fleet, publisher: usize) {
    let (mut flights, mut number, mut was_there) = (VecDeque::<Flight>::new(), 0, false);
    while !(fleet.stops_publishing.load(SeqCst) && flights.is_empty()) {
        if let Some(mut client) = fleet.connect(&format!("publisher-{publisher}"), &mut was_there) {
            // Only a broker that ends makes it end.
            let _ = publish_on(fleet, publisher, &mut client, (&mut flights, &mut number));
        }
    }
}

fn publish_on(
    fleet: &Fleet,
    publisher: usize,
    client: &mut Client,
    (flights, number): (&mut VecDeque<Flight>, &mut u32),
) -> std::io::Result<()> {
    let topic = format!("t/{publisher}");
    for flight in flights.iter() {
        if flight.is_released {
            client.answer(PUBREL, flight.packet_id)?;
        } else {
            client.publish(&topic, &flight.sent.payload(), 8 | flight.sent.qos() << 1, flight.packet_id)?;
        }
    }
    loop {
        let stops = fleet.stops_publishing.load(SeqCst);
        if stops && flights.is_empty() {
            return Ok(());
        }
        if !stops && flights.len() < IN_FLIGHT_MAX {
            let sent = Sent { publisher, number: *number };
            let packet_id = (*number % 60_000) as u16 + 1;
            *number += 1;
            flights.push_back(Flight { sent, packet_id, is_released: false });
            client.publish(&topic, &sent.payload(), sent.qos() << 1, packet_id)?;
            thread::sleep(fleet.rest);
        }
        let patience = if flights.len() < IN_FLIGHT_MAX && !stops { 2 } else { 200 };
        let Some(Received::Answer(first, packet_id, _)) = client.next(Duration::from_millis(patience))? else {
            continue;
        };
        let Some(at) = flights.iter().position(|flight| flight.packet_id == packet_id) else { continue };
        match first {
            PUBREC => {
                if !flights[at].is_released {
                    fleet.ledger.acknowledged(flights[at].sent);
                }
                flights[at].is_released = true;
                client.answer(PUBREL, packet_id)?;
            }
            PUBACK => {
                fleet.ledger.acknowledged(flights[at].sent);
                flights.remove(at);
            }
            PUBCOMP => drop(flights.remove(at)),
            _ => {}
        }
    }
}

pub(crate) fn subscribe(fleet: &Fleet, subscriber: usize) {
    let (mut was_there, mut is_subscribed) = (false, false);
    // Packet identifiers of QoS 2 messages that it has and that were not released.
    let mut received = BTreeSet::new();
    while !fleet.stops.load(SeqCst) {
        if let Some(mut client) = fleet.connect(&format!("subscriber-{subscriber}"), &mut was_there) {
            if !is_subscribed {
                is_subscribed = client.subscribe("t/#", 2).is_ok();
                continue;
            }
            let _ = take_from(fleet, subscriber, &mut client, &mut received);
        }
    }
}

fn take_from(
    fleet: &Fleet,
    subscriber: usize,
    client: &mut Client,
    received: &mut BTreeSet<u16>,
) -> std::io::Result<()> {
    while !fleet.stops.load(SeqCst) {
        match client.next(Duration::from_millis(100))? {
            Some(Received::Answer(PUBREL, packet_id, _)) => {
                received.remove(&packet_id);
                client.answer(PUBCOMP, packet_id)?;
            }
            None | Some(Received::Answer(..)) => {}
            Some(Received::Publish(publish)) => {
                let sent = Sent::read(&publish.payload);
                let is_new = publish.qos < 2 || received.insert(publish.packet_id);
                match sent {
                    Some(sent) if is_new && publish.topic == format!("t/{}", sent.publisher) => {
                        fleet.ledger.arrived(subscriber, sent);
                    }
                    Some(_) if !is_new => {}
                    _ => fleet.ledger.violation(format!("nobody has published {publish:?}")),
                }
                client.answer(if publish.qos == 2 { PUBREC } else { PUBACK }, publish.packet_id)?;
            }
        }
    }
    Ok(())
}

/// Persistent subscribers that are subscribed before anybody publishes.
pub(crate) fn prepare(broker: &Broker) {
    for subscriber in 0..SUBSCRIBERS {
        let mut client = Client::connect(broker.address, &format!("subscriber-{subscriber}"), false, None)
            .expect("the broker is there");
        client.subscribe("t/#", 2).expect("the broker is there");
        client.disconnect();
    }
}

pub(crate) fn spawn(fleet: &Arc<Fleet>, count: usize, run: fn(&Fleet, usize)) -> Vec<JoinHandle<()>> {
    let each = |number| {
        let fleet = Arc::clone(fleet);
        thread::spawn(move || run(&fleet, number))
    };
    (0..count).map(each).collect()
}

pub(crate) fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_acknowledged_is_lost_and_qos_2_comes_once_however_often_it_is_killed() {
    let cycles = number_from("CRASH_CYCLES", 40);
    let mut random = number_from("CRASH_SEED", u64::from(std::process::id()));
    let seed = random;
    let data = DataDirectory::new("cycles");
    let mut broker = Broker::start(&data, &FLAGS);
    prepare(&broker);
    let fleet = Fleet::new(broker.address);
    let subscribers = spawn(&fleet, SUBSCRIBERS, subscribe);
    let publishers = spawn(&fleet, PUBLISHERS, publish);
    for _ in 0..cycles {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros(50_000 + (random >> 33) % 450_000));
        broker.kill();
        broker = Broker::start(&data, &FLAGS);
        fleet.set_address(broker.address);
    }
    thread::sleep(Duration::from_millis(200));
    fleet.stops_publishing.store(true, SeqCst);
    for publisher in publishers {
        publisher.join().expect("it has nothing to panic about");
    }
    let deadline = Instant::now() + DRAIN_MAX;
    while !fleet.ledger.is_complete(SUBSCRIBERS) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_millis(500)); // for what should not come
    fleet.stops.store(true, SeqCst);
    for subscriber in subscribers {
        subscriber.join().expect("it has nothing to panic about");
    }
    let acknowledged = fleet.ledger.acknowledged_count();
    let violations = fleet.ledger.violations(SUBSCRIBERS);
    println!("seed {seed}: {cycles} kills, {acknowledged} messages acknowledged, {} violations", violations.len());
    assert!(violations.is_empty(), "CRASH_SEED={seed}: {violations:#?}\n{}", broker.log());
    assert!(acknowledged as u64 > cycles * 10, "{acknowledged} messages are no load");
    assert!(!broker.log().contains("damaged"), "{}", broker.log());
}

/// The positive control: a directory that has lost something is found out.
#[test]
fn a_directory_that_was_tampered_with_is_caught() {
    let data = DataDirectory::new("control");
    let broker = Broker::start(&data, &FLAGS);
    prepare(&broker);
    let fleet = Fleet::new(broker.address);
    let publishers = spawn(&fleet, PUBLISHERS, publish);
    thread::sleep(Duration::from_millis(700));
    fleet.stops_publishing.store(true, SeqCst);
    for publisher in publishers {
        publisher.join().expect("it has nothing to panic about");
    }
    broker.kill();
    for file in data.files().iter().filter(|file| file.to_string_lossy().contains("segment-0000000001")) {
        // What a disk would do that forgets its latest writes: all but the first blocks.
        let segment = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        let len = segment.metadata().unwrap().len();
        segment.write_all_at(&vec![0; len as usize - 16 * 4096], 16 * 4096).unwrap();
    }
    let broker = Broker::start(&data, &FLAGS);
    fleet.set_address(broker.address);
    let subscribers = spawn(&fleet, SUBSCRIBERS, subscribe);
    thread::sleep(Duration::from_secs(2));
    fleet.stops.store(true, SeqCst);
    for subscriber in subscribers {
        subscriber.join().expect("it has nothing to panic about");
    }
    assert!(fleet.ledger.acknowledged_count() > 100);
    let violations = fleet.ledger.violations(SUBSCRIBERS);
    assert!(violations.iter().any(|text| text.contains("are lost")), "{violations:?}");
}
