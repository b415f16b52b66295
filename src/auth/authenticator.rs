//! Who decides about CONNECTs that shards ask about: a state machine that is told of questions and of work that is done, and
//! gives out work and verdicts.
//!
//! Owns: the questions that wait for work, and the passwords that were found right a short while ago.
//! Always holds: each question gets one verdict, or none once its time is over (its shard has refused it by then). What is
//! under way for one login is not begun again for another client with the same login. At most [`AUTH_WORK_MAX`] pieces of work are under way;
//! beyond it clients are told that the broker is busy.
//! Leaves to others: threads, channels and doing the work (`runtime`); time and randomness are passed in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::bans::{BanSettings, Bans, Suspect};
use super::chain::{AuthWork, Begun, Chains, Method, MethodOutcome, WorkDone};
use super::remembered::{LoginDigest, RememberedLogins};
use super::{Ask, AskId, ConnectQuestion, Question, RefusalCause, Verdict};
use crate::ids::ShardId;
use crate::limits::AUTH_WORK_MAX;
use crate::time::{Deadline, Now};

/// Names a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(u64);

/// A piece of work, to be done before its deadline or not at all.
#[derive(Debug)]
pub struct Job {
    /// Names what came of it.
    pub id: JobId,
    /// Nobody waits for it any more from then on.
    pub deadline: Deadline,
    /// What is to be done.
    pub work: AuthWork,
}

/// A verdict, and whose question it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthAnswer {
    /// Who asked.
    pub shard: ShardId,
    /// What.
    pub ask: AskId,
    /// The answer.
    pub verdict: Verdict,
}

/// What the operator chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// For how long a password is remembered after it was found right, in seconds; 0 is not at all.
    pub remember_s: u32,
    /// When clients are banned.
    pub bans: BanSettings,
}

/// A question on its way through a chain.
#[derive(Debug)]
struct PendingAsk {
    shard: ShardId,
    ask: AskId,
    deadline: Deadline,
    question: Box<ConnectQuestion>,
    chain: Arc<[Method]>,
    /// The method that it has come to.
    at: usize,
}

/// Work that is under way, and who waits for it.
#[derive(Debug)]
struct WorkUnderWay {
    work: AuthWork,
    login: Option<LoginDigest>,
    waiting: Vec<PendingAsk>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Authenticator {
    chains: Chains,
    remembered: RememberedLogins,
    bans: Bans,
    banned: VecDeque<Suspect>,
    under_way: BTreeMap<JobId, WorkUnderWay>,
    by_login: BTreeMap<LoginDigest, JobId>,
    last: JobId,
    jobs: VecDeque<Job>,
    answers: VecDeque<AuthAnswer>,
}

impl Authenticator {
    /// Nobody has asked yet. `key` is random.
    pub fn new(chains: Chains, key: [u8; 32], settings: AuthSettings) -> Self {
        Self {
            chains,
            remembered: RememberedLogins::new(key, settings.remember_s),
            bans: Bans::new(settings.bans),
            banned: VecDeque::new(),
            under_way: BTreeMap::new(),
            by_login: BTreeMap::new(),
            last: JobId(0),
            jobs: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// Other chains and settings from now on. Questions that wait go on with those that held when they came.
    pub fn replace(&mut self, chains: Chains, settings: AuthSettings) {
        self.chains = chains;
        self.bans.set(settings.bans);
        self.remembered.set_keep_s(settings.remember_s);
        let chains = &self.chains;
        self.remembered.retain(|user, check| chains.still_store(check, user));
    }

    /// Passwords that are remembered.
    pub fn remembered(&self) -> usize {
        self.remembered.len()
    }

    /// A shard asks: the verdict comes with [`Self::next_answer`], now or later.
    pub fn handle_ask(&mut self, now: Now, shard: ShardId, ask: Ask) {
        let Question::Connect(question) = ask.question;
        let chain = self.chains.of(&question.listener);
        let asked = PendingAsk { shard, ask: ask.id, deadline: ask.deadline, question, chain, at: 0 };
        if self.bans.has(now, &asked.question) {
            return self.answer(now, &asked, Verdict::Refuse(RefusalCause::Banned));
        }
        self.go_on(now, asked);
    }

    /// A piece of work has been done, or not.
    pub fn handle_done(&mut self, now: Now, id: JobId, done: WorkDone) {
        let Some(WorkUnderWay { work, login, waiting }) = self.under_way.remove(&id) else { return };
        if let Some(login) = login {
            self.by_login.remove(&login);
        }
        let outcome = work.conclude(done);
        if let (Some(MethodOutcome::Admit), AuthWork::Hash(check), Some(login)) = (&outcome, &work, login) {
            let user = waiting[0].question.username.as_deref().unwrap_or_default();
            // The file may be another by now.
            if self.chains.still_store(check, user) {
                self.remembered.remember(now, login, user, check);
            }
        }
        for mut asked in waiting {
            match &outcome {
                Some(outcome) => {
                    asked.at += 1;
                    self.take_outcome(now, asked, *outcome);
                }
                // It was too late for the first who waited, and may not be for others.
                None => self.go_on(now, asked),
            }
        }
    }

    /// The next piece of work to be given to somebody.
    pub fn next_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// The next who has been banned, for the log.
    pub fn next_banned(&mut self) -> Option<Suspect> {
        self.banned.pop_front()
    }

    /// The next verdict for a shard.
    pub fn next_answer(&mut self) -> Option<AuthAnswer> {
        self.answers.pop_front()
    }

    /// Goes on with the method that a question has come to.
    fn go_on(&mut self, now: Now, asked: PendingAsk) {
        if asked.deadline.is_due(now) {
            return;
        }
        let Some(method) = asked.chain.get(asked.at) else {
            return self.answer(now, &asked, Verdict::Refuse(RefusalCause::BadCredentials));
        };
        match method.begin(&asked.question) {
            Begun::Decided(outcome) => {
                let asked = PendingAsk { at: asked.at + 1, ..asked };
                self.take_outcome(now, asked, outcome);
            }
            Begun::Needs(work) => self.begin(now, asked, work),
        }
    }

    fn take_outcome(&mut self, now: Now, asked: PendingAsk, outcome: MethodOutcome) {
        match outcome {
            MethodOutcome::Admit => self.answer(now, &asked, Verdict::Admit),
            MethodOutcome::Refuse(cause) => self.answer(now, &asked, Verdict::Refuse(cause)),
            MethodOutcome::Ignore => self.go_on(now, asked),
        }
    }

    fn begin(&mut self, now: Now, asked: PendingAsk, work: AuthWork) {
        let AuthWork::Hash(check) = &work;
        let login = self.remembered.digest(asked.question.username.as_deref().unwrap_or_default(), check);
        if self.remembered.knows(now, login) {
            return self.answer(now, &asked, Verdict::Admit);
        }
        if let Some(under_way) = self.by_login.get(&login).and_then(|job| self.under_way.get_mut(job)) {
            under_way.waiting.push(asked);
            return;
        }
        if self.under_way.len() >= AUTH_WORK_MAX {
            return self.answer(now, &asked, Verdict::Busy);
        }
        self.last.0 += 1;
        let id = self.last;
        self.jobs.push_back(Job { id, deadline: asked.deadline, work: work.clone() });
        self.by_login.insert(login, id);
        self.under_way.insert(id, WorkUnderWay { work, login: Some(login), waiting: vec![asked] });
    }

    fn answer(&mut self, now: Now, asked: &PendingAsk, verdict: Verdict) {
        match verdict {
            Verdict::Admit => self.bans.note_success(&asked.question),
            Verdict::Refuse(RefusalCause::BadCredentials) => {
                self.banned.extend(self.bans.note_failure(now, &asked.question));
            }
            _ => {}
        }
        self.answers.push_back(AuthAnswer { shard: asked.shard, ask: asked.ask, verdict });
    }
}

#[cfg(test)]
mod tests;
