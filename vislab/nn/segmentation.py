"""Segmentation networks that show their features: PSPNet on a dilated residual network, down to a few channels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def stem(width: int, out: int) -> nn.Sequential:
    """Three 3 x 3 convolutions in place of one 7 x 7, then a max-pool: stride 4."""

    def convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    layers = [*convolution(3, width, 2), *convolution(width, width, 1), *convolution(width, out, 1)]
    return nn.Sequential(*layers, nn.MaxPool2d(3, 2, 1))


class DilatedResNet(nn.Module):
    """A residual network of stride 8: the last two stages keep the resolution with dilations 2 and 4 (torchvision's blocks).

    The stages have `width` x 1, 2, 4 and 8 channels, times 4 with `bottleneck`; `counts` are their numbers of blocks.
    """

    def __init__(self, counts: Sequence[int] = (3, 4, 6, 3), width: int = 64, bottleneck: bool = True):
        super().__init__()
        from torchvision.models.resnet import BasicBlock, Bottleneck

        block = Bottleneck if bottleneck else BasicBlock
        self.channels = 8 * width * block.expansion
        inputs = 2 * width
        self.layer0 = stem(width, inputs)
        for stage, count in enumerate(counts):
            middle, dilation = width * 2**stage, (1, 1, 2, 4)[stage]
            blocks, outputs = [], middle * block.expansion
            for k in range(count):
                stride = 2 if stage == 1 and k == 0 else 1
                shortcut = None
                if k == 0 and (stride != 1 or inputs != outputs):
                    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
                made = block(inputs, middle, stride, shortcut)
                for name in ("conv2",) if bottleneck else ("conv1", "conv2"):
                    convolution = getattr(made, name)
                    convolution.dilation = convolution.padding = (dilation, dilation)
                blocks.append(made)
                inputs = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch channel h8 w8"]:
        for stage in range(5):
            x = getattr(self, f"layer{stage}")(x)
        return x


class PyramidPooling(nn.Module):
    """The map beside its averages over grids of `bins` cells, each reduced and interpolated back (Zhao et al. 2017)."""

    def __init__(self, channels: int, bins: Sequence[int] = (1, 2, 3, 6)):
        super().__init__()
        reduced = channels // len(bins)
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(size), nn.Conv2d(channels, reduced, 1, bias=False), nn.BatchNorm2d(reduced), nn.ReLU(inplace=True)
            )
            for size in bins
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch two_channel h w"]:
        size = x.shape[-2:]
        pooled = [F.interpolate(f(x), size, mode="bilinear", align_corners=True) for f in self.features]
        return torch.cat([x, *pooled], dim=1)


class PSPNet(nn.Module):
    """Dilated ResNet, pyramid pooling, a 3 x 3 bottleneck to `features` channels, and a linear classifier."""

    def __init__(
        self,
        classes: int,
        counts: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        bottleneck: bool = True,
        features: int = 512,
        bins: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ):
        super().__init__()
        self.trunk = DilatedResNet(counts, width, bottleneck)
        self.ppm = PyramidPooling(self.trunk.channels, bins)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(2 * self.trunk.channels, features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )
        self.classifier = nn.Conv2d(features, classes, 1)

    def features(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch feature h8 w8"]:
        """Features at an eighth of the resolution; height and width minus one must be multiples of 8."""
        if any((side - 1) % 8 for side in image.shape[-2:]):
            raise ValueError(f"sides minus one must be multiples of 8, got {tuple(image.shape[-2:])}")
        return self.bottleneck(self.ppm(self.trunk(image)))

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes h w"]:
        return F.interpolate(
            self.classifier(self.features(image)), image.shape[-2:], mode="bilinear", align_corners=True
        )
