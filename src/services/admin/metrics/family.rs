//! What a metric is: its name, kind, unit and meaning, and where its values come from.

use super::scrape::{Samples, Scrape};
use crate::services::admin::connector_figures::ConnectorFigures;
use crate::services::connectors::ConnectorKind;
use crate::telemetry::Report;

/// What a metric's values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How long something took, in buckets.
    Histogram,
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyUnit {
    /// Things, or 1 for yes and 0 for no.
    None,
    Bytes,
    Seconds,
}

type Sampler = for<'a> fn(&'a Scrape, &'a Report, &mut Samples<'a>);
pub(super) type ConnectorSampler = fn(&ConnectorFigures, &mut ConnectorSamples<'_, '_, '_>);

/// A metric.
pub(super) struct Family {
    /// Without its unit, and without `_total`.
    pub(super) name: &'static str,
    pub(super) kind: FamilyKind,
    pub(super) unit: FamilyUnit,
    pub(super) help: &'static str,
    pub(super) values: FamilyValues,
}

/// Where a metric's values come from.
#[derive(Clone, Copy)]
pub(super) enum FamilyValues {
    /// Everything that was looked at, and the sum of all shards.
    OfScrape(Sampler),
    /// What is known of sinks, bridges or sources, one after the other.
    OfEach(ConnectorKind, ConnectorSampler),
}

impl Family {
    /// Its values in a scrape, whose shards' sum is given too.
    pub(super) fn samples<'a>(&self, scrape: &'a Scrape, sum: &'a Report) -> Samples<'a> {
        let mut samples = Samples::default();
        match self.values {
            FamilyValues::OfScrape(sampler) => sampler(scrape, sum, &mut samples),
            FamilyValues::OfEach(kind, sampler) => {
                for figures in scrape.connectors.iter().filter(|figures| figures.kind == kind) {
                    sampler(figures, &mut ConnectorSamples { of: figures, to: &mut samples });
                }
            }
        }
        samples
    }
}

/// The values of one connector.
pub(super) struct ConnectorSamples<'f, 's, 'a> {
    of: &'f ConnectorFigures,
    to: &'s mut Samples<'a>,
}

impl ConnectorSamples<'_, '_, '_> {
    /// The only value.
    pub(super) fn one(&mut self, value: u64) {
        self.to.labelled(self.of.kind.word(), &self.of.name, value);
    }

    /// The only value, if there is one.
    pub(super) fn one_if(&mut self, value: Option<u64>) {
        if let Some(value) = value {
            self.one(value);
        }
    }

    /// The only value, with a fraction.
    pub(super) fn real(&mut self, value: f64) {
        self.to.labelled_real(self.of.kind.word(), &self.of.name, value);
    }

    /// One of several that `label` tells apart.
    pub(super) fn by(&mut self, label: &'static str, of: &str, value: u64) {
        self.to.with_labels(vec![(self.of.kind.word(), self.of.name.clone()), (label, of.to_owned())], value);
    }
}

pub(super) const fn counter(name: &'static str, unit: FamilyUnit, help: &'static str, samples: Sampler) -> Family {
    Family { name, kind: FamilyKind::Counter, unit, help, values: FamilyValues::OfScrape(samples) }
}

pub(super) const fn gauge(name: &'static str, unit: FamilyUnit, help: &'static str, samples: Sampler) -> Family {
    Family { name, kind: FamilyKind::Gauge, unit, help, values: FamilyValues::OfScrape(samples) }
}

pub(super) const fn durations(name: &'static str, help: &'static str, samples: Sampler) -> Family {
    Family {
        name,
        kind: FamilyKind::Histogram,
        unit: FamilyUnit::Seconds,
        help,
        values: FamilyValues::OfScrape(samples),
    }
}
