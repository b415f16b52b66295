//! Rules about names: functions' parameters, types, words that were given up, and docs that only say the name again.
//!
//! Each returns offenders with the name that `known.txt` would list them under.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::rust::{Signature, Token, is_word, lines_of, signatures, tokens, type_names, without_tests};

/// The most parameters of a function, `self` aside.
pub(crate) const PARAMETERS_MAX: usize = 5;

/// Names of std that a type of ours may not have: a reader takes them for std's.
const STD: &str = "\
    Any Arc Arguments AsMut AsRef Atomic Barrier BTreeMap BTreeSet Borrow Bound Box Cell Chain Clone \
    ControlFlow Copy Cow Debug Default Deref Display Drop Duration Eq Error Fn FnMut FnOnce From Future Hash \
    HashMap HashSet Hasher Instant Into Iterator Mutex Never Once OnceCell Option Ord Ordering PartialEq \
    PartialOrd Path PathBuf Pin Range Rc RefCell Result RwLock Send Sized String Sync SystemTime Thread \
    ToString Vec VecDeque Waker Weak";

/// Words that nothing is called by any more, and what to say instead.
const GIVEN_UP: [(&str, &str); 29] = [
    ("Rider", "PublishDetails"),
    ("Crossing", "MessageInTransit"),
    ("crossing", "in transit, or what is meant of other shards"),
    ("charter", "module doc"),
    ("Moved", "HandedOver"),
    ("Arrival", "ConnectInfo"),
    ("arrival", "info, of a ConnectInfo"),
    ("Grant", "EffectiveOptions"),
    ("Spill", "PartialPacket"),
    ("greet", "take_connect_bytes"),
    ("greeting", "connecting"),
    ("part_with", "linger_with"),
    ("parting", "lingering"),
    ("partings", "lingering"),
    ("surplus", "place"),
    ("put_off", "deferred"),
    ("settle", "complete, apply_effects, drain or what it is here"),
    ("settled", "completed"),
    ("untold", "groups_to_update"),
    ("put_right", "correct_stale_pick"),
    ("say_memory", "report_queues_full"),
    ("owe", "add_delivery"),
    ("owed", "queued or pending"),
    ("wind_up", "finish_end"),
    ("weigh", "check"),
    ("bury", "add_tombstone"),
    ("janitor", "expiry_cursor"),
    ("let_go", "release"),
    ("fn pump", "send_queued"),
];

/// Those of them that mean something else in loadtest and in suites: a message is owed to a subscriber there, and an account settled.
const OF_SUITES: [&str; 6] = ["greet", "greeting", "settle", "settled", "owe", "owed"];

/// A finding under the name that a list would have it by.
pub(crate) type Named = (String, Finding);

/// Rule: whoever calls a function can keep its parameters in mind. What a tuple holds are several: it has no names.
pub(crate) fn many_parameters(path: &str, text: &str) -> Vec<Named> {
    let signatures = signatures(&tokens(text));
    let many = signatures.into_iter().filter(|signature| values(signature).len() > PARAMETERS_MAX);
    many.map(|signature| {
        let remedy = format!(
            "`{}` takes {} values, {PARAMETERS_MAX} are the end: make what travels together a struct with a name that means something",
            signature.name,
            values(&signature).len()
        );
        (format!("{path} {}", signature.name), Finding::new(path, signature.line, remedy))
    })
    .collect()
}

/// The types of what a caller passes, each element of a tuple for itself.
fn values(signature: &Signature) -> Vec<&str> {
    signature.types.iter().flat_map(|of| tuple_elements(of).unwrap_or_else(|| vec![of])).collect()
}

/// The elements of a tuple, or of a reference to one; `None` for any other type, and for `()`.
fn tuple_elements(of: &str) -> Option<Vec<&str>> {
    let of = of.trim_start_matches('&');
    let of = of.strip_prefix('\'').map_or(of, |of| of.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
    let inside = of.trim_start_matches("mut").strip_prefix('(')?.strip_suffix(')')?;
    let (mut depth, mut begin, mut before, mut elements) = (0_i32, 0, ' ', Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if before == '-' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 => {
                elements.push(&inside[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    elements.extend(Some(&inside[begin..]).filter(|last| !last.is_empty()));
    (!elements.is_empty()).then_some(elements)
}

/// Rule: two bools side by side can be swapped and nobody notices.
pub(crate) fn adjacent_bools(path: &str, text: &str) -> Vec<Named> {
    let signatures = signatures(&tokens(text));
    let swapped = signatures
        .into_iter()
        .filter(|signature| values(signature).windows(2).any(|pair| pair[0] == "bool" && pair[1] == "bool"));
    swapped
        .map(|signature| {
            let remedy = format!(
                "`{}` takes two bools side by side, which a caller can swap: make one of them an enum",
                signature.name
            );
            (format!("{path} {}", signature.name), Finding::new(path, signature.line, remedy))
        })
        .collect()
}

/// Rule: a type name stands once in the crate, whose files are given with their texts. Tests may repeat one.
pub(crate) fn repeated_types(texts: &[(String, String)]) -> Vec<Named> {
    let mut defined: BTreeMap<String, Vec<(&str, usize)>> = BTreeMap::new();
    for (path, text) in texts.iter().filter(|(path, _)| !is_test(path)) {
        for found in type_names(&without_tests(&tokens(text))) {
            defined.entry(found.name).or_default().push((path, found.line));
        }
    }
    let repeated = defined.into_iter().filter(|(_, places)| places.len() > 1);
    repeated
        .map(|(name, places)| {
            let first = format!("{}:{}", places[0].0, places[0].1);
            let (path, line) = places[1];
            let remedy = format!("`{name}` is a type at {first} already: name what is special about this one");
            (name, Finding::new(path, line, remedy))
        })
        .collect()
}

/// Fields that one reader holds in mind.
pub(crate) const FIELDS_MAX: usize = 20;

/// Rule: what changes itself has few fields; what is borrowed together is a part of its own. Figures and settings are as many as they are.
pub(crate) fn many_fields(texts: &[(String, String)]) -> Vec<Named> {
    let texts = texts.iter().filter(|(path, _)| !is_test(path));
    let texts: Vec<_> = texts.map(|(path, text)| (path, without_tests(&tokens(text)))).collect();
    let changing: BTreeSet<&str> = texts.iter().flat_map(|(_, tokens)| changed_by_methods(tokens)).collect();
    let mut found = Vec::new();
    for (path, tokens) in &texts {
        for (at, window) in tokens.windows(2).enumerate().filter(|(_, window)| window[0].text == "struct") {
            let name = &window[1];
            let body = tokens[at + 2..].iter().skip_while(|token| !matches!(token.text.as_str(), "{" | ";" | "("));
            let fields = fields(body);
            if fields > FIELDS_MAX && changing.contains(name.text.as_str()) {
                let remedy = format!(
                    "`{}` has {fields} fields, {FIELDS_MAX} are the end: what is borrowed together is a part of its own",
                    name.text
                );
                found.push((name.text.clone(), Finding::new(path, name.line, remedy)));
            }
        }
    }
    found
}

/// Named fields of a body that begins with its brace.
fn fields<'a>(body: impl Iterator<Item = &'a Token>) -> usize {
    let (mut depth, mut fields, mut before) = (0_usize, 0, "");
    for token in body {
        match token.text.as_str() {
            "{" | "(" | "[" | "<" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            ">" if before != "-" => depth = depth.saturating_sub(1),
            ":" if depth == 1 && before != ":" => fields += 1,
            // Half of a path of modules.
            ":" if depth == 1 => fields -= 1,
            _ => {}
        }
        before = &token.text;
        if depth == 0 {
            break;
        }
    }
    fields
}

/// The types that have a method which changes them.
fn changed_by_methods(tokens: &[Token]) -> Vec<&str> {
    let (mut of, mut found) = ("", Vec::new());
    for (at, window) in tokens.windows(4).enumerate() {
        let texts = [0, 1, 2, 3].map(|at| window[at].text.as_str());
        if texts[0] == "impl" {
            let head = tokens[at + 1..].iter().map(|token| token.text.as_str()).take_while(|text| *text != "{");
            let head: Vec<&str> = head.collect();
            let behind = head.iter().rposition(|text| *text == "for").map_or(0, |at| at + 1);
            of = head[behind..].iter().find(|text| text.starts_with(char::is_uppercase)).copied().unwrap_or("");
        }
        if matches!(texts, ["(", "&", "mut", "self"]) {
            found.push(of);
        }
    }
    found
}

/// Rule: no type of ours is called like one that every Rust reader knows.
pub(crate) fn shadowed_types(path: &str, text: &str) -> Vec<Named> {
    let types = type_names(&without_tests(&tokens(text)));
    let shadowing = types.into_iter().filter(|found| STD.split(' ').any(|name| name == found.name) && !is_test(path));
    shadowing
        .map(|found| {
            let remedy = format!("`{}` is std's name for something else: say what kind this one is", found.name);
            (found.name, Finding::new(path, found.line, remedy))
        })
        .collect()
}

/// Rule: words that `docs/LEXICON.md` gave up. A word of small letters is found as a part of any identifier, one with a
/// capital as a type's whole name, and several words as tokens in a row. Counted by word and module.
pub(crate) fn given_up_words(path: &str, text: &str) -> Vec<Named> {
    let is_of_src = path.starts_with("src/");
    let tokens = tokens(text);
    let parts: Vec<(String, usize)> = tokens
        .iter()
        .filter(|token| is_word(&token.text))
        .map(|token| (format!("_{}_", snake(&token.text)), token.line))
        .collect();
    let mut found = Vec::new();
    for (word, instead) in GIVEN_UP.into_iter().filter(|(word, _)| is_of_src || !OF_SUITES.contains(word)) {
        let lines = if word.contains(' ') {
            lines_of(&tokens, &word.split(' ').collect::<Vec<_>>())
        } else if word.starts_with(char::is_uppercase) {
            lines_of(&tokens, &[word])
        } else {
            let wanted = format!("_{word}_");
            parts.iter().filter(|(part, _)| part.contains(&wanted)).map(|(_, line)| *line).collect()
        };
        for line in lines {
            let remedy = format!("`{word}` was given up: the lexicon has {instead} for it (docs/LEXICON.md)");
            found.push((format!("{word} {}", module_of(path)), Finding::new(path, line, remedy)));
        }
    }
    found
}

/// Rule: a doc comment that only says the name again says nothing. Counted by module.
pub(crate) fn docs_that_repeat(path: &str, text: &str) -> Vec<Named> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let begin = at;
        while lines.get(at).is_some_and(|line| line.starts_with("///")) {
            at += 1;
        }
        if at > begin {
            let doc = lines[begin..at].iter().map(|line| line.trim_start_matches('/')).collect::<Vec<_>>().join(" ");
            let item = lines[at..].iter().find(|line| !line.starts_with("#[") && !line.starts_with("//"));
            let item = item.map(|item| tokens(item)).unwrap_or_default();
            if let Some(name) = item_name(&item)
                && repeats(&doc, &item)
            {
                let remedy = format!(
                    "the doc of `{name}` only says the name again: say its unit, range, who sets it or what `None` means"
                );
                found.push((module_of(path).to_owned(), Finding::new(path, begin + 1, remedy)));
            }
        }
        at += 1;
    }
    found
}

/// The name that a line of source gives to an item, field or variant.
fn item_name(tokens: &[Token]) -> Option<String> {
    const KEYWORDS: [&str; 12] =
        ["fn", "struct", "enum", "union", "trait", "type", "mod", "const", "static", "unsafe", "async", "mut"];
    let mut words = tokens.iter().peekable();
    while let Some(token) = words.next() {
        match token.text.as_str() {
            "pub" => {
                if words.peek().is_some_and(|token| token.text == "(") {
                    words.by_ref().find(|token| token.text == ")");
                }
            }
            text if KEYWORDS.contains(&text) => {}
            text => return is_word(text).then(|| text.to_owned()),
        }
    }
    None
}

/// Whether every word of `doc` that means something is in the item's line: in its name, or in the type behind it.
fn repeats(doc: &str, item: &[Token]) -> bool {
    const STOP: [&str; 34] = [
        "a", "an", "all", "and", "any", "are", "as", "at", "be", "by", "each", "every", "for", "from", "has", "have",
        "in", "is", "it", "its", "of", "on", "one", "our", "that", "the", "their", "this", "to", "was", "which",
        "whose", "with", "your",
    ];
    let plain = |word: &str| word.strip_suffix('s').filter(|word| word.len() > 2).unwrap_or(word).to_owned();
    let said = item.iter().take_while(|token| !matches!(token.text.as_str(), "{" | "="));
    let said: BTreeSet<String> =
        said.flat_map(|token| snake(&token.text).split('_').map(plain).collect::<Vec<_>>()).collect();
    let mut words = doc
        .split(|c: char| !c.is_alphanumeric())
        .flat_map(|word| snake(word).split('_').map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| word.len() > 1 && !STOP.contains(&word.as_str()))
        .peekable();
    words.peek().is_some() && words.all(|word| said.contains(&plain(&word)))
}

/// The name in small letters, its words separated by underscores.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
        before = c;
    }
    snake
}

/// The part of the repository that a path belongs to: a module of `src`, or the first folder.
pub(crate) fn module_of(path: &str) -> &str {
    let below_src = path.strip_prefix("src/").map(|below| below.find('/').map_or(path.len(), |at| at + "src/".len()));
    &path[..below_src.or_else(|| path.find('/')).unwrap_or(path.len())]
}

/// Whether a file holds nothing but tests.
pub(crate) fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/") || path.starts_with("tests/")
}
