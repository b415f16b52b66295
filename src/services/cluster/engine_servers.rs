//! What the engine's servers say of themselves to a user of their system account, and whether a cluster can rest on them.
//!
//! Always holds: nothing is believed of a server that it did not say: one whose answer has no `sync_always` does not sync.
//! Leaves to others: asking (`engine`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::engine_fault::EngineFault;
use crate::limits::{ENGINE_ANSWER_MAX_BYTES, ENGINE_ANSWERS_MAX};

/// Below this, acknowledged records were lost, or two writers won at once.
const VERSION_MIN: (u64, u64) = (2, 15);
/// Replicas of each stream, where there are servers for them.
const REPLICAS: usize = 3;

/// An answer to `$SYS.REQ.SERVER.PING.JSZ`, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct ServerAnswer {
    server: ServerWords,
    #[serde(default)]
    data: JetStreamWords,
}

#[derive(Debug, Deserialize)]
struct ServerWords {
    id: String,
    name: String,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    ver: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JetStreamWords {
    disabled: bool,
    config: Option<StoreWords>,
    meta_cluster: Option<MetaWords>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StoreWords {
    sync_always: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MetaWords {
    cluster_size: usize,
}

/// The servers that have answered.
#[derive(Debug)]
pub(super) struct EngineServers {
    /// Of the server that this node is connected to: streams are made there. Empty where it is of none.
    cluster: String,
    /// By the id of each server.
    answers: BTreeMap<String, ServerAnswer>,
}

impl EngineServers {
    pub(super) const fn new(cluster: String) -> Self {
        Self { cluster, answers: BTreeMap::new() }
    }

    /// Takes an answer. One that is none, or of another cluster of the same system, changes nothing.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if bytes.len() > ENGINE_ANSWER_MAX_BYTES || self.answers.len() >= ENGINE_ANSWERS_MAX {
            return;
        }
        let Ok(answer) = serde_json::from_slice::<ServerAnswer>(bytes) else { return };
        if answer.server.cluster == self.cluster {
            self.answers.insert(answer.server.id.clone(), answer);
        }
    }

    /// Whether everybody has answered of whom those know that have.
    pub(super) fn are_all(&self) -> bool {
        !self.answers.is_empty() && self.with_jetstream().count() >= self.size()
    }

    /// How many replicas a stream can have, or why a cluster cannot rest on these servers, of which so many were named.
    pub(super) fn judge(&self, named: usize) -> Result<usize, EngineFault> {
        for ServerAnswer { server, .. } in self.answers.values() {
            if !is_new_enough(&server.ver) {
                return Err(EngineFault::TooOld { server: server.name.clone(), version: server.ver.clone() });
            }
        }
        let unsynced = |answer: &&ServerAnswer| !answer.data.config.as_ref().is_some_and(|config| config.sync_always);
        if let Some(answer) = self.with_jetstream().find(unsynced) {
            return Err(EngineFault::NoSync { server: answer.server.name.clone() });
        }
        let (answered, size) = (self.with_jetstream().count(), self.size());
        let wanted = if size > 1 { REPLICAS } else { 1 };
        match answered {
            // Of three that start, two know each other before the third.
            _ if size == 2 && named <= 2 => Err(EngineFault::TwoServers),
            answered if answered < wanted => Err(EngineFault::TooFew { answered, wanted }),
            _ => Ok(wanted),
        }
    }

    /// Any of them may hold a replica. One that starts has it not yet.
    fn with_jetstream(&self) -> impl Iterator<Item = &ServerAnswer> {
        self.answers.values().filter(|answer| !answer.data.disabled && answer.data.config.is_some())
    }

    /// How many servers with `JetStream` there are, those among them that are away.
    fn size(&self) -> usize {
        let known = self.answers.values().filter_map(|answer| answer.data.meta_cluster.as_ref());
        known.map(|meta| meta.cluster_size).max().unwrap_or(1)
    }
}

/// `2.15.1`, `2.16.0-RC.1`; whatever else a version may be is not known to be new.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '-']).map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= VERSION_MIN,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nats-server 2.15.1 answers, shortened.
    fn answer(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut answer = serde_json::json!({
            "server": {"name": name, "host": "127.0.0.1", "id": format!("N{name}"), "cluster": "C", "ver": "2.15.1", "jetstream": true, "seq": 23},
            "data": {
                "memory": 0, "accounts": 1, "config": {"max_memory": 1, "store_dir": "/d", "sync_interval": 120_000_000_000_u64, "sync_always": true},
                "meta_cluster": {"name": "C", "leader": "n1", "replicas": [], "cluster_size": 3, "quorum_needed": 2},
            },
        });
        change(&mut answer);
        serde_json::to_vec(&answer).unwrap()
    }

    fn whole(name: &str) -> Vec<u8> {
        answer(name, |_| ())
    }

    fn judge(cluster: &str, answers: &[Vec<u8>]) -> (bool, Result<usize, String>) {
        let mut servers = EngineServers::new(cluster.to_owned());
        for answer in answers {
            servers.take(answer);
        }
        (servers.are_all(), servers.judge(answers.len()).map_err(|fault| fault.to_string()))
    }

    #[test]
    fn three_servers_hold_three_replicas_and_one_holds_one() {
        let three = ["n0", "n1", "n2"].map(whole);
        assert_eq!(judge("C", &three), (true, Ok(3)));
        let alone = answer("n0", |answer| {
            answer["server"]["cluster"].take();
            answer["server"].as_object_mut().unwrap().remove("cluster");
            answer["data"].as_object_mut().unwrap().remove("meta_cluster");
        });
        assert_eq!(judge("", &[alone]), (true, Ok(1)));
        let five = ["n0", "n1", "n2", "n3"]
            .map(|name| answer(name, |answer| answer["data"]["meta_cluster"]["cluster_size"] = 5.into()));
        assert_eq!(judge("C", &five), (false, Ok(3)), "as many as hold replicas");
    }

    #[test]
    fn what_is_missing_is_named() {
        let no_sync =
            answer("n2", |answer| _ = answer["data"]["config"].as_object_mut().unwrap().remove("sync_always"));
        let old = answer("n2", |answer| answer["server"]["ver"] = "2.14.6".into());
        let starts = answer("n2", |answer| answer["data"] = serde_json::json!({"disabled": true}));
        let elsewhere = answer("n2", |answer| answer["server"]["cluster"] = "other".into());
        for (third, expected) in [
            (no_sync, "the engine's server n2 does not sync what it acknowledges: write sync_interval: always into"),
            (old, "the engine's server n2 is nats-server 2.14.6: a cluster rests on 2.15 or newer"),
            (starts, "2 of the engine's servers with JetStream answer, and 3 have to"),
            (elsewhere, "2 of the engine's servers with JetStream answer, and 3 have to"),
            (whole("n1"), "2 of the engine's servers with JetStream answer, and 3 have to"),
            (b"{}".to_vec(), "2 of the engine's servers with JetStream answer, and 3 have to"),
        ] {
            let (_, judged) = judge("C", &[whole("n0"), whole("n1"), third]);
            let told = judged.unwrap_err();
            assert!(told.starts_with(expected), "{told}");
        }
        let two =
            ["n0", "n1"].map(|name| answer(name, |answer| answer["data"]["meta_cluster"]["cluster_size"] = 2.into()));
        assert!(judge("C", &two).1.unwrap_err().starts_with("the engine has two servers"));
        let mut starting = EngineServers::new("C".to_owned());
        for answer in &two {
            starting.take(answer);
        }
        assert_eq!(starting.judge(3), Err(EngineFault::TooFew { answered: 2, wanted: 3 }), "a third one was named");
        assert_eq!(judge("C", &[]).1.unwrap_err(), "0 of the engine's servers with JetStream answer, and 1 have to");
    }

    #[test]
    fn versions_that_are_none_are_not_new() {
        for (version, is_new) in [
            ("2.15.0", true),
            ("2.15.0-RC.1", true),
            ("v3.0.0", true),
            ("2.14.99", false),
            ("2", false),
            ("", false),
            ("2.x", false),
            ("2.99999999999999999999999", false),
        ] {
            assert_eq!(is_new_enough(version), is_new, "{version}");
        }
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let mut servers = EngineServers::new("C".to_owned());
        let long = answer("n0", |answer| answer["server"]["name"] = "x".repeat(ENGINE_ANSWER_MAX_BYTES).into());
        servers.take(&long);
        assert_eq!(servers.answers.len(), 0);
        for number in 0..=ENGINE_ANSWERS_MAX {
            servers.take(&whole(&number.to_string()));
        }
        assert_eq!(servers.answers.len(), ENGINE_ANSWERS_MAX);
    }
}
