//! The CPU backend: SIMD levels, the layout of feature maps, and the executor of recorded programs.

pub mod context;
pub mod inspect;
pub mod lanes;
pub mod layout;
pub mod memory;
pub mod peak;
pub mod record;
pub mod simd;

use crate::backend::{Backend, Trace};
use crate::program::{Buf, DType, Phase, Program};
use crate::{Error, Result};
use bytemuck::Pod;
use context::Context;
use memory::Memory;
use rayon::prelude::*;
use record::{Recorded, Run, Step, implementation};
use simd::Level;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

impl Backend for CpuBackend {
    type Recorded = Recorded;

    fn name(&self) -> String {
        let s = if self.threads == 1 { "" } else { "s" };
        format!("cpu ({}, {} thread{s})", self.level, self.threads)
    }

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

    fn record(&mut self, program: Program) -> Result<Recorded> {
        Recorded::new(program, self.threads, false)
    }

    fn replay(&mut self, recorded: &mut Recorded) -> Result<()> {
        self.run(recorded, None);
        Ok(())
    }

    fn memory(&self, recorded: &Recorded) -> u64 {
        (self.bufs.iter().map(Memory::bytes).sum::<usize>() + recorded.bytes()) as u64
    }

    fn peak_gflops(&self) -> Option<f64> {
        let all = self.pool.broadcast(|_| peak::peak_gflops(self.level, Duration::from_millis(300)));
        Some(all.iter().sum())
    }

    fn trace(&mut self, recorded: &mut Recorded) -> Result<Option<Trace>> {
        let spent: Vec<AtomicU64> = recorded.program.ops.iter().map(|_| AtomicU64::new(0)).collect();
        self.run(recorded, Some(&spent));
        let seconds = spent.into_iter().map(|ns| ns.into_inner() as f64 / 1e9).collect();
        Ok(Some(Trace { seconds, workers: self.threads }))
    }

    fn take_time(&mut self, phase: Phase) -> Result<Duration> {
        Ok(std::mem::take(&mut self.times[phase as usize]))
    }
}

impl CpuBackend {
    fn run(&mut self, recorded: &Recorded, spent: Option<&[AtomicU64]>) {
        let run = Replay { level: self.level, threads: self.threads, bufs: &self.bufs, recorded, spent };
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
    recorded: &'a Recorded,
    /// Nanoseconds of each op, summed over threads, where they are asked for.
    spent: Option<&'a [AtomicU64]>,
}

impl Replay<'_> {
    fn context(&self, thread: usize, first: usize, n: usize) -> Context<'_> {
        let arena = &self.recorded.arenas[thread];
        Context { level: self.level, first, n, bufs: self.bufs, values: &self.recorded.values, arena, origin: first }
    }

    fn live(&self) -> usize {
        let live = self.recorded.program.live.expect("a program over a batch");
        // SAFETY: u32 by its declaration, and no op is running.
        unsafe { *self.bufs[live.id as usize].ptr().cast::<u32>() as usize }
    }

    /// Runs an op, which keeps so many threads busy.
    fn op(&self, i: usize, cx: &Context, threads: usize) {
        let op = implementation(&self.recorded.program.ops[i]).expect("marks are steps of their own");
        let Some(spent) = self.spent else { return op.run(cx) };
        let start = Instant::now();
        op.run(cx);
        spent[i].fetch_add(start.elapsed().as_nanos() as u64 * threads as u64, Ordering::Relaxed);
    }

    /// Runs all steps and returns the time of each phase.
    fn run(&self) -> [Duration; Phase::ALL.len()] {
        let mut times = [Duration::ZERO; Phase::ALL.len()];
        let mut phase = Phase::Attack;
        let mut since = Instant::now();
        for step in &self.recorded.steps {
            match step {
                Step::Mark(next) => {
                    times[phase as usize] += since.elapsed();
                    (phase, since) = (*next, Instant::now());
                }
                Step::Alone(i) => self.op(*i, &self.context(0, 0, self.live()), self.threads),
                Step::Prepare { folds, filters } => {
                    folds.iter().for_each(|&i| self.op(i, &self.context(0, 0, 0), 1));
                    filters.par_iter().for_each(|&i| self.op(i, &self.context(0, 0, 0), 1));
                }
                Step::Stretch { tallies, runs } => self.stretch(tallies, runs),
            }
        }
        times[phase as usize] += since.elapsed();
        times
    }

    fn stretch(&self, tallies: &[usize], runs: &[Run]) {
        let live = self.live();
        tallies.iter().for_each(|&i| self.op(i, &self.context(0, 0, live), 1));
        // As many tiles as fill all threads, of equal size but for one slot.
        let tiles = live.div_ceil(self.recorded.tile).next_multiple_of(self.threads).min(live);
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
