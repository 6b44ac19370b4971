//! Makes a program ready for a device: memory for its values, and the launches of its ops.

use super::plan::{self, Group};
use crate::gpu::Precision;
use crate::gpu::driver::{Command, Driver, Ptr};
use crate::gpu::launches::{Addresses, Launches, bits_len, map_len, padded};
use crate::gpu::tiles::TileSize;
use crate::ops::{Program, prepare_filter, statistics};
use crate::program::{Phase, Values};
use crate::{Error, Result};

/// u64 of the times of phases: nanoseconds of each, and when the last mark was passed.
pub(super) const TIMES: usize = Phase::ALL.len() + 1;
/// Memory that is left to the driver, for code and graphs.
const RESERVE: usize = 64 << 20;

/// A program ready to replay, and the memory of its values.
pub struct Compiled<D: Driver> {
    pub(super) graph: D::Graph,
    /// What the addresses belong to.
    _memory: Vec<D::Memory>,
    /// Bytes of it.
    pub(super) bytes: u64,
    pub(super) addresses: Addresses,
    pub(super) values: Values,
    pub(super) precision: Precision,
    /// What it runs.
    pub commands: Vec<Command>,
}

/// Bytes of each value of a values.
struct Sizes {
    maps: Vec<usize>,
    bits: Vec<usize>,
    filters: Vec<usize>,
    affines: Vec<usize>,
}

impl Sizes {
    fn new(values: &Values, precision: Precision) -> Sizes {
        let n = values.capacity;
        Sizes {
            maps: values.maps.iter().map(|s| n * map_len(*s) * precision.size()).collect(),
            bits: values.bits.iter().map(|s| n * bits_len(*s)).collect(),
            filters: values.filters.iter().map(|f| prepare_filter::gpu::filter_bytes(f, precision)).collect(),
            affines: values.affines.iter().map(|c| 2 * 4 * padded(*c)).collect(),
        }
    }

    /// Bytes that grow with the capacity, and the others.
    fn total(&self) -> (usize, usize) {
        let sum = |v: &[usize]| v.iter().sum::<usize>();
        (sum(&self.maps) + sum(&self.bits), sum(&self.filters) + sum(&self.affines))
    }
}

/// What every compilation of a program is given.
#[derive(Clone, Copy)]
pub(super) struct Device<'a> {
    pub(super) precision: Precision,
    /// Addresses of the backend's buffers.
    pub(super) bufs: &'a [Ptr],
    /// Address of the times of phases.
    pub(super) times: Ptr,
    pub(super) tile: Option<TileSize>,
}

/// The commands of a program whose values have these addresses, and the bytes of workspace that they take.
fn commands(program: &Program, device: Device, addresses: &Addresses, shared: usize) -> Result<(Vec<Command>, usize)> {
    let Device { precision, bufs, times, tile } = device;
    let mut cx = Launches::new(precision, &program.values, bufs, addresses, times, shared, tile);
    plan::groups(program).iter().try_for_each(|group: &Group| group.launch(&mut cx))?;
    if cx.phase.is_some() {
        // What passes until the next replay belongs to no phase.
        statistics::gpu::mark(&mut cx, None)?;
    }
    Ok(cx.finish())
}

impl<D: Driver> Compiled<D> {
    pub(super) fn new(program: Program, device: Device, driver: &mut D) -> Result<Compiled<D>> {
        let sizes = Sizes::new(&program.values, device.precision);
        let nowhere = |v: &[usize]| vec![0; v.len()];
        let mut addresses = Addresses {
            maps: nowhere(&sizes.maps),
            bits: nowhere(&sizes.bits),
            filters: nowhere(&sizes.filters),
            affines: nowhere(&sizes.affines),
            workspace: 0,
        };
        let shared = driver.shared_limit();
        // Once without memory, to see how much workspace the launchers ask for.
        let (_, workspace) = commands(&program, device, &addresses, shared)?;
        budget(program.values.capacity, &sizes, workspace, driver.free_memory()?)?;
        let (mut memory, mut total) = (Vec::new(), 0);
        let mut place = |bytes: usize| -> Result<Ptr> {
            total += bytes as u64;
            memory.push(driver.alloc(bytes)?);
            Ok(D::address(&memory[memory.len() - 1]))
        };
        let mut all = |v: &[usize]| v.iter().map(|bytes| place(*bytes)).collect::<Result<Vec<_>>>();
        addresses.maps = all(&sizes.maps)?;
        addresses.bits = all(&sizes.bits)?;
        addresses.filters = all(&sizes.filters)?;
        addresses.affines = all(&sizes.affines)?;
        addresses.workspace = place(workspace)?;
        let (commands, _) = commands(&program, device, &addresses, shared)?;
        let graph = driver.prepare(commands.clone())?;
        let (values, precision) = (program.values, device.precision);
        Ok(Compiled { graph, _memory: memory, bytes: total, addresses, values, precision, commands })
    }
}

/// Refuses a batch that the device has no memory for, and says what would fit.
fn budget(capacity: usize, sizes: &Sizes, workspace: usize, free: usize) -> Result<()> {
    let (by_slot, fixed) = sizes.total();
    let (needed, free) = (by_slot + fixed + workspace, free.saturating_sub(RESERVE));
    if needed <= free {
        return Ok(());
    }
    let per_slot = (by_slot + workspace).div_ceil(capacity.max(1));
    let fits = free.saturating_sub(fixed) / per_slot.max(1);
    let mib = |bytes: usize| bytes.div_ceil(1 << 20);
    let what = format!(
        "a batch of {} takes {} MiB of device memory, {} are free; {}",
        capacity,
        mib(needed),
        mib(free),
        if fits > 0 { format!("--batch {fits} would fit") } else { "no batch of this network would fit".into() }
    );
    Err(Error::Device { what })
}
