//! Which tile a convolution takes: by a table, `tiles.txt`, that `ham-engine kernels tiles` makes.
//!
//! A line is a convolution and the fastest tile for each size of the batch. A convolution that isn't there takes the tile of the
//! one most like it. That is, of its precision and pass, the one with its stride; of those with its filter; of those with the
//! nearest number of output channels; then of output pixels of the batch; then with a shortcut or without, as it is; then with
//! the nearest number of input channels. Numbers are near by their ratio. If the tile doesn't fit (its patches shared memory, or
//! its channels the filter), the next one's is taken, and if none of them fits the largest of all that does.

use crate::gpu::Precision;
use crate::program::Pass;
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::LazyLock;

/// A tile: output pixels and channels of a block of `conv_walk_{pixels}x{channels}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileSize {
    /// Output pixels, at most.
    pub pixels: usize,
    /// Output channels.
    pub channels: usize,
}

/// A kernel: `conv_walk_{size}`, and with moments `conv_walk_moments_{size}`.
pub struct Kernel {
    /// Its tile.
    pub size: TileSize,
    /// Threads of a block.
    pub threads: usize,
    /// Filter tiles in shared memory.
    pub stages: usize,
}

const fn kernel(pixels: usize, channels: usize, threads: usize, stages: usize) -> Kernel {
    Kernel { size: TileSize { pixels, channels }, threads, stages }
}

/// The largest first.
const BF16: &[Kernel] = &[
    kernel(256, 128, 256, 2),
    kernel(128, 128, 128, 2),
    kernel(256, 64, 128, 3),
    kernel(128, 64, 128, 3),
    kernel(128, 32, 128, 3),
    kernel(128, 16, 128, 3),
];

const F32: &[Kernel] = &[kernel(128, 64, 128, 3), kernel(128, 32, 128, 3), kernel(128, 16, 128, 3)];

/// The kernels that there are.
pub fn kernels(precision: Precision) -> &'static [Kernel] {
    match precision {
        Precision::Fp32 => F32,
        Precision::Bf16 => BF16,
    }
}

/// The tiles that there are.
pub fn sizes(precision: Precision) -> Vec<TileSize> {
    kernels(precision).iter().map(|k| k.size).collect()
}

/// What a tile is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Element type of the maps.
    pub precision: Precision,
    /// The pass.
    pub pass: Pass,
    /// Filter height and width.
    pub filter: usize,
    /// Stride.
    pub stride: usize,
    /// Whether a 1x1 convolution rides in the sum.
    pub shortcut: bool,
    /// Channels of what it reads and of what it makes.
    pub channels: [usize; 2],
    /// Height and width of what it makes.
    pub size: [usize; 2],
    /// Slots of the batch.
    pub batch: usize,
}

/// A line of the table: problems that differ in the batch, with the tile of each.
pub type Row = Vec<(Problem, TileSize)>;

impl fmt::Display for TileSize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}x{}", self.pixels, self.channels)
    }
}

impl FromStr for TileSize {
    type Err = ();

    fn from_str(s: &str) -> Result<TileSize, ()> {
        let [pixels, channels] = pair(s, 'x').ok_or(())?;
        Ok(TileSize { pixels, channels })
    }
}

impl fmt::Display for Problem {
    /// Without the batch, as a line of the table starts.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Problem { filter, stride, channels: [from, to], size: [h, w], .. } = self;
        let pass = if self.pass == Pass::Fprop { "fprop" } else { "dgrad" };
        let shortcut = if self.shortcut { "+1x1" } else { "" };
        write!(f, "{:<4} {pass} {filter}x{filter}/{stride}{shortcut:<4} ", self.precision.suffix())?;
        write!(f, "{:<7} {:<5}", format!("{from}>{to}"), format!("{h}x{w}"))
    }
}

fn pair(s: &str, between: char) -> Option<[usize; 2]> {
    let (a, b) = s.split_once(between)?;
    Some([a.parse().ok()?, b.parse().ok()?])
}

/// The problem that a line starts with, for a batch of none.
fn problem(fields: [&str; 5]) -> Option<Problem> {
    let [precision, pass, kind, channels, size] = fields;
    let (kind, shortcut) = kind.strip_suffix("+1x1").map_or((kind, false), |kind| (kind, true));
    let (filter, stride) = kind.split_once('/')?;
    let [filter, same] = pair(filter, 'x')?;
    let precision = [Precision::Fp32, Precision::Bf16].into_iter().find(|p| p.suffix() == precision)?;
    let pass = match pass {
        "fprop" => Pass::Fprop,
        "dgrad" => Pass::Dgrad,
        _ => return None,
    };
    let (stride, channels, size) = (stride.parse().ok()?, pair(channels, '>')?, pair(size, 'x')?);
    (filter == same).then_some(Problem { precision, pass, filter, stride, shortcut, channels, size, batch: 0 })
}

/// Reads a table.
///
/// # Errors
/// The line that isn't as [`write()`] writes it.
pub fn read(text: &str) -> Result<Vec<Row>, String> {
    let (mut batches, mut lines) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
        let wrong = || format!("not a line of the table of tiles: {line}");
        let mut fields = line.split_whitespace();
        if line.starts_with("batch") {
            batches = fields.skip(1).map(|n| n.parse::<usize>().map_err(|_| wrong())).collect::<Result<_, _>>()?;
            continue;
        }
        let first = [(); 5].map(|()| fields.next().unwrap_or_default());
        let problem = problem(first).ok_or_else(wrong)?;
        let tiles = fields.map(|f| f.parse().map_err(|()| wrong())).collect::<Result<Vec<TileSize>, _>>()?;
        if tiles.len() != batches.len() || tiles.is_empty() {
            return Err(wrong());
        }
        lines.push(
            batches.iter().zip(tiles).map(|(batch, tile)| (Problem { batch: *batch, ..problem }, tile)).collect(),
        );
    }
    Ok(lines)
}

/// The text of a table, which says first what made it.
pub fn write(made_by: &str, lines: &[Row]) -> String {
    let mut text = format!("# {made_by}\n");
    text += "# A line: precision, pass, filter/stride (and a shortcut in the sum), input>output channels, height and width of\n";
    text += "# the output, and for each size of the batch the fastest tile, pixels x channels. src/gpu/tiles.rs says\n";
    text += "# what others take.\n";
    for (i, line) in lines.iter().enumerate() {
        if i == 0 {
            let sizes = line.iter().map(|(p, _)| format!(" {:<7}", p.batch)).collect::<String>();
            let _ = writeln!(text, "{}", format!("{:<37}{sizes}", "batch").trim_end());
        }
        let tiles = line.iter().map(|(_, tile)| format!(" {:<7}", tile.to_string())).collect::<String>();
        let _ = writeln!(text, "{}", format!("{:<37}{tiles}", line[0].0.to_string()).trim_end());
    }
    text
}

/// The table that the launcher goes by.
pub static TABLE: LazyLock<Vec<Row>> =
    LazyLock::new(|| read(include_str!("tiles.txt")).expect("a test reads the committed table"));

/// How far apart two numbers are, by their ratio.
fn apart(a: usize, b: usize) -> u64 {
    (((a as f64).ln() - (b as f64).ln()).abs() * 1e6) as u64
}

/// Tiles that are worth a try, the best first.
pub fn ranked(wanted: &Problem) -> Vec<TileSize> {
    let pixels = |p: &Problem| p.size[0] * p.size[1] * p.batch;
    let distance = |p: &Problem| {
        (
            [p.stride != wanted.stride, p.filter != wanted.filter],
            [apart(p.channels[1], wanted.channels[1]), apart(pixels(p), pixels(wanted))],
            p.shortcut != wanted.shortcut,
            apart(p.channels[0], wanted.channels[0]),
        )
    };
    let same = |p: &Problem| (p.precision, p.pass) == (wanted.precision, wanted.pass);
    let mut entries: Vec<_> = TABLE.iter().flatten().filter(|(p, _)| same(p)).collect();
    entries.sort_by_cached_key(|(p, _)| distance(p));
    let mut tiles = Vec::new();
    for (_, tile) in entries {
        if !tiles.contains(tile) {
            tiles.push(*tile);
        }
    }
    tiles
}
