//! Queues whose messages are on disk alone: which go there, and how they come back when their client can take them.
//!
//! Always holds: only what a session's log has goes there, and in memory nothing stands behind it; a page of one queue is on its way back at
//! a time, of messages that are durable as a whole; so many pages at most for all of them. A page that comes when nobody wants it any
//! more changes nothing.
//! Leaves to others: reading (`runtime`), whose turn it is (`disk_reads`), and what becomes of a message that is in memory again (`work`).

use super::clients::Clients;
use super::record_log::Waiter;
use super::{DiskRead, Shard, Turn};
use crate::ids::{MessageId, Qos, SessionId};
use crate::limits::{DISK_PAGE_BYTES, DISK_PAGE_MESSAGES};
use crate::session::{DiskDelivery, Message, Outbound, PageState};
use crate::telemetry::DropReason;

/// Where a message is kept that has to wait for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueuePlace {
    /// In memory, where there is room.
    Memory,
    /// The same of one that has no other place: only if there still is room when it comes to that.
    MemoryAlone,
    /// On the disk, where it is written anyway.
    Disk,
    /// It would have to stand behind what is on disk, and is written nowhere.
    Nowhere,
}

impl Clients {
    /// Where a message with this QoS is kept that has to wait for a session's client.
    pub(super) fn queue_place(&self, id: SessionId, qos: Qos) -> QueuePlace {
        let session = self.sessions.get(id);
        let is_behind = session.outbound().is_some_and(|outbound| outbound.queued_on_disk() > 0);
        // A message may take some more records, of which this turn has the first.
        let has_id = self.record_log.last().0 < DiskDelivery::ID_END / 2;
        if !(qos > Qos::AtMostOnce && session.is_persistent() && self.record_log.is_kept() && has_id) {
            return if is_behind { QueuePlace::Nowhere } else { QueuePlace::MemoryAlone };
        }
        if is_behind || self.queues.memory().is_full() { QueuePlace::Disk } else { QueuePlace::Memory }
    }

    /// Asks for the first messages of a queue that are on disk, if those in front of them are sent and its client has room, or its
    /// session has ended.
    pub(super) fn ask_for_disk(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        let Some(session) = self.sessions.try_get(id) else { return };
        let first = session.outbound().filter(|outbound| outbound.queued() == outbound.queued_on_disk());
        let Some(on_disk) = first.and_then(Outbound::on_disk).filter(|on_disk| on_disk.asked() == PageState::No) else {
            return;
        };
        if !session.has_ended && !self.has_room(id) {
            return;
        }
        let asked = if self.disk_reads.are_enough() {
            self.disk_reads.wait(id);
            PageState::Waits
        } else {
            let may_ask = |message| self.record_log.has_message(message);
            let messages = on_disk.first_ids(self.page_messages(id), DISK_PAGE_BYTES, may_ask);
            if messages.is_empty() {
                self.record_log.wait_for(turn, Waiter::Queue(id));
                PageState::Waits
            } else {
                self.disk_reads.begin();
                let count = messages.len() as u16;
                turn.fx.reads.push(DiskRead { session: id, messages });
                PageState::For(count)
            }
        };
        self.sessions.get_mut(id).outbound_mut().set_asked(asked);
    }

    /// A page is no larger than the client's window: the rest would only stand in memory.
    fn page_messages(&self, id: SessionId) -> usize {
        let window = self.sessions.get(id).link.as_deref().map_or(DISK_PAGE_MESSAGES, |link| link.window_max.into());
        window.clamp(1, DISK_PAGE_MESSAGES)
    }

    /// What a session had to wait for before it could ask has come.
    pub(super) fn ask_again(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        let outbound = self.sessions.try_get_mut(id).and_then(|session| session.outbound_existing_mut());
        let waits =
            |outbound: &&mut Outbound| outbound.on_disk().is_some_and(|queue| queue.asked() == PageState::Waits);
        if let Some(outbound) = outbound.filter(waits) {
            outbound.set_asked(PageState::No);
            self.ask_for_disk(turn, id);
        }
    }

    /// A page has come, whoever it was for: others have their turn.
    fn end_disk_read(&mut self, turn: &mut Turn<'_>) {
        self.disk_reads.end();
        while let Some(id) = self.disk_reads.next_waiting() {
            self.ask_again(turn, id);
        }
    }

    /// How many of these messages the session has asked for and still waits for: the last ones, since what stood in front of them may have been
    /// dropped meanwhile. `None`: it waits for none.
    fn awaited_of(&self, id: SessionId, bodies: &[(MessageId, Option<Message>)]) -> Option<usize> {
        let on_disk = self.sessions.try_get(id)?.outbound()?.on_disk()?;
        let PageState::For(left) = on_disk.asked() else { return None };
        let page = bodies.get(bodies.len().checked_sub(left.into())?..)?;
        on_disk.ids().take(page.len()).eq(page.iter().map(|(id, _)| *id)).then_some(page.len())
    }
}

impl Shard {
    /// Messages that were on disk alone are there.
    pub(super) fn handle_bodies(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        bodies: Vec<(MessageId, Option<Message>)>,
    ) {
        if let Some(awaited) = self.clients.awaited_of(id, &bodies) {
            let session = self.clients.sessions.get_mut(id);
            session.outbound_mut().set_asked(PageState::No);
            // Nobody waits for what a client would have got that has gone meanwhile: it stays where it is.
            if session.link.is_some() || session.has_ended {
                let dropped = bodies.len() - awaited;
                for (message, body) in bodies.into_iter().skip(dropped) {
                    self.clients.bring_back(turn, id, message, body);
                }
            }
            if !self.clients.sessions.get(id).has_ended {
                self.advance(turn, id);
            }
        }
        self.clients.end_disk_read(turn);
    }
}

impl Clients {
    fn bring_back(&mut self, turn: &mut Turn<'_>, id: SessionId, message: MessageId, body: Option<Message>) {
        let outbound = self.sessions.get_mut(id).outbound_mut();
        if outbound.bring_back(body, &mut self.queues).is_some() {
            self.lose(turn, id, DropReason::StorageDamaged);
            self.log_dropped(turn, id, message, DropReason::StorageDamaged);
        }
    }
}
