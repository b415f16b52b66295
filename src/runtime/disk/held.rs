//! Files that somebody reads while a broker uses the directory: they are not written over before that one is done.
//!
//! Whoever reads a segment or a checkpoint beside the broker holds a shared lock (`flock`) on it. Whoever is about to write over a file that has had
//! another name takes an exclusive one first, without waiting, and does without the file if that fails. A reader that comes late finds the
//! name gone. Locks end with their process, so a reader that is killed keeps nobody waiting.
//! Always holds: what is held stays as it was, but for what is added to the segment that is written; deleting a file takes nothing from who holds it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Opens a file for reading and holds it; `None` if it is not there, or has become another one meanwhile.
pub(super) fn hold(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // An exclusive one lasts as long as a file takes to get its new name.
    flock(&file, FlockOperation::LockShared)?;
    let held = file.metadata()?;
    // Only now: if it still has its name, it gets no other use before this is over.
    match fs::metadata(path) {
        Ok(found) if (found.dev(), found.ino()) == (held.dev(), held.ino()) => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Somebody reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BeingRead;

/// A file that nobody reads, or where that cannot be told. Who comes to read it waits until this is dropped: the file has another name by then.
#[derive(Debug)]
pub(super) struct Unread(#[allow(dead_code, reason = "held for its lock")] Option<File>);

/// Makes sure that nobody reads a file, and nobody begins to by its present name.
pub(super) fn take_unread(path: &Path) -> Result<Unread, BeingRead> {
    let Ok(file) = File::open(path) else { return Ok(Unread(None)) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Unread(Some(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BeingRead),
        Err(_) => Ok(Unread(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_reads_is_not_taken_and_what_has_another_name_is_not_read() {
        let folder = std::env::temp_dir().join(format!("dunlin-held-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let (first, second) = (folder.join("first"), folder.join("second"));
        fs::write(&first, "1").unwrap();
        let held = (hold(&first).unwrap().unwrap(), hold(&first).unwrap().unwrap());
        assert_eq!(take_unread(&first).err(), Some(BeingRead), "several may read");
        drop(held.0);
        assert_eq!(take_unread(&first).err(), Some(BeingRead));
        drop(held.1);
        let unread = take_unread(&first).unwrap();
        std::thread::scope(|scope| {
            let late = scope.spawn(|| hold(&first).unwrap().is_none());
            fs::rename(&first, &second).unwrap();
            drop(unread);
            assert!(late.join().unwrap(), "it has another name");
        });
        assert!(hold(&first).unwrap().is_none() && take_unread(&first).is_ok(), "it is not there");
        fs::remove_dir_all(folder).unwrap();
    }
}
