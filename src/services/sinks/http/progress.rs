//! How far a batch is.
//!
//! Always holds: a row that the server has, or never takes, is in no part that is still to be sent; parts are sent in the order of their
//! rows.
//! Leaves to others: sending, and what an answer means.

use std::ops::Range;

use bytes::Bytes;

use super::super::delivered::Delivered;
use super::super::row::Row;
use super::super::transform::line_of;
use super::{HttpBody, ServerWord};

/// See the module's text.
#[derive(Debug)]
pub(super) struct BatchProgress {
    /// Of all rows of the batch: they tell it from another.
    ids: Vec<u128>,
    /// Places in the batch of the rows that can be sent at all.
    sent: Vec<usize>,
    /// Parts of `sent` that the server has said nothing final of, the next one last.
    parts: Vec<Range<usize>>,
    rejected: Vec<(usize, String)>,
}

impl BatchProgress {
    /// Nothing is sent yet; rows that may not stand in such a body are rejected already.
    pub(super) fn new(body: &HttpBody, batch: &[Row]) -> Self {
        let are_lines = matches!(body, HttpBody::Joined { one_line: true, .. });
        let (mut sent, mut rejected) = (Vec::with_capacity(batch.len()), Vec::new());
        for (at, row) in batch.iter().enumerate() {
            match if are_lines { line_of(&row.payload) } else { Ok(Bytes::new()) } {
                Ok(_) => sent.push(at),
                Err(why) => rejected.push((at, why)),
            }
        }
        let parts = match body {
            HttpBody::Single => (0..sent.len()).rev().map(|at| at..at + 1).collect(),
            HttpBody::Joined { .. } => Vec::from_iter((!sent.is_empty()).then_some(0..sent.len())),
        };
        Self { ids: batch.iter().map(|row| row.id).collect(), sent, parts, rejected }
    }

    /// Whether it is this batch's.
    pub(super) fn is_of(&self, batch: &[Row]) -> bool {
        batch.iter().map(|row| row.id).eq(self.ids.iter().copied())
    }

    /// Rows of the batch that are to be sent next.
    pub(super) fn next_rows<'a>(&self, batch: &'a [Row]) -> Option<Vec<&'a Row>> {
        let part = self.parts.last()?.clone();
        Some(self.sent[part].iter().map(|at| &batch[*at]).collect())
    }

    /// What the server has said of these.
    pub(super) fn advance(&mut self, word: ServerWord) {
        let Some(part) = self.parts.pop() else { return };
        match word {
            ServerWord::Taken(but) => {
                self.rejected.extend(but.into_iter().map(|(at, why)| (self.sent[part.start + at], why)));
            }
            ServerWord::Refused(why) if part.len() == 1 => self.rejected.push((self.sent[part.start], why)),
            ServerWord::Refused(_) => {
                let middle = part.start + part.len() / 2;
                self.parts.extend([middle..part.end, part.start..middle]);
            }
        }
    }

    /// What came of it, when nothing is left to be sent.
    pub(super) fn delivered(self) -> Delivered {
        if self.rejected.is_empty() { Delivered::All } else { Delivered::Some { rejected: self.rejected } }
    }
}
