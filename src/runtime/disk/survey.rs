//! Everything that a data directory holds, read back and held against its checksums. Nothing is written.

use std::path::Path;

use super::directory::{Access, Directory, FoundManifest};
use super::error::DirectoryError;
use super::medium::DirectoryMedium;
use crate::ids::ShardId;
use crate::store::format::{LogId, Manifest, MessageId};
use crate::store::{MediumError, RecoveredLog, StoredMessage, join_logs, read_message, recover_log};

/// See the module's text.
#[derive(Debug)]
pub struct Survey {
    directory: Directory,
    /// What holds for all logs.
    pub manifest: Manifest,
    /// One of its two copies cannot be used: which, and why.
    pub lost_manifest: Option<String>,
    /// Each log of the manifest's generation, in the order of shards.
    pub logs: Vec<RecoveredLog>,
}

/// Why a directory cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// Its manifest, its lock, or the directory itself.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// One of its files.
    #[error(transparent)]
    Medium(#[from] MediumError),
}

impl Survey {
    /// Reads a directory that nobody uses.
    pub fn of(path: &Path) -> Result<Self, SurveyError> {
        let directory = Directory::open(path, Access::Read)?;
        let Some(FoundManifest { manifest, lost }) = directory.manifest()? else {
            let reason = "it has no manifest: no dunlin has finished making it".into();
            return Err(DirectoryError::NotThere { path: path.to_owned(), reason }.into());
        };
        let mut medium = DirectoryMedium::new(&directory);
        let mut logs = Vec::new();
        for shard in 0..manifest.shards {
            let log = LogId { generation: manifest.generation, shard: ShardId(shard as u8) };
            logs.push(recover_log(&mut medium, manifest.node, log)?);
        }
        join_logs(&mut logs);
        Ok(Self { directory, manifest, lost_manifest: lost, logs })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives out every message that somebody wants, log by log: `None` for one whose bytes are lost.
    pub fn for_each_message(
        &self,
        mut each: impl FnMut(LogId, MessageId, Option<StoredMessage>),
    ) -> Result<(), SurveyError> {
        let mut medium = DirectoryMedium::new(&self.directory);
        for RecoveredLog { log, state, .. } in &self.logs {
            let mut ids: Vec<MessageId> = state.messages.iter().map(|(id, _)| id).collect();
            ids.sort_unstable(); // as they lie on the disk
            for id in ids {
                each(*log, id, read_message(&mut medium, *log, state, id)?);
            }
        }
        Ok(())
    }

    /// One message; `None` if its bytes are lost.
    pub fn message(&self, log: &RecoveredLog, id: MessageId) -> Result<Option<StoredMessage>, SurveyError> {
        Ok(read_message(&mut DirectoryMedium::new(&self.directory), log.log, &log.state, id)?)
    }
}
