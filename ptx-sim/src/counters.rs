//! What a launch did, counted as a profiler would count it.

/// What an instruction occupies on a GPU: the classes that [`Counters`] tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Integer arithmetic, logic, shifts, moves, selects and address conversion.
    Integer,
    /// f32 arithmetic, and f16 and bf16 arithmetic (scalar or packed).
    Float,
    /// f64 arithmetic.
    Double,
    /// Transcendentals and other approximate functions (ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh) and f32 div.
    Special,
    /// Conversions between types.
    Convert,
    /// Comparisons and predicate logic.
    Compare,
    /// Branches and exits.
    Control,
    /// Barriers, fences, shuffles, votes and waits.
    Sync,
    /// Loads, stores and atomics of every space, ldmatrix and cp.async.
    Memory,
    /// Matrix multiply-accumulate.
    Mma,
}

/// Number of [`Class`]es.
pub const CLASSES: usize = 10;

/// What one launch did. A *sector* is 32 aligned bytes of global memory, a *wavefront* one pass of the 32 banks of
/// shared memory, a *request* one memory instruction of one warp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Instructions issued, one per warp, by [`Class`] (index with `Class as usize`).
    pub warp_instructions: [u64; CLASSES],
    /// Instructions done, one per active thread, by [`Class`].
    pub thread_instructions: [u64; CLASSES],
    /// Blocks run.
    pub blocks: u64,
    /// Warps run.
    pub warps: u64,
    /// Threads run.
    pub threads: u64,
    /// Load requests to global memory (generic loads that land there and the reads of cp.async included).
    pub global_load_requests: u64,
    /// Store requests to global memory.
    pub global_store_requests: u64,
    /// Sectors that the load requests touched, counted per request: the traffic between L1 and L2 without L1 hits.
    pub global_load_sectors: u64,
    /// Sectors that the store requests touched, counted per request.
    pub global_store_sectors: u64,
    /// Bytes that the threads of the load requests asked for.
    pub global_load_bytes: u64,
    /// Bytes that the threads of the store requests wrote.
    pub global_store_bytes: u64,
    /// Different sectors that the launch read (atomics included): the least DRAM traffic.
    pub unique_load_sectors: u64,
    /// Different sectors that the launch wrote (atomics included).
    pub unique_store_sectors: u64,
    /// Different bytes of global memory that the launch read or wrote.
    pub unique_bytes: u64,
    /// Load requests to shared memory, ldmatrix included (one per instruction).
    pub shared_load_requests: u64,
    /// Store requests to shared memory, those of cp.async included.
    pub shared_store_requests: u64,
    /// Wavefronts of the shared loads: the least possible and those that bank conflicts add.
    pub shared_load_wavefronts: u64,
    /// Wavefronts of the shared stores.
    pub shared_store_wavefronts: u64,
    /// Wavefronts that loads and stores of the same widths would take without bank conflicts.
    pub shared_ideal_wavefronts: u64,
    /// Load requests to local memory.
    pub local_load_requests: u64,
    /// Store requests to local memory.
    pub local_store_requests: u64,
    /// Bytes that threads read from and wrote to local memory.
    pub local_bytes: u64,
    /// Atomic operations (atom and red) of threads on global memory.
    pub global_atomics: u64,
    /// Atomic operations of threads on shared memory.
    pub shared_atomics: u64,
    /// Sectors that atomics on global memory touched, counted per request.
    pub global_atomic_sectors: u64,
    /// Most lanes of one request that met at one address.
    pub atomic_worst_address: u64,
    /// Most atomic operations of the launch at one address of global memory.
    pub atomic_busiest_address: u64,
    /// mma instructions of warps.
    pub mma_instructions: u64,
    /// Floating-point operations of the mma instructions (a multiply-add is two).
    pub mma_flops: u64,
    /// Floating-point operations of the other instructions of threads (fma is two, a packed one counts each half).
    pub flops: u64,
    /// Conditional branches that warps met.
    pub branches: u64,
    /// Those of them where lanes of a warp took both ways.
    pub divergent_branches: u64,
    /// Arrivals of warps at block barriers.
    pub barriers: u64,
}

impl Counters {
    /// Adds what another part of the same launch did. Of unique sectors and bytes, each part has counted its own.
    pub(crate) fn add(&mut self, o: &Counters) {
        for (a, b) in self.warp_instructions.iter_mut().zip(o.warp_instructions) {
            *a += b;
        }
        for (a, b) in self.thread_instructions.iter_mut().zip(o.thread_instructions) {
            *a += b;
        }
        macro_rules! sum {
            ($($f:ident)+) => { $(self.$f = self.$f.wrapping_add(o.$f);)+ };
        }
        sum!(blocks warps threads global_load_requests global_store_requests global_load_sectors global_store_sectors
            global_load_bytes global_store_bytes unique_load_sectors unique_store_sectors unique_bytes shared_load_requests shared_store_requests
            shared_load_wavefronts shared_store_wavefronts shared_ideal_wavefronts local_load_requests
            local_store_requests local_bytes global_atomics shared_atomics global_atomic_sectors mma_instructions
            mma_flops flops branches divergent_branches barriers);
        self.atomic_worst_address = self.atomic_worst_address.max(o.atomic_worst_address);
        self.atomic_busiest_address = self.atomic_busiest_address.max(o.atomic_busiest_address);
    }

    /// Instructions issued by warps, all classes.
    pub fn total_warp_instructions(&self) -> u64 {
        self.warp_instructions.iter().sum()
    }

    /// Instructions done by threads, all classes.
    pub fn total_thread_instructions(&self) -> u64 {
        self.thread_instructions.iter().sum()
    }

    /// Active lanes per issued instruction over 32: 1 when no lane ever idles.
    pub fn lane_efficiency(&self) -> f64 {
        let issued = self.total_warp_instructions();
        if issued == 0 { 1.0 } else { self.total_thread_instructions() as f64 / (32 * issued) as f64 }
    }
}
