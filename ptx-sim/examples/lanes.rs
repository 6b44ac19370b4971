//! Prints what one instruction of a whole warp costs, interpreter included: nanoseconds, the loop's overhead taken off.

use ptx_sim::{Device, DeviceOptions, Error, Module};
use std::time::Instant;

const COPIES: usize = 64;
const ROUNDS: usize = 2000;

/// Seconds of a kernel that repeats `line`.
fn time(line: &str, copies: usize) -> Result<f64, Error> {
    let body = format!("{line};\n").repeat(copies);
    let ptx = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n.reg .pred %p, %q, %s;\n.reg .b16 %h<4>;\n\
         .reg .b32 %r<5>, %n;\n.reg .b64 %d<4>;\nmov.u32 %r1, 0x3f8ccccd;\nmov.u32 %r2, %tid.x;\nadd.u32 %r2, %r2, 0x3f000000;\n\
         mov.u32 %r3, 0x3e99999a;\nmov.b32 {{%h1, %h2}}, %r1;\nmov.u16 %h3, 0x3c01;\ncvt.u64.u32 %d1, %r2;\nmov.u32 %n, 0;\n\
         mov.u64 %d2, 0x3ff0000000000001;\nL:\n{body}add.u32 %n, %n, 1;\nsetp.lt.u32 %p, %n, {ROUNDS};\n@%p bra L;\nret;\n}}\n"
    );
    let module = Module::load(&ptx)?;
    let mut device = Device::new(DeviceOptions::default());
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        device.launch(&module, "k", [1; 3], [32, 1, 1], 0, &[])?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn main() -> Result<(), Error> {
    let empty = time("", 0)?;
    for line in [
        "mov.b32 %r4, %r1",
        "add.s32 %r4, %r1, %r2",
        "fma.rn.f32 %r4, %r1, %r2, %r3",
        "min.f32 %r4, %r1, %r2",
        "lop3.b32 %r4, %r1, %r2, %r3, 0x96",
        "prmt.b32 %r4, %r1, %r2, 0x5410",
        "setp.lt.s32 %q, %r1, %r2",
        "setp.lt.f32 %q, %r1, %r2",
        "setp.lt.s64 %q, %d1, %d2",
        "selp.b32 %r4, %r1, %r2, %p",
        "cvt.rn.f16.f32 %h1, %r1",
        "cvt.rn.bf16.f32 %h1, %r1",
        "cvt.rn.f16x2.f32 %r4, %r1, %r2",
        "cvt.rn.bf16x2.f32 %r4, %r1, %r2",
        "cvt.f32.f16 %r4, %h3",
        "cvt.rn.f32.s32 %r4, %r2",
        "cvt.rzi.s32.f32 %r4, %r2",
        "cvt.s64.s32 %d3, %r2",
        "cvt.u32.u64 %r4, %d1",
        "cvt.f64.f32 %d3, %r2",
        "add.f16x2 %r4, %r1, %r2",
        "fma.rn.f16x2 %r4, %r1, %r2, %r3",
        "fma.rn.bf16x2 %r4, %r1, %r2, %r3",
        "max.bf16x2 %r4, %r1, %r2",
        "set.gt.f16x2.f16x2 %r4, %r1, %r2",
        "fma.rm.f32 %r4, %r1, %r2, %r3",
        "ex2.approx.ftz.f32 %r4, %r1",
    ] {
        let ns = (time(line, COPIES)? - empty) * 1e9 / (COPIES * ROUNDS) as f64;
        println!("{ns:7.1} ns  {line}");
    }
    Ok(())
}
