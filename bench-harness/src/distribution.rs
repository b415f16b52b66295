//! Distributions of latencies as loadtest reports them (a histogram, V2 deflated, in base64), put together: a percentile of several
//! stages is that of all their messages, which no mean of the stages' own percentiles is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

/// How long messages took, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Distribution(Histogram<u64>);

impl Distribution {
    /// Of none.
    pub(crate) fn new() -> Self {
        // As loadtest has them: up to an hour, three digits.
        Self(Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are constants that fit"))
    }

    /// Adds all of another, as it stands in a report.
    pub(crate) fn add(&mut self, encoded: &str) -> Result<(), String> {
        let wrong =
            |error: &dyn std::fmt::Debug| format!("loadtest's report: a distribution cannot be read: {error:?}");
        let bytes = STANDARD.decode(encoded).map_err(|error| wrong(&error))?;
        let read: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| wrong(&error))?;
        self.0.add(read).map_err(|error| wrong(&error))
    }

    /// How many messages.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// 99 of 100 took no longer; `None` of none.
    pub(crate) fn p99_us(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(0.99) as f64 / 1e3)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};

    /// So many messages of a latency, as a report has them.
    pub(crate) fn encoded(latencies: &[(u64, u64)]) -> String {
        let mut distribution = Distribution::new();
        for (ns, count) in latencies {
            distribution.0.record_n(*ns, *count).expect("within the bounds");
        }
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&distribution.0, &mut bytes).expect("it fits");
        STANDARD.encode(bytes)
    }

    #[test]
    fn the_percentile_of_two_stages_is_that_of_all_their_messages() {
        let mut both = Distribution::new();
        assert_eq!((both.count(), both.p99_us()), (0, None));
        both.add(&encoded(&[(10_000, 100)])).expect("a distribution");
        assert!((both.p99_us().expect("there are some") - 10.0).abs() < 0.02);
        // 3 of 300 are one in a hundred: the next shorter one counts.
        both.add(&encoded(&[(20_000, 197), (9_000_000, 3)])).expect("a distribution");
        assert!((both.p99_us().expect("there are some") - 20.0).abs() < 0.04);
        both.add(&encoded(&[(9_000_000, 1)])).expect("a distribution");
        assert!((both.p99_us().expect("there are some") - 9_000.0).abs() < 9.0);
        assert_eq!(both.count(), 301);
        assert!(both.add("no base64!").expect_err("it is none").contains("cannot be read"));
        assert!(both.add(&STANDARD.encode("something else")).is_err());
    }
}
