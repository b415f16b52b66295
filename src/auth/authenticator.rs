//! Who decides about CONNECTs that shards ask about: a state machine that is told of questions and of work that is done, and
//! gives out work and verdicts.
//!
//! Owns: the questions that wait for work, and the passwords that were found right a short while ago.
//! Always holds: each question gets one verdict, or none once its time is over (its shard has refused it by then). What is
//! under way for one login is not begun again for another client with the same login. At most [`AUTH_WORK_MAX`] pieces of work are under way;
//! beyond it clients are told that the broker is busy.
//! Leaves to others: threads, channels and doing the work (`runtime`); time and randomness are passed in.

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::bans::{BanSettings, Bans, Suspect};
use super::chain::{AuthWork, Begun, Chains, Concluded, Method, WorkDone};
use super::exchanges::ScramExchanges;
use super::key_sets::KeySets;
use super::outcome::MethodOutcome;
use super::remembered::{LoginDigest, RememberedLogins};
use super::token::TokenKeys;
use super::topic_asks::{TopicAsks, TopicPlace};
use super::{Ask, AskId, AuthAnswer, ConnectQuestion, Question, RefusalCause, TopicsQuestion, Verdict};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::AUTH_WORK_MAX;
use crate::time::{Deadline, Now, Timestamp};

/// What the method is called by which a token is shown in AUTH.
const TOKEN_METHOD: &str = "JWT";

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
    /// What it is for.
    pub purpose: JobPurpose,
}

/// What a piece of work is for. Each has a share of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobPurpose {
    /// A client that wants to come in.
    Login,
    /// Something that a client wants to do.
    Topic,
}

/// What the operator chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// For how long a password is remembered after it was found right, in seconds; 0 is not at all.
    pub remember_s: u32,
    /// When clients are banned.
    pub bans: BanSettings,
    /// How often published keys are fetched, in seconds.
    pub key_set_refresh_s: u32,
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
    /// It has waited for keys: once is enough.
    has_waited_for_keys: bool,
}

/// Work that is under way, and who waits for it.
#[derive(Debug)]
struct WorkUnderWay {
    work: AuthWork,
    login: Option<LoginDigest>,
    waiting: Vec<PendingAsk>,
    /// What it is about, where it is no client that waits to come in.
    topic: Option<TopicPlace>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Authenticator {
    chains: Chains,
    remembered: RememberedLogins,
    bans: Bans,
    banned: VecDeque<Suspect>,
    key_sets: KeySets,
    /// Who waits for which key set.
    awaiting_keys: VecDeque<(Box<str>, PendingAsk)>,
    topics: TopicAsks,
    exchanges: ScramExchanges,
    under_way: BTreeMap<JobId, WorkUnderWay>,
    /// Those of them that a back end has to answer, and those that are about topics.
    logins_asked: usize,
    topics_asked: usize,
    by_login: BTreeMap<LoginDigest, JobId>,
    last: JobId,
    jobs: VecDeque<Job>,
    answers: VecDeque<AuthAnswer>,
}

impl Authenticator {
    /// Nobody has asked yet. `key` is random.
    pub fn new(chains: Chains, key: [u8; 32], settings: AuthSettings) -> Self {
        let mut key_sets = KeySets::default();
        key_sets.set_urls(chains.key_set_urls(), settings.key_set_refresh_s);
        Self {
            chains,
            remembered: RememberedLogins::new(key, settings.remember_s),
            bans: Bans::new(settings.bans),
            banned: VecDeque::new(),
            key_sets,
            awaiting_keys: VecDeque::new(),
            topics: TopicAsks::default(),
            exchanges: ScramExchanges::new(&key),
            under_way: BTreeMap::new(),
            logins_asked: 0,
            topics_asked: 0,
            by_login: BTreeMap::new(),
            last: JobId(0),
            jobs: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// Other chains and settings from now on. Questions that wait go on with those that held when they came.
    pub fn replace(&mut self, chains: Chains, settings: AuthSettings) {
        self.chains = chains;
        self.key_sets.set_urls(self.chains.key_set_urls(), settings.key_set_refresh_s);
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
        let question = match ask.question {
            Question::Connect(question) => question,
            Question::Topics(question) => return self.ask_about_topics(shard, ask.id, ask.deadline, &question),
        };
        let chain = self.chains.of(&question.listener);
        let (connection, ask, deadline) = (ask.connection, ask.id, ask.deadline);
        let asked = PendingAsk { shard, ask, deadline, question, chain, at: 0, has_waited_for_keys: false };
        // A ban keeps out; whoever is in already may have its client id banned by anybody who guesses at it.
        if !asked.question.is_connected && self.bans.has(now, &asked.question) {
            return self.answer(now, &asked, Verdict::Refuse(RefusalCause::Banned));
        }
        if asked.question.enhanced.is_some() {
            return self.take_step(now, connection, asked);
        }
        self.go_on(now, asked);
    }

    /// A client authenticates itself by AUTH.
    fn take_step(&mut self, now: Now, connection: ConnectionId, mut asked: PendingAsk) {
        let Some(step) = asked.question.enhanced.take() else { return };
        let listener = &asked.question.listener;
        if &*step.method == TOKEN_METHOD {
            // The token alone says who it is, and only those who read tokens are asked.
            asked.chain = self.chains.tokens_of(listener);
            if asked.chain.is_empty() {
                return self.answer(now, &asked, Verdict::Refuse(RefusalCause::BadMethod));
            }
            asked.question.password = step.data;
            return self.go_on(now, asked);
        }
        let users = self.chains.scram_of(listener).map(Arc::as_ref);
        let verdict = self.exchanges.handle_step(now, ((asked.shard, connection), asked.question.peer), users, &step);
        self.answer(now, &asked, verdict);
    }

    /// A piece of work has been done, or not.
    pub fn handle_done(&mut self, now: Now, id: JobId, done: WorkDone) {
        let Some(WorkUnderWay { work, login, waiting, topic }) = self.under_way.remove(&id) else { return };
        if matches!(work, AuthWork::Http(_)) {
            *self.asked_mut(purpose_of(topic)) -= 1;
        }
        if let Some(login) = login {
            self.by_login.remove(&login);
        }
        let concluded = work.conclude(done);
        if let (Concluded::Outcome(MethodOutcome::Admit), AuthWork::Hash(check), Some(login)) =
            (&concluded, &work, login)
        {
            let user = waiting[0].question.username.as_deref().unwrap_or_default();
            // The file may be another by now.
            if self.chains.still_store(check, user) {
                self.remembered.remember(now, login, user, check);
            }
        }
        if let (Some(place), Concluded::Answer(answer)) = (topic, &concluded) {
            self.answers.extend(self.topics.finish(place, answer));
        }
        for mut asked in waiting {
            match &concluded {
                Concluded::Answer(answer) => {
                    let outcome = asked.chain[asked.at].outcome(&asked.question, answer, Timestamp(now.unix_ms));
                    asked.at += 1;
                    self.take_outcome(now, asked, outcome);
                }
                Concluded::Outcome(outcome) => {
                    asked.at += 1;
                    self.take_outcome(now, asked, outcome.clone());
                }
                Concluded::MissesKey(url) => {
                    let published = self.key_sets.get(url);
                    // They came while it was being verified.
                    match &work {
                        AuthWork::Token(check) if check.is_outdated(published) => self.go_on(now, asked),
                        _ => self.await_keys(now, url, asked),
                    }
                }
                // It was too late for the first who waited, and may not be for others.
                Concluded::Nothing => self.go_on(now, asked),
            }
        }
    }

    /// A key set was fetched, or could not be.
    pub fn handle_keys(&mut self, now: Now, url: &str, keys: Option<TokenKeys>) {
        self.key_sets.handle_fetched(now, url, keys);
        let (ready, waiting) = std::mem::take(&mut self.awaiting_keys).into_iter().partition(|(of, _)| **of == *url);
        self.awaiting_keys = waiting;
        let ready: VecDeque<(Box<str>, PendingAsk)> = ready;
        for (_, asked) in ready {
            self.go_on(now, asked);
        }
    }

    /// The next key set to be fetched; [`Self::handle_keys`] says what came of it.
    pub fn next_key_fetch(&mut self, now: Now) -> Option<Box<str>> {
        self.key_sets.next_fetch(now)
    }

    /// When [`Self::next_key_fetch`] is to be asked again.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.key_sets.next_deadline()
    }

    /// The next piece of work to be given to somebody.
    pub fn next_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// The addresses that are banned, and until when, if they are others than when this was last asked.
    pub fn changed_bans(&mut self, now: Now) -> Option<BTreeMap<IpAddr, Deadline>> {
        self.bans.changed_addresses(now)
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
            let has_shown = asked.question.username.is_some() || asked.question.password.is_some();
            let cause = if has_shown { RefusalCause::BadCredentials } else { RefusalCause::Anonymous };
            return self.answer(now, &asked, Verdict::Refuse(cause));
        };
        match method.begin(&asked.question, &self.key_sets) {
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
            MethodOutcome::AdmitAs(admission) => self.answer(now, &asked, Verdict::AdmitAs(admission)),
            MethodOutcome::Refuse(cause) => self.answer(now, &asked, Verdict::Refuse(cause)),
            MethodOutcome::Ignore => self.go_on(now, asked),
            MethodOutcome::Unavailable => self.answer(now, &asked, Verdict::Unavailable),
        }
    }

    /// The key that a token names is not known. Somebody may have published it meanwhile.
    fn await_keys(&mut self, now: Now, url: &str, asked: PendingAsk) {
        if asked.has_waited_for_keys || !self.key_sets.miss(now, url) {
            let is_known = self.key_sets.get(url).is_some();
            let refused = Verdict::Refuse(RefusalCause::BadCredentials);
            return self.answer(now, &asked, if is_known { refused } else { Verdict::Unavailable });
        }
        self.awaiting_keys.retain(|(_, waiting)| !waiting.deadline.is_due(now));
        if self.awaiting_keys.len() >= AUTH_WORK_MAX {
            return self.answer(now, &asked, Verdict::Busy);
        }
        self.awaiting_keys.push_back((url.into(), PendingAsk { has_waited_for_keys: true, ..asked }));
    }

    fn begin(&mut self, now: Now, asked: PendingAsk, work: AuthWork) {
        let login = match &work {
            AuthWork::Hash(check) => {
                Some(self.remembered.digest(asked.question.username.as_deref().unwrap_or_default(), check))
            }
            AuthWork::Token(_) | AuthWork::Http(_) => None,
        };
        if let Some(login) = login {
            if self.remembered.knows(now, login) {
                return self.answer(now, &asked, Verdict::Admit);
            }
            if let Some(under_way) = self.by_login.get(&login).and_then(|job| self.under_way.get_mut(job)) {
                under_way.waiting.push(asked);
                return;
            }
        }
        if !self.has_room_for(&work, JobPurpose::Login) {
            return self.answer(now, &asked, Verdict::Busy);
        }
        let deadline = asked.deadline;
        let id = self.give_out(deadline, WorkUnderWay { work, login, waiting: vec![asked], topic: None });
        if let Some(login) = login {
            self.by_login.insert(login, id);
        }
    }

    /// Those who hash and those who ask are bounded apart: a back end that hangs holds up nobody's password. So are those who ask about topics
    /// and about logins: clients that are in already do not keep others out.
    fn has_room_for(&self, work: &AuthWork, purpose: JobPurpose) -> bool {
        let of_kind = match (work, purpose) {
            (AuthWork::Http(_), JobPurpose::Login) => self.logins_asked,
            (AuthWork::Http(_), JobPurpose::Topic) => self.topics_asked,
            _ => self.under_way.len() - self.logins_asked - self.topics_asked,
        };
        of_kind < AUTH_WORK_MAX
    }

    const fn asked_mut(&mut self, purpose: JobPurpose) -> &mut usize {
        match purpose {
            JobPurpose::Login => &mut self.logins_asked,
            JobPurpose::Topic => &mut self.topics_asked,
        }
    }

    fn give_out(&mut self, deadline: Deadline, under_way: WorkUnderWay) -> JobId {
        self.last.0 += 1;
        let id = self.last;
        let purpose = purpose_of(under_way.topic);
        if matches!(under_way.work, AuthWork::Http(_)) {
            *self.asked_mut(purpose) += 1;
        }
        self.jobs.push_back(Job { id, deadline, work: under_way.work.clone(), purpose });
        self.under_way.insert(id, under_way);
        id
    }

    /// A client wants to do something that a back end decides about.
    fn ask_about_topics(&mut self, shard: ShardId, ask: AskId, deadline: Deadline, question: &TopicsQuestion) {
        let Some(authorizer) = self.chains.authorizer_of(&question.listener) else {
            // The listener has none any more.
            return self.answers.push_back(AuthAnswer { shard, ask, verdict: Verdict::Unavailable });
        };
        for (place, request) in self.topics.begin(shard, ask, question, authorizer) {
            let work = AuthWork::Http(request);
            if self.has_room_for(&work, JobPurpose::Topic) {
                self.give_out(deadline, WorkUnderWay { work, login: None, waiting: Vec::new(), topic: Some(place) });
            } else {
                self.answers.extend(self.topics.skip(place));
            }
        }
    }

    fn answer(&mut self, now: Now, asked: &PendingAsk, verdict: Verdict) {
        match &verdict {
            Verdict::Admit | Verdict::AdmitAs(_) => self.bans.note_success(&asked.question),
            Verdict::Refuse(RefusalCause::BadCredentials) => {
                self.banned.extend(self.bans.note_failure(now, &asked.question));
            }
            _ => {}
        }
        self.answers.push_back(AuthAnswer { shard: asked.shard, ask: asked.ask, verdict });
    }
}

/// What work is for that has this topic to decide about, or none.
const fn purpose_of(topic: Option<TopicPlace>) -> JobPurpose {
    if topic.is_some() { JobPurpose::Topic } else { JobPurpose::Login }
}

#[cfg(test)]
mod tests;
