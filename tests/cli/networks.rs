//! Small networks that other programs read.

use ham_engine::net::state::Weights;
use ham_engine::net::{Arch, Family, Net};
use ham_engine::ops::stem::Normalisation;
use ham_engine::program::Shape;

/// A network of each family, with and without a normalisation, with random weights and statistics.
pub fn networks() -> Vec<(Arch, Weights)> {
    let normalisation = Some(Normalisation { mean: vec![0.4, 0.5, 0.3], std: vec![0.25, 0.2, 0.3] });
    let image = Shape { c: 3, h: 10, w: 9 };
    let (widths, blocks) = (vec![8, 12], vec![1, 2]);
    let plain = Arch { family: Family::PreActResNet, image, classes: 5, widths, blocks, normalisation: None };
    let wide = Arch { family: Family::WideResNet { stem: 4 }, normalisation, ..plain.clone() };
    let weights = |arch: &Arch| {
        let net = Net::new(arch.clone());
        let mut weights = Weights::init(&net, 3);
        // Neither ones nor zeros, and variances that are positive.
        let vary = |v: &mut f32, i: usize| *v += 0.1 * (i as f32 * 0.7).sin() + 0.05;
        weights.params.iter_mut().enumerate().for_each(|(i, v)| vary(v, i));
        weights.running.iter_mut().enumerate().for_each(|(i, v)| *v = v.abs() + 0.3 + 0.2 * (i as f32).cos());
        weights
    };
    [plain, wide].into_iter().map(|arch| (arch.clone(), weights(&arch))).collect()
}
