//! What clients have read, and what must be true when nothing is on its way any more.

use dunlin::codec::Publish;
use dunlin::ids::Qos;
use dunlin::telemetry::{Counters, DropReason};

use super::messages::SLACK_BYTES;
use super::{Check, Oracle, Tag, matches};

impl Oracle {
    /// The application of a client gets a message: for QoS 2 after the client has sorted out repetitions.
    pub(crate) fn received(&mut self, client: usize, publish: &Publish<'_>) -> Check {
        let Tag::Known(key) = Tag::of(publish.payload) else { return Ok(()) };
        self.owed.remove(&(client, key));
        let Some(session) = self.sessions.get_mut(&client) else { return Ok(()) };
        let as_sent = (key, publish.qos as u8);
        let got = session.got.entry(as_sent).or_default();
        *got += 1;
        let sent = session.sent_as.get(&as_sent).copied().unwrap_or_default();
        if *got > sent && publish.qos != Qos::AtLeastOnce {
            return Err(format!("client {client} gets message {key:?} {got} times, it was sent {sent} times"));
        }
        Ok(())
    }

    /// Everything that must come has come, unless its loss was counted.
    pub(crate) fn at_rest(&self, counters: &Counters) -> Check {
        let dropped = |reason: DropReason| counters.drops[reason as usize];
        let missing = |at_most_once: bool| {
            let owed = self.owed.iter().filter(move |(_, owed)| (owed.qos == 0) == at_most_once);
            owed.filter(|((_, key), _)| self.messages[key].expires_ms.is_none())
                .map(|(&(client, key), _)| (client, key))
        };
        let (lost, all) = (missing(false).count() as u64, missing(true).chain(missing(false)).count() as u64);
        let allowed = dropped(DropReason::QueueFull) + dropped(DropReason::QueuedMemoryFull);
        // What is owed with QoS 0 may have been queued after all, for a subscription whose SUBACK never left.
        let allowed_of_all = allowed + dropped(DropReason::OutboxFull) + dropped(DropReason::PacketTooLarge);
        if lost > allowed || all > allowed_of_all {
            let which: Vec<_> = missing(false).chain(missing(true)).collect();
            return Err(format!(
                "{lost} messages of QoS 1 and 2 are missing, {allowed} were dropped; {all} of any QoS, {allowed_of_all} \
                 were dropped: {which:?}"
            ));
        }
        let groups = self.owed_to_group.iter().filter(|(_, key)| self.messages[key].expires_ms.is_none());
        let groups: Vec<_> = groups.collect();
        if groups.len() as u64 > allowed {
            return Err(format!("no member got {groups:?}"));
        }
        self.shown_the_last(allowed)
    }

    /// Whoever subscribed so as to be shown what is retained has seen the last write.
    fn shown_the_last(&self, allowed: u64) -> Check {
        let mut missing = Vec::new();
        for (&client, session) in &self.sessions {
            for (filter, subscription) in &session.subscriptions {
                if !subscription.acked || !subscription.replays || subscription.qos == 0 {
                    continue;
                }
                for (topic, key) in &self.retained {
                    let Some(key) = key.filter(|_| matches(filter, topic)) else { continue };
                    let message = &self.messages[&key];
                    let own = subscription.no_local && key.0 == client;
                    let fits = message.bytes + SLACK_BYTES <= session.packet_size_max_bytes as usize;
                    if message.qos > 0
                        && message.expires_ms.is_none()
                        && !own
                        && fits
                        && !(0..3).any(|qos| session.got.contains_key(&(key, qos)))
                    {
                        missing.push((client, filter, key));
                    }
                }
            }
        }
        if missing.len() as u64 > allowed {
            return Err(format!("retained messages were not shown: {missing:?}"));
        }
        Ok(())
    }
}

impl Oracle {
    /// What a 3.1 client cannot be told.
    pub(crate) fn is_present(&self, client: usize) -> bool {
        self.sessions.get(&client).is_some_and(|session| session.present)
    }

    /// Which session a client has.
    pub(crate) fn serial(&self, client: usize) -> Option<u64> {
        self.sessions.get(&client).map(|session| session.serial)
    }
}
