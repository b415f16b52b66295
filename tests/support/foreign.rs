//! Servers that others wrote, each in a folder and on a port of its own, ended when its holder goes: PostgreSQL and NATS.
//!
//! PostgreSQL refuses to run as root; there it runs as `nobody`. `scripts/test` installs both.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::ports::Port;

/// `nobody` of Debian and others.
const NOBODY: u32 = 65_534;
/// Far above what a server needs to start, for machines that are busy.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A process and its folder, which both go at the end.
pub(crate) struct ForeignServer {
    child: Child,
    pub(crate) folder: PathBuf,
    pub(crate) port: Port,
}

impl ForeignServer {
    /// A cluster of PostgreSQL with a user and a database `dunlin`, on a Unix socket in its folder and on its port.
    pub(crate) fn postgres(settings: &[&str]) -> Self {
        let (folder, port) = (new_folder("postgres"), Port::claim());
        let made = as_nobody(&mut Command::new(postgres_program("initdb")), &folder)
            .args(["--no-sync", "-A", "trust", "-U", "dunlin", "-E", "UTF8", "--locale", "C", "-D"])
            .arg(folder.join("data"))
            .output()
            .expect("initdb is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let server = Self { child: start_postgres(&folder, &port, settings), folder, port };
        server.await_psql("SELECT 1");
        server.psql("postgres", "CREATE DATABASE dunlin");
        server
    }

    /// As [`Self::postgres`], with a certificate for `localhost` from the authority in `ca.pem`; over TCP it takes nobody without TLS.
    pub(crate) fn postgres_with_tls() -> Self {
        let mut server = Self::postgres(&[]);
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("an authority");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&key).expect("an authority");
        let own_key = rcgen::KeyPair::generate().expect("a key");
        let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a certificate");
        let own = own.signed_by(&own_key, &rcgen::Issuer::new(authority, key)).expect("a certificate");
        let data = server.folder.join("data");
        let files = [
            (server.folder.join("ca.pem"), certificate.pem()),
            (data.join("server.crt"), own.pem()),
            (data.join("server.key"), own_key.serialize_pem()),
            (data.join("pg_hba.conf"), "local all all trust\nhostssl all all 127.0.0.1/32 trust\n".to_owned()),
        ];
        for (path, text) in files {
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its permissions");
            if is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).expect("its owner");
            }
        }
        server.kill();
        server.start_postgres_again(&["ssl=on"]);
        server
    }

    /// A NATS server with `JetStream`, whose streams are in its folder.
    pub(crate) fn nats() -> Self {
        let (folder, port) = (new_folder("nats"), Port::claim());
        let server = Self { child: start_nats(&folder, &port), folder, port };
        server.await_port();
        server
    }

    /// `kill -9`, and a start on the same folder and port.
    pub(crate) fn kill_and_start_postgres(&mut self) {
        self.kill();
        self.start_postgres_again(&[]);
    }

    /// Its other processes end a little after the first, and until then no other may start.
    fn start_postgres_again(&mut self, settings: &[&str]) {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            let _ = fs::remove_file(self.folder.join("data/postmaster.pid"));
            self.child = start_postgres(&self.folder, &self.port, settings);
            while self.child.try_wait().expect("a child").is_none() {
                if self.psql_command("postgres", "SELECT 1").output().is_ok_and(|out| out.status.success()) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        panic!("PostgreSQL has not started again in {}", self.folder.display());
    }

    /// As above, of a NATS server.
    pub(crate) fn kill_and_start_nats(&mut self) {
        self.kill();
        self.child = start_nats(&self.folder, &self.port);
        self.await_port();
    }

    /// As a power cut that only it sees.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What SQL comes to in a database: rows in lines, columns between `|`.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        let output = self.psql_command(database, sql).output().expect("psql is installed");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// `psql` that says this in a database.
    pub(crate) fn psql_command(&self, database: &str, sql: &str) -> Command {
        let mut command = Command::new(postgres_program("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "dunlin", "-p", &self.port.to_string()]);
        command.args(["-d", database, "-c", sql]).arg("-h").arg(&self.folder);
        command
    }

    fn await_psql(&self, sql: &str) {
        self.wait_for("PostgreSQL", || {
            self.psql_command("postgres", sql).output().is_ok_and(|out| out.status.success())
        });
    }

    fn await_port(&self) {
        self.wait_for("NATS", || TcpStream::connect(self.port.address()).is_ok());
    }

    fn wait_for(&self, what: &str, is_there: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_there() {
            assert!(started.elapsed() < START_LIMIT, "{what} has not started in {}", self.folder.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for ForeignServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn start_postgres(folder: &Path, port: &Port, settings: &[&str]) -> Child {
    let mut command = Command::new(postgres_program("postgres"));
    as_nobody(&mut command, folder).arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    command.args(["-h", "127.0.0.1", "-F", "-p", &port.to_string()]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    with_log(&mut command, folder).spawn().expect("postgres is installed")
}

fn start_nats(folder: &Path, port: &Port) -> Child {
    // The one that scripts/test installs, or the system's.
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/nats-server");
    let program = if installed.exists() { installed } else { "nats-server".into() };
    let mut command = Command::new(program);
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.join("streams"));
    with_log(&mut command, folder).spawn().expect("nats-server is installed")
}

/// Its words in a file, for whoever looks after a failure.
fn with_log<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
    let again = log.try_clone().expect("a log");
    command.stdin(Stdio::null()).stdout(log).stderr(again)
}

/// An empty folder that `nobody` may write to, with a name short enough for a Unix socket.
fn new_folder(kind: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("dunlin-{kind}-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a folder for a server");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its permissions");
    if is_root() {
        chown(&folder, Some(NOBODY), Some(NOBODY)).expect("its owner");
    }
    folder
}

fn as_nobody<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir(folder)
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Debian keeps the server's programs beside the path, in a folder for each version.
fn postgres_program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|entry| entry.path().join("bin").join(name)).filter(|p| p.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| name.into())
}
