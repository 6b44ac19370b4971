//! State dicts: the way into the arenas and back, and what a broken one is told.

use crate::common::*;
use ham_engine::net::state::{StateDict, Weights, infer_arch, put_normalisation, read_dict, take_normalisation};
use ham_engine::net::{Arch, Family, Net};
use ham_engine::program::Shape;
use ham_engine::train::options::ArchName;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use std::path::Path;

fn archs() -> Vec<Arch> {
    let image = Shape { c: 3, h: 6, w: 5 };
    let plain = Arch { normalisation: None, blocks: vec![2, 1, 3], ..arch(image, &[4, 4, 7], 11) };
    let family = Family::WideResNet { stem: 5 };
    let wide = Arch { family, blocks: vec![2, 1], ..arch(image, &[4, 7], 3) };
    vec![tiny(), arch(image, &[17], 2), plain, wide]
}

#[test]
fn round_trip_and_inference() {
    for arch in archs() {
        let dict = random_dict(&arch, 1);
        let net = Net::new(arch.clone());
        let weights = Weights::from_state_dict(&net, &dict, Path::new("x")).unwrap();
        assert_eq!(weights.state_dict(&net), dict, "{}", arch.describe());
        let Shape { h, w, .. } = arch.image;
        let inferred = infer_arch(&dict, h, w, arch.normalisation.clone(), Path::new("x")).unwrap();
        assert_eq!(inferred, arch);
    }
}

/// The counts are those of the PyTorch modules that RobustBench has under these names (PreActResNet with a batch norm before
/// the classifier).
#[test]
fn named_networks_are_those_of_robustbench() {
    let net = |name: ArchName| {
        let ((widths, blocks), image) = (name.shape(), Shape { c: 3, h: 32, w: 32 });
        Net::new(Arch { family: name.family(), image, classes: 10, widths, blocks, normalisation: None })
    };
    let has = |net: &Net, name: &str, shape: &[usize]| {
        assert!(net.tensors.iter().any(|t| t.name == name && t.shape == shape), "{name} {shape:?}");
    };
    let small = net(ArchName::PreactResnet18);
    assert_eq!(small.params, 11_172_170);
    has(&small, "layer2.0.shortcut.0.weight", &[128, 64, 1, 1]);
    for (name, params, blocks) in [(ArchName::WideResnet28, 36_479_194, 4), (ArchName::WideResnet34, 46_160_474, 5)] {
        let wide = net(name);
        assert_eq!(wide.params, params);
        has(&wide, "conv1.weight", &[16, 3, 3, 3]);
        has(&wide, "block1.layer.0.bn1.weight", &[16]);
        has(&wide, "block1.layer.0.convShortcut.weight", &[160, 16, 1, 1]);
        has(&wide, "block2.layer.0.conv1.weight", &[320, 160, 3, 3]);
        has(&wide, &format!("block3.layer.{}.bn2.running_var", blocks - 1), &[640]);
        has(&wide, "bn1.running_mean", &[640]);
        has(&wide, "fc.weight", &[10, 640]);
        has(&wide, "fc.bias", &[10]);
    }
}

#[test]
fn a_normalisation_among_the_tensors_is_taken() {
    let path = Path::new("x");
    let arch = tiny();
    let mut dict = random_dict(&arch, 1);
    let plain = dict.clone();
    assert_eq!(take_normalisation(&mut dict, path).unwrap(), None);
    put_normalisation(&mut dict, arch.normalisation.as_ref().unwrap());
    assert_eq!(dict["mean"].0, [1, 2, 1, 1]);
    assert_eq!(take_normalisation(&mut dict, path).unwrap(), arch.normalisation);
    assert_eq!(dict, plain);
    dict.insert("sigma".into(), (vec![2], vec![1.0, 1.0]));
    let error = take_normalisation(&mut dict, path).unwrap_err().to_string();
    assert!(error.contains("`mu` and `sigma` belong together"), "{error}");
}

#[test]
fn filters_lie_in_the_arena_as_krsc() {
    let net = Net::new(tiny());
    let dict = random_dict(&tiny(), 2);
    let weights = Weights::from_state_dict(&net, &dict, Path::new("x")).unwrap();
    for t in net.tensors.iter().filter(|t| t.shape.len() == 4) {
        let [k, c, r, s] = t.shape[..] else { unreachable!() };
        let (oihw, krsc) = (&dict[&t.name].1, &weights.params[t.span.range()]);
        for i in 0..oihw.len() {
            let (si, ri, ci, ki) = (i % s, i / s % r, i / s / r % c, i / s / r / c);
            assert_eq!(krsc[((ki * r + ri) * s + si) * c + ci], oihw[((ki * c + ci) * r + ri) * s + si], "{}", t.name);
        }
        assert_eq!(oihw.len(), k * c * r * s);
    }
}

#[test]
fn every_tensor_has_a_place_of_its_own() {
    for arch in archs() {
        let net = Net::new(arch);
        for (arena, len) in [("Params", net.params), ("Running", net.running)] {
            let mut used = vec![0; len];
            let tensors = net.tensors.iter().filter(|t| format!("{:?}", t.arena) == arena);
            tensors.flat_map(|t| t.span.range()).for_each(|i| used[i] += 1);
            assert!(used.iter().all(|n| *n == 1), "{arena}");
        }
    }
}

/// The message for a state dict with one change.
fn message(change: impl FnOnce(&mut StateDict)) -> String {
    let arch = tiny();
    let mut dict = random_dict(&arch, 3);
    change(&mut dict);
    let error = Weights::from_state_dict(&Net::new(arch), &dict, Path::new("file.safetensors")).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("file.safetensors: "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn a_broken_state_dict_is_told_which_tensor_and_why() {
    let missing = message(|d| drop(d.remove("layer2.0.bn1.running_mean")));
    assert!(missing.contains("no tensor `layer2.0.bn1.running_mean`"), "{missing}");
    let unknown = message(|d| drop(d.insert("fc.weight".into(), (vec![1], vec![0.0]))));
    assert!(unknown.contains("unknown tensor `fc.weight`"), "{unknown}");
    let misshapen = message(|d| d.get_mut("linear.weight").unwrap().0 = vec![6, 3]);
    assert!(misshapen.contains("`linear.weight` is [6, 3], expected [3, 6]"), "{misshapen}");
    for bad in [f32::NAN, f32::INFINITY] {
        let not_finite = message(|d| d.get_mut("conv1.weight").unwrap().1[5] = bad);
        assert!(not_finite.contains("`conv1.weight` holds") && not_finite.contains(&bad.to_string()), "{not_finite}");
    }
    let negative = message(|d| d.get_mut("bn.running_var").unwrap().1[0] = -0.1);
    assert!(negative.contains("`bn.running_var` holds a negative variance"), "{negative}");
}

#[test]
fn inference_needs_the_stem_the_classifier_and_sane_sizes() {
    let infer = |change: &dyn Fn(&mut StateDict), h, w| {
        let mut dict = random_dict(&tiny(), 3);
        change(&mut dict);
        infer_arch(&dict, h, w, None, Path::new("file.safetensors")).unwrap_err().to_string()
    };
    for name in ["conv1.weight", "linear.weight"] {
        let missing = infer(&|d| drop(d.remove(name)), 5, 7);
        assert!(missing.contains(&format!("no tensor `{name}`")), "{missing}");
        let flat = infer(&|d| d.get_mut(name).unwrap().0 = vec![9], 5, 7);
        assert!(flat.contains(&format!("`{name}` is [9]")), "{flat}");
    }
    let no_stage = infer(&|d| d.retain(|name, _| !name.starts_with("layer")), 5, 7);
    assert!(no_stage.contains("widths []"), "{no_stage}");
    let no_height = infer(&|_| (), 0, 7);
    assert!(no_height.contains("2x0x7"), "{no_height}");
}

#[test]
fn files_of_data_parallel_training_are_read() {
    let dict = random_dict(&tiny(), 4);
    let bytes = |v: &[f32]| bytemuck::cast_slice::<f32, u8>(v).to_vec();
    let mut raw: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> =
        dict.iter().map(|(n, (s, v))| (format!("module.{n}"), Dtype::F32, s.clone(), bytes(v))).collect();
    raw.push(("module.bn.num_batches_tracked".into(), Dtype::I64, vec![], 7i64.to_le_bytes().to_vec()));
    let file = |raw: &[(String, Dtype, Vec<usize>, Vec<u8>)]| {
        let views = raw.iter().map(|(n, t, s, v)| (n.clone(), TensorView::new(*t, s.clone(), v).unwrap()));
        serialize(views.collect::<Vec<_>>(), None).unwrap()
    };
    let all = file(&raw);
    assert_eq!(read_dict(&SafeTensors::deserialize(&all).unwrap(), Path::new("x")).unwrap(), dict);
    raw.push(("linear.extra".into(), Dtype::F64, vec![1], 1f64.to_le_bytes().to_vec()));
    let double = file(&raw);
    let error = read_dict(&SafeTensors::deserialize(&double).unwrap(), Path::new("x")).unwrap_err().to_string();
    assert!(error.contains("`linear.extra` is F64; save the state dict as float32"), "{error}");
}

#[test]
fn initial_weights_are_a_function_of_the_seed_within_their_bounds() {
    let net = Net::new(tiny());
    let w = Weights::init(&net, 5);
    assert_eq!(w, Weights::init(&net, 5));
    assert_ne!(w.params, Weights::init(&net, 6).params);
    for (name, (shape, v)) in w.state_dict(&net) {
        let fan_in: usize = if name == "linear.bias" { 6 } else { shape[1..].iter().product() };
        let bound = 1.0 / (fan_in as f32).sqrt();
        match name.as_str() {
            n if shape.len() > 1 || n == "linear.bias" => {
                assert!(v.iter().all(|v| v.abs() <= bound), "{name}");
                assert!(max_abs(v.iter().map(|v| *v as f64)) > 0.3 * bound as f64, "{name} is all small");
            }
            n if n.ends_with("running_var") || n.ends_with("weight") => assert!(v.iter().all(|v| *v == 1.0), "{name}"),
            _ => assert!(v.iter().all(|v| *v == 0.0), "{name}"),
        }
    }
}
