//! A broker that is killed over and over under what the clients of [`cycles`](crate::cycles) do not do: they take each other's connection over, write and
//! delete retained messages, have wills, publish by MQTT 5.0 and with QoS 0.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, LastWill, PATIENCE, PUBACK, Received};
use crate::cycles::{FLAGS, number_from};

/// Topics with retained messages.
const TOPICS: u32 = 6;
/// What one client has of a connection that another one takes over.
const HOLD: Duration = Duration::from_millis(150);

/// The last write to a topic that was begun, and the last one that was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Writes {
    begun: u32,
    acknowledged: u32,
}

#[derive(Debug, Default)]
struct Book {
    retained: BTreeMap<u32, Writes>,
    /// Numbers that were acknowledged for the session that clients fight for, and how often each arrived.
    acknowledged: Vec<u32>,
    arrived: BTreeMap<u32, u32>,
    takeovers: u32,
}

struct World {
    address: Mutex<SocketAddr>,
    book: Mutex<Book>,
    stops_publishing: AtomicBool,
    stops: AtomicBool,
}

impl World {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics with it")
    }

    fn address(&self) -> SocketAddr {
        *self.address.lock().expect("nobody panics with it")
    }
}

/// Every third write to a topic deletes what is there.
fn payload(number: u32) -> Vec<u8> {
    if (number / TOPICS) % 3 == 2 { Vec::new() } else { number.to_string().into_bytes() }
}

/// Writes to the retained topics and to the session that is fought for, one message at a time, each until it is acknowledged.
fn publish(world: &World) {
    let (mut number, mut client) = (1, None);
    while !world.stops_publishing.load(SeqCst) {
        let Some(connected) = client.as_mut() else {
            client = Client::connect_v5(world.address(), "publisher", 600).ok().map(|(client, _)| client);
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        if publish_one(world, connected, number).is_ok() {
            number += 1;
        } else {
            client = None;
        }
    }
}

fn publish_one(world: &World, client: &mut Client, number: u32) -> std::io::Result<()> {
    client.publish("noise", b"nobody waits for it", 0, 0)?;
    let topic = number % TOPICS;
    world.book().retained.entry(topic).or_default().begun = number;
    client.publish(&format!("r/{topic}"), &payload(number), 3, 1)?;
    client.await_answer(PUBACK, 1)?;
    world.book().retained.entry(topic).or_default().acknowledged = number;
    client.publish("fought/for", number.to_string().as_bytes(), 2, 2)?;
    client.await_answer(PUBACK, 2)?;
    world.book().acknowledged.push(number);
    Ok(())
}

/// Takes a session's connection over, has it for a while, and does so again.
fn fight(world: &World) {
    while !world.stops.load(SeqCst) {
        if let Ok(mut client) = Client::connect(world.address(), "fought-for", false, None) {
            world.book().takeovers += 1;
            let until = Instant::now() + HOLD;
            while let (left @ 1.., false) =
                (until.saturating_duration_since(Instant::now()).as_millis(), world.stops.load(SeqCst))
            {
                match client.next(Duration::from_millis(left as u64)) {
                    Ok(Some(Received::Publish(found))) => {
                        if let Ok(number) = String::from_utf8_lossy(&found.payload).parse() {
                            *world.book().arrived.entry(number).or_default() += 1;
                        }
                        if client.answer(PUBACK, found.packet_id).is_err() {
                            break;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            // The other one takes it over; who still has it then leaves by itself.
            thread::sleep(HOLD);
        } else {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What is retained is what was acknowledged last, or what was begun behind it. Nobody writes meanwhile.
fn check_retained(world: &World, address: SocketAddr) {
    let mut reader = Client::connect(address, "reader", true, None).expect("the broker is there");
    reader.subscribe("r/#", 1).expect("the broker is there");
    let mut found = BTreeMap::new();
    while let Some(publish) = reader.take(Duration::from_millis(500)).expect("the broker is there") {
        assert!(publish.retain, "nobody writes: {publish:?}");
        found.insert(publish.topic, publish.payload);
    }
    for (topic, writes) in &world.book().retained {
        let there = found.remove(&format!("r/{topic}")).unwrap_or_default();
        let may_be =
            [writes.acknowledged, writes.begun].map(|number| if number == 0 { Vec::new() } else { payload(number) });
        assert!(may_be.contains(&there), "r/{topic} is {there:?} after {writes:?}");
    }
    assert!(found.is_empty(), "nobody wrote {found:?}");
}

/// Each will was published once.
fn check_wills(address: SocketAddr, wills: u64) {
    let mut watcher = Client::connect(address, "watcher", false, None).expect("the broker is there");
    let mut seen = BTreeMap::<u64, u32>::new();
    let patience =
        |seen: &BTreeMap<u64, u32>| if (seen.len() as u64) < wills { PATIENCE } else { Duration::from_millis(500) };
    while let Some(publish) = watcher.take(patience(&seen)).expect("the broker is there") {
        *seen.entry(String::from_utf8_lossy(&publish.payload).parse().expect("a number")).or_default() += 1;
    }
    let wanted: BTreeMap<u64, u32> = (0..wills).map(|number| (number, 1)).collect();
    assert_eq!(seen, wanted, "wills, and how often each came");
}

#[test]
fn takeovers_retained_messages_and_wills_survive_however_often_it_is_killed() {
    let cycles = number_from("CRASH_CYCLES", 40) / 4;
    let mut random = number_from("CRASH_SEED", u64::from(std::process::id()));
    let seed = random;
    let data = DataDirectory::new("mixed");
    let mut broker = Broker::start(&data, &FLAGS);
    for (id, filter, qos) in [("fought-for", "fought/for", 1), ("watcher", "w", 2)] {
        let mut client = Client::connect(broker.address, id, false, None).unwrap();
        client.subscribe(filter, qos).unwrap();
        client.disconnect();
    }
    let world = Arc::new(World {
        address: Mutex::new(broker.address),
        book: Mutex::default(),
        stops_publishing: AtomicBool::new(false),
        stops: AtomicBool::new(false),
    });
    let spawn = |run: fn(&World)| {
        let world = Arc::clone(&world);
        thread::spawn(move || run(&world))
    };
    let (publisher, fighters) = (spawn(publish), [spawn(fight), spawn(fight)]);
    for cycle in 0..cycles {
        let will = LastWill { topic: "w".into(), payload: cycle.to_string().into_bytes(), qos: 2, retain: false };
        let leaver = Client::connect(broker.address, &format!("will-{cycle}"), false, Some(&will)).unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros(200_000 + (random >> 33) % 400_000));
        broker.kill();
        drop(leaver);
        broker = Broker::start(&data, &FLAGS);
        check_retained(&world, broker.address);
        *world.address.lock().unwrap() = broker.address;
    }
    thread::sleep(HOLD);
    world.stops_publishing.store(true, SeqCst);
    publisher.join().expect("it has nothing to panic about");
    let deadline = Instant::now() + PATIENCE;
    let lost = |book: &Book| book.acknowledged.iter().filter(|number| !book.arrived.contains_key(number)).count();
    while lost(&world.book()) > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    world.stops.store(true, SeqCst);
    for fighter in fighters {
        fighter.join().expect("it has nothing to panic about");
    }
    check_retained(&world, broker.address);
    check_wills(broker.address, cycles);
    let book = world.book();
    let (acknowledged, takeovers) = (book.acknowledged.len() as u64, u64::from(book.takeovers));
    println!("seed {seed}: {cycles} kills, {acknowledged} messages acknowledged, {takeovers} connections fought for");
    assert_eq!(lost(&book), 0, "CRASH_SEED={seed}: of {acknowledged}\n{}", broker.log());
    assert!(
        acknowledged > 2 * cycles && takeovers > cycles,
        "{acknowledged} messages, {takeovers} takeovers are no load"
    );
    assert!(!broker.log().contains("damaged"), "{}", broker.log());
}
