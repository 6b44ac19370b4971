use super::{SubjectArgs, dram, wavefronts};
use crate::cli::say;
use crate::perf::profile::{Profile, Profiled};
use crate::perf::ptxas::{ARCHITECTURES, assemble};
use crate::{Error, Result};
use serde::Serialize;

impl SubjectArgs {
    pub(super) fn check(&self) -> Result<()> {
        let [pgd_at, ham] = self.profiles()?;
        let mut aims = aims(&pgd_at, &ham, self.epoch(&pgd_at), self.epoch(&ham));
        aims.insert(0, spills()?);
        let missed = aims.iter().filter(|a| !a.reached).count();
        if self.json {
            say(serde_json::to_string(&aims).expect("plain data"));
        } else {
            for a in &aims {
                say(format!("{} {:<66} {}", if a.reached { "ok    " } else { "MISSED" }, a.aim, a.found));
            }
            say(self.summary(&pgd_at, &ham));
        }
        match missed {
            0 => Ok(()),
            n => Err(Error::Device { what: format!("kernels check: {n} of {} aims missed", aims.len()) }),
        }
    }
}

/// What good kernels reach, and what these do.
#[derive(Serialize)]
struct Aim {
    aim: &'static str,
    found: String,
    reached: bool,
}

/// That no kernel spills, on any architecture.
fn spills() -> Result<Aim> {
    let mut spilled = Vec::new();
    for arch in ARCHITECTURES {
        let kernels = assemble(arch)?.into_iter().filter(|a| a.stack + a.spills > 0);
        spilled.extend(kernels.map(|a| format!("{} on {arch}", a.kernel)));
    }
    let found = if spilled.is_empty() { format!("none on {}", ARCHITECTURES.join(", ")) } else { spilled.join(", ") };
    Ok(Aim { aim: "no spills and no stack", found, reached: spilled.is_empty() })
}

fn aims(pgd_at: &Profile, ham: &Profile, pgd_epoch: f64, ham_epoch: f64) -> Vec<Aim> {
    let all = || pgd_at.launches.iter().chain(&ham.launches);
    let aim = |aim, found: String, reached| Aim { aim, found, reached };
    // The worst of all launches by a ratio, of those that matter: a thousandth of the mini-batch's time or more.
    let whole = pgd_at.seconds().sum();
    let worst = |ratio: &dyn Fn(&Profiled) -> Option<f64>| {
        let rated = all().filter(|l| l.launches() as f64 * l.seconds() >= 1e-3 * whole);
        let rated = rated.filter_map(|l| Some((ratio(l)?, l)));
        let (r, l) = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
        Some((r, format!("{r:.3} ({} {})", l.kernel, l.shape)))
    };
    let ratio = |text, limit: f64, of: &dyn Fn(&Profiled) -> Option<f64>| match worst(of) {
        Some((r, found)) => aim(text, found, r <= limit),
        None => aim(text, "–".into(), true),
    };
    let local = all().map(|l| l.counters.local_bytes).sum::<u64>();
    let share = pgd_at.total(|c| c.mma_flops) as f64 / pgd_at.flops;
    vec![
        aim("no local memory", format!("{local} bytes touched"), local == 0),
        ratio("convolutions: shared wavefronts over the minimum, at most 1.02", 1.02, &|l| {
            let c = &l.counters;
            (c.mma_instructions > 0).then(|| wavefronts(c) as f64 / c.shared_ideal_wavefronts as f64)
        }),
        ratio("global sectors over the bytes asked for, at most 1.05", 1.05, &|l| {
            let c = &l.counters;
            let asked = c.global_load_bytes + c.global_store_bytes;
            (asked > 0).then(|| 32.0 * (c.global_load_sectors + c.global_store_sectors) as f64 / asked as f64)
        }),
        // With all slots live a convolution's operands are whole allocations, to be read and written once.
        ratio("convolutions: DRAM bytes over inputs and outputs once, at most 1.10", 1.10, &|l| {
            let whole = l.kernel.starts_with("conv_walk") && !l.compacted;
            whole.then(|| dram(&l.counters) as f64 / (l.operands.inputs + l.operands.outputs) as f64)
        }),
        aim("mma FLOPs over the convolutions' FLOPs, at most 1.10", format!("{share:.3}"), share <= 1.10),
        aim("launches of an attack step, at most 36", pgd_at.step_launches.to_string(), pgd_at.step_launches <= 36),
        aim("predicted PGD-AT epoch, at most 3.5 s", format!("{pgd_epoch:.2} s"), pgd_epoch <= 3.5),
        aim("predicted HAM epoch, at most 2.4 s", format!("{ham_epoch:.2} s"), ham_epoch <= 2.4),
    ]
}
