//! How much room a data directory takes, however much goes through it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::Client;

const MIB: u64 = 1024 * 1024;

fn bytes(data: &DataDirectory) -> u64 {
    data.files().iter().filter_map(|file| fs::metadata(file).ok()).map(|found| found.len()).sum()
}

/// Those that are whole: one that is being written counts for nothing, and goes with its broker.
fn checkpoints(data: &DataDirectory) -> usize {
    let is_whole = |file: &&PathBuf| file.extension().is_none() && file.to_string_lossy().contains("checkpoint-");
    data.files().iter().filter(is_whole).count()
}

/// Waits until a directory takes no more than that.
fn await_room(data: &DataDirectory, most_bytes: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while bytes(data) > most_bytes && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(bytes(data) <= most_bytes, "{} MiB are left: {:?}", bytes(data) / MIB, data.files());
}

#[test]
fn endless_traffic_takes_a_bounded_directory() {
    let data = DataDirectory::new("endless");
    let flags = ["--shards", "1", "--checkpoint-interval", "1s"];
    let broker = Broker::start(&data, &flags);
    // Somebody waits all the time for what lies in the first segment.
    let mut away = Client::connect(broker.address, "away", false, None).unwrap();
    away.subscribe("for/away", 1).unwrap();
    away.disconnect();
    let mut reader = Client::connect(broker.address, "reader", false, None).unwrap();
    reader.subscribe("flood", 1).unwrap();
    let mut writer = Client::connect(broker.address, "writer", true, None).unwrap();
    writer.publish_through("for/away", b"still here", 2, 1).unwrap();
    writer.publish_through("kept", b"retained", 3, 2).unwrap();
    let payload = vec![7; 100_000];
    for number in 0..1_500_u16 {
        writer.publish_through("flood", &payload, 2, number + 10).unwrap();
        let taken = reader.take(Duration::from_secs(10)).unwrap().expect("it was acknowledged");
        assert_eq!(taken.payload.len(), payload.len());
        if number % 50 == 49 {
            // 150 MB go through segments of 2 MiB each. What is kept are a few of them, some of which were made ahead.
            await_room(&data, 40 * MIB);
        }
    }
    // And fewer when nothing more comes.
    await_room(&data, 24 * MIB);
    assert!((2..=3).contains(&checkpoints(&data)), "{:?}", data.files());
    broker.kill();
    let broker = Broker::start(&data, &flags);
    assert!(!broker.log().contains("damaged"), "{}", broker.log());
    let mut away = Client::connect(broker.address, "away", false, None).unwrap();
    let got = away.take(Duration::from_secs(10)).unwrap().expect("it waited all the time");
    assert_eq!(got.payload, b"still here");
    let mut late = Client::connect(broker.address, "late", true, None).unwrap();
    late.subscribe("kept", 1).unwrap();
    assert_eq!(late.take(Duration::from_secs(10)).unwrap().expect("it is retained").payload, b"retained");
}

#[test]
fn starts_in_a_row_do_not_fill_a_directory() {
    let data = DataDirectory::new("starts");
    for number in 0..24_u16 {
        let broker = Broker::start(&data, &["--shards", "1"]);
        let mut client = Client::connect(broker.address, "client", false, None).unwrap();
        client.subscribe("t", 1).unwrap();
        client.publish_through("kept", &number.to_be_bytes(), 3, 1).unwrap();
        // Two checkpoints of up to seven segments each, four segments ahead and four to spare: 28 at most, of 2 MiB.
        // A checkpoint is due when four segments are complete, and gives back what the one before it does not need.
        let due = usize::from(number / 4).min(2);
        let deadline = Instant::now() + Duration::from_secs(60);
        while (checkpoints(&data) < due || bytes(&data) > 56 * MIB) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(checkpoints(&data) >= due, "start {number}: {:?}: {}", data.files(), broker.log());
        assert!(bytes(&data) <= 56 * MIB, "start {number}: {} MiB: {:?}", bytes(&data) / MIB, data.files());
        assert!(!broker.log().contains("damaged"), "start {number}: {}", broker.log());
        broker.kill();
    }
    let broker = Broker::start(&data, &["--shards", "1"]);
    assert!(!broker.log().contains("damaged"), "{}", broker.log());
    let mut late = Client::connect(broker.address, "late", true, None).unwrap();
    late.subscribe("kept", 1).unwrap();
    assert_eq!(late.take(Duration::from_secs(10)).unwrap().expect("it is retained").payload, [0, 23]);
}
