//! One event as one line: text with `key=value` fields, or a JSON object with the same names.
//!
//! ```text
//! 2026-03-01T12:00:00.123456Z INFO  client_connected client=sensor-7 peer=10.0.0.9:51544 version=5.0 shard=1
//! {"time":"2026-03-01T12:00:00.123456Z","level":"info","event":"client_connected","client":"sensor-7",...}
//! ```
//!
//! Always holds: a line holds no control character and nothing that reorders or hides text on a terminal, whatever a
//! client supplied, and no field longer than [`limits::LOG_FIELD_MAX_BYTES`], the
//! broker's own words ([`limits::LOG_TEXT_MAX_BYTES`]) apart. A text value that holds a space, a quote
//! or an equals sign is quoted, so a client's id cannot pass for a field.

use std::fmt::{self, Write};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use crate::limits;

/// The shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `key=value` fields, for reading.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Writes events as lines; the clock can be exchanged for a test's.
pub(super) struct LineFormatter<T = SystemTime> {
    format: Format,
    /// The journal reads the line: its priority comes first, and the time is the journal's own.
    for_journal: bool,
    clock: T,
}

impl LineFormatter {
    pub(super) fn new(format: Format) -> Self {
        Self::with_clock(format, SystemTime)
    }
}

impl<T> LineFormatter<T> {
    pub(super) fn with_clock(format: Format, clock: T) -> Self {
        Self { format, for_journal: false, clock }
    }

    pub(super) fn for_journal(self, for_journal: bool) -> Self {
        Self { for_journal, ..self }
    }
}

impl<S, N, T> FormatEvent<S, N> for LineFormatter<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        if self.for_journal {
            write!(line, "<{}>", priority(level))?;
        }
        match self.format {
            Format::Text if self.for_journal => write!(line, "{:<5}", level.as_str())?,
            Format::Text => {
                self.clock.format_time(&mut line)?;
                write!(line, " {:<5}", level.as_str())?;
            }
            Format::Json => {
                line.write_str("{\"time\":\"")?;
                self.clock.format_time(&mut line)?;
                write!(line, "\",\"level\":\"{}\"", lower(level))?;
            }
        }
        let target = event.metadata().target();
        let mut fields = Fields { format: self.format, line: &mut line, head: true, result: Ok(()) };
        // What happened comes first, whatever the order in which it was recorded.
        event.record(&mut fields);
        fields.head = false;
        if target != "dunlin" && !target.starts_with("dunlin::") && target != "log" {
            fields.text("target", target);
        }
        event.record(&mut fields);
        fields.result?;
        line.write_str(if self.format == Format::Json { "}\n" } else { "\n" })
    }
}

/// As syslog(3) has it, which the journal takes off the line again (sd-daemon(3)).
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

const fn lower(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

struct Fields<'a, 'w> {
    format: Format,
    line: &'a mut Writer<'w>,
    /// The pass that writes what happened; the other writes everything else.
    head: bool,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    /// Whether this field belongs to this pass; its name as it is shown.
    fn name(&self, field: &Field) -> Option<&'static str> {
        let name = field.name();
        let head = matches!(name, "event" | "message");
        match name {
            _ if head != self.head => None,
            // What comes from the `log` crate brings its place along; only the target says something to an operator.
            "log.target" => Some("target"),
            "log.module_path" | "log.file" | "log.line" => None,
            name => Some(name),
        }
    }

    fn with(&mut self, field: &Field, write: impl FnOnce(&mut Self, &'static str) -> fmt::Result) {
        if let (Some(name), Ok(())) = (self.name(field), self.result) {
            self.result = write(self, name);
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        if self.result.is_ok() {
            self.result = self.write_text(name, value);
        }
    }

    fn write_text(&mut self, name: &str, value: &str) -> fmt::Result {
        let max_bytes = if name == OWN_WORDS { limits::LOG_TEXT_MAX_BYTES } else { limits::LOG_FIELD_MAX_BYTES };
        let (value, cut) = cut(value, max_bytes);
        match self.format {
            Format::Json => {
                write!(self.line, ",\"{name}\":\"")?;
                escape(self.line, Format::Json, value)?;
                if let Some(bytes) = cut {
                    write!(self.line, "...({bytes} bytes)")?;
                }
                self.line.write_char('"')
            }
            Format::Text => {
                self.line.write_char(' ')?;
                // The event stands alone, and so do words written for people.
                if !self.head {
                    write!(self.line, "{name}=")?;
                }
                let quote = !self.head && (cut.is_some() || !is_bare(value));
                if quote {
                    self.line.write_char('"')?;
                }
                escape(self.line, Format::Text, value)?;
                if let Some(bytes) = cut {
                    write!(self.line, "...({bytes} bytes)")?;
                }
                if quote { self.line.write_char('"') } else { Ok(()) }
            }
        }
    }

    fn write_plain(&mut self, name: &str, value: &dyn fmt::Display) -> fmt::Result {
        match self.format {
            Format::Json => write!(self.line, ",\"{name}\":{value}"),
            Format::Text => write!(self.line, " {name}={value}"),
        }
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.with(field, |fields, name| fields.write_text(name, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.with(field, |fields, name| fields.write_text(name, &format!("{value:?}")));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.with(field, |fields, name| fields.write_plain(name, &value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.with(field, |fields, name| fields.write_plain(name, &value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.with(field, |fields, name| fields.write_plain(name, &value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no NaN and no infinity.
        self.with(field, |fields, name| {
            if value.is_finite() {
                fields.write_plain(name, &value)
            } else {
                fields.write_text(name, &value.to_string())
            }
        });
    }
}

/// The field that is the broker's own words: what to do about it stands at their end.
const OWN_WORDS: &str = "text";

/// The part of `value` that is shown and, if that is not all, how long all of it is.
fn cut(value: &str, max_bytes: usize) -> (&str, Option<usize>) {
    if value.len() <= max_bytes {
        return (value, None);
    }
    let whole = |end: &usize| value.is_char_boundary(*end);
    let end = (0..=max_bytes).rev().find(whole).unwrap_or(0);
    (&value[..end], Some(value.len()))
}

/// Whether a text value needs no quotes.
fn is_bare(value: &str) -> bool {
    !value.is_empty() && !value.contains(|c: char| c == '=' || c.is_whitespace() || needs_escape(c))
}

/// Characters that are not shown as themselves: quote and backslash, controls (C0, DEL, C1), and what breaks lines, has
/// no width or turns the direction of writing, by which one id can look like another or a line like two.
fn needs_escape(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control() || matches!(c, '"' | '\\');
    }
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Writes `value` with escapes as JSON and Rust share them, where a format has no short one in the format's own.
fn escape(line: &mut dyn Write, format: Format, value: &str) -> fmt::Result {
    let mut rest = value;
    // Nearly every value is one stretch that needs nothing.
    while let Some((at, c)) = rest.char_indices().find(|&(_, c)| needs_escape(c)) {
        line.write_str(&rest[..at])?;
        match (c, format) {
            ('"' | '\\', _) => write!(line, "\\{c}")?,
            ('\n', _) => line.write_str("\\n")?,
            ('\r', _) => line.write_str("\\r")?,
            ('\t', _) => line.write_str("\\t")?,
            (c, Format::Text) => write!(line, "\\u{{{:x}}}", c as u32)?,
            (c, Format::Json) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(line, "\\u{unit:04x}")?;
                }
            }
        }
        rest = &rest[at + c.len_utf8()..];
    }
    line.write_str(rest)
}
