//! Writing a range's log.

use super::script::{Script, at, claim, next, owned, read_whole};
use crate::cluster::{AppendId, LogAnswer, LogOperation, LossReason, RangeBatch, RangeLog, RangeNews};
use crate::limits::{RANGE_APPENDS_IN_FLIGHT_MAX, RANGE_RETRY_MS};

fn append(log: &mut RangeLog) -> AppendId {
    log.owner().unwrap().append(1, b"x");
    sent(log)
}

fn sent(log: &mut RangeLog) -> AppendId {
    match next(log) {
        LogOperation::Append { id, .. } => id,
        other => panic!("no append but {other:?}"),
    }
}

fn durable(log: &mut RangeLog) -> Option<u64> {
    match log.next_news() {
        Some(RangeNews::Durable { n }) => Some(n),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn acknowledgements_count_strictly_in_order() {
    let (mut log, mark) = owned(&Script::new());
    let ids = [append(&mut log), append(&mut log), append(&mut log)];
    log.handle_answer(LogAnswer::Appended { id: ids[2], sequence: mark + 3 }, at(0));
    log.handle_answer(LogAnswer::Appended { id: ids[1], sequence: mark + 2 }, at(0));
    assert_eq!(durable(&mut log), None);
    log.handle_answer(LogAnswer::Appended { id: ids[0], sequence: mark + 1 }, at(0));
    assert_eq!(durable(&mut log), Some(3));
    assert!(log.owner().unwrap().is_idle());
}

#[test]
fn a_refusal_voids_what_was_acknowledged_behind_it() {
    let (mut log, mark) = owned(&Script::new());
    let ids = [append(&mut log), append(&mut log)];
    // Another node's MARK has taken the place of the first, and the second was stored behind it.
    log.handle_answer(LogAnswer::Appended { id: ids[1], sequence: mark + 2 }, at(0));
    log.handle_answer(LogAnswer::Refused { id: ids[0] }, at(0));
    assert_eq!(log.next_news(), Some(RangeNews::Lost { reason: LossReason::Refused }));
    assert_eq!(log.next_news(), None);
    assert_eq!(log.next_operation(at(1_000)), None);
    assert!(!log.owner().unwrap().has_room());
}

#[test]
fn what_is_not_known_is_said_again_with_the_same_name_and_the_same_bytes() {
    let (mut log, mark) = owned(&Script::new());
    log.owner().unwrap().append(1, b"x");
    let first = log.next_operation(at(0));
    let Some(LogOperation::Append { id, expected_last, message_id, bytes }) = first else { panic!("an append") };
    assert_eq!(expected_last, mark);
    log.handle_answer(LogAnswer::Failed { id }, at(0));
    assert_eq!(log.next_operation(at(RANGE_RETRY_MS - 1)), None);
    assert_eq!(log.next_deadline(), Some(at(0).after_ms(RANGE_RETRY_MS)));
    let id = AppendId { attempt: 2, ..id };
    let again = LogOperation::Append { id, expected_last, message_id, bytes };
    assert_eq!(log.next_operation(at(RANGE_RETRY_MS)), Some(again));
    log.handle_answer(LogAnswer::Appended { id, sequence: mark + 1 }, at(0));
    assert_eq!(durable(&mut log), Some(1));
}

#[test]
fn a_refusal_counts_only_once_everything_before_is_acknowledged() {
    let (mut log, mark) = owned(&Script::new());
    let ids = [append(&mut log), append(&mut log)];
    // The first got lost on its way, so the second came to a log that was too short for it.
    log.handle_answer(LogAnswer::Refused { id: ids[1] }, at(0));
    log.handle_answer(LogAnswer::Failed { id: ids[0] }, at(0));
    assert_eq!((log.next_news(), log.next_operation(at(0))), (None, None));
    let again = sent(&mut log);
    assert_eq!(again, AppendId { n: 1, attempt: 2 });
    log.handle_answer(LogAnswer::Appended { id: again, sequence: mark + 1 }, at(0));
    assert_eq!(durable(&mut log), Some(1));
    let again = sent(&mut log);
    assert_eq!(again, AppendId { n: 2, attempt: 2 });
    // A late answer to the attempt before is none to this one; one to this one is.
    log.handle_answer(LogAnswer::Refused { id: ids[1] }, at(0));
    assert_eq!(log.next_news(), None);
    log.handle_answer(LogAnswer::Refused { id: again }, at(0));
    assert_eq!(log.next_news(), Some(RangeNews::Lost { reason: LossReason::Refused }));
}

#[test]
fn a_message_at_another_place_loses_the_range() {
    let (mut log, mark) = owned(&Script::new());
    let id = append(&mut log);
    log.handle_answer(LogAnswer::Appended { id, sequence: mark + 2 }, at(0));
    assert_eq!(log.next_news(), Some(RangeNews::Lost { reason: LossReason::Misplaced }));
}

#[test]
fn no_more_than_the_window_is_on_its_way() {
    let (mut log, _) = owned(&Script::new());
    for _ in 0..RANGE_APPENDS_IN_FLIGHT_MAX {
        assert!(log.owner().unwrap().has_room());
        append(&mut log);
    }
    assert!(!log.owner().unwrap().has_room());
}

#[test]
fn a_mark_that_is_refused_has_the_rest_read_and_is_made_anew() {
    let mut script = Script::new();
    script.run(7, 2);
    let mut log = RangeLog::new(claim(9));
    assert_eq!(read_whole(&mut log, &script), ["7.1", "7.2"]);
    let refused = sent(&mut log);
    script.run(8, 1);
    log.handle_answer(LogAnswer::Refused { id: refused }, at(0));
    assert_eq!(next(&mut log), LogOperation::Look);
    // A replica that is behind still has it end there.
    log.handle_answer(LogAnswer::Info { first: 1, last: 3 }, at(0));
    assert_eq!(next(&mut log), LogOperation::Look);
    log.handle_answer(script.info(), at(0));
    let read = next(&mut log);
    assert_eq!(script.serve(&mut log, &read, &[]), ["8.1"]);
    let LogOperation::Append { expected_last, bytes, .. } = next(&mut log) else { panic!("a MARK") };
    assert_eq!(expected_last, 5);
    let mark = RangeBatch::read(&bytes).unwrap().header;
    assert_eq!(mark.previous, RangeBatch::read(&script.messages[4]).unwrap().checksum);
}

#[test]
fn a_state_is_purged_up_to_once_it_is_durable_and_never_before() {
    let (mut log, mark) = owned(&Script::new());
    let before = append(&mut log);
    let owner = log.owner().unwrap();
    assert_eq!(owner.append_state(false, 1, b"a"), 2);
    assert_eq!(owner.append(1, b"between"), 3);
    assert_eq!(owner.append_state(true, 1, b"b"), 4);
    let rest = [(); 3].map(|()| sent(&mut log));
    for (index, id) in [before, rest[0], rest[1], rest[2]].into_iter().enumerate() {
        assert_eq!(log.next_operation(at(0)), None);
        log.handle_answer(LogAnswer::Appended { id, sequence: mark + 1 + index as u64 }, at(0));
    }
    assert_eq!(next(&mut log), LogOperation::Purge { before: mark + 2 });
    log.handle_answer(LogAnswer::PurgeFailed, at(0));
    assert_eq!(log.next_operation(at(0)), None);
    assert_eq!(next(&mut log), LogOperation::Purge { before: mark + 2 });
    assert!(log.owner().unwrap().is_compacting());
    log.handle_answer(LogAnswer::Purged, at(0));
    assert!(!log.owner().unwrap().is_compacting());
}

#[test]
fn who_gives_a_range_up_appends_nothing_more_and_does_not_claim_it_again() {
    let mut log = RangeLog::new(claim(9));
    read_whole(&mut log, &Script::new());
    let mark = sent(&mut log);
    log.release();
    assert_eq!(log.next_news(), Some(RangeNews::Lost { reason: LossReason::Released }));
    log.handle_answer(LogAnswer::Refused { id: mark }, at(0));
    assert_eq!((log.next_news(), log.next_operation(at(100))), (None, None));
}

#[test]
fn who_gives_a_range_up_while_it_reads_marks_nothing() {
    let mut script = Script::new();
    script.run(7, 2);
    let mut log = RangeLog::new(claim(9));
    assert_eq!(next(&mut log), LogOperation::Look);
    log.handle_answer(script.info(), at(0));
    let LogOperation::Read { read, .. } = next(&mut log) else { panic!("a read") };
    log.release();
    log.release();
    assert_eq!(log.next_news(), Some(RangeNews::Lost { reason: LossReason::Released }));
    for (index, bytes) in script.messages.iter().enumerate() {
        log.handle_message(read, index as u64 + 1, bytes);
    }
    log.handle_answer(LogAnswer::ReadEnded { read, is_whole: true }, at(0));
    assert_eq!((log.next_news(), log.next_operation(at(1_000))), (None, None));
    assert!(log.owner().is_none());
}
