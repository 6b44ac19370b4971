//! Small data sets in the true formats, and what is in them.

use super::made;
use ham_engine::data::{Dataset, Pixels, Split};
use std::path::Path;

/// A folder of data sets with the files of one of them, in its sub-folder `as_name`.
pub fn data_dir(set: &str, as_name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&made().join(set), &dir.path().join(as_name));
    dir
}

/// Copies a folder.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What make.py says is in a set.
pub struct Expected {
    pub shape: [usize; 3],
    pub train: Split,
    pub test: Split,
}

pub fn expected(set: &str) -> Expected {
    let read = |ending: &str| std::fs::read(made().join(format!("{set}.{ending}"))).unwrap();
    let what: serde_json::Value = serde_json::from_slice(&read("json")).unwrap();
    let numbers = |key: &str| serde_json::from_value::<Vec<u32>>(what[key].clone()).unwrap();
    let shape: [usize; 3] = serde_json::from_value(what["shape"].clone()).unwrap();
    let (labels, test_labels) = (numbers("labels"), numbers("test_labels"));
    // The images are one below the other.
    let [channels, height, width] = shape;
    let bytes = read("png");
    let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes[..])).read_info().unwrap();
    let mut column = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut column).unwrap();
    assert_eq!((frame.color_type, frame.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    let rows = (labels.len() + test_labels.len()) * height;
    assert_eq!((channels, frame.width as usize, frame.height as usize), (3, width, rows));
    let example = |pixels: &[u8]| {
        (0..channels).flat_map(|c| pixels.iter().copied().skip(c).step_by(channels)).collect::<Vec<_>>()
    };
    let mut images: Vec<u8> = column.chunks_exact(channels * height * width).flat_map(example).collect();
    let test_images = images.split_off(labels.len() * channels * height * width);
    let train = Split { images: Pixels::U8(images), labels };
    Expected { shape, train, test: Split { images: Pixels::U8(test_images), labels: test_labels } }
}

impl Expected {
    /// The same examples: exactly, or for pictures up to what two decoders of JPEG may differ by.
    #[track_caller]
    pub fn assert_matches(&self, set: &Dataset, exactly: bool) {
        assert_eq!([set.channels, set.height, set.width], self.shape);
        for (of, expected) in [(&set.train, &self.train), (&set.test, &self.test)] {
            assert_eq!(of.labels, expected.labels);
            let (Pixels::U8(a), Pixels::U8(b)) = (&of.images, &expected.images) else { panic!("not bytes") };
            assert_eq!(a.len(), b.len());
            let differences: Vec<u8> = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect();
            let (most, sum) =
                (*differences.iter().max().unwrap(), differences.iter().map(|d| f64::from(*d)).sum::<f64>());
            let mean = sum / a.len() as f64;
            if exactly {
                assert_eq!(most, 0);
            } else {
                assert!(mean < 1.0 && most <= 16, "{}: {mean} on average, {most} at most", set.name);
            }
        }
    }
}
