//! Starting on a data directory: taking hold of it, reading everything back, and making it ready to be written.
//!
//! Always holds: nothing is served before the directory is this process's alone, everything that was acknowledged is read back,
//! what was read is on stable storage, and the manifest counts this start. What is damaged is told and left out.
//! Leaves to others: what the broker makes of the state (`shard`), and the log that goes on (`log`).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::directory::{Access, Directory, FoundManifest};
use super::error::DirectoryError;
use super::keeper::Keeper;
use super::medium::DirectoryMedium;
use super::new_log_files::begin_log;
use super::prepare::SegmentFile;
use super::read_progress::ReadProgress;
use super::request::StoreRequest;
use super::start_room::free_segments;
use super::survey::SurveyError;
use crate::ids::{NameKey, ShardId};
use crate::session::Message;
use crate::shard::{read_messages, rewrite};
use crate::store::format::{LogId, Manifest, MessageId, StoreFile};
use crate::store::{Medium, MediumError, RecoveredLog, join_logs, recover_log};
use crate::time::Timestamp;

/// A directory to serve from.
#[derive(Debug)]
pub struct OpenStore {
    /// Held for as long as the process lives.
    pub directory: Arc<Directory>,
    /// This start is counted in it.
    pub manifest: Manifest,
    /// One of its two copies could not be used: which, and why.
    pub lost_manifest: Option<String>,
    /// One a shard, in their order.
    pub logs: Vec<OpenLog>,
    /// What they were written anew from, where there were others before.
    pub before: Option<LogsBefore>,
    /// How long it took.
    pub took: Duration,
}

/// Logs of another number of shards, which do not count any more.
#[derive(Debug)]
pub struct LogsBefore {
    /// As they were read back: what was damaged in them is damaged no more, but gone.
    pub logs: Vec<RecoveredLog>,
    /// What was kept and is lost: deliveries, wills, retained messages.
    pub lost: u32,
}

/// A log that was read back, and can be gone on with.
#[derive(Debug)]
pub struct OpenLog {
    /// What it comes to.
    pub recovered: RecoveredLog,
    /// The messages that are wanted in memory, with their bodies, by ascending id.
    pub messages: Vec<(MessageId, Message)>,
    /// Messages whose bodies are lost, by ascending id.
    pub lost: Vec<MessageId>,
    /// The segment that is written next.
    pub first: SegmentFile,
    /// Why there is no room for another one, if there is none.
    pub short: Option<DirectoryError>,
}

impl OpenStore {
    /// Takes hold of a directory, made if it is not there, and reads it back.
    pub fn open(request: &StoreRequest) -> Result<Self, SurveyError> {
        let begun = Instant::now();
        let directory = Arc::new(Directory::open(&request.path, Access::Write)?);
        let known =
            if request.is_named { directory.own_manifest(&request.node_name)? } else { directory.manifest()? };
        let (mut manifest, lost_manifest) = match known {
            Some(FoundManifest { manifest, lost }) => (manifest, lost),
            None => directory.check_unused().map(|()| (new_manifest(request), None))?,
        };
        directory.remove_leftovers(&manifest)?;
        let mut recovered = recover(&directory, &manifest, &request.progress)?;
        join_logs(&mut recovered);
        let mut before = None;
        if usize::from(manifest.shards) != request.shards {
            let (next, lost) = write_anew(&directory, &manifest, request, &recovered)?;
            manifest = next;
            directory.write_manifest(&manifest)?;
            directory.remove_leftovers(&manifest)?;
            let logs = std::mem::replace(&mut recovered, recover(&directory, &manifest, &request.progress)?);
            before = Some(LogsBefore { logs, lost });
        }
        manifest.epoch += 1;
        manifest.node_name.clone_from(&request.node_name);
        manifest.segment_bytes = request.segment_bytes;
        manifest.last_stamp_ns = recovered.iter().map(last_stamp_ns).fold(manifest.last_stamp_ns, u64::max);
        let logs = in_parallel(recovered, |log| open_log(&directory, request, log))?;
        directory.write_manifest(&manifest)?;
        Ok(Self { directory, manifest, lost_manifest, logs, before, took: begun.elapsed() })
    }
}

/// Of a directory that nobody has used.
pub(super) fn new_manifest(request: &StoreRequest) -> Manifest {
    let [first, second, name, rest] = request.random;
    let mut node = [0; 16];
    node[..8].copy_from_slice(&name.to_le_bytes());
    node[8..].copy_from_slice(&rest.to_le_bytes());
    Manifest {
        node,
        node_name: request.node_name.clone(),
        made: request.now.timestamp_of(request.now.after_ms(0)),
        generation: 1,
        shards: request.shards as u16,
        epoch: 0,
        names: NameKey { first, second },
        last_stamp_ns: 0,
        segment_bytes: request.segment_bytes,
    }
}

fn recover(
    directory: &Directory,
    manifest: &Manifest,
    progress: &ReadProgress,
) -> Result<Vec<RecoveredLog>, SurveyError> {
    let logs = (0..manifest.shards).map(|shard| LogId { generation: manifest.generation, shard: ShardId(shard as u8) });
    let logs: Vec<LogId> = logs.collect();
    for log in &logs {
        directory.make_log(*log)?;
        let mut medium = DirectoryMedium::new(directory);
        for file in medium.files(*log)? {
            match medium.len(file) {
                Ok(len) => progress.expect(len),
                // It is told with what is lost.
                Err(MediumError::Unreadable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    in_parallel(logs, |log| {
        let mut medium = DirectoryMedium::with_progress(directory, progress);
        let recovered = recover_log(&mut medium, manifest.node, log)?;
        // What was written and not synced when the process ended was read all the same, and is about to be acted on.
        if let Some(last) = recovered.scan.segments.last() {
            sync(&directory.path_of(StoreFile::Segment(log, last.number)))?;
        }
        Ok(recovered)
    })
}

fn sync(path: &Path) -> Result<(), DirectoryError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| DirectoryError::of(path, error))
}

fn open_log(
    directory: &Arc<Directory>,
    request: &StoreRequest,
    recovered: RecoveredLog,
) -> Result<OpenLog, SurveyError> {
    let log = recovered.log;
    let queued_bytes = request.queued_memory_bytes / request.shards as u64;
    let mut medium = DirectoryMedium::new(directory);
    let (messages, lost) = read_messages(&mut medium, &recovered, queued_bytes, request.now)?;
    let first = prepare_first(directory, request, &recovered)?;
    let sizes = (request.segment_bytes, request.reserve_bytes);
    let short = match Keeper::check_now(directory, sizes, log, first.number.next()) {
        Ok(()) => None,
        Err(error) if error.is_full() => Some(error),
        Err(error) => return Err(error.into()),
    };
    Ok(OpenLog { recovered, messages, lost, first, short })
}

/// Writes the logs of the next generation, as many as are asked for. Gives the manifest that names it, which is to be written, and how much is lost.
fn write_anew(
    directory: &Arc<Directory>,
    manifest: &Manifest,
    request: &StoreRequest,
    logs: &[RecoveredLog],
) -> Result<(Manifest, u32), SurveyError> {
    let next = manifest.next_generation(request.shards as u16, request.segment_bytes);
    let new: Result<Vec<_>, SurveyError> =
        (0..next.shards).map(|shard| begin_log(directory, request, &next, ShardId(shard as u8))).collect();
    let at = Timestamp(request.now.unix_ms);
    let lost = rewrite(&mut DirectoryMedium::new(directory), logs, &manifest.names, at, new?)?;
    Ok((next, lost))
}

/// The segment that is written next. Where something is kept already, it may have the room that is left to others, and what nobody needs.
fn prepare_first(
    directory: &Arc<Directory>,
    request: &StoreRequest,
    recovered: &RecoveredLog,
) -> Result<SegmentFile, DirectoryError> {
    let number = recovered.scan.end.segment.next();
    let is_new = recovered.scan.segments.is_empty();
    let sizes = (request.segment_bytes, if is_new { request.reserve_bytes } else { 0 });
    match Keeper::prepare_now(directory, sizes, recovered.log, number) {
        Err(error) if error.is_full() && free_segments(directory, recovered)? => {
            Keeper::prepare_now(directory, sizes, recovered.log, number)
        }
        prepared => prepared,
    }
}

/// No stamp up to this one may be given again.
fn last_stamp_ns(log: &RecoveredLog) -> u64 {
    log.state.retained.values().map(|retained| retained.stamp.time_ns).max().unwrap_or(0)
}

/// Does something about each, all at once: a disk has more to give than one reader takes, and each has a core's work to do.
fn in_parallel<T: Send, R: Send>(
    each: Vec<T>,
    work: impl Fn(T) -> Result<R, SurveyError> + Sync,
) -> Result<Vec<R>, SurveyError> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = each.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("a panic ends the process"));
        joined.collect()
    })
}
