"""Networks that name the scene point behind each cell of a picture: a convolutional backbone and a head of 1x1 convolutions."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST_SCALE, LARGEST_SCALE = 0.01, 4.0


def grey(image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 height width"]:
    """sRGB in [0, 1] to one channel, less its usual mean 0.4, over its usual deviation 0.25."""
    weights = image.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    return ((image * weights).sum(dim=1, keepdim=True) - 0.4) / 0.25


def kaiming(network: nn.Module) -> nn.Module:
    """The network with He-normal weights and zero biases in its convolutions, drawn from torch's global generator.

    A head's last layer keeps its own, so that its first coordinates stay near the mean.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and name.rpartition(".")[2] != "out":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return network


class Backbone(nn.Module):
    """Grey picture to features: four strided 3x3 convolutions, a residual block, and one that widens."""

    def __init__(
        self, widths: tuple[int, ...] = (32, 64, 128, 256), features: int = 512, strides: tuple[int, ...] = (1, 2, 2, 2)
    ):
        super().__init__()
        sizes, wide = (1, *widths), widths[-1]
        self.stem = nn.ModuleList(nn.Conv2d(a, b, 3, s, 1) for a, b, s in zip(sizes, widths, strides, strict=False))
        self.first = nn.ModuleList(
            [nn.Conv2d(wide, wide, 3, 1, 1), nn.Conv2d(wide, wide, 1), nn.Conv2d(wide, wide, 3, 1, 1)]
        )
        self.second = nn.ModuleList(
            [
                nn.Conv2d(wide, features, 3, 1, 1),
                nn.Conv2d(features, features, 1),
                nn.Conv2d(features, features, 3, 1, 1),
            ]
        )
        self.skip = nn.Conv2d(wide, features, 1)
        self.stride = math.prod(strides)

    def forward(self, grey: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch features h w"]:
        x = grey
        for layer in self.stem:
            x = F.relu(layer(x))
        inner = x
        for layer in self.first:
            inner = F.relu(layer(inner))
        x = x + inner
        inner = x
        for layer in self.second:
            inner = F.relu(layer(inner))
        return self.skip(x) + inner


class Head(nn.Module):
    """Features to scene coordinates, cell by cell: residual blocks of three layers, two more layers, and the read-out.

    With `homogeneous` the fourth output is a scale: softplus with beta = ln 2 / (1 - 1/4) plus 1/4, at most 100, divides the first
    three, so that far points are in reach.
    `kernel` 3 gives every layer the neighbouring cells (an ablation).
    """

    def __init__(
        self, features: int = 512, width: int = 512, blocks: int = 1, homogeneous: bool = True, kernel: int = 1
    ):
        super().__init__()

        def layer(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)

        self.blocks = nn.ModuleList(
            nn.ModuleList([layer(features if k == 0 else width, width), layer(width, width), layer(width, width)])
            for k in range(1 + blocks)
        )
        self.skip = nn.Identity() if features == width else nn.Conv2d(features, width, 1)
        self.last = nn.ModuleList([layer(width, width), layer(width, width)])
        self.out = nn.Conv2d(width, 4 if homogeneous else 3, 1)
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.homogeneous = homogeneous

    def forward(self, features: Float[Tensor, "batch features h w"]) -> Float[Tensor, "batch 3 h w"]:
        x = features
        for number, block in enumerate(self.blocks):
            inner = x
            for layer in block:
                inner = F.relu(layer(inner))
            x = (self.skip(x) if number == 0 else x) + inner
        for layer in self.last:
            x = F.relu(layer(x))
        return self.read_out(self.out(x)) + self.mean

    def read_out(self, raw: Float[Tensor, "batch out h w"]) -> Float[Tensor, "batch 3 h w"]:
        """Three coordinates of three or four outputs, without the mean."""
        if not self.homogeneous:
            return raw
        least = 1 / LARGEST_SCALE
        scale = F.softplus(raw[:, 3:], beta=math.log(2) / (1 - least)) + least
        return raw[:, :3] / scale.clamp(max=1 / SMALLEST_SCALE)
