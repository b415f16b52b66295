//! What of a log is known to be lost, so that what is found later is told as well, and once.

use super::format::SegmentNumber;
use super::scan::{Damage, LogScan};

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostParts {
    /// Records that do not fit any more.
    pub damage: Vec<Damage>,
    /// Segments that are not there.
    pub missing: Vec<SegmentNumber>,
    /// Segments whose files are shorter than they were made.
    pub cut_off: Vec<SegmentNumber>,
    /// Segments of which the disk gives back nothing.
    pub unreadable: Vec<SegmentNumber>,
}

impl LostParts {
    /// What one reading has found.
    pub fn of(scan: &LogScan) -> Self {
        let (cut_off, unreadable) = (scan.cut_off.clone(), scan.unreadable.clone());
        Self { damage: scan.damage.clone(), missing: scan.missing.clone(), cut_off, unreadable }
    }

    /// Whether nothing is.
    pub const fn is_empty(&self) -> bool {
        self.damage.is_empty() && self.missing.is_empty() && self.cut_off.is_empty() && self.unreadable.is_empty()
    }

    /// Takes over what a reading of a log that goes on has found. Returns what of it was not known. That reading was shown what is durable alone: a number
    /// that was never used looks as if its segment were missing, and the segment that is written as if it were cut off. Where records are, they count as damaged.
    #[must_use]
    pub fn learn(&mut self, scan: &LogScan) -> Self {
        let is_known =
            |found: &Damage| self.damage.iter().any(|old| old.first <= found.first && found.next <= old.next);
        let damage: Vec<Damage> = scan.damage.iter().filter(|found| !is_known(found)).copied().collect();
        self.damage.extend(&damage);
        Self { damage, ..Self::default() }
    }

    /// Whether something in a segment is damaged.
    pub fn has(&self, segment: SegmentNumber) -> bool {
        self.damage.iter().any(|damage| damage.segment == segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_new_once() {
        let damage = |first, next| Damage { segment: SegmentNumber(2), block: 3, first, next };
        let scan = |damage: &[Damage]| LogScan {
            damage: damage.to_vec(),
            cut_off: vec![SegmentNumber(8)],
            missing: vec![SegmentNumber(9)],
            ..LogScan::default()
        };
        let mut known = LostParts::of(&LogScan { damage: vec![damage(5, 9)], ..LogScan::default() });
        assert!(known.learn(&scan(&[damage(5, 9)])).is_empty());
        assert!(known.learn(&scan(&[damage(6, 9)])).is_empty(), "a checkpoint has some of it");
        let grown = known.learn(&scan(&[damage(5, 9), damage(20, 21)]));
        assert_eq!(grown, LostParts { damage: vec![damage(20, 21)], ..LostParts::default() });
        assert!(known.learn(&scan(&[damage(20, 21)])).is_empty());
        assert_eq!((known.has(SegmentNumber(2)), known.has(SegmentNumber(4))), (true, false));
    }
}
