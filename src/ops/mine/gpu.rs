//! Launchers of the kernels in `kernels/mine.cu`.

use super::formula::{Formula, LONGEST};
use super::{Compact, Freeze, Select, Thaw, Weigh};
use crate::Result;
use crate::batch::Batch;
use crate::gpu::driver::{Arg, Ptr};
use crate::gpu::record::{GpuOp, Recorder, bits_len, bytes};
use bytemuck::{Pod, Zeroable};

/// Threads of a block, but for those that move records.
const THREADS: usize = 256;
/// Threads of a block that moves records.
const COMPACT_THREADS: usize = 64;
/// Elements of an image that a block puts aside.
const FREEZE_PART: usize = 4 * THREADS;
/// Buffers of one launch: what the 4 KiB of a kernel's parameters hold.
const JOBS: usize = 128;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CompactJob {
    buffer: Ptr,
    units: u32,
    unit: u32,
    block: u32,
    unused: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CompactDims {
    jobs: [CompactJob; JOBS],
    count: u32,
    unused: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FormulaCode {
    op: u32,
    value: f32,
}

/// A formula as the kernels take it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FormulaDims {
    codes: [FormulaCode; LONGEST],
    len: u32,
}

impl FormulaDims {
    fn new(formula: &Formula) -> Result<FormulaDims> {
        formula.validate()?;
        let mut dims = FormulaDims { codes: Zeroable::zeroed(), len: formula.code().len() as u32 };
        for (to, code) in dims.codes.iter_mut().zip(formula.code()) {
            let (op, value) = code.encode();
            *to = FormulaCode { op, value };
        }
        Ok(dims)
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SelectDims {
    keep: FormulaDims,
    keep_easy: f32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FreezeDims {
    len: u32,
    all: u32,
}

/// The state that formulas are of.
fn state(cx: &Recorder, b: &Batch) -> [Arg; 6] {
    [b.crossed, b.kappa, b.confidence, b.loss, b.step, b.label].map(|buf| Arg::In(cx.buf(buf)))
}

impl GpuOp for Select {
    fn launch(&self, cx: &mut Recorder) -> Result<()> {
        let b = &self.batch;
        let dims = SelectDims { keep: FormulaDims::new(&self.keep)?, keep_easy: self.keep_easy };
        let rest = [Arg::In(cx.buf(b.position)), cx.live(), bytes(&dims)];
        let args = [Arg::Out(cx.buf(b.keep))].into_iter().chain(state(cx, b)).chain(rest);
        let grid = [cx.capacity().div_ceil(THREADS), 1, 1];
        let shape = format!("{} slots, {} of the easy", cx.capacity(), self.keep_easy);
        cx.launch("mine_select", grid, THREADS, 0, args.collect::<Vec<_>>(), shape)
    }
}

impl GpuOp for Compact {
    fn launch(&self, cx: &mut Recorder) -> Result<()> {
        let b = &self.batch;
        let moves = cx.workspace((1 + cx.capacity()) * 4);
        let live = cx.buf(b.live);
        let args = [Arg::Out(cx.buf(b.position)), Arg::Out(live), Arg::Out(moves), Arg::In(cx.buf(b.keep))];
        cx.launch("mine_compact_scan", [1, 1, 1], THREADS, 0, args, format!("{} slots", cx.capacity()))?;
        let image = self.image.len() * 4;
        let masks = self.bits.iter().map(|m| (cx.bits(*m), bits_len(cx.program.bits[m.0 as usize])));
        let records: Vec<(Ptr, usize)> =
            [(cx.buf(b.x), image), (cx.buf(b.x_adv), image)].into_iter().chain(masks).collect();
        for records in records.chunks(JOBS) {
            let mut jobs = [CompactJob::zeroed(); JOBS];
            let mut blocks = 0;
            for (job, (buffer, len)) in jobs.iter_mut().zip(records) {
                let unit = [16, 4, 1].into_iter().find(|unit| len % unit == 0).expect("1 divides all");
                let units = len / unit;
                let (units32, unit, block) = (units as u32, unit as u32, blocks as u32);
                *job = CompactJob { buffer: *buffer, units: units32, unit, block, unused: 0 };
                blocks += units.div_ceil(COMPACT_THREADS);
            }
            let dims = CompactDims { jobs, count: records.len() as u32, unused: 0 };
            let args = [Arg::In(moves), Arg::In(live), bytes(&dims)];
            let shape = format!("{} buffers of {} slots", records.len(), cx.capacity());
            cx.launch("mine_compact", [blocks, 1, 1], COMPACT_THREADS, 0, args, shape)?;
        }
        Ok(())
    }
}

impl GpuOp for Freeze {
    fn launch(&self, cx: &mut Recorder) -> Result<()> {
        let (b, len) = (&self.batch, self.image.len());
        let dims = FreezeDims { len: len as u32, all: self.all.into() };
        let args = [
            Arg::Out(cx.buf(b.frozen)),
            Arg::In(cx.buf(b.x_adv)),
            Arg::In(cx.buf(b.keep)),
            Arg::In(cx.buf(b.position)),
            cx.live(),
            bytes(&dims),
        ];
        let grid = [len.div_ceil(FREEZE_PART), cx.capacity(), 1];
        cx.launch("mine_freeze", grid, THREADS, 0, args, self.image.to_string())
    }
}

impl GpuOp for Thaw {
    fn launch(&self, cx: &mut Recorder) -> Result<()> {
        let args = [Arg::Out(cx.buf(self.batch.position)), Arg::Out(cx.buf(self.batch.live))];
        cx.launch("mine_thaw", [1, 1, 1], THREADS, 0, args, format!("{} slots", cx.capacity()))
    }
}

impl GpuOp for Weigh {
    fn launch(&self, cx: &mut Recorder) -> Result<()> {
        let b = &self.batch;
        let rest = [Arg::In(cx.buf(b.position)), cx.live(), bytes(&FormulaDims::new(&self.weight)?)];
        let args = [Arg::Out(cx.buf(b.weight))].into_iter().chain(state(cx, b)).chain(rest);
        let args = args.collect::<Vec<_>>();
        cx.launch("mine_weigh", [1, 1, 1], THREADS, 0, args, format!("{} slots", cx.capacity()))
    }
}
