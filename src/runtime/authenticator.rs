//! The threads beside the shards that find out whether a client may come in.
//!
//! Owns: one thread with the state machine (`auth::Authenticator`), which answers at once what it can, some that hash passwords and
//! verify tokens, and some that ask back ends.
//! Always holds: no shard waits for them; each queue between them is bounded, and who does not get into one is told so; what
//! nobody waits for any more is not hashed; whoever hashes gives way to shards (nice).
//! Leaves to others: what is right (`auth`), the files (`config`).

use std::{io, sync::Arc, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};

use super::clock;
use super::http_asks::{self, Askers};
use super::http_client::HttpClient;
use super::key_fetch::{self, FetchedKeys, KeyFetch};
use crate::auth::password::HashMemory;
use crate::auth::{
    Ask, AuthAnswer, AuthSettings, AuthWork, Authenticator, BannedAddresses, Chains, Job, JobId, WorkDone,
};
use crate::config::Config;
use crate::ids::ShardId;
use crate::inbox::{Asker, InboxSender};
use crate::limits::{AUTH_THREADS_MAX, AUTH_WORK_MAX, PENDING_CONNECTS_MAX};
use crate::telemetry::log;
use crate::time::Timestamp;

/// What shards have asked.
pub(super) type Questions = Receiver<(ShardId, Ask)>;

/// Files and settings as they are from now on.
pub(super) struct AuthInputs {
    pub(super) chains: Chains,
    pub(super) settings: AuthSettings,
    /// For what is fetched and asked.
    pub(super) client: HttpClient,
    /// Requests that back ends are sent at one time.
    pub(super) connections: usize,
}

/// Where what it finds out goes.
pub(super) struct AuthOutputs {
    /// By shard.
    pub(super) inboxes: Vec<InboxSender>,
    /// For what shards decide themselves.
    pub(super) banned: Arc<BannedAddresses>,
}

/// What a configuration is to the authenticator.
pub(super) fn inputs(config: &Config) -> AuthInputs {
    let connections = config.process.auth_http_connections as usize;
    let timeout = Duration::from_secs(config.process.auth_http_timeout_s.into());
    let client = HttpClient::new(config.access.authorities(), timeout, connections);
    let client = client.with_headers(config.access.headers().cloned());
    AuthInputs { chains: config.access.chains(), settings: config.process.auth(), client, connections }
}

/// How others tell the authenticator that its files or settings have changed.
#[derive(Clone)]
pub(super) struct AuthenticatorHandle(Sender<AuthInputs>);

impl AuthenticatorHandle {
    /// From now on these hold.
    pub(super) fn replace(&self, inputs: AuthInputs) {
        // The thread ends with the process.
        let _ = self.0.send(inputs);
    }
}

/// The way that questions go.
pub(super) fn questions() -> (Asker, Questions) {
    bounded(PENDING_CONNECTS_MAX)
}

/// Starts the threads. They end with the process.
pub(super) fn start(
    questions: Questions,
    key: [u8; 32],
    inputs: AuthInputs,
    outputs: AuthOutputs,
) -> io::Result<AuthenticatorHandle> {
    let AuthOutputs { inboxes, banned } = outputs;
    let (jobs, to_do) = bounded(AUTH_WORK_MAX);
    let (finished, done) = bounded(AUTH_WORK_MAX);
    for number in 0..inboxes.len().min(AUTH_THREADS_MAX) {
        let (to_do, finished) = (to_do.clone(), finished.clone());
        thread::Builder::new().name(format!("auth-work-{number}")).spawn(move || work(&to_do, &finished))?;
    }
    let askers = http_asks::start(inputs.connections, &finished)?;
    let (fetches, fetched) = key_fetch::start()?;
    let (replace, replaced) = bounded(1);
    let AuthInputs { chains, settings, client, .. } = inputs;
    let authenticator = Authenticator::new(chains, key, settings);
    let desk = Desk { authenticator, jobs, askers, fetches, client, inboxes, banned };
    let heard = Heard { questions, done, fetched, replaced };
    thread::Builder::new().name("authenticator".into()).spawn(move || desk.run(&heard))?;
    Ok(AuthenticatorHandle(replace))
}

/// What the authenticator's own thread has.
struct Desk {
    authenticator: Authenticator,
    jobs: Sender<Job>,
    /// Those of them that a back end has to answer.
    askers: Askers,
    fetches: Sender<KeyFetch>,
    client: HttpClient,
    inboxes: Vec<InboxSender>,
    banned: Arc<BannedAddresses>,
}

/// What it hears.
struct Heard {
    questions: Questions,
    done: Receiver<(JobId, WorkDone)>,
    fetched: Receiver<FetchedKeys>,
    replaced: Receiver<AuthInputs>,
}

impl Desk {
    fn run(mut self, heard: &Heard) {
        loop {
            self.give_out();
            let now = clock::now();
            let wait_ms = self.authenticator.next_deadline().map_or(IDLE_MS, |due| due.0.saturating_sub(now.ms()));
            select! {
                recv(heard.questions) -> asked => match asked {
                    Ok((shard, ask)) => self.authenticator.handle_ask(clock::now(), shard, ask),
                    Err(_) => return, // the shards have stopped
                },
                recv(heard.done) -> finished => {
                    let (job, done) = finished.expect("a thread that hashes ends with the process");
                    self.authenticator.handle_done(clock::now(), job, done);
                }
                recv(heard.fetched) -> fetched => {
                    let (url, keys) = fetched.expect("the thread that fetches ends with the process");
                    self.authenticator.handle_keys(clock::now(), &url, keys);
                }
                recv(heard.replaced) -> new => match new {
                    Ok(AuthInputs { chains, settings, client, .. }) => {
                        self.client = client;
                        self.authenticator.replace(chains, settings);
                    }
                    Err(_) => return,
                },
                default(Duration::from_millis(wait_ms.min(IDLE_MS))) => {}
            }
        }
    }

    /// Passes on what the state machine gives out.
    fn give_out(&mut self) {
        while let Some(job) = self.authenticator.next_job() {
            // There is room for as many as the authenticator has under way.
            let _ = match job.work {
                AuthWork::Http(_) => self.askers.ask(job, self.client.clone()),
                _ => self.jobs.try_send(job).is_ok(),
            };
        }
        while let Some(url) = self.authenticator.next_key_fetch(clock::now()) {
            if self.fetches.try_send((url.clone(), self.client.clone())).is_err() {
                // More URLs than listeners cannot be: one of before a reload is under way. It is tried again.
                self.authenticator.handle_keys(clock::now(), &url, None);
            }
        }
        if let Some(addresses) = self.authenticator.changed_bans(clock::now()) {
            self.banned.replace(addresses);
        }
        while let Some(banned) = self.authenticator.next_banned() {
            log::event::login_banned(&banned);
        }
        while let Some(AuthAnswer { shard, ask, verdict }) = self.authenticator.next_answer() {
            // One that does not reach its shard is as good as none: the question has a deadline.
            let _ = self.inboxes[shard.index()].answer(ask, verdict);
        }
    }
}

/// The longest wait for something that comes by no channel.
const IDLE_MS: u64 = 60_000;

/// One thread that hashes and verifies.
fn work(to_do: &Receiver<Job>, finished: &Sender<(JobId, WorkDone)>) {
    // Shards go first. Where that is not allowed it is still right.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), WORK_NICE);
    let mut memory = HashMemory::default();
    loop {
        let job = match to_do.recv_timeout(KEEP_MEMORY) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                memory = HashMemory::default();
                match to_do.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let done = if job.deadline.is_due(clock::now()) {
            WorkDone::TooLate
        } else {
            match &job.work {
                AuthWork::Hash(check) => WorkDone::Hashed { matches: check.run(&mut memory) },
                AuthWork::Token(check) => WorkDone::Verified(check.run(Timestamp(clock::now().unix_ms))),
                AuthWork::Http(_) => unreachable!("requests go to those who ask"),
            }
        };
        if finished.send((job.id, done)).is_err() {
            return;
        }
    }
}

/// How far threads that hash stand behind those of shards.
const WORK_NICE: i32 = 10;
/// After so long without work the tens of megabytes that argon2id works in are given back.
const KEEP_MEMORY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::{SALT_BYTES, Scheme, StoredPassword, Users};
    use crate::auth::{AskId, ConnectQuestion, Method, Question, RefusalCause, Verdict};
    use crate::codec::{Connect, Version};
    use crate::ids::ConnectionId;
    use crate::inbox::lane;
    use crate::ring::{Plane, PlaneConfig};
    use std::time::Instant;

    #[test]
    fn questions_are_answered_by_the_lane_of_the_shard_that_asks() {
        let plane = Plane::new(PlaneConfig { sockets_max: 16, buffers: 16, ..PlaneConfig::default() }).unwrap();
        let (asker, questions) = questions();
        let lanes: Vec<_> = (0..2).map(|n| lane(plane.handle(), Some((ShardId(n), asker.clone())))).collect();
        let (senders, mut inboxes): (Vec<_>, Vec<_>) = lanes.into_iter().unzip();
        let line =
            |user: &str| format!("{user}:{}\n", StoredPassword::new(Scheme::Sha512, user.as_bytes(), [1; SALT_BYTES]));
        let chains = |text: &str| {
            let users = Users::parse(text, (1, 2)).unwrap();
            Chains::new([("public".into(), vec![Method::Passwords(Arc::new(users))])])
        };
        let inputs = |text: &str| AuthInputs {
            chains: chains(text),
            settings: AuthSettings::default(),
            client: HttpClient::new(&[], Duration::from_secs(1), 1),
            connections: 1,
        };
        let outputs = AuthOutputs { inboxes: senders, banned: Arc::default() };
        let handle = start(questions, [7; 32], inputs(&line("ann")), outputs).unwrap();
        let mut ask = |shard: usize, number: u64, user: &str| {
            let connect = Connect {
                username: Some(user),
                password: Some(user.as_bytes()),
                ..Connect::new(Version::V5, "client", true)
            };
            let question = Question::Connect(Box::new(ConnectQuestion::about(&connect, "public")));
            let deadline = clock::now().after_s(60);
            let ask = Ask { id: AskId(number), connection: ConnectionId::new(1, 0), deadline, question };
            inboxes[shard].ask(ask);
            let limit = Instant::now() + Duration::from_secs(60);
            loop {
                inboxes[shard].begin_turn();
                if let Some((id, verdict)) = inboxes[shard].next_verdict() {
                    assert_eq!(id, AskId(number));
                    return verdict;
                }
                assert!(Instant::now() < limit, "no verdict came");
                thread::sleep(Duration::from_millis(1));
            }
        };
        let wrong = Verdict::Refuse(RefusalCause::BadCredentials);
        assert_eq!(ask(0, 0, "ann"), Verdict::Admit);
        assert_eq!(ask(1, 0, "bob"), wrong);
        assert_eq!(ask(1, 1, "ann"), Verdict::Admit);
        handle.replace(inputs(&line("bob")));
        // The change is heard beside the questions, not before them.
        let limit = Instant::now() + Duration::from_secs(60);
        let mut number = 1;
        while ask(0, number, "bob") != Verdict::Admit {
            assert!(Instant::now() < limit, "the new file does not hold");
            number += 1;
        }
        assert_eq!(ask(0, number + 1, "ann"), wrong);
    }
}
