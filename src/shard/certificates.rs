//! When the certificates of listeners end, as far as `$SYS` tells it.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::time::Now;

const MS_PER_DAY: i64 = 24 * 60 * 60 * 1_000;

/// The end of the first certificate that ends, in Unix milliseconds. Whoever reads certificates sets it.
#[derive(Debug)]
pub struct CertificatesEnd(AtomicI64);

impl Default for CertificatesEnd {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }
}

impl CertificatesEnd {
    /// It ends then, in Unix seconds; `None` where there is no certificate.
    pub fn set(&self, end_s: Option<i64>) {
        self.0.store(end_s.map_or(i64::MAX, |end_s| end_s.saturating_mul(1_000)), Ordering::Relaxed);
    }

    /// When it ends, in Unix seconds; `None` where there is no certificate.
    pub fn end_s(&self) -> Option<i64> {
        let end_ms = self.0.load(Ordering::Relaxed);
        (end_ms != i64::MAX).then(|| end_ms.div_euclid(1_000))
    }

    /// Whole days until then; less than 0 from then on.
    pub(super) fn days_left(&self, now: Now) -> Option<i64> {
        let end_ms = self.0.load(Ordering::Relaxed);
        let left_ms = end_ms.saturating_sub(now.unix_ms.cast_signed());
        (end_ms != i64::MAX).then(|| left_ms.div_euclid(MS_PER_DAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_below_zero_behind_the_end() {
        let end = CertificatesEnd::default();
        let at = |s: u64| Now { mono_ns: 0, unix_ms: s * 1_000 };
        assert_eq!(end.days_left(at(0)), None);
        assert_eq!(end.end_s(), None);
        end.set(Some(10 * 86_400));
        assert_eq!(end.end_s(), Some(10 * 86_400));
        for (s, days) in [(0, 10), (1, 9), (9 * 86_400 + 1, 0), (10 * 86_400, 0), (10 * 86_400 + 1, -1)] {
            assert_eq!(end.days_left(at(s)), Some(days), "{s}");
        }
        end.set(None);
        assert_eq!(end.days_left(at(0)), None);
    }
}
