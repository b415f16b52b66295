//! One process's hold on a data directory, and its manifest.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::DirectoryError;
use super::prepare::replace_file;
use crate::ids::ShardId;
use crate::limits::STORE_BLOCK_BYTES;
use crate::store::format::{FormatError, LogId, Manifest, StoreFile};

/// What somebody wants of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To serve from it: it is made if it is not there.
    Write,
    /// To look at it: nothing in it is changed.
    Read,
}

/// A directory that nobody else uses while this lives, unless it was opened beside whoever does.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Held for their locks.
    _locks: Vec<File>,
}

/// A manifest that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundManifest {
    /// What it says.
    pub manifest: Manifest,
    /// One of its copies cannot be used: which, and why.
    pub lost: Option<String>,
}

const LOCK: &str = "lock";

impl Directory {
    /// Takes hold of a directory.
    pub fn open(path: &Path, access: Access) -> Result<Self, DirectoryError> {
        let remedy = match access {
            Access::Write => "; choose another one (--data-dir) or none (--storage memory)",
            Access::Read => "",
        };
        let not_there =
            |reason: String| DirectoryError::NotThere { path: path.to_owned(), reason: format!("{reason}{remedy}") };
        match (fs::metadata(path), access) {
            (Ok(found), _) if !found.is_dir() => return Err(not_there("it is a file".into())),
            (Ok(_), _) => {}
            (Err(error), Access::Write) if error.kind() == io::ErrorKind::NotFound => make_durable_folders(path)?,
            (Err(error), _) => return Err(not_there(error.to_string())),
        }
        let lock = path.join(LOCK);
        let mut options = OpenOptions::new();
        match access {
            Access::Write => options.write(true).create(true).truncate(false).mode(0o600),
            Access::Read => options.read(true),
        };
        let mut locks = Vec::new();
        match options.open(&lock) {
            Ok(file) => locks.extend(lock_file(path, file, true)?),
            // Somebody has deleted it: the directory's own lock says whether a broker uses it.
            Err(error) if access == Access::Read && error.kind() == io::ErrorKind::NotFound && has_manifest(path) => {}
            Err(error) if access == Access::Read && error.kind() == io::ErrorKind::NotFound => {
                return Err(not_there("no dunlin has ever used it".into()));
            }
            Err(error) => return Err(DirectoryError::of(&lock, error)),
        }
        let own = File::open(path).map_err(|error| DirectoryError::of(path, error))?;
        locks.extend(lock_file(path, own, locks.is_empty())?);
        Ok(Self { path: path.to_owned(), _locks: locks })
    }

    /// Looks into a directory without taking hold of it, whether somebody else uses it or not. Nothing in it may be changed.
    pub fn beside(path: &Path) -> Result<Self, DirectoryError> {
        let not_there = |reason: String| DirectoryError::NotThere { path: path.to_owned(), reason };
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => Err(not_there("it is a file".into())),
            Ok(_) if path.join(LOCK).exists() || has_manifest(path) => {
                Ok(Self { path: path.to_owned(), _locks: Vec::new() })
            }
            Ok(_) => Err(not_there("no dunlin has ever used it".into())),
            Err(error) => Err(not_there(error.to_string())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where one of its files is.
    pub fn path_of(&self, file: StoreFile) -> PathBuf {
        self.path.join(file.to_string())
    }

    /// The manifest, from whichever of its two copies is whole; `None` in a directory that nobody has finished making.
    pub fn manifest(&self) -> Result<Option<FoundManifest>, DirectoryError> {
        let copies = [StoreFile::Manifest, StoreFile::ManifestCopy].map(|file| self.read_manifest(file));
        match copies {
            [Ok(Some(first)), Ok(Some(second))] => {
                // The first is written first.
                let age = |manifest: &Manifest| (manifest.generation, manifest.epoch);
                let manifest = if age(&second) > age(&first) { second } else { first };
                Ok(Some(FoundManifest { manifest, lost: None }))
            }
            [Ok(Some(manifest)), other] | [other, Ok(Some(manifest))] => {
                let text = match other {
                    Ok(_) => "one of the two copies of the manifest is not there: the other one is used".to_owned(),
                    Err(error) => format!("{error}: its copy is used"),
                };
                Ok(Some(FoundManifest { manifest, lost: Some(text) }))
            }
            [Ok(None), Ok(None)] => Ok(None),
            [Err(error), _] | [Ok(None), Err(error)] => Err(error),
        }
    }

    fn read_manifest(&self, file: StoreFile) -> Result<Option<Manifest>, DirectoryError> {
        let path = self.path_of(file);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DirectoryError::Other { path, error }),
        };
        match Manifest::open(&bytes) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error @ FormatError::Newer(_)) => Err(DirectoryError::Newer { path: self.path.clone(), error }),
            Err(error) => Err(DirectoryError::Manifest { path, error }),
        }
    }

    /// The same, for a broker that is to serve from it under this name: another node's directory is refused.
    pub fn own_manifest(&self, node_name: &str) -> Result<Option<FoundManifest>, DirectoryError> {
        match self.manifest()? {
            Some(FoundManifest { manifest, .. }) if manifest.node_name != node_name => Err(DirectoryError::OtherNode {
                path: self.path.clone(),
                found: manifest.node_name,
                own: node_name.to_owned(),
            }),
            found => Ok(found),
        }
    }

    /// Makes sure that a directory without a manifest has nothing that one was lost of. A first start that was cut off has made files,
    /// and written to none.
    pub fn check_unused(&self) -> Result<(), DirectoryError> {
        let of = |error| DirectoryError::of(&self.path, error);
        for entry in fs::read_dir(&self.path).map_err(of)? {
            let folder = entry.map_err(of)?;
            let Some(log) = folder.file_name().to_str().and_then(LogId::parse) else { continue };
            for file in fs::read_dir(folder.path()).map_err(of)? {
                let file = file.map_err(of)?;
                let name = file.file_name();
                let is_used = match name.to_str().and_then(|name| StoreFile::parse(&format!("{log}/{name}"))) {
                    Some(StoreFile::Segment(..)) => begins_with_something(&file.path()).map_err(of)?,
                    Some(StoreFile::Checkpoint(..)) => true,
                    _ => false,
                };
                if is_used {
                    return Err(DirectoryError::NoManifest(self.path.clone()));
                }
            }
        }
        Ok(())
    }

    /// Replaces both copies of the manifest, durably, one after the other, each as a whole.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), DirectoryError> {
        let block = manifest.seal();
        [StoreFile::Manifest, StoreFile::ManifestCopy]
            .iter()
            .try_for_each(|file| replace_file(&self.path_of(*file), &block))
    }

    /// The folder of a log, made if it is not there.
    pub fn make_log(&self, log: LogId) -> Result<PathBuf, DirectoryError> {
        let path = self.path.join(log.to_string());
        make_folder(&path)?;
        Ok(path)
    }

    /// Deletes what was made under a manifest that was never written, and the directory if it was made for it.
    pub(super) fn remove_unfinished(&self, manifest: &Manifest, is_new: bool) {
        for shard in 0..manifest.shards {
            let log = LogId { generation: manifest.generation, shard: ShardId(shard as u8) };
            let _ = fs::remove_dir_all(self.path.join(log.to_string()));
        }
        if is_new {
            let _ = fs::remove_file(self.path.join(LOCK));
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Deletes what an earlier broker left behind that counts for nothing: logs of other generations than the manifest's, and
    /// files that were never completed.
    pub fn remove_leftovers(&self, manifest: &Manifest) -> Result<(), DirectoryError> {
        let of = |error| DirectoryError::of(&self.path, error);
        for entry in fs::read_dir(&self.path).map_err(of)? {
            let entry = entry.map_err(of)?;
            let name = entry.file_name();
            let Some(log) = name.to_str().and_then(LogId::parse) else { continue };
            let path = entry.path();
            if log.generation != manifest.generation || u16::from(log.shard.0) >= manifest.shards {
                fs::remove_dir_all(&path).map_err(|error| DirectoryError::of(&path, error))?;
                continue;
            }
            for file in fs::read_dir(&path).map_err(of)? {
                let file = file.map_err(of)?.path();
                if file.extension().is_some_and(|extension| extension == "new") {
                    super::prepare::remove_file(&file)?;
                }
            }
        }
        super::prepare::sync_folder(&self.path)
    }
}

/// Locks a file of a data directory, or the directory itself, against every other process. `None`: the file system has no lock for it, and
/// it can do without.
fn lock_file(path: &Path, file: File, is_needed: bool) -> Result<Option<File>, DirectoryError> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DirectoryError::InUse(path.to_owned())),
        Err(errno) if is_needed => Err(DirectoryError::of(path, errno.into())),
        Err(_) => Ok(None),
    }
}

fn has_manifest(path: &Path) -> bool {
    [StoreFile::Manifest, StoreFile::ManifestCopy].iter().any(|file| path.join(file.to_string()).exists())
}

/// Whether a file has been written to: those that were only made are zeros.
fn begins_with_something(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    File::open(path)?.take(STORE_BLOCK_BYTES as u64).read_to_end(&mut first)?;
    Ok(first.iter().any(|byte| *byte != 0))
}

/// Makes a data directory and the folders that it is in, each for its owner alone, since messages will be in it. Their names are made durable from above
/// to below: what is durable in a folder without a name is lost.
fn make_durable_folders(path: &Path) -> Result<(), DirectoryError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| fs::metadata(folder).is_err()).collect();
    let not_made = |error| DirectoryError::NotWritable { path: path.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(not_made)?;
    let named = missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty());
    named.into_iter().try_for_each(sync_name)
}

/// Makes the name of a folder durable that was just made, or by a start that was cut off.
fn sync_name(folder: &Path) -> Result<(), DirectoryError> {
    match super::prepare::sync_folder_of(folder) {
        // Who may make something in a folder need not be allowed to read it: then everything of the file system is written.
        Err(DirectoryError::NotWritable { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
            let of = |error| DirectoryError::Unsynced { path: folder.to_owned(), error };
            let opened = File::open(folder).map_err(of)?;
            rustix::fs::syncfs(opened).map_err(|errno| of(errno.into()))
        }
        synced => synced,
    }
}

/// A folder that is there for good, for its owner alone.
pub(super) fn make_folder(path: &Path) -> Result<(), DirectoryError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(DirectoryError::of(path, error)),
        _ => {}
    }
    super::prepare::sync_folder_of(path)
}
