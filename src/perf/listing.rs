//! A program as text, to be read: what shares a launch stands together, and every line says how many examples it is of.

use crate::backend::gpu::plan::{Group, groups};
use crate::ops::Program;
use crate::program::{Extent, Operation, Values};
use std::fmt::Write;

/// Columns of an operation's name.
const NAME: usize = 20;

/// Writes lines, at a depth.
struct Listing<'a> {
    values: &'a Values,
    text: String,
    depth: usize,
    /// How often the number of live examples has changed.
    live: usize,
}

impl Listing<'_> {
    fn line(&mut self, name: &str, rest: &str) {
        let indent = 2 * self.depth;
        let line = format!("{:indent$}{name:<width$} {rest}", "", width = NAME.max(indent + 1) - indent + 8);
        self.text += line.trim_end();
        self.text.push('\n');
    }

    fn op(&mut self, op: &dyn Operation) {
        let (what, before) = (op.describe(self.values), self.live);
        let live = match op.extent() {
            Extent::Example | Extent::Batch => format!("n{before}"),
            Extent::Live => {
                self.live += 1;
                format!("n{before} > n{}", self.live)
            }
            Extent::Count | Extent::Fold | Extent::Filter => String::new(),
        };
        self.line(op.name(), &format!("{live:<8} {what}"));
    }

    fn group(&mut self, group: &Group) {
        match group {
            Group::Mark(phase) => {
                self.depth = 0;
                self.line(&format!("{phase:?}").to_lowercase(), "");
                self.depth = 1;
            }
            Group::Enter(range) => {
                self.line(&range.to_string(), "");
                self.depth += 1;
            }
            Group::Leave => self.depth -= 1,
            Group::Folds(folds) => self.line("fold", &format!("{:8} {} batch norms, in eval mode", "", folds.len())),
            Group::Filters(filters) => self.line("prepare filter", &format!("{:8} {} filters", "", filters.len())),
            Group::Counts(_) => {
                self.line("count pass", &format!("{:8} passes of n{} since it last changed", "", self.live))
            }
            Group::Op(_)
            | Group::ConvFprop { .. }
            | Group::StemFprop { .. }
            | Group::ConvDgrad { .. }
            | Group::StemDgrad { .. }
            | Group::Head { .. } => {
                let ops = group.ops();
                if ops.len() > 1 {
                    self.line("one launch", "");
                    self.depth += 1;
                    ops.iter().for_each(|op| self.op(*op));
                    self.depth -= 1;
                } else {
                    ops.iter().for_each(|op| self.op(*op));
                }
            }
        }
    }
}

/// The program as a GPU runs it: op by op, with shapes, what shares a launch, and the symbols n0, n1, .. for the number of live
/// examples, which is known on the device alone.
pub fn listing(program: &Program) -> String {
    let mut listing = Listing { values: &program.values, text: String::new(), depth: 0, live: 0 };
    writeln!(listing.text, "{:<28} {:<8} what", "operation", "live").expect("writing to a string");
    groups(program).iter().for_each(|group| listing.group(group));
    listing.text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::CpuBackend;
    use crate::engine::{Engine, Images, TrainSpec};
    use crate::method::{Method, Settings, Weights};
    use crate::net::{Arch, Family};
    use crate::ops::head::Loss;
    use crate::program::Shape;

    /// HAM's mini-batch reads like the paper: steps on all, a check that drops, steps on the rest, training on them.
    #[test]
    fn a_mini_batch_of_ham_reads_like_the_algorithm() {
        let image = Shape { c: 1, h: 4, w: 4 };
        let (widths, blocks) = (vec![8], vec![1]);
        let arch = Arch { family: Family::PreActResNet, image, classes: 3, widths, blocks, normalisation: None };
        let mut engine = Engine::new(CpuBackend::new(1).unwrap(), arch).unwrap();
        let scene = engine.scene(Images::U8(&[0; 32]), &[0, 1], 2, 2).unwrap();
        let attack = crate::attack::Pgd { eps: 0.1, alpha: 0.05, steps: 2, start: None, loss: Loss::CrossEntropy };
        let settings = Settings {
            attack,
            k_drop: vec![1],
            keep_easy: 0.0,
            weights: Weights::Uniform,
            begin_epoch: 1,
            epochs: 1,
            refill: false,
            beta: None,
        };
        let plan = Method::Ham.plan(&settings, 1);
        let spec = TrainSpec { plan, momentum: 0.9, weight_decay: 2e-4, ema: None, augment: false, seed: 1 };
        let text = listing(&engine.train_program(&scene, &spec).unwrap());
        // Name, live examples, and the start of what each of these lines says; in this order.
        let story = [
            ("load", "n0 > n1", "x, labels"),
            ("start", "n1", "x_adv = x"),
            ("attack step 0", "", ""),
            ("head fprop", "n1", ""),
            ("head dgrad", "n1", "CrossEntropy"),
            ("stem dgrad", "n1", ""),
            ("pgd step", "n1", "x_adv = clamp(clamp(x_adv + 0.05 sign(g), x - 0.1, x + 0.1), 0, 1)"),
            ("attack step 1", "", ""),
            ("head fprop", "n1", ""),
            ("select", "n1", "keep where crossed"),
            ("compact", "n1 > n2", "live = kept"),
            ("head dgrad", "n2", "CrossEntropy"),
            ("pgd step", "n2", ""),
            ("weigh", "n2", "weight = 1, scaled"),
            ("train forward", "", ""),
            ("norm fprop", "n2", ""),
            ("count batch", "n2", ""),
            ("train backward", "", ""),
            ("stem wgrad", "n2", ""),
            ("update", "n2", "SGD"),
        ];
        let mut lines = text.lines().map(str::trim_start);
        for (name, live, what) in story {
            let found = lines.find_map(|line| {
                let rest = line.strip_prefix(name)?.trim_start();
                rest.strip_prefix(live).filter(|r| r.is_empty() || r.starts_with(' '))?.trim_start().strip_prefix(what)
            });
            assert!(found.is_some(), "no `{name}` of `{live}`, `{what}` in its place in\n{text}");
        }
        // What leaves the gradient to the next op shares its launch.
        assert!(text.contains("one launch"), "{text}");
    }
}
