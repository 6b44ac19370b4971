//! Launchers of the kernels in `kernels/compact.cu`.

use super::Compact;
use crate::Result;
use crate::gpu::driver::{Arg, Ptr};
use crate::gpu::launches::{GpuOp, Launches, bits_len, bytes};
use bytemuck::{Pod, Zeroable};

/// Threads of the block that scans.
const SCAN_THREADS: usize = 256;
/// Threads of a block that moves records.
const MOVE_THREADS: usize = 64;
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

impl GpuOp for Compact {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let b = &self.batch;
        let moves = cx.workspace((1 + cx.capacity()) * 4);
        let live = cx.buf(b.live);
        let args = [Arg::Out(cx.buf(b.position)), Arg::Out(live), Arg::Out(moves), Arg::In(cx.buf(b.keep))];
        cx.launch("compact_scan", [1, 1, 1], SCAN_THREADS, 0, args, format!("{} slots", cx.capacity()))?;
        let image = self.image.len() * 4;
        let masks = self.bits.iter().map(|m| (cx.bits(*m), bits_len(cx.values.mask(*m))));
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
                blocks += units.div_ceil(MOVE_THREADS);
            }
            let dims = CompactDims { jobs, count: records.len() as u32, unused: 0 };
            let args = [Arg::In(moves), Arg::In(live), bytes(&dims)];
            let shape = format!("{} buffers of {} slots", records.len(), cx.capacity());
            cx.launch("compact", [blocks, 1, 1], MOVE_THREADS, 0, args, shape)?;
        }
        Ok(())
    }
}
