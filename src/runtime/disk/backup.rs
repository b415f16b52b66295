//! `dunlin store backup`: a copy of a data directory, whether a broker uses it or not.
//!
//! Always holds: the copy has everything that was durable when it was begun, and is what one moment can have left behind: of two logs, none has taken
//! over what the other has not sent. Nothing in the directory is changed, and its lock is not needed; a broker does not use files again that are
//! being copied (`held`). The manifest comes last: a copy that was not finished is no data directory.
//! Leaves to others: where logs are cut (`store`), whether the copy is whole (`check`).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

use super::backup_copy::{copy_complete, copy_written, cut_off};
use super::backup_error::BackupError;
use super::backup_source::HeldLog;
use super::directory::{Access, Directory, FoundManifest};
use super::error::DirectoryError;
use super::medium::DirectoryMedium;
use super::prepare::{remove_file, replace_file, replace_whole_file, sync_folder};
use super::space::space_of;
use crate::ids::ShardId;
use crate::store::format::{LogId, Manifest, NewestSegment, SegmentNumber, StoreFile};
use crate::store::{CutPlace, LogTrace, Medium, consistent_cuts, recover_log_with};

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedStore {
    /// One of the two copies of the manifest could not be used: which, and why. The backup has both.
    pub lost_manifest: Option<String>,
    /// Files of logs.
    pub files: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Bans of operators, in a data directory.
pub const BANS_FILE: &str = "bans.json";
/// How often a broker may be started or stopped while its files are opened.
const ATTEMPTS: usize = 5;

/// Copies the data directory `from` to `to`, which is made.
pub fn backup(from: &Path, to: &Path) -> Result<CopiedStore, BackupError> {
    allow_open_files();
    let source = Directory::beside(from)?;
    let is_new = check_destination(from, to)?;
    let copy = Directory::open(to, Access::Write)?;
    let copied = Backup { source: &source, copy: &copy }.run();
    if copied.is_err() {
        // What is in it is of no use, and keeps its room.
        remove_contents(to);
        if is_new {
            let _ = fs::remove_dir(to);
        }
    }
    copied
}

/// Returns whether it is not there yet.
fn check_destination(from: &Path, to: &Path) -> Result<bool, BackupError> {
    let is_there = match fs::read_dir(to).map(Iterator::count) {
        Ok(0) => true,
        Ok(_) => return Err(BackupError::Exists(to.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(BackupError::Exists(to.to_owned())),
        Err(error) => return Err(BackupError::of_copy(to, error)),
    };
    let whole = |path: &Path| fs::canonicalize(path).ok();
    let above = to.ancestors().find_map(whole);
    if let (Some(from), Some(above)) = (whole(from), above.or_else(|| whole(Path::new("."))))
        && above.starts_with(from)
    {
        return Err(BackupError::Within(to.to_owned()));
    }
    Ok(!is_there)
}

fn remove_contents(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

/// Every file that is copied is open from the beginning.
fn allow_open_files() {
    let limits = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limits.maximum, ..limits });
}

struct Backup<'a> {
    source: &'a Directory,
    copy: &'a Directory,
}

impl Backup<'_> {
    fn run(&self) -> Result<CopiedStore, BackupError> {
        for _ in 0..ATTEMPTS {
            let FoundManifest { manifest: before, lost } = self.manifest()?;
            if let Some(logs) = self.open(&before)? {
                for HeldLog { log, .. } in &logs {
                    self.copy.make_log(*log)?;
                }
                let tails = logs.iter().map(|log| self.copy_tail(log)).collect::<Result<Vec<_>, _>>()?;
                if self.manifest()?.manifest == before {
                    let copied = self.copy_rest(&before, logs, &tails)?;
                    self.copy_bans()?;
                    self.copy.write_manifest(&before)?;
                    return Ok(CopiedStore { lost_manifest: lost, ..copied });
                }
            }
            remove_logs(self.copy);
            std::thread::sleep(Duration::from_millis(500));
        }
        Err(BackupError::Changing(self.source.path().to_owned()))
    }

    /// Whom operators have banned. The file is replaced whole, so it is one that was written.
    fn copy_bans(&self) -> Result<(), BackupError> {
        match fs::read(self.source.path().join(BANS_FILE)) {
            Ok(text) => Ok(replace_whole_file(&self.copy.path().join(BANS_FILE), &text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(BackupError::Unreadable { path: self.source.path().join(BANS_FILE), error }),
        }
    }

    fn manifest(&self) -> Result<FoundManifest, BackupError> {
        self.source.manifest()?.ok_or_else(|| {
            let reason = "it has no manifest: no dunlin has finished making it".into();
            DirectoryError::NotThere { path: self.source.path().to_owned(), reason }.into()
        })
    }

    /// Opens what is to be copied. In this order, so that what was durable when the last checkpoint had been opened is in what is copied of each log.
    fn open(&self, manifest: &Manifest) -> Result<Option<Vec<HeldLog>>, BackupError> {
        let mut logs = Vec::new();
        for shard in 0..manifest.shards {
            let log = LogId { generation: manifest.generation, shard: ShardId(shard as u8) };
            let Ok(held) = HeldLog::open(self.source, log)? else { return Ok(None) };
            logs.push(held);
        }
        for held in &mut logs {
            if held.extend(self.source)?.is_err() {
                return Ok(None);
            }
        }
        Ok(Some(logs))
    }

    /// Copies the segment that is written; those that were made ready behind it are left out. Gives its number.
    fn copy_tail(&self, held: &HeldLog) -> Result<Option<SegmentNumber>, BackupError> {
        for (number, file) in held.segments.iter().rev() {
            let name = StoreFile::Segment(held.log, *number);
            let to = self.copy.path_of(name);
            if copy_written(file, *number, (&self.source.path_of(name), &to))? {
                return Ok(Some(*number));
            }
            remove_file(&to)?;
        }
        Ok(None)
    }

    /// Copies what nobody writes any more, and cuts off what is not in all logs.
    fn copy_rest(
        &self,
        manifest: &Manifest,
        logs: Vec<HeldLog>,
        tails: &[Option<SegmentNumber>],
    ) -> Result<CopiedStore, BackupError> {
        self.check_room(&logs, tails)?;
        let names: Vec<_> = logs.iter().map(|held| (held.log, held.missing)).collect();
        for (held, tail) in logs.into_iter().zip(tails) {
            let HeldLog { log, segments, checkpoints, .. } = held;
            let checkpoints = checkpoints.into_iter().map(|(number, file)| (StoreFile::Checkpoint(log, number), file));
            let complete = segments.into_iter().filter(|(number, _)| Some(*number) < *tail);
            let complete = complete.map(|(number, file)| (StoreFile::Segment(log, number), file));
            for (name, file) in checkpoints.chain(complete) {
                // It is let go of as soon as it has been copied.
                copy_complete(&file, &self.source.path_of(name), &self.copy.path_of(name))?;
            }
        }
        self.cut(manifest, &names)?;
        let mut copied = CopiedStore::default();
        for (log, missing) in names {
            self.finish(log, missing, &mut copied)?;
        }
        sync_folder(self.copy.path())?;
        Ok(copied)
    }

    fn check_room(&self, logs: &[HeldLog], tails: &[Option<SegmentNumber>]) -> Result<(), BackupError> {
        let complete = logs.iter().zip(tails).flat_map(|(held, tail)| {
            let segments = held.segments.iter().filter(move |(number, _)| Some(**number) < *tail);
            held.checkpoints.values().chain(segments.map(|(_, file)| file))
        });
        let bytes = complete.map(|file| file.metadata().map_or(0, |found| found.blocks() * 512));
        let needed_bytes = bytes.sum();
        let (free_bytes, _) = space_of(self.copy.path())?;
        if free_bytes < needed_bytes {
            return Err(BackupError::NoRoom { path: self.copy.path().to_owned(), free_bytes, needed_bytes });
        }
        Ok(())
    }

    /// Leaves out what one log has taken over and another does not have, and what an earlier use of a file has left behind its end.
    fn cut(&self, manifest: &Manifest, logs: &[(LogId, Option<SegmentNumber>)]) -> Result<(), BackupError> {
        let mut medium = DirectoryMedium::new(self.copy);
        let (mut traces, mut ends) = (Vec::new(), Vec::new());
        for (log, _) in logs {
            let mut trace = LogTrace::new(*log);
            let recovered = recover_log_with(&mut medium, manifest.node, *log, |batch| trace.note(batch))?;
            trace.finish(&recovered);
            traces.push(trace);
            let end = recovered.scan.segments.last();
            ends.push(end.map(|seen| CutPlace { segment: seen.number, block: seen.blocks }));
        }
        for (((log, _), cut), end) in logs.iter().zip(consistent_cuts(&traces)).zip(ends) {
            let Some(CutPlace { segment, block }) = cut.or(end) else { continue };
            for file in medium.files(*log)? {
                match file {
                    StoreFile::Segment(_, number) if number > segment => remove_file(&self.copy.path_of(file))?,
                    StoreFile::Segment(_, number) if number == segment => cut_off(&self.copy.path_of(file), block)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Notes the newest segment of a copied log, as a broker would, and counts what it takes.
    fn finish(&self, log: LogId, missing: Option<SegmentNumber>, copied: &mut CopiedStore) -> Result<(), BackupError> {
        let mut newest = missing.unwrap_or_default();
        for file in DirectoryMedium::new(self.copy).files(log)? {
            let path = self.copy.path_of(file);
            copied.files += 1;
            copied.bytes += fs::metadata(&path).map_or(0, |found| found.blocks() * 512);
            if let StoreFile::Segment(_, number) = file {
                newest = newest.max(number);
            }
        }
        if newest.0 > 0 {
            replace_file(&self.copy.path_of(StoreFile::Newest(log)), &NewestSegment(newest).seal())?;
        }
        Ok(sync_folder(&self.copy.path().join(log.to_string()))?)
    }
}

/// Of an attempt that came to nothing.
fn remove_logs(copy: &Directory) {
    let entries = fs::read_dir(copy.path()).into_iter().flatten().flatten();
    let logs = entries.filter(|entry| entry.file_name().to_str().and_then(LogId::parse).is_some());
    logs.for_each(|entry| _ = fs::remove_dir_all(entry.path()));
}
