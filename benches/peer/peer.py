"""Runs mini-batches of PGD-AT and HAM in PyTorch on the CPU, one for every line that it reads, and says how long each took.

    .peer/bin/python benches/peer/peer.py --channels 1 --height 28 --width 28 --classes 10 --widths 16,32,64 --blocks 1,1,1 \\
        --batch 128 --threads 2 --precision fp32 --steps 10 --k-drop 3 --eps 0.031 --alpha 0.007 --kept-share 0.3

When ready it prints {"ready": true, "torch": VERSION, "threads": N, "cpu_capability": NAME}. Then a line
{"method": "pgd-at"|"ham", "style": "official"|"tuned"} on stdin runs one mini-batch (attack and training step), and prints the
line's method and style, "seconds", "attack_seconds" and "update_seconds"; {"error": MESSAGE} if it can't. The first mini-batch
of a method and style is slower than the others. It ends with its input. README.md says what is compared.
"""

import argparse
import json
import os
import sys
import time

# Read when torch is loaded. Threads that spin while they wait take the processor from whatever else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch.nn import functional as F

from net import PreActResNet

STYLES, METHODS = ("official", "tuned"), ("pgd-at", "ham")


def numbers(text):
    return [int(n) for n in text.split(",")]


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in [("channels", 3), ("height", 32), ("width", 32), ("classes", 10), ("batch", 128), ("threads", 2)]:
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--widths", type=numbers, default=[64, 128, 256, 512])
    p.add_argument("--blocks", type=numbers, default=[2, 2, 2, 2])
    p.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: torch.autocast")
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--k-drop", type=int, default=3)
    p.add_argument("--eps", type=float, default=0.031)
    p.add_argument("--alpha", type=float, default=0.007)
    p.add_argument("--kept-share", type=float, default=0.4, help="the share of the examples that HAM keeps, forced")
    args = p.parse_args(argv)
    if not 0 < args.k_drop < args.steps:
        p.error("--k-drop must be less than --steps, and at least 1")
    return args


class Peer:
    """A network and a batch of random images; every mini-batch begins from the same weights."""

    def __init__(self, args, style):
        self.args, self.official = args, style == "official"
        layout = torch.contiguous_format if self.official else torch.channels_last
        torch.manual_seed(0)
        self.net = PreActResNet(args.channels, args.classes, args.widths, args.blocks).to(memory_format=layout)
        self.state = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.sgd = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
        self.x = torch.rand(args.batch, args.channels, args.height, args.width).to(memory_format=layout)
        self.y = torch.randint(0, args.classes, (args.batch,))

    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.args.precision == "bf16")

    def check(self, logits):
        """The indices of the kept. Correct or not is found out as it must be, but how many stay is forced."""
        (logits.argmax(1) != self.y).nonzero()
        return torch.arange(round(self.args.kept_share * len(self.y)))

    def step(self, x_adv, x, gradient):
        """x_{k+1} = clamp(clamp(x_k + alpha*sign(g), x-eps, x+eps), 0, 1)."""
        moved = x_adv.detach() + self.args.alpha * gradient.sign()
        return torch.clamp(moved, x - self.args.eps, x + self.args.eps).clamp(0.0, 1.0)

    def random_start(self):
        noise = torch.empty_like(self.x).uniform_(-self.args.eps, self.args.eps)
        return (self.x + noise).clamp(0.0, 1.0)

    def attack_official(self, k_drop):
        """As the authors' code does it: every backward pass computes all gradients; with a check, one more forward pass after
        each step, and one each of the images and of the start."""
        x, y, x_adv = self.x, self.y, self.random_start()
        if k_drop is not None:
            with torch.no_grad():
                self.net(x), self.net(x_adv)
        for k in range(self.args.steps):
            x_adv.requires_grad_()
            self.net.zero_grad()
            F.cross_entropy(self.net(x_adv), y).backward()
            x_adv = self.step(x_adv, x, x_adv.grad)
            if k_drop is not None:
                with torch.no_grad():
                    logits = self.net(x_adv)
                if k + 1 == k_drop:
                    kept = self.check(logits)
                    x, y, x_adv = x[kept], y[kept], x_adv[kept]
        return x_adv, y

    def attack_tuned(self, k_drop):
        """Gradients of the input only. The check's forward pass serves the next step too if that is cheaper: its backward pass
        can't leave out what is dropped, so it is where at least half is kept."""
        x, y, x_adv = self.x, self.y, self.random_start()
        self.net.requires_grad_(False)
        for k in range(self.args.steps):
            x_adv.requires_grad_()
            logits = self.net(x_adv)
            kept = self.check(logits) if k == k_drop else None
            if kept is not None and 2 * len(kept) < len(y):
                x, y, x_adv, kept = x[kept], y[kept], x_adv.detach()[kept].requires_grad_(), None
                if len(y) == 0:
                    break
                logits = self.net(x_adv)
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), x_adv)
            x_adv = self.step(x_adv, x, gradient)
            if kept is not None:
                x, y, x_adv = x[kept], y[kept], x_adv[kept]
        return x_adv.detach(), y

    def mini_batch(self, method):
        """Seconds of the attack in eval mode and of the training step in train mode."""
        k_drop = self.args.k_drop if method == "ham" else None
        begin = time.perf_counter()
        self.net.eval()
        with self.autocast():
            x_adv, y = self.attack_official(k_drop) if self.official else self.attack_tuned(k_drop)
        attacked = time.perf_counter()
        self.net.train().requires_grad_(True)
        self.sgd.zero_grad()
        if len(y) > 0:
            with self.autocast():
                loss = F.cross_entropy(self.net(x_adv), y)
            loss.backward()
            self.sgd.step()
        end = time.perf_counter()
        self.net.load_state_dict(self.state)
        return {"seconds": end - begin, "attack_seconds": attacked - begin, "update_seconds": end - attacked}


def say(message):
    print(json.dumps(message), flush=True)


def main():
    args = parse(sys.argv[1:])
    torch.set_num_threads(args.threads)
    peers = {style: Peer(args, style) for style in STYLES}
    capability = torch.backends.cpu.get_cpu_capability()
    say({"ready": True, "torch": torch.__version__, "threads": torch.get_num_threads(), "cpu_capability": capability})
    for line in filter(str.strip, sys.stdin):
        try:
            request = json.loads(line)
            method, style = request["method"], request["style"]
            if method not in METHODS or style not in STYLES:
                raise ValueError(f"no method {method!r} in style {style!r}")
            say({"method": method, "style": style, **peers[style].mini_batch(method)})
        except (ValueError, KeyError, TypeError, RuntimeError) as e:
            say({"error": f"{type(e).__name__}: {e}"})


if __name__ == "__main__":
    main()
