//! What happened: the last events in words for whoever reads a failure, and a hash of all of them, which two runs of one
//! seed must share.

use std::collections::VecDeque;

/// Events that are kept in words, where `SIM_EVENTS` does not say another number.
const LAST: u64 = 150;

#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) step: u64,
    hash: u64,
    last: VecDeque<String>,
    keeps: usize,
}

impl Trace {
    pub(crate) fn new() -> Self {
        let keeps = crate::number("SIM_EVENTS", LAST) as usize;
        Self { step: 0, hash: 0xcbf2_9ce4_8422_2325, last: VecDeque::new(), keeps }
    }

    /// Bytes that are part of the history, but of no interest to whoever reads it.
    pub(crate) fn mix(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.mix(text.as_bytes());
        if self.last.len() >= self.keeps {
            self.last.pop_front();
        }
        self.last.push_back(format!("{:>7}  {text}", self.step));
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn last(&self) -> String {
        self.last.iter().fold(String::new(), |all, line| all + line + "\n")
    }
}
