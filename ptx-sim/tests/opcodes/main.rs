//! Each opcode on edge values against oracles that share nothing with the crate: integers in i128, floats in exact
//! arithmetic, approximations within the manual's error.

mod exact;
mod floats;
mod harness;
mod ints;

use harness::{Spec, check, expand};
use std::collections::BTreeSet;

fn spec(name: &str) -> Option<Spec> {
    floats::spec(name).or_else(|| ints::spec(name))
}

fn manual(lists: &[&[&str]]) -> BTreeSet<String> {
    lists.concat().iter().flat_map(|p| expand(p)).collect()
}

/// Runs every name of the manual's grammar.
fn run(lists: &[&[&str]]) {
    for name in manual(lists) {
        check(&spec(&name).unwrap_or_else(|| panic!("no cases for {name}")));
    }
}

#[test]
fn integers() {
    run(&[ints::MANUAL]);
}

#[test]
fn floats_are_rounded_exactly() {
    run(&[floats::MANUAL]);
}
