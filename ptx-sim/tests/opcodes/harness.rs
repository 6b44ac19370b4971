//! Runs one instruction on many operands at once: thread i computes case i.

use ptx_sim::{Device, DeviceOptions, Error, Module, Shape};

/// What a result must be.
#[derive(Clone, Debug)]
pub enum Want {
    Bits(u64),
    /// Any NaN of an f64, whose payload the manual leaves open.
    Nan64,
    /// A value within an absolute or a relative error, whichever allows more, of the format with that many bits of
    /// exponent and mantissa.
    Near {
        value: f64,
        absolute: f64,
        relative: f64,
        format: super::exact::Format,
    },
}

type Oracle = Box<dyn Fn(&[u64]) -> Want>;

/// An instruction with operands to run it on.
pub struct Spec {
    /// Text with `$0`, `$1`, ... for destinations, then sources; without a `$`, the operands follow in that order.
    pub text: String,
    pub out: String,
    pub ins: Vec<String>,
    pub cases: Vec<Vec<u64>>,
    pub want: Oracle,
}

const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";
const BLOCK: usize = 128;

fn class(ty: &str) -> &'static str {
    match ty {
        "pred" => "pred",
        t if t.ends_with("x2") => "b32",
        t if t.ends_with("64") => "b64",
        t if t.ends_with("32") => "b32",
        _ => "b16",
    }
}

/// A kernel that loads the sources of its case, runs `text` and stores the destinations.
pub fn kernel(text: &str, outs: &[&str], ins: &[&str]) -> String {
    let mut ptx = format!("{HEAD}.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n");
    ptx += ".reg .b32 %i, %j, %n;\n.reg .b64 %in, %out;\n";
    let types: Vec<&str> = outs.iter().chain(ins).map(|t| class(t)).collect();
    for (k, ty) in types.iter().enumerate() {
        ptx += &format!(".reg .{ty} %x{k};\n");
    }
    ptx += "mov.u32 %i, %tid.x;\nmov.u32 %j, %ctaid.x;\nmov.u32 %n, %ntid.x;\nmad.lo.s32 %i, %j, %n, %i;\n";
    ptx += "ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\n";
    ptx +=
        &format!("mad.wide.u32 %in, %i, {}, %in;\nmad.wide.u32 %out, %i, {}, %out;\n", 8 * ins.len(), 8 * outs.len());
    for k in 0..ins.len() {
        let at = 8 * k;
        let k = k + outs.len();
        ptx += &match types[k] {
            "pred" => format!("ld.global.b32 %j, [%in+{at}];\nsetp.ne.u32 %x{k}, %j, 0;\n"),
            ty => format!("ld.global.{ty} %x{k}, [%in+{at}];\n"),
        };
    }
    let mut line = text.to_string();
    if text.contains('$') {
        for k in (0..types.len()).rev() {
            line = line.replace(&format!("${k}"), &format!("%x{k}"));
        }
    } else {
        line += " ";
        line += &(0..types.len()).map(|k| format!("%x{k}")).collect::<Vec<_>>().join(", ");
    }
    ptx += &format!("{line};\n");
    for (k, ty) in types[..outs.len()].iter().enumerate() {
        ptx += &match *ty {
            "pred" => format!("selp.b32 %j, 1, 0, %x{k};\nst.global.b32 [%out+{}], %j;\n", 8 * k),
            ty => format!("st.global.{ty} [%out+{}], %x{k};\n", 8 * k),
        };
    }
    ptx + "ret;\n}\n"
}

/// Results of one instruction, or several, for each case. The one place that knows how a kernel is launched.
pub fn eval(text: &str, outs: &[&str], ins: &[&str], cases: &[Vec<u64>]) -> Result<Vec<Vec<u64>>, Error> {
    let module = Module::load(&kernel(text, outs, ins))?;
    let mut device = Device::new(DeviceOptions::default());
    // All warps are whole: the last case fills up.
    let n = cases.len().next_multiple_of(BLOCK);
    let mut bytes = Vec::new();
    for i in 0..n {
        let case = cases.get(i).or(cases.last()).expect("at least one case");
        assert_eq!(case.len(), ins.len(), "{text}");
        bytes.extend(case.iter().flat_map(|v| v.to_le_bytes()));
    }
    let (input, output) = (device.alloc(bytes.len().max(8)), device.alloc(8 * n * outs.len()));
    device.write(input, &bytes)?;
    device.write(output, &vec![0; 8 * n * outs.len()])?;
    device.launch(&module, "k", Shape::line((n / BLOCK) as u32, BLOCK as u32), &[input.into(), output.into()])?;
    let mut raw = vec![0; 8 * n * outs.len()];
    device.read(output, &mut raw)?;
    let words: Vec<u64> = raw.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("8 bytes"))).collect();
    Ok(words.chunks_exact(outs.len()).take(cases.len()).map(<[u64]>::to_vec).collect())
}

/// Whether a text with these operands loads.
pub fn loads(text: &str, outs: &[&str], ins: &[&str]) -> bool {
    match Module::load(&kernel(text, outs, ins)) {
        Ok(_) => true,
        Err(Error::Load { message, .. }) => {
            assert!(
                ["unsupported", "expected", "too narrow", "takes two"].iter().any(|m| message.contains(m)),
                "{text}: {message}"
            );
            false
        }
        Err(e) => panic!("{text}: {e}"),
    }
}

impl Want {
    fn met(&self, got: u64) -> bool {
        match self {
            Want::Bits(v) => got == *v,
            Want::Nan64 => f64::from_bits(got).is_nan(),
            Want::Near { value, absolute, relative, format } => {
                // Infinity stands for the first number that the format lacks.
                let top = 2f64.powi(2 - format.1);
                let (got, value) = (format.value(got).clamp(-top, top), value.clamp(-top, top));
                let error = (got - value).abs();
                got == value || error <= *absolute || error <= *relative * value.abs()
            }
        }
    }
}

/// Runs a spec; panics at the first wrong result.
pub fn check(spec: &Spec) {
    let ins: Vec<&str> = spec.ins.iter().map(String::as_str).collect();
    let got = eval(&spec.text, &[&spec.out], &ins, &spec.cases).unwrap_or_else(|e| panic!("{}: {e}", spec.text));
    for (case, got) in spec.cases.iter().zip(&got) {
        let want = (spec.want)(case);
        assert!(want.met(got[0]), "{} of {case:x?}: {:#x}, not {want:x?}", spec.text, got[0]);
    }
}

/// All combinations of one value from each list.
pub fn cross(lists: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let mut all = vec![Vec::new()];
    for list in lists {
        all = all.iter().flat_map(|c| list.iter().map(move |v| [c.clone(), vec![*v]].concat())).collect();
    }
    all
}

/// `a{b,c}d` as `abd` and `acd`, for all braces.
pub fn expand(pattern: &str) -> Vec<String> {
    let Some((head, rest)) = pattern.split_once('{') else { return vec![pattern.to_string()] };
    let (choices, tail) = rest.split_once('}').expect("a closing brace");
    choices.split(',').flat_map(|c| expand(&format!("{head}{c}{tail}"))).collect()
}

/// Numbers that look random.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let x = (self.0 ^ self.0 >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ x >> 32
    }
}
