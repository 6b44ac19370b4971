//! The CPU backend: plans a program for the caches of this machine, and runs it on its cores.

mod compiled;
pub mod inspect;

use super::{Backend, Trace};
use crate::cpu::context::Context;
use crate::cpu::memory::Memory;
use crate::cpu::peak;
use crate::cpu::simd::Level;
use crate::ops::Program;
use crate::program::{Buf, Buffers, DType, Phase};
use crate::{Error, Result};
use bytemuck::Pod;
use compiled::{Locality, Run, Section};
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use compiled::Compiled;

/// Threads at most; each has an arena of its own.
const MAX_THREADS: usize = 1024;

/// Runs programs on this machine's cores. Results are bit-equal for any number of threads.
pub struct CpuBackend {
    level: Level,
    threads: usize,
    pool: rayon::ThreadPool,
    bufs: Vec<Memory>,
    times: [Duration; Phase::ALL.len()],
}

impl CpuBackend {
    /// A backend with `threads` threads (0: one per core) at the best SIMD level of this machine.
    ///
    /// # Errors
    /// Where threads can't be started.
    pub fn new(threads: usize) -> Result<CpuBackend> {
        Self::with_level(threads, Level::detect())
    }

    /// The same at a chosen level.
    ///
    /// # Errors
    /// Where threads can't be started.
    pub fn with_level(threads: usize, level: Level) -> Result<CpuBackend> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        if threads > MAX_THREADS {
            return Err(Error::usage(format!("--threads {threads}: at most {MAX_THREADS}")));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("cpu-{i}")).build();
        let pool = pool.map_err(|e| Error::usage(format!("--threads {threads}: {e}")))?;
        Ok(CpuBackend { level, threads, pool, bufs: Vec::new(), times: Default::default() })
    }
}

impl Buffers for CpuBackend {
    fn alloc(&mut self, dtype: DType, len: usize) -> Result<Buf> {
        self.bufs.push(Memory::zeroed(len * dtype.size())?);
        Ok(Buf { id: self.bufs.len() as u32 - 1, dtype, len })
    }

    fn write<T: Pod>(&mut self, buf: Buf, offset: usize, data: &[T]) -> Result<()> {
        let start = self.element::<T>(buf, offset, data.len());
        // SAFETY: the range lies in the buffer, and no program runs while `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(start, data.len()) }.copy_from_slice(data);
        Ok(())
    }

    fn read<T: Pod>(&self, buf: Buf, offset: usize, out: &mut [T]) -> Result<()> {
        let start = self.element::<T>(buf, offset, out.len());
        // SAFETY: as in `write`; a replay needs `&mut self`.
        out.copy_from_slice(unsafe { std::slice::from_raw_parts(start, out.len()) });
        Ok(())
    }
}

impl Backend for CpuBackend {
    type Compiled = Compiled;

    fn name(&self) -> String {
        let s = if self.threads == 1 { "" } else { "s" };
        format!("cpu ({}, {} thread{s})", self.level, self.threads)
    }

    fn compile(&mut self, program: Program) -> Result<Compiled> {
        Compiled::new(program, self.threads, Locality::Tiles)
    }

    fn replay(&mut self, compiled: &mut Compiled) -> Result<()> {
        self.run(compiled, None);
        Ok(())
    }

    fn memory(&self, compiled: &Compiled) -> u64 {
        (self.bufs.iter().map(Memory::bytes).sum::<usize>() + compiled.bytes()) as u64
    }

    fn peak_gflops(&self) -> Option<f64> {
        let all = self.pool.broadcast(|_| peak::peak_gflops(self.level, Duration::from_millis(300)));
        Some(all.iter().sum())
    }

    fn trace(&mut self, compiled: &mut Compiled) -> Result<Option<Trace>> {
        let spent: Vec<AtomicU64> = compiled.ops.iter().map(|_| AtomicU64::new(0)).collect();
        self.run(compiled, Some(&spent));
        let seconds = spent.into_iter().map(|ns| ns.into_inner() as f64 / 1e9).collect();
        Ok(Some(Trace { seconds, workers: self.threads }))
    }

    fn take_time(&mut self, phase: Phase) -> Result<Duration> {
        Ok(std::mem::take(&mut self.times[phase as usize]))
    }
}

impl CpuBackend {
    fn run(&mut self, compiled: &Compiled, spent: Option<&[AtomicU64]>) {
        let run = Replay { level: self.level, threads: self.threads, bufs: &self.bufs, compiled, spent };
        let times = self.pool.install(|| run.run());
        for (total, t) in self.times.iter_mut().zip(times) {
            *total += t;
        }
    }

    fn element<T: Pod>(&self, buf: Buf, offset: usize, len: usize) -> *mut T {
        assert_eq!(size_of::<T>(), buf.dtype.size(), "a buffer of {:?} accessed as another type", buf.dtype);
        assert!(offset + len <= buf.len, "elements {offset}+{len} of a buffer of {}", buf.len);
        // SAFETY: checked above.
        unsafe { self.bufs[buf.id as usize].ptr().cast::<T>().add(offset) }
    }
}

/// One replay under way, on a thread of the pool.
struct Replay<'a> {
    level: Level,
    threads: usize,
    bufs: &'a [Memory],
    compiled: &'a Compiled,
    /// Nanoseconds of each op, summed over threads, where they are asked for.
    spent: Option<&'a [AtomicU64]>,
}

impl Replay<'_> {
    fn context(&self, thread: usize, first: usize, n: usize) -> Context<'_> {
        let Compiled { storage, arenas, .. } = self.compiled;
        Context { level: self.level, first, n, bufs: self.bufs, storage, arena: &arenas[thread], origin: first }
    }

    fn live(&self) -> usize {
        let live = self.compiled.values.live.expect("a program over a batch");
        // SAFETY: u32 by its declaration, and no op is running.
        unsafe { *self.bufs[live.id as usize].ptr().cast::<u32>() as usize }
    }

    /// Runs an op, which keeps so many threads busy.
    fn op(&self, i: usize, cx: &Context, threads: usize) {
        let op = self.compiled.ops[i].cpu();
        let Some(spent) = self.spent else { return op.run(cx) };
        let start = Instant::now();
        op.run(cx);
        spent[i].fetch_add(start.elapsed().as_nanos() as u64 * threads as u64, Ordering::Relaxed);
    }

    /// Runs all sections and returns the time of each phase.
    fn run(&self) -> [Duration; Phase::ALL.len()] {
        let mut times = [Duration::ZERO; Phase::ALL.len()];
        let mut phase = Phase::Attack;
        let mut since = Instant::now();
        for section in &self.compiled.sections {
            match section {
                Section::Mark(next) => {
                    times[phase as usize] += since.elapsed();
                    (phase, since) = (*next, Instant::now());
                }
                Section::Alone(i) => self.op(*i, &self.context(0, 0, self.live()), self.threads),
                Section::Prepare { folds, filters } => {
                    folds.iter().for_each(|&i| self.op(i, &self.context(0, 0, 0), 1));
                    filters.par_iter().for_each(|&i| self.op(i, &self.context(0, 0, 0), 1));
                }
                Section::Stretch { counts, runs } => self.stretch(counts, runs),
            }
        }
        times[phase as usize] += since.elapsed();
        times
    }

    fn stretch(&self, counts: &[usize], runs: &[Run]) {
        let live = self.live();
        counts.iter().for_each(|&i| self.op(i, &self.context(0, 0, live), 1));
        // As many tiles as fill all threads, of equal size but for one slot.
        let tiles = live.div_ceil(self.compiled.tile).next_multiple_of(self.threads).min(live);
        (0..tiles).into_par_iter().with_max_len(1).for_each(|t| {
            let (first, end) = (t * live / tiles, (t + 1) * live / tiles);
            let thread = rayon::current_thread_index().expect("runs in the pool");
            let tile = self.context(thread, first, end - first);
            for run in runs {
                for part in (first..end).step_by(run.slots) {
                    let cx = tile.part(part, run.slots.min(end - part));
                    run.ops.iter().for_each(|&i| self.op(i, &cx, 1));
                }
            }
        });
    }
}
