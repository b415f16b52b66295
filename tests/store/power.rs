//! The power goes at any moment, again and again.

use crate::disk::SimDisk;
use crate::for_each_seed;
use crate::world::{LOG, SEGMENT_BYTES, World};
use dunlin::store::format::StoreFile;

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged_and_leaves_no_half_group() {
    let mut torn = 0;
    let counted = std::cell::RefCell::new(&mut torn);
    for_each_seed(1_000, |seed| {
        let mut world = World::new(seed);
        for _ in 0..4 {
            let steps = world.dice.below(60);
            world.live(steps);
            if world.begin_write().is_some() {
                let mut dice = world.dice.clone();
                world.disk.cut_power(&mut dice);
                world.dice = dice;
            }
            **counted.borrow_mut() += usize::from(world.read().2.is_torn);
            world.recover();
        }
        world.live(20);
        world.flush();
        world.recover();
    });
    assert!(torn > 0 || std::env::var_os("STORE_SEED").is_some(), "no write was ever torn");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes = |seed| {
        let mut world = World::new(seed);
        world.live(100);
        let names: Vec<StoreFile> = world.disk.names().collect();
        names.iter().flat_map(|file| world.disk.bytes(*file).to_vec()).collect::<Vec<u8>>()
    };
    assert_eq!(bytes(5), bytes(5));
    assert_ne!(bytes(5), bytes(6));
}

#[test]
fn what_a_dead_brokers_disk_writes_late_counts_for_nothing() {
    for_each_seed(200, |seed| {
        let mut world = World::new(seed);
        world.live(10);
        world.append();
        let Some(late) = world.begin_write() else { return };
        // Nothing of the write is there when the next broker looks...
        let mut disk = std::mem::take(&mut world.disk);
        let arrived = disk.clone();
        disk.lose();
        world.disk = disk;
        world.recover();
        world.live(10);
        world.flush();
        // ... and all of it some time later.
        let file = StoreFile::Segment(LOG, late.segment);
        let mut arrived: SimDisk = arrived;
        arrived.complete();
        if late.offset > 0 && !world.batches.iter().any(|batch| batch.0 == late.segment && batch.1 >= late.offset) {
            let (from, to) = (late.offset as usize, late.offset as usize + late.range.len());
            let bytes = arrived.bytes(file)[from..to].to_vec();
            world.disk.bytes_mut(file)[from..to].copy_from_slice(&bytes);
        }
        world.recover();
    });
}

#[test]
fn a_recycled_segment_shows_nothing_of_its_earlier_life() {
    for_each_seed(200, |seed| {
        let mut world = World::new(seed);
        world.live(150);
        world.flush();
        // All that is written is old enough: the files go round.
        let oldest: Vec<StoreFile> = world.disk.names().filter(|file| matches!(file, StoreFile::Segment(..))).collect();
        let last = world.batches.last().expect("something was written").0;
        let kept = world.batches.iter().filter(|batch| batch.0 >= last).map(|batch| batch.3).min().unwrap_or(1);
        for (index, file) in oldest.into_iter().enumerate() {
            if matches!(file, StoreFile::Segment(_, number) if number < last) {
                world.disk.rename(file, StoreFile::Spare(LOG, index as u32));
            }
        }
        world.ledger.retain(|first, _| *first >= kept);
        world.from = kept;
        let straddling =
            world.batches.iter().any(|batch| batch.0 >= last && batch.3 == kept) && !world.ledger.contains_key(&kept);
        if straddling {
            return; // a group that began in a segment that is gone: no checkpoint would have let it go
        }
        world.recover();
        world.live(100);
        let mut dice = world.dice.clone();
        if world.begin_write().is_some() {
            world.disk.cut_power(&mut dice);
        }
        world.recover();
        assert!(world.disk.names().all(|file| world.disk.bytes(file).len() as u64 == SEGMENT_BYTES));
    });
}
