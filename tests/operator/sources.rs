//! Where clients come from: PROXY headers, networks, rates, versions of MQTT; and what is told of those who are kept out.

use crate::broker::{Broker, Client};

const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'p'];

/// The reason of the next refusal, and its line.
fn refusal(broker: &Broker) -> (String, String) {
    let line = broker.lines_to(" connect_refused ").pop().expect("a line");
    let reason = line.split(" reason=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a reason");
    (reason.to_owned(), line.clone())
}

fn v2(source: [u8; 4], tlvs: &[u8]) -> Vec<u8> {
    let len = (12 + tlvs.len() as u16).to_be_bytes();
    let addresses = [&source[..], &[127, 0, 0, 1], &[0x13, 0x88, 0x07, 0x5b]].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &len, &addresses, tlvs].concat()
}

#[test]
fn behind_a_proxy_the_log_shows_the_client_and_lists_are_about_it() {
    let file = "[node]\nsys_interval = 1\n[[listener]]\nname = \"plain\"\n[[listener]]\nname = \"proxied\"\nport = 0\n\
                bind = \"127.0.0.1\"\nallow_anonymous = true\nproxy_protocol = true\nproxy_from = \"127.0.0.0/8\"\n\
                deny_from = \"203.0.113.66\"\nmax_connect_rate_per_address = 2\n\
                [[listener]]\nname = \"distrusting\"\nport = 0\nbind = \"127.0.0.1\"\nproxy_protocol = true\nproxy_from = \"192.0.2.1\"\n";
    // Port 0 is another port each time, and each has a name of its own.
    let broker = Broker::start("proxied", file);
    broker.lines_to(" ready");
    let come = |header: &[u8]| {
        let mut client = Client::open(&broker.addresses[1]);
        client.send(&[header, &CONNECT].concat());
        client
    };
    for header in [b"PROXY TCP4 203.0.113.7 127.0.0.1 5000 1883\r\n".to_vec(), v2([203, 0, 113, 8], b"\x04\0\x02xx")] {
        assert_eq!(come(&header).receive::<4>(), [0x20, 2, 0, 0]);
    }
    let lines = broker.lines_to(" client_connected client=p ");
    assert!(lines.iter().any(|line| line.contains(" peer=203.0.113.7:5000 ")), "{lines:?}");
    // In single bytes, header and all.
    let mut slow = Client::open(&broker.addresses[1]);
    for byte in [&v2([203, 0, 113, 9], b"")[..], &CONNECT].concat() {
        slow.send(&[byte]);
    }
    assert_eq!(slow.receive::<4>(), [0x20, 2, 0, 0]);
    for (header, reason) in [
        (b"PROXY TCP4 203.0.113.66 127.0.0.1 5000 1883\r\n".to_vec(), "network_denied"),
        (v2([203, 0, 113, 66], b""), "network_denied"),
        (b"".to_vec(), "proxy_header"),
        (b"PROXY TCP4 203.0.113.7 127.0.0.1 5000\r\n".to_vec(), "proxy_header"),
        (b"PROXY UNKNOWN ".repeat(20), "proxy_header"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(), "proxy_header"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "proxy_header"),
    ] {
        come(&header).closed();
        assert_eq!(refusal(&broker).0, reason, "{:?}", String::from_utf8_lossy(&header));
    }
    // The third within a second from one address, by whatever connection of the proxy.
    let again = b"PROXY TCP4 198.51.100.1 127.0.0.1 5000 1883\r\n";
    let results: Vec<bool> =
        (0..3).map(|_| std::io::Read::read_exact(&mut come(again).0, &mut [0; 4]).is_ok()).collect();
    assert_eq!(results, [true, true, false]);
    let (reason, line) = refusal(&broker);
    assert!(reason == "connect_rate" && line.contains(" peer=198.51.100.1:5000 "), "{line}");
    // From somebody who is no proxy, not a byte is read.
    let mut stranger = Client::open(&broker.addresses[2]);
    let _ = std::io::Write::write_all(&mut stranger.0, b"PROXY TCP4 203.0.113.7 127.0.0.1 5000 1883\r\n");
    stranger.closed();
    assert_eq!(refusal(&broker).0, "proxy_header");
    crate::log::await_counter(&broker, "$SYS/broker/connections/refused/network_denied", "2");
    crate::log::await_counter(&broker, "$SYS/broker/connections/refused/proxy_header", "6");
}

#[test]
fn networks_and_rates_keep_out_before_anything_is_read() {
    let file = "[node]\nsys_interval = 1\n[[listener]]\nname = \"open\"\n\
                [[listener]]\nname = \"elsewhere\"\nbind = \"127.0.0.2\"\nallow_from = [\"192.0.2.0/24\", \"::1\"]\n\
                [[listener]]\nname = \"slow\"\nbind = \"127.0.0.3\"\nmax_connect_rate = 2\n";
    let broker = Broker::start("sources", file);
    broker.lines_to(" ready");
    // A peer that says nothing is told of by the kernel after a while; one that speaks at once.
    let speak = |address: &str| {
        let mut client = Client::open(address);
        let _ = std::io::Write::write_all(&mut client.0, &CONNECT);
        let mut connack = [0; 4];
        std::io::Read::read_exact(&mut client.0, &mut connack).is_ok()
    };
    assert!(!speak(&broker.addresses[1]));
    let (reason, line) = refusal(&broker);
    assert!(reason == "network_denied" && line.contains("allow_from"), "{line}");
    // Both shards count together.
    let admitted = (0..8).filter(|_| speak(&broker.addresses[2])).count();
    assert!((2..8).contains(&admitted), "{admitted} of 8 with two a second");
    assert_eq!(refusal(&broker).0, "connect_rate");
    assert!(speak(&broker.addresses[0]));
    crate::log::await_counter(&broker, "$SYS/broker/connections/refused/connect_rate", &(8 - admitted).to_string());
}

#[test]
fn a_listener_lets_in_the_versions_that_it_names() {
    let file = "[listener]\nmqtt_versions = [\"3.1.1\", \"5\"]\n";
    let broker = Broker::start("versions", file);
    broker.lines_to(" ready");
    let mut old = Client::open(&broker.addresses[0]);
    old.send(&[&[0x10, 15, 0, 6][..], b"MQIsdp", &[3, 2, 0, 0, 0, 1, b'o']].concat());
    assert_eq!(old.receive::<4>(), [0x20, 2, 0, 1]);
    old.closed();
    let (reason, line) = refusal(&broker);
    assert!(reason == "unsupported_version" && line.contains(" level=3 "), "{line}");
    Client::connect(&broker, b'n').ping();
}

/// What a proxy says of its client's TLS: its version, and the common name of a certificate whose verification came to this.
fn tls_tlv(verify: u32, name: &str) -> Vec<u8> {
    let tlv = |kind: u8, value: &[u8]| [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat();
    // The client spoke TLS and showed a certificate.
    let inner = [&[3], &verify.to_be_bytes()[..], &tlv(0x21, b"TLSv1.3"), &tlv(0x22, name.as_bytes())].concat();
    tlv(0x20, &inner)
}

#[test]
fn a_name_that_a_proxy_has_verified_is_the_user_and_its_version_of_tls_is_told() {
    let users = std::env::temp_dir().join(format!("dunlin-proxied-rules-{}", std::process::id()));
    std::fs::write(&users, "user device-7\ntopic readwrite own/#\n").expect("a file");
    let file = format!(
        "[auth]\nacl_file = {users:?}\n[[listener]]\nname = \"proxied\"\nbind = \"127.0.0.1:0\"\n\
         allow_anonymous = true\nproxy_protocol = true\nproxy_from = \"127.0.0.0/8\"\ncertificate_user = \"common-name\"\n"
    );
    let broker = Broker::start("proxied-names", &file);
    let come = |tlvs: &[u8]| {
        let mut client = Client::open(&broker.addresses[0]);
        client.send(&[&v2([203, 0, 113, 7], tlvs)[..], &CONNECT].concat());
        assert_eq!(client.receive::<4>(), [0x20, 2, 0, 0]);
        let line = broker.lines_to(" client_connected client=p ").pop().expect("a line");
        // SUBSCRIBE own/#: only rules about the user allow it.
        client.send(&[&[0x82, 10, 0, 1, 0, 5][..], b"own/#", &[0]].concat());
        let [_, _, _, _, code] = client.receive::<5>();
        (line, code)
    };
    let (line, code) = come(&tls_tlv(0, "device-7"));
    assert!(line.contains(" user=device-7 ") && line.contains(" tls_version=1.3"), "{line}");
    assert_eq!(code, 0);
    for tlvs in [tls_tlv(1, "device-7"), Vec::new()] {
        let (line, code) = come(&tlvs);
        assert!(!line.contains(" user="), "{line}");
        assert_eq!(line.contains(" tls_version=1.3"), !tlvs.is_empty(), "{line}");
        assert_eq!(code, 0x80, "nobody has verified who it is");
    }
    std::fs::remove_file(users).expect("it is ours");
}
