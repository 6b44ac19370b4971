//! Checkpoints: safetensors that PyTorch loads as they are, with what else a run must know in their metadata.
//!
//! A checkpoint holds the state dict alone, so that a strict `load_state_dict` takes it. What only a resumed run needs
//! (momenta, the weights' moving average, counters) lies beside `last.safetensors` in a state file, which the checkpoint names: the state is written first,
//! under a new name, and then the checkpoint replaces its predecessor in one step. Killed at any moment, a run finds a
//! checkpoint and the state that belongs to it.

use crate::data::Size;
use crate::fsio::{parse_safetensors, write_safetensors};
use crate::net::state::{
    StateDict, Weights, from_pytorch, infer_arch, put_normalisation, read_dict, take_normalisation, to_pytorch,
};
use crate::net::{Arch, Arena, Net};
use crate::ops::statistics::Counts;
use crate::ops::stem::Normalisation;
use crate::results::Seconds;
use crate::{Error, Result};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The metadata key of [`Meta`].
const KEY: &str = "ham-engine";

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Name and version of what wrote it.
    pub created_by: String,
    /// Image height.
    pub height: usize,
    /// Image width.
    pub width: usize,
    /// Normalisation inside the model: mean, std.
    pub normalisation: Option<(Vec<f32>, Vec<f32>)>,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// What it was trained for.
    pub contract: TrainedFor,
    /// Name of the data set.
    pub dataset: String,
    /// Hash of the data set.
    pub data_hash: String,
    /// Seed.
    pub seed: u64,
    /// Epochs completed.
    pub epoch: usize,
    /// Mini-batches done in the epoch under way.
    pub batch: u64,
    /// The state file beside it, if it can be resumed from.
    pub state: Option<String>,
}

impl Meta {
    /// The size of an image.
    pub fn size(&self) -> Size {
        Size { height: self.height, width: self.width }
    }
}

/// The method of a training run, and the attack that it trained against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainedFor {
    /// Training method.
    pub method: String,
    /// Bound of the perturbation.
    pub eps: f32,
    /// Step size.
    pub alpha: f32,
    /// Steps.
    pub steps: usize,
}

/// A checkpoint read from a file: ours, or a plain PyTorch state dict.
pub struct Checkpoint {
    /// The tensors.
    pub dict: StateDict,
    /// Absent in a plain state dict.
    pub meta: Option<Meta>,
    /// The normalisation that it brings, in its metadata or among its tensors.
    pub normalisation: Option<Normalisation>,
}

impl Checkpoint {
    /// Reads a checkpoint or a PyTorch state dict.
    ///
    /// # Errors
    /// Where the file can't be read or holds something else.
    pub fn read(path: &Path) -> Result<Checkpoint> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read the checkpoint"))?;
        let (file, metadata) = parse_safetensors(path, &bytes)?;
        let wrong = |e: serde_json::Error| Error::format(path, format!("metadata `{KEY}`: {e}"));
        let meta: Option<Meta> = metadata.get(KEY).map(|m| serde_json::from_str(m)).transpose().map_err(wrong)?;
        let mut dict = read_dict(&file, path)?;
        let among_tensors = take_normalisation(&mut dict, path)?;
        let in_meta = meta.as_ref().and_then(|m| m.normalisation.clone());
        let normalisation = in_meta.map(|(mean, std)| Normalisation { mean, std }).or(among_tensors);
        Ok(Checkpoint { dict, meta, normalisation })
    }

    /// The network: its shape from the tensors, image size from the metadata where there is some, else `height` x `width`, and the
    /// normalisation that the checkpoint brings, else `normalisation`.
    ///
    /// # Errors
    /// Where the tensors are of no network that we know.
    pub fn arch(
        &self,
        (height, width): (usize, usize),
        normalisation: Option<Normalisation>,
        path: &Path,
    ) -> Result<Arch> {
        let (height, width, normalisation) = match &self.meta {
            // A checkpoint of ours without one has none.
            Some(m) => (m.height, m.width, self.normalisation.clone()),
            None => (height, width, self.normalisation.clone().or(normalisation)),
        };
        infer_arch(&self.dict, height, width, normalisation, path)
    }
}

/// Writes a checkpoint, atomically.
///
/// # Errors
/// Where the file can't be written.
pub fn write(path: &Path, net: &Net, weights: &Weights, meta: &Meta) -> Result<()> {
    let dict = weights.state_dict(net);
    let tensors: Vec<_> = dict.iter().map(|(name, (shape, v))| (name.as_str(), view(shape, v))).collect();
    let json = serde_json::to_string(meta).expect("plain data");
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned()), (KEY.to_owned(), json)]);
    write_safetensors(path, &tensors, &metadata)
}

/// Writes the weights alone, atomically: a state dict with the normalisation among its tensors (`mean` and `std`, `[1, C, 1, 1]`).
///
/// # Errors
/// Where the file can't be written.
pub fn write_weights(path: &Path, net: &Net, weights: &Weights) -> Result<()> {
    let mut dict = weights.state_dict(net);
    if let Some(normalisation) = &net.arch.normalisation {
        put_normalisation(&mut dict, normalisation);
    }
    let tensors: Vec<_> = dict.iter().map(|(name, (shape, v))| (name.as_str(), view(shape, v))).collect();
    write_safetensors(path, &tensors, &BTreeMap::from([("format".to_owned(), "pt".to_owned())]))
}

fn view<'a>(shape: &[usize], values: &'a [f32]) -> TensorView<'a> {
    TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values)).expect("the shape is the values'")
}

/// What a resumed run needs besides the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Momenta, in the layout of the parameter arena.
    pub momenta: Vec<f32>,
    /// The moving average of the parameters, in the same layout, if the run keeps one.
    pub ema: Option<Vec<f32>>,
    /// Who waits in the pool, if the run refills: see [`Engine::pool`](crate::engine::Engine::pool).
    pub pool: Option<Vec<u32>>,
    /// What the epoch under way has counted.
    pub counts: Counts,
    /// Seconds of the epoch under way.
    pub seconds: Seconds,
    /// The best validation accuracies so far.
    pub best: Best,
}

/// The best accuracies under PGD on the validation split; -1 where there is none yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Of all classes.
    pub mean: f64,
    /// Of the worst class.
    pub worst: f64,
}

impl Best {
    /// Before the first evaluation.
    pub const NONE: Best = Best { mean: -1.0, worst: -1.0 };
}

/// Writes a state file, atomically.
///
/// # Errors
/// Where the file can't be written.
pub fn write_state(path: &Path, net: &Net, state: &State) -> Result<()> {
    let arenas = [("momentum", Some(&state.momenta)), ("ema", state.ema.as_ref())];
    let mut named = Vec::new();
    for (prefix, arena) in arenas.into_iter().filter_map(|(prefix, arena)| Some((prefix, arena?))) {
        for t in net.tensors.iter().filter(|t| t.arena == Arena::Params) {
            named.push((format!("{prefix}.{}", t.name), &t.shape, to_pytorch(t, &arena[t.span.range()])));
        }
    }
    let (counters, loss) = state.counts.to_raw();
    let Seconds { data, attack, update } = state.seconds;
    let scalars = [loss, data, attack, update, state.best.mean, state.best.worst];
    let mut tensors: Vec<_> = named.iter().map(|(name, shape, v)| (name.as_str(), view(shape, v))).collect();
    let raw = |dtype, len, bytes| TensorView::new(dtype, vec![len], bytes).expect("the shape is the values'");
    tensors.push(("counters", raw(Dtype::U64, counters.len(), bytemuck::cast_slice(&counters))));
    tensors.push(("scalars", raw(Dtype::F64, scalars.len(), bytemuck::cast_slice(&scalars))));
    if let Some(pool) = &state.pool {
        tensors.push(("pool", raw(Dtype::U32, pool.len(), bytemuck::cast_slice(pool))));
    }
    write_safetensors(path, &tensors, &BTreeMap::new())
}

/// What a state file of a run must have.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Counters of an epoch.
    pub counters: usize,
    /// Whether there is a moving average of the parameters.
    pub ema: bool,
    /// Words of the pool, if there is one.
    pub pool: Option<usize>,
}

/// Reads a state file.
///
/// # Errors
/// Where the file can't be read or does not belong to the network.
pub fn read_state(path: &Path, net: &Net, expected: Expected) -> Result<State> {
    let Expected { counters, ema, pool } = expected;
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read the run's state"))?;
    let (file, _) = parse_safetensors(path, &bytes)?;
    let tensor = |name: &str, dtype: Dtype, shape: &[usize]| {
        let t = file.tensor(name).map_err(|_| Error::format(path, format!("no tensor `{name}`")))?;
        if t.dtype() != dtype || t.shape() != shape {
            return Err(Error::format(path, format!("`{name}` is {:?} {:?}", t.dtype(), t.shape())));
        }
        Ok(t.data())
    };
    let arena = |prefix: &str| -> Result<Vec<f32>> {
        let mut arena = vec![0.0; net.params];
        for t in net.tensors.iter().filter(|t| t.arena == Arena::Params) {
            let values: Vec<f32> =
                bytemuck::pod_collect_to_vec(tensor(&format!("{prefix}.{}", t.name), Dtype::F32, &t.shape)?);
            from_pytorch(t, &values, &mut arena[t.span.range()]);
        }
        Ok(arena)
    };
    let momenta = arena("momentum")?;
    let ema = ema.then(|| arena("ema")).transpose()?;
    let words = |len| Ok(bytemuck::pod_collect_to_vec(tensor("pool", Dtype::U32, &[len])?));
    let pool = pool.map(words).transpose()?;
    let raw: Vec<u64> = bytemuck::pod_collect_to_vec(tensor("counters", Dtype::U64, &[counters])?);
    let scalars: Vec<f64> = bytemuck::pod_collect_to_vec(tensor("scalars", Dtype::F64, &[6])?);
    let [loss, data, attack, update, mean, worst] = scalars[..] else { unreachable!("six, as asked for") };
    let counts = Counts::from_raw(&raw, loss, net.arch.classes);
    let (seconds, best) = (Seconds { data, attack, update }, Best { mean, worst });
    Ok(State { momenta, ema, pool, counts, seconds, best })
}
