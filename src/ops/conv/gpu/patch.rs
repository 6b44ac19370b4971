//! Tiles of output pixels and patches of input pixels: the host's half of `kernels/patch.cuh`, which explains them.

use bytemuck::{Pod, Zeroable};

/// Bytes of a chunk of channels, and of a pixel in shared memory.
pub const CHUNK: usize = 128;
/// Bytes from one pixel to the next in shared memory.
pub const PITCH: usize = CHUNK + 16;
/// Pixels of a patch at most, and its bytes: what an entry of the kernels' table can say.
const MOST_PIXELS: usize = 1024;
const MOST_BYTES: usize = 1 << 17;
/// Input pixels that an entry can count.
const REACH: usize = 1 << 18;

/// Division by `by` of what is below [`MOST_PIXELS`].
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Divisor {
    by: u32,
    magic: u32,
}

impl Divisor {
    fn new(by: usize) -> Divisor {
        Divisor { by: by as u32, magic: (MOST_PIXELS * MOST_PIXELS).div_ceil(by) as u32 }
    }
}

/// A tile of output pixels, as the kernels get it.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Tile {
    images: u32,
    rows: Divisor,
    cols: Divisor,
    down: u32,
    across: u32,
    row_pitch: u32,
    image_pitch: u32,
}

impl Tile {
    /// The tile of at most `pixels` pixels that covers `[rows, cols]` of output with the fewest tiles, and of those with the
    /// smallest patch; patches have up to `halo` rows and columns more than a tile. None if no tile `fits`.
    pub fn choose(
        pixels: usize,
        [rows, cols]: [usize; 2],
        halo: [usize; 2],
        fits: impl Fn(&Tile) -> bool,
    ) -> Option<Tile> {
        let even = |n: usize, most: usize| n.div_ceil(n.div_ceil(most));
        let shapes = (1..=cols.min(pixels)).flat_map(|most| {
            let w = even(cols, most);
            let h = even(rows, pixels / w);
            let images = if (h, w) == (rows, cols) { pixels / (h * w) } else { 1 };
            (0..=images.ilog2()).map(move |halvings| (images >> halvings, h, w))
        });
        let patch = |(g, h, w): (usize, usize, usize)| g * (h + halo[0]) * (w + halo[1]);
        // Of one image: work is by tile, and a patch pixel costs about a tenth of a tile's.
        let cost = |s: &(usize, usize, usize)| {
            let tiles = rows.div_ceil(s.1) * cols.div_ceil(s.2);
            (tiles * (10 * pixels + patch(*s))) as f64 / s.0 as f64
        };
        let tile = |s| Tile::new(s, [rows, cols], halo);
        let fits =
            shapes.filter(|s| patch(*s) <= MOST_PIXELS && tile(*s).patch_bytes() <= MOST_BYTES && fits(&tile(*s)));
        fits.min_by(|a, b| cost(a).total_cmp(&cost(b))).map(tile)
    }

    fn new((images, h, w): (usize, usize, usize), [rows, cols]: [usize; 2], halo: [usize; 2]) -> Tile {
        // The least multiple of 16 from `least` on that is `m` * 16 mod 128.
        let pitch = |least: usize, m: usize| least + (16 * m + CHUNK - least % CHUNK) % CHUNK;
        let row = pitch((w + halo[1]) * PITCH, w);
        let image = pitch((h + halo[0]) * row, h * w);
        Tile {
            images: images as u32,
            rows: Divisor::new(h),
            cols: Divisor::new(w),
            down: rows.div_ceil(h) as u32,
            across: cols.div_ceil(w) as u32,
            row_pitch: row as u32,
            image_pitch: image as u32,
        }
    }

    /// The same tile without a gap after a row or an image: pixel m is at `m * PITCH`.
    pub fn dense(&self) -> Tile {
        let row = self.cols.by * PITCH as u32;
        Tile { row_pitch: row, image_pitch: self.rows.by * row, ..*self }
    }

    /// Tiles of `capacity` images.
    pub fn count(&self, capacity: usize) -> usize {
        let (images, tiles) = self.group();
        capacity.div_ceil(images) * tiles
    }

    /// Images that have tiles together, and how many tiles.
    pub fn group(&self) -> (usize, usize) {
        (self.images as usize, (self.down * self.across) as usize)
    }

    /// Bytes of a patch in shared memory.
    pub fn patch_bytes(&self) -> usize {
        (self.images * self.image_pitch) as usize
    }

    /// Byte offset in a patch of the pixel `down` rows below and `right` columns beside the first.
    pub fn offset(&self, down: usize, right: usize) -> u32 {
        down as u32 * self.row_pitch + right as u32 * PITCH as u32
    }

    /// Pixels of a patch that has `halo` rows and columns more than the tile.
    pub fn pixels(&self, halo: [usize; 2]) -> usize {
        self.images as usize * (self.rows.by as usize + halo[0]) * (self.cols.by as usize + halo[1])
    }
}

/// The input pixels under a tile: a grid of every `step`-th pixel in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Patch {
    pixel: u32,
    h: i32,
    w: i32,
    step: i32,
    y: i32,
    x: i32,
    rows: Divisor,
    cols: Divisor,
}

impl Patch {
    /// The patch of the tile `t` in a map of `[h, w]` pixels of `pixel` bytes: `halo` rows and columns more than the tile,
    /// from input pixel `at` on for the tile at output pixel (0, 0). None if it is too wide for the kernels' table.
    pub fn new(
        t: &Tile,
        pixel: usize,
        [h, w]: [usize; 2],
        step: usize,
        at: [isize; 2],
        halo: [usize; 2],
    ) -> Option<Patch> {
        let (rows, cols) = (t.rows.by as usize + halo[0], t.cols.by as usize + halo[1]);
        let reach = if t.images > 1 { t.images as usize * h * w } else { (rows * step).min(h) * w };
        (reach <= REACH).then(|| Patch {
            pixel: pixel as u32,
            h: h as i32,
            w: w as i32,
            step: step as i32,
            y: at[0] as i32,
            x: at[1] as i32,
            rows: Divisor::new(rows),
            cols: Divisor::new(cols),
        })
    }
}
