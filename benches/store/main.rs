//! What the store costs a core: encoding and batching, reading back, and one durable write on a real disk.
//!
//! `cargo bench --bench store [-- RECORDS]`; figures of one run are to be read as ratios. Each is the best of five rounds.

#![allow(clippy::cast_precision_loss)] // figures for people

mod log;

use std::time::Instant;

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
