//! Files of a data directory that somebody deleted, cut off or changed: told at the start, and by `dunlin store check`; the broker starts.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, PATIENCE};

const QUEUES: [&str; 4] = ["--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB"];
const PAYLOAD_BYTES: usize = 20_000;

fn flags() -> Vec<&'static str> {
    let mut flags = vec!["--shards", "1", "--sys-interval", "1s"];
    flags.extend(QUEUES);
    flags
}

fn payload(number: u32) -> Vec<u8> {
    let mut payload = vec![b'x'; PAYLOAD_BYTES];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

/// A session that is away, with so many messages.
fn queue(broker: &Broker, messages: u32) {
    let mut away = Client::connect(broker.address, "away", false, None).expect("the broker lives");
    away.subscribe("q", 1).expect("the broker lives");
    away.disconnect();
    let mut publisher = Client::connect(broker.address, "publisher", true, None).expect("the broker lives");
    for number in 0..messages {
        publisher.publish_through("q", &payload(number), 2, 1).expect("the broker lives");
    }
}

/// What the session that was away is given, by number.
fn taken(broker: &Broker) -> Vec<u32> {
    let mut away = Client::connect(broker.address, "away", false, None).expect("the broker lives");
    let next = || away.take(Duration::from_millis(500)).expect("the broker lives");
    std::iter::from_fn(next)
        .map(|found| u32::from_be_bytes(found.payload[..4].try_into().expect("the broker lives")))
        .collect()
}

/// Segments that were begun, and those that are ready behind them.
fn segments(data: &DataDirectory) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains("/segment-");
    let all = data.files().into_iter().filter(is_segment);
    all.partition(|path| fs::read(path).expect("a file of the test's own").starts_with(b"DnlSegmt"))
}

fn check(data: &DataDirectory) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["store", "check"])
        .arg(data.path())
        .output()
        .expect("a file of the test's own");
    (output.status.code(), String::from_utf8(output.stdout).expect("a file of the test's own"))
}

fn cut_off(path: &Path, bytes: u64) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("a file of the test's own")
        .set_len(bytes)
        .expect("a file of the test's own");
}

/// Changes the byte that lies so far behind these bytes.
fn flip_behind(path: &Path, bytes: &[u8], distance: usize) {
    let found = fs::read(path)
        .expect("a file of the test's own")
        .windows(bytes.len())
        .position(|window| window == bytes)
        .expect("it is there");
    let at = (found + distance) as u64;
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("a file of the test's own");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a file of the test's own");
    file.write_all_at(&[byte[0] ^ 1], at).expect("a file of the test's own");
}

#[test]
fn files_that_are_gone_or_cut_off_are_told_and_the_broker_starts() {
    type Harm = fn(&[PathBuf], &[PathBuf]);
    let harms: [(&str, Harm, &str, bool); 6] = [
        ("one-between", |begun, _| fs::remove_file(&begun[1]).unwrap(), "are lost, in segment 1 from block", false),
        ("the-last", |begun, _| fs::remove_file(begun.last().unwrap()).unwrap(), "segment 3 is not there", true),
        (
            "the-last-and-all-behind-it",
            |begun, ready| begun[2..].iter().chain(ready).for_each(|path| fs::remove_file(path).unwrap()),
            "segment 3 is not there",
            true,
        ),
        (
            "all",
            |begun, ready| begun.iter().chain(ready).for_each(|path| fs::remove_file(path).unwrap()),
            "is not there, and what was in it is lost",
            true,
        ),
        (
            "cut-off",
            |begun, _| cut_off(begun.last().unwrap(), 512 * 1024),
            "segment 3 is shorter than it was made",
            false,
        ),
        ("emptied", |begun, _| cut_off(begun.last().unwrap(), 0), "segment 3 is shorter than it was made", true),
    ];
    for (name, harm, told, is_told_once) in harms {
        let data = DataDirectory::new(&format!("gone-{name}"));
        let broker = Broker::start(&data, &flags());
        queue(&broker, 250);
        broker.kill();
        assert_eq!(check(&data).0, Some(0), "{name}: {}", check(&data).1);
        let (begun, ready) = segments(&data);
        assert!(begun.len() == 3 && !ready.is_empty(), "{begun:?} {ready:?}");
        harm(&begun, &ready);
        let (status, shown) = check(&data);
        assert!(status == Some(1) && shown.contains(told), "{name}: {status:?} {shown}");
        let broker = Broker::start(&data, &flags());
        assert!(broker.whole_log().contains(told), "{name}: {}", broker.log());
        let there = taken(&broker);
        assert!(there.is_sorted() && there.len() < 250, "{name}: {there:?}");
        // What comes now is kept like anything else.
        queue(&broker, 3);
        broker.kill();
        let broker = Broker::start(&data, &flags());
        assert_eq!(taken(&broker), [0, 1, 2], "{name}: {}", broker.log());
        let times = broker.whole_log().matches(told).count();
        assert!(!is_told_once || times == 1, "{name}: told {times} times: {}", broker.log());
    }
}

#[test]
fn a_message_whose_bytes_are_lost_is_told_and_counted_once() {
    let data = DataDirectory::new("lost-bytes");
    let flags = [&flags()[..], &["--checkpoint-interval", "1s"]].concat();
    let broker = Broker::start(&data, &flags);
    queue(&broker, 150);
    let deadline = Instant::now() + PATIENCE;
    let is_made = |path: &PathBuf| path.extension().is_none() && path.to_string_lossy().contains("checkpoint-");
    while !data.files().iter().any(is_made) {
        assert!(Instant::now() < deadline, "no checkpoint: {}", broker.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    broker.kill();
    // Who is to have it is known from the checkpoint.
    flip_behind(&segments(&data).0[0], &payload(50)[..200], 5_000);
    let told = "the bytes of 1 messages are lost";
    let broker = Broker::start(&data, &flags);
    assert!(broker.whole_log().contains(told), "{}", broker.log());
    let mut sys = Client::connect(broker.address, "sys", true, None).unwrap();
    sys.subscribe("$SYS/broker/publish/messages/dropped/storage_damaged", 0).unwrap();
    assert_eq!(sys.take(PATIENCE).unwrap().expect("it is counted").payload, b"1");
    std::thread::sleep(Duration::from_millis(100)); // what was written at the start is on the disk
    broker.kill();
    let broker = Broker::start(&data, &flags);
    assert_eq!(broker.whole_log().matches(told).count(), 1, "{}", broker.log());
    let expected: Vec<u32> = (0..150).filter(|number| *number != 50).collect();
    assert_eq!(taken(&broker), expected);
}

#[test]
fn a_bit_that_has_changed_in_the_last_batch_is_told_after_a_stop_and_is_a_torn_write_after_a_kill() {
    for stops in [true, false] {
        let data = DataDirectory::new(&format!("last-batch-{stops}"));
        let broker = Broker::start(&data, &flags());
        let mut publisher = Client::connect(broker.address, "publisher", true, None).unwrap();
        publisher.publish_through("kept", b"first", 3, 1).unwrap();
        publisher.publish_through("kept", b"this is the last one", 3, 2).unwrap();
        drop(publisher);
        if stops {
            broker.stop();
        } else {
            broker.kill();
        }
        assert_eq!(check(&data).0, Some(0), "{}", check(&data).1);
        flip_behind(&segments(&data).0[0], b"this is the last one", 3);
        let (status, shown) = check(&data);
        assert_eq!(status, Some(i32::from(stops)), "{shown}");
        assert_eq!(shown.contains("under way when the power went"), !stops, "{shown}");
        let broker = Broker::start(&data, &flags());
        assert_eq!(broker.whole_log().contains("store_damaged"), stops, "{}", broker.log());
        let mut reader = Client::connect(broker.address, "reader", true, None).unwrap();
        reader.subscribe("kept", 1).unwrap();
        assert_eq!(reader.take(PATIENCE).unwrap().expect("it is retained").payload, b"first");
    }
}
