//! One message of a log that is being written, found by its id: what left memory comes back through this.
//!
//! Owns: what is known of the places of records, segment by segment; nothing of a segment before something in it is looked for.
//! Always holds: a message that is given out is the one that was asked for, whole: it has its id and its checksum in it. One that was written
//! again elsewhere is found there, whatever has become of the segment that it was in. Nothing is written.
//! Leaves to others: that what is asked for is durable, and when it is asked for again after an error of the disk.

use std::collections::BTreeMap;

use super::format::{LogId, LogRecord, MessageId, SegmentHeader, SegmentNumber, StoreFile, read_alone};
use super::medium::{Medium, MediumAround, MediumError};
use super::recovery::StoredMessage;
use super::scan::header_from_batch;
use super::segment_index::{Extent, SegmentIndex};
use crate::limits::STORE_BLOCK_BYTES;

/// See the module's text.
#[derive(Debug)]
pub struct MessageFinder {
    node: [u8; 16],
    log: LogId,
    segments: BTreeMap<SegmentNumber, SegmentIndex>,
}

impl MessageFinder {
    /// Knows nothing of the log yet, whose segments have to be of this node.
    pub const fn new(node: [u8; 16], log: LogId) -> Self {
        Self { node, log, segments: BTreeMap::new() }
    }

    /// The message that has this id; `None` for one that is lost, cut off or damaged. An error where it is not found and the disk did not give back
    /// something that it could have been in.
    pub fn find<M: Medium>(&mut self, medium: &mut M, id: MessageId) -> Result<Option<StoredMessage>, MediumError> {
        let medium = &mut MediumAround::new(medium);
        if let Ok(Some(found)) = self.read_message(medium, id, id.0) {
            return Ok(Some(found));
        }
        // A segment may have been begun since, or the message written again, and the file used for something else.
        self.look_around(medium)?;
        if let Some(found) = self.read_message(medium, id, id.0)? {
            return Ok(Some(found));
        }
        let last = self.segments.keys().next_back().copied();
        for (number, segment) in &mut self.segments {
            let extent = if Some(*number) == last { Extent::Written } else { Extent::Complete };
            segment.extend(medium, self.log, extent)?;
        }
        let copies: Vec<u64> = self.segments.values().rev().filter_map(|segment| segment.copy_of(id)).collect();
        for position in copies {
            if let Some(found) = self.read_message(medium, id, position)? {
                return Ok(Some(found));
            }
        }
        // It may be where the disk refused something when it was looked through before.
        let doubt = self.segments.values_mut().filter_map(SegmentIndex::look_again).last();
        medium.refused().cloned().or(doubt).map_or(Ok(None), Err)
    }

    /// Notes which segments there are, and forgets those that are gone.
    fn look_around<M: Medium>(&mut self, medium: &mut MediumAround<'_, M>) -> Result<(), MediumError> {
        let mut numbers: Vec<SegmentNumber> = Vec::new();
        for file in medium.files(self.log)? {
            if let StoreFile::Segment(_, number) = file {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        self.segments.retain(|number, _| numbers.binary_search(number).is_ok());
        // From the newest on: one without a header was made ready and not begun, unless others behind it were.
        for number in numbers.into_iter().rev() {
            if self.segments.contains_key(&number) {
                continue;
            }
            let refusals = medium.refusals();
            let mut header = self.own_header(medium, number)?;
            let is_followed = self.segments.keys().next_back().is_some_and(|last| *last > number);
            if header.is_none() && (is_followed || medium.refusals() > refusals) {
                header = header_from_batch(medium, self.node, self.log, number)?;
            }
            if let Some(header) = header {
                self.segments.insert(number, SegmentIndex::new(header));
            }
        }
        Ok(())
    }

    fn own_header<M: Medium>(
        &self,
        medium: &mut MediumAround<'_, M>,
        number: SegmentNumber,
    ) -> Result<Option<SegmentHeader>, MediumError> {
        let mut block = vec![0; STORE_BLOCK_BYTES];
        medium.read(StoreFile::Segment(self.log, number), 0, &mut block)?;
        let own = (self.node, self.log.generation, self.log.shard, number);
        let header = SegmentHeader::open(&block).ok();
        Ok(header.filter(|header| (header.node, header.generation, header.shard, header.number) == own))
    }

    /// The message whose first record has this position, if it is that of `id`.
    fn read_message<M: Medium>(
        &mut self,
        medium: &mut MediumAround<'_, M>,
        id: MessageId,
        position: u64,
    ) -> Result<Option<StoredMessage>, MediumError> {
        let mut bytes = Vec::new();
        if !self.read_record(medium, position, &mut bytes)? {
            return Ok(None);
        }
        let Ok(LogRecord::Message(head)) = read_alone(&bytes, id) else { return Ok(None) };
        let mut content = [head.properties, head.payload].concat();
        let whole_bytes = content.len() + head.later_bytes as usize;
        let (mut part, mut next) = (Vec::new(), position + 1);
        while content.len() < whole_bytes {
            if !self.read_record(medium, next, &mut part)? {
                return Ok(None);
            }
            let Ok(LogRecord::MessagePart { bytes, .. }) = read_alone(&part, id) else { return Ok(None) };
            content.extend_from_slice(bytes);
            next += 1;
        }
        Ok(StoredMessage::of(&head, content))
    }

    fn read_record<M: Medium>(
        &mut self,
        medium: &mut MediumAround<'_, M>,
        position: u64,
        out: &mut Vec<u8>,
    ) -> Result<bool, MediumError> {
        let last = self.segments.keys().next_back().copied();
        // Each begins where the one before it ends, whatever may still stand behind that end.
        let Some(segment) = self.segments.values_mut().rev().find(|segment| segment.first() <= position) else {
            return Ok(false);
        };
        if !segment.reaches(position) {
            let is_last = Some(segment.number()) == last;
            segment.extend(medium, self.log, if is_last { Extent::Written } else { Extent::Complete })?;
            if is_last && !segment.reaches(position) {
                segment.extend(medium, self.log, Extent::PastDamage)?;
            }
        }
        segment.read_record(medium, self.log, position, out)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::ids::{Qos, SessionId, ShardId};
    use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_PART_MAX_BYTES, STORE_READ_ATTEMPTS};
    use crate::store::format::MessageRecord;
    use crate::store::{LogConfig, LogEnd, RecordGroup, RecordWriter, Urgency};
    use crate::time::Now;

    const LOG: LogId = LogId { generation: 1, shard: ShardId(3) };
    const NODE: [u8; 16] = [9; 16];
    const SEGMENT_BYTES: u64 = 2 * 1024 * 1024;
    const NOW: Now = Now { mono_ns: 0, unix_ms: 0 };

    /// Files in memory; some blocks are unreadable.
    #[derive(Default)]
    struct Files {
        bytes: BTreeMap<SegmentNumber, Vec<u8>>,
        unreadable: BTreeSet<(SegmentNumber, u64)>,
        reads: usize,
    }

    impl Medium for Files {
        fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError> {
            Ok(self.bytes.keys().map(|number| StoreFile::Segment(log, *number)).collect())
        }

        fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
            let StoreFile::Segment(_, number) = file else { panic!("{file}") };
            Ok(self.bytes[&number].len() as u64)
        }

        fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
            self.reads += 1;
            let StoreFile::Segment(_, number) = file else { panic!("{file}") };
            let Some(bytes) = self.bytes.get(&number) else {
                return Err(MediumError::Failed("it is not there".into()));
            };
            let last = (offset + into.len() as u64).div_ceil(STORE_BLOCK_BYTES as u64);
            let blocks = (number, offset / STORE_BLOCK_BYTES as u64)..(number, last);
            if self.unreadable.range(blocks).next().is_some() {
                return Err(MediumError::Unreadable { file, offset });
            }
            let from = &bytes[(offset as usize).min(bytes.len())..];
            let len = from.len().min(into.len());
            into[..len].copy_from_slice(&from[..len]);
            Ok(len)
        }
    }

    /// A log that is written to such files.
    struct Written {
        writer: RecordWriter,
        files: Files,
    }

    impl Written {
        fn new(end: LogEnd, epoch: u32, files: Files) -> Self {
            let config = LogConfig {
                node: NODE,
                log: LOG,
                epoch,
                segment_bytes: SEGMENT_BYTES,
                batch_max_bytes: STORE_BATCH_MAX_BYTES,
            };
            Self { writer: RecordWriter::new(config, end), files }
        }

        /// Appends messages as one turn would, each with a record behind it. Returns their ids.
        fn append(&mut self, payloads: &[Vec<u8>]) -> Vec<MessageId> {
            let (mut records, mut count, mut ids) = (Vec::new(), 0, Vec::new());
            for payload in payloads {
                let id = MessageId(self.writer.appended() + u64::from(count) + 1);
                count += put(id, payload, id.0, &mut records);
                let ended = LogRecord::SessionEnded { session: SessionId(count) };
                ended.encode(self.writer.appended() + u64::from(count) + 1, &mut records);
                count += 1;
                ids.push(id);
            }
            self.write(&records, count);
            ids
        }

        fn write(&mut self, records: &[u8], count: u32) {
            let urgency = Urgency::Awaited;
            self.writer.append(NOW, RecordGroup { records, count, inbox: &[], urgency });
            loop {
                while let Some(number) = self.writer.next_to_prepare() {
                    self.files.bytes.insert(number, vec![0; SEGMENT_BYTES as usize]);
                    self.writer.segment_prepared(number);
                }
                let Some(write) = self.writer.next_write(NOW) else { break };
                let file = self.files.bytes.get_mut(&write.segment).unwrap();
                let len = write.range.len();
                file[write.offset as usize..][..len].copy_from_slice(&write.bytes[write.range.clone()]);
                self.writer.written(write.bytes, Ok(len)).unwrap();
            }
        }
    }

    /// Encodes a message from a position on. Returns how many records it takes.
    fn put(id: MessageId, payload: &[u8], position: u64, records: &mut Vec<u8>) -> u32 {
        let whole = MessageRecord {
            id,
            qos: Qos::AtLeastOnce,
            retain: false,
            expires: None,
            publisher: None,
            topic: "some/topic",
            properties: b"",
            properties_bytes: 0,
            payload,
            later_bytes: 0,
        };
        let (first, parts) = whole.cut();
        LogRecord::Message(first).encode(position, records);
        let mut count = 1;
        for bytes in parts {
            LogRecord::MessagePart { message: id, bytes }.encode(position + u64::from(count), records);
            count += 1;
        }
        count
    }

    fn payload(number: usize, len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + number) as u8).collect()
    }

    fn find(finder: &mut MessageFinder, files: &mut Files, id: MessageId) -> Option<Vec<u8>> {
        finder.find(files, id).unwrap().map(|found| found.payload().to_vec())
    }

    #[test]
    fn every_message_is_found_in_whatever_batches_and_segments_it_is() {
        let mut log = Written::new(LogEnd::default(), 1, Files::default());
        let mut finder = MessageFinder::new(NODE, LOG);
        let mut all: Vec<(MessageId, Vec<u8>)> = Vec::new();
        for turn in 0..60 {
            let many = [1, 3, 400][turn % 3];
            let payloads: Vec<_> = (0..many).map(|number| payload(turn + number, 50 + 37 * (number % 40))).collect();
            all.extend(log.append(&payloads).into_iter().zip(payloads));
            // What was written last is found at once.
            let (id, wanted) = all.last().unwrap();
            assert_eq!(find(&mut finder, &mut log.files, *id).as_ref(), Some(wanted), "turn {turn}");
        }
        assert!(log.files.bytes.len() > 6, "it takes several segments");
        for (id, wanted) in &all {
            assert_eq!(find(&mut finder, &mut log.files, *id).as_ref(), Some(wanted), "{id:?}");
        }
        for (id, wanted) in all.iter().rev().step_by(7) {
            assert_eq!(find(&mut MessageFinder::new(NODE, LOG), &mut log.files, *id).as_ref(), Some(wanted), "{id:?}");
        }
        let before = log.files.reads;
        for (id, _) in &all {
            find(&mut finder, &mut log.files, *id);
        }
        assert!(log.files.reads - before <= all.len() + all.len() / 50, "a message is one read");
        // What is no message, or not there, is none.
        let last = all.last().unwrap().0.0;
        for id in [all[0].0.0 + 1, last + 1, last + 2, last + 1_000_000] {
            assert_eq!(find(&mut finder, &mut log.files, MessageId(id)), None, "{id}");
        }
    }

    /// Ten messages, each in a block of the first segment, and whether the log has gone on in another one.
    fn ten_messages(goes_on: bool) -> (Written, Vec<MessageId>, Vec<Vec<u8>>) {
        let mut log = Written::new(LogEnd::default(), 1, Files::default());
        let payloads: Vec<_> = (0..10).map(|number| payload(number, 3_000)).collect();
        let ids = payloads.iter().flat_map(|payload| log.append(std::slice::from_ref(payload))).collect();
        if goes_on {
            go_on_elsewhere(&mut log);
        }
        (log, ids, payloads)
    }

    /// Writes until the log is in another segment.
    fn go_on_elsewhere(log: &mut Written) {
        while log.writer.left_bytes() > 300_000 {
            log.append(&[payload(1, 100_000)]);
        }
        log.append(&[payload(1, 200_000), payload(2, 200_000)]);
    }

    #[test]
    fn a_block_that_cannot_be_read_loses_what_is_in_it_and_nothing_else() {
        for (block, goes_on) in [(0, false), (0, true), (3, false), (3, true)] {
            let (mut log, ids, payloads) = ten_messages(goes_on);
            log.files.unreadable.insert((SegmentNumber(1), block));
            let mut finder = MessageFinder::new(NODE, LOG);
            for (number, (id, payload)) in ids.iter().zip(&payloads).enumerate() {
                let found = finder.find(&mut log.files, *id);
                if block == number as u64 + 1 {
                    assert!(matches!(found, Err(MediumError::Unreadable { .. })), "{block} {goes_on} {number}");
                } else {
                    let found = found.unwrap().map(|found| found.payload().to_vec());
                    assert_eq!(found.as_ref(), Some(payload), "{block} {goes_on} {number}");
                }
            }
        }
    }

    #[test]
    fn what_can_be_read_again_is_found_again_some_times() {
        let hit = (SegmentNumber(1), 3);
        for goes_on in [false, true] {
            for attempts in 1..STORE_READ_ATTEMPTS {
                let (mut log, ids, payloads) = ten_messages(goes_on);
                let mut finder = MessageFinder::new(NODE, LOG);
                log.files.unreadable.insert(hit);
                for _ in 1..attempts {
                    assert!(finder.find(&mut log.files, ids[2]).is_err());
                    assert_eq!(find(&mut finder, &mut log.files, ids[5]), Some(payloads[5].clone()));
                }
                log.files.unreadable.remove(&hit);
                // Whoever has passed over it says so once more, and looks again.
                let found = (0..2).find_map(|_| finder.find(&mut log.files, ids[2]).ok()).flatten();
                let found = found.map(|found| found.payload().to_vec());
                assert_eq!(found.as_ref(), Some(&payloads[2]), "{goes_on} {attempts}");
            }
        }
    }

    #[test]
    fn what_was_written_again_is_found_there_when_its_block_cannot_be_read() {
        let (mut log, ids, payloads) = ten_messages(true);
        let mut records = Vec::new();
        let count = put(ids[2], &payloads[2], log.writer.appended() + 1, &mut records);
        log.write(&records, count);
        log.files.unreadable.insert((SegmentNumber(1), 3));
        let mut finder = MessageFinder::new(NODE, LOG);
        assert_eq!(find(&mut finder, &mut log.files, ids[2]), Some(payloads[2].clone()));
    }

    #[test]
    fn damage_in_front_of_what_is_looked_for_hides_it_nowhere() {
        let (mut log, ids, payloads) = ten_messages(false);
        log.files.bytes.get_mut(&SegmentNumber(1)).unwrap()[3 * STORE_BLOCK_BYTES + 500] ^= 1;
        let mut finder = MessageFinder::new(NODE, LOG);
        assert_eq!(find(&mut finder, &mut log.files, ids[2]), None);
        assert_eq!(find(&mut finder, &mut log.files, ids[7]), Some(payloads[7].clone()));
    }

    #[test]
    fn a_message_in_many_parts_over_several_batches_is_whole() {
        let mut log = Written::new(LogEnd::default(), 1, Files::default());
        let mut finder = MessageFinder::new(NODE, LOG);
        let long = payload(1, 5 * STORE_PART_MAX_BYTES + 100);
        log.append(&[payload(0, 100)]);
        let ids = log.append(&[payload(3, 10), long.clone(), payload(4, 10)]);
        assert_eq!(find(&mut finder, &mut log.files, ids[1]), Some(long));
        assert_eq!(find(&mut finder, &mut log.files, ids[2]), Some(payload(4, 10)));
    }

    #[test]
    fn what_was_written_again_is_found_when_its_segment_is_gone_or_used_for_something_else() {
        let mut log = Written::new(LogEnd::default(), 1, Files::default());
        let mut finder = MessageFinder::new(NODE, LOG);
        let payloads: Vec<_> = (0..100).map(|number| payload(number, 1_000)).collect();
        let ids = log.append(&payloads);
        assert_eq!(find(&mut finder, &mut log.files, ids[7]), Some(payloads[7].clone()));
        go_on_elsewhere(&mut log);
        let copies = |log: &mut Written, numbers: std::ops::Range<usize>| {
            let (mut records, mut count) = (Vec::new(), 0);
            for number in numbers {
                let position = log.writer.appended() + u64::from(count) + 1;
                count += put(ids[number], &payloads[number], position, &mut records);
            }
            log.write(&records, count);
        };
        copies(&mut log, 0..50);
        copies(&mut log, 40..60);
        // The file goes on as a later segment, and gets other content while the finder still knows it as the first.
        let first = *log.files.bytes.keys().next().unwrap();
        log.files.bytes.get_mut(&first).unwrap().fill(0x5a);
        for number in [0, 45, 59, 7] {
            assert_eq!(find(&mut finder, &mut log.files, ids[number]), Some(payloads[number].clone()), "{number}");
        }
        log.files.bytes.remove(&first);
        for number in [1, 44, 58, 7] {
            assert_eq!(find(&mut finder, &mut log.files, ids[number]), Some(payloads[number].clone()), "{number}");
        }
        assert_eq!(find(&mut finder, &mut log.files, ids[70]), None, "it was not written again");
    }

    #[test]
    fn a_broker_that_starts_again_leaves_what_lies_behind_the_end_aside() {
        let mut log = Written::new(LogEnd::default(), 1, Files::default());
        let first = log.append(&[payload(0, 100)]);
        let end = LogEnd { position: log.writer.appended(), checksum: 0, segment: SegmentNumber(1) };
        let lost = log.append(&[payload(1, 100)]);
        let mut again = Written::new(end, 2, log.files);
        let second = again.append(&[payload(2, 100)]);
        assert_eq!(lost, second, "the position is given again");
        let mut finder = MessageFinder::new(NODE, LOG);
        assert_eq!(find(&mut finder, &mut again.files, second[0]), Some(payload(2, 100)));
        assert_eq!(find(&mut finder, &mut again.files, first[0]), Some(payload(0, 100)));
    }

    #[test]
    fn damage_loses_what_it_hits_and_nothing_else() {
        let mut log = Written::new(LogEnd::default(), 1, Files::default());
        let payloads: Vec<_> = (0..10).map(|number| payload(number, 3_000)).collect();
        let ids: Vec<MessageId> =
            payloads.iter().flat_map(|payload| log.append(std::slice::from_ref(payload))).collect();
        for what in ["header", "batch"] {
            let file = log.files.bytes.get_mut(&SegmentNumber(1)).unwrap();
            // The block of the segment's header, or the one that the second batch is in.
            file[if what == "header" { 20 } else { 2 * STORE_BLOCK_BYTES + 500 }] ^= 1;
            go_on_elsewhere(&mut log);
            let mut finder = MessageFinder::new(NODE, LOG);
            for (number, (id, payload)) in ids.iter().zip(&payloads).enumerate() {
                let wanted = (what == "header" || number != 1).then_some(payload);
                assert_eq!(find(&mut finder, &mut log.files, *id).as_ref(), wanted, "{what}: {number}");
            }
        }
    }
}
