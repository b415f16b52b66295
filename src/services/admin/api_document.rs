//! Holds `docs/API.md` against the description: `DUNLIN_BLESS=1 cargo test --lib services::admin::api_document` writes its calls and shapes anew.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use super::description::openapi;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/API.md");
const BEGIN: &str = "<!-- calls -->\n";
const END: &str = "<!-- end of calls -->\n";

/// Calls by their tags, then the shapes of what they take and answer.
fn calls(description: &Value) -> String {
    let mut text = String::new();
    for tag in list(&description["tags"]) {
        let name = words(&tag["name"]);
        let _ = writeln!(text, "\n## Calls: {name}\n\n{}.", words(&tag["description"]));
        for (path, operations) in entries(&description["paths"]) {
            for (method, operation) in entries(operations) {
                if list(&operation["tags"]).any(|own| own == &tag["name"]) {
                    call(&mut text, &format!("{} {path}", method.to_uppercase()), operation);
                }
            }
        }
    }
    text.push_str("\n## Shapes\n");
    for (name, schema) in entries(&description["components"]["schemas"]) {
        shape(&mut text, name, schema);
    }
    text.push('\n');
    text.replace("|  |", "| |")
}

fn call(text: &mut String, name: &str, operation: &Value) {
    let _ = writeln!(text, "\n### `{name}`\n\n{}. {}", ended(&operation["summary"]), who(operation));
    let more = words(&operation["description"]);
    if !more.is_empty() && more != words(&operation["summary"]) {
        let _ = writeln!(text, "\n{more}");
    }
    let parameters: Vec<&Value> = list(&operation["parameters"]).collect();
    if !parameters.is_empty() {
        text.push_str("\n| parameter | where | type | meaning |\n|---|---|---|---|\n");
    }
    for parameter in parameters {
        let needed = if parameter["required"] == true { ", needed" } else { "" };
        let (place, meaning) = (words(&parameter["in"]), cell(&parameter["description"]));
        let _ = writeln!(
            text,
            "| `{}` | {place}{needed} | {} | {meaning} |",
            words(&parameter["name"]),
            kind(&parameter["schema"])
        );
    }
    let bodies: Vec<String> = entries(&operation["requestBody"]["content"])
        .map(|(kind_of, body)| format!("{}, as `{kind_of}`", kind(&body["schema"])))
        .collect();
    if !bodies.is_empty() {
        let _ = writeln!(text, "\nTakes {}.", bodies.join(" or "));
    }
    text.push_str("\n| status | body | when |\n|---|---|---|\n");
    for (status, response) in entries(&operation["responses"]) {
        let bodies: Vec<String> = entries(&response["content"])
            .map(|(kind_of, body)| match kind(&body["schema"]) {
                shape if shape.is_empty() => format!("`{kind_of}`"),
                shape => shape,
            })
            .collect();
        let _ = writeln!(text, "| {status} | {} | {} |", bodies.join(" or "), cell(&response["description"]));
    }
}

/// Who may ask.
fn who(operation: &Value) -> &'static str {
    let is_open = list(&operation["security"]).any(|one| one.as_object().is_some_and(serde_json::Map::is_empty));
    match (is_open, operation["responses"].get("403").is_some()) {
        (true, _) => "Anybody may ask.",
        (false, true) => "For operators.",
        (false, false) => "For viewers and operators.",
    }
}

fn shape(text: &mut String, name: &str, schema: &Value) {
    let _ = writeln!(text, "\n### `{name}`\n");
    let meaning = words(&schema["description"]);
    if !meaning.is_empty() {
        let _ = writeln!(text, "{meaning}");
    }
    // One that is put together has what its parts have.
    let parts: Vec<&Value> = if schema["allOf"].is_array() { list(&schema["allOf"]).collect() } else { vec![schema] };
    for part in parts {
        if part["properties"].as_object().is_some_and(|fields| !fields.is_empty()) {
            fields(text, part);
        } else if part["$ref"].is_string() {
            let _ = writeln!(text, "\nHas the fields of {}, too.", kind(part));
        } else if !kind(part).is_empty() {
            let _ = writeln!(text, "\n{}", kind(part));
        }
    }
}

fn fields(text: &mut String, schema: &Value) {
    text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    let required: Vec<&Value> = list(&schema["required"]).collect();
    for (field, schema) in entries(&schema["properties"]) {
        let there = if required.iter().any(|name| *name == field) { "" } else { ", may be left out" };
        let _ = writeln!(text, "| `{field}` | {}{there} | {} |", kind(schema), cell(&schema["description"]));
    }
}

/// What a schema takes, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[`{name}`](#{})", name.to_lowercase());
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        let kinds: Vec<String> = list(&schema[choice]).map(kind).filter(|kind| kind != "null").collect();
        if !kinds.is_empty() {
            return kinds.join(" or ");
        }
    }
    if schema["enum"].is_array() {
        let values: Vec<String> = list(&schema["enum"]).map(|value| format!("`{}`", words(value))).collect();
        return values.join(", ");
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        Value::String(name) => vec![name],
        _ => Vec::new(),
    };
    match names.first() {
        Some(&"array") => format!("list of {}", kind(&schema["items"])),
        Some(&"object") if schema["additionalProperties"].is_object() => {
            format!("object of {}", kind(&schema["additionalProperties"]))
        }
        _ => names.join(" or "),
    }
}

/// Words as a cell of a table has them.
fn cell(value: &Value) -> String {
    words(value).replace('|', "\\|")
}

/// A sentence without its full stop.
fn ended(value: &Value) -> String {
    words(value).trim_end_matches('.').to_owned()
}

/// A text in one line; others as JSON has them.
fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[test]
fn the_document_has_every_call_as_the_code_has_it() {
    let description = serde_json::to_value(openapi()).unwrap();
    let expected = calls(&description);
    let operations: usize = entries(&description["paths"]).map(|(_, operations)| entries(operations).count()).sum();
    assert!(operations > 40, "{operations}");
    assert_eq!(
        expected.matches("\n### `").count(),
        operations + entries(&description["components"]["schemas"]).count()
    );
    let document = fs::read_to_string(DOCUMENT).expect("docs/API.md is there");
    let (head, rest) = document.split_once(BEGIN).expect("the place of the calls is marked");
    let (found, tail) = rest.split_once(END).expect("and its end");
    if std::env::var_os("DUNLIN_BLESS").is_some() {
        fs::write(DOCUMENT, format!("{head}{BEGIN}{expected}{END}{tail}")).expect("it can be written");
    } else {
        assert_eq!(
            found, expected,
            "`DUNLIN_BLESS=1 cargo test --lib services::admin::api_document` writes docs/API.md anew"
        );
    }
}
