//! Nodes of a cluster: the shards of three, and the links between them, over lanes and connections that split what they carry, stall and break.
//! Nodes are killed, stand still, are cut from each other and get other clocks. Clients subscribe and publish at the inputs of shards, and an oracle says
//! what a SUBACK promises, who is to have which message, and that links carry each frame once.
//!
//! Who is a member is told by the world itself: `ClusterNode` and the engine are in the simulation beside this one. The same variables set seeds
//! and steps as for the shards.

mod canary;
mod clients;
mod end;
mod faults;
mod members;
mod messages;
mod network;
mod node;
mod plan;
mod promises;
mod stats;
mod streams;
mod turns;
mod world;

use canary::Canary;
use stats::Stats;
use world::World;

use crate::{SEEDS, in_words, number};

const STEPS: u64 = 10_000;

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
        return Ok(Run { hash: world.trace.hash(), stats: world.stats });
    };
    Err(format!(
        "seed {seed}, step {}, {} ms: {what}\n\nthe last events:\n{}\n{:?}\n\nagain: SIM_SEED={seed} SIM_STEPS={steps} cargo test \
         --no-default-features --test sim nodes\n",
        world.trace.step,
        world.now,
        world.trace.last(),
        world.plan
    ))
}

fn run_well(seed: u64, steps: u64) -> Run {
    run(seed, steps, Canary::None).unwrap_or_else(|what| panic!("{what}"))
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
        stats.add(run_well(seed, steps).stats);
        if seed % 100 == 99 && seeds.end - seeds.start > SEEDS {
            println!("nodes seed {seed} of {}", seeds.end);
        }
    }
    println!("{} seeds of nodes, {steps} steps each: {stats:?}", seeds.end - seeds.start);
}

#[test]
fn one_seed_run_twice_is_one_history() {
    for seed in [1, 2, 3] {
        let runs = [(); 2].map(|()| run_well(seed, 3_000));
        assert_eq!(runs[0].hash, runs[1].hash, "seed {seed}");
        assert_eq!(runs[0].stats, runs[1].stats, "seed {seed}");
    }
    let [one, other] = [4, 5].map(|seed| run_well(seed, 3_000));
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
    for seed in 0..16 {
        stats.add(run_well(seed, STEPS).stats);
    }
    let Stats { subacks, waited, looked, audits, frames, linked, broken, short, opened, deferred, pushed_back, .. } =
        stats;
    let Stats { published, owed, read, settled, .. } = stats;
    let Stats { killed, dead, replaced, forgotten, paused, cuts, expelled, slow, jumps, .. } = stats;
    for (count, least) in [
        (subacks, 1_000),
        (published, 1_000),
        (owed, 3_000),
        (read, 3_000),
        (settled, 500),
        (waited, 500),
        (looked, 1_000),
        (audits, 500),
        (frames, 10_000),
        (linked, 200),
        (broken, 100),
        (short, 500),
        (deferred, 100),
        (pushed_back, 20),
        (opened, 60),
        (killed, 20),
        (dead, 10),
        (replaced, 5),
        (forgotten, 20),
        (paused, 20),
        (cuts, 20),
        (expelled, 1),
        (slow, 10),
        (jumps, 5),
    ] {
        assert!(count >= least, "{stats:?}");
    }
    println!("{stats:?}");
}
