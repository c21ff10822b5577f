"""Detectors with a dense head and with CEASC's sparse one (section 3)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.nn.detection import Pyramid, ResNetTrunk, SmallTrunk, grid_anchors
from vislab.nn.gating import active_positions, gumbel_gate, sparse_conv, top_share
from vislab.papers.perception.ceasc.card import Config

EPSILON = 1e-5
BACKGROUND = -5.0
"""Class logit of the positions that are not computed."""


class Prediction(NamedTuple):
    """What a head says, level by level."""

    scores: list[Float[Tensor, "batch classes_anchors h w"]]
    sides: list[Float[Tensor, "batch values_anchors h w"]]
    masks: list[Float[Tensor, "batch 2 h w"]]
    """Where the class branch and the box branch compute."""
    mismatch: Float[Tensor, "level block"]
    """Squared difference between sparse and dense normalised features, of every block of both branches."""


class SparseNorm(nn.Module):
    """Normalisation of sparse features, by `kind`:

    context    group norm with the statistics of the dense global feature (CE-GN, equation 3)
    masked     group norm with the statistics of the active positions
    instance   the same, every channel by itself
    batch      every channel over the active positions of the batch, running averages in the test
    none       no normalisation
    """

    def __init__(self, channels: int, groups: int, kind: str = "context"):
        super().__init__()
        self.kind, self.groups = kind, groups if kind in ("context", "masked") else channels
        if kind != "none":
            self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        if kind == "batch":
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("var", torch.ones(channels))

    def statistics(
        self, x: Float[Tensor, "batch channel h w"], context: Float[Tensor, "batch channel h w"], gate: Tensor
    ) -> tuple[Float[Tensor, "batch group"], Float[Tensor, "batch group"]]:
        """Mean and variance with which `x` is normalised; only the active positions of `x` are looked at, if any."""
        if self.kind == "context":
            return group_moments(context, self.groups)
        if self.kind == "batch" and not self.training:
            return self.mean.expand(len(x), -1), self.var.expand(len(x), -1)
        grouped = rearrange(x, "b (g c) h w -> b g c (h w)", g=self.groups)
        weight = gate.detach().flatten(2)[:, None]
        over = (0, 2, 3) if self.kind == "batch" else (2, 3)
        count = (weight.sum(dim=over, keepdim=True) * grouped.shape[2]).clamp(min=1)
        mean = (grouped * weight).sum(dim=over, keepdim=True) / count
        var = ((grouped - mean).square() * weight).sum(dim=over, keepdim=True) / count
        mean, var = (value.expand(len(x), -1, 1, 1)[..., 0, 0] for value in (mean, var))
        if self.kind == "batch":
            with torch.no_grad():
                self.mean.lerp_(mean[0], 0.1)
                self.var.lerp_(var[0], 0.1)
        return mean, var

    def forward(
        self, x: Float[Tensor, "batch channel h w"], context: Float[Tensor, "batch channel h w"], gate: Tensor
    ) -> Float[Tensor, "batch channel h w"]:
        if self.kind == "none":
            return x
        mean, var = self.statistics(x, context, gate)
        repeat = x.shape[1] // self.groups
        mean, rstd = (v.repeat_interleave(repeat, dim=1)[..., None, None] for v in (mean, (var + EPSILON).rsqrt()))
        return (x - mean) * rstd * self.weight[:, None, None] + self.bias[:, None, None]

    def rows(
        self,
        x: Float[Tensor, "active channel"],
        image: Int[Tensor, " active"],
        moments: tuple[Float[Tensor, "batch group"], Float[Tensor, "batch group"]] | None,
        batch: int,
    ) -> Float[Tensor, "active channel"]:
        """The same for the rows of the active positions; `moments` are the context's."""
        if self.kind == "none":
            return x
        if self.kind == "context":
            mean, var = moments
        elif self.kind == "batch":
            mean, var = self.mean.expand(batch, -1), self.var.expand(batch, -1)
        else:
            grouped = rearrange(x, "n (g c) -> n g c", g=self.groups)
            count = torch.bincount(image, minlength=batch).clamp(min=1)[:, None]
            empty = torch.zeros(batch, self.groups, dtype=x.dtype, device=x.device)
            mean = empty.index_add(0, image, grouped.mean(dim=2)) / count
            var = empty.index_add(0, image, (grouped - mean[image, :, None]).square().mean(dim=2)) / count
        repeat = x.shape[1] // self.groups
        # one multiplication and one addition a row: the statistics of an image are folded into its affine weights
        scale = (var + EPSILON).rsqrt().repeat_interleave(repeat, dim=1) * self.weight
        shift = self.bias - mean.repeat_interleave(repeat, dim=1) * scale
        if batch == 1:
            return x * scale + shift
        return x * scale[image] + shift[image]


def group_moments(
    x: Float[Tensor, "batch channel h w"], groups: int
) -> tuple[Float[Tensor, "batch group"], Float[Tensor, "batch group"]]:
    """Mean and unbiased variance of each group of channels over the whole map."""
    var, mean = torch.var_mean(rearrange(x, "b (g c) h w -> b g (c h w)", g=groups), dim=-1)
    return mean, var


class Block(nn.Module):
    """One context-enhanced sparse convolution: 3 x 3 where the mask is 1, CE-GN, plus the global feature (equation 4)."""

    def __init__(self, inputs: int, outputs: int, groups: int, norm: str):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = SparseNorm(outputs, groups, norm)


class Branch(nn.Module):
    """The class or the box branch of the sparse head: mask, global feature, blocks, prediction."""

    def __init__(self, config: Config, outputs: int, base: float):
        super().__init__()
        width, head = config.width, config.head_width
        self.mask = nn.Conv2d(width, 1, 3, padding=1)
        self.context = nn.Conv2d(width, head, 1)
        self.blocks = nn.ModuleList(
            Block(width if k == 0 else head, head, config.groups, config.norm) for k in range(config.head_blocks)
        )
        self.predict = nn.Conv2d(head, outputs, 3, padding=1)
        self.groups, self.base, self.residual = config.groups, base, config.residual

    def forward(
        self, x: Float[Tensor, "batch channel h w"], gate: Float[Tensor, "batch 1 h w"]
    ) -> tuple[Float[Tensor, "batch out h w"], list[Float[Tensor, ""]]]:
        """Every position is computed and then multiplied by the mask, which lets the mask learn; used in training."""
        context, mismatch = self.context(x), []
        for block in self.blocks:
            features = block.conv(x)
            sparse = gate * block.norm(features, context, gate)
            with torch.no_grad():
                affine = (None, None) if block.norm.kind == "none" else (block.norm.weight, block.norm.bias)
                dense = gate * F.group_norm(features, self.groups, *affine, eps=EPSILON)
            mismatch.append(F.mse_loss(sparse, dense))
            x = F.relu(sparse + context if self.residual else sparse)
        return gate * self.predict(x) + self.base * (1 - gate), mismatch

    def sparse(
        self, x: Float[Tensor, "batch channel h w"], mask: Bool[Tensor, "batch 1 h w"]
    ) -> Float[Tensor, "batch out h w"]:
        """The same values, computed at the active positions alone: gather, matrix product, scatter; used in the test."""
        positions, batch = active_positions(mask), len(x)
        context = self.context(x)
        last = context.permute(0, 2, 3, 1).contiguous()
        moments = group_moments(context, self.groups) if self.blocks[0].norm.kind == "context" else None
        idle = F.relu(last) if self.residual else torch.zeros_like(last)
        offset = last[positions] if self.residual else 0.0
        x = x.permute(0, 2, 3, 1).contiguous()
        for block in self.blocks:
            rows = sparse_conv(x, positions, block.conv.weight, block.conv.bias)
            rows = F.relu(block.norm.rows(rows, positions[0], moments, batch) + offset)
            x = idle.clone()
            x[positions] = rows
        found = sparse_conv(x, positions, self.predict.weight, self.predict.bias)
        out = torch.full((*x.shape[:3], found.shape[1]), self.base, dtype=found.dtype, device=x.device)
        out[positions] = found
        return out.permute(0, 3, 1, 2)


class SparseHead(nn.Module):
    """CEASC's head: a class branch and a box branch with masks of their own, shared by all levels."""

    def __init__(self, config: Config):
        super().__init__()
        classes, sides = outputs(config)
        self.classify, self.regress = Branch(config, classes, BACKGROUND), Branch(config, sides, 0.0)
        self.scales = nn.Parameter(torch.ones(len(config.strides)))
        self.share = config.fixed_share if config.target == "fixed" else None

    def forward(
        self,
        features: Sequence[Float[Tensor, "batch channel h w"]],
        noise: Sequence[Float[Tensor, "batch 4 h w"]] | None = None,
        masks: Sequence[Bool[Tensor, "batch 2 h w"]] | None = None,
    ) -> Prediction:
        """Predictions of all levels; in training the masks are drawn with `noise`, in the test they are thresholded.

        `masks` replaces the learned ones in the test.
        """
        scores, sides, gates, mismatch = [], [], [], []
        for level, x in enumerate(features):
            found, gate, errors = [], [], []
            for k, branch in enumerate((self.classify, self.regress)):
                if self.training:
                    draws = None if noise is None else (noise[level][:, 2 * k, None], noise[level][:, 2 * k + 1, None])
                    mask = gumbel_gate(branch.mask(x), noise=draws)
                    values, missed = branch(x, mask)
                    errors += missed
                else:
                    chosen = masks[level][:, k : k + 1] if masks is not None else self.decide(branch.mask(x))
                    values, mask = branch.sparse(x, chosen), chosen.float()
                found.append(values)
                gate.append(mask)
            scores.append(found[0])
            sides.append(found[1] * self.scales[level])
            gates.append(torch.cat(gate, dim=1))
            mismatch.append(torch.stack(errors) if errors else torch.zeros(0))
        return Prediction(scores, sides, gates, torch.stack(mismatch))

    def decide(self, logits: Float[Tensor, "batch 1 h w"]) -> Bool[Tensor, "batch 1 h w"]:
        """The mask in the test, without noise: the logit's sign, or exactly the fixed share of the positions."""
        return logits >= 0 if self.share is None else top_share(logits, self.share)


class DenseHead(nn.Module):
    """The base detector's head: convolution, group norm (GFL only), ReLU, at every position."""

    def __init__(self, config: Config):
        super().__init__()
        head = config.head_width

        def tower() -> nn.Sequential:
            parts: list[nn.Module] = []
            for k in range(config.head_blocks):
                normed = config.detector == "gfl"
                parts.append(nn.Conv2d(config.width if k == 0 else head, head, 3, padding=1, bias=not normed))
                parts += [nn.GroupNorm(config.groups, head)] if normed else []
                parts.append(nn.ReLU())
            return nn.Sequential(*parts)

        classes, sides = outputs(config)
        self.classify, self.regress = tower(), tower()
        self.predict_classes, self.predict_sides = nn.Conv2d(head, classes, 3, 1, 1), nn.Conv2d(head, sides, 3, 1, 1)
        self.scales = nn.Parameter(torch.ones(len(config.strides)))

    def forward(self, features: Sequence[Float[Tensor, "batch channel h w"]]) -> Prediction:
        scores = [self.predict_classes(self.classify(x)) for x in features]
        sides = [self.predict_sides(self.regress(x)) * s for x, s in zip(features, self.scales, strict=True)]
        masks = [torch.ones_like(x[:, :2]) for x in scores]
        return Prediction(scores, sides, masks, torch.zeros(len(features), 0, device=scores[0].device))


class Detector(nn.Module):
    """Trunk, feature pyramid and head."""

    def __init__(self, config: Config):
        super().__init__()
        small = config.depth not in (18, 50)
        self.trunk = SmallTrunk(config.trunk_widths) if small else ResNetTrunk(config.depth)
        self.pyramid = Pyramid(self.trunk.widths, config.width, len(config.strides) - 3, config.pyramid_groups)
        self.head = SparseHead(config) if config.head == "sparse" else DenseHead(config)
        start_weights(self.head)

    def features(self, image: Float[Tensor, "batch 3 h w"]) -> list[Tensor]:
        return self.pyramid(self.trunk(image))

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Prediction:
        return self.head(self.features(image))


def start_weights(head: nn.Module) -> None:
    """Normal weights, and class biases for a first score of 0.01, as detectors start.

    The deviation is 0.01 at 512 channels and grows as channels get fewer, so that features start as large as in the paper's
    head; were they smaller than the global feature, the normalisation loss would at first close the mask on the objects.
    """
    classes = head.classify.predict if isinstance(head, SparseHead) else head.predict_classes
    for name, module in head.named_modules():
        if isinstance(module, nn.Conv2d) and not name.endswith(("mask", "context")):
            last = "predict" in name
            nn.init.normal_(module.weight, std=0.01 if last else 0.01 * math.sqrt(512 / module.in_channels))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.constant_(classes.bias, -4.59512)


def build(config: Config) -> Detector:
    """GFL or RetinaNet, with a dense or a sparse head."""
    return Detector(config)


def counted(model: Detector) -> nn.Module:
    """The head: what the released code's count is of."""
    return model.head


def outputs(config: Config) -> tuple[int, int]:
    """Channels of the two predictions: one anchor and distributions over distances (GFL), or nine and deltas (RetinaNet)."""
    if config.detector == "gfl":
        return config.classes, 4 * (config.reg_max + 1)
    return 9 * config.classes, 9 * 4


def anchors(
    config: Config, sizes: Sequence[tuple[int, int]], device: torch.device | str = "cpu"
) -> Float[Tensor, "anchor 4"]:
    """One square an entry of the map (GFL), or three shapes at three sizes (RetinaNet)."""
    if config.detector == "gfl":
        return grid_anchors(sizes, config.strides, (config.anchor_scale,), device=device)
    scales = [config.anchor_scale * 2 ** (k / 3) for k in range(3)]
    return grid_anchors(sizes, config.strides, scales, (0.5, 1.0, 2.0), device)


def head_macs(
    config: Config, sizes: Sequence[tuple[int, int]], active: Sequence[tuple[float, float]] | None = None
) -> float:
    """Multiply-accumulates of the head for one image; `active` are the computed positions of both branches, by level.

    The mask's convolution and the dense 1 x 1 convolution are counted at every position.
    """
    width, head, blocks = config.width, config.head_width, config.head_blocks
    total = 0.0
    for level, (height, wide) in enumerate(sizes):
        for k, channels in enumerate(outputs(config)):
            computed = height * wide if config.head == "dense" else active[level][k]
            total += 9 * computed * (width * head + (blocks - 1) * head**2 + head * channels)
            if config.head == "sparse":
                total += height * wide * (9 * width + width * head)
    return total
