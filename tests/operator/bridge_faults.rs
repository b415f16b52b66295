//! Bridges to brokers that take less than this one gives, or this one less than they give, and to addresses that do not do what is
//! expected of them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use crate::bridges::{Heard, await_bridges, port_of, publish};
use crate::broker::Broker;

/// A broker with bridges, which tells of them by a socket.
fn with_bridges(name: &str, file: &str) -> (Broker, PathBuf) {
    let socket = std::env::temp_dir().join(format!("dunlin-{name}-{}.sock", std::process::id()));
    let text = socket.to_str().expect("UTF-8");
    let flags = ["--storage", "memory", "--admin-port", "off", "--admin-socket", text];
    (Broker::start_with_flags(name, file, &[], &flags), socket)
}

/// A file that changes nothing.
const PLAIN: &str = "[mqtt]\nmax_qos = 2\n";

/// A table to these addresses.
fn table(addresses: &[&str], more: &str) -> String {
    let addresses: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[[bridge]]\nname = \"b\"\nreconnect_max = \"1s\"\naddress = [{}]\n{more}\n", addresses.join(", "))
}

fn mosquitto_pub(port: &str, arguments: &[&str]) {
    let run = Command::new("mosquitto_pub").args(["-h", "127.0.0.1", "-p", port, "-V", "5"]).args(arguments).status();
    assert!(run.expect("mosquitto_pub runs").success());
}

/// An address in front of a broker, which closes so many connections before it passes any on.
fn gate(to: &str, closes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let to = to.to_owned();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            if number < closes {
                // What it says is read: it is closed in order.
                let _ = (&stream).read(&mut [0; 1_024]);
                continue;
            }
            let Ok(there) = TcpStream::connect(&to) else { continue };
            for (mut from, mut to) in
                [(stream.try_clone().expect("a socket"), there.try_clone().expect("a socket")), (there, stream)]
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.flush();
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}

/// How often a bridge has connected, as `dunlin ctl bridges` says.
fn connects(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("b "))?;
    line.split_whitespace().nth(6).map(str::to_owned)
}

#[test]
fn what_the_other_broker_never_takes_is_left_out_and_the_rest_comes_once() {
    let there = Broker::start("bridge-small", "[mqtt]\nmax_message_size = 100\n");
    let topics = "topics = [\"t/# out 1\"]";
    let (here, socket) = with_bridges("bridge-to-small", &table(&[&there.addresses[0]], topics));
    await_bridges(&socket, &[("b", "connected")]);
    let heard = Heard::listen(port_of(&there.addresses[0]), "t/#", 5);
    let port = port_of(&here.addresses[0]);
    publish(port, "t/0", "0");
    publish(port, "t/1", &"x".repeat(200));
    publish(port, "t/2", "2");
    // As many user properties as a message may have: there is no room for the one that counts bridges.
    let property = ["-D", "publish", "user-property", "k", "v"];
    let many: Vec<&str> = property.iter().copied().cycle().take(5 * 1_024).collect();
    mosquitto_pub(port, &[&["-q", "1", "-t", "t/many", "-m", "many"][..], &many].concat());
    mosquitto_pub(port, &[&["-q", "1", "-t", "t/less", "-m", "less"][..], &many[5..]].concat());
    for text in ["3", "4"] {
        publish(port, "t/3", text);
    }
    assert_eq!(heard.all(), ["t/0 1 0", "t/2 1 2", "t/3 1 3", "t/3 1 4", "t/less 1 less"]);
    let text = await_bridges(&socket, &[("b", "connected")]);
    assert_eq!(connects(&text).as_deref(), Some("1"), "{text}");
}

#[test]
fn where_this_broker_or_the_other_retains_nothing_and_has_a_lower_qos_messages_pass_all_the_same() {
    let less = "[mqtt]\nretain_available = false\nmax_qos = 1\n";
    let least = "[mqtt]\nretain_available = false\nmax_qos = 0\n";
    let topics = "topics = [\"down/# in 2\", \"up/# out 2\"]";
    for (number, (of_here, of_there, qos)) in
        [(less, PLAIN, 1), (PLAIN, less, 1), (least, PLAIN, 0), (PLAIN, least, 0)].into_iter().enumerate()
    {
        let there = Broker::start(&format!("bridge-less-there-{number}"), of_there);
        let file = format!("{of_here}{}", table(&[&there.addresses[0]], topics));
        let (here, socket) = with_bridges(&format!("bridge-less-{number}"), &file);
        await_bridges(&socket, &[("b", "connected")]);
        let (port, other) = (port_of(&here.addresses[0]), port_of(&there.addresses[0]));
        for (from, to, topic) in [(other, port, "down/x"), (port, other, "up/x")] {
            let heard = Heard::listen(to, topic, 3);
            // What a broker does not take no client may send to it.
            let is_lower = (from == port) == (of_here != PLAIN);
            let mut words = vec!["-q", "2", "-r", "-t", topic, "-m", "m"];
            if is_lower {
                words = vec!["-q", if qos == 1 { "1" } else { "0" }, "-t", topic, "-m", "m"];
            }
            for _ in 0..3 {
                mosquitto_pub(from, &words);
            }
            assert_eq!(heard.all(), vec![format!("{topic} {qos} m"); 3], "{number}");
        }
        let text = await_bridges(&socket, &[("b", "connected")]);
        assert_eq!(connects(&text).as_deref(), Some("1"), "{number}: {text}");
    }
}

#[test]
fn another_address_gets_what_is_retained() {
    let (mut first, second) = (Broker::start("bridge-first", PLAIN), Broker::start("bridge-second", PLAIN));
    let addresses = [&*first.addresses[0], &*second.addresses[0]];
    let (here, socket) = with_bridges("bridge-two", &table(&addresses, "topics = [\"t/# out 1\"]"));
    await_bridges(&socket, &[("b", "connected")]);
    let heard = Heard::listen(port_of(addresses[0]), "t/#", 1);
    mosquitto_pub(port_of(&here.addresses[0]), &["-q", "1", "-r", "-t", "t/kept", "-m", "kept"]);
    assert_eq!(heard.all(), ["t/kept 1 kept"]);
    let heard = Heard::listen(port_of(addresses[1]), "t/#", 1);
    first.kill();
    assert_eq!(heard.all(), ["t/kept 1 kept"]);
}

#[test]
fn one_connection_that_is_closed_before_its_answer_does_not_make_messages_come_back() {
    for closes in [0, 1] {
        let there = Broker::start(&format!("bridge-closing-{closes}"), PLAIN);
        let address = gate(&there.addresses[0], closes).to_string();
        let topics = "version = \"3.1.1\"\ntopics = [\"t/# both 1\"]";
        let (here, socket) = with_bridges(&format!("bridge-closed-{closes}"), &table(&[&address], topics));
        await_bridges(&socket, &[("b", "connected")]);
        let (port, other) = (port_of(&here.addresses[0]), port_of(&there.addresses[0]));
        let (of_here, of_there) = (Heard::listen(port, "t/#", 2), Heard::listen(other, "t/1", 1));
        publish(port, "t/1", "one");
        assert_eq!(of_there.all(), ["t/1 1 one"]);
        // Behind whatever the other broker has sent back.
        publish(other, "t/end", "end");
        assert_eq!(of_here.all(), ["t/1 2 one", "t/end 1 end"], "{closes}");
    }
}

#[test]
fn a_broker_that_closes_on_bridges_is_reached_without_saying_that_this_is_one() {
    let there = Broker::start("bridge-deaf", PLAIN);
    let address = gate(&there.addresses[0], 2).to_string();
    let topics = "version = \"3.1.1\"\ntopics = [\"t/# out 1\"]";
    let (here, socket) = with_bridges("bridge-to-deaf", &table(&[&address], topics));
    await_bridges(&socket, &[("b", "connected")]);
    let lines = here.lines_to("does not take that this is a bridge");
    assert!(lines.last().is_some_and(|line| line.contains("connector_failed")), "{lines:?}");
}

/// Another broker that does with each connection what it is told here, after it has read the CONNECT.
fn fake(act: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = (&stream).read(&mut [0; 4_096]);
            act(stream);
        }
    });
    address
}

/// CONNACK of MQTT 5.0: accepted, a new session.
static CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];

#[test]
fn a_broker_that_answers_half_or_nothing_is_left_for_one_that_answers() {
    let there = Broker::start("bridge-whole", PLAIN);
    // Nothing, half a CONNACK, something that is no CONNACK, and no packet at all.
    for (number, words) in [&[][..], &CONNACK[..3], &[0xd0, 0], &[0x00, 0x00]].into_iter().enumerate() {
        let kept = std::sync::Mutex::new(Vec::new());
        let half = fake(move |mut stream| {
            let _ = stream.write_all(words);
            // It stays open.
            kept.lock().expect("nobody panics with it").push(stream);
        });
        let addresses = [&*half.to_string(), &*there.addresses[0]];
        let topics = "connect_timeout = \"1s\"\ntopics = [\"t/# out 1\"]";
        let (here, socket) = with_bridges(&format!("bridge-half-{number}"), &table(&addresses, topics));
        let text = await_bridges(&socket, &[("b", "connected")]);
        assert!(text.contains(port_of(&there.addresses[0])), "{number}: {text}");
        let lines = here.lines_to("connector_connected");
        let failed = lines.iter().find(|line| line.contains("connector_failed"));
        assert!(failed.is_some_and(|line| line.contains(&half.to_string())), "{number}: {lines:?}");
    }
}

#[test]
fn a_broker_that_floods_before_a_bridge_is_open_costs_bounded_memory() {
    let flood = fake(|mut stream| {
        let _ = stream.write_all(&CONNACK);
        let mut publish = vec![0x30, 0x84, 0x80, 0x40, 0, 1, b't', 0];
        publish.resize(publish.len() + (1 << 20), b'x');
        while stream.write_all(&publish).is_ok() {}
    });
    let topics = "topics = [\"t/# in 0\"]\nreconnect_min = \"1s\"";
    let (here, _) = with_bridges("bridge-flood", &table(&[&flood.to_string()], topics));
    let before = here.resident_kib();
    here.lines_to("sends more than may come before it has answered");
    let grown = here.resident_kib().saturating_sub(before);
    assert!(grown < 200 * 1024, "{grown} KiB");
}

#[test]
fn a_broker_that_says_nothing_more_is_given_up() {
    let kept = std::sync::Mutex::new(Vec::new());
    let silent = fake(move |mut stream| {
        let _ = stream.write_all(&CONNACK);
        // Its SUBACK, for the one filter of the bridge, and nothing after it.
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(&[0x90, 4, 0xff, 0xff, 0, 0]);
        kept.lock().expect("nobody panics with it").push(stream);
    });
    let topics = "topics = [\"t/# in 0\"]\nkeep_alive = \"5s\"";
    let (here, _) = with_bridges("bridge-silent", &table(&[&silent.to_string()], topics));
    let lines = here.lines_to("the other broker is silent");
    assert!(lines.iter().any(|line| line.contains("connector_connected kind=bridge name=b")), "{lines:?}");
}
