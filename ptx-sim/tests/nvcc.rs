//! Kernels that nvcc compiled, compared with plain Rust; and the faults of their broken twins.

use ptx_sim::{Counters, Device, DeviceOptions, Error, FaultKind, Module, Shape};

fn module() -> Module {
    Module::load(include_str!("ptx/kernels.ptx")).expect("the module loads")
}

fn device() -> Device {
    Device::new(DeviceOptions::default())
}

fn upload<T: Copy, const N: usize>(d: &mut Device, v: &[T], bytes: impl Fn(T) -> [u8; N]) -> u64 {
    let raw: Vec<u8> = v.iter().flat_map(|&x| bytes(x)).collect();
    let at = d.alloc(raw.len());
    d.write(at, &raw).expect("the allocation takes it");
    at
}

fn download<T, const N: usize>(d: &mut Device, at: u64, n: usize, value: impl Fn([u8; N]) -> T) -> Vec<T> {
    let mut raw = vec![0; n * N];
    d.read(at, &mut raw).expect("all was written");
    raw.chunks_exact(N).map(|c| value(c.try_into().expect("N bytes"))).collect()
}

enum Arg {
    P(u64),
    I(i32),
    F(f32),
}

fn try_run(
    d: &mut Device,
    m: &Module,
    name: &str,
    grid: u32,
    block: u32,
    shared: usize,
    args: &[Arg],
) -> Result<Counters, Error> {
    let args: Vec<ptx_sim::Arg> = args
        .iter()
        .map(|a| match *a {
            Arg::P(x) => x.into(),
            Arg::I(x) => x.into(),
            Arg::F(x) => x.into(),
        })
        .collect();
    d.launch(m, name, Shape::line(grid, block).with_shared(shared), &args)
}

fn run(d: &mut Device, m: &Module, name: &str, grid: u32, block: u32, shared: usize, args: &[Arg]) -> Counters {
    try_run(d, m, name, grid, block, shared, args).unwrap_or_else(|e| panic!("{e}"))
}

fn fault(result: Result<Counters, Error>) -> (FaultKind, String) {
    match result {
        Err(Error::Fault(f)) => (f.kind, f.to_string()),
        other => panic!("a fault was expected, not {other:?}"),
    }
}

#[test]
fn saxpy_and_its_counters() {
    let (m, mut d) = (module(), device());
    let x: Vec<f32> = (0..1000).map(|i| i as f32 * 0.37 - 5.0).collect();
    let (px, py) = (upload(&mut d, &x, f32::to_le_bytes), upload(&mut d, &x, f32::to_le_bytes));
    let c = run(&mut d, &m, "saxpy", 8, 128, 0, &[Arg::F(1.5), Arg::P(px), Arg::P(py), Arg::I(1000)]);
    let y = download(&mut d, py, 1000, f32::from_le_bytes);
    for (x, y) in x.iter().zip(&y) {
        assert_eq!(*y, 1.5f32.mul_add(*x, *x));
    }
    assert_eq!((c.blocks, c.warps, c.threads), (8, 32, 1024));
    assert_eq!((c.global_load_requests, c.global_load_sectors), (64, 250));
    assert_eq!((c.global_store_requests, c.global_store_sectors), (32, 125));
    assert_eq!((c.unique_load_sectors, c.unique_store_sectors, c.unique_bytes), (250, 125, 8000));
    assert_eq!((c.flops, c.branches, c.divergent_branches), (2000, 32, 1));
}

#[test]
fn an_off_by_one_bound_is_out_of_bounds() {
    let (m, mut d) = (module(), device());
    let x = vec![1.0f32; 64];
    let (px, py) = (upload(&mut d, &x, f32::to_le_bytes), upload(&mut d, &x, f32::to_le_bytes));
    let args = [Arg::F(1.5), Arg::P(px), Arg::P(py), Arg::I(65)];
    let (kind, text) = fault(try_run(&mut d, &m, "saxpy", 1, 128, 0, &args));
    assert_eq!(kind, FaultKind::OutOfBounds);
    assert!(text.contains("thread [64, 0, 0]") && text.contains("kernels.cu:7"), "{text}");
}

#[test]
fn divergent_loop() {
    let (m, mut d) = (module(), device());
    let x: Vec<u32> = (1..200).collect();
    let (px, py) = (upload(&mut d, &x, u32::to_le_bytes), d.alloc(199 * 4));
    let c = run(&mut d, &m, "collatz", 4, 64, 0, &[Arg::P(px), Arg::P(py), Arg::I(199)]);
    for (x, got) in x.iter().zip(download(&mut d, py, 199, u32::from_le_bytes)) {
        let (mut v, mut s) = (*x, 0);
        while v != 1 {
            v = if v % 2 == 1 { 3 * v + 1 } else { v / 2 };
            s += 1;
        }
        assert_eq!(got, s, "start {x}");
    }
    assert!(c.divergent_branches > 0 && c.lane_efficiency() < 0.9);
}

#[test]
fn block_sum_by_shuffles() {
    let (m, mut d) = (module(), device());
    let x: Vec<f32> = (0..3000).map(|i| (i % 17) as f32).collect();
    let (px, py) = (upload(&mut d, &x, f32::to_le_bytes), d.alloc(12));
    run(&mut d, &m, "block_sum", 3, 256, 0, &[Arg::P(px), Arg::P(py), Arg::I(1000)]);
    let want: Vec<f32> = x.chunks(1000).map(|c| c.iter().sum()).collect();
    assert_eq!(download(&mut d, py, 3, f32::from_le_bytes), want);
}

#[test]
fn reversal_needs_its_barrier() {
    let (m, mut d) = (module(), device());
    let x: Vec<i32> = (0..128).collect();
    let p = upload(&mut d, &x, i32::to_le_bytes);
    let c = run(&mut d, &m, "reverse", 1, 128, 512, &[Arg::P(p), Arg::I(1)]);
    let want: Vec<i32> = (0..128).rev().collect();
    assert_eq!(download(&mut d, p, 128, i32::from_le_bytes), want);
    assert_eq!((c.barriers, c.shared_load_wavefronts, c.shared_store_wavefronts), (4, 4, 4));
    let (kind, _) = fault(try_run(&mut d, &m, "reverse", 1, 128, 512, &[Arg::P(p), Arg::I(0)]));
    assert!(matches!(kind, FaultKind::SharedRace | FaultKind::Uninitialised));
    let (kind, _) = fault(try_run(&mut d, &m, "reverse", 1, 128, 508, &[Arg::P(p), Arg::I(1)]));
    assert_eq!(kind, FaultKind::OutOfBounds);
}

#[test]
fn compaction_by_ballot() {
    let (m, mut d) = (module(), device());
    let x: Vec<i32> = (0..500).map(|i| (i * 7919) % 13 - 6).collect();
    let (px, out, count) =
        (upload(&mut d, &x, i32::to_le_bytes), d.alloc(2000), upload(&mut d, &[0u32], u32::to_le_bytes));
    run(&mut d, &m, "compact", 4, 128, 0, &[Arg::P(px), Arg::P(out), Arg::P(count), Arg::I(500)]);
    let n = download(&mut d, count, 1, u32::from_le_bytes)[0] as usize;
    let mut got = download(&mut d, out, n, i32::from_le_bytes);
    let mut want: Vec<i32> = x.into_iter().filter(|&v| v > 0).collect();
    got.sort_unstable();
    want.sort_unstable();
    assert_eq!(got, want);
}

#[test]
fn device_function_with_a_switch() {
    let (m, mut d) = (module(), device());
    let x: Vec<f32> = (1..100).map(|i| i as f32 * 0.21).collect();
    let (px, py) = (upload(&mut d, &x, f32::to_le_bytes), d.alloc(99 * 4));
    run(&mut d, &m, "functions", 1, 128, 0, &[Arg::P(px), Arg::P(py), Arg::I(99)]);
    for (i, (&x, y)) in x.iter().zip(download(&mut d, py, 99, f32::from_le_bytes)).enumerate() {
        let want = match i % 8 {
            0 => x,
            1 => x * x,
            2 => x * x * x,
            3 => 1.0 / x,
            4 => x.sqrt(),
            5 => x.exp(),
            6 => x.ln(),
            _ => -x,
        };
        assert!((y - want).abs() <= want.abs() * 4e-7 + 1e-7, "function {} of {x}: {y}, not {want}", i % 8);
    }
}

#[test]
fn local_arrays() {
    let (m, mut d) = (module(), device());
    let x: Vec<i32> = (0..256).map(|i| (i * 37) % 101).collect();
    let p = upload(&mut d, &x, i32::to_le_bytes);
    let c = run(&mut d, &m, "local_sort", 1, 32, 0, &[Arg::P(p)]);
    for (got, x) in download(&mut d, p, 256, i32::from_le_bytes).chunks(8).zip(x.chunks(8)) {
        let mut want = x.to_vec();
        want.sort_unstable();
        assert_eq!(got, want);
    }
    assert!(c.local_bytes > 0);
}

#[test]
fn packed_halves() {
    use half::{bf16, f16};
    let (m, mut d) = (module(), device());
    let v: Vec<f32> = (0..64).map(|i| i as f32 * 0.173 - 4.0).collect();
    let h: Vec<f16> = v.iter().map(|&x| f16::from_f32(x)).collect();
    let b: Vec<bf16> = v.iter().map(|&x| bf16::from_f32(x)).collect();
    let (ph, pb) = (upload(&mut d, &h, f16::to_le_bytes), upload(&mut d, &b, bf16::to_le_bytes));
    let (oh, ob) = (d.alloc(128), d.alloc(128));
    run(&mut d, &m, "halves", 1, 32, 0, &[Arg::P(ph), Arg::P(pb), Arg::P(oh), Arg::P(ob)]);
    for (x, y) in h.iter().zip(download(&mut d, oh, 64, f16::from_le_bytes)) {
        let x = x.to_f64();
        assert_eq!(y, f16::from_f64(x * x + x.max(0.5)));
    }
    for (x, y) in b.iter().zip(download(&mut d, ob, 64, bf16::from_le_bytes)) {
        let square = bf16::from_f32(x.to_f32() * x.to_f32());
        assert_eq!(y, bf16::from_f32(square.to_f32() + x.to_f32()));
    }
}

#[test]
fn tensor_core_tile_needs_its_wait() {
    use half::bf16;
    let (m, mut d) = (module(), device());
    let a: Vec<bf16> = (0..256).map(|i| bf16::from_f32(((i * 31) % 23) as f32 - 11.0)).collect();
    let b: Vec<bf16> = (0..128).map(|i| bf16::from_f32(((i * 17) % 19) as f32 - 9.0)).collect();
    let (pa, pb, pc) = (upload(&mut d, &a, bf16::to_le_bytes), upload(&mut d, &b, bf16::to_le_bytes), d.alloc(512));
    let c = run(&mut d, &m, "tile_mma", 1, 32, 0, &[Arg::P(pa), Arg::P(pb), Arg::P(pc), Arg::I(1)]);
    assert_eq!((c.mma_instructions, c.mma_flops), (1, 4096));
    for (i, got) in download(&mut d, pc, 128, f32::from_le_bytes).into_iter().enumerate() {
        let want: f32 = (0..16).map(|k| a[i / 8 * 16 + k].to_f32() * b[k * 8 + i % 8].to_f32()).sum();
        assert_eq!(got, want, "row {} column {}", i / 8, i % 8);
    }
    let (kind, _) = fault(try_run(&mut d, &m, "tile_mma", 1, 32, 0, &[Arg::P(pa), Arg::P(pb), Arg::P(pc), Arg::I(0)]));
    assert_eq!(kind, FaultKind::AsyncPending);
}

#[test]
fn blocks_that_spin_on_each_other() {
    for seed in 0..4 {
        let (m, mut d) = (module(), Device::new(DeviceOptions { seed, ..DeviceOptions::default() }));
        let ticket = upload(&mut d, &[0u32; 41], u32::to_le_bytes);
        let sum = upload(&mut d, &[0u32], u32::to_le_bytes);
        run(&mut d, &m, "chain", 40, 64, 0, &[Arg::P(ticket), Arg::P(ticket + 4), Arg::P(sum)]);
        let want = (0..40u32).fold(0u32, |s, i| s.wrapping_mul(3).wrapping_add(i));
        assert_eq!(download(&mut d, sum, 1, u32::from_le_bytes), [want]);
    }
}
