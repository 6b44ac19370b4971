//! State dicts: the parameters under PyTorch's names, to and from safetensors and the arenas.

use super::{Arch, Arena, Family, Net, Tensor};
use crate::ops::stem::Normalisation;
use crate::program::Shape;
use crate::rng::{Philox, Stream, uniform};
use crate::{Error, Result};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;

/// Values of both arenas, in their layout (filters KRSC).
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The parameter arena.
    pub params: Vec<f32>,
    /// The running-statistics arena.
    pub running: Vec<f32>,
}

/// Tensors by name as a file holds them: shape and values (filters OIHW).
pub type StateDict = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

impl Weights {
    /// PyTorch's default initialisation, from `seed`: filters and the linear layer uniform within `1/sqrt(fan_in)`, batch
    /// norms 1 and 0, running variances 1.
    pub fn init(net: &Net, seed: u64) -> Weights {
        let rng = Philox::new(seed);
        let mut w = Weights { params: vec![0.0; net.params], running: vec![0.0; net.running] };
        let fan_in = |t: &Tensor| t.shape[1..].iter().product::<usize>();
        for t in &net.tensors {
            let bound = match t.span {
                span if t.arena == Arena::Params && span == net.linear.bias => Some(net.last().c),
                _ if t.shape.len() > 1 => Some(fan_in(t)),
                _ => None,
            };
            if let Some(fan_in) = bound {
                let bound = 1.0 / (fan_in as f32).sqrt();
                for i in t.span.range() {
                    let u = uniform(rng.block(Stream::Init, 0, (i / 4) as u32, 0)[i % 4]);
                    w.params[i] = bound * (2.0 * u - 1.0);
                }
            } else if t.name.ends_with(".weight") {
                w.params[t.span.range()].fill(1.0);
            } else if t.name.ends_with(".running_var") {
                w.running[t.span.range()].fill(1.0);
            }
        }
        w
    }

    /// The values of `t` in PyTorch's order.
    fn tensor(&self, t: &Tensor) -> Vec<f32> {
        let arena = match t.arena {
            Arena::Params => &self.params,
            Arena::Running => &self.running,
        };
        to_pytorch(t, &arena[t.span.range()])
    }

    /// As a state dict.
    pub fn state_dict(&self, net: &Net) -> StateDict {
        net.tensors.iter().map(|t| (t.name.clone(), (t.shape.clone(), self.tensor(t)))).collect()
    }

    /// From a state dict as [`read_dict`] reads it.
    ///
    /// # Errors
    /// A missing, unknown or misshapen tensor, or a value that is not finite.
    pub fn from_state_dict(net: &Net, dict: &StateDict, path: &Path) -> Result<Weights> {
        let mut w = Weights { params: vec![0.0; net.params], running: vec![0.0; net.running] };
        for t in &net.tensors {
            let Some((shape, values)) = dict.get(&t.name) else {
                return Err(Error::format(
                    path,
                    format!("no tensor `{}`; is it a {} state dict?", t.name, net.arch.family),
                ));
            };
            if *shape != t.shape {
                return Err(Error::format(path, format!("`{}` is {shape:?}, expected {:?}", t.name, t.shape)));
            }
            if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
                return Err(Error::format(path, format!("`{}` holds {bad}; use a checkpoint from before", t.name)));
            }
            if t.name.ends_with("running_var") && values.iter().any(|v| *v < 0.0) {
                return Err(Error::format(path, format!("`{}` holds a negative variance", t.name)));
            }
            let arena = match t.arena {
                Arena::Params => &mut w.params,
                Arena::Running => &mut w.running,
            };
            from_pytorch(t, values, &mut arena[t.span.range()]);
        }
        match dict.keys().find(|k| !net.tensors.iter().any(|t| t.name == **k)) {
            Some(k) => {
                Err(Error::format(path, format!("unknown tensor `{k}`; is it a {} state dict?", net.arch.family)))
            }
            None => Ok(w),
        }
    }
}

/// A tensor's values from arena order (KRSC for filters) to PyTorch's (OIHW).
pub fn to_pytorch(t: &Tensor, arena: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; arena.len()];
    permute(t, |pytorch, krsc| out[pytorch] = arena[krsc]);
    out
}

/// A tensor's values from PyTorch's order to the arena's.
pub fn from_pytorch(t: &Tensor, values: &[f32], arena: &mut [f32]) {
    permute(t, |pytorch, krsc| arena[krsc] = values[pytorch]);
}

fn permute(t: &Tensor, mut each: impl FnMut(usize, usize)) {
    match t.shape[..] {
        [k, c, r, s] => {
            for (i, ki) in (0..k).flat_map(|ki| (0..c).map(move |ci| (ki, ci))).enumerate() {
                let (ki, ci) = ki;
                for rs in 0..r * s {
                    each(i * r * s + rs, (ki * r * s + rs) * c + ci);
                }
            }
        }
        _ => (0..t.span.len).for_each(|i| each(i, i)),
    }
}

/// What wrappers of a network put before its tensors' names: DataParallel, and modules that hold it as `model`.
const PREFIXES: [&str; 2] = ["module.", "model."];

/// Reads the f32 tensors of a state dict, without `num_batches_tracked`, a prefix `module.` or `model.`, and what RobustBench's
/// WideResNets have but don't use (`sub_block1`).
///
/// # Errors
/// Another element type than f32.
pub fn read_dict(file: &SafeTensors, path: &Path) -> Result<StateDict> {
    let mut dict = StateDict::new();
    for (name, view) in file.iter() {
        let name = PREFIXES.iter().fold(name, |name, prefix| name.strip_prefix(prefix).unwrap_or(name));
        if name.ends_with("num_batches_tracked") || name.starts_with("sub_block1.") {
            continue;
        }
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(Error::format(path, format!("`{name}` is {:?}; save the state dict as float32", view.dtype())));
        }
        dict.insert(name.to_owned(), (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data())));
    }
    Ok(dict)
}

/// Names of a normalisation that lies among the tensors, `[1, C, 1, 1]` or `[C]`: ours, and RobustBench's.
const NORMALISATIONS: [[&str; 2]; 2] = [["mean", "std"], ["mu", "sigma"]];

/// Takes a normalisation inside the model out of a state dict that brings one.
///
/// # Errors
/// Where one of its two tensors is missing.
pub fn take_normalisation(dict: &mut StateDict, path: &Path) -> Result<Option<Normalisation>> {
    for names in NORMALISATIONS {
        match names.map(|n| dict.remove(n).map(|t| t.1)) {
            [Some(mean), Some(std)] => return Ok(Some(Normalisation { mean, std })),
            [None, None] => {}
            _ => return Err(Error::format(path, format!("`{}` and `{}` belong together", names[0], names[1]))),
        }
    }
    Ok(None)
}

/// Adds a normalisation to a state dict, as [`take_normalisation`] finds it.
pub fn put_normalisation(dict: &mut StateDict, normalisation: &Normalisation) {
    let Normalisation { mean, std } = normalisation;
    for (name, values) in NORMALISATIONS[0].into_iter().zip([mean, std]) {
        dict.insert(name.to_owned(), (vec![1, values.len(), 1, 1], values.clone()));
    }
}

/// The architecture that the names and shapes of a state dict tell, for images of `height` x `width`.
///
/// # Errors
/// Where it is of no family that we know.
pub fn infer_arch(
    dict: &StateDict,
    height: usize,
    width: usize,
    normalisation: Option<Normalisation>,
    path: &Path,
) -> Result<Arch> {
    let first = |f: &Family| dict.contains_key(&conv1(*f, 1, 0));
    let family = Family::ALL.into_iter().find(first).unwrap_or(Family::PreActResNet);
    let shape = |name: &str, rank: usize| match dict.get(name) {
        Some((shape, _)) if shape.len() == rank => Ok(shape),
        Some((shape, _)) => Err(Error::format(path, format!("`{name}` is {shape:?}, expected {rank} dimensions"))),
        None => Err(Error::format(path, format!("no tensor `{name}`; is it a {family} state dict?"))),
    };
    let stem = shape("conv1.weight", 4)?;
    let classes = shape(&format!("{}.weight", family.names().linear), 2)?[0];
    let (mut widths, mut blocks) = (Vec::new(), Vec::new());
    while dict.contains_key(&conv1(family, widths.len() + 1, 0)) {
        let s = widths.len() + 1;
        widths.push(shape(&conv1(family, s, 0), 4)?[0]);
        blocks.push((0..).take_while(|b| dict.contains_key(&conv1(family, s, *b))).count());
    }
    let image = Shape { c: stem[1], h: height, w: width };
    let family = match family {
        Family::PreActResNet => family,
        Family::WideResNet { .. } => Family::WideResNet { stem: stem[0] },
    };
    let arch = Arch { family, image, classes, widths, blocks, normalisation };
    arch.validate().map_err(|e| Error::format(path, e.to_string()))
}

/// The name of a block's first filter.
fn conv1(family: Family, stage: usize, block: usize) -> String {
    let [before, between] = family.names().stage;
    format!("{before}{stage}{between}{block}.conv1.weight")
}
