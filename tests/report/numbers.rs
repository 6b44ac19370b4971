//! Fairness measures, metrics and report files.

use super::*;
use ham_engine::attack::Budget;
use ham_engine::fsio::created_by;
use ham_engine::method::{Method, Weights};
use ham_engine::ops::ball::Norm;
use ham_engine::results::fairness::{Z_95, wilson};
use ham_engine::results::{Contract, Cost, DataId, Report, Training, metrics, rho};
use proptest::prelude::*;
use std::path::Path;

#[test]
fn wilson_matches_textbook_values_and_its_definition() {
    let near = |(low, high): (f64, f64), l: f64, h: f64| (low - l).abs() < 5e-5 && (high - h).abs() < 5e-5;
    assert!(near(wilson(8, 10).unwrap(), 0.4902, 0.9433));
    // Newcombe (1998), Table I: 81/263, 15/148, 0/20, 1/29, by the score method without continuity correction.
    assert!(near(wilson(81, 263).unwrap(), 0.2553, 0.3662));
    assert!(near(wilson(15, 148).unwrap(), 0.0624, 0.1605));
    assert!(near(wilson(0, 20).unwrap(), 0.0, 0.1611));
    assert!(near(wilson(1, 29).unwrap(), 0.0061, 0.1718));
    // At the ends the interval is [0, z^2/(n+z^2)] and its mirror image.
    let reach = Z_95 * Z_95 / (10.0 + Z_95 * Z_95);
    let (low, high) = wilson(0, 10).unwrap();
    assert!(low == 0.0 && (high - reach).abs() < 1e-15);
    let (low, high) = wilson(10, 10).unwrap();
    assert!((low - (1.0 - reach)).abs() < 1e-15 && high == 1.0);
    assert_eq!(wilson(0, 0), None);
}

#[test]
fn fairness_of_a_hand_computed_example() {
    // Accuracies 0.8, 0.4 and 0.6; the fourth class has no example.
    let f = fairness_of(&[8, 4, 3, 0], &[10, 10, 5, 0]);
    assert_eq!((f.worst_class, f.worst), (1, 0.4));
    assert_eq!((f.best_class, f.best), (0, 0.8));
    assert!((f.mean - 15.0 / 25.0).abs() < 1e-15);
    assert!((f.gap - 0.4).abs() < 1e-15);
    let sd = ((0.04 + 0.04 + 0.0) / 3.0f64).sqrt();
    assert!((f.sd - sd).abs() < 1e-15);
    assert!((f.nsd.unwrap() - sd / 0.6).abs() < 1e-15);
    assert_eq!(f.per_class.len(), 4);
    assert!(f.per_class[3].is_none());
    assert_eq!(f.per_class[0].map(|a| (a.correct, a.total)), Some((8, 10)));
    assert_eq!(Some((f.low, f.high)), wilson(15, 25));
}

#[test]
fn the_mean_is_over_examples_not_over_classes() {
    let f = fairness_of(&[90, 0], &[90, 10]);
    assert_eq!((f.mean, f.worst, f.best, f.gap, f.sd), (0.9, 0.0, 1.0, 1.0, 0.5));
}

#[test]
fn ties_take_the_lowest_class_and_no_mean_means_no_nsd() {
    let f = fairness_of(&[0, 0, 0], &[0, 4, 4]);
    assert_eq!((f.worst_class, f.best_class, f.nsd), (1, 1, None));
}

#[test]
fn counts_that_contradict_themselves_are_errors() {
    for (bad, what) in [
        (counts(&[1], &[1, 2]), "1 classes in correct, 2 in total"),
        (counts(&[0, 3], &[1, 2]), "class 1: 3 correct of 2"),
        (counts(&[0, 0], &[0, 0]), "no example"),
        (ClassCounts::default(), "no example"),
    ] {
        let error = bad.fairness().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let mut c = ClassCounts::new(2);
    c.count(1, true);
    c.count(1, false);
    assert_eq!(c, counts(&[0, 1], &[0, 2]));
}

#[test]
fn rho_adds_the_relative_changes() {
    let base = fairness_of(&[4, 8], &[10, 10]); // worst 0.4, mean 0.6
    let run = fairness_of(&[5, 7], &[10, 10]); // worst 0.5, mean 0.6
    assert!((rho(&run, &base).unwrap() - 0.25).abs() < 1e-15);
    assert_eq!(rho(&base, &base), Some(0.0));
    assert_eq!(rho(&run, &fairness_of(&[0, 8], &[10, 10])), None);
    assert_eq!(rho(&run, &fairness_of(&[0, 0], &[10, 10])), None);
}

#[test]
fn metrics_survive_the_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let epochs: Vec<Epoch> = (1..=5).map(epoch).collect();
    metrics::write_all(&path, &epochs).unwrap();
    assert_eq!(metrics::read(&path).unwrap(), epochs);
    // Shorter than before: the rewrite replaces the file.
    metrics::write_all(&path, &epochs[..1]).unwrap();
    assert_eq!(metrics::read(&path).unwrap(), epochs[..1]);
    metrics::write_all(&path, &[]).unwrap();
    assert_eq!(metrics::read(&path).unwrap(), []);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file was left");

    let skipped = Epoch { loss: f64::NAN, ..epoch(1) };
    metrics::write_all(&path, &[skipped]).unwrap();
    assert!(metrics::read(&path).unwrap()[0].loss.is_nan());
}

#[test]
fn metrics_have_exactly_the_agreed_fields() {
    let line = serde_json::to_value(epoch(2)).unwrap();
    let mut fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let mut agreed =
        "epoch method train_seconds data_seconds attack_seconds update_seconds eval_seconds examples kept batches \
        batches_skipped units loss lr clean_accuracy pgd_accuracy clean_worst pgd_worst clean_per_class pgd_per_class \
        kept_per_class examples_per_class kappa_histogram kappa_per_class kept_confidence_per_class \
        dropped_confidence_per_class live_per_step passes"
            .split_whitespace()
            .collect::<Vec<_>>();
    fields.sort_unstable();
    agreed.sort_unstable();
    assert_eq!(fields, agreed);
}

#[test]
fn bad_metrics_name_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let good = serde_json::to_string(&epoch(1)).unwrap();
    let with = |change: fn(&mut Epoch)| {
        let mut e = epoch(2);
        change(&mut e);
        serde_json::to_string(&e).unwrap()
    };
    for (bad, what) in [
        (good[..good.len() / 2].to_owned(), "not an epoch's metrics"),
        (String::new(), "not an epoch's metrics"),
        (good.replace("\"lr\":0.1,", ""), "missing field `lr`"),
        (good.replace("\"lr\":", "\"rate\":"), "unknown field `rate`"),
        (good.replace("\"kept\":1000", "\"kept\":-1"), "not an epoch's metrics"),
        (with(|e| e.kept = 1001), "kept 1001 of 1000 examples"),
        (with(|e| e.batches_skipped = 9), "9 batches skipped of 8"),
        (with(|e| e.pgd_accuracy = Some(30.0)), "an accuracy of 30 is outside [0, 1]"),
        (with(|e| e.pgd_per_class = Some(vec![Some(-0.5)])), "an accuracy of -0.5"),
        (with(|e| e.attack_seconds = -1.0), "attack_seconds is -1"),
        (with(|e| e.epoch = 1), "epoch 1 follows epoch 1"),
        (with(|e| e.epoch = 0), "epochs count from 1"),
    ] {
        std::fs::write(&path, format!("{good}\n{bad}\n")).unwrap();
        let error = metrics::read(&path).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: line 2: ") && error.contains(what), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
    let error = metrics::read(&dir.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("cannot read the metrics"), "{error}");
    let error = metrics::write_all(&dir.path().join("no/folder"), &[]).unwrap_err().to_string();
    assert!(error.contains("no/folder: cannot create"), "{error}");
}

#[test]
fn csv_flattens_vectors_into_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.csv");
    let odd = Epoch { method: "a \"b\", c".to_owned(), loss: f64::NAN, ..epoch(3) };
    metrics::write_csv(&path, &[epoch(1), epoch(2), odd]).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let header: Vec<&str> = lines[0].split(',').collect();
    assert_eq!(header.len(), 21 + 3 + 3 + 3 + 3 + 4 + 3 + 2 + 2);
    assert_eq!(&header[..3], ["epoch", "method", "train_seconds"]);
    let cell = |line: usize, name: &str| {
        lines[line].split(',').nth(header.iter().position(|h| *h == name).unwrap()).unwrap().to_owned()
    };
    assert_eq!(lines[1].split(',').count(), header.len());
    assert_eq!(cell(1, "pgd_accuracy"), "");
    assert_eq!(cell(1, "pgd_accuracy_class_1"), "");
    assert_eq!(cell(2, "pgd_accuracy"), "0.3");
    assert_eq!(cell(2, "clean_accuracy_class_0"), "0.75");
    assert_eq!(cell(2, "pgd_accuracy_class_1"), "0.125");
    assert_eq!(cell(2, "pgd_accuracy_class_2"), "");
    assert_eq!(cell(2, "kept_class_0"), "3");
    assert_eq!(cell(2, "examples_class_2"), "200");
    assert_eq!(cell(2, "kappa_3"), "940");
    assert_eq!((cell(1, "kept_confidence_1"), cell(1, "dropped_confidence_0")), ("6".to_owned(), "13".to_owned()));
    assert_eq!((cell(2, "live_step_2"), cell(2, "dgrad")), ("990".to_owned(), "9000".to_owned()));
    assert!(lines[3].starts_with("3,\"a \"\"b\"\", c\",12.25,"), "{}", lines[3]);
    metrics::write_csv(&path, &[]).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn reports_survive_the_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    let epochs: Vec<Epoch> = (1..=2).map(epoch).collect();
    let cost = Cost::of(&epochs);
    assert_eq!((cost.attack_seconds, cost.eval_seconds, cost.units_per_example), (21.0, 2.5, Some(23.0)));
    let report = Report {
        kernels: None,
        created_by: created_by(),
        device: "cpu".to_owned(),
        seed: u64::MAX,
        data: DataId { name: "cifar-10".to_owned(), hash: "00ff".to_owned() },
        network: "PreActResNet-18".to_owned(),
        contract: Contract::of_evaluation(&Budget::new(0.031, 1), 100),
        checkpoint: None,
        checkpoint_hash: None,
        class_names: names(10),
        attacks: vec![attack("clean", 10, 60), attack("pgd-20", 10, 0)],
        warnings: vec!["zero gradients".to_owned()],
        rho: [("pgd-20".to_owned(), 0.25)].into(),
        cost: Some(cost),
    };
    report.write(&path).unwrap();
    assert_eq!(Report::read(&path).unwrap(), report);
    assert!(report.created_by.starts_with("ham-engine "));

    // Worst class 60 to 70 %, mean 73.5 to 83.5 %; the baseline's worst class under PGD is 0, and it has no FGSM.
    let better = [attack("clean", 10, 70), attack("pgd-20", 10, 30), attack("fgsm", 10, 30)];
    let found = report.rho_of(&better, &report.data, &path).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["clean"]);
    assert!((found["clean"] - (10.0 / 60.0 + 10.0 / 73.5)).abs() < 1e-12, "{found:?}");
    let other = DataId { name: "cifar-10".to_owned(), hash: "ff00".to_owned() };
    let error = report.rho_of(&better, &other, &path).unwrap_err().to_string();
    assert!(error.contains("report.json: is of other data (cifar-10)"), "{error}");

    Report { class_names: names(9), ..report }.write(&path).unwrap();
    let error = Report::read(&path).unwrap_err().to_string();
    assert!(error.contains("clean: 10 classes, but 9 class names"), "{error}");
    std::fs::write(&path, "{").unwrap();
    assert!(Report::read(&path).unwrap_err().to_string().contains("not a report"));
    assert!(Report::read(Path::new("/nonexistent/report.json")).is_err());
}

/// Files of version 0.1.0, when a contract was free JSON: they are read, and written again to the same bytes.
#[test]
fn contracts_of_old_reports() {
    let dir = tempfile::tempdir().unwrap();
    let again = dir.path().join("again.json");
    let old = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/old").join(name);
        let report = Report::read(&path).unwrap();
        report.write(&again).unwrap();
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap(), "{name}");
        report.contract
    };
    let eps = 8.0 / 255.0;
    let training = Training {
        method: Method::Ham,
        alpha: eps / 4.0,
        steps: 3,
        k_drop: vec![1, 2],
        keep_easy: 0.0,
        weights: Weights::StepSize,
        begin_epoch: 2,
        beta: None,
        epochs: 2,
        batch: 16,
    };
    let run = Contract::of_run(&Budget::new(eps, 0), training.clone());
    assert_eq!(old("run.json"), run);
    let trades = Training {
        method: Method::Trades,
        k_drop: vec![3],
        weights: Weights::Uniform,
        begin_epoch: 1,
        beta: Some(3.0),
        epochs: 1,
        ..training
    };
    assert_eq!(old("trades.json").training, Some(trades));
    let budget = Budget { norm: Norm::L2, restarts: 2, ..Budget::new(0.5, 0) };
    assert_eq!(old("evaluation.json"), Contract::of_evaluation(&budget, 12));
    // Older ones did not say what was the same in all.
    let older: Contract = serde_json::from_str(r#"{"eps": 0.5, "random_start": true}"#).unwrap();
    assert_eq!(older, Contract { examples: None, ..Contract::of_evaluation(&Budget::new(0.5, 0), 1) });
    let wrong = serde_json::from_str::<Contract>(r#"{"eps": 0.5, "method": "ham"}"#).unwrap_err().to_string();
    assert!(wrong.contains("the contract has no `alpha`"), "{wrong}");
    assert!(serde_json::from_str::<Contract>("{}").is_err());
    let words: Vec<String> = run.entries().iter().map(|(name, value)| format!("{name} {value}")).collect();
    assert_eq!(words[..4], ["alpha 0.007843138", "batch 16", "begin epoch 2", "epochs 2"]);
    assert_eq!(
        words[4..],
        ["eps 0.03137255", "k drop [1,2]", "keep easy 0", "method ham", "steps 3", "weights step-size"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn intervals_hold_the_accuracy_and_narrow_with_examples(correct in 0u64..2000, extra in 0u64..2000) {
        let total = (correct + extra).max(1);
        let (low, high) = wilson(correct, total).unwrap();
        let p = correct as f64 / total as f64;
        prop_assert!(0.0 <= low && low <= p && p <= high && high <= 1.0);
        let (low4, high4) = wilson(4 * correct, 4 * total).unwrap();
        prop_assert!(high4 - low4 < high - low);
    }
}
