//! MQTT-SN on the built binary: each message as raw datagrams, beside clients of MQTT, over reloads and restarts, and under hostile ones.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::broker::{Broker, Client};

/// A broker of MQTT and, at its second address, of MQTT-SN.
const BOTH: &str = "\
[[listener]]
name = \"mqtt\"

[[listener]]
name = \"sn\"
kind = \"mqtt-sn\"
port = 0
sn_gateway_id = 7
sn_retry = \"1s\"
sn_topics = \"TOPICS\"
";

/// Above what an answer takes on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(20);
/// Silence after which nothing comes any more.
const QUIET: Duration = Duration::from_millis(300);

fn start(name: &str, flags: &[&str]) -> Broker {
    let topics = std::env::temp_dir().join(format!("dunlin-sn-topics-{name}-{}", std::process::id()));
    std::fs::write(&topics, "# of the fleet\n7 fleet/seven\n").expect("a file");
    let file = BOTH.replace("TOPICS", topics.to_str().expect("UTF-8"));
    let broker = Broker::start_with_flags(&format!("sn-{name}"), &file, &[], flags);
    std::fs::remove_file(topics).expect("it was there");
    broker
}

fn in_memory(name: &str) -> Broker {
    start(name, &["--storage", "memory"])
}

/// One peer of the second listener.
struct SnPeer(UdpSocket);

fn datagram(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[u8::try_from(body.len() + 2).expect("short ones"), kind], body].concat()
}

impl SnPeer {
    fn new(broker: &Broker) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(&broker.addresses[1]).expect("an address");
        Self(socket)
    }

    fn connected(broker: &Broker, id: &str, flags: u8) -> Self {
        let peer = Self::new(broker);
        assert_eq!(peer.asks(0x04, &[&[flags, 1, 0, 60], id.as_bytes()].concat()), [3, 5, 0], "{id}");
        peer
    }

    fn says(&self, kind: u8, body: &[u8]) {
        self.0.send(&datagram(kind, body)).expect("it is sent");
    }

    fn hears(&self) -> Vec<u8> {
        self.hears_within(LIMIT).expect("an answer")
    }

    fn hears_within(&self, limit: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(limit)).expect("a timeout");
        let mut bytes = vec![0; 65_536];
        let len = self.0.recv(&mut bytes).ok()?;
        Some(bytes[..len].to_vec())
    }

    fn hears_nothing(&self) {
        assert_eq!(self.hears_within(QUIET), None);
    }

    fn asks(&self, kind: u8, body: &[u8]) -> Vec<u8> {
        self.says(kind, body);
        self.hears()
    }
}

const CLEAN: u8 = 0x04;
const PONG: [u8; 2] = [2, 0x17];
const BYE: [u8; 2] = [2, 0x18];

#[test]
fn each_message_of_a_client_has_its_answer() {
    let broker = in_memory("each");
    let peer = SnPeer::new(&broker);
    assert_eq!(peer.asks(0x01, &[1]), [3, 2, 7], "SEARCHGW");
    assert_eq!(peer.asks(0x04, b"\x0c\x01\0\x3ceach"), [2, 6], "CONNECT with a will");
    assert_eq!(peer.asks(0x07, b"\x10w/t"), [2, 8], "WILLTOPIC");
    assert_eq!(peer.asks(0x09, b"bye"), [3, 5, 0], "WILLMSG");
    assert_eq!(peer.asks(0x0a, b"\0\0\0\x01a/b"), b"\x07\x0b\0\x01\0\x01\0", "REGISTER");
    assert_eq!(peer.asks(0x12, b"\x20\0\x02a/b"), b"\x08\x13\x20\0\x01\0\x02\0", "SUBSCRIBE with the same id");
    assert_eq!(peer.asks(0x12, b"\x40\0\x03c/#"), b"\x08\x13\x40\0\0\0\x03\0", "SUBSCRIBE with a wildcard");
    assert_eq!(peer.asks(0x12, b"\x01\0\x04\0\x07"), b"\x08\x13\0\0\x07\0\x04\0", "SUBSCRIBE by a predefined id");
    assert_eq!(peer.asks(0x12, b"\x01\0\x05\0\x08"), b"\x08\x13\0\0\0\0\x05\x02", "an id that nobody has defined");
    peer.says(0x0c, b"\0\0\x01\0\0zero");
    assert_eq!(peer.hears(), b"\x0b\x0c\0\0\x01\0\0zero", "PUBLISH with QoS 0 comes back");
    assert_eq!(peer.asks(0x0c, b"\x20\0\x01\0\x06one"), b"\x07\x0d\0\x01\0\x06\0", "PUBLISH with QoS 1");
    let own = peer.hears();
    assert_eq!((&own[..5], &own[7..]), (&b"\x0a\x0c\x20\0\x01"[..], &b"one"[..]));
    peer.says(0x0d, &[0, 1, own[5], own[6], 0]);
    assert_eq!(peer.asks(0x0c, b"\x41\0\x07\0\x07two"), b"\x04\x0f\0\x07", "PUBLISH with QoS 2");
    assert_eq!(peer.hears(), b"\x0a\x0c\x01\0\x07\0\0two", "by the predefined id, with the QoS that was granted");
    assert_eq!(peer.asks(0x10, b"\0\x07"), b"\x04\x0e\0\x07", "PUBREL");
    assert_eq!(peer.asks(0x0c, b"\x20\0\x63\0\x08x"), b"\x07\x0d\0\x63\0\x08\x02", "an id that nobody registered");
    assert_eq!(peer.asks(0x1a, b"\0w/u"), [3, 0x1b, 0], "WILLTOPICUPD");
    assert_eq!(peer.asks(0x1c, b"other"), [3, 0x1d, 0], "WILLMSGUPD");
    assert_eq!(peer.asks(0x14, b"\0\0\x09c/#"), b"\x04\x15\0\x09", "UNSUBSCRIBE");
    assert_eq!(peer.asks(0x16, b""), PONG, "PINGREQ");
    assert_eq!(peer.asks(0x18, b"\0\x3c"), BYE, "DISCONNECT with a duration");
    assert_eq!(peer.asks(0x16, b"each"), PONG, "PINGREQ of one that sleeps, for whom nothing waits");
    assert_eq!(peer.asks(0x04, b"\0\x01\0\x3ceach"), [3, 5, 0], "CONNECT of one that sleeps");
    assert_eq!(peer.asks(0x18, b""), BYE, "DISCONNECT");
    assert_eq!(peer.asks(0x16, b""), BYE, "and it is nobody any more");
}

#[test]
fn clients_of_mqtt_and_of_mqtt_sn_are_clients_of_one_broker() {
    let broker = in_memory("both");
    let peer = SnPeer::connected(&broker, "p", CLEAN);
    assert_eq!(peer.asks(0x12, b"\0\0\x01#").len(), 8);
    let mut client = Client::connect(&broker, b'c');
    assert_eq!(client.subscribe(b'x'), 0);
    client.send(b"\x30\x05\0\x01tab");
    assert_eq!(peer.hears(), b"\x07\x0a\0\x01\0\x01t", "a topic that a wildcard matched");
    peer.says(0x0b, b"\0\x01\0\x01\0");
    assert_eq!(peer.hears(), b"\x09\x0c\0\0\x01\0\0ab");
    peer.says(0x0a, b"\0\0\0\x02x");
    let [_, _, high, low, ..] = peer.hears()[..] else { panic!("no REGACK") };
    peer.says(0x0c, &[0, high, low, 0, 0, b'h', b'i']);
    assert_eq!(client.receive::<7>(), *b"\x30\x05\0\x01xhi");
    assert_eq!(peer.hears()[1], 0x0c, "its own, which it is subscribed to");
    // One client id is one client, whichever way it comes.
    let mut same = Client::open(&broker.addresses[0]);
    assert_eq!(same.say_connect(b'p'), 0);
    assert_eq!(peer.hears(), BYE);
    let again = SnPeer::connected(&broker, "p", CLEAN);
    same.closed();
    assert_eq!(again.asks(0x16, b""), PONG);
    // Somebody without a connection publishes by a short name and by a predefined id.
    assert_eq!(again.asks(0x12, b"\x01\0\x01\0\x07").len(), 8);
    let nobody = SnPeer::new(&broker);
    nobody.says(0x0c, b"\x61\0\x07\0\0-1");
    assert_eq!(again.hears(), b"\x09\x0c\x01\0\x07\0\0-1");
    nobody.hears_nothing();
}

#[test]
fn what_is_not_acknowledged_comes_again_and_a_will_is_published_when_nothing_is() {
    let broker = in_memory("again");
    let (lost, other) = (SnPeer::new(&broker), SnPeer::connected(&broker, "other", CLEAN));
    assert_eq!(lost.asks(0x04, b"\x0c\x01\0\0lost"), [2, 6]);
    assert_eq!(lost.asks(0x07, b"\0ww"), [2, 8]);
    assert_eq!(lost.asks(0x09, b"lost"), [3, 5, 0]);
    assert_eq!(lost.asks(0x12, b"\x22\0\x01zz").len(), 8);
    assert_eq!(other.asks(0x12, b"\x02\0\x01ww").len(), 8);
    assert_eq!(other.asks(0x0c, b"\x22zz\0\x02hi"), b"\x07\x0dzz\0\x02\0");
    let first = lost.hears();
    assert_eq!((first[2], &first[7..]), (0x22, &b"hi"[..]));
    for _ in 0..3 {
        assert_eq!(lost.hears()[2], 0xa2, "DUP");
    }
    assert_eq!(other.hears(), b"\x0b\x0c\x02ww\0\0lost");
    broker.lines_to("reason=no_answer");
    assert_eq!(lost.asks(0x16, b""), BYE);
}

#[test]
fn sessions_outlive_the_broker_and_what_waited_for_one_that_sleeps_is_not_lost() {
    let data = std::env::temp_dir().join(format!("dunlin-sn-data-{}", std::process::id()));
    let flags = ["--storage", "disk", "--data-dir", data.to_str().expect("UTF-8")];
    let mut broker = start("first", &flags);
    let peer = SnPeer::connected(&broker, "keeps", 0);
    assert_eq!(peer.asks(0x12, b"\x22\0\x01zz").len(), 8);
    assert_eq!(peer.asks(0x18, b"\x0e\x10"), BYE);
    let other = SnPeer::connected(&broker, "other", CLEAN);
    for number in 1..=5 {
        assert_eq!(
            other.asks(0x0c, &[0x22, b'z', b'z', 0, number, b'0' + number]),
            [7, 0x0d, b'z', b'z', 0, number, 0]
        );
    }
    peer.hears_nothing();
    broker.kill();
    drop(broker);
    let broker = start("second", &flags);
    let unknown = SnPeer::new(&broker);
    assert_eq!(unknown.asks(0x16, b"keeps"), BYE, "it has to connect again");
    let peer = SnPeer::connected(&broker, "keeps", 0);
    let mut got = Vec::new();
    while got.len() < 5 {
        let publish = peer.hears();
        assert_eq!(publish[1], 0x0c);
        got.push(publish[7]);
        peer.says(0x0d, &[b'z', b'z', publish[5], publish[6], 0]);
    }
    assert_eq!(got, b"12345");
    drop(broker);
    std::fs::remove_dir_all(data).expect("it was there");
}

#[test]
fn a_listener_comes_changes_and_goes_at_a_reload() {
    let one = "[[listener]]\nname = \"mqtt\"\n";
    let broker = Broker::start("sn-reload", one);
    let claimed = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let place = claimed.local_addr().expect("an address");
    drop(claimed);
    let table = format!("{one}[[listener]]\nname = \"sn\"\nkind = \"mqtt-sn\"\nport = {}\n", place.port());
    let told = broker.reload(&table);
    assert!(told.iter().any(|line| line.contains(&format!("listening addr={place} listener=sn"))), "{told:#?}");
    let ask = |kind: u8, body: &[u8]| {
        let peer = SnPeer(UdpSocket::bind("127.0.0.1:0").expect("a port"));
        peer.0.connect(place).expect("an address");
        peer.says(kind, body);
        peer
    };
    let peer = ask(0x04, b"\x04\x01\0\x3cc");
    assert_eq!(peer.hears(), [3, 5, 0]);
    ask(0x01, &[1]).hears_nothing();
    broker.reload(&format!("{table}sn_gateway_id = 9\n"));
    assert_eq!(ask(0x01, &[1]).hears(), [3, 2, 9]);
    assert_eq!(peer.asks(0x16, b""), PONG, "who is connected stays");
    let told = broker.reload(&format!("{table}sn_topics = \"/nowhere\"\n"));
    assert!(told.iter().any(|line| line.contains("config_reload_failed") && line.contains("/nowhere")), "{told:#?}");
    broker.reload(one);
    assert_eq!(peer.hears(), BYE, "it has no socket of its own");
    let told = broker.reload(&table);
    assert!(told.iter().any(|line| line.contains("listening addr")), "{told:#?}");
    assert_eq!(ask(0x04, b"\x04\x01\0\x3cc").hears(), [3, 5, 0]);
}

#[test]
fn hostile_datagrams_end_nothing_and_get_no_more_than_they_are() {
    let mut broker = in_memory("hostile");
    let good = SnPeer::connected(&broker, "good", CLEAN);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut dice = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..300 {
        let peer = SnPeer::new(&broker);
        let len = (dice() % 40) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| dice() as u8).collect();
        if round % 2 == 0 && len >= 2 {
            (bytes[0], bytes[1]) = (len as u8, (dice() % 0x20) as u8);
        }
        peer.0.send(&bytes).expect("it is sent");
        let answer = peer.hears_within(Duration::from_millis(2)).map_or(0, |answer| answer.len());
        assert!(answer <= bytes.len(), "{bytes:02x?}");
    }
    // The empty one, the longest, and lengths that lie.
    let longest = vec![0; 65_507];
    for bytes in [&[][..], &longest, &[1, 0xff, 0xff, 4], &[1, 0, 0, 4], &[255, 0x0c]] {
        let peer = SnPeer::new(&broker);
        peer.0.send(bytes).expect("it is sent");
        peer.hears_nothing();
    }
    // All of it from one who is connected.
    let wild = SnPeer::connected(&broker, "wild", CLEAN);
    for _ in 0..2_000 {
        let mut bytes: Vec<u8> = (0..2 + dice() % 30).map(|_| dice() as u8).collect();
        (bytes[0], bytes[1]) = (bytes.len() as u8, (dice() % 0x20) as u8);
        wild.0.send(&bytes).expect("it is sent");
    }
    assert_eq!(good.asks(0x16, b""), PONG);
    assert_eq!(SnPeer::connected(&broker, "new", CLEAN).asks(0x16, b""), PONG);
    assert!(!broker.has_said("panicked"));
    broker.signal("TERM");
    assert!(broker.ended().success());
}

/// 1.0.9 of mqtt-sn-12, which `scripts/test` installs into `.venv`.
#[test]
fn a_client_that_others_wrote_is_served() {
    let broker = in_memory("python");
    let port = broker.addresses[1].rsplit(':').next().expect("a port").to_owned();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = folder.join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: scripts/test installs it", python.display());
    let output = Command::new("timeout")
        .arg("60")
        .arg(python)
        .arg(folder.join("tests/clients/py/mqtt_sn_client.py"))
        .arg(port)
        .output()
        .expect("timeout (coreutils) runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.ends_with("passed\n"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What docs/MQTT-SN.md says a client takes: with `DUNLIN_SN_CLIENTS` any number of them is measured.
#[test]
fn ten_thousand_clients_take_little_memory_and_no_descriptors() {
    let clients = std::env::var("DUNLIN_SN_CLIENTS").map_or(10_000, |text| text.parse().expect("a number"));
    let file = BOTH.replace("sn_topics = \"TOPICS\"\n", "");
    let broker = Broker::start_with_flags("sn-many", &file, &[], &["--storage", "memory", "--shards", "1"]);
    let come = |number: u32| {
        // A port of its own for each, on addresses where nobody else is. The socket closes as soon as the client is connected: UDP tells nobody.
        let (address, port) = (2 + number / 10_000, 20_000 + number % 10_000);
        let socket = UdpSocket::bind(format!("127.0.1.{address}:{port}")).expect("a port");
        socket.connect(&broker.addresses[1]).expect("an address");
        let peer = SnPeer(socket);
        let id = format!("sensor-{number:05}");
        assert_eq!(peer.asks(0x04, &[&[CLEAN, 1, 0x0e, 0x10], id.as_bytes()].concat()), [3, 5, 0], "{id}");
    };
    // What the first ones make the broker allocate is not theirs.
    (0..100).for_each(come);
    let (memory, descriptors) = (broker.resident_kib(), broker.descriptors());
    (100..clients + 100).for_each(come);
    let each = (broker.resident_kib() - memory) * 1_024 / u64::from(clients);
    println!("{clients} clients: {each} bytes each, {} descriptors", broker.descriptors() - descriptors);
    assert!(each < 1_500, "{each} bytes each");
    assert_eq!(broker.descriptors(), descriptors);
    assert_eq!(SnPeer::connected(&broker, "one-more", CLEAN).asks(0x16, b""), PONG);
}
