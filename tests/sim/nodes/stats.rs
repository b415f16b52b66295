//! What was seen, so that a run that sees nothing is noticed.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// SUBACKs, and those of them that did not come in the turn of their SUBSCRIBE.
    pub(crate) subacks: u64,
    pub(crate) waited: u64,
    /// What was promised and looked for: at once, and later.
    pub(crate) looked: u64,
    pub(crate) audits: u64,
    pub(crate) frames: u64,
    /// Messages, who was to have them, who has, and last words about them to their publishers.
    pub(crate) published: u64,
    pub(crate) owed: u64,
    pub(crate) read: u64,
    pub(crate) settled: u64,
    pub(crate) linked: u64,
    pub(crate) broken: u64,
    pub(crate) short: u64,
    /// What connections heard later, and how often a shard was not heard for another.
    pub(crate) deferred: u64,
    pub(crate) pushed_back: u64,
    pub(crate) opened: u64,
    pub(crate) killed: u64,
    pub(crate) dead: u64,
    pub(crate) replaced: u64,
    pub(crate) forgotten: u64,
    pub(crate) paused: u64,
    pub(crate) cuts: u64,
    pub(crate) expelled: u64,
    pub(crate) slow: u64,
    pub(crate) jumps: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, other: Self) {
        for (sum, more) in self.all_mut().into_iter().zip({ other }.all_mut()) {
            *sum += *more;
        }
    }

    fn all_mut(&mut self) -> [&mut u64; 24] {
        [
            &mut self.subacks,
            &mut self.waited,
            &mut self.looked,
            &mut self.audits,
            &mut self.frames,
            &mut self.published,
            &mut self.owed,
            &mut self.read,
            &mut self.settled,
            &mut self.linked,
            &mut self.broken,
            &mut self.short,
            &mut self.deferred,
            &mut self.pushed_back,
            &mut self.opened,
            &mut self.killed,
            &mut self.dead,
            &mut self.replaced,
            &mut self.forgotten,
            &mut self.paused,
            &mut self.cuts,
            &mut self.expelled,
            &mut self.slow,
            &mut self.jumps,
        ]
    }
}
