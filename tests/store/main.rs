//! The store over a disk of sectors: writers that are cut off, disks that rot, and what is read back.
//!
//! Everything comes from a seed. A failure prints it: `STORE_SEED=N cargo test --test store` runs that one alone, and
//! `STORE_SEEDS=N` runs so many.

mod canary;
mod damage;
#[path = "../support/dice.rs"]
mod dice;
#[path = "../support/sectors.rs"]
#[allow(dead_code, reason = "the simulator of shards has faults that this does not need")]
mod disk;
mod hostile;
mod model;
mod power;
mod reshard;
mod state;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a test for each of `seeds` seeds, or for the one that the environment asks for.
pub(crate) fn for_each_seed(seeds: u64, test: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let one: Option<u64> = number("STORE_SEED");
    let range = one.map_or(0..number("STORE_SEEDS").unwrap_or(seeds), |seed| seed..seed + 1);
    for seed in range {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("seed {seed}: STORE_SEED={seed} runs it alone");
            resume_unwind(panic);
        }
    }
}
