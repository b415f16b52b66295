//! Durations, sorted into a few buckets: plain numbers of one shard.

/// Buckets with an end; what takes longer is in one more.
pub const DURATION_BUCKETS: usize = 10;

/// How long something took, each time. Not cumulative: whoever shows it adds up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationHistogram {
    /// Upper ends in nanoseconds, included, ascending.
    ends_ns: &'static [u64; DURATION_BUCKETS],
    counts: [u64; DURATION_BUCKETS + 1],
    sum_ns: u64,
}

impl DurationHistogram {
    /// Nothing counted yet, in buckets with these ends.
    pub const fn new(ends_ns: &'static [u64; DURATION_BUCKETS]) -> Self {
        Self { ends_ns, counts: [0; DURATION_BUCKETS + 1], sum_ns: 0 }
    }

    /// Counts one. By itself, so that what is seldom timed does not make the path that it stands on longer.
    #[inline(never)]
    pub fn note(&mut self, ns: u64) {
        let bucket = self.ends_ns.iter().position(|end_ns| ns <= *end_ns).unwrap_or(DURATION_BUCKETS);
        self.counts[bucket] += 1;
        self.sum_ns += ns;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What they come to, in nanoseconds.
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The upper end of each bucket in nanoseconds, and how many there were in it. The last has no end.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        self.ends_ns.iter().copied().map(Some).chain([None]).zip(self.counts)
    }

    /// Adds another shard's, which has the same buckets.
    pub fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.ends_ns, other.ends_ns, "they count the same thing");
        self.counts.iter_mut().zip(other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.sum_ns += other.sum_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_first_bucket_that_it_does_not_exceed() {
        static ENDS: [u64; DURATION_BUCKETS] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1_000];
        let (mut one, mut other) = (DurationHistogram::new(&ENDS), DurationHistogram::new(&ENDS));
        for ns in [0, 1, 2, 10, 1_000] {
            one.note(ns);
        }
        for ns in [1_001, u32::MAX.into()] {
            other.note(ns);
        }
        one.add(&other);
        let counts: Vec<u64> = one.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 2]);
        assert_eq!(one.buckets().next(), Some((Some(1), 2)));
        assert_eq!((one.count(), one.sum_ns()), (7, 1_013 + 1_001 + u64::from(u32::MAX)));
    }
}
