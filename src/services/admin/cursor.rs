//! Where a page of clients ended, as a text that goes out and comes back.
//!
//! Always holds: a text that nobody here made is refused or leads to a place that exists: nothing is trusted.

use crate::shard::ClientCursor;

/// A place in the list of all shards' clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListPlace {
    /// The shard that is looked at next.
    pub(super) shard: usize,
    /// Where in it; `None` at its begin.
    pub(super) after: Option<ClientCursor>,
}

impl ListPlace {
    /// The begin of the list.
    pub(super) const BEGIN: Self = Self { shard: 0, after: None };

    /// As it goes out.
    pub(super) fn to_text(self) -> String {
        match self.after.map(ClientCursor::numbers) {
            Some([next, end, within]) => format!("{}-{next}-{end}-{within}", self.shard),
            None => self.shard.to_string(),
        }
    }

    /// As it comes back.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (shard, after) = text.split_once('-').map_or((text, None), |(shard, rest)| (shard, Some(rest)));
        let numbers = |text: &str| {
            let numbers: Result<Vec<u32>, _> = text.split('-').map(str::parse).collect();
            numbers.ok()?.try_into().ok()
        };
        let after = match after {
            None => None,
            Some(text) => Some(ClientCursor::of_numbers(numbers(text)?)),
        };
        Some(Self { shard: shard.parse().ok()?, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_comes_back() {
        let inside = ListPlace { shard: 3, after: Some(ClientCursor::of_numbers([7, 4_000_000_000, 9])) };
        for place in [ListPlace::BEGIN, inside, ListPlace { shard: 1, after: None }] {
            assert_eq!(ListPlace::parse(&place.to_text()), Some(place));
        }
        for text in ["", "x", "-1", "1-", "1-2", "1-2-3", "1-2-3-", "1-2-3-4-5", "1-2-3-99999999999", "1 ", "é"] {
            assert_eq!(ListPlace::parse(text), None, "{text:?}");
        }
    }
}
