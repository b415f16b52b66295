//! The settings of what survives a restart.

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use std::ffi::OsString;
use std::path::PathBuf;

use super::process::check_path;
use crate::limits;
use crate::settings::{
    Fallback, FromValue, Kind, Setting,
    Unit::{Bytes, Seconds},
    Value, declare_settings, words,
};

declare_settings! {
    /// What the operator chose about the data directory.
    StoreSettings, STORE_ROWS;

    Store {
        /// Whether sessions, their messages and retained messages survive a restart.
        ///
        /// disk writes them to data_dir, and an acknowledgement means that they are on stable storage. memory keeps them as long as
        /// the process lives, and writes nothing.
        storage: Storage = Setting::new(
            "storage", Kind::Choice { words: Storage::WORDS, planned: &[], bare: None },
            Fallback::Text("disk"),
        ), Start;

        /// The directory that they are written to.
        ///
        /// It is made, for this user alone, if it is not there. One broker uses it at a time: a second one on the machine needs its own.
        /// Put it on a disk of the machine, not on a network file system.
        data_dir: PathBuf = Setting::new(
            "data-dir", Kind::Text { check: check_path, noun: "directory", allowed: "a path" },
            Fallback::StateDirectory,
        ), Start;

        /// Size of a file of the log.
        ///
        /// Each shard fills four of them with zeros ahead and goes round through them, so a directory takes at least five times this for
        /// each shard.
        segment_size_bytes: u64 = Setting::number(
            "segment-size", Bytes, limits::STORE_SEGMENT_MIN_BYTES, limits::STORE_SEGMENT_MAX_BYTES,
            limits::STORE_SEGMENT_DEFAULT_BYTES,
        ), Start;

        /// Least time between two checkpoints of a log.
        ///
        /// A checkpoint is made when a file of the log is full, so that old files can be used again and a start reads less. Seldom
        /// ones cost room and time at the start, frequent ones work.
        checkpoint_interval_s: u32 = Setting::number(
            "checkpoint-interval", Seconds, 1, limits::STORE_CHECKPOINT_MAX_S as u64, limits::STORE_CHECKPOINT_DEFAULT_S as u64,
        ), Start;

        /// How fast checkpoints are written, in bytes a second.
        ///
        /// What they read may be eight times as much. Slower ones leave more of the disk to messages; a log that is written faster than its
        /// checkpoints are made grows meanwhile. On a full disk they are made as fast as can be.
        checkpoint_pace_bytes: u64 = Setting::number(
            "checkpoint-pace", Bytes, limits::STORE_PACE_MIN_BYTES, limits::STORE_PACE_MAX_BYTES, limits::STORE_PACE_DEFAULT_BYTES,
        ), Start;

        /// Room on the disk that is left to others.
        ///
        /// With less, no new file of the log is made. Then messages with QoS 1 and 2 for persistent sessions are refused, until
        /// there is room again; reading and deleting go on.
        free_space_min_bytes: u64 = Setting::number(
            "free-space-min", Bytes, 0, limits::STORE_FREE_MAX_BYTES, limits::STORE_FREE_DEFAULT_BYTES,
        ), Start;
    }
}

/// Whether there is a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// There is.
    Disk,
    /// There is none.
    Memory,
}

words!(Storage { "disk" => Self::Disk, "memory" => Self::Memory });

impl FromValue for PathBuf {
    fn from_value(value: Value) -> Self {
        String::from_value(value).into()
    }
}

/// Where this user's programs keep what outlives them: systemd says so, or the desktop's convention. Empty where nobody does.
pub(super) fn state_directory(variable: impl Fn(&str) -> Option<OsString>) -> String {
    let text = |name: &str| variable(name).and_then(|value| value.into_string().ok()).filter(|text| !text.is_empty());
    // systemd names several with a colon between them, if the unit has several.
    let of_systemd = text("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(str::to_owned));
    let of_user = || text("XDG_STATE_HOME").filter(|path| path.starts_with('/')).map(|path| format!("{path}/dunlin"));
    let of_home = || text("HOME").map(|home| format!("{home}/.local/state/dunlin"));
    of_systemd.or_else(of_user).or_else(of_home).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_is_where_systemd_or_the_user_has_such_things() {
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[("STATE_DIRECTORY", "/var/lib/dunlin"), ("HOME", "/root")], "/var/lib/dunlin"),
            (&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")], "/var/lib/a"),
            (&[("XDG_STATE_HOME", "/home/ann/state"), ("HOME", "/home/ann")], "/home/ann/state/dunlin"),
            (&[("XDG_STATE_HOME", "relative"), ("HOME", "/home/ann")], "/home/ann/.local/state/dunlin"),
            (&[("XDG_STATE_HOME", ""), ("HOME", "/home/ann")], "/home/ann/.local/state/dunlin"),
            (&[], ""),
        ];
        for (variables, expected) in table {
            let of = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            assert_eq!(state_directory(of), *expected, "{variables:?}");
        }
    }

    #[test]
    fn every_bound_and_every_word_fits_its_field() {
        let machine = crate::settings::Machine::default();
        for (word, storage) in [("disk", Storage::Disk), ("memory", Storage::Memory)] {
            let settings = StoreSettings::from_values(&|row| match row.kind {
                Kind::Choice { .. } => row.parse(&[word.to_owned()]).expect("its word"),
                Kind::Number { max, .. } => Value::Number(max),
                _ => row.default_value(&machine),
            });
            assert_eq!(settings.storage, storage);
            assert_eq!(settings.segment_size_bytes, limits::STORE_SEGMENT_MAX_BYTES);
        }
    }
}
