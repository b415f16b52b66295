//! Bytes that change by themselves, go to a wrong place, or cannot be read: found, told, and nothing else is lost for them.

use std::collections::BTreeMap;
use std::ops::Range;

use dunlin::store::format::StoreFile;
use dunlin::store::{Damage, LogScan};

use crate::for_each_seed;
use crate::world::{LOG, World};

/// Everything that is not damaged is there, nothing that was changed is, and the damage that is told is all there is.
fn check(world: &World, found: &BTreeMap<u64, Vec<u8>>, scan: &LogScan) {
    let told = |position: u64| scan.damage.iter().any(|Damage { first, next, .. }| (*first..*next).contains(&position));
    for (first, group) in &world.ledger {
        let positions = *first..*first + group.records.len() as u64;
        for (position, bytes) in positions.clone().zip(&group.records) {
            match found.get(&position) {
                Some(there) => assert_eq!(there, bytes, "record {position} has changed"),
                None => assert!(told(position), "record {position} is lost, and nobody says so: {:?}", scan.damage),
            }
        }
    }
    assert!(found.keys().all(|position| !told(*position)), "what is there is called lost");
    for (first, group) in &world.ledger {
        let there = found.range(*first..*first + group.records.len() as u64).count();
        assert!(there == 0 || there == group.records.len(), "half of the group at {first} is there");
    }
}

/// A log of several batches, all of it acknowledged, and its last batch whole, so that damage before it can be told.
fn written(seed: u64) -> World {
    let mut world = World::new(seed);
    world.live(60);
    world.append();
    world.flush();
    world.append();
    world.flush();
    world
}

#[test]
fn a_changed_bit_loses_its_batch_and_is_told() {
    let mut damaged = 0;
    let counted = std::cell::RefCell::new(&mut damaged);
    for_each_seed(1_000, |seed| {
        let mut world = written(seed);
        let index = world.dice.below(world.batches.len() as u64 - 1) as usize;
        let (segment, offset, len, first, next) = world.batches[index];
        // Anywhere, or in the batch's header: most of a small batch is padding, which may change as it likes.
        let header = if offset == 0 { 4096 } else { offset };
        let anywhere = offset * 8 + world.dice.below(len * 8);
        let bit = if world.dice.once_in(2) { anywhere } else { header * 8 + world.dice.below(64 * 8) };
        world.disk.flip(StoreFile::Segment(LOG, segment), bit);
        let (found, _, scan) = world.read();
        check(&world, &found, &scan);
        assert!(scan.damage.len() <= 1, "{:?}", scan.damage);
        for Damage { first: lost, next: behind, .. } in &scan.damage {
            let group =
                world.ledger.range(..next).next_back().map_or(next, |(at, group)| at + group.records.len() as u64);
            let group_first = world.ledger.range(..=first).next_back().map_or(first, |(at, _)| *at);
            assert!(
                *lost >= group_first && *behind <= group.max(next),
                "more is lost than the batch of the bit and its group"
            );
            **counted.borrow_mut() += 1;
        }
        // Who goes on behind the damage loses nothing new, and the damage stays told.
        world.restart(&scan);
        world.live(20);
        world.flush();
        let (found, _, again) = world.read();
        assert_eq!(again.damage, scan.damage);
        check(&world, &found, &again);
    });
    assert!(damaged > 500 || std::env::var_os("STORE_SEED").is_some(), "{damaged} bits of 1,000 made a difference");
}

#[test]
fn a_block_that_cannot_be_read_loses_its_batch_and_is_told() {
    for_each_seed(300, |seed| {
        let mut world = written(seed);
        let index = world.dice.below(world.batches.len() as u64 - 1) as usize;
        let (segment, offset, len, first, next) = world.batches[index];
        let block = offset / 4096 + world.dice.below(len / 4096);
        world.disk.break_block(StoreFile::Segment(LOG, segment), block);
        let (found, _, scan) = world.read();
        check(&world, &found, &scan);
        let is_header_of_segment = block == 0;
        assert_eq!(scan.damage.len(), usize::from(!is_header_of_segment), "{:?}", scan.damage);
        assert!(scan.damage.iter().all(|damage| damage.first <= first && damage.next >= next));
    });
}

#[test]
fn a_file_that_cannot_be_opened_loses_what_is_in_it_and_is_told() {
    for_each_seed(200, |seed| {
        let mut world = written(seed);
        let files: Vec<StoreFile> = world.disk.names().collect();
        let file = files[world.dice.below(files.len() as u64) as usize];
        world.disk.break_file(file);
        let (found, _, scan) = world.read();
        let StoreFile::Segment(_, broken) = file else { panic!("{file}") };
        assert_eq!(scan.unreadable, [broken]);
        assert!(scan.end.segment >= broken && scan.cut_off.is_empty(), "{scan:?}");
        // What the last segment had is lost without anything behind it that could say so: it is told as a whole.
        let is_last = world.batches.iter().all(|(segment, ..)| *segment <= broken);
        let lost: Vec<Range<u64>> =
            world.batches.iter().filter(|batch| batch.0 == broken).map(|(.., first, next)| *first..*next).collect();
        let overlap = |a: &Range<u64>, b: &Range<u64>| a.start < b.end && b.start < a.end;
        for (segment, _, _, first, next) in &world.batches {
            let there = found.range(*first..*next).count();
            // A group goes as a whole, also what of it stands in the next segment.
            let is_of_a_lost_group = world.ledger.iter().any(|(begin, group)| {
                let group = *begin..*begin + group.records.len() as u64;
                overlap(&group, &(*first..*next)) && lost.iter().any(|lost| overlap(&group, lost))
            });
            let is_right = if *segment == broken { there == 0 } else { is_last || is_of_a_lost_group || there > 0 };
            assert!(is_right, "{segment:?}: {scan:?}");
        }
        if !is_last {
            check(&world, &found, &scan);
        }
    });
}

#[test]
fn a_write_that_went_elsewhere_or_nowhere_is_found_as_soon_as_another_stands_behind_it() {
    for_each_seed(500, |seed| {
        let mut world = World::new(seed);
        world.live(40);
        world.flush();
        world.append();
        let Some(write) = world.begin_write() else { return };
        if world.dice.once_in(2) {
            world.disk.lose();
        } else {
            // Where it goes it destroys what was there.
            let to = world.dice.below(crate::world::SEGMENT_BYTES / 4096 - 1) * 4096;
            world.disk.misdirect(to);
        }
        world.complete(write);
        world.append();
        world.flush();
        let (found, _, scan) = world.read();
        check(&world, &found, &scan);
    });
}

#[test]
fn several_faults_at_once_never_deliver_what_was_not_written() {
    for_each_seed(500, |seed| {
        let mut world = written(seed);
        for _ in 0..=world.dice.below(20) {
            let (segment, offset, len, ..) = world.batches[world.dice.below(world.batches.len() as u64) as usize];
            let bit = offset * 8 + world.dice.below(len * 8);
            world.disk.flip(StoreFile::Segment(LOG, segment), bit);
        }
        let (found, _, scan) = world.read();
        let written: BTreeMap<u64, &Vec<u8>> =
            world.ledger.iter().flat_map(|(first, group)| (*first..).zip(&group.records)).collect();
        for (position, bytes) in &found {
            assert_eq!(written.get(position), Some(&bytes), "record {position} was never written so");
        }
        world.restart(&scan);
        world.live(10);
        world.flush();
        world.read();
    });
}
