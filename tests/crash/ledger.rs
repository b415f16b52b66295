//! What was promised, and what came of it: every message that was acknowledged, every message that arrived.
//!
//! Always holds: it takes the clients' word for nothing but what they sent and received.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// A message of the ledger's own: who published it, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent {
    pub(crate) publisher: usize,
    pub(crate) number: u32,
}

impl Sent {
    pub(crate) fn qos(self) -> u8 {
        if self.number.is_multiple_of(2) { 1 } else { 2 }
    }

    pub(crate) fn payload(self) -> Vec<u8> {
        format!("{} {}", self.publisher, self.number).into_bytes()
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        let (publisher, number) = text.split_once(' ')?;
        Some(Self { publisher: publisher.parse().ok()?, number: number.parse().ok()? })
    }
}

#[derive(Debug, Default)]
struct Book {
    acknowledged: Vec<Sent>,
    /// By subscriber, in the order in which they came.
    arrived: BTreeMap<usize, Vec<Sent>>,
    violations: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

impl Ledger {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().expect("nobody panics with it")
    }

    pub(crate) fn acknowledged(&self, sent: Sent) {
        self.book().acknowledged.push(sent);
    }

    pub(crate) fn arrived(&self, subscriber: usize, sent: Sent) {
        self.book().arrived.entry(subscriber).or_default().push(sent);
    }

    /// Something that no end can make good.
    pub(crate) fn violation(&self, text: String) {
        self.book().violations.push(text);
    }

    /// Everything that was acknowledged until now.
    pub(crate) fn all_acknowledged(&self) -> Vec<Sent> {
        self.book().acknowledged.clone()
    }

    pub(crate) fn acknowledged_count(&self) -> usize {
        self.book().acknowledged.len()
    }

    /// Whether every subscriber has all that was acknowledged.
    pub(crate) fn is_complete(&self, subscribers: usize) -> bool {
        let book = self.book();
        (0..subscribers).all(|subscriber| missing(&book, subscriber).next().is_none())
    }

    /// Everything that is not as it was promised.
    pub(crate) fn violations(&self, subscribers: usize) -> Vec<String> {
        let book = self.book();
        let mut found = book.violations.clone();
        for subscriber in 0..subscribers {
            let lost: Vec<Sent> = missing(&book, subscriber).collect();
            if let Some(first) = lost.first() {
                found.push(format!(
                    "subscriber {subscriber}: {} acknowledged messages are lost, {first:?} first",
                    lost.len()
                ));
            }
            let mut latest = BTreeMap::new();
            let mut seen = std::collections::BTreeSet::new();
            for sent in book.arrived.get(&subscriber).into_iter().flatten() {
                if !seen.insert(*sent) {
                    if sent.qos() == 2 {
                        found.push(format!("subscriber {subscriber}: {sent:?} came twice with QoS 2"));
                    }
                    continue;
                }
                let before = latest.insert((sent.publisher, sent.qos()), sent.number);
                if before.is_some_and(|before| before > sent.number) {
                    found.push(format!("subscriber {subscriber}: {sent:?} came behind number {before:?}"));
                }
            }
        }
        found
    }
}

fn missing(book: &Book, subscriber: usize) -> impl Iterator<Item = Sent> {
    let arrived: std::collections::BTreeSet<Sent> =
        book.arrived.get(&subscriber).into_iter().flatten().copied().collect();
    book.acknowledged.iter().copied().filter(move |sent| !arrived.contains(sent))
}

#[test]
fn the_ledger_finds_what_is_lost_doubled_and_out_of_order() {
    let sent = |number| Sent { publisher: 0, number };
    let ledger = Ledger::default();
    (0..6).for_each(|number| ledger.acknowledged(sent(number)));
    for number in [0, 1, 2, 3, 4, 5, 4] {
        ledger.arrived(0, sent(number));
    }
    assert_eq!(ledger.violations(1), Vec::<String>::new(), "QoS 1 may come twice");
    ledger.arrived(0, sent(5));
    assert!(ledger.violations(1)[0].contains("twice"));
    for number in [1, 5, 3] {
        ledger.arrived(1, sent(number));
    }
    let of_second: Vec<String> =
        ledger.violations(2).into_iter().filter(|text| text.contains("subscriber 1")).collect();
    assert!(of_second[0].contains("3 acknowledged messages are lost") && of_second[1].contains("came behind"));
    assert!(!ledger.is_complete(2) && ledger.is_complete(1));
}
