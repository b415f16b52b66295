//! Requests as clients, browsers and others send them, and what each is told.

use std::sync::LazyLock;

use super::super::UpgradeAnswer;
use super::*;

static NOBODY: LazyLock<Networks> = LazyLock::new(|| Networks::Some([].into()));
static RULES: LazyLock<UpgradeRules<'static>> =
    LazyLock::new(|| UpgradeRules { path: "/mqtt", origins: None, proxies: &NOBODY });

/// A good request with one line taken out that begins with `without`, and `with` put in.
fn request(without: &str, with: &str) -> String {
    let lines = [
        "Host: broker.example:8083",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
    ];
    let kept = lines.iter().filter(|line| without.is_empty() || !line.starts_with(without));
    let lines: String = kept
        .copied()
        .chain([with].into_iter().filter(|with| !with.is_empty()))
        .fold(String::new(), |text, line| text + line + "\r\n");
    format!("GET /mqtt HTTP/1.1\r\n{lines}\r\n")
}

fn ask(request: &str, rules: &UpgradeRules<'_>) -> Option<Result<UpgradeGrant, UpgradeRefusal>> {
    let taken = UpgradeRequest::default().take(request.as_bytes(), "192.0.2.1".parse().ok(), rules);
    taken.map(|(_, requested)| requested)
}

#[test]
fn a_request_means_the_same_wherever_it_is_split_and_what_follows_is_left() {
    let text = request("", "");
    let stream = [text.as_bytes(), b"\x82\x80\x01\x02\x03\x04"].concat();
    for size in 1..stream.len() {
        let mut request = UpgradeRequest::default();
        let mut before = 0;
        let mut pieces = stream.chunks(size);
        let (taken, requested) = loop {
            let piece = pieces.next().expect("the request is whole before the stream ends");
            if let Some((taken, requested)) = request.take(piece, None, &RULES) {
                break (before + taken, requested);
            }
            before += piece.len();
        };
        assert_eq!(taken, text.len());
        assert_eq!(requested.unwrap().subprotocol, Subprotocol::Mqtt);
        assert!(request.is_empty());
    }
}

#[test]
fn what_clients_send_is_granted() {
    for (without, with, subprotocol) in [
        ("", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", Subprotocol::Mqtt),
        ("", "Origin: https://console.example", Subprotocol::Mqtt),
        ("Upgrade", "UPGRADE: WebSocket", Subprotocol::Mqtt),
        ("Connection", "connection: upgrade", Subprotocol::Mqtt),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqttv3.1", Subprotocol::MqttV31),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: amqp, mqttv3.1, mqtt", Subprotocol::MqttV31),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: amqp\r\nSec-WebSocket-Protocol: mqtt", Subprotocol::Mqtt),
        ("", "Content-Length: 0", Subprotocol::Mqtt),
    ] {
        let requested = ask(&request(without, with), &RULES);
        assert_eq!(requested.unwrap().unwrap().subprotocol, subprotocol, "{with}");
    }
    let with_query = request("", "").replace("/mqtt ", "/mqtt?token=1 ");
    assert!(ask(&with_query, &RULES).unwrap().is_ok());
}

#[test]
fn what_is_wrong_is_refused_with_its_own_words() {
    for (without, with, refusal) in [
        ("Host", "", UpgradeRefusal::Header),
        ("", "Host: twice", UpgradeRefusal::Header),
        ("Upgrade", "", UpgradeRefusal::NoUpgrade),
        ("Upgrade", "Upgrade: h2c", UpgradeRefusal::NoUpgrade),
        ("Connection", "Connection: keep-alive", UpgradeRefusal::NoUpgrade),
        ("Sec-WebSocket-Key", "", UpgradeRefusal::Header),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: short", UpgradeRefusal::Header),
        ("", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", UpgradeRefusal::Header),
        ("Sec-WebSocket-Version", "", UpgradeRefusal::WebSocketVersion),
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8", UpgradeRefusal::WebSocketVersion),
        ("Sec-WebSocket-Protocol", "", UpgradeRefusal::Subprotocol),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: amqp, MQTT", UpgradeRefusal::Subprotocol),
        ("", "Content-Length: 5", UpgradeRefusal::Header),
        ("", "Transfer-Encoding: chunked", UpgradeRefusal::Header),
        ("", "no colon", UpgradeRefusal::Malformed),
        ("", "Folded: a\r\n b", UpgradeRefusal::Malformed),
    ] {
        assert_eq!(ask(&request(without, with), &RULES), Some(Err(refusal)), "-{without} +{with}");
    }
    for (first, refusal) in [
        ("GET / HTTP/1.1", UpgradeRefusal::NotFound),
        ("GET /mqtt/ HTTP/1.1", UpgradeRefusal::NotFound),
        ("GET /mqtt HTTP/1.0", UpgradeRefusal::Version),
        ("POST /mqtt HTTP/1.1", UpgradeRefusal::Method),
        ("HEAD / HTTP/1.1", UpgradeRefusal::Method),
        ("GET /mqtt", UpgradeRefusal::Malformed),
    ] {
        let text = request("", "").replace("GET /mqtt HTTP/1.1", first);
        assert_eq!(ask(&text, &RULES), Some(Err(refusal)), "{first}");
    }
}

#[test]
fn what_speaks_no_http_is_refused_by_its_first_bytes() {
    for bytes in [&b"\x10\x0c\0\x04MQTT"[..], b"\x16\x03\x01", b"GEX", b"PROXY TCP4", b"\r\n\r\n"] {
        let taken = UpgradeRequest::default().take(bytes, None, &RULES);
        assert_eq!(taken, Some((bytes.len(), Err(UpgradeRefusal::Malformed))), "{bytes:?}");
    }
    assert_eq!(UpgradeRequest::default().take(b"GE", None, &RULES), None);
}

#[test]
fn a_request_is_bounded_in_bytes_and_in_fields() {
    let long = request("", &format!("Cookie: {}", "x".repeat(UPGRADE_MAX_BYTES)));
    for size in [1, 1_000, long.len()] {
        let mut request = UpgradeRequest::default();
        let refused = long.as_bytes().chunks(size).find_map(|piece| request.take(piece, None, &RULES));
        assert_eq!(refused.map(|(_, refused)| refused), Some(Err(UpgradeRefusal::TooLarge)));
        assert!(request.kept.capacity() <= 2 * UPGRADE_MAX_BYTES);
    }
    let padding = UPGRADE_MAX_BYTES - request("", "Cookie: ").len();
    assert!(ask(&request("", &format!("Cookie: {}", "x".repeat(padding))), &RULES).unwrap().is_ok());
    let fields = |count: usize| vec!["X-Field: 1"; count].join("\r\n");
    assert!(ask(&request("", &fields(UPGRADE_HEADERS_MAX - 6)), &RULES).unwrap().is_ok());
    assert_eq!(ask(&request("", &fields(UPGRADE_HEADERS_MAX - 5)), &RULES), Some(Err(UpgradeRefusal::TooLarge)));
}

#[test]
fn pages_of_listed_origins_connect_and_programs_without_one() {
    let origins = ["https://console.example".to_owned(), "http://localhost:3000".to_owned()];
    let rules = UpgradeRules { origins: Some(&origins), ..*RULES };
    for origin in ["Origin: https://console.example", "Origin: HTTP://localhost:3000", ""] {
        assert!(ask(&request("", origin), &rules).unwrap().is_ok(), "{origin}");
    }
    for origin in ["https://console.example.evil", "http://console.example", "null", "https://console.example:443", ""]
    {
        let refused = ask(&request("", &format!("Origin: {origin}")), &rules);
        assert_eq!(refused, Some(Err(UpgradeRefusal::Origin)), "{origin}");
    }
    let twice = "Origin: https://console.example\r\nOrigin: https://evil.example";
    assert_eq!(ask(&request("", twice), &rules), Some(Err(UpgradeRefusal::Header)));
}

#[test]
fn only_what_a_trusted_proxy_says_of_a_client_is_believed() {
    let proxies = Networks::Some(["192.0.2.0/24", "2001:db8::/32"].iter().map(|text| text.parse().unwrap()).collect());
    let trusting = UpgradeRules { proxies: &proxies, ..*RULES };
    for (field, believed) in [
        ("", None),
        ("X-Forwarded-For: 203.0.113.9", Some("203.0.113.9")),
        ("X-Forwarded-For: 10.0.0.1, 203.0.113.9", Some("203.0.113.9")),
        ("X-Forwarded-For: 203.0.113.9, 192.0.2.77", Some("203.0.113.9")),
        ("X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 203.0.113.9", Some("203.0.113.9")),
        ("X-Forwarded-For: unknown", None),
        ("X-Forwarded-For: unknown, 192.0.2.77", Some("192.0.2.77")),
        ("X-Forwarded-For: 203.0.113.9:4711", Some("203.0.113.9")),
        ("X-Forwarded-For: [2001:db9::7]:4711", Some("2001:db9::7")),
        ("X-Forwarded-For: 2001:db9::7", Some("2001:db9::7")),
        ("X-Forwarded-For: ::ffff:203.0.113.9", Some("203.0.113.9")),
    ] {
        let requested = ask(&request("", field), &trusting).unwrap().unwrap();
        assert_eq!(requested.forwarded_for, believed.map(|address| address.parse().unwrap()), "{field}");
        let distrusting = ask(&request("", field), &RULES).unwrap().unwrap();
        assert_eq!(distrusting.forwarded_for, None, "{field}");
    }
}

#[test]
fn answers_are_http_that_says_what_to_do() {
    let written = |answer: UpgradeAnswer<'_>| {
        let mut out = Vec::new();
        answer.write_to(&mut out);
        String::from_utf8(out).unwrap()
    };
    let requested = ask(&request("", ""), &RULES).unwrap().unwrap();
    assert_eq!(
        written(UpgradeAnswer::Switching(&requested)),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    for (refusal, status, says) in [
        (UpgradeRefusal::NotFound, "404", "/mqtt"),
        (UpgradeRefusal::NoUpgrade, "426", "Upgrade: websocket\r\n"),
        (UpgradeRefusal::WebSocketVersion, "426", "Sec-WebSocket-Version: 13\r\n"),
        (UpgradeRefusal::Method, "405", "Allow: GET\r\n"),
        (UpgradeRefusal::Origin, "403", "ws_origins"),
        (UpgradeRefusal::Subprotocol, "400", "subprotocol mqtt"),
        (UpgradeRefusal::TooLarge, "431", ""),
        (UpgradeRefusal::Version, "505", "HTTP/1.1"),
        (UpgradeRefusal::Header, "400", "Sec-WebSocket-Key"),
        (UpgradeRefusal::Malformed, "400", ""),
    ] {
        let page = written(UpgradeAnswer::Page(refusal, &RULES));
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && page.contains(says), "{page}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{page}");
        assert!(head.contains("\r\nConnection: close\r\n"));
    }
}
