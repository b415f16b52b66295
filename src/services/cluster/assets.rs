//! What a cluster keeps in the engine: the control store, a log for each range, retained messages. Each is a stream.
//!
//! Owns: how each is set up, and making those that are not there.
//! Always holds: a stream that is there is never changed. It is compared field by field, but for what an operator may choose: its size, where it is, whether
//! it is compressed, what it is called for people.
//! Leaves to others: what is stored in them.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use serde_json::Value;

use super::control_store::{CONTROL_PREFIX, CONTROL_STREAM, ControlStore};
use super::engine::Engine;
use super::engine_fault::EngineFault;
use super::log_asks::{log_stream, log_subject};
use crate::cluster::{RangeCount, RangeId};
use crate::services::nats::words_of;

/// How long the engine knows a message by its id. Longer than any message is said again: a log that could not be written for that long is claimed anew.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What of a stream is as a cluster needs it, by the engine's own names.
const FIELDS: [&str; 22] = [
    "subjects",
    "retention",
    "discard",
    "discard_new_per_subject",
    "storage",
    "num_replicas",
    "max_msgs",
    "max_msgs_per_subject",
    "max_msg_size",
    "max_age",
    "duplicate_window",
    "no_ack",
    "sealed",
    "allow_rollup_hdrs",
    "deny_delete",
    "deny_purge",
    "allow_msg_ttl",
    "persist_mode",
    "mirror",
    "sources",
    "subject_transform",
    "republish",
];

/// The bucket of the cluster's documents, as `nats kv add` makes one.
fn control_store(replicas: usize) -> Config {
    Config {
        max_messages_per_subject: 1,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..stream(CONTROL_STREAM.to_owned(), format!("{CONTROL_PREFIX}>"), replicas)
    }
}

/// The log of a range. Nothing in it goes but by a purge of its beginning.
fn range_log(range: RangeId, replicas: usize) -> Config {
    Config { deny_delete: true, ..stream(log_stream(range), log_subject(range), replicas) }
}

/// Retained messages, the last of each topic; each goes by itself when its time has come.
fn retained_messages(replicas: usize) -> Config {
    Config {
        max_messages_per_subject: 1,
        allow_message_ttl: true,
        ..stream("dunlin_ret".to_owned(), "dunlin.ret.*".to_owned(), replicas)
    }
}

/// What all have in common: files, no limits, and nothing that is let go to make room.
fn stream(name: String, subject: String, replicas: usize) -> Config {
    Config {
        name,
        subjects: vec![subject],
        num_replicas: replicas,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    }
}

/// The first field in which a stream is not as it has to be, with what it has and what it should have.
fn difference(wanted: &Config, found: &Config) -> Option<(&'static str, String, String)> {
    let fields = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let (wanted, found) = (fields(wanted), fields(found));
    let is_as_wanted = |field: &&str| match (*field, &wanted[*field], &found[*field]) {
        // More replicas do no harm.
        ("num_replicas", wanted, found) => found.as_u64() >= wanted.as_u64(),
        (_, wanted, found) => wanted == found,
    };
    let words = |value: &Value| if value.is_null() { "not set".to_owned() } else { value.to_string() };
    let field = FIELDS.into_iter().find(|field| !is_as_wanted(field))?;
    Some((field, words(&found[field]), words(&wanted[field])))
}

impl Engine {
    /// Makes the control store where it is not there, and shows what it has.
    pub async fn open_control_store(&self) -> Result<ControlStore, EngineFault> {
        self.make(control_store(self.replicas())).await?;
        Ok(self.show_control_store())
    }

    /// Makes the logs of all ranges and the store of retained messages where they are not there.
    pub async fn make_logs(&self, ranges: RangeCount) -> Result<(), EngineFault> {
        for range in ranges.all() {
            self.make(range_log(range, self.replicas())).await?;
        }
        self.make(retained_messages(self.replicas())).await
    }

    /// Sees to it that there is a stream, and that it is as it has to be.
    async fn make(&self, wanted: Config) -> Result<(), EngineFault> {
        let found = match self.context().get_stream(&wanted.name).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    // Another node may make it at the same moment: the engine takes the same twice.
                    let made = self.context().create_stream(wanted.clone()).await;
                    made.map_err(|error| not_made(&wanted.name, &error))?
                }
                GetStreamErrorKind::JetStream(error) => return Err(not_made_by(&wanted.name, &error)),
                _ => return Err(silent(&error)),
            },
        };
        match difference(&wanted, &found.cached_info().config) {
            None => Ok(()),
            Some((field, found, wanted_value)) => {
                Err(EngineFault::Differs { stream: wanted.name, field, found, wanted: wanted_value })
            }
        }
    }
}

fn not_made(stream: &str, error: &jetstream::context::CreateStreamError) -> EngineFault {
    match error.kind() {
        CreateStreamErrorKind::JetStream(error) => not_made_by(stream, &error),
        _ => silent(error),
    }
}

fn not_made_by(stream: &str, error: &jetstream::Error) -> EngineFault {
    if error.error_code() == ErrorCode::CLUSTER_NOT_AVAILABLE {
        return silent(error);
    }
    EngineFault::NotMade { stream: stream.to_owned(), why: error.to_string() }
}

fn silent(error: &dyn std::error::Error) -> EngineFault {
    EngineFault::Silent { question: "$JS.API.STREAM", why: words_of(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_may_choose_is_no_difference_and_the_rest_is() {
        let wanted = range_log(RangeId(7), 3);
        assert_eq!((wanted.name.as_str(), &wanted.subjects), ("dunlin_log_7", &vec!["dunlin.log.7".to_owned()]));
        let chosen = Config {
            max_bytes: 1 << 30,
            num_replicas: 5,
            description: Some("ours".to_owned()),
            metadata: [("_nats.level".to_owned(), "5".to_owned())].into(),
            ..wanted.clone()
        };
        assert_eq!(difference(&wanted, &chosen), None);
        for (other, field, found, needed) in [
            (Config { num_replicas: 1, ..wanted.clone() }, "num_replicas", "1", "3"),
            (Config { discard: DiscardPolicy::Old, ..wanted.clone() }, "discard", "\"old\"", "\"new\""),
            (Config { storage: StorageType::Memory, ..wanted.clone() }, "storage", "\"memory\"", "\"file\""),
            (Config { max_age: Duration::from_secs(1), ..wanted.clone() }, "max_age", "1000000000", "0"),
            (Config { deny_delete: false, ..wanted.clone() }, "deny_delete", "not set", "true"),
            (Config { max_messages: 10, ..wanted.clone() }, "max_msgs", "10", "-1"),
            (
                Config { subjects: vec!["dunlin.>".to_owned()], ..wanted.clone() },
                "subjects",
                "[\"dunlin.>\"]",
                "[\"dunlin.log.7\"]",
            ),
        ] {
            assert_eq!(difference(&wanted, &other), Some((field, found.to_owned(), needed.to_owned())));
        }
    }

    #[test]
    fn each_field_that_is_compared_is_one_of_a_streams() {
        // All of them set: what is left out of the words of a stream would always be alike.
        let (wanted, other) =
            (serde_json::to_value(retained_messages(3)).unwrap(), serde_json::to_value(control_store(1)).unwrap());
        let of_others = [
            "discard_new_per_subject",
            "no_ack",
            "sealed",
            "deny_purge",
            "persist_mode",
            "mirror",
            "sources",
            "subject_transform",
            "republish",
        ];
        for field in FIELDS {
            let is_set = !wanted[field].is_null() || !other[field].is_null();
            assert_ne!(is_set, of_others.contains(&field), "{field}");
        }
        let told =
            Config { discard_new_per_subject: true, no_ack: true, sealed: true, deny_purge: true, ..Config::default() };
        let told = serde_json::to_value(told).unwrap();
        assert!(of_others[..4].iter().all(|field| told[field] == true), "{told}");
    }
}
