//! What several rounds say together: the median, with the least and the most beside it.
//!
//! Nothing is averaged: one round that something else disturbed must not move the figure that is shown.

use serde::{Deserialize, Serialize};

/// The middle of some values, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many there were.
    pub rounds: usize,
}

impl Spread {
    /// Of the values that are numbers; `None` if none is.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, min, max, rounds: values.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_how_far_outliers_lie() {
        type Expected = Option<(f64, f64, f64)>;
        let table: [(&[f64], Expected); 6] = [
            (&[], None),
            (&[f64::NAN, f64::INFINITY], None),
            (&[3.0], Some((3.0, 3.0, 3.0))),
            (&[9.0, 1.0], Some((5.0, 1.0, 9.0))),
            (&[2.0, 900.0, 1.0], Some((2.0, 1.0, 900.0))),
            (&[4.0, 1.0, f64::NAN, 2.0, 3.0], Some((2.5, 1.0, 4.0))),
        ];
        for (values, expected) in table {
            let spread = Spread::of(values.iter().copied());
            assert_eq!(spread.map(|spread| (spread.median, spread.min, spread.max)), expected, "{values:?}");
        }
    }
}
