//! What the program does: training runs and what they leave, evaluation, attacks, and options in layers.

use crate::common::{Folder, TINY, Tensors, dataset, encode, f32s, i64s, meta, metrics_without_seconds, tensors};
use ham_engine::data::{Dataset, Pixels, Split};
use ham_engine::method::{Method, TrainLoss};
use ham_engine::results::{Epoch, Report};
use ham_engine::train::config::Config;
use ham_engine::train::options::{Number, Options, Preset};
use safetensors::Dtype;
use std::path::Path;

fn epochs(f: &Folder, run: &str) -> Vec<Epoch> {
    f.text(&format!("{run}/metrics.jsonl")).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn the_average_of_the_weights_lies_beside_the_last() {
    let f = Folder::with_data();
    for (run, option) in [("none", ""), ("zero", "--ema 0"), ("half", "--ema 0.5")] {
        f.ok(&f.train_line(&format!("--epochs 2 {option} --out {run}")));
    }
    let file = |run: &str, name: &str| tensors(&f.read(&format!("{run}/{name}")));
    let state = |run: &str| f.list(run).into_iter().find(|n| n.starts_with("state-")).unwrap();
    let averages = |run: &str| file(run, &state(run)).keys().filter(|n| n.starts_with("ema.")).count();
    let (last, half) = (file("none", "last.safetensors"), file("half", "ema.safetensors"));
    // Nothing else changes with it, and without it there is nothing of it.
    assert!(!f.list("none").contains(&"ema.safetensors".to_owned()) && averages("none") == 0);
    assert!(averages("half") > 0 && !f.text("none/config.toml").contains("ema"));
    assert!(f.text("half/config.toml").contains("ema = 0.5\n"));
    assert!(last == file("half", "last.safetensors") && last == file("zero", "last.safetensors"));
    // With decay 0 it is the last weights; else other weights with the same running statistics.
    assert!(last == file("zero", "ema.safetensors"));
    assert!(last.keys().eq(half.keys()));
    for (name, tensor) in &half {
        assert_eq!(*tensor == last[name], name.contains("running_"), "{name}");
    }
    let metas = ["last", "ema"].map(|name| meta(&f.read(&format!("half/{name}.safetensors"))));
    let [mut expected, average] = metas;
    expected["state"] = serde_json::Value::Null;
    assert_eq!(average, expected);
    f.ok("eval --checkpoint half/ema.safetensors --attack clean");
}

#[test]
fn a_run_and_what_it_leaves() {
    let f = Folder::with_data();
    let printed = f.ok(&f.train_line("--epochs 3 --begin-epoch 2 --validation 0.2 --seed 5 --out a --json"));
    let mut files = f.list("a");
    let states: Vec<_> = files.extract_if(.., |n| n.starts_with("state-")).collect();
    assert_eq!(states, ["state-0003-000000.safetensors"]);
    let expected = [
        "best-mean.safetensors",
        "best-worst.safetensors",
        "classes.svg",
        "config.toml",
        "curves.svg",
        "last.safetensors",
        "metrics.csv",
        "metrics.jsonl",
        "report.json",
    ];
    assert_eq!(files, expected);

    // One JSON object a line: the epochs, with all their fields, then the report.
    let lines: Vec<_> = printed.lines().collect();
    let parsed: Vec<Epoch> = lines[..3].iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(parsed, epochs(&f, "a"));
    assert_eq!(parsed.iter().map(|e| &e.method[..]).collect::<Vec<_>>(), ["pgd-at", "ham", "ham"]);
    assert_eq!((parsed[0].examples, parsed[0].kept, parsed[0].batches), (48, 48, 3));
    assert_eq!(parsed[0].units, 48.0 * (3.0 * 2.0 + 3.0));
    let report: Report = serde_json::from_str(lines[3]).unwrap();
    assert_eq!(report, serde_json::from_str(&f.text("a/report.json")).unwrap());
    assert_eq!(f.text("a/metrics.csv").lines().count(), 4);
    let last = meta(&f.read("a/last.safetensors"));
    assert_eq!((&last["epoch"], &last["batch"], &last["seed"]), (&3.into(), &0.into(), &5.into()));
    assert_eq!(meta(&f.read("a/best-mean.safetensors"))["batch"], 0);

    // Its config.toml makes the same run again, on any number of threads.
    f.ok("train --config a/config.toml --out b --threads 1");
    for file in ["config.toml", "last.safetensors", "best-mean.safetensors", "best-worst.safetensors"] {
        assert!(f.read(&format!("a/{file}")) == f.read(&format!("b/{file}")), "{file} differs");
    }
    let metrics = |run: &str| metrics_without_seconds(&f.text(&format!("{run}/metrics.jsonl")));
    assert_eq!(metrics("a"), metrics("b"));

    // `eval` finds what the run reported.
    let printed = f.ok("eval --checkpoint a/last.safetensors --json");
    let evaluated: Report = serde_json::from_str(&printed).unwrap();
    assert_eq!(evaluated, serde_json::from_str(&f.text("a/last.report.json")).unwrap());
    assert_eq!((&evaluated.attacks, &evaluated.data), (&report.attacks, &report.data));
    assert_eq!((&evaluated.network, &evaluated.class_names), (&report.network, &report.class_names));

    let table = f.ok("eval --checkpoint a/last.safetensors --attack clean,fgsm,cw-5 --eps 2/255 --out r.json");
    assert!(table.contains("cw-5") && table.contains("eps 0.0078"), "{table}");
    let names: Vec<_> = f.json("r.json")["attacks"].as_array().unwrap().iter().map(|a| a["name"].clone()).collect();
    assert_eq!(names, ["clean", "fgsm", "cw-5"]);

    // Another norm, restarts on the survivors, a few images, and the class of each.
    let options = "--attack pgd-3,apgd-ce-5,square-20 --norm l2 --eps 0.5 --restarts 2 --examples 10";
    let table =
        f.ok(&format!("eval --checkpoint a/last.safetensors {options} --out l2.json --save-examples e.safetensors"));
    assert!(table.contains("Cost in units an image") && table.contains("10 images"), "{table}");
    let (report, saved) = (f.json("l2.json"), tensors(&f.read("e.safetensors")));
    assert_eq!((&report["contract"]["norm"], &report["contract"]["restarts"]), (&"l2".into(), &2.into()));
    let labels = i64s(&saved, "labels");
    for (i, name) in ["pgd-3", "apgd-ce-5", "square-20"].into_iter().enumerate() {
        let right = i64s(&saved, name).iter().zip(&labels).filter(|(class, label)| class == label).count();
        assert_eq!((labels.len(), &report["attacks"][i]["parts"][0]["survivors"]), (10, &right.into()), "{name}");
    }
}

#[test]
fn kinds_of_runs() {
    let f = Folder::with_data();
    let run = |out: &str, options: &str| {
        let line = f.train_line(&format!("--epochs 2 --begin-epoch 1 --lr 0.05 --out {out} {options}"));
        // A list that is given twice is both together.
        f.ok(&if options.contains("--k-drop") { line.replace("--k-drop 1 ", "") } else { line });
        epochs(&f, out)
    };
    let ham = run("ham", "--validation 0");
    assert!(ham.iter().all(|e| e.method == "ham" && e.examples == 60 && e.kept < 60 && e.clean_accuracy.is_some()));
    assert!(!f.list("ham").iter().any(|n| n.starts_with("best-")));
    let pgd = run("pgd", "--method pgd-at --max-batches 2");
    assert!(pgd.iter().all(|e| e.method == "pgd-at" && (e.examples, e.kept, e.batches) == (32, 32, 2)));
    let standard = run("standard", "--method standard --eval-every 2");
    assert!(standard.iter().all(|e| e.method == "standard" && e.units == 3.0 * e.examples as f64));
    assert!(standard[0].pgd_accuracy.is_none() && standard[1].pgd_accuracy.is_some());
    let easy = run("easy", "--validation 0 --keep-easy 1");
    assert!(easy.iter().all(|e| e.kept == e.examples));
    // With all kept, kappa varies, and so do the weights made of it.
    let kappa = run("kappa", "--validation 0 --keep-easy 1 --weights kappa");
    assert!(kappa[1].loss.is_finite() && kappa[1].loss != easy[1].loss && kappa[0].units == easy[0].units);
    let step = run("step", "--validation 0 --weights step-size");
    assert!(step[1].loss.is_finite() && step[1].loss != ham[1].loss && step[0].units > ham[0].units);
    let bare = run("bare", "--validation 0 --no-random-start --no-augment --no-shuffle");
    assert!(bare[1].loss.is_finite() && bare[1].loss != ham[1].loss);
    let late = run("late", "--validation 0 --k-drop 2");
    let several = run("several", "--validation 0 --k-drop 1,2");
    assert!(several[0].units < late[0].units, "the first check drops what the second would");
    assert_eq!(several[0].kappa_histogram.iter().sum::<u64>(), 60);
    // A check that never comes is plain PGD-AT, to the bit, and is called so.
    let never = run("never", "--k-drop 3");
    assert!(never.iter().all(|e| e.method == "pgd-at" && e.kept == e.examples));
    assert_eq!(f.json("never/report.json")["contract"]["method"], "pgd-at");
    assert_eq!(meta(&f.read("never/last.safetensors"))["contract"]["method"], "pgd-at");
    assert!(f.text("never/config.toml").contains("method = \"ham\"\n"));
    assert!(f.ok("train --resume never").contains("method   pgd-at, eps"));
    let noted = |command: &str, line: &str| {
        let line = f.train_line(line).replacen("train", command, 1).replace("--k-drop 1 ", "");
        String::from_utf8(f.command(&line).output().unwrap().stderr).unwrap()
    };
    let note = "note: an attack of 3 steps reaches no check of --k-drop: ham drops nobody, and is pgd-at\n";
    assert_eq!(noted("train", "--k-drop 4 --refill --max-batches 1 --epochs 1"), note);
    let note = "note: ham is left out: with these options it is pgd-at\n";
    assert_eq!(noted("bench", "--k-drop 4 --cost-only --repeats 1 --out bench"), note);
    run("plain", "--method pgd-at");
    let weights = |run: &str| tensors(&f.read(&format!("{run}/last.safetensors")));
    assert!(weights("never") == weights("plain"));
    // Neither test nor validation images: nothing to report, and that is no error.
    dataset(60, 0, [1, 8, 8]).write_safetensors(&f.path("data.safetensors")).unwrap();
    assert!(run("blind", "--validation 0").iter().all(|e| e.clean_accuracy.is_none()));
    assert_eq!(f.json("blind/report.json")["attacks"], serde_json::json!([]));
}

#[test]
fn bytes_and_floats_are_the_same_images() {
    let f = Folder::with_data();
    let bytes = dataset(60, 30, [1, 8, 8]);
    let floats = |s: &Split| {
        let pixels = s.images.to_f32(0..s.images.len());
        Split { images: Pixels::F32(pixels), labels: s.labels.clone() }
    };
    let set = Dataset::new("f", [1, 8, 8], 3, floats(&bytes.train), floats(&bytes.test)).unwrap();
    set.write_safetensors(&f.path("floats.safetensors")).unwrap();
    let line = f.train_line("--epochs 1 --out bytes");
    f.ok(&line);
    f.ok(&line.replace("data.", "floats.").replace("--out bytes", "--out floats"));
    let weights = |run: &str| tensors(&f.read(&format!("{run}/last.safetensors")));
    assert!(weights("bytes") == weights("floats"));
    let attack = "attack --checkpoint bytes/last.safetensors --k-drop 1 --save-grad";
    let said = f.ok(&format!("{attack} --input data.safetensors --output b.safetensors"));
    f.ok(&format!("{attack} --input floats.safetensors --output f.safetensors --threads 1"));
    assert!(f.read("b.safetensors") == f.read("f.safetensors"));
    let kept = tensors(&f.read("b.safetensors"))["kept"].1[0];
    assert_eq!(said, format!("{kept} of 60 examples kept; b.safetensors written\n"));
    assert!(f.ok("data info floats.safetensors").contains("60 train, 30 test"));
    f.ok("data export data.safetensors copy.safetensors");
    assert!(f.read("copy.safetensors") == f.read("data.safetensors"));
    assert_eq!(f.ok("data list --json").lines().count(), 1);
}

/// A state dict as PyTorch's DataParallel saves it: no metadata, prefixes, and batch norm's counters.
fn plain(checkpoint: &[u8]) -> Vec<u8> {
    let mut plain = Tensors::new();
    for (name, tensor) in tensors(checkpoint) {
        if let Some(norm) = name.strip_suffix("running_mean") {
            plain.insert(format!("module.{norm}num_batches_tracked"), (Dtype::I64, vec![], vec![1; 8]));
        }
        plain.insert(format!("module.{name}"), tensor);
    }
    encode(&plain)
}

#[test]
fn a_plain_state_dict() {
    let f = Folder::with_data();
    f.ok(&f.train_line("--epochs 1 --mean 0.4 --std 0.2 --eps 8/255 --out run"));
    f.write("plain.safetensors", plain(&f.read("run/last.safetensors")));
    let eval = |options: &str| {
        let printed =
            f.ok(&format!("eval --dataset data.safetensors --attack clean,pgd-3 --json --checkpoint {options}"));
        serde_json::from_str::<Report>(&printed).unwrap().attacks
    };
    let expected = eval("run/last.safetensors");
    assert_eq!(eval("plain.safetensors --mean 0.4 --std 0.2"), expected);
    f.fails("eval --checkpoint plain.safetensors", "--dataset is needed: a plain state dict does not name its data");

    let attack = "attack --input data.safetensors --steps 3 --alpha 2/255 --checkpoint";
    f.ok(&format!("{attack} run/last.safetensors --output a.safetensors"));
    f.ok(&format!("{attack} plain.safetensors --mean 0.4 --std 0.2 --output b.safetensors"));
    assert!(f.read("a.safetensors") == f.read("b.safetensors"));

    // Training from it is training from the checkpoint; a rate of 0 shows what it starts from.
    let tiny = "train --dataset data.safetensors --epochs 1 --method standard --lr 0 --no-augment --init";
    f.ok(&format!("{tiny} run/last.safetensors --out from-run"));
    f.ok(&format!("{tiny} plain.safetensors --mean 0.4 --std 0.2 --out from-plain"));
    let start = tensors(&f.read("run/last.safetensors"));
    for run in ["from-run", "from-plain"] {
        let end = f.read(&format!("{run}/last.safetensors"));
        assert!(tensors(&end)["layer2.0.conv1.weight"] == start["layer2.0.conv1.weight"], "{run}");
        assert_eq!(meta(&end)["normalisation"], serde_json::json!([[0.4], [0.2]]), "{run}");
    }
    // Where the data set brings a normalisation, a plain state dict takes that.
    let mut set = dataset(60, 30, [1, 8, 8]);
    (set.mean, set.std) = (Some(vec![0.4]), Some(vec![0.2]));
    set.write_safetensors(&f.path("data.safetensors")).unwrap();
    assert_eq!(eval("plain.safetensors"), expected);
    f.ok(&format!("{tiny} plain.safetensors --out from-data"));
    assert!(tensors(&f.read("from-data/last.safetensors")) == tensors(&f.read("from-plain/last.safetensors")));
}

#[test]
fn layers_of_options() {
    let f = Folder::with_data();
    let config = "epochs = 1\nlr = 0.2\nbatch = 20\neps = \"4/255\"\nwidths = [4]\nblocks = [1]\nsteps = 2\n";
    f.write("c.toml", format!("{config}dataset = \"data.safetensors\"\nno-augment = true\n"));
    f.ok("train --preset svhn --config c.toml --lr 0.5 --no-augment=false --out run");
    let all: toml::Table = toml::from_str(&f.text("run/config.toml")).unwrap();
    let value = |name: &str| all[name].to_string();
    assert_eq!((value("lr"), value("no-augment")), ("0.5".into(), "false".into())); // command line
    assert_eq!((value("epochs"), value("batch"), value("widths")), ("1".into(), "20".into(), "[4]".into())); // file
    assert_eq!(all["eps"].as_float(), Some(4.0 / 255.0));
    assert_eq!((value("k-drop"), value("alpha"), value("begin-epoch")), ("[5]".into(), "0.007".into(), "50".into()));
    assert_eq!((value("seed"), value("eval-every")), ("0".into(), "1".into())); // nobody said
    // Without --out, folders are numbered.
    for n in ["001", "002"] {
        f.ok(&f.train_line("--epochs 1 --max-batches 1 --method standard"));
        assert!(f.path(&format!("runs/data-standard-{n}/report.json")).is_file(), "{:?}", f.list("runs"));
    }
}

/// What help says of every option that is not set is what a run then has.
#[test]
fn defaults() {
    let help = Folder::new().ok("train --help").split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = dataset(6, 3, [1, 8, 8]);
    let told = Options { dataset: Some("data.safetensors".into()), ..Options::default() };
    let (config, full) = Config::new(&told, &plain, None).unwrap();
    let full = toml::Table::try_from(&full).unwrap();
    let starts = |name: &str| help.find(&format!(" --{name} <")).or(help.find(&format!(" --{name}[=")));
    for row in Options::ROWS {
        let name = row.name();
        let start = starts(&name).unwrap_or_else(|| panic!("no --{name} in help"));
        let end = Options::ROWS.iter().filter_map(|r| starts(&r.name())).filter(|s| *s > start).min();
        let about = &help[start..end.unwrap_or(help.len())];
        let shown = about.split_once("[default: ").map(|(_, rest)| rest.split_once(']').unwrap().0);
        assert_eq!(shown.map(str::to_owned), row.fallback.in_words(), "--{name}");
        if let Some(value) = row.fallback.value().filter(|_| name != "dataset") {
            let mut options = Options::default();
            options.add(row, value).unwrap();
            assert_eq!(full[&name], toml::Table::try_from(&options).unwrap()[&name], "--{name}");
        }
    }
    // Those that follow from others: eps/4, past half of the epochs, none, no, preact-resnet8, 6 and 5.
    assert_eq!(Options::defaults().dataset.as_deref(), Some("fashion-mnist-mini"));
    assert_eq!(config.settings.attack.alpha, config.settings.attack.eps / 4.0);
    assert_eq!((config.settings.begin_epoch, config.epochs(), config.ema, config.tensorboard), (5, 8, None, false));
    assert_eq!((&config.arch.widths[..], &config.arch.blocks[..]), (&[16, 32, 64][..], &[1, 1, 1][..]));
    let of = |method| {
        let told = Options { method: Some(method), ..told.clone() };
        Config::new(&told, &plain, None).unwrap().0
    };
    assert_eq!(of(Method::Gairat).settings.begin_epoch, 4);
    for (method, factor) in [(Method::Trades, 6.0), (Method::Mart, 5.0)] {
        assert!(matches!(of(method).plan(1).loss, TrainLoss::TwoPass(_, beta) if beta == factor), "{}", method.name());
    }
}

/// The table in docs/method.md, "Defaults of the paper's runs", and the course of the learning rate over 120 epochs.
#[test]
fn presets() {
    let colour = dataset(6, 3, [3, 8, 8]);
    let cifar10 = (vec![0.4914f32, 0.4822, 0.4465], vec![0.2471f32, 0.2435, 0.2616]);
    let cifar100 = (vec![0.50708, 0.48655, 0.44092], vec![0.26733, 0.25644, 0.27615]);
    for (preset, name, begin, k_drop, keep_easy, lr, norm) in [
        (Preset::Cifar10, "cifar10", 50, 3, 0.0, 0.1, Some(cifar10)),
        (Preset::Svhn, "svhn", 50, 5, 0.0, 0.01, None),
        (Preset::Cifar100, "cifar100", 60, 3, 0.3, 0.1, Some(cifar100)),
        (Preset::Imagenette, "imagenette", 50, 3, 0.0, 0.1, None),
    ] {
        let options = Options::preset(preset);
        let (c, full) = Config::new(&options, &colour, None).unwrap();
        assert_eq!(c.dataset, name);
        assert_eq!((&c.arch.widths[..], &c.arch.blocks[..]), (&[64, 128, 256, 512][..], &[2, 2, 2, 2][..]));
        assert_eq!(
            (c.settings.attack.eps, c.settings.attack.alpha, c.settings.attack.steps),
            (0.031, 0.007, 10),
            "{name}"
        );
        assert!(c.settings.attack.start.is_some() && c.augment && c.shuffle);
        assert_eq!((c.method.name(), c.settings.begin_epoch, c.epochs(), c.batch), ("ham", begin, 120, 128), "{name}");
        assert_eq!((&c.settings.k_drop[..], c.settings.keep_easy), (&[k_drop][..], keep_easy as f32), "{name}");
        assert_eq!((c.lr, c.momentum, c.weight_decay), (lr, 0.9, 2e-4), "{name}");
        assert_eq!(full.keep_easy, Some(Number(keep_easy)));
        assert_eq!(c.arch.normalisation.as_ref().map(|n| (n.mean.clone(), n.std.clone())), norm, "{name}");
        assert!(!c.plan(begin - 1).drops() && c.plan(begin).drops());
        for (epoch, factor) in
            [(1, 1.0), (59, 1.0), (60, 0.1), (89, 0.1), (90, 0.01), (109, 0.01), (110, 0.005), (120, 0.005)]
        {
            let rate = c.learning_rate(epoch, 7, 391);
            assert!((rate - lr * factor).abs() < 1e-12, "{name}, epoch {epoch}: {rate}");
        }
    }
}

#[test]
fn golden_attacks() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let f = Folder::new();
    for name in ["plain", "normalised"] {
        let path = |what: &str| golden.join(format!("{name}.{what}"));
        let spec: serde_json::Value = serde_json::from_slice(&std::fs::read(path("json")).unwrap()).unwrap();
        let expect = tensors(&std::fs::read(path("expect.safetensors")).unwrap());
        for kind in ["net", "batch"] {
            std::fs::copy(path(&format!("{kind}.safetensors")), f.path(&format!("{kind}.safetensors"))).unwrap();
        }
        let list =
            |key: &str| spec[key].as_array().unwrap().iter().map(|v| v.to_string()).collect::<Vec<_>>().join(",");
        let mut line = format!(
            "attack --checkpoint net.safetensors --input batch.safetensors --eps {} --alpha {} --steps {} \
             --no-random-start --save-grad",
            spec["eps"], spec["alpha"], spec["steps"]
        );
        if name == "normalised" {
            line += &format!(" --mean {} --std {}", list("mean"), list("std"));
        }
        let ham = format!("--k-drop {}", spec["k_drop"]);
        let runs = [
            ("ham", ham.clone()),
            ("pgd_at", "--exact".into()),
            ("ham", ham + " --device sim"),
            ("pgd_at", "--device sim".into()),
        ];
        for (method, options) in runs {
            f.ok(&format!("{line} {options} --output out.safetensors"));
            let out = tensors(&f.read("out.safetensors"));
            for what in ["kept", "kappa"] {
                assert_eq!(i64s(&out, what), i64s(&expect, &format!("{method}.{what}")), "{name} {method} {what}");
            }
            let close = |got: &str, want: &str, within: f32| {
                assert_eq!(out[got].1, expect[want].1, "{name} {want}");
                let (got, want) = (f32s(&out, got), f32s(&expect, want));
                got.iter().zip(&want).filter(|(g, w)| (*g - *w).abs() <= within).count() as f64 / want.len() as f64
            };
            assert_eq!(close("logits", "logits", 1e-4), 1.0, "{name} logits");
            let scale = f32s(&expect, "input_grad").iter().fold(0f32, |m, v| m.max(v.abs()));
            assert_eq!(close("input_grad", "input_grad", 1e-4 * scale), 1.0, "{name} input_grad");
            assert!(close("x_adv", &format!("{method}.x_adv"), 1e-6) >= 0.995, "{name} {method} x_adv");
            assert!(close("step_size", &format!("{method}.step_size"), 2e-3) == 1.0, "{name} {method} step_size");
        }
    }
}

#[test]
fn help_names_everything() {
    let f = Folder::new();
    let help = f.ok("train --help");
    for name in TINY.iter().filter(|o| o.starts_with("--")).chain(&["--preset", "--resume", "--begin-epoch", "--json"])
    {
        assert!(help.contains(name), "{name}");
    }
    for command in ["eval --help", "attack --help", "data --help", "devices --help", "kernels --help", "--version"] {
        assert!(!f.ok(command).is_empty());
    }
}
