//! Reading a range's log.

use super::script::{Script, at, claim, next, read_whole};
use crate::cluster::{
    BatchKind, LogAnswer, LogDamage, LogOperation, RangeBatchError, RangeClaim, RangeLog, RangeNews, StatePage,
};
use crate::limits::{RANGE_LOOKS_MAX, RANGE_SEQUENCE_MAX, STEP_DOWNS_MAX};

fn state(page: u32, is_last: bool) -> BatchKind {
    BatchKind::State(StatePage { page, is_last })
}

fn wants_to_mark(log: &mut RangeLog) -> bool {
    matches!(log.next_operation(at(0)), Some(LogOperation::Append { .. }))
}

#[test]
fn only_the_unbroken_run_of_a_mark_counts() {
    let mut script = Script::new();
    let old = script.run(7, 2);
    let new = script.run(8, 0);
    // Of two messages that the old owner had on their way, the new MARK has the place of the first.
    script.append(old, 4, BatchKind::Records, b"late");
    // The new owner does not know that yet: what it had on its way is void, too.
    script.append(new, 2, BatchKind::Records, b"void");
    script.run(8, 1);
    // Twice the same: the second is not at its place.
    let last = script.run(9, 1);
    script.append(last, 1, BatchKind::Records, b"again");
    script.append(last, 3, BatchKind::Records, b"behind");
    let mut log = RangeLog::new(claim(1));
    assert_eq!(read_whole(&mut log, &script), ["7.1", "7.2", "8.1", "9.1"]);
    assert!(wants_to_mark(&mut log));
}

#[test]
fn a_hole_is_asked_of_each_replica_and_never_skipped() {
    let mut script = Script::new();
    script.run(7, 5);
    let mut log = RangeLog::new(claim(1));
    assert_eq!(next(&mut log), LogOperation::Look);
    for step_down in 0..=STEP_DOWNS_MAX {
        log.handle_answer(script.info(), at(0));
        let read = next(&mut log);
        let records = script.serve(&mut log, &read, &[4]);
        assert_eq!(records.len(), if step_down == 0 { 2 } else { 0 });
        // First it looks whether the hole was purged meanwhile.
        assert_eq!(next(&mut log), LogOperation::Look);
        log.handle_answer(script.info(), at(0));
        if step_down < STEP_DOWNS_MAX {
            assert_eq!((log.next_news(), next(&mut log)), (None, LogOperation::StepDown));
            log.handle_answer(LogAnswer::SteppedDown, at(0));
            assert_eq!(next(&mut log), LogOperation::Look);
        }
    }
    assert_eq!(log.next_news(), Some(RangeNews::Quarantined { sequence: 4, damage: LogDamage::Hole }));
    log.handle_tick(at(1_000_000));
    assert_eq!(log.next_operation(at(1_000_000)), None);
    assert!(log.owner().is_none());
}

#[test]
fn a_replica_that_has_it_whole_goes_on_where_the_damaged_one_failed() {
    let mut script = Script::new();
    script.run(7, 3);
    let mut damaged = script.clone();
    damaged.messages[2][66] ^= 1;
    let mut log = RangeLog::new(claim(1));
    assert_eq!(read_whole(&mut log, &damaged), ["7.1"]);
    assert_eq!(next(&mut log), LogOperation::Look);
    log.handle_answer(script.info(), at(0));
    assert_eq!(next(&mut log), LogOperation::StepDown);
    log.handle_answer(LogAnswer::SteppedDown, at(0));
    assert_eq!(read_whole(&mut log, &script), ["7.2", "7.3"]);
    assert!(wants_to_mark(&mut log));
}

/// Reads a damaged log to the end of its tries: what it was quarantined for.
fn quarantine(claim: RangeClaim, script: &Script) -> (u64, LogDamage) {
    let mut log = RangeLog::new(claim);
    loop {
        let operation = next(&mut log);
        match operation {
            LogOperation::Look => log.handle_answer(script.info(), at(0)),
            LogOperation::StepDown => log.handle_answer(LogAnswer::SteppedDown, at(0)),
            LogOperation::Read { .. } => {
                script.serve(&mut log, &operation, &[]);
            }
            other => panic!("{other:?}"),
        }
        if let Some(news) = log.next_news() {
            let RangeNews::Quarantined { sequence, damage } = news else { panic!("{news:?}") };
            return (sequence, damage);
        }
    }
}

#[test]
fn whatever_does_not_fit_ends_in_quarantine() {
    let mut script = Script::new();
    script.run(7, 3);
    let mut flipped = script.clone();
    flipped.messages[1][66] ^= 1;
    assert_eq!(quarantine(claim(1), &flipped), (2, LogDamage::Message(RangeBatchError::Checksum)));
    let mut swapped = Script::new();
    let mark = swapped.run(7, 1);
    // Written behind another message than the one that is there.
    let mut other = Script::new();
    other.run(7, 0);
    other.append(mark, 1, BatchKind::Records, b"other");
    other.append(mark, 2, BatchKind::Records, b"next");
    swapped.messages.push(other.messages[2].clone());
    assert_eq!(quarantine(claim(1), &swapped), (3, LogDamage::Chain));
    let foreign = RangeClaim { range: crate::cluster::RangeId(4), ..claim(1) };
    assert_eq!(quarantine(foreign, &script), (1, LogDamage::ForeignRange));
    script.purge(2);
    assert_eq!(quarantine(claim(1), &script), (2, LogDamage::Beginning));
}

#[test]
fn a_log_that_is_shorter_than_it_was_is_not_taken_for_all_there_is() {
    let mut script = Script::new();
    script.run(7, 3);
    let known = RangeClaim { floor: 5, ..claim(1) };
    assert_eq!(quarantine(known, &script), (5, LogDamage::Short));
    // Nor an empty one for a new one.
    assert_eq!(quarantine(known, &Script::new()), (1, LogDamage::Short));
    // A replica that is behind gets time first.
    let mut log = RangeLog::new(known);
    for _ in 0..RANGE_LOOKS_MAX {
        assert_eq!(next(&mut log), LogOperation::Look);
        log.handle_answer(script.info(), at(0));
    }
    script.run(8, 0);
    assert_eq!(read_whole(&mut log, &script), ["7.1", "7.2", "7.3"]);
    assert!(wants_to_mark(&mut log));
}

#[test]
fn a_log_begins_with_a_whole_state_and_batches_between_its_pages() {
    let mut script = Script::new();
    let mark = script.run(7, 1);
    script.append(mark, 2, state(0, false), b"page 0");
    script.append(mark, 3, BatchKind::Records, b"between");
    script.append(mark, 4, state(1, true), b"page 1");
    script.append(mark, 5, BatchKind::Records, b"after");
    // Where nothing was purged, a state says nothing new.
    assert_eq!(read_whole(&mut RangeLog::new(claim(1)), &script), ["7.1", "between", "after"]);
    script.purge(3);
    let mut log = RangeLog::new(claim(1));
    assert_eq!(read_whole(&mut log, &script), ["page 0", "between", "page 1", "after"]);
    assert!(wants_to_mark(&mut log));
    // Cut off within its state it is damaged, be that at its end or by another MARK.
    script.messages.truncate(2);
    assert_eq!(quarantine(claim(1), &script), (5, LogDamage::State));
    script.run(8, 1);
    assert_eq!(quarantine(claim(1), &script), (5, LogDamage::State));
}

#[test]
fn a_log_that_is_purged_while_it_is_read_is_read_anew() {
    let mut script = Script::new();
    let mark = script.run(7, 4);
    script.append(mark, 5, state(0, true), b"state");
    let mut log = RangeLog::new(claim(1));
    assert_eq!(next(&mut log), LogOperation::Look);
    log.handle_answer(script.info(), at(0));
    let LogOperation::Read { read, .. } = next(&mut log) else { panic!("a read") };
    assert!(log.handle_message(read, 1, &script.messages[0]).is_none());
    assert!(log.handle_message(read, 2, &script.messages[1]).is_some());
    let sixth = script.messages[5].clone();
    script.purge(6);
    assert!(log.handle_message(read, 6, &sixth).is_none());
    assert_eq!(next(&mut log), LogOperation::Look);
    log.handle_answer(script.info(), at(0));
    assert_eq!(log.next_news(), Some(RangeNews::BegunAnew));
    let read = next(&mut log);
    assert_eq!(script.serve(&mut log, &read, &[]), ["state"]);
    assert!(wants_to_mark(&mut log));
}

#[test]
fn a_read_that_breaks_off_blames_nobody() {
    let mut script = Script::new();
    script.run(7, 2);
    let mut log = RangeLog::new(claim(1));
    assert_eq!(next(&mut log), LogOperation::Look);
    log.handle_answer(LogAnswer::LookFailed, at(0));
    assert_eq!(next(&mut log), LogOperation::Look);
    log.handle_answer(script.info(), at(0));
    let LogOperation::Read { read, .. } = next(&mut log) else { panic!("a read") };
    log.handle_message(read, 1, &script.messages[0]);
    log.handle_answer(LogAnswer::ReadEnded { read, is_whole: false }, at(0));
    assert_eq!(read_whole(&mut log, &script), ["7.1", "7.2"]);
    // What comes late of a read that has ended is not heard.
    assert!(log.handle_message(read, 2, &script.messages[1]).is_none());
    assert!(wants_to_mark(&mut log));
}

#[test]
fn an_engine_that_tells_impossible_sequences_is_not_heard() {
    let mut log = RangeLog::new(claim(1));
    for (first, last) in [(1, u64::MAX), (u64::MAX, u64::MAX), (1, RANGE_SEQUENCE_MAX + 1)] {
        assert_eq!(next(&mut log), LogOperation::Look);
        log.handle_answer(LogAnswer::Info { first, last }, at(0));
    }
    // The last that is believed is read, and nothing that it might say is counted on from.
    assert_eq!(next(&mut log), LogOperation::Look);
    log.handle_answer(LogAnswer::Info { first: RANGE_SEQUENCE_MAX, last: RANGE_SEQUENCE_MAX }, at(0));
    let LogOperation::Read { read, from, to } = next(&mut log) else { panic!("a read") };
    assert_eq!((from, to), (RANGE_SEQUENCE_MAX, RANGE_SEQUENCE_MAX));
    for sequence in [0, 1, RANGE_SEQUENCE_MAX, u64::MAX] {
        assert!(log.handle_message(read, sequence, b"nothing").is_none());
    }
    assert_eq!(next(&mut log), LogOperation::Look);
    // One that is said to be empty, and has a beginning, was emptied by somebody else.
    let emptied = RangeClaim { floor: 0, ..claim(1) };
    let mut log = RangeLog::new(emptied);
    for _ in 0..=RANGE_LOOKS_MAX {
        assert_eq!(next(&mut log), LogOperation::Look);
        log.handle_answer(LogAnswer::Info { first: 10, last: 9 }, at(0));
    }
    assert_eq!(next(&mut log), LogOperation::StepDown);
}
