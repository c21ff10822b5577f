"""Residual networks with a shared trunk and stages of their own for each expert.

`small_resnet` is the CIFAR family (ResNet-8, -20, -32; He et al. 2015, section 4.2).
`large_resnet` is the ImageNet family (ResNet-50, ResNeXt-50).
With one expert both are the ordinary networks.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Callable[[int], nn.Module]


class CosineClassifier(nn.Module):
    """Logits are `scale` times the cosine between the feature and each class's weight; weight is (features, classes)."""

    def __init__(self, features: int, classes: int, scale: float = 30.0):
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(F.normalize(torch.empty(features, classes).uniform_(-1, 1), dim=0))

    def forward(self, x: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        return self.scale * F.normalize(x, dim=1) @ F.normalize(self.weight, dim=0)


class PadShortcut(nn.Module):
    """Shortcut A: subsample, then zeros for the new channels, half on either side."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.extra = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; A pads with zeros, B projects with a 1x1 convolution."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, shortcut: Literal["A", "B"] = "A", norm: Norm = nn.BatchNorm2d
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = norm(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projected = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))
            self.shortcut = PadShortcut(inputs, outputs, stride) if shortcut == "A" else projected

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def basic_stage(
    inputs: int, outputs: int, blocks: int, stride: int, shortcut: Literal["A", "B"] = "A", norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """`blocks` basic blocks, the first with `stride`."""
    widths = [inputs, *[outputs] * blocks]
    strides = [stride, *[1] * (blocks - 1)]
    return nn.Sequential(
        *(BasicBlock(a, b, s, shortcut, norm) for a, b, s in zip(widths[:-1], widths[1:], strides, strict=True))
    )


class Experts(nn.Module):
    """A trunk, then per expert a branch of stages and a classifier.

    `forward` gives {"logits": (batch, expert, class), "feat": (batch, expert, feature), "output": mean of the logits}.
    """

    def __init__(self, trunk: nn.Module, branches: Sequence[nn.Module], classifiers: Sequence[nn.Module]):
        super().__init__()
        self.trunk = trunk
        self.branches = nn.ModuleList(branches)
        self.classifiers = nn.ModuleList(classifiers)

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> dict[str, Tensor]:
        shared = self.trunk(images)
        features = [branch(shared).mean(dim=(2, 3)) for branch in self.branches]
        logits = torch.stack([c(f) for c, f in zip(self.classifiers, features, strict=True)], dim=1)
        return {"logits": logits, "feat": torch.stack(features, dim=1), "output": logits.mean(dim=1)}


def classifier(features: int, classes: int, cosine: bool = True, scale: float = 30.0) -> nn.Module:
    """A cosine or a linear classifier."""
    return CosineClassifier(features, classes, scale) if cosine else nn.Linear(features, classes)


def small_resnet(
    depth: int,
    width: int,
    classes: int,
    experts: int = 1,
    shortcut: Literal["A", "B"] = "A",
    norm: Norm = nn.BatchNorm2d,
    cosine: bool = True,
    scale: float = 30.0,
) -> Experts:
    """The CIFAR ResNet of `depth` = 6 n + 2 layers, widths (w, 2w, 4w): stem and first stage shared, the others per expert.

    Raises ValueError for a depth that is not of that form.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth {depth} is not 6 n + 2")
    stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), norm(width), nn.ReLU())
    trunk = nn.Sequential(stem, basic_stage(width, width, blocks, 1, shortcut, norm))
    branches = [
        nn.Sequential(
            basic_stage(width, 2 * width, blocks, 2, shortcut, norm),
            basic_stage(2 * width, 4 * width, blocks, 2, shortcut, norm),
        )
        for _ in range(experts)
    ]
    model = Experts(trunk, branches, [classifier(4 * width, classes, cosine, scale) for _ in range(experts)])
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
    return model


class Bottleneck(nn.Module):
    """1x1, 3x3 (grouped in ResNeXt), 1x1 with four times the planes, and a projected shortcut where shapes differ."""

    def __init__(self, inputs: int, planes: int, stride: int, groups: int, base_width: int):
        super().__init__()
        width = planes * base_width // 64 * groups
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


def bottleneck_stage(inputs: int, planes: int, blocks: int, stride: int, groups: int, base_width: int) -> nn.Sequential:
    """`blocks` bottlenecks, the first with `stride`."""
    first = Bottleneck(inputs, planes, stride, groups, base_width)
    return nn.Sequential(first, *(Bottleneck(4 * planes, planes, 1, groups, base_width) for _ in range(blocks - 1)))


def large_resnet(
    classes: int,
    experts: int = 1,
    kind: Literal["resnet50", "resnext50"] = "resnet50",
    cosine: bool = True,
    scale: float = 30.0,
) -> Experts:
    """ResNet-50 or ResNeXt-50 (32x4d): stem and two stages shared, the last two and the classifier per expert."""
    groups, base_width = (1, 64) if kind == "resnet50" else (32, 4)
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    trunk = nn.Sequential(
        stem,
        bottleneck_stage(64, 64, 3, 1, groups, base_width),
        bottleneck_stage(256, 128, 4, 2, groups, base_width),
    )
    branches = [
        nn.Sequential(
            bottleneck_stage(512, 256, 6, 2, groups, base_width), bottleneck_stage(1024, 512, 3, 2, groups, base_width)
        )
        for _ in range(experts)
    ]
    return Experts(trunk, branches, [classifier(2048, classes, cosine, scale) for _ in range(experts)])
