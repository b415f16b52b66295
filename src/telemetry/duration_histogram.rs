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

    /// What a part of those that have come since `before` did not exceed, in nanoseconds: within its bucket as if they were spread evenly. Of the
    /// first bucket it is the end; of those beyond the last one the last end, which they exceed. `None` where none has come.
    pub fn quantile_since_ns(&self, before: &Self, part: f64) -> Option<f64> {
        let counts: [u64; DURATION_BUCKETS + 1] =
            std::array::from_fn(|bucket| self.counts[bucket].saturating_sub(before.counts[bucket]));
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "a share of some thousands")]
        let (wanted, of) = (part * total as f64, |count: u64| count as f64);
        let mut below = 0.0;
        for (bucket, count) in counts.into_iter().enumerate() {
            if below + of(count) < wanted || count == 0 {
                below += of(count);
                continue;
            }
            return Some(match (bucket.checked_sub(1).map(|before| self.ends_ns[before]), self.ends_ns.get(bucket)) {
                (Some(begin), Some(end)) => of(begin) + of(end - begin) * (wanted - below) / of(count),
                (None, Some(end)) => of(*end),
                (begin, None) => of(begin.unwrap_or_default()),
            });
        }
        None
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
    fn a_part_of_what_has_come_since_does_not_exceed_this() {
        static ENDS: [u64; DURATION_BUCKETS] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100];
        let before = DurationHistogram::new(&ENDS);
        assert_eq!(before.quantile_since_ns(&before, 0.5), None);
        let mut now = before.clone();
        (0..4).for_each(|_| now.note(25));
        let quantile = |now: &DurationHistogram, before, part| now.quantile_since_ns(before, part).unwrap();
        assert!(
            (quantile(&now, &before, 0.5) - 25.0).abs() < 0.01 && (quantile(&now, &before, 1.0) - 30.0).abs() < 0.01
        );
        let earlier = now.clone();
        now.note(1);
        assert!((quantile(&now, &earlier, 0.99) - 10.0).abs() < 0.01, "the first has an end alone");
        let earlier = now.clone();
        now.note(1_000);
        assert!((quantile(&now, &earlier, 0.99) - 100.0).abs() < 0.01, "the last has a begin alone");
    }

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
