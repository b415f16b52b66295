//! What goes wrong: with processes, connections, ways and clocks.

use super::canary::Canary;
use super::world::{Event, PipeSide, World};

/// A pause or a cut that others do not take for a death.
const SHORT_MS: usize = 2_500;
/// What a broken connection, or one that cannot be made, has for consequences when it is over.
const REDIAL_MS: u64 = 5_000;

impl World {
    /// One more thing goes wrong.
    pub(crate) fn chaos(&mut self) {
        let later = 1 + self.up_to(2 * self.plan.chaos_ms);
        self.after(later, Event::Chaos);
        if self.is_calm {
            return;
        }
        let node = self.rng.below(self.plan.nodes);
        match self.rng.below(100) {
            0..12 => self.kill(node),
            12..25 => self.pause(node),
            25..40 => self.cut_two(node),
            40..60 => self.break_some(),
            60..70 => self.stall_one(),
            70..80 => self.slow_two(node),
            80..86 => self.deafen(node),
            86..94 => self.stick_lanes(node),
            _ => self.jump(node),
        }
    }

    fn kill(&mut self, node: usize) {
        if self.nodes[node].process.is_none() || self.canary == Canary::WaitForDead && self.live().len() < 3 {
            return;
        }
        let later = self.up_to(6_000);
        self.trace.note(&format!("n{node} is killed"));
        self.stats.killed += 1;
        self.end_process(node, later);
    }

    fn pause(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        let boot = process.boot;
        let ms = if self.rng.percent(80) { self.up_to(SHORT_MS) } else { self.up_to(8_000) };
        self.trace.note(&format!("n{node} stands still for {ms} ms"));
        self.stats.paused += 1;
        self.nodes[node].paused_until = self.now + ms;
        if ms > 3_500 {
            self.after(3_500, Event::Dead { node, boot });
        }
        self.trouble(ms + REDIAL_MS);
    }

    /// A node and another one, both with a process or without.
    fn another(&mut self, node: usize) -> usize {
        (node + self.rng.between(1, self.plan.nodes - 1)) % self.plan.nodes
    }

    fn cut_two(&mut self, node: usize) {
        let other = self.another(node);
        let ms = if self.rng.percent(80) { self.up_to(SHORT_MS) } else { self.up_to(15_000) };
        self.trace.note(&format!("n{node} and n{other} are cut for {ms} ms"));
        self.stats.cuts += 1;
        self.network.cut((node, other), self.now + ms);
        if ms > 7_000 {
            self.after(6_000, Event::Apart(node, other));
        }
        self.trouble(ms + REDIAL_MS);
    }

    fn break_some(&mut self) {
        let pipes = self.network.numbers();
        if pipes.is_empty() {
            return;
        }
        for _ in 0..self.rng.between(1, 3) {
            let pipe = *self.rng.pick(&pipes);
            self.trace.note(&format!("connection {pipe} breaks"));
            self.break_pipe(pipe);
        }
        self.trouble(REDIAL_MS);
    }

    fn stall_one(&mut self) {
        let pipes = self.network.numbers();
        if pipes.is_empty() {
            return;
        }
        let side = PipeSide { pipe: *self.rng.pick(&pipes), side: self.rng.below(2) };
        let ms = self.up_to(SHORT_MS);
        self.trace.note(&format!("nothing arrives at {side:?} for {ms} ms"));
        self.stall(side, self.now + ms);
        self.trouble(ms + REDIAL_MS);
    }

    fn slow_two(&mut self, node: usize) {
        let other = self.another(node);
        let ms = self.up_to(5_000);
        self.stats.slow += 1;
        self.trace.note(&format!("between n{node} and n{other} all is slow for {ms} ms"));
        self.network.slow((node, other), self.now + ms);
        self.trouble(ms + 1_000);
    }

    fn deafen(&mut self, node: usize) {
        let ms = self.up_to(SHORT_MS);
        self.trace.note(&format!("n{node} takes no connection for {ms} ms"));
        self.network.deaf_until.insert(node, self.now + ms);
        self.trouble(ms + REDIAL_MS);
    }

    /// A shard is busy with something else.
    fn stick_lanes(&mut self, node: usize) {
        let ms = self.up_to(400);
        self.trace.note(&format!("shards of n{node} do not hear each other for {ms} ms"));
        self.nodes[node].lanes_stuck_until = self.now + ms;
        self.trouble(ms + 1_000);
    }

    /// Somebody sets a node's clock.
    fn jump(&mut self, node: usize) {
        self.stats.jumps += 1;
        self.nodes[node].unix_ahead_ms = self.up_to(7_200_000);
        self.trace.note(&format!("n{node} has another time of day"));
    }
}
