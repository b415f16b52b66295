//! What `docs/MOVING-FROM-MOSQUITTO.md` tells people to type, typed: from a Mosquitto that runs to a dunlin that has all of it.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::ports::Port;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/MOVING-FROM-MOSQUITTO.md");
const LIMIT: Duration = Duration::from_secs(30);

struct Mosquitto {
    child: Child,
    directory: PathBuf,
    port: Port,
}

impl Mosquitto {
    /// With a user, and what it is to keep.
    fn start(directory: &Path) -> Self {
        let port = Port::claim();
        let place = directory.display();
        let conf = format!(
            "per_listener_settings false\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {place}/passwd\n\
             persistence true\npersistence_location {place}/\nuser root\nlog_dest syslog\nmax_queued_messages 5000\n\
             connection cloud\naddress 127.0.0.1:1\ntopic # out\n"
        );
        fs::write(directory.join("mosquitto.conf"), conf).expect("a file");
        let password = directory.join("passwd");
        run(Command::new("mosquitto_passwd").args(["-c", "-b"]).arg(&password).args(["ann", "secret"]));
        let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program.expect("scripts/test installs mosquitto"), "-c"]);
        command.arg(directory.join("mosquitto.conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("mosquitto runs");
        let begun = Instant::now();
        while TcpStream::connect(port.address()).is_err() {
            assert!(begun.elapsed() < LIMIT, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, directory: directory.to_owned(), port }
    }

    fn keep_something(&self) {
        let port = self.port.to_string();
        let of_ann = ["-h", "127.0.0.1", "-p", &port, "-u", "ann", "-P", "secret"];
        // A session that stays, and a message that waits for it.
        let mut command = Command::new("mosquitto_sub");
        run(command.args(of_ann).args(["-i", "meter", "-c", "-q", "1", "-t", "jobs/#", "-E"]));
        let mut command = Command::new("mosquitto_pub");
        run(command.args(of_ann).args(["-q", "1", "-t", "jobs/1", "-m", "waits"]));
        let mut command = Command::new("mosquitto_pub");
        run(command.args(of_ann).args(["-q", "1", "-r", "-t", "state", "-m", "kept"]));
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

#[test]
fn the_commands_of_the_document_bring_a_broker_over() {
    let directory = std::env::temp_dir().join(format!("dunlin-moving-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let mosquitto = Mosquitto::start(&directory);
    mosquitto.keep_something();
    let blocks = steps();
    assert_eq!(blocks.len(), 5, "the document has a script for each step");
    let port = mosquitto.port.to_string();
    let proof = format!(
        "of_ann='-h 127.0.0.1 -p {port} -u ann -P secret'\n\
         test \"$(mosquitto_sub $of_ann -t state -C 1 -W 20)\" = kept\n\
         test \"$(mosquitto_sub $of_ann -i meter -c -q 1 -t 'jobs/#' -C 1 -W 20)\" = waits\n\
         ! mosquitto_pub -h 127.0.0.1 -p {port} -u ann -P wrong -t x -m x 2> /dev/null\n\
         grep -q '127.0.0.1' dunlin.toml\n"
    );
    let end = "trap 'kill \"$(cat dunlin.pid)\" 2> /dev/null || true' EXIT\n";
    let stop = directory.join("stop.sh");
    let pid = mosquitto.pid();
    fs::write(
        &stop,
        format!(
            "kill {pid}; while kill -0 {pid} && ! grep -q Z /proc/{pid}/status; do sleep 0.05; done 2> /dev/null\n"
        ),
    )
    .expect("a file");
    let script = directory.join("moving.sh");
    fs::write(&script, format!("set -eu -o pipefail\n{end}{}{proof}", blocks.concat())).expect("a file");
    let binaries = Path::new(env!("CARGO_BIN_EXE_dunlin")).parent().expect("it lies somewhere");
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
    let admin = Port::claim();
    let output = Command::new("timeout")
        .args(["120", "setpriv", "--pdeathsig", "KILL", "bash"])
        .arg(&script)
        .current_dir(&directory)
        .env("PATH", path)
        .env("CONF", directory.join("mosquitto.conf"))
        .env("DB", directory.join("mosquitto.db"))
        .env("STOP", format!("bash {}", stop.display()))
        .env("DUNLIN_ADMIN__PORT", admin.to_string())
        .env("DUNLIN_CTL_URL", format!("http://127.0.0.1:{admin}"))
        .output()
        .expect("bash runs");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(directory.join("dunlin.log")).unwrap_or_default();
    assert!(output.status.success(), "{told}\nthe broker:\n{log}");
    let made = fs::read_to_string(directory.join("dunlin.toml")).expect("the import wrote it");
    assert!(made.contains("[[bridge]]") && made.contains("127.0.0.1:1\""), "{made}");
}

/// The scripts of the document, one for each step. What is for the package `tests/packages/documents` types.
fn steps() -> Vec<String> {
    let text = fs::read_to_string(DOCUMENT).expect("it is there");
    let steps = text.split("\n## ").find(|section| section.starts_with("Step by step")).expect("there are steps");
    steps.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

#[test]
fn the_step_that_copies_users_can_be_done_again_and_without_a_password_file() {
    let directory = std::env::temp_dir().join(format!("dunlin-moving-users-{}", std::process::id()));
    let binaries = Path::new(env!("CARGO_BIN_EXE_dunlin")).parent().expect("it lies somewhere");
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
    let script = format!("set -eu -o pipefail\n{}", steps()[1]);
    for (toml, after) in [
        ("[auth]\nallow_anonymous = true\n", "[auth]\nallow_anonymous = true\n".to_owned()),
        (
            "[auth]\npassword_file = \"their/passwd\"  # m.conf:1\n",
            format!("[auth]\npassword_file = \"{}/users\"  # m.conf:1\n", directory.display()),
        ),
    ] {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("their")).expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        run(command.args(["passwd", "-c", "-b"]).arg(directory.join("their/passwd")).args(["ann", "secret"]));
        fs::write(directory.join("dunlin.toml"), toml).expect("a file");
        for round in 0..2 {
            let mut command = Command::new("bash");
            command.args(["-c", &script]).current_dir(&directory).env("PATH", &path).env("XDG_STATE_HOME", &directory);
            let output = command.output().expect("bash runs");
            assert!(output.status.success(), "{toml}, round {round}: {output:?}");
            assert_eq!(fs::read_to_string(directory.join("dunlin.toml")).expect("it is there"), after);
        }
        // A service starts in another directory.
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        command.args(["--test-config", "--config"]).arg(directory.join("dunlin.toml"));
        run(command.current_dir("/").env("XDG_STATE_HOME", &directory));
    }
    fs::remove_dir_all(&directory).expect("it is ours");
}
