//! A hundred reloads with each kind of change and each kind of broken file, while clients publish and subscribe.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Client};
use crate::passwords::user;
use crate::ports::Port;
use crate::tls::{Authority, OpenSsl};

/// Each of these is done so often, the first time to have everything in memory that is to be there.
const ROUNDS: u64 = 5;
/// Far above what anything here takes, for machines that are busy.
const LIMIT: Duration = Duration::from_secs(30);
const REFUSED: u8 = 0x80;

/// Everything that is read at a reload, and nothing wrong with it.
struct Inputs {
    place: Authority,
    plain: Port,
    named: Port,
    secure: Port,
    extra: Port,
    /// Another broker.
    remote: String,
    /// Lines of the password file: of somebody who is always there, and of another.
    users: [String; 2],
}

/// What one reload is about: what it adds to the configuration or does to the files, and whether that is wrong.
struct ReloadStep {
    name: &'static str,
    is_broken: bool,
    /// Returns what comes behind the configuration.
    prepare: fn(&Inputs, u64) -> String,
}

const fn change(name: &'static str, prepare: fn(&Inputs, u64) -> String) -> ReloadStep {
    ReloadStep { name, is_broken: false, prepare }
}

const fn broken(name: &'static str, prepare: fn(&Inputs, u64) -> String) -> ReloadStep {
    ReloadStep { name, is_broken: true, prepare }
}

const STEPS: [ReloadStep; 24] = [
    change("a setting", |_, round| format!("[session]\nmax_subscriptions = {}\n", 100 + round)),
    change("a listener", |inputs, _| inputs.extra_listener("tcp")),
    broken("no TOML", |_, _| "broken\n".to_owned()),
    change("a listener's kind", |inputs, _| inputs.extra_listener("ws")),
    broken("an address of another machine", |_, _| {
        "[[listener]]\nname = \"far\"\nbind = \"192.0.2.1\"\nport = 0\n".to_owned()
    }),
    change("a certificate", |inputs, round| {
        inputs.place.issue("server", 10 + round, 90);
        String::new()
    }),
    broken("a certificate that is none", |inputs, _| inputs.write("server.pem", "nonsense\n")),
    broken("the key of another certificate", |inputs, round| {
        inputs.place.issue("other", 50 + round, 90);
        fs::copy(inputs.place.path("other.key"), inputs.place.path("server.key")).expect("a file");
        String::new()
    }),
    broken("no certificate", |inputs, _| inputs.remove("server.pem")),
    change("a user", |inputs, _| inputs.write("users", &inputs.users.concat())),
    broken("users that are none", |inputs, _| inputs.write("users", "ann:nonsense\n")),
    broken("an empty file of users", |inputs, _| inputs.write("users", "")),
    broken("no file of users", |inputs, _| inputs.remove("users")),
    change("a rule", |inputs, round| inputs.write("acl", &format!("{RULES}topic read more/{round}\n"))),
    broken("rules that are none", |inputs, _| inputs.write("acl", "everything is allowed\n")),
    broken("no rules", |inputs, _| inputs.remove("acl")),
    change("a profile", |inputs, round| {
        inputs.write("profiles", &format!("{PROFILES}[[profile]]\nclients = \"m{round}\"\npublish_rate = 7\n"))
    }),
    broken("a profile that is none", |inputs, _| inputs.write("profiles", "[[profile]]\npublish_rite = 7\n")),
    change("a bridge", |inputs, _| inputs.bridge("topics = [\"away/# out 1\"]")),
    change("a bridge's topics", |inputs, _| inputs.bridge("topics = [\"away/# out 1\", \"back/# in 1\"]")),
    broken("a bridge that leads nowhere", |_, _| {
        "[[bridge]]\nname = \"away\"\naddress = []\ntopics = [\"away/# out 1\"]\n".to_owned()
    }),
    change("a sink", |_, _| sink("copied/#")),
    change("a sink's topics", |_, round| sink(&format!("copied/{round}/#"))),
    broken("a sink without a target", |_, _| "[[sink]]\nname = \"copy\"\ntopics = [\"copied/#\"]\n".to_owned()),
];

/// What everybody may do, and the one with a name.
const RULES: &str = "topic readwrite load/#\nuser ann\ntopic readwrite load/#\n";
const PROFILES: &str = "[[profile]]\nclients = \"slow\"\npublish_rate = 9\n";

fn sink(filter: &str) -> String {
    format!(
        "[[sink]]\nname = \"copy\"\ntopics = [\"{filter}\"]\nformat = \"raw\"\n[sink.republish]\ntopic = \"copies/of\"\n"
    )
}

impl Inputs {
    fn new(remote: &Broker) -> Self {
        let inputs = Self {
            place: Authority::new("reload-all"),
            plain: Port::claim(),
            named: Port::claim(),
            secure: Port::claim(),
            extra: Port::claim(),
            remote: remote.addresses[0].clone(),
            users: [user("ann", "sesame"), user("bob", "b")],
        };
        inputs.restore();
        inputs
    }

    /// Whatever the step before has done to the files.
    fn restore(&self) {
        self.place.issue("server", 1, 90);
        self.write("users", &self.users[0]);
        self.write("acl", RULES);
        self.write("profiles", PROFILES);
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.place.path(name), text).expect("a file");
        String::new()
    }

    fn remove(&self, name: &str) -> String {
        fs::remove_file(self.place.path(name)).expect("it is there");
        String::new()
    }

    fn configuration(&self, more: &str) -> String {
        let path = |name| self.place.path(name);
        let (plain, named) = (&self.plain, &self.named);
        format!(
            "[node]\nwatch_files = \"off\"\n[auth]\nacl_file = {:?}\nprofiles_file = {:?}\n\
             [[listener]]\nname = \"plain\"\nport = {plain}\nallow_anonymous = true\n\
             [[listener]]\nname = \"named\"\nport = {named}\nallow_anonymous = false\npassword_file = {:?}\n{}{more}",
            path("acl"),
            path("profiles"),
            path("users"),
            self.place.listener("secure", &format!("port = {}\nallow_anonymous = true", self.secure)),
        )
    }

    fn extra_listener(&self, kind: &str) -> String {
        format!("[[listener]]\nname = \"extra\"\nkind = \"{kind}\"\nport = {}\nallow_anonymous = true\n", self.extra)
    }

    fn bridge(&self, topics: &str) -> String {
        format!("[[bridge]]\nname = \"away\"\naddress = [\"mqtt://{}\"]\n{topics}\n", self.remote)
    }

    /// Who may come in comes in, and nobody else; who is in may do what it may.
    fn doors_are_as_they_should_be(&self, step: &str) {
        let at = |port: &Port| Client::open(&port.address().to_string());
        assert_ne!(at(&self.named).say_connect(b'n'), 0, "{step}: without a password");
        assert_ne!(log_in(&mut at(&self.named), "q", ("ann", "wrong")), 0, "{step}: with a wrong password");
        assert_eq!(log_in(&mut at(&self.named), "q", ("ann", "sesame")), 0, "{step}: with the right one");
        let mut anonymous = at(&self.plain);
        assert_eq!((anonymous.say_connect(b'p'), anonymous.subscribe(b'z')), (0, REFUSED), "{step}: beyond the rules");
        let (address, authority) = (self.secure.address().to_string(), self.place.path("ca.pem"));
        let arguments = ["-CAfile", &authority, "-verify_return_error"];
        assert!(OpenSsl::connect(&address, &arguments).come_in(), "{step}: over TLS");
    }
}

/// The code of the CONNACK for a client with this id, a user name and a password.
fn log_in(client: &mut Client, id: &str, (name, password): (&str, &str)) -> u8 {
    let mut bytes = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', 4, 0xc2, 0, 0];
    for field in [id, name, password] {
        bytes.extend((field.len() as u16).to_be_bytes());
        bytes.extend(field.as_bytes());
    }
    bytes[1] = (bytes.len() - 2) as u8;
    client.send(&bytes);
    let [_, _, _, code] = client.receive();
    code
}

/// Publishes with QoS 1 on a topic of its own, which it has subscribed to, one message after the other until it is told to stop. Each has to
/// come once, and to be acknowledged. Returns how many it were, and how long the slowest took.
fn load(mut client: Client, id: u8, stop: &AtomicBool) -> (u32, Duration) {
    let topic = [b"load/", &[id][..]].concat();
    client.send(&[&[0x82, 11, 0, 1, 0, 6][..], &topic, &[1]].concat());
    assert_eq!(client.receive::<5>(), [0x90, 3, 0, 1, 1]);
    let (mut number, mut slowest) = (0_u32, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        number += 1;
        let packet_id = (number as u16 | 1).to_be_bytes();
        client.send(&[&[0x32, 14, 0, 6][..], &topic, &packet_id, &number.to_be_bytes()].concat());
        let (mut is_acknowledged, mut has_come) = (false, false);
        while !(is_acknowledged && has_come) {
            match client.receive::<2>() {
                [0x40, 2] => {
                    assert!(!is_acknowledged && client.receive::<2>() == packet_id, "{number}");
                    is_acknowledged = true;
                }
                [0x32, 14] => {
                    let rest = client.receive::<14>();
                    assert!(
                        !has_come && rest[2..8] == topic[..] && rest[10..] == number.to_be_bytes(),
                        "{number}: {rest:?}"
                    );
                    client.send(&[0x40, 2, rest[8], rest[9]]);
                    has_come = true;
                }
                other => panic!("{other:02x?} at {number}"),
            }
        }
        slowest = slowest.max(begun.elapsed());
        // Some thousand a second of all of them are load enough, beside what the reloads need.
        thread::sleep(Duration::from_millis(1));
    }
    (number, slowest)
}

/// The descriptors of a broker that has nothing left to close.
fn settled(broker: &Broker, wanted: Option<usize>) -> usize {
    let begun = Instant::now();
    let mut last = broker.descriptors();
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = broker.descriptors();
        if wanted.map_or(now == last, |wanted| now <= wanted) || begun.elapsed() > LIMIT {
            return now;
        }
        last = now;
    }
}

#[test]
fn a_hundred_reloads_of_every_kind_disturb_nobody_open_no_door_and_leave_nothing_behind() {
    let remote = Broker::start("reload-remote", "[node]\nsys_interval = \"off\"\n");
    let inputs = Inputs::new(&remote);
    let base = inputs.configuration("");
    let broker = Broker::start("reload-all", &base);
    broker.lines_to(" ready");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = (b'1'..=b'4').map(|id| {
            let port = if id % 2 == 0 { &inputs.named } else { &inputs.plain };
            let mut client = Client::open(&port.address().to_string());
            let name = format!("load-{}", char::from(id));
            let code = if id % 2 == 0 { log_in(&mut client, &name, ("ann", "sesame")) } else { client.say_connect(id) };
            assert_eq!(code, 0, "{name}");
            let stop = &stop;
            scope.spawn(move || load(client, id, stop))
        });
        let clients: Vec<_> = clients.collect();
        // Whatever is found, the clients are told to stop.
        let reloaded = catch_unwind(AssertUnwindSafe(|| reload_again_and_again(&broker, &inputs, &base)));
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let (messages, slowest) = client.join().expect("it has had each message once");
            assert!(messages > 100, "{messages} messages");
            assert!(slowest < LIMIT, "{slowest:?}");
        }
        let reloads = reloaded.unwrap_or_else(|panic| resume_unwind(panic));
        assert!(reloads >= 100, "{reloads} reloads");
    });
}

/// All steps, some times over. Returns how many reloads it were.
fn reload_again_and_again(broker: &Broker, inputs: &Inputs, base: &str) -> u64 {
    let (mut reloads, mut before) = (0, None);
    for round in 0..ROUNDS {
        for step in &STEPS {
            inputs.restore();
            let more = (step.prepare)(inputs, round);
            let told = broker.reload(&inputs.configuration(&more));
            reloads += 1;
            let has_failed = told.iter().any(|line| line.contains("config_reload_failed"));
            assert_eq!(has_failed, step.is_broken, "{}: {told:#?}", step.name);
            let is_of_load = |line: &&String| line.contains("client_disconnected client=load-");
            assert_eq!(told.iter().find(is_of_load), None, "{}", step.name);
            inputs.doors_are_as_they_should_be(step.name);
        }
        inputs.restore();
        let told = broker.reload(base);
        assert!(told.iter().any(|line| line.contains("config_reloaded")), "{told:#?}");
        if before.is_none() {
            before = Some((settled(broker, None), broker.resident_kib()));
        }
    }
    let (descriptors, resident_kib) = before.expect("a round was done");
    let left = settled(broker, Some(descriptors));
    assert!(left <= descriptors, "{left} descriptors, {descriptors} before");
    let grown_kib = broker.resident_kib().saturating_sub(resident_kib);
    assert!(grown_kib < 8_192, "{grown_kib} KiB more");
    reloads
}
