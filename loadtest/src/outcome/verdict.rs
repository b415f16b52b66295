//! The verdict: what became of every message, by QoS, against what the QoS promises.

use serde::{Deserialize, Serialize};

/// What became of every message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// By the QoS that messages were published with.
    pub messages: [Messages; 3],
    /// By the QoS that deliveries have: the lower one of message and subscription.
    pub deliveries: [Deliveries; 3],
    /// The same of clients that read slowly or not at all, as the plan has it. They are in none of the others.
    pub slow: [Deliveries; 3],
    /// Retained messages that a new subscription is owed: one each topic.
    pub retained: Deliveries,
    /// Messages without a valid stamp that have the length of ours, and stamped ones whose body differs.
    pub corrupted: u64,
    /// Messages of another run or another program, on topics that this run subscribes to.
    pub foreign: u64,
    /// Deliveries to clients that no subscription of this run entitles to them.
    pub misdirected: u64,
}

/// Messages as their publishers saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Messages {
    /// Sent once at least.
    pub sent: u64,
    /// Acknowledged: PUBACK or PUBCOMP. QoS 0: none ever.
    pub acknowledged: u64,
    /// Refused by a reason code of 0x80 and above.
    pub refused: u64,
    /// Sent again, because the connection was lost before the acknowledgement.
    pub resent: u64,
    /// Sent, and never acknowledged: nobody knows.
    pub unconfirmed: u64,
    /// Scheduled and not sent: the client was not connected, or its window full until the end of the stage.
    pub unsent: u64,
    /// Of what was not sent, what had no connection to be sent on.
    pub unconnected: u64,
}

/// Deliveries as their subscribers saw them. What a subscriber is owed begins with its SUBACK and ends when its session
/// does; `lost` can be read once all parts of a run are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deliveries {
    /// Owed: one for each message and subscriber, or group of a shared subscription, that it is for.
    pub expected: u64,
    /// Of what is expected, what nobody can demand: unconfirmed or refused by the broker, under way to a session that
    /// ended, for a session that is away, or for a reader that hangs, and all that is `unsubscribed`.
    pub excused: u64,
    /// Of what is excused, what was sent before the subscriber had ever subscribed: it was not owed at all.
    pub unsubscribed: u64,
    /// Arrived once at least, of what was expected.
    pub received: u64,
    /// Came again, but not more often than the client has subscriptions that match: at every QoS a broker may send a copy for
    /// each of them.
    pub copies: u64,
    /// Came again, and more often than that. Allowed by QoS 1, forbidden by 2; by 0 as well, unless the network of a bridge
    /// did it.
    pub duplicated: u64,
    /// Came after a later one of the same publisher and topic. Never allowed; shared subscriptions are not looked at.
    pub reordered: u64,
}

/// Deliveries are counted apart in so many ways: by three QoS, for those who read and for those who are slow.
pub const LANES: usize = 6;

/// The lane of a delivery.
pub const fn lane(qos: u8, is_slow: bool) -> u8 {
    if is_slow { qos + 3 } else { qos }
}

impl Deliveries {
    /// Owed, and never arrived.
    pub const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.excused).saturating_sub(self.received)
    }

    /// Owed to who had subscribed by then.
    pub const fn owed(&self) -> u64 {
        self.expected.saturating_sub(self.unsubscribed)
    }

    /// Of what was owed, what nobody can demand.
    pub const fn excused_of_owed(&self) -> u64 {
        self.excused.saturating_sub(self.unsubscribed)
    }

    /// Adds another part's.
    pub const fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.excused += other.excused;
        self.unsubscribed += other.unsubscribed;
        self.received += other.received;
        self.copies += other.copies;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
    }
}

impl Messages {
    /// Adds another part's.
    pub const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.resent += other.resent;
        self.unconfirmed += other.unconfirmed;
        self.unsent += other.unsent;
        self.unconnected += other.unconnected;
    }
}

impl Verdict {
    /// All QoS together, without retained ones.
    pub fn all_messages(&self) -> Messages {
        let mut all = Messages::default();
        self.messages.iter().for_each(|messages| all.add(messages));
        all
    }

    /// Where to count a delivery: 0 to 2 by QoS, and 3 more for readers that are slow on purpose ([`lane`]).
    #[inline]
    pub const fn lane_mut(&mut self, lane: u8) -> &mut Deliveries {
        match lane {
            0..3 => &mut self.deliveries[lane as usize],
            _ => &mut self.slow[lane as usize - 3],
        }
    }

    /// All QoS and readers together, retained messages included.
    pub fn all_deliveries(&self) -> Deliveries {
        let mut all = self.retained;
        self.deliveries.iter().chain(&self.slow).for_each(|deliveries| all.add(deliveries));
        all
    }

    /// Lost deliveries of every QoS, 0 included, to those who read.
    pub fn lost(&self) -> u64 {
        self.deliveries.iter().chain([&self.retained]).map(Deliveries::lost).sum()
    }

    /// The same to those who are slow.
    pub fn lost_by_slow(&self) -> u64 {
        self.slow.iter().map(Deliveries::lost).sum()
    }

    /// What no QoS allows, in words; empty if the broker kept every promise. Loss at QoS 0 and duplicates at QoS 1 are
    /// counted but are no breach.
    pub fn breaches(&self) -> Vec<String> {
        let [_, at_least_once, exactly_once] = &self.deliveries;
        let [_, slow_once, slow_exactly] = &self.slow;
        let reordered: u64 = self.deliveries.iter().chain(&self.slow).map(|deliveries| deliveries.reordered).sum();
        let list = [
            (at_least_once.lost(), "lost at QoS 1"),
            (exactly_once.lost(), "lost at QoS 2"),
            (slow_once.lost(), "lost at QoS 1 by slow readers"),
            (slow_exactly.lost(), "lost at QoS 2 by slow readers"),
            (self.retained.lost(), "retained lost"),
            (self.deliveries[0].duplicated + self.slow[0].duplicated, "duplicated at QoS 0"),
            (exactly_once.duplicated + slow_exactly.duplicated, "duplicated at QoS 2"),
            (self.retained.duplicated, "retained duplicated"),
            (reordered, "reordered"),
            (self.corrupted, "corrupted"),
            (self.misdirected, "misdirected"),
        ];
        list.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }

    /// Adds another part's.
    pub fn add(&mut self, other: &Self) {
        for qos in 0..3 {
            self.messages[qos].add(&other.messages[qos]);
            self.deliveries[qos].add(&other.deliveries[qos]);
            self.slow[qos].add(&other.slow[qos]);
        }
        self.retained.add(&other.retained);
        self.corrupted += other.corrupted;
        self.foreign += other.foreign;
        self.misdirected += other.misdirected;
    }
}
