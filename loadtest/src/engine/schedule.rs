//! The open loop's schedule: fixed before the first message, and followed whatever the broker does.
//!
//! Client `c` of `n` sends its message `k` at `start + period * (k + c / n)`: each at its own steady pace, all of them spread
//! evenly. So the next of a part's clients is always the next in the row, and no timer is kept for any of them.

/// When which client of a part is to send next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start_ns: u64,
    /// No message is meant for this time or later.
    end_ns: u64,
    period_ns: f64,
    /// Clients of the group, over all parts.
    clients: u32,
    part: u32,
    parts: u32,
    here: u32,
    /// Messages of each client; `u64::MAX`: no limit.
    limit: u64,
    round: u64,
    next: u32,
}

impl Schedule {
    /// From `times.start` to `times.end`, in nanoseconds.
    pub(super) fn new(
        times: std::ops::Range<u64>,
        per_client_per_s: f64,
        clients: u32,
        part: crate::plan::Part,
        limit: Option<u64>,
    ) -> Self {
        Self {
            start_ns: times.start,
            end_ns: times.end,
            period_ns: 1e9 / per_client_per_s,
            clients,
            part: part.index,
            parts: part.of,
            here: part.count(clients) as u32,
            limit: limit.unwrap_or(u64::MAX),
            round: 0,
            next: 0,
        }
    }

    /// When the next message is to be sent; `None`: never.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let time = (self.here > 0 && self.round < self.limit).then(|| self.time_of(self.round, self.next))?;
        (time < self.end_ns).then_some(time)
    }

    /// The next client, counted among those of this part.
    pub(super) fn take(&mut self) -> u32 {
        let client = self.next;
        self.next += 1;
        if self.next == self.here {
            self.next = 0;
            self.round += 1;
        }
        client
    }

    /// Time between two messages of one client.
    pub(super) const fn period_ns(&self) -> f64 {
        self.period_ns
    }

    fn time_of(&self, round: u64, client: u32) -> u64 {
        let phase = f64::from(client * self.parts + self.part) / f64::from(self.clients);
        self.start_ns + (self.period_ns * (round as f64 + phase)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Part;

    fn times(mut schedule: Schedule, count: usize) -> Vec<(u32, u64)> {
        let mut times = Vec::new();
        while let Some(at) = schedule.next_ns().filter(|_| times.len() < count) {
            times.push((schedule.take(), at));
        }
        times
    }

    #[test]
    fn clients_are_spread_evenly_and_keep_their_pace() {
        let schedule = Schedule::new(1000..u64::MAX, 1e6, 4, Part::default(), Some(2));
        let expected = [(0, 1000), (1, 1250), (2, 1500), (3, 1750), (0, 2000), (1, 2250), (2, 2500), (3, 2750)];
        assert_eq!(times(schedule, 100), expected);
    }

    #[test]
    fn nothing_is_meant_for_after_the_end() {
        let schedule = Schedule::new(1000..2250, 1e6, 4, Part::default(), None);
        assert_eq!(times(schedule, 100), [(0, 1000), (1, 1250), (2, 1500), (3, 1750), (0, 2000)]);
    }

    #[test]
    fn parts_together_keep_the_schedule_of_the_whole() {
        let whole: Vec<u64> =
            times(Schedule::new(0..u64::MAX, 10.0, 5, Part::default(), None), 50).iter().map(|one| one.1).collect();
        let mut together = Vec::new();
        for index in 0..2 {
            let schedule = Schedule::new(0..u64::MAX, 10.0, 5, Part { index, of: 2 }, Some(10));
            together.extend(times(schedule, 50).iter().map(|one| one.1));
        }
        together.sort_unstable();
        assert_eq!(together, whole);
    }

    #[test]
    fn six_minutes_later_it_has_not_drifted() {
        let mut schedule = Schedule::new(0..u64::MAX, 1e4, 1, Part::default(), None);
        for _ in 0..3_600 * 1000 {
            schedule.take();
        }
        assert_eq!(schedule.next_ns(), Some(360_000_000_000));
    }
}
