//! Queues that are longer than memory: what waits on the disk alone comes whole and in order, whatever happens meanwhile.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, PATIENCE, PUBACK, Received};

/// Little memory for queues, and files that go round soon.
const FLAGS: [&str; 8] =
    ["--max-queued-memory", "64KiB", "--checkpoint-interval", "1", "--max-queued-messages", "100000", "--shards", "2"];

/// Sends so many messages in a row, and takes their acknowledgements.
fn publish(client: &mut Client, topic: &str, numbers: std::ops::Range<u32>, len: usize) {
    let mut acknowledged = 0;
    for (sent, number) in numbers.clone().enumerate() {
        let packet_id = (sent % 60_000 + 1) as u16;
        client.publish(topic, &payload(number, len), 2, packet_id).expect("the broker lives");
        while sent - acknowledged >= 100 {
            acknowledge(client, &mut acknowledged);
        }
    }
    while acknowledged < numbers.len() {
        acknowledge(client, &mut acknowledged);
    }
}

fn acknowledge(client: &mut Client, acknowledged: &mut usize) {
    let answer = client.next(PATIENCE).expect("the broker lives");
    assert!(matches!(answer, Some(Received::Answer(PUBACK, _, _))), "no PUBACK: {answer:?}");
    *acknowledged += 1;
}

fn payload(number: u32, len: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(len, number as u8);
    payload
}

/// Takes messages and compares them with those that are to come.
fn expect(client: &mut Client, numbers: std::ops::Range<u32>, len: usize, broker: &Broker) {
    for number in numbers {
        let publish = client.take(PATIENCE).expect("the broker lives");
        let publish = publish.unwrap_or_else(|| panic!("{number} does not come: {}", broker.log()));
        assert!(publish.payload == payload(number, len), "{number} comes as it was: {:?}", &publish.payload[..4]);
    }
}

fn away(broker: &Broker, id: &str) {
    let mut subscriber = Client::connect(broker.address, id, false, None).expect("the broker lives");
    subscriber.subscribe(&format!("to/{id}"), 1).expect("the broker lives");
    subscriber.disconnect();
}

#[test]
fn queues_longer_than_memory_come_whole_and_in_order_also_after_a_kill() {
    let data = DataDirectory::new("long-queues");
    let mut broker = Broker::start(&data, &FLAGS);
    let ids: Vec<String> = (0..4).map(|number| format!("away-{number}")).collect();
    for id in &ids {
        away(&broker, id);
    }
    for part in 0..3 {
        for id in &ids {
            let mut publisher = Client::connect(broker.address, &format!("publisher-{part}"), true, None).unwrap();
            publish(&mut publisher, &format!("to/{id}"), part * 500..(part + 1) * 500, 200);
        }
        broker.kill();
        broker = Broker::start(&data, &FLAGS);
    }
    for id in &ids {
        let mut subscriber = Client::connect(broker.address, id, false, None).unwrap();
        assert!(subscriber.session_present);
        expect(&mut subscriber, 0..1_500, 200, &broker);
    }
    assert!(!broker.log().contains("lost"), "{}", broker.log());
}

#[test]
fn messages_in_many_parts_wait_on_the_disk_as_others_do() {
    let data = DataDirectory::new("long-messages");
    let broker = Broker::start(&data, &FLAGS);
    away(&broker, "away");
    let mut publisher = Client::connect(broker.address, "publisher", true, None).unwrap();
    publish(&mut publisher, "to/away", 0..8, 900_000);
    let mut subscriber = Client::connect(broker.address, "away", false, None).unwrap();
    expect(&mut subscriber, 0..8, 900_000, &broker);
}

/// A few messages wait for long, while others fill segment after segment and are taken: theirs are written again elsewhere, and the
/// files that they were in go round.
#[test]
fn what_waits_for_long_is_found_where_it_was_written_again() {
    let data = DataDirectory::new("moved");
    let mut flags = FLAGS;
    flags[7] = "1"; // one log to look at
    let broker = Broker::start(&data, &flags);
    for id in ["away", "filler"] {
        away(&broker, id);
    }
    let mut publisher = Client::connect(broker.address, "publisher", true, None).unwrap();
    let is_segment = |file: &PathBuf| file.to_string_lossy().contains("segment-");
    let first = |data: &DataDirectory| data.files().into_iter().find(is_segment).unwrap();
    let (first_file, deadline) = (first(&data), Instant::now() + 4 * PATIENCE);
    let mut waiting = 0;
    let mut filled = 0;
    // Every segment gets some of them, and the first segments are given back.
    while first(&data) == first_file || waiting < 2_000 {
        assert!(Instant::now() < deadline, "the first segment is never given back: {waiting}, {:?}", data.files());
        publish(&mut publisher, "to/away", waiting..waiting + 20, 300);
        waiting += 20;
        publish(&mut publisher, "to/filler", filled..filled + 50, 2_000);
        let mut filler = Client::connect(broker.address, "filler", false, None).unwrap();
        expect(&mut filler, filled..filled + 50, 2_000, &broker);
        filler.disconnect();
        filled += 50;
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut subscriber = Client::connect(broker.address, "away", false, None).unwrap();
    expect(&mut subscriber, 0..waiting, 300, &broker);
    assert!(!broker.log().contains("lost"), "{}", broker.log());
}
