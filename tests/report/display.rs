//! Tables and figures.

use super::*;
use ham_engine::report::plot::{write_classes, write_curves};
use ham_engine::report::table::{EPOCH_WIDTH, EpochTable, FAIRNESS_WIDTH, fairness_table};
use proptest::prelude::*;

/// Fails unless tags balance and every `&` starts an entity; returns the texts, one a line.
pub fn check_xml(svg: &str) -> String {
    let mut open = Vec::new();
    let mut texts = String::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("an unclosed tag");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        for piece in part.split('&').skip(1) {
            let entity = piece.split(';').next().unwrap();
            assert!(["lt", "gt", "amp", "quot", "apos"].contains(&entity), "{part}");
        }
        assert!(!part.chars().any(|c| c.is_control() && c != '\n'), "{part:?}");
        assert!(!tag.contains("NaN") && !tag.contains("inf"), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name.trim()));
        } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
            open.push(tag.split_whitespace().next().unwrap());
        }
        if !text.trim().is_empty() {
            texts += text.trim();
            texts.push('\n');
        }
    }
    assert!(open.is_empty(), "{open:?}");
    texts
}

fn curves(epochs: &[Epoch]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("curves.svg");
    write_curves(&path, epochs).unwrap();
    check_xml(&std::fs::read_to_string(path).unwrap())
}

fn classes(class_names: &[String], attacks: &[AttackResult]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("classes.svg");
    write_classes(&path, class_names, attacks).unwrap();
    check_xml(&std::fs::read_to_string(path).unwrap())
}

#[test]
fn epoch_rows_line_up_below_the_header() {
    let table = EpochTable::new(120, &names(3));
    let header = table.header();
    let width = header.lines().next().unwrap().chars().count();
    assert!(width <= EPOCH_WIDTH, "{width}");
    assert!(header.lines().all(|l| l.chars().count() == width), "{header}");
    let extreme = Epoch {
        epoch: 1_000_000,
        method: "a-very-long-method".to_owned(),
        loss: -1.23e300,
        lr: 1.234e-7,
        attack_seconds: 1e9,
        update_seconds: f64::INFINITY,
        units: 1e30,
        pgd_worst: Some(1.0),
        pgd_per_class: Some(vec![None]),
        ..epoch(2)
    };
    for e in [epoch(1), epoch(2), Epoch::default(), extreme] {
        assert_eq!(table.row(&e).chars().count(), width, "{}", table.row(&e));
    }
    let cells = |e| table.row(&e).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        cells(epoch(2)),
        "2/120 PGD-AT 1.1500 0.1 50.0 50.0 30.0 12.5 automobile 10.5 1.8 2.5 23.00".split(' ').collect::<Vec<_>>()
    );
    assert_eq!(cells(epoch(5)), "5/120 HAM 0.4600 0.1 20.0 – – – 10.5 1.8 – 23.00".split(' ').collect::<Vec<_>>());
}

#[test]
fn fairness_tables_are_aligned_and_fit() {
    let attacks: Vec<AttackResult> = ["clean", "pgd-20", "fgsm", "cw-inf", "autoattack", "a", "b", "c"]
        .iter()
        .enumerate()
        .map(|(i, name)| attack(name, 10, 60 - 7 * i as u64))
        .collect();
    for n in 1..=attacks.len() {
        let text = fairness_table(&names(10), &attacks[..n], 1);
        let mut widths: Vec<usize> = Vec::new();
        for line in text.lines() {
            let width = line.chars().count();
            assert!(width <= FAIRNESS_WIDTH, "{text}");
            if line.starts_with('┌') {
                widths.push(width);
            } else if line.starts_with(['│', '╞', '├', '└']) {
                assert_eq!(Some(&width), widths.last(), "{text}");
            }
        }
        assert_eq!(widths.len(), 2);
    }
    let text = fairness_table(&names(10), &attacks[..2], 1);
    let row = text.lines().find(|l| l.contains("airplane")).unwrap();
    assert!(row.contains(" 60.0◂ [50.2–69.1]") && row.contains(" 53.0◂ [43.3–62.5]") && row.contains("█▎"), "{text}");
    let rows = text.lines().filter(|l| l.starts_with('│')).count();
    assert_eq!(rows, 1 + 10 + 1 + 1 + 2);
    assert_eq!(text.lines().nth(13).map(|l| l.starts_with('├')), Some(true), "{text}");
    assert!(text.contains("gap") && text.contains("SD") && text.contains("NSD"));
}

#[test]
fn of_many_classes_the_worst_and_best_are_shown() {
    let text = fairness_table(&names(100), &[attack("clean", 100, 50), attack("pgd-20", 100, 20)], 1);
    assert!(text.contains("Shown of 100 classes: the 10 worst and 5 best under pgd-20."), "{text}");
    assert_eq!(text.lines().filter(|l| l.starts_with('│')).count(), 1 + 10 + 1 + 5 + 1 + 1 + 2);
}

#[test]
fn odd_tables_do_not_panic() {
    assert_eq!(fairness_table(&[], &[], 0), "No attack was evaluated.\n");
    let mut total = vec![0; 30];
    total[7] = 5;
    let lonely = AttackResult {
        name: "line\nbreak".to_owned(),
        fairness: fairness_of(&[0; 30], &total),
        confidence_per_class: vec![],
        parts: vec![],
    };
    let text = fairness_table(&[], &[lonely], 9);
    assert!(text.contains("class 7") && text.contains("the 1 of 30 classes that have examples"), "{text}");
    // Attacks that saw different classes.
    fairness_table(&names(2), &[attack("a", 3, 10), attack("b", 1, 10)], 0);
}

#[test]
fn curves_hold_titles_units_legends_and_the_mark() {
    let text = curves(&(1..=8).map(epoch).collect::<Vec<_>>());
    for wanted in [
        "Accuracy, all classes",
        "Accuracy, worst class",
        "Kept share r",
        "Time per epoch",
        "epoch",
        "accuracy, %",
        "kept examples, %",
        "seconds",
        "clean",
        "PGD",
        "attack",
        "update",
        "evaluation",
        "HAM from epoch 4",
        "8",
    ] {
        assert!(text.lines().any(|l| l == wanted), "{wanted:?} is not in:\n{text}");
    }
    assert!(!text.contains("0.5") && !text.contains("no data"), "{text}");
}

#[test]
fn curves_of_runs_without_this_or_that() {
    assert_eq!(curves(&[]).matches("no data").count(), 4);
    // One epoch, not evaluated; HAM from the start is no change of method.
    let text = curves(&[Epoch { method: "ham".to_owned(), ..epoch(1) }]);
    assert_eq!(text.matches("no data").count(), 2);
    assert!(!text.contains("HAM from"));
    let long: Vec<Epoch> = (1..=120).map(epoch).collect();
    assert!(curves(&long).lines().any(|l| l == "120"));
    let bad = Epoch { pgd_accuracy: Some(f64::NAN), attack_seconds: f64::INFINITY, ..epoch(2) };
    curves(&[bad.clone(), Epoch { epoch: u64::MAX, ..bad }]);
}

#[test]
fn class_figures_hold_names_and_marks() {
    let text = classes(&names(10), &[attack("clean", 10, 60), attack("pgd-20", 10, 30)]);
    for wanted in ["airplane", "truck", "60.0 worst of clean", "30.0 worst of pgd-20", "accuracy, %"] {
        assert!(text.lines().any(|l| l == wanted), "{wanted:?} is not in:\n{text}");
    }
    let odd = AttackResult {
        name: "<&\u{1}\">".to_owned(),
        fairness: fairness_of(&[0, 1], &[0, 1]),
        confidence_per_class: vec![],
        parts: vec![],
    };
    let text = classes(&["a<b & \"c\"".to_owned()], &[odd]);
    assert!(text.contains("a&lt;b &amp; &quot;c&quot;") && text.contains("no example"), "{text}");
    assert!(classes(&[], &[]).contains("no data"));
    classes(&[], &[attack("clean", 100, 50), attack("pgd-20", 3, 10)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fairness_keeps_its_order_and_everything_draws(
        classes_of in prop::collection::vec((0u64..50, 0u64..50), 1..30), name in "\\PC{0,30}"
    ) {
        let (correct, total): (Vec<u64>, Vec<u64>) = classes_of.iter().map(|(c, w)| (*c, c + w)).unzip();
        let Ok(f) = counts(&correct, &total).fairness() else { return Ok(()) };
        prop_assert!(f.worst <= f.mean + 1e-12 && f.mean <= f.best + 1e-12 && f.sd <= f.gap / 2.0 + 1e-12);
        let attacks = [AttackResult { name: name.clone(), fairness: f, confidence_per_class: vec![], parts: vec![] }];
        fairness_table(std::slice::from_ref(&name), &attacks, 0);
        classes(&[name], &attacks);
    }

    #[test]
    fn any_epochs_draw_and_print(
        runs in prop::collection::vec((any::<u64>(), any::<f64>(), prop::option::of(any::<f64>()), any::<bool>()), 0..6)
    ) {
        let epochs: Vec<Epoch> = runs.iter().map(|&(n, x, accuracy, ham)| Epoch {
            epoch: n,
            method: if ham { "ham" } else { "trades" }.to_owned(),
            attack_seconds: x, update_seconds: x, units: x, loss: x, lr: x, examples: n, kept: n / 2,
            pgd_accuracy: accuracy, pgd_worst: accuracy, pgd_per_class: Some(vec![accuracy, None]),
            ..Epoch::default()
        }).collect();
        curves(&epochs);
        let table = EpochTable::new(9, &[]);
        let width = table.header().lines().next().unwrap().chars().count();
        for e in &epochs {
            prop_assert_eq!(table.row(e).chars().count(), width);
        }
    }
}
