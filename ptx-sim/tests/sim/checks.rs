//! Launches that are refused, checks that are left out, and rules of execution that need no CUDA: kernels in plain PTX.

use ptx_sim::gpu::{A100, H100_SXM, RTX_3060};
use ptx_sim::{Arg, Checks, Counters, Device, DeviceOptions, Error, FaultKind, Module, Shape};

/// A kernel `k` of that body, with its parameters, 9 predicates and 20 registers of each width.
fn module(params: &str, body: &str) -> Module {
    let ptx = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k({params})\n{{\n.reg .pred %p<9>;\n\
         .reg .b32 %r<20>;\n.reg .b64 %d<20>;\n.shared .align 16 .b8 tile[512];\n{body}\nret;\n}}\n"
    );
    Module::load(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"))
}

/// Runs a kernel body with `out` (256 zeroed words) as %d0 and at the thread's word as %d2, the thread index in %r0 and
/// the block's in %r1, the thread's shared word at %r4.
fn run_with(options: DeviceOptions, grid: u32, block: u32, body: &str) -> Result<Counters, Error> {
    let prologue = "ld.param.u64 %d0, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nmov.u32 %r2, tile;\n\
                    shl.b32 %r3, %r0, 2;\nadd.u32 %r4, %r2, %r3;\nmul.wide.u32 %d1, %r0, 4;\nadd.s64 %d2, %d0, %d1;\n";
    let module = module(".param .u64 out", &format!("{prologue}{body}"));
    let mut device = Device::new(options);
    let out = device.alloc(1024);
    device.write(out, &[0; 1024])?;
    device.launch(&module, "k", Shape::line(grid, block), &[out.into()])
}

fn run(grid: u32, block: u32, body: &str) -> Result<Counters, Error> {
    run_with(DeviceOptions::default(), grid, block, body)
}

/// A launch that is refused must say why and of which kernel.
fn assert_refused(result: Result<Counters, Error>, why: &str) {
    match result {
        Err(e @ Error::Launch(_)) => {
            let text = e.to_string();
            assert!(text.contains("k: ") && text.contains(why), "{text}");
        }
        other => panic!("{why}: {other:?}"),
    }
}

#[test]
fn arguments() {
    let module = module(".param .u64 p, .param .u32 n, .param .f32 x", "");
    let params = &module.entries()[0].params;
    assert_eq!(params.iter().map(|p| p.size).collect::<Vec<_>>(), [8, 4, 4]);
    assert_eq!(params.iter().map(|p| p.float).collect::<Vec<_>>(), [Some(false), Some(false), Some(true)]);
    assert_eq!(params[0].name, "p");
    let mut d = Device::new(DeviceOptions::default());
    let p = d.alloc(4);
    let mut go = |args: &[Arg]| d.launch(&module, "k", Shape::line(1, 1), args);
    go(&[p.into(), 7u32.into(), 1.0f32.into()]).expect("as declared");
    go(&[p.into(), (-7i32).into(), 1.0f32.into()]).expect("PTX has no signed parameters");
    assert_refused(go(&[p.into(), 7u32.into()]), "2 arguments for 3");
    assert_refused(go(&[p.into(), 7u32.into(), 1.0f32.into(), 1.0f32.into()]), "4 arguments for 3");
    assert_refused(go(&[p.into(), 7u64.into(), 1.0f32.into()]), "argument 1");
    assert_refused(go(&[7u32.into(), 7u32.into(), 1.0f32.into()]), "argument 0");
    assert_refused(go(&[p.into(), 7u32.into(), 1.0f64.into()]), "argument 2");
    assert_refused(go(&[p.into(), 1.0f32.into(), 1.0f32.into()]), "argument 1");
    assert_refused(go(&[p.into(), 7u32.into(), 1u32.into()]), "argument 2");
    assert!(matches!(d.launch(&module, "other", Shape::line(1, 1), &[]), Err(Error::Launch(_))));
}

#[test]
fn limits_of_the_gpu() {
    let module = module(".param .u64 out", "");
    let mut d = Device::new(DeviceOptions::default());
    let out = [Arg::from(d.alloc(4))];
    let shape = |grid, block| Shape { grid, block, shared: 0 };
    let go = |d: &mut Device, shape: Shape| d.launch(&module, "k", shape, &out);
    go(&mut d, shape([1, 1, 1], [1024, 1, 1])).expect("the most threads");
    assert_refused(go(&mut d, shape([1, 1, 1], [1025, 1, 1])), "1025 threads");
    assert_refused(go(&mut d, shape([1, 1, 1], [32, 33, 1])), "1056 threads");
    assert_refused(go(&mut d, shape([1, 1, 1], [1, 1, 65])), "block");
    assert_refused(go(&mut d, shape([1, 1, 1], [0, 1, 1])), "0 threads");
    assert_refused(go(&mut d, shape([0, 1, 1], [1, 1, 1])), "grid");
    assert_refused(go(&mut d, shape([1, 65536, 1], [1, 1, 1])), "grid");
    assert_refused(go(&mut d, shape([1, 1, 65536], [1, 1, 1])), "grid");
}

/// `tile` takes 512 bytes.
#[test]
fn shared_memory_of_the_gpu() {
    let module = module(".param .u64 out", "mov.u32 %r0, tile;\nst.shared.u32 [%r0], 1;");
    for (gpu, kib) in [(&RTX_3060, 99), (&A100, 163), (&H100_SXM, 227)] {
        let mut d = Device::new(DeviceOptions { gpu, ..DeviceOptions::default() });
        let out = [Arg::from(d.alloc(4))];
        let go = |d: &mut Device, bytes| d.launch(&module, "k", Shape::line(1, 1).with_shared(bytes), &out);
        let plain = 48 * 1024 - 512;
        go(&mut d, plain).expect("48 KiB together");
        assert_refused(go(&mut d, plain + 1), "dynamic shared memory");
        // There is more for those who ask.
        let most = kib * 1024 - 512;
        assert!(matches!(d.allow_shared(&module, "k", most + 1), Err(Error::Launch(_))));
        d.allow_shared(&module, "k", most).expect("what the GPU has");
        go(&mut d, most).expect("as much as was asked for");
        assert_refused(go(&mut d, most + 1), "dynamic shared memory");
    }
}

#[test]
fn registers_of_the_gpu() {
    let module = module(".param .u64 out", "");
    let mut d = Device::new(DeviceOptions::default());
    let out = [Arg::from(d.alloc(4))];
    let go = |d: &mut Device, threads| d.launch(&module, "k", Shape::line(1, threads), &out);
    // An SM has 65,536: 64 for each of 1024 threads.
    d.set_registers(&module, "k", 64).expect("a kernel");
    go(&mut d, 1024).expect("they fit");
    d.set_registers(&module, "k", 72).expect("a kernel");
    assert_refused(go(&mut d, 1024), "registers");
    go(&mut d, 768).expect("fewer threads fit");
    d.set_registers(&module, "k", 256).expect("a kernel");
    assert_refused(go(&mut d, 32), "registers");
}

#[test]
fn memory_as_the_host_sees_it() {
    let module = module(".param .u64 out", "ld.param.u64 %d0, [out];\nst.global.u32 [%d0], 1;");
    let mut d = Device::new(DeviceOptions::default());
    let p = d.alloc(4);
    let go = |d: &mut Device, arg: Arg| d.launch(&module, "k", Shape::line(1, 1), &[arg]);
    let kind = |result| match result {
        Err(Error::Fault(f)) => f.kind,
        other => panic!("{other:?}"),
    };
    assert!(matches!(d.read(p, &mut [0; 4]), Err(Error::Memory(_))), "nothing has written it");
    assert!(matches!(d.write(p, &[0; 5]), Err(Error::Memory(_))), "it is too long");
    d.protect(p, true).expect("an allocation");
    assert_eq!(kind(go(&mut d, p.into())), FaultKind::ReadOnly);
    d.protect(p, false).expect("an allocation");
    assert_eq!(kind(go(&mut d, Arg::read_only(p))), FaultKind::ReadOnly);
    go(&mut d, p.into()).expect("read-only was for that launch");
    d.free(p).expect("an allocation");
    assert_eq!(kind(go(&mut d, p.into())), FaultKind::UseAfterFree);
    assert!(d.free(p).is_err(), "it is freed");
    assert!(d.write(p, &[0; 4]).is_err() && d.read(p, &mut [0; 4]).is_err(), "it is freed");
}

/// What a check that may be left out forbids: reported where it is the only one of them, passed where it is off too.
fn may_be_left_out(kind: FaultKind, grid: u32, body: &str) {
    use FaultKind::{AsyncPending, GlobalRace, InactiveLane, ReadOnly, SharedRace, Uninitialised};
    let others = [AsyncPending, GlobalRace, InactiveLane, ReadOnly, SharedRace, Uninitialised].into_iter();
    let others = others.filter(|&other| other != kind);
    let only = others.fold(Checks::all(), |checks, other| checks.without(other).expect("it may be left out"));
    match run_with(DeviceOptions { checks: only, ..DeviceOptions::default() }, grid, 32, body) {
        Err(Error::Fault(f)) => assert_eq!(f.kind, kind),
        other => panic!("{kind:?} was expected, not {other:?}"),
    }
    let none = only.without(kind).expect("it may be left out");
    let options = DeviceOptions { checks: none, ..DeviceOptions::default() };
    run_with(options, grid, 32, body).unwrap_or_else(|e| panic!("{kind:?} is off: {e}"));
}

#[test]
fn uninitialised_may_be_left_out() {
    may_be_left_out(FaultKind::Uninitialised, 1, "ld.shared.u32 %r5, [%r4];");
}

#[test]
fn shared_races_may_be_left_out() {
    let swap = "st.shared.u32 [%r4], %r0;\nxor.b32 %r5, %r3, 4;\nadd.u32 %r5, %r2, %r5;\nld.shared.u32 %r6, [%r5];";
    may_be_left_out(FaultKind::SharedRace, 1, swap);
}

#[test]
fn global_races_may_be_left_out() {
    may_be_left_out(FaultKind::GlobalRace, 2, "st.global.u32 [%d0], %r1;");
}

#[test]
fn pending_copies_may_be_left_out() {
    let copy = "cp.async.ca.shared.global [%r4], [%d2], 4;\nld.shared.u32 %r6, [%r4];";
    may_be_left_out(FaultKind::AsyncPending, 1, copy);
}

#[test]
fn inactive_lanes_may_be_left_out() {
    let half = "setp.lt.u32 %p0, %r0, 16;\n@!%p0 bra $skip;\nshfl.sync.down.b32 %r5, %r0, 1, 31, 65535;\n$skip:";
    may_be_left_out(FaultKind::InactiveLane, 1, half);
}

#[test]
fn read_only_may_be_left_out() {
    let module = module(".param .u64 out", "ld.param.u64 %d0, [out];\nst.global.u32 [%d0], 1;");
    let go = |checks| {
        let mut d = Device::new(DeviceOptions { checks, ..DeviceOptions::default() });
        let p = d.alloc(4);
        d.launch(&module, "k", Shape::line(1, 1), &[Arg::read_only(p)])
    };
    assert!(matches!(go(Checks::all()), Err(Error::Fault(f)) if f.kind == FaultKind::ReadOnly));
    go(Checks::all().without(FaultKind::ReadOnly).expect("it may be left out")).expect("it is off");
}

#[test]
fn the_other_checks_are_always_on() {
    use FaultKind::{Deadlock, Divergence, Misaligned, OutOfBounds, StepBudget, Trap, Undefined, UseAfterFree};
    for kind in [Deadlock, Divergence, Misaligned, OutOfBounds, StepBudget, Trap, Undefined, UseAfterFree] {
        assert!(matches!(Checks::all().without(kind), Err(Error::Launch(_))), "{kind:?}");
    }
}

#[test]
fn launches_do_not_race_with_each_other() {
    let module = module(
        ".param .u64 out, .param .u32 block",
        "ld.param.u64 %d0, [out];\nld.param.u32 %r0, [block];\nmov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p0, %r0, %r1;\n\
         @%p0 st.global.u32 [%d0], %r1;",
    );
    let mut d = Device::new(DeviceOptions::default());
    let p = d.alloc(4);
    for block in [0u32, 3, 1, 2, 0] {
        d.launch(&module, "k", Shape::line(4, 1), &[p.into(), block.into()]).expect("one block writes");
    }
}

/// Relaxed and volatile accesses of different blocks to one word are no race.
#[test]
fn strong_accesses_do_not_race() {
    for op in
        ["st.volatile.global.u32 [%d0], %r1;", "st.relaxed.gpu.global.u32 [%d0], %r1;", "red.global.add.u32 [%d0], 1;"]
    {
        run(2, 32, op).unwrap_or_else(|e| panic!("{op}: {e}"));
    }
}

#[test]
fn exited_threads_count_as_arrived() {
    run(1, 64, "setp.lt.u32 %p0, %r0, 7;\n@%p0 ret;\nbar.sync 0;").expect("they exited");
}

#[test]
fn lanes_that_spin_on_each_other_go_on() {
    // Lane 0 sets the flag after the others began to wait for it.
    let text = "setp.eq.u32 %p0, %r0, 0;\n@%p0 bra $set;\n$wait:\nld.volatile.global.u32 %r5, [%d0];\n\
                setp.eq.u32 %p1, %r5, 0;\n@%p1 bra $wait;\nbra $done;\n$set:\nst.volatile.global.u32 [%d0], 1;\n\
                $done:\nbar.sync 0;";
    run(1, 32, text).expect("independent thread scheduling");
}

#[test]
fn a_kernel_has_the_shared_variables_that_it_uses() {
    let body = |name: &str, tile: &str| {
        format!(
            ".visible .entry {name}(.param .u64 out)\n{{\n.reg .b64 %d;\n.reg .b32 %r;\nld.param.u64 %d, [out];\n\
             mov.u32 %r, %tid.x;\nst.shared.u32 [{tile}], 7;\nld.shared.u32 %r, [{tile}];\nst.global.u32 [%d], %r;\nret;\n}}\n"
        )
    };
    let ptx = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.shared .align 4 .b8 small[128];\n.shared .align 16 .b8 large[40000];\n{}{}",
        body("a", "small"),
        body("b", "large")
    );
    let module = Module::load(&ptx).expect("it loads");
    assert_eq!(module.entries().iter().map(|e| e.static_shared).collect::<Vec<_>>(), [128, 40000]);
    let mut d = Device::new(DeviceOptions::default());
    let out = d.alloc(4);
    for kernel in ["a", "b"] {
        d.launch(&module, kernel, Shape::line(1, 1), &[out.into()]).expect("it fits");
    }
}

#[test]
fn unwritten_registers_are_zero_in_every_block() {
    // Block 0 sets registers and a predicate that the blocks after it read without having written them; out[0] gets what
    // they find.
    let body = "setp.ne.u32 %p0, %r1, 0;\n@%p0 bra L;\nmov.u32 %r5, 7;\nmov.u64 %d5, 7;\nsetp.eq.u32 %p5, %r1, 0;\n\
                @%p5 mov.u32 %r6, 7;\nret;\nL:\n@%p5 mov.u32 %r5, 9;\ncvt.u32.u64 %r7, %d5;\nadd.u32 %r5, %r5, %r6;\n\
                add.u32 %r5, %r5, %r7;\nsetp.eq.u32 %p6, %r5, 0;\n@%p6 bra M;\ntrap;\nM:";
    for shuffle in [false, true] {
        let options = DeviceOptions { threads: 1, shuffle, ..DeviceOptions::default() };
        run_with(options, 4, 32, body).expect("all are zero");
    }
}

#[test]
fn only_predicates_take_a_truth_value() {
    for line in
        ["setp.eq.u32 1, %r0, %r1;", "mov.pred 0, %p0;", "and.pred 1, %p0, %p1;", "vote.sync.any.pred 1, %p0, -1;"]
    {
        let ptx = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n.reg .pred %p<2>;\n.reg .b32 %r<2>;\n\
             {line}\nret;\n}}\n"
        );
        assert!(Module::load(&ptx).is_err(), "{line}");
    }
}
