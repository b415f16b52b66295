//! What the store costs a core: encoding and batching, reading back, and one durable write on a real disk.
//!
//! `cargo bench --bench store [-- [RECORDS] [FOLDER]]`; FOLDER is on the disk that is written to (default: here). Figures of one run are to
//! be read as ratios. Each is the best of five rounds; those of the disk are by turns.

#![allow(clippy::cast_precision_loss)] // figures for people

mod disk;
mod log;

use std::path::Path;
use std::time::Instant;

use disk::{Figures, Way};
use dunlin::ring::Durability;
use log::{MemoryDisk, SESSIONS, State, fill};

fn main() {
    let records: u64 = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(4_000_000);
    println!("{records} records: a message of 100 bytes for one of {SESSIONS} persistent sessions, sent and completed");
    let mut disk = MemoryDisk::default();
    let mut bytes = 0;
    report("encode, batch and seal", records, || {
        disk = MemoryDisk::default();
        bytes = fill(&mut disk, records, State::Completed);
    });
    println!("  {:.1} bytes a record", bytes as f64 / records as f64);
    report("scan", records, || log::scan(&mut disk));
    report("scan and apply, all completed", records, || log::recover(&mut disk));
    disk = MemoryDisk::default();
    fill(&mut disk, records, State::Queued);
    report("scan and apply, all queued", records, || log::recover(&mut disk));
    let folder = std::env::args().skip(1).find(|argument| Path::new(argument).is_dir());
    durable(Path::new(folder.as_deref().unwrap_or(".")));
}

fn durable(folder: &Path) {
    println!("durable, in {}: pairs of a message of 100 bytes and a small record", folder.display());
    let ways = [Way::Ring(Durability::Dsync), Way::Ring(Durability::WriteThenSync), Way::WriteAndSync];
    for in_flight in [2, 64, 1_000, 10_000] {
        let mut best = [Figures::default(); 3];
        for _ in 0..5 {
            for (best, way) in best.iter_mut().zip(ways) {
                let found = disk::round(folder, way, in_flight);
                if found.records_s > best.records_s {
                    *best = found;
                }
            }
        }
        let [dsync, linked, sync] = best.map(|Figures { records_s, writes_s, cpu_us }| {
            format!("{records_s:.0} records/s, {writes_s:.0} writes/s, {cpu_us:.2} us CPU a record")
        });
        println!(
            "  {in_flight} waiting\n    ring, DSYNC: {dsync}\n    ring, write then sync: {linked}\n    the thread itself: {sync}"
        );
    }
}

fn report(what: &str, records: u64, mut run: impl FnMut()) {
    let seconds = (0..5).map(|_| {
        let begun = Instant::now();
        run();
        begun.elapsed().as_secs_f64()
    });
    let best = seconds.fold(f64::INFINITY, f64::min);
    println!("{what}: {:.2} million records a second", records as f64 / best / 1e6);
}
