//! `export` to ONNX: checked by onnx, executed by onnxruntime.

use crate::common::{Folder, succeeded};
use crate::networks::networks;
use crate::place;
use ham_engine::backend::Backend;
use ham_engine::backend::cpu::CpuBackend;
use ham_engine::engine::{Engine, Images};
use ham_engine::net::state::Weights;
use ham_engine::net::{Arch, Net};
use ham_engine::program::{Buffers, Shape};
use ham_engine::train::checkpoint::write_weights;
use std::process::Command;

const ONNX: &str = "
import json, sys, numpy as np, onnx, onnxruntime
onnx.checker.check_model(onnx.load(sys.argv[1]), full_check=True)
images = np.fromfile(sys.argv[2], dtype=np.float32).reshape([int(n) for n in sys.argv[3].split(',')])
session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
print(json.dumps(session.run(['logits'], {'images': images})[0].ravel().astype(float).tolist()))
";

/// Logits of our own forward pass.
fn logits(arch: &Arch, weights: &Weights, images: &[f32]) -> Vec<f32> {
    let n = images.len() / arch.image.len();
    let mut engine = Engine::new(CpuBackend::new(2).unwrap(), arch.clone()).unwrap().exact(true);
    engine.set_weights(weights).unwrap();
    let scene = engine.scene(Images::F32(images), &vec![0; n], n, 0).unwrap();
    let mut clean = engine.compile_clean(&scene, None).unwrap();
    engine.begin(&scene, 0, &(0..n as u32).collect::<Vec<_>>()).unwrap();
    engine.backend.replay(&mut clean).unwrap();
    engine.backend.read_all(scene.batch.logits).unwrap()
}

fn images(arch: &Arch, n: usize) -> Vec<f32> {
    (0..n * arch.image.len()).map(|i| (i * 7919 % 256) as f32 / 255.0).collect()
}

#[test]
fn onnxruntime_gives_the_same_logits() {
    for (arch, weights) in networks() {
        let f = Folder::new();
        write_weights(&f.path("net.safetensors"), &Net::new(arch.clone()), &weights).unwrap();
        let printed = f.ok("export --checkpoint net.safetensors net.onnx");
        assert!(printed.contains(&arch.family.to_string()), "{printed}");
        let (n, images) = (3, images(&arch, 3));
        f.write("images.bin", bytemuck::cast_slice::<f32, u8>(&images));
        let Shape { c, h, w } = arch.image;
        let run = Command::new(place("PYTHON"))
            .args(["-c", ONNX])
            .env("HOME", f.path("")) // onnxruntime keeps something there
            .args([f.path("net.onnx"), f.path("images.bin")])
            .arg(format!("{n},{c},{h},{w}"))
            .output()
            .unwrap();
        let theirs: Vec<f64> = serde_json::from_str(&succeeded("onnxruntime", run)).unwrap();
        let ours = logits(&arch, &weights, &images);
        assert_eq!(ours.len(), theirs.len());
        let largest = ours.iter().fold(0.0f64, |m, v| m.max(v.abs() as f64));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            // Both round sums of up to 12*9 products, in eight layers.
            let allowed = 8.0 * f64::from(f32::EPSILON) * (108f64).sqrt() * largest;
            assert!((f64::from(*ours) - theirs).abs() <= allowed, "{}: {ours} and {theirs}", arch.describe());
        }
    }
}
