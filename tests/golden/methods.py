"""Makes tests/golden/NAME.methods.{json,safetensors}: each method's attack and training step in float64 PyTorch.

    benches/peer/setup.sh                                       # once
    .peer/bin/python tests/golden/methods.py                    # writes the files
    .peer/bin/python tests/golden/methods.py --check            # compares with the files that are there

They follow from NAME.json, NAME.net.safetensors and NAME.batch.safetensors. What the script computes without a random start
must agree with NAME.expect.safetensors, or it stops. It also prints for how many pixels of the adversarial examples float32
comes to another result: the sign of a gradient near zero decides there, and no implementation can be held to it.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent.parent / "benches" / "peer"))
from net import PreActResNet

# What is chosen here rather than in NAME.json; written to NAME.methods.json.
SETTINGS = {
    "seed": 1,
    "epoch": 1,
    "sigma": 0.01,
    "fgsm_rs_alpha_of_eps": 1.25,
    "beta": {"trades": 6.0, "mart": 5.0, "ham_trades": 6.0},
    "tau": {"fat_0": 0, "fat_1": 1},
}
ATTACK_STREAM = 3


def philox(counter, key):
    """Philox4x32-10 (Salmon et al., SC 2011). counter: four u32 arrays, key: two u32; returns four u32 arrays."""
    low = np.uint64(0xFFFF_FFFF)
    c = [np.asarray(word, np.uint64) for word in counter]
    k = list(key)
    for _ in range(10):
        a, b = np.uint64(0xD251_1F53) * c[0], np.uint64(0xCD9E_8D57) * c[2]
        high_a, high_b = a >> np.uint64(32), b >> np.uint64(32)
        c = [high_b ^ c[1] ^ np.uint64(k[0]), b & low, high_a ^ c[3] ^ np.uint64(k[1]), a & low]
        k = [(k[0] + 0x9E37_79B9) & 0xFFFF_FFFF, (k[1] + 0xBB67_AE85) & 0xFFFF_FFFF]
    return np.stack(c).astype(np.uint32)


# The known answer that the Random123 library publishes.
assert philox([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]).tolist() == [
    0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1,
]  # fmt: skip


def random_words(shape):
    """A u32 for every element of the images [N,C,H,W]: element 4i+j of a flattened image takes word j of block i."""
    n, length = shape[0], int(np.prod(shape[1:]))
    sample, position = np.meshgrid(np.arange(n), np.arange(-(-length // 4)), indexing="ij")
    seed, epoch = SETTINGS["seed"], np.full(sample.shape, SETTINGS["epoch"])
    counter = [position, sample, epoch, np.full(sample.shape, ATTACK_STREAM)]
    words = philox(counter, [seed & 0xFFFF_FFFF, seed >> 32])
    return np.moveaxis(words, 0, -1).reshape(n, -1), length


def uniform(words):
    """[0, 1) with 24 bits, exact in float32."""
    return (words >> 8).astype(np.float32) * np.float32(2.0**-24)


def uniform_start(images, eps):
    """x_0 = clamp(x + eps*(2u - 1), 0, 1), all in float32."""
    words, length = random_words(images.shape)
    u = uniform(words)[:, :length].reshape(images.shape)
    noise = np.float32(eps) * (np.float32(2.0) * u - np.float32(1.0))
    return torch.from_numpy(np.clip(images.numpy() + noise, np.float32(0.0), np.float32(1.0)))


def normal_start(images, sigma):
    """x_0 = x + sigma*n, not clamped, rounded to float32. Box-Muller in float64: words (a, b) = (0, 1) and (2, 3) of a block
    give n = sqrt(-2 ln(1 - u_a)) * (cos, sin)(2 pi u_b)."""
    words, length = random_words(images.shape)
    u = uniform(words).astype(np.float64).reshape(len(words), -1, 2)
    radius, angle = np.sqrt(-2.0 * np.log(1.0 - u[..., 0])), 2.0 * np.pi * u[..., 1]
    n = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(len(words), -1)
    n = n[:, :length].reshape(images.shape)
    return torch.from_numpy((images.numpy().astype(np.float64) + sigma * n).astype(np.float32))


def kl(p, q_logits):
    """KL(p || q) of each row, p given as logits too."""
    log_p, log_q = F.log_softmax(p, 1), F.log_softmax(q_logits, 1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


class Case:
    """The network, the batch and the settings of NAME, in one precision."""

    def __init__(self, spec, state, images, labels, dtype):
        self.spec, self.state, self.images, self.y, self.dtype = spec, state, images, labels, dtype
        self.x = images.to(dtype)

    @classmethod
    def load(cls, name, dtype):
        batch = load_file(FOLDER / f"{name}.batch.safetensors")
        state = load_file(FOLDER / f"{name}.net.safetensors")
        spec = json.loads((FOLDER / f"{name}.json").read_text())
        return cls(spec, state, batch["images"], batch["labels"], dtype)

    def net(self):
        s = self.spec
        blocks = [s["blocks"]] * len(s["widths"])
        net = PreActResNet(s["channels"], s["classes"], s["widths"], blocks, s["mean"], s["std"])
        # The normalisation is of the settings.
        missing, unknown = net.load_state_dict(self.state, strict=False)
        assert not unknown and set(missing) <= {"mean", "std"}
        return net.to(self.dtype)


@dataclass
class Attacked:
    x_adv: torch.Tensor  # [N], also of those that left
    kept: torch.Tensor  # indices of the trained examples
    kappa: torch.Tensor
    step_size: torch.Tensor


def attack(case, start, loss, steps, alpha, k_drop=None, tau=None):
    """x_{k+1} = clamp(clamp(x_k + alpha*sign(g), x-eps, x+eps), 0, 1), in eval mode.

    loss(z, clean logits, y) of each example is ascended. Before the step from x_{k_drop} those classified correctly are
    dropped; before any step those are frozen that are misclassified, and have been so at more than tau iterates.
    """
    net, eps, n = case.net().eval(), case.spec["eps"], len(case.y)
    x_adv = start.to(case.dtype).clone()
    with torch.no_grad():
        clean = net(case.x)
    p_last = clean.softmax(1)
    p_clean = p_last.clone()
    kappa, wrong = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64)
    step_size = torch.zeros(n, dtype=case.dtype)
    live, kept = torch.ones(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)
    for k in range(steps + 1):
        x = x_adv[live].requires_grad_()
        logits = net(x)
        p = logits.detach().softmax(1)
        # From the clean image for x_0, from the iterate before for the others.
        move = (p - (p_clean[live] if k == 0 else p_last[live])).abs().sum(1)
        step_size[live] = torch.maximum(step_size[live], move)
        p_last[live] = p
        if k == steps:
            break
        # argmax takes the lowest of equal classes.
        correct = torch.zeros(n, dtype=torch.bool)
        correct[live] = logits.argmax(1) == case.y[live]
        kappa += correct
        wrong += live & ~correct
        leaves = torch.zeros(n, dtype=torch.bool)
        if k == k_drop:
            leaves = correct
            kept &= ~leaves
        if tau is not None:
            leaves = live & ~correct & (wrong > tau)
        (g,) = torch.autograd.grad(loss(logits, clean[live], case.y[live]).sum(), x)
        moved = x.detach() + alpha * g.sign()
        moved = torch.clamp(moved, case.x[live] - eps, case.x[live] + eps).clamp(0.0, 1.0)
        stepped = x_adv.clone()
        stepped[live] = moved
        live &= ~leaves
        x_adv[live] = stepped[live]
        if not live.any():
            break
    return Attacked(x_adv, kept.nonzero().flatten(), kappa, step_size)


def weights(which, attacked, steps):
    """One weight for each trained example, scaled to a sum of 1."""
    if which == "uniform":
        w = torch.ones(len(attacked.kept), dtype=torch.float64)
    elif which == "step_size":
        w = attacked.step_size[attacked.kept].double()
    else:
        half = steps // 2
        w = (1 + torch.tanh(-1 + 5 * (half - attacked.kappa[attacked.kept].double()) / half)) / 2
    return w / w.sum()


def cross_entropy(z, _clean, y):
    return F.cross_entropy(z, y, reduction="none")


def kl_to_clean(z, clean, _y):
    """KL(p(x) || p(x')), p(x) constant."""
    return kl(clean, z)


def trades_loss(z, z_adv, y, beta):
    """CE(z, y) + beta*KL(p || p'), gradient through both."""
    return F.cross_entropy(z, y, reduction="none") + beta * kl(z, z_adv)


def mart_loss(z, z_adv, y, beta):
    """CE(z', y) - log(1.0001 - max_{j != y} p'_j) + beta*KL(p || p')*(1.0000001 - p_y), gradient through everything."""
    others = z_adv.softmax(1).masked_fill(F.one_hot(y, z.shape[1]).bool(), 0.0)
    margin = -torch.log(1.0001 - others.max(1).values)
    p_y = z.softmax(1).gather(1, y[:, None])[:, 0]
    return F.cross_entropy(z_adv, y, reduction="none") + margin + beta * kl(z, z_adv) * (1.0000001 - p_y)


def train(case, x_adv, kept, weight, pair_loss=None):
    """One SGD step in train mode from zero momentum: v = g + wd*w, w -= lr*v, on sum_i weight_i*L_i.

    L is the cross-entropy of x_adv, or pair_loss(z, z', y) of the clean and of the adversarial images, each in its own pass
    (the clean one first, as the running statistics tell).
    """
    s, net = case.spec, case.net().train()
    rates = {key: s[key] for key in ("lr", "momentum", "weight_decay")}
    sgd = torch.optim.SGD(net.parameters(), **rates)
    y = case.y[kept]
    z = net(case.x[kept]) if pair_loss else None
    z_adv = net(x_adv[kept])
    losses = pair_loss(z, z_adv, y) if pair_loss else cross_entropy(z_adv, None, y)
    loss = (weight.to(case.dtype) * losses).sum()
    loss.backward()
    sgd.step()
    own = lambda name: name not in ("mean", "std") and not name.endswith("num_batches_tracked")
    after = {k: v for k, v in net.state_dict().items() if own(k)}
    return loss.detach(), after


METHODS = [
    "standard", "fgsm_rs", "pgd_at", "ham", "ham_step_size", "ham_kappa", "gairat", "fat_0", "fat_1", "trades", "mart",
    "ham_trades",
]  # fmt: skip

CASES = {"plain": METHODS, "crossing": METHODS, "normalised": ["trades", "mart", "ham_trades"]}


def run_attack(case, method):
    s, alpha, steps = case.spec, case.spec["alpha"], case.spec["steps"]
    loss, k_drop = cross_entropy, s["k_drop"] if method.startswith("ham") else None
    if method in ("trades", "mart", "ham_trades"):
        start = normal_start(case.images, SETTINGS["sigma"])
        loss = cross_entropy if method == "mart" else kl_to_clean
    elif method == "standard":
        start, steps = case.images, 0
    else:
        start = uniform_start(case.images, s["eps"])
    if method == "fgsm_rs":
        alpha, steps = SETTINGS["fgsm_rs_alpha_of_eps"] * s["eps"], 1
    return attack(case, start, loss, steps, alpha, k_drop, SETTINGS["tau"].get(method))


def run(case, method):
    """The tensors of one method."""
    a = run_attack(case, method)
    which = {"ham_step_size": "step_size", "ham_kappa": "kappa", "gairat": "kappa"}.get(method, "uniform")
    weight = weights(which, a, case.spec["steps"])
    pair_loss, beta = None, SETTINGS["beta"].get(method)
    if beta is not None:
        formula = mart_loss if method == "mart" else trades_loss
        pair_loss = lambda z, z_adv, y: formula(z, z_adv, y, beta)
    loss, after = train(case, a.x_adv, a.kept, weight, pair_loss)
    return tensors(method, a, weight, loss, after)


def tensors(prefix, a, weight, loss, after):
    out = {"x_adv": a.x_adv[a.kept], "kept": a.kept, "kappa": a.kappa, "weight": weight, "loss": loss.reshape(1)}
    out |= {f"after.{name}": value for name, value in after.items()}
    as_stored = lambda t: t.contiguous() if t.dtype == torch.int64 else t.float().contiguous()
    return {f"{prefix}.{name}": as_stored(t) for name, t in out.items()}


def differing(got, want):
    """How many elements differ by more than rounding to float32 explains."""
    if want.dtype == torch.int64:
        return int((got != want).sum())
    got, want = got.double(), want.double()
    return int(((got - want).abs() > 1e-6 * max(1.0, want.abs().max().item())).sum())


def compare(what, got, want):
    for name in got:
        if differing(got[name], want[name]):
            sys.exit(f"{what}: {name} differs")


def cross_check(name, case):
    """Without random start, pgd_at, ham and ham_step_size are what NAME.expect.safetensors has."""
    s, expect = case.spec, load_file(FOLDER / f"{name}.expect.safetensors")
    for method, k_drop in [("pgd_at", None), ("ham", s["k_drop"]), ("ham_step_size", s["k_drop"])]:
        a = attack(case, case.images, cross_entropy, s["steps"], s["alpha"], k_drop)
        weight = weights("step_size" if method == "ham_step_size" else "uniform", a, s["steps"])
        got = tensors(method, a, weight, *train(case, a.x_adv, a.kept, weight))
        got[f"{method}.step_size"] = a.step_size
        # The expected file has the attack of ham_step_size under ham.
        got = {key: value for key, value in got.items() if key in expect}
        assert f"{method}.loss" in got and f"{method}.after.conv1.weight" in got
        compare(f"{name} without random start", got, expect)


def conditioning(case, case32, method, want):
    """Says how float32 differs: pixels of x_adv, members of the kept, kappas, and the worst update of any tensor."""
    got = {name.removeprefix(f"{method}."): t for name, t in run(case32, method).items()}
    want = {name.removeprefix(f"{method}."): t for name, t in want.items()}
    if not torch.equal(got["kept"], want["kept"]):
        return "others are kept"
    worst = 0.0
    for name in case.net().state_dict():
        if f"after.{name}" in want:
            update = (want[f"after.{name}"].double() - case.state[name]).abs().max()
            error = (got[f"after.{name}"].double() - want[f"after.{name}"]).abs().max()
            worst = max(worst, (error / update).item())
    pixels, kappas = (differing(got[name], want[name]) for name in ("x_adv", "kappa"))
    return f"{pixels} of {want['x_adv'].numel()} pixels, {kappas} kappa, updates off by {worst:.0e} of the largest"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, methods in CASES.items():
        case, case32 = Case.load(name, torch.float64), Case.load(name, torch.float32)
        if (FOLDER / f"{name}.expect.safetensors").exists():
            cross_check(name, case)
        out = {}
        for method in methods:
            got = run(case, method)
            counts = got[f"{method}.kappa"].bincount().tolist()
            print(f"{name} {method}: {len(got[f'{method}.kept'])} of {len(case.y)} trained, how many of each kappa: {counts}")
            print(f"    float32 differs in {conditioning(case, case32, method, got)}", flush=True)
            out |= got
        path, settings = FOLDER / f"{name}.methods.safetensors", FOLDER / f"{name}.methods.json"
        if args.check:
            want = load_file(path)
            assert want.keys() == out.keys() and json.loads(settings.read_text()) == SETTINGS
            compare(name, out, want)
            print(f"{path.name} agrees")
        else:
            save_file(out, path)
            settings.write_text(json.dumps(SETTINGS, indent=1) + "\n")


if __name__ == "__main__":
    main()
