//! After the verdict: takes back from the broker the retained messages that the run left there.
//!
//! Each publisher sends an empty retained message to every topic that it wrote to; for one that is gone another client of this part
//! does it. A PINGREQ behind each few of them tells by its answer that the broker has taken them, at whatever QoS the run was.
//!
//! Leaves to others: what the run was like. Nothing of this is in its outcome but the number of messages that could not be taken back.

use super::client::State;
use super::crew::Crew;
use dunlin::codec::{Forwarded, PublishOut};
use dunlin::ids::Qos;
use std::collections::BTreeMap;

/// Topics that one client clears before it hears from the broker.
const TOPICS_A_PING: usize = 64;

/// What is to be taken back.
pub(super) struct Sweep {
    /// By client: streams of a role.
    lists: BTreeMap<u32, Vec<(usize, u32)>>,
    /// Streams that nobody is there for.
    left: u64,
}

impl Sweep {
    /// All that this part's publishers wrote.
    pub(super) fn new(crew: &Crew) -> Self {
        let is_live = |client: &u32| crew.clients[*client as usize].state == State::Live;
        let deputy = (0..crew.cast.clients).find(is_live);
        let mut sweep = Self { lists: BTreeMap::new(), left: 0 };
        for (at, role) in crew.cast.roles.iter().enumerate() {
            let Some(publishing) = role.publishing.as_ref().filter(|publishing| publishing.what.retain) else {
                continue;
            };
            for stream in publishing.first_stream..publishing.first_stream + publishing.streams {
                let Some(publisher) = crew.cast.publisher_of(at, stream) else { continue };
                if crew.seat.next_of(stream) == 0 {
                    continue;
                }
                match Some(publisher).filter(is_live).or(deputy) {
                    Some(client) => sweep.lists.entry(client).or_default().push((at, stream)),
                    None => sweep.left += 1,
                }
            }
        }
        sweep
    }

    /// Sends what may be sent now. False: all is done that can be.
    pub(super) fn step(&mut self, crew: &mut Crew, now_ns: u64) -> bool {
        self.lists.retain(|client, list| {
            let state = &crew.clients[*client as usize];
            if state.state != State::Live {
                self.left += list.len() as u64;
                return false;
            }
            if state.ping_sent || state.is_blocked() {
                return true;
            }
            if list.is_empty() {
                return false;
            }
            for (role, stream) in list.split_off(list.len().saturating_sub(TOPICS_A_PING)) {
                crew.write_empty(*client, role, stream);
            }
            crew.ping(now_ns, *client);
            true
        });
        !self.lists.is_empty()
    }

    /// Topics that could not be cleared.
    pub(super) fn left(&self) -> u64 {
        self.left + self.lists.values().map(|list| list.len() as u64).sum::<u64>()
    }
}

impl Crew {
    /// An empty retained message to the topic of a stream: the broker forgets what it has there [MQTT-3.3.1-6].
    fn write_empty(&mut self, client: u32, role: usize, stream: u32) {
        self.text.clear();
        self.cast.write_topic(role, stream, 0, &mut self.text);
        let publish = PublishOut {
            version: self.version,
            topic: &self.text,
            topic_alias: None,
            qos: Qos::AtMostOnce,
            dup: false,
            retain: true,
            packet_id: None,
            message_expiry_s: None,
            subscription_ids: &[],
            forwarded: Forwarded::EMPTY,
            payload: &[],
        };
        self.outbox.write(client, |out| {
            publish.encode(out);
        });
    }
}
