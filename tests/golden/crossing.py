"""Makes tests/golden/crossing.{json,net.safetensors,batch.safetensors}: images that cross the boundary at different steps.

    .peer/bin/python tests/golden/crossing.py

The network is random, its batch norms have seen random images. Of many random images, labelled as the network classifies
them, some are taken for every count of iterates that PGD leaves correct; two more have a wrong label. Another version of torch
draws other numbers, so run tests/golden/methods.py afterwards.
"""

import json

import torch
from safetensors.torch import save_file

from methods import FOLDER, Case, attack, cross_entropy, uniform_start
from net import PreActResNet

SPEC = {
    "channels": 1, "height": 10, "width": 10, "classes": 10, "widths": [8, 8], "blocks": 1, "batch": 16, "eps": 0.02,
    "alpha": 0.005, "steps": 6, "k_drop": 2, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0002, "mean": [0.0], "std": [1.0],
}  # fmt: skip
# How many images of each kappa from 0 (wrongly labelled) to 6.
WANTED = [2, 2, 3, 3, 2, 2, 2]


def random_images(n):
    return torch.rand(n, SPEC["channels"], SPEC["height"], SPEC["width"])


def random_network():
    net = PreActResNet(SPEC["channels"], SPEC["classes"], SPEC["widths"], [SPEC["blocks"]] * len(SPEC["widths"]))
    for name, p in net.named_parameters():
        if "bn" in name:
            torch.nn.init.normal_(p, mean=1.0 if name.endswith("weight") else 0.0, std=0.2)
    net.train()
    with torch.no_grad():
        for _ in range(50):
            net(random_images(128))
    return net.eval()


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net, images = random_network(), random_images(2000)
    with torch.no_grad():
        labels = net(images).argmax(1)
    case = Case(SPEC, net.state_dict(), images, labels, torch.float64)
    kappa = attack(case, uniform_start(images, SPEC["eps"]), cross_entropy, SPEC["steps"], SPEC["alpha"]).kappa
    print("images of each kappa:", kappa.bincount().tolist(), "of each class:", labels.bincount().tolist())
    chosen = [(kappa == count).nonzero().flatten()[:wanted] for count, wanted in enumerate(WANTED) if count > 0]
    wrong = (kappa == SPEC["steps"]).nonzero().flatten()[-WANTED[0] :]
    chosen = torch.cat([*chosen, wrong])
    assert len(chosen) == SPEC["batch"], "too few images of some kappa"
    labels[wrong] = (labels[wrong] + 1) % SPEC["classes"]
    # Those that are dropped shall lie between those that are kept.
    chosen = chosen[torch.randperm(len(chosen))]
    save_file(net.state_dict(), FOLDER / "crossing.net.safetensors")
    batch = {"images": images[chosen].contiguous(), "labels": labels[chosen].contiguous()}
    save_file(batch, FOLDER / "crossing.batch.safetensors")
    (FOLDER / "crossing.json").write_text(json.dumps(SPEC, indent=1) + "\n")


if __name__ == "__main__":
    main()
