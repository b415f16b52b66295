//! Just enough of Rust's grammar to check the house rules: tokens without comments and strings, functions with their
//! length, and the paths that leave a module.
//!
//! It owns no rule. It reads any text without failing: what it does not understand becomes single characters.

/// One token and the line it starts on, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The identifier, lifetime or keyword whole; any other character by itself; a string or character as `"`.
    pub(crate) text: String,
    /// Line in the file, from 1.
    pub(crate) line: usize,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// As it is called, without what generics follow.
    pub(crate) name: String,
    /// The line of its `fn`.
    pub(crate) line: usize,
    /// From the line of `fn` to the line of the closing brace, both counted. A function inside counts for both.
    pub(crate) lines: usize,
}

/// A path of our own crate that starts at its root, as `crate::limits::X` or by way of `super`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RootPath {
    /// The module below the root that it names.
    pub(crate) module: String,
    /// Where.
    pub(crate) line: usize,
}

/// Cuts Rust source into tokens. Comments vanish, strings and characters become one `"`.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token() {
        tokens.push(token);
    }
    tokens
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn advance(&mut self, count: usize) {
        for _ in 0..count {
            self.line += usize::from(self.peek(0) == '\n');
            self.at += 1;
        }
    }

    fn next_token(&mut self) -> Option<Token> {
        self.skip_blanks_and_comments();
        if self.at >= self.chars.len() {
            return None;
        }
        let line = self.line;
        let text = match self.peek(0) {
            '"' => self.string(0),
            '\'' => self.character_or_lifetime(),
            c if c.is_alphabetic() || c == '_' => self.word_or_prefixed_string(),
            c if c.is_ascii_digit() => self.take_while(|c| c.is_alphanumeric() || c == '_'),
            c => {
                self.advance(1);
                c.to_string()
            }
        };
        Some(Token { text, line })
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            match (self.peek(0), self.peek(1)) {
                ('/', '/') => {
                    while self.at < self.chars.len() && self.peek(0) != '\n' {
                        self.advance(1);
                    }
                }
                ('/', '*') => self.skip_block_comment(),
                (c, _) if c.is_whitespace() => self.advance(1),
                _ => return,
            }
        }
    }

    /// Block comments nest in Rust.
    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.advance(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.advance(2);
                }
                _ => self.advance(1),
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.at < self.chars.len() && belongs(self.peek(0)) {
            self.advance(1);
        }
        self.chars[start..self.at].iter().collect()
    }

    /// A string whose opening quote is `prefix` characters ahead; backslash escapes.
    fn string(&mut self, prefix: usize) -> String {
        self.advance(prefix + 1);
        while self.at < self.chars.len() && self.peek(0) != '"' {
            let escaped = self.peek(0) == '\\';
            self.advance(1 + usize::from(escaped));
        }
        self.advance(1);
        "\"".to_owned()
    }

    /// `r"..."`, `r#"..."#` with `prefix` letters before the first `#` or quote.
    fn raw_string(&mut self, prefix: usize, hashes: usize) -> String {
        self.advance(prefix + hashes + 1);
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#') {
                self.advance(1 + hashes);
                break;
            }
            self.advance(1);
        }
        "\"".to_owned()
    }

    fn word_or_prefixed_string(&mut self) -> String {
        let letters = (0..3).take_while(|&n| self.peek(n).is_ascii_alphabetic()).count();
        let prefix: String = (0..letters).map(|n| self.peek(n)).collect();
        let hashes = self.chars[self.at + letters..].iter().take_while(|c| **c == '#').count();
        let quote = self.peek(letters + hashes) == '"';
        match prefix.as_str() {
            "r" | "br" | "cr" if quote => return self.raw_string(letters, hashes),
            "b" | "c" if quote && hashes == 0 => return self.string(letters),
            "b" if self.peek(1) == '\'' => {
                self.advance(1);
                return self.character_or_lifetime();
            }
            _ => {}
        }
        self.take_while(|c| c.is_alphanumeric() || c == '_')
    }

    /// `'a'` and `'\n'` are characters, `'a` is a lifetime: what follows the first letter tells.
    fn character_or_lifetime(&mut self) -> String {
        if self.peek(1) != '\\' && self.peek(2) != '\'' {
            self.advance(1);
            return format!("'{}", self.take_while(|c| c.is_alphanumeric() || c == '_'));
        }
        // The character after a backslash never closes the literal.
        self.advance(if self.peek(1) == '\\' { 3 } else { 2 });
        while self.at < self.chars.len() && self.peek(0) != '\'' {
            self.advance(1);
        }
        self.advance(1);
        "\"".to_owned()
    }
}

/// Every function that has a body.
pub(crate) fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(at + 1).filter(|name| token.text == "fn" && is_word(&name.text)) else { continue };
        if let Some(close) = body_end(&tokens[at..]) {
            let lines = tokens[at + close].line - token.line + 1;
            found.push(Function { name: name.text.clone(), line: token.line, lines });
        }
    }
    found
}

/// From `fn`: the index of the brace that closes its body; `None` for a declaration. Parentheses and brackets are
/// stepped over, because a default or an array length in them may hold braces or semicolons.
fn body_end(tokens: &[Token]) -> Option<usize> {
    let (mut braces, mut other) = (0_usize, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" => other += 1,
            ")" | "]" => other = other.saturating_sub(1),
            ";" if braces == 0 && other == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && other == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// A function's name and what it takes besides `self`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// As it is called, without what generics follow.
    pub(crate) name: String,
    /// The line of its `fn`.
    pub(crate) line: usize,
    /// The types of its parameters, their tokens without blanks between them.
    pub(crate) types: Vec<String>,
}

/// The functions of a source with their parameters, declarations in traits included.
pub(crate) fn signatures(tokens: &[Token]) -> Vec<Signature> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(at + 1).filter(|name| token.text == "fn" && is_word(&name.text)) else { continue };
        let Some(open) = parameters_begin(tokens, at + 2) else { continue };
        let types = parameters(&tokens[open..]).into_iter().filter_map(|parameter| {
            let colon = parameter.iter().position(|token| token.text == ":")?;
            let is_self = parameter[..colon].iter().any(|token| token.text == "self");
            (!is_self).then(|| parameter[colon + 1..].iter().map(|token| token.text.as_str()).collect())
        });
        found.push(Signature { name: name.text.clone(), line: token.line, types: types.collect() });
    }
    found
}

/// Where the parenthesis of the parameters opens: behind the name, or behind the generics, whose bounds may hold
/// parentheses of their own.
fn parameters_begin(tokens: &[Token], from: usize) -> Option<usize> {
    let mut angles = 0_i32;
    for at in from..tokens.len() {
        match tokens[at].text.as_str() {
            "<" => angles += 1,
            ">" if tokens[at - 1].text != "-" => angles -= 1,
            "(" if angles == 0 => return Some(at),
            "{" | ";" => return None,
            _ => {}
        }
    }
    None
}

/// What stands between the commas of the list that opens first.
fn parameters(tokens: &[Token]) -> Vec<&[Token]> {
    let (mut depth, mut begin, mut found) = (0_i32, 1, Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        let closes = match token.text.as_str() {
            "(" | "[" | "{" | "<" => {
                depth += 1;
                false
            }
            ">" if tokens[at - 1].text == "-" => false,
            ")" | "]" | "}" | ">" => {
                depth -= 1;
                depth == 0
            }
            _ => false,
        };
        if closes || (depth == 1 && token.text == ",") {
            found.push(&tokens[begin..at]);
            begin = at + 1;
        }
        if closes {
            break;
        }
    }
    found.retain(|parameter| !parameter.is_empty());
    found
}

/// A type that a source defines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TypeName {
    /// Without generics.
    pub(crate) name: String,
    /// Where.
    pub(crate) line: usize,
}

/// The structs, enums, unions, traits and aliases that a source defines; what an `impl` or trait calls a type of its own
/// is none.
pub(crate) fn type_names(tokens: &[Token]) -> Vec<TypeName> {
    let mut found = Vec::new();
    // For each open brace whether an `impl` or `trait` opened it.
    let (mut open, mut in_impl) = (Vec::new(), false);
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            // `-> impl Trait` and `x: impl Trait` open nothing.
            "impl" | "trait"
                if at == 0
                    || matches!(tokens[at - 1].text.as_str(), "}" | ";" | "]" | "{" | ")" | "pub" | "unsafe") =>
            {
                in_impl = true;
            }
            ";" => in_impl = false,
            "{" => open.push(std::mem::take(&mut in_impl)),
            "}" => {
                open.pop();
            }
            _ => {}
        }
        let defines = match token.text.as_str() {
            "struct" | "enum" | "union" | "trait" => true,
            "type" => !open.last().copied().unwrap_or(false),
            _ => false,
        };
        if let Some(name) = tokens.get(at + 1).filter(|name| defines && name.text.starts_with(char::is_uppercase)) {
            found.push(TypeName { name: name.text.clone(), line: name.line });
        }
    }
    found
}

/// The tokens without the inline modules and declarations that only a test build has.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let is_marked = tokens[at..].iter().zip(MARK).filter(|(token, mark)| token.text == *mark).count() == MARK.len();
        let item = at + MARK.len();
        if is_marked && tokens.get(item).is_some_and(|token| token.text == "mod") {
            let end = tokens[item..].iter().position(|token| token.text == "{" || token.text == ";").unwrap_or(0);
            at = item + end;
            if tokens.get(at).is_some_and(|token| token.text == "{") {
                at += body_end(&tokens[at..]).unwrap_or(tokens.len());
            }
        } else {
            kept.push(tokens[at].clone());
        }
        at += 1;
    }
    kept
}

/// Every path in a file of module depth `depth` (1 for `src/ids.rs` and `src/topic/mod.rs`, 2 for `src/topic/trie.rs`)
/// that names a module below the crate's root.
pub(crate) fn root_paths(tokens: &[Token], depth: usize) -> Vec<RootPath> {
    let mut found = Vec::new();
    // Open braces; true for those of an inline `mod`, each of which takes one more `super` to leave.
    let mut open: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => open.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => {
                open.pop();
            }
            // `$crate::` in a macro is our own crate too.
            "crate" if is_path_start(tokens, at) => collect_heads(&tokens[at + 1..], &mut found),
            "super" if is_path_start(tokens, at) => {
                let supers = 1 + super_links(&tokens[at + 1..]);
                let last = at + 3 * (supers - 1);
                if supers >= depth + open.iter().filter(|inline| **inline).count() {
                    collect_heads(&tokens[last + 1..], &mut found);
                }
                at = last;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether the word at `at` is the first of its path: `pub(crate)` is none, and neither is `a::super`.
fn is_path_start(tokens: &[Token], at: usize) -> bool {
    let follows =
        tokens.get(at + 1).is_some_and(|t| t.text == ":") && tokens.get(at + 2).is_some_and(|t| t.text == ":");
    let first = at == 0 || tokens[at - 1].text != ":" || tokens.get(at.wrapping_sub(2)).is_none_or(|t| t.text != ":");
    follows && first
}

/// How many more `::super` follow.
fn super_links(tokens: &[Token]) -> usize {
    tokens.chunks(3).take_while(|link| link.len() == 3 && link[0].text == ":" && link[2].text == "super").count()
}

/// After a root word: `::name`, or the first name of each branch of `::{a::b, c::{d, e}}`.
fn collect_heads(tokens: &[Token], found: &mut Vec<RootPath>) {
    let Some(next) = tokens.get(2) else { return };
    if next.text != "{" {
        if is_word(&next.text) {
            found.push(RootPath { module: next.text.clone(), line: next.line });
        }
        return;
    }
    let (mut braces, mut expects_head) = (0_usize, false);
    for token in &tokens[2..] {
        match token.text.as_str() {
            "{" => {
                braces += 1;
                expects_head = braces == 1;
            }
            "}" => {
                braces -= 1;
                if braces == 0 {
                    return;
                }
            }
            "," => expects_head = braces == 1,
            word => {
                if expects_head && is_word(word) {
                    found.push(RootPath { module: word.to_owned(), line: token.line });
                }
                expects_head = false;
            }
        }
    }
}

/// Whether it is an identifier or keyword.
pub(crate) fn is_word(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// The lines where the tokens `wanted` stand one after the other.
pub(crate) fn lines_of(tokens: &[Token], wanted: &[&str]) -> Vec<usize> {
    tokens
        .windows(wanted.len())
        .filter(|window| window.iter().zip(wanted).all(|(token, text)| token.text == *text))
        .map(|window| window[0].line)
        .collect()
}
