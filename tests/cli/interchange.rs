//! `export` and `import`: what other programs read, and what is read of theirs.

use crate::common::{Folder, dataset};
use crate::networks::networks;
use ham_engine::net::Net;
use ham_engine::net::state::Weights;
use ham_engine::train::checkpoint::{Checkpoint, write_weights};
use safetensors::tensor::{Dtype, TensorView, serialize};
use std::path::Path;

#[test]
fn what_is_exported_is_imported() {
    for (arch, weights) in networks() {
        let f = Folder::new();
        let net = Net::new(arch.clone());
        write_weights(&f.path("net.safetensors"), &net, &weights).unwrap();
        f.ok("import net.safetensors again.safetensors");
        f.ok("export --checkpoint again.safetensors once-more.safetensors");
        let read = Checkpoint::read(&f.path("once-more.safetensors")).unwrap();
        assert_eq!(f.read("again.safetensors"), f.read("net.safetensors"));
        assert_eq!(f.read("once-more.safetensors"), f.read("net.safetensors"));
        let path = Path::new("x");
        assert_eq!(read.arch((arch.image.h, arch.image.w), None, path).unwrap(), arch);
        assert_eq!(Weights::from_state_dict(&net, &read.dict, path).unwrap(), weights);
        if arch.normalisation.is_some() {
            f.fails("import net.safetensors x.safetensors --mean 0,0,0 --std 1,1,1", "brings another normalisation");
        } else {
            f.ok("import net.safetensors x.safetensors --mean 0,0,0 --std 1,1,1");
            assert!(Checkpoint::read(&f.path("x.safetensors")).unwrap().normalisation.is_some());
        }
    }
}

/// A model of RobustBench, as its checkpoints hold it: wrapped, with counts, and with a first block that is not used.
#[test]
fn robustbench_s_extras_are_left_out() {
    let f = Folder::new();
    let (arch, weights) = networks().remove(1);
    let dict = weights.state_dict(&Net::new(arch));
    let mut raw: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, (shape, values)) in &dict {
        let bytes = bytemuck::cast_slice::<f32, u8>(values).to_vec();
        if let Some(rest) = name.strip_prefix("block1.") {
            raw.push((format!("module.sub_block1.{rest}"), Dtype::F32, shape.clone(), bytes.clone()));
        }
        raw.push((format!("module.{name}"), Dtype::F32, shape.clone(), bytes));
    }
    raw.push(("module.bn1.num_batches_tracked".into(), Dtype::I64, vec![], 7i64.to_le_bytes().to_vec()));
    for name in ["mu", "sigma"] {
        let bytes = bytemuck::cast_slice::<f32, u8>(&[0.5; 3]).to_vec();
        raw.push((format!("module.{name}"), Dtype::F32, vec![1, 3, 1, 1], bytes));
    }
    let views = raw.iter().map(|(n, t, s, v)| (n.clone(), TensorView::new(*t, s.clone(), v).unwrap()));
    f.write("theirs.safetensors", serialize(views.collect::<Vec<_>>(), None).unwrap());
    let printed = f.ok("import theirs.safetensors ours.safetensors");
    assert!(printed.contains("WideResNet 8,12 x 1,2 blocks") && printed.contains(", normalised"), "{printed}");
    let read = Checkpoint::read(&f.path("ours.safetensors")).unwrap();
    assert_eq!(read.dict, dict);
    assert_eq!(read.normalisation.unwrap().std, [0.5; 3]);
}

#[test]
fn a_wide_network_is_trained_evaluated_and_started_from() {
    let f = Folder::new();
    dataset(40, 20, [3, 8, 8]).write_safetensors(&f.path("data.safetensors")).unwrap();
    let line = "train --dataset data.safetensors --arch wideresnet-28-10 --widths 4,8 --blocks 1 --steps 2 --k-drop 1 \
                --batch 16 --epochs 2 --begin-epoch 2";
    f.ok(&format!("{line} --out run"));
    f.ok("train --config run/config.toml --out again");
    assert_eq!(f.read("run/last.safetensors"), f.read("again/last.safetensors"));
    f.ok("eval --checkpoint run/last.safetensors --attack clean,pgd-2");
    f.ok("export --checkpoint run/last.safetensors net.safetensors");
    f.ok(&format!("{} --init net.safetensors --out further", line.replace("--arch wideresnet-28-10", "")));
    let read = Checkpoint::read(&f.path("further/last.safetensors")).unwrap();
    assert!(read.dict.contains_key("block1.layer.0.convShortcut.weight"), "{:?}", read.dict.keys());
    f.fails(
        &format!("{} --init net.safetensors --out other", line.replace("wideresnet-28-10", "preact-resnet8")),
        "but the checkpoint is a WideResNet",
    );
}

#[test]
fn what_is_no_network_is_told_in_one_line() {
    let f = Folder::new();
    let (arch, weights) = networks().remove(0);
    write_weights(&f.path("net.safetensors"), &Net::new(arch), &weights).unwrap();
    f.write("text.safetensors", "not a checkpoint");
    f.fails("import text.safetensors x.safetensors", "text.safetensors");
    f.fails("export --checkpoint net.safetensors net.pb", "end it in .onnx or .safetensors, or give --format");
    f.fails("export --checkpoint absent.safetensors net.onnx", "cannot read the checkpoint");
    dataset(4, 2, [1, 8, 8]).write_safetensors(&f.path("data.safetensors")).unwrap();
    f.fails("import data.safetensors x.safetensors", "save the state dict as float32");
}
