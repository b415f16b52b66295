//! Who watches which messages, and the way there: live tails.
//!
//! Owns: the tails of the process, which any thread may begin and end and shards read.
//! Always holds: there are [`TAILS_MAX`] at most; a tail ends when its [`TailWatch`] is dropped; one that is not read loses messages and counts them.
//! Leaves to others: who may have one, and how messages are shown.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::limits::TAILS_MAX;
use crate::shard::{TailFilters, TailedMessage, is_watched};

/// Takes messages on a shard's thread: it may pass them on and no more. False where it cannot.
pub(crate) type TailTaker = Box<dyn Fn(TailedMessage) -> bool + Send + Sync>;

/// What one is told of, by whom, and what it has missed.
struct TailRule {
    filter: Box<str>,
    taker: TailTaker,
    /// Messages that it was not told of.
    skipped: AtomicU64,
}

/// All of them, and their filters as a shard takes them.
#[derive(Default)]
struct TailsUnderWay {
    rules: Vec<Arc<TailRule>>,
    filters: Arc<TailFilters>,
}

static TAILS: LazyLock<ArcSwap<TailsUnderWay>> = LazyLock::new(ArcSwap::default);
/// Held while they are changed.
static CHANGING: Mutex<()> = Mutex::new(());
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Whoever has it watches. With its end the tail ends.
pub(crate) struct TailWatch(Arc<TailRule>);

impl TailWatch {
    /// Messages since its begin that it was not told of. With several tails at a time it may be some of the others' as well.
    pub(crate) fn skipped(&self) -> u64 {
        self.0.skipped.load(Ordering::Relaxed)
    }
}

impl Drop for TailWatch {
    fn drop(&mut self) {
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = TAILS.load().rules.iter().filter(|rule| !Arc::ptr_eq(rule, &self.0)).cloned().collect();
        set(rules);
    }
}

/// Begins a tail. `None` where there are as many as may be.
pub(crate) fn watch(filter: &str, taker: TailTaker) -> Option<TailWatch> {
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rules = TAILS.load().rules.clone();
    if rules.len() >= TAILS_MAX {
        return None;
    }
    let rule = Arc::new(TailRule { filter: filter.into(), taker, skipped: AtomicU64::new(0) });
    rules.push(Arc::clone(&rule));
    set(rules);
    Some(TailWatch(rule))
}

fn set(rules: Vec<Arc<TailRule>>) {
    let is_on = !rules.is_empty();
    let filters = Arc::new(TailFilters::new(rules.iter().map(|rule| rule.filter.clone())));
    TAILS.store(Arc::new(TailsUnderWay { rules, filters }));
    IS_ON.store(is_on, Ordering::Relaxed);
}

/// The filters that a shard is to tell of in this turn.
pub(crate) fn filters() -> Option<Arc<TailFilters>> {
    IS_ON.load(Ordering::Relaxed).then(|| Arc::clone(&TAILS.load().filters))
}

/// A turn had more than it could tell.
pub(crate) fn skipped(messages: u64) {
    for rule in &TAILS.load().rules {
        rule.skipped.fetch_add(messages, Ordering::Relaxed);
    }
}

/// A message that somebody watches.
pub(super) fn note(message: &TailedMessage) {
    for rule in TAILS.load().rules.iter().filter(|rule| is_watched(&rule.filter, &message.topic)) {
        if !(rule.taker)(message.clone()) {
            rule.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Qos;
    use std::sync::mpsc;

    #[test]
    fn each_tail_is_told_of_its_own_and_ends_with_whoever_has_it() {
        let message = |topic: &str| TailedMessage {
            topic: topic.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            client_id: None,
            properties: crate::shard::ShownProperties::default(),
            payload: [].into(),
            payload_bytes: 0,
        };
        let (give, taken) = mpsc::sync_channel(1);
        let watch_a = watch("a/#", Box::new(move |message| give.try_send(message.topic).is_ok())).unwrap();
        let others: Vec<_> = (1..TAILS_MAX).map(|_| watch("b/+", Box::new(|_| false)).unwrap()).collect();
        assert!(watch("c", Box::new(|_| true)).is_none(), "there are as many as may be");
        let known = filters().expect("somebody watches");
        assert!(known.wants("a/1") && known.wants("b/1") && !known.wants("c") && !known.wants("$SYS/a"));
        for topic in ["a/1", "a/2", "b/1", "c"] {
            note(&message(topic));
        }
        assert_eq!(taken.try_iter().collect::<Vec<_>>(), ["a/1".into()]);
        assert_eq!(
            (watch_a.skipped(), others[0].skipped()),
            (1, 1),
            "the second of a, which nobody has read; the one of b"
        );
        skipped(5);
        assert_eq!(watch_a.skipped(), 6);
        drop(others);
        drop(watch_a);
        assert!(filters().is_none());
    }
}
