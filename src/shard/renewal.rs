//! What MQTT-SN has beyond MQTT: what a client changes of its connection while that lasts.
//!
//! Always holds: a will and a keep alive that are changed pass what those of CONNECT pass.

use super::input::WillChange;
use super::settings::bounded_keep_alive_s;
use super::{Shard, Turn};
use crate::codec::{ConnectWill, Forwarded, Version};
use crate::ids::{ConnectionId, SessionId};
use crate::session::Will;

impl Shard {
    pub(super) fn handle_renewal(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        (keep_alive_s, sleeps): (Option<u16>, bool),
        will: Option<WillChange<'_>>,
    ) {
        let Some(id) = self.clients.sessions.of_connection(connection) else { return };
        let own_max_s = self.clients.profiled.keep_alive_max_s(id);
        let keep_alive_s = keep_alive_s.map(|asked_s| match own_max_s {
            _ if sleeps => asked_s,
            Some(max_s) => bounded_keep_alive_s(asked_s, max_s),
            None => self.clients.settings.keep_alive_s(Version::V5, asked_s),
        });
        let Some(link) = self.clients.sessions.get_mut(id).link.as_deref_mut() else { return };
        link.note_received(turn.now);
        if let Some(keep_alive_s) = keep_alive_s {
            link.keep_alive_s = keep_alive_s;
            self.clients.arm(turn.now, id);
        }
        if let Some(change) = will {
            self.change_will(turn, id, change);
        }
    }

    fn change_will(&mut self, turn: &mut Turn<'_>, id: SessionId, change: WillChange<'_>) {
        let key = self.clients.sessions.get(id).key;
        // Its topic is whole already.
        let before = self.clients.sessions.get(id).will.as_deref().map(|will| will.kept().clone());
        let before = before.as_ref().map(|message| message.borrow());
        let whole = |topic: &str| self.clients.mounts.topic(id, topic).unwrap_or_else(|| topic.to_owned());
        let (topic, qos, retain, payload) = match change {
            WillChange::Delete => return self.clients.set_will(turn, id, None),
            WillChange::Topic(topic, qos, retain) => {
                (whole(topic), qos, retain, before.map_or(&[][..], |before| before.payload))
            }
            WillChange::Whole(will) => (whole(will.topic), will.qos, will.retain, will.payload),
            // Without a topic there is no will that it could be the message of.
            WillChange::Payload(payload) => match before {
                Some(before) => (before.topic.to_owned(), before.qos, before.retain, payload),
                None => return,
            },
        };
        let will = ConnectWill {
            topic: &topic,
            payload,
            qos,
            retain,
            delay_s: 0,
            message_expiry_s: None,
            properties: Forwarded::default(),
        };
        let will = self.accept_will(turn, id, will).map(|will| Box::new(Will::new(&will, key)));
        self.clients.set_will(turn, id, will);
    }
}
