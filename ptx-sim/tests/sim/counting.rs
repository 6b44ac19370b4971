//! What a launch counts, derived by hand.

use crate::args;
use crate::host::{Host, line};
use ptx_sim::{Class, Counters, Device, DeviceOptions, Module, Shape};

fn count(kernel: &str, shape: Shape, args: impl FnOnce(&mut Host) -> Vec<ptx_sim::Arg>) -> Counters {
    let mut host = Host::seeded(0);
    let args = args(&mut host);
    host.run("counting", kernel, shape, &args)
}

/// Sectors of one warp's loads from x, 32 words `stride` apart from word `offset` on.
fn gathered(stride: i32, offset: i32) -> Counters {
    count("gather", line(1, 32), |host| {
        let x = host.input(&vec![1.0f32; 2048]);
        args![x, host.output::<f32>(32), stride, offset].into()
    })
}

#[test]
fn sectors_of_a_warp() {
    // 32 words of 4 bytes are 128 bytes: 4 sectors when aligned, 5 when they start within one.
    for (stride, offset, sectors) in [(1, 0, 4), (1, 8, 4), (1, 1, 5), (1, 7, 5), (0, 3, 1)] {
        assert_eq!(gathered(stride, offset).global_load_sectors, sectors, "stride {stride}, offset {offset}");
    }
    // The words lie 4 * stride bytes apart: 32 sectors as soon as that is 32 bytes.
    for (stride, sectors) in [(2, 8), (3, 12), (4, 16), (8, 32), (32, 32), (64, 32)] {
        assert_eq!(gathered(stride, 0).global_load_sectors, sectors, "stride {stride}");
    }
    // Words 1, 3, 5, ... 63 lie in the same 8 sectors as 0, 2, ... 62.
    assert_eq!(gathered(2, 1).global_load_sectors, 8);
    let c = gathered(8, 0);
    assert_eq!((c.global_load_requests, c.global_store_requests, c.global_store_sectors), (1, 1, 4));
    assert_eq!((c.unique_load_sectors, c.unique_store_sectors), (32, 4));
    // 32 words read and 32 written.
    assert_eq!(c.unique_bytes, 256);
}

#[test]
fn sectors_of_wide_and_narrow_accesses() {
    // 32 lanes of 16 bytes: 512 bytes; of one byte: one sector.
    let c = count("copy16", line(1, 32), |host| args![host.input(&[1.0f32; 128]), host.output::<f32>(128)].into());
    assert_eq!((c.global_load_requests, c.global_load_sectors, c.global_store_sectors), (1, 16, 16));
    assert_eq!((c.global_load_bytes, c.global_store_bytes), (512, 512));
    assert_eq!(c.unique_bytes, 1024);
    let c = count("bytes", line(1, 32), |host| args![host.input(&[1u8; 32]), host.output::<u8>(32)].into());
    assert_eq!((c.global_load_requests, c.global_load_sectors, c.global_store_sectors), (1, 1, 1));
    assert_eq!(c.unique_bytes, 64);
}

#[test]
fn what_blocks_share_is_unique_once() {
    // With stride 0 the four warps of two blocks read one word; each writes 4 sectors of its own.
    let c = count("gather", line(2, 64), |host| args![host.input(&[1.0f32; 8]), host.output::<f32>(128), 0, 5].into());
    assert_eq!((c.blocks, c.warps, c.threads), (2, 4, 128));
    assert_eq!((c.global_load_requests, c.global_load_sectors, c.unique_load_sectors), (4, 4, 1));
    // Every lane asked for the word.
    assert_eq!((c.global_load_bytes, c.global_store_bytes), (512, 512));
    assert_eq!((c.global_store_requests, c.global_store_sectors, c.unique_store_sectors), (4, 16, 16));
    assert_eq!(c.unique_bytes, 4 + 4 * 128);
}

#[test]
fn a_warp_of_part_lanes() {
    // 40 threads: a warp of 32 lanes and one of 8, whose 8 words are one sector.
    let c = count("gather", line(1, 40), |host| args![host.input(&[1.0f32; 40]), host.output::<f32>(40), 1, 0].into());
    assert_eq!((c.warps, c.threads, c.global_load_sectors), (2, 40, 5));
    // Every instruction has 32 lanes in one warp and 8 in the other.
    assert_eq!(c.lane_efficiency(), 40.0 / 64.0);
}

#[test]
fn bank_conflicts() {
    // 32 banks of 4 bytes: lanes `stride` words apart meet gcd(stride, 32) at a bank; at stride 0 all read one word, which
    // is broadcast.
    for (stride, ways) in [(1, 1), (2, 2), (3, 1), (4, 4), (8, 8), (16, 16), (32, 32), (33, 1), (0, 1)] {
        let c = count("banks", line(1, 32), |host| args![host.output::<u32>(32), stride].into());
        assert_eq!((c.shared_load_requests, c.shared_load_wavefronts), (1, ways), "stride {stride}");
        // The 33 rounds that fill have no conflicts.
        assert_eq!((c.shared_store_requests, c.shared_store_wavefronts), (33, 33));
        assert_eq!(c.shared_ideal_wavefronts, 33 + 1);
    }
}

#[test]
fn bank_conflicts_of_wide_accesses() {
    // 8 bytes go by 16 lanes, 16 bytes by 8: two and four phases, each of which fills the 32 banks once.
    // At twice that distance the phase's words lie in half the banks, two deep; at four times in a quarter, four deep.
    for (kernel, stride, wavefronts, ideal) in [
        ("banks_wide8", 2, 2, 2),
        ("banks_wide8", 4, 4, 2),
        ("banks_wide8", 8, 8, 2),
        ("banks_wide8", 0, 2, 2),
        ("banks_wide16", 4, 4, 4),
        ("banks_wide16", 8, 8, 4),
        ("banks_wide16", 16, 16, 4),
        ("banks_wide16", 0, 4, 4),
    ] {
        let c = count(kernel, line(1, 32), |host| args![host.output::<u32>(32), stride].into());
        assert_eq!((c.shared_load_requests, c.shared_load_wavefronts), (1, wavefronts), "{kernel} {stride}");
        assert_eq!(c.shared_ideal_wavefronts, 16 + ideal, "{kernel} {stride}");
    }
}

#[test]
fn bank_conflicts_of_ldmatrix() {
    // A matrix is 8 rows of 16 bytes, one phase. Rows 64 bytes apart start in 2 places of the 128 bytes of all banks, four
    // rows in each; rows 128 bytes apart all in one. The swizzle moves them to 8 different ones.
    for (pitch, swizzle, ways) in [(64, 0, 4), (128, 0, 8), (64, 1, 1), (128, 1, 1)] {
        let c = count("matrices", line(1, 32), |host| args![host.output::<u32>(32), pitch, swizzle].into());
        assert_eq!(c.shared_load_requests, 1);
        assert_eq!(c.shared_load_wavefronts, 4 * ways, "pitch {pitch}, swizzle {swizzle}");
        assert_eq!(c.shared_ideal_wavefronts, 32 + 4);
    }
}

#[test]
fn atomics_that_meet() {
    // 96 threads over 8 words: 4 lanes of a warp at each; over 1: all 32; over 64: none.
    for (targets, worst) in [(8, 4), (1, 32), (64, 1), (5, 7)] {
        let c = count("meet", line(1, 96), |host| args![host.inout(&[0u32; 64]), targets].into());
        assert_eq!((c.shared_atomics, c.global_atomics), (96, 96));
        assert_eq!(c.atomic_worst_address, worst, "{targets} targets");
        assert_eq!(c.unique_bytes, 4 * targets as u64);
    }
}

#[test]
fn barriers_of_warps() {
    // Two blocks of three warps (the last one of 16 lanes), five barriers.
    let c = count("barriers", line(2, 80), |_| args![5].into());
    assert_eq!(c.barriers, 2 * 3 * 5);
}

/// The counts of a kernel in plain PTX, of which every instruction is known.
fn plain(threads: u32, body: &str) -> Counters {
    let ptx = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n.reg .pred %p<4>;\n.reg .b32 %r<9>;\n\
         .reg .f32 %f<9>;\nmov.u32 %r0, %tid.x;\n{body}\nret;\n}}\n"
    );
    let module = Module::load(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    Device::new(DeviceOptions::default()).launch(&module, "k", Shape::line(1, threads), &[]).expect("it runs")
}

#[test]
fn branches_and_lanes() {
    // 8 lanes skip one add, 24 execute it; then all meet again.
    let c = plain(32, "setp.lt.u32 %p0, %r0, 8;\n@%p0 bra $skip;\nadd.u32 %r1, %r0, 1;\n$skip:\nadd.u32 %r2, %r0, 2;");
    assert_eq!((c.branches, c.divergent_branches), (1, 1));
    // mov, setp, bra, add, add, ret; the branch is taken by 8 lanes.
    assert_eq!(c.total_warp_instructions(), 6);
    assert_eq!(c.warp_instructions[Class::Integer as usize], 3);
    assert_eq!(c.thread_instructions[Class::Integer as usize], 32 + 24 + 32);
    assert_eq!(c.warp_instructions[Class::Compare as usize], 1);
    // Branches that all lanes of a warp take alike don't diverge: of two warps one takes it, one doesn't.
    let c = plain(64, "setp.lt.u32 %p0, %r0, 32;\n@%p0 bra $skip;\nadd.u32 %r1, %r0, 1;\n$skip:");
    assert_eq!((c.branches, c.divergent_branches), (2, 0));
    // A branch without a predicate is no decision.
    assert_eq!(plain(32, "bra $on;\n$on:").branches, 0);
}

#[test]
fn a_loop_that_lanes_leave_one_by_one() {
    // Lane t runs t + 1 rounds: 32 rounds of which each but the last lets one lane go.
    let c = plain(
        32,
        "mov.u32 %r1, %r0;\n$again:\nsetp.eq.u32 %p0, %r1, 0;\n@%p0 bra $done;\nsub.u32 %r1, %r1, 1;\nbra $again;\n$done:",
    );
    assert_eq!((c.branches, c.divergent_branches), (32, 31));
    // 32 + 31 + ... + 1 comparisons by threads in 32 issues.
    assert_eq!(c.thread_instructions[Class::Compare as usize], 32 * 33 / 2);
    assert_eq!(c.warp_instructions[Class::Compare as usize], 32);
}

#[test]
fn lane_efficiency_of_a_predicated_instruction() {
    // mov and setp by 32 lanes, the addition by 8, ret by 32.
    let c = plain(32, "setp.lt.u32 %p0, %r0, 8;\n@%p0 add.u32 %r1, %r0, 1;");
    assert_eq!(c.total_thread_instructions(), 32 + 32 + 8 + 32);
    assert_eq!(c.lane_efficiency(), 104.0 / 128.0);
}

#[test]
fn floating_point_operations() {
    // An addition is one, a multiply-add two, a packed one one for each half.
    let c = plain(
        32,
        "mov.f32 %f0, 0f3F800000;\nmov.u32 %r1, 0;\nadd.f32 %f1, %f0, %f0;\nfma.rn.f32 %f1, %f0, %f0, %f0;\n\
         fma.rn.f16x2 %r2, %r1, %r1, %r1;",
    );
    assert_eq!(c.flops, 32 * (1 + 2 + 4));
}

#[test]
fn matrix_products() {
    // One block of 64 x 64 x 32: four warps of 32 x 32 with 2 x 4 tiles of 16 x 8 in two steps of 16.
    let mut host = Host::seeded(0);
    let x = vec![half::bf16::ONE; 64 * 32];
    let args = args![host.input(&x), host.input(&x), host.output::<f32>(64 * 64), 64, 64, 32];
    let c = host.run("gemm_bf16", "gemm_bf16_nt", line(1, 128), &args);
    assert_eq!((c.mma_instructions, c.mma_flops), (4 * 2 * 4 * 2, 2 * 64 * 64 * 32));
    // Each warp reads 2 + 2 times four matrices in each step, and the swizzle leaves no conflict.
    assert_eq!((c.shared_load_requests, c.shared_load_wavefronts), (4 * 4 * 2, 4 * 4 * 2 * 4));
    // 64 rows of 64 bytes of A and B each, by 16 bytes a lane: 16 requests of 16 sectors, 4 wavefronts to shared memory.
    assert_eq!((c.global_load_requests, c.global_load_sectors), (16, 256));
    assert_eq!((c.shared_store_requests, c.shared_store_wavefronts), (16, 64));
    assert_eq!(c.unique_bytes, 2 * 64 * 32 * 2 + 64 * 64 * 4);
}

/// Iterations of a kernel that stores and loads `n` bytes a lane in shared memory at another place each time, by one
/// instruction in a loop or by one for each: the counters, and what was loaded.
fn wandering(ty: &str, n: u32, regs: &str, looped: bool) -> (Counters, Vec<u8>) {
    const ROUNDS: u32 = 24;
    let one = |i: &str| {
        format!(
            "shr.u32 %s, {i}, 2;\nmul.lo.u32 %a, %lane, %s;\nor.b32 %s, %s, 1;\nmul.lo.u32 %b, %lane, %s;\n\
             add.u32 %a, %a, {i};\nadd.u32 %b, %b, {i};\nand.b32 %a, %a, 63;\nand.b32 %b, %b, 63;\n\
             mad.lo.u32 %a, %a, {n}, %tile;\nmad.lo.u32 %b, %b, {n}, %tile;\nand.b32 %s, %lane, {i};\n\
             setp.eq.u32 %p, %s, 0;\nbar.sync 0;\n@%p st.shared{ty} [%b], {regs};\nbar.sync 0;\n\
             @%p ld.shared{ty} {regs}, [%a];\n"
        )
    };
    let body = if looped {
        format!("mov.u32 %i, 0;\nL:\n{}add.u32 %i, %i, 1;\nsetp.lt.u32 %p, %i, {ROUNDS};\n@%p bra L;\n", one("%i"))
    } else {
        (0..ROUNDS).map(|i| one(&i.to_string())).collect()
    };
    // All of it is written before the first round.
    let fill: String =
        (0..8).map(|k| format!("st.shared.v4.u32 [%t+{}], {{%x0, %x1, %x2, %x3}};\n", 512 * k)).collect();
    let ptx = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out)\n{{\n.reg .pred %p;\n\
         .reg .b32 %lane, %tile, %a, %b, %s, %i, %t, %x<4>;\n.reg .b64 %d;\n.shared .align 16 .b8 tile[4096];\n\
         ld.param.u64 %d, [out];\nmov.u32 %lane, %tid.x;\nmov.u32 %tile, tile;\nmad.wide.u32 %d, %lane, 16, %d;\n\
         mov.u32 %x0, %lane;\nmul.lo.u32 %x1, %lane, 77;\nmul.lo.u32 %x2, %lane, 1001;\nmul.lo.u32 %x3, %lane, 131;\n\
         mad.lo.u32 %t, %lane, 16, %tile;\n{fill}{body}st.global.v4.u32 [%d], {{%x0, %x1, %x2, %x3}};\nret;\n}}\n"
    );
    let module = Module::load(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    let mut device = Device::new(DeviceOptions::default());
    let out = device.alloc(512);
    let counters = device.launch(&module, "k", Shape::line(1, 32), &[out.into()]).unwrap_or_else(|e| panic!("{e}"));
    let mut bytes = vec![0; 512];
    device.read(out, &mut bytes).expect("all was written");
    (counters, bytes)
}

#[test]
fn an_instruction_whose_lanes_lie_differently_each_time() {
    for (ty, n, regs) in [
        (".u8", 1, "%x0"),
        (".u16", 2, "%x1"),
        (".b32", 4, "%x0"),
        (".v2.b32", 8, "{%x0, %x1}"),
        (".v4.b32", 16, "{%x0, %x1, %x2, %x3}"),
    ] {
        let ((a, x), (b, y)) = (wandering(ty, n, regs, true), wandering(ty, n, regs, false));
        assert_eq!(x, y, "{ty}");
        let shared = |c: &Counters| {
            let requests = (c.shared_load_requests, c.shared_store_requests);
            (requests, c.shared_load_wavefronts, c.shared_store_wavefronts, c.shared_ideal_wavefronts)
        };
        assert_eq!(shared(&a), shared(&b), "{ty}");
        assert_eq!(a.shared_load_requests, 24, "{ty}");
    }
}
