//! Names: of logs, of their segments, and of the files in a data directory.

use std::fmt;

use crate::ids::ShardId;
use crate::limits::SHARDS_MAX;

/// One log: that of a shard, in one generation of the directory. When the number of shards changes, everything is written anew
/// under the next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// As the manifest has it.
    pub generation: u32,
    /// Whose log it is.
    pub shard: ShardId,
}

/// Counts the segments of a log, from 1. A recycled file gets a new number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentNumber(pub u32);

impl SegmentNumber {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A file of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreFile {
    /// What holds for all logs.
    Manifest,
    /// The same once more.
    ManifestCopy,
    /// Part of a log, or prepared to become one.
    Segment(LogId, SegmentNumber),
    /// Filled once, and not part of a log now.
    Spare(LogId, u32),
    /// State as of a position.
    Checkpoint(LogId, u32),
    /// Which segment of a log is the newest.
    Newest(LogId),
}

impl StoreFile {
    /// The log that it belongs to.
    pub const fn log(self) -> Option<LogId> {
        match self {
            Self::Manifest | Self::ManifestCopy => None,
            Self::Segment(log, _) | Self::Spare(log, _) | Self::Checkpoint(log, _) | Self::Newest(log) => Some(log),
        }
    }

    /// Reads a path as `Display` writes it; `None` for any other, which is not ours.
    pub fn parse(path: &str) -> Option<Self> {
        if path == "manifest" {
            return Some(Self::Manifest);
        }
        if path == "manifest-copy" {
            return Some(Self::ManifestCopy);
        }
        let (folder, name) = path.split_once('/')?;
        let log = LogId::parse(folder)?;
        if name == "newest" {
            return Some(Self::Newest(log));
        }
        let (kind, number) = name.split_once('-')?;
        let value = number.parse().ok().filter(|value| *value < u32::MAX)?;
        let file = match kind {
            "segment" => Self::Segment(log, SegmentNumber(value)),
            "spare" => Self::Spare(log, value),
            "checkpoint" => Self::Checkpoint(log, value),
            _ => return None,
        };
        // One file has one name: neither signs nor other lengths.
        (file.to_string() == path).then_some(file)
    }
}

impl LogId {
    /// Reads a folder's name as `Display` writes it.
    pub fn parse(folder: &str) -> Option<Self> {
        let (generation, shard) = folder.strip_prefix("log-")?.split_once('-')?;
        let (generation, shard) = (generation.parse().ok()?, shard.parse().ok()?);
        let log = Self { generation, shard: ShardId(shard) };
        (usize::from(shard) < SHARDS_MAX && log.to_string() == folder).then_some(log)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "log-{}-{}", self.generation, self.shard.0)
    }
}

impl fmt::Display for StoreFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => out.write_str("manifest"),
            Self::ManifestCopy => out.write_str("manifest-copy"),
            Self::Segment(log, number) => write!(out, "{log}/segment-{:010}", number.0),
            Self::Spare(log, number) => write!(out, "{log}/spare-{number:010}"),
            Self::Newest(log) => write!(out, "{log}/newest"),
            Self::Checkpoint(log, number) => write!(out, "{log}/checkpoint-{number:010}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_one_name_and_every_other_name_is_not_ours() {
        let log = LogId { generation: 3, shard: ShardId(12) };
        let files = [
            StoreFile::Manifest,
            StoreFile::ManifestCopy,
            StoreFile::Segment(log, SegmentNumber(7)),
            StoreFile::Spare(log, u32::MAX - 1),
            StoreFile::Checkpoint(log, 0),
            StoreFile::Newest(log),
        ];
        for file in files {
            assert_eq!(StoreFile::parse(&file.to_string()), Some(file));
        }
        assert_eq!(files[2].to_string(), "log-3-12/segment-0000000007");
        let others = [
            "",
            "LOCK",
            "log-3-12",
            "log-3-64/segment-0000000007",
            "log-3-12/segment-7",
            "log-3-12/segment-+000000007",
        ];
        for other in others.into_iter().chain(["log-03-1/spare-0000000001", "log-3-12/../manifest", "manifest/"]) {
            assert_eq!(StoreFile::parse(other), None, "{other:?}");
        }
    }
}
