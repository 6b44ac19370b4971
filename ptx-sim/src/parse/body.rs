//! Bodies of functions: registers, labels, instructions, nested scopes.

use super::ast::*;
use super::lex::Token;
use super::{MAX_DEPTH, MAX_REGS, Parser};
use crate::error::Result;

impl Parser<'_> {
    /// The rest of a body whose `{` is read.
    pub(super) fn body(&mut self, depth: usize) -> Result<Body> {
        if depth > MAX_DEPTH {
            return self.fail("scopes nested too deeply");
        }
        let mut body = Body::default();
        loop {
            match self.peek() {
                None => return self.fail("body without end"),
                Some(Token::Mark(b'}')) => {
                    self.at += 1;
                    return Ok(body);
                }
                Some(Token::Mark(b'{')) => {
                    self.at += 1;
                    let inner = self.body(depth + 1)?;
                    body.items.push(Item::Scope(inner));
                }
                Some(Token::Mark(b'.')) => self.body_directive(&mut body)?,
                Some(Token::Word(name)) if self.peek_at(1) == Some(Token::Mark(b':')) => {
                    let line = self.line();
                    self.at += 2;
                    if self.peek_directive() == Some("branchtargets") {
                        self.at += 2;
                        let mut labels = vec![self.word()?.to_string()];
                        while self.eat(b',') {
                            labels.push(self.word()?.to_string());
                        }
                        self.expect(b';')?;
                        body.tables.insert(name.to_string(), labels);
                    } else {
                        body.items.push(Item::Label(name.to_string(), line));
                    }
                }
                Some(Token::Word(_) | Token::Mark(b'@')) => {
                    let inst = self.inst()?;
                    body.items.push(Item::Inst(inst));
                }
                // An empty statement.
                Some(Token::Mark(b';')) => self.at += 1,
                _ => return self.fail("expected an instruction"),
            }
        }
    }

    fn body_directive(&mut self, body: &mut Body) -> Result<()> {
        let external = self.linkage();
        match self.peek_directive() {
            Some("reg") => {
                self.at += 2;
                let name = self.directive()?;
                let Some(ty) = Ty::parse(name) else { return self.fail(format!("unsupported register type .{name}")) };
                loop {
                    let name = self.word()?;
                    if self.eat(b'<') {
                        let n = self.int()?;
                        self.expect(b'>')?;
                        if n < 0 || n as usize + body.regs.len() > MAX_REGS {
                            return self.fail("too many registers");
                        }
                        body.regs.extend((0..n).map(|i| (format!("{name}{i}"), ty)));
                    } else {
                        body.regs.push((name.to_string(), ty));
                    }
                    if !self.eat(b',') {
                        break;
                    }
                }
                self.expect(b';')
            }
            Some("local" | "shared" | "param" | "global" | "const") => {
                let vars = self.vars(external)?;
                body.vars.extend(vars);
                Ok(())
            }
            Some("loc") => {
                self.at += 2;
                let place = self.place()?;
                let mut caller = None;
                // `, function_name label+offset, inlined_at file line column`.
                while self.eat(b',') {
                    match self.word()? {
                        "function_name" => {
                            self.word()?;
                            if self.eat(b'+') {
                                self.int()?;
                            }
                        }
                        "inlined_at" => {
                            let at = self.place()?;
                            caller = Some(self.known.get(&at).copied().unwrap_or_else(|| self.locate(at, None)));
                        }
                        other => return self.fail(format!("unsupported part {other} of .loc")),
                    }
                }
                self.loc = self.locate(place, caller);
                Ok(())
            }
            Some("pragma") => self.pragma(),
            Some(other) => self.fail(format!("unsupported directive .{other}")),
            None => self.fail("expected a directive"),
        }
    }

    /// File, line and column.
    fn place(&mut self) -> Result<(u32, u32, u32)> {
        Ok((self.int()? as u32, self.int()? as u32, self.int()? as u32))
    }

    /// The index of a place.
    fn locate(&mut self, at: (u32, u32, u32), caller: Option<u32>) -> u32 {
        let own = self.locs.len() as u32;
        let loc = Loc { file: at.0, line: at.1, caller: caller.unwrap_or(own) };
        if let Some(&known) = self.known.get(&at)
            && (self.locs[known as usize].caller == loc.caller || caller.is_none())
        {
            return known;
        }
        self.locs.push(loc);
        self.known.insert(at, own);
        own
    }

    fn inst(&mut self) -> Result<Inst> {
        let line = self.line();
        let guard = if self.eat(b'@') {
            let not = self.eat(b'!');
            Some((self.word()?.to_string(), not))
        } else {
            None
        };
        let mut op = self.word()?.to_string();
        loop {
            if self.eat(b'.') {
                op.push('.');
            } else if self.is(b':') && self.peek_at(1) == Some(Token::Mark(b':')) {
                self.at += 2;
                op.push_str("::");
            } else {
                break;
            }
            match self.peek() {
                Some(Token::Word(w) | Token::Number(w)) => op.push_str(w),
                _ => return self.fail("expected a modifier"),
            }
            self.at += 1;
        }
        let mut args = Vec::new();
        if !self.is(b';') {
            loop {
                args.push(self.operand(0)?);
                if !self.eat(b',') {
                    break;
                }
            }
        }
        self.expect(b';')?;
        Ok(Inst { guard, op, args, line, loc: self.loc })
    }

    fn operand(&mut self, depth: usize) -> Result<Operand> {
        if depth > 2 {
            return self.fail("operands nested too deeply");
        }
        match self.peek() {
            Some(Token::Number(_) | Token::Mark(b'-')) => Ok(Operand::Imm(self.imm()?)),
            Some(Token::Mark(b'!')) => {
                self.at += 1;
                Ok(Operand::Not(self.word()?.to_string()))
            }
            Some(Token::Mark(b'[')) => {
                self.at += 1;
                let base = match self.peek() {
                    Some(Token::Word(w)) => {
                        self.at += 1;
                        Some(w.to_string())
                    }
                    _ => None,
                };
                let offset = match base {
                    None => self.int()?,
                    Some(_) => self.offset()?,
                };
                self.expect(b']')?;
                Ok(Operand::Addr(base, offset))
            }
            Some(Token::Mark(open @ (b'{' | b'('))) => {
                self.at += 1;
                let close = if open == b'{' { b'}' } else { b')' };
                let mut list = Vec::new();
                while !self.eat(close) {
                    if !list.is_empty() {
                        self.expect(b',')?;
                    }
                    list.push(self.operand(depth + 1)?);
                }
                Ok(if open == b'{' { Operand::Vec(list) } else { Operand::List(list) })
            }
            Some(Token::Word(_)) => {
                let mut name = self.word()?.to_string();
                if self.eat(b'.') {
                    name = format!("{name}.{}", self.word()?);
                }
                if self.eat(b'|') {
                    return Ok(Operand::Pair(name, self.word()?.to_string()));
                }
                Ok(Operand::Name(name, self.offset()?))
            }
            _ => self.fail("expected an operand"),
        }
    }

    fn offset(&mut self) -> Result<i64> {
        if self.eat(b'+') || self.is(b'-') { self.int() } else { Ok(0) }
    }
}
