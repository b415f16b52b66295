//! PROXY headers: good ones wherever they are split, and bad ones of every kind.

use super::*;

const TLV_SSL: u8 = 0x20;

/// A header of version 2, written by the specification.
fn v2(command: u8, family: u8, addresses: &[u8], tlvs: &[u8]) -> Vec<u8> {
    let len = (addresses.len() + tlvs.len()) as u16;
    [V2, &[command, family], &len.to_be_bytes(), addresses, tlvs].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xc3, 0x50, 0x07, 0x5b];

fn v6() -> Vec<u8> {
    let address = |text: &str| text.parse::<core::net::Ipv6Addr>().unwrap().octets();
    [&address("2001:db8::7")[..], &address("2001:db8::1"), &[0xc3, 0x50, 0x07, 0x5b]].concat()
}

fn tls(flags: u8, verify: u32, inner: &[Vec<u8>]) -> Vec<u8> {
    tlv(TLV_SSL, &[&[flags], &verify.to_be_bytes()[..], &inner.concat()].concat())
}

/// Feeds a header in pieces of `size`, with `behind` after it; what was taken of all that, and what it says.
fn take(header: &[u8], size: usize) -> Result<Option<(usize, Proxied)>, BadProxyHeader> {
    let mut reader = ProxyHeaderReader::default();
    let mut before = 0;
    for piece in header.chunks(size) {
        if let Some((taken, proxied)) = reader.take(piece)? {
            assert!(reader.is_empty());
            return Ok(Some((before + taken, proxied)));
        }
        before += piece.len();
    }
    Ok(None)
}

fn good() -> Vec<(Vec<u8>, Proxied)> {
    let at = |text: &str| Proxied { source: Some(text.parse().unwrap()), tls: None };
    let with = |version: &str, name: Option<&str>| Proxied {
        tls: Some(ProxiedTls { version: version.into(), common_name: name.map(Into::into) }),
        ..at("192.0.2.7:50000")
    };
    let inner = [tlv(0x21, b"TLSv1.3"), tlv(0x22, b"device-7"), tlv(0x23, b"TLS_AES_256_GCM_SHA384")];
    vec![
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 1883\r\n".to_vec(), at("192.0.2.7:50000")),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 1883\r\n".to_vec(), at("[2001:db8::7]:50000")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Proxied::default()),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), Proxied::default()),
        (v2(0x21, 0x11, &V4, b""), at("192.0.2.7:50000")),
        (v2(0x21, 0x21, &v6(), b""), at("[2001:db8::7]:50000")),
        (v2(0x20, 0x00, b"", b""), Proxied::default()),
        (v2(0x20, 0x11, &V4, b""), Proxied::default()),
        (v2(0x21, 0x00, b"whatever", b""), Proxied::default()),
        (v2(0x21, 0x31, &[0; 216], b""), Proxied::default()),
        (v2(0x21, 0x11, &V4, &[tlv(0x04, &[0; 300]), tlv(0xea, b"\x01vpce-1")].concat()), at("192.0.2.7:50000")),
        (v2(0x21, 0x11, &V4, &tls(7, 0, &inner)), with("TLSv1.3", Some("device-7"))),
        (v2(0x21, 0x11, &V4, &tls(5, 0, &inner)), with("TLSv1.3", Some("device-7"))),
        (v2(0x21, 0x11, &V4, &tls(7, 20, &inner)), with("TLSv1.3", None)),
        (v2(0x21, 0x11, &V4, &tls(1, 0, &inner)), with("TLSv1.3", None)),
        (v2(0x21, 0x11, &V4, &tls(0, 0, &inner)), at("192.0.2.7:50000")),
    ]
}

#[test]
fn good_headers_say_the_same_wherever_they_are_split() {
    for (header, proxied) in good() {
        let stream = [&header[..], b"\x10\x0c\0\x04MQTT"].concat();
        for size in 1..=stream.len() {
            assert_eq!(take(&stream, size), Ok(Some((header.len(), proxied.clone()))), "{size}: {header:?}");
        }
        for cut in 0..header.len() {
            assert_eq!(take(&header[..cut], cut.max(1)), Ok(None), "{cut}: {header:?}");
        }
    }
}

#[test]
fn bad_headers_are_refused() {
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100], b"\r\n"].concat();
    let mut too_long = v2(0x21, 0x11, &V4, b"");
    too_long[14..16].copy_from_slice(&4081_u16.to_be_bytes());
    let bad_tlvs: [&[u8]; 4] =
        [b"\x01", b"\x01\0\x02x", &tlv(0x02, b"\xff"), &tls(7, 0, &[b"\x22\0\x09short".to_vec()])];
    let mut cases: Vec<Vec<u8>> = bad_tlvs.into_iter().map(|tlvs| v2(0x21, 0x11, &V4, tlvs)).collect();
    cases.extend([
        long,
        too_long,
        v2(0x11, 0x11, &V4, b""),
        v2(0x22, 0x11, &V4, b""),
        v2(0x21, 0x12, &V4, b""),
        v2(0x21, 0x41, &V4, b""),
        v2(0x21, 0x11, &V4[..11], b""),
        v2(0x21, 0x21, &V4, b""),
    ]);
    let lines = [
        "PROXY\r\n",
        "PROXYXTCP4 192.0.2.7 198.51.100.1 50000 1883\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 1883\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 1883 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 50000 1883\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +50000 1883\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 70000 1883\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 50000 1883\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 50000 1883\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 50000 1883\r\n",
        "GET / HTTP/1.1\r\n",
        "\x10\x0c\0\x04MQTT",
    ];
    cases.extend(lines.iter().map(|line| line.as_bytes().to_vec()));
    for header in cases {
        // What has no end by itself comes to one.
        let stream = [&header[..], &[b'x'; 120]].concat();
        for size in [1, 7, stream.len()] {
            assert!(take(&stream, size).is_err(), "{size}: {:?}", String::from_utf8_lossy(&header));
        }
    }
}

#[test]
fn a_checksum_is_verified() {
    let body = [tlv(0x03, &[0; 4]), tls(7, 0, &[tlv(0x22, b"device-7")])].concat();
    let mut header = v2(0x21, 0x11, &V4, &body);
    let sum = checksum(&header).to_be_bytes();
    header[31..35].copy_from_slice(&sum);
    assert!(take(&header, 9).is_ok_and(|taken| taken.is_some()));
    for at in 16..header.len() {
        let mut flipped = header.clone();
        flipped[at] ^= 1;
        assert!(take(&flipped, 9).is_err() || take(&flipped, 9) == Ok(None), "{at}");
    }
    let mut longer = header.clone();
    longer[29..31].copy_from_slice(&u16::MAX.to_be_bytes());
    assert!(take(&longer, 9).is_err(), "a checksum that is longer than its header");
}

#[test]
fn what_is_kept_of_a_header_is_bounded_and_given_back() {
    let mut tlvs = Vec::new();
    while V2_FIXED_BYTES + V4.len() + tlvs.len() < PROXY_HEADER_MAX_BYTES - 300 {
        tlvs.extend(tlv(0xe0, &[0; 250]));
    }
    let rest = PROXY_HEADER_MAX_BYTES - V2_FIXED_BYTES - V4.len() - tlvs.len() - 3;
    tlvs.extend(tlv(0xe0, &vec![0; rest]));
    let header = v2(0x21, 0x11, &V4, &tlvs);
    assert_eq!(header.len(), PROXY_HEADER_MAX_BYTES);
    let mut reader = ProxyHeaderReader::default();
    assert_eq!(reader.take(&header[..header.len() - 1]), Ok(None));
    assert!(reader.kept.capacity() <= 2 * PROXY_HEADER_MAX_BYTES);
    assert!(reader.take(b"\0\x10").unwrap().is_some_and(|(taken, _)| taken == 1));
    assert_eq!(reader.kept.capacity(), 0);
}
