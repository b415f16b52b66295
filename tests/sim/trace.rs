//! What happened: the last events in words for whoever reads a failure, and a hash of all of them, which two runs of one
//! seed must share.

use std::collections::VecDeque;

/// Events that are kept in words.
const LAST: usize = 150;

#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) step: u64,
    hash: u64,
    last: VecDeque<String>,
}

impl Trace {
    pub(crate) const fn new() -> Self {
        Self { step: 0, hash: 0xcbf2_9ce4_8422_2325, last: VecDeque::new() }
    }

    pub(crate) fn note(&mut self, text: &str) {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.last.len() == LAST {
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
