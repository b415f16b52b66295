//! What the values of flags may be, and the words that say so.

use crate::units::{self, grouped};

/// A whole number with or without K or M, between two bounds.
pub(super) fn within<T: TryFrom<u64>>(
    low: u64,
    high: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = units::count(text).ok().filter(|number| (low..=high).contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            format!("write a whole number from {} to {}; K and M may follow, as in 12K", grouped(low), grouped(high))
        })
    }
}

/// Any number that fits.
pub(super) fn any_u32(text: &str) -> Result<u32, String> {
    within(0, u32::MAX.into())(text)
}

/// One at least.
pub(super) fn some_u32(text: &str) -> Result<u32, String> {
    within(1, u32::MAX.into())(text)
}

/// Any number that fits.
pub(super) fn any_u16(text: &str) -> Result<u16, String> {
    within(0, u16::MAX.into())(text)
}

/// One at least.
pub(super) fn some_u16(text: &str) -> Result<u16, String> {
    within(1, u16::MAX.into())(text)
}

/// Any number that a counter reaches.
pub(super) fn any_u64(text: &str) -> Result<u64, String> {
    within(0, 999_999_999_999_999)(text)
}

/// Bytes: a plain number, one with K or M (thousands and millions, as in counts), or a size with its unit.
pub(super) fn bytes(text: &str) -> Result<u32, String> {
    let number = units::count(text).or_else(|_| units::size(text)).ok().and_then(|bytes| u32::try_from(bytes).ok());
    number.ok_or_else(|| "write bytes, as in 256, 16K (16,000), 16KB (16,000) or 16KiB (16,384)".to_owned())
}

/// Something a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().or_else(|| units::count(text).ok().map(|count| count as f64));
    number
        .filter(|rate| (0.0..1e9).contains(rate))
        .ok_or_else(|| "write a number from 0 to 999,999,999; K and M may follow, as in 12K".to_owned())
}

/// So many in a hundred.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    number
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "write a percentage from 0 to 100, as in 50 or 50%".to_owned())
}

/// Yes or no, in any of the words that people use.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("write true or false (yes and no, on and off, 1 and 0 are the same)".to_owned()),
    }
}

/// A percentage, as a share of one.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    let percent = number.filter(|percent| (0.0..=1_000.0).contains(percent));
    percent.map(|percent| percent / 100.0).ok_or_else(|| "write a percentage from 0 to 1000, as in 10%".to_owned())
}

/// An address to listen on: with its port.
pub(super) fn listen_address(text: &str) -> Result<String, String> {
    let parsed = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = parsed.and_then(|(_, port)| port.parse::<u16>().ok());
    port.map(|_| text.to_owned())
        .ok_or_else(|| "write ADDRESS:PORT, as in 10.0.0.5:7883; port 0 takes a free one".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_k_and_m_and_name_their_bounds() {
        assert_eq!(
            (some_u32("12K"), any_u32("0"), some_u16("65535"), any_u64("1.5M")),
            (Ok(12_000), Ok(0), Ok(65_535), Ok(1_500_000))
        );
        for text in ["0", "-1", "5G", "1.5", "x", ""] {
            let error = some_u32(text).unwrap_err();
            assert!(error.starts_with("write a whole number from 1 to 4,294,967,295"), "{text}: {error}");
        }
        assert_eq!(
            some_u16("66K"),
            Err("write a whole number from 1 to 65,535; K and M may follow, as in 12K".to_owned())
        );
        assert_eq!((rate("12K"), rate("0.5"), rate("1e10").is_err()), (Ok(12_000.0), Ok(0.5), true));
        assert_eq!(
            (bytes("16K"), bytes("16KiB"), bytes("256"), bytes("x").is_err()),
            (Ok(16_000), Ok(16_384), Ok(256), true)
        );
    }

    #[test]
    fn switches_and_addresses_are_read() {
        assert_eq!((switch("no"), switch("ON"), switch("maybe").is_err()), (Ok(false), Ok(true), true));
        for (text, is_right) in [
            ("10.0.0.5:7883", true),
            ("[::1]:0", true),
            ("host:1", true),
            ("host", false),
            (":1", false),
            ("a:x", false),
        ] {
            assert_eq!(listen_address(text).is_ok(), is_right, "{text}");
        }
    }
}
