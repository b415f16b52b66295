//! The logs of all shards, from what was read back to what each shard's pump goes on with.
//!
//! Always holds: whoever was connected when the process before ended counts as disconnected from now on, in the log as in memory;
//! what the keeper of files has to say wakes the shard that it is for.
//! Leaves to others: reading (`disk`), what the shard makes of it (`shard`).

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::disk::{
    BodyReader, CheckpointMaker, CheckpointPace, CheckpointParts, DirectoryError, DiskLog, Keeper, KeeperReport,
    LogNews, LogParts, LogProgress, LogsBefore, OpenLog, OpenStore, ReadProgress, StoreRequest, SurveyError,
    WatchedLog, space_of, tell_lost,
};
use super::shard_store::ShardStore;
use crate::config::{Config, Storage};
use crate::ids::{NameKey, ShardId};
use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_BLOCK_BYTES, STORE_NEWS_MAX};
use crate::ring::PlaneHandle;
use crate::shard::{
    Effects, Input, ProcessContext, RestoreStep, RestoredLog, RestoredRetained, RestoredSessions, Shard, StartRecords,
    Turn,
};
use crate::store::state::StoredSession;
use crate::store::{LogConfig, LogKeeping, LogStart, LostParts, MemoryStore, Position, RecoveredLog};
use crate::telemetry::log;
use crate::time::{Now, Timestamp};

/// See the module's text.
pub(super) struct ShardLogs {
    /// What client ids and shared subscriptions are reduced with.
    pub(super) names: NameKey,
    /// No stamp up to this one is given again.
    pub(super) last_stamp_ns: u64,
    logs: Vec<Option<ShardLog>>,
    wakes: ShardPlanes,
    /// Ends with this.
    _checkpoints: CheckpointMaker,
}

/// How to wake each shard, once they are there.
type ShardPlanes = Arc<OnceLock<Vec<PlaneHandle>>>;

/// What one shard goes on with.
pub(super) struct ShardLog {
    log: Box<DiskLog>,
    restored: RestoredLog,
    /// What was kept and is lost: deliveries, wills, retained messages.
    lost: u32,
    retained: Arc<[RestoredRetained]>,
}

impl ShardLogs {
    /// Opens the data directory, if there is to be one.
    pub(super) fn open(
        config: &Config,
        random: impl Fn() -> u64,
        now: Now,
        progress: &Arc<ReadProgress>,
    ) -> Result<Option<Self>, SurveyError> {
        let settings = &config.store;
        if settings.storage == Storage::Memory {
            return Ok(None);
        }
        if settings.data_dir.as_os_str().is_empty() {
            return Err(DirectoryError::Unknown.into());
        }
        let block = STORE_BLOCK_BYTES as u64;
        let request = StoreRequest {
            path: settings.data_dir.clone(),
            node_name: config.settings.node_name.to_string(),
            is_named: config.is_given("node-name"),
            shards: config.settings.shards,
            segment_bytes: settings.segment_size_bytes / block * block,
            reserve_bytes: settings.free_space_min_bytes,
            checkpoint_interval_s: settings.checkpoint_interval_s,
            checkpoint_pace_bytes: settings.checkpoint_pace_bytes,
            queued_memory_bytes: config.settings.queued_memory_max_bytes,
            random: [random(), random(), random(), random()],
            now,
            progress: Arc::clone(progress),
        };
        let store = OpenStore::open(&request)?;
        tell(&store);
        Self::new(store, &request).map(Some)
    }

    fn new(store: OpenStore, request: &StoreRequest) -> Result<Self, SurveyError> {
        let OpenStore { directory, manifest, logs, before, .. } = store;
        let mut lost_before = before.map_or(0, |before| before.lost);
        let wakes = ShardPlanes::default();
        let (senders, receivers): (Vec<_>, Vec<_>) = logs.iter().map(|_| bounded(STORE_NEWS_MAX)).unzip();
        let teller = NewsTeller { senders, wakes: Arc::clone(&wakes) };
        let tell_copies = teller.clone();
        let keeper = Keeper::start(Arc::clone(&directory), request.segment_bytes, request.reserve_bytes, {
            move |report: KeeperReport| teller.tell(report.order.log.shard, LogNews::Report(report))
        });
        let keeper = Arc::new(keeper.map_err(|error| DirectoryError::of(directory.path(), error))?);
        let tell_bodies = tell_copies.clone();
        let reader = BodyReader::start(Arc::clone(&directory), manifest.node, logs.len(), move |log, bodies| {
            tell_bodies.tell(log.shard, LogNews::Bodies(bodies));
        });
        let reader = Arc::new(reader.map_err(|error| DirectoryError::of(directory.path(), error))?);
        let (shards, short_logs) = (logs.len(), Arc::new(AtomicUsize::new(0)));
        let (mut begun, mut watched) = (Vec::new(), Vec::new());
        for (OpenLog { recovered, messages, first, short, lost }, news) in logs.into_iter().zip(receivers) {
            let config = LogConfig {
                node: manifest.node,
                log: recovered.log,
                epoch: manifest.epoch,
                segment_bytes: request.segment_bytes,
                batch_max_bytes: STORE_BATCH_MAX_BYTES,
            };
            let taken = (0..shards).map(|shard| recovered.state.mailbox.taken_from(ShardId(shard as u8)));
            let progress = Arc::new(LogProgress::new(first.number, taken));
            watched.push(WatchedLog::new(&recovered, Arc::clone(&progress)));
            let (end, keeper, reader) = (recovered.scan.end, Arc::clone(&keeper), Arc::clone(&reader));
            let (directory, short_logs) = (Arc::clone(&directory), Arc::clone(&short_logs));
            let parts = LogParts { config, directory, end, first, short, keeper, reader, news, progress, short_logs };
            let mut log = Box::new(DiskLog::new(parts));
            let Position(last) = log.appended();
            let start = StartRecords::of(&recovered.state, &lost, last, Timestamp(request.now.unix_ms));
            log.append(request.now, start.group());
            let lost_count = start.lost + std::mem::take(&mut lost_before);
            begun.push((log, RestoredLog { state: recovered.state, messages, lost }, lost_count));
        }
        let checkpoints = CheckpointMaker::start(CheckpointParts {
            directory: Arc::clone(&directory),
            node: manifest.node,
            segment_bytes: request.segment_bytes,
            interval: Duration::from_secs(request.checkpoint_interval_s.into()),
            pace: CheckpointPace::new(request.checkpoint_pace_bytes),
            keeper,
            logs: watched,
            tell: Box::new(move |shard, news| tell_copies.tell(shard, news)),
        });
        let checkpoints = checkpoints.map_err(|error| DirectoryError::of(directory.path(), error))?;
        let retained: Arc<[RestoredRetained]> = begun.iter().flat_map(|(_, restored, _)| restored.retained()).collect();
        let with_retained =
            |(log, restored, lost)| Some(ShardLog { log, restored, lost, retained: Arc::clone(&retained) });
        let logs = begun.into_iter().map(with_retained).collect();
        let (names, last_stamp_ns) = (manifest.names, manifest.last_stamp_ns);
        Ok(Self { names, last_stamp_ns, logs, wakes, _checkpoints: checkpoints })
    }

    /// What a shard goes on with. Once.
    pub(super) fn take(&mut self, shard: ShardId) -> Option<ShardLog> {
        self.logs.get_mut(shard.index()).and_then(Option::take)
    }

    /// The shards are there, and can be woken from now on.
    pub(super) fn begin(&self, planes: &[PlaneHandle]) {
        let _ = self.wakes.set(planes.to_vec());
    }
}

/// A shard with all that was read back, and what it goes on with.
pub(super) struct BegunShard {
    pub(super) shard: Shard,
    /// What has followed from that.
    pub(super) fx: Effects,
    pub(super) store: ShardStore,
    /// What of its records is durable.
    pub(super) durable: Position,
    /// What was on its way is still to be restored from it, if there is a log.
    pub(super) restored: Option<RestoredLog>,
}

/// Makes a shard: of what its log comes to, if it has one.
pub(super) fn begin_shard(own: ShardId, process: &ProcessContext, now: Now, log: Option<ShardLog>) -> BegunShard {
    let mut fx = Effects::default();
    let Some(ShardLog { log, restored, lost, retained }) = log else {
        let shard = Shard::new(own, process, now, LogStart::default());
        let store = ShardStore::Memory(MemoryStore::default());
        return BegunShard { shard, fx, store, durable: Position::default(), restored: None };
    };
    let durable = log.appended();
    let mut shard = Shard::new(own, process, now, LogStart { keeping: LogKeeping::Disk, last: durable });
    let sessions = RestoredSessions { log: &restored, retained: &retained, listeners: &process.listeners, lost };
    shard.handle(&mut Turn { now, fx: &mut fx }, Input::Restore(RestoreStep::Sessions(&sessions)));
    BegunShard { shard, fx, store: ShardStore::Disk(log), durable, restored: Some(restored) }
}

/// Tells the logs of shards what has become of files.
#[derive(Clone)]
struct NewsTeller {
    senders: Vec<Sender<LogNews>>,
    wakes: ShardPlanes,
}

impl NewsTeller {
    fn tell(&self, shard: ShardId, news: LogNews) {
        // A shard that has stopped has no use for it.
        if self.senders[shard.index()].send(news).is_ok()
            && let Some(planes) = self.wakes.get()
        {
            planes[shard.index()].wake();
        }
    }
}

/// Says what was read back, and what of it is lost.
fn tell(store: &OpenStore) {
    let logs = || store.logs.iter();
    let of_logs = |of: &dyn Fn(&OpenLog) -> usize| logs().map(of).sum::<usize>() as u64;
    let of_sessions = |of: &dyn Fn(&StoredSession) -> usize| {
        of_logs(&|log| log.recovered.state.sessions().map(|(_, session)| of(session)).sum())
    };
    log::event::StoreRecovered {
        path: &store.directory.path().display(),
        sessions: of_logs(&|log| log.recovered.state.sessions_len()),
        subscriptions: of_sessions(&|session| session.subscriptions.len()),
        queued: of_sessions(&|session| session.deliveries.len()),
        retained: of_logs(&|log| log.recovered.state.retained.values().filter(|found| found.message.is_some()).count()),
        records: logs().map(|log| log.recovered.scan.records).sum(),
        epoch: store.manifest.epoch.into(),
        took_ms: store.took.as_millis() as u64,
    }
    .log();
    if let Some(text) = &store.lost_manifest {
        log::event::store_warning(text);
    }
    for OpenLog { recovered, lost, .. } in logs() {
        tell_damage(recovered);
        if !lost.is_empty() {
            let text = format_args!("{}: the bytes of {} messages are lost", recovered.log, lost.len());
            log::event::store_damaged(&text);
        }
    }
    if let Some(LogsBefore { logs, lost }) = &store.before {
        logs.iter().for_each(tell_damage);
        if *lost > 0 {
            let text = "deliveries, wills and retained messages are lost with their bytes, of the logs before";
            log::event::store_damaged(&format_args!("{lost} {text}"));
        }
    }
    if let Ok((_, kind)) = space_of(store.directory.path())
        && let Some(warning) = kind.warning()
    {
        log::event::store_warning(&warning);
    }
    if logs().any(|log| !log.first.is_direct) {
        let text = "its file system writes through the page cache alone (no O_DIRECT): each acknowledgement waits for more work";
        log::event::store_warning(&text);
    }
}

fn tell_damage(RecoveredLog { log, state, scan, refused, .. }: &RecoveredLog) {
    for (number, error) in refused {
        log::event::store_damaged(&format_args!("{log}: checkpoint {number} is not usable: {error}"));
    }
    tell_lost(*log, &LostParts::of(scan));
    if state.unmatched > 0 {
        log::event::store_damaged(&format_args!("{log}: {} records refer to what is lost", state.unmatched));
    }
}
