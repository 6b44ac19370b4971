//! Prints what one instruction of a whole warp costs, interpreter and checks included: nanoseconds, the loop's overhead
//! taken off. An argument names the instructions to run by a part of their text.

use ptx_sim::{Device, DeviceOptions, Error, Module, Shape};
use std::time::Instant;

const COPIES: usize = 64;
const ROUNDS: usize = 2000;

/// Seconds of a kernel that repeats `line`. %a is the thread's place of 16 bytes in global memory, %t in shared memory,
/// %b and %s its place of 4 bytes, %u a place of 16 bytes in shared memory that eight threads have in common.
fn time(line: &str, copies: usize) -> Result<f64, Error> {
    let body = format!("{line};\n").repeat(copies);
    let ptx = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 data)\n{{\n\
         .reg .pred %p, %q, %s1;\n.reg .b16 %h<4>;\n.reg .b32 %r<5>, %n, %t, %s, %u, %x<16>;\n.reg .b64 %d<4>, %a, %b;\n\
         .shared .align 16 .b8 tile[512];\nld.param.u64 %a, [data];\nmov.u32 %r1, %tid.x;\nmad.wide.u32 %b, %r1, 4, %a;\n\
         mad.wide.u32 %a, %r1, 16, %a;\nmov.u32 %s, tile;\nmad.lo.u32 %t, %r1, 16, %s;\nshr.u32 %u, %r1, 3;\nmad.lo.u32 %u, %u, 16, %s;\nmad.lo.u32 %s, %r1, 4, %s;\n\
         st.shared.v4.u32 [%t], {{%r1, %r1, %r1, %r1}};\nbar.sync 0;\n\
         mov.u32 %r1, 0x3f8ccccd;\nmov.u32 %r2, %tid.x;\nadd.u32 %r2, %r2, 0x3f000000;\n\
         mov.u32 %r3, 0x3e99999a;\nmov.b32 {{%h1, %h2}}, %r1;\nmov.u16 %h3, 0x3c01;\ncvt.u64.u32 %d1, %r2;\nmov.u32 %n, 0;\n\
         mov.u64 %d2, 0x3ff0000000000001;\nL:\n{body}add.u32 %n, %n, 1;\nsetp.lt.u32 %p, %n, {ROUNDS};\n@%p bra L;\nret;\n}}\n"
    );
    let module = Module::load(&ptx)?;
    let mut device = Device::new(DeviceOptions::default());
    let data = device.alloc(512);
    device.write(data, &[0; 512])?;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        device.launch(&module, "k", Shape::line(1, 32), &[data.into()])?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn main() -> Result<(), Error> {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
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
        "ld.param.u64 %d3, [data]",
        "ld.global.b32 %r4, [%b]",
        "ld.global.v4.b32 {%x0, %x1, %x2, %x3}, [%a]",
        "st.global.b32 [%b], %r4",
        "ld.shared.b32 %r4, [%s]",
        "ld.shared.b32 %r4, [%u]",
        "ld.shared.v4.b32 {%x0, %x1, %x2, %x3}, [%t]",
        "ld.shared.v4.b32 {%x0, %x1, %x2, %x3}, [%u]",
        "st.shared.b32 [%s], %r1",
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%x0, %x1, %x2, %x3}, [%t]",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%x0, %x1, %x2, %x3}, {%x4, %x5, %x6, %x7}, {%x8, %x9}, \
         {%x0, %x1, %x2, %x3}",
        "shfl.sync.bfly.b32 %r4, %r2, 1, 31, -1",
        "cp.async.cg.shared.global [%t], [%a], 16; cp.async.wait_all",
    ] {
        if !line.contains(&wanted) {
            continue;
        }
        let ns = (time(line, COPIES)? - empty) * 1e9 / (COPIES * ROUNDS) as f64;
        println!("{ns:7.1} ns  {line}");
    }
    Ok(())
}
