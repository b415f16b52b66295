//! What the operator's settings say of one message, one will, one filter and one client id.
//!
//! Always holds: a rule about one message refuses that message and leaves its client connected. The exceptions are those of the
//! specification: an MQTT 5.0 client that goes beyond the QoS or uses the RETAIN that its CONNACK has ruled out.
//! Leaves to others: what becomes of a message that was taken (`publish`, `end`).

use super::connect::Refused;
use super::settings::bounded_keep_alive_s;
use super::{Event, Settings, Shard, Turn};
use crate::auth::acl::Publication;
use crate::codec::{Connect, ConnectWill, ReasonCode, SubscriptionOptions, Version};
use crate::ids::{Qos, SessionId};
use crate::settings::{Acceptance, RefusedDollarTopics};
use crate::telemetry::{CloseReason, DropReason, Verbosity};
use crate::topic::{SubscribedFilter, TopicName, TopicOwner, holds_control_characters};

/// Why a message is not taken: for its acknowledgement, the counter and the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageRefusal {
    pub code: ReasonCode,
    pub reason: DropReason,
    pub text: &'static str,
}

/// What the access rules do not allow.
pub(super) const NOT_ALLOWED: MessageRefusal = MessageRefusal {
    code: ReasonCode::NotAuthorized,
    reason: DropReason::AccessDenied,
    text: "the access rules do not allow it",
};

/// What nobody could be asked about.
pub(super) const NOT_ASKED: MessageRefusal = MessageRefusal {
    code: ReasonCode::QuotaExceeded,
    reason: DropReason::AccessDenied,
    text: "too much waits for the word of the back end that decides about topics (--acl-http-url)",
};

/// What would have to be kept, and cannot be.
pub(super) const NO_ROOM_TO_KEEP: MessageRefusal = MessageRefusal {
    code: ReasonCode::QuotaExceeded,
    reason: DropReason::StorageFull,
    text: "it would have to be kept, and the disk is full",
};

const QOS_ABOVE_MAXIMUM: &str = "a QoS above the maximum that CONNACK announced";
const RETAIN_NOT_AVAILABLE: &str = "RETAIN, which CONNACK announced as not available";

impl Settings {
    /// The highest QoS of clients' messages.
    pub(super) const fn qos_max(&self) -> Qos {
        match self.qos_max {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }

    /// Whether a topic, a filter or a client id has characters that the operator does not want.
    #[inline]
    pub(super) fn refuses_text(&self, text: &str) -> bool {
        self.control_characters == Acceptance::Refuse && holds_control_characters(text)
    }

    /// Whether a message is one of those that no rule looks at closely.
    #[inline]
    pub(super) fn is_ordinary(&self, topic: &TopicName<'_>, payload_bytes: usize) -> bool {
        !topic.is_dollar()
            && self.control_characters == Acceptance::Accept
            && payload_bytes <= self.message_size_max_bytes as usize
    }

    /// Whether a client's message of `payload_bytes` is taken; `None` where its topic could not be read.
    #[cold]
    pub(super) fn check_message<'a>(
        &self,
        topic: Option<TopicName<'a>>,
        payload_bytes: usize,
    ) -> Result<TopicName<'a>, MessageRefusal> {
        let topic_refused = |text| {
            let (code, reason) = (ReasonCode::TopicNameInvalid, DropReason::TopicRefused);
            Err(MessageRefusal { code, reason, text })
        };
        let Some(topic) = topic else {
            return topic_refused("its topic has more levels than --topic-levels-max");
        };
        match topic.owner() {
            TopicOwner::Clients | TopicOwner::Bridge => {}
            TopicOwner::Application if self.refused_dollar_topics == RefusedDollarTopics::Sys => {}
            TopicOwner::Application => return topic_refused("its topic begins with $, see --refuse-dollar-topics"),
            TopicOwner::Broker => return topic_refused("its topic is the broker's own"),
        }
        if self.refuses_text(topic.as_str()) {
            return topic_refused("its topic has control characters or non-characters, see --control-characters");
        }
        if payload_bytes > self.message_size_max_bytes as usize {
            let text = "its payload is larger than --max-message-size";
            // Not 0x97, which many take for "later": this one is never taken.
            let (code, reason) = (ReasonCode::ImplementationSpecificError, DropReason::MessageTooLarge);
            return Err(MessageRefusal { code, reason, text });
        }
        Ok(topic)
    }

    /// Whether a message or will goes beyond what CONNACK announces, and what for [MQTT-3.2.2-12] [MQTT-3.2.2-13].
    #[inline]
    pub(super) fn check_announced(&self, qos: Qos, retain: bool) -> Result<(), (ReasonCode, &'static str)> {
        if qos as u16 > self.qos_max {
            return Err((ReasonCode::QosNotSupported, QOS_ABOVE_MAXIMUM));
        }
        if retain && !self.retain_available {
            return Err((ReasonCode::RetainNotSupported, RETAIN_NOT_AVAILABLE));
        }
        Ok(())
    }

    /// Whether this client may connect, as far as its client id and its will say. `is_assigned`: it had no client id.
    pub(super) fn check_connect(&self, connect: &Connect<'_>, is_assigned: bool) -> Result<(), Refused> {
        if is_assigned && self.empty_client_ids == Acceptance::Refuse {
            return Err((ReasonCode::ClientIdentifierNotValid, "it has no client id, see --empty-client-ids"));
        }
        if self.refuses_text(connect.client_id) {
            let text = "its client id has control characters or non-characters, see --control-characters";
            return Err((ReasonCode::ClientIdentifierNotValid, text));
        }
        match &connect.will {
            Some(will) if connect.version.is_v5() => self.check_announced(will.qos, will.retain),
            _ => Ok(()),
        }
    }

    /// The keep alive in force. A maximum of 65,535 leaves the choice to the client, "off" included.
    pub(super) fn keep_alive_s(&self, version: Version, asked_s: u16) -> u16 {
        let max_s = match self.keep_alive_max_before_v5_s {
            0 => self.keep_alive_max_s,
            _ if version.is_v5() => self.keep_alive_max_s,
            max_s => max_s,
        };
        bounded_keep_alive_s(asked_s, max_s)
    }
}

/// What a subscription is granted of what it asks for. A bridge from before 5.0 cannot ask for what it needs: none of its own
/// messages, and RETAIN as it was published, which is what its level in CONNECT stands for.
pub(super) fn granted_options(
    settings: &Settings,
    asked: SubscriptionOptions,
    filter: &SubscribedFilter<'_>,
    is_bridge: bool,
) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: asked.qos.min(settings.qos_max()),
        no_local: asked.no_local || is_bridge && filter.share.is_none(), // [MQTT-3.8.3-4]
        retain_as_published: asked.retain_as_published || is_bridge,
        ..asked
    }
}

impl Shard {
    /// The will to keep of an accepted CONNECT, with its whole topic; there may be none although it has one.
    pub(super) fn accept_will<'a>(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        will: ConnectWill<'a>,
    ) -> Option<ConnectWill<'a>> {
        let ConnectWill { topic, qos, retain, .. } = will;
        let publication = Publication { topic, qos, retain };
        let is_allowed = !self.clients.access.checks
            || self.keep_undecided_will(turn, id, &publication)
            || self.clients.check_publish(id, publication);
        let settings = &self.clients.settings;
        let topic = TopicName::parse(will.topic, settings.topic_levels_max).ok();
        let checked = settings.check_message(topic, will.payload.len());
        let Err(refusal) = checked.and_then(|topic| if is_allowed { Ok(topic) } else { Err(NOT_ALLOWED) }) else {
            // Before 5.0 there is no way to refuse it: it is published as it can be.
            let (qos, retain) = (will.qos.min(settings.qos_max()), will.retain && settings.retain_available);
            return Some(ConnectWill { qos, retain, ..will });
        };
        self.clients.counters.dropped(refusal.reason);
        let session = self.clients.sessions.get(id);
        let link = session.link.as_deref().expect("it has just been attached");
        turn.fx.events.push(Event::MessageRefused {
            connection: link.connection,
            client_id: session.client_id.clone(),
            topic: will.topic.into(),
            is_will: true,
            text: refusal.text,
        });
        None
    }

    /// Whether somebody else has to decide about a will: it is kept, and published if they have allowed it by then.
    fn keep_undecided_will(&mut self, turn: &mut Turn<'_>, id: SessionId, will: &Publication<'_>) -> bool {
        let client_id = &self.clients.sessions.get(id).client_id;
        let Some(asked) = self.clients.access.undecided_will(turn.now, id, client_id, will) else { return false };
        self.ask_about_will(turn, id, asked);
        true
    }

    /// A message goes beyond what CONNACK announced. A client before 5.0, which was told nothing, has it passed on with what this
    /// returns in place of its own QoS and RETAIN; the connection of another is closed.
    #[cold]
    pub(super) fn lower_to_announced(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        qos: Qos,
        retain: bool,
    ) -> Option<(Qos, bool)> {
        let settings = &self.clients.settings;
        let lowered = (qos.min(settings.qos_max()), retain && settings.retain_available);
        let Err((code, text)) = settings.check_announced(qos, retain) else { return Some(lowered) };
        let link = self.clients.sessions.get(id).link.as_deref().expect("the packet came over it");
        if !link.version.is_v5() {
            return Some(lowered);
        }
        self.close(turn, id, code, CloseReason::ProtocolError, text);
        None
    }

    /// Counts a message that is not taken; the first of a connection is told in the log. Returns the code for its acknowledgement.
    #[cold]
    pub(super) fn refuse_message(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        topic: &str,
        refusal: MessageRefusal,
    ) -> ReasonCode {
        self.clients.counters.dropped(refusal.reason);
        self.clients.spans.note_refused(refusal.code);
        if turn.fx.verbosity >= Verbosity::Debug {
            self.report_refused_publish(turn, id, topic, refusal.code);
        }
        let session = self.clients.sessions.get_mut(id);
        let link = session.link.as_deref_mut().expect("the packet came over it");
        if link.tell_refusal() {
            turn.fx.events.push(Event::MessageRefused {
                connection: link.connection,
                client_id: session.client_id.clone(),
                topic: topic.into(),
                is_will: false,
                text: refusal.text,
            });
        }
        refusal.code
    }
}
