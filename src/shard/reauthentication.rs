//! Re-authentication: a connected client shows something newer, by AUTH (MQTT 5.0, 4.12.1).
//!
//! Always holds: it goes by the method of the connection's CONNECT [MQTT-4.12.1-1]; the client is served as before while it lasts; it stays
//! who it is; one that fails, or takes too long, ends the connection [MQTT-4.12.1-2].
//! Leaves to others: enhanced authentication at CONNECT (`verdict`), who decides (`runtime`).

use std::collections::{BTreeMap, VecDeque};

use super::rights::ClientRights;
use super::{Shard, Turn};
use crate::auth::{Admission, Ask, AskId, ConnectQuestion, EnhancedStep, Question, Verdict};
use crate::codec::{Auth, Connect, ReasonCode};
use crate::ids::{ConnectionId, SessionId};
use crate::limits::{REAUTHENTICATIONS_MAX, VERDICT_TIMEOUT_MS};
use crate::telemetry::CloseReason;
use crate::time::{Deadline, Now};

/// Questions about re-authentication have numbers of their own, above those about CONNECTs.
const REAUTH_ASKS: u64 = 1 << 62;

/// How far one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReauthState {
    /// Somebody has been asked.
    Asked,
    /// The client is to answer.
    AwaitsClient,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Reauthentications {
    under_way: BTreeMap<ConnectionId, (ReauthState, Deadline)>,
    /// Whom the questions are about.
    asked: BTreeMap<u64, ConnectionId>,
    /// In the order in which their time is over; some may be through.
    order: VecDeque<(Deadline, ConnectionId)>,
    last: u64,
}

impl Reauthentications {
    /// When the next one has taken too long.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.order.front().map(|&(deadline, _)| deadline)
    }

    fn set(&mut self, connection: ConnectionId, state: ReauthState, deadline: Deadline) {
        self.under_way.insert(connection, (state, deadline));
        self.order.push_back((deadline, connection));
    }

    /// The next one that has taken too long, unless the first in line is not due.
    fn next_late(&mut self, now: Now) -> Option<ConnectionId> {
        while let Some(&(deadline, connection)) = self.order.front().filter(|(deadline, _)| deadline.is_due(now)) {
            self.order.pop_front();
            if self.under_way.get(&connection).is_some_and(|&(_, latest)| latest == deadline) {
                self.under_way.remove(&connection);
                return Some(connection);
            }
        }
        None
    }
}

impl Shard {
    /// AUTH of a connected client.
    pub(super) fn handle_auth(&mut self, turn: &mut Turn<'_>, id: SessionId, auth: &Auth<'_>) {
        let protocol_error = |shard: &mut Self, turn: &mut Turn<'_>, text| {
            shard.close(turn, id, ReasonCode::ProtocolError, CloseReason::ProtocolError, text);
        };
        let Some(method) = self.clients.access.method(id) else {
            // No method was agreed on in CONNECT, so none can be gone on with [MQTT-4.12.0-7].
            return protocol_error(self, turn, "AUTH without a method in CONNECT");
        };
        if auth.method != Some(method) {
            return protocol_error(self, turn, "AUTH with another method than CONNECT"); // [MQTT-4.12.1-1]
        }
        let connection = self.clients.sessions.get(id).link.as_deref().expect("the packet came over it").connection;
        let state = self.reauthentications.under_way.get(&connection).map(|&(state, _)| state);
        let is_first = auth.reason == ReasonCode::ReAuthenticate;
        match (is_first, state) {
            (true, None) | (false, Some(ReauthState::AwaitsClient)) => {}
            (true, Some(_)) => return protocol_error(self, turn, "AUTH that begins again in the middle"),
            (false, _) => return protocol_error(self, turn, "AUTH that answers nothing"), // [MQTT-4.12.0-3]
        }
        if self.reauthentications.under_way.len() >= REAUTHENTICATIONS_MAX {
            let text = "too many clients authenticate themselves again";
            return self.close(turn, id, ReasonCode::ServerBusy, CloseReason::Resources, text);
        }
        self.ask_again(turn, id, auth, is_first);
    }

    fn ask_again(&mut self, turn: &mut Turn<'_>, id: SessionId, auth: &Auth<'_>, is_first: bool) {
        let session = self.clients.sessions.get(id);
        let link = session.link.as_deref().expect("the packet came over it");
        let (connection, version) = (link.connection, link.version);
        let Some((listener, peer)) = self.clients.access.asked_as(id) else { return };
        let step =
            EnhancedStep { method: auth.method.unwrap_or_default().into(), data: auth.data.map(Into::into), is_first };
        let about = ConnectQuestion::about(&Connect::new(version, &session.client_id, false), &listener);
        let question = ConnectQuestion { peer, enhanced: Some(step), is_connected: true, ..about };
        self.reauthentications.last += 1;
        let number = self.reauthentications.last;
        let deadline = turn.now.after_ms(VERDICT_TIMEOUT_MS);
        self.reauthentications.set(connection, ReauthState::Asked, deadline);
        self.reauthentications.asked.insert(number, connection);
        let question = Question::Connect(Box::new(question));
        turn.fx.asks.push(Ask { id: AskId(REAUTH_ASKS | number), connection, deadline, question });
    }

    /// Somebody has decided about a re-authentication. Returns whether the question was one about it.
    pub(super) fn handle_reauth_verdict(&mut self, turn: &mut Turn<'_>, ask: AskId, verdict: &Verdict) -> bool {
        if ask.0 & REAUTH_ASKS == 0 {
            return false;
        }
        let whose = self.reauthentications.asked.remove(&(ask.0 & !REAUTH_ASKS));
        let is_asked = |connection: &ConnectionId| {
            let state = self.reauthentications.under_way.get(connection);
            state.is_some_and(|(state, _)| *state == ReauthState::Asked)
        };
        let Some(connection) = whose.filter(is_asked) else { return true };
        self.reauthentications.under_way.remove(&connection);
        if let Some(id) = self.clients.sessions.of_connection(connection) {
            self.take_reauth_verdict(turn, id, connection, verdict);
        }
        true
    }

    fn take_reauth_verdict(&mut self, turn: &mut Turn<'_>, id: SessionId, connection: ConnectionId, verdict: &Verdict) {
        match verdict {
            Verdict::Continue(data) => {
                let deadline = turn.now.after_ms(VERDICT_TIMEOUT_MS);
                self.reauthentications.set(connection, ReauthState::AwaitsClient, deadline);
                self.send_auth(turn, id, ReasonCode::ContinueAuthentication, Some(data));
            }
            Verdict::AdmitAs(admission) if admission.user.as_deref() == self.clients.access.user(id) => {
                self.renew(turn, id, admission);
            }
            Verdict::Busy => {
                let text = "too many clients are being authenticated";
                self.close(turn, id, ReasonCode::ServerBusy, CloseReason::Resources, text);
            }
            // Who has become somebody else is nobody.
            _ => {
                let text = "it could not authenticate itself again";
                self.close(turn, id, ReasonCode::NotAuthorized, CloseReason::NotAuthorized, text);
            }
        }
    }

    fn renew(&mut self, turn: &mut Turn<'_>, id: SessionId, admission: &Admission) {
        let rights = ClientRights {
            is_superuser: admission.is_superuser,
            rules: admission.rules.clone(),
            ends: admission.ends.map(|ends| turn.now.deadline_of(ends)),
            method: self.clients.access.method(id).map(Into::into),
        };
        self.clients.access.set_rights(id, rights);
        self.clients.log_rights(turn, id);
        self.clients.review(id);
        self.clients.arm(turn.now, id);
        self.send_auth(turn, id, ReasonCode::Success, admission.data.as_deref());
    }

    fn send_auth(&mut self, turn: &mut Turn<'_>, id: SessionId, reason: ReasonCode, data: Option<&[u8]>) {
        let method: Option<Box<str>> = self.clients.access.method(id).map(Into::into);
        let mut bytes = Vec::new();
        Auth { reason, method: method.as_deref(), data, reason_string: None }.encode(&mut bytes);
        let link = self.clients.sessions.get(id).link.as_deref().expect("it is connected");
        if bytes.len() > link.packet_size_max_bytes as usize {
            let text = "it takes no packet as large as AUTH";
            return self.close(turn, id, ReasonCode::PacketTooLarge, CloseReason::NotAuthorized, text);
        }
        self.reply(turn, id, |out, _| out.extend_from_slice(&bytes));
    }

    /// Ends connections whose re-authentication has taken too long.
    pub(super) fn expire_reauthentications(&mut self, turn: &mut Turn<'_>) {
        let Some(connection) = self.reauthentications.next_late(turn.now) else { return };
        if let Some(id) = self.clients.sessions.of_connection(connection) {
            let text = "it did not authenticate itself again in time";
            self.close(turn, id, ReasonCode::NotAuthorized, CloseReason::NotAuthorized, text);
        }
    }
}
