//! What a request for a WebSocket is answered with: the protocol changes, or a page says what to do instead.
//!
//! Always holds: a page holds nothing of the request.

use super::key::ACCEPT_BYTES;
use super::upgrade::{UpgradeGrant, UpgradeRefusal, UpgradeRules};

/// An answer to a request.
#[derive(Clone, Copy, Debug)]
pub enum UpgradeAnswer<'a> {
    /// The WebSocket is open.
    Switching(&'a UpgradeGrant),
    /// It is not, and the connection closes.
    Page(UpgradeRefusal, &'a UpgradeRules<'a>),
}

impl UpgradeAnswer<'_> {
    /// Appends it to what the peer is sent.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Switching(requested) => write_switching(requested, out),
            Self::Page(refusal, rules) => write_page(*refusal, rules, out),
        }
    }
}

fn write_switching(requested: &UpgradeGrant, out: &mut Vec<u8>) {
    let accept: [u8; ACCEPT_BYTES] = requested.key.accept();
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept);
    // [MQTT-6.0.0-4]
    out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
    out.extend_from_slice(requested.subprotocol.name().as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

fn write_page(refusal: UpgradeRefusal, rules: &UpgradeRules<'_>, out: &mut Vec<u8>) {
    let path = rules.path;
    let (status, fields, text) = match refusal {
        UpgradeRefusal::Malformed => ("400 Bad Request", "", "This is no request that can be read.".to_owned()),
        UpgradeRefusal::TooLarge => {
            ("431 Request Header Fields Too Large", "", "The head of the request is larger than the broker reads.".to_owned())
        }
        UpgradeRefusal::Method => ("405 Method Not Allowed", "Allow: GET\r\n", "A WebSocket is opened by GET.".to_owned()),
        UpgradeRefusal::Version => ("505 HTTP Version Not Supported", "", "A WebSocket is opened by HTTP/1.1.".to_owned()),
        UpgradeRefusal::NotFound => ("404 Not Found", "", format!("MQTT over WebSocket is at {path} and nothing is elsewhere.")),
        UpgradeRefusal::NoUpgrade => (
            "426 Upgrade Required",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            format!("This is MQTT over WebSocket, and no page: let an MQTT client connect to ws://this-host:this-port{path}"),
        ),
        UpgradeRefusal::WebSocketVersion => {
            ("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", "The version of WebSocket is 13.".to_owned())
        }
        UpgradeRefusal::Header => (
            "400 Bad Request",
            "",
            "Host, Sec-WebSocket-Key (16 bytes in Base64), Sec-WebSocket-Version and Origin may stand once each; a body may not follow."
                .to_owned(),
        ),
        UpgradeRefusal::Origin => ("403 Forbidden", "", "Pages of this origin may not connect; the setting is ws_origins.".to_owned()),
        UpgradeRefusal::Subprotocol => (
            "400 Bad Request",
            "",
            "Sec-WebSocket-Protocol names neither mqtt nor mqttv3.1: have the client ask for the subprotocol mqtt.".to_owned(),
        ),
    };
    // A connection that is refused closes, and what the client may have sent behind the head is not read as another request.
    let head = format!(
        "HTTP/1.1 {status}\r\n{fields}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\n\r\n",
        text.len() + 1
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

impl UpgradeRefusal {
    /// In words, for the log.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "it speaks no HTTP, and this is a port of MQTT over WebSocket",
            Self::TooLarge => "the head of its HTTP request is too large",
            Self::Method => "its HTTP request is no GET",
            Self::Version => "its HTTP request is not of version 1.1",
            Self::NotFound => "its HTTP request is for a path that nothing is at",
            Self::NoUpgrade => "its HTTP request is for a page, not for a WebSocket",
            Self::WebSocketVersion => "its version of WebSocket is not 13",
            Self::Header => "a header field of its request for a WebSocket is missing, wrong or there twice",
            Self::Origin => "it comes from a page of an origin that is not on the list",
            Self::Subprotocol => "it asks for neither of the subprotocols mqtt and mqttv3.1",
        }
    }
}
