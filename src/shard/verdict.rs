//! CONNECTs about which somebody else decides: asked, held until the verdict, let in or refused.
//!
//! Always holds: each question gets one answer at most, and counts as refused when none has come in time, when too many wait,
//! or when the broker stops; an answer that is late, or about a client that has gone, changes nothing. Until the verdict nothing
//! of an earlier session is touched. Of several CONNECTs with one client id the latest that was let in stays, in whatever
//! order their verdicts come. Questions are as old as they are in order, so the oldest is always the next to be late.
//! Leaves to others: packets that the client sends meanwhile (`conn` holds them), and who answers (`runtime`).

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::closing::RANGE_IS_CLOSED;
use super::connect::ConnectEntry;
use super::{ConnectInfo, Effect, Shard, Turn, UserNameBasis};
use crate::auth::{Ask, AskId, ConnectQuestion, EnhancedStep, PeerIdentity, Question, RefusalCause, Verdict};
use crate::codec::{Auth, Connect, ConnectPacket, Packet, ReasonCode};
use crate::ids::{ClientKey, ConnectionId};
use crate::limits::{ASKS_EXPIRED_PER_TICK, PENDING_CONNECTS_MAX, PENDING_CONNECTS_MAX_BYTES, VERDICT_TIMEOUT_MS};
use crate::settings::ListenerSettings;
use crate::telemetry::CloseReason;
use crate::time::{Deadline, Now};

/// A CONNECT that waits for its verdict.
#[derive(Debug)]
struct PendingConnect {
    connection: ConnectionId,
    client: ClientKey,
    packet: ConnectPacket,
    assigned_client_id: bool,
    listener_index: u8,
    peer: Option<IpAddr>,
    listener: Arc<ListenerSettings>,
    identity: Option<Arc<PeerIdentity>>,
    /// It has been sent AUTH, and is to answer.
    awaits_auth: bool,
    deadline: Deadline,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct PendingConnects {
    /// By number, the oldest first; a gap where one has been answered before an older one.
    queue: VecDeque<Option<Box<PendingConnect>>>,
    /// The number of the first in the queue.
    first: u64,
    by_connection: BTreeMap<ConnectionId, AskId>,
    by_client: BTreeSet<(u64, AskId)>,
    held_bytes: usize,
}

/// Questions that may have been answered behind one that has not, for each that may wait: eight bytes each, for five seconds.
const GAPS_PER_PENDING: usize = 64;
/// Questions, gaps among them, that one tick looks at for ranges that are being closed.
const ASKS_LOOKED_AT_PER_TICK: u64 = 2_048;

impl PendingConnects {
    /// CONNECTs that wait.
    pub(super) fn len(&self) -> usize {
        self.by_connection.len()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }

    /// When the oldest has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.queue.front()?.as_ref().map(|pending| pending.deadline)
    }

    /// Checks that what is found by connection and by client id is what waits.
    ///
    /// # Panics
    /// When it is not.
    pub(super) fn assert_invariants(&self) {
        assert_eq!(self.queue.iter().flatten().count(), self.by_connection.len(), "each is found by its connection");
        assert_eq!(self.by_client.len(), self.by_connection.len(), "and by its client id");
        assert!(!matches!(self.queue.front(), Some(None)), "the oldest waits");
        let bytes: usize = self.queue.iter().flatten().map(|pending| pending.packet.len_bytes()).sum();
        assert_eq!(bytes, self.held_bytes, "bytes of what waits are counted");
    }

    /// The number of the next question: all that wait have lower ones.
    pub(super) fn next_ask(&self) -> AskId {
        AskId(self.first + self.queue.len() as u64)
    }

    fn has_room(&self) -> bool {
        let is_long = self.queue.len() >= PENDING_CONNECTS_MAX * GAPS_PER_PENDING;
        self.len() < PENDING_CONNECTS_MAX && !is_long && self.held_bytes < PENDING_CONNECTS_MAX_BYTES
    }

    fn insert(&mut self, pending: PendingConnect) -> AskId {
        let ask = self.next_ask();
        self.held_bytes += pending.packet.len_bytes();
        self.by_connection.insert(pending.connection, ask);
        self.by_client.insert((pending.client.0, ask));
        self.queue.push_back(Some(Box::new(pending)));
        ask
    }

    fn get(&self, ask: AskId) -> Option<&PendingConnect> {
        let at = usize::try_from(ask.0.checked_sub(self.first)?).ok()?;
        self.queue.get(at)?.as_deref()
    }

    /// Takes one out, if it still waits.
    fn remove(&mut self, ask: AskId) -> Option<Box<PendingConnect>> {
        let at = usize::try_from(ask.0.checked_sub(self.first)?).ok()?;
        let pending = self.queue.get_mut(at)?.take()?;
        self.held_bytes -= pending.packet.len_bytes();
        self.by_connection.remove(&pending.connection);
        self.by_client.remove(&(pending.client.0, ask));
        while matches!(self.queue.front(), Some(None)) {
            self.queue.pop_front();
            self.first += 1;
        }
        Some(pending)
    }

    fn remove_connection(&mut self, connection: ConnectionId) -> Option<Box<PendingConnect>> {
        let ask = *self.by_connection.get(&connection)?;
        self.remove(ask)
    }

    /// The oldest, if its time is over or `all` are to go.
    fn remove_oldest(&mut self, due: impl FnOnce(Deadline) -> bool) -> Option<Box<PendingConnect>> {
        let deadline = self.next_deadline()?;
        due(deadline).then(|| self.remove(AskId(self.first))).flatten()
    }

    /// Of those who wait with a client id the one that was asked about first.
    fn oldest_of(&self, client: ClientKey) -> Option<AskId> {
        let from = (client.0, AskId(0));
        self.by_client.range(from..).next().filter(|&&(key, _)| key == client.0).map(|&(_, ask)| ask)
    }
}

impl Shard {
    /// Somebody else decides about this CONNECT.
    pub(super) fn ask_about(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
    ) {
        if !self.pending.has_room() {
            let text = "too many clients wait to be authenticated";
            return self.refuse(turn, connection, connect, ReasonCode::ServerBusy, text);
        }
        let deadline = turn.now.after_ms(VERDICT_TIMEOUT_MS);
        let id = self.pending.insert(PendingConnect {
            connection,
            client: self.clients.sessions.key(connect.client_id),
            packet: ConnectPacket::copy_of(connect),
            assigned_client_id: info.assigned_client_id,
            listener_index: info.listener_index,
            peer: info.peer,
            listener: Arc::clone(info.listener),
            identity: info.identity.cloned(),
            awaits_auth: false,
            deadline,
        });
        let (peer, identity) = (info.peer, info.identity.cloned());
        let question = ConnectQuestion { peer, identity, ..ConnectQuestion::about(connect, &info.listener.name) };
        turn.fx.asks.push(Ask { id, connection, deadline, question: Question::Connect(Box::new(question)) });
    }

    /// Somebody has decided, perhaps too late.
    pub(super) fn handle_verdict(&mut self, turn: &mut Turn<'_>, ask: AskId, verdict: Verdict) {
        if self.handle_topic_verdict(turn, ask, &verdict) || self.handle_reauth_verdict(turn, ask, &verdict) {
            return;
        }
        let Some(pending) = self.pending.remove(ask) else { return };
        let (code, text) = match verdict {
            Verdict::Admit => return self.admit_pending(turn, &pending, ConnectEntry::asked(ask, None)),
            Verdict::AdmitAs(admission) => {
                return self.admit_pending(turn, &pending, ConnectEntry::asked(ask, Some(&admission)));
            }
            Verdict::Refuse(RefusalCause::Anonymous) => {
                return self.refuse_anonymous(turn, pending.connection, pending.packet.get());
            }
            Verdict::Refuse(cause) => (cause.code(), cause.text()),
            // Answers about topics are none to this question.
            Verdict::Unavailable | Verdict::Topics(_) => {
                (ReasonCode::ServerUnavailable, "nobody can authenticate it now")
            }
            Verdict::Continue(data) => return self.send_challenge(turn, *pending, &data),
            Verdict::Busy => (ReasonCode::ServerBusy, "too many clients are being authenticated"),
        };
        self.refuse(turn, pending.connection, pending.packet.get(), code, text);
    }

    fn admit_pending(&mut self, turn: &mut Turn<'_>, pending: &PendingConnect, entry: ConnectEntry<'_>) {
        let PendingConnect { assigned_client_id, listener_index, peer, ref listener, .. } = *pending;
        let info = ConnectInfo {
            assigned_client_id,
            listener_index,
            peer,
            listener,
            identity: pending.identity.as_ref(),
            user_name: UserNameBasis::Claim,
        };
        let (connection, connect) = (pending.connection, pending.packet.get());
        // What holds has changed since it was asked about: the broker may be stopping.
        if let Err((code, text)) = self.check_connect(connect, listener) {
            return self.refuse(turn, connection, connect, code, text);
        }
        turn.fx.list.push(Effect::Resume { connection });
        self.admit(turn, connection, connect, info, entry);
    }

    /// The client is to answer before anything is decided [MQTT-4.12.0-2].
    fn send_challenge(&mut self, turn: &mut Turn<'_>, pending: PendingConnect, data: &[u8]) {
        let (connection, connect) = (pending.connection, pending.packet.get());
        let auth = Auth {
            reason: ReasonCode::ContinueAuthentication,
            method: connect.authentication_method,
            data: Some(data),
            reason_string: None,
        };
        let encoded = turn.fx.encode(|out| {
            auth.encode(out);
            None
        });
        if encoded.len() > connect.maximum_packet_size_bytes {
            let text = "it takes no packet as large as AUTH";
            return self.refuse(turn, connection, connect, ReasonCode::PacketTooLarge, text);
        }
        turn.fx.list.push(Effect::Send { connection, encoded, packet_id: None });
        self.clients.counters.packets_sent += 1;
        let deadline = turn.now.after_ms(VERDICT_TIMEOUT_MS);
        self.pending.insert(PendingConnect { awaits_auth: true, deadline, ..pending });
        turn.fx.list.push(Effect::HearAuth { connection });
    }

    /// A packet of a client whose CONNECT waits: the answer to AUTH, or the end [MQTT-3.1.2-30].
    pub(super) fn handle_packet_of_pending(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        packet: &Packet<'_>,
    ) {
        let Some(pending) = self.pending.remove_connection(connection) else {
            return; // the shard has closed it; the edge had not heard yet
        };
        self.clients.counters.packets_received += 1;
        let method = pending.packet.get().authentication_method;
        match packet {
            Packet::Auth(auth)
                if pending.awaits_auth
                    && auth.reason == ReasonCode::ContinueAuthentication
                    && auth.method == method =>
            {
                self.ask_about_step(turn, *pending, auth);
            }
            Packet::Disconnect(_) => {
                let reason = CloseReason::ClientDisconnect;
                self.clients.counters.closed(reason);
                turn.fx.list.push(Effect::Close { connection, reason });
            }
            _ => {
                let text = "between CONNECT and CONNACK only AUTH may come, in answer to one, with its method";
                self.refuse(turn, connection, pending.packet.get(), ReasonCode::ProtocolError, text);
            }
        }
    }

    fn ask_about_step(&mut self, turn: &mut Turn<'_>, pending: PendingConnect, auth: &Auth<'_>) {
        let deadline = turn.now.after_ms(VERDICT_TIMEOUT_MS);
        let enhanced = EnhancedStep {
            method: auth.method.unwrap_or_default().into(),
            data: auth.data.map(Into::into),
            is_first: false,
        };
        let about = ConnectQuestion::about(pending.packet.get(), &pending.listener.name);
        let (peer, identity) = (pending.peer, pending.identity.clone());
        let question = ConnectQuestion { peer, identity, enhanced: Some(enhanced), ..about };
        let connection = pending.connection;
        let id = self.pending.insert(PendingConnect { awaits_auth: false, deadline, ..pending });
        turn.fx.asks.push(Ask { id, connection, deadline, question: Question::Connect(Box::new(question)) });
        turn.fx.holds_sender = true;
    }

    /// Bytes that are no packet, of a client whose CONNECT may wait.
    pub(super) fn handle_bad_packet_of_pending(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        code: ReasonCode,
    ) {
        let Some(pending) = self.pending.remove_connection(connection) else { return };
        let text = "what it sent between CONNECT and CONNACK is no packet";
        self.refuse(turn, connection, pending.packet.get(), code, text);
    }

    /// Refuses those who asked for a client id before the connection that has it now: their verdicts would come behind
    /// this one's and end the later connection.
    pub(super) fn refuse_older(&mut self, turn: &mut Turn<'_>, client: ClientKey, before: AskId) {
        while let Some(older) = self.pending.oldest_of(client).filter(|&older| older < before) {
            let older = self.pending.remove(older).expect("it waits");
            let text = "a later connection has taken its client id";
            self.refuse(turn, older.connection, older.packet.get(), ReasonCode::ServerBusy, text);
        }
    }

    /// The peer of a CONNECT that may wait has gone.
    pub(super) fn close_pending(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, reason: CloseReason) {
        if self.pending.remove_connection(connection).is_some() {
            self.clients.counters.closed(reason);
            turn.fx.list.push(Effect::Close { connection, reason });
        }
    }

    /// Refuses those for whom no answer has come, so many at a time.
    pub(super) fn expire_pending(&mut self, turn: &mut Turn<'_>, now: Now) {
        for _ in 0..ASKS_EXPIRED_PER_TICK {
            let Some(pending) = self.pending.remove_oldest(|deadline| deadline.is_due(now)) else { return };
            let text = "nobody answered whether it may connect";
            self.refuse(turn, pending.connection, pending.packet.get(), ReasonCode::ServerUnavailable, text);
        }
    }

    /// Refuses those who wait and whose range is being closed, so many at a time, from a question on. Returns the first that was not looked at.
    pub(super) fn refuse_closing(&mut self, turn: &mut Turn<'_>, from: AskId) -> AskId {
        let first = from.0.max(self.pending.first);
        let end = self.pending.next_ask().0.min(first.saturating_add(ASKS_LOOKED_AT_PER_TICK));
        let (mut next, mut refused) = (first, 0);
        while next < end && refused < ASKS_EXPIRED_PER_TICK {
            let ask = AskId(next);
            next += 1;
            let is_closing = |pending: &PendingConnect| self.clients.closing.has(pending.packet.get().client_id);
            if !self.pending.get(ask).is_some_and(is_closing) {
                continue;
            }
            let pending = self.pending.remove(ask).expect("it has just been seen");
            refused += 1;
            self.refuse(turn, pending.connection, pending.packet.get(), ReasonCode::ServerUnavailable, RANGE_IS_CLOSED);
        }
        AskId(next)
    }

    /// The broker stops: refuses those who wait, so many at a time.
    pub(super) fn refuse_pending(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..ASKS_EXPIRED_PER_TICK {
            let Some(pending) = self.pending.remove_oldest(|_| true) else { return };
            let (code, text) = (ReasonCode::ServerUnavailable, "the broker stops");
            self.refuse(turn, pending.connection, pending.packet.get(), code, text);
        }
    }
}
