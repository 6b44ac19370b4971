//! A TensorBoard event file: the numbers of `metrics.jsonl`, one event per epoch.
//!
//! Such a file is a row of TFRecords: the length of the data (u64), a masked CRC-32C of these eight bytes, the data,
//! and a masked CRC-32C of it, all little endian. The data is a protocol buffer of TensorFlow's `Event`.

use super::table::class_name;
use crate::results::Epoch;
use crate::{Error, Result};
use prost::Message;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The fields of `tensorflow.Event` that are used here, by their numbers in event.proto.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// Of the first event alone.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// `tensorflow.Summary`, see summary.proto.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Adds to the event file at `path` the epochs that it lacks; makes it where there is none.
///
/// What is there stays, as long as it is whole and belongs to these epochs: a run that was killed and resumed has every
/// epoch once. The file is added to in place, not replaced, since TensorBoard follows a file while it grows.
///
/// # Errors
/// Where the file can't be read or written.
pub fn update(path: &Path, epochs: &[Epoch], class_names: &[String]) -> Result<()> {
    let io = || -> std::io::Result<()> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (end, events) = good(&bytes, epochs.len());
        let wall_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        let mut more = Vec::new();
        if events == 0 {
            let file_version = Some("brain.Event:2".to_owned());
            write_framed(&mut more, &Event { wall_time, step: 0, file_version, summary: None });
        }
        for epoch in epochs.iter().skip(events.saturating_sub(1)) {
            let summary = Some(Summary { value: values(epoch, class_names) });
            write_framed(&mut more, &Event { wall_time, step: epoch.epoch as i64, file_version: None, summary });
        }
        file.set_len(end as u64)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(&more)
    };
    io().map_err(Error::io(path, "cannot add to the TensorBoard event file"))
}

/// How many bytes and events at the start of a file are whole and those of a run of `epochs`: the version, then every
/// epoch from 1 on.
fn good(bytes: &[u8], epochs: usize) -> (usize, usize) {
    let (mut end, mut events) = (0, 0);
    while events <= epochs
        && let Some((event, length)) = parse(&bytes[end..])
        && event.step == events as i64
    {
        end += length;
        events += 1;
    }
    (end, events)
}

/// The event at the start of `bytes` and the length of its record, if it is whole.
fn parse(bytes: &[u8]) -> Option<(Event, usize)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    if masked_crc(length) != u32::from_le_bytes(*check) {
        return None;
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (data, rest) = rest.split_at_checked(length)?;
    let check = rest.first_chunk::<4>()?;
    if masked_crc(data) != u32::from_le_bytes(*check) {
        return None;
    }
    Some((Event::decode(data).ok()?, 8 + 4 + length + 4))
}

/// Writes an event as TFRecord frames it: between its length and checksums.
fn write_framed(out: &mut Vec<u8>, event: &Event) {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(&data);
    out.extend(masked_crc(&data).to_le_bytes());
}

/// TFRecord's checksum: a CRC-32C that does not collide with that of data which holds checksums itself.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The scalars of an epoch; missing numbers and those that are not finite are left out. Accuracies and shares are
/// fractions in [0, 1].
fn values(e: &Epoch, class_names: &[String]) -> Vec<Value> {
    let of_all = [
        ("train/loss", Some(e.loss)),
        ("train/lr", Some(e.lr)),
        ("train/kept_share", e.kept_share()),
        ("train/units_per_example", e.units_per_example()),
        ("accuracy/clean", e.clean_accuracy),
        ("accuracy/pgd", e.pgd_accuracy),
        ("worst_class/clean", e.clean_worst),
        ("worst_class/pgd", e.pgd_worst),
        ("seconds/data", Some(e.data_seconds)),
        ("seconds/attack", Some(e.attack_seconds)),
        ("seconds/update", Some(e.update_seconds)),
        ("seconds/evaluation", Some(e.eval_seconds)),
    ];
    let mut named: Vec<(String, Option<f64>)> = of_all.map(|(tag, v)| (tag.to_owned(), v)).into();
    let kept = e.kept_shares();
    let groups = [
        ("class_clean", e.clean_per_class.as_ref()),
        ("class_pgd", e.pgd_per_class.as_ref()),
        ("class_kept_share", Some(&kept)),
    ];
    for (group, values) in groups {
        for (class, value) in values.into_iter().flatten().enumerate() {
            named.push((format!("{group}/{}", class_name(class_names, class)), *value));
        }
    }
    let finite = |(tag, v): (String, Option<f64>)| {
        let simple_value = Some(v.filter(|v| v.is_finite())? as f32);
        Some(Value { tag, simple_value })
    };
    named.into_iter().filter_map(finite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An epoch without numbers that need an evaluation.
    fn epochs(n: u64) -> Vec<Epoch> {
        (1..=n).map(|epoch| Epoch { epoch, loss: 1.0 / epoch as f64, lr: 0.1, ..Epoch::default() }).collect()
    }

    fn steps(path: &Path) -> Vec<i64> {
        let bytes = std::fs::read(path).unwrap();
        let (mut rest, mut steps) = (&bytes[..], Vec::new());
        while let Some((event, length)) = parse(rest) {
            rest = &rest[length..];
            steps.push(event.step);
        }
        assert!(rest.is_empty(), "{} bytes are no record", rest.len());
        steps
    }

    #[test]
    fn every_epoch_is_there_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        update(&path, &epochs(2), &[]).unwrap();
        assert_eq!(steps(&path), [0, 1, 2]);
        let two = std::fs::read(&path).unwrap();
        update(&path, &epochs(2), &[]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), two);
        update(&path, &epochs(4), &[]).unwrap();
        let four = std::fs::read(&path).unwrap();
        assert!(four.starts_with(&two) && steps(&path) == [0, 1, 2, 3, 4]);
        // Cut off anywhere, or with a flipped bit: what is whole stays, the rest comes again.
        for cut in [0, 5, 30, two.len() - 1, two.len(), two.len() + 7, four.len() - 1] {
            std::fs::write(&path, &four[..cut]).unwrap();
            update(&path, &epochs(4), &[]).unwrap();
            assert_eq!(steps(&path), [0, 1, 2, 3, 4], "cut at {cut}");
        }
        for at in (0..four.len()).step_by(7) {
            let mut flipped = four.clone();
            flipped[at] ^= 16;
            std::fs::write(&path, &flipped).unwrap();
            update(&path, &epochs(4), &[]).unwrap();
            assert_eq!(steps(&path), [0, 1, 2, 3, 4], "flipped at {at}");
        }
        // A run that goes on from an earlier checkpoint loses the epochs after it.
        update(&path, &epochs(1), &[]).unwrap();
        assert_eq!(steps(&path), [0, 1]);
    }
}
