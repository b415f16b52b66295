//! Questions, work and verdicts, without threads.

use super::*;
use crate::auth::http::{HttpAnswer, HttpAuthorizer, HttpMethod, WhenDown};
use crate::auth::password::{HashMemory, SALT_BYTES, Scheme, StoredPassword, Users};
use crate::auth::token::{TokenMethod, TokenPolicy};
use crate::auth::{AskedTopic, EnhancedStep, TopicAction, TopicAnswer, TopicDecision};
use crate::codec::{Connect, Version};
use crate::ids::ConnectionId;
use crate::ids::Qos;
use crate::limits::{KEYS_FETCH_PAUSE_S, REMEMBERED_LOGINS_MAX, VERDICT_TIMEOUT_MS};

fn now(ms: u64) -> Now {
    Now { mono_ns: ms * 1_000_000, unix_ms: 0 }
}

fn users(pairs: &[(&str, &str)]) -> Method {
    let line = |(user, password): &(&str, &str)| {
        format!("{user}:{}\n", StoredPassword::new(Scheme::Sha512, password.as_bytes(), [1; SALT_BYTES]))
    };
    let text: String = pairs.iter().map(line).collect();
    Method::Passwords(Arc::new(Users::parse(&text, (1, 2)).unwrap()))
}

fn chains(methods: Vec<Method>) -> Chains {
    Chains::new([("public".into(), methods)])
}

const SETTINGS: AuthSettings =
    AuthSettings { remember_s: 60, bans: BanSettings { after: 50, within_s: 60, lasts_s: 60 }, key_set_refresh_s: 300 };

struct Desk {
    authenticator: Authenticator,
    memory: HashMemory,
    asked: u64,
    hashed: usize,
    /// What the back end answers.
    back_end: HttpAnswer,
}

impl Desk {
    fn new(methods: Vec<Method>) -> Self {
        let authenticator = Authenticator::new(chains(methods), [7; 32], SETTINGS);
        Self { authenticator, memory: HashMemory::default(), asked: 0, hashed: 0, back_end: HttpAnswer::NoReply }
    }

    fn ask_at(&mut self, ms: u64, listener: &str, user: Option<&str>, password: Option<&str>) -> AskId {
        let connect = Connect {
            username: user,
            password: password.map(str::as_bytes),
            ..Connect::new(Version::V5, "client", true)
        };
        let question = Question::Connect(Box::new(ConnectQuestion::about(&connect, listener)));
        let id = AskId(self.asked);
        self.asked += 1;
        let deadline = now(ms).after_ms(VERDICT_TIMEOUT_MS);
        let ask = Ask { id, connection: ConnectionId::new(1, 0), deadline, question };
        self.authenticator.handle_ask(now(ms), ShardId(0), ask);
        id
    }

    fn ask(&mut self, user: &str, password: &str) -> AskId {
        self.ask_at(0, "public", Some(user), Some(password))
    }

    fn work_at(&mut self, ms: u64) {
        while let Some(job) = self.authenticator.next_job() {
            let done = if job.deadline.is_due(now(ms)) {
                WorkDone::TooLate
            } else {
                self.hashed += 1;
                match &job.work {
                    AuthWork::Hash(check) => WorkDone::Hashed { matches: check.run(&mut self.memory) },
                    AuthWork::Token(check) => WorkDone::Verified(check.run(Timestamp(1_000))),
                    AuthWork::Http(_) => WorkDone::Answered(self.back_end.clone()),
                }
            };
            self.authenticator.handle_done(now(ms), job.id, done);
        }
    }

    fn answers(&mut self) -> Vec<(AskId, Verdict)> {
        let answers = std::iter::from_fn(|| self.authenticator.next_answer());
        answers.map(|answer| (answer.ask, answer.verdict)).collect()
    }

    fn verdict_of(&mut self, user: Option<&str>, password: Option<&str>) -> Verdict {
        let ask = self.ask_at(0, "public", user, password);
        self.work_at(0);
        let answers = self.answers();
        assert_eq!((answers.len(), answers[0].0), (1, ask));
        answers[0].1.clone()
    }
}

const WRONG: Verdict = Verdict::Refuse(RefusalCause::BadCredentials);

#[test]
fn the_first_method_that_decides_wins_and_nobody_is_let_in_by_default() {
    let mut desk =
        Desk::new(vec![users(&[("ann", "a"), ("both", "first")]), users(&[("bob", "b"), ("both", "second")])]);
    for (user, password, verdict) in [
        (Some("ann"), Some("a"), Verdict::Admit),
        (Some("bob"), Some("b"), Verdict::Admit),
        (Some("both"), Some("first"), Verdict::Admit),
        (Some("both"), Some("second"), WRONG),
        (Some("ann"), Some("b"), WRONG),
        (Some("eve"), Some("a"), WRONG),
        (Some("ann"), None, WRONG),
        (None, Some("a"), WRONG),
        (None, None, Verdict::Refuse(RefusalCause::Anonymous)),
    ] {
        assert_eq!(desk.verdict_of(user, password), verdict, "{user:?} {password:?}");
    }
    let elsewhere = desk.ask_at(0, "other", Some("ann"), Some("a"));
    assert_eq!(desk.answers(), [(elsewhere, WRONG)], "a listener without a chain lets nobody in");
}

#[test]
fn a_user_whom_nobody_knows_costs_a_hash_in_each_file_as_a_known_one_does() {
    let mut desk = Desk::new(vec![users(&[("ann", "a")])]);
    assert_eq!(desk.verdict_of(Some("ann"), Some("wrong")), WRONG);
    assert_eq!(desk.hashed, 1);
    assert_eq!(desk.verdict_of(Some("eve"), Some("wrong")), WRONG);
    assert_eq!(desk.hashed, 2);
    // Wrong ones are not remembered.
    assert_eq!(desk.verdict_of(Some("ann"), Some("wrong")), WRONG);
    assert_eq!(desk.hashed, 3);
}

#[test]
fn a_login_that_was_right_is_remembered_for_its_time_and_no_other_one_is() {
    let mut desk = Desk::new(vec![users(&[("ann", "a"), ("bob", "b")])]);
    assert_eq!(desk.verdict_of(Some("ann"), Some("a")), Verdict::Admit);
    assert_eq!((desk.hashed, desk.authenticator.remembered()), (1, 1));
    assert_eq!(desk.verdict_of(Some("ann"), Some("a")), Verdict::Admit);
    assert_eq!(desk.hashed, 1);
    assert_eq!(desk.verdict_of(Some("ann"), Some("b")), WRONG);
    assert_eq!(desk.verdict_of(Some("bob"), Some("a")), WRONG);
    let hashed = desk.hashed;
    let ask = desk.ask_at(60_000, "public", Some("ann"), Some("a"));
    assert_eq!(desk.answers(), [], "its time is over");
    desk.work_at(60_000);
    assert_eq!((desk.answers(), desk.hashed), (vec![(ask, Verdict::Admit)], hashed + 1));
}

#[test]
fn what_is_remembered_goes_when_the_file_says_otherwise_and_stays_where_it_does_not() {
    let mut desk = Desk::new(vec![users(&[("ann", "a"), ("bob", "b"), ("eve", "e")])]);
    for (user, password) in [("ann", "a"), ("bob", "b"), ("eve", "e")] {
        assert_eq!(desk.verdict_of(Some(user), Some(password)), Verdict::Admit);
    }
    desk.authenticator.replace(chains(vec![users(&[("ann", "a"), ("bob", "changed")])]), SETTINGS);
    assert_eq!(desk.authenticator.remembered(), 1);
    assert_eq!(desk.verdict_of(Some("bob"), Some("b")), WRONG);
    assert_eq!(desk.verdict_of(Some("eve"), Some("e")), WRONG);
    let hashed = desk.hashed;
    assert_eq!(desk.verdict_of(Some("ann"), Some("a")), Verdict::Admit);
    assert_eq!(desk.hashed, hashed);
    desk.authenticator.replace(chains(vec![users(&[("ann", "a")])]), AuthSettings::default());
    assert_eq!(desk.verdict_of(Some("ann"), Some("a")), Verdict::Admit);
    assert_eq!((desk.hashed, desk.authenticator.remembered()), (hashed + 1, 0), "nothing is remembered any more");
}

#[test]
fn a_password_that_changes_while_it_is_hashed_is_not_remembered() {
    let mut desk = Desk::new(vec![users(&[("ann", "a")])]);
    let ask = desk.ask("ann", "a");
    desk.authenticator.replace(chains(vec![users(&[("ann", "b")])]), SETTINGS);
    desk.work_at(0);
    assert_eq!(desk.answers(), [(ask, Verdict::Admit)], "it came while that held");
    assert_eq!(desk.authenticator.remembered(), 0);
    assert_eq!(desk.verdict_of(Some("ann"), Some("a")), WRONG);
}

#[test]
fn clients_with_one_login_share_one_hash() {
    let mut desk = Desk::new(vec![users(&[("ann", "a")])]);
    let asks: Vec<AskId> = (0..100).map(|_| desk.ask("ann", "a")).collect();
    let other = desk.ask("ann", "b");
    desk.work_at(0);
    let mut answers = desk.answers();
    answers.sort_by_key(|(ask, _)| *ask);
    let expected: Vec<_> = asks.into_iter().map(|ask| (ask, Verdict::Admit)).chain([(other, WRONG)]).collect();
    assert_eq!((answers, desk.hashed), (expected, 2));
}

#[test]
fn too_much_work_at_once_is_told_and_what_is_remembered_costs_none() {
    let mut desk = Desk::new(vec![users(&[("ann", "a")])]);
    assert_eq!(desk.verdict_of(Some("ann"), Some("a")), Verdict::Admit);
    for n in 0..AUTH_WORK_MAX {
        desk.ask("ann", &format!("wrong-{n}"));
    }
    assert_eq!(desk.answers(), []);
    let (known, more) = (desk.ask("ann", "a"), desk.ask("ann", "one more"));
    assert_eq!(desk.answers(), [(known, Verdict::Admit), (more, Verdict::Busy)]);
    desk.work_at(0);
    assert_eq!(desk.answers().len(), AUTH_WORK_MAX);
}

#[test]
fn what_is_too_late_for_one_is_done_for_those_who_still_wait() {
    let mut desk = Desk::new(vec![users(&[("ann", "a")])]);
    let _early = desk.ask_at(0, "public", Some("ann"), Some("a"));
    let late = desk.ask_at(4_000, "public", Some("ann"), Some("a"));
    desk.work_at(VERDICT_TIMEOUT_MS);
    assert_eq!((desk.answers(), desk.hashed), (vec![(late, Verdict::Admit)], 1));
    assert!(desk.authenticator.under_way.is_empty() && desk.authenticator.by_login.is_empty());
}

#[test]
fn what_is_remembered_is_bounded_and_the_oldest_goes() {
    let mut desk = Desk::new(vec![users(&[("ann", "a")])]);
    let Method::Passwords(users) = users(&[("ann", "a")]) else { unreachable!() };
    let remembered = &mut desk.authenticator.remembered;
    let check = users.check("ann", b"a");
    let name = |n: usize| format!("user-{n}");
    for n in 0..=REMEMBERED_LOGINS_MAX {
        let digest = remembered.digest(&name(n), &check);
        remembered.remember(now(0), digest, &name(n), &check);
    }
    assert_eq!(remembered.len(), REMEMBERED_LOGINS_MAX);
    let (first, last) = (remembered.digest(&name(0), &check), remembered.digest(&name(REMEMBERED_LOGINS_MAX), &check));
    assert!(!remembered.knows(now(0), first) && remembered.knows(now(0), last));
}

#[test]
fn whoever_fails_too_often_is_not_asked_any_more_and_costs_no_hash() {
    let mut desk = Desk::new(vec![users(&[("ann", "a")])]);
    for n in 0..50 {
        assert_eq!(desk.verdict_of(Some("ann"), Some(&format!("wrong-{n}"))), WRONG);
    }
    let hashed = desk.hashed;
    assert_eq!(desk.verdict_of(Some("ann"), Some("a")), Verdict::Refuse(RefusalCause::Banned));
    assert_eq!(desk.hashed, hashed);
    let banned = std::iter::from_fn(|| desk.authenticator.next_banned()).map(|banned| banned.to_string());
    assert_eq!(banned.collect::<Vec<_>>(), ["client id \"client\""]);
    let ask = desk.ask_at(60_000, "public", Some("ann"), Some("a"));
    desk.work_at(60_000);
    assert_eq!(desk.answers(), [(ask, Verdict::Admit)], "the ban has ended");
}

#[test]
fn a_ban_ends_nobody_who_is_in_already() {
    let mut desk = Desk::new(vec![tokens()]);
    desk.authenticator.next_key_fetch(now(0)).unwrap();
    desk.authenticator.handle_keys(now(0), URL, Some(key_set("first")));
    for _ in 0..50 {
        desk.ask("ann", "eyJ.wrong.token");
    }
    desk.work_at(0);
    desk.answers();
    let mut ask_with_token = |is_connected| {
        let step = EnhancedStep {
            method: TOKEN_METHOD.into(),
            data: Some(token("first").into_bytes().into()),
            is_first: true,
        };
        let about = ConnectQuestion::about(&Connect::new(Version::V5, "client", true), "public");
        let question = ConnectQuestion { enhanced: Some(step), is_connected, ..about };
        let deadline = now(0).after_ms(VERDICT_TIMEOUT_MS);
        let question = Question::Connect(Box::new(question));
        let ask = Ask { id: AskId(99), connection: ConnectionId::new(1, 0), deadline, question };
        desk.authenticator.handle_ask(now(0), ShardId(0), ask);
        desk.work_at(0);
        desk.answers().remove(0).1
    };
    assert_eq!(ask_with_token(false), Verdict::Refuse(RefusalCause::Banned));
    assert!(matches!(ask_with_token(true), Verdict::AdmitAs(_)));
}

const URL: &str = "https://id.example/keys";
const SECRET: &[u8] = b"a secret of thirty-two bytes or more";

/// A key set with one key of this name. It is a secret's, which a published set does not hold.
fn key_set(name: &str) -> TokenKeys {
    use base64::Engine as _;
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(SECRET);
    TokenKeys::parse_file(&format!(r#"{{"kty":"oct","kid":"{name}","k":"{key}"}}"#)).unwrap()
}

fn tokens() -> Method {
    let policy = TokenPolicy { user_claim: Some("sub".into()), ..TokenPolicy::default() };
    Method::Tokens(Arc::new(TokenMethod { keys: Vec::new(), url: Some(URL.into()), policy }))
}

fn token(kid: &str) -> String {
    let header =
        jsonwebtoken::Header { kid: Some(kid.to_owned()), ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256) };
    let claims = serde_json::json!({"sub": "ann", "exp": 100});
    jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(SECRET)).unwrap()
}

#[test]
fn a_token_waits_for_keys_that_were_never_fetched_and_for_those_that_changed() {
    let mut desk = Desk::new(vec![tokens()]);
    assert_eq!(desk.authenticator.next_key_fetch(now(0)).as_deref(), Some(URL), "before anybody asks");
    let early = desk.ask_at(0, "public", None, Some(&token("first")));
    desk.work_at(0);
    assert_eq!(desk.answers(), []);
    desk.authenticator.handle_keys(now(10), URL, Some(key_set("first")));
    desk.work_at(10);
    let answers = desk.answers();
    let [(ask, Verdict::AdmitAs(admission))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((*ask, admission.user.as_deref(), admission.ends), (early, Some("ann"), Some(Timestamp(100_000))));
    // The provider has another key now.
    let later = 10 + u64::from(KEYS_FETCH_PAUSE_S) * 1_000;
    let late = desk.ask_at(later, "public", None, Some(&token("second")));
    desk.work_at(later);
    assert_eq!(desk.answers(), []);
    assert_eq!(desk.authenticator.next_key_fetch(now(later)).as_deref(), Some(URL));
    desk.authenticator.handle_keys(now(later), URL, Some(key_set("second")));
    desk.work_at(later);
    let answers = desk.answers();
    assert!(matches!(&answers[..], [(ask, Verdict::AdmitAs(_))] if *ask == late), "{answers:?}");
    // One that nobody knows is refused at once until the next fetch may begin.
    let unknown = desk.ask_at(later, "public", None, Some(&token("third")));
    desk.work_at(later);
    assert_eq!((desk.answers(), desk.authenticator.next_key_fetch(now(later))), (vec![(unknown, WRONG)], None));
}

/// The keys come between the beginning of a check and its end: nobody would wait for them any more.
#[test]
fn keys_that_come_while_a_token_is_verified_are_tried() {
    let mut desk = Desk::new(vec![tokens()]);
    desk.authenticator.next_key_fetch(now(0)).unwrap();
    let ask = desk.ask_at(0, "public", None, Some(&token("first")));
    let job = desk.authenticator.next_job().expect("it is verified without keys");
    desk.authenticator.handle_keys(now(1), URL, Some(key_set("first")));
    let AuthWork::Token(check) = &job.work else { panic!("{job:?}") };
    let done = WorkDone::Verified(check.run(Timestamp(1_000)));
    desk.authenticator.handle_done(now(2), job.id, done);
    assert_eq!(desk.answers(), []);
    desk.work_at(2);
    let answers = desk.answers();
    assert!(matches!(&answers[..], [(answered, Verdict::AdmitAs(_))] if *answered == ask), "{answers:?}");
}

#[test]
fn where_keys_were_never_had_clients_are_told_to_come_back() {
    let mut desk = Desk::new(vec![tokens()]);
    desk.authenticator.next_key_fetch(now(0)).unwrap();
    let ask = desk.ask_at(0, "public", None, Some(&token("first")));
    desk.work_at(0);
    desk.authenticator.handle_keys(now(10), URL, None);
    desk.work_at(10);
    assert_eq!(desk.answers(), [(ask, Verdict::Unavailable)]);
    assert!(desk.authenticator.next_deadline().is_some_and(|due| due <= now(10).after_s(KEYS_FETCH_PAUSE_S)));
}

fn back_end(when_down: WhenDown) -> Method {
    Method::Http(Arc::new(HttpMethod { url: "http://127.0.0.1/auth".into(), when_down }))
}

fn says(body: &str) -> HttpAnswer {
    HttpAnswer::Reply { status: 200, body: body.as_bytes().into() }
}

#[test]
fn a_back_end_decides_leaves_it_to_the_next_or_cannot_be_reached() {
    for (when_down, answer, ann, eve) in [
        (WhenDown::Deny, says(r#"{"result":"deny"}"#), WRONG, WRONG),
        (WhenDown::Deny, says(r#"{"result":"ignore"}"#), Verdict::Admit, WRONG),
        (WhenDown::Deny, says("garbage"), Verdict::Unavailable, Verdict::Unavailable),
        (WhenDown::Deny, HttpAnswer::NoReply, Verdict::Unavailable, Verdict::Unavailable),
        (WhenDown::Ignore, HttpAnswer::NoReply, Verdict::Admit, WRONG),
    ] {
        let mut desk = Desk::new(vec![back_end(when_down), users(&[("ann", "a")])]);
        desk.back_end = answer.clone();
        assert_eq!(desk.verdict_of(Some("ann"), Some("a")), ann, "{when_down:?} {answer:?}");
        assert_eq!(desk.verdict_of(Some("eve"), Some("a")), eve, "{when_down:?} {answer:?}");
    }
    let mut desk = Desk::new(vec![back_end(WhenDown::Deny)]);
    desk.back_end = says(r#"{"result":"allow","is_superuser":true}"#);
    let Verdict::AdmitAs(admission) = desk.verdict_of(Some("ann"), None) else { panic!("it is allowed") };
    assert!(admission.is_superuser && admission.user.as_deref() == Some("ann"));
}

#[test]
fn what_a_back_end_lets_in_until_an_instant_that_has_passed_stays_outside() {
    let mut desk = Desk::new(vec![back_end(WhenDown::Deny), users(&[("ann", "a")])]);
    desk.back_end = says(r#"{"result":"allow","expire_at":0}"#);
    assert_eq!(desk.verdict_of(Some("ann"), Some("a")), Verdict::Refuse(RefusalCause::NotNow));
    desk.back_end = says(r#"{"result":"allow","expire_at":1}"#);
    assert!(matches!(desk.verdict_of(Some("ann"), Some("a")), Verdict::AdmitAs(_)));
}

#[test]
fn requests_that_hang_hold_up_no_password() {
    let mut desk = Desk::new(vec![]);
    let chains =
        Chains::new([("web".into(), vec![back_end(WhenDown::Deny)]), ("public".into(), vec![users(&[("ann", "a")])])]);
    desk.authenticator.replace(chains, SETTINGS);
    for _ in 0..AUTH_WORK_MAX {
        desk.ask_at(0, "web", Some("ann"), Some("a"));
    }
    let jobs: Vec<Job> = std::iter::from_fn(|| desk.authenticator.next_job()).collect();
    let one_more = desk.ask_at(0, "web", Some("ann"), Some("a"));
    assert_eq!(desk.answers(), [(one_more, Verdict::Busy)]);
    assert_eq!(desk.verdict_of(Some("ann"), Some("a")), Verdict::Admit);
    for job in jobs {
        desk.authenticator.handle_done(now(0), job.id, WorkDone::TooLate);
    }
    assert!(desk.answers().iter().all(|(_, verdict)| *verdict == Verdict::Unavailable));
    assert!(
        desk.authenticator.under_way.is_empty()
            && (desk.authenticator.logins_asked, desk.authenticator.topics_asked) == (0, 0)
    );
}

#[test]
fn topics_that_wait_keep_no_login_out_and_what_finds_no_room_is_told_apart() {
    let mut desk = Desk::new(vec![back_end(WhenDown::Deny)]);
    let authorizer = Arc::new(HttpAuthorizer { url: "http://127.0.0.1/acl".into(), when_down: WhenDown::Deny });
    let chains = Chains::new([("public".into(), vec![back_end(WhenDown::Deny)])]);
    desk.authenticator.replace(chains.with_authorizers([("public".into(), authorizer)]), SETTINGS);
    let topic = |number: usize| AskedTopic {
        action: TopicAction::Subscribe,
        topic: number.to_string().into(),
        qos: Qos::AtMostOnce,
        retain: false,
    };
    for id in 0..2 {
        let topics = (0..AUTH_WORK_MAX * 3 / 4).map(topic).collect();
        let question =
            TopicsQuestion { client_id: "c1".into(), user: None, listener: "public".into(), peer: None, topics };
        let question = Question::Topics(Box::new(question));
        let ask = Ask { id: AskId(id), connection: ConnectionId::new(1, 0), deadline: now(0).after_s(5), question };
        desk.authenticator.handle_ask(now(0), ShardId(0), ask);
    }
    let jobs: Vec<Job> = std::iter::from_fn(|| desk.authenticator.next_job()).collect();
    assert!(jobs.len() == AUTH_WORK_MAX && jobs.iter().all(|job| job.purpose == JobPurpose::Topic));
    desk.ask_at(0, "public", Some("ann"), Some("a"));
    let login = desk.authenticator.next_job().expect("there is room for a login");
    assert_eq!(login.purpose, JobPurpose::Login);
    for job in jobs {
        desk.authenticator.handle_done(now(0), job.id, WorkDone::Answered(says(r#"{"result":"allow"}"#)));
    }
    let answers = desk.answers();
    let unasked = |verdict: &Verdict| {
        let Verdict::Topics(answers) = verdict else { panic!("{verdict:?}") };
        answers.iter().filter(|answer| answer.decision == TopicDecision::Unasked).count()
    };
    let counts: Vec<usize> = answers.iter().map(|(_, verdict)| unasked(verdict)).collect();
    assert_eq!(counts, [0, AUTH_WORK_MAX / 2]);
}

#[test]
fn all_topics_of_a_question_are_answered_together_and_in_order() {
    let mut desk = Desk::new(vec![]);
    let authorizer = Arc::new(HttpAuthorizer { url: "http://127.0.0.1/acl".into(), when_down: WhenDown::Deny });
    desk.authenticator.replace(Chains::default().with_authorizers([("public".into(), authorizer)]), SETTINGS);
    let asked = |topic: &str| AskedTopic {
        action: TopicAction::Publish,
        topic: topic.into(),
        qos: Qos::AtMostOnce,
        retain: false,
    };
    let ask = |id: u64, listener: &str| {
        let topics = vec![asked("a"), asked("b"), asked("c")];
        let (client_id, listener) = ("c1".into(), listener.into());
        let question = TopicsQuestion { client_id, user: None, listener, peer: None, topics };
        let question = Question::Topics(Box::new(question));
        Ask { id: AskId(id), connection: ConnectionId::new(1, 0), deadline: now(0).after_s(5), question }
    };
    desk.authenticator.handle_ask(now(0), ShardId(3), ask(7, "public"));
    let mut jobs: Vec<Job> = std::iter::from_fn(|| desk.authenticator.next_job()).collect();
    assert_eq!(jobs.len(), 3);
    jobs.swap(0, 2);
    let answers = [r#"{"result":"ignore"}"#, "garbage", r#"{"result":"allow"}"#];
    for (job, body) in jobs.into_iter().zip(answers) {
        assert_eq!(desk.answers(), []);
        desk.authenticator.handle_done(now(0), job.id, WorkDone::Answered(says(body)));
    }
    let answer = |decision, is_kept| TopicAnswer { decision, is_kept };
    let expected =
        [answer(TopicDecision::Allow, true), answer(TopicDecision::Deny, false), answer(TopicDecision::Ignore, true)];
    assert_eq!(desk.answers(), [(AskId(7), Verdict::Topics(Box::new(expected)))]);
    desk.authenticator.handle_ask(now(0), ShardId(3), ask(8, "elsewhere"));
    assert_eq!(desk.answers(), [(AskId(8), Verdict::Unavailable)], "nobody is asked there");
}
