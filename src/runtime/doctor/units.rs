//! Numbers as the doctor writes and reads them.

/// With `_` between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 client`, `2_000 clients`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

pub(super) fn mib(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes.div_ceil(1 << 20)))
}

pub(super) fn milliseconds(microseconds: u64) -> String {
    format!("{}.{} ms", microseconds / 1_000, microseconds % 1_000 / 100)
}

/// A number of clients: `1000000`, `1_000_000`, `1000k`, `1M`.
pub(super) fn clients(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number: Option<u64> = number.replace('_', "").parse().ok();
    let clients =
        number.and_then(|number| number.checked_mul(factor)).filter(|clients| (1..=CLIENTS_MAX).contains(clients));
    clients
        .ok_or_else(|| format!("{text:?} is no number of clients: 1 to {}, such as 100k or 1M", grouped(CLIENTS_MAX)))
}

const CLIENTS_MAX: u64 = crate::limits::CONNECTIONS_MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_counted_in_thousands_and_millions() {
        for (text, number) in [("1", 1), ("1_000", 1_000), ("100k", 100_000), ("2M", 2_000_000)] {
            assert_eq!(clients(text), Ok(number), "{text}");
        }
        for wrong in ["", "0", "M", "1.5M", "-1", "99999999M", "18446744073709551615k"] {
            assert!(clients(wrong).is_err(), "{wrong}");
        }
        assert_eq!((grouped(0), grouped(1_234), grouped(1_000_000)), ("0".into(), "1_234".into(), "1_000_000".into()));
        assert_eq!((counted(1, "client"), counted(1_000, "shard")), ("1 client".into(), "1_000 shards".into()));
        assert_eq!((mib(1), milliseconds(1_250)), ("1 MiB".into(), "1.2 ms".into()));
    }
}
