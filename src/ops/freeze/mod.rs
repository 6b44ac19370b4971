//! Freezing: examples whose attack is over leave the live set with their adversarial image put aside, and are back for training.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::program::{Extent, Operation, Shape, Uses, Values};

/// Puts adversarial images aside, to `frozen` by position: those of the live examples that are not kept, or of `all` live ones.
#[derive(Clone, Debug)]
pub struct Freeze {
    /// Shape of an image.
    pub image: Shape,
    /// The batch.
    pub batch: Batch,
    /// Whether those of the kept ones too.
    pub all: bool,
}

/// Makes every loaded example live again, each in the slot of its position, as `frozen` has their images. `x` and `x_adv` are
/// not put back.
#[derive(Clone, Debug)]
pub struct Thaw {
    /// The batch.
    pub batch: Batch,
}

impl Operation for Freeze {
    fn name(&self) -> &'static str {
        "freeze"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("frozen = x_adv of {}", if self.all { "all live" } else { "those not kept" })
    }
}

impl Operation for Thaw {
    fn name(&self) -> &'static str {
        "thaw"
    }

    fn extent(&self) -> Extent {
        Extent::Live
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        "live = loaded".into()
    }
}
