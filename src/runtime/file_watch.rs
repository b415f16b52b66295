//! Files that are read again when they change on disk, as at SIGHUP: users, rules, keys, certificates.
//!
//! Always holds: what changes is read again once it has stood still from one look to the next, so that a file which is being written is
//! not; what a reload has read, for whatever reason, is not read again for the same change; looking costs one `stat` a file.
//! Leaves to others: reading, and what becomes of it (`reload`).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::telemetry::log;

/// What a file is recognised by; `None` if it is not there. The last two change with its owner and its permissions, too: it may be readable
/// again.
type FileStamp = Option<(u64, u64, i64, i64, i64, i64)>;

/// See the module's text.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    read: Mutex<Vec<WatchedFile>>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WatchedFile {
    path: PathBuf,
    /// As it was when it was read last.
    stamp: FileStamp,
}

impl WatchedFiles {
    /// These, as they are now.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        Self { read: Mutex::new(look_at(paths)) }
    }

    /// These from now on. Those that were watched before are as they were read; others have been read just now.
    pub(super) fn replace(&self, paths: Vec<PathBuf>) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = look_at(paths);
        for file in &mut now {
            if let Some(known) = read.iter().find(|known| known.path == file.path) {
                file.stamp = known.stamp;
            }
        }
        *read = now;
    }

    /// They are about to be read, whatever the reason.
    pub(super) fn note_read(&self) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for file in read.iter_mut() {
            file.stamp = stamp(&file.path);
        }
    }

    fn look(&self) -> Vec<WatchedFile> {
        let paths =
            self.read.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|file| file.path.clone()).collect();
        look_at(paths)
    }

    /// Whether something is to be read again: it is another than was read, and the same as at the look before, which is kept in `before`.
    fn has_changed(&self, before: &mut Vec<WatchedFile>) -> bool {
        let now = self.look();
        let stands_still = *before == now;
        before.clone_from(&now);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !stands_still || *read == now {
            return false;
        }
        // Which files these are has just changed: the next look compares the same ones.
        if read.len() != now.len() || read.iter().zip(&now).any(|(read, now)| read.path != now.path) {
            return false;
        }
        let changed = read.iter().zip(&now).filter(|(read, now)| read != now);
        changed.for_each(|(file, _)| log::event::file_changed(&file.path.display()));
        *read = now;
        true
    }
}

/// Looks at them so often, and asks for a reload when something has changed.
pub(super) fn start(files: Arc<WatchedFiles>, every: Duration, reload: impl Fn() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("file-watch".into()).spawn(move || {
        let mut before = files.look();
        loop {
            thread::sleep(every);
            if files.has_changed(&mut before) {
                reload();
            }
        }
    })?;
    Ok(())
}

fn look_at(paths: Vec<PathBuf>) -> Vec<WatchedFile> {
    let look = |path: PathBuf| WatchedFile { stamp: stamp(&path), path };
    paths.into_iter().map(look).collect()
}

fn stamp(path: &PathBuf) -> FileStamp {
    let metadata = fs::metadata(path).ok()?;
    let (size, mtime, ctime) = (metadata.size(), metadata.mtime(), metadata.ctime());
    Some((metadata.ino(), size, mtime, metadata.mtime_nsec(), ctime, metadata.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_change_is_told_once_it_stands_still_and_not_if_it_was_read_meanwhile() {
        let directory = std::env::temp_dir().join(format!("dunlin-watch-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("users");
        let write = |text: &str| {
            fs::write(directory.join("new"), text).unwrap();
            fs::rename(directory.join("new"), &path).unwrap();
        };
        write("one");
        let files = WatchedFiles::new(vec![path.clone(), directory.join("missing")]);
        let mut before = files.look();
        assert!(!files.has_changed(&mut before));
        write("two, longer");
        assert!(!files.has_changed(&mut before), "it may still be written");
        assert!(files.has_changed(&mut before));
        assert!(!files.has_changed(&mut before), "once");
        write("three");
        files.note_read();
        assert!(!files.has_changed(&mut before) && !files.has_changed(&mut before), "SIGHUP was quicker");
        let permit = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let old = files.look();
        // The clock of the file system may stand still for some milliseconds.
        assert!(
            (0..1_000_000).any(|_| (permit(0o400), permit(0o600), files.look() != old).2),
            "a permission has changed"
        );
        assert!(!files.has_changed(&mut before) && files.has_changed(&mut before), "it may be readable by now");
        fs::remove_file(&path).unwrap();
        assert!(!files.has_changed(&mut before) && files.has_changed(&mut before), "one that has gone has changed");
        fs::remove_dir_all(&directory).unwrap();
    }
}
