//! A distribution of times, exact to three digits from a nanosecond to an hour.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HdrDeserializer, Serializer as _, V2DeflateSerializer};
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeStruct};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest time that is told apart from longer ones.
const LONGEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// A distribution of times in nanoseconds.
///
/// As JSON it is an object of the usual percentiles (`p50_ns`, ...) and of `hdr`: the whole histogram, V2 deflated, in
/// base64, as every HDR tool reads it. Reading takes `hdr` alone, so nothing is lost on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing(Histogram<u64>);

impl Default for Timing {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("the bounds are constants that fit"))
    }
}

impl Timing {
    /// Adds one time. Zero counts as one nanosecond, more than an hour as an hour.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// Adds all times of another.
    pub fn merge(&mut self, other: &Self) {
        if !other.is_empty() {
            self.0.add(&other.0).expect("all have the same bounds");
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time that `percent` of all do not exceed; 0 if there are none.
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        self.0.value_at_percentile(percent)
    }

    /// The shortest; 0 if there are none.
    pub fn min_ns(&self) -> u64 {
        if self.is_empty() { 0 } else { self.0.min() }
    }

    /// The longest; 0 if there are none.
    pub fn max_ns(&self) -> u64 {
        self.0.max()
    }

    /// The mean; 0 if there are none.
    pub fn mean_ns(&self) -> f64 {
        self.0.mean()
    }

    /// The histogram, for exports of its own format.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    fn encoded(&self) -> Result<String, String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(|error| error.to_string())?;
        Ok(STANDARD.encode(bytes))
    }

    fn decoded(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
        let read: Histogram<u64> =
            HdrDeserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| format!("{error:?}"))?;
        // What comes from elsewhere may have other bounds; ours must all be alike to be merged.
        let mut timing = Self::default();
        for step in read.iter_recorded() {
            let value = step.value_iterated_to().clamp(1, LONGEST_NS);
            timing.0.record_n(value, step.count_at_value()).map_err(|error| error.to_string())?;
        }
        Ok(timing)
    }
}

impl Serialize for Timing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Timing", 10)?;
        object.serialize_field("count", &self.count())?;
        object.serialize_field("min_ns", &self.min_ns())?;
        object.serialize_field("mean_ns", &self.mean_ns())?;
        for (name, percent) in
            [("p50_ns", 50.0), ("p90_ns", 90.0), ("p99_ns", 99.0), ("p99_9_ns", 99.9), ("p99_99_ns", 99.99)]
        {
            object.serialize_field(name, &self.percentile_ns(percent))?;
        }
        object.serialize_field("max_ns", &self.max_ns())?;
        object.serialize_field("hdr", &self.encoded().map_err(S::Error::custom)?)?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for Timing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            hdr: String,
        }
        let wire = Wire::deserialize(deserializer)?;
        Self::decoded(&wire.hdr).map_err(|error| D::Error::custom(format!("hdr: {error}")))
    }
}
