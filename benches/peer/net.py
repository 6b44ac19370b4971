"""PreActResNet, the network that ham-engine trains, with the state-dict names of its checkpoints.

    from net import PreActResNet
    net = PreActResNet(channels=3, classes=10, widths=[16, 32, 64], blocks=[2, 2, 2], mean=[0.5] * 3, std=[0.25] * 3)
    net.load_state_dict(safetensors.torch.load_file("net.safetensors"))

The file is one that `ham-engine export` wrote: with mean and std, where the network has them, among its tensors.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """out = conv2(relu(bn2(conv1(a)))) + shortcut, a = relu(bn1(x)); the shortcut is x, or a 1x1 convolution of a."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x):
        a = F.relu(self.bn1(x))
        shortcut = self.shortcut(a) if hasattr(self, "shortcut") else x
        return self.conv2(F.relu(self.bn2(self.conv1(a)))) + shortcut


class PreActResNet(nn.Module):
    """A 3x3 stem, `layer1`, `layer2`, ... of blocks (stride 2 where a layer but the first begins), bn, relu, pooling, linear.

    `blocks` is the number of blocks of each layer. With `mean` and `std` the images are normalised inside the model.
    """

    def __init__(self, channels, classes, widths, blocks, mean=None, std=None):
        super().__init__()
        per_channel = lambda values: None if values is None else torch.tensor(values).view(1, -1, 1, 1)
        self.register_buffer("mean", per_channel(mean))
        self.register_buffer("std", per_channel(std))
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.layers, inputs = [], widths[0]
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            layer = []
            for b in range(count):
                layer.append(Block(inputs, width, stride=2 if i > 0 and b == 0 else 1))
                inputs = width
            self.layers.append(f"layer{i + 1}")
            self.add_module(self.layers[-1], nn.Sequential(*layer))
        self.bn = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x):
        if self.mean is not None:
            x = (x - self.mean) / self.std
        x = self.conv1(x)
        for name in self.layers:
            x = getattr(self, name)(x)
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))
