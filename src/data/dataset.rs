//! What a data set is, and what every data set has been checked for.

use sha2::{Digest, Sha256};

use crate::engine::Images;
use crate::rng::{Philox, Stream};
use crate::{Error, Result};

/// The largest number of classes a data set may have.
pub const MAX_CLASSES: usize = 1000;

/// Pixels in NCHW order.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// A byte `v` means the value `v / 255`.
    U8(Vec<u8>),
    /// Values in [0, 1].
    F32(Vec<f32>),
}

impl Pixels {
    /// How many pixel values there are, over all images and channels.
    pub fn len(&self) -> usize {
        match self {
            Pixels::U8(v) => v.len(),
            Pixels::F32(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values `range` as f32 in [0, 1]; a range beyond the end panics, as a slice does.
    pub fn to_f32(&self, range: std::ops::Range<usize>) -> Vec<f32> {
        match self {
            Pixels::U8(v) => v[range].iter().map(|&b| f32::from(b) / 255.0).collect(),
            Pixels::F32(v) => v[range].to_vec(),
        }
    }
}

/// Images with their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// All images, one after the other.
    pub images: Pixels,
    /// One class per image, from 0.
    pub labels: Vec<u32>,
}

impl Split {
    /// A split without examples.
    pub fn empty() -> Self {
        Split { images: Pixels::U8(Vec::new()), labels: Vec::new() }
    }

    /// How many examples it holds.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The examples at `indices`, in that order; an index may come more than once.
    pub fn subset(&self, indices: &[usize]) -> Result<Split> {
        if let Some(i) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(Error::usage(format!("example {i} is beyond the end of a split of {}", self.len())));
        }
        fn gather<T: Copy>(values: &[T], indices: &[usize], len: usize) -> Vec<T> {
            let mut out = Vec::with_capacity(indices.len() * len);
            indices.iter().for_each(|&i| out.extend_from_slice(&values[i * len..(i + 1) * len]));
            out
        }
        let len = self.images.len().checked_div(self.len()).unwrap_or(0);
        let images = match &self.images {
            Pixels::U8(v) => Pixels::U8(gather(v, indices, len)),
            Pixels::F32(v) => Pixels::F32(gather(v, indices, len)),
        };
        Ok(Split { images, labels: gather(&self.labels, indices, 1) })
    }

    /// Examples per class, for the classes below `classes`.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &y in &self.labels {
            if let Some(count) = counts.get_mut(y as usize) {
                *count += 1;
            }
        }
        counts
    }
}

/// A data set in memory, checked by [`Dataset::new`].
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What reports call it.
    pub name: String,
    /// Channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Classes, 2 to [`MAX_CLASSES`].
    pub classes: usize,
    /// One name per class; the class numbers where the source gives none.
    pub class_names: Vec<String>,
    /// The examples to learn from; at least one.
    pub train: Split,
    /// The examples to evaluate on; may be empty.
    pub test: Split,
    /// Per channel, what a network should subtract from its input first. `None`: nothing.
    pub mean: Option<Vec<f32>>,
    /// Per channel, what a network should then divide by. Given with `mean` or not at all.
    pub std: Option<Vec<f32>>,
    /// SHA-256 in hex over shapes, images and labels: the same for the same examples wherever they were read from.
    pub hash: String,
}

impl<'a> From<&'a Split> for Images<'a> {
    fn from(split: &'a Split) -> Self {
        match &split.images {
            Pixels::U8(v) => Images::U8(v),
            Pixels::F32(v) => Images::F32(v),
        }
    }
}

impl Dataset {
    /// Checks the examples and puts them together; class names are numbers and there is no mean, until set.
    pub fn new(
        name: impl Into<String>,
        [channels, height, width]: [usize; 3],
        classes: usize,
        train: Split,
        test: Split,
    ) -> Result<Dataset> {
        let (name, class_names, hash) = (name.into(), Vec::new(), String::new());
        let (mean, std) = (None, None);
        let mut set = Dataset { name, channels, height, width, classes, class_names, train, test, mean, std, hash };
        set.finish(true).map_err(|what| Error::usage(format!("data set {}: {what}", set.name)))?;
        Ok(set)
    }

    /// The last step of making one: numbers the classes where they have no names, checks everything, fills the hash.
    pub(super) fn finish(&mut self, number_classes: bool) -> std::result::Result<(), String> {
        if number_classes {
            // An impossible count is for check() to report, not to allocate for.
            self.class_names = (0..self.classes.min(MAX_CLASSES)).map(|c| c.to_string()).collect();
        }
        self.check()?;
        self.hash = self.digest();
        Ok(())
    }

    /// Values per image.
    pub fn example_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Splits the training examples into (train, validation) indices, each ascending.
    ///
    /// `share`, in [0, 1), of every class goes to validation, rounded to the nearest example; a class always keeps one
    /// for training. The choice depends on `seed` and the labels only, and a larger share contains a smaller one.
    pub fn split_validation(&self, share: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
        if !(0.0..1.0).contains(&share) {
            return Err(Error::usage(format!("the validation share must be at least 0 and below 1, not {share}")));
        }
        let rng = Philox::new(seed);
        let mut by_class = vec![Vec::new(); self.classes];
        self.train.labels.iter().enumerate().for_each(|(i, &y)| by_class[y as usize].push(i));
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for mut members in by_class {
            members.sort_by_key(|&i| (rng.block(Stream::Split, 0, i as u32, 0), i));
            let held = (share * members.len() as f64).round() as usize;
            let held = held.min(members.len().saturating_sub(1));
            validation.extend_from_slice(&members[..held]);
            train.extend_from_slice(&members[held..]);
        }
        train.sort_unstable();
        validation.sort_unstable();
        Ok((train, validation))
    }

    /// What makes a data set unusable, in the words of the safetensors file format.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let [c, h, w] = [self.channels, self.height, self.width];
        let len = c.checked_mul(h).and_then(|n| n.checked_mul(w)).filter(|&n| n > 0);
        let len = len.ok_or_else(|| format!("an image of {c}x{h}x{w} (channels, height, width) is not possible"))?;
        if !(2..=MAX_CLASSES).contains(&self.classes) {
            return Err(format!("{} classes; 2 to {MAX_CLASSES} are possible", self.classes));
        }
        if self.train.is_empty() {
            return Err("images is empty; at least one training example is needed".into());
        }
        check_split(&self.train, "", len, self.classes)?;
        check_split(&self.test, "test_", len, self.classes)?;
        let same_type = std::mem::discriminant(&self.train.images) == std::mem::discriminant(&self.test.images);
        if !self.test.is_empty() && !same_type {
            return Err("images and test_images have different types; store both as u8 or both as f32".into());
        }
        if self.class_names.len() != self.classes {
            return Err(format!("{} class_names for {} classes", self.class_names.len(), self.classes));
        }
        if let Some(n) = self.class_names.iter().find(|n| n.contains(|ch: char| ch == ',' || ch.is_control())) {
            return Err(format!("class name {n:?} holds a comma or a control character"));
        }
        match (&self.mean, &self.std) {
            (None, None) => Ok(()),
            (Some(m), Some(s)) if m.len() == c && s.len() == c => {
                if m.iter().all(|v| v.is_finite()) && s.iter().all(|v| v.is_finite() && *v > 0.0) {
                    Ok(())
                } else {
                    Err("mean must be finite, and std finite and above 0".into())
                }
            }
            (Some(_), Some(_)) => Err(format!("mean and std need one value per channel ({c})")),
            _ => Err("mean and std must be given together".into()),
        }
    }

    pub(super) fn digest(&self) -> String {
        let mut sha = Sha256::new();
        for split in [&self.train, &self.test] {
            for n in [split.len(), self.channels, self.height, self.width] {
                sha.update((n as u64).to_le_bytes());
            }
            match &split.images {
                Pixels::U8(v) => sha.update(v),
                Pixels::F32(v) => v.iter().for_each(|p| sha.update(p.to_le_bytes())),
            }
            split.labels.iter().for_each(|y| sha.update(y.to_le_bytes()));
        }
        sha.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

fn check_split(split: &Split, prefix: &str, len: usize, classes: usize) -> std::result::Result<(), String> {
    let (images, labels) = (split.images.len(), split.labels.len());
    if labels.checked_mul(len) != Some(images) {
        return Err(format!("{prefix}labels has {labels} entries but {prefix}images has {}", images / len));
    }
    if let Pixels::F32(v) = &split.images
        && let Some(i) = v.iter().position(|p| !(0.0..=1.0).contains(p))
    {
        let (value, example) = (v[i], i / len);
        return Err(format!("{prefix}images: value {value} in example {example}; f32 pixels must be in [0, 1]"));
    }
    match split.labels.iter().position(|&y| y as usize >= classes) {
        Some(i) => {
            Err(format!("{prefix}labels: class {} at {i}; there are {classes} classes, from 0", split.labels[i]))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn validation_is_stratified(labels in proptest::collection::vec(0u32..5, 1..200), share in 0.0..1.0f64, seed: u64) {
            let n = labels.len();
            let train = Split { images: Pixels::U8(vec![0; n]), labels };
            let set = Dataset::new("s", [1, 1, 1], 5, train, Split::empty()).unwrap();
            let (train, validation) = set.split_validation(share, seed).unwrap();
            prop_assert_eq!(set.split_validation(share, seed).unwrap(), (train.clone(), validation.clone()));
            let mut all = [train.clone(), validation.clone()].concat();
            all.sort();
            prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
            prop_assert!(train.is_sorted() && validation.is_sorted());
            let held = set.train.subset(&validation).unwrap().class_counts(5);
            for (members, held) in set.train.class_counts(5).into_iter().zip(held) {
                let wanted = (share * members as f64).round() as usize;
                prop_assert_eq!(held, wanted.min(members.saturating_sub(1)));
            }
            let (_, smaller) = set.split_validation(share / 2.0, seed).unwrap();
            prop_assert!(smaller.iter().all(|i| validation.contains(i)));
        }
    }

    #[test]
    fn validation_depends_on_the_seed() {
        let set = crate::data::open("fashion-mnist-mini", None).unwrap();
        let (train, one) = set.split_validation(0.1, 1).unwrap();
        assert_eq!((train.len(), one.len()), (7200, 800));
        let (_, two) = set.split_validation(0.1, 2).unwrap();
        let both = one.iter().filter(|i| two.binary_search(i).is_ok()).count();
        assert!((40..120).contains(&both), "{both} of 800 in common; 80 are expected of independent draws");
    }
}
