//! One rate of one client, as a number: when what it has done would be on schedule (the generic cell rate algorithm of ATM).
//!
//! Always holds: nothing that was done is forgotten, so that over a long time a rate is exact however coarse pauses are; a second's worth
//! may come at once.

use std::sync::Arc;

use crate::auth::{UserRates, user_rates::UserCells};
use crate::time::Now;

/// How far ahead of its schedule a client may be.
const BURST_NS: u64 = 1_000_000_000;

/// Where a rate is kept.
#[derive(Clone, Debug)]
pub(super) enum Schedule {
    /// Of one client.
    Own(u64),
    /// Of all clients of a user, on all shards.
    OfUser(Arc<UserRates>, UserCells),
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    per_s: u64,
    schedule: Schedule,
}

impl Pace {
    /// So much a second.
    pub(super) const fn new(per_s: u64, schedule: Schedule) -> Self {
        Self { per_s, schedule }
    }

    /// Counts what was done. Returns until when nothing more is to be done, in monotonic nanoseconds; 0 is no wait.
    pub(super) fn spend(&mut self, now: Now, amount: u64) -> u64 {
        let cost_ns = u128::from(amount) * u128::from(BURST_NS) / u128::from(self.per_s.max(1));
        let cost_ns = u64::try_from(cost_ns).unwrap_or(u64::MAX).min(COST_MAX_NS);
        let on_schedule_ns = match &mut self.schedule {
            Schedule::Own(on_schedule) => {
                *on_schedule = (*on_schedule).max(now.mono_ns).saturating_add(cost_ns);
                *on_schedule
            }
            Schedule::OfUser(rates, cells) => rates.spend(*cells, now.mono_ns, cost_ns),
        };
        let until_ns = on_schedule_ns.saturating_sub(BURST_NS);
        if until_ns > now.mono_ns { until_ns } else { 0 }
    }

    /// The same client has come back: what it had done before counts, if the rate is its own.
    pub(super) const fn inherit(&mut self, before: &Self) {
        if let (Schedule::Own(own), Schedule::Own(before)) = (&mut self.schedule, &before.schedule) {
            *own = *before;
        }
    }
}

/// What one message costs at most: an hour. Whoever has a rate of a byte a second and sends a megabyte is heard again some day.
const COST_MAX_NS: u64 = 3_600 * BURST_NS;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono_ns: 5_000_000_000 + ms * 1_000_000, unix_ms: 0 }
    }

    #[test]
    fn a_rate_is_exact_over_time_whatever_the_step_of_its_pauses() {
        for (per_s, amount, step_ms) in [(100, 1, 10), (100, 1, 70), (1_000, 1, 16), (10_000, 64, 10), (7, 3, 33)] {
            let mut pace = Pace::new(per_s, Schedule::Own(0));
            let (mut done, mut ms) = (0, 0);
            while ms < 60_000 {
                let until_ns = pace.spend(at(ms), amount);
                done += amount;
                while until_ns > at(ms).mono_ns {
                    ms += step_ms;
                }
            }
            let expected = per_s * 61;
            assert!(done.abs_diff(expected) <= expected / 50 + amount, "{per_s}: {done}, not {expected}");
        }
    }

    #[test]
    fn a_second_s_worth_comes_at_once_and_one_message_too_large_for_that_is_paid_for_afterwards() {
        let mut pace = Pace::new(10, Schedule::Own(0));
        assert_eq!((0..10).filter(|_| pace.spend(at(0), 1) > 0).count(), 0);
        assert_eq!(pace.spend(at(0), 1), at(100).mono_ns);
        let mut pace = Pace::new(1_000, Schedule::Own(0));
        assert_eq!(pace.spend(at(0), 5_000), at(4_000).mono_ns);
        let mut pace = Pace::new(1, Schedule::Own(0));
        assert_eq!(pace.spend(at(0), u64::MAX), at(3_599_000).mono_ns);
    }

    #[test]
    fn clients_of_one_user_have_one_rate_together() {
        let rates = Arc::new(UserRates::default());
        let cells = rates.cells_of("ann", crate::auth::RateKind::Publish);
        let mut clients: Vec<Pace> =
            (0..4).map(|_| Pace::new(10, Schedule::OfUser(Arc::clone(&rates), cells))).collect();
        let at_once = (0..20).filter(|turn| clients[turn % 4].spend(at(0), 1) == 0).count();
        assert_eq!(at_once, 10);
    }
}
