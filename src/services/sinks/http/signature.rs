//! The signature of a request: whoever has the key can tell that it comes from here, and when it was sent.

use aws_lc_rs::hmac;

/// `t=SECONDS,v1=HEX`: HMAC-SHA-256 over the time, a dot and the body.
pub(super) fn of(key: &str, time_s: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
    context.update(format!("{time_s}.").as_bytes());
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={time_s},v1={hex}")
}

#[cfg(test)]
mod tests {
    /// Compared with `printf '%s' '1796040000.hello' | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn it_is_what_openssl_makes_of_time_and_body() {
        let expected = "t=1796040000,v1=b2d2bd380d93d0d1ce57b9a73ab2cd448827da047a8d8e1ec4f57cab9e2e032b";
        assert_eq!(super::of("secret", 1_796_040_000, b"hello"), expected);
    }
}
