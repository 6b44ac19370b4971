//! Every op against a naive f64 oracle, and the engine against what docs/method.md promises of it. One binary, so that it is linked
//! once; `common` holds the helpers, `naive` the f64 network.

mod attack;
mod common;
mod evaluation;
mod fab;
mod gradients;
mod head;
mod load_start;
mod mine;
mod naive;
mod norm;
mod pair;
mod refill;
mod square;
mod state;
mod training;
mod update_account;
