//! Every op against a naive f64 oracle, and the engine against what docs/method.md promises of it. One binary, so that it is linked
//! once; `common` holds the helpers, `naive` the f64 network.
mod attack;
mod common;
mod compact;
mod evaluation;
mod fab;
mod formula;
mod freeze;
mod gradients;
mod head;
mod load;
mod naive;
mod norm;
mod refill;
mod select;
mod square;
mod start;
mod state;
mod statistics;
mod training;
mod two_pass;
mod update;
mod weigh;
