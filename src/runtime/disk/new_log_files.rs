//! The files of a log that is written from its beginning, in a directory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::directory::Directory;
use super::error::DirectoryError;
use super::keeper::Keeper;
use super::prepare::SegmentFile;
use super::request::StoreRequest;
use super::survey::SurveyError;
use crate::ids::ShardId;
use crate::limits::STORE_BATCH_MAX_BYTES;
use crate::store::format::{LogId, Manifest, SegmentNumber};
use crate::store::{LogConfig, NewLog, NewLogFiles, SegmentWrite};

/// See the module's text.
#[derive(Debug)]
pub(super) struct DirectoryFiles<'a> {
    directory: &'a Arc<Directory>,
    request: &'a StoreRequest,
    segments: Vec<SegmentFile>,
}

impl NewLogFiles for DirectoryFiles<'_> {
    type Error = SurveyError;

    fn prepare(&mut self, log: LogId, number: SegmentNumber) -> Result<(), SurveyError> {
        let sizes = (self.request.segment_bytes, self.request.reserve_bytes);
        self.segments.push(Keeper::prepare_now(self.directory, sizes, log, number)?);
        Ok(())
    }

    fn write(&mut self, _: LogId, write: &SegmentWrite) -> Result<(), SurveyError> {
        let of = |error| DirectoryError::of(self.directory.path(), error);
        let segment = self.segments.iter().find(|segment| segment.number == write.segment).expect("it was prepared");
        let file = File::from(segment.file.try_clone().map_err(of)?);
        let written = file.write_all_at(&write.bytes[write.range.clone()], write.offset);
        Ok(written.and_then(|()| file.sync_data()).map_err(of)?)
    }
}

/// Begins the log of a shard, as the manifest that is about to name it has it.
pub(super) fn begin_log<'a>(
    directory: &'a Arc<Directory>,
    request: &'a StoreRequest,
    manifest: &Manifest,
    shard: ShardId,
) -> Result<NewLog<DirectoryFiles<'a>>, SurveyError> {
    let log = LogId { generation: manifest.generation, shard };
    directory.make_log(log)?;
    let config = LogConfig {
        node: manifest.node,
        log,
        epoch: manifest.epoch,
        segment_bytes: request.segment_bytes,
        batch_max_bytes: STORE_BATCH_MAX_BYTES,
    };
    Ok(NewLog::begin(config, DirectoryFiles { directory, request, segments: Vec::new() }, request.now))
}
