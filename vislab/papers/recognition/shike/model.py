"""The network: a trunk of two stages, and experts that join a deep feature of their own with a shallow one of the trunk."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislab.nn.resnet_small import CosineClassifier, basic_stage
from vislab.papers.recognition.shike.card import Config

DEEP = 3
"""The level of an expert's own stage; 1 and 2 are the trunk's."""


def aligner(width: int, level: int, last_relu: bool) -> nn.Sequential:
    """3x3 convolutions of stride 2 that bring level 1 or 2 to the deep feature's channels and size (section 3.2).

    ReLU after each but the last; `last_relu` puts one there too, as the released code does for level 2.
    """
    layers: list[nn.Module] = []
    for k in range(level, DEEP):
        inputs, outputs = width * 2 ** (k - 1), width * 2**k
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs)]
        if k < DEEP - 1 or last_relu:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class DepthExperts(nn.Module):
    """CIFAR ResNet whose last stage, aligner and two classifiers are an expert's own.

    `fusion` says what an expert does with the shallow feature of its level: multiply (the paper), add, or stand beside the deep one,
    leave it out ("none"), or use it alone ("shallow", where a level may also be `DEEP`).
    `forward` gives {"logits": (batch, expert, class), "feat": (batch, expert, feature)}.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        classes: int,
        experts: int,
        levels: Sequence[int],
        fusion: Literal["product", "sum", "concatenation", "none", "shallow"] = "product",
        scale: float = 30.0,
        released: bool = False,
    ):
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth {depth} is not 6 n + 2")
        self.fusion, self.levels = fusion, [levels[k % len(levels)] for k in range(experts)]
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.stage1 = basic_stage(width, width, blocks, 1, "B")
        self.stage2 = basic_stage(width, 2 * width, blocks, 2, "B")
        deep = [fusion != "shallow" or level == DEEP for level in self.levels]
        self.branches = nn.ModuleList(
            basic_stage(2 * width, 4 * width, blocks, 2, "B") if own else nn.Identity() for own in deep
        )
        shallow = [fusion != "none" and level != DEEP for level in self.levels]
        self.aligners = nn.ModuleList(
            aligner(width, level, released and level == 2) if takes else nn.Identity()
            for level, takes in zip(self.levels, shallow, strict=True)
        )
        features = 4 * width * (2 if fusion == "concatenation" else 1)
        self.classifiers = nn.ModuleList(CosineClassifier(features, classes, scale) for _ in range(experts))
        self.retrained = nn.ModuleList(CosineClassifier(features, classes, scale) for _ in range(experts))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def joined(self, expert: int, outputs: Sequence[Tensor]) -> Float[Tensor, "batch channel h w"]:
        """The feature map of one expert from the trunk's two outputs (eq. 2 with the product)."""
        level = self.levels[expert]
        if self.fusion == "none" or level == DEEP:
            return self.branches[expert](outputs[1])
        shallow = self.aligners[expert](outputs[level - 1])
        if self.fusion == "shallow":
            return shallow
        deep = self.branches[expert](outputs[1])
        if self.fusion == "product":
            return deep * shallow
        return deep + shallow if self.fusion == "sum" else torch.cat([deep, shallow], dim=1)

    def forward(self, images: Float[Tensor, "batch 3 h w"], retrained: bool = False) -> dict[str, Tensor]:
        first = self.stage1(self.stem(images))
        outputs = first, self.stage2(first)
        features = [self.joined(k, outputs).mean(dim=(2, 3)) for k in range(len(self.levels))]
        heads = self.retrained if retrained else self.classifiers
        logits = [head(feature) for head, feature in zip(heads, features, strict=True)]
        return {"logits": torch.stack(logits, dim=1), "feat": torch.stack(features, dim=1)}


def build(config: Config) -> DepthExperts:
    """The untrained network at the config's sizes; with `matched`, as wide as comes nearest to the parameters of the product's."""
    if not config.matched:
        return _sized(config, config.width)
    with torch.device("meta"):
        full = _count(_sized(dataclasses.replace(config, fusion="product"), config.width))
        widths = range(config.width, config.width + 5)
        best = min(widths, key=lambda w: abs(_count(_sized(config, w)) - full))
    return _sized(config, best)


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _sized(config: Config, width: int) -> DepthExperts:
    released = config.follow == "code"
    return DepthExperts(
        config.depth, width, config.classes, config.experts, config.levels, config.fusion, config.cosine_scale, released
    )
