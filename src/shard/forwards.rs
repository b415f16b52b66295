//! Messages that cross to another shard once, whatever happens to the process.
//!
//! Always holds: such a message is written down here, numbered, in the change that it belongs to (the exchange that was opened, the will
//! that is cleared, the session that lets go of it), and leaves when that is durable, so that the other shard knows of nothing that a
//! restart would take back. The other shard counts it in the change that has what came of it. What it has not counted is sent again
//! after a restart. While one waits, others with its QoS go behind it, whoever has published them: none overtakes. While one waits that is retained,
//! this shard remembers what was deleted since.
//! Leaves to others: which messages these are (`route`, `groups`), and holding one log against another (`store`).

use super::clients::Clients;
use super::record_log::{HeldForward, Waiter};
use super::{PublishDetails, Shard, Turn};
use crate::ids::{MessageId, ShardId};
use crate::session::{Message, Routed};
use crate::store::Position;
use crate::store::format::{ForwardTarget, InboxCount, ListOf, LogRecord};
use crate::store::state::Mailbox;

/// Where a message crosses to, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForwardRoute {
    pub to: ShardId,
    /// For plain subscribers there, and not for members of groups alone.
    pub plain: bool,
    /// The other shard writes down what comes of it: it is to arrive once.
    pub is_kept_there: bool,
}

impl Clients {
    /// Has a message cross when all that was written so far is durable; where the other shard is to keep it, as one that arrives once.
    pub(super) fn forward(
        &mut self,
        turn: &mut Turn<'_>,
        route: ForwardRoute,
        routed: &mut Routed<'_>,
        mut details: PublishDetails,
    ) {
        let ForwardRoute { to, plain, is_kept_there } = route;
        if is_kept_there {
            let message = self.record_log.message(turn, routed);
            let number = self.forwards.numbered_mut(to);
            *number += 1;
            let number = *number;
            let groups = ListOf::Values(&details.groups);
            let target = ForwardTarget { to, number, message, plain, retained: details.retained, groups };
            self.record_log.append(turn, &LogRecord::Forward(target));
            details.forward = Some(InboxCount { from: self.id, number });
        }
        self.forwards.waiting[routed.message.qos as usize] += 1;
        self.forwards.retained.extend(details.retained);
        let held = HeldForward { to, message: routed.share().clone(), plain, details };
        self.record_log.wait_for(turn, Waiter::Forward(Box::new(held)));
    }

    fn send_forward(turn: &mut Turn<'_>, held: HeldForward) {
        let HeldForward { to, message, plain, details } = held;
        turn.fx.mesh.publish(to, &mut Routed::shared(&message), plain, details);
    }

    /// What another log has sent was taken over, in the change that began behind `before`, or is still being delivered.
    pub(super) fn note_taken_over(
        &mut self,
        turn: &mut Turn<'_>,
        count: InboxCount,
        before: Position,
        is_under_way: bool,
    ) {
        if is_under_way {
            return self.forwards.under_way.push(count);
        }
        if self.record_log.last() == before {
            self.log_taken_over(turn, count); // nothing has come of it
        }
        note_inbox(turn, count);
    }

    /// A change has to have a record.
    fn log_taken_over(&mut self, turn: &mut Turn<'_>, InboxCount { from, number }: InboxCount) {
        self.record_log.append(turn, &LogRecord::InboxTaken { from, number });
    }

    /// All that took several turns has been delivered.
    pub(super) fn note_all_delivered(&mut self, turn: &mut Turn<'_>) {
        for count in std::mem::take(&mut self.forwards.under_way) {
            self.log_taken_over(turn, count);
            note_inbox(turn, count);
        }
    }
}

fn note_inbox(turn: &mut Turn<'_>, count: InboxCount) {
    let inbox = &mut turn.fx.log.inbox;
    match inbox.iter_mut().find(|known| known.from == count.from) {
        Some(known) => known.number = known.number.max(count.number),
        None => inbox.push(count),
    }
}

impl Shard {
    /// It need not wait any more. A retained message that was deleted while it waited is retained by nobody: other shards may have
    /// forgotten the deletion.
    pub(super) fn release_forward(&mut self, turn: &mut Turn<'_>, mut held: HeldForward) {
        let Self { clients, router, .. } = self;
        if let Some(stamp) = held.details.retained {
            clients.forwards.retained.pop_front();
            held.details.retained.take_if(|_| router.retained.is_deleted_since(held.message.borrow().topic, stamp));
        }
        clients.forwards.waiting[held.message.qos() as usize] -= 1;
        // Another node's process may be gone by now.
        if router.others.contains(held.to) {
            Clients::send_forward(turn, held);
        }
    }

    /// After a restart: numbers go on, and what other logs have not taken over is sent to their shards again. `message_of` finds what
    /// was read back; one whose bytes are lost is not sent.
    pub(super) fn restore_forwards(
        &mut self,
        turn: &mut Turn<'_>,
        mailbox: &Mailbox,
        message_of: impl Fn(MessageId) -> Option<Message>,
    ) {
        for (to, numbered) in mailbox.numbered() {
            *self.clients.forwards.numbered_mut(to) = numbered;
            for stored in mailbox.forwards(to) {
                let Some(message) = message_of(stored.message) else { continue };
                let forward = Some(InboxCount { from: self.clients.id, number: stored.number });
                let groups = stored.groups.iter().copied().collect();
                let details =
                    PublishDetails { groups, retained: stored.retained, forward, ..PublishDetails::default() };
                Clients::send_forward(turn, HeldForward { to, message, plain: stored.plain, details });
            }
        }
    }
}
