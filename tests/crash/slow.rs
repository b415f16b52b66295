//! A disk that is slower than its publishers: they are not read, and nobody else notices.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, PATIENCE, Received};
use crate::volatile_disk::{VolatileDisk, with_volatile_disks};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_slow_disk_slows_those_whose_messages_are_kept_and_nobody_else() {
    let name = "slow::a_slow_disk_slows_those_whose_messages_are_kept_and_nobody_else";
    // src/shard/tests/log_room.rs has the same without a disk.
    with_volatile_disks(name, || {
        let data = DataDirectory::new("slow");
        let disk = VolatileDisk::new(data.path(), 96 * MIB);
        let flags = ["--shards", "1", "--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB"];
        let broker = Broker::start(&data, &flags);
        let mut away = Client::connect(broker.address, "away", false, None).unwrap();
        away.subscribe("q", 1).unwrap();
        away.disconnect();
        std::thread::sleep(Duration::from_secs(1)); // segments are made
        disk.slow_down(MIB);
        let mut publisher = Client::connect(broker.address, "publisher", true, None).unwrap();
        publisher.give_up_sending_after(Duration::from_secs(2)).unwrap();
        let payload = vec![7; 100_000];
        let mut sent_bytes = 0;
        let error = loop {
            if let Err(error) = publisher.publish("q", &payload, 2, 1 + (sent_bytes / 100_000) as u16) {
                break error;
            }
            sent_bytes += payload.len() as u64;
            assert!(sent_bytes < 100 * MIB, "a disk of 1 MB/s is given 100 MB");
        };
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        // What is not kept goes on at once.
        let mut live = Client::connect(broker.address, "live", true, None).unwrap();
        live.subscribe("live", 1).unwrap();
        for (number, flags) in [0, 2, 4, 0, 2, 4].into_iter().enumerate() {
            let begun = Instant::now();
            live.publish("live", b"hello", flags, 1 + number as u16).unwrap();
            let took = loop {
                match live.next(PATIENCE).unwrap().expect("it is there") {
                    Received::Publish(_) => break begun.elapsed(),
                    Received::Answer(..) => {}
                }
            };
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
        // And the publisher goes on as the disk does.
        assert!(publisher.next(PATIENCE).unwrap().is_some(), "an acknowledgement");
    });
}
