//! Listeners that come, go and change at a reload, under clients that stay.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use crate::broker::{Broker, Client};
use crate::ports::Port;
use crate::tls::{Authority, OpenSsl};

/// The table of a listener at a port.
fn table(name: &str, port: &Port, more: &str) -> String {
    let mut table = format!("[[listener]]\nname = \"{name}\"\nport = {port}\n");
    writeln!(table, "{more}").expect("a string takes everything");
    table
}

fn connect_at(port: &Port, id: u8) -> Client {
    let mut client = Client::open(&port.address().to_string());
    assert_eq!(client.say_connect(id), 0);
    client
}

/// How many listeners with clients there may be, gone ones among them.
const INDEXES: usize = 64;

fn is_told(told: &[String], words: &str) {
    assert!(told.iter().any(|line| line.contains(words)), "{words}: {told:#?}");
}

fn is_heard(port: &Port) -> bool {
    TcpStream::connect(port.address()).is_ok()
}

#[test]
fn one_comes_and_goes_and_everybody_stays() {
    let (first, second) = (Port::claim(), Port::claim());
    let one = table("one", &first, "");
    let two = table("two", &second, "max_connections = 2");
    let broker = Broker::start("come-go", &one);
    // Their ids put some of them on each shard.
    let mut stay: Vec<Client> = (b'a'..b'e').map(|id| connect_at(&first, id)).collect();
    broker.lines_to(" ready");
    assert!(!is_heard(&second));
    let told = broker.reload(&format!("{one}{two}"));
    is_told(&told, &format!("config_changed name=\"[[listener]] two\" old=none new={}", second.address()));
    is_told(&told, &format!("listening addr={} listener=two shards=2 anonymous=true", second.address()));
    is_told(&told, "config_reloaded changed=1 needs_start=0");
    stay.extend((b'm'..b'o').map(|id| connect_at(&second, id)));
    assert_ne!(Client::open(&second.address().to_string()).say_connect(b'o'), 0, "two may come by it");
    let told = broker.reload(&format!("{one}{}", table("two", &second, "max_connections = 3")));
    is_told(&told, "config_changed name=\"[[listener]] two max_connections\" old=2 new=3");
    stay.push(connect_at(&second, b'o'));
    let told = broker.reload(&one);
    is_told(&told, &format!("listening_ended addr={} listener=two connections=3", second.address()));
    assert!(told.iter().all(|line| !line.contains("client_disconnected")), "{told:#?}");
    assert!(!is_heard(&second));
    // What its connections have is nobody else's while they are there.
    let third = Port::claim();
    broker.reload(&format!("{one}{}", table("three", &third, "max_connections = 1")));
    stay.push(connect_at(&third, b'x'));
    assert_ne!(Client::open(&third.address().to_string()).say_connect(b'y'), 0, "one may come by it");
    stay.iter_mut().for_each(Client::ping);
}

#[test]
fn another_kind_at_the_same_port_takes_over_and_tls_comes_to_a_broker_that_had_none() {
    let authority = Authority::new("added");
    authority.issue("server", 1, 90);
    let (first, second) = (Port::claim(), Port::claim());
    let plain = table("one", &first, "");
    let broker = Broker::start("kinds", &plain);
    let mut old: Vec<Client> = (b'a'..b'e').map(|id| connect_at(&first, id)).collect();
    broker.lines_to(" ready");
    let web = table("one", &first, "kind = \"ws\"");
    broker.reload(&web);
    let mut stream = TcpStream::connect(first.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is read");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let secure = authority.listener("secure", &format!("port = {second}"));
    broker.reload(&format!("{web}{secure}"));
    for _ in 0..4 {
        assert!(OpenSsl::connect(&second.address().to_string(), &["-CAfile", &authority.path("ca.pem")]).come_in());
    }
    old.iter_mut().for_each(Client::ping);
}

#[test]
fn one_that_was_stopped_stays_so_whatever_becomes_of_it() {
    let (first, second, third) = (Port::claim(), Port::claim(), Port::claim());
    let one = table("one", &first, "");
    let path = std::env::temp_dir().join(format!("dunlin-stopped-{}.sock", std::process::id()));
    let head = format!("[admin]\nport = \"off\"\nsocket = {path:?}\n");
    let broker = Broker::start("stopped", &format!("{head}{one}{}", table("two", &second, "")));
    let mut client = connect_at(&second, b'a');
    broker.lines_to(" ready");
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let output = command.args(["ctl", "--socket"]).arg(&path).args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    ctl(&["stop-listener", "two"]);
    assert!(!is_heard(&second));
    // Another kind, another name, another place, and back again.
    for (file, port) in [
        (table("two", &second, "kind = \"ws\""), &second),
        (table("zwei", &second, "kind = \"ws\""), &second),
        (table("zwei", &third, "kind = \"ws\""), &third),
        (table("zwei", &third, ""), &third),
    ] {
        is_told(&broker.reload(&format!("{head}{one}{file}")), "config_reloaded");
        assert!(!is_heard(port), "{file}");
        let shown = ctl(&["listeners"]);
        assert!(shown.lines().nth(2).is_some_and(|line| line.contains(" no ")), "{shown}");
        client.ping();
    }
    ctl(&["start-listener", "zwei"]);
    connect_at(&third, b'b').ping();
    assert!(is_heard(&first));
}

#[test]
fn one_that_comes_while_another_is_stopped_lets_in_as_it_says_itself() {
    let (first, second) = (Port::claim(), Port::claim());
    let path = std::env::temp_dir().join(format!("dunlin-beside-stopped-{}.sock", std::process::id()));
    let one = format!("[admin]\nport = \"off\"\nsocket = {path:?}\n{}", table("one", &first, ""));
    let broker = Broker::start("beside-stopped", &one);
    broker.lines_to(" ready");
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let output = command.args(["ctl", "--socket"]).arg(&path).args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    ctl(&["stop-listener", "one"]);
    let shut = table("two", &second, "deny_from = [\"127.0.0.0/8\"]");
    is_told(&broker.reload(&format!("{one}{shut}")), "config_reloaded");
    Client::open(&second.address().to_string()).closed(); // what the stopped one says lets everybody in
    ctl(&["start-listener", "one"]);
    connect_at(&first, b'b').ping();
    // What is stopped and goes leaves its place to the next, and nothing else.
    ctl(&["stop-listener", "two"]);
    is_told(&broker.reload(&one), "listening_ended");
    is_told(&broker.reload(&format!("{one}{}", table("three", &second, ""))), "config_reloaded");
    connect_at(&second, b'c').ping();
    connect_at(&first, b'd').ping();
}

#[test]
fn a_path_comes_and_goes() {
    let port = Port::claim();
    let one = table("one", &port, "");
    let broker = Broker::start("paths", &one);
    broker.lines_to(" ready");
    let path = broker.directory.join("mqtt.sock");
    let unix = |mode| {
        format!(
            "[[listener]]\nname = \"local\"\nkind = \"unix\"\nunix = \"{}\"\nunix_mode = \"{mode}\"\n",
            path.display()
        )
    };
    broker.reload(&format!("{one}{}", unix(600)));
    let mut client = UnixStream::connect(&path).expect("it listens");
    client.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'u']).expect("it is open");
    let mut answer = [0; 4];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [0x20, 2, 0, 0]);
    let told = broker.reload(&format!("{one}{}", unix(660)));
    is_told(&told, "config_needs_start name=\"[[listener]] local unix_mode\" old=600 new=660");
    broker.reload(&one);
    assert!(!path.exists() && UnixStream::connect(&path).is_err());
    client.write_all(&[0xc0, 0]).expect("it is open");
    client.read_exact(&mut answer[..2]).expect("an answer");
    assert_eq!(answer[..2], [0xd0, 0]);
}

#[test]
fn what_cannot_be_bound_changes_nothing_at_all() {
    let (first, second, third) = (Port::claim(), Port::claim(), Port::claim());
    let one = table("one", &first, "");
    let broker = Broker::start("unbound", &format!("[session]\nmax_subscriptions = 1\n{one}"));
    let mut client = connect_at(&first, b'a');
    assert_eq!((client.subscribe(b'x'), client.subscribe(b'y')), (0, 0x80));
    broker.lines_to(" ready");
    let taken = TcpListener::bind(second.address()).expect("it is free");
    let tables = format!("{}{}", table("two", &second, ""), table("three", &third, ""));
    let told = broker.reload(&format!("[session]\nmax_subscriptions = 2\n{tables}"));
    is_told(
        &told,
        &format!("config_reload_failed text=\"the settings stay as they were: {} is in use", second.address()),
    );
    assert_eq!(client.subscribe(b'y'), 0x80, "nothing else of the file holds either");
    assert!(is_heard(&first) && !is_heard(&third));
    drop(taken);
    broker.reload(&format!("[session]\nmax_subscriptions = 2\n{tables}"));
    assert_eq!(client.subscribe(b'y'), 0);
    assert!(!is_heard(&first) && is_heard(&second) && is_heard(&third));
}

#[test]
fn the_first_that_asks_who_its_clients_are_needs_a_start_and_may_go_and_come() {
    let (first, second) = (Port::claim(), Port::claim());
    let one = table("one", &first, "");
    let broker = Broker::start("asks", &one);
    broker.lines_to(" ready");
    let users = broker.directory.join("users");
    let mut made = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    made.args(["passwd", "-c", "-b"]).arg(&users).args(["ann", "sesame"]);
    assert!(made.status().expect("it runs").success());
    let asks = table("two", &second, &format!("password_file = \"{}\"", users.display()));
    let shut = table("one", &first, "deny_from = [\"127.0.0.0/8\"]");
    let told = broker.reload(&format!("{shut}{asks}"));
    is_told(&told, "[[listener]] two: it is the first that asks who its clients are");
    assert!(is_heard(&first) && !is_heard(&second), "nothing of it holds");
    // One that was there at the start goes and comes as it likes.
    let broker = {
        let file = format!("{one}{asks}");
        drop(broker);
        std::fs::create_dir_all(users.parent().expect("it has one")).expect("a directory");
        let mut made = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        made.args(["passwd", "-c", "-b"]).arg(&users).args(["ann", "sesame"]);
        assert!(made.status().expect("it runs").success());
        Broker::start("asks", &file)
    };
    broker.lines_to(" ready");
    is_told(&broker.reload(&one), "listening_ended");
    assert!(!is_heard(&second));
    is_told(&broker.reload(&format!("{one}{asks}")), "listener=two");
    assert!(is_heard(&second));
}

#[test]
fn a_listener_that_is_called_otherwise_is_the_same_and_a_path_of_the_start_is_released() {
    let port = Port::claim();
    let one = table("one", &port, "");
    let path = std::env::temp_dir().join(format!("dunlin-renamed-{}.sock", std::process::id()));
    let unix =
        |name: &str| format!("[[listener]]\nname = \"{name}\"\nkind = \"unix\"\nunix = \"{}\"\n", path.display());
    let broker = Broker::start("renamed", &format!("{one}{}", unix("local")));
    let mut client = connect_at(&port, b'a');
    broker.lines_to(" ready");
    let told = broker.reload(&format!("{}{}", table("uno", &port, ""), unix("here")));
    is_told(&told, "config_reloaded");
    assert!(told.iter().all(|line| !line.contains("listening")), "nothing is bound anew: {told:#?}");
    client.ping();
    UnixStream::connect(&path).expect("it listens");
    for _ in 0..2 {
        broker.reload(&one);
        assert!(!path.exists() && UnixStream::connect(&path).is_err());
        is_told(&broker.reload(&format!("{one}{}", unix("local"))), "listening addr");
        UnixStream::connect(&path).expect("it listens again");
    }
}

#[test]
fn tcp_options_change_for_those_who_come_from_now_on() {
    let port = Port::claim();
    let broker = Broker::start("options", &table("one", &port, "tcp_keepalive_idle = \"off\""));
    let mut before = connect_at(&port, b'a');
    broker.lines_to(" ready");
    broker.reload(&table("one", &port, "tcp_keepalive_idle = \"300s\""));
    let mut after = connect_at(&port, b'b');
    before.ping();
    after.ping();
    let timer = |client: &Client| {
        let filter = format!("dport = :{}", client.0.local_addr().expect("an address").port());
        let output = Command::new("ss").args(["-Htno", &filter]).output().expect("ss (iproute2) runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let is_asked = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        timer(&after).contains("timer:(keepalive,")
    });
    assert!(is_asked && !timer(&before).contains("keepalive"), "{} {}", timer(&before), timer(&after));
}

/// Each kind of change and of a broken file, while clients talk.
#[test]
fn a_hundred_reloads_drop_nobody_and_leave_nothing_behind() {
    let ports: Vec<Port> = (0..3).map(|_| Port::claim()).collect();
    let one = table("one", &ports[0], "");
    let files = [
        format!("{one}{}", table("two", &ports[1], "")),
        format!("{one}{}{}", table("two", &ports[1], "kind = \"ws\""), table("three", &ports[2], "")),
        format!("{one}{}", table("two", &ports[2], "max_connect_rate = 5")),
        format!("{one}{}", table("two", &ports[0], "")),
        format!("{one}[[listener]]\nname = \"two\"\nport = 0\nbind = \"192.0.2.1\"\n"),
        "broken\n".to_owned(),
        one.clone(),
    ];
    let broker = Broker::start("hundred-listeners", &one);
    let mut clients: Vec<Client> = (b'a'..b'k').map(|id| connect_at(&ports[0], id)).collect();
    broker.lines_to(" ready");
    for file in &files {
        broker.reload(file);
    }
    let (descriptors, resident_kib) = (broker.descriptors(), broker.resident_kib());
    for number in 0..100 {
        let told = broker.reload(&files[number % files.len()]);
        let has_failed = told.iter().any(|line| line.contains("config_reload_failed"));
        assert_eq!(has_failed, (3..6).contains(&(number % files.len())), "{told:#?}");
        assert!(told.iter().all(|line| !line.contains("client_disconnected")), "{told:#?}");
        clients.iter_mut().for_each(Client::ping);
        if number % files.len() == 0 {
            connect_at(&ports[1], b'z').send(&[0xe0, 0]);
            broker.lines_to("client_disconnected");
        }
    }
    drop(broker.reload(&one));
    assert_eq!(broker.descriptors(), descriptors);
    let grown_kib = broker.resident_kib().saturating_sub(resident_kib);
    assert!(grown_kib < 4_096, "{grown_kib} KiB more");
}

/// Clients keep what their listeners have left behind.
#[test]
fn listeners_that_are_gone_are_forgotten_when_their_clients_are() {
    let table = |number: usize| format!("[[listener]]\nbind = \"127.0.1.{number}\"\nport = 0\n");
    let broker = Broker::start("indexes", &table(0));
    broker.lines_to(" ready");
    let mut clients = vec![Client::connect(&broker, b'0')];
    let come = |number: usize| {
        let told = broker.reload(&table(number));
        let line = told.iter().find(|line| line.contains(" listening addr="))?;
        let mut client = Client::open(line.split("addr=").nth(1)?.split(' ').next()?);
        assert_eq!(client.say_connect(b'0' + number as u8), 0);
        broker.lines_to("client_connected");
        Some(client)
    };
    clients.extend((1..INDEXES).filter_map(come));
    assert_eq!(clients.len(), INDEXES);
    clients.iter_mut().for_each(Client::ping);
    let told = broker.reload(&table(INDEXES));
    is_told(
        &told,
        "64 listeners have clients, with those that there are no more; try again when some of these have gone",
    );
    clients.remove(3).send(&[0xe0, 0]);
    broker.lines_to("client_disconnected");
    let next = (0..50).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        come(INDEXES)
    });
    next.expect("a client of a listener that is gone has left").ping();
}
