//! For each check a kernel that violates it, and its corrected twin.

use ptx_sim::{Arg, Checks, Counters, Device, DeviceOptions, Error, FaultKind, Module, Shape};

/// Runs a kernel body with `%out` (256 zeroed words) as %d0, the thread index in %r0, the block's in %r1.
fn run_with(options: DeviceOptions, grid: u32, block: u32, body: &str) -> Result<Counters, Error> {
    let ptx = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out)\n{{\n\
         .reg .pred %p<9>;\n.reg .b32 %r<20>;\n.reg .b64 %d<20>;\n.shared .align 16 .b8 tile[512];\n.local .b8 frame[16];\n\
         ld.param.u64 %d0, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nmov.u32 %r2, tile;\n\
         shl.b32 %r3, %r0, 2;\nadd.u32 %r4, %r2, %r3;\nmul.wide.u32 %d1, %r0, 4;\nadd.s64 %d2, %d0, %d1;\n\
         {body}\nret;\n}}\n"
    );
    let module = Module::load(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
    let mut device = Device::new(options);
    let out = device.alloc(1024);
    device.write(out, &[0; 1024])?;
    device.launch(&module, "k", Shape::line(grid, block), &[out.into()])
}

fn run(grid: u32, block: u32, body: &str) -> Result<Counters, Error> {
    run_with(DeviceOptions::default(), grid, block, body)
}

fn twins(kind: FaultKind, grid: u32, block: u32, wrong: &str, right: &str) {
    match run(grid, block, wrong) {
        Err(Error::Fault(f)) => {
            assert_eq!(f.kind, kind, "{f}");
            assert!(f.kernel == "k" && f.line > 17, "{f}");
        }
        other => panic!("{kind:?} was expected, not {other:?}"),
    }
    if let Err(e) = run(grid, block, right) {
        panic!("the corrected twin fails: {e}");
    }
}

#[test]
fn bounds_and_alignment() {
    twins(FaultKind::OutOfBounds, 1, 32, "st.global.u32 [%d2+1000], %r0;", "st.global.u32 [%d2+896], %r0;");
    twins(FaultKind::OutOfBounds, 1, 32, "st.shared.u32 [%r4+400], %r0;", "st.shared.u32 [%r4+384], %r0;");
    twins(FaultKind::OutOfBounds, 1, 32, "st.local.u32 [frame+64], %r0;", "st.local.u32 [frame+12], %r0;");
    twins(FaultKind::Misaligned, 1, 32, "st.global.u32 [%d2+2], %r0;", "st.global.u32 [%d2+4], %r0;");
    twins(FaultKind::Misaligned, 1, 32, "st.shared.v2.u32 [%r4], {%r0, %r0};", "st.shared.u32 [%r4], %r0;");
}

#[test]
fn uninitialised_memory() {
    twins(
        FaultKind::Uninitialised,
        1,
        32,
        "ld.shared.u32 %r5, [%r4];",
        "st.shared.u32 [%r4], %r0;\nld.shared.u32 %r5, [%r4];",
    );
    twins(
        FaultKind::Uninitialised,
        1,
        32,
        "ld.local.u32 %r5, [frame];",
        "st.local.u32 [frame], %r0;\nld.local.u32 %r5, [frame];",
    );
}

#[test]
fn shared_races() {
    let swap = |sync: &str| {
        format!(
            "st.shared.u32 [%r4], %r0;\n{sync}\nxor.b32 %r5, %r3, 4;\nadd.u32 %r5, %r2, %r5;\nld.shared.u32 %r6, [%r5];"
        )
    };
    twins(FaultKind::SharedRace, 1, 32, &swap(""), &swap("bar.warp.sync -1;"));
    twins(FaultKind::SharedRace, 1, 32, &swap(""), &swap("bar.sync 0;"));
    // All threads write one word.
    twins(FaultKind::SharedRace, 1, 32, "st.shared.u32 [tile], %r0;", "st.shared.u32 [tile], 7;");
    let off = DeviceOptions {
        checks: Checks::all().without(FaultKind::SharedRace).expect("it can be off"),
        ..DeviceOptions::default()
    };
    run_with(off, 1, 32, &swap("")).expect("the check is off");
}

#[test]
fn global_races() {
    twins(
        FaultKind::GlobalRace,
        2,
        1,
        "st.global.u32 [%d0], %r1;",
        "red.global.add.u32 [%d0], 1;\nst.volatile.global.u32 [%d0+4], %r1;",
    );
}

#[test]
fn launches_do_not_race_with_each_other() {
    let ptx = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out, .param .u32 block)\n{\n\
               .reg .pred %p<2>;\n.reg .b64 %d<2>;\n.reg .b32 %r<3>;\nld.param.u64 %d0, [out];\nld.param.u32 %r0, [block];\n\
               mov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p0, %r0, %r1;\n@%p0 st.global.u32 [%d0], %r1;\nret;\n}\n";
    let module = Module::load(ptx).expect("it loads");
    let mut d = Device::new(DeviceOptions::default());
    let p = d.alloc(4);
    for block in [0u32, 3, 1, 2, 0] {
        d.launch(&module, "k", Shape::line(4, 1), &[p.into(), block.into()]).expect("one block writes");
    }
}

#[test]
fn divergent_barriers() {
    let text = |op: &str| format!("setp.lt.u32 %p0, %r0, 7;\n@%p0 bra $skip;\n{op}\n$skip:\nadd.u32 %r5, %r0, 1;");
    twins(FaultKind::Divergence, 1, 32, &text("bar.sync 0;"), &format!("{}\nbar.sync 0;", text("")));
    // Exited threads count as arrived.
    run(1, 64, "setp.lt.u32 %p0, %r0, 7;\n@%p0 ret;\nbar.sync 0;").expect("they exited");
    twins(FaultKind::Deadlock, 1, 64, "shr.u32 %r5, %r0, 5;\nbar.sync %r5;", "bar.sync 1;");
}

#[test]
fn shuffles() {
    let shfl = |mask: &str| {
        format!("setp.lt.u32 %p0, %r0, 16;\n@!%p0 bra $skip;\nshfl.sync.down.b32 %r5, %r0, 1, 31, {mask};\n$skip:")
    };
    twins(
        FaultKind::InactiveLane,
        1,
        32,
        &shfl("65535"),
        "setp.lt.u32 %p0, %r0, 16;\n@!%p0 bra $skip;\nshfl.sync.bfly.b32 %r5, %r0, 1, 31, 65535;\n$skip:",
    );
    twins(FaultKind::InactiveLane, 1, 32, "vote.sync.any.pred %p1, %p0, 1;", "vote.sync.any.pred %p1, %p0, -1;");
    // The other half exits, so the full mask asks only for those that live, yet lane 16 has no value.
    assert!(matches!(run(1, 32, &shfl("-1")), Err(Error::Fault(f)) if f.kind == FaultKind::InactiveLane));
}

#[test]
fn step_budget_and_trap() {
    let options = DeviceOptions { step_budget: 10_000, ..DeviceOptions::default() };
    match run_with(options, 1, 64, "$again:\nbra $again;") {
        Err(Error::Fault(f)) => assert!(f.kind == FaultKind::StepBudget && f.detail.contains("PTX line"), "{f}"),
        other => panic!("{other:?}"),
    }
    twins(FaultKind::Trap, 1, 32, "setp.eq.u32 %p0, %r0, 3;\n@%p0 trap;", "setp.eq.u32 %p0, %r0, 99;\n@%p0 trap;");
}

#[test]
fn lanes_that_spin_on_each_other_go_on() {
    // Lane 0 sets the flag after the others began to wait for it.
    let text = "setp.eq.u32 %p0, %r0, 0;\n@%p0 bra $set;\n$wait:\nld.volatile.global.u32 %r5, [%d0];\n\
                setp.eq.u32 %p1, %r5, 0;\n@%p1 bra $wait;\nbra $done;\n$set:\nst.volatile.global.u32 [%d0], 1;\n$done:\nbar.sync 0;";
    run(1, 32, text).expect("independent thread scheduling");
}

#[test]
fn host_side_errors() {
    let ptx = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out)\n{\n.reg .b64 %d<2>;\n\
               .reg .b32 %r<2>;\nld.param.u64 %d0, [out];\nst.global.u32 [%d0], 1;\nret;\n}\n";
    let module = Module::load(ptx).expect("it loads");
    let entry = &module.entries()[0];
    assert_eq!((entry.params[0].name.as_str(), entry.params[0].size, entry.params[0].float), ("out", 8, Some(false)));
    let mut d = Device::new(DeviceOptions::default());
    let p = d.alloc(4);
    assert!(matches!(d.read(p, &mut [0; 4]), Err(Error::Memory(_))));
    assert!(matches!(d.write(p, &[0; 5]), Err(Error::Memory(_))));
    let out = [Arg::from(p)];
    let go = |d: &mut Device, block: u32, shared: usize, args: &[Arg]| {
        d.launch(&module, "k", Shape::line(1, block).with_shared(shared), args)
    };
    assert!(matches!(go(&mut d, 1, 0, &[]), Err(Error::Launch(_))));
    assert!(matches!(go(&mut d, 1, 0, &[7u32.into()]), Err(Error::Launch(_))));
    assert!(matches!(go(&mut d, 1025, 0, &out), Err(Error::Launch(_))));
    assert!(matches!(go(&mut d, 0, 0, &out), Err(Error::Launch(_))));
    assert!(matches!(go(&mut d, 1, 49153, &out), Err(Error::Launch(_))));
    go(&mut d, 1, 49152, &out).expect("the limit itself");
    d.protect(p, true).expect("an allocation");
    assert!(matches!(go(&mut d, 1, 0, &out), Err(Error::Fault(f)) if f.kind == FaultKind::ReadOnly));
    d.protect(p, false).expect("an allocation");
    d.free(p).expect("an allocation");
    assert!(matches!(go(&mut d, 1, 0, &out), Err(Error::Fault(f)) if f.kind == FaultKind::UseAfterFree));
    assert!(d.free(p).is_err());
}

#[test]
fn bank_conflicts_are_counted() {
    let column = "shl.b32 %r5, %r0, 4;\nand.b32 %r5, %r5, 511;\nadd.u32 %r5, %r2, %r5;\nst.shared.u32 [%r5], %r0;";
    let c = run(1, 32, column).expect("it runs");
    assert_eq!((c.shared_store_requests, c.shared_store_wavefronts, c.shared_ideal_wavefronts), (1, 4, 1));
    let wide = "shl.b32 %r5, %r0, 4;\nadd.u32 %r5, %r2, %r5;\nst.shared.v4.u32 [%r5], {%r0, %r0, %r0, %r0};";
    let c = run(1, 32, wide).expect("it runs");
    assert_eq!((c.shared_store_wavefronts, c.shared_ideal_wavefronts), (4, 4));
}

#[test]
fn broken_texts_never_panic() {
    let text = include_str!("ptx/kernels.ptx");
    let mut state = 1u64;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for _ in 0..400 {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..1 + random(4) {
            let (at, other) = (random(bytes.len()), random(bytes.len()));
            match random(3) {
                0 => bytes[at] = b"{}[]();,.%@!+-0189xfra_\" "[random(25)],
                1 => drop(bytes.drain(at.min(other)..at.max(other).min(at.min(other) + 40))),
                _ => bytes.truncate(at.max(100)),
            }
        }
        let _ = Module::load(&String::from_utf8_lossy(&bytes));
    }
}
