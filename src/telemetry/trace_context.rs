//! What W3C's Trace Context says of a message: which trace it belongs to, and whether that is sampled.
//!
//! Always holds: a [`TraceContext`] that exists is valid as the recommendation has it (level 2): ids are not zero, and a version
//! that is not known is read as far as version 00 goes.
//! Leaves to others: where it stands (MQTT 5 user properties), and what is done with it (`shard::spans`).

/// Longest `tracestate` that is passed on to a collector: what the recommendation asks for.
pub const TRACE_STATE_MAX_BYTES: usize = 512;

/// What `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace that the message belongs to.
    pub trace_id: [u8; 16],
    /// The span that has sent it.
    pub parent_id: [u8; 8],
    /// Whether that span is recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads the value of `traceparent`. `None` for one that is to be ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_separated = [2, 35, 52].into_iter().all(|at| bytes.get(at) == Some(&b'-'));
        let [version] = hex(bytes.get(..2)?)?;
        let has_its_length = match version {
            0x00 => bytes.len() == 55,
            0xff => false,
            _ => bytes.get(55).is_none_or(|next| *next == b'-'),
        };
        let (trace_id, parent_id) = (hex(bytes.get(3..35)?)?, hex(bytes.get(36..52)?)?);
        let [flags] = hex(bytes.get(53..55)?)?;
        let is_valid = is_separated && has_its_length && trace_id != [0; 16] && parent_id != [0; 8];
        is_valid.then_some(Self { trace_id, parent_id, is_sampled: flags & 1 == 1 })
    }
}

/// A `tracestate` that may be passed on: as long as one may be, of characters that one may have.
pub fn checked_trace_state(text: &str) -> Option<&str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    (!text.is_empty() && text.len() <= TRACE_STATE_MAX_BYTES && is_plain).then_some(text)
}

/// Digits as the recommendation has them: in lower case.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut read = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in read.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

    #[test]
    fn a_valid_one_is_read_and_a_newer_version_as_far_as_it_is_known() {
        let read = TraceContext::parse(&format!("{ID}-01")).unwrap();
        assert_eq!((read.trace_id[0], read.trace_id[15], read.parent_id[7]), (0x0a, 0x9c, 0x31));
        assert!(read.is_sampled);
        assert!(!TraceContext::parse(&format!("{ID}-02")).unwrap().is_sampled, "another flag");
        let newer = ID.replacen("00", "cc", 1);
        for text in [format!("{newer}-01"), format!("{newer}-01-what-comes")] {
            assert!(TraceContext::parse(&text).is_some_and(|read| read.is_sampled), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_ignored() {
        let newer = ID.replacen("00", "cc", 1);
        for text in [
            String::new(),
            ID.to_owned(),
            format!("{ID}-01-"),
            format!("{ID}-1"),
            format!("{ID}-0g"),
            format!("{newer}-01x"),
            format!("{}-01", ID.to_uppercase()),
            format!("{}-01", ID.replacen("00", "ff", 1)),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(),
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned(),
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            "\u{e4}0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        ] {
            assert_eq!(TraceContext::parse(&text), None, "{text:?}");
        }
    }

    #[test]
    fn a_state_is_bounded_and_plain() {
        assert_eq!(checked_trace_state("a=1,b=2"), Some("a=1,b=2"));
        for bad in ["", "a=\u{e4}", "a=1\n", &"x".repeat(TRACE_STATE_MAX_BYTES + 1)] {
            assert_eq!(checked_trace_state(bad), None, "{bad:?}");
        }
        assert!(checked_trace_state(&"x".repeat(TRACE_STATE_MAX_BYTES)).is_some());
    }
}
