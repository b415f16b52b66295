//! One node's retained messages against an engine that is answered by hand.

use bytes::Bytes;

use super::membership::nodes_of;
use super::script::at;
use crate::cluster::{
    RetainedAnswer, RetainedAppend, RetainedAsk, RetainedBody, RetainedEntry, RetainedEntryError, RetainedNews,
    RetainedSubject, RetainedTail,
};
use crate::ids::{Qos, WriteStamp};
use crate::limits::{
    RETAINED_APPENDS_IN_FLIGHT_MAX, RETAINED_COALESCE_MS, RETAINED_KEPT_MAX_BYTES, RETAINED_KEPT_MS, RETAINED_LATE_MS,
    RETAINED_LATE_WRITES_MAX, RETAINED_LINKED_MS, RETAINED_ORPHAN_MS, RETAINED_WAITING_MAX,
};

const SEEDS: [u64; 4] = [1, 2, 3, 4];
const BEGIN: u64 = 100_000;

fn entry(topic: &str, time: u64, payload: &[u8]) -> Vec<u8> {
    let body = RetainedBody { qos: Qos::AtLeastOnce, properties: &[], payload };
    let stamp = WriteStamp { time_ns: time << 6, shard: 0 };
    RetainedEntry { stamp, publisher: None, expires: None, topic, message: Some(body) }.encode()
}

fn subject(topic: &str) -> RetainedSubject {
    RetainedSubject::of(&SEEDS, topic)
}

struct Desk {
    tail: RetainedTail<u32>,
    ms: u64,
}

impl Desk {
    /// A node that has read all there was, which is nothing.
    fn new() -> Self {
        let mut desk = Self { tail: RetainedTail::new(SEEDS), ms: BEGIN };
        assert_eq!(desk.ask(), Some(RetainedAsk::Watch { from: 1 }));
        desk.tail.handle_caught_up();
        assert_eq!(desk.news(), [RetainedNews::Ready]);
        desk
    }

    fn write(&mut self, topic: &str, time: u64, confirm: Option<u32>) {
        self.tail.write(entry(topic, time, b"x"), confirm, at(self.ms));
    }

    fn show(&mut self, topic: &str, sequence: u64, time: u64) {
        self.tail.handle_message(subject(topic), sequence, &entry(topic, time, b"x"), at(self.ms));
    }

    fn answer(&mut self, id: u64, answer: RetainedAnswer<'_>) {
        self.tail.handle_answer(id, answer, at(self.ms));
    }

    fn ask(&mut self) -> Option<RetainedAsk> {
        self.tail.next_ask(at(self.ms))
    }

    fn append(&mut self) -> RetainedAppend {
        match self.ask() {
            Some(RetainedAsk::Append(append)) => append,
            other => panic!("{other:?}"),
        }
    }

    fn news(&mut self) -> Vec<RetainedNews<u32>> {
        std::iter::from_fn(|| self.tail.next_news(at(self.ms))).collect()
    }

    fn wrote(topic: &str, time: u64) -> RetainedNews<u32> {
        RetainedNews::Write(Bytes::from(entry(topic, time, b"x")))
    }
}

#[test]
fn a_write_is_confirmed_behind_its_append() {
    let mut desk = Desk::new();
    desk.write("t", 5, Some(1));
    let append = desk.append();
    assert_eq!((append.subject, append.expected, append.ttl_s), (subject("t"), None, None));
    assert_eq!((append.message_id.as_str(), append.bytes), ("320-0", Bytes::from(entry("t", 5, b"x"))));
    assert_eq!((desk.ask(), desk.news()), (None, vec![]));
    desk.answer(append.id, RetainedAnswer::Stored { sequence: 1 });
    assert_eq!(desk.news(), [RetainedNews::Confirmed(1)]);
    desk.show("t", 1, 5);
    assert_eq!((desk.ask(), desk.news()), (None, vec![]), "shards know what they have written");
    // A write that is earlier than what is stored is as good as stored.
    desk.write("t", 4, Some(2));
    assert_eq!((desk.ask(), desk.news()), (None, vec![RetainedNews::Confirmed(2)]));
    desk.answer(append.id, RetainedAnswer::Refused);
    assert_eq!((desk.ask(), desk.news()), (None, vec![]), "what answers nothing does nothing");
}

#[test]
fn one_append_of_a_topic_is_under_way_and_what_waits_becomes_one() {
    let mut desk = Desk::new();
    desk.write("t", 5, Some(1));
    let first = desk.append();
    desk.write("t", 6, Some(2));
    desk.write("t", 8, Some(3));
    desk.write("t", 7, None);
    desk.write("t", 4, Some(4));
    desk.write("u", 4, Some(5));
    let other = desk.append();
    assert_eq!((other.subject, desk.ask()), (subject("u"), None));
    desk.answer(first.id, RetainedAnswer::Stored { sequence: 1 });
    assert_eq!(desk.news(), [RetainedNews::Confirmed(1), RetainedNews::Confirmed(4)]);
    let second = desk.append();
    assert_eq!(second.bytes, Bytes::from(entry("t", 8, b"x")));
    desk.answer(second.id, RetainedAnswer::Stored { sequence: 3 });
    assert_eq!(desk.news(), [RetainedNews::Confirmed(2), RetainedNews::Confirmed(3)]);
}

#[test]
fn of_writes_that_nobody_waits_for_the_latest_of_a_second_is_stored() {
    let mut desk = Desk::new();
    desk.write("t", 1, None);
    let append = desk.append();
    desk.answer(append.id, RetainedAnswer::Stored { sequence: 1 });
    for time in 2..10 {
        desk.ms += 100;
        desk.write("t", time, None);
        assert_eq!(desk.ask(), None);
    }
    assert_eq!(desk.tail.next_deadline().map(|at| at.0), Some(BEGIN + RETAINED_COALESCE_MS));
    desk.ms = BEGIN + RETAINED_COALESCE_MS;
    assert_eq!(desk.append().bytes, Bytes::from(entry("t", 9, b"x")));
    desk.write("t", 10, None);
    desk.write("t", 11, Some(1));
    assert_eq!(desk.ask(), None, "one is under way");
}

#[test]
fn what_overtook_a_later_write_is_written_over_and_one_node_wins() {
    let mut desk = Desk::new();
    desk.show("t", 1, 9);
    assert_eq!(desk.news(), [Desk::wrote("t", 9)]);
    desk.show("t", 2, 8);
    assert_eq!(desk.news(), [], "shards have the later one");
    let append = desk.append();
    assert_eq!((append.expected, append.bytes), (Some(2), Bytes::from(entry("t", 9, b"x"))));
    assert_eq!(append.message_id, "576-0-2", "it is no repetition of the first");
    desk.answer(append.id, RetainedAnswer::Refused);
    let Some(RetainedAsk::Look { id, .. }) = desk.ask() else { panic!("it looks what stands there") };
    desk.answer(id, RetainedAnswer::Last { sequence: 3, bytes: &entry("t", 9, b"x") });
    assert_eq!((desk.ask(), desk.news()), (None, vec![]), "another node has won");
    // An own write that is earlier comes behind: it is as good as stored.
    desk.write("t", 7, Some(1));
    assert_eq!(desk.news(), [RetainedNews::Confirmed(1)]);
    // While it is being written over, it waits for that.
    desk.show("t", 4, 6);
    desk.write("t", 5, Some(2));
    let append = desk.append();
    assert_eq!((append.expected, desk.news()), (Some(4), vec![]));
    desk.answer(append.id, RetainedAnswer::Stored { sequence: 5 });
    assert_eq!(desk.news(), [RetainedNews::Confirmed(2)]);
}

#[test]
fn an_append_that_turns_out_to_have_overtaken_one_is_mended() {
    let mut desk = Desk::new();
    desk.write("t", 8, Some(1));
    let append = desk.append();
    desk.show("t", 1, 9);
    desk.answer(append.id, RetainedAnswer::Stored { sequence: 2 });
    let mend = desk.append();
    assert_eq!((mend.expected, mend.bytes), (Some(2), Bytes::from(entry("t", 9, b"x"))));
}

#[test]
fn what_may_be_stored_already_is_looked_at_before_it_is_said_again() {
    let mut desk = Desk::new();
    desk.write("t", 5, Some(1));
    let append = desk.append();
    desk.answer(append.id, RetainedAnswer::Failed);
    assert_eq!(desk.ask(), None, "not at once");
    desk.ms = desk.tail.next_deadline().unwrap().0;
    let Some(RetainedAsk::Look { id, subject: of }) = desk.ask() else { panic!("a look") };
    assert_eq!(of, subject("t"));
    desk.answer(id, RetainedAnswer::Last { sequence: 7, bytes: &entry("t", 4, b"x") });
    let again = desk.append();
    assert_eq!(
        (again.expected, again.message_id.as_str()),
        (Some(7), "320-0"),
        "a late copy of the first is a repetition"
    );
    desk.answer(again.id, RetainedAnswer::Failed);
    desk.ms = desk.tail.next_deadline().unwrap().0;
    let Some(RetainedAsk::Look { id, .. }) = desk.ask() else { panic!("a look") };
    desk.answer(id, RetainedAnswer::Last { sequence: 8, bytes: &entry("t", 5, b"x") });
    assert_eq!((desk.ask(), desk.news()), (None, vec![RetainedNews::Confirmed(1)]));
    // Nothing there, or nothing that can be read.
    for (bytes, sequence) in [(&b""[..], 0), (&b"garbage"[..], 9)] {
        desk.write("u", 10 + sequence, Some(2));
        let append = desk.append();
        desk.answer(append.id, RetainedAnswer::Refused);
        let Some(RetainedAsk::Look { id, .. }) = desk.ask() else { panic!("a look") };
        desk.answer(id, RetainedAnswer::Last { sequence, bytes });
        let append = desk.append();
        assert_eq!(append.expected, Some(sequence));
        desk.answer(append.id, RetainedAnswer::Stored { sequence: sequence + 1 });
    }
}

#[test]
fn a_write_that_has_waited_is_compared_first() {
    let mut desk = Desk::new();
    desk.write("t", 5, Some(1));
    desk.ms += RETAINED_LATE_MS;
    let Some(RetainedAsk::Look { id, .. }) = desk.ask() else { panic!("a look") };
    desk.answer(id, RetainedAnswer::Last { sequence: 3, bytes: &entry("t", 6, b"x") });
    let news = desk.news();
    assert_eq!(news, [Desk::wrote("t", 6), RetainedNews::Confirmed(1)], "it is superseded, and by what was not seen");
    desk.show("t", 3, 6);
    assert_eq!((desk.ask(), desk.news()), (None, vec![]));
}

#[test]
fn writes_of_linked_nodes_are_told_a_second_later() {
    let mut desk = Desk::new();
    desk.tail.tell_linked(nodes_of(&[1]));
    desk.show("t", 1, 5);
    assert_eq!(desk.news(), []);
    assert_eq!(desk.tail.next_deadline().map(|at| at.0), Some(BEGIN + RETAINED_LINKED_MS));
    desk.ms += RETAINED_LINKED_MS;
    assert_eq!(desk.news(), [Desk::wrote("t", 5)]);
    desk.tail.tell_linked(nodes_of(&[2]));
    desk.show("t", 2, 6);
    assert_eq!(desk.news(), [Desk::wrote("t", 6)], "its writer, node 1, is not linked");
    desk.tail.tell_linked(nodes_of(&[1]));
    for number in 0..=RETAINED_LATE_WRITES_MAX as u64 {
        desk.show(&format!("t/{number}"), 3 + number, 7);
    }
    assert_eq!(desk.news(), [Desk::wrote("t/0", 7)], "no more wait than may");
}

#[test]
fn a_write_that_came_by_a_link_is_stored_when_its_writer_does_not() {
    let mut desk = Desk::new();
    for topic in ["lives", "dies"] {
        desk.tail.write_of_peer(entry(topic, 5, b"x"), at(desk.ms));
    }
    assert_eq!(desk.ask(), None);
    desk.show("lives", 1, 5);
    assert_eq!(desk.news(), [], "shards have it from the link");
    desk.ms += RETAINED_ORPHAN_MS;
    let Some(RetainedAsk::Look { id, subject: of }) = desk.ask() else { panic!("a look") };
    assert_eq!(of, subject("dies"));
    desk.answer(id, RetainedAnswer::Last { sequence: 0, bytes: &[] });
    assert_eq!(desk.append().expected, Some(0));
    assert_eq!(desk.ask(), None);
}

#[test]
fn what_cannot_be_read_is_told_and_written_anew_by_who_has_it() {
    let mut desk = Desk::new();
    desk.show("t", 1, 5);
    desk.news();
    let mut damaged = entry("t", 6, b"x");
    damaged[20] ^= 1;
    desk.tail.handle_message(subject("t"), 2, &damaged, at(desk.ms));
    let error = RetainedEntryError::Checksum;
    assert_eq!(desk.news(), [RetainedNews::Damaged { sequence: 2, subject: subject("t"), error, is_mended: true }]);
    let append = desk.append();
    assert_eq!((append.expected, append.bytes), (Some(2), Bytes::from(entry("t", 5, b"x"))));
    // Nobody has anything to write there; nor does a whole message count under another topic's subject.
    desk.tail.handle_message(subject("u"), 3, &entry("t", 9, b"x"), at(desk.ms));
    let error = RetainedEntryError::Subject;
    assert_eq!(desk.news(), [RetainedNews::Damaged { sequence: 3, subject: subject("u"), error, is_mended: false }]);
}

#[test]
fn a_watch_that_ended_goes_on_behind_what_was_seen() {
    let mut desk = Desk::new();
    desk.show("t", 7, 5);
    desk.show("t", 7, 6);
    assert_eq!(desk.news(), [Desk::wrote("t", 5)], "a sequence is shown once");
    desk.tail.handle_watch_ended();
    assert_eq!(desk.ask(), Some(RetainedAsk::Watch { from: 8 }));
    desk.tail.handle_caught_up();
    assert_eq!((desk.ask(), desk.news()), (None, vec![]));
}

#[test]
fn no_more_is_asked_at_once_and_no_more_topics_wait_than_may() {
    let mut desk = Desk::new();
    for number in 0..RETAINED_WAITING_MAX {
        assert!(!desk.news().contains(&RetainedNews::Held(true)), "{number}");
        desk.write(&format!("t/{number}"), 5, Some(0));
    }
    assert_eq!(desk.news(), [RetainedNews::Held(true)]);
    let mut under_way: Vec<u64> = std::iter::from_fn(|| match desk.ask() {
        Some(RetainedAsk::Append(append)) => Some(append.id),
        None => None,
        other => panic!("{other:?}"),
    })
    .collect();
    assert_eq!(under_way.len(), RETAINED_APPENDS_IN_FLIGHT_MAX);
    let mut stored = 0;
    while let Some(id) = under_way.pop() {
        stored += 1;
        desk.answer(id, RetainedAnswer::Stored { sequence: stored });
        if desk.news().contains(&RetainedNews::Held(false)) {
            break;
        }
        under_way.push(desk.append().id);
    }
    assert_eq!(stored as usize, RETAINED_WAITING_MAX / 2 + 1);
}

#[test]
fn what_was_seen_is_kept_for_a_minute_and_no_more_bytes_than_may() {
    let mut desk = Desk::new();
    desk.show("t", 1, 9);
    desk.ms += RETAINED_KEPT_MS - 1;
    desk.show("t", 2, 8);
    let append = desk.append();
    desk.answer(append.id, RetainedAnswer::Stored { sequence: 3 });
    desk.ms += 2 * RETAINED_KEPT_MS;
    assert_eq!(desk.ask(), None);
    desk.show("t", 4, 7);
    assert_eq!(desk.ask(), None, "it is forgotten, so this is not known to be earlier");
    let large = vec![0; RETAINED_KEPT_MAX_BYTES / 4];
    desk.news();
    for number in 0..6_u64 {
        let topic = format!("t/{number}");
        desk.tail.handle_message(subject(&topic), 5 + number, &entry(&topic, 9, &large), at(desk.ms));
        assert_eq!(desk.ask(), None);
    }
    for number in 0..6_u64 {
        desk.show(&format!("t/{number}"), 20 + number, 8);
    }
    let mended = std::iter::from_fn(|| desk.ask()).count();
    assert!((2..6).contains(&mended), "{mended} of them are still known");
}
