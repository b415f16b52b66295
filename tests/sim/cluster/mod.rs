//! The pure core of the cluster: two to four nodes with a model of the engine, which delays, loses, repeats, refuses, has no leader, is behind, and
//! damages what it has; nodes are killed, paused and cut off, from the engine and from each other. An oracle says what must hold whatever happens.
//!
//! The same variables set seeds and steps as for the shards.

mod canary;
mod end;
mod engine;
mod faults;
mod links;
mod members;
mod node;
mod oracle;
mod plan;
mod retained;
mod world;

use canary::Canary;
use oracle::Stats;
use world::World;

use crate::{SEEDS, in_words, number};

const STEPS: u64 = 16_000;

/// What a seed has come to.
struct Run {
    hash: u64,
    stats: Stats,
}

fn run(seed: u64, steps: u64, canary: Canary) -> Result<Run, String> {
    let mut world = World::new(seed, canary);
    let outcome = in_words(|| {
        for _ in 0..steps {
            world.step()?;
        }
        world.finish()
    });
    let Err(what) = outcome else {
        return Ok(Run { hash: world.trace.hash(), stats: world.oracle.stats });
    };
    Err(format!(
        "seed {seed}, step {}, {} ms: {what}\n\nthe last events:\n{}\n{:?}\n\nagain: SIM_SEED={seed} SIM_STEPS={steps} cargo test \
         --no-default-features --test sim cluster\n",
        world.trace.step,
        world.now,
        world.trace.last(),
        world.plan
    ))
}

#[test]
fn every_seed_keeps_every_promise() {
    let steps = number("SIM_STEPS", STEPS);
    let seeds = match std::env::var("SIM_SEED") {
        Ok(_) => number("SIM_SEED", 0)..number("SIM_SEED", 0) + 1,
        Err(_) => number("SIM_FIRST", 0)..number("SIM_FIRST", 0) + number("SIM_SEEDS", SEEDS),
    };
    let mut stats = Stats::default();
    for seed in seeds.clone() {
        match run(seed, steps, Canary::None) {
            Ok(run) => stats.add(run.stats),
            Err(what) => panic!("{what}"),
        }
        if seed % 100 == 99 && seeds.end - seeds.start > SEEDS {
            println!("cluster seed {seed} of {}", seeds.end);
        }
    }
    println!("{} cluster seeds of {steps} steps: {stats:?}", seeds.end - seeds.start);
}

#[test]
fn one_seed_run_twice_is_one_history() {
    for seed in [1, 2, 3] {
        let runs = [(); 2].map(|()| run(seed, 3_000, Canary::None).unwrap_or_else(|what| panic!("{what}")));
        assert_eq!(runs[0].hash, runs[1].hash, "seed {seed}");
        assert_eq!(runs[0].stats, runs[1].stats, "seed {seed}");
    }
    let [one, other] = [4, 5].map(|seed| run(seed, 3_000, Canary::None).unwrap_or_else(|what| panic!("{what}")));
    assert_ne!(one.hash, other.hash);
}

#[test]
fn every_canary_is_caught() {
    for canary in Canary::ALL {
        let caught = (0..SEEDS).find_map(|seed| run(seed, STEPS, canary).err());
        let what = caught.unwrap_or_else(|| panic!("{canary:?} lives through {SEEDS} seeds"));
        println!("{canary:?}: {}", what.lines().next().unwrap_or_default());
    }
}

#[test]
fn a_run_exercises_what_it_checks() {
    let mut stats = Stats::default();
    for seed in 0..32 {
        stats.add(run(seed, STEPS, Canary::None).unwrap_or_else(|what| panic!("{what}")).stats);
    }
    let Stats { acknowledged, owned, lost, void, said_again, refused, early, step_downs, begun_anew, .. } = stats;
    let Stats { quarantined, deaths, expelled, paused, moved, purged, stale, short, .. } = stats;
    let Stats { cut_off, joined, served_on, .. } = stats;
    for (count, least) in [
        (acknowledged, 50_000),
        (owned, 200),
        (lost, 50),
        (void, 5),
        (said_again, 2_000),
        (refused, 2_000),
        (early, 1_000),
        (step_downs, 30),
        (begun_anew, 1),
        (quarantined, 5),
        (deaths, 50),
        (expelled, 10),
        (paused, 50),
        (moved, 50),
        (purged, 300),
        (stale, 10),
        (short, 20),
        (cut_off, 8),
        (joined, 50),
        (served_on, 150),
    ] {
        assert!(count >= least, "{stats:?}");
    }
    println!("{stats:?}");
}
