//! Servers of NATS with `JetStream` that make up one engine, in a folder of their own, ended when their holder goes.
//!
//! Always holds: each has the accounts SYS (the system's), FLEET (the cluster's) and OTHER (without `JetStream`), with the users `sys`, `fleet` and `other`,
//! whose password is their name.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dunlin::config::cluster::EngineConfig;
use dunlin::config::secrets::SecretPlace;
use dunlin::config::targets::{NatsLogin, NatsServerSettings};

use super::ports::Port;

/// How a server is set up that a cluster cannot rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is of version 2.14.
    Old,
    /// It lacks `sync_interval: always`.
    NoSync,
    /// The cluster's account may have a single stream.
    OneStream,
}

struct Server {
    /// Where clients connect, and where the other servers do.
    ports: (Port, Port),
    flaw: Option<Flaw>,
    child: Option<Child>,
}

/// The servers of one engine, `n0` and so on.
pub(crate) struct EngineServers {
    folder: PathBuf,
    servers: Vec<Server>,
}

impl EngineServers {
    /// So many servers that are as a cluster wants them, but for `flaws`. None runs yet.
    pub(crate) fn new(count: usize, flaws: &[(usize, Flaw)]) -> Self {
        let folder = new_folder();
        let servers = (0..count).map(|index| Server {
            ports: (Port::claim(), Port::claim()),
            flaw: flaws.iter().find(|(flawed, _)| *flawed == index).map(|(_, flaw)| *flaw),
            child: None,
        });
        let engine = Self { servers: servers.collect(), folder };
        for user in ["sys", "fleet", "other", "wrong"] {
            fs::write(engine.folder.join(user), format!("{user}\n")).expect("a file of a password");
        }
        for index in 0..count {
            fs::write(engine.file(index), engine.words(index)).expect("a server's file");
        }
        engine
    }

    /// The same, all of them running.
    pub(crate) fn started(count: usize, flaws: &[(usize, Flaw)]) -> Self {
        let mut engine = Self::new(count, flaws);
        for index in 0..count {
            engine.start(index);
        }
        engine
    }

    pub(crate) fn start(&mut self, index: usize) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join(format!("log-{index}")));
        let log = log.expect("a log");
        let program = program(self.servers[index].flaw == Some(Flaw::Old));
        // `setpriv` (util-linux) sets the signal that the child gets when its parent dies, and becomes the child.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).arg("-c").arg(self.file(index)).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        self.servers[index].child = Some(child.expect("setpriv is there, as on each Debian"));
    }

    /// As a power cut that only it sees.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.servers[index].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It stands still: its sockets stay open.
    pub(crate) fn stop(&self, index: usize) {
        self.signal(index, "-STOP");
    }

    /// It goes on after that.
    pub(crate) fn go_on(&self, index: usize) {
        self.signal(index, "-CONT");
    }

    fn signal(&self, index: usize, signal: &str) {
        let child = self.servers[index].child.as_ref().expect("it runs");
        let done = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(done.expect("kill is there").success());
    }

    /// What a node is told of them, with these users.
    pub(crate) fn config(&self, user: &str, system: &str) -> EngineConfig {
        let login = |user: &str| {
            let name = if user == "wrong" { "fleet" } else { user };
            NatsLogin::Password(name.to_owned(), SecretPlace::File(self.folder.join(user)))
        };
        let servers = self.servers.iter().map(|server| format!("nats://{}", server.ports.0.address()));
        let server = NatsServerSettings {
            servers: servers.collect(),
            login: login(user),
            tls: None,
            timeout: Duration::from_secs(2),
        };
        EngineConfig { server, system: login(system) }
    }

    /// What a server has logged, for whoever looks after a failure.
    pub(crate) fn log(&self, index: usize) -> String {
        fs::read_to_string(self.folder.join(format!("log-{index}"))).unwrap_or_default()
    }

    fn file(&self, index: usize) -> PathBuf {
        self.folder.join(format!("n{index}.conf"))
    }

    fn words(&self, index: usize) -> String {
        let Server { ports: (clients, routes), flaw, .. } = &self.servers[index];
        let sync = if *flaw == Some(Flaw::NoSync) { "" } else { ", sync_interval: always" };
        let jetstream = if *flaw == Some(Flaw::OneStream) { "{ max_streams: 1 }" } else { "enabled" };
        let store = self.folder.join(format!("n{index}"));
        let others = self.servers.iter().enumerate().filter(|(other, _)| *other != index);
        let others: Vec<String> =
            others.map(|(_, server)| format!("nats-route://{}", server.ports.1.address())).collect();
        let cluster = if others.is_empty() {
            String::new()
        } else {
            format!("cluster {{ name: engine, listen: \"{}\", routes: [{}] }}", routes.address(), others.join(", "))
        };
        format!(
            "server_name: n{index}\nlisten: \"{}\"\njetstream {{ store_dir: \"{}\"{sync} }}\n{cluster}\n\
             accounts {{\n  SYS {{ users: [ {{ user: sys, password: sys }} ] }}\n  \
             FLEET {{ jetstream: {jetstream}, users: [ {{ user: fleet, password: fleet }} ] }}\n  \
             OTHER {{ users: [ {{ user: other, password: other }} ] }}\n}}\nsystem_account: SYS\n",
            clients.address(),
            store.display()
        )
    }
}

impl Drop for EngineServers {
    fn drop(&mut self) {
        for index in 0..self.servers.len() {
            if std::thread::panicking() {
                eprintln!("n{index}:\n{}", self.log(index));
            }
            self.kill(index);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What `scripts/test` installs, or the system's.
fn program(is_old: bool) -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv");
    if is_old {
        let old = installed.join("nats-2.14/bin/nats-server");
        assert!(old.exists(), "scripts/test installs tests/cluster/requirements.txt into .venv/nats-2.14");
        return old;
    }
    let new = installed.join("bin/nats-server");
    if new.exists() { new } else { "nats-server".into() }
}

fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // In memory, where there is such a place: a disk that others write to keeps a sync for seconds, and no power is cut here.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = parent.join(format!("dunlin-engine-{}-{number}", std::process::id()));
    if let Err(error) = fs::remove_dir_all(&folder) {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", folder.display());
    }
    fs::create_dir(&folder).expect("a folder for the servers");
    folder
}
