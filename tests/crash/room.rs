//! How much room a data directory takes, however much goes through it.

use std::fs;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::Client;

const MIB: u64 = 1024 * 1024;

fn bytes(data: &DataDirectory) -> u64 {
    data.files().iter().filter_map(|file| fs::metadata(file).ok()).map(|found| found.len()).sum()
}

fn checkpoints(data: &DataDirectory) -> usize {
    data.files().iter().filter(|file| file.to_string_lossy().contains("checkpoint-")).count()
}

#[test]
fn starts_in_a_row_do_not_fill_a_directory() {
    let data = DataDirectory::new("starts");
    for number in 0..24_u16 {
        let broker = Broker::start(&data, &["--shards", "1"]);
        let mut client = Client::connect(broker.address, "client", false, None).unwrap();
        client.subscribe("t", 1).unwrap();
        client.publish_through("kept", &number.to_be_bytes(), 3, 1).unwrap();
        // A checkpoint is due when four segments are complete, and gives back what the one before it does not need.
        let due = usize::from(number / 4).min(2);
        let deadline = Instant::now() + Duration::from_secs(20);
        while (checkpoints(&data) < due || bytes(&data) > 40 * MIB) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(checkpoints(&data) >= due, "start {number}: {:?}: {}", data.files(), broker.log());
        assert!(bytes(&data) <= 40 * MIB, "start {number}: {} MiB: {:?}", bytes(&data) / MIB, data.files());
        assert!(!broker.log().contains("damaged"), "start {number}: {}", broker.log());
        broker.kill();
    }
    let broker = Broker::start(&data, &["--shards", "1"]);
    assert!(!broker.log().contains("damaged"), "{}", broker.log());
    let mut late = Client::connect(broker.address, "late", true, None).unwrap();
    late.subscribe("kept", 1).unwrap();
    assert_eq!(late.take(Duration::from_secs(10)).unwrap().expect("it is retained").payload, [0, 23]);
}
