"""Loads a network that ham-engine trained into PyTorch, and measures its accuracy.

    ham-engine export --checkpoint runs/A/last.safetensors net.safetensors
    ham-engine data export fashion-mnist-mini data.safetensors
    python examples/load_checkpoint.py net.safetensors data.safetensors      # pip install torch safetensors
"""

import sys

import torch
from safetensors.torch import load_file

sys.path.append("benches/peer")
from net import PreActResNet

state, data = load_file(sys.argv[1]), load_file(sys.argv[2])
layers = max(int(name[5]) for name in state if name.startswith("layer"))
widths = [len(state[f"layer{s}.0.conv1.weight"]) for s in range(1, layers + 1)]
blocks = [sum(name.startswith(f"layer{s}.") and name.endswith(".conv1.weight") for name in state) for s in range(1, layers + 1)]
norm = {name: state[name].flatten().tolist() for name in ("mean", "std") if name in state}
net = PreActResNet(state["conv1.weight"].shape[1], len(state["linear.bias"]), widths, blocks, **norm).eval()
net.load_state_dict(state)
with torch.no_grad():
    predicted = net(data["test_images"] / 255).argmax(1)
print(f"clean accuracy {(predicted == data['test_labels']).float().mean():.4f}")
