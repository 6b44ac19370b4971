//! PTX text to [`ast::Ast`].

pub(crate) mod ast;
mod body;
mod lex;

use crate::error::{Error, Result};
use ast::*;
use lex::Token;
use std::collections::HashMap;

/// Limits that keep a broken text from taking unbounded memory.
const MAX_REGS: usize = 60_000;
const MAX_VAR_BYTES: u64 = 1 << 30;
const MAX_DEPTH: usize = 64;

pub(crate) fn parse(text: &str) -> Result<Ast> {
    let tokens = lex::lex(text)?;
    let mut parser = Parser { tokens, at: 0, loc: 0, locs: vec![Loc::default()], known: HashMap::new() };
    let mut ast = parser.module()?;
    ast.locs = parser.locs;
    Ok(ast)
}

struct Parser<'a> {
    tokens: Vec<(Token<'a>, u32)>,
    at: usize,
    /// The last `.loc`, all of them, and the index of each file, line and column.
    loc: u32,
    locs: Vec<Loc>,
    known: HashMap<(u32, u32, u32), u32>,
}

impl<'a> Parser<'a> {
    fn line(&self) -> u32 {
        let at = self.at.min(self.tokens.len().saturating_sub(1));
        self.tokens.get(at).map_or(1, |t| t.1)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::Load { line: self.line(), message: message.into() })
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|t| t.0)
    }

    fn peek_at(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|t| t.0)
    }

    fn is(&self, mark: u8) -> bool {
        self.peek() == Some(Token::Mark(mark))
    }

    fn eat(&mut self, mark: u8) -> bool {
        let found = self.is(mark);
        self.at += found as usize;
        found
    }

    fn expect(&mut self, mark: u8) -> Result<()> {
        if self.eat(mark) { Ok(()) } else { self.fail(format!("expected '{}'", mark as char)) }
    }

    fn word(&mut self) -> Result<&'a str> {
        match self.peek() {
            Some(Token::Word(w)) => {
                self.at += 1;
                Ok(w)
            }
            _ => self.fail("expected a name"),
        }
    }

    fn directive(&mut self) -> Result<&'a str> {
        self.expect(b'.')?;
        self.word()
    }

    fn peek_directive(&self) -> Option<&'a str> {
        match (self.peek(), self.peek_at(1)) {
            (Some(Token::Mark(b'.')), Some(Token::Word(w))) => Some(w),
            _ => None,
        }
    }

    fn imm(&mut self) -> Result<Imm> {
        let minus = self.eat(b'-');
        let Some(Token::Number(text)) = self.peek() else { return self.fail("expected a number") };
        let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let value = match text.as_bytes() {
            [b'0', b'f' | b'F', ..] if text.len() == 10 => hex(&text[2..]).map(|v| Imm::F32(v as u32)),
            [b'0', b'd' | b'D', ..] if text.len() == 18 => hex(&text[2..]).map(Imm::F64),
            _ => {
                let digits = text.trim_end_matches(['U', 'u']);
                let value = match digits.as_bytes() {
                    [b'0', b'x' | b'X', ..] => hex(&digits[2..]),
                    [b'0', b'b' | b'B', ..] => u64::from_str_radix(&digits[2..], 2).ok(),
                    [b'0', _, ..] => u64::from_str_radix(&digits[1..], 8).ok(),
                    _ => digits.parse().ok(),
                };
                value.map(|v| Imm::Int(v as i64))
            }
        };
        let Some(value) = value else { return self.fail(format!("bad number {text}")) };
        self.at += 1;
        Ok(match value {
            Imm::Int(v) if minus => Imm::Int(v.wrapping_neg()),
            Imm::F32(v) if minus => Imm::F32(v ^ 1 << 31),
            Imm::F64(v) if minus => Imm::F64(v ^ 1 << 63),
            v => v,
        })
    }

    fn int(&mut self) -> Result<i64> {
        match self.imm()? {
            Imm::Int(v) => Ok(v),
            _ => self.fail("expected an integer"),
        }
    }

    fn module(&mut self) -> Result<Ast> {
        let mut ast = Ast::default();
        let mut version = false;
        while self.peek().is_some() {
            let external = self.linkage();
            match self.peek_directive() {
                Some("version") => {
                    self.at += 2;
                    self.int()?;
                    self.expect(b'.')?;
                    self.int()?;
                    version = true;
                }
                Some("target") => {
                    self.at += 2;
                    self.word()?;
                    while self.eat(b',') {
                        self.word()?;
                    }
                }
                Some("address_size") => {
                    self.at += 2;
                    if self.int()? != 64 {
                        return self.fail("unsupported address size: only 64 bits");
                    }
                }
                Some("file") => {
                    self.at += 2;
                    let number = self.int()? as u32;
                    let Some(Token::Text(name)) = self.peek() else { return self.fail("expected a file name") };
                    self.at += 1;
                    while self.eat(b',') {
                        self.int()?;
                    }
                    ast.files.insert(number, name.to_string());
                }
                Some("section") => self.section()?,
                Some("entry" | "func") => {
                    let func = self.func()?;
                    // A declaration may come before the definition.
                    match ast.funcs.iter().position(|f: &Func| f.name == func.name) {
                        None => ast.funcs.push(func),
                        Some(i) if ast.funcs[i].body.is_none() => ast.funcs[i] = func,
                        Some(_) if func.body.is_none() => {}
                        Some(_) => return self.fail(format!("{} is defined twice", func.name)),
                    }
                }
                Some("global" | "const" | "shared") => {
                    let vars = self.vars(external)?;
                    ast.vars.extend(vars);
                }
                Some(other) => return self.fail(format!("unsupported directive .{other}")),
                None => return self.fail("expected a directive"),
            }
        }
        if version { Ok(ast) } else { self.fail("no .version: this is not PTX") }
    }

    /// Skips `.visible` and the like; true for `.extern`.
    fn linkage(&mut self) -> bool {
        let mut external = false;
        while let Some(word @ ("visible" | "extern" | "weak" | "common")) = self.peek_directive() {
            external |= word == "extern";
            self.at += 2;
        }
        external
    }

    /// A debug section: no part of what the program does.
    fn section(&mut self) -> Result<()> {
        while !self.eat(b'{') {
            if self.peek().is_none() {
                return self.fail("section without a body");
            }
            self.at += 1;
        }
        while !self.eat(b'}') {
            if self.peek().is_none() {
                return self.fail("section without end");
            }
            self.at += 1;
        }
        Ok(())
    }

    fn func(&mut self) -> Result<Func> {
        let line = self.line();
        let entry = self.directive()? == "entry";
        let returns = if !entry && self.is(b'(') { self.params()? } else { Vec::new() };
        let name = self.word()?.to_string();
        let params = if self.is(b'(') { self.params()? } else { Vec::new() };
        let (mut max_threads, mut required) = (None, None);
        loop {
            match self.peek_directive() {
                Some(kind @ ("maxntid" | "reqntid")) => {
                    self.at += 2;
                    let dims = self.dims()?;
                    if kind == "maxntid" {
                        let product = dims.iter().try_fold(1u32, |a, &b| a.checked_mul(b));
                        max_threads = Some(product.unwrap_or(u32::MAX));
                    } else {
                        required = Some(dims);
                    }
                }
                Some("minnctapersm" | "maxnreg" | "maxnctapersm") => {
                    self.at += 2;
                    self.int()?;
                }
                Some("noreturn") => self.at += 2,
                Some("pragma") => self.pragma()?,
                Some(other) => return self.fail(format!("unsupported directive .{other}")),
                None => break,
            }
        }
        let body = if self.eat(b';') {
            None
        } else {
            self.loc = 0;
            self.expect(b'{')?;
            Some(self.body(0)?)
        };
        Ok(Func { name, entry, returns, params, body, max_threads, required, line })
    }

    fn dims(&mut self) -> Result<[u32; 3]> {
        let mut dims = [1; 3];
        for (i, d) in dims.iter_mut().enumerate() {
            if i > 0 && !self.eat(b',') {
                break;
            }
            *d = self.int()? as u32;
        }
        Ok(dims)
    }

    /// Pragmas advise the assembler (unrolling); none changes what a program means.
    fn pragma(&mut self) -> Result<()> {
        self.at += 2;
        let Some(Token::Text(_)) = self.peek() else { return self.fail("expected a string") };
        self.at += 1;
        self.expect(b';')
    }

    fn params(&mut self) -> Result<Vec<Var>> {
        self.expect(b'(')?;
        let mut out = Vec::new();
        while !self.eat(b')') {
            if !out.is_empty() {
                self.expect(b',')?;
            }
            if self.peek_directive() != Some("param") {
                return self.fail("unsupported parameter: only .param");
            }
            out.push(self.var(false)?.0);
        }
        Ok(out)
    }

    /// Variables of one declaration, `;` included.
    fn vars(&mut self, external: bool) -> Result<Vec<Var>> {
        let (first, space, ty, align) = self.var(external)?;
        let mut out = vec![first];
        while self.eat(b',') {
            out.push(self.named(external, space, ty, align)?);
        }
        self.expect(b';')?;
        Ok(out)
    }

    fn var(&mut self, external: bool) -> Result<(Var, VarSpace, Ty, usize)> {
        let space = match self.directive()? {
            "global" => VarSpace::Global,
            "const" => VarSpace::Const,
            "shared" => VarSpace::Shared,
            "local" => VarSpace::Local,
            "param" => VarSpace::Param,
            other => return self.fail(format!("unsupported state space .{other}")),
        };
        let (mut align, mut ty, mut lanes, mut float) = (0, None, 1, None);
        while let Some(word) = self.peek_directive() {
            self.at += 2;
            match word {
                "align" => {
                    let n = self.int()?;
                    if !(1..=4096).contains(&n) || n.count_ones() != 1 {
                        return self.fail("bad alignment");
                    }
                    align = n as usize;
                }
                "v2" => lanes = 2,
                "v4" => lanes = 4,
                // Facts about a pointer parameter that only optimisers use; `.ptr` may name a space.
                "ptr" | "managed" => {}
                "global" | "const" | "shared" | "local" if space == VarSpace::Param => {}
                _ => match Ty::parse(word) {
                    Some(t) if t != Ty::Pred => {
                        float = (!word.starts_with('b')).then(|| word.starts_with('f'));
                        ty = Some(t);
                    }
                    _ => return self.fail(format!("unsupported type or attribute .{word}")),
                },
            }
        }
        let Some(Ty::Bits(n)) = ty else { return self.fail("expected a type") };
        let ty = Ty::Bits(n);
        // `.ptr .align n` says how the target is aligned, not the parameter.
        let align = match space {
            VarSpace::Param if lanes == 1 && !self.array_follows() => n as usize,
            _ => align.max(n as usize * lanes),
        };
        let mut var = self.named(external, space, ty, align)?;
        var.size *= lanes;
        var.float = float.filter(|_| var.size == n as usize);
        Ok((var, space, ty, align))
    }

    fn array_follows(&self) -> bool {
        self.peek_at(1) == Some(Token::Mark(b'['))
    }

    fn named(&mut self, external: bool, space: VarSpace, ty: Ty, align: usize) -> Result<Var> {
        let line = self.line();
        let name = self.word()?.to_string();
        let mut size = ty.bytes() as u64;
        while self.eat(b'[') {
            let n = if self.is(b']') { 0 } else { self.int()? };
            self.expect(b']')?;
            size = size.saturating_mul(n.max(0) as u64);
        }
        if size > MAX_VAR_BYTES {
            return self.fail("variable too large");
        }
        let mut init = Vec::new();
        if self.eat(b'=') {
            self.initialiser(&mut init, 0)?;
            if (init.len() * ty.bytes()) as u64 > size {
                return self.fail("more initialisers than elements");
            }
        }
        Ok(Var { space, ty, align, name, size: size as usize, external, float: None, init, line })
    }

    fn initialiser(&mut self, out: &mut Vec<Init>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return self.fail("initialiser nested too deeply");
        }
        if self.eat(b'{') {
            while !self.eat(b'}') {
                self.initialiser(out, depth + 1)?;
                if !self.eat(b',') && !self.is(b'}') {
                    return self.fail("expected ','");
                }
            }
            return Ok(());
        }
        if let Some(Token::Word(name)) = self.peek() {
            self.at += 1;
            if name == "generic" && self.eat(b'(') {
                let name = self.word()?;
                self.expect(b')')?;
                let offset = if self.eat(b'+') { self.int()? } else { 0 };
                out.push(Init::Address(name.to_string(), offset));
                return Ok(());
            }
            return self.fail("unsupported initialiser: address without generic()");
        }
        let value = self.imm()?;
        out.push(Init::Value(value));
        Ok(())
    }
}
