//! Figures as SVG: [`write_curves`] over the epochs of a run, [`write_classes`] for the classes of an evaluation,
//! [`write_figures`] for a comparison of methods. The page's figures are made of the same parts.

pub(super) mod bars;
pub(super) mod canvas;
mod class_lines;
mod classes;
mod comparison;
mod cost;
pub(super) mod curves;
pub(super) mod heat;
pub(super) mod lines;
mod live;
pub(super) mod look;
pub(super) mod plane;
mod tradeoff;

pub use classes::write_classes;
pub use comparison::write_figures;
pub use curves::write_curves;

use crate::Result;
use crate::fsio::write_atomic;
use std::path::Path;

/// Writes a figure in one step.
fn write_svg(path: &Path, svg: String) -> Result<()> {
    write_atomic(path, |out| out.write_all(svg.as_bytes()))
}
