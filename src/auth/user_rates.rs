//! What the clients of one user have done together, on whatever shards they are.
//!
//! Always holds: what is kept is the same for one user and for a million. A user's rate stands in two cells of a table, found by keyed
//! hashes, and counts as used up only where both are (a count-min sketch of rates).

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::rate_kind::RateKind;
use crate::limits::USER_RATE_CELLS;

/// See the module's text.
pub struct UserRates {
    /// When what was done would be on schedule, in monotonic nanoseconds; two rows.
    cells: Box<[AtomicU64]>,
    key: RandomState,
}

impl fmt::Debug for UserRates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("UserRates").finish_non_exhaustive()
    }
}

/// The two cells of one user's rate.
#[derive(Clone, Copy, Debug)]
pub struct UserCells([u32; 2]);

impl Default for UserRates {
    fn default() -> Self {
        Self { cells: (0..USER_RATE_CELLS).map(|_| AtomicU64::new(0)).collect(), key: RandomState::new() }
    }
}

impl UserRates {
    /// Where a user's rate is.
    pub fn cells_of(&self, user: &str, kind: RateKind) -> UserCells {
        let row = self.cells.len() as u32 / 2;
        let hash = self.key.hash_one((user, kind as u8));
        UserCells([hash as u32 % row, row + (hash >> 32) as u32 % row])
    }

    /// Something was done that takes `cost_ns` at that rate. Returns when it would be on schedule.
    pub fn spend(&self, UserCells(cells): UserCells, now_ns: u64, cost_ns: u64) -> u64 {
        let advance = |on_schedule: u64| Some(on_schedule.max(now_ns).saturating_add(cost_ns));
        let spend = |cell: u32| {
            let before = self.cells[cell as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance);
            before.map_or(now_ns, |before| before.max(now_ns).saturating_add(cost_ns))
        };
        cells.map(spend).into_iter().min().unwrap_or(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_their_own_rates_and_a_thousand_busy_ones_disturb_hardly_anybody() {
        let rates = UserRates::default();
        let ann = rates.cells_of("ann", RateKind::Publish);
        assert_eq!(rates.spend(ann, 1_000, 50), 1_050);
        assert_eq!(rates.spend(ann, 1_010, 50), 1_100, "behind what was done before");
        assert_eq!(rates.spend(ann, 9_000, 50), 9_050);
        assert_eq!(rates.spend(rates.cells_of("ann", RateKind::PublishBytes), 9_000, 5), 9_005, "another rate of hers");
        let rates = UserRates::default();
        for number in 0..1_000 {
            rates.spend(rates.cells_of(&format!("busy {number}"), RateKind::Delivery), 0, 1_000_000);
        }
        let delayed = (0..10_000)
            .filter(|number| rates.spend(rates.cells_of(&format!("u{number}"), RateKind::Delivery), 0, 0) > 0)
            .count();
        assert!(delayed <= 50, "{delayed} of 10,000");
    }
}
