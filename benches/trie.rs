//! What the subscription index costs: time, instructions and bytes, by number and kind of filters.
//!
//! `cargo bench --no-default-features --bench trie`. Every timed match is checked to find what it must and to allocate
//! nothing. Instructions are counted by running this binary again under `valgrind --tool=callgrind`; without valgrind
//! that column stays empty. Times are medians of batches and depend on the machine; instructions hardly do.

#![expect(clippy::cast_precision_loss, reason = "times and sizes are far below 2^52")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use dunlin::ids::{SessionId, ShardId};
use dunlin::topic::{Interest, Matches, SubscribedFilter, Subscriber, SubscriptionIndex, TopicName};

/// Counts what the process asks for. Relaxed: there is one thread.
struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system allocator unchanged; counting has no influence on it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(size, Relaxed);
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Which filters an index is filled with, and what a topic then finds.
struct Mix {
    name: &'static str,
    /// Writes the `n`th filter.
    filter: fn(n: usize, out: &mut String),
    /// Writes a topic that has subscribers in an index of `filters`, chosen by `n`.
    topic: fn(n: usize, filters: usize, out: &mut String),
    /// How many subscribers each topic has.
    hits: usize,
}

const MIXES: [Mix; 4] = [
    Mix {
        name: "exact",
        filter: |n, out| write(out, format_args!("loadtest/{n}/x")),
        topic: |n, filters, out| write(out, format_args!("loadtest/{}/x", n % filters)),
        hits: 1,
    },
    Mix {
        name: "mixed exact, +, #",
        filter: |n, out| match (n % 3, n / 3) {
            (0, n) => write(out, format_args!("loadtest/{n}/x")),
            (1, n) => write(out, format_args!("loadtest/{n}/#")),
            (_, n) if n % 2 == 0 => write(out, format_args!("+/{n}/x")),
            (_, n) => write(out, format_args!("loadtest/{n}/+")),
        },
        topic: |n, filters, out| write(out, format_args!("loadtest/{}/x", n % (filters / 3))),
        hits: 3,
    },
    // Applications that watch one kind of value of one site, or everything of one device.
    Mix {
        name: "+ only",
        filter: |n, out| match (n % 4, n / 4) {
            (0, n) => write(out, format_args!("site/{}/+/value/{}", n / 100, n % 100)),
            (1, n) => write(out, format_args!("site/{n}/+/value/#")),
            (2, n) => write(out, format_args!("site/+/device-{n}/#")),
            (_, n) => write(out, format_args!("+/{}/device-{n}/value/+", n / 100)),
        },
        topic: |n, filters, out| {
            let n = n % (filters / 4);
            write(out, format_args!("site/{}/device-{n}/value/{}", n / 100, n % 100));
        },
        hits: 4,
    },
    Mix {
        name: "# only",
        filter: |n, out| write(out, format_args!("devices/{n}/messages/devicebound/#")),
        topic: |n, filters, out| write(out, format_args!("devices/{}/messages/devicebound/p=1", n % filters)),
        hits: 1,
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, mix, filters] = arguments.as_slice()
        && flag == "--count-instructions"
    {
        let mix: usize = mix.parse().expect("a number of a mix");
        run_for_callgrind(&MIXES[mix], filters.parse().expect("a number of filters"));
        return;
    }
    println!("{:<18} {:>9} {:>5} {:>9} {:>13}", "filters", "count", "hits", "ns/match", "instructions");
    for (number, mix) in MIXES.iter().enumerate() {
        for filters in [1_000, 10_000, 100_000, 1_000_000] {
            let ns = time_matches(mix, filters);
            let counted = [10_000, 100_000].contains(&filters).then(|| count_instructions(number, filters)).flatten();
            let counted = counted.map_or(String::from("-"), |count| count.to_string());
            println!("{:<18} {filters:>9} {:>5} {ns:>9.0} {counted:>13}", mix.name, mix.hits);
        }
    }
    println!();
    bytes_by_kind(1_000_000);
    println!();
    fan_out();
    worst_match();
    longest_stop();
}

fn build(mix: &Mix, filters: usize) -> SubscriptionIndex {
    let mut index = SubscriptionIndex::new(1, ShardId(0));
    let mut text = String::new();
    for n in 0..filters {
        (mix.filter)(n, &mut text);
        let _ = index.insert(&parse(&text), subscriber(n), false);
    }
    index
}

/// Topics in an order that no cache foresees.
fn topics(mix: &Mix, filters: usize, count: usize) -> Vec<String> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut text = String::new();
            (mix.topic)((random >> 33) as usize, filters, &mut text);
            text
        })
        .collect()
}

/// The median over batches of nanoseconds per match.
fn time_matches(mix: &Mix, filters: usize) -> f64 {
    const BATCH: usize = 256;
    let index = build(mix, filters);
    let topics = topics(mix, filters, 256 * BATCH);
    let mut found = Matches::new();
    for text in &topics {
        index.matches(name(text), &mut found);
        assert_eq!(found.local.len(), mix.hits, "{text}");
    }
    let mut batches = Vec::with_capacity(topics.len() / BATCH);
    let allocations = ALLOCATIONS.load(Relaxed);
    for batch in topics.chunks_exact(BATCH) {
        let start = Instant::now();
        match_all(&index, batch, &mut found);
        batches.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
    }
    assert_eq!(ALLOCATIONS.load(Relaxed), allocations, "a match allocates nothing");
    median(&mut batches)
}

/// What is timed and counted. The name is what callgrind switches on at.
#[inline(never)]
fn match_all(index: &SubscriptionIndex, topics: &[String], found: &mut Matches) {
    for text in topics {
        index.matches(name(text), found);
        black_box(&mut *found);
    }
}

const COUNTED_MATCHES: usize = 1_000;

fn run_for_callgrind(mix: &Mix, filters: usize) {
    let index = build(mix, filters);
    let topics = topics(mix, filters, COUNTED_MATCHES);
    let mut found = Matches::new();
    // What grows, grows here, where callgrind does not count.
    for text in &topics {
        index.matches(name(text), &mut found);
    }
    match_all(&index, &topics, &mut found);
}

/// Instructions per match, checking the topic name included; `None` without valgrind.
fn count_instructions(mix: usize, filters: usize) -> Option<usize> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*match_all*"])
        .arg(std::env::current_exe().ok()?)
        .args(["--count-instructions", &mix.to_string(), &filters.to_string()])
        .output()
        .ok()?;
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected :"))?.1;
    Some(collected.trim().parse::<usize>().ok()? / COUNTED_MATCHES)
}

/// A kind of filter: its name, the `n`th of it, and whether this shard's own session subscribes to it.
type Kind = (&'static str, fn(usize, &mut String), bool);

const KINDS: [Kind; 9] = [
    ("loadtest/N/x", |n, out| write(out, format_args!("loadtest/{n}/x")), true),
    ("loadtest/N/x", |n, out| write(out, format_args!("loadtest/{n}/x")), false),
    ("exact, 37 bytes", |n, out| write(out, format_args!("fleet/plant-07/device-{n:07}/commands")), true),
    ("loadtest/N/#", |n, out| write(out, format_args!("loadtest/{n}/#")), true),
    ("loadtest/N/#", |n, out| write(out, format_args!("loadtest/{n}/#")), false),
    ("loadtest/N/+", |n, out| write(out, format_args!("loadtest/{n}/+")), true),
    ("loadtest/N/+", |n, out| write(out, format_args!("loadtest/{n}/+")), false),
    ("loadtest/+/N", |n, out| write(out, format_args!("loadtest/+/{n}")), true),
    ("$share/g/loadtest/N/x", |n, out| write(out, format_args!("$share/g/loadtest/{n}/x")), true),
];

/// What one more filter costs an index that holds `count` of its kind.
fn bytes_by_kind(count: usize) {
    let column = format!("{count} of kind");
    println!(
        "{column:<22} {:>8} {:>12} {:>12} {:>9} {:>12}",
        "whose", "bytes each", "estimated", "ns to add", "allocations"
    );
    for (kind, filter, is_own) in KINDS {
        let mut index = SubscriptionIndex::new(1, ShardId(0));
        let mut text = String::with_capacity(100);
        let (bytes, allocations) = (LIVE_BYTES.load(Relaxed), ALLOCATIONS.load(Relaxed));
        let start = Instant::now();
        for n in 0..count {
            filter(n, &mut text);
            if is_own {
                let _ = index.insert(&parse(&text), subscriber(n), false);
            } else {
                index.apply_remote(ShardId(1), &parse(&text), Interest::Plain { any: true, durable: false });
            }
        }
        let each = |total: usize| total as f64 / count as f64;
        println!(
            "{kind:<22} {:>8} {:>12.1} {:>12.1} {:>9.0} {:>12.2}",
            if is_own { "own" } else { "another" },
            each(LIVE_BYTES.load(Relaxed) - bytes),
            each(index.memory_bytes()),
            start.elapsed().as_nanos() as f64 / count as f64,
            each(ALLOCATIONS.load(Relaxed) - allocations),
        );
    }
}

/// One topic with many subscribers: what copying them out costs.
fn fan_out() {
    for subscribers in [1_000, 100_000] {
        let mut index = SubscriptionIndex::new(1, ShardId(0));
        for n in 0..subscribers {
            let _ = index.insert(&parse("fleet/announcements"), subscriber(n), false);
        }
        let (ns, _, found) = time_one(&index, "fleet/announcements", || {});
        assert_eq!(found.local.len(), subscribers);
        println!("fan-out to {subscribers}: {ns:.0} ns, {:.2} ns a subscriber", ns / subscribers as f64);
    }
}

/// The most that one message can be made to cost.
fn worst_match() {
    // Every shape that is admitted, of filters of which none matches.
    let mut index = SubscriptionIndex::new(1, ShardId(0));
    for bits in 0..1_u32 << 16 {
        let levels: Vec<&str> = (0..16).map(|level| if bits >> level & 1 == 1 { "+" } else { "a" }).collect();
        let text = format!("{}/never", levels.join("/"));
        if index.admits(&parse(&text)) {
            let _ = index.insert(&parse(&text), subscriber(bits as usize), false);
        }
    }
    print_worst("every shape", &index, &["a"; 17].join("/"));
    // The longest topic, looked up at every depth, here and for other shards.
    let mut index = SubscriptionIndex::new(1, ShardId(0));
    for depth in 0..64 {
        let text = format!("{}#", "a/".repeat(depth));
        let _ = index.insert(&parse(&text), subscriber(depth), false);
        index.apply_remote(ShardId(1), &parse(&text), Interest::Plain { any: true, durable: false });
    }
    let level = "a".repeat(1_022);
    print_worst("every depth, 65,471 bytes", &index, &[level.as_str(); 64].join("/"));
}

fn print_worst(what: &str, index: &SubscriptionIndex, topic: &str) {
    let (ns, _, found) = time_one(index, topic, || {});
    let mut others = vec![0_u8; 64 << 20];
    let (cold_ns, ..) = time_one(index, topic, || others.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1)));
    println!(
        "worst match, {what}: {ns:.0} ns, {cold_ns:.0} ns when nothing is in the cache, {} nodes visited",
        found.nodes_visited
    );
}

/// Median and maximum of many matches of one topic, each after `before`, and what they find.
fn time_one(index: &SubscriptionIndex, topic: &str, mut before: impl FnMut()) -> (f64, f64, Matches) {
    let mut found = Matches::new();
    let mut times: Vec<f64> = (0..51)
        .map(|_| {
            before();
            let start = Instant::now();
            index.matches(name(topic), &mut found);
            black_box(&mut found);
            start.elapsed().as_nanos() as f64
        })
        .collect();
    (median(&mut times), times[times.len() - 1], found)
}

/// How long one insertion stops the shard while the index grows to a million filters. A stripe of a table doubles at
/// some 3,500 of the million insertions, so the slowest thousandth shows what that costs; the maximum on a machine with
/// other work is what the scheduler did.
fn longest_stop() {
    for mix in [&MIXES[0], &MIXES[2]] {
        let mut index = SubscriptionIndex::new(1, ShardId(0));
        let mut text = String::new();
        let mut times: Vec<f64> = (0..1_000_000)
            .map(|n| {
                (mix.filter)(n, &mut text);
                let start = Instant::now();
                let _ = index.insert(&parse(&text), subscriber(n), false);
                start.elapsed().as_nanos() as f64
            })
            .collect();
        let ns = median(&mut times);
        let [slow, slower, worst] = [1_000, 100, 1].map(|rank| times[times.len() - rank]);
        println!("insertion, {}: {ns:.0} ns, 99.9 % {slow:.0}, 99.99 % {slower:.0}, maximum {worst:.0}", mix.name);
    }
}

/// Sorts, too: the last is the maximum.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn subscriber(n: usize) -> Subscriber {
    Subscriber { session: SessionId(n as u32), options: 1, identifier: None }
}

fn parse(text: &str) -> SubscribedFilter<'_> {
    SubscribedFilter::parse(text, 128).expect("a valid filter")
}

fn name(text: &str) -> TopicName<'_> {
    TopicName::parse(text, 128).expect("a valid topic")
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.clear();
    out.write_fmt(text).expect("a String takes everything");
}
