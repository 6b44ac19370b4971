//! What a policy computes of each example: a formula as data, which every backend evaluates.
//!
//! ```
//! use ham_engine::ops::formula::{Formula, crossed, kappa, tanh};
//! // Keep who has crossed; GAIRAT's weight for ten steps.
//! let keep: Formula = crossed();
//! let weight = (1.0 + tanh(-1.0 + 5.0 * (5.0 - kappa()) / 5.0)) / 2.0;
//! # assert!(!weight.uses_step());
//! ```
//! Values are f32; a comparison is 1 or 0, and so is `and`, `or` and `not` of such.

pub(in crate::ops) mod cpu;
pub(in crate::ops) mod gpu;

use crate::{Error, Result};
use std::fmt;
use std::ops::{Add, Div, Mul, Not, Sub};

/// Instructions that a formula may have.
pub const LONGEST: usize = 32;
/// Values that it may have under way at a time.
pub const DEEPEST: usize = 8;

/// A step of a formula in postfix form: pushes a value, or takes one or two and pushes what they give.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Code {
    Number(f32),
    Crossed,
    Kappa,
    Confidence,
    Loss,
    Step,
    Label,
    Position,
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Less,
    Tanh,
}

/// Numbers of the codes in kernels.
mod opcode {
    pub const NUMBER: u32 = 0;
    pub const CROSSED: u32 = 1;
    pub const KAPPA: u32 = 2;
    pub const CONFIDENCE: u32 = 3;
    pub const LOSS: u32 = 4;
    pub const STEP: u32 = 5;
    pub const LABEL: u32 = 6;
    pub const POSITION: u32 = 7;
    pub const ADD: u32 = 8;
    pub const SUB: u32 = 9;
    pub const MUL: u32 = 10;
    pub const DIV: u32 = 11;
    pub const MAX: u32 = 12;
    pub const LESS: u32 = 13;
    pub const TANH: u32 = 14;
}

impl Code {
    /// Its [`opcode`], and its constant.
    fn encode(self) -> (u32, f32) {
        let number = match self {
            Code::Number(v) => return (opcode::NUMBER, v),
            Code::Crossed => opcode::CROSSED,
            Code::Kappa => opcode::KAPPA,
            Code::Confidence => opcode::CONFIDENCE,
            Code::Loss => opcode::LOSS,
            Code::Step => opcode::STEP,
            Code::Label => opcode::LABEL,
            Code::Position => opcode::POSITION,
            Code::Add => opcode::ADD,
            Code::Sub => opcode::SUB,
            Code::Mul => opcode::MUL,
            Code::Div => opcode::DIV,
            Code::Max => opcode::MAX,
            Code::Less => opcode::LESS,
            Code::Tanh => opcode::TANH,
        };
        (number, 0.0)
    }

    /// Values that it takes.
    fn takes(self) -> usize {
        match self {
            Code::Add | Code::Sub | Code::Mul | Code::Div | Code::Max | Code::Less => 2,
            Code::Tanh => 1,
            Code::Number(_)
            | Code::Crossed
            | Code::Kappa
            | Code::Confidence
            | Code::Loss
            | Code::Step
            | Code::Label
            | Code::Position => 0,
        }
    }
}

/// A function of an example's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula(Vec<Code>);

/// 1 where the last forward pass misclassified the example, else 0.
pub fn crossed() -> Formula {
    Formula(vec![Code::Crossed])
}

/// How many of the attack's iterates so far were classified correctly.
pub fn kappa() -> Formula {
    Formula(vec![Code::Kappa])
}

/// The probability of the true class in the last forward pass.
pub fn confidence() -> Formula {
    Formula(vec![Code::Confidence])
}

/// The cross-entropy of the last forward pass.
pub fn loss() -> Formula {
    Formula(vec![Code::Loss])
}

/// The largest move of the output probabilities so far, in L1. Where a formula asks for it, the attack measures it.
pub fn step() -> Formula {
    Formula(vec![Code::Step])
}

/// The class.
pub fn label() -> Formula {
    Formula(vec![Code::Label])
}

/// The example's place in the mini-batch as it was loaded, from 0.
pub fn position() -> Formula {
    Formula(vec![Code::Position])
}

/// The hyperbolic tangent.
pub fn tanh(f: Formula) -> Formula {
    f.then(Code::Tanh)
}

impl Formula {
    fn then(mut self, code: Code) -> Formula {
        self.0.push(code);
        self
    }

    fn with(mut self, other: Formula, code: Code) -> Formula {
        self.0.extend(other.0);
        self.then(code)
    }

    /// The larger of both; `self` where `other` is not a number.
    pub fn max(self, other: impl Into<Formula>) -> Formula {
        self.with(other.into(), Code::Max)
    }

    /// 1 where `self < other`, else 0.
    pub fn less(self, other: impl Into<Formula>) -> Formula {
        self.with(other.into(), Code::Less)
    }

    /// 1 where `self > other`, else 0.
    pub fn more(self, other: impl Into<Formula>) -> Formula {
        other.into().with(self, Code::Less)
    }

    /// Of two conditions: 1 where both hold.
    pub fn and(self, other: Formula) -> Formula {
        self * other
    }

    /// Of two conditions: 1 where one holds.
    pub fn or(self, other: Formula) -> Formula {
        self.max(other)
    }

    /// Whether it asks for [`step`], which an attack must measure.
    pub fn uses_step(&self) -> bool {
        self.0.contains(&Code::Step)
    }

    fn code(&self) -> &[Code] {
        &self.0
    }

    /// Checks what backends take for granted.
    ///
    /// # Errors
    /// If it is longer or deeper than they can evaluate.
    pub(crate) fn validate(&self) -> Result<()> {
        let mut depth = 0;
        let deepest = self.0.iter().map(|code| {
            depth = depth + 1 - code.takes();
            depth
        });
        let (deepest, len) = (deepest.max().unwrap_or(0), self.0.len());
        if len > LONGEST || deepest > DEEPEST {
            let what = format!(
                "a formula of {len} instructions and {deepest} values at a time: at most {LONGEST} and {DEEPEST}"
            );
            return Err(Error::Op { op: "formula", what });
        }
        Ok(())
    }
}

impl fmt::Display for Formula {
    /// As it is written, conditions as the numbers that they are.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut stack: Vec<String> = Vec::new();
        for code in &self.0 {
            let args = stack.split_off(stack.len() - code.takes());
            let infix = |operator: &str| format!("({} {operator} {})", args[0], args[1]);
            stack.push(match code {
                Code::Number(v) => v.to_string(),
                Code::Crossed => "crossed".into(),
                Code::Kappa => "kappa".into(),
                Code::Confidence => "confidence".into(),
                Code::Loss => "loss".into(),
                Code::Step => "step".into(),
                Code::Label => "label".into(),
                Code::Position => "position".into(),
                Code::Add => infix("+"),
                Code::Sub => infix("-"),
                Code::Mul => infix("*"),
                Code::Div => infix("/"),
                Code::Less => infix("<"),
                Code::Max => format!("max({}, {})", args[0], args[1]),
                Code::Tanh => format!("tanh({})", args[0]),
            });
        }
        let text = stack.pop().unwrap_or_default();
        f.write_str(text.strip_prefix('(').and_then(|t| t.strip_suffix(')')).unwrap_or(&text))
    }
}

impl From<f32> for Formula {
    fn from(v: f32) -> Formula {
        Formula(vec![Code::Number(v)])
    }
}

impl Not for Formula {
    type Output = Formula;
    /// Of a condition: 1 where it does not hold.
    fn not(self) -> Formula {
        1.0 - self
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $code:expr) => {
        impl<F: Into<Formula>> $trait<F> for Formula {
            type Output = Formula;
            fn $method(self, other: F) -> Formula {
                self.with(other.into(), $code)
            }
        }

        impl $trait<Formula> for f32 {
            type Output = Formula;
            fn $method(self, other: Formula) -> Formula {
                Formula::from(self).with(other, $code)
            }
        }
    };
}

operator!(Add, add, Code::Add);
operator!(Sub, sub, Code::Sub);
operator!(Mul, mul, Code::Mul);
operator!(Div, div, Code::Div);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_beyond_what_a_kernel_takes_is_refused() {
        let sum = |n: usize| (1..n).fold(kappa(), |sum, _| sum + 1.0);
        assert!(sum(16).validate().is_ok());
        assert!(sum(17).validate().unwrap_err().to_string().contains("33 instructions"));
        let nest = |n: usize| (1..n).fold(kappa(), |inner, _| 1.0 + inner);
        assert!(nest(8).validate().is_ok());
        assert!(nest(9).validate().unwrap_err().to_string().contains("9 values"));
    }
}
