//! AST to flat instructions. Device functions are inlined where they are called, so that a kernel is one array.

mod arith;
mod data;
mod flow;
mod live;
mod operand;
mod registers;
mod sync;

use crate::device::Param;
use crate::error::{Error, Result};
use crate::inst::*;
use crate::parse::ast::{self, Ast, Body, Item, Operand, Ty, VarSpace};
use std::collections::HashMap;

const MAX_CODE: usize = 1 << 20;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
enum Symbol {
    Reg(Reg),
    /// Offset in the kernel's parameters.
    Param(u64),
    /// Offset in the thread's local memory that holds a parameter or result of a device function.
    CallParam(u64),
    Shared(u64),
    /// Index of a shared variable of the module, laid out where the kernel first uses it.
    ModuleShared(usize),
    Local(u64),
    Global(usize),
}

pub(crate) struct Decoder<'a> {
    ast: &'a Ast,
    kernel: Kernel,
    scopes: Vec<HashMap<&'a str, Symbol>>,
    /// Label to instruction, of the function being decoded.
    labels: HashMap<&'a str, u32>,
    tables: Vec<&'a HashMap<String, Vec<String>>>,
    /// Branches to patch: instruction, labels.
    fixups: Vec<(usize, Vec<String>)>,
    calls: Vec<&'a str>,
    /// Where `ret` goes in an inlined function: branches to patch.
    returns: Vec<usize>,
    cache32: HashMap<u32, u16>,
    cache64: HashMap<u64, u16>,
    line: u32,
    loc: u32,
    guard: Pred,
    shared_names: HashMap<&'a str, u64>,
    /// Alignment of the dynamic shared memory; 1 without.
    dynamic_align: usize,
}

pub(crate) fn fail<T>(line: u32, message: impl Into<String>) -> Result<T> {
    Err(Error::Load { line, message: message.into() })
}

pub(crate) fn decode<'a>(ast: &'a Ast, func: &'a ast::Func) -> Result<Kernel> {
    let kernel = Kernel {
        name: func.name.clone(),
        code: Vec::new(),
        n32: 0,
        n64: 0,
        np: 1,
        const32: Vec::new(),
        const64: Vec::new(),
        given: Vec::new(),
        specials: Vec::new(),
        cleared: Vec::new(),
        reach: Vec::new(),
        params: Vec::new(),
        param_bytes: 0,
        static_shared: 0,
        local_bytes: 0,
        max_threads: func.max_threads,
        required: func.required,
        traits: Traits::default(),
    };
    let mut d = Decoder {
        ast,
        kernel,
        scopes: vec![HashMap::new()],
        labels: HashMap::new(),
        tables: Vec::new(),
        fixups: Vec::new(),
        calls: Vec::new(),
        returns: Vec::new(),
        cache32: HashMap::new(),
        cache64: HashMap::new(),
        line: func.line,
        loc: 0,
        guard: ALWAYS,
        shared_names: HashMap::new(),
        dynamic_align: 1,
    };
    d.globals();
    for p in &func.params {
        let at = d.kernel.param_bytes.next_multiple_of(p.align);
        d.kernel.params.push(Param { name: p.name.clone(), at, size: p.size, float: p.float });
        d.kernel.param_bytes = at + p.size;
        d.scopes[0].insert(&p.name, Symbol::Param(at as u64));
    }
    let Some(body) = &func.body else { return fail(func.line, format!("entry {} has no body", func.name)) };
    d.function(body)?;
    d.guard = ALWAYS;
    d.emit(Op::Exit)?;
    d.kernel.static_shared = d.kernel.static_shared.next_multiple_of(d.dynamic_align);
    d.kernel.traits = traits(&d.kernel);
    flow::analyse(&mut d.kernel);
    Ok(d.kernel)
}

fn traits(kernel: &Kernel) -> Traits {
    let may_be = |space: Space, wanted: Space| space == Space::Generic || space == wanted;
    let mut t = Traits { shared_shift: 4, ..Traits::default() };
    for inst in &kernel.code {
        let (space, bytes, strong) = match &inst.op {
            Op::Ld(a) | Op::St(a) => (a.space, a.bytes as usize * a.regs.len(), a.strong),
            Op::Atom(a) => (a.space, a.bytes as usize, true),
            Op::CpAsync(cp) => (Space::Shared, cp.bytes as usize, false),
            Op::Bar(id, count, _) => {
                let whole = kernel.const32.contains(&(*id, 0)) && count.is_none();
                t.partial_barriers |= !whole;
                continue;
            }
            Op::WarpSync(members) => {
                t.warp_barriers = true;
                t.partial_warp_barriers |= !kernel.const32.contains(&(*members, !0));
                continue;
            }
            _ => continue,
        };
        t.communicates |= strong && may_be(space, Space::Global);
        if may_be(space, Space::Shared) {
            t.shared_shift = t.shared_shift.min(bytes.trailing_zeros());
        }
    }
    t
}

impl<'a> Decoder<'a> {
    fn err<T>(&self, message: impl Into<String>) -> Result<T> {
        fail(self.line, message)
    }

    /// Variables of the module.
    fn globals(&mut self) {
        for (i, v) in self.ast.vars.iter().enumerate() {
            let shared = v.space == VarSpace::Shared;
            self.scopes[0].insert(&v.name, if shared { Symbol::ModuleShared(i) } else { Symbol::Global(i) });
        }
    }

    fn shared(&mut self, v: &'a ast::Var) -> Result<Symbol> {
        if v.external {
            self.dynamic_align = self.dynamic_align.max(v.align).max(16);
            return Ok(Symbol::Shared(u64::MAX));
        }
        if let Some(&at) = self.shared_names.get(v.name.as_str()) {
            return Ok(Symbol::Shared(at));
        }
        let at = self.kernel.static_shared.next_multiple_of(v.align);
        self.kernel.static_shared = at + v.size;
        self.shared_names.insert(&v.name, at as u64);
        Ok(Symbol::Shared(at as u64))
    }

    fn local(&mut self, size: usize, align: usize) -> Result<u64> {
        let at = self.kernel.local_bytes.next_multiple_of(align.max(1));
        self.kernel.local_bytes = at + size;
        if self.kernel.local_bytes > 512 << 10 {
            return self.err("more than 512 KiB of local memory");
        }
        Ok(at as u64)
    }

    fn function(&mut self, body: &'a Body) -> Result<()> {
        let labels = std::mem::take(&mut self.labels);
        let fixups = std::mem::take(&mut self.fixups);
        let tables = std::mem::take(&mut self.tables);
        self.body(body)?;
        for (at, names) in std::mem::replace(&mut self.fixups, fixups) {
            let line = self.kernel.code[at].line;
            let mut targets = Vec::new();
            for name in &names {
                match self.labels.get(name.as_str()) {
                    Some(&t) => targets.push(t),
                    None => return fail(line, format!("unknown label {name}")),
                }
            }
            match &mut self.kernel.code[at].op {
                Op::Bra(t) => *t = targets[0],
                Op::Brx(_, t) => *t = targets,
                _ => unreachable!("only branches are patched"),
            }
        }
        self.labels = labels;
        self.tables = tables;
        Ok(())
    }

    fn body(&mut self, body: &'a Body) -> Result<()> {
        let mut scope = HashMap::new();
        for (name, ty) in &body.regs {
            scope.insert(name.as_str(), Symbol::Reg(self.fresh(*ty)?));
        }
        for v in &body.vars {
            self.line = v.line;
            let symbol = match v.space {
                VarSpace::Shared => self.shared(v)?,
                VarSpace::Local => Symbol::Local(self.local(v.size, v.align)?),
                VarSpace::Param => Symbol::CallParam(self.local(v.size, v.align.max(16))?),
                _ => return self.err("unsupported: global or constant variable in a function"),
            };
            scope.insert(v.name.as_str(), symbol);
        }
        self.scopes.push(scope);
        self.tables.push(&body.tables);
        for item in &body.items {
            match item {
                Item::Label(name, line) => {
                    if self.labels.insert(name, self.kernel.code.len() as u32).is_some() {
                        return fail(*line, format!("label {name} is defined twice"));
                    }
                }
                Item::Scope(inner) => self.body(inner)?,
                Item::Inst(inst) => {
                    (self.line, self.loc) = (inst.line, inst.loc);
                    self.guard = match &inst.guard {
                        Some((name, not)) => Pred(self.pred_reg(name)?, *not),
                        None => ALWAYS,
                    };
                    self.inst(&inst.op, &inst.args)?;
                }
            }
        }
        self.scopes.pop();
        self.tables.pop();
        Ok(())
    }

    fn inst(&mut self, key: &str, args: &'a [Operand]) -> Result<()> {
        let mods: Vec<&str> = key.split('.').collect();
        let found = self.control(key, &mods, args)?
            || self.arithmetic(key, &mods, args)?
            || self.data(&mods, args)?
            || self.synchronise(key, &mods, args)?;
        if found { Ok(()) } else { self.err(format!("unsupported instruction {key}")) }
    }

    fn control(&mut self, key: &str, mods: &[&str], args: &'a [Operand]) -> Result<bool> {
        match (key, args) {
            ("bra" | "bra.uni", [Operand::Name(label, 0)]) => {
                self.fixups.push((self.kernel.code.len(), vec![label.clone()]));
                self.emit(Op::Bra(0))?;
            }
            ("brx.idx" | "brx.idx.uni", [index, Operand::Name(table, 0)]) => {
                let index = self.r(index)?;
                let Some(labels) = self.tables.iter().rev().find_map(|t| t.get(table)) else {
                    return self.err(format!("unknown branch targets {table}"));
                };
                self.fixups.push((self.kernel.code.len(), labels.clone()));
                self.emit(Op::Brx(index, Vec::new()))?;
            }
            ("ret" | "ret.uni", []) if !self.calls.is_empty() => {
                self.returns.push(self.kernel.code.len());
                self.emit(Op::Bra(0))?;
            }
            ("ret" | "ret.uni" | "exit", []) => self.emit(Op::Exit)?,
            ("trap", []) => self.emit(Op::Trap)?,
            _ if mods[0] == "call" => self.call(args)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Inlines the callee: its parameters and results are the caller's `.param` variables themselves.
    fn call(&mut self, args: &'a [Operand]) -> Result<()> {
        let (rets, name, params): (&'a [Operand], _, &'a [Operand]) = match args {
            [Operand::List(r), Operand::Name(n, 0), Operand::List(p)] => (r, n, p),
            [Operand::List(r), Operand::Name(n, 0)] => (r, n, &[]),
            [Operand::Name(n, 0), Operand::List(p)] => (&[], n, p),
            [Operand::Name(n, 0)] => (&[], n, &[]),
            _ => return self.err("unsupported call: only direct calls"),
        };
        let Some(func) = self.ast.funcs.iter().find(|f| f.name == *name && !f.entry) else {
            return self.err(format!("unsupported call of {name}: no such function in the module"));
        };
        let Some(body) = &func.body else { return self.err(format!("unsupported call of external function {name}")) };
        if self.calls.contains(&name.as_str()) {
            return self.err(format!("unsupported recursive call of {name}"));
        }
        if rets.len() != func.returns.len() || params.len() != func.params.len() {
            return self.err(format!("call of {name} with the wrong number of parameters"));
        }
        let mut scope = HashMap::new();
        for (arg, var) in rets.iter().zip(&func.returns).chain(params.iter().zip(&func.params)) {
            let symbol = match arg {
                Operand::Name(n, 0) => self.lookup(n)?,
                _ => None,
            };
            match symbol {
                Some(s @ Symbol::CallParam(_)) => scope.insert(var.name.as_str(), s),
                _ => return self.err("unsupported call argument: only .param variables"),
            };
        }
        // A guarded call jumps over the body.
        let guard = self.guard;
        let skip = (guard.0 != 0).then_some(self.kernel.code.len());
        if skip.is_some() {
            self.guard = Pred(guard.0, !guard.1);
            self.emit(Op::Bra(0))?;
            self.guard = ALWAYS;
        }
        let visible = self.scopes.split_off(1);
        self.scopes.push(scope);
        let returns = std::mem::take(&mut self.returns);
        self.calls.push(name);
        self.function(body)?;
        self.calls.pop();
        let end = self.kernel.code.len() as u32;
        for at in std::mem::replace(&mut self.returns, returns).into_iter().chain(skip) {
            self.kernel.code[at].op = Op::Bra(end);
        }
        self.scopes.truncate(1);
        self.scopes.extend(visible);
        self.guard = ALWAYS;
        self.emit(Op::Nop)
    }

    fn emit(&mut self, op: Op) -> Result<()> {
        if self.kernel.code.len() >= MAX_CODE {
            return self.err("kernel too long, calls inlined");
        }
        let (class, flops) = arith::classify(&op);
        let (guard, line, loc) = (self.guard, self.line, self.loc);
        self.kernel.code.push(Inst { op, guard, class, flops, straight: 0, line, loc });
        Ok(())
    }

    fn fresh(&mut self, ty: Ty) -> Result<Reg> {
        let k = &mut self.kernel;
        let (count, make): (_, fn(u16) -> Reg) = match ty {
            Ty::Pred => (&mut k.np, Reg::P),
            Ty::Bits(8) => (&mut k.n64, Reg::D),
            _ => (&mut k.n32, Reg::R),
        };
        *count += 1;
        let slot = *count - 1;
        // The place after the last one is spare.
        if slot >= u16::MAX as usize { self.err("too many registers, calls inlined") } else { Ok(make(slot as u16)) }
    }

    fn lookup(&mut self, name: &str) -> Result<Option<Symbol>> {
        match self.scopes.iter().rev().find_map(|s| s.get(name).copied()) {
            Some(Symbol::ModuleShared(i)) => Ok(Some(self.shared(&self.ast.vars[i])?)),
            found => Ok(found),
        }
    }
}
