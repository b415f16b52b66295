//! Another number of logs: what was on its way between the old ones arrives, and what is lost is told.

use std::cell::RefCell;
use std::rc::Rc;

use dunlin::ids::{NameKey, PacketId, Qos, SessionId, ShardId};
use dunlin::shard::rewrite;
use dunlin::store::format::{
    ForwardTarget, ListOf, LogId, LogRecord, MessageId, MessageRecord, QueuedRecord, SegmentNumber, StoreFile,
    WriteStamp,
};
use dunlin::store::{
    LogConfig, Medium, MediumError, NewLog, NewLogFiles, RecoveredLog, SegmentWrite, read_message, recover_log,
};
use dunlin::time::{Now, Timestamp};

use crate::disk::SimDisk;
use crate::world::{BATCH_MAX_BYTES, NODE, SEGMENT_BYTES};

const NOW: Now = Now { mono_ns: 5_000_000_000, unix_ms: 1_800_000_000_000 };

/// For several new logs at a time.
#[derive(Clone, Debug, Default)]
struct Shared(Rc<RefCell<SimDisk>>);

impl Medium for Shared {
    fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        self.0.borrow_mut().files(log)
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        self.0.borrow_mut().len(file)
    }

    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        self.0.borrow_mut().read(file, offset, into)
    }
}

impl NewLogFiles for Shared {
    type Error = MediumError;

    fn prepare(&mut self, log: LogId, number: SegmentNumber) -> Result<(), MediumError> {
        assert!(self.0.borrow_mut().create(StoreFile::Segment(log, number), SEGMENT_BYTES));
        Ok(())
    }

    fn write(&mut self, log: LogId, write: &SegmentWrite) -> Result<(), MediumError> {
        let mut disk = self.0.borrow_mut();
        disk.write(StoreFile::Segment(log, write.segment), write.offset, &write.bytes[write.range.clone()]);
        disk.complete();
        Ok(())
    }
}

const fn id_of(generation: u32, shard: u8) -> LogId {
    LogId { generation, shard: ShardId(shard) }
}

fn begin(disk: &Shared, log: LogId) -> NewLog<Shared> {
    let (segment_bytes, batch_max_bytes) = (SEGMENT_BYTES, BATCH_MAX_BYTES);
    let config = LogConfig { node: NODE, log, epoch: log.generation, segment_bytes, batch_max_bytes };
    NewLog::begin(config, disk.clone(), NOW)
}

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> MessageRecord<'a> {
    MessageRecord {
        id: MessageId(1),
        qos: Qos::ExactlyOnce,
        retain: true,
        expires: None,
        publisher: None,
        topic,
        properties: &[],
        properties_bytes: 0,
        payload,
        later_bytes: 0,
    }
}

fn recover(disk: &mut Shared, generation: u32, shards: u8) -> Vec<RecoveredLog> {
    (0..shards).map(|shard| recover_log(disk, NODE, id_of(generation, shard)).expect("it can be read")).collect()
}

fn write_anew(disk: &mut Shared, logs: &[RecoveredLog], shards: u8) -> (Vec<RecoveredLog>, u32) {
    let new = (0..shards).map(|shard| begin(disk, id_of(2, shard))).collect();
    let lost = rewrite(disk, logs, &NAMES, Timestamp(NOW.unix_ms), new).expect("the disk takes it");
    (recover(disk, 2, shards), lost)
}

#[test]
fn a_retained_message_arrives_though_the_log_that_sends_it_has_nothing_else_on_its_topic() {
    let mut disk = Shared::default();
    let mut sender = begin(&disk, id_of(1, 0));
    let message = sender.push_message(&message("r/0", b"kept"));
    let stamp = WriteStamp { time_ns: 9, shard: 0 };
    let (to, groups) = (ShardId(1), ListOf::Values(&[]));
    sender.push(&LogRecord::Forward(ForwardTarget {
        to,
        number: 1,
        message,
        plain: false,
        retained: Some(stamp),
        groups,
    }));
    sender.finish().expect("the disk takes it");
    let mut owner = begin(&disk, id_of(1, 1));
    owner.push(&LogRecord::Started { at: Timestamp(1) });
    owner.finish().expect("the disk takes it");
    let old = recover(&mut disk, 1, 2);
    let (new, lost) = write_anew(&mut disk, &old, 1);
    assert_eq!(lost, 0);
    let found = new[0].state.retained.get("r/0").expect("it was acknowledged");
    let body = read_message(&mut disk, new[0].log, &new[0].state, found.message.expect("it is not deleted"));
    assert_eq!(body.expect("the disk can be read").expect("it is there").payload(), b"kept");
}

#[test]
fn a_delivery_in_flight_whose_bytes_are_lost_is_gone_and_counted_and_one_that_the_client_has_is_not() {
    let mut disk = Shared::default();
    let mut log = begin(&disk, id_of(1, 0));
    let session = log.next_slot();
    log.push(&LogRecord::SessionBegun { session, client_id: "c", expiry_s: 60, at: Timestamp(1) });
    for packet_id in [3, 4] {
        let message = log.push_message(&message("t", &[packet_id as u8; 2_000]));
        let (packet_id, ids, qos) = (PacketId::new(packet_id), ListOf::Values(&[]), Qos::AtLeastOnce);
        let queued = QueuedRecord { session, message, qos, retain: false, packet_id, group: None, ids };
        log.push(&LogRecord::Queued(queued));
    }
    log.push(&LogRecord::Released { session, packet_id: PacketId::new(5).expect("not 0") });
    log.finish().expect("the disk takes it");
    let old = recover(&mut disk, 1, 1);
    // The bytes of the first message go when everything has been read but them.
    let (first, _) = old[0].state.messages.iter().min().expect("there are two");
    let place = old[0].state.messages.place(first).expect("it was written");
    let file = StoreFile::Segment(old[0].log, place.segment);
    disk.0.borrow_mut().flip(file, u64::from(place.offset + place.len / 2) * 8);
    let (new, lost) = write_anew(&mut disk, &old, 2);
    assert_eq!(lost, 1);
    let mut sessions = new.iter().flat_map(|log| log.state.sessions());
    let (_, found) = sessions.next().expect("it goes on");
    let mut in_flight: Vec<_> =
        found.deliveries.iter().map(|d| (d.packet_id.map(PacketId::get), d.message.is_some())).collect();
    in_flight.sort_unstable();
    assert_eq!((in_flight, session), (vec![(Some(4), true), (Some(5), false)], SessionId(0)));
}

/// A session of the log, which is subscribed to this.
fn begin_session(log: &mut NewLog<Shared>, client_id: &str, filters: &[&str]) -> SessionId {
    let session = log.next_slot();
    log.push(&LogRecord::SessionBegun { session, client_id, expiry_s: 60, at: Timestamp(1) });
    for filter in filters {
        log.push(&LogRecord::Subscribed { session, filter, options: 2, identifier: None });
    }
    session
}

/// What is queued for each client, its groups' messages marked, after one message on `t` was on its way to the second of three logs for this group.
fn queued_after_arriving(group: &str, fill: impl Fn(&mut [NewLog<Shared>])) -> Vec<(String, Vec<Option<u64>>)> {
    let mut disk = Shared::default();
    let mut old: Vec<_> = (0..3).map(|shard| begin(&disk, id_of(1, shard))).collect();
    let message = old[0].push_message(&message("t", b"m"));
    let groups = [NAMES.group(group, "t")];
    let (to, groups) = (ShardId(1), ListOf::Values(&groups));
    let forward = ForwardTarget { to, number: 1, message, plain: false, retained: None, groups };
    old[0].push(&LogRecord::Forward(forward));
    old[1].push(&LogRecord::Started { at: Timestamp(1) });
    old[2].push(&LogRecord::Started { at: Timestamp(1) });
    fill(&mut old);
    for log in old {
        log.finish().expect("the disk takes it");
    }
    let old = recover(&mut disk, 1, 3);
    let (new, _) = write_anew(&mut disk, &old, 2);
    let sessions = new.iter().flat_map(|log| log.state.sessions());
    let mut queued: Vec<_> = sessions
        .map(|(_, session)| {
            let groups =
                session.deliveries.iter().map(|delivery| delivery.extra.as_ref().and_then(|extra| extra.group));
            (session.client_id.to_string(), groups.collect())
        })
        .collect();
    queued.sort();
    queued
}

const NAMES: NameKey = NameKey { first: 1, second: 2 };

#[test]
fn what_was_for_a_member_that_is_ending_is_for_another_and_not_for_its_successor() {
    let queued = queued_after_arriving("g", |logs| {
        let session = begin_session(&mut logs[1], "c", &["$share/g/t"]);
        logs[1].push(&LogRecord::SessionExpiry { session, expiry_s: 0 });
        begin_session(&mut logs[1], "c", &[]);
        begin_session(&mut logs[1], "d", &["$share/g/t", "t"]);
    });
    let nothing = |name: &str| (name.to_owned(), Vec::new());
    let of_group = ("d".to_owned(), vec![Some(NAMES.group("g", "t"))]);
    assert_eq!(queued, [nothing("c"), nothing("c"), of_group]);
}

#[test]
fn what_was_for_a_member_that_has_left_is_for_one_of_another_log() {
    let queued = queued_after_arriving("g", |logs| {
        begin_session(&mut logs[1], "left", &["$share/h/t"]);
        begin_session(&mut logs[2], "there", &["$share/g/t"]);
    });
    let of_group = ("there".to_owned(), vec![Some(NAMES.group("g", "t"))]);
    assert_eq!(queued, [("left".to_owned(), Vec::new()), of_group]);
}
