//! Tokens of a PTX text.

use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Word(&'a str),
    /// Starts with a digit; its meaning depends on where it stands (`9`, `0f3F800000`, `128B`).
    Number(&'a str),
    Text(&'a str),
    Mark(u8),
}

pub(crate) fn lex(text: &str) -> Result<Vec<(Token<'_>, u32)>> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() / 4);
    let (mut at, mut line) = (0, 1u32);
    let error = |line, message: &str| Error::Load { line, message: message.into() };
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
            }
            // A zero byte ends the texts that tools embed in binaries.
            b' ' | b'\t' | b'\r' | 0 => at += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end = text[at..].find("*/").ok_or_else(|| error(line, "comment without end"))?;
                line += text[at..at + end].matches('\n').count() as u32;
                at += end + 2;
            }
            b'"' => {
                let end = text[at + 1..].find('"').ok_or_else(|| error(line, "string without end"))?;
                out.push((Token::Text(&text[at + 1..at + 1 + end]), line));
                line += text[at..at + end].matches('\n').count() as u32;
                at += end + 2;
            }
            c if c.is_ascii_digit() => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                out.push((Token::Number(&text[start..at]), line));
            }
            c if is_word(c) => {
                while at < bytes.len() && (is_word(bytes[at]) || bytes[at].is_ascii_digit()) {
                    at += 1;
                }
                out.push((Token::Word(&text[start..at]), line));
            }
            c if c.is_ascii_punctuation() => {
                out.push((Token::Mark(c), line));
                at += 1;
            }
            _ => return Err(error(line, "unexpected character")),
        }
    }
    Ok(out)
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%')
}
