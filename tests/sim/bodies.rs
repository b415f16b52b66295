//! What shards read from the disk of the queues that memory has no room for: late, in the order in which each asked.
//!
//! Owns: the messages that each log has, and what was asked for and has not come.
//! Always holds: what is answered is what was written; where there are disks, the store's own search finds the same on them, unless they were hit there.

use std::collections::{BTreeMap, VecDeque};

use dunlin::codec::Forwarded;
use dunlin::ids::MessageId;
use dunlin::session::{Message, MessageRef};
use dunlin::shard::{DiskRead, Input};
use dunlin::store::format::MessageRecord;
use dunlin::store::{MediumError, MessageFinder};
use dunlin::time::Now;

use crate::oracle::Check;
use crate::rng::Rng;
use crate::world::World;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Bodies {
    rng: Rng,
    logs: Vec<LogBodies>,
}

/// Of one shard's log.
#[derive(Debug, Default)]
pub(crate) struct LogBodies {
    messages: BTreeMap<MessageId, Message>,
    reads: VecDeque<DiskRead>,
    finder: Option<MessageFinder>,
}

impl Bodies {
    /// Nobody has written anything.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed ^ 0xb0d1), logs: Vec::new() }
    }

    /// A process begins, with so many shards.
    pub(crate) fn begin(&mut self, shards: usize) {
        self.logs = (0..shards).map(|_| LogBodies::default()).collect();
    }

    /// These were read back of a log.
    pub(crate) fn restore(&mut self, shard: usize, messages: &[(MessageId, Message)]) {
        self.logs[shard].messages.extend(messages.iter().cloned());
    }

    /// A message is written down.
    pub(crate) fn note(&mut self, shard: usize, now: Now, record: &MessageRecord<'_>) {
        assert_eq!(record.later_bytes, 0, "messages are short here");
        let message = Message::new(&MessageRef {
            topic: record.topic,
            qos: record.qos,
            retain: record.retain,
            expires: record.expires.map(|at| now.deadline_of(at)),
            publisher: record.publisher,
            properties: Forwarded::from_clean_block(record.properties),
            payload: record.payload,
        });
        self.logs[shard].messages.insert(record.id, message);
    }

    /// A shard has asked.
    pub(crate) fn ask(&mut self, shard: usize, reads: impl Iterator<Item = DiskRead>) {
        self.logs[shard].reads.extend(reads);
    }
}

impl World {
    /// Some of what was asked for comes.
    pub(crate) fn some_bodies_come(&mut self) -> Check {
        for shard in 0..self.bodies.logs.len() {
            if !self.bodies.logs[shard].reads.is_empty() && self.bodies.rng.percent(20) {
                self.bodies_come(shard)?;
            }
        }
        Ok(())
    }

    /// What was asked for first comes. `false`: nothing was.
    pub(crate) fn bodies_come(&mut self, shard: usize) -> Result<bool, String> {
        let log = &mut self.bodies.logs[shard];
        let Some(DiskRead { session, messages }) = log.reads.pop_front() else { return Ok(false) };
        let mut bodies = Vec::new();
        for id in messages {
            let written = log.messages.get(&id).ok_or_else(|| format!("{id:?} was never written"))?.clone();
            if let Some(disks) = self.disks.as_mut() {
                let finder = log.finder.get_or_insert_with(|| disks.finder(shard));
                match finder.find(&mut disks.disk, id) {
                    Ok(Some(found)) if found.payload() == written.borrow().payload => {}
                    // What has happened to the disk is lost at the next start: until then there is what was written.
                    Ok(None) | Err(MediumError::Unreadable { .. }) if disks.is_lost(shard, id) => {}
                    found => return Err(format!("{id:?} of shard {shard} is not found on its disk, but {found:?}")),
                }
            }
            bodies.push((id, Some(written)));
        }
        self.oracle.stats.read += bodies.len() as u64;
        self.trace.note(&format!("shard {shard} gets {} messages of {session:?} from its disk", bodies.len()));
        self.turn(shard, Input::Bodies { session, bodies })?;
        Ok(true)
    }
}
