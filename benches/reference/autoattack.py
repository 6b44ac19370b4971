"""Holds `ham-engine eval` against the authors' implementation of AutoAttack, image by image.

    benches/peer/setup.sh
    .peer/bin/python benches/reference/autoattack.py --checkpoint runs/A/last.safetensors --examples 500

Deterministic: Auto-PGD from the image itself instead of a random start, FAB-T. Random: the attacks as they are, whose random
numbers differ. Every attack begins with the images that are classified right. Exit code 1 if an accuracy is off by more than 0.2
points where nothing is random, or 0.5 points where something is.

`--golden FOLDER` makes the cases of the tests, tests/golden/autoattack.*: a tiny network, and which images the deterministic attacks
of the reference leave.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from safetensors import safe_open
from safetensors.torch import load, load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches/peer"))
from net import PreActResNet  # noqa: E402

NORMS = {"linf": "Linf", "l2": "L2"}
BATCH = 250


def network(path):
    """The network of a checkpoint, and what it says of itself."""
    with safe_open(path, "pt") as f:
        meta = json.loads(f.metadata()["ham-engine"])
    tensors = load_file(path)
    widths, blocks = [], []
    while f"layer{len(widths) + 1}.0.conv1.weight" in tensors:
        layer = f"layer{len(widths) + 1}"
        widths.append(tensors[f"{layer}.0.conv1.weight"].shape[0])
        blocks.append(sum(f"{layer}.{b}.conv1.weight" in tensors for b in range(64)))
    mean, std = meta["normalisation"] or (None, None)
    classes = tensors["linear.bias"].shape[0]
    net = PreActResNet(tensors["conv1.weight"].shape[1], classes, widths, blocks, mean, std)
    missing = net.load_state_dict(tensors, strict=False).missing_keys
    own = ("num_batches_tracked", "mean", "std")
    assert all(name.endswith(own) for name in missing), missing
    net.eval().requires_grad_(False)
    return net, meta


def images(dataset, n):
    """The first test images and labels of a data set: a file, or the embedded one."""
    if dataset == "fashion-mnist-mini":
        tensors = load(gzip.decompress((ROOT / "data/fashion-mnist-mini.safetensors.gz").read_bytes()))
    else:
        tensors = load_file(dataset)
    part = "test_" if "test_images" in tensors else ""
    x, y = tensors[f"{part}images"][:n], tensors[f"{part}labels"][:n].long()
    return (x.float() / 255 if x.dtype == torch.uint8 else x), y


class Reference:
    """The authors' attacks on one network."""

    def __init__(self, net, norm, eps, seed):
        self.net, self.norm, self.eps, self.seed = net, NORMS[norm], eps, seed
        self.targets = min(9, net.linear.out_features - 1)

    def apgd(self, targeted, iterations):
        options = dict(norm=self.norm, eps=self.eps, n_iter=iterations, n_restarts=1, seed=self.seed, device="cpu")
        if targeted:
            return APGDAttack_targeted(self.net, n_target_classes=self.targets, **options)
        return APGDAttack(self.net, **options)

    def steps_from_the_image(self, targeted, iterations, x, y):
        """What `perturb` does, but for the start."""
        attack = self.apgd(targeted, iterations)
        attack.init_hyperparam(x)
        adv, robust = x.clone(), self.net(x).argmax(1) == y
        for rank in range(2, self.targets + 2) if targeted else [None]:
            left = robust.nonzero().flatten()
            if len(left) == 0:
                break
            if targeted:
                attack.y_target = self.net(x[left]).sort(dim=1)[1][:, -rank]
            _, right, _, found = attack.attack_single_run(x[left], y[left], x_init=x[left])
            broken = left[right == 0]
            adv[broken] = found[right == 0]
            robust[broken] = False
        return adv

    def adversarial(self, name, deterministic, x, y):
        kind, _, steps = name.rpartition("-") if name[-1].isdigit() else (name, "", "100")
        if kind in ("apgd-ce", "apgd-t"):
            targeted, iterations = kind == "apgd-t", int(steps)
            if deterministic:
                return self.steps_from_the_image(targeted, iterations, x, y)
            return self.apgd(targeted, iterations).perturb(x, y)
        if kind == "fab-t":
            fab = FABAttack_PT(
                self.net, norm=self.norm, eps=self.eps, n_iter=100, n_restarts=1, targeted=True,
                n_target_classes=self.targets, seed=self.seed, device="cpu",
            )
            return fab.perturb(x, y)
        if kind == "square":
            square = SquareAttack(
                self.net, norm=self.norm, eps=self.eps, p_init=0.8, n_queries=5000, n_restarts=1, seed=self.seed,
                device="cpu", resc_schedule=False,
            )
            return square.perturb(x, y)
        raise SystemExit(f"{name}: not among the reference's attacks")

    def robust(self, names, deterministic, x, y):
        """Which images survive the attacks, each on the survivors of those before, and how many each leaves."""
        robust, counts = torch.cat([self.net(part).argmax(1) for part in x.split(BATCH)]) == y, []
        for name in names:
            for left in robust.nonzero().flatten().split(BATCH):
                adv = self.adversarial(name, deterministic, x[left], y[left])
                robust[left] = self.net(adv).argmax(1) == y[left]
            counts.append(robust.sum().item())
        return robust, counts


def engine(args, name, deterministic, seed):
    """Which images survive an attack of ham-engine, and how many each part of it leaves."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "examples.safetensors"
        command = [args.engine, "eval", "--checkpoint", args.checkpoint, "--attack", name, "--norm", args.norm]
        command += ["--eps", str(args.eps), "--examples", str(args.examples), "--seed", str(seed), "--json"]
        command += ["--save-examples", out, "--out", Path(folder) / "report.json", "--device", args.device]
        command += ["--dataset", args.dataset] + ["--no-random-start"] * deterministic
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        tensors = load_file(out)
        parts = json.loads((Path(folder) / "report.json").read_text())["attacks"][0]["parts"]
        return tensors[name] == tensors["labels"], [p["survivors"] for p in parts if p["name"] != "clean"]


def compare(args, reference, name, parts, deterministic, x, y):
    """Prints a line, of means over the seeds; whether the accuracies agree."""
    certain = deterministic or name == "fab-t"
    seeds, seconds, survivors, differing = 1 if certain else args.seeds, [0, 0], [0, 0], 0
    left = torch.zeros(2, len(parts))
    for seed in range(args.seed, args.seed + seeds):
        start = time.time()
        ours, counts = engine(args, name, deterministic, seed)
        middle = time.time()
        reference.seed = seed
        theirs, reference_counts = reference.robust(parts, deterministic, x, y)
        seconds = [seconds[0] + middle - start, seconds[1] + time.time() - middle]
        survivors = [survivors[0] + ours.sum().item(), survivors[1] + theirs.sum().item()]
        differing += (ours != theirs).sum().item()
        left += torch.tensor([counts, reference_counts])
    points = [100 * count / seeds / args.examples for count in survivors]
    # One image may be more than the limit, of few.
    limit = max(0.2 if certain else 0.5, 100.01 / args.examples)
    fine = abs(points[0] - points[1]) <= limit
    print(
        f"{name + (' from the image' if deterministic else ''):<28} {points[0]:8.2f} {points[1]:10.2f} "
        f"{differing / seeds:9.1f} {'' if fine else 'X':>2} {seconds[0]:8.1f} s {seconds[1]:8.1f} s",
        flush=True,
    )
    for part, counts in zip(parts, left.T.tolist()) if len(parts) > 1 else []:
        ours, theirs = [100 * count / seeds / args.examples for count in counts]
        print(f"{'  after ' + part:<28} {ours:8.2f} {theirs:10.2f}", flush=True)
    return fine


def tiny_network(x, y):
    """Two epochs of adversarial training with one step from a random start."""
    torch.manual_seed(0)
    net = PreActResNet(1, 10, [4, 8], [1, 1])
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        for batch in torch.randperm(len(x)).split(128):
            clean, label = x[batch], y[batch]
            start = (clean + 0.04 * (2 * torch.rand_like(clean) - 1)).requires_grad_()
            grad = torch.autograd.grad(torch.nn.functional.cross_entropy(net(start), label), start)[0]
            moved = torch.minimum(torch.maximum(start + 0.05 * grad.sign(), clean - 0.04), clean + 0.04).clamp(0, 1)
            sgd.zero_grad()
            torch.nn.functional.cross_entropy(net(moved.detach()), label).backward()
            sgd.step()
    return net.eval().requires_grad_(False)


def golden(folder):
    """Writes the network and the verdicts of the deterministic attacks at several bounds."""
    torch.set_num_threads(1)
    tensors = load(gzip.decompress((ROOT / "data/fashion-mnist-mini.safetensors.gz").read_bytes()))
    net = tiny_network(tensors["images"].float() / 255, tensors["labels"].long())
    weights = {name: value.contiguous() for name, value in net.state_dict().items() if "num_batches" not in name}
    save_file(weights, Path(folder) / "autoattack.net.safetensors")
    x, y = images("fashion-mnist-mini", 60)
    cases = []
    for norm, bounds in {"linf": [0.02, 0.04, 0.08], "l2": [0.3, 0.7, 1.2]}.items():
        for eps in bounds:
            for name in ["apgd-ce-12", "apgd-t-8"]:
                robust, _ = Reference(net, norm, eps, 0).robust([name], True, x, y)
                flags = "".join(str(int(r)) for r in robust)
                print(f"{norm} {eps} {name:<12} {flags}")
                cases.append({"norm": norm, "eps": eps, "attack": name, "robust": flags})
    (Path(folder) / "autoattack.json").write_text("[\n" + ",\n".join("  " + json.dumps(c) for c in cases) + "\n]\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint")
    p.add_argument("--attack", default="apgd-ce,apgd-t,autoattack", type=lambda s: s.split(","))
    p.add_argument("--norm", choices=NORMS, default="linf")
    p.add_argument("--eps", type=float, help="default: the checkpoint's; 1.5 in L2")
    p.add_argument("--examples", type=int, default=500)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--seeds", type=int, default=1, help="random attacks: means over so many")
    p.add_argument("--dataset", help="default: the checkpoint's; a file otherwise")
    p.add_argument("--engine", default=str(ROOT / "target/release/ham-engine"))
    p.add_argument("--device", default="cpu")
    p.add_argument("--from-the-image", action="store_true", help="Auto-PGD by itself from the image only")
    p.add_argument("--golden", metavar="FOLDER")
    args = p.parse_args()
    if args.golden:
        return golden(args.golden)
    if not args.checkpoint:
        p.error("--checkpoint is needed")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    net, meta = network(args.checkpoint)
    args.dataset = args.dataset or meta["dataset"]
    args.eps = args.eps or (1.5 if args.norm == "l2" else meta["contract"]["eps"])
    x, y = images(args.dataset, args.examples)
    args.examples = len(x)
    reference = Reference(net, args.norm, args.eps, args.seed)
    print(f"{len(x)} images of {args.dataset}, {args.norm}, eps {args.eps:.4f}: accuracy in %, and images of another verdict")
    print(f"{'':<28} {'engine':>8} {'reference':>10} {'differing':>9}")
    fine = True
    for name in args.attack:
        if name == "autoattack":
            fine &= compare(args, reference, name, ["apgd-ce", "apgd-t", "fab-t", "square"], False, x, y)
            continue
        if name.startswith("apgd"):
            fine &= compare(args, reference, name, [name], True, x, y)
            if args.from_the_image:
                continue
        fine &= compare(args, reference, name, [name], False, x, y)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
