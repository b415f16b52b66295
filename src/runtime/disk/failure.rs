//! The end of a shard's log, in one line that says where, why, and what to do about it.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::WriteError;
use crate::store::format::LogId;

/// See the module's text. What was acknowledged before is on the disk, and nothing behind it was.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "shard {shard}: its log in {} has failed: {what}. Nothing is acknowledged that is not on the disk. Look after the disk and its file system (`dmesg`, \
     `mount`), and start again on it or on a copy (--data-dir): what was acknowledged is read back", path.display()
)]
pub struct LogFailure {
    shard: u8,
    path: PathBuf,
    what: String,
}

impl LogFailure {
    /// Of a log in the data directory `path`.
    pub fn new(path: &Path, log: LogId, what: &dyn Display) -> Self {
        Self { shard: log.shard.0, path: path.to_owned(), what: what.to_string() }
    }

    /// A write to it failed, or fell short.
    pub fn of_write(path: &Path, log: LogId, error: WriteError) -> Self {
        match error {
            WriteError::Refused(errno) => {
                let error = io::Error::from_raw_os_error(errno);
                Self::new(path, log, &format_args!("a write was refused, {error}"))
            }
            WriteError::Short { .. } => Self::new(path, log, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;

    #[test]
    fn it_names_directory_shard_reason_and_remedy() {
        let log = LogId { generation: 1, shard: ShardId(2) };
        let path = Path::new("/var/lib/dunlin");
        let failures = [
            (
                LogFailure::of_write(path, log, WriteError::Refused(libc::EIO)),
                "a write was refused, Input/output error",
            ),
            (LogFailure::of_write(path, log, WriteError::Short { taken: 1, wanted: 2 }), "took 1 of 2 bytes"),
            (LogFailure::new(path, log, &"a reason"), "a reason"),
        ];
        for (failure, reason) in failures {
            let text = failure.to_string();
            for part in ["shard 2: ", "/var/lib/dunlin", reason, "dmesg", "--data-dir"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
}
