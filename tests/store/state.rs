//! What a log comes to is what the shard had, with and without a checkpoint, and when the power went.

use std::collections::BTreeMap;

use dunlin::ids::{SessionId, ShardId, SubscriptionId};
use dunlin::store::format::{LogRecord, MessageId, PageKind, StoreFile};
use dunlin::store::state::{LogState, StoredSession};
use dunlin::store::{CheckpointWriter, PageWrite, RecoveredLog, read_message, recover_log};

use crate::disk::SimDisk;
use crate::for_each_seed;
use crate::model::{Model, ModelDelivery, ModelSession, Shard};
use crate::world::{LOG, NODE, World};

fn recover(disk: &mut SimDisk) -> RecoveredLog {
    recover_log(disk, NODE, LOG).expect("the disk can be read")
}

/// The state in the model's words, bodies read back.
fn shown(disk: &mut SimDisk, state: &LogState) -> Model {
    let mut body = |id: MessageId| {
        let message = read_message(disk, LOG, state, id).expect("the disk can be read");
        let message = message.unwrap_or_else(|| panic!("message {id:?} is wanted and cannot be read"));
        assert_eq!((message.topic.as_str(), message.properties()), ("t", &[1_u8, 1][..]));
        message.payload().to_vec()
    };
    let mut model = Model::default();
    for (slot, session) in state.sessions() {
        model.sessions.insert(slot.0, shown_session(session, &mut body));
    }
    for (topic, retained) in &state.retained {
        model.retained.insert(topic.to_string(), (retained.stamp.time_ns, retained.message.map(&mut body)));
    }
    for (to, number) in state.mailbox.numbered() {
        model.numbered.insert(to.0, number);
        let forwards = state.mailbox.forwards(to);
        model.forwards.extend(forwards.map(|forward| (to.0, forward.number, body(forward.message))));
    }
    model.forwards.sort();
    model
}

fn shown_session(session: &StoredSession, body: &mut impl FnMut(MessageId) -> Vec<u8>) -> ModelSession {
    let deliveries = session.deliveries.iter().map(|delivery| ModelDelivery {
        payload: delivery.message.map(&mut *body),
        qos: delivery.qos,
        retain: delivery.retain,
        packet_id: delivery.packet_id.map(u16::from),
        group: delivery.extra.as_ref().and_then(|extra| extra.group),
        ids: delivery.extra.iter().flat_map(|extra| &extra.ids).map(|id| id.get()).collect(),
    });
    let deliveries = deliveries.collect();
    let subscriptions = session
        .subscriptions
        .iter()
        .map(|(filter, stored)| (filter.to_owned(), (stored.options, stored.identifier.map(SubscriptionId::get))));
    ModelSession {
        client_id: session.client_id.to_string(),
        expiry_s: session.expiry_s,
        disconnected: session.disconnected.map(|at| at.0),
        subscriptions: subscriptions.collect(),
        deliveries,
        exchanges: session.exchanges.iter().map(|id| id.get()).collect(),
        will: session.will.as_ref().map(|will| (body(will.message), will.delay_s, will.message_expiry_s)),
        will_decision: session.will.as_ref().and_then(|will| will.decision),
        owner: session.owner().map(|owner| {
            assert_eq!((owner.listener, owner.peer, owner.is_superuser, owner.asks_back_end), ("l", None, false, true));
            (owner.user.map(str::to_owned), owner.rules.unwrap_or_default().to_vec())
        }),
        allowed: session.allowed_filters().iter().map(ToString::to_string).collect(),
    }
}

/// Says where two models differ, and not all that is in them.
#[track_caller]
fn assert_same(found: &Model, mut wanted: Model) {
    wanted.forwards.sort();
    for slot in found.sessions.keys().chain(wanted.sessions.keys()) {
        assert_eq!(found.sessions.get(slot), wanted.sessions.get(slot), "session {slot}");
    }
    assert_eq!(found.retained, wanted.retained);
    assert_eq!((&found.forwards, &found.numbered), (&wanted.forwards, &wanted.numbered));
    assert_eq!(*found, wanted);
}

/// So many steps of a shard, written as the disk allows.
pub(crate) fn live(world: &mut World, shard: &mut Shard, steps: u64, snapshots: &mut BTreeMap<u64, Model>) {
    for _ in 0..steps {
        shard.step(world);
        snapshots.insert(world.writer.appended(), shard.model.clone());
        if world.dice.once_in(3)
            && let Some(write) = world.begin_write()
        {
            world.complete(write);
        }
    }
}

#[test]
fn a_log_comes_to_what_the_shard_had() {
    for_each_seed(300, |seed| {
        let (mut world, mut shard) = (World::new(seed), Shard::default());
        live(&mut world, &mut shard, 200, &mut BTreeMap::new());
        world.flush();
        let recovered = recover(&mut world.disk);
        assert_same(&shown(&mut world.disk, &recovered.state), shard.model);
        assert_eq!((recovered.state.unmatched, &recovered.scan.damage[..]), (0, &[][..]));
        let wanted = recovered.state.messages.iter().all(|(_, wanted)| wanted > 0);
        assert!(wanted, "a message is kept that nobody wants");
    });
}

#[test]
fn a_power_cut_leaves_the_state_at_the_end_of_a_group() {
    for_each_seed(300, |seed| {
        let (mut world, mut shard) = (World::new(seed), Shard::default());
        let mut snapshots = BTreeMap::from([(0, Model::default())]);
        live(&mut world, &mut shard, 100, &mut snapshots);
        let _ = world.begin_write();
        let mut dice = world.dice.clone();
        world.disk.cut_power(&mut dice);
        let recovered = recover(&mut world.disk);
        let end = recovered.scan.end.position;
        assert!(end >= world.acknowledged);
        let then = snapshots.remove(&end).expect("a log ends where a group did");
        assert_same(&shown(&mut world.disk, &recovered.state), then);
    });
}

/// Writes pages into a checkpoint's file, at the end of what is there.
fn write(disk: &mut SimDisk, number: u32, pages: impl IntoIterator<Item = PageWrite>) {
    let file = StoreFile::Checkpoint(LOG, number);
    for PageWrite { offset, bytes, range } in pages {
        if offset == 0 {
            disk.create(file, 0);
        }
        let stored = disk.bytes_mut(file);
        assert_eq!(stored.len() as u64, offset, "pages follow each other");
        stored.extend_from_slice(&bytes[range]);
    }
}

/// A checkpoint whose pages are taken while the shard goes on. Returns the position it begins at.
pub(crate) fn checkpoint(world: &mut World, shard: &mut Shard, number: u32) -> u64 {
    let now = |world: &mut World, shard: &mut Shard| {
        let steps = world.dice.below(20);
        live(world, shard, steps, &mut BTreeMap::new());
        world.flush();
        // What a shard would have in its memory.
        let recovered = recover(&mut world.disk.clone());
        (recovered.scan.end.position, recovered.state)
    };
    let (begin, _) = now(world, shard);
    let (mut writer, page) = CheckpointWriter::begin(LOG, number, begin);
    write(&mut world.disk, number, [page]);
    let mut first = 0;
    while first < 12 {
        let end = if first >= 8 { u32::MAX } else { first + 4 };
        let (position, state) = now(world, shard);
        let mut records = Vec::new();
        let mut slots: Vec<SessionId> = state.sessions().map(|(slot, _)| slot).collect();
        slots.sort_unstable();
        for slot in slots.into_iter().filter(|slot| (first..end).contains(&slot.0)) {
            state.session(slot).expect("just seen").encode(slot, position, &mut records);
        }
        write(&mut world.disk, number, writer.sessions(position, first..end, &records));
        first = end;
    }
    let (position, state) = now(world, shard);
    let mut records = Vec::new();
    state.encode_retained(position, &mut records);
    write(&mut world.disk, number, writer.others(PageKind::Retained, position, &records));
    let (position, state) = now(world, shard);
    records.clear();
    state.encode_mailbox(position, &mut records);
    write(&mut world.disk, number, writer.others(PageKind::Outbox, position, &records));
    write(&mut world.disk, number, [writer.end(position)]);
    begin
}

#[test]
fn a_checkpoint_and_what_is_behind_it_come_to_the_same() {
    for_each_seed(150, |seed| {
        let (mut world, mut shard) = (World::new(seed), Shard::default());
        let begin = checkpoint(&mut world, &mut shard, 1);
        live(&mut world, &mut shard, 30, &mut BTreeMap::new());
        world.flush();
        let mut with = world.disk.clone();
        let recovered = recover(&mut with);
        assert_eq!((recovered.checkpoint, recovered.replayed_from), (Some(1), begin));
        assert_eq!(recovered.refused, []);
        assert_eq!(recovered.state.unmatched, 0);
        assert_same(&shown(&mut with, &recovered.state), shard.model.clone());
        world.disk.remove(StoreFile::Checkpoint(LOG, 1));
        let without = recover(&mut world.disk);
        assert_same(&shown(&mut world.disk, &without.state), shard.model);
    });
}

#[test]
fn a_checkpoint_that_is_cut_off_or_damaged_counts_for_nothing_and_the_one_before_it_does() {
    for_each_seed(150, |seed| {
        let (mut world, mut shard) = (World::new(seed), Shard::default());
        checkpoint(&mut world, &mut shard, 1);
        checkpoint(&mut world, &mut shard, 2);
        live(&mut world, &mut shard, 10, &mut BTreeMap::new());
        world.flush();
        let file = StoreFile::Checkpoint(LOG, 2);
        let len = world.disk.bytes(file).len() as u64;
        let is_cut = world.dice.once_in(2);
        if is_cut {
            let blocks = world.dice.below(len / 4096);
            world.disk.bytes_mut(file).truncate(blocks as usize * 4096);
        } else {
            let page = world.dice.below(len / 4096) * 4096;
            let bit = page * 8 + world.dice.below(64 * 8);
            world.disk.flip(file, bit);
        }
        let recovered = recover(&mut world.disk);
        assert_eq!((recovered.checkpoint, recovered.refused.len()), (Some(1), 1));
        assert_same(&shown(&mut world.disk, &recovered.state), shard.model);
    });
}

#[test]
fn a_session_that_does_not_fit_into_a_page_takes_several() {
    let mut state_records = Vec::new();
    let session = SessionId(5);
    LogRecord::SessionBegun { session, client_id: "large", expiry_s: 1, at: dunlin::time::Timestamp(1) }
        .encode(10, &mut state_records);
    for index in 0..60_000 {
        let filter = format!("some/filter/that/is/not/short/{index}");
        LogRecord::Subscribed { session, filter: &filter, options: 1, identifier: None }.encode(10, &mut state_records);
    }
    let mut disk = SimDisk::default();
    let (mut writer, first) = CheckpointWriter::begin(LOG, 1, 10);
    let pages = writer.sessions(10, 0..u32::MAX, &state_records);
    assert!(pages.len() >= 2);
    write(&mut disk, 1, std::iter::once(first).chain(pages));
    write(&mut disk, 1, [writer.end(10)]);
    let recovered = recover(&mut disk);
    assert_eq!(recovered.state.session(session).map(|session| session.subscriptions.len()), Some(60_000));
}

#[test]
fn what_another_log_has_taken_over_is_not_sent_again_and_no_number_is_given_twice() {
    use dunlin::store::format::LogId;
    use dunlin::store::join_logs;
    let (mut world, mut shard) = (World::new(3), Shard::default());
    live(&mut world, &mut shard, 300, &mut BTreeMap::new());
    world.flush();
    let sender = recover(&mut world.disk);
    let numbered = shard.model.numbered[&4];
    assert!(numbered > 3, "the seed sends something");
    for taken in [0, 2, numbered, numbered + 5] {
        let mut page = Vec::new();
        LogRecord::InboxTaken { from: LOG.shard, number: taken }.encode(1, &mut page);
        let other = LogId { shard: ShardId(4), ..LOG };
        let mut disk = SimDisk::default();
        let (mut writer, first) = CheckpointWriter::begin(other, 1, 1);
        let file = StoreFile::Checkpoint(other, 1);
        disk.create(file, 0);
        let outbox = writer.others(PageKind::Outbox, 1, &page);
        for page in std::iter::once(first).chain(outbox).chain([writer.end(1)]) {
            disk.bytes_mut(file).extend_from_slice(&page.bytes[page.range]);
        }
        let receiver = recover_log(&mut disk, NODE, other).expect("it can be read");
        let mut logs = [recover(&mut world.disk), receiver];
        join_logs(&mut logs);
        let left: Vec<u64> = logs[0].state.mailbox.forwards(ShardId(4)).map(|forward| forward.number).collect();
        assert_eq!(left, (taken + 1..=numbered).collect::<Vec<_>>());
        let next = logs[0].state.mailbox.numbered().find(|(to, _)| *to == ShardId(4)).map(|(_, number)| number);
        assert_eq!(next, Some(numbered.max(taken)), "the record of a forward that arrived may have been lost");
        assert!(logs[0].state.messages.len() <= sender.state.messages.len());
    }
}
