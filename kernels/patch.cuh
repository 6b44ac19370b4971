// Tiles of output pixels and the patches of input pixels under them, kept in shared memory; src/ops/conv/gpu/patch.rs is
// the host's half.
//
// A tile is images x rows x cols pixels; its pixel m is (g, ty, tx) with m = (g*rows + ty)*cols + tx. More than one image
// only where a tile has whole images. A patch holds, for a chunk of 128 bytes of channels, images x p.rows x p.cols input
// pixels: patch pixel (g, row, col) of the tile at (y0, x0) is input pixel (step*(y0 + row) + p.y, step*(x0 + col) + p.x).
// The input pixel that a tap wants for tile pixel (g, ty, tx) is at patch pixel (g, ty + a, tx + b) with constants a, b, so
// a tap is a constant offset in shared memory.
//
// Pixels are 144 bytes apart, rows t.row_pitch, images t.image_pitch bytes, such that tile pixel m is at 16*m mod 128: any
// eight tile pixels in a row lie in different banks, for ldmatrix as for 16-byte loads, whatever the tile's width.
#pragma once
#include "common.cuh"

// Bytes of a chunk of channels, and of a pixel in shared memory.
constexpr u32 CHUNK = 128;
constexpr u32 PITCH = CHUNK + 16;
// Pixels of a patch and its bytes stay below these, and the input pixels that an entry of a table counts.
constexpr u32 MOST_PIXELS = 1024, MOST_BYTES = 1 << 17, REACH = 1 << 18;

// Division by `by` of what is below MOST_PIXELS.
struct Divisor {
    u32 by, magic;
};

__device__ __forceinline__ u32 quotient(u32 n, Divisor d) { return n * d.magic / (MOST_PIXELS * MOST_PIXELS); }

struct Tile {
    u32 images;
    Divisor rows, cols;
    // Tiles of an image, downwards and across.
    u32 down, across;
    u32 row_pitch, image_pitch;
};

struct Patch {
    // Bytes of an input pixel.
    u32 pixel;
    int h, w, step, y, x;
    Divisor rows, cols;
};

// Where a tile starts: its first slot, and its first output pixel.
struct Origin {
    u32 slot, y, x;
};

__device__ __forceinline__ Origin tile_origin(const Tile& t, u32 tile) {
    u32 across = tile % t.across, rest = tile / t.across;
    return {rest / t.down * t.images, rest % t.down * t.rows.by, across * t.cols.by};
}

// Tile pixel m as (g, ty, tx).
__device__ __forceinline__ void tile_pixel(const Tile& t, u32 m, u32& g, u32& ty, u32& tx) {
    u32 row = quotient(m, t.cols);
    g = quotient(row, t.rows);
    ty = row - g * t.rows.by;
    tx = m - row * t.cols.by;
}

// Offset in shared memory of what the first tap reads for tile pixel m.
__device__ __forceinline__ u32 patch_offset(const Tile& t, u32 m) {
    u32 g, ty, tx;
    tile_pixel(t, m, g, ty, tx);
    return g * t.image_pitch + ty * t.row_pitch + tx * PITCH;
}

__device__ __forceinline__ u32 patch_pixels(const Tile& t, const Patch& p) { return t.images * p.rows.by * p.cols.by; }

// The input pixel that the table's entries count from: as a rule the patch's first row; always inside the map.
__device__ __forceinline__ u32 patch_first_row(const Patch& p, Origin o) {
    return min(max(p.step * (int)o.y + p.y, 0), p.h - 1);
}

__device__ __forceinline__ const char* patch_base(const void* map, const Patch& p, Origin o) {
    return (const char*)map + ((size_t)o.slot * p.h + patch_first_row(p, o)) * p.w * p.pixel;
}

// Fills a table with an entry for each patch pixel: bits 0..17 its input pixel from patch_base on, bits 18..30 its place in
// shared memory in units of 16 bytes, bit 31 whether it is outside the map or of a slot that isn't live.
__device__ __forceinline__ void patch_table(u32* table, const Tile& t, const Patch& p, Origin o, u32 live) {
    u32 first = patch_first_row(p, o);
    for (u32 i = threadIdx.x; i < patch_pixels(t, p); i += blockDim.x) {
        u32 row = quotient(i, p.cols), col = i - row * p.cols.by, g = quotient(row, p.rows);
        row -= g * p.rows.by;
        int y = p.step * (int)(o.y + row) + p.y, x = p.step * (int)(o.x + col) + p.x;
        bool inside = (u32)y < (u32)p.h && (u32)x < (u32)p.w && o.slot + g < live;
        u32 place = (g * t.image_pitch + row * t.row_pitch + col * PITCH) / 16;
        table[i] = place * REACH | (inside ? (g * p.h + y - first) * p.w + x : 1u << 31);
    }
}

// Copies 16 bytes to shared memory, of which those beyond `bytes` become zero. `from` is a valid address in any case.
__device__ __forceinline__ void cp_async(u32 to, const void* from, u32 bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all but the last N groups of this thread.
template <int N> __device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Starts the copy of a patch's channels from byte `offset` of each pixel on to `to`: `vectors` (up to 8) times 16 bytes, zero
// beyond the map and beyond the pixel's last byte.
template <int THREADS>
__device__ __forceinline__ void patch_gather(u32 to, const u32* table, u32 pixels, const char* base, u32 pixel, u32 offset,
                                             u32 vectors) {
    u32 vector = threadIdx.x % 8 * 16;
    if (vector >= vectors * 16) return;
    u32 whole = offset + vector < pixel ? 16 : 0;
    if (whole) base += offset + vector;
    to += vector;
    // Rolled: unrolled it spills, and triples the integer work.
#pragma unroll 1
    for (u32 i = threadIdx.x / 8; i < pixels; i += THREADS / 8) {
        u32 entry = table[i];
        // A pixel outside has 0 in its low bits, so the address is valid too.
        cp_async(to + (entry / REACH % (MOST_BYTES / 16)) * 16, base + (size_t)(entry % REACH) * pixel, (int)entry < 0 ? 0 : whole);
    }
}
