//! The power goes while the built binary works, and a file system that lets nothing be written any more.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, PATIENCE};
use crate::cycles::{FLAGS, Fleet, PUBLISHERS, SUBSCRIBERS, number_from, prepare, publish, spawn, subscribe};
use crate::small_disk::run;
use crate::volatile_disk::{VolatileDisk, with_volatile_disks};

const DISK_BYTES: u64 = 96 * 1024 * 1024;

/// A number of 31 bits.
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

/// Waits until so many more messages are acknowledged than there were.
fn await_acknowledged(fleet: &Fleet, more: usize) {
    let wanted = fleet.ledger.acknowledged_count() + more;
    let deadline = Instant::now() + PATIENCE;
    while fleet.ledger.acknowledged_count() < wanted {
        assert!(Instant::now() < deadline, "{} of {wanted} messages", fleet.ledger.acknowledged_count());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Publishers finish, subscribers take what is left. Gives what is not as it was promised.
fn finish(fleet: &Arc<Fleet>, threads: [Vec<thread::JoinHandle<()>>; 2], patience: Duration) -> Vec<String> {
    let [publishers, subscribers] = threads;
    fleet.stops_publishing.store(true, SeqCst);
    for thread in publishers {
        thread.join().expect("it has nothing to panic about");
    }
    let deadline = Instant::now() + patience;
    while !fleet.ledger.is_complete(SUBSCRIBERS) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_millis(300)); // for what should not come
    fleet.stop();
    for thread in subscribers {
        thread.join().expect("it has nothing to panic about");
    }
    fleet.ledger.violations(SUBSCRIBERS)
}

/// Sometimes all of what was not synced is there, sometimes nothing, mostly a mixture, torn within writes.
fn cut(disk: &VolatileDisk, random: &mut u64) {
    let of_four = [0, 1, 2, 4][next(random) as usize % 4];
    disk.cut_power(|| next(random) % 4 < of_four);
}

#[test]
fn nothing_acknowledged_is_lost_however_often_the_power_goes() {
    with_volatile_disks("power::nothing_acknowledged_is_lost_however_often_the_power_goes", || {
        let cuts = number_from("CRASH_POWER_CUTS", 6);
        let mut random = number_from("CRASH_SEED", u64::from(std::process::id()));
        let seed = random;
        let data = DataDirectory::new("power");
        let mut disk = VolatileDisk::new(data.path(), DISK_BYTES);
        let mut broker = Broker::start(&data, &FLAGS);
        prepare(&broker);
        let fleet = Fleet::new(broker.address);
        let threads = [spawn(&fleet, PUBLISHERS, publish), spawn(&fleet, SUBSCRIBERS, subscribe)];
        for round in 0..cuts {
            await_acknowledged(&fleet, 20);
            thread::sleep(Duration::from_micros(next(&mut random) % 300_000));
            if round % 2 == 0 {
                cut(&disk, &mut random);
                // Its next write tells it, and it ends by itself.
                assert_eq!(broker.await_end(PATIENCE).code(), Some(71), "it is the machine's fault");
            } else {
                broker.kill();
                cut(&disk, &mut random);
            }
            disk.power_on();
            broker = Broker::start(&data, &FLAGS);
            fleet.set_address(broker.address);
        }
        await_acknowledged(&fleet, 20);
        let violations = finish(&fleet, threads, Duration::from_secs(60));
        let (acknowledged, log) = (fleet.ledger.acknowledged_count(), broker.log());
        println!("seed {seed}: {cuts} cuts, {acknowledged} messages acknowledged, {} violations", violations.len());
        assert!(violations.is_empty(), "CRASH_SEED={seed}: {violations:#?}\n{log}");
        assert!(!log.contains("damaged") && !log.contains("panicked"), "CRASH_SEED={seed}: {log}");
        let ends = log.matches(&format!("its log in {} has failed", data.path().display())).count() as u64;
        assert!(ends >= cuts / 2, "each cut that it lived to see is told: {log}");
    });
}

/// The positive control: a disk that keeps nothing of what it says it has kept is found out.
#[test]
fn a_disk_that_ignores_syncs_is_caught() {
    with_volatile_disks("power::a_disk_that_ignores_syncs_is_caught", || {
        let data = DataDirectory::new("power-control");
        let mut disk = VolatileDisk::new(data.path(), DISK_BYTES);
        let broker = Broker::start(&data, &FLAGS);
        prepare(&broker);
        disk.ignore_syncs();
        let fleet = Fleet::new(broker.address);
        let publishers = spawn(&fleet, PUBLISHERS, publish);
        await_acknowledged(&fleet, 100);
        broker.kill();
        disk.cut_power(|| false);
        disk.power_on();
        let broker = Broker::start(&data, &FLAGS);
        fleet.set_address(broker.address);
        let subscribers = spawn(&fleet, SUBSCRIBERS, subscribe);
        let violations = finish(&fleet, [publishers, subscribers], Duration::from_secs(2));
        assert!(violations.iter().any(|text| text.contains("are lost")), "{violations:?}");
    });
}

#[test]
fn a_file_system_that_takes_no_writes_any_more_ends_the_broker_in_a_line_with_a_remedy() {
    let name = "power::a_file_system_that_takes_no_writes_any_more_ends_the_broker_in_a_line_with_a_remedy";
    with_volatile_disks(name, || {
        let data = DataDirectory::new("remounted");
        let mut disk = VolatileDisk::new(data.path(), DISK_BYTES);
        let flags = ["--shards", "1"];
        let broker = Broker::start(&data, &flags);
        let mut away = Client::connect(broker.address, "away", false, None).unwrap();
        away.subscribe("q", 1).unwrap();
        away.disconnect();
        let mut publisher = Client::connect(broker.address, "publisher", true, None).unwrap();
        publisher.publish_through("q", b"kept", 2, 1).unwrap();
        // As when ext4 finds itself damaged: nothing is written any more, and all can still be read.
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(data.path()));
        publisher.publish_through("q", b"refused", 2, 2).expect_err("it is not acknowledged");
        assert_eq!(broker.await_end(PATIENCE).code(), Some(71), "it is the machine's fault");
        disk.cut_power(|| true);
        disk.power_on();
        let broker = Broker::start(&data, &flags);
        let log = broker.log();
        let line = log.lines().find(|line| line.contains("has failed")).unwrap_or_default();
        for part in ["shard 0: ", &data.path().display().to_string(), "dmesg", "--data-dir"] {
            assert!(line.contains(part), "{part}: {log}");
        }
        // What was on its way to the journal just then is told as EIO.
        let reasons = ["Read-only file system", "Input/output error"];
        assert!(reasons.iter().any(|reason| line.contains(reason)), "{log}");
        let mut back = Client::connect(broker.address, "away", false, None).unwrap();
        assert!(back.session_present);
        assert_eq!(back.take(PATIENCE).unwrap().expect("it was acknowledged").payload, b"kept");
    });
}
