//! Words of Rust and of CUDA C++, and the value of constant expressions; both languages write them alike.

/// A word of a source.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or a keyword.
    Name(String),
    /// A number as it is written.
    Number(String),
    /// A string or a character; what it says does not matter.
    Quoted,
    /// Everything else.
    Sign(&'static str),
}

use Token::{Name, Number, Quoted, Sign};

const SIGNS: [&str; 36] = [
    "::", "<<", "##", "...", "..", "->", "=>", "{", "}", "(", ")", "[", "]", "<", ">", ",", ";", ":", "=", "*", "/",
    "+", "-", "&", "|", "!", "?", "%", "^", "~", "#", ".", "@", "$", "\\", "`",
];

impl Token {
    pub fn name(&self) -> Option<&str> {
        if let Name(name) = self { Some(name) } else { None }
    }

    pub fn is(&self, text: &str) -> bool {
        matches!(self, Name(t) if t == text) || matches!(self, Sign(t) if *t == text)
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        match self {
            Name(text) | Number(text) => text,
            Sign(text) => text,
            Quoted => "\"\"",
        }
    }
}

/// The words of a text, without comments, each with the byte where it starts.
pub fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(first) = text[at..].chars().next() {
        let (start, rest) = (at, &text[at..]);
        let word = |from: &str| from.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(from.len());
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").ok_or("a comment that does not end")? + 2;
        } else if let Some(quoted) = raw_string(rest) {
            at += quoted;
            all.push((start, Quoted));
        } else if first == '"' || rest.starts_with("b\"") || rest.starts_with("c\"") {
            at += rest.find('"').unwrap_or(0) + 1;
            while !text[at..].starts_with('"') {
                let escaped = text[at..].starts_with('\\');
                let next = text[at + usize::from(escaped)..].chars().next().ok_or("a string that does not end")?;
                at += usize::from(escaped) + next.len_utf8();
            }
            at += 1;
            all.push((start, Quoted));
        } else if first == '\'' {
            // A character, or a lifetime.
            let mut chars = rest[1..].chars();
            let (one, two) = (chars.next(), chars.next());
            at += match (one, two) {
                (Some('\\'), _) => 4 + rest[3..].find('\'').ok_or("a character that does not end")?,
                (Some(c), Some('\'')) => 2 + c.len_utf8(),
                _ => 1 + word(&rest[1..]),
            };
            all.push((start, Quoted));
        } else if first.is_ascii_digit() {
            at += number(rest);
            all.push((start, Number(text[start..at].into())));
        } else if first.is_alphabetic() || first == '_' {
            at += word(rest);
            all.push((start, Name(text[start..at].into())));
        } else {
            let sign = SIGNS.iter().find(|s| rest.starts_with(**s)).ok_or_else(|| format!("what is {first:?}?"))?;
            at += sign.len();
            all.push((start, Sign(sign)));
        }
    }
    Ok(all)
}

/// Bytes of a raw string of Rust that starts here.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let inside = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - inside.len() + inside.find(&end)? + end.len())
}

/// Bytes of a number that starts here: `1..n` is not one, `1e-5f` is.
fn number(text: &str) -> usize {
    let (bytes, mut at) = (text.as_bytes(), 0);
    let hex = text.starts_with("0x");
    while at < bytes.len() {
        let point = bytes[at] == b'.' && bytes.get(at + 1).is_none_or(|b| *b != b'.' && !b.is_ascii_alphabetic());
        let sign = matches!(bytes[at], b'-' | b'+') && matches!(bytes[at - 1], b'e' | b'E') && !hex;
        if !(bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || point || sign) {
            break;
        }
        at += 1;
    }
    at
}

/// What a constant is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Int(i128),
    Float(f32),
}

/// The value of a constant expression; `named` knows that of a name, and the length of the array of a name.
pub fn value(expression: &[Token], named: &dyn Fn(&str, bool) -> Result<Value, String>) -> Result<Value, String> {
    let mut at = 0;
    let value = sum(expression, &mut at, named, 0)?;
    match expression.get(at) {
        None => Ok(value),
        Some(t) => Err(format!("{:?} in a constant", t.text())),
    }
}

/// Operators by rank: `<<`, then `+ -`, then `* /`.
const RANKS: [&[&str]; 3] = [&["<<"], &["+", "-"], &["*", "/"]];

fn sum(
    tokens: &[Token],
    at: &mut usize,
    named: &dyn Fn(&str, bool) -> Result<Value, String>,
    rank: usize,
) -> Result<Value, String> {
    let Some(signs) = RANKS.get(rank) else { return operand(tokens, at, named) };
    let mut left = sum(tokens, at, named, rank + 1)?;
    while let Some(sign) = tokens.get(*at).and_then(|t| signs.iter().find(|s| t.is(s))) {
        *at += 1;
        let right = sum(tokens, at, named, rank + 1)?;
        let (Value::Int(a), Value::Int(b)) = (left, right) else { return Err("arithmetic of floats".into()) };
        let result = match *sign {
            "<<" => a.checked_shl(b as u32),
            "+" => a.checked_add(b),
            "-" => a.checked_sub(b),
            "*" => a.checked_mul(b),
            _ => a.checked_div(b),
        };
        left = Value::Int(result.ok_or("a constant that overflows")?);
    }
    Ok(left)
}

fn operand(
    tokens: &[Token],
    at: &mut usize,
    named: &dyn Fn(&str, bool) -> Result<Value, String>,
) -> Result<Value, String> {
    let token = tokens.get(*at).ok_or("a constant that ends early")?;
    *at += 1;
    let result = match token {
        Number(text) => literal(text)?,
        Sign("(") => {
            let inside = sum(tokens, at, named, 0)?;
            let closed = tokens.get(*at).is_some_and(|t| t.is(")"));
            *at += 1;
            closed.then_some(inside).ok_or("a parenthesis that stays open")?
        }
        Name(name) => {
            let length = [".", "len", "(", ")"];
            let is_length = tokens[*at..].len() >= 4 && tokens[*at..].iter().zip(length).all(|(t, l)| t.is(l));
            *at += if is_length { 4 } else { 0 };
            named(name, is_length)?
        }
        t => return Err(format!("{:?} in a constant", t.text())),
    };
    while tokens.get(*at).is_some_and(|t| t.is("as")) {
        if !matches!((result, tokens.get(*at + 1)), (Value::Int(_), Some(Name(t))) if t.starts_with(['u', 'i'])) {
            return Err("a cast that is not of integers".into());
        }
        *at += 2;
    }
    Ok(result)
}

fn literal(text: &str) -> Result<Value, String> {
    let plain = text.replace('_', "");
    let wrong = || format!("the number {text}");
    if let Some(hex) = plain.strip_prefix("0x") {
        return i128::from_str_radix(hex.trim_end_matches(['u', 'l']), 16).map(Value::Int).map_err(|_| wrong());
    }
    if plain.contains(['.', 'e']) {
        let digits = plain.strip_suffix("f32").unwrap_or(plain.trim_end_matches('f'));
        return digits.parse().map(Value::Float).map_err(|_| wrong());
    }
    let digits = plain.split(['u', 'i', 'l']).next().unwrap_or_default();
    digits.parse().map(Value::Int).map_err(|_| wrong())
}
