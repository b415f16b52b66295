//! The threads beside the shards that find out whether a client may come in.
//!
//! Owns: one thread with the state machine (`auth::Authenticator`), which answers at once what it can, and some that hash.
//! Always holds: no shard waits for them; each queue between them is bounded, and who does not get into one is told so; what
//! nobody waits for any more is not hashed; whoever hashes gives way to shards (nice).
//! Leaves to others: what is right (`auth`), the files (`config`).

use std::{io, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};

use super::clock;
use super::inbox::{Asker, InboxSender};
use crate::auth::password::HashMemory;
use crate::auth::{Ask, AuthAnswer, AuthSettings, AuthWork, Authenticator, Chains, Job, JobId, WorkDone};
use crate::ids::ShardId;
use crate::limits::{AUTH_THREADS_MAX, AUTH_WORK_MAX, PENDING_CONNECTS_MAX};
use crate::telemetry::log;

/// What shards have asked.
pub(super) type Questions = Receiver<(ShardId, Ask)>;

/// How others tell the authenticator that its files or settings have changed.
#[derive(Clone)]
pub(super) struct AuthenticatorHandle(Sender<(Chains, AuthSettings)>);

impl AuthenticatorHandle {
    /// From now on these hold.
    pub(super) fn replace(&self, chains: Chains, settings: AuthSettings) {
        // The thread ends with the process.
        let _ = self.0.send((chains, settings));
    }
}

/// The way that questions go.
pub(super) fn questions() -> (Asker, Questions) {
    bounded(PENDING_CONNECTS_MAX)
}

/// Starts the threads. They end with the process.
pub(super) fn start(
    questions: Questions,
    authenticator: Authenticator,
    inboxes: Vec<InboxSender>,
) -> io::Result<AuthenticatorHandle> {
    let (jobs, to_do) = bounded(AUTH_WORK_MAX);
    let (finished, done) = bounded(AUTH_WORK_MAX);
    for number in 0..inboxes.len().min(AUTH_THREADS_MAX) {
        let (to_do, finished) = (to_do.clone(), finished.clone());
        thread::Builder::new().name(format!("auth-work-{number}")).spawn(move || work(&to_do, &finished))?;
    }
    let (replace, replaced) = bounded(1);
    let desk = Desk { authenticator, jobs, inboxes };
    thread::Builder::new().name("authenticator".into()).spawn(move || desk.run(&questions, &done, &replaced))?;
    Ok(AuthenticatorHandle(replace))
}

/// What the authenticator's own thread has.
struct Desk {
    authenticator: Authenticator,
    jobs: Sender<Job>,
    inboxes: Vec<InboxSender>,
}

impl Desk {
    fn run(
        mut self,
        questions: &Questions,
        done: &Receiver<(JobId, WorkDone)>,
        replaced: &Receiver<(Chains, AuthSettings)>,
    ) {
        loop {
            select! {
                recv(questions) -> asked => match asked {
                    Ok((shard, ask)) => self.authenticator.handle_ask(clock::now(), shard, ask),
                    Err(_) => return, // the shards have stopped
                },
                recv(done) -> finished => {
                    let (job, done) = finished.expect("a thread that hashes ends with the process");
                    self.authenticator.handle_done(clock::now(), job, done);
                }
                recv(replaced) -> new => match new {
                    Ok((chains, settings)) => self.authenticator.replace(chains, settings),
                    Err(_) => return,
                },
            }
            while let Some(job) = self.authenticator.next_job() {
                // There is room for as many as the authenticator has under way.
                let _ = self.jobs.try_send(job);
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
}

/// One thread that hashes.
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
            let AuthWork::Hash(check) = &job.work;
            WorkDone::Hashed { matches: check.run(&mut memory) }
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
    use super::super::inbox::lane;
    use super::*;
    use crate::auth::password::{SALT_BYTES, Scheme, StoredPassword, Users};
    use crate::auth::{AskId, ConnectQuestion, Method, Question, RefusalCause, Verdict};
    use crate::codec::{Connect, Version};
    use crate::ids::ConnectionId;
    use crate::ring::{Plane, PlaneConfig};
    use std::sync::Arc;
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
        let authenticator = Authenticator::new(chains(&line("ann")), [7; 32], AuthSettings::default());
        let handle = start(questions, authenticator, senders).unwrap();
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
        handle.replace(chains(&line("bob")), AuthSettings::default());
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
