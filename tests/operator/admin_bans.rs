//! Bans of operators outlive the process, and say so where they do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::admin::Admin;
use crate::broker::Client;

/// A data directory that goes with the test.
struct DataDirectory(PathBuf);

impl DataDirectory {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("dunlin-data-{name}-{}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    fn start(&self, name: &str) -> Admin {
        Admin::start_with_flags(
            name,
            "[store]\nsegment_size = \"2MiB\"\n",
            &["--storage", "disk", "--data-dir", self.path()],
        )
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a CONNECT of this client id is answered.
fn code(admin: &Admin, id: u8) -> u8 {
    Client::open(&admin.broker.addresses[0]).say_connect(id)
}

#[test]
fn a_ban_holds_after_the_broker_was_killed_and_one_that_was_lifted_does_not() {
    let data = DataDirectory::new("bans");
    let mut admin = data.start("bans-1");
    assert_eq!(code(&admin, b'e'), 0);
    for ban in [
        json!({"client_id": "e", "reason": "a \"thief\""}),
        json!({"client_id": "f"}),
        json!({"network": "198.51.100.0/24", "seconds": 3600}),
        json!({"client_id": "g", "seconds": 1}),
    ] {
        let answer = admin.ask(&admin.operator, "POST", "/api/v1/bans", Some(ban));
        assert_eq!((answer.status, &answer.body["kept"]), (200, &json!(true)), "{answer:?}");
    }
    let answer = admin.ask(&admin.operator, "DELETE", "/api/v1/bans?client_id=f", None);
    assert_eq!(answer.status, 204, "{answer:?}");
    admin.broker.kill();
    std::thread::sleep(std::time::Duration::from_millis(1_100)); // one of them runs out meanwhile

    let mut admin = data.start("bans-2");
    assert_eq!([b'e', b'f', b'g'].map(|id| code(&admin, id)), [5, 0, 0]);
    let bans = admin.get("/api/v1/bans");
    let bans = bans.as_array().expect("a list");
    assert_eq!(bans.len(), 2, "{bans:?}");
    let ban = bans.iter().find(|ban| ban["client_id"] == "e").expect("it is there");
    assert_eq!((&ban["reason"], &ban["kept"], &ban["until_ms"]), (&json!("a \"thief\""), &json!(true), &json!(null)));
    let network = bans.iter().find(|ban| ban["network"] == "198.51.100.0/24").expect("it is there");
    assert!(network["until_ms"].as_u64() > Some(0), "{network:?}");
    let answer = admin.ask(&admin.operator, "DELETE", "/api/v1/bans?client_id=e", None);
    assert_eq!((answer.status, code(&admin, b'e')), (204, 0));
    admin.broker.kill();

    let mut admin = data.start("bans-3");
    assert_eq!((code(&admin, b'e'), admin.get("/api/v1/bans").as_array().map(Vec::len)), (0, Some(1)));
    admin.broker.kill();
    refuses_to_start(&data.0);
}

#[test]
fn a_backup_has_the_bans_of_its_moment() {
    let (data, copies) = (DataDirectory::new("bans-copied"), DataDirectory::new("bans-copies"));
    let mut admin = data.start("bans-copied");
    fs::create_dir(&copies.0).expect("it is ours");
    let copy = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let output = command.args(["store", "backup"]).arg(&data.0).arg(copies.0.join(name)).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    copy("before");
    assert!(!copies.0.join("before/bans.json").exists(), "there was none");
    let answer = admin.ask(&admin.operator, "POST", "/api/v1/bans", Some(json!({"client_id": "e"})));
    assert_eq!(answer.status, 200, "{answer:?}");
    copy("after");
    admin.broker.kill();
    for (name, expected) in [("before", 0), ("after", 5)] {
        let copied = DataDirectory(copies.0.join(name));
        let mut admin = copied.start(&format!("bans-copy-{name}"));
        assert_eq!(code(&admin, b'e'), expected, "{name}");
        admin.broker.kill();
    }
}

/// A file that nobody understands bans nobody: so there is no start with it.
fn refuses_to_start(data: &Path) {
    fs::write(data.join("bans.json"), "{\"version\":1,\"ba").expect("it is ours");
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["--port", "0", "--shards", "2", "--admin-port", "off", "--segment-size", "2MiB", "--data-dir"])
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("bans.json") && said.contains("lifts all bans"), "{said}");
}

#[test]
fn where_nothing_is_kept_a_ban_says_that_it_is_not() {
    let admin = Admin::start("bans-memory", "");
    let answer = admin.ask(&admin.operator, "POST", "/api/v1/bans", Some(json!({"client_id": "e"})));
    assert_eq!((answer.status, &answer.body["kept"], code(&admin, b'e')), (200, &json!(false), 5));
    assert_eq!(admin.get("/api/v1/bans")[0]["kept"], json!(false));
}

#[test]
fn a_ban_that_the_disk_refuses_holds_and_says_that_the_next_start_does_not_know_it() {
    let data = DataDirectory::new("bans-refused");
    let admin = data.start("bans-refused");
    // A folder in the place of the file that is to be written first.
    fs::create_dir(data.0.join("bans.new")).expect("it is ours");
    let answer = admin.ask(&admin.operator, "POST", "/api/v1/bans", Some(json!({"client_id": "e"})));
    assert_eq!((answer.status, &answer.body["kept"], code(&admin, b'e')), (200, &json!(false), 5));
    admin.broker.lines_to("bans_not_kept");
    let answer = admin.ask(&admin.operator, "DELETE", "/api/v1/bans?client_id=e", None);
    assert_eq!((answer.status, code(&admin, b'e')), (503, 0), "{answer:?}");
    fs::remove_dir(data.0.join("bans.new")).expect("it is ours");
    let answer = admin.ask(&admin.operator, "POST", "/api/v1/bans", Some(json!({"client_id": "f"})));
    assert_eq!((answer.status, &answer.body["kept"]), (200, &json!(true)), "{answer:?}");
}
