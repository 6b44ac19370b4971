//! A comparison of methods as CSV: a line per method.

use crate::Result;
use crate::fsio::write_atomic;
use crate::results::comparison::{Comparison, MethodRow, Spread};
use crate::results::metrics::quote;
use std::path::Path;

/// What is told of a number measured several times: the end of a column's name, and the value.
type Statistic = (&'static str, fn(Spread) -> f64);

/// The columns so far: a name, and a cell per method.
struct Columns<'a> {
    methods: &'a [MethodRow],
    columns: Vec<(String, Vec<String>)>,
}

impl Columns<'_> {
    /// A number of each method; an empty cell where it is missing or not finite.
    fn number(&mut self, name: &str, value: impl Fn(&MethodRow) -> Option<f64>) {
        let cell = |m| value(m).filter(|v| v.is_finite()).map(|v| v.to_string()).unwrap_or_default();
        self.columns.push((name.to_owned(), self.methods.iter().map(cell).collect()));
    }

    /// All that is known of a number measured several times; one value has no standard deviation.
    fn measured(&mut self, name: &str, value: impl Fn(&MethodRow) -> Spread) {
        let statistics: [Statistic; 6] = [
            ("median", |s| s.median),
            ("mean", |s| s.mean),
            ("sd", sd),
            ("low", |s| s.low),
            ("high", |s| s.high),
            ("count", |s| s.count as f64),
        ];
        for (statistic, of) in statistics {
            self.number(&format!("{name}_{statistic}"), |m| Some(of(value(m))));
        }
    }

    /// Mean and standard deviation over the seeds; the latter only of several.
    fn over_seeds(&mut self, name: &str, value: impl Fn(&MethodRow) -> Option<Spread>) {
        self.number(name, |m| Some(value(m)?.mean));
        self.number(&format!("{name}_sd"), |m| Some(sd(value(m)?)));
    }
}

/// The standard deviation; not a number of a single value.
fn sd(s: Spread) -> f64 {
    if s.count > 1 { s.sd } else { f64::NAN }
}

/// `name` as part of a column's name: lower case, and `_` for what is no letter or digit.
fn snake(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// Writes the CSV in one step: the costs, the share of live examples by step (`live_3`) and, by attack, means and
/// standard deviations over the seeds (`pgd_20_worst`, `pgd_20_worst_sd`, `pgd_20_class_3`). Shares and accuracies are
/// fractions in [0, 1]; missing numbers are empty cells.
///
/// # Errors
/// Where the file can't be written.
pub fn write_csv(path: &Path, comparison: &Comparison) -> Result<()> {
    let methods = &comparison.methods;
    let names = methods.iter().map(|m| quote(&m.method)).collect();
    let mut csv = Columns { methods, columns: vec![("method".to_owned(), names)] };
    csv.measured("seconds", |m| m.cost.seconds);
    csv.number("data_seconds", |m| Some(m.cost.data));
    csv.number("attack_seconds", |m| Some(m.cost.attack));
    csv.number("update_seconds", |m| Some(m.cost.update));
    csv.number("eval_seconds", |m| m.cost.eval);
    csv.measured("ratio", |m| m.cost.ratio);
    csv.number("images_per_second", |m| Some(m.cost.images_per_second));
    csv.number("units_per_example", |m| Some(m.cost.passes.sum()));
    csv.number("fprop_units_per_example", |m| Some(m.cost.passes.fprop));
    csv.number("dgrad_units_per_example", |m| Some(m.cost.passes.dgrad));
    csv.number("wgrad_units_per_example", |m| Some(m.cost.passes.wgrad));
    csv.number("kept_share", |m| Some(m.cost.kept_share));
    csv.number("gflop_per_second", |m| m.cost.gflops);
    csv.number("peak_share", |m| m.cost.peak_share);
    csv.number("memory_bytes", |m| m.cost.memory.map(|b| b as f64));
    for step in 0..methods.iter().map(|m| m.cost.live.len()).max().unwrap_or(0) {
        csv.number(&format!("live_{step}"), |m| m.cost.live.get(step).copied());
    }
    csv.number("seeds", |m| Some(m.results.len() as f64));
    for attack in comparison.attacks() {
        let name = snake(&attack);
        csv.over_seeds(&format!("{name}_mean"), |m| m.over_seeds(&attack, |a| Some(a.fairness.mean)));
        csv.over_seeds(&format!("{name}_worst"), |m| m.over_seeds(&attack, |a| Some(a.fairness.worst)));
        csv.over_seeds(&format!("{name}_best"), |m| m.over_seeds(&attack, |a| Some(a.fairness.best)));
        csv.over_seeds(&format!("{name}_gap"), |m| m.over_seeds(&attack, |a| Some(a.fairness.gap)));
        csv.over_seeds(&format!("{name}_nsd"), |m| m.over_seeds(&attack, |a| a.fairness.nsd));
        csv.over_seeds(&format!("{name}_rho"), |m| m.rho_over_seeds(&attack));
        for class in 0..comparison.classes() {
            csv.over_seeds(&format!("{name}_class_{class}"), |m| m.class_over_seeds(&attack, class));
        }
    }
    write_atomic(path, |out| {
        let header: Vec<&str> = csv.columns.iter().map(|c| c.0.as_str()).collect();
        writeln!(out, "{}", header.join(","))?;
        for i in 0..methods.len() {
            let row: Vec<&str> = csv.columns.iter().map(|c| c.1[i].as_str()).collect();
            writeln!(out, "{}", row.join(","))?;
        }
        Ok(())
    })
}
