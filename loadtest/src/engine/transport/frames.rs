//! Frames of a WebSocket at a client's end (RFC 6455, 5): what is sent is masked, what comes must not be.
//!
//! Always holds: of what came nothing is kept but a head, or a control frame, that is not whole.

use dunlin::conn::websocket::{Opcode, write_head};

/// Longest head of a server's frame, and longest payload of a control frame.
const HEAD_MAX_BYTES: usize = 10;
const CONTROL_MAX_BYTES: u64 = 125;

/// Reads what a server sends.
#[derive(Debug, Default)]
pub(super) struct ServerFrames {
    /// Bytes of the data frame at hand that have not come.
    left: u64,
    in_message: bool,
    partial: Vec<u8>,
}

/// What a server says beside data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// To be answered with the same.
    Ping(Vec<u8>),
    /// It sends no more, for this reason.
    Close(Option<u16>),
}

struct Head {
    opcode: u8,
    is_final: bool,
    len: u64,
    size: usize,
}

impl ServerFrames {
    /// Leaves in `bytes` what data frames carry; control frames are put into `controls`. Nothing behind a close frame is read.
    pub(super) fn open(&mut self, bytes: &mut Vec<u8>, controls: &mut Vec<Control>) -> Result<(), &'static str> {
        if !self.partial.is_empty() {
            let mut all = std::mem::take(&mut self.partial);
            all.append(bytes);
            *bytes = all;
        }
        let (mut read, mut opened) = (0, 0);
        while read < bytes.len() {
            if self.left == 0 {
                let Some(head) = Head::read(&bytes[read..])? else { break };
                let payload = read + head.size;
                if head.opcode < 8 {
                    self.begin_data(&head)?;
                    read = payload;
                    continue;
                }
                let end = payload + head.len as usize;
                let Some(carried) = bytes.get(payload..end) else { break };
                read = end;
                match head.opcode {
                    8 => {
                        controls.push(Control::Close(carried.first_chunk().map(|code| u16::from_be_bytes(*code))));
                        bytes.truncate(opened);
                        return Ok(());
                    }
                    9 => controls.push(Control::Ping(carried.to_vec())),
                    10 => {}
                    _ => return Err("a WebSocket frame of the broker's has an opcode that means nothing"),
                }
                continue;
            }
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - read);
            bytes.copy_within(read..read + taken, opened);
            (read, opened) = (read + taken, opened + taken);
            self.left -= taken as u64;
        }
        self.partial.extend_from_slice(&bytes[read..]);
        bytes.truncate(opened);
        Ok(())
    }

    fn begin_data(&mut self, head: &Head) -> Result<(), &'static str> {
        match (head.opcode, self.in_message) {
            (2, false) | (0, true) => {}
            (1, false) => return Err("the broker sent a WebSocket frame of text, and MQTT is binary"),
            (0..=2, _) => return Err("WebSocket fragments of the broker's are out of order"),
            _ => return Err("a WebSocket frame of the broker's has an opcode that means nothing"),
        }
        self.in_message = !head.is_final;
        self.left = head.len;
        Ok(())
    }
}

impl Head {
    /// `None` where it is not whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, &'static str> {
        let Some(&[first, second]) = bytes.first_chunk() else { return Ok(None) };
        let (opcode, is_final) = (first & 0x0f, first & 0x80 != 0);
        if first & 0x70 != 0 {
            return Err("a WebSocket frame of the broker's uses an extension, and none was agreed to");
        }
        if second & 0x80 != 0 {
            return Err("a WebSocket frame of the broker's is masked, which only clients do");
        }
        let short = u64::from(second & 0x7f);
        if opcode >= 8 && (short > CONTROL_MAX_BYTES || !is_final) {
            return Err("a WebSocket control frame of the broker's is too long or in pieces");
        }
        let rest = &bytes[2..];
        let (len, size) = match short {
            126 => match rest.first_chunk() {
                Some(len) => (u64::from(u16::from_be_bytes(*len)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(len) => (u64::from_be_bytes(*len), HEAD_MAX_BYTES),
                None => return Ok(None),
            },
            short => (short, 2),
        };
        let is_minimal = size == 2 || len > if size == 4 { 125 } else { 0xffff };
        if !is_minimal || len >> 63 != 0 {
            return Err("the length of a WebSocket frame of the broker's is not written as it must be");
        }
        Ok(Some(Self { opcode, is_final, len, size }))
    }
}

/// Appends a whole frame, masked.
pub(super) fn write_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let mut room = [0; HEAD_MAX_BYTES];
    let start = out.len();
    out.extend_from_slice(write_head(opcode, payload.len(), &mut room));
    out[start + 1] |= 0x80;
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    for four in out[start..].chunks_mut(4) {
        four.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin::conn::websocket::{Deframer, Piece};

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut room = [0; 10];
        let mut bytes = write_head(Opcode::Binary, payload.len(), &mut room).to_vec();
        bytes[0] = first;
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn frames_are_one_stream_however_they_are_cut() {
        let long = vec![7; 70_000];
        let all = [
            frame(0x82, b"CONNACK"),
            frame(0x02, b"first "),
            frame(0x89, b"are you there"),
            frame(0x00, b""),
            frame(0x8a, b""),
            frame(0x80, &long[..300]),
            frame(0x82, &long),
            frame(0x88, &[3, 0xe8, b'b', b'y', b'e']),
            frame(0x82, b"behind it"),
        ]
        .concat();
        let data = [&b"CONNACKfirst "[..], &long[..300], &long].concat();
        for piece in [1, 3, 7, 1_000, usize::MAX] {
            let (mut frames, mut opened, mut controls) = (ServerFrames::default(), Vec::new(), Vec::new());
            for piece in all.chunks(piece.min(all.len())) {
                let mut bytes = piece.to_vec();
                frames.open(&mut bytes, &mut controls).unwrap();
                opened.append(&mut bytes);
                if controls.len() == 2 {
                    break;
                }
            }
            assert!(opened == data, "{piece}: {} of {} bytes", opened.len(), data.len());
            assert_eq!(controls, [Control::Ping(b"are you there".to_vec()), Control::Close(Some(1000))]);
            assert!(frames.partial.len() < 140);
        }
    }

    #[test]
    fn what_no_server_may_send_is_called_by_its_name() {
        for (bytes, part) in [
            (&b"\x82\x81\0\0\0\0x"[..], "masked"),
            (b"\x81\x01x", "text"),
            (b"\xc2\x01x", "extension"),
            (b"\x83\x01x", "opcode"),
            (b"\x8b\x00", "opcode"),
            (b"\x80\x01x", "out of order"),
            (b"\x02\x01x\x82\x01x", "out of order"),
            (b"\x09\x00", "in pieces"),
            (b"\x89\x7e\0\x7e", "too long"),
            (b"\x82\x7e\0\x7d", "length"),
            (b"\x82\x7f\0\0\0\0\0\0\xff\xff", "length"),
        ] {
            let error = ServerFrames::default().open(&mut bytes.to_vec(), &mut Vec::new()).unwrap_err();
            assert!(error.contains(part), "{bytes:x?}: {error}");
        }
    }

    #[test]
    fn a_broker_reads_what_a_client_writes() {
        for len in [0, 1, 5, 125, 126, 65_535, 65_536, 200_000] {
            let payload: Vec<u8> = (0..len).map(|at: u32| (at * 31) as u8).collect();
            let mut bytes = Vec::new();
            write_frame(Opcode::Binary, &payload, [1, 2, 3, 4], &mut bytes);
            assert!(len < 8 || !bytes.windows(8).any(|window| *window == payload[..8]), "it is masked");
            let (mut deframer, mut read, mut opened) = (Deframer::default(), 0, Vec::new());
            while read < bytes.len() {
                let (taken, piece) = deframer.next(&mut bytes[read..]).unwrap();
                if let Piece::Data(data) = piece {
                    opened.extend_from_slice(data);
                }
                read += taken;
            }
            assert!(opened == payload, "{len}");
        }
    }
}
