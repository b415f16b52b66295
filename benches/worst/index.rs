//! Walks over the subscription index with a million filters: the longest page of each.

use std::time::Duration;

use dunlin::ids::{SessionId, ShardId};
use dunlin::topic::{Interest, InterestCursor, Scan, SubscribedFilter, Subscriber, SubscriptionIndex};

use super::Stopwatch;

/// Entries of a page, as shards ask for them.
const PAGE: usize = 256;
const FILTERS: usize = 1_000_000;

fn filter(n: usize) -> String {
    match n % 4 {
        0 => format!("site/{n}/state"),
        1 => format!("site/{n}/#"),
        2 => format!("site/+/{n}"),
        _ => format!("$share/group/site/{n}/state"),
    }
}

fn parse(text: &str) -> SubscribedFilter<'_> {
    SubscribedFilter::parse(text, u16::MAX).expect("a filter")
}

fn longest(mut page: impl FnMut() -> Scan) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let began = Stopwatch::start();
        let scan = page();
        longest = longest.max(began.elapsed());
        if scan == Scan::Done {
            return longest;
        }
    }
}

/// Telling another node all that a shard is interested in.
pub(crate) fn own_interest() -> Duration {
    let mut index = SubscriptionIndex::new(7, ShardId(0));
    let subscriber = Subscriber { session: SessionId(1), options: 0, identifier: None };
    for n in 0..FILTERS {
        index.insert(&parse(&filter(n)), subscriber, false);
    }
    let (mut cursor, mut told) = (InterestCursor::default(), 0);
    let longest = longest(|| index.own_interest_page(&mut cursor, PAGE, |_| told += 1));
    assert_eq!(told, FILTERS, "each is told once");
    longest
}

/// Forgetting a node that had as many filters, most of which others have as well.
pub(crate) fn forgetting() -> Duration {
    let mut index = SubscriptionIndex::new(7, ShardId(0));
    let apply = |index: &mut SubscriptionIndex, shard: u8, n: usize| {
        let text = filter(n);
        let filter = parse(&text);
        let interest = match filter.share {
            Some(_) => Interest::Shared { online: 1, total: 1, durable: false },
            None => Interest::Plain { any: true, durable: false },
        };
        index.apply_remote(ShardId(shard), &filter, interest);
    };
    for n in 0..FILTERS {
        apply(&mut index, 2, n);
        if n % 4 < 2 || n % 8 > 5 {
            apply(&mut index, 1 + 2 * (n % 2) as u8, n);
        }
    }
    let before = index.filters_count();
    let mut cursor = InterestCursor::default();
    let longest = longest(|| index.forget_page(ShardId(2), &mut cursor, PAGE));
    assert_eq!(before - index.filters_count(), FILTERS / 4, "what was its alone has gone");
    longest
}
