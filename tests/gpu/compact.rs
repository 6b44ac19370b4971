//! Compaction, bit for bit as on the CPU.

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS, some};
use ham_engine::gpu::driver::Command;
use ham_engine::ops::compact::Compact;
use ham_engine::program::Shape;

const PIXEL: Shape = Shape { c: 1, h: 1, w: 1 };

/// Masks whose records are moved by 16, by 4 and by 1 byte at a time, and of more units than a block has threads.
const MASKS: [Shape; 5] = [
    Shape { c: 16, h: 4, w: 8 },
    Shape { c: 9, h: 3, w: 2 },
    Shape { c: 3, h: 3, w: 5 },
    Shape { c: 1, h: 1, w: 1 },
    Shape { c: 24, h: 8, w: 64 },
];

fn compact(seed: u64, capacity: usize, image: Shape, masks: &[Shape], live: &[u32], stays: &dyn Fn(u32) -> bool) {
    let mut lab = Lab::of_state(seed, capacity, image);
    lab.live(live, capacity);
    // Flags of dead examples are set: they must not come back.
    let keep: Vec<u32> = (0..capacity as u32).map(|p| u32::from(stays(p) || !live.contains(&p))).collect();
    lab.write(lab.batch.keep, 0, &keep);
    let mut rng = Rng(seed);
    let x = rng.f32s(capacity * image.len(), 0.0, 1.0);
    let x_adv = rng.f32s(capacity * image.len(), 0.0, 1.0);
    lab.write(lab.batch.x, 0, &x);
    lab.write(lab.batch.x_adv, 0, &x_adv);
    let mut p = lab.program();
    let all: Vec<_> = masks.iter().map(|s| (p.mask(*s), *s)).collect();
    p.push(Compact { image, batch: lab.batch, bits: all.iter().map(|m| m.0).collect() });
    let mut pair = lab.compile(p);
    for (mask, shape) in &all {
        for slot in 0..capacity {
            let values: Vec<bool> = (0..shape.len()).map(|_| rng.below(2) == 1).collect();
            lab.set_bits(&mut pair, *mask, slot, &values);
        }
    }
    lab.replay(&mut pair);
    let what = format!("{live:?} live of {capacity}, {image:?}");
    let [cpu, gpu] = lab.read::<u32>(lab.batch.live);
    assert_eq!(cpu, gpu, "{what}: live");
    let kept = gpu[0] as usize;
    assert_eq!(kept, live.iter().filter(|p| stays(**p)).count(), "{what}");
    let [cpu, gpu] = lab.read::<u32>(lab.batch.position);
    assert_eq!(cpu, gpu, "{what}: position");
    for (name, buf) in [("x", lab.batch.x), ("x_adv", lab.batch.x_adv)] {
        let [cpu, gpu] = lab.read::<f32>(buf);
        assert_eq!(bits(&cpu), bits(&gpu), "{what}: {name}");
    }
    for (mask, shape) in &all {
        for slot in 0..capacity {
            let [cpu, gpu] = lab.bits(&pair, *mask, slot);
            assert_eq!(cpu, gpu, "{what}: mask {shape:?} slot {slot}");
        }
    }
}

/// Live positions, and who of them stays.
type Case<'a> = (&'a [u32], &'a dyn Fn(u32) -> bool);

#[test]
fn compact_equals_the_cpu() {
    const CAPACITY: usize = 23;
    let full: Vec<u32> = order(CAPACITY);
    let every_third: Vec<u32> = some(CAPACITY, 3);
    let in_threes = |p: u32| p.is_multiple_of(3);
    let (first, last, late) = (|p: u32| p == 0, |p: u32| p == 22, |p: u32| p > 4 && p != 9);
    let (none, all) = (|_: u32| false, |_: u32| true);
    let cases: [Case; 11] = [
        (&[], &all),
        (&[0], &all),
        (&[0], &none),
        (&[3], &all),
        (&full, &all),
        (&full, &none),
        (&full, &in_threes),
        (&full, &first),
        (&full, &last),
        (&full, &late),
        (&every_third, &late),
    ];
    for seed in SEEDS {
        for image in [Shape { c: 3, h: 4, w: 7 }, Shape { c: 1, h: 1, w: 1 }, Shape { c: 2, h: 5, w: 5 }] {
            for (live, stays) in cases {
                compact(seed, CAPACITY, image, &MASKS, live, stays);
            }
        }
    }
}

#[test]
fn compact_scans_more_slots_than_a_block_has_threads() {
    for seed in SEEDS {
        for capacity in [255, 256, 257, 520] {
            compact(seed, capacity, PIXEL, &MASKS[3..4], &order(capacity), &|p| p % 5 > 1 || p == 256);
            compact(seed, capacity, PIXEL, &MASKS[3..4], &some(capacity, 2), &|p| p != 2);
        }
    }
}

#[test]
fn compact_of_many_masks_takes_several_launches() {
    let masks = vec![MASKS[3]; 127];
    compact(0, 5, PIXEL, &masks, &order(5), &|p| p % 2 == 1);
    let mut lab = Lab::of_state(0, 5, PIXEL);
    for (masks, launches) in [(126, 1), (127, 2), (0, 1)] {
        let mut p = lab.program();
        let bits = (0..masks).map(|_| p.mask(PIXEL)).collect();
        p.push(Compact { image: PIXEL, batch: lab.batch, bits });
        let gathers = |c: &&Command| matches!(c, Command::Launch(l) if l.kernel.name == "compact");
        assert_eq!(lab.compile(p).gpu.commands.iter().filter(gathers).count(), launches, "{masks} masks");
    }
}
