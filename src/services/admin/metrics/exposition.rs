//! How a scrape becomes text.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::families;
use super::family::{Family, FamilyKind, FamilyUnit};
use super::scrape::{Sample, SampleValue, Scrape};

impl Scrape {
    /// As text of `OpenMetrics`.
    pub(super) fn open_metrics(self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("dunlin_build", "Which broker this is", build);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let sum = self.sum();
        for family in families::all() {
            let samples = family.samples(self, &sum);
            if !samples.0.is_empty() {
                encode_family(&mut encoder, family, &samples.0)?;
            }
        }
        Ok(())
    }
}

fn encode_family(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    samples: &[Sample<'_>],
) -> Result<(), std::fmt::Error> {
    let kind = match family.kind {
        FamilyKind::Counter => MetricType::Counter,
        FamilyKind::Gauge => MetricType::Gauge,
        FamilyKind::Histogram => MetricType::Histogram,
    };
    let unit = match family.unit {
        FamilyUnit::None => None,
        FamilyUnit::Bytes => Some(Unit::Bytes),
        FamilyUnit::Seconds => Some(Unit::Seconds),
    };
    let mut encoder = encoder.encode_descriptor(family.name, family.help, unit.as_ref(), kind)?;
    for sample in samples {
        if sample.labels.is_empty() {
            // Of a family of one there is no other call that lends the encoder.
            return encode_value(encoder, family.kind, sample.value);
        }
        encode_value(encoder.encode_family(&sample.labels)?, family.kind, sample.value)?;
    }
    Ok(())
}

fn encode_value(
    mut encoder: MetricEncoder<'_>,
    kind: FamilyKind,
    value: SampleValue<'_>,
) -> Result<(), std::fmt::Error> {
    match (value, kind) {
        (SampleValue::Whole(value), FamilyKind::Counter) => ConstCounter::new(value).encode(encoder),
        (SampleValue::Real(value), FamilyKind::Counter) => ConstCounter::new(value).encode(encoder),
        (SampleValue::Whole(value), _) => ConstGauge::new(value).encode(encoder),
        (SampleValue::Real(value), _) => ConstGauge::new(value).encode(encoder),
        (SampleValue::Durations(durations), _) => {
            let buckets = durations.buckets();
            let buckets: Vec<(f64, u64)> =
                buckets.map(|(end_ns, count)| (end_ns.map_or(f64::INFINITY, seconds), count)).collect();
            encoder.encode_histogram::<NoLabelSet>(seconds(durations.sum_ns()), durations.count(), &buckets, None)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds with a fraction")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
