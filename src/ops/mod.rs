//! The operations that a program is made of, a folder each: formula, shapes, preconditions and what it touches in `mod.rs`, the
//! CPU implementation in `cpu.rs`, the launcher of its CUDA kernels (`kernels/<op>*.cu`) in `gpu.rs`.
//!
//! An operation is a struct of its operands that implements [`Operation`], [`CpuOp`] and [`GpuOp`], a line `mod` below, and its
//! place in the list at the end of this file, which makes [`Op`] and all that is done for every operation.

pub mod apgd;
pub mod ball;
pub mod compact;
pub mod conv;
pub mod fab;
pub mod formula;
pub mod freeze;
pub mod head;
pub mod load;
pub mod norm;
pub mod pgd_step;
pub mod prepare_filter;
pub mod refill;
pub mod select;
pub mod square;
pub mod start;
pub mod statistics;
pub mod stem;
pub mod target_class;
pub mod two_pass;
pub mod update;
pub mod weigh;

use crate::cpu::context::CpuOp;
use crate::gpu::launches::GpuOp;
use crate::program::Operation;

/// A program of the operations that there are.
pub type Program = crate::program::Program<Op>;

/// Makes [`Op`] of `module: Operation, Operation; ..`.
macro_rules! operations {
    ($($module:ident: $($op:ident),+;)+) => {
        /// One operation of a program.
        #[derive(Clone, Debug)]
        #[allow(missing_docs)] // each is documented at its type
        pub enum Op {
            $($($op($module::$op),)+)+
        }

        impl Op {
            /// What planners must know of it.
            pub fn operation(&self) -> &dyn Operation {
                match self {
                    $($(Op::$op(op) => op,)+)+
                }
            }

            /// Its CPU implementation.
            pub fn cpu(&self) -> &dyn CpuOp {
                match self {
                    $($(Op::$op(op) => op,)+)+
                }
            }

            /// Its launcher on a GPU.
            pub fn gpu(&self) -> &dyn GpuOp {
                match self {
                    $($(Op::$op(op) => op,)+)+
                }
            }
        }

        $($(
            impl From<$module::$op> for Op {
                fn from(op: $module::$op) -> Op {
                    Op::$op(op)
                }
            }
        )+)+
    };
}

operations! {
    load: Load;
    start: Start;
    square: Square;
    fab: FabStep, FabBack;
    norm: Fold, NormFprop, NormBprop;
    prepare_filter: PrepareFilter;
    stem: StemFprop, StemDgrad, StemWgrad;
    conv: ConvFprop, ConvDgrad, ConvWgrad;
    head: HeadFprop, HeadDgrad, HeadWgrad;
    pgd_step: PgdStep;
    select: Select;
    compact: Compact;
    freeze: Freeze, Thaw;
    weigh: Weigh;
    two_pass: TwoPassLoss;
    refill: Refill;
    target_class: TargetClass;
    apgd: Apgd;
    update: Update;
    statistics: CountPass, CountBatch;
}
