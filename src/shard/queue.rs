//! Messages that cannot be sent now: queued as far as there is room, and what gives way where there is none.
//!
//! Always holds: a session's queue stays within its limits of messages and bytes, all queues together within the memory that they
//! may take; what gives way is counted for its reason, and a session's first loss is told.
//! Leaves to others: whether a message has to wait at all (`deliver`), and when the queue goes on (`work`).

use super::clients::Clients;
use super::disk_queues::QueuePlace;
use super::outgoing::{DeliveryOptions, Fanout};
use super::{Event, Turn};
use crate::ids::SessionId;
use crate::session::{DiskDelivery, Outbound, Reception};
use crate::settings::FullQueue;
use crate::telemetry::DropReason;

/// Messages that have expired and give way to one new one: so many small ones that it has room, yet no work for a
/// millisecond.
const GIVE_WAY_MAX: usize = 256;

impl Clients {
    /// Whether a message has to wait for its client to come back, or behind others that do.
    pub(super) fn waits_behind_others(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        session.link.is_none() || session.outbound().is_some_and(Outbound::has_queue)
    }

    /// A message that cannot be sent now, if there is room for it.
    #[inline(never)]
    pub(super) fn enqueue(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        fanout: &mut Fanout<'_>,
        copy: &DeliveryOptions<'_>,
    ) {
        if fanout.routed.message.is_expired(turn.now) {
            self.counters.dropped(DropReason::Expired); // it was for who could take it at once
            return;
        }
        let place = self.queue_place(id, copy.qos);
        let len_bytes = fanout.routed.message.len_bytes() + size_of_val(copy.ids) as u64;
        if let Err(reason) = self.make_room(turn, id, len_bytes, place) {
            self.lose(turn, id, reason);
            if reason == DropReason::QueuedMemoryFull {
                self.report_queues_full(turn);
            }
            fanout.reception = fanout.reception.max(Reception::QueuesFull);
            self.note_fullness(turn, id, &mut fanout.fullest);
            return;
        }
        let delivery = self.add_delivery(turn, id, fanout, copy);
        self.keep_span(turn, &delivery.message);
        self.queues.note_time(turn.now);
        let outbound = self.sessions.get_mut(id).outbound_mut();
        match place {
            QueuePlace::Disk => outbound.enqueue_on_disk(DiskDelivery::of(&delivery), &mut self.queues),
            _ => outbound.enqueue(delivery, &mut self.queues),
        }
        fanout.reception = Reception::Taken;
        self.note_fullness(turn, id, &mut fanout.fullest);
        if self.has_window(id) {
            self.add_work(id); // no acknowledgement may come that would bring it forward
        }
    }

    /// Sees that a queue has room for one more message of `len_bytes`: what stands first in it gives way if it has expired
    /// meanwhile, or if the setting says so. If that is not enough, the newest is the one to drop, for this reason.
    fn make_room(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        len_bytes: u64,
        place: QueuePlace,
    ) -> Result<(), DropReason> {
        let len_bytes = if place == QueuePlace::Disk { DiskDelivery::counted_bytes(len_bytes) } else { len_bytes };
        let limits = self.profiled.queue_limits(id, &self.settings);
        let oldest_goes = self.settings.full_queue == FullQueue::DropOldest && len_bytes <= limits.bytes;
        let mut given_way = 0;
        loop {
            let outbound = self.sessions.get_mut(id).outbound_mut();
            let has_memory = match place {
                // Another shard may have taken the last room meanwhile: then this one message is more.
                QueuePlace::Memory | QueuePlace::Disk => true,
                QueuePlace::MemoryAlone => !self.queues.memory().is_full(),
                QueuePlace::Nowhere => return Err(DropReason::QueuedMemoryFull),
            };
            let reason = match (outbound.admits(len_bytes, limits), has_memory) {
                (true, true) => return Ok(()),
                (true, false) => DropReason::QueuedMemoryFull,
                (false, _) => DropReason::QueueFull,
            };
            let oldest = outbound.is_oldest_expired(turn.now);
            let reason = match oldest.filter(|_| given_way < GIVE_WAY_MAX) {
                Some(true) => {
                    self.counters.dropped(DropReason::Expired); // [MQTT-3.3.2-5]
                    DropReason::Expired
                }
                Some(false) if oldest_goes => {
                    self.lose(turn, id, reason);
                    reason
                }
                _ => return Err(reason),
            };
            if let Some(oldest) = self.sessions.get_mut(id).outbound_mut().drop_oldest(&mut self.queues) {
                self.log_dropped(turn, id, oldest, reason);
            }
            given_way += 1;
        }
    }

    /// Once a minute at most: the operator is to know why messages are dropped for everybody.
    #[cold]
    fn report_queues_full(&mut self, turn: &mut Turn<'_>) {
        if self.next_full_report.is_due(turn.now) {
            self.next_full_report = turn.now.after_s(60);
            turn.fx.events.push(Event::QueuedMemoryFull { max_bytes: self.settings.queued_memory_max_bytes });
        }
    }

    /// Whether its queue has room for a message of ordinary size.
    pub(super) fn may_queue(&self, id: SessionId) -> bool {
        let limits = self.profiled.queue_limits(id, &self.settings);
        self.sessions.get(id).outbound().is_none_or(|outbound| outbound.admits(0, limits))
    }
}
