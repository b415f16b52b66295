//! What is sent again until it is acknowledged (MQTT-SN 1.2, 6.13).

use super::client::{SnClient, SnEnd, SnOut, SnState, SnTurn};
use super::message::{SnMessage, TopicRef};
use super::under_way::{SentKind, Unacknowledged};
use crate::ids::PacketId;
use crate::limits::SN_WAIT_S;

impl SnClient {
    /// Notes that the latest datagram waits for an acknowledgement.
    pub(super) fn await_ack(&mut self, turn: SnTurn<'_>, (kind, msg_id): (SentKind, u16), out: &SnOut) {
        let due = turn.now.after_s(turn.settings.sn_retry_s.into());
        let sent = Unacknowledged { kind, msg_id, datagram: out.last().into(), tries: 0, due };
        self.under_way_mut().unacknowledged.push(sent);
    }

    /// Takes out what an acknowledgement is for.
    pub(super) fn acknowledged(&mut self, msg_id: u16, is_for: impl Fn(SentKind) -> bool) -> Option<Unacknowledged> {
        let unacknowledged = &mut self.under_way.as_deref_mut()?.unacknowledged;
        let at = unacknowledged.iter().position(|sent| sent.msg_id == msg_id && is_for(sent.kind))?;
        Some(unacknowledged.remove(at))
    }

    pub(super) fn has_sent(&self, is_for: impl Fn(SentKind) -> bool) -> bool {
        self.under_way.as_deref().is_some_and(|under_way| under_way.unacknowledged.iter().any(|sent| is_for(sent.kind)))
    }

    /// The topic ids of what it was sent and has not acknowledged: of one REGISTER and one PUBLISH at most; 0 is none.
    pub(super) fn ids_under_way(&self) -> [u16; 2] {
        let mut ids = [0; 2];
        for sent in self.under_way.iter().flat_map(|under_way| &under_way.unacknowledged) {
            match (sent.kind, SnMessage::decode(&sent.datagram)) {
                (SentKind::Register { topic_id }, _) => ids[0] = topic_id,
                (SentKind::Publish(_), Ok(SnMessage::Publish { topic: TopicRef::Normal(id), .. })) => ids[1] = id,
                _ => {}
            }
        }
        ids
    }

    /// The client can hear again: everything that it has not acknowledged is sent once more.
    pub(super) fn send_all_again(&mut self, turn: SnTurn<'_>, out: &mut SnOut) {
        let due = turn.now.after_s(turn.settings.sn_retry_s.into());
        if let Some(under_way) = self.under_way.as_deref_mut() {
            for sent in &mut under_way.unacknowledged {
                sent.mark_dup();
                (sent.tries, sent.due) = (0, due);
                out.send_again(&sent.datagram);
            }
        }
        self.send_waiting(turn, out);
    }

    /// The client knows an id again: what it was sent with it before is sent once more.
    pub(super) fn send_again_with(&mut self, turn: SnTurn<'_>, topic_id: u16, out: &mut SnOut) {
        let due = turn.now.after_s(turn.settings.sn_retry_s.into());
        let Some(under_way) = self.under_way.as_deref_mut() else { return };
        for sent in under_way.unacknowledged.iter_mut().filter(|sent| sent.names(topic_id)) {
            sent.mark_dup();
            sent.due = due;
            out.send_again(&sent.datagram);
        }
    }

    /// The client says that it can take a message later. It has answered: it is not on the way to being lost.
    pub(super) fn wait_for_client(
        &mut self,
        turn: SnTurn<'_>,
        (msg_id, is_for): (u16, impl Fn(SentKind) -> bool),
        out: &mut SnOut,
    ) {
        out.is_alive = true;
        let Some(under_way) = self.under_way.as_deref_mut() else { return };
        let sent = under_way.unacknowledged.iter_mut().find(|sent| sent.msg_id == msg_id && is_for(sent.kind));
        if let Some(sent) = sent {
            (sent.tries, sent.due) = (0, turn.now.after_s(SN_WAIT_S));
        }
    }

    /// Sends again what is due. Who has not answered for too long is lost, but for one that sleeps, which may ask again.
    pub fn retry(&mut self, turn: SnTurn<'_>, out: &mut SnOut) {
        if !matches!(self.state, SnState::Active | SnState::Awake) {
            return; // whoever sleeps acknowledges nothing
        }
        let (retry_s, retries) = (turn.settings.sn_retry_s.into(), turn.settings.sn_retries);
        let Some(under_way) = self.under_way.as_deref_mut() else { return };
        let mut has_given_up = false;
        for sent in under_way.unacknowledged.iter_mut().filter(|sent| sent.due.is_due(turn.now)) {
            has_given_up |= u16::from(sent.tries) >= retries;
            if has_given_up {
                break;
            }
            sent.mark_dup();
            sent.tries += 1;
            sent.due = turn.now.after_s(retry_s);
            out.send_again(&sent.datagram);
        }
        if has_given_up && self.state == SnState::Awake {
            self.state = SnState::Asleep;
        } else if has_given_up {
            self.say_goodbye(out);
            // Nothing of it is due any more, or it would be lost again and again.
            self.silence();
            out.end = Some(SnEnd::Lost);
        }
    }
}

/// As MQTT names it; 0 names nothing.
pub(super) const fn packet_id(msg_id: u16) -> Option<PacketId> {
    PacketId::new(msg_id)
}
