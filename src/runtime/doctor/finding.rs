//! One line of the doctor: what is, what is needed and why, and the command that mends it.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FindingLevel {
    Fine,
    /// It works, and could be better.
    Note,
    /// It must be mended.
    Mend,
}

impl FindingLevel {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Mend => "MEND",
        }
    }
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DoctorFinding {
    pub(super) check: &'static str,
    pub(super) level: FindingLevel,
    /// What is.
    pub(super) is: String,
    /// What is needed, and why.
    pub(super) needed: String,
    /// The command.
    pub(super) mend: Option<String>,
}

impl DoctorFinding {
    pub(super) fn fine(check: &'static str, is: impl Into<String>, needed: impl Into<String>) -> Self {
        Self { check, level: FindingLevel::Fine, is: is.into(), needed: needed.into(), mend: None }
    }

    /// As it stands unless it suffices; then it has no command.
    pub(super) fn unless(self, suffices: bool, level: FindingLevel, mend: impl Into<String>) -> Self {
        if suffices { self } else { Self { level, mend: Some(mend.into()), ..self } }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "check": self.check,
            "level": self.level.word().to_lowercase(),
            "is": self.is,
            "needed": self.needed,
            "mend": self.mend,
        })
    }
}

/// Columns of a line.
const WIDTH: usize = 100;

/// All of them for people: a block each, in columns. Commands are not wrapped.
pub(super) fn to_text(findings: &[DoctorFinding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let indent = 5 + 1 + width + 2;
    let mut text = String::new();
    for finding in findings {
        let needed = if finding.needed.is_empty() { String::new() } else { format!("; {}", finding.needed) };
        let told = wrapped(&format!("{}{needed}", finding.is), WIDTH.saturating_sub(indent).max(40));
        for (at, line) in told.iter().enumerate() {
            let (word, check) = if at == 0 { (finding.level.word(), finding.check) } else { ("", "") };
            let _ = writeln!(text, "{word:<5} {check:width$}  {line}");
        }
        if let Some(mend) = &finding.mend {
            let _ = writeln!(text, "{:indent$}to mend it: {mend}", "");
        }
    }
    text
}

/// At blanks; a word that is longer than a line has one of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
