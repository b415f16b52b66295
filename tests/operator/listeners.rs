//! Listeners that differ: who may come in, how many, how fast, and what TCP does for their connections.

use std::process::Command;
use std::time::Duration;

use crate::broker::{Broker, Client};

/// Port 0 everywhere, which the flag says for all.
const TWO: &str = "\
[[listener]]
name = \"narrow\"
allow_anonymous = true
max_connections = 3
connect_timeout = \"1s\"
tcp_keepalive_idle = \"300s\"

[[listener]]
name = \"closed\"
bind = \"127.0.0.2\"
allow_anonymous = false
tcp_keepalive_idle = \"off\"
connect_timeout = \"20s\"
";

const NOT_AUTHORIZED: u8 = 5;

#[test]
fn each_listener_says_itself_who_may_come_in() {
    let broker = Broker::start("who", TWO);
    assert_eq!(broker.addresses.len(), 2);
    assert!(broker.addresses[1].starts_with("127.0.0.2:"), "{:?}", broker.addresses);
    assert_eq!(Client::open(&broker.addresses[0]).say_connect(b'a'), 0);
    assert_eq!(Client::open(&broker.addresses[1]).say_connect(b'a'), NOT_AUTHORIZED);
    let told = broker.lines_to(" ready");
    assert!(told.iter().any(|line| line.contains("listener=narrow shards=2 anonymous=true")), "{told:#?}");
}

#[test]
fn each_listener_has_its_own_time_for_connect() {
    let broker = Broker::start("time", TWO);
    let mut patient = Client::open(&broker.addresses[1]);
    patient.send(&[0x10]);
    let mut hasty = Client::open(&broker.addresses[0]);
    hasty.send(&[0x10]);
    let took = hasty.closed();
    assert!(took >= Duration::from_millis(800) && took < Duration::from_secs(10), "{took:?}");
    // The other one came earlier and may still send the rest.
    patient.send(&[13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'p']);
    assert_eq!(patient.receive::<4>(), [0x20, 2, 0, NOT_AUTHORIZED]);
}

#[test]
fn a_listener_that_is_full_leaves_room_on_the_others_and_for_whoever_comes_later() {
    let file = TWO.replace("allow_anonymous = false", "allow_anonymous = true");
    let broker = Broker::start("full", &file);
    // Their ids put them on both shards.
    let mut clients: Vec<Client> = (b'a'..b'd').map(|id| Client::connect(&broker, id)).collect();
    assert_ne!(Client::open(&broker.addresses[0]).say_connect(b'x'), 0, "the fourth of three");
    let mut others: Vec<Client> = (0..5).map(|_| Client::open(&broker.addresses[1])).collect();
    for (number, other) in (b'm'..).zip(&mut others) {
        assert_eq!(other.say_connect(number), 0);
    }
    clients.pop().expect("three").send(&[0xe0, 0]);
    let mut next = Client::open(&broker.addresses[0]);
    assert_eq!(next.say_connect(b'y'), 0, "a place was free");
    clients.push(next);
    clients.iter_mut().chain(&mut others).for_each(Client::ping);
}

/// Nobody can ask for the options of another process's socket, but `ss` shows the timer that they lead to.
#[test]
fn tcp_asks_for_silent_peers_where_the_listener_says_so() {
    let broker = Broker::start("alive", &TWO.replace("allow_anonymous = false", "allow_anonymous = true"));
    let timer = |client: &Client| {
        let port = client.0.local_addr().expect("an address").port();
        let filter = format!("dport = :{port}");
        let output = Command::new("ss").args(["-Htno", &filter]).output().expect("ss (iproute2) runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let mut first = Client::connect(&broker, b'a');
    let mut second = Client::open(&broker.addresses[1]);
    assert_eq!(second.say_connect(b'b'), 0);
    first.ping();
    second.ping();
    // What was sent last may still have its own timer for a moment.
    let minutes = |line: &str| line.contains("timer:(keepalive,4min") || line.contains("timer:(keepalive,5min");
    let seen = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        minutes(&timer(&first))
    });
    assert!(seen, "{}", timer(&first));
    let shown = timer(&second);
    assert!(shown.contains("127.0.0.2") && !shown.contains("keepalive"), "{shown}");
}
