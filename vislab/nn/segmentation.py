"""Networks that label every pixel: dilated ResNets that keep a stride of 8, and PSPNet on top of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

# blocks of the four stages, and whether they are bottlenecks
DEPTHS = {10: ((1, 1, 1, 1), False), 18: ((2, 2, 2, 2), False), 50: ((3, 4, 6, 3), True), 101: ((3, 4, 23, 3), True)}


def resize(x: Float[Tensor, "batch channel h w"], size: Sequence[int]) -> Float[Tensor, "batch channel height width"]:
    """Bilinear, corners on corners: a map of (s - 1) / 8 + 1 pixels lies exactly on the grid of s pixels."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class Residual(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 in a bottleneck, and a projected shortcut where shapes differ.

    The stride is on the first 3x3 convolution, the dilation on all of them.
    """

    def __init__(self, inputs: int, planes: int, stride: int = 1, dilation: int = 1, bottleneck: bool = False):
        super().__init__()
        outputs = 4 * planes if bottleneck else planes

        def wide(a: int, b: int, step: int) -> nn.Conv2d:
            return nn.Conv2d(a, b, 3, step, dilation, dilation, bias=False)

        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False) if bottleneck else wide(inputs, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = wide(planes, planes, stride if bottleneck else 1)
        self.bn2 = nn.BatchNorm2d(planes)
        if bottleneck:
            self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        self.bottleneck = bottleneck
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            out = self.bn3(self.conv3(F.relu(out)))
        return F.relu(out + self.downsample(x))


class DilatedResNet(nn.Module):
    """ResNet with a stem of three 3x3 convolutions whose last two stages dilate (2 and 4) instead of striding.

    `forward` gives the outputs of the four stages, at strides 4, 8, 8, 8; `widths` are their channels.
    Raises ValueError for a depth that is not one of `DEPTHS`.
    """

    def __init__(self, depth: int = 50, width: int = 64):
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth {depth} is not one of {', '.join(map(str, DEPTHS))}")
        blocks, bottleneck = DEPTHS[depth]
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((3, width, 2), (width, width, 1), (width, 2 * width, 1)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.stem = nn.Sequential(*layers, nn.MaxPool2d(3, 2, 1))
        self.widths, stages, inputs = [], [], 2 * width
        for k, (count, stride, dilation) in enumerate(zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)):
            planes = width * 2**k
            outputs = 4 * planes if bottleneck else planes
            first = Residual(inputs, planes, stride, dilation, bottleneck)
            rest = [Residual(outputs, planes, 1, dilation, bottleneck) for _ in range(count - 1)]
            stages.append(nn.Sequential(first, *rest))
            self.widths.append(outputs)
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        x, found = self.stem(image), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class PyramidPooling(nn.Module):
    """Means over grids of several sizes, each projected and resized back, beside the input: twice its channels in all."""

    def __init__(self, width: int, bins: Sequence[int] = (1, 2, 3, 6)):
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(size),
                nn.Conv2d(width, width // len(bins), 1, bias=False),
                nn.BatchNorm2d(width // len(bins)),
                nn.ReLU(),
            )
            for size in bins
        )

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch wide h w"]:
        return torch.cat([x, *(resize(level(x), x.shape[-2:]) for level in self.levels)], dim=1)


class PSPNet(nn.Module):
    """Pyramid scene parsing on a dilated ResNet, with a linear classifier on features of stride 8.

    `features` and `classify` are its two halves, so that a classifier can be changed above frozen features.
    """

    def __init__(
        self,
        classes: int,
        depth: int = 50,
        width: int = 64,
        feature_width: int = 512,
        bins: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ):
        super().__init__()
        self.backbone = DilatedResNet(depth, width)
        last = self.backbone.widths[-1]
        self.pool = PyramidPooling(last, bins)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(2 * last, feature_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(feature_width),
            nn.ReLU(),
            nn.Dropout2d(dropout),
        )
        self.classifier = nn.Conv2d(feature_width, classes, 1)

    def features(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature h w"]:
        """Features of stride 8; the sides of `image` less one must be multiples of 8 for the map to lie on its grid.

        Raises ValueError for another size.
        """
        if any((side - 1) % 8 for side in image.shape[-2:]):
            raise ValueError(f"the sides of an image less one must be multiples of 8, got {tuple(image.shape[-2:])}")
        return self.bottleneck(self.pool(self.backbone(image)[-1]))

    def classify(
        self, features: Float[Tensor, "batch feature h w"], size: Sequence[int]
    ) -> Float[Tensor, "batch class height width"]:
        """Logits at `size` (height, width)."""
        return resize(self.classifier(features), size)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class height width"]:
        return self.classify(self.features(image), image.shape[-2:])
