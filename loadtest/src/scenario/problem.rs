//! What is wrong with a scenario: collected while it is read, told at its end, all at once.

use std::{cell::RefCell, fmt, rc::Rc};

/// A mistake, and the line where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

/// The mistakes so far; every copy adds to the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Problems(Rc<RefCell<Vec<Problem>>>);

impl Problems {
    pub(super) fn push(&self, line: usize, text: impl Into<String>) {
        self.0.borrow_mut().push(Problem { line, text: text.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Lines that something is wrong with.
    pub(super) fn lines(&self) -> Vec<usize> {
        self.0.borrow().iter().map(|problem| problem.line).collect()
    }

    /// In the order of the file.
    pub(super) fn take(&self) -> Vec<Problem> {
        let mut all = std::mem::take(&mut *self.0.borrow_mut());
        all.sort();
        all.dedup();
        all
    }
}
