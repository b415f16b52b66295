//! One worker of a sink: puts rows together to batches and gives them to its target, one batch after the other.
//!
//! Always holds: rows leave in the order in which they came; a batch that its target does not take now is tried again, first soon, then
//! more and more rarely, until it is taken or the sink is to stop.
//! Leaves to others: which row goes to which lane, and what becomes of those that are done (`session`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, timeout_at};

use super::delivered::{DeliverError, Delivered};
use super::row::Row;
use super::target::Target;
use crate::config::sinks::BatchBounds;
use crate::ids::PacketId;
use crate::limits::{SINK_RETRY_AFTER_MAX_S, SINK_RETRY_MAX_MS, SINK_RETRY_MIN_MS};
use crate::services::connectors::{ConnectorContext, ConnectorState, ConnectorStatus};

/// A row, and what its message is acknowledged by; QoS 0 has nothing.
#[derive(Debug)]
pub(super) struct HeldRow {
    pub(super) row: Row,
    pub(super) packet_id: Option<PacketId>,
}

/// What a lane says of rows that it is done with.
#[derive(Debug)]
pub(super) struct LaneReport {
    /// Its number.
    pub(super) lane: usize,
    /// Each row, and why the target never takes it, where that is so.
    pub(super) rows: Vec<(HeldRow, Option<String>)>,
}

/// See the module's text.
pub(super) struct SinkLane {
    pub(super) number: usize,
    pub(super) bounds: BatchBounds,
    pub(super) target: Target,
    pub(super) rows: UnboundedReceiver<HeldRow>,
    pub(super) reports: UnboundedSender<LaneReport>,
    pub(super) context: ConnectorContext,
    /// Where its target is, for whoever asks.
    pub(super) address: String,
}

impl SinkLane {
    /// Until the sink is to stop, or nobody gives it rows any more.
    pub(super) async fn run(mut self) {
        let mut first = None;
        loop {
            let Some(row) = (match first.take() {
                Some(row) => Some(row),
                None => self.next_row().await,
            }) else {
                return;
            };
            let mut batch = vec![row];
            first = self.fill(&mut batch).await;
            let rows: Vec<Row> = batch.iter().map(|held| held.row.clone()).collect();
            let Some(delivered) = self.deliver(&rows).await else { return };
            self.report(batch, delivered);
        }
    }

    async fn next_row(&mut self) -> Option<HeldRow> {
        tokio::select! {
            row = self.rows.recv() => row,
            () = self.context.stopped() => None,
        }
    }

    /// Takes more rows into the batch until one of its bounds is met. Returns a row that has no room in it any more.
    async fn fill(&mut self, batch: &mut Vec<HeldRow>) -> Option<HeldRow> {
        let until = Instant::now() + Duration::from_millis(self.bounds.time_ms);
        let mut bytes: usize = batch.iter().map(|held| held.row.len_bytes()).sum();
        while batch.len() < self.bounds.messages && bytes < self.bounds.bytes {
            let row = match self.rows.try_recv() {
                Ok(row) => row,
                Err(_) => match timeout_at(until, self.next_row()).await {
                    Ok(Some(row)) => row,
                    Ok(None) | Err(_) => return None,
                },
            };
            bytes += row.row.len_bytes();
            if bytes > self.bounds.bytes {
                return Some(row);
            }
            batch.push(row);
        }
        None
    }

    /// Tries until the target has said what it does with the batch. `None`: the sink is to stop.
    async fn deliver(&mut self, rows: &[Row]) -> Option<Delivered> {
        let mut stop = self.context.clone();
        let state = Arc::clone(&self.context.state);
        let mut failures = 0;
        loop {
            let DeliverError::Retry { why, after } = match self.target.deliver(rows).await {
                Ok(delivered) => {
                    count(&state, rows, &delivered);
                    // A target that refuses all of a batch may be another one than was meant.
                    if delivered.taken_of(rows.len()) > 0 {
                        state.set_status(ConnectorStatus::Connected, Some(self.address.clone()));
                    }
                    return Some(delivered);
                }
                Err(error) => error,
            };
            state.counters.failed_attempts.fetch_add(1, Relaxed);
            state.failed(&why);
            state.set_status(ConnectorStatus::Connecting, Some(self.address.clone()));
            let wait = wait(failures, after, random());
            failures += 1;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.stopped() => return None,
            }
        }
    }

    fn report(&self, batch: Vec<HeldRow>, delivered: Delivered) {
        let mut rows: Vec<(HeldRow, Option<String>)> = batch.into_iter().map(|held| (held, None)).collect();
        if let Delivered::Some { rejected } = delivered {
            for (at, why) in rejected {
                if let Some((_, is_rejected)) = rows.get_mut(at) {
                    *is_rejected = Some(why);
                }
            }
        }
        // Nobody takes it any more: the messages are delivered again after the next connection.
        let _ = self.reports.send(LaneReport { lane: self.number, rows });
    }
}

fn count(state: &ConnectorState, rows: &[Row], delivered: &Delivered) {
    let bytes: usize = rows.iter().map(|row| row.payload.len()).sum();
    state.counters.messages_out.fetch_add(delivered.taken_of(rows.len()) as u64, Relaxed);
    state.counters.bytes_out.fetch_add(bytes as u64, Relaxed);
}

/// How long to wait before the next attempt, after so many that have failed before this one: what the target asks for, or a time
/// that doubles, of which up to half is left to chance, so that many sinks do not come at once.
fn wait(failures: u32, after: Option<Duration>, random: u64) -> Duration {
    let doubled = SINK_RETRY_MIN_MS.saturating_mul(1 << failures.min(20)).min(SINK_RETRY_MAX_MS);
    let chosen = Duration::from_millis(doubled - random % (doubled / 2 + 1));
    let asked = after.map(|after| after.min(Duration::from_secs(SINK_RETRY_AFTER_MAX_S)));
    asked.map_or(chosen, |asked| asked.max(chosen))
}

/// Std keys its hash maps from the system's random source.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_a_target_may_ask_for_more() {
        let ms = |failures, random| wait(failures, None, random).as_millis() as u64;
        assert_eq!([ms(0, 0), ms(1, 0), ms(2, 0)], [200, 400, 800]);
        assert_eq!((ms(60, 0), ms(60, 15_000)), (SINK_RETRY_MAX_MS, SINK_RETRY_MAX_MS / 2));
        assert!((0..1_000).all(|random| (100..=200).contains(&ms(0, random * 7))));
        let asked = |seconds| wait(0, Some(Duration::from_secs(seconds)), 0);
        assert_eq!((asked(7), asked(0)), (Duration::from_secs(7), Duration::from_millis(200)));
        assert_eq!(asked(1_000_000), Duration::from_secs(SINK_RETRY_AFTER_MAX_S));
    }
}
