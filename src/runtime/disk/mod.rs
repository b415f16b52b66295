//! The data directory: who may use it, what is in it, and the slow work on its files.
//!
//! Owns: the lock ([`Directory`]), the manifest's file, reading for recovery ([`DirectoryMedium`]), and making, recycling and
//! deleting files ([`Keeper`], a thread of its own).
//! Always holds: one process uses a directory at a time; a file that counts is made whole and durable under another name
//! first, and its folder with it; looking at a directory ([`Survey`]) or copying it ([`backup`]) changes nothing in it; nothing here runs on a shard's thread.
//! Leaves to others: what the bytes mean (`store`), and the write that an acknowledgement waits for (`ring`).

mod backup;
mod backup_copy;
mod backup_error;
mod backup_source;
mod body_reader;
mod check;
mod checkpoint_file;
mod checkpoints;
mod directory;
mod error;
mod export;
mod failure;
mod held;
mod import;
mod import_line;
mod import_properties;
mod json;
mod keeper;
mod log;
mod medium;
mod mosquitto_import;
mod new_log_files;
mod open;
mod pace;
mod prepare;
mod progress;
mod read_progress;
mod request;
#[cfg(test)]
mod sample;
mod space;
mod sparse;
mod start_room;
mod survey;
mod tell_lost;

pub use backup::{BANS_FILE, CopiedStore, backup};
pub use backup_error::BackupError;
pub use body_reader::{BodyReader, QueuedBodies, ReadOrder};
pub use check::{CheckVerdict, check};
pub use checkpoints::{CheckpointMaker, CheckpointParts, WatchedLog};
pub use directory::{Access, Directory, FoundManifest};
pub use error::DirectoryError;
pub use export::export;
pub use failure::LogFailure;
pub use import::import;
pub use import_line::ImportError;
pub use keeper::{Keeper, KeeperOrder, KeeperReport, OrderKind};
pub use log::{DiskLog, FileWrite, LogNews, LogParts};
pub use medium::DirectoryMedium;
pub use open::{LogsBefore, OpenLog, OpenStore};
pub use pace::CheckpointPace;
pub use prepare::{SegmentFile, make_segment, remove_file, replace_file, replace_whole_file};
pub use progress::{LogProgress, Taken};
pub use read_progress::ReadProgress;
pub use request::StoreRequest;
pub use space::{FileSystem, space_of};
pub use survey::{Survey, SurveyError};
pub use tell_lost::tell_lost;
