//! The shard's log: what is read back from it, what it has written, where it has room.
//!
//! Always holds: nobody is heard before every shard has what was read back; what is durable is told in order, once.

use std::time::Duration;

use super::Pump;
use crate::ring::RingError;
use crate::runtime::clock;
use crate::runtime::disk::FileWrite;
use crate::runtime::restoring::Restoring;
use crate::shard::{Input, RestoreStep, RestoredLog, Turn};
use crate::time::Now;

/// How long a shard that has restored its part waits between looks at what the others say.
const RESTORE_PAUSE: Duration = Duration::from_micros(200);

impl Pump {
    /// Goes on with what was read back until every shard knows what the sessions of all are subscribed to, and has what was on its way. Nobody is heard before.
    pub(in crate::runtime) fn restore(&mut self, restoring: &Restoring, log: &RestoredLog) -> Result<(), RingError> {
        let mut is_known = false;
        self.take_room(clock::now())?;
        while !restoring.are_all_known() {
            let now = self.take_messages(clock::now())?;
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Restore(RestoreStep::Announce));
            self.apply_effects(now)?;
            self.port.flush(&mut self.fx.mesh, |_| {});
            if !is_known && self.shard.is_restored() {
                is_known = true;
                restoring.note_known();
            }
            std::thread::sleep(RESTORE_PAUSE);
        }
        let now = clock::now();
        self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Restore(RestoreStep::Deliveries(log)));
        self.apply_effects(now)?;
        restoring.arrive();
        // Nothing is sent meanwhile: another shard may not have its own yet.
        while !restoring.is_over() {
            std::thread::sleep(RESTORE_PAUSE);
        }
        Ok(())
    }

    /// What the disk has taken.
    pub(super) fn take_written(&mut self, now: Now) -> Result<(), RingError> {
        let mut durable = self.store.durable_at_once();
        while let Some(ended) = self.edge.next_written() {
            self.measured.end_write(now);
            match self.store.written(ended) {
                Ok(position) => durable = Some(position),
                Err(error) => self.failed = Some(error),
            }
        }
        if let Some(position) = durable.filter(|durable| *durable > self.durable) {
            self.durable = position;
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Durable { position });
            self.apply_effects(now)?;
        }
        Ok(())
    }

    /// What is to be written next; when the last client has gone, the end.
    pub(super) fn next_write(&mut self, now: Now) -> Option<FileWrite> {
        let is_last = self.stopping.is_some() && self.edge.connections() == 0 && self.store.is_durable();
        let write = self.store.next_write(now, self.stopping.is_some());
        if is_last && write.is_none() { self.store.next_final(now) } else { write }
    }

    /// What the log has room for.
    pub(super) fn take_room(&mut self, now: Now) -> Result<(), RingError> {
        if let Some(room) = self.store.take_room() {
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Room { room });
            self.apply_effects(now)?;
        }
        Ok(())
    }

    /// What whoever works on the log's files has to say.
    pub(super) fn take_news(&mut self, now: Now) -> Result<(), RingError> {
        self.store.take_news(now);
        self.failed = self.failed.take().or_else(|| self.store.take_failure());
        while let Some((records, count)) = self.store.next_copies() {
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Copies { records: &records, count });
            self.apply_effects(now)?;
        }
        while let Some((session, bodies)) = self.store.next_bodies() {
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Bodies { session, bodies });
            self.apply_effects(now)?;
        }
        Ok(())
    }
}
