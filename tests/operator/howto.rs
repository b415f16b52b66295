//! What `docs/AUTHENTICATION.md` tells people to type, typed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::ports::Port;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/AUTHENTICATION.md");

/// The scripts of a document, one behind the other.
fn scripts(text: &str) -> String {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let blocks: Vec<&str> = blocks.collect();
    assert!(blocks.len() >= 6, "the document has lost its scripts");
    blocks.concat()
}

#[test]
fn the_scripts_of_the_document_work_as_they_stand() {
    let directory = std::env::temp_dir().join(format!("dunlin-howto-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let script = directory.join("howto.sh");
    let end = "trap 'for pid in *.pid; do kill \"$(cat \"$pid\")\" 2> /dev/null || true; done' EXIT\n";
    let text = scripts(&fs::read_to_string(DOCUMENT).expect("it is there"));
    fs::write(&script, format!("set -eu -o pipefail\n{end}{text}")).expect("a file");
    let binaries = Path::new(env!("CARGO_BIN_EXE_dunlin")).parent().expect("it lies somewhere");
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
    let (users, devices) = (Port::claim(), Port::claim());
    let output = Command::new("timeout")
        .args(["240", "setpriv", "--pdeathsig", "KILL", "bash"])
        .arg(&script)
        .current_dir(&directory)
        .env("PATH", path)
        .env("STATE_DIRECTORY", directory.join("state"))
        .env("USERS_PORT", users.to_string())
        .env("DEVICES_PORT", devices.to_string())
        .output()
        .expect("bash runs");
    let log = fs::read_to_string(directory.join("broker.log")).unwrap_or_default();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    fs::remove_dir_all(&directory).expect("it is ours");
    assert!(output.status.success(), "{told}\nthe broker:\n{log}");
}
