//! The same seed gives the same run, however many host threads there are; another seed another order.

use crate::args;
use crate::host::{Host, Random, line};
use ptx_sim::{Counters, DeviceOptions, Error, Shape};
use std::fmt::Debug;

const THREADS: [usize; 3] = [1, 2, 4];

fn host(seed: u64, threads: usize) -> Host {
    Host::new(DeviceOptions { seed, threads, ..DeviceOptions::default() })
}

/// What `run` gives must not depend on the host's threads, nor on the time of day.
fn same<T: PartialEq + Debug>(run: impl Fn(&mut Host) -> T) {
    for seed in [1, 2, 3] {
        let want = run(&mut host(seed, 1));
        for threads in THREADS {
            for _ in 0..3 {
                assert_eq!(run(&mut host(seed, threads)), want, "seed {seed}, {threads} threads");
            }
        }
    }
}

/// Result and counters of a launch that writes `outputs` words, which are zero before.
fn words(host: &mut Host, program: &str, kernel: &str, shape: Shape, outputs: usize) -> (Vec<u32>, Counters) {
    let (out, ticket) = (host.inout(&vec![0u32; outputs]), host.inout(&[0u32]));
    let counters = match kernel {
        "warps" => host.run(program, kernel, shape, &args![out]),
        _ => host.run(program, kernel, shape, &args![out, ticket]),
    };
    (host.read(out, outputs), counters)
}

#[test]
fn order_of_blocks() {
    same(|host| words(host, "order", "blocks", line(50, 64), 50));
}

#[test]
fn order_of_warps() {
    same(|host| words(host, "order", "warps", line(9, 256), 72));
}

#[test]
fn seeds_change_the_order_of_blocks_and_warps() {
    for (kernel, shape, n) in [("blocks", line(50, 64), 50), ("warps", line(1, 512), 16)] {
        let orders: Vec<Vec<u32>> = (0..4).map(|seed| words(&mut host(seed, 2), "order", kernel, shape, n).0).collect();
        for (i, order) in orders.iter().enumerate() {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..n as u32), "each has a ticket of its own: {order:?}");
            assert!(!orders[..i].contains(order), "{kernel}: two seeds give {order:?}");
        }
    }
}

#[test]
fn without_shuffling_the_order_ascends() {
    for threads in THREADS {
        let mut host = Host::new(DeviceOptions { shuffle: false, threads, ..DeviceOptions::default() });
        let (order, _) = words(&mut host, "order", "blocks", line(50, 64), 50);
        assert!(order.iter().copied().eq(0..50), "{threads} threads: {order:?}");
    }
}

/// Rounding tells any two orders of these additions apart.
#[test]
fn sums_of_floats() {
    same(|host| {
        let (x, total) = (host.input(&Random(5).floats(2048, -1e6, 1e6)), host.inout(&[0.0f32]));
        let counters = host.run("order", "sum", line(16, 128), &args![x, total]);
        (host.read::<f32>(total, 1)[0].to_bits(), counters)
    });
}

/// Blocks that wait for each other, and whose spinning shows in the counters.
#[test]
fn decoupled_look_back() {
    same(|host| {
        let n = 256 * 12;
        let (x, y) = (host.input(&Random(5).words(n)), host.output::<u32>(n));
        let (status, ticket) = (host.inout(&[0u64; 12]), host.inout(&[0u32]));
        let counters = host.run("scan", "scan_packed", line(12, 256), &args![x, y, status, ticket, n as i32]);
        (host.read::<u32>(y, n), counters)
    });
}

/// Indices in the order in which warps came.
#[test]
fn compaction() {
    same(|host| {
        let n = 4000;
        let (x, indices, count) =
            (host.input(&Random(5).floats(n, 0.0, 1.0)), host.inout(&vec![-1i32; n]), host.inout(&[0i32]));
        let counters = host.run("compaction", "compact", line(32, 128), &args![x, indices, count, 0.5f32, n as i32]);
        (host.read::<i32>(indices, n), counters)
    });
}

fn fault(result: Result<Counters, Error>) -> String {
    match result {
        Err(Error::Fault(fault)) => fault.to_string(),
        other => panic!("a fault was expected, not {other:?}"),
    }
}

/// Of many blocks that trap, the one that comes first in the order of the seed.
#[test]
fn faults() {
    let trap = |host: &mut Host| {
        let x: Vec<i32> = (0..64 * 32).map(|i| i32::from(i % 5 == 0)).collect();
        let (x, y) = (host.input(&x), host.output::<i32>(64 * 32));
        fault(host.launch("order", "stop", line(64, 32), &args![x, y]))
    };
    same(trap);
    assert_ne!(trap(&mut host(1, 2)), trap(&mut host(2, 2)));
}

#[test]
fn races() {
    same(|host| {
        let (y, out) = (host.inout(&[0u32; 32]), host.output::<u32>(32));
        let (flags, ticket) = (host.inout(&[0u32; 2]), host.inout(&[0u32]));
        fault(host.launch("violations_global", "increment_bad", line(16, 32), &args![y, out, flags, ticket]))
    });
    same(|host| {
        let (x, y) = (host.input(&[1.0f32; 256]), host.output::<f32>(256));
        fault(host.launch("violations_shared", "read_write_bad", line(1, 64), &args![x, y]))
    });
}

/// The next launch starts from what the one before left.
#[test]
fn launches_in_a_row() {
    same(|host| {
        let (out, ticket) = (host.inout(&[0u32; 50]), host.inout(&[0u32]));
        let args = args![out, ticket];
        for _ in 0..3 {
            host.run("order", "blocks", line(50, 32), &args);
        }
        host.read::<u32>(out, 50)
    });
}
