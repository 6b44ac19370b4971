//! What the program does not do: every refusal is one line and exit code 2, and leaves no file behind or changed.

use crate::common::{Folder, encode, failed, tensors};
use safetensors::Dtype;
use std::process::{Command, Output};

/// A folder with a finished run of one epoch in `run`.
fn with_run() -> Folder {
    let folder = Folder::with_data();
    folder.ok(&folder.train_line("--epochs 1 --max-batches 2 --out run"));
    folder
}

/// What the program does in a shell with limits.
fn limited(f: &Folder, limits: &str, line: &str) -> Output {
    f.shell(limits, line).output().unwrap()
}

/// Lengths that cut a safetensors file in each of its parts, and at their borders.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut cuts = vec![0, 1, 7, 8, 9, header / 2, header - 1, header, header + 1];
    cuts.extend([(header + bytes.len()) / 2, bytes.len() - 1]);
    cuts
}

#[test]
fn options_out_of_range() {
    let f = Folder::with_data();
    for (options, expected) in [
        ("--eps 2", "--eps 2: must be between 0 and 1"),
        ("--eps=-0.1", "--eps -0.1: must be between 0 and 1"),
        ("--eps nan", "not finite"),
        ("--eps 8/0", "not finite"),
        ("--eps 0/0", "not finite"),
        ("--eps 8/x", "no number or fraction"),
        ("--alpha inf", "not finite"),
        ("--alpha 1.5", "--alpha 1.5: must be between"),
        ("--steps 1000000", "--steps 1000000: must be between 0 and 10000"),
        ("--batch 0", "--batch 0: must be between 1"),
        ("--batch 1000000", "--batch 1000000: must be"),
        ("--epochs 0", "--epochs 0: must be between 1"),
        ("--epochs 99999999999999999999", "--epochs"),
        ("--widths 0", "widths [0]: give 1 to 8 stages"),
        ("--widths 5000", "widths [5000]"),
        ("--widths 4,4,4,4,4,4,4,4,4", "widths"),
        ("--widths 4,,8", "--widths"),
        ("--blocks 0", "blocks [0, 0]"),
        ("--blocks 1,1,1", "blocks [1, 1, 1]: give one number"),
        ("--validation 1", "--validation 1: nothing would be left"),
        ("--validation=-0.1", "--validation -0.1"),
        ("--keep-easy 1.1", "--keep-easy 1.1"),
        ("--begin-epoch 0", "--begin-epoch 0"),
        ("--eval-every 0", "--eval-every 0"),
        ("--max-batches 0", "--max-batches 0"),
        ("--max-batches 18446744073709551615", "--max-batches"),
        ("--seed 18446744073709551615", "--seed"),
        ("--lr 1e7", "--lr 10000000"),
        ("--momentum 2", "--momentum 2"),
        ("--ema 1", "--ema 1: the average would never move; give a decay below 1"),
        ("--ema 0.99999999", "--ema 1: the average would never move"),
        ("--ema=-0.1", "--ema -0.1: must be between 0 and 1"),
        ("--weight-decay=-1", "--weight-decay -1"),
        ("--k-drop x", "--k-drop"),
        ("--mean 0.5", "--mean and --std belong together"),
        ("--std 0.5", "--mean and --std belong together"),
        ("--mean 0.5,0.5 --std 0.2,0.2", "the images have 1 channels"),
        ("--mean 0.5 --std 0", "stds positive"),
        ("--method magic", "possible values: ham, ham-trades, pgd-at"),
        ("--weights magic", "possible values"),
        ("--arch magic", "possible values"),
        ("--lr-schedule magic", "possible values"),
        ("--preset magic", "possible values"),
        ("--device magic", "unknown device `magic`: known are auto, cpu, cuda, cuda:NUMBER and sim"),
        ("--device cpu --precision bf16", "--precision bf16 needs --device cuda (or sim)"),
        ("--precision fp16", "possible values"),
        ("--profile-batches 3", "give FIRST..END, as in 10..12"),
        ("--threads 100000", "--threads"),
        ("--no-such-option", "--no-such-option"),
    ] {
        let out = "train --dataset data.safetensors --out run";
        let line = if options.contains("--widths") { out.to_owned() } else { format!("{out} --widths 4,8") };
        f.fails(&format!("{line} {options}"), expected);
    }
    f.fails("train --dataset shvn", "did you mean svhn?");
    f.fails("train --dataset cifar10 --data-dir .", "not in .; run: ham-engine data fetch cifar10 --data-dir .");
    f.fails("train --dataset none.safetensors", "none.safetensors: cannot read the data set: No such file");
    f.fails("data info nothing", "no data set \"nothing\"");
    f.fails("data export data.safetensors no/such/folder.safetensors", "no/such/folder.safetensors: cannot create");
    f.fails("train --config none.toml", "none.toml: cannot read the configuration");
    f.fails("train --init none.safetensors --dataset data.safetensors", "none.safetensors: cannot read");
    f.fails("train --resume none", "none: no run here (no config.toml)");
    f.fails("train --resume none --out other", "--resume");
    f.fails("train --resume none --epochs 9", "--epochs can't be changed when a run is resumed");
    f.write("file", "");
    f.fails(&f.train_line("--out file/run"), "file/run: cannot create the run directory: Not a directory");
}

#[test]
fn too_little_memory() {
    let f = Folder::with_data();
    let widths = ["4096"; 8].join(",");
    let line = format!("train --dataset data.safetensors --out run --widths {widths} --blocks 64");
    let before = f.tree();
    failed(&line, limited(&f, "ulimit -v 8000000", &line), "out of memory at ");
    assert!(before == f.tree());
}

#[test]
fn configuration_files() {
    let f = Folder::with_data();
    for (text, expected) in [
        ("epochs = 2\n\nspeed = 11\n", "c.toml: line 3: unknown field `speed`"),
        ("epochs = 2\nlr = 0.1\neps = true\n", "c.toml: line 3: a number, or a fraction such as \"8/255\""),
        ("epochs = 2\neps = \"8/0\"\n", "c.toml: line 2: `8/0` is not finite"),
        ("# text\n\n\nepochs = \"two\"\n", "c.toml: line 4: invalid type"),
        ("method = \"magic\"\n", "c.toml: line 1: unknown variant `magic`"),
        ("epochs = 2\nepochs = 3\n", "c.toml: line 2: duplicate key"),
        ("epochs\n", "c.toml: line 1: "),
        ("batch = -1\n", "c.toml: line 1: invalid value"),
        ("batch = 0\n", "--batch 0: must be between 1"),
    ] {
        f.write("c.toml", text);
        f.fails("train --dataset data.safetensors --config c.toml --out run", expected);
    }
    f.write("c.toml", [0xff, 0xfe]);
    f.fails("train --config c.toml", "c.toml: cannot read the configuration");
}

#[test]
fn damaged_data() {
    let f = with_run();
    let eval = "eval --checkpoint run/last.safetensors --attack clean --dataset bad.safetensors";
    let whole = f.read("data.safetensors");
    for cut in cuts(&whole) {
        f.write("bad.safetensors", &whole[..cut]);
        f.fails("train --dataset bad.safetensors --out other", "bad.safetensors: not a valid safetensors file");
        f.fails(eval, "bad.safetensors: not a valid safetensors file");
    }
    type Change = fn(&mut crate::common::Tensors);
    let changes: [(Change, &str); 6] = [
        (|t| t.get_mut("labels").unwrap().2[5] = 200, "labels: class 200 at 5; there are"),
        (|t| t.get_mut("labels").unwrap().1 = vec![60, 1], "labels has shape [60, 1]; it must be [N]"),
        (|t| t.get_mut("images").unwrap().1 = vec![60, 64], "images has shape [60, 64]; it must be [N, C, H, W]"),
        (|t| t.get_mut("images").unwrap().1 = vec![30, 2, 8, 8], "images holds 30 examples but labels holds 60"),
        (|t| drop(t.remove("test_labels")), "tensor test_labels is missing"),
        (
            |t| {
                let (dtype, _, pixels) = t.get_mut("images").unwrap();
                *dtype = Dtype::F32;
                *pixels = pixels.iter().flat_map(|p| f32::from(*p).to_le_bytes()).collect();
            },
            "f32 pixels must be in [0, 1]",
        ),
    ];
    for (change, expected) in changes {
        let mut t = tensors(&whole);
        change(&mut t);
        f.write("bad.safetensors", encode(&t));
        f.fails(eval, expected);
        f.fails("attack --checkpoint run/last.safetensors --input bad.safetensors --output o.safetensors", expected);
    }
}

#[test]
fn damaged_checkpoints() {
    let f = with_run();
    let whole = f.read("run/last.safetensors");
    let lines = [
        "eval --checkpoint bad.safetensors --dataset data.safetensors --attack clean",
        "attack --checkpoint bad.safetensors --input data.safetensors --output o.safetensors",
        "train --init bad.safetensors --dataset data.safetensors --out other",
    ];
    let refused = |bytes: &[u8], expected: &str| {
        f.write("bad.safetensors", bytes);
        lines.iter().for_each(|line| f.fails(line, expected));
    };
    for cut in cuts(&whole) {
        refused(&whole[..cut], "bad.safetensors: not a valid safetensors file");
    }
    type Change = fn(&mut crate::common::Tensors);
    let changes: [(Change, &str); 7] = [
        (|t| drop(t.remove("layer1.0.bn1.bias")), "no tensor `layer1.0.bn1.bias`"),
        (|t| drop(t.remove("conv1.weight")), "no tensor `conv1.weight`"),
        (|t| drop(t.insert("extra".into(), (Dtype::F32, vec![1], vec![0; 4]))), "unknown tensor `extra`"),
        (|t| t.get_mut("linear.weight").unwrap().1 = vec![24], "`linear.weight` is [24], expected 2 dimensions"),
        (|t| t.get_mut("layer2.0.conv2.weight").unwrap().1 = vec![8, 72], "`layer2.0.conv2.weight` is [8, 72]"),
        (|t| t.get_mut("bn.weight").unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes()), "`bn.weight` holds NaN"),
        (
            |t| t.get_mut("bn.running_var").unwrap().2[..4].copy_from_slice(&(-1f32).to_le_bytes()),
            "`bn.running_var` holds a negative variance",
        ),
    ];
    for (change, expected) in changes {
        let mut t = tensors(&whole);
        change(&mut t);
        refused(&encode(&t), expected);
    }
    let mut doubles = tensors(&whole);
    for (dtype, _, values) in doubles.values_mut() {
        *dtype = Dtype::F64;
        let f32s: Vec<f32> = bytemuck::pod_collect_to_vec(values);
        *values = f32s.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
    }
    refused(&encode(&doubles), "save the state dict as float32");
    refused(&f.read("data.safetensors"), "save the state dict as float32");
}

#[test]
fn what_does_not_fit_together() {
    let f = with_run();
    let init = "train --dataset data.safetensors --init run/last.safetensors --out other";
    f.fails(&format!("{init} --widths 4,16"), "--widths [4, 16], but the checkpoint has [4, 8]");
    f.fails(&format!("{init} --blocks 2"), "--blocks [2, 2], but the checkpoint has [1, 1]");
    f.fails(
        &format!("{init} --arch preact-resnet8"),
        "--arch preact-resnet8, but the checkpoint is a PreActResNet of widths [4, 8]",
    );
    f.fails(&format!("{init} --mean 0.5 --std 0.5"), "brings another normalisation");
    f.fails(&f.train_line("--out run"), "run: holds a run already; resume it with --resume");

    crate::common::dataset(6, 0, [3, 8, 8]).write_safetensors(&f.path("rgb.safetensors")).unwrap();
    crate::common::dataset(6, 0, [1, 9, 8]).write_safetensors(&f.path("tall.safetensors")).unwrap();
    let eval = "eval --checkpoint run/last.safetensors --attack clean";
    f.fails(&format!("{eval} --dataset rgb.safetensors"), "was made for 1x8x8 images and 3 classes, rgb has 3x8x8");
    f.fails(&format!("{eval} --dataset tall.safetensors"), "tall has 1x9x8");
    f.fails(&format!("{eval} --dataset fashion-mnist-mini"), "fashion-mnist-mini has 1x28x28 and 10");
    f.fails(&format!("{eval} --mean 0.5 --std 0.5"), "brings another normalisation; leave out --mean and --std");
    f.fails(&format!("{eval} --mean 0.5"), "--std");
    f.fails(&format!("{eval} --attack pdg-20"), "unknown attack `pdg-20`: known are clean, fgsm");
    f.fails(&format!("{eval} --attack pgd-0"), "give the number of steps, 1 to 10000");
    f.fails(&format!("{eval} --eps 2"), "--eps 2: must be between 0 and 1");
    f.fails(&format!("{eval} --norm l2"), "--norm l2: give --eps");
    f.fails(&format!("{eval} --examples 0"), "--examples 0: at least one image");
    f.fails(&format!("{eval} --restarts 0"), "--restarts 0: at least one run");
    f.fails(&format!("{eval} --restarts 4294967296"), "--restarts 4294967296: at most 10000");
    f.fails(&eval.replace("clean", "apgd-t"), "apgd-t: its loss takes 4 classes, the network has 3; use apgd-ce");
    f.fails(&format!("{eval} --out no/such/report.json"), "no/such/report.json: cannot create a file");
    let attack = "attack --checkpoint run/last.safetensors --input data.safetensors --output o.safetensors";
    f.fails(&attack.replace("data.", "rgb."), "has 3 channels, the checkpoint's network takes 1");
    f.fails(&format!("{attack} --batch 0"), "--batch 0");
    f.fails(&format!("{attack} --steps 1000000"), "at most 10000");
    f.fails(&format!("{attack} --alpha nan"), "not finite");
    f.fails(&format!("{attack} --keep-easy 2"), "--keep-easy 2: must be between");
    f.fails(&attack.replace("o.safe", "run/last.safetensors/o.safe"), "cannot create a file in its folder");
}

#[test]
fn a_full_disk() {
    let f = with_run();
    f.ok(&f.train_line("--epochs 1 --max-batches 2 --out second"));
    f.write("o.safetensors", "old");
    // A limit on the size of files stops writes of any user, root too; its signal is ignored, so that the write fails.
    let with_blocks = |blocks: usize, line: &str| limited(&f, &format!("trap '' XFSZ; ulimit -f {blocks}"), line);
    for line in [
        "data export data.safetensors o.safetensors",
        "eval --checkpoint run/last.safetensors --attack clean --out o.safetensors",
        "attack --checkpoint run/last.safetensors --input data.safetensors --output o.safetensors",
        "train --dataset data.safetensors --out other",
    ] {
        let before = f.tree();
        failed(line, with_blocks(0, line), "cannot write (the old file, if any, is unchanged): File too large");
        assert!(before == f.tree(), "{line}");
    }
    // Enough for the options and the metrics, not for a checkpoint: the run stays, and goes on once there is room.
    let line = f.train_line("--epochs 1 --max-batches 2 --out third");
    failed(&line, with_blocks(6, &line), "File too large");
    let left = f.list("third");
    assert!(left.contains(&"config.toml".into()), "{left:?}");
    assert!(!left.iter().any(|n| n.contains(".tmp") || n.contains("last.")), "{left:?}");
    f.ok("train --resume third");
    assert!(f.read("third/last.safetensors") == f.read("second/last.safetensors"));
    // Standard output can be full as well.
    if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
        let output = f.command("data list").stdout(full).output().unwrap();
        failed("data list", output, "cannot write to standard output");
    }
}

#[test]
fn a_pipe_is_written_to_and_stays() {
    let f = with_run();
    let line = "eval --checkpoint run/last.safetensors --attack clean --out pipe";
    let made = Command::new("mkfifo").arg(f.path("pipe")).status().unwrap();
    assert!(made.success());
    let path = f.path("pipe");
    let reader = std::thread::spawn(move || std::fs::read_to_string(path).unwrap());
    f.ok(line);
    assert!(!f.path("pipe").is_file());
    let report: serde_json::Value = serde_json::from_str(&reader.join().unwrap()).unwrap();
    assert_eq!(report["attacks"][0]["name"], "clean");
}

#[test]
fn a_loss_that_is_not_finite() {
    let f = Folder::with_data();
    // Enough mini-batches that the weights overflow within the epoch, whatever the rounding.
    let diverging = "--epochs 3 --lr 1e6 --weight-decay 1 --lr-schedule constant --method standard --batch 2";
    let line = f.train_line(&format!("{diverging} --out run")).replace("--batch 16 ", "");
    let output = f.command(&line).output().unwrap();
    failed(&line, output, "epoch 1, batch ");
    assert_eq!(f.list("run"), ["config.toml"]);

    // The same one good epoch later: what that left is kept.
    f.ok(&f.train_line("--epochs 1 --out good"));
    let good = f.read("good/last.safetensors");
    let config = f.text("good/config.toml").replace("epochs = 1\n", "epochs = 2\n");
    let config = config.replace("lr = 0.1\n", "lr = 1e6\n").replace("weight-decay = 0.0002\n", "weight-decay = 1.0\n");
    let config = config.replace("lr-schedule = \"onecycle\"", "lr-schedule = \"constant\"");
    f.write("good/config.toml", config.replace("batch = 16\n", "batch = 2\n"));
    let output = f.command("train --resume good").output().unwrap();
    failed("train --resume good", output, "good/last.safetensors holds the last good state");
    assert!(f.read("good/last.safetensors") == good);
    f.ok("eval --checkpoint good/last.safetensors --attack clean");
}
