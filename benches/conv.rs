//! GFLOP/s of every pass, layer and algorithm on one core, and as a share of the core's measured FMA peak.
//!
//! `cargo bench --bench conv [-- words]`. GFLOP/s count the direct sum's operations, so Winograd may pass the peak.

use ham_engine::cpu::layout::MapShape;
use ham_engine::cpu::peak::peak_gflops;
use ham_engine::cpu::simd::{CacheLine, Level};
use ham_engine::ops::conv::cases::{Case, LAYERS};
use ham_engine::ops::conv::cpu::{self, Act, Algo, DgradArgs, FpropArgs, Pass};
use ham_engine::ops::stem::{cpu as stem_cpu, stem};
use ham_engine::program::Conv;
use std::time::{Duration, Instant};

/// The shortest time in seconds of one call of `f`, over a quarter of a second.
fn time(f: &mut dyn FnMut()) -> f64 {
    f();
    let (start, mut best) = (Instant::now(), f64::MAX);
    while start.elapsed().as_secs_f64() < 0.25 {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
    }
    best
}

/// Small values, so that sums neither overflow nor go denormal.
fn buffer(len: usize) -> Vec<CacheLine> {
    let line = |i: usize| CacheLine(std::array::from_fn(|j| ((i * 16 + j) * 7919 % 1000) as f32 / 1000.0 - 0.5));
    (0..len.div_ceil(16)).map(line).collect()
}

fn f32s(lines: &mut [CacheLine]) -> &mut [f32] {
    bytemuck::cast_slice_mut(lines)
}

fn bench(level: Level, case: &Case, report: &mut impl FnMut(&str, &str, f64, &mut dyn FnMut())) {
    let (conv, n) = (case.conv, case.n);
    let flops = 2.0 * (n * conv.macs()) as f64;
    let (x_map, y_map) = (MapShape::x(&conv), MapShape::y(&conv));
    let (mut x, mut y) = (buffer(n * x_map.example()), buffer(n * y_map.example()));
    let (mut a, mut dx) = (buffer(n * y_map.example()), buffer(n * x_map.example()));
    let (x, y, a, dx) = (f32s(&mut x), f32s(&mut y), f32s(&mut a), f32s(&mut dx));
    let mut bits = vec![0xa5a5u16; n * x_map.bits().max(y_map.bits())];
    let (w, mut dw) = (vec![0.01; conv.filter_len()], vec![0.0; conv.filter_len()]);
    for algo in [Algo::Direct, Algo::Winograd] {
        if !algo.supports(&conv) {
            continue;
        }
        let best = if algo == Algo::best(&conv) { "*" } else { "" };
        let mut scratch = buffer(cpu::scratch(&conv, algo, n));
        let name = format!("{algo:?}{best}");
        for pass in [Pass::Fprop, Pass::Dgrad] {
            let mut filter = buffer(cpu::filter_len(&conv, pass, algo));
            let filter = f32s(&mut filter);
            report(&format!("Pack {}", if pass == Pass::Fprop { "fwd" } else { "bwd" }), &name, 0.0, &mut || {
                cpu::pack(level, &conv, pass, algo, &w, None, None, filter);
            });
            report(&format!("{pass:?}"), &name, flops, &mut || {
                // SAFETY: the buffers hold `n` examples.
                unsafe {
                    match pass {
                        Pass::Fprop => cpu::fprop(
                            level,
                            FpropArgs {
                                conv,
                                algo,
                                n,
                                x: x.as_ptr(),
                                filter,
                                bias: None,
                                residual: None,
                                y: None,
                                act: Some(Act { a: a.as_mut_ptr(), affine: None, bits: Some(bits.as_mut_ptr()) }),
                                scratch: f32s(&mut scratch),
                            },
                        ),
                        Pass::Dgrad => cpu::dgrad(
                            level,
                            DgradArgs {
                                conv,
                                algo,
                                n,
                                dy: y.as_ptr(),
                                filter,
                                bits: Some(bits.as_ptr()),
                                residual: None,
                                dx: dx.as_mut_ptr(),
                                scratch: f32s(&mut scratch),
                            },
                        ),
                    }
                }
            });
        }
    }
    let mut scratch = buffer(cpu::wgrad_scratch(&conv, n));
    report("Wgrad", "Direct*", flops, &mut || {
        // SAFETY: the buffers hold `n` examples.
        unsafe { cpu::wgrad(level, &conv, n, x.as_ptr(), y.as_ptr(), &mut dw, f32s(&mut scratch)) };
    });
}

fn bench_stem(level: Level, stem: Conv, n: usize, report: &mut impl FnMut(&str, &str, f64, &mut dyn FnMut())) {
    let map = MapShape::y(&stem);
    let flops = 2.0 * (n * stem.macs()) as f64;
    let (mut images, mut gradient, mut y) =
        (buffer(n * stem.input_len()), buffer(n * stem.input_len()), buffer(n * map.example()));
    let (images, gradient, y) = (f32s(&mut images), f32s(&mut gradient), f32s(&mut y));
    let mut bits = vec![0u16; n * map.bits()];
    let (w, mut dw) = (vec![0.01; stem.filter_len()], vec![0.0; stem.filter_len()]);
    let mut filter = buffer(stem_cpu::filter_len(&stem));
    let filter = f32s(&mut filter);
    let mut scratch = buffer(stem_cpu::scratch(&stem).max(stem_cpu::wgrad_scratch(&stem, n)));
    let scratch = f32s(&mut scratch);
    stem_cpu::pack(&stem, Pass::Fprop, &w, None, None, filter);
    report("Fprop", "Direct*", flops, &mut || {
        let act = Some(Act { a: y.as_mut_ptr(), affine: None, bits: Some(bits.as_mut_ptr()) });
        let image = images.as_ptr();
        let args = stem_cpu::FpropArgs { stem, n, image, norm: None, filter, bias: None, y: None, act, scratch };
        // SAFETY: the buffers hold `n` examples.
        unsafe { stem_cpu::fprop(level, args) };
    });
    report("Dgrad", "Direct*", flops, &mut || {
        // SAFETY: as above.
        unsafe { stem_cpu::dgrad(level, &stem, n, y.as_ptr(), filter, gradient.as_mut_ptr()) };
    });
    report("Wgrad", "Direct*", flops, &mut || {
        // SAFETY: as above.
        unsafe { stem_cpu::wgrad(level, &stem, n, images.as_ptr(), None, y.as_ptr(), &mut dw, scratch) };
    });
}

fn main() {
    // Words that a line must all contain, such as `small Winograd Fprop`.
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    // One core: the peak, and every pass, is of one.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    pool.install(|| {
        let level = Level::detect();
        let peak = peak_gflops(level, Duration::from_millis(250));
        println!("{level}, one core, measured FMA peak {peak:.1} GFLOP/s; * is the algorithm chosen\n");
        let title = "layer (n, c, k, h, filter/stride)";
        println!("{title:43} {:12} {:10} {:>9} {:>9} {:>6}", "pass", "algo", "us/image", "GFLOP/s", "peak");
        let line = |layer: &str, n: usize, pass: &str, algo: &str, flops: f64, f: &mut dyn FnMut()| {
            let text = format!("{layer:43} {pass:12} {algo:10}");
            if !words.iter().all(|w| text.contains(w.as_str())) {
                return;
            }
            let seconds = time(f);
            if flops > 0.0 {
                let (us, g) = (seconds * 1e6 / n as f64, flops / seconds / 1e9);
                println!("{text} {us:9.1} {g:9.1} {:5.0}%", 100.0 * g / peak);
            } else {
                println!("{text} {:9.1} us a call", seconds * 1e6);
            }
        };
        for (name, n, stem) in [("small stem", 8, stem(1, 16, 28, 28)), ("resnet18 stem", 4, stem(3, 64, 32, 32))] {
            let layer = format!("{name} ({n}, {}, {}, {}, 3/1)", stem.c, stem.k, stem.h);
            bench_stem(level, stem, n, &mut |pass, algo, flops, f| line(&layer, n, pass, algo, flops, f));
        }
        for Case { name, n, conv } in LAYERS {
            let layer = format!("{name} ({n}, {}, {}, {}, {}/{})", conv.c, conv.k, conv.h, conv.filter, conv.stride);
            let case = Case { name, n: *n, conv: *conv };
            bench(level, &case, &mut |pass, algo, flops, f| line(&layer, *n, pass, algo, flops, f));
        }
    });
}
