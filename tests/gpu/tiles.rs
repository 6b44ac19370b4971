//! The table of tiles, and how it is made.

use ham_engine::backend::Backend;
use ham_engine::backend::gpu::GpuBackend;
use ham_engine::gpu::Precision;
use ham_engine::gpu::driver::Command;
use ham_engine::gpu::kernels::Kernel;
use ham_engine::gpu::sim::{SimDriver, SimOptions};
use ham_engine::ops::Program;
use ham_engine::ops::conv::cases::EDGES;
use ham_engine::ops::conv::{ConvDgrad, ConvFprop, Epilogue};
use ham_engine::perf::tiles::{
    BATCHES, Problem, Subject, TABLE, TileSize, measure, ranked, read, sizes, subjects, write,
};
use ham_engine::program::{Buffers, Conv, DType, FilterDecl, Pass, Shape};
use ptx_sim::gpu::{GPUS, H100_SXM};

const PRECISIONS: [Precision; 2] = [Precision::Fp32, Precision::Bf16];

#[test]
fn the_committed_table_has_every_convolution_of_the_networks_and_tiles_that_suit() {
    let shared = H100_SXM.shared_per_block_optin as usize;
    let mut expected = 0;
    for precision in PRECISIONS {
        for subject in subjects() {
            expected += 1;
            let first = subject.problem(precision, BATCHES[0]);
            let line = TABLE.iter().find(|line| line[0].0 == first).unwrap_or_else(|| panic!("no line for {first}"));
            assert_eq!(line.len(), BATCHES.len(), "{first}");
            for ((problem, tile), batch) in line.iter().zip(BATCHES) {
                assert_eq!(*problem, subject.problem(precision, batch));
                for kind in ["", "_moments"] {
                    Kernel::find(&format!("conv_walk{kind}_{tile}_{}", precision.suffix())).unwrap();
                }
                assert!(sizes(precision).contains(tile), "{problem} {tile}");
                assert!(subject.fit(precision, shared, batch, *tile).is_some(), "{problem}: {tile} does not suit");
                assert_eq!(ranked(problem)[0], *tile, "{problem}, batch {batch}");
            }
        }
    }
    assert_eq!(TABLE.len(), expected, "lines of no network");
}

#[test]
fn a_table_is_read_as_it_was_written() {
    let text = write("Made by a test.", &TABLE);
    assert!(text.starts_with("# Made by a test.\n"));
    assert_eq!(read(&text).unwrap(), *TABLE);
    let good = "batch 8 4\nf32 dgrad 3x3/2+1x1 32>16 28x28 128x16 128x32\n";
    let problem = Problem {
        precision: Precision::Fp32,
        pass: Pass::Dgrad,
        filter: 3,
        stride: 2,
        shortcut: true,
        channels: [32, 16],
        size: [28, 28],
        batch: 8,
    };
    let tile = |channels| TileSize { pixels: 128, channels };
    assert_eq!(read(good).unwrap(), [vec![(problem, tile(16)), (Problem { batch: 4, ..problem }, tile(32))]]);
    for (from, to) in [
        ("f32", "f16"),
        ("dgrad", "wgrad"),
        ("3x3", "3x1"),
        ("/2", ""),
        ("32>16", "32"),
        ("28x28", "28"),
        ("128x16", "128"),
        (" 128x32", ""),
        ("batch 8 4", "batch 8 four"),
        ("batch 8 4", "batch 8"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(read(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_convolution_that_is_not_there_takes_the_tile_of_the_one_most_like_it() {
    let at = |batch, from, to, side, filter, stride| Problem {
        precision: Precision::Bf16,
        pass: Pass::Fprop,
        filter,
        stride,
        shortcut: false,
        channels: [from, to],
        size: [side, side],
        batch,
    };
    // As many pixels in another shape; more channels of the input; channels by ratio; beyond the largest batch.
    let same = |a: Problem, b: Problem| assert_eq!(ranked(&a)[0], ranked(&b)[0], "{a}, batch {}, as {b}", a.batch);
    same(at(8, 64, 64, 64, 3, 1), at(32, 64, 64, 32, 3, 1));
    same(at(128, 100, 64, 32, 3, 1), at(128, 64, 64, 32, 3, 1));
    same(at(128, 64, 80, 32, 3, 1), at(128, 64, 64, 32, 3, 1));
    same(at(4096, 64, 64, 32, 3, 1), at(256, 64, 64, 32, 3, 1));
    // No 1x1 convolution stands alone in the networks.
    same(at(128, 64, 128, 16, 1, 2), at(128, 64, 128, 16, 3, 2));
}

/// Whatever the convolution and the chip, there is a launch.
#[test]
fn odd_convolutions_get_a_tile_that_fits() {
    let odd = [(1, 1, 1), (3, 200, 7), (300, 9, 5), (64, 65, 33), (17, 24, 224)];
    let odd = odd.into_iter().flat_map(|(c, k, side)| {
        [(1, 1), (1, 2), (3, 1), (3, 2)].map(|(filter, stride)| Conv { c, k, h: side, w: side, filter, stride })
    });
    let all: Vec<Conv> = EDGES.iter().map(|e| e.conv).chain(odd).collect();
    for gpu in GPUS {
        for precision in PRECISIONS {
            let sim = SimDriver::new(SimOptions { gpu, ..SimOptions::default() });
            let mut backend = GpuBackend::new(sim, precision).unwrap();
            for c in &all {
                let mut p = Program::new(3, backend.alloc(DType::U32, 2).unwrap());
                let filters = [Pass::Fprop, Pass::Dgrad]
                    .map(|pass| p.filter(FilterDecl { conv: *c, stem: false, pass, exact: true }));
                let x = p.map(Shape { c: c.c, h: c.h, w: c.w });
                let y = p.map(Shape { c: c.k, h: c.p(), w: c.q() });
                let epilogue = Epilogue { y: Some(y), ..Epilogue::default() };
                p.push(ConvFprop { conv: *c, x, filter: filters[0], epilogue });
                p.push(ConvDgrad { conv: *c, dy: y, filter: filters[1], bits: None, residual: None, dx: x });
                let compiled = backend.compile(p).unwrap();
                let name = |c: &Command| if let Command::Launch(l) = c { Some(l.kernel.name) } else { None };
                let names: Vec<_> = compiled.commands.iter().filter_map(name).collect();
                assert_eq!(names.len(), 2, "{c}");
                for name in names {
                    let size = name.strip_prefix("conv_walk_").and_then(|n| n.split('_').next()).unwrap();
                    assert!(sizes(precision).contains(&size.parse().unwrap()), "{c} by {name}");
                }
            }
        }
    }
}

#[test]
fn a_tile_is_tried_or_does_not_suit() {
    let mut backend = GpuBackend::new(SimDriver::new(SimOptions::default()), Precision::Bf16).unwrap();
    let conv = Conv { c: 8, k: 8, h: 2, w: 2, filter: 3, stride: 2 };
    let shortcut = Some(Conv { filter: 1, ..conv });
    for (pass, shortcut) in [(Pass::Fprop, None), (Pass::Dgrad, shortcut)] {
        let subject = Subject { pass, conv, shortcut };
        let seconds =
            |backend: &mut _, pixels, channels| measure(backend, &subject, 2, TileSize { pixels, channels }).unwrap();
        assert!(seconds(&mut backend, 128, 16).is_some_and(|s| s > 0.0 && s.is_finite()));
        assert_eq!(seconds(&mut backend, 256, 128), None, "128 channels, and the filter has rows for 64");
        assert_eq!(seconds(&mut backend, 64, 64), None, "there is no such kernel");
    }
}
