//! Somebody else who decides about CONNECTs: late, in any order, sometimes not at all, and sometimes about a client that has gone.

use std::collections::BTreeMap;

use dunlin::auth::{Ask, AskId, Question, RefusalCause, Verdict};
use dunlin::codec::Packet;
use dunlin::ids::ConnectionId;
use dunlin::limits::VERDICT_TIMEOUT_MS;
use dunlin::shard::Input;
use dunlin::telemetry::CloseReason;

use crate::canary::Canary;
use crate::conn::Owner;
use crate::oracle::{Check, ConnectAs};
use crate::rng::Rng;
use crate::world::World;

/// A CONNECT that waits, as the model sees it.
#[derive(Debug)]
struct Waiting {
    client_id: String,
    /// Of a client of the model.
    as_asked: Option<ConnectAs>,
    asked_ms: u64,
    ask: Option<AskId>,
    /// A verdict, or a later CONNECT that was let in, says so.
    may_be_refused: bool,
}

/// What the authenticator was asked and has not answered.
#[derive(Debug)]
struct Asked {
    shard: usize,
    ask: AskId,
    index: usize,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Authenticator {
    rng: Rng,
    asked: Vec<Asked>,
    /// Of those, what is answered only when it is too late.
    late: Vec<Asked>,
    /// By connection.
    waiting: BTreeMap<usize, Waiting>,
    /// Whom a shard is just letting in.
    resuming: Option<usize>,
    /// The connection that a shard asked about with its last input.
    pub(crate) last: Option<(usize, ConnectionId)>,
}

impl Authenticator {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed ^ 0xa5c),
            asked: Vec::new(),
            late: Vec::new(),
            waiting: BTreeMap::new(),
            resuming: None,
            last: None,
        }
    }

    /// The process has died, and everybody who waited has gone.
    pub(crate) fn forget(&mut self) {
        self.asked.clear();
        self.late.clear();
        self.waiting.clear();
        (self.resuming, self.last) = (None, None);
    }

    /// Which of the two pairs of listeners a connection comes by.
    pub(crate) fn listener(&mut self, asks: bool) -> u8 {
        if asks && self.rng.percent(60) { 2 } else { 0 }
    }

    /// Whether the CONNECT of a connection waits for a verdict.
    pub(crate) fn is_waiting(&self, index: usize) -> bool {
        self.waiting.contains_key(&index)
    }

    /// A connection that waits is refused for another reason than a verdict.
    pub(crate) fn expect_refusal(&mut self, index: usize) {
        if let Some(waiting) = self.waiting.get_mut(&index) {
            waiting.may_be_refused = true;
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.waiting.is_empty()
    }
}

impl World {
    /// A shard is told of a CONNECT that it has to ask about.
    pub(crate) fn begin_waiting(&mut self, index: usize, client_id: &str, as_asked: Option<ConnectAs>) {
        let asked_ms = self.now.ms();
        let client_id = client_id.to_owned();
        let waiting = Waiting { client_id, as_asked, asked_ms, ask: None, may_be_refused: false };
        self.authenticator.waiting.insert(index, waiting);
    }

    /// The question must be about a connection that came by a listener whose clients are asked about.
    pub(crate) fn take_ask(&mut self, shard: usize, ask: &Ask) -> Check {
        let index = self.index_of(shard, ask.connection)?;
        let Question::Connect(question) = &ask.question else {
            return Err("nobody decides about topics here".to_owned());
        };
        let Some(waiting) = self.authenticator.waiting.get_mut(&index) else {
            return Err(format!("shard {shard} asks about connection {index}, which needs no verdict"));
        };
        if *waiting.client_id != *question.client_id {
            return Err(format!("shard {shard} asks about {question:?} for {waiting:?}"));
        }
        waiting.ask = Some(ask.id);
        self.trace.note(&format!("shard {shard} asks about connection {index}"));
        self.authenticator.last = Some((shard, ask.connection));
        self.authenticator.asked.push(Asked { shard, ask: ask.id, index });
        Ok(())
    }

    /// One question is answered, or forgotten.
    pub(crate) fn somebody_decides(&mut self) -> Check {
        self.decide_late()?;
        let count = self.authenticator.asked.len();
        if count == 0 || !self.authenticator.rng.percent(10) {
            return Ok(());
        }
        let at = self.authenticator.rng.below(count);
        let verdict = match self.authenticator.rng.below(100) {
            0..10 => {
                self.authenticator.asked.remove(at);
                self.oracle.stats.verdicts_forgotten += 1;
                return Ok(());
            }
            10..20 => Verdict::Refuse(RefusalCause::BadCredentials),
            20..25 => Verdict::Unavailable,
            25..35 => {
                let asked = self.authenticator.asked.remove(at);
                self.authenticator.late.push(asked);
                return Ok(());
            }
            _ => Verdict::Admit,
        };
        let asked = self.authenticator.asked.remove(at);
        self.decide(&asked, &verdict)
    }

    /// Answers what nobody waits for any more.
    fn decide_late(&mut self) -> Check {
        let Authenticator { late, waiting, .. } = &mut self.authenticator;
        let Some(at) = late.iter().position(|asked| !waiting.contains_key(&asked.index)) else { return Ok(()) };
        let asked = late.remove(at);
        self.decide(&asked, &Verdict::Admit)
    }

    /// Everybody who still waits is let in; whoever the authenticator has forgotten waits until its time is over. Returns whether there
    /// was anybody.
    pub(crate) fn settle_waiting(&mut self) -> Result<bool, String> {
        if self.authenticator.is_idle() {
            return Ok(false);
        }
        if self.authenticator.asked.is_empty() {
            self.pass_us(VERDICT_TIMEOUT_MS as usize * 1_000);
            return Ok(true);
        }
        let asked = self.authenticator.asked.remove(0);
        self.decide(&asked, &Verdict::Admit)?;
        Ok(true)
    }

    fn decide(&mut self, asked: &Asked, verdict: &Verdict) -> Check {
        let &Asked { shard, ask, index } = asked;
        self.trace.note(&format!("verdict about connection {index}: {verdict:?}"));
        if !self.authenticator.is_waiting(index) {
            self.oracle.stats.verdicts_late += 1;
        } else if *verdict == Verdict::Admit {
            self.let_in(index);
        } else {
            self.authenticator.waiting.get_mut(&index).expect("it waits").may_be_refused = true;
        }
        self.turn(shard, Input::Verdict { ask, verdict: verdict.clone() })?;
        if let Some(index) = self.authenticator.resuming.take() {
            return Err(format!("connection {index} was let in and is not heard"));
        }
        if *verdict != Verdict::Admit && self.authenticator.is_waiting(index) {
            return Err(format!("connection {index} waits on after {verdict:?}"));
        }
        Ok(())
    }

    /// The model lets a client in, as the shard is about to.
    fn let_in(&mut self, index: usize) {
        let waiting = self.authenticator.waiting.remove(&index).expect("the caller has seen it");
        self.release_older(&waiting.client_id, waiting.ask);
        self.authenticator.resuming = Some(index);
        self.oracle.stats.verdicts += 1;
        if let (Some(as_asked), Owner::Client(client)) = (waiting.as_asked, self.conns[&index].owner) {
            let as_asked = ConnectAs { is_full: self.is_full(), ..as_asked };
            self.oracle.begin_connect(client, index, &as_asked);
        }
    }

    /// A client is let in: who asked for its client id before, or at all, need not wait on.
    pub(crate) fn release_older(&mut self, client_id: &str, ask: Option<AskId>) {
        for other in self.authenticator.waiting.values_mut().filter(|other| other.client_id == client_id) {
            other.may_be_refused |= ask.is_none() || other.ask < ask;
        }
    }

    /// A shard says that a connection is heard from now on. Returns whether its connections are told.
    pub(crate) fn take_resume(&mut self, shard: usize, connection: ConnectionId) -> Result<bool, String> {
        let index = self.index_of(shard, connection)?;
        if let Some(conn) = self.conns.get_mut(&index).filter(|conn| conn.held) {
            conn.held = false;
            return Ok(self.cage.canary != Canary::ForgetResume);
        }
        if self.authenticator.resuming.take() != Some(index) {
            return Err(format!("connection {index} is heard, and nobody has let it in"));
        }
        Ok(self.cage.canary != Canary::ForgetResume)
    }

    /// What a client is sent before its verdict: nothing but that it is refused.
    pub(crate) fn sent_while_waiting(&self, index: usize, packet: &Packet<'_>) -> Check {
        match packet {
            Packet::ConnAck(connack) if connack.reason.is_error() => self.check_refusal(index),
            other => Err(format!("connection {index} is sent {other:?} before its verdict")),
        }
    }

    /// A shard closes a connection that waits.
    pub(crate) fn closed_while_waiting(&mut self, index: usize, reason: CloseReason) -> Check {
        let conn = &self.conns[&index];
        let is_right = match reason {
            CloseReason::Refused | CloseReason::Banned => self.check_refusal(index),
            CloseReason::SocketClosed if conn.dropped || conn.half_closed => Ok(()),
            reason => Err(format!("connection {index} is closed before its verdict: {}", reason.label())),
        };
        self.authenticator.waiting.remove(&index);
        is_right
    }

    fn check_refusal(&self, index: usize) -> Check {
        let waiting = &self.authenticator.waiting[&index];
        let is_late = waiting.asked_ms + VERDICT_TIMEOUT_MS <= self.now.ms();
        if is_late || waiting.may_be_refused {
            return Ok(());
        }
        Err(format!("connection {index} is refused without a verdict, and in time: {waiting:?}"))
    }
}
