//! The request for a WebSocket, and what is answered (RFC 6455, 4).

use super::Dice;
use super::reasons::WireEnd;
use crate::outcome::FailureReason;
use crate::plan::{Target, WebSocketTarget};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Write as _;

/// What a server appends to the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Longest head of an answer.
const ANSWER_MAX_BYTES: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;

/// What every client asks for.
#[derive(Debug)]
pub(super) struct Asking {
    host: String,
    path: String,
    subprotocol: String,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Upgrade {
    key: [u8; 16],
    answer: Vec<u8>,
}

impl Asking {
    pub(super) fn new(websocket: &WebSocketTarget, target: &Target) -> Self {
        let host = match &target.unix {
            Some(_) => "localhost".to_owned(),
            None if target.host.contains(':') => format!("[{}]:{}", target.host, target.port),
            None => format!("{}:{}", target.host, target.port),
        };
        Self { host, path: websocket.path.clone(), subprotocol: websocket.subprotocol.clone() }
    }

    /// Appends a request.
    pub(super) fn ask(&self, dice: &mut Dice, out: &mut Vec<u8>) -> Upgrade {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&dice.next().to_ne_bytes());
        key[8..].copy_from_slice(&dice.next().to_ne_bytes());
        let Self { host, path, subprotocol } = self;
        let written = write!(
            out,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n",
            STANDARD.encode(key)
        );
        written.expect("a vector takes everything");
        Upgrade { key, answer: Vec::new() }
    }
}

impl Upgrade {
    /// Takes bytes of the answer out of `bytes`; what is left is of frames. Whether the WebSocket is open.
    pub(super) fn take(&mut self, bytes: &mut Vec<u8>, asked: &Asking) -> Result<bool, WireEnd> {
        self.answer.append(bytes);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut answer = httparse::Response::new(&mut fields);
        let failed = |words: &str| WireEnd::Failed(FailureReason::UpgradeFailed, words.to_owned());
        match answer.parse(&self.answer) {
            Ok(httparse::Status::Complete(size)) => {
                self.check(&answer, asked)?;
                *bytes = self.answer.split_off(size);
                Ok(true)
            }
            Ok(httparse::Status::Partial) if self.answer.len() <= ANSWER_MAX_BYTES => Ok(false),
            Ok(httparse::Status::Partial) => Err(failed("the answer to the WebSocket request has no end")),
            Err(_) => Err(failed("what answers speaks no HTTP: is the port one without WebSocket?")),
        }
    }

    fn check(&self, answer: &httparse::Response<'_, '_>, asked: &Asking) -> Result<(), WireEnd> {
        let code = answer.code.unwrap_or(0);
        if code != 101 {
            let reason = answer.reason.unwrap_or_default();
            let words = format!("the WebSocket request for {} was answered with HTTP {code} {reason}", asked.path);
            return Err(WireEnd::Failed(FailureReason::UpgradeRefused, words.trim_end().to_owned()));
        }
        let field = |name: &str| {
            let found = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            found.map(|field| field.value.trim_ascii())
        };
        let is = |name: &str, value: &[u8]| field(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
        let wrong = |words: &str| Err(WireEnd::Failed(FailureReason::UpgradeFailed, words.to_owned()));
        if !is("Upgrade", b"websocket") || !is("Connection", b"upgrade") {
            return wrong("the answer to the WebSocket request changes to no WebSocket");
        }
        if field("Sec-WebSocket-Accept") != Some(accept(&STANDARD.encode(self.key)).as_bytes()) {
            return wrong("the answer to the WebSocket request is one to another request (Sec-WebSocket-Accept)");
        }
        if field("Sec-WebSocket-Protocol") != Some(asked.subprotocol.as_bytes()) {
            return wrong("the broker does not agree to the WebSocket subprotocol that was asked for");
        }
        if field("Sec-WebSocket-Extensions").is_some() {
            return wrong("the broker uses a WebSocket extension that was not asked for");
        }
        Ok(())
    }
}

/// What a server makes of a key.
fn accept(key: &str) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.digest().bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking() -> Asking {
        let target = Target { host: "broker".to_owned(), port: 8083, ..Target::default() };
        Asking::new(&WebSocketTarget::default(), &target)
    }

    #[test]
    fn the_example_of_the_specification_is_answered_as_it_says() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_was_asked_for_is_taken_and_what_follows_is_left() {
        let (asked, mut dice) = (asking(), Dice(7));
        let mut request = Vec::new();
        let mut upgrade = asked.ask(&mut dice, &mut request);
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("GET /mqtt HTTP/1.1\r\nHost: broker:8083\r\n"), "{request}");
        let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {}\r\nsec-websocket-protocol: mqtt\r\n\r\n\u{1}frames",
            accept(key)
        );
        let (first, rest) = answer.as_bytes().split_at(40);
        assert_eq!(upgrade.take(&mut first.to_vec(), &asked), Ok(false));
        let mut bytes = rest.to_vec();
        assert_eq!(upgrade.take(&mut bytes, &asked), Ok(true));
        assert_eq!(bytes, b"\x01frames");
    }

    #[test]
    fn each_other_answer_has_its_reason() {
        let good = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n";
        for (answer, reason, part) in [
            (
                "HTTP/1.1 404 Not Found\r\n\r\n",
                FailureReason::UpgradeRefused,
                "/mqtt was answered with HTTP 404 Not Found",
            ),
            ("HTTP/1.1 101 x\r\n\r\n", FailureReason::UpgradeFailed, "changes to no WebSocket"),
            (&format!("{good}\r\n"), FailureReason::UpgradeFailed, "Sec-WebSocket-Accept"),
            ("\x20\x02\0\x01", FailureReason::UpgradeFailed, "speaks no HTTP"),
        ] {
            let asked = asking();
            let mut upgrade = asked.ask(&mut Dice(7), &mut Vec::new());
            match upgrade.take(&mut answer.as_bytes().to_vec(), &asked) {
                Err(WireEnd::Failed(found, words)) => assert!(found == reason && words.contains(part), "{words}"),
                other => panic!("{answer:?}: {other:?}"),
            }
        }
    }
}
