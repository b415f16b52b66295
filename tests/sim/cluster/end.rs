//! The end of a run: nothing goes wrong any more, and everything must come right by itself; then another node takes over all there is.

use dunlin::cluster::{RangeId, Standing};

use super::node::Node;
use super::world::{Event, TICK_MS, World};

/// Longest time in which a cluster heals: missed beats, a claim, time-outs on the way, replicas that are looked at again.
const HEALS_MS: u64 = 60_000;

impl World {
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.calm();
        self.run(HEALS_MS)?;
        for index in 0..self.plan.nodes {
            if self.standing(index) != Standing::Member {
                return Err(format!(
                    "{} is {:?} though nothing is wrong",
                    self.nodes[index].name,
                    self.standing(index)
                ));
            }
        }
        self.expect_all_served()?;
        // A process that has never had any of it, alone. A name that is no member's could not join: it would not reach anybody.
        for index in 0..self.plan.nodes {
            self.nodes[index].stop(None);
        }
        self.nodes.push(Node::new("n1".to_owned()));
        self.after(TICK_MS, Event::Tick(self.nodes.len() - 1));
        self.run(HEALS_MS)?;
        self.expect_all_served()
    }

    fn calm(&mut self) {
        self.trace.note("calm");
        self.is_calm = true;
        self.control_down_until = 0;
        self.links.heal();
        for log in &mut self.logs {
            log.leaderless_until = 0;
            log.behind = Default::default();
        }
        for node in &mut self.nodes {
            node.paused_until = node.paused_until.min(self.now);
            (node.cut_until, node.stuck_until) = (0, 0);
            node.starts_at = node.starts_at.map(|at| at.min(self.now));
            node.cluster.iter_mut().for_each(|node| node.contend(false));
        }
    }

    fn run(&mut self, ms: u64) -> Result<(), String> {
        let until = self.now + ms;
        while self.now < until {
            self.step()?;
        }
        Ok(())
    }

    /// Each range has one node that serves it, unless all that replicas have of it is damaged.
    fn expect_all_served(&mut self) -> Result<(), String> {
        for range in 0..self.plan.ranges {
            let serving: Vec<usize> = (0..self.nodes.len()).filter(|index| self.serves(*index, range)).collect();
            let quarantined = self
                .nodes
                .iter()
                .any(|node| node.contents.get(&RangeId(range)).is_some_and(|content| content.is_quarantined));
            if serving.len() != 1 && !(serving.is_empty() && quarantined) {
                let claims: Vec<_> = self
                    .nodes
                    .iter()
                    .map(|node| {
                        (
                            node.cluster.as_ref().and_then(|node| node.membership().map()),
                            node.contents.get(&RangeId(range)),
                        )
                    })
                    .collect();
                return Err(format!(
                    "range {range} is served by {} nodes though nothing is wrong: {claims:?}",
                    serving.len()
                ));
            }
        }
        Ok(())
    }
}
