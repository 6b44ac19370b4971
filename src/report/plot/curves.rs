//! `curves.svg`: what a run did, epoch by epoch, in four panels.

use super::canvas::{Anchor, Canvas, Font};
use super::lines::{Chart, Form, Mark, Series};
use super::look::{Look, legend};
use super::plane::Frame;
use super::write_svg;
use crate::Result;
use crate::report::table::clip;
use crate::results::Epoch;
use crate::results::metrics::change_of_method;
use std::path::Path;

const WIDTH: f64 = 1080.0;
const HEIGHT: f64 = 830.0;

/// An epoch's place on the axis; bounded, so that arithmetic on it stays exact.
fn at(e: &Epoch) -> f64 {
    e.epoch.min(1_000_000_000) as f64
}

/// A number of each epoch that has one.
fn series(name: &str, look: usize, epochs: &[Epoch], value: impl Fn(&Epoch) -> Option<f64>) -> Series {
    let points = epochs.iter().filter_map(|e| Some((at(e), value(e)?))).collect();
    Series { name: name.to_owned(), look: Look(look), points }
}

/// What a run's epochs were, as the panels of `curves.svg` and the figures of the page.
pub(crate) struct Curves<'a> {
    epochs: &'a [Epoch],
}

impl<'a> Curves<'a> {
    pub fn of(epochs: &'a [Epoch]) -> Curves<'a> {
        Curves { epochs }
    }

    /// Accuracy over all classes, in %.
    pub fn accuracy(&self) -> Chart<'static> {
        self.clean_and_pgd(|e| e.clean_accuracy, |e| e.pgd_accuracy)
    }

    /// Accuracy of the worst class, in %.
    pub fn worst_class(&self) -> Chart<'static> {
        self.clean_and_pgd(|e| e.clean_worst, |e| e.pgd_worst)
    }

    fn clean_and_pgd(&self, clean: fn(&Epoch) -> Option<f64>, pgd: fn(&Epoch) -> Option<f64>) -> Chart<'static> {
        let percent = |value: fn(&Epoch) -> Option<f64>| move |e: &Epoch| Some(100.0 * value(e)?);
        self.chart(vec![series("clean", 0, self.epochs, percent(clean)), series("PGD", 1, self.epochs, percent(pgd))])
    }

    /// Share of the examples that was trained on, in %.
    pub fn kept(&self) -> Chart<'static> {
        let kept = series("kept of all examples", 0, self.epochs, |e| Some(100.0 * e.kept_share()?));
        Chart { highest: Some(100.0), ..self.chart(vec![kept]) }
    }

    /// Seconds of an epoch, and what they were spent on.
    pub fn seconds(&self) -> Chart<'static> {
        let parts = vec![
            series("attack", 0, self.epochs, |e| Some(e.attack_seconds)),
            series("update", 1, self.epochs, |e| Some(e.update_seconds)),
            series("evaluation", 2, self.epochs, |e| Some(e.eval_seconds)),
        ];
        Chart { form: Form::Stack, ..self.chart(parts) }
    }

    /// Loss of the examples that were trained on.
    pub fn loss(&self) -> Chart<'static> {
        self.chart(vec![series("mean of the kept examples", 5, self.epochs, |e| Some(e.loss))])
    }

    fn chart(&self, series: Vec<Series>) -> Chart<'static> {
        Chart { x: "epoch", form: Form::Lines, highest: None, mark: self.other_method(), series }
    }

    /// Where the method's own work begins.
    fn other_method(&self) -> Option<Mark> {
        let first = change_of_method(self.epochs)?;
        let method = first.method.to_uppercase();
        Some(Mark { x: at(first) - 0.5, says: format!("{} from epoch {:.0}", clip(&method, 16), at(first)) })
    }
}

/// Writes `curves.svg`: mean accuracy, worst class, kept share and seconds, per epoch.
///
/// Lines bridge epochs without evaluation; a panel without any data says so. A vertical line marks the first epoch of
/// another method than before it: that in which the run's own begins.
///
/// # Errors
/// Where the file can't be written.
pub fn write_curves(path: &Path, epochs: &[Epoch]) -> Result<()> {
    let curves = Curves::of(epochs);
    let mut canvas = Canvas::default();
    let panels = [
        ("Accuracy, all classes", "accuracy, %", curves.accuracy()),
        ("Accuracy, worst class", "accuracy, %", curves.worst_class()),
        ("Kept share r", "kept examples, %", curves.kept()),
        ("Time per epoch", "seconds", curves.seconds()),
    ];
    for (place, (title, y_title, chart)) in panels.into_iter().enumerate() {
        let (left, top) = ((place % 2) as f64 * WIDTH / 2.0, (place / 2) as f64 * HEIGHT / 2.0);
        panel(&mut canvas, (left, top), title, y_title, &chart);
    }
    write_svg(path, canvas.file(WIDTH, HEIGHT))
}

/// A quarter of the figure: title, legend, the words of a mark, and the data over axes.
fn panel(canvas: &mut Canvas, (left, top): (f64, f64), title: &str, y_title: &str, chart: &Chart) {
    let frame = Frame {
        left: left + 70.0,
        right: left + WIDTH / 2.0 - 24.0,
        top: top + 74.0,
        bottom: top + HEIGHT / 2.0 - 56.0,
    };
    canvas.text(title, (frame.left, top + 22.0), Anchor::Start, Font::of(15.0).bold());
    legend(canvas, (frame.left, top + 44.0), chart.legend());
    canvas.text(y_title, (left + 16.0, frame.middle().1), Anchor::Middle, Font::of(13.0).upright());
    chart.draw(canvas, frame);
}
