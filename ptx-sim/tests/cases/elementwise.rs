//! One thread per element: arithmetic of every type.

use super::{EPS, assert_close, edgy};
use crate::args;
use crate::host::{Element, Host, Random, cover, line};
use crate::reference;
use half::{bf16, f16};

pub fn axpy(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for n in [8, 96, 1000] {
        let (a, x, y) = (random.float(-2.0, 2.0), random.floats(n, -4.0, 4.0), random.floats(n, -4.0, 4.0));
        let (px, py) = (host.input(&x), host.inout(&y));
        host.run("elementwise", "saxpy", cover(n, 96), &args![a, px, py, n as i32]);
        assert_eq!(host.read::<f32>(py, n), x.iter().zip(&y).map(|(x, y)| a.mul_add(*x, *y)).collect::<Vec<_>>());

        let [x, y] = [x, y].map(|v| v.into_iter().map(bf16::from_f32).collect::<Vec<_>>());
        let (px, py) = (host.input(&x), host.inout(&y));
        host.run("elementwise", "bf16_axpy", cover(n / 8, 32), &args![a, px, py, n as i32]);
        let a = bf16::from_f32(a).to_f64();
        // A product and a sum of bf16 values of such exponents are exact in f64.
        let want: Vec<bf16> = x.iter().zip(&y).map(|(x, y)| reference::to_bf16(a * x.to_f64() + y.to_f64())).collect();
        assert_eq!(host.read::<bf16>(py, n), want);
    }
}

pub fn halves(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    let pairs = 101;
    // Magnitudes between 2^-6 and 8: every result is exact in f64 before its one rounding.
    let mut values = || {
        let mut value = || f64::from(random.float(0.016, 8.0)) * if random.word() & 1 == 0 { 1.0 } else { -1.0 };
        (0..2 * pairs).map(|_| value()).collect::<Vec<_>>()
    };
    let (x, y) = (values(), values());
    pair_ops(host, "half_ops", reference::to_f16, |h: f16| f64::from(h.to_f32()), &x, &y);
    pair_ops(host, "bf16_ops", reference::to_bf16, |b: bf16| f64::from(b.to_f32()), &x, &y);

    let n = 203;
    let x = Random(seed + 1).floats(n, -70.0, 70.0);
    let integers: Vec<i32> = (0..n as i32).map(|i| (i - 100) * 37).collect();
    let (px, pi) = (host.input(&x), host.input(&integers));
    let out = [host.output::<f16>(n), host.output::<bf16>(n), host.output::<f32>(2 * n)];
    let (down, up) = (host.output::<i32>(n), host.output::<f16>(n));
    let args = args![px, pi, out[0], out[1], out[2], down, up, n as i32];
    host.run("elementwise", "half_convert", cover(n, 64), &args);
    let h: Vec<f16> = x.iter().map(|&v| reference::to_f16(f64::from(v))).collect();
    let b: Vec<bf16> = x.iter().map(|&v| reference::to_bf16(f64::from(v))).collect();
    assert_eq!(host.read::<f16>(out[0], n), h);
    assert_eq!(host.read::<bf16>(out[1], n), b);
    let back: Vec<f32> = h.iter().zip(&b).flat_map(|(h, b)| [h.to_f32(), b.to_f32()]).collect();
    assert_eq!(host.read::<f32>(out[2], 2 * n), back);
    assert_eq!(host.read::<i32>(down, n), h.iter().map(|h| h.to_f32() as i32).collect::<Vec<_>>());
    let want: Vec<f16> = integers.iter().map(|&i| reference::to_f16(f64::from(i))).collect();
    assert_eq!(host.read::<f16>(up, n), want);
}

fn pair_ops<T: Element>(
    host: &mut Host,
    kernel: &str,
    narrow: fn(f64) -> T,
    widen: fn(T) -> f64,
    x: &[f64],
    y: &[f64],
) {
    let [x, y] = [x, y].map(|v| v.iter().map(|&v| narrow(v)).collect::<Vec<_>>());
    let pairs = x.len() / 2;
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<T>(16 * pairs));
    host.run("elementwise", kernel, cover(pairs, 64), &args![px, py, out, pairs as i32]);
    let got = host.read::<T>(out, 16 * pairs);
    for i in 0..2 * pairs {
        let want = reference::half_ops(widen(x[i]), widen(y[i])).map(narrow);
        let mine: Vec<T> = (0..8).map(|op| got[i / 2 * 16 + op * 2 + i % 2]).collect();
        assert_eq!(mine, want, "{kernel} {:?} {:?}", x[i], y[i]);
    }
}

pub fn numbers(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    let n = 164;
    let count = n as i32;
    let [x, mut adv] = [0.0, 0.03].map(|by| random.floats(n, -by, 1.0 + by));
    let g: Vec<f32> = (0..n).map(|i| if i % 7 == 0 { 0.0 } else { random.float(-1.0, 1.0) }).collect();
    let (pa, px, pg) = (host.inout(&adv), host.input(&x), host.input(&g));
    let (alpha, eps) = (2.0 / 255.0, 8.0 / 255.0);
    host.run("elementwise", "pgd_step", cover(n / 4, 32), &args![pa, px, pg, alpha, eps, count]);
    adv.iter_mut().zip(x.iter().zip(&g)).for_each(|(a, (&x, &g))| *a = reference::pgd_step(*a, x, g, alpha, eps));
    assert_eq!(host.read::<f32>(pa, n), adv);

    let (x, mut y) = (edgy(&mut random, n), edgy(&mut random, n));
    y.rotate_left(3);
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<u32>(16 * n));
    host.run("elementwise", "integers", cover(n, 96), &args![px, py, out, count]);
    let got = host.read::<u32>(out, 16 * n);
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(16)) {
        assert_eq!(got, reference::integers(x, y), "{x} {y}");
    }

    let mut longs = || (0..n).map(|_| random.word() as i64 >> (random.word() % 64)).collect::<Vec<_>>();
    let (x, y) = (longs(), longs());
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<u64>(6 * n));
    host.run("elementwise", "wide", cover(n, 96), &args![px, py, out, count]);
    let got = host.read::<u64>(out, 6 * n);
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(6)) {
        assert_eq!(got, reference::wide(x, y), "{x} {y}");
    }

    let [x, y] = [0, 1].map(|_| (0..n).map(|_| f64::from(random.float(-9.0, 9.0)) / 3.0).collect::<Vec<_>>());
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<f64>(5 * n));
    host.run("elementwise", "doubles", cover(n, 96), &args![px, py, out, count]);
    let got = host.read::<f64>(out, 5 * n);
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(5)) {
        assert_eq!(got, [x + y, x * y, x.mul_add(y, x), f64::from(x as f32), f64::from(y as i32)]);
    }

    let [x, y] = [0.05, 0.4].map(|low| random.floats(n, low, 20.0));
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<f32>(12 * n));
    host.run("elementwise", "math", cover(n, 96), &args![px, py, out, count]);
    let got = host.read::<f32>(out, 12 * n);
    // Units in the last place by the CUDA guide; half a unit where the result is correctly rounded, 0 where it is exact.
    let units = [0.5, 0.5, 2.0, 0.5, 2.0, 1.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0];
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(12)) {
        let want = reference::math(x, y).into_iter().zip(units);
        // One unit is at most EPS times the value, and absolute near the zeros of log and sin.
        assert_close(&format!("math({x}, {y})"), got, want.map(|(w, u)| (w, u * EPS * w.abs().max(1e-30))));
    }

    let x: Vec<u8> = (0..4 * n).map(|_| random.word() as u8).collect();
    let (px, y) = (host.input(&x), host.output::<u8>(4 * n));
    host.run("elementwise", "bytes", cover(n, 96), &args![px, y, count]);
    let want: Vec<u8> = x.chunks(4).flat_map(|c| [255 - c[3], 255 - c[2], 255 - c[1], 255 - c[0]]).collect();
    assert_eq!(host.read::<u8>(y, 4 * n), want);

    let table = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3];
    for bias in [1000, -5] {
        // The first value is the variable's own; the second a kernel sets.
        if bias != 1000 {
            host.run("elementwise", "set_bias", line(1, 1), &args![bias]);
        }
        let (px, y) = (host.input(&x_indices(n)), host.output::<i32>(n));
        host.run("elementwise", "constants", cover(n, 96), &args![px, y, count]);
        let want: Vec<i32> = x_indices(n).iter().map(|&i| table[(i & 15) as usize] + bias).collect();
        assert_eq!(host.read::<i32>(y, n), want);
    }
    // As found, for a case that runs again on the same module.
    host.run("elementwise", "set_bias", line(1, 1), &args![1000]);
}

fn x_indices(n: usize) -> Vec<i32> {
    (0..n as i32).map(|i| i * 7 - 50).collect()
}
