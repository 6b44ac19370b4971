//! A summary of a data set, to print or to keep with a run.

use std::fmt;

use serde::Serialize;

use super::{Dataset, Pixels, Split};

/// The size of a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitInfo {
    /// Examples.
    pub examples: usize,
    /// Examples of each class.
    pub per_class: Vec<usize>,
}

/// What [`info`] says about a data set. `Display` is a few lines for a terminal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// See [`Dataset::name`].
    pub name: String,
    /// Channels, rows and columns of an image.
    pub shape: [usize; 3],
    /// The type pixels are stored in: `u8` or `f32`.
    pub pixels: &'static str,
    /// How many classes there are.
    pub classes: usize,
    /// One name per class.
    pub class_names: Vec<String>,
    /// The training examples.
    pub train: SplitInfo,
    /// The test examples.
    pub test: SplitInfo,
    /// The mean of the training pixels, per channel. Not [`Dataset::mean`], which is what a network is told to use.
    pub mean: Vec<f64>,
    /// The standard deviation of the training pixels, per channel.
    pub std: Vec<f64>,
    /// See [`Dataset::hash`].
    pub hash: String,
}

/// Counts and measures a data set.
pub fn info(set: &Dataset) -> Info {
    let split = |s: &Split| SplitInfo { examples: s.len(), per_class: s.class_counts(set.classes) };
    let (mean, std) = (0..set.channels).map(|c| moments(set, c)).unzip();
    Info {
        name: set.name.clone(),
        shape: [set.channels, set.height, set.width],
        pixels: match set.train.images {
            Pixels::U8(_) => "u8",
            Pixels::F32(_) => "f32",
        },
        classes: set.classes,
        class_names: set.class_names.clone(),
        train: split(&set.train),
        test: split(&set.test),
        mean,
        std,
        hash: set.hash.clone(),
    }
}

/// Mean and standard deviation of one channel of the training images.
fn moments(set: &Dataset, channel: usize) -> (f64, f64) {
    let plane = set.height * set.width;
    let start = channel * plane;
    let over = |value: &dyn Fn(usize) -> f64| {
        let images = (0..set.train.len()).map(|i| i * set.example_len() + start);
        let sum: f64 = images.map(|at| (at..at + plane).map(value).sum::<f64>()).sum();
        sum / (set.train.len() * plane) as f64
    };
    let pixel = |i: usize| match &set.train.images {
        Pixels::U8(v) => f64::from(v[i]) / 255.0,
        Pixels::F32(v) => f64::from(v[i]),
    };
    let mean = over(&pixel);
    (mean, over(&|i| (pixel(i) - mean).powi(2)).sqrt())
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [c, h, w] = self.shape;
        let numbers = |v: &[f64]| v.iter().map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(", ");
        writeln!(f, "{}", self.name)?;
        writeln!(f, "  examples  {} train, {} test", self.train.examples, self.test.examples)?;
        writeln!(f, "  images    {c}x{h}x{w} (channels x height x width), {}", self.pixels)?;
        writeln!(f, "  pixels    mean {}; std {}", numbers(&self.mean), numbers(&self.std))?;
        writeln!(f, "  sha256    {}", self.hash)?;
        let width = self.class_names.iter().map(|n| n.chars().count()).max().unwrap_or(0).max(5);
        write!(f, "  class  {:<width$}  {:>7}  {:>7}", "name", "train", "test")?;
        for (i, name) in self.class_names.iter().enumerate() {
            write!(f, "\n  {i:>5}  {name:<width$}  {:>7}  {:>7}", self.train.per_class[i], self.test.per_class[i])?;
        }
        Ok(())
    }
}
