//! Frames against two others: a deframer so plain that it is right by inspection, on any bytes; and tungstenite, on what a client
//! sends. From printed seeds: `WEBSOCKET_SEED=n cargo test websocket` runs one again.

use std::io::{Cursor, Read, Write};

use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Message, WebSocket};

use super::*;

/// splitmix64: enough for choosing test cases.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// A length as likely to lie at one of the borders as between them.
    fn len(&mut self) -> usize {
        match self.below(8) {
            0 => 0,
            1 => 1,
            2 => 124 + self.below(4),
            3 => 65_534 + self.below(4),
            4 => self.below(3_000),
            _ => self.below(100),
        }
    }

    /// A frame of a client, in which something may be wrong.
    fn frame(&mut self, wrong: usize, out: &mut Vec<u8>) {
        let opcodes = [0, 2, 2, 2, 8, 9, 9, 10];
        let any = self.below(wrong) == 0;
        let opcode = if any { self.below(16) as u8 } else { opcodes[self.below(8)] };
        let is_control = opcode >= 8;
        let fin = if is_control && !any || self.below(2) == 0 { 0x80 } else { 0 };
        let mut len = self.len();
        if is_control && !any {
            len %= 126;
        }
        let mut payload = self.bytes(len);
        if opcode == 8 && self.below(8) > 0 {
            payload =
                [&[1000_u16, 1001, 1003, 3000, 4999, 1005, 999][self.below(7)].to_be_bytes()[..], b"bye"].concat();
        }
        out.push(fin | opcode | if self.below(wrong) == 0 { 0x40 } else { 0 });
        let masked = if self.below(wrong) == 0 { 0 } else { 0x80 };
        // Now and then in more bytes than it needs.
        match (payload.len(), self.below(wrong)) {
            (len @ 0..=125, 1..) => out.push(masked | len as u8),
            (len @ 0..=0xffff, 1..) | (len @ 0..=125, 0) => {
                out.push(masked | 0x7e);
                out.extend((len as u16).to_be_bytes());
            }
            (len, _) => {
                out.push(masked | 0x7f);
                out.extend((len as u64).to_be_bytes());
            }
        }
        let mask = self.below(usize::MAX).to_ne_bytes();
        if masked > 0 {
            out.extend(&mask[..4]);
            payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at % 4]);
        }
        out.extend(payload);
    }
}

/// What a stream of frames comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    data: Vec<u8>,
    pings: Vec<Vec<u8>>,
    closes: Vec<Option<u16>>,
    violation: Option<Violation>,
}

/// By our deframer, in pieces of chosen sizes.
fn ours(stream: &[u8], mut size: impl FnMut() -> usize) -> Outcome {
    let (mut deframer, mut outcome) = (Deframer::default(), Outcome::default());
    let mut stream = stream.to_vec();
    let mut rest = &mut stream[..];
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at_mut(size().clamp(1, rest.len()));
        rest = behind;
        while !piece.is_empty() {
            let taken = match deframer.next(piece) {
                Ok((taken, Piece::Data(data))) => {
                    assert!(!data.is_empty());
                    outcome.data.extend_from_slice(data);
                    taken
                }
                Ok((taken, Piece::Ping(payload))) => {
                    outcome.pings.push(payload.as_slice().to_vec());
                    taken
                }
                Ok((taken, Piece::Close(code))) => {
                    outcome.closes.push(code);
                    taken
                }
                Ok((taken, Piece::Nothing)) => taken,
                Err(violation) => {
                    outcome.violation = Some(violation);
                    return outcome;
                }
            };
            assert!(taken > 0);
            piece = &mut piece[taken..];
        }
    }
    outcome
}

/// By RFC 6455, 5.2 to 5.6, one rule after the other, with all bytes at hand.
fn plainly(stream: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(violation) = read_plainly(stream, &mut outcome) {
        outcome.violation = violation;
    }
    outcome
}

/// `Err(None)` where the stream ends within a frame.
fn read_plainly(stream: &[u8], outcome: &mut Outcome) -> Result<(), Option<Violation>> {
    let mut stream = stream.iter().copied();
    let mut in_message = false;
    loop {
        let Some(first) = stream.next() else { return Ok(()) };
        let (fin, opcode) = (first >> 7 == 1, first & 0xf);
        let is_control = opcode >= 8;
        let violations = [
            (first & 0x70 > 0, Violation::ReservedBits),
            (matches!(opcode, 3..=7 | 11..=15), Violation::UnknownOpcode),
            (opcode == 0 && !in_message || matches!(opcode, 1 | 2) && in_message, Violation::Fragment),
            (opcode == 1, Violation::Text),
            (is_control && !fin, Violation::ControlFrame),
        ];
        violation(&violations)?;
        let second = stream.next().ok_or(None)?;
        let short = second & 0x7f;
        violation(&[(second < 0x80, Violation::Unmasked), (is_control && short > 125, Violation::ControlFrame)])?;
        let mut number = |bytes: usize| -> Result<u64, Option<Violation>> {
            (0..bytes).try_fold(0, |number, _| Ok(number << 8 | u64::from(stream.next().ok_or(None)?)))
        };
        let len = match short {
            126 => number(2)?,
            127 => number(8)?,
            len => len.into(),
        };
        violation(&[(
            short == 126 && len < 126 || short == 127 && !(65_536..1 << 63).contains(&len),
            Violation::Length,
        )])?;
        let mask = number(4)?.to_be_bytes();
        let payload: Vec<u8> =
            stream.by_ref().take(len as usize).enumerate().map(|(at, byte)| byte ^ mask[4 + at % 4]).collect();
        let is_whole = payload.len() as u64 == len;
        match opcode {
            0 | 2 => {
                in_message = !fin;
                outcome.data.extend(payload);
            }
            _ if !is_whole => return Err(None),
            8 => outcome.closes.push(match payload.len() {
                0 => None,
                _ => close::received(&payload).map_err(Some)?,
            }),
            9 => outcome.pings.push(payload),
            _ => {}
        }
    }
}

fn violation(rules: &[(bool, Violation)]) -> Result<(), Option<Violation>> {
    rules.iter().find(|(is_broken, _)| *is_broken).map_or(Ok(()), |(_, violation)| Err(Some(*violation)))
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    match std::env::var("WEBSOCKET_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("WEBSOCKET_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

#[test]
fn any_frames_come_to_the_same_by_the_plain_rules_wherever_they_are_split() {
    let (mut violations, mut data) = (std::collections::HashSet::new(), 0);
    for seed in seeds(500) {
        let mut random = Random(seed);
        let wrong = [12, 60, usize::MAX][random.below(3)];
        let mut stream = Vec::new();
        (0..=random.below(8)).for_each(|_| random.frame(wrong, &mut stream));
        stream.truncate(stream.len() - random.below(stream.len().min(20)));
        let expected = plainly(&stream);
        assert_eq!(ours(&stream, || usize::MAX), expected, "WEBSOCKET_SEED={seed}");
        assert_eq!(ours(&stream, || 1), expected, "WEBSOCKET_SEED={seed}, by bytes");
        assert_eq!(ours(&stream, || 1 + random.below(40)), expected, "WEBSOCKET_SEED={seed}, split");
        violations.extend(expected.violation.map(|violation| violation as u8));
        data += expected.data.len();
    }
    if std::env::var_os("WEBSOCKET_SEED").is_none() {
        assert!(violations.len() >= 8 && data > 100_000, "{violations:?}, {data} bytes: the cases are of every kind");
    }
}

/// What tungstenite writes goes here, and what it reads comes from here.
#[derive(Default)]
struct Pipe {
    read: Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.read.read(bytes)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_another_library_sends_is_read() {
    for seed in seeds(200) {
        let mut random = Random(seed);
        let mut client = WebSocket::from_raw_socket(Pipe::default(), Role::Client, None);
        let mut expected = Outcome::default();
        for _ in 0..=random.below(10) {
            let len = random.len();
            if random.below(4) == 0 {
                let payload = random.bytes(len % 126);
                client.send(Message::Ping(payload.clone().into())).unwrap();
                expected.pings.push(payload);
            } else {
                let payload = random.bytes(len);
                client.send(Message::Binary(payload.clone().into())).unwrap();
                expected.data.extend(payload);
            }
        }
        client.close(Some(CloseFrame { code: 1001.into(), reason: "gr\u{fc}n".into() })).unwrap();
        expected.closes.push(Some(1001));
        let stream = std::mem::take(&mut client.get_mut().written);
        assert_eq!(ours(&stream, || 1 + random.below(5_000)), expected, "WEBSOCKET_SEED={seed}");
    }
}

#[test]
fn what_is_sent_is_read_by_another_library() {
    let mut random = Random(7);
    let mut written = Vec::new();
    let frames: Vec<(Opcode, Vec<u8>)> = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]
        .into_iter()
        .map(|len| (Opcode::Binary, random.bytes(len)))
        .chain([(Opcode::Pong, b"pong".to_vec()), (Opcode::Close, 1003_u16.to_be_bytes().to_vec())])
        .collect();
    for (opcode, payload) in &frames {
        written.extend_from_slice(write_head(*opcode, payload.len(), &mut [0; 10]));
        written.extend_from_slice(payload);
    }
    let pipe = Pipe { read: Cursor::new(written), written: Vec::new() };
    let mut client = WebSocket::from_raw_socket(pipe, Role::Client, None);
    for (opcode, payload) in frames {
        let read = client.read().unwrap();
        match opcode {
            Opcode::Binary => assert_eq!(read, Message::Binary(payload.into())),
            Opcode::Pong => assert_eq!(read, Message::Pong(payload.into())),
            _ => assert!(matches!(read, Message::Close(Some(frame)) if u16::from(frame.code) == 1003)),
        }
    }
}
