//! Real brokers for the tests: dunlin as this workspace builds it, and Debian's mosquitto.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a broker may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A broker, killed when it is dropped.
pub(crate) struct Broker {
    child: Child,
    /// Where it listens first.
    pub address: SocketAddr,
    /// All places that it listens at, paths among them.
    #[allow(dead_code)] // most tests need one
    pub places: Vec<String>,
}

impl Broker {
    /// dunlin with two shards. Built here if it is not there yet: tests of one package cannot ask cargo for another's binary.
    pub(crate) fn dunlin() -> Self {
        Self::dunlin_with(&["--port", "0", "--no-pin", "--shards", "2"])
    }

    /// The same with these flags.
    pub(crate) fn dunlin_with(flags: &[&str]) -> Self {
        let program = dunlin_program();
        // Nothing of a test is to be found by the next one.
        Self::start(program.to_str().expect("a path of text"), &[&["--storage", "memory"], flags].concat())
    }

    /// Debian's mosquitto, which scripts/test installs.
    pub(crate) fn mosquitto() -> Self {
        let script = workspace().join("tests/support/mosquitto");
        Self::start(script.to_str().expect("a path of text"), &[])
    }

    fn start(program: &str, flags: &[&str]) -> Self {
        // `setpriv` sets the signal that the child gets when its parent dies, and becomes the child.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv {program}: {error}"));
        let output = child.stdout.take().expect("stdout is piped");
        let (found, places) = mpsc::channel();
        std::thread::spawn(move || {
            // To the end: a full pipe would stop the broker.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let rest = line.split("listening on ").nth(1).and_then(|rest| rest.split(" (").next());
                let places: Vec<String> =
                    rest.into_iter().flat_map(|rest| rest.split(", ")).map(str::to_owned).collect();
                if !places.is_empty() {
                    let _ = found.send(places);
                }
            }
        });
        match places.recv_timeout(START_LIMIT) {
            Ok(places) => {
                let address = places.iter().find_map(|place| place.parse().ok()).expect("it listens at an address");
                Self { child, address, places }
            }
            Err(error) => {
                let _ = child.kill();
                panic!("{program} does not listen: {error}, {:?}", child.wait());
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// dunlin's binary, built if it is not there yet.
pub(crate) fn dunlin_program() -> PathBuf {
    let target = target_dir();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--workspace", "--bin", "dunlin", "--target-dir"])
        .arg(&target)
        .current_dir(workspace())
        .status();
    assert!(built.expect("cargo runs").success(), "dunlin does not build");
    target.join("debug/dunlin")
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("loadtest lies in the workspace")
}

/// From `target/debug/deps/test-hash` up.
fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    test.ancestors().nth(3).expect("target/debug/deps").to_owned()
}
