//! A full disk: who is refused what, that nothing acknowledged is lost, and that what is read makes room again.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, PATIENCE, PUBACK, PUBREC, Publish};
use crate::small_disk::{SmallDisk, on_small_disk};

const MIB: u64 = 1024 * 1024;
/// What does not fit.
const QUOTA_EXCEEDED: u8 = 0x97;
/// How long the disk may take to have room again.
const RECOVERY: Duration = Duration::from_secs(60);
const QUEUES: [&str; 4] = ["--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB"];
const PAYLOAD_BYTES: usize = 20_000;

fn flags<'a>(disk: &'a SmallDisk, shards: &'a str) -> Vec<&'a str> {
    let mut flags = vec!["--shards", shards, "--checkpoint-interval", "1s", "--sys-interval", "1s"];
    flags.extend(QUEUES);
    if let SmallDisk::Shared { free_space_min } = disk {
        flags.extend(["--free-space-min", free_space_min.as_str()]);
    }
    flags
}

fn payload(number: u32) -> Vec<u8> {
    let mut payload = vec![b'x'; PAYLOAD_BYTES];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

fn number(publish: &Publish) -> u32 {
    u32::from_be_bytes(publish.payload[..4].try_into().expect("four bytes"))
}

/// The code that a QoS 1 or 2 message is acknowledged with; 0 where 5.0 leaves it out.
fn code_of(client: &mut Client, topic: &str, payload: &[u8], flags: u8) -> u8 {
    client.publish(topic, payload, flags, 9).expect("the broker lives");
    let answer = if flags & 4 != 0 { PUBREC } else { PUBACK };
    client.await_answer(answer, 9).expect("the broker lives").first().copied().unwrap_or(0)
}

/// Publishes until it is refused. Gives how many were taken.
fn fill(address: SocketAddr, topic: &str, from: u32) -> u32 {
    let (mut publisher, code) = Client::connect_v5(address, "filler", 0).expect("the broker lives");
    assert_eq!(code, 0);
    for at in from.. {
        match code_of(&mut publisher, topic, &payload(at), 2) {
            0 => {}
            code => {
                assert_eq!(code, QUOTA_EXCEEDED);
                return at - from;
            }
        }
        assert!(at < 100_000, "the disk is not as small as it was to be");
    }
    unreachable!("numbers do not end")
}

/// Publishes until it is taken.
fn await_room(broker: &Broker, topic: &str, payload: &[u8]) {
    let deadline = Instant::now() + RECOVERY;
    let (mut publisher, _) = Client::connect_v5(broker.address, "hopeful", 0).expect("the broker lives");
    while code_of(&mut publisher, topic, payload, 2) != 0 {
        assert!(Instant::now() < deadline, "there is no room again: {}", broker.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn keep(address: SocketAddr, id: &str, filter: &str) {
    let mut away = Client::connect(address, id, false, None).expect("the broker lives");
    away.subscribe(filter, 1).expect("the broker lives");
    away.disconnect();
}

/// Takes so many messages of a session, and checks that they are these, in order.
fn drain(address: SocketAddr, id: &str, expected: impl Iterator<Item = u32>) {
    let mut reader = Client::connect(address, id, false, None).expect("the broker lives");
    assert!(reader.session_present);
    for wanted in expected {
        let taken =
            reader.take(PATIENCE).expect("the broker lives").unwrap_or_else(|| panic!("{wanted} was acknowledged"));
        assert_eq!(number(&taken), wanted);
    }
    assert!(
        reader.take(Duration::from_millis(300)).expect("the broker lives").is_none(),
        "nothing else was acknowledged"
    );
    reader.disconnect();
}

/// What is refused, and what goes on.
fn check_refusals(broker: &Broker) {
    let address = broker.address;
    let (mut new, code) = Client::connect_v5(address, "five", 0).expect("the broker lives");
    assert_eq!(code, 0);
    for (topic, flags) in [("q", 2), ("q", 4), ("retained", 3)] {
        assert_eq!(code_of(&mut new, topic, &payload(0), flags), QUOTA_EXCEEDED, "{topic} {flags}");
    }
    assert_eq!(code_of(&mut new, "nobody/cares", &payload(0), 2), 0x10);
    assert_eq!(Client::connect_v5(address, "new-kept", 600).expect("the broker lives").1, QUOTA_EXCEEDED);
    assert_eq!(Client::try_connect(address, "new-kept", false).expect("the broker lives").err(), Some(3));
    // 3.1.1 has no word for it: it is closed, and nothing is acknowledged.
    let mut old = Client::connect(address, "old", true, None).expect("the broker lives");
    old.publish("q", &payload(0), 2, 1).expect("the broker lives");
    assert_eq!(old.next(PATIENCE).expect_err("it is closed").kind(), ErrorKind::UnexpectedEof);
    let mut kept = Client::connect(address, "kept", false, None).expect("the broker lives");
    assert!(kept.session_present, "what is there can be come back to");
    assert!(kept.subscribe("more", 1).expect_err("it is refused").to_string().contains("SUBACK [128]"));
    kept.disconnect();
    // What nobody keeps goes on.
    let mut live = Client::connect(address, "live", true, None).expect("the broker lives");
    live.subscribe("live", 1).expect("the broker lives");
    for flags in [0, 2] {
        live.publish("live", b"hello", flags, 3).expect("the broker lives");
        assert_eq!(live.take(PATIENCE).expect("the broker lives").expect("it is there").payload, b"hello");
    }
    let mut sys = Client::connect(address, "sys", true, None).expect("the broker lives");
    sys.subscribe("$SYS/broker/store/shards/full", 0).expect("the broker lives");
    let deadline = Instant::now() + PATIENCE;
    while sys.take(PATIENCE).expect("the broker lives").is_none_or(|found| found.payload == b"0") {
        assert!(Instant::now() < deadline, "nobody is told");
    }
}

#[test]
fn a_full_disk_refuses_clearly_goes_on_reading_and_recovers_by_itself() {
    let name = "full::a_full_disk_refuses_clearly_goes_on_reading_and_recovers_by_itself";
    let data = DataDirectory::new("full");
    on_small_disk(name, data.path(), 72 * MIB, |disk| {
        let flags = flags(disk, "2");
        let broker = Broker::start(&data, &flags);
        keep(broker.address, "away", "q");
        keep(broker.address, "kept", "other");
        let mut taken = fill(broker.address, "q", 0);
        assert!(taken > 500, "{taken} messages of 20 kB are all that fits");
        check_refusals(&broker);
        let lines = |broker: &Broker, event: &str| broker.whole_log().matches(event).count();
        assert_eq!(
            (lines(&broker, "store_out_of_space"), lines(&broker, "store_has_space")),
            (1, 0),
            "{}",
            broker.log()
        );
        // Killed while it is full, more often than there are segments ready, it starts all the same.
        let mut broker = broker;
        for _ in 0..6 {
            broker.kill();
            broker = Broker::start(&data, &flags);
            // At first nobody has tried to make room for more.
            taken += fill(broker.address, "q", taken);
        }
        check_refusals(&broker);
        drain(broker.address, "away", 0..taken);
        await_room(&broker, "q", &payload(taken));
        assert!(lines(&broker, "store_has_space") >= 1, "{}", broker.log());
        broker.kill();
        let broker = Broker::start(&data, &flags);
        drain(broker.address, "away", taken..=taken);
        assert!(!broker.log().contains("damaged") && !broker.log().contains("panicked"), "{}", broker.log());
    });
}

/// One session takes all of it, and another, which is away, has a message in every segment: they are written again elsewhere.
#[test]
fn a_full_disk_has_room_again_when_most_of_each_segment_is_read() {
    let name = "full::a_full_disk_has_room_again_when_most_of_each_segment_is_read";
    let data = DataDirectory::new("full-sparse");
    on_small_disk(name, data.path(), 72 * MIB, |disk| {
        let flags = flags(disk, "1");
        let broker = Broker::start(&data, &flags);
        keep(broker.address, "away", "q/some");
        keep(broker.address, "reader", "q/#");
        let (mut publisher, _) = Client::connect_v5(broker.address, "filler", 0).unwrap();
        let mut taken = 0;
        while code_of(&mut publisher, if taken % 50 == 0 { "q/some" } else { "q/most" }, &payload(taken), 2) == 0 {
            taken += 1;
        }
        drain(broker.address, "reader", 0..taken);
        await_room(&broker, "q/most", &payload(taken));
        drain(broker.address, "reader", taken..=taken);
        broker.kill();
        let broker = Broker::start(&data, &flags);
        drain(broker.address, "away", (0..taken).step_by(50));
        assert!(!broker.log().contains("damaged"), "{}", broker.log());
    });
}

/// Somebody else takes the last byte of the disk.
#[test]
fn a_disk_that_somebody_else_has_filled_can_be_read_from_and_recovers_when_it_has_room() {
    let name = "full::a_disk_that_somebody_else_has_filled_can_be_read_from_and_recovers_when_it_has_room";
    let data = DataDirectory::new("full-by-others");
    on_small_disk(name, data.path(), 72 * MIB, |disk| {
        if matches!(disk, SmallDisk::Shared { .. }) {
            return; // it is others' as well
        }
        let flags = flags(disk, "1");
        let broker = Broker::start(&data, &flags);
        keep(broker.address, "away", "q");
        let mut publisher = Client::connect(broker.address, "publisher", true, None).unwrap();
        for at in 0..300 {
            publisher.publish_through("q", &payload(at), 2, 1).unwrap();
        }
        let filler = data.path().join("somebody-elses");
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        drop(file);
        let taken = 300 + fill(broker.address, "q", 300);
        broker.kill();
        let broker = Broker::start(&data, &flags);
        let taken = taken + fill(broker.address, "q", taken);
        drain(broker.address, "away", 0..taken);
        fs::remove_file(&filler).unwrap();
        await_room(&broker, "q", &payload(taken));
        drain(broker.address, "away", taken..=taken);
        assert!(!broker.log().contains("damaged"), "{}", broker.log());
    });
}
