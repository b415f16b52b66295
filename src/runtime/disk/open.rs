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
use super::prepare::SegmentFile;
use super::request::StoreRequest;
use super::reshard::rewrite;
use super::start_room::free_segments;
use super::survey::SurveyError;
use crate::codec::Forwarded;
use crate::ids::{NameKey, ShardId};
use crate::session::{Message, MessageRef};
use crate::store::format::{LogId, Manifest, MessageId, StoreFile};
use crate::store::{RecoveredLog, StoredMessage, join_logs, read_message, recover_log};
use crate::time::{Deadline, Now};

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
    /// How long it took.
    pub took: Duration,
}

/// A log that was read back, and can be gone on with.
#[derive(Debug)]
pub struct OpenLog {
    /// What it comes to.
    pub recovered: RecoveredLog,
    /// Every message that somebody wants, with its body, by ascending id.
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
        let mut recovered = recover(&directory, &manifest)?;
        join_logs(&mut recovered);
        if usize::from(manifest.shards) != request.shards {
            manifest = rewrite(&directory, &manifest, request, &recovered)?;
            directory.write_manifest(&manifest)?;
            directory.remove_leftovers(&manifest)?;
            recovered = recover(&directory, &manifest)?;
        }
        manifest.epoch += 1;
        manifest.node_name.clone_from(&request.node_name);
        manifest.segment_bytes = request.segment_bytes;
        manifest.last_stamp_ns = recovered.iter().map(last_stamp_ns).fold(manifest.last_stamp_ns, u64::max);
        let logs = in_parallel(recovered, |log| open_log(&directory, request, log))?;
        directory.write_manifest(&manifest)?;
        Ok(Self { directory, manifest, lost_manifest, logs, took: begun.elapsed() })
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

fn recover(directory: &Directory, manifest: &Manifest) -> Result<Vec<RecoveredLog>, SurveyError> {
    let logs = (0..manifest.shards).map(|shard| LogId { generation: manifest.generation, shard: ShardId(shard as u8) });
    in_parallel(logs.collect(), |log| {
        directory.make_log(log)?;
        let recovered = recover_log(&mut DirectoryMedium::new(directory), manifest.node, log)?;
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
    let mut medium = DirectoryMedium::new(directory);
    let (mut messages, mut lost) = (Vec::with_capacity(recovered.state.messages.len()), Vec::new());
    let mut ids: Vec<MessageId> = recovered.state.messages.iter().map(|(id, _)| id).collect();
    ids.sort_unstable(); // as they lie on the disk
    for id in ids {
        match read_message(&mut medium, log, &recovered.state, id)? {
            Some(stored) => messages.push((id, to_message(&stored, request.now))),
            None => lost.push(id),
        }
    }
    let first = prepare_first(directory, request, &recovered)?;
    let sizes = (request.segment_bytes, request.reserve_bytes);
    let short = Keeper::check_now(directory, sizes, log, first.number.next()).err();
    Ok(OpenLog { recovered, messages, lost, first, short })
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

/// The message as sessions keep it.
pub(super) fn to_message(stored: &StoredMessage, now: Now) -> Message {
    Message::new(&MessageRef {
        topic: &stored.topic,
        qos: stored.qos,
        retain: stored.retain,
        // What ended before the machine was started is over, and not for whoever can take it at once.
        expires: stored.expires.map(|at| now.deadline_of(at).max(Deadline(1))),
        publisher: stored.publisher,
        properties: Forwarded::from_clean_block(stored.properties()),
        payload: stored.payload(),
    })
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
