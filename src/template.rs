//! Conditions and templates that an operator writes about messages: Jinja's language, by `minijinja`.
//!
//! Owns: what is compiled when it is read, the filters that there are beside Jinja's own, and the bounds of one evaluation.
//! Always holds: an evaluation ends: it has so many instructions ([`TEMPLATE_FUEL`]) and writes so many bytes
//! ([`TEMPLATE_OUTPUT_MAX_BYTES`]). A name that is not there is an error and never an empty text. Nothing is loaded from files.
//! Leaves to others: which names there are (whoever gives the values).

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Expression, UndefinedBehavior, Value};

use crate::limits::{TEMPLATE_FUEL, TEMPLATE_OUTPUT_MAX_BYTES, TEMPLATE_RECURSION_MAX, TEMPLATE_SOURCE_MAX_BYTES};

/// What expressions are compiled in: it holds no templates.
static EXPRESSIONS: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// What a source is evaluated in once to find names of filters that are not there: names of values need not be.
static PROBE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = environment();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment
});

/// A text with `{{ ... }}` in it, compiled.
#[derive(Clone)]
pub struct Template {
    source: Arc<str>,
    /// Holds the one template.
    environment: Arc<Environment<'static>>,
}

/// An expression that is true or not, compiled.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    expression: Arc<Expression<'static, 'static>>,
}

/// An expression that comes to a value, compiled.
#[derive(Clone)]
pub struct Formula {
    source: Arc<str>,
    expression: Arc<Expression<'static, 'static>>,
}

/// What a template is called in the environment that holds it.
const NAME: &str = "template";

impl Template {
    /// Compiles a template; the error says what is wrong with it, in one line.
    pub fn parse(source: &str) -> Result<Self, String> {
        check_length(source)?;
        let mut environment = environment();
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| words(&error))?;
        check_names(PROBE.render_str(source, Value::UNDEFINED).map(drop))?;
        Ok(Self { source: source.into(), environment: Arc::new(environment) })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it comes to with these values.
    pub fn render(&self, values: &Value) -> Result<Vec<u8>, String> {
        let mut out = Bounded { bytes: Vec::new(), is_full: false };
        let template = self.environment.get_template(NAME).expect("it was added when it was compiled");
        let rendered = template.render_captured_to(values.clone(), &mut out).map(drop);
        match rendered {
            _ if out.is_full => Err(format!("it writes more than {TEMPLATE_OUTPUT_MAX_BYTES} bytes")),
            Ok(()) => Ok(out.bytes),
            Err(error) => Err(words(&error)),
        }
    }

    /// As [`Self::render`]; bytes that are no UTF-8 are an error.
    pub fn render_text(&self, values: &Value) -> Result<String, String> {
        String::from_utf8(self.render(values)?).map_err(|_| "it writes what is no UTF-8".to_owned())
    }
}

impl Condition {
    /// Compiles an expression; the error says what is wrong with it, in one line.
    pub fn parse(source: &str) -> Result<Self, String> {
        check_length(source)?;
        let expression = EXPRESSIONS.compile_expression_owned(source.to_owned()).map_err(|error| words(&error))?;
        check_names(PROBE.compile_expression(source).and_then(|probe| probe.eval(Value::UNDEFINED)).map(drop))?;
        Ok(Self { source: source.into(), expression: Arc::new(expression) })
    }

    /// Whether it is true of these values.
    pub fn holds(&self, values: &Value) -> Result<bool, String> {
        let value = self.expression.eval(values.clone()).map_err(|error| words(&error))?;
        if value.is_undefined() { Err("it comes to a name that is not there".to_owned()) } else { Ok(value.is_true()) }
    }
}

impl Formula {
    /// Compiles an expression; the error says what is wrong with it, in one line.
    pub fn parse(source: &str) -> Result<Self, String> {
        check_length(source)?;
        let expression = EXPRESSIONS.compile_expression_owned(source.to_owned()).map_err(|error| words(&error))?;
        Ok(Self { source: source.into(), expression: Arc::new(expression) })
    }

    /// What it comes to with these values; undefined where a member is not there.
    pub fn value(&self, values: &Value) -> Result<Value, String> {
        self.expression.eval(values.clone()).map_err(|error| words(&error))
    }
}

impl fmt::Debug for Formula {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Formula").field(&self.source).finish()
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Formula {}

impl fmt::Debug for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Template").field(&self.source).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Template {}

impl fmt::Debug for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Condition").field(&self.source).finish()
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Condition {}

fn check_length(source: &str) -> Result<(), String> {
    if source.len() > TEMPLATE_SOURCE_MAX_BYTES {
        return Err(format!("it is longer than {TEMPLATE_SOURCE_MAX_BYTES} bytes"));
    }
    Ok(())
}

/// A filter, a test or a function that is not there shows when it is evaluated: once with no values, before there are messages. What
/// else goes wrong then is because there are none.
fn check_names(evaluated: Result<(), Error>) -> Result<(), String> {
    let unknown = [ErrorKind::UnknownFilter, ErrorKind::UnknownTest, ErrorKind::UnknownFunction];
    match evaluated {
        Err(error) if unknown.contains(&error.kind()) => Err(words(&error)),
        _ => Ok(()),
    }
}

/// With the bounds, Jinja's own filters and ours.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.set_recursion_limit(TEMPLATE_RECURSION_MAX);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.add_filter("b64encode", |value: Value| match value.as_bytes() {
        Some(bytes) => STANDARD.encode(bytes),
        None => STANDARD.encode(value.to_string()),
    });
    // A topic as a subject of NATS, and as the name of a topic of Kafka: levels between dots, what such a name cannot have as `_`.
    environment.add_filter("nats_subject", |value: String| {
        as_levels(&value, |c| !c.is_whitespace() && !c.is_control() && !".*>".contains(c))
    });
    environment.add_filter("kafka_topic", |value: String| {
        as_levels(&value, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    });
    // A measurement, a tag or a field's name of InfluxDB's line protocol: what would end it is escaped, what no escape can hold goes.
    environment.add_filter("influx", |value: String| escaped(&value, &[',', '=', ' ', '\\']));
    // A text between quotes in that protocol.
    environment.add_filter("influx_text", |value: String| format!("\"{}\"", escaped(&value, &['"', '\\'])));
    environment
}

/// The levels of a topic between dots; `_` for each character that may not be there, and for a level that is empty.
fn as_levels(topic: &str, may_be: impl Fn(char) -> bool) -> String {
    let level = |level: &str| match level {
        "" => "_".to_owned(),
        level => level.chars().map(|c| if may_be(c) { c } else { '_' }).collect(),
    };
    topic.split('/').map(level).collect::<Vec<_>>().join(".")
}

/// With a backslash before each of these, and a space for each control character.
fn escaped(text: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

/// An error in one line, without the template around it.
fn words(error: &Error) -> String {
    let line = error.line().filter(|line| *line > 1).map_or_else(String::new, |line| format!(" (line {line})"));
    let detail = error.detail().map_or_else(String::new, |detail| format!(": {detail}"));
    format!("{}{detail}{line}", error.kind()).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > TEMPLATE_OUTPUT_MAX_BYTES {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn values() -> Value {
        context! { topic => "plant/7/temp", n => 31.5, name => "a b,c=d\n", list => vec![1, 2, 3], long => "x".repeat(9_000) }
    }

    #[test]
    fn conditions_are_true_or_not_and_a_missing_name_is_an_error() {
        for (source, expected) in [
            ("n > 30", Some(true)),
            ("n < 30 or topic == 'x'", Some(false)),
            ("(topic | split('/'))[1] == '7'", Some(true)),
            ("missing is defined and missing > 3", Some(false)),
            ("missing > 3", None),
            ("missing", None),
            ("topic.nothing", None),
        ] {
            let holds = Condition::parse(source).unwrap().holds(&values());
            assert_eq!(holds.as_ref().ok().copied(), expected, "{source}: {holds:?}");
        }
        assert!(Condition::parse("n >").is_err() && Condition::parse("n | nofilter").is_err_and(|e| !e.contains('\n')));
    }

    #[test]
    fn templates_write_text_and_escape_for_influx() {
        let render = |source: &str| Template::parse(source).unwrap().render_text(&values());
        assert_eq!(render("{{ topic }}={{ n }}").unwrap(), "plant/7/temp=31.5");
        assert_eq!(render("{{ name | influx }}").unwrap(), r"a\ b\,c\=d ");
        assert_eq!(render("{{ 'say \"x\"' | influx_text }}").unwrap(), r#""say \"x\"""#);
        assert_eq!(render("{{ {'t': topic} | tojson }}").unwrap(), r#"{"t": "plant/7/temp"}"#);
        assert_eq!(render("{{ topic | b64encode }}").unwrap(), "cGxhbnQvNy90ZW1w");
        assert!(render("{{ missing }}").unwrap_err().contains("undefined"));
        assert!(Template::parse("{{ topic").is_err() && Template::parse("{{ topic | nofilter }}").is_err());
    }

    #[test]
    fn formulas_come_to_values_and_what_is_not_there_is_undefined() {
        let value = |source: &str| Formula::parse(source).unwrap().value(&values());
        assert_eq!(value("n"), Ok(Value::from(31.5)));
        assert_eq!(value("(topic | split('/'))[2]"), Ok(Value::from("temp")));
        assert!(value("list[9]").unwrap().is_undefined() && value("missing").unwrap().is_undefined());
        assert!(value("missing.member").is_err() && Formula::parse("n +").is_err());
    }

    #[test]
    fn topics_become_subjects_and_topics_of_others() {
        let render = |source: &str| Template::parse(source).unwrap().render_text(&values()).unwrap();
        assert_eq!(render("x.{{ topic | nats_subject }}"), "x.plant.7.temp");
        assert_eq!(render("{{ 'a.b//*/c d/>/é' | nats_subject }}"), "a_b._._.c_d._.é");
        assert_eq!(render("{{ '/a.b/é' | kafka_topic }}"), "_.a_b._");
    }

    #[test]
    fn an_evaluation_is_bounded_in_time_and_in_bytes() {
        let render = |source: &str| Template::parse(source).unwrap().render(&values());
        let started = std::time::Instant::now();
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}";
        assert!(render(endless).unwrap_err().contains("fuel"));
        let long = "{% for a in range(999) %}{{ long }}{% endfor %}";
        assert!(render(long).is_err_and(|error| error.contains("bytes")));
        let deep = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}";
        assert!(render(deep).is_err());
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
        assert!(Template::parse(&"x".repeat(TEMPLATE_SOURCE_MAX_BYTES + 1)).is_err());
    }
}
