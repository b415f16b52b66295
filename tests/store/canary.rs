//! Stores with a bug: the checks of this test must find each of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dunlin::store::format::StoreFile;

use crate::dice::Dice;
use crate::world::{LOG, World};

/// Whether any of so many seeds makes the checks fail.
fn is_found(seeds: u64, test: impl Fn(u64)) -> bool {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..seeds).any(|seed| catch_unwind(AssertUnwindSafe(|| test(seed))).is_err());
    std::panic::set_hook(quiet);
    found
}

#[test]
fn the_checks_find_stores_with_a_bug() {
    assert!(!is_found(50, |seed| ordinary(seed, |_| {})), "the store without a bug is clean");
    assert!(is_found(50, acknowledges_before_it_is_durable), "acknowledged before it was durable");
    let forgets = |world: &mut World| {
        let last = world.batches[world.batches.len() - 1];
        let at = last.1 as usize;
        world.disk.bytes_mut(StoreFile::Segment(LOG, last.0))[at..at + last.2 as usize].fill(0);
    };
    assert!(is_found(50, |seed| ordinary(seed, forgets)), "the last batch was cut off");
    let truncates = |world: &mut World| {
        // A reader that takes the first bad batch for the end would lose what is behind it.
        let (segment, offset, ..) = world.batches[world.batches.len() / 2];
        let file = StoreFile::Segment(LOG, segment);
        world.disk.bytes_mut(file)[offset as usize..].fill(0);
    };
    assert!(is_found(50, |seed| ordinary(seed, truncates)), "the log was cut off at damage");
    let inbox = |world: &mut World| world.inbox += 1_000_000;
    assert!(is_found(50, |seed| ordinary(seed, inbox)), "an inbox count was left out");
    let invents = |world: &mut World| {
        world.ledger.pop_first();
    };
    assert!(is_found(50, |seed| ordinary(seed, invents)), "a record that nobody wrote");
}

fn ordinary(seed: u64, bug: impl Fn(&mut World)) {
    let mut world = World::new(seed);
    world.live(40);
    world.append();
    world.flush();
    bug(&mut world);
    world.recover();
}

fn acknowledges_before_it_is_durable(seed: u64) {
    let mut world = World::new(seed);
    world.live(20);
    world.append();
    if world.begin_write().is_some() {
        world.acknowledged = world.writer.appended();
        world.disk.cut_power(&mut Dice::new(seed));
        world.recover();
    }
}
