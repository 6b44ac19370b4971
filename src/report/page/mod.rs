//! What runs were and what they found, on one HTML page and in one Markdown file.
//!
//! The page needs nothing else: style, figures (SVG) and images (PNG) are in it, and there is no script.

mod cost;
mod details;
pub mod evaluations;
mod figures;
mod html;
mod markdown;
mod mining;
pub mod pictures;
pub mod runs;

use crate::Result;
use crate::fsio::write_atomic;
use pictures::Pictures;
use runs::Group;
use std::path::Path;

/// What is reported.
#[derive(Debug, Clone)]
pub struct Page {
    /// The runs; at least one group.
    pub groups: Vec<Group>,
    /// Which of the groups the others are held against, if any.
    pub baseline: Option<usize>,
    /// Images of the first run of each group under attack, where there are some.
    pub pictures: Vec<Option<Pictures>>,
}

impl Page {
    /// Writes the page, in one step.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn write_html(&self, path: &Path) -> Result<()> {
        let text = html::page(self)?;
        write_atomic(path, |out| out.write_all(text.as_bytes()))
    }

    /// Writes the same as Markdown, without figures and images, in one step.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn write_markdown(&self, path: &Path) -> Result<()> {
        let text = markdown::text(self);
        write_atomic(path, |out| out.write_all(text.as_bytes()))
    }

    /// The attacks that any run was evaluated under.
    fn attacks(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for attack in self.groups.iter().flat_map(|g| &g.runs).flat_map(|r| &r.results.attacks) {
            if !names.contains(&attack.name) {
                names.push(attack.name.clone());
            }
        }
        names
    }

    /// Of the attacks that most groups were evaluated under that which breaks most of them.
    fn strongest(&self) -> Option<String> {
        let key = |name: &String| {
            let means: Vec<f64> =
                self.groups.iter().filter_map(|g| Some(g.first().under(name)?.fairness.mean)).collect();
            (means.len(), means.iter().sum::<f64>())
        };
        let attacks = self.attacks().into_iter().map(|name| (key(&name), name));
        attacks.min_by(|((n, a), _), ((m, b), _)| m.cmp(n).then(a.total_cmp(b))).map(|(_, name)| name)
    }

    /// The baseline, unless `group` is it.
    fn baseline_of(&self, group: usize) -> Option<&Group> {
        self.baseline.filter(|b| *b != group).and_then(|b| self.groups.get(b))
    }

    /// Names of the classes, as far as a report has them.
    fn class_names(&self) -> &[String] {
        let mut reports = self.groups.iter().flat_map(|g| &g.runs).filter_map(|r| r.report.as_ref());
        reports.next().map_or(&[], |r| &r.class_names)
    }
}
