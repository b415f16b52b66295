//! What a world is like, drawn from its seed.

use crate::rng::Rng;

/// Chances are of a thousand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) ranges: u16,
    /// Longest way to the engine and back, each.
    pub(crate) delay_max_ms: usize,
    /// Whether what a node says arrives in the order in which it is said.
    pub(crate) keeps_order: bool,
    pub(crate) lose_request: usize,
    pub(crate) lose_reply: usize,
    pub(crate) duplicate: usize,
    pub(crate) break_read: usize,
    /// A look finds the log as it was some messages before.
    pub(crate) stale: usize,
    /// Whether nodes claim ranges that are not theirs: then the log alone says who owns one.
    pub(crate) contends: bool,
    /// How long the engine knows a name.
    pub(crate) names_ms: u64,
    /// Between two things that go wrong with nodes or the engine as a whole.
    pub(crate) chaos_ms: usize,
    /// Whether replicas damage what they have.
    pub(crate) rots: bool,
    /// Of a thousand messages appended, so many begin a state.
    pub(crate) compact: usize,
    pub(crate) work_ms: usize,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let is_lossy = rng.percent(70);
        let chance = |rng: &mut Rng, most| if is_lossy { rng.below(most) } else { 0 };
        Self {
            nodes: rng.between(2, 4),
            ranges: rng.between(1, 5) as u16,
            delay_max_ms: *rng.pick(&[1, 5, 30, 300]),
            keeps_order: rng.percent(60),
            lose_request: chance(rng, 60),
            lose_reply: chance(rng, 60),
            duplicate: chance(rng, 60),
            break_read: chance(rng, 100),
            stale: chance(rng, 300),
            contends: rng.percent(40),
            names_ms: *rng.pick(&[1_000, 10_000, 120_000]),
            chaos_ms: *rng.pick(&[500, 2_000, 6_000]),
            rots: rng.percent(50),
            compact: *rng.pick(&[0, 10, 60]),
            work_ms: *rng.pick(&[5, 20, 60]),
        }
    }
}
