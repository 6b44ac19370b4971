//! A replayed program allocates nothing: neither per op, nor per example, nor per step.
//!
//! The count is of the whole process, so this file holds one test.

use ham_engine::attack::{Budget, Pgd};
use ham_engine::backend::Backend;
use ham_engine::backend::cpu::{Compiled, CpuBackend};
use ham_engine::batch::Iteration;
use ham_engine::engine::{Engine, Images, TrainSpec};
use ham_engine::eval::threat::Threat;
use ham_engine::method::{Plan, TrainLoss, Weights as Weighting, drop_easy};
use ham_engine::net::state::Weights;
use ham_engine::net::{Arch, Family};
use ham_engine::ops::ball::Norm;
use ham_engine::ops::head::Loss;
use ham_engine::ops::start::Noise;
use ham_engine::program::Shape;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_replay_allocates_nothing() {
    let image = Shape { c: 3, h: 9, w: 10 };
    let arch = Arch {
        family: Family::PreActResNet,
        image,
        classes: 4,
        widths: vec![8, 20],
        blocks: vec![1, 2],
        normalisation: None,
    };
    let mut e = Engine::new(CpuBackend::new(2).unwrap(), arch).unwrap();
    e.set_weights(&Weights::init(&e.net, 1)).unwrap();
    let n = 48;
    let images: Vec<f32> = (0..n * image.len()).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 4).collect();
    let scene = e.scene(Images::F32(&images), &labels, n, 6).unwrap();
    let pgd = Pgd { eps: 0.05, alpha: 0.0125, steps: 6, start: Some(Noise::Uniform(0.05)), loss: Loss::CrossEntropy };
    let spec = TrainSpec {
        plan: Plan {
            name: "ham",
            attack: Some(pgd),
            checks: drop_easy(&[1, 3], 0.3),
            refill: false,
            weight: Weighting::StepSize.formula(6),
            loss: TrainLoss::CrossEntropy,
        },
        momentum: 0.9,
        weight_decay: 2e-4,
        ema: None,
        augment: true,
        seed: 1,
    };
    e.set_learning_rates(&[0.01]).unwrap();
    let mut train = e.compile_train(&scene, &spec).unwrap();
    let order: Vec<u32> = (0..n as u32).collect();
    let replay = |e: &mut Engine<CpuBackend>, compiled: &mut Compiled, what: &str| {
        for replay in 0..4 {
            e.begin(&scene, 1, &order).unwrap();
            let before = COUNT.load(Ordering::Relaxed);
            e.backend.replay(compiled).unwrap();
            let allocations = COUNT.load(Ordering::Relaxed) - before;
            // The first replay starts the pool's threads, which allocate for themselves.
            assert!(replay == 0 || allocations == 0, "{allocations} allocations in replay {replay} of {what}");
        }
    };
    replay(&mut e, &mut train, "a training step");
    assert_eq!(e.counts(&scene).unwrap().batches, 1);
    for norm in [Norm::Linf, Norm::L2] {
        for threat in Threat::AutoAttack.parts() {
            let budget = Budget { norm, ..Budget::new(0.05, 0) };
            let Some(attack) = threat.attack(&mut e.backend, &scene, &budget).unwrap() else { continue };
            let compiled = e.compile_stage(&scene, |p, stage| {
                scene.load(p, None);
                stage.forward(p, scene.batch.x);
                attack.begin(p, stage);
                (0..2).for_each(|offset| attack.iterate(p, stage, Iteration { control: scene.data.control, offset }));
                attack.finish(p, stage);
            });
            replay(&mut e, &mut compiled.unwrap(), &format!("{threat}, {norm:?}"));
        }
    }
}
