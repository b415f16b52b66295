//! Tests of all layouts together: any record, any bytes, the bytes of this version, and the document about them.

mod document;
mod golden;
pub(in crate::store) mod sample;

use super::*;
use sample::{Dice, any_record};

#[test]
fn any_record_reads_back_and_takes_one_form_only() {
    let mut dice = Dice::new(7);
    for round in 0..20_000 {
        let base = if round % 2 == 0 { dice.below(300) } else { dice.next() >> dice.below(64) };
        let (arena, mut bytes, mut again) = (sample::Arena::new(&mut dice), Vec::new(), Vec::new());
        let record = any_record(&mut dice, &arena, base);
        record.encode(base, &mut bytes);
        let read: Vec<_> = Records::of_batch(&bytes, base).collect();
        let [Ok(found)] = read[..] else { panic!("{record:?} reads back as {read:?}") };
        assert_eq!((found.record, found.base, found.offset, found.bytes), (record, base, 0, &bytes[..]));
        found.record.encode(base, &mut again);
        assert_eq!(again, bytes, "{record:?}");
        if let LogRecord::Message(MessageRecord { id, .. }) | LogRecord::MessagePart { message: id, .. } = record {
            assert_eq!(read_alone(&bytes, id), Ok(record));
            assert!(read_alone(&bytes, MessageId(id.0.wrapping_add(1))).is_err(), "of another message");
        }
    }
}

#[test]
fn a_damaged_record_is_an_error_or_another_record_and_ends_the_batch() {
    let mut dice = Dice::new(8);
    for _ in 0..20_000 {
        let (arena, mut bytes) = (sample::Arena::new(&mut dice), Vec::new());
        let base = dice.below(1 << 40);
        for index in 0..3 {
            any_record(&mut dice, &arena, base + index).encode(base + index, &mut bytes);
        }
        let bit = dice.below(bytes.len() as u64 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes.truncate(bytes.len() - dice.below(4) as usize);
        let read: Vec<_> = Records::of_batch(&bytes, base).collect();
        let errors = read.iter().position(Result::is_err);
        assert!(errors.is_none_or(|at| at + 1 == read.len()), "nothing is read behind an error");
        // What is read at all is the only form of what it says.
        for found in read.into_iter().flatten() {
            let mut again = Vec::new();
            found.record.encode(found.base, &mut again);
            if !matches!(found.record, LogRecord::Message(_) | LogRecord::MessagePart { .. }) {
                assert_eq!(again, found.bytes, "{:?}", found.record);
            }
        }
    }
}

#[test]
fn a_message_read_alone_is_the_one_that_was_written_or_none() {
    let mut dice = Dice::new(9);
    for _ in 0..2_000 {
        let (arena, mut bytes) = (sample::Arena::new(&mut dice), Vec::new());
        let record = LogRecord::Message(sample::any_message(&mut dice, &arena, 4));
        record.encode(4, &mut bytes);
        let LogRecord::Message(MessageRecord { id, .. }) = record else { unreachable!() };
        let bit = dice.below(bytes.len() as u64 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A length that has grown may leave the record cut off; nothing else is let through.
        assert!(read_alone(&bytes, id).is_err(), "bit {bit} of {record:?}");
    }
}

#[test]
fn random_bytes_are_refused_without_harm() {
    let mut dice = Dice::new(10);
    for _ in 0..20_000 {
        let bytes: Vec<u8> =
            (0..dice.below(200)).map(|_| dice.next() as u8 & if dice.below(2) == 0 { 0x1f } else { 0xff }).collect();
        let records = Records::of_page(&bytes, dice.next());
        assert!(records.count() <= bytes.len());
        assert!(BatchHeader::read(&bytes).is_err() && PageHeader::read(&bytes).is_err());
        assert!(SegmentHeader::open(&bytes).is_err() && Manifest::open(&bytes).is_err());
    }
}

#[test]
fn a_number_of_a_kind_is_given_once() {
    let mut numbers: Vec<u8> = KINDS.iter().map(|(number, _, _)| *number).collect();
    numbers.dedup();
    assert_eq!(numbers, (1..=KINDS.len() as u8).collect::<Vec<_>>());
}
