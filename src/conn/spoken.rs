//! What peers seem to speak that speak no MQTT.

use crate::telemetry::CloseReason;

/// First words of HTTP, of its second version as well.
const HTTP: [&[u8]; 10] =
    [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"DELETE ", b"PATCH ", b"CONNECT ", b"TRACE ", b"PRI "];
/// The header of a proxy in its second version; the first one begins with a word.
const PROXY_V2: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// A handshake record of any version of TLS.
const TLS: [u8; 2] = [0x16, 3];

/// What a peer speaks whose first bytes are no CONNECT.
pub(super) fn spoken(bytes: &[u8]) -> (CloseReason, &'static str) {
    let begins = |word: &[u8]| bytes.starts_with(word) || bytes.len() >= 3 && word.starts_with(bytes);
    if begins(b"PROXY ") || begins(&PROXY_V2) {
        (CloseReason::ProxyHeader, "it begins with a PROXY header, which this listener does not take")
    } else if HTTP.into_iter().any(begins) {
        (CloseReason::Http, "it speaks HTTP, and this is a port of MQTT")
    } else if bytes.starts_with(&TLS) {
        (CloseReason::Tls, "it speaks TLS, and this listener does not")
    } else {
        (CloseReason::Malformed, "its first bytes are no CONNECT")
    }
}

/// The level that a CONNECT names, from what follows its fixed header.
pub(super) fn level(body: &[u8]) -> Option<u8> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    rest.get(usize::from(u16::from_be_bytes(*length))).copied()
}

/// The client id of a CONNECT, from what follows its fixed header, where that can be read although something behind it cannot.
pub(super) fn client_id(body: &[u8]) -> Option<&str> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*length))..)?;
    // Level, flags and keep alive.
    let (head, mut rest) = rest.split_first_chunk::<4>()?;
    if head[0] == LEVEL_V5 {
        let (mut properties, mut shift) = (0_usize, 0);
        loop {
            let (byte, behind) = rest.split_first()?;
            properties |= usize::from(byte & 0x7f) << shift;
            (rest, shift) = (behind, shift + 7);
            match byte & 0x80 {
                0 => break,
                _ if shift > 21 => return None,
                _ => {}
            }
        }
        rest = rest.get(properties..)?;
    }
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let name = str::from_utf8(rest.get(..usize::from(u16::from_be_bytes(*length)))?).ok()?;
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

/// From which on CONNECT has properties.
const LEVEL_V5: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_a_peer_speaks() {
        let cases: [(&[u8], CloseReason); 12] = [
            (b"GET / HTTP/1.1\r\n", CloseReason::Http),
            (b"CONNECT example.org:443", CloseReason::Http),
            (b"PRI * HTTP/2.0\r\n", CloseReason::Http),
            (b"GET", CloseReason::Http),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 1883\r\n", CloseReason::ProxyHeader),
            (b"PROX", CloseReason::ProxyHeader),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", CloseReason::ProxyHeader),
            (b"\x16\x03\x01\x02\0\x01", CloseReason::Tls),
            (b"\x16\x01", CloseReason::Malformed),
            (b"G", CloseReason::Malformed),
            (b"SSH-2.0-OpenSSH_9.2", CloseReason::Malformed),
            (b"\xc0\0", CloseReason::Malformed),
        ];
        for (bytes, reason) in cases {
            assert_eq!(spoken(bytes).0, reason, "{bytes:?}");
        }
    }

    #[test]
    fn the_level_of_a_connect_stands_behind_the_name() {
        assert_eq!(level(b"\0\x04MQTT\x07\x02"), Some(7));
        assert_eq!(level(b"\0\x06MQIsdp\x03"), Some(3));
        assert_eq!((level(b"\xff\xffMQTT"), level(b"\0"), level(b"")), (None, None, None));
    }

    #[test]
    fn a_client_id_is_read_as_far_as_it_is_there() {
        assert_eq!(client_id(b"\0\x04MQTT\x04\x02\0\x0a\0\x02c1\xff\xff"), Some("c1"));
        assert_eq!(client_id(b"\0\x04MQTT\x05\x02\0\x0a\x05\x11\0\0\0\x01\0\x02c1"), Some("c1"));
        let long = [b"\0\x04MQTT\x05\x02\0\x0a\x80\x01".as_slice(), &[0; 128], b"\0\x01x"].concat();
        assert_eq!(client_id(&long), Some("x"));
        for cut in [
            &b"\0\x04MQTT\x04\x02\0\x0a\0\x03c1"[..],
            b"\0\x04MQTT\x04\x02\0",
            b"\0\x04MQTT\x04\x02\0\x0a\0\0",
            b"\0\x04MQTT\x04\x02\0\x0a\0\x01\0",
            b"\0\x04MQTT\x04\x02\0\x0a\0\x01\xff",
            b"\0\x04MQTT\x05\x02\0\x0a\xff\xff\xff\xff\xff\0\x01x",
            b"\0\x04MQTT\x05\x02\0\x0a\x7f\0\x01x",
            b"",
        ] {
            assert_eq!(client_id(cut), None, "{cut:?}");
        }
    }
}
