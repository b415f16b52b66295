//! When the certificates and revocation lists of listeners end, as far as `$SYS` and metrics tell it.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::time::Now;

const MS_PER_DAY: i64 = 24 * 60 * 60 * 1_000;

/// The end of the first certificate that ends, and of the first revocation list, in Unix milliseconds. Whoever reads them sets it.
#[derive(Debug)]
pub struct CertificatesEnd {
    certificates: AtomicI64,
    lists: AtomicI64,
}

impl Default for CertificatesEnd {
    fn default() -> Self {
        Self { certificates: AtomicI64::new(i64::MAX), lists: AtomicI64::new(i64::MAX) }
    }
}

impl CertificatesEnd {
    /// It ends then, in Unix seconds; `None` where there is no certificate.
    pub fn set(&self, end_s: Option<i64>) {
        store(&self.certificates, end_s);
    }

    /// The same of revocation lists.
    pub fn set_lists(&self, end_s: Option<i64>) {
        store(&self.lists, end_s);
    }

    /// When it ends, in Unix seconds; `None` where there is no certificate.
    pub fn end_s(&self) -> Option<i64> {
        load_s(&self.certificates)
    }

    /// When the first revocation list ends, in Unix seconds; `None` where none does.
    pub fn lists_end_s(&self) -> Option<i64> {
        load_s(&self.lists)
    }

    /// Whole days until then; less than 0 from then on.
    pub(super) fn days_left(&self, now: Now) -> Option<i64> {
        let end_ms = self.certificates.load(Ordering::Relaxed);
        let left_ms = end_ms.saturating_sub(now.unix_ms.cast_signed());
        (end_ms != i64::MAX).then(|| left_ms.div_euclid(MS_PER_DAY))
    }
}

fn store(end: &AtomicI64, end_s: Option<i64>) {
    end.store(end_s.map_or(i64::MAX, |end_s| end_s.saturating_mul(1_000)), Ordering::Relaxed);
}

fn load_s(end: &AtomicI64) -> Option<i64> {
    let end_ms = end.load(Ordering::Relaxed);
    (end_ms != i64::MAX).then(|| end_ms.div_euclid(1_000))
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
        end.set_lists(Some(7));
        assert_eq!((end.end_s(), end.lists_end_s()), (Some(10 * 86_400), Some(7)));
        end.set(None);
        assert_eq!(end.days_left(at(0)), None);
    }
}
