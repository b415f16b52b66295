//! Bans of operators, in a file of the data directory, so that they outlive the process.
//!
//! Always holds: the file has all bans or none of a change, whatever happens meanwhile; one that cannot be read keeps the broker from
//! starting, because nobody knows then whom it is to refuse.
//! Leaves to others: who asks for bans (`services::admin`), and whom they refuse (`shard`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{BANS_FILE, DirectoryError, replace_whole_file};
use crate::auth::operator_bans::{BannedWho, OperatorBan, OperatorBans};
use crate::settings::Network;
use crate::time::Timestamp;

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct KeptBans(PathBuf);

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeptBansError {
    /// The system says so.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Of the file.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// It is not what this broker writes.
    #[error("{}: {text}; mend it, or move it away, which lifts all bans of operators", path.display())]
    Broken {
        /// Of the file.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
}

/// The file's content.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BansDocument {
    /// Of this shape there is one so far.
    version: u32,
    bans: Vec<BanEntry>,
}

/// One of them.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BanEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
    reason: String,
}

const VERSION: u32 = 1;

impl KeptBans {
    /// Those of a data directory, which is there.
    pub(super) fn of(directory: &Path) -> Self {
        Self(directory.join(BANS_FILE))
    }

    /// Those that hold now. Without a file there are none.
    pub(super) fn read(&self, now: Timestamp) -> Result<OperatorBans, KeptBansError> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(OperatorBans::default()),
            Err(error) => return Err(KeptBansError::Unreadable { path: self.0.clone(), error }),
        };
        let broken = |text: String| KeptBansError::Broken { path: self.0.clone(), text };
        let document: BansDocument = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        if document.version != VERSION {
            return Err(broken(format!("its version is {}, and {VERSION} is known", document.version)));
        }
        let mut bans = OperatorBans::default();
        for entry in document.bans {
            let (who, ban) = entry.parse().map_err(broken)?;
            if ban.until.is_none_or(|until| until > now) && !bans.add(now, who, ban) {
                return Err(broken("it has more bans than there may be".to_owned()));
            }
        }
        Ok(bans)
    }

    /// Replaces them, durably.
    pub(super) fn write(&self, bans: &OperatorBans, now: Timestamp) -> Result<(), DirectoryError> {
        let bans = bans.iter(now).map(|(who, ban)| BanEntry::new(who, ban)).collect();
        let document = BansDocument { version: VERSION, bans };
        let mut text = serde_json::to_vec_pretty(&document).expect("numbers and texts become JSON");
        text.push(b'\n');
        replace_whole_file(&self.0, &text)
    }
}

impl BanEntry {
    fn new(who: &BannedWho, ban: &OperatorBan) -> Self {
        let (client_id, network) = match who {
            BannedWho::ClientId(id) => (Some(id.to_string()), None),
            BannedWho::Network(first, bits) => (None, Some(format!("{first}/{bits}"))),
        };
        Self { client_id, network, until_ms: ban.until.map(|until| until.0), reason: ban.reason.to_string() }
    }

    fn parse(self) -> Result<(BannedWho, OperatorBan), String> {
        let who = match (self.client_id, self.network) {
            (Some(id), None) => BannedWho::ClientId(id.into()),
            (None, Some(text)) => {
                let network: Network = text.parse().map_err(|error| format!("network {text}: {error}"))?;
                BannedWho::Network(network.address(), network.prefix())
            }
            _ => return Err("a ban is of a client_id or of a network, and of one of them alone".to_owned()),
        };
        Ok((who, OperatorBan { until: self.until_ms.map(Timestamp), reason: self.reason.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("dunlin-bans-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_written_is_read_and_what_has_run_out_is_not() {
        let folder = Folder::new("read");
        let kept = KeptBans::of(&folder.0);
        assert!(kept.read(Timestamp(0)).unwrap().is_empty(), "there is no file yet");
        let mut bans = OperatorBans::default();
        let ban = |until: Option<u64>, reason: &str| OperatorBan { until: until.map(Timestamp), reason: reason.into() };
        bans.add(Timestamp(0), BannedWho::ClientId("ev\"il\n\u{1F600}".into()), ban(None, "because \\ of \"it\""));
        bans.add(Timestamp(0), BannedWho::Network("192.0.2.0".parse().unwrap(), 24), ban(Some(500), ""));
        bans.add(Timestamp(0), BannedWho::Network("2001:db8::".parse().unwrap(), 32), ban(Some(9_000), "x"));
        for _ in 0..2 {
            kept.write(&bans, Timestamp(0)).unwrap();
        }
        assert_eq!(kept.read(Timestamp(0)).unwrap(), bans);
        assert_eq!(kept.read(Timestamp(500)).unwrap().iter(Timestamp(0)).count(), 2);
        kept.write(&OperatorBans::default(), Timestamp(0)).unwrap();
        assert!(kept.read(Timestamp(0)).unwrap().is_empty());
        let names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["bans.json"], "nothing else is left behind");
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused_by_name() {
        let folder = Folder::new("broken");
        let kept = KeptBans::of(&folder.0);
        for text in [
            "",
            "{",
            "[]",
            r#"{"version":2,"bans":[]}"#,
            r#"{"version":1,"bans":[{"reason":""}]}"#,
            r#"{"version":1,"bans":[{"reason":"","client_id":"a","network":"::/0"}]}"#,
            r#"{"version":1,"bans":[{"reason":"","network":"192.0.2.0/99"}]}"#,
            r#"{"version":1,"bans":[{"reason":"","client_id":"a","untill_ms":5}]}"#,
        ] {
            fs::write(folder.0.join("bans.json"), text).unwrap();
            let error = kept.read(Timestamp(0)).unwrap_err().to_string();
            assert!(error.contains("bans.json: ") && error.contains("lifts all bans"), "{text}: {error}");
        }
    }
}
