//! A line of an export, and its fields: each is there and is what it should be, or the line is named.

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::error::DirectoryError;
use super::survey::SurveyError;
use crate::store::mosquitto_db::MosquittoDbError;

/// Why an export cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The directory that it is to be put into.
    #[error(transparent)]
    Store(#[from] SurveyError),
    /// It has data already.
    #[error("{0} has data already: an import needs a directory of its own")]
    Used(String),
    /// A file of Mosquitto's.
    #[error("the mosquitto.db cannot be read: {0}")]
    Mosquitto(#[from] MosquittoDbError),
    /// The lines.
    #[error("the export cannot be read: {0}")]
    Read(#[from] io::Error),
    /// There is none.
    #[error("the export is empty: its first line is of kind \"directory\"")]
    Empty,
    /// Nothing says that what was read is all.
    #[error(
        "the export was cut off: its last line is not of kind \"end\"; write it again, or append \
         {{\"kind\":\"end\"}} to import what there is"
    )]
    CutOff,
    /// What is wrong with one of them.
    #[error("line {0}: {1}")]
    Line(u64, String),
}

impl From<DirectoryError> for ImportError {
    fn from(error: DirectoryError) -> Self {
        Self::Store(error.into())
    }
}

/// Lines with their numbers, empty ones left out.
pub(super) struct NumberedLines<'a> {
    input: &'a mut dyn BufRead,
    number: u64,
}

impl<'a> NumberedLines<'a> {
    pub(super) fn of(input: &'a mut dyn BufRead) -> Self {
        Self { input, number: 0 }
    }

    pub(super) fn read_next(&mut self) -> Result<Option<ImportLine>, ImportError> {
        let mut text = String::new();
        loop {
            text.clear();
            if self.input.read_line(&mut text)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !text.trim().is_empty() {
                break;
            }
        }
        let value = serde_json::from_str(&text);
        let value = value.map_err(|error| ImportError::Line(self.number, format!("it is no JSON: {error}")))?;
        Ok(Some(ImportLine { number: self.number, value }))
    }
}

/// One object.
pub(super) struct ImportLine {
    number: u64,
    value: Value,
}

impl ImportLine {
    pub(super) fn error(&self, text: impl Into<String>) -> ImportError {
        ImportError::Line(self.number, text.into())
    }

    fn wrong(&self, name: &str, wanted: &str) -> ImportError {
        self.error(format!("{name:?} is missing or is not {wanted}"))
    }

    /// JSON as it is; null where it is not there.
    pub(super) fn value(&self, name: &str) -> &Value {
        &self.value[name]
    }

    pub(super) fn text(&self, name: &str) -> Result<&str, ImportError> {
        self.value[name].as_str().ok_or_else(|| self.wrong(name, "a text"))
    }

    /// `None` for null, and where it is not there.
    pub(super) fn maybe_text(&self, name: &str) -> Result<Option<&str>, ImportError> {
        if self.value[name].is_null() { Ok(None) } else { self.text(name).map(Some) }
    }

    /// A number up to `max`.
    pub(super) fn number(&self, name: &str, max: u64) -> Result<u64, ImportError> {
        let number = self.value[name].as_u64().filter(|number| *number <= max);
        number.ok_or_else(|| self.wrong(name, &format!("a number up to {max}")))
    }

    pub(super) fn number_u32(&self, name: &str) -> Result<u32, ImportError> {
        self.number(name, u32::MAX.into()).map(|number| number as u32)
    }

    /// `None` for null, and where it is not there.
    pub(super) fn maybe_number(&self, name: &str, max: u64) -> Result<Option<u64>, ImportError> {
        if self.value[name].is_null() { Ok(None) } else { self.number(name, max).map(Some) }
    }

    /// `false` where it is not there.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ImportError> {
        match &self.value[name] {
            Value::Null => Ok(false),
            value => value.as_bool().ok_or_else(|| self.wrong(name, "true or false")),
        }
    }

    /// None where it is not there.
    pub(super) fn list(&self, name: &str) -> Result<&[Value], ImportError> {
        match &self.value[name] {
            Value::Null => Ok(&[]),
            value => value.as_array().map(Vec::as_slice).ok_or_else(|| self.wrong(name, "a list")),
        }
    }

    /// From base64; empty where it is not there.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, ImportError> {
        let text = self.maybe_text(name)?.unwrap_or_default();
        STANDARD.decode(text).map_err(|_| self.wrong(name, "base64"))
    }
}
