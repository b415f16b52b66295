//! What is told of clients below `$SYS/brokers`: coming, going, subscriptions, and messages that a session loses.
//!
//! Always holds: the events of a shard are published in the order in which things happened. Of subscriptions nothing is kept that nobody
//! asks about. Where no more can wait, subscriptions and losses are not told, which is counted, and coming and going are told at once, before
//! what waits. A session that loses messages is told of twice, however many they are.
//! Leaves to others: what waits (`client_events`); when a session's loss begins and ends (`losses`); how a message finds its way (`route`).

use std::fmt::Write as _;

use super::client_events::{EventText, push_json, push_topic_level};
use super::clients::Clients;
use super::losses::Loss;
use super::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::ids::SessionId;
use crate::limits::CLIENT_EVENTS_PER_TURN;
use crate::session::Outbound;
use crate::telemetry::{CloseReason, DropReason};
use crate::time::Now;
use crate::topic::TopicName;

/// Why a subscription is no more.
#[derive(Clone, Copy, Debug)]
pub(super) enum UnsubscribedBy {
    Client,
    /// The access rules do not allow it any more.
    AccessRules,
}

impl Clients {
    /// Whether `$SYS` is published at all.
    fn tells_events(&self) -> bool {
        self.settings.sys_interval_s > 0
    }

    /// Begins with one: its payload is empty yet.
    fn event_topic(&mut self, id: SessionId, event: &str) -> EventText {
        let mut text = std::mem::take(&mut self.events.spare);
        text.clear();
        let _ = write!(text, "$SYS/brokers/{}/clients/", self.settings.node_name);
        push_topic_level(&mut text, &self.sessions.get(id).client_id);
        let _ = write!(text, "/{event}");
        let topic_bytes = text.len();
        EventText { text, topic_bytes }
    }

    /// Adds what each event says.
    fn begin_payload(&self, now: Now, id: SessionId, event: &mut EventText) {
        let text = &mut event.text;
        text.push_str("{\"client_id\":\"");
        push_json(text, &self.sessions.get(id).client_id);
        let start = text[..event.topic_bytes].rfind('/').map_or(0, |slash| slash + 1);
        text.push_str("\",\"event\":\"");
        text.extend_from_within(start..event.topic_bytes);
        let _ = write!(text, "\",\"time_ms\":{}", now.unix_ms);
    }

    /// One that is published in its turn.
    fn tell_later(&mut self, mut event: EventText) {
        event.text.push('}');
        if self.events.push(event).is_err() {
            self.counters.dropped(DropReason::QueueFull);
        }
    }

    /// A session begins to lose messages.
    pub(super) fn tell_loss_begins(&mut self, now: Now, id: SessionId, reason: DropReason) {
        if !self.tells_events() {
            return;
        }
        let mut event = self.event_topic(id, "dropped");
        self.begin_payload(now, id, &mut event);
        let outbound = self.sessions.get(id).outbound();
        let (queued, bytes) = (outbound.map_or(0, Outbound::queued), outbound.map_or(0, Outbound::queued_bytes));
        let _ = write!(
            event.text,
            ",\"state\":\"begun\",\"reason\":\"{}\",\"messages\":1,\"queued\":{queued},\"queued_bytes\":{bytes}",
            reason.label()
        );
        self.tell_later(event);
    }

    /// It loses no more.
    pub(super) fn tell_loss_ends(&mut self, now: Now, id: SessionId, loss: Loss) {
        if !self.tells_events() {
            return;
        }
        let mut event = self.event_topic(id, "dropped");
        self.begin_payload(now, id, &mut event);
        let (reason, messages) = (loss.reason.label(), loss.messages);
        let duration_ms = loss.last_ms.saturating_sub(loss.began_ms);
        let _ = write!(
            event.text,
            ",\"state\":\"over\",\"reason\":\"{reason}\",\"messages\":{messages},\"duration_ms\":{duration_ms}"
        );
        self.tell_later(event);
    }
}

impl Shard {
    /// Tells whoever subscribes to it that a client has come, or has gone for this reason.
    pub(super) fn publish_presence(&mut self, turn: &mut Turn<'_>, id: SessionId, gone: Option<CloseReason>) {
        if !self.clients.tells_events() {
            return;
        }
        let event = if gone.is_some() { "disconnected" } else { "connected" };
        let mut event = self.clients.event_topic(id, event);
        self.clients.begin_payload(turn.now, id, &mut event);
        if let Some(reason) = gone {
            let _ = write!(event.text, ",\"reason\":\"{}\"", reason.label());
        }
        event.text.push('}');
        if !self.clients.events.is_empty() {
            let Err(refused) = self.clients.events.push(event) else { return };
            event = refused;
        }
        self.publish_event(turn, event);
    }

    /// A filter of a SUBSCRIBE, and its answer.
    pub(super) fn tell_subscribed(&mut self, turn: &Turn<'_>, id: SessionId, filter: &str, code: ReasonCode) {
        if code.is_error() {
            return;
        }
        let Some(mut event) = self.subscription_event(turn, id, "subscribed") else { return };
        event.text.push_str(",\"filter\":\"");
        push_json(&mut event.text, filter);
        let _ = write!(event.text, "\",\"qos\":{}", code as u8);
        self.clients.tell_later(event);
    }

    /// A subscription that is no more.
    pub(super) fn tell_unsubscribed(&mut self, turn: &Turn<'_>, id: SessionId, filter: &str, by: UnsubscribedBy) {
        let Some(mut event) = self.subscription_event(turn, id, "unsubscribed") else { return };
        event.text.push_str(",\"filter\":\"");
        push_json(&mut event.text, filter);
        let reason = match by {
            UnsubscribedBy::Client => "client_request",
            UnsubscribedBy::AccessRules => "access_denied",
        };
        let _ = write!(event.text, "\",\"reason\":\"{reason}\"");
        self.clients.tell_later(event);
    }

    /// The event, if anybody wants it.
    fn subscription_event(&mut self, turn: &Turn<'_>, id: SessionId, event: &str) -> Option<EventText> {
        if !self.clients.tells_events() {
            return None;
        }
        let mut event = self.clients.event_topic(id, event);
        let is_wanted = turn.fx.tails.is_some()
            || TopicName::parse(event.topic(), u16::MAX).is_ok_and(|name| self.router.is_wanted(&self.clients, name));
        if !is_wanted {
            self.clients.events.spare = event.text;
            return None;
        }
        self.clients.begin_payload(turn.now, id, &mut event);
        Some(event)
    }

    /// Publishes some of those that wait.
    pub(super) fn publish_waiting_events(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..CLIENT_EVENTS_PER_TURN {
            if self.is_overloaded() || turn.fx.deliveries >= self.clients.settings.deliveries_per_turn {
                return;
            }
            let Some(event) = self.clients.events.pop() else { return };
            self.publish_event(turn, event);
        }
    }

    fn publish_event(&mut self, turn: &mut Turn<'_>, event: EventText) {
        self.publish_own(turn, event.topic(), event.payload(), false);
        self.clients.events.spare = event.text;
    }
}
