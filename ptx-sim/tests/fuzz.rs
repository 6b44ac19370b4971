//! Broken and odd PTX: never a panic, neither in loading nor in running what still loads, and never much memory.

mod host;

use host::nvcc;
use proptest::prelude::*;
use ptx_sim::{Arg, Device, DeviceOptions, Module, Shape};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Most bytes that loading, or launching on one host thread, may hold at once.
const MEMORY: isize = 256 << 20;

/// Counts what each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    HELD.set(HELD.get() + bytes);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory that it manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Loads a text and runs what it holds. Any error will do.
fn survives(text: &str) {
    let before = HELD.get();
    PEAK.set(before);
    if let Ok(module) = Module::load(text) {
        for entry in module.entries() {
            // Small enough to end soon; what spins runs out of steps.
            let options = DeviceOptions { threads: 1, step_budget: 1000, ..DeviceOptions::default() };
            let mut device = Device::new(options);
            let args: Vec<Arg> = entry.params.iter().map(|p| argument(&mut device, p.size, p.float)).collect();
            let shape = Shape { grid: [2, 1, 1], block: [48, 1, 1], shared: 256 };
            let _ = device.launch(&module, &entry.name, shape, &args);
        }
    }
    let most = PEAK.get() - before;
    assert!(most < MEMORY, "{most} bytes for a text of {}", text.len());
}

/// A pointer to initialised memory, a small number, or zeros.
fn argument(device: &mut Device, size: usize, float: Option<bool>) -> Arg {
    match (size, float) {
        (8, Some(false)) => {
            let p = device.alloc(1024);
            device.write(p, &[1; 1024]).expect("just allocated");
            p.into()
        }
        (4, Some(false)) => 5i32.into(),
        (4, Some(true)) => 0.5f32.into(),
        _ => Arg::bytes(&vec![0; size.min(1 << 20)]),
    }
}

/// The programs' PTX, and each of their kernels with what all of them need.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut texts = Vec::new();
    for program in ["control", "elementwise", "gemm_bf16", "histogram", "mma", "scan", "shapes", "violations_sync"] {
        let text = nvcc::ptx(program);
        let (head, kernels) = text.split_once(".visible .entry").expect("a kernel");
        for kernel in kernels.split(".visible .entry") {
            let end = kernel.find("\n}").expect("the end of a kernel") + 2;
            texts.push(format!("{head}.visible .entry{}\n", &kernel[..end]));
        }
        texts.push(text);
    }
    texts
});

/// Words, numbers, strings, spaces and single marks: joined they are the text.
fn tokens(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        c if c.is_alphanumeric() || "_$%".contains(c) => 0,
        c if c.is_whitespace() => 1,
        _ => 2,
    };
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| class(c) != class(first)).unwrap_or(rest.len());
        let end = if class(first) == 2 { first.len_utf8() } else { end };
        out.push(&rest[..end]);
        rest = &rest[end..];
    }
    out
}

/// What means most where it is least expected.
const ODD: [&str; 40] = [
    "0",
    "1",
    "-1",
    "31",
    "32",
    "33",
    "255",
    "4095",
    "65536",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "18446744073709551616",
    "0x",
    "0f7FC00000",
    "0d7FF0000000000000",
    "0f3F8",
    "1U",
    "%r1",
    "%p1",
    "%rd1",
    "%f1",
    "%tid.x",
    "%laneid",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    ";",
    ".",
    "@",
    "!",
    ":",
    "\"",
    "<1000000000>",
    ".b8 big[1000000000];",
    ".reg .b32 %big<100000000>;",
];

/// One change of a text: what to do, where, and with what.
type Change = (u8, prop::sample::Index, prop::sample::Index);

fn change_tokens(text: &str, changes: &[Change]) -> String {
    let mut tokens = tokens(text);
    for (what, at, other) in changes {
        let (i, j) = (at.index(tokens.len()), other.index(tokens.len()));
        match what % 7 {
            0 => drop(tokens.remove(i)),
            1 => tokens.insert(i, tokens[j]),
            2 => tokens.swap(i, j),
            3 => tokens[i] = tokens[j],
            4 => tokens[i] = ODD[other.index(ODD.len())],
            5 => tokens.insert(i, ODD[other.index(ODD.len())]),
            // A run of tokens, an instruction perhaps, comes again elsewhere.
            _ => {
                let run: Vec<&str> = tokens[j..].iter().take(12).copied().collect();
                tokens.splice(i..i, run);
            }
        }
        if tokens.is_empty() {
            break;
        }
    }
    tokens.concat()
}

fn change_bytes(text: &str, changes: &[Change]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (what, at, other) in changes {
        let i = at.index(bytes.len());
        match what % 5 {
            0 => bytes[i] = other.index(256) as u8,
            1 => bytes[i] ^= 1 << other.index(8),
            2 => bytes.insert(i, other.index(256) as u8),
            3 => drop(bytes.drain(i..(i + other.index(40)).min(bytes.len()))),
            _ => bytes.truncate(i + 1),
        }
        if bytes.is_empty() {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Classes of registers that nvcc names.
const CLASSES: [&str; 6] = ["%p", "%rs", "%r", "%rd", "%f", "%fd"];

/// Every different form of instruction of the programs: opcode and operands, of registers only the class.
static FORMS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let class = |token: &str| match token.trim_end_matches(|c: char| c.is_ascii_digit()) {
        class if CLASSES.contains(&class) => class.to_owned(),
        _ if token.starts_with("$L") => "$".to_owned(),
        _ => token.to_owned(),
    };
    let mut forms = BTreeSet::new();
    for line in TEXTS.iter().flat_map(|text| text.lines()) {
        let Some((opcode, operands)) = line.trim().strip_suffix(';').and_then(|l| l.split_once(char::is_whitespace))
        else {
            continue;
        };
        let operands: Vec<String> = tokens(operands).into_iter().map(class).collect();
        // Other names than special registers are another kernel's.
        let named =
            operands.iter().any(|o| o.starts_with(|c: char| c.is_alphabetic() || "_%".contains(c)) && !known(o));
        if opcode.starts_with(|c: char| c.is_ascii_lowercase()) && !named {
            forms.insert(format!("{opcode} {}", operands.concat()));
        }
    }
    assert!(forms.len() > 300, "{} forms of instructions", forms.len());
    forms.into_iter().collect()
});

fn known(operand: &str) -> bool {
    CLASSES.contains(&operand)
        || ["%tid", "%ntid", "%ctaid", "%nctaid", "%laneid", "x", "y", "z", "_"].contains(&operand)
}

/// Which form, what its operands are drawn from, and whether it is under a predicate.
type Draw = (prop::sample::Index, Vec<u8>, u8);

fn instruction((form, draws, guard): &Draw) -> String {
    let mut draws = draws.iter().cycle().map(|&d| usize::from(d));
    let mut draw = |n: usize| draws.next().expect("it repeats") % n;
    let mut out = match guard {
        0..40 => "@%p1 ".to_owned(),
        40..60 => "@!%p2 ".to_owned(),
        _ => String::new(),
    };
    for token in tokens(&FORMS[form.index(FORMS.len())]) {
        match token {
            "$" => out += &format!("$L{}", draw(4)),
            _ if CLASSES.contains(&token) => out += &format!("{token}{}", draw(4)),
            _ if token.starts_with(|c: char| c.is_ascii_digit()) && draw(4) == 0 => out += ODD[draw(16)],
            _ => out += token,
        }
    }
    out + ";\n"
}

/// A kernel of those instructions, with labels among them. Registers start with something to work on.
fn kernel(instructions: &[Draw]) -> String {
    let mut out = String::from(
        ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n.reg .pred %p<4>;\n\
         .reg .b16 %rs<4>;\n.reg .b32 %r<4>;\n.reg .b64 %rd<4>;\n.reg .f32 %f<4>;\n.reg .f64 %fd<4>;\n\
         .shared .align 16 .b8 tile[1024];\n.local .align 16 .b8 frame[64];\nld.param.u64 %rd1, [p];\n\
         cvta.to.global.u64 %rd1, %rd1;\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, tile;\nsetp.gt.u32 %p1, %r1, 7;\n\
         mul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd3, %rd1, %rd2;\nshl.b32 %r3, %r1, 4;\n",
    );
    for (i, one) in instructions.iter().enumerate() {
        if i % 5 == 0 && i < 20 {
            out += &format!("$L{}:\n", i / 5);
        }
        out += &instruction(one);
    }
    for label in instructions.len().div_ceil(5).min(4)..4 {
        out += &format!("$L{label}:\n");
    }
    out + "ret;\n}\n"
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(any::<Change>(), 1..6)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(6000))]

    #[test]
    fn changed_tokens(text in any::<prop::sample::Index>(), changes in changes()) {
        survives(&change_tokens(&TEXTS[text.index(TEXTS.len())], &changes));
    }

    #[test]
    fn changed_bytes(text in any::<prop::sample::Index>(), changes in changes()) {
        survives(&change_bytes(&TEXTS[text.index(TEXTS.len())], &changes));
    }

    #[test]
    fn random_texts(text in "[.%@{}\\[\\]();,a-z0-9 \n\"/*<>+-]{0,300}") {
        survives(&text);
        survives(&format!(".version 9.0\n.target sm_80\n.address_size 64\n{text}"));
    }
}

proptest! {
    #![proptest_config(cases(30_000))]

    #[test]
    fn generated_kernels(
        instructions in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 8), any::<u8>()),
            1..24,
        ),
    ) {
        survives(&kernel(&instructions));
    }
}

/// The generator is worth nothing if what it makes is refused.
#[test]
fn every_form_of_instruction_loads() {
    let register = |token: &str| match token {
        "$" => "$L0".to_owned(),
        _ if CLASSES.contains(&token) => format!("{token}1"),
        _ => token.to_owned(),
    };
    for form in FORMS.iter() {
        let line: String = tokens(form).into_iter().map(register).collect();
        let text = kernel(&[]).replace("$L0:\n", &format!("{line};\n$L0:\n"));
        Module::load(&text).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}

/// Threads that run past the last instruction.
#[test]
fn no_end() {
    for body in
        ["", "mov.u32 %r1, 0;", "@%p1 ret;", "bra $end;\n$end:", "bra $on;\nret;\n$on:\nmov.u32 %r1, 0;", "bar.sync 0;"]
    {
        survives(&format!(
            ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n.reg .pred %p<2>;\n\
             .reg .b32 %r<2>;\nmov.u32 %r1, %tid.x;\nsetp.gt.u32 %p1, %r1, 7;\n{body}\n}}\n"
        ));
    }
}

/// What would take much memory if it were believed.
#[test]
fn huge_numbers() {
    let kernel = |body: &str| {
        format!(".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n{body}\nret;\n}}\n")
    };
    for body in [
        ".reg .b32 %r<4294967295>;",
        ".reg .b64 %r<1000000000>;",
        ".shared .b8 s[9223372036854775807];",
        ".local .b8 l[1000000000];",
        ".local .b8 l[100000][100000];",
        ".local .b64 l[4000000];",
        "bar.sync 0, 4294967295;",
    ] {
        survives(&kernel(body));
    }
    survives(".version 9.0\n.target sm_80\n.address_size 64\n.global .b8 x[1000000000000];\n");
    survives(&kernel(&"{".repeat(100_000)));
    survives(&format!(".version 9.0\n.global .b32 x[] = {};", "{".repeat(100_000)));
    survives(&kernel(&format!("add.s32 {}1;", "-".repeat(100_000))));
    survives(&kernel(&format!("mov.b32 %r1, {}1{};", "(".repeat(100_000), ")".repeat(100_000))));
}
