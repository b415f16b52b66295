//! What two processes say to each other arrives once and in order, wherever their connections end.

use bytes::Bytes;

use crate::cluster::{LinkFrame, LinkIn, LinkOut, LinkPulse, LinkRedial, LinkRefusal};
use crate::limits::{LINK_BUFFER_MARK_BYTES, LINK_CHUNK_BYTES, LINK_FRAME_MAX_BYTES};
use crate::time::{Deadline, Now};

/// A connection, as far as one direction has got.
#[derive(Default)]
struct Pipe {
    unread: Vec<u8>,
}

/// The process that accepts, and what it has heard.
#[derive(Default)]
struct Listener {
    counts: LinkIn,
    heard: Vec<u64>,
}

impl Listener {
    /// Hears whole frames of what has come.
    fn hear(&mut self, pipe: &mut Pipe) {
        let mut taken = 0;
        while let Some((frame, len)) = LinkFrame::next(&pipe.unread[taken..], LINK_FRAME_MAX_BYTES).unwrap() {
            let LinkFrame::Applied { number } = frame else { panic!("another frame than was sent: {frame:?}") };
            self.heard.push(number);
            self.counts.count();
            taken += len;
        }
        pipe.unread.drain(..taken);
    }
}

fn say(out: &mut LinkOut, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| out.append(&LinkFrame::Applied { number }));
}

fn told(counts: &mut LinkIn) -> u64 {
    let LinkFrame::Received { count } = counts.tell() else { panic!("RECEIVED is what is told") };
    count
}

fn all_bytes(out: &mut LinkOut) -> Vec<u8> {
    std::iter::from_fn(|| out.next_bytes()).flat_map(Vec::from).collect()
}

fn now(ms: u64) -> Now {
    Now { mono_ns: ms * 1_000_000, unix_ms: ms }
}

const FRAME_BYTES: usize = 13;

#[test]
fn a_talk_that_is_cut_at_any_byte_goes_on_where_it_was() {
    // Seven frames in three chunks, of which RECEIVED may name any; then more.
    for cut in 0..=7 * FRAME_BYTES {
        for tells in [false, true] {
            let (mut out, mut listener) = (LinkOut::default(), Listener::default());
            assert_eq!(out.next_bytes(), None, "nothing is sent without a connection");
            out.connected(told(&mut listener.counts)).unwrap();
            let mut bytes = Vec::new();
            for numbers in [0..3, 3..4, 4..7] {
                say(&mut out, numbers);
                bytes.extend(all_bytes(&mut out));
            }
            assert_eq!((bytes.len(), out.waiting_bytes()), (7 * FRAME_BYTES, 7 * FRAME_BYTES));
            listener.hear(&mut Pipe { unread: bytes[..cut].to_vec() });
            assert_eq!(listener.counts.is_to_be_told(), cut >= FRAME_BYTES);
            if tells {
                // It may have been on its way when the connection ended, or arrived.
                out.received(told(&mut listener.counts)).unwrap();
                assert_eq!(out.waiting_bytes(), (7 - cut / FRAME_BYTES) * FRAME_BYTES);
            }
            out.broken();
            say(&mut out, 7..9);
            assert_eq!(out.next_bytes(), None);
            listener.counts.connected();
            assert!(listener.counts.is_to_be_told(), "a new connection begins with it, whatever was told before");
            out.connected(told(&mut listener.counts)).unwrap();
            listener.hear(&mut Pipe { unread: all_bytes(&mut out) });
            assert_eq!(listener.heard, (0..9).collect::<Vec<_>>(), "cut after {cut} bytes");
            out.received(told(&mut listener.counts)).unwrap();
            assert_eq!((out.waiting_bytes(), out.next_bytes()), (0, None));
        }
    }
}

#[test]
fn whatever_breaks_whenever_each_frame_comes_once_and_in_order() {
    for seed in 1..200_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % bound
        };
        let (mut out, mut listener) = (LinkOut::default(), Listener::default());
        let (mut said, mut pipe, mut way): (u64, Option<Pipe>, Vec<u8>) = (0, None, Vec::new());
        let mut answers: Vec<u64> = Vec::new();
        for _ in 0..600 {
            match below(8) {
                0 | 1 => {
                    let more = below(5) as u64;
                    say(&mut out, said..said + more);
                    said += more;
                }
                2 | 3 => way.extend(out.next_bytes().unwrap_or_default()),
                4 => {
                    let arrives = below(way.len() + 1);
                    if let Some(pipe) = &mut pipe {
                        pipe.unread.extend(way.drain(..arrives));
                        listener.hear(pipe);
                    }
                }
                5 if pipe.is_some() && listener.counts.is_to_be_told() => answers.push(told(&mut listener.counts)),
                6 if !answers.is_empty() => out.received(answers.remove(0)).unwrap(),
                7 if pipe.is_some() && below(3) == 0 => {
                    (pipe, way) = (None, Vec::new());
                    answers.clear();
                    out.broken();
                }
                7 if pipe.is_none() => {
                    pipe = Some(Pipe::default());
                    listener.counts.connected();
                    out.connected(told(&mut listener.counts)).unwrap();
                }
                _ => {}
            }
        }
        out.broken();
        listener.counts.connected();
        out.connected(told(&mut listener.counts)).unwrap();
        listener.hear(&mut Pipe { unread: all_bytes(&mut out) });
        assert_eq!(listener.heard, (0..said).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(listener.counts.received(), said);
    }
}

#[test]
fn a_peer_that_counts_wrongly_is_refused() {
    let mut out = LinkOut::default();
    assert_eq!(out.connected(1), Err(LinkRefusal::Count), "it was sent nothing");
    out.connected(0).unwrap();
    say(&mut out, 0..5);
    assert_eq!(out.received(1), Err(LinkRefusal::Count), "it was not given out");
    let bytes = out.next_bytes().map_or(0, |bytes: Bytes| bytes.len());
    assert_eq!(bytes, 5 * FRAME_BYTES);
    out.received(3).unwrap();
    assert_eq!(out.received(2), Err(LinkRefusal::Count), "it had more");
    assert_eq!(out.received(6), Err(LinkRefusal::Count));
    out.broken();
    assert_eq!(out.connected(2), Err(LinkRefusal::Count), "on a new connection as well");
    out.connected(4).unwrap();
    assert_eq!(out.waiting_bytes(), FRAME_BYTES);
}

#[test]
#[should_panic(expected = "what is of a connection alone")]
fn what_is_of_a_connection_is_not_kept_for_the_next() {
    LinkOut::default().append(&LinkFrame::Received { count: 1 });
}

#[test]
fn what_a_peer_does_not_take_is_counted_and_cut_into_chunks() {
    let mut out = LinkOut::default();
    let topic = "x".repeat(60_000);
    let stamp = crate::ids::WriteStamp { time_ns: 1, shard: 0 };
    let frame = LinkFrame::RetainedDeleted { stamp, topic: &topic };
    while !out.is_behind() {
        out.append(&frame);
    }
    let one = 60_000 + 4 + 1 + 9 + 4;
    assert!((LINK_BUFFER_MARK_BYTES..LINK_BUFFER_MARK_BYTES + one).contains(&out.waiting_bytes()));
    assert!(!out.has_next(), "there is no connection");
    out.connected(0).unwrap();
    assert!(out.has_next());
    let chunks: Vec<Bytes> = std::iter::from_fn(|| out.next_bytes()).collect();
    assert!(!out.has_next() && !out.has_drained());
    assert!(chunks.iter().all(|chunk| chunk.len() < LINK_CHUNK_BYTES + one), "a turn's worth each");
    assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), out.waiting_bytes());
    out.received(1).unwrap();
    assert!(!out.is_behind() && !out.has_drained());
    let half = LINK_BUFFER_MARK_BYTES / 2;
    let left = (1..).map(|count| {
        out.received(count).unwrap();
        (out.has_drained(), out.waiting_bytes())
    });
    let (_, left) = left.into_iter().find(|(has_drained, _)| *has_drained).expect("it drains");
    assert!((half - one..=half).contains(&left), "{left}");
}

#[test]
fn a_peer_that_is_silent_for_three_pings_is_gone_from_its_connection() {
    let mut pulse = LinkPulse::new(now(1_000));
    assert_eq!((pulse.next_ping(now(1_499)), pulse.next_deadline()), (None, Deadline(1_500)));
    assert_eq!(pulse.next_ping(now(1_500)), Some(1));
    pulse.heard(now(1_600));
    assert_eq!(pulse.next_ping(now(2_000)), Some(2));
    assert_eq!(pulse.next_ping(now(2_500)), Some(3));
    assert!(!pulse.is_dead(now(3_099)) && pulse.is_dead(now(3_100)));
    assert_eq!(pulse.next_deadline(), Deadline(3_000));
    pulse.heard(now(3_100));
    assert!(!pulse.is_dead(now(3_100)), "what came while this process stood still counts");
}

#[test]
fn the_next_connection_is_tried_later_each_time_until_one_stands() {
    let mut redial = LinkRedial::default();
    let pauses: Vec<u64> = (0..7).map(|_| redial.next(now(0)).0).collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
    redial.connected();
    assert_eq!(redial.next(now(9)), Deadline(59));
}
