//! Methods side by side: numbers, tables and CSV.

use super::display::check_xml;
use super::*;
use ham_engine::report::comparison_csv::write_csv;
use ham_engine::report::comparison_table::{COMPARISON_WIDTH, comparison_table};
use ham_engine::report::plot::write_figures;
use ham_engine::results::comparison::{Comparison, MethodCost, MethodRow, SeedResult, Spread};
use ham_engine::results::paired::Paired;
use ham_engine::results::rho;
use proptest::prelude::*;

const METHODS: [&str; 9] =
    ["pgd-at", "ham", "trades", "mart", "fat", "fgsm-rs", "gairat", "standard", "pgd-at (PyTorch peer)"];

pub fn spread(values: &[f64]) -> Spread {
    Spread::of(values).unwrap()
}

fn cost(seconds: f64, live: &[f64]) -> MethodCost {
    MethodCost {
        seconds: spread(&[seconds, 0.97 * seconds, 1.05 * seconds]),
        data: 0.04 * seconds,
        attack: 0.7 * seconds,
        update: 0.2 * seconds,
        eval: Some(4.5),
        ratio: spread(&[seconds / 20.0, 0.98 * seconds / 20.0, 1.03 * seconds / 20.0]),
        images_per_second: 50_000.0 / seconds,
        passes: [10.0 * seconds / 20.0, 9.5, 1.0].into(),
        kept_share: 0.415,
        gflops: Some(14_321.0),
        peak_share: Some(0.4567),
        memory: Some(1 << 30),
        live: live.to_vec(),
    }
}

/// Of 200 examples a class; `skill` in 200ths.
fn result(seed: u64, skill: u64, base: Option<&SeedResult>) -> SeedResult {
    let attacks: Vec<AttackResult> = [("clean", 60), ("fgsm", 20), ("pgd-20", 10), ("cw-inf", 0)]
        .map(|(name, easier)| {
            let correct: Vec<u64> = (0..10).map(|c| skill + easier + (c * 37 + 11 * seed + c * skill) % 61).collect();
            AttackResult {
                name: name.to_owned(),
                fairness: fairness_of(&correct, &[200; 10]),
                confidence_per_class: vec![],
                parts: vec![],
            }
        })
        .into();
    let of = |i: usize| rho(&attacks[i].fairness, &base?.attacks[i].fairness);
    let rho = (0..attacks.len()).map(of).collect();
    SeedResult { seed, kept_share: vec![1.0, 0.4], attacks, rho }
}

/// The first `methods` of [`METHODS`] with a result for each of `seeds` seeds.
pub fn sample(methods: usize, seeds: u64) -> Comparison {
    let full = [1.0; 10];
    let ham = [1.0, 1.0, 1.0, 0.42, 0.41, 0.4, 0.4, 0.4, 0.4, 0.4];
    let fat = [1.0, 0.82, 0.7, 0.62, 0.57, 0.54, 0.52, 0.5, 0.49, 0.48];
    let all: [(f64, &[f64], u64); 9] = [
        (20.0, &full, 50),
        (11.6, &ham, 47),
        (22.4, &full, 52),
        (21.1, &full, 53),
        (14.2, &fat, 46),
        (4.1, &[1.0], 33),
        (20.3, &full, 51),
        (2.1, &[], 4),
        (44.0, &full, 50),
    ];
    let base: Vec<SeedResult> = (0..seeds).map(|s| result(s, 50, None)).collect();
    let row = |(i, (seconds, live, skill)): (usize, (f64, &[f64], u64))| MethodRow {
        method: METHODS[i].to_owned(),
        cost: cost(seconds, live),
        results: if i == 0 {
            base.clone()
        } else {
            (0..seeds).map(|s| result(s, skill + (s * 5 + i as u64) % 3, Some(&base[s as usize]))).collect()
        },
    };
    Comparison {
        created_by: "ham-engine 0".to_owned(),
        device: "CPU, 8 threads".to_owned(),
        data: "cifar-10".to_owned(),
        network: "PreActResNet-18".to_owned(),
        examples: [50_000, 128].into(),
        steps: 10,
        epochs: (seeds > 0).then_some(120),
        baseline: "pgd-at".to_owned(),
        peak_gflops: Some(31_000.0),
        class_names: names(10),
        methods: all.into_iter().enumerate().take(methods).map(row).collect(),
    }
}

/// Long names, and a hundred classes.
pub fn long(methods: usize) -> Comparison {
    let mut c = sample(methods, 2);
    c.class_names = (0..100).map(|i| format!("a rather long name of class {i}")).collect();
    for (i, m) in c.methods.iter_mut().enumerate() {
        m.method = format!("{} with a long name of method {i}", m.method);
        for r in &mut m.results {
            for a in &mut r.attacks {
                let correct: Vec<u64> = (0..100).map(|k| 20 + 3 * i as u64 + k * 7 % 41).collect();
                a.fairness = fairness_of(&correct, &[100; 100]);
            }
        }
    }
    c.baseline = c.methods[0].method.clone();
    c
}

#[test]
fn differences_are_paired_by_seed() {
    let mut c = sample(2, 4);
    c.methods[1].results.reverse();
    c.methods[1].results.remove(0);
    let worst = |a: &AttackResult| Some(a.fairness.worst);
    let of = |m: usize, seed: u64| {
        let result = c.methods[m].results.iter().find(|r| r.seed == seed).unwrap();
        result.attacks.iter().find(|a| a.name == "pgd-20").and_then(worst).unwrap()
    };
    let differences = [2, 1, 0].map(|seed| of(1, seed) - of(0, seed));
    let found = c.against_baseline(&c.methods[1], "pgd-20", worst).unwrap();
    assert_eq!((found, found.pairs), (Paired::of(&differences).unwrap(), 3));
    assert_eq!(c.against_baseline(&c.methods[0], "pgd-20", worst), None);
    assert!(comparison_table(&c).contains("sign-flip"));
    // One seed proves nothing.
    assert!(!comparison_table(&sample(2, 1)).contains("sign-flip"));
}

#[test]
fn spreads_by_hand() {
    let s = spread(&[4.0, 1.0, 7.0]);
    assert_eq!((s.median, s.mean, s.sd, s.low, s.high, s.count), (4.0, 4.0, 3.0, 1.0, 7.0, 3));
    let s = spread(&[10.0, 1.0, 2.0, 3.0]);
    assert_eq!((s.median, s.mean, s.low, s.high, s.count), (2.5, 4.0, 1.0, 10.0, 4));
    // (36 + 9 + 4 + 1) / 3
    assert!((s.sd - (50.0f64 / 3.0).sqrt()).abs() < 1e-12);
    let one = Spread { median: 2.0, mean: 2.0, sd: 0.0, low: 2.0, high: 2.0, count: 1 };
    assert_eq!(Spread::of(&[2.0]), Some(one));
    assert_eq!(Spread::of(&[]), None);
    assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
}

#[test]
fn results_over_seeds() {
    let c = sample(3, 3);
    let m = &c.methods[1];
    let means: Vec<f64> = m.results.iter().map(|r| r.attacks[2].fairness.mean).collect();
    assert_eq!(m.over_seeds("pgd-20", |a| Some(a.fairness.mean)), Spread::of(&means));
    let of_class: Vec<f64> = m.results.iter().map(|r| r.attacks[2].fairness.per_class[4].unwrap().accuracy).collect();
    assert_eq!(m.class_over_seeds("pgd-20", 4), Spread::of(&of_class));
    assert_eq!((m.class_over_seeds("pgd-20", 10), m.over_seeds("none", |_| Some(1.0))), (None, None));
    let rhos: Vec<f64> = m.results.iter().map(|r| r.rho[2].unwrap()).collect();
    assert_eq!(m.rho_over_seeds("pgd-20"), Spread::of(&rhos));
    assert_eq!(c.methods[0].rho_over_seeds("pgd-20"), None);
    assert_eq!((c.attacks().len(), c.classes(), c.seeds()), (4, 10, vec![0, 1, 2]));
    let costs = sample(2, 0);
    assert_eq!((costs.attacks().len(), costs.classes(), costs.seeds()), (0, 0, vec![]));
    assert_eq!(c.baseline_row().map(|m| m.method.as_str()), Some("pgd-at"));
}

#[test]
fn comparisons_survive_the_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bench.json");
    let c = sample(9, 2);
    c.write(&path).unwrap();
    assert_eq!(Comparison::read(&path).unwrap(), c);
    std::fs::write(&path, "{").unwrap();
    assert!(Comparison::read(&path).unwrap_err().to_string().contains("not a comparison"));
}

/// The cells of a table's rows, by line.
fn cells(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|l| l.starts_with('│'));
    rows.map(|l| l.trim_matches('│').split('┆').map(|c| c.trim().to_owned()).collect()).collect()
}

/// Fails unless the lines of each table are equally wide, and none is too wide.
fn check_table(text: &str) {
    let mut width = 0;
    for line in text.lines() {
        let w = line.chars().count();
        assert!(w <= COMPARISON_WIDTH, "{w}:\n{text}");
        if line.starts_with('┌') {
            width = w;
        } else if line.starts_with(['│', '╞', '├', '└']) {
            assert_eq!(w, width, "{text}");
        }
    }
}

#[test]
fn tables_say_what_methods_cost_and_buy() {
    let c = sample(6, 3);
    let text = comparison_table(&c);
    check_table(&text);
    let rows = cells(&text);
    let ham = rows.iter().find(|r| r[0] == "ham").unwrap();
    let wanted = "11.60|0.46|8.12|2.32|4.50|0.58 (0.57–0.60)|4310|5.8/ 9.5/ 1.0|41.5|14321|45.7|1024.0";
    assert_eq!(ham[1..].join("|"), wanted, "{text}");

    // Rows of an attack follow its name.
    let start = rows.iter().position(|r| r[0] == "pgd-20").unwrap();
    assert_eq!((rows[start][1].as_str(), rows[start][6].as_str()), ("pgd-at", "–"));
    let ham = &rows[start + 1];
    let of = |s: Option<Spread>, scale: f64, d: usize| {
        s.map(|s| format!("{:.d$} ± {:.d$}", scale * s.mean, scale * s.sd)).unwrap()
    };
    let m = &c.methods[1];
    assert_eq!(
        ham[1..],
        [
            "ham".to_owned(),
            of(m.over_seeds("pgd-20", |a| Some(a.fairness.mean)), 100.0, 2),
            of(m.over_seeds("pgd-20", |a| Some(a.fairness.worst)), 100.0, 2),
            of(m.over_seeds("pgd-20", |a| Some(a.fairness.gap)), 100.0, 2),
            of(m.over_seeds("pgd-20", |a| a.fairness.nsd), 1.0, 3),
            of(m.rho_over_seeds("pgd-20"), 1.0, 3),
        ]
    );
    assert_eq!(text.lines().filter(|l| l.starts_with('├')).count(), 3);
    let flat = text.replace('\n', " ");
    for wanted in [
        "Baseline: pgd-at. Device: CPU, 8 threads (peak 31000 GFLOP/s). Network: PreActResNet-18.",
        "Data: cifar-10, 50000 examples an epoch, mini-batches of 128, 10 attack steps.",
        "120 epochs trained, epochs timed: 3; seeds 0, 1, 2.",
        "Mean ± SD",
    ] {
        assert!(flat.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
}

#[test]
fn tables_of_one_seed_and_of_costs_alone() {
    let text = comparison_table(&sample(2, 1));
    check_table(&text);
    assert!(!text.contains('±') && text.contains("seeds 0."), "{text}");
    let mut c = sample(2, 0);
    let cost = &mut c.methods[1].cost;
    (cost.eval, cost.gflops, cost.peak_share, cost.memory) = (None, None, None, None);
    cost.ratio = spread(&[0.5]);
    c.peak_gflops = None;
    let text = comparison_table(&c);
    check_table(&text);
    let rows = cells(&text);
    let ham = rows.iter().find(|r| r[0] == "ham").unwrap();
    assert_eq!([5, 6, 10, 11, 12].map(|i| ham[i].as_str()), ["–", "0.50", "–", "–", "–"]);
    assert!(!text.contains("NSD") && text.contains("weights fixed, epochs timed: 3."), "{text}");
    check_table(&comparison_table(&Comparison { methods: vec![], ..c }));
}

#[test]
fn tables_of_long_names_and_odd_numbers_fit() {
    let mut c = long(9);
    let text = comparison_table(&c);
    check_table(&text);
    assert!(text.contains("fgsm-rs") && text.contains("(PyTorch peer)"));
    // Rules are above the attacks' names, however many lines the methods' take.
    let lines: Vec<&str> = text.lines().collect();
    let rules: Vec<&str> = lines.windows(2).filter(|w| w[0].starts_with('├')).map(|w| w[1]).collect();
    assert_eq!(rules.len(), 3);
    assert!(rules.iter().zip(["fgsm", "pgd-20", "cw-inf"]).all(|(line, a)| line.starts_with(&format!("│ {a} "))));
    c.methods[1].method = "line\nbreak".to_owned() + &"x".repeat(99);
    c.device = "d".repeat(300);
    c.methods[2].cost = MethodCost {
        seconds: spread(&[1e9, 1e12]),
        data: f64::NAN,
        attack: f64::INFINITY,
        images_per_second: 1.23e12,
        passes: [1e6; 3].into(),
        gflops: Some(1e9),
        memory: Some(1 << 50),
        ratio: spread(&[0.001, 4e5]),
        ..c.methods[2].cost.clone()
    };
    check_table(&comparison_table(&c));
}

/// The fields of a line of CSV.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => fields.last_mut().unwrap().push(chars.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

#[test]
fn csv_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bench.csv");
    let mut c = sample(9, 3);
    c.methods[2].method = "trades, \"beta\" 6".to_owned();
    c.methods[3].cost.memory = None;
    c.methods[3].cost.data = f64::NAN;
    c.methods[4].results.truncate(1);
    write_csv(&path, &c).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Vec<String>> = text.lines().map(fields).collect();
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|l| l.len() == lines[0].len()));
    let unique: std::collections::BTreeSet<&String> = lines[0].iter().collect();
    assert_eq!(unique.len(), lines[0].len());
    let cell = |line: usize, name: &str| {
        let column = lines[0].iter().position(|h| h == name).unwrap_or_else(|| panic!("no {name}"));
        lines[line][column].as_str()
    };
    let number = |line, name| cell(line, name).parse::<f64>().unwrap();
    for (i, m) in c.methods.iter().enumerate() {
        assert_eq!(cell(i + 1, "method"), m.method);
        let (s, r) = (m.cost.seconds, m.cost.ratio);
        let wanted = [s.median, s.mean, s.sd, s.low, s.high, r.median, r.mean, r.sd, r.low, r.high];
        let names = "seconds_median seconds_mean seconds_sd seconds_low seconds_high ratio_median ratio_mean ratio_sd \
            ratio_low ratio_high";
        assert_eq!(names.split_whitespace().map(|n| number(i + 1, n)).collect::<Vec<_>>(), wanted);
        let pgd = m.over_seeds("pgd-20", |a| Some(a.fairness.mean)).unwrap();
        assert_eq!(number(i + 1, "pgd_20_mean"), pgd.mean);
        if i == 4 {
            assert_eq!(cell(i + 1, "pgd_20_mean_sd"), "");
        } else {
            assert_eq!(number(i + 1, "pgd_20_mean_sd"), pgd.sd);
        }
        assert_eq!(number(i + 1, "cw_inf_class_9"), m.class_over_seeds("cw-inf", 9).unwrap().mean);
        assert_eq!(number(i + 1, "update_seconds"), m.cost.update);
        assert_eq!(number(i + 1, "fprop_units_per_example"), m.cost.passes.fprop);
    }
    assert_eq!((cell(1, "live_9"), cell(2, "live_3"), cell(6, "live_0"), cell(6, "live_1")), ("1", "0.42", "1", ""));
    assert_eq!((cell(1, "pgd_20_rho"), cell(8, "live_0")), ("", ""));
    assert_eq!(number(2, "pgd_20_worst"), c.methods[1].over_seeds("pgd-20", |a| Some(a.fairness.worst)).unwrap().mean);
    assert_eq!(number(2, "pgd_20_rho"), c.methods[1].rho_over_seeds("pgd-20").unwrap().mean);
    assert_eq!((cell(1, "memory_bytes"), cell(4, "memory_bytes"), cell(4, "data_seconds")), ("1073741824", "", ""));
    assert_eq!((cell(1, "seeds"), cell(5, "seeds"), cell(1, "seconds_count")), ("3", "1", "3"));

    write_csv(&path, &sample(2, 0)).unwrap();
    assert!(!std::fs::read_to_string(&path).unwrap().contains("pgd_20"));
    write_csv(&path, &Comparison { methods: vec![], ..c }).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_comparison_prints_and_draws(
        numbers in prop::collection::vec(any::<f64>(), 1..6), methods in 1usize..9, seeds in 0u64..3,
        name in "\\PC{0,40}", steps in 0usize..60
    ) {
        let mut c = sample(methods, seeds);
        let pick = |i: usize| numbers[i % numbers.len()];
        for (i, m) in c.methods.iter_mut().enumerate() {
            let values: Vec<f64> = numbers.iter().copied().filter(|v| !v.is_nan()).collect();
            m.cost.seconds = Spread::of(&values).unwrap_or(m.cost.seconds);
            m.cost.ratio = m.cost.seconds;
            (m.cost.data, m.cost.attack, m.cost.update, m.cost.eval) = (pick(i), pick(i + 1), pick(i + 2), Some(pick(i)));
            m.cost.live = (0..steps).map(|k| pick(i + k)).collect();
        }
        c.methods[0].method = name;
        let dir = tempfile::tempdir().unwrap();
        for path in write_figures(dir.path(), &c).unwrap() {
            check_xml(&std::fs::read_to_string(path).unwrap());
        }
        comparison_table(&c);
        write_csv(&dir.path().join("bench.csv"), &c).unwrap();
        let text = std::fs::read_to_string(dir.path().join("bench.csv")).unwrap();
        let width = fields(text.lines().next().unwrap()).len();
        prop_assert!(text.lines().all(|l| fields(l).len() == width));
    }
}
