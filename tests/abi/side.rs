//! What passes between host and kernels, as each side declares it: structures, constants, kernels. What a parser does not
//! understand is an error.

use crate::text::{Token, Value, tokens, value};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

/// Sources by path; shared, since tests change one of them at a time.
pub type Side = BTreeMap<String, Rc<File>>;

/// What a source declares.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub text: String,
    pub structs: Vec<Struct>,
    pub consts: Vec<Const>,
    pub entries: Vec<Entry>,
    /// Kernels of tiles of convolutions: how their names end, and pixels, channels, threads, stages.
    pub tiles: Vec<(String, [i128; 4])>,
}

#[derive(Clone, Debug)]
pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
    /// Bytes of the text between its braces.
    pub body: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    /// As it is written, and what it is.
    pub written: String,
    pub kind: Kind,
    /// Length of an array, as an expression.
    pub len: Option<Vec<Token>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    U32,
    U64,
    I32,
    F32,
    /// A pointer of C, a `Ptr` of Rust.
    Address,
    Struct(String),
}

#[derive(Clone, Debug)]
pub struct Const {
    /// The namespace or module that it is alone in with others of its kind; empty for the file.
    pub group: String,
    pub name: String,
    pub expression: Vec<Token>,
    /// Bytes of the expression in the text; of an enumerator, whose place may say it, those of the name.
    pub at: Range<usize>,
    pub form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    Number,
    Enumerator,
    /// Only the length can be asked for.
    Array,
}

/// A kernel: what each parameter is, pointers apart, by value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    pub params: Vec<Kind>,
}

/// The value of a constant expression of a file.
pub fn evaluate(side: &Side, file: &str, expression: &[Token]) -> Result<Value, String> {
    let files = BTreeSet::from([file.to_owned()]);
    value(expression, &|name, length| named(side, &files, name, length).map_err(|e| format!("{name}: {e}")))
}

/// The value of a constant, or of the length of an array: of one of the files, else of one in their folders (an op's has the one
/// of its launchers), else of any. If there are several, they must agree.
pub fn named(side: &Side, files: &BTreeSet<String>, name: &str, length: bool) -> Result<Value, String> {
    let folder = |path: &str| {
        let above = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        above.strip_suffix("/gpu").unwrap_or(above).to_owned() + "/"
    };
    let folders: BTreeSet<String> = files.iter().map(|f| folder(f)).collect();
    let tiers: [&dyn Fn(&str) -> bool; 3] =
        [&|f| files.contains(f), &|f| folders.iter().any(|folder| f.starts_with(folder)), &|_| true];
    let found = tiers.iter().find_map(|tier| {
        let files = side.iter().filter(|(path, _)| tier(path));
        let consts = files.flat_map(|(path, f)| f.consts.iter().map(move |c| (path, c)));
        let wanted = |c: &Const| c.name == name && c.group.is_empty() && (c.form == Form::Array) == length;
        let all: Vec<_> = consts.filter(|(_, c)| wanted(c)).collect();
        (!all.is_empty()).then_some(all)
    });
    let mut values = found.unwrap_or_default().into_iter().map(|(path, c)| evaluate(side, path, &c.expression));
    let first = values.next().ok_or("there is none")??;
    values.try_for_each(|v| if v? == first { Ok(()) } else { Err("there are several, which differ".to_owned()) })?;
    Ok(first)
}

/// A position in a source.
struct Reader<'a> {
    text: &'a str,
    all: &'a [(usize, Token)],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.all.get(self.at + ahead).map(|(_, t)| t)
    }

    fn is(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, w)| self.peek(i).is_some_and(|t| t.is(w)))
    }

    /// Takes the words, if they come next.
    fn take(&mut self, words: &[&str]) -> bool {
        let here = self.is(words);
        self.at += if here { words.len() } else { 0 };
        here
    }

    fn expect(&mut self, words: &[&str]) -> Result<(), String> {
        if self.take(words) { Ok(()) } else { Err(format!("{words:?} expected, not {}", self.context())) }
    }

    fn name(&mut self) -> Result<String, String> {
        let name = self.peek(0).and_then(Token::name).map(str::to_owned);
        self.at += 1;
        name.ok_or_else(|| format!("a name expected before {}", self.context()))
    }

    fn context(&self) -> String {
        let words = self.all[self.at.min(self.all.len())..].iter().take(8).map(|(_, t)| t.text());
        words.collect::<Vec<_>>().join(" ")
    }

    /// Byte where the next word starts.
    fn byte(&self) -> usize {
        self.all.get(self.at).map_or(self.text.len(), |(at, _)| *at)
    }

    /// Words up to one of `ends` that no parenthesis encloses, which is not taken.
    fn until(&mut self, ends: &[&str]) -> Result<Vec<Token>, String> {
        let (start, mut depth) = (self.at, 0usize);
        loop {
            let token = self.peek(0).ok_or("the text ends early")?;
            if depth == 0 && ends.iter().any(|e| token.is(e)) {
                return Ok(self.all[start..self.at].iter().map(|(_, t)| t.clone()).collect());
            }
            if ["(", "[", "{"].iter().any(|s| token.is(s)) {
                depth += 1;
            } else if [")", "]", "}"].iter().any(|s| token.is(s)) {
                depth = depth.checked_sub(1).ok_or_else(|| format!("{ends:?} expected, not {}", self.context()))?;
            }
            self.at += 1;
        }
    }
}

/// Parses Rust: every Pod structure, and the constants of files and of modules that have nothing else.
pub fn rust(text: &str) -> Result<File, String> {
    let all = tokens(text)?;
    let mut r = Reader { text, all: &all, at: 0 };
    let mut file = File { text: text.into(), ..File::default() };
    // What each open brace belongs to: a module's name, or something else.
    let mut open: Vec<Option<String>> = Vec::new();
    let mut table = String::new();
    // Names in the last `derive`: what is no Pod goes to no kernel.
    let mut derived = Vec::new();
    while r.peek(0).is_some() {
        if r.take(&["#", "[", "derive", "("]) {
            derived = r.until(&[")"])?;
        } else if r.take(&["#", "[", "repr", "(", "C", ")", "]"]) {
            if r.is(&["#", "[", "derive"]) {
                return Err("repr(C) comes after derive".into());
            }
            if std::mem::take(&mut derived).iter().any(|t| t.is("Pod")) {
                file.structs.push(rust_struct(&mut r)?);
            }
        } else if r.is(&["mod"]) && r.peek(2).is_some_and(|t| t.is("{")) {
            r.at += 1;
            open.push(Some(r.name()?));
            r.at += 1;
        } else if r.is(&["const"]) && r.peek(2).is_some_and(|t| t.is(":")) {
            r.at += 1;
            let name = r.name()?;
            r.at += 1;
            let kind = r.until(&["=", ";", ",", ">", ")"])?;
            table.clone_from(&name);
            let group: Option<Vec<String>> = open.iter().cloned().collect();
            if let (Some(group), true) = (group, r.take(&["="])) {
                file.consts.extend(rust_const(&mut r, group.join("::"), name, &kind)?);
            }
        } else if r.is(&["kernel", "("]) && matches!(r.peek(2), Some(Token::Number(_))) {
            r.at += 2;
            let row = r.until(&[")"])?;
            let numbers = row.split(|t| t.is(",")).map(int).collect::<Result<Vec<_>, _>>()?;
            let row = numbers.try_into().map_err(|_| "a kernel of other than four numbers")?;
            file.tiles.push((table.to_lowercase(), row));
        } else {
            if r.is(&["{"]) {
                open.push(None);
            } else if r.is(&["}"]) {
                open.pop().ok_or("a brace that was not opened")?;
            }
            r.at += 1;
        }
    }
    Ok(file)
}

fn int(expression: &[Token]) -> Result<i128, String> {
    match value(expression, &|name, _| Err(format!("the name {name} in a number")))? {
        Value::Int(v) => Ok(v),
        Value::Float(_) => Err("a float".into()),
    }
}

/// A constant from behind its `=` on, if it is a number or an array of a length that is written.
fn rust_const(r: &mut Reader, group: String, name: String, kind: &[Token]) -> Result<Option<Const>, String> {
    let (start, before) = (r.byte(), r.at);
    let expression = r.until(&[";"])?;
    let at = start..r.byte();
    r.at = before;
    let numeric = ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "isize", "f32", "Ptr"];
    Ok(match kind {
        [one] if numeric.iter().any(|n| one.is(n)) => Some(Const { group, name, expression, at, form: Form::Number }),
        [open, .., semicolon, len, _] if open.is("[") && semicolon.is(";") => {
            Some(Const { group, name, expression: vec![len.clone()], at, form: Form::Array })
        }
        _ => None,
    })
}

fn rust_struct(r: &mut Reader) -> Result<Struct, String> {
    while r.take(&["#", "["]) {
        r.until(&["]"])?;
        r.at += 1;
    }
    visibility(r)?;
    r.expect(&["struct"])?;
    let name = r.name()?;
    r.expect(&["{"])?;
    let (start, mut fields) = (r.byte(), Vec::new());
    while !r.is(&["}"]) {
        visibility(r)?;
        let name = r.name()?;
        r.expect(&[":"])?;
        let (written, len) = if r.take(&["["]) {
            let written = r.name()?;
            r.expect(&[";"])?;
            let len = r.until(&["]"])?;
            r.at += 1;
            (written, Some(len))
        } else {
            (r.name()?, None)
        };
        let kind = match &*written {
            "u32" => Kind::U32,
            "u64" => Kind::U64,
            "i32" => Kind::I32,
            "f32" => Kind::F32,
            "Ptr" => Kind::Address,
            other if other.starts_with(char::is_uppercase) => Kind::Struct(other.into()),
            other => return Err(format!("{name} of the type {other}, which kernels don't take")),
        };
        fields.push(Field { name, written, kind, len });
        if !r.take(&[","]) && !r.is(&["}"]) {
            return Err(format!("a field expected, not {}", r.context()));
        }
    }
    let body = start..r.byte();
    r.expect(&["}"])?;
    Ok(Struct { name, fields, body })
}

fn visibility(r: &mut Reader) -> Result<(), String> {
    if r.take(&["pub"]) && r.take(&["("]) {
        r.until(&[")"])?;
        r.at += 1;
    }
    Ok(())
}

/// A macro of C that takes arguments; the last of them may be `...`.
struct Macro {
    params: Vec<String>,
    body: Vec<(usize, Token)>,
}

/// Parses CUDA C++: structures of plain fields, constants of files, enumerations of namespaces, and kernels. It may use the
/// macros of `headers`.
pub fn cuda(text: &str, headers: &str) -> Result<File, String> {
    let mut macros = BTreeMap::new();
    without_directives(headers, &mut macros)?;
    let code = without_directives(text, &mut macros)?;
    let all = tokens(&code)?;
    let mut file = File { text: text.into(), ..File::default() };
    items(&mut Reader { text: &code, all: &all, at: 0 }, &macros, &mut file)?;
    Ok(file)
}

/// The text with blanks for directives, so that bytes stay where they are; its macros are added.
fn without_directives(text: &str, macros: &mut BTreeMap<String, Macro>) -> Result<String, String> {
    let (joined, mut code) = (text.replace("\\\n", "  "), String::new());
    for line in joined.split_inclusive('\n') {
        match line.trim_start().strip_prefix('#') {
            None => code += line,
            Some(directive) => {
                code += &" ".repeat(line.len() - 1);
                code += "\n";
                if let Some(rest) = directive.strip_prefix("define ") {
                    let (name, definition) = define(rest)?;
                    macros.insert(name, definition);
                } else if !["include ", "pragma "].iter().any(|d| directive.starts_with(d)) {
                    return Err(format!("the directive {directive:?}"));
                }
            }
        }
    }
    Ok(code)
}

fn define(rest: &str) -> Result<(String, Macro), String> {
    let all = tokens(rest)?;
    let mut r = Reader { text: rest, all: &all, at: 0 };
    let name = r.name()?;
    if !r.take(&["("]) || !rest[name.len()..].starts_with('(') {
        return Err(format!("#define {name} of a constant: constexpr has a type"));
    }
    let params = r.until(&[")"])?;
    let params = params.split(|t| t.is(",")).map(|p| p.first().map_or(String::new(), |t| t.text().into())).collect();
    Ok((name, Macro { params, body: all[r.at + 1..].to_vec() }))
}

fn items(r: &mut Reader, macros: &BTreeMap<String, Macro>, file: &mut File) -> Result<(), String> {
    while r.peek(0).is_some() {
        if r.take(&["struct"]) {
            let name = r.name()?;
            r.expect(&["{"])?;
            let start = r.byte();
            let body = r.until(&["}"])?;
            // What has methods or initialisers is the kernels' own.
            if let Ok(fields) = cuda_fields(&body) {
                file.structs.push(Struct { name, fields, body: start..r.byte() });
            }
            r.expect(&["}", ";"])?;
        } else if r.take(&["namespace"]) {
            let group = r.name()?;
            r.expect(&["{", "enum", ":", "u32", "{"])?;
            let mut next = 0;
            while !r.take(&["}", ";", "}"]) {
                let start = r.byte();
                let name = r.name()?;
                let at = start..start + name.len();
                if r.take(&["="]) {
                    next = int(&r.until(&[",", "}"])?)?;
                }
                let expression = vec![Token::Number(next.to_string())];
                file.consts.push(Const { group: group.clone(), name, expression, at, form: Form::Enumerator });
                next += 1;
                r.take(&[","]);
            }
        } else if r.take(&["constexpr"]) {
            let kind = r.name()?;
            if !["u32", "float"].contains(&&*kind) {
                return Err(format!("a constant of the type {kind}"));
            }
            while !r.take(&[";"]) {
                let name = r.name()?;
                r.expect(&["="])?;
                let start = r.byte();
                let expression = r.until(&[",", ";"])?;
                let at = start..r.byte();
                file.consts.push(Const { group: String::new(), name, expression, at, form: Form::Number });
                r.take(&[","]);
            }
        } else if r.is(&["const"]) || r.is(&["static"]) || r.is(&["enum"]) {
            return Err(format!("constants are constexpr, or enumerations of a namespace: {}", r.context()));
        } else if r.peek(0) == Some(&Token::Name("extern".into())) {
            r.at += 2;
            file.entries.push(entry(r)?);
        } else if let Some(definition) = r.peek(0).and_then(Token::name).and_then(|name| macros.get(name)) {
            r.at += 1;
            r.expect(&["("])?;
            let args = r.until(&[")"])?;
            r.at += 1;
            let args: Vec<Vec<Token>> = args.split(|t| t.is(",")).map(<[Token]>::to_vec).collect();
            file.tiles.extend(tile(&args)?);
            let expanded = expand(definition, &args);
            items(&mut Reader { text: "", all: &expanded, at: 0 }, macros, file)?;
        } else {
            // A function, a template or a typedef: up to its body's end.
            r.until(&["{", ";"])?;
            if r.take(&["{"]) {
                r.until(&["}"])?;
            }
            r.at += 1;
            r.take(&[";"]);
        }
    }
    Ok(())
}

/// `extern "C" __global__ void [__launch_bounds__(..)] name(..) {..}` from `__global__` on.
fn entry(r: &mut Reader) -> Result<Entry, String> {
    r.expect(&["__global__", "void"])?;
    if r.take(&["__launch_bounds__", "("]) {
        r.until(&[")"])?;
        r.at += 1;
    }
    let name = r.name()?;
    r.expect(&["("])?;
    let params = r.until(&[")"])?;
    r.at += 1;
    r.expect(&["{"])?;
    r.until(&["}"])?;
    r.at += 1;
    let param = |p: &[Token]| {
        if p.iter().any(|t| t.is("*")) {
            return Ok(Kind::Address);
        }
        let words: Vec<&str> =
            p.iter().map(Token::text).filter(|t| !["const", "__grid_constant__"].contains(t)).collect();
        match words[..] {
            [kind, _] => cuda_kind(kind),
            _ => Err(format!("the parameter {words:?}")),
        }
    };
    let params = params.split(|t| t.is(",")).map(param).collect::<Result<_, String>>()?;
    Ok(Entry { name, params })
}

fn cuda_kind(written: &str) -> Result<Kind, String> {
    Ok(match written {
        "u32" => Kind::U32,
        "u64" => Kind::U64,
        "int" => Kind::I32,
        "float" => Kind::F32,
        other if other.starts_with(char::is_uppercase) => Kind::Struct(other.into()),
        other => return Err(format!("the type {other}, which the host does not give")),
    })
}

/// `type a, b[N]; ..`, of plain types, structures, and pointers one to a statement.
fn cuda_fields(body: &[Token]) -> Result<Vec<Field>, String> {
    let mut fields = Vec::new();
    let (last, statements) =
        body.split(|t| t.is(";")).collect::<Vec<_>>().split_last().map(|(l, s)| (*l, s.to_vec())).ok_or("empty")?;
    if !last.is_empty() {
        return Err("a field that does not end".into());
    }
    for statement in statements {
        let star = statement.iter().position(|t| t.is("*"));
        let (written, kind, declared) = match (star, statement) {
            (Some(star), _) => {
                let written = statement[..=star].iter().map(Token::text).collect::<Vec<_>>().join(" ");
                (written, Kind::Address, &statement[star + 1..])
            }
            (None, [kind, declared @ ..]) => (kind.text().to_owned(), cuda_kind(kind.text())?, declared),
            (None, []) => return Err("an empty field".into()),
        };
        for one in declared.split(|t| t.is(",")) {
            let (name, len) = match one {
                [Token::Name(name)] => (name, None),
                [Token::Name(name), open, len @ .., close] if open.is("[") && close.is("]") => {
                    (name, Some(len.to_vec()))
                }
                _ => return Err(format!("the field {:?}", one.iter().map(Token::text).collect::<Vec<_>>())),
            };
            fields.push(Field { name: name.clone(), written: written.clone(), kind: kind.clone(), len });
        }
    }
    Ok(fields)
}

/// The tile of `conv_walk_PxC_T, Core<WM, WN, MW, NW, STAGES>`: MW x NW warps of WM pixels x WN channels.
fn tile(args: &[Vec<Token>]) -> Result<Option<(String, [i128; 4])>, String> {
    let Some([Token::Name(name)]) = args.first().map(|a| &a[..]) else { return Ok(None) };
    let Some(rest) = name.strip_prefix("conv_walk_") else { return Ok(None) };
    let rest = rest.strip_prefix("moments_").unwrap_or(rest);
    let numbers: Vec<i128> = args[1..].iter().flatten().filter_map(|t| int(std::slice::from_ref(t)).ok()).collect();
    let [wm, wn, mw, nw, stages] = numbers[..] else { return Err(format!("{name}: numbers {numbers:?}")) };
    let (pixels, channels) = (wm * mw, wn * nw);
    let suffix = rest.strip_prefix(&format!("{pixels}x{channels}_"));
    let suffix = suffix.ok_or_else(|| format!("{name} has {pixels}x{channels}"))?;
    Ok(Some((suffix.into(), [pixels, channels, 32 * mw * nw, stages])))
}

/// The macro's body with its arguments, and words that `##` joins as one.
fn expand(definition: &Macro, args: &[Vec<Token>]) -> Vec<(usize, Token)> {
    let mut out: Vec<(usize, Token)> = Vec::new();
    let mut join = false;
    for (_, token) in &definition.body {
        if token.is("##") {
            join = true;
            continue;
        }
        let param = definition.params.iter().position(|p| token.is(p) && p != "...");
        let words = param.and_then(|i| args.get(i)).map_or(vec![token.clone()], Clone::clone);
        for word in words {
            match out.last_mut() {
                Some((_, last)) if join => *last = Token::Name(format!("{}{}", last.text(), word.text())),
                _ => out.push((0, word)),
            }
            join = false;
        }
    }
    out
}
