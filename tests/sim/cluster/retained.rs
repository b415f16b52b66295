//! Retained messages of a cluster: two to four nodes, the links between them, and a model of the engine that keeps the last message of each topic in its own order.
//! Writes are delayed, stuck, lost and repeated, nodes are killed and cut off. What was confirmed is never lost, and at rest all show the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use dunlin::cluster::{
    NodeId, NodeSet, RetainedAnswer, RetainedAsk, RetainedBody, RetainedEntry, RetainedNews, RetainedSubject,
    RetainedTail,
};
use dunlin::ids::{Qos, WriteStamp};
use dunlin::time::Now;

use super::canary::Canary;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::{SEEDS, number};

const STEPS: u64 = 20_000;
const HASH_SEEDS: [u64; 4] = [1, 2, 3, 4];
const TICK_MS: u64 = 50;
const TIME_OUT_MS: u64 = 2_000;
/// Longer than anything is stuck, waits to be compared, or waits for its writer.
const RESTS_MS: u64 = 40_000;

/// How the engine and the way to it are.
#[derive(Clone, Copy, Debug)]
struct Faults {
    nodes: usize,
    topics: usize,
    delay_max_ms: usize,
    lose: usize,
    duplicate: usize,
    work_ms: usize,
    chaos_ms: usize,
    names_ms: u64,
}

#[derive(Clone, Debug)]
enum Happening {
    Tick(usize),
    Watch(usize, u64),
    Request(usize, u64, RetainedAsk),
    Answer(usize, u64, u64, Said),
    Link(usize, u64, Vec<u8>),
    Work,
    Chaos,
}

#[derive(Clone, Debug)]
enum Said {
    Stored(u64),
    Refused,
    Failed,
    Last(u64, Vec<u8>),
}

/// One process, its tail, and what its shards would show.
#[derive(Debug)]
struct Holder {
    life: u64,
    tail: Option<RetainedTail<WriteStamp>>,
    shown: BTreeMap<String, (WriteStamp, Option<Vec<u8>>)>,
    /// The next sequence that the watch shows, once there is one.
    watches_from: Option<u64>,
    /// What its clients wait for.
    waiting: BTreeMap<WriteStamp, String>,
    last_ns: u64,
    skew_ns: u64,
    starts_at: Option<u64>,
    /// When its process began.
    well_since: u64,
    cut_until: u64,
    stuck_until: u64,
    is_held: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    confirmed: u64,
    mended: u64,
    looks: u64,
    refused: u64,
    killed: u64,
    told: u64,
}

#[derive(Debug)]
struct Desk {
    faults: Faults,
    rng: Rng,
    canary: Canary,
    trace: Trace,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    numbers: u64,
    holders: Vec<Holder>,
    /// All that was ever stored: the one with sequence 1 is the first.
    stored: Vec<(RetainedSubject, Vec<u8>)>,
    tops: BTreeMap<RetainedSubject, u64>,
    names: BTreeMap<String, (u64, u64)>,
    /// The latest stamp that the engine has ever had, and that was confirmed, by topic.
    latest: BTreeMap<String, WriteStamp>,
    confirmed: BTreeMap<String, WriteStamp>,
    links_cut_until: BTreeMap<(usize, usize), u64>,
    down_until: u64,
    is_calm: bool,
    tally: Tally,
}

impl Desk {
    fn new(seed: u64, canary: Canary) -> Self {
        let mut rng = Rng::new(seed);
        let lossy = if rng.percent(70) { 60 } else { 1 };
        let faults = Faults {
            nodes: rng.between(2, 4),
            topics: rng.between(1, 6),
            delay_max_ms: *rng.pick(&[1, 10, 100, 400]),
            lose: rng.below(lossy),
            duplicate: rng.below(lossy),
            work_ms: *rng.pick(&[10, 40, 150]),
            chaos_ms: *rng.pick(&[800, 3_000]),
            // Longer than anything is on its way.
            names_ms: *rng.pick(&[20_000, 120_000]),
        };
        let holder = |skew: usize| Holder {
            life: 0,
            tail: None,
            shown: BTreeMap::new(),
            watches_from: None,
            waiting: BTreeMap::new(),
            last_ns: 0,
            skew_ns: skew as u64 * 1_000_000,
            starts_at: Some(0),
            well_since: 0,
            cut_until: 0,
            stuck_until: 0,
            is_held: false,
        };
        let holders = (0..faults.nodes).map(|_| holder(rng.below(200))).collect();
        let mut desk = Self {
            faults,
            rng,
            canary,
            trace: Trace::new(),
            now: 1_000,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            numbers: 0,
            holders,
            stored: Vec::new(),
            tops: BTreeMap::new(),
            names: BTreeMap::new(),
            latest: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            links_cut_until: BTreeMap::new(),
            down_until: 0,
            is_calm: false,
            tally: Tally::default(),
        };
        for node in 0..faults.nodes {
            desk.after(node as u64, Happening::Tick(node));
        }
        desk.after(1, Happening::Work);
        desk.after(faults.chaos_ms as u64, Happening::Chaos);
        desk
    }

    fn time(&self) -> Now {
        Now { mono_ns: self.now * 1_000_000, unix_ms: 1_700_000_000_000 + self.now }
    }

    fn after(&mut self, ms: u64, happening: Happening) {
        self.numbers += 1;
        self.queue.push(Reverse((self.now + ms, self.numbers)));
        self.happenings.insert(self.numbers, happening);
    }

    fn chance(&mut self, of_1000: usize) -> bool {
        !self.is_calm && of_1000 > 0 && self.rng.below(1_000) < of_1000
    }

    fn step(&mut self) -> Result<(), String> {
        self.trace.step += 1;
        let Reverse((at, number)) = self.queue.pop().expect("nodes tick");
        self.now = self.now.max(at);
        self.trace.mix(&at.to_le_bytes());
        match self.happenings.remove(&number).expect("it was put there") {
            Happening::Tick(node) => self.tick(node)?,
            Happening::Watch(node, life) => self.watch(node, life)?,
            Happening::Request(node, life, ask) => self.serve(node, life, ask),
            Happening::Answer(node, life, id, said) => self.answer(node, life, id, &said)?,
            Happening::Link(node, life, entry) => self.link(node, life, &entry)?,
            Happening::Work => self.work()?,
            Happening::Chaos => self.chaos(),
        }
        Ok(())
    }

    fn tick(&mut self, index: usize) -> Result<(), String> {
        self.after(TICK_MS, Happening::Tick(index));
        let now = self.now;
        let holder = &mut self.holders[index];
        if holder.starts_at.is_some_and(|at| at <= now) {
            holder.life += 1;
            (holder.starts_at, holder.well_since) = (None, now);
            (holder.tail, holder.watches_from) = (Some(RetainedTail::new(HASH_SEEDS)), None);
            holder.shown.clear();
            holder.waiting.clear();
            holder.is_held = false;
        }
        let mut linked = NodeSet::EMPTY;
        for other in 0..self.faults.nodes {
            if other != index && self.is_linked(index, other) {
                linked.insert(NodeId::new(other as u16 + 1).expect("there are four at most"));
            }
        }
        if let Some(tail) = self.holders[index].tail.as_mut() {
            tail.tell_linked(linked);
        }
        self.run(index)
    }

    fn is_linked(&self, one: usize, other: usize) -> bool {
        let cut = self.links_cut_until.get(&(one.min(other), one.max(other))).copied().unwrap_or(0);
        cut <= self.now && self.holders[one].tail.is_some() && self.holders[other].tail.is_some()
    }

    /// Does and asks whatever a node's tail says.
    fn run(&mut self, index: usize) -> Result<(), String> {
        let now = self.time();
        while let Some(tail) = self.holders[index].tail.as_mut() {
            if let Some(news) = tail.next_news(now) {
                self.hear(index, news)?;
                continue;
            }
            let Some(ask) = tail.next_ask(now) else { break };
            let life = self.holders[index].life;
            match ask {
                RetainedAsk::Watch { from } => {
                    if self.holders[index].watches_from.replace(from).is_none() {
                        self.after(10, Happening::Watch(index, life));
                    }
                }
                ask => self.send(index, ask),
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize, ask: RetainedAsk) {
        let life = self.holders[index].life;
        let id = match &ask {
            RetainedAsk::Append(append) => {
                self.tally.mended += u64::from(append.expected.is_some());
                append.id
            }
            RetainedAsk::Look { id, .. } => {
                self.tally.looks += 1;
                *id
            }
            RetainedAsk::Watch { .. } => return,
        };
        self.after(TIME_OUT_MS, Happening::Answer(index, life, id, Said::Failed));
        if self.holders[index].cut_until > self.now || self.chance(self.faults.lose) {
            return;
        }
        let stuck = self.holders[index].stuck_until.saturating_sub(self.now);
        let delay = stuck + 1 + self.rng.below(self.faults.delay_max_ms) as u64;
        if self.chance(self.faults.duplicate) {
            let late = delay + self.rng.between(1, 3_000) as u64;
            self.after(late, Happening::Request(index, life, ask.clone()));
        }
        self.after(delay, Happening::Request(index, life, ask));
    }

    fn serve(&mut self, index: usize, life: u64, ask: RetainedAsk) {
        if self.down_until > self.now {
            return;
        }
        let (id, said) = match ask {
            RetainedAsk::Look { id, subject } => {
                let top = self.tops.get(&subject).copied().unwrap_or(0);
                let bytes = if top == 0 { Vec::new() } else { self.stored[top as usize - 1].1.clone() };
                (id, Said::Last(top, bytes))
            }
            RetainedAsk::Append(append) => {
                let top = self.tops.get(&append.subject).copied().unwrap_or(0);
                let known = self.names.get(&append.message_id).filter(|(_, until)| *until > self.now);
                let said = if let Some((sequence, _)) = known {
                    Said::Stored(*sequence)
                } else if append.expected.is_some_and(|expected| expected != top) {
                    self.tally.refused += 1;
                    Said::Refused
                } else if append.expected.is_some() && self.canary == Canary::OlderWins {
                    Said::Stored(top.max(1))
                } else {
                    Said::Stored(self.store(append.subject, &append.bytes, append.message_id))
                };
                (append.id, said)
            }
            RetainedAsk::Watch { .. } => return,
        };
        if self.holders[index].cut_until > self.now || self.chance(self.faults.lose) {
            return;
        }
        let delay = 1 + self.rng.below(self.faults.delay_max_ms) as u64;
        self.after(delay, Happening::Answer(index, life, id, said));
    }

    fn store(&mut self, subject: RetainedSubject, bytes: &[u8], name: String) -> u64 {
        self.stored.push((subject, bytes.to_vec()));
        let sequence = self.stored.len() as u64;
        self.tops.insert(subject, sequence);
        self.names.insert(name, (sequence, self.now + self.faults.names_ms));
        let entry = RetainedEntry::read(bytes).expect("nodes write whole entries");
        let latest = self.latest.entry(entry.topic.to_owned()).or_default();
        *latest = (*latest).max(entry.stamp);
        sequence
    }

    fn answer(&mut self, index: usize, life: u64, id: u64, said: &Said) -> Result<(), String> {
        let now = self.time();
        if self.holders[index].life != life {
            return Ok(());
        }
        let Some(tail) = self.holders[index].tail.as_mut() else { return Ok(()) };
        let answer = match said {
            Said::Stored(sequence) => RetainedAnswer::Stored { sequence: *sequence },
            Said::Refused => RetainedAnswer::Refused,
            Said::Failed => RetainedAnswer::Failed,
            Said::Last(sequence, bytes) => RetainedAnswer::Last { sequence: *sequence, bytes },
        };
        tail.handle_answer(id, answer, now);
        self.run(index)
    }

    /// The engine shows a node what has come, as far as nothing has taken its place.
    fn watch(&mut self, index: usize, life: u64) -> Result<(), String> {
        let now = self.time();
        let holder = &mut self.holders[index];
        if holder.life != life {
            return Ok(());
        }
        if holder.cut_until <= self.now && self.down_until <= self.now {
            let (Some(tail), Some(from)) = (holder.tail.as_mut(), holder.watches_from) else { return Ok(()) };
            for sequence in from..=self.stored.len() as u64 {
                let (subject, bytes) = &self.stored[sequence as usize - 1];
                if self.tops.get(subject) == Some(&sequence) {
                    tail.handle_message(*subject, sequence, bytes, now);
                }
            }
            holder.watches_from = Some(self.stored.len() as u64 + 1);
            tail.handle_caught_up();
            self.run(index)?;
        }
        let delay = 5 + self.rng.below(self.faults.delay_max_ms) as u64;
        self.after(delay, Happening::Watch(index, life));
        Ok(())
    }

    fn hear(&mut self, index: usize, news: RetainedNews<WriteStamp>) -> Result<(), String> {
        match news {
            RetainedNews::Ready => {}
            RetainedNews::Write(bytes) => {
                self.tally.told += 1;
                self.show(index, &bytes);
            }
            RetainedNews::Confirmed(stamp) => self.confirm(index, stamp)?,
            RetainedNews::Held(is_held) => self.holders[index].is_held = is_held,
            RetainedNews::Damaged { sequence, error, .. } => return Err(format!("{sequence} is damaged: {error}")),
        }
        Ok(())
    }

    /// As a shard's store: the latest stamp counts.
    fn show(&mut self, index: usize, bytes: &[u8]) {
        let entry = RetainedEntry::read(bytes).expect("whole entries are told");
        let holder = &mut self.holders[index];
        holder.last_ns = holder.last_ns.max(entry.stamp.time_ns);
        let payload = entry.message.map(|message| message.payload.to_vec());
        let shown = holder.shown.entry(entry.topic.to_owned()).or_default();
        if shown.0 < entry.stamp {
            *shown = (entry.stamp, payload);
        }
    }

    /// What was confirmed is stored, or a later write on its topic is.
    fn confirm(&mut self, index: usize, stamp: WriteStamp) -> Result<(), String> {
        let Some(topic) = self.holders[index].waiting.remove(&stamp) else {
            return Err(format!("n{}: {stamp:?} is confirmed, and nobody waits for it", index + 1));
        };
        if self.latest.get(&topic).is_none_or(|latest| *latest < stamp) {
            return Err(format!("n{}: {stamp:?} on {topic} is confirmed, and the engine never had it", index + 1));
        }
        self.tally.confirmed += 1;
        let confirmed = self.confirmed.entry(topic).or_default();
        *confirmed = (*confirmed).max(stamp);
        Ok(())
    }

    /// A client of some node retains something, or deletes it.
    fn work(&mut self) -> Result<(), String> {
        let pause = 1 + self.rng.below(self.faults.work_ms) as u64;
        self.after(pause, Happening::Work);
        let (index, topic) = (self.rng.below(self.faults.nodes), format!("t/{}", self.rng.below(self.faults.topics)));
        if self.is_calm || self.holders[index].tail.is_none() || self.holders[index].is_held {
            return Ok(());
        }
        let holder = &mut self.holders[index];
        let clock = 1_700_000_000_000_000_000 + self.now * 1_000_000 + holder.skew_ns;
        holder.last_ns = (((clock.max(holder.last_ns) >> 6) + 1) << 6) | index as u64;
        let stamp = WriteStamp { time_ns: holder.last_ns, shard: 0 };
        let payload = holder.last_ns.to_le_bytes();
        let body = RetainedBody { qos: Qos::AtLeastOnce, properties: &[], payload: &payload };
        let message = self.rng.percent(85).then_some(body);
        let entry = RetainedEntry { stamp, publisher: None, expires: None, topic: &topic, message }.encode();
        self.show(index, &entry);
        let waits = self.rng.percent(50);
        if waits {
            self.holders[index].waiting.insert(stamp, topic);
        }
        for other in 0..self.faults.nodes {
            if other != index && self.is_linked(index, other) {
                let delay = self.rng.between(1, 30) as u64;
                self.after(delay, Happening::Link(other, self.holders[other].life, entry.clone()));
            }
        }
        let now = self.time();
        if let Some(tail) = self.holders[index].tail.as_mut() {
            tail.write(entry, waits.then_some(stamp), now);
        }
        if waits && self.canary == Canary::AckBeforeAppend && self.rng.percent(10) {
            self.confirm(index, stamp)?;
        }
        self.run(index)
    }

    /// A write of another node comes by a link.
    fn link(&mut self, index: usize, life: u64, entry: &[u8]) -> Result<(), String> {
        if self.holders[index].life != life {
            return Ok(());
        }
        self.show(index, entry);
        let now = self.time();
        if let Some(tail) = self.holders[index].tail.as_mut() {
            tail.write_of_peer(entry.to_vec(), now);
        }
        self.run(index)
    }

    fn chaos(&mut self) {
        if self.is_calm {
            return;
        }
        let pause = 1 + self.rng.below(2 * self.faults.chaos_ms) as u64;
        self.after(pause, Happening::Chaos);
        let index = self.rng.below(self.faults.nodes);
        let is_last = !(0..self.faults.nodes).any(|other| other != index && self.is_well(other));
        let until = self.now + self.rng.between(100, 9_000) as u64;
        match self.rng.below(8) {
            // What overtakes while everybody who has seen the later write is gone stays: that is not promised.
            0..=3 if is_last => {}
            0 | 1 => {
                self.trace.note(&format!("n{} is killed", index + 1));
                self.tally.killed += 1;
                let holder = &mut self.holders[index];
                holder.life += 1;
                (holder.tail, holder.starts_at) = (None, Some(until));
            }
            2 | 3 => self.holders[index].cut_until = until,
            4 | 5 => self.holders[index].stuck_until = until,
            6 => self.down_until = until,
            _ => {
                let other = (index + 1 + self.rng.below(self.faults.nodes - 1)) % self.faults.nodes;
                self.links_cut_until.insert((index.min(other), index.max(other)), until);
            }
        }
    }

    /// Whether a node has heard the engine for some time.
    fn is_well(&self, index: usize) -> bool {
        let holder = &self.holders[index];
        holder.tail.is_some()
            && holder.starts_at.is_none()
            && holder.well_since.max(holder.cut_until) + 1_500 <= self.now
    }

    /// Nothing goes wrong any more, and nobody writes: all come to the same, which has all that was confirmed.
    fn finish(&mut self) -> Result<(), String> {
        self.is_calm = true;
        self.down_until = 0;
        self.links_cut_until.clear();
        let now = self.now;
        for holder in &mut self.holders {
            (holder.cut_until, holder.stuck_until) = (0, 0);
            holder.starts_at = holder.starts_at.map(|at| at.min(now));
        }
        let until = self.now + RESTS_MS;
        while self.now < until {
            self.step()?;
        }
        for topic in (0..self.faults.topics).map(|topic| format!("t/{topic}")) {
            let top = self.tops.get(&RetainedSubject::of(&HASH_SEEDS, &topic)).copied();
            let has = top.map(|top| {
                let entry = RetainedEntry::read(&self.stored[top as usize - 1].1).expect("nodes write whole entries");
                (entry.stamp, entry.message.map(|message| message.payload.to_vec()))
            });
            let least = self.confirmed.get(&topic).copied().unwrap_or_default();
            if has.as_ref().map_or(least > WriteStamp::default(), |(stamp, _)| *stamp < least) {
                return Err(format!("{topic}: {least:?} was confirmed, and the engine has {has:?}"));
            }
            for (node, holder) in self.holders.iter().enumerate() {
                let shown = holder.shown.get(&topic);
                if shown != has.as_ref() {
                    return Err(format!("{topic}: n{} shows {shown:?}, and the engine has {has:?}", node + 1));
                }
            }
        }
        let waiting = self.holders.iter().map(|holder| holder.waiting.len()).sum::<usize>();
        if waiting > 0 { Err(format!("{waiting} clients wait for ever")) } else { Ok(()) }
    }
}

fn run(seed: u64, canary: Canary) -> Result<(u64, Tally), String> {
    let mut desk = Desk::new(seed, canary);
    let steps = number("SIM_STEPS", STEPS);
    let outcome = (0..steps).try_for_each(|_| desk.step()).and_then(|()| desk.finish());
    outcome
        .map_err(|what| format!("seed {seed}, {} ms: {what}\n{}\n{:?}", desk.now, desk.trace.last(), desk.faults))?;
    Ok((desk.trace.hash(), desk.tally))
}

#[test]
fn every_seed_keeps_what_was_confirmed_and_shows_the_same_everywhere() {
    let first = number("SIM_SEED", number("SIM_FIRST", 0));
    let count = if std::env::var("SIM_SEED").is_ok() { 1 } else { number("SIM_SEEDS", SEEDS) };
    let mut sum = Tally::default();
    for seed in first..first + count {
        let (_, tally) = run(seed, Canary::None).unwrap_or_else(|what| panic!("{what}"));
        sum.confirmed += tally.confirmed;
        sum.mended += tally.mended;
        sum.looks += tally.looks;
        sum.refused += tally.refused;
        sum.killed += tally.killed;
        sum.told += tally.told;
    }
    println!("{count} seeds of retained messages: {sum:?}");
    let least =
        [(sum.confirmed, 300), (sum.mended, 5), (sum.looks, 5), (sum.refused, 1), (sum.killed, 1), (sum.told, 50)];
    // A few seeds need not show everything.
    if count >= SEEDS {
        assert!(least.into_iter().all(|(seen, least)| seen >= least * SEEDS), "{sum:?}");
    }
}

#[test]
fn one_seed_of_retained_messages_run_twice_is_one_history() {
    for seed in [1, 2] {
        let [one, again] = [(); 2].map(|()| run(seed, Canary::None).unwrap_or_else(|what| panic!("{what}")));
        assert_eq!(one, again, "seed {seed}");
    }
}

#[test]
fn every_canary_of_retained_messages_is_caught() {
    for canary in Canary::RETAINED {
        let caught = (0..SEEDS).find_map(|seed| run(seed, canary).err());
        let what = caught.unwrap_or_else(|| panic!("{canary:?} lives through {SEEDS} seeds"));
        println!("{canary:?}: {}", what.lines().next().unwrap_or_default());
    }
}
