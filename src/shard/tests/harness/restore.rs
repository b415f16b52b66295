//! What a kill leaves of a world, and one that goes on with what was read back.

use std::sync::Arc;

use super::World;
use crate::ids::MessageId;
use crate::shard::{Input, RestoreStep, RestoredLog, RestoredRetained, RestoredSessions, Turn};
use crate::store::state::LogState;

impl World {
    /// What a kill leaves of a world of one shard: everything that is durable. Properties aside.
    pub(in crate::shard::tests) fn killed(self) -> RestoredLog {
        let [log] = <[RestoredLog; 1]>::try_from(self.killed_all()).expect("it has one shard");
        log
    }

    /// The same of each shard.
    pub(in crate::shard::tests) fn killed_all(mut self) -> Vec<RestoredLog> {
        let durable = std::mem::take(&mut self.durable).into_iter().enumerate();
        let read_back = durable.map(|(shard, mut state)| {
            state.finish();
            let mut ids: Vec<MessageId> = state.messages.iter().map(|(id, _)| id).collect();
            ids.sort_unstable();
            let messages = ids.into_iter().map(|id| (id, self.bodies[&(shard, id)].clone())).collect();
            RestoredLog { state, messages, lost: Vec::new() }
        });
        read_back.collect()
    }

    /// Nobody compares what shards hold to what they have written down from now on.
    pub(in crate::shard::tests) fn compare_no_more(&mut self) {
        self.is_restored = true;
    }

    /// Has a shard without sessions go on with what was read back, as the only one that there is something of.
    pub(in crate::shard::tests) fn restore(&mut self, shard: usize, log: &RestoredLog) {
        self.restore_logs(&[(shard, log)]);
    }

    /// Has every shard go on with what was read back.
    pub(in crate::shard::tests) fn restore_all(&mut self, logs: &[RestoredLog]) {
        self.restore_logs(&logs.iter().enumerate().collect::<Vec<_>>());
    }

    fn restore_logs(&mut self, logs: &[(usize, &RestoredLog)]) {
        let (records, listeners) = (self.fx.log.count, Arc::clone(&self.listeners));
        let restored = |world: &mut Self, shard: usize| {
            assert_eq!(world.fx.log.count, records, "the log has it already");
            world.is_restored = true; // its log begins elsewhere: they are not compared
            world.apply(shard);
        };
        for &(shard, log) in logs {
            let sessions = RestoredSessions { log, retained: &[], listeners: &listeners, lost: 0 };
            self.restore_step(shard, RestoreStep::Sessions(&sessions));
            restored(self, shard);
        }
        // What one shard does, others hear of when all have everything.
        while let Some((from, to, batch)) = self.mesh.pop_front() {
            self.hear(from, to, batch);
        }
        for &(shard, log) in logs {
            self.restore_step(shard, RestoreStep::Deliveries(log));
            restored(self, shard);
        }
        self.run_until_idle();
    }

    /// Has a shard that nobody has used take over what the logs of all retain.
    pub(in crate::shard::tests) fn restore_retained(&mut self, shard: usize, retained: &[RestoredRetained]) {
        let log = RestoredLog { state: LogState::default(), messages: Vec::new(), lost: Vec::new() };
        self.restore_step(
            shard,
            RestoreStep::Sessions(&RestoredSessions { log: &log, retained, listeners: &[], lost: 0 }),
        );
    }

    fn restore_step(&mut self, shard: usize, step: RestoreStep<'_>) {
        self.shards[shard].handle(&mut Turn { now: self.now, fx: &mut self.fx }, Input::Restore(step));
    }

    /// Has a shard go on with what its durable log sent to others. Returns how many messages it sends again.
    pub(in crate::shard::tests) fn restore_forwards(&mut self, shard: usize) -> usize {
        let before = self.mesh.len();
        let delivery = crate::session::delivery::tests::delivery("t");
        let mut turn = Turn { now: self.now, fx: &mut self.fx };
        self.shards[shard]
            .restore_forwards(&mut turn, &self.durable[shard].mailbox, |_| Some(delivery.message.clone()));
        self.apply(shard);
        self.mesh.len() - before
    }
}
