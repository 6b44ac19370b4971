//! Fragment layouts of ldmatrix and mma, as the figures of the PTX manual give them: for each lane and register the row
//! and column. One element at a time is set, so that each place is checked by itself.

use ptx_sim::{Device, DeviceOptions, Module};

const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

/// Runs `body` on one warp per case: `%in` and `%out` are the addresses of the warp's words, lane by lane.
fn run(body: &str, inputs: &[Vec<u32>], outputs: usize) -> Vec<Vec<u32>> {
    let words = inputs[0].len();
    let ptx = format!(
        "{HEAD}.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n.reg .b32 %i, %w, %t<9>, %a<4>, %b<4>, %c<4>, %d<4>;\n\
         .reg .b64 %in, %out, %s<4>;\n.shared .align 16 .b8 sh[512];\nld.param.u64 %in, [in];\nld.param.u64 %out, [out];\n\
         mov.u32 %i, %tid.x;\nmov.u32 %w, %ctaid.x;\nmad.wide.u32 %in, %w, {}, %in;\nmad.wide.u32 %out, %w, {}, %out;\n\
         mad.wide.u32 %out, %i, {}, %out;\n{body}\nret;\n}}\n",
        4 * words,
        128 * outputs,
        4 * outputs
    );
    let module = Module::load(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    let mut device = Device::new(DeviceOptions::default());
    let bytes: Vec<u8> = inputs.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    let size = inputs.len() * 128 * outputs;
    let (input, output) = (device.alloc(bytes.len()), device.alloc(size));
    device.write(input, &bytes).expect("it fits");
    let shape = ptx_sim::Shape::line(inputs.len() as u32, 32);
    device.launch(&module, "k", shape, &[input.into(), output.into()]).unwrap_or_else(|e| panic!("{e}"));
    let mut raw = vec![0; size];
    device.read(output, &mut raw).expect("all was written");
    let words: Vec<u32> = raw.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().expect("4 bytes"))).collect();
    words.chunks_exact(32 * outputs).map(<[u32]>::to_vec).collect()
}

/// What the elements of A and B are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    F16,
    Bf16,
    Tf32,
}

/// Row and column in A of element `i` of a lane, by the manual's formulas for each shape.
fn a_place(k: usize, kind: Kind, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    match (k, kind) {
        // m16n8k16: row = groupID for 0 <= i < 2 || 4 <= i < 6, else groupID + 8;
        // col = threadID_in_group * 2 + (i & 1), + 8 for i >= 4.
        (16, _) => {
            let row = if i < 2 || (4..6).contains(&i) { group } else { group + 8 };
            (row, thread * 2 + (i & 1) + if i >= 4 { 8 } else { 0 })
        }
        // m16n8k4 .tf32: row = groupID for a0, groupID + 8 for a1; col = threadID_in_group.
        (4, _) => (if i == 0 { group } else { group + 8 }, thread),
        // m16n8k8 .tf32: row = groupID for a0 and a2, groupID + 8 for a1 and a3; col + 4 for a2 and a3.
        (8, Kind::Tf32) => (if i == 0 || i == 2 { group } else { group + 8 }, if i < 2 { thread } else { thread + 4 }),
        // m16n8k8 .f16 and .bf16: row = groupID for a0 and a1, groupID + 8 for a2 and a3.
        _ => (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1)),
    }
}

/// Row and column in B of element `i` of a lane.
fn b_place(k: usize, kind: Kind, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    match (k, kind) {
        // row = threadID_in_group * 2 + (i & 1), + 8 for i >= 2; col = groupID.
        (16, _) => (thread * 2 + (i & 1) + if i >= 2 { 8 } else { 0 }, group),
        (4, _) => (thread, group),
        (8, Kind::Tf32) => (if i == 0 { thread } else { thread + 4 }, group),
        _ => (thread * 2 + i, group),
    }
}

/// Row and column in C and D: row = groupID for c0 and c1, groupID + 8 for c2 and c3; col = threadID_in_group * 2 + (i & 1).
fn c_place(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1))
}

struct Shape {
    name: &'static str,
    k: usize,
    kind: Kind,
    a: usize,
    b: usize,
}

const SHAPES: [Shape; 6] = [
    Shape { name: "m16n8k16.row.col.f32.f16.f16.f32", k: 16, kind: Kind::F16, a: 4, b: 2 },
    Shape { name: "m16n8k16.row.col.f32.bf16.bf16.f32", k: 16, kind: Kind::Bf16, a: 4, b: 2 },
    Shape { name: "m16n8k8.row.col.f32.f16.f16.f32", k: 8, kind: Kind::F16, a: 2, b: 1 },
    Shape { name: "m16n8k8.row.col.f32.bf16.bf16.f32", k: 8, kind: Kind::Bf16, a: 2, b: 1 },
    Shape { name: "m16n8k8.row.col.f32.tf32.tf32.f32", k: 8, kind: Kind::Tf32, a: 4, b: 2 },
    Shape { name: "m16n8k4.row.col.f32.tf32.tf32.f32", k: 4, kind: Kind::Tf32, a: 2, b: 1 },
];

impl Shape {
    /// Elements in a register.
    fn packed(&self) -> usize {
        if self.kind == Kind::Tf32 { 1 } else { 2 }
    }

    fn bits(&self, x: f32) -> u32 {
        match self.kind {
            Kind::F16 => half::f16::from_f32(x).to_bits() as u32,
            Kind::Bf16 => half::bf16::from_f32(x).to_bits() as u32,
            Kind::Tf32 => x.to_bits(),
        }
    }

    fn run(&self, inputs: &[Vec<u32>]) -> Vec<Vec<u32>> {
        let n = self.a + self.b + 4;
        let mut body = format!(".reg .b64 %p;\nmad.wide.u32 %p, %i, {}, %in;\n", 4 * n);
        let regs = [("a", self.a), ("b", self.b), ("c", 4)];
        let names: Vec<String> = regs.iter().flat_map(|(r, n)| (0..*n).map(move |i| format!("%{r}{i}"))).collect();
        for (i, name) in names.iter().enumerate() {
            body += &format!("ld.global.b32 {name}, [%p+{}];\n", 4 * i);
        }
        let list = |from: usize, n: usize| names[from..from + n].join(", ");
        body += &format!(
            "mma.sync.aligned.{} {{%d0, %d1, %d2, %d3}}, {{{}}}, {{{}}}, {{{}}};\nst.global.v4.b32 [%out], {{%d0, %d1, %d2, %d3}};",
            self.name,
            list(0, self.a),
            list(self.a, self.b),
            list(self.a + self.b, 4)
        );
        run(&body, inputs, 4)
    }
}

#[test]
fn mma_puts_each_product_where_the_manual_says() {
    for shape in &SHAPES {
        let n = shape.a + shape.b + 4;
        let (mut inputs, mut wants) = (Vec::new(), Vec::new());
        for lane in 0..32 {
            for i in 0..shape.a * shape.packed() {
                // One element of A is 3; the row of B that it meets is 1, 2, ... 8.
                let (row, col) = a_place(shape.k, shape.kind, lane, i);
                let mut words = vec![0u32; 32 * n];
                let at = |lane: usize, first: usize, i: usize| {
                    (lane * n + first + i / shape.packed(), 16 * (i % shape.packed()))
                };
                let (word, shift) = at(lane, 0, i);
                words[word] |= shape.bits(3.0) << shift;
                for other in 0..32 {
                    for j in 0..shape.b * shape.packed() {
                        let (brow, bcol) = b_place(shape.k, shape.kind, other, j);
                        if brow == col {
                            let (word, shift) = at(other, shape.a, j);
                            words[word] |= shape.bits(bcol as f32 + 1.0) << shift;
                        }
                    }
                    for j in 0..4 {
                        let (crow, ccol) = c_place(other, j);
                        words[other * n + shape.a + shape.b + j] =
                            (100.0 * crow as f32 + 1000.0 * ccol as f32).to_bits();
                    }
                }
                inputs.push(words);
                wants.push(row);
            }
        }
        for (case, (got, row)) in shape.run(&inputs).iter().zip(&wants).enumerate() {
            for lane in 0..32 {
                for j in 0..4 {
                    let (drow, dcol) = c_place(lane, j);
                    let product = if drow == *row { 3.0 * (dcol as f32 + 1.0) } else { 0.0 };
                    let want = 100.0 * drow as f32 + 1000.0 * dcol as f32 + product;
                    let got = f32::from_bits(got[4 * lane + j]);
                    assert_eq!(got, want, "{}, case {case}, d{j} of lane {lane}", shape.name);
                }
            }
        }
    }
}

#[test]
fn mma_reads_each_element_of_b_where_the_manual_says() {
    for shape in &SHAPES {
        let n = shape.a + shape.b + 4;
        let places: Vec<(usize, usize)> =
            (0..32).flat_map(|lane| (0..shape.b * shape.packed()).map(move |i| (lane, i))).collect();
        let inputs: Vec<Vec<u32>> = places
            .iter()
            .map(|&(lane, i)| {
                // A holds k + 1 in each column k, one element of B is 1: its row shows in the whole column of D.
                let mut words = vec![0u32; 32 * n];
                for other in 0..32 {
                    for j in 0..shape.a * shape.packed() {
                        let (_, col) = a_place(shape.k, shape.kind, other, j);
                        words[other * n + j / shape.packed()] |=
                            shape.bits(col as f32 + 1.0) << (16 * (j % shape.packed()));
                    }
                }
                words[lane * n + shape.a + i / shape.packed()] |= shape.bits(1.0) << (16 * (i % shape.packed()));
                words
            })
            .collect();
        for (&(lane, i), got) in places.iter().zip(shape.run(&inputs)) {
            let (row, col) = b_place(shape.k, shape.kind, lane, i);
            for other in 0..32 {
                for j in 0..4 {
                    let want = if c_place(other, j).1 == col { row as f32 + 1.0 } else { 0.0 };
                    assert_eq!(f32::from_bits(got[4 * other + j]), want, "{}: b{i} of lane {lane}", shape.name);
                }
            }
        }
    }
}

/// tf32 takes the upper 19 bits of its registers.
#[test]
fn tf32_ignores_the_lower_bits() {
    let shape = &SHAPES[5];
    let n = shape.a + shape.b + 4;
    let fill = |low: u32| (0..32 * n).map(|i| if i % n < 3 { 1.5f32.to_bits() | low } else { 0 }).collect::<Vec<u32>>();
    let got = shape.run(&[fill(0), fill(0x1fff)]);
    assert_eq!(got[0], got[1]);
    assert!(got[0].iter().all(|v| f32::from_bits(*v) == 9.0));
}

/// ldmatrix: row r of matrix m is at the address of lane 8m + r. A lane gets of register m, row laneid / 4, the elements
/// 2 (laneid % 4) and the next; transposed, the elements of that column.
#[test]
fn ldmatrix_distributes_rows_as_the_manual_says() {
    for (count, name) in [(1usize, "x1"), (2, "x2"), (4, "x4")] {
        for trans in [false, true] {
            // Element c of row r of matrix m is its own number, and rows lie in reverse order in shared memory.
            let element = |m: usize, r: usize, c: usize| (m * 64 + r * 8 + c) as u32;
            let mut words = vec![0u32; 128];
            for m in 0..4 {
                for r in 0..8 {
                    for c in (0..8).step_by(2) {
                        let place = (31 - (8 * m + r)) * 4 + c / 2;
                        words[place] = element(m, r, c) | element(m, r, c + 1) << 16;
                    }
                }
            }
            let regs: Vec<String> = (0..count).map(|i| format!("%a{i}")).collect();
            let mut body = "mad.wide.u32 %s0, %i, 16, %in;\nld.global.v4.b32 {%t0, %t1, %t2, %t3}, [%s0];\nmov.u64 %s1, sh;\n\
                            mad.wide.u32 %s2, %i, 16, %s1;\nst.shared.v4.b32 [%s2], {%t0, %t1, %t2, %t3};\nbar.sync 0;\n\
                            mov.u32 %t4, 31;\nsub.s32 %t4, %t4, %i;\nmad.wide.u32 %s2, %t4, 16, %s1;\n"
                .to_string();
            body += &format!(
                "ldmatrix.sync.aligned.m8n8.{name}{}.shared.b16 {{{}}}, [%s2];\n",
                if trans { ".trans" } else { "" },
                regs.join(", ")
            );
            for (i, reg) in regs.iter().enumerate() {
                body += &format!("st.global.b32 [%out+{}], {reg};\n", 4 * i);
            }
            let got = &run(&body, &[words], count)[0];
            for lane in 0..32 {
                for m in 0..count {
                    let (major, minor) = (lane / 4, 2 * (lane % 4));
                    let at = |k: usize| if trans { element(m, minor + k, major) } else { element(m, major, minor + k) };
                    assert_eq!(got[lane * count + m], at(0) | at(1) << 16, "{name} trans {trans} lane {lane}");
                }
            }
        }
    }
}
