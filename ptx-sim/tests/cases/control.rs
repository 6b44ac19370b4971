//! Branches, loops, switches and calls; grids, blocks and shared memory of several shapes.

use super::edgy;
use crate::args;
use crate::host::{Host, Random, cover, line};
use crate::reference;
use ptx_sim::{Error, Shape};

pub fn control(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    let n = 333;
    let small = |random: &mut Random, below: u64| (0..n).map(|_| (random.word() % below) as u32).collect::<Vec<_>>();
    let any = edgy(&mut random, n).into_iter().map(|v| v as u32).collect::<Vec<_>>();
    let cases = [3, 77, 78, 1000, 100_000, u32::MAX, 5];
    let scattered: Vec<u32> = (0..n).map(|_| cases[(random.word() % 7) as usize]).collect();
    let starts: Vec<u32> = small(&mut random, 10_000).iter().map(|v| v + 1).collect();
    type Formula = fn((usize, &u32)) -> u32;
    let kernels: [(&str, &[u32], Formula); 8] = [
        ("collatz", &starts, |(_, &v)| reference::collatz(v)),
        ("nested", &small(&mut random, 40), |(_, &v)| reference::nested(v)),
        ("dense_switch", &random.words(n), |(i, &v)| reference::dense_switch(i as u32, v)),
        ("dense_switch", &small(&mut random, 3), |(i, &v)| reference::dense_switch(i as u32, v)),
        ("sparse_switch", &scattered, |(_, &v)| reference::sparse_switch(v)),
        ("jump_table", &any, |(_, &v)| reference::jump_table(v)),
        ("call_twice", &any, |(_, &v)| reference::call_twice(v)),
        ("local_array", &any, |(_, &v)| reference::local_array(v)),
    ];
    for (kernel, x, formula) in kernels {
        let (px, y) = (host.input(x), host.output::<u32>(n));
        host.run("control", kernel, cover(n, 96), &args![px, y, n as i32]);
        assert_eq!(host.read::<u32>(y, n), x.iter().enumerate().map(formula).collect::<Vec<_>>(), "{kernel}");
    }

    let x = random.floats(n, -2.0, 2.0);
    let (px, y) = (host.input(&x), host.output::<f32>(n));
    host.run("control", "device_call", cover(n, 96), &args![px, y, n as i32]);
    let want: Vec<f32> = x.iter().enumerate().map(|(i, &v)| reference::device_call(i, v)).collect();
    assert_eq!(host.read::<f32>(y, n), want);

    let mut x: Vec<i32> = (0..320).map(|_| (random.word() % 200) as i32 - 100).collect();
    x.iter_mut().step_by(32).for_each(|v| *v = v.abs());
    let (px, y) = (host.input(&x), host.output::<i32>(320));
    host.run("control", "early", cover(320, 64), &args![px, y]);
    assert_eq!(host.read::<i32>(y, 320), reference::early(&x));
    let (px, y) = (host.input(&x), host.output::<i32>(320));
    host.run("control", "warp_rotate", cover(320, 128), &args![px, y, 320]);
    assert_eq!(host.read::<i32>(y, 320), reference::warp_rotate(&x));
}

pub fn shapes(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for (grid, block) in
        [([3, 1, 1], [33, 1, 1]), ([2, 3, 1], [5, 7, 1]), ([2, 1, 3], [3, 4, 5]), ([1, 2, 2], [1, 1, 64])]
    {
        let size = block.iter().product::<u32>();
        let total = (size * grid.iter().product::<u32>()) as usize;
        let out = host.output::<u32>(8 * total);
        host.run("shapes", "coordinates", Shape { grid, block, shared: 0 }, &args![out]);
        let got = host.read::<u32>(out, 8 * total);
        for (i, got) in (0..).zip(got.chunks(8)) {
            let split = |v: u32, [x, y, _]: [u32; 3]| [v % x, v / x % y, v / (x * y)];
            let ([tx, ty, tz], [bx, by, bz]) = (split(i % size, block), split(i / size, grid));
            assert_eq!(got, [tx, ty, tz, bx, by, bz, i % size % 32, size]);
        }
    }

    for (rows, cols) in [(1, 1), (32, 32), (33, 65), (70, 31)] {
        let x = random.floats(rows * cols, -1.0, 1.0);
        let (px, y) = (host.input(&x), host.output::<f32>(rows * cols));
        let grid = [cols.div_ceil(32) as u32, rows.div_ceil(32) as u32, 1];
        let args = args![px, y, rows as i32, cols as i32];
        host.run("shapes", "transpose", Shape { grid, block: [32, 8, 1], shared: 0 }, &args);
        let want: Vec<f32> = (0..rows * cols).map(|p| x[p % rows * cols + p / rows]).collect();
        assert_eq!(host.read::<f32>(y, rows * cols), want, "{rows} {cols}");
    }

    for (n, r, threads) in [(1, 0, 32), (100, 3, 32), (1001, 40, 96)] {
        let x = random.floats(n, -1.0, 1.0);
        let mut shape = cover(n, threads);
        shape.shared = 4 * (threads + 2 * r);
        let blocks = shape.grid[0] as usize;
        let (px, y, counts) = (host.input(&x), host.output::<f32>(n), host.output::<i32>(blocks));
        host.run("shapes", "box_sum", shape, &args![px, y, counts, r as i32, n as i32]);
        assert_eq!(host.read::<f32>(y, n), reference::box_sum(&x, r));
        let want: Vec<i32> = (0..blocks).map(|b| threads.min(n - b * threads) as i32).collect();
        assert_eq!(host.read::<i32>(counts, blocks), want);
    }

    let [nx, ny, nz] = [13usize, 7, 5];
    let x = random.floats(nx * ny * nz, -1.0, 1.0);
    let (px, y) = (host.input(&x), host.output::<f32>(x.len()));
    let shape = Shape { grid: [2, 2, 3], block: [8, 4, 2], shared: 0 };
    host.run("shapes", "volume", shape, &args![px, y, 13, 7, 5]);
    assert_eq!(host.read::<f32>(y, x.len()), reference::volume(&x, nx, ny, nz));

    for (words, threads) in [(1, 32), (1000, 96), (12_288, 256), (25_000, 256)] {
        let out = host.output::<u32>(threads);
        let shape = line(1, threads).with_shared(4 * words);
        if words > 12_288 {
            // More than 48 KiB must be asked for.
            let refused = host.launch("shapes", "big_shared", shape, &args![out, words as i32]);
            assert!(matches!(refused, Err(Error::Launch(_))), "{refused:?}");
            let (device, module) = host.load("shapes").expect("it ran before");
            device.allow_shared(module, "big_shared", 4 * words).expect("the GPU has 99 KiB");
        }
        host.run("shapes", "big_shared", shape, &args![out, words as i32]);
        let want = reference::big_shared(words as u32, threads as u32);
        assert_eq!(host.read::<u32>(out, threads), want);
    }
}
