//! The counters of an epoch and the time of phases, bit for bit as on the CPU.

use crate::common::{Rng, order};
use crate::lab::{KAPPAS, Lab, SEEDS};
use bytemuck::{bytes_of, cast_slice_mut};
use ham_engine::backend::Backend;
use ham_engine::batch::counter;
use ham_engine::gpu::Precision;
use ham_engine::gpu::driver::{Arg, Command, Driver, Launch};
use ham_engine::gpu::kernels::Kernel;
use ham_engine::gpu::sim::SimDriver;
use ham_engine::ops::statistics::{CountBatch, CountPass, NetPass, Part};
use ham_engine::ops::{Op, Program};
use ham_engine::program::{DType, Node, Phase, Shape};

const CLASSES: usize = 3;
fn lab(seed: u64, capacity: usize) -> Lab {
    Lab::new(Precision::Fp32, seed, capacity, Shape { c: 1, h: 1, w: 1 }, CLASSES, 1, (DType::F32, 1))
}

/// Counters, loss and control of both backends are equal.
fn assert_equal_counts(lab: &Lab, what: &str) {
    let [cpu, gpu] = lab.read::<u64>(lab.stats.counters);
    assert_eq!(cpu, gpu, "{what}: counters");
    let [cpu, gpu] = lab.read::<f64>(lab.stats.loss);
    assert_eq!(cpu[0].to_bits(), gpu[0].to_bits(), "{what}: loss {} and {}", cpu[0], gpu[0]);
    let [cpu, gpu] = lab.read::<u32>(lab.data.control);
    assert_eq!(cpu, gpu, "{what}: control");
}

/// Probabilities, with those at the edges of bins among them.
fn confidences(rng: &mut Rng, n: usize) -> Vec<f32> {
    let any = rng.f32s(n, 0.0, 1.0);
    any.into_iter().enumerate().map(|(i, v)| if i % 3 == 0 { (i % 11) as f32 / 10.0 } else { v }).collect()
}

#[test]
fn count_batch_equals_the_cpu_bit_by_bit() {
    // Capacity, loaded, every how many-th is live: less than a block, a block and one more, several blocks.
    let cases =
        [(4, 4, 2), (4, 3, 1), (5, 0, 1), (1, 1, 1), (256, 256, 1), (300, 257, 1), (600, 600, 1), (600, 599, 3)];
    for seed in SEEDS {
        for (capacity, loaded, every) in cases {
            for none_live in [false, true] {
                let mut lab = lab(seed, capacity);
                let mut rng = Rng(seed);
                let mut below = |n: usize| -> Vec<u32> { (0..capacity).map(|_| rng.below(n) as u32).collect() };
                let (label, kappa, crossed) = (below(CLASSES), below(KAPPAS + 3), below(2));
                lab.write(lab.batch.label, 0, &label);
                lab.write(lab.batch.kappa, 0, &kappa);
                lab.write(lab.batch.crossed, 0, &crossed);
                lab.write(lab.batch.confidence, 0, &confidences(&mut rng, capacity));
                lab.write(lab.batch.weight, 0, &rng.f32s(capacity, 0.0, 1.0));
                lab.write(lab.batch.loss, 0, &rng.f32s(capacity, 0.0, 9.0));
                lab.write(lab.data.control, 0, &[10u32, 5000, 1]);
                lab.write(lab.stats.counters, counter::EXAMPLES, &[3u64 << 40, 1 << 33, 7, 2]);
                lab.write(lab.stats.loss, 0, &[0.1f64]);
                let live: Vec<u32> = (0..loaded as u32).step_by(every).filter(|_| !none_live).collect();
                lab.live(&live, loaded);
                let account = CountBatch { part: Part::Whole, batch: lab.batch, data: lab.data, stats: lab.stats };
                lab.run([Op::CountBatch(account)]);
                assert_equal_counts(&lab, &format!("{} live of {loaded} of {capacity}", live.len()));
            }
        }
    }
}

#[test]
fn a_loss_that_is_not_finite_marks_its_batch() {
    for bad in [f32::NAN, f32::INFINITY, 1.0] {
        let mut lab = lab(0, 4);
        lab.write(lab.batch.weight, 0, &[0.5f32, 0.5]);
        lab.write(lab.batch.loss, 0, &[1.0f32, bad]);
        lab.write(lab.stats.counters, counter::BATCHES, &[6u64]);
        lab.live(&[0, 1], 2);
        let account = CountBatch { part: Part::Whole, batch: lab.batch, data: lab.data, stats: lab.stats };
        lab.run([Op::CountBatch(account)]);
        let [cpu, gpu] = lab.read::<u64>(lab.stats.counters);
        assert_eq!(cpu, gpu, "{bad}");
        assert_eq!(gpu[counter::HALTED], if bad.is_finite() { 0 } else { 7 }, "{bad}");
    }
}

#[test]
fn count_pass_adds_passes_times_live() {
    use NetPass::{Dgrad, Fprop, Wgrad};
    for live in [0, 1, 3, 4] {
        let mut lab = lab(0, 4);
        lab.live(&order(live), 4);
        let start = [1u64 << 33, 5, u64::from(u32::MAX)];
        lab.write(lab.stats.counters, counter::FPROP, &start);
        let stats = lab.stats;
        // Steps 1 and 2 of three; the fourth has no counter.
        let step = |step| Op::CountPass(CountPass { pass: Dgrad, step: Some(step), stats });
        let tallies = [Fprop, Dgrad, Fprop].map(|pass| Op::CountPass(CountPass { pass, step: None, stats }));
        lab.run(tallies.into_iter().chain([step(1), step(2), step(3)]));
        lab.run([Wgrad, Fprop].map(|pass| Op::CountPass(CountPass { pass, step: None, stats })));
        let [cpu, gpu] = lab.read::<u64>(stats.counters);
        assert_eq!(cpu, gpu, "{live} live");
        let n = live as u64;
        assert_eq!(gpu[counter::FPROP..][..3], [start[0] + 3 * n, start[1] + 4 * n, start[2] + n], "{live} live");
        assert_eq!(gpu[stats.step(0)..][..3], [0, n, n], "{live} live");
    }
}

/// The phases that a program's marks end: 3 for none.
fn ended(lab: &mut Lab, nodes: &[Node<Op>]) -> Vec<u32> {
    let program = Program { nodes: nodes.to_vec(), ..lab.program() };
    let compiled = lab.gpu.compile(program).unwrap();
    let ended = |c: &Command| match c {
        Command::Launch(l) if l.kernel.name == "mark" => match &l.args[1] {
            Arg::Bytes(dims) => Some(bytemuck::pod_read_unaligned(dims)),
            _ => None,
        },
        _ => None,
    };
    compiled.commands.iter().filter_map(ended).collect()
}

#[test]
fn marks_end_the_phase_before_them_and_the_end_of_the_program_the_last() {
    let mut lab = lab(0, 4);
    let count = Node::Op(Op::CountPass(CountPass { pass: NetPass::Fprop, step: None, stats: lab.stats }));
    let (attack, update) = (Node::Mark(Phase::Attack), Node::Mark(Phase::Update));
    assert_eq!(ended(&mut lab, &[attack.clone(), count.clone(), update, count.clone()]), [3, 1, 2]);
    assert_eq!(ended(&mut lab, &[attack, count.clone()]), [3, 1]);
    assert_eq!(ended(&mut lab, &[count]), [0u32; 0]);
}

#[test]
fn a_mark_books_the_time_since_the_last_one() {
    let mut lab = lab(0, 4);
    let driver = &mut lab.gpu.driver;
    let memory = driver.alloc(32).unwrap();
    let times = SimDriver::address(&memory);
    let mut mark = |before: [u64; 4], ended: u32| {
        driver.write(times, bytemuck::cast_slice(&before)).unwrap();
        let launch = Launch {
            kernel: Kernel::find("mark").unwrap(),
            grid: [1; 3],
            block: [1; 3],
            shared: 0,
            args: vec![Arg::Out(times), Arg::Bytes(bytes_of(&ended).to_vec())],
            shape: String::new(),
        };
        let mut graph = driver.prepare(vec![Command::Launch(launch)]).unwrap();
        driver.replay(&mut graph, false).unwrap();
        let mut after = [0u64; 4];
        driver.read(times, cast_slice_mut(&mut after)).unwrap();
        after
    };
    let [_, attack, update, start] = mark([9, 100, 50, 7], 3);
    assert_eq!((attack, update), (100, 50), "no phase has ended");
    assert!(start > 7, "the timer is at its start");
    let [_, attack, update, later] = mark([9, 100, 50, start], 1);
    assert!(later >= start);
    assert_eq!((attack, update), (100 + later - start, 50));
    let [_, attack, update, last] = mark([9, 100, 50, later], 2);
    assert_eq!((attack, update), (100, 50 + last - later));
    let [data, attack, update, now] = mark([9, 100, 50, u64::MAX / 2], 2);
    assert_eq!((data, attack, update), (9, 100, 50), "a timer that was reset");
    assert!(now >= last && now < u64::MAX / 2);
}
