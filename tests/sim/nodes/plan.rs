//! What a world is like, drawn from its seed.

use crate::rng::Rng;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    /// Of each node.
    pub(crate) shards: usize,
    /// Clients of each node.
    pub(crate) clients: usize,
    /// Different filters that they subscribe to.
    pub(crate) filters: usize,
    /// Most of them in one SUBSCRIBE.
    pub(crate) filters_at_once: usize,
    /// Whether links have tags, which cost time.
    pub(crate) has_secret: bool,
    /// Longest way from one shard of a node to another.
    pub(crate) lane_ms: usize,
    /// Words that wait for another shard, before a shard is not heard.
    pub(crate) lane_words: usize,
    /// Deliveries that one turn makes.
    pub(crate) deliveries: u32,
    /// Longest way of a piece from node to node.
    pub(crate) way_ms: usize,
    /// Most that arrives at once.
    pub(crate) piece_bytes: usize,
    /// What a connection holds on its way.
    pub(crate) pipe_bytes: usize,
    /// Of a hundred times, a socket takes less than it has room for.
    pub(crate) short_percent: usize,
    /// Longest time until a node sees a map.
    pub(crate) map_ms: usize,
    /// Between two things that clients do.
    pub(crate) work_ms: usize,
    /// Between two things that go wrong.
    pub(crate) chaos_ms: usize,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let filters = *rng.pick(&[8, 40, 40, 600]);
        let has_many = filters > 100;
        Self {
            nodes: 3,
            shards: *rng.pick(&[2, 2, 2, 3]),
            clients: rng.between(2, 8),
            filters,
            filters_at_once: if has_many { 150 } else { 4 },
            has_secret: rng.percent(25),
            lane_ms: *rng.pick(if has_many { &[0, 1, 5] } else { &[0, 1, 5, 40] }),
            lane_words: *rng.pick(&[12, 60, 10_000]),
            deliveries: *rng.pick(&[2, 16_384]),
            way_ms: *rng.pick(if has_many { &[1, 3, 20] } else { &[1, 3, 20, 120] }),
            piece_bytes: *rng.pick(&[7, 100, 2_000, 4_000]),
            pipe_bytes: *rng.pick(if has_many { &[5_000, 200_000] } else { &[300, 5_000, 200_000] }),
            short_percent: *rng.pick(&[0, 10, 40]),
            map_ms: *rng.pick(&[10, 100, 800]),
            work_ms: *rng.pick(&[5, 20, 60]),
            chaos_ms: *rng.pick(&[300, 1_500, 5_000]),
        }
    }
}
