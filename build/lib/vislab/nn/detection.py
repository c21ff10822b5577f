"""One-stage detection: trunk and feature pyramid, anchors, assigners, the losses of RetinaNet and of GFL."""

from collections.abc import Sequence
from functools import partial

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.ops import boxes as ops


class SmallTrunk(nn.Module):
    """A residual network for small pictures: one basic block a stage, features at strides 4, 8, 16, ..."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        from torchvision.models.resnet import BasicBlock

        self.widths = tuple(widths)
        stages, width = [], widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        for wider in widths:
            shortcut = nn.Sequential(nn.Conv2d(width, wider, 1, 2, bias=False), nn.BatchNorm2d(wider))
            stages.append(BasicBlock(width, wider, 2, shortcut))
            width = wider
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> list[Tensor]:
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class ResNetTrunk(nn.Module):
    """torchvision's ResNet-18 (`depth` 18) or ResNet-50, features at strides 8, 16 and 32, random weights."""

    def __init__(self, depth: int = 18):
        super().__init__()
        from torchvision import models
        from torchvision.models._utils import IntermediateLayerGetter

        network = {18: models.resnet18, 50: models.resnet50}[depth](weights=None)
        self.widths = (128, 256, 512) if depth == 18 else (512, 1024, 2048)
        self.body = IntermediateLayerGetter(network, {"layer2": "0", "layer3": "1", "layer4": "2"})

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> list[Tensor]:
        return list(self.body(x).values())


class Pyramid(nn.Module):
    """A feature pyramid (torchvision's), with `extra` coarser levels made by strided convolutions of its last output.

    With `groups` a group norm follows each of the pyramid's own convolutions.
    """

    def __init__(self, widths: Sequence[int], channels: int, extra: int = 0, groups: int = 0):
        super().__init__()
        from torchvision.ops import FeaturePyramidNetwork

        norm = partial(nn.GroupNorm, groups) if groups else None
        self.levels = FeaturePyramidNetwork(list(widths), channels, norm_layer=norm)
        self.extra = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(extra))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        found = list(self.levels({str(k): value for k, value in enumerate(features)}).values())
        for convolution in self.extra:
            found.append(convolution(found[-1]))
        return found


# -- anchors ----------------------------------------------------------------------------------------------------------


def grid_anchors(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    scales: Sequence[float] = (8.0,),
    ratios: Sequence[float] = (1.0,),
    device: torch.device | str = "cpu",
) -> Float[Tensor, "anchor 4"]:
    """Anchors of all levels, row by row; at every cell ratio by ratio (height / width), scale by scale (in strides).

    The anchors of cell (x, y) are centred on (x, y) times the stride.
    """
    found = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        root = torch.tensor(ratios, device=device).sqrt()[:, None]
        side = stride * torch.tensor(scales, device=device)
        shape = torch.stack([(side / root).flatten(), (side * root).flatten()], dim=-1)
        y, x = torch.meshgrid(
            torch.arange(height, device=device) * stride, torch.arange(width, device=device) * stride, indexing="ij"
        )
        middle = torch.stack([x, y], dim=-1).reshape(-1, 1, 2).float()
        found.append(torch.cat([middle - shape / 2, middle + shape / 2], dim=-1).reshape(-1, 4))
    return torch.cat(found)


def assign_atss(
    anchors: Float[Tensor, "anchor 4"],
    counts: Sequence[int],
    boxes: Float[Tensor, "batch object 4"],
    present: Bool[Tensor, "batch object"],
    nearest: int = 9,
) -> Int[Tensor, "batch anchor"]:
    """The object of every anchor, -1 for background, by ATSS (Zhang et al. 2020).

    Candidates of an object are the `nearest` anchors of each level; those whose IoU reaches the candidates' mean plus one
    standard deviation and whose centre lies inside are positive. `counts` are the anchors of each level.
    """
    points = ops.centres(anchors)
    distance = torch.cdist(ops.centres(boxes), points.expand(len(boxes), -1, -1))
    overlap = ops.pairwise_iou(boxes, anchors.expand(len(boxes), -1, -1))
    candidates, start = [], 0
    for count in counts:
        near = distance[..., start : start + count].topk(min(nearest, count), largest=False).indices
        candidates.append(near + start)
        start += count
    chosen = torch.cat(candidates, dim=-1)
    values = overlap.gather(2, chosen)
    enough = values.mean(dim=-1, keepdim=True) + values.std(dim=-1, keepdim=True)
    inside = ops.to_distances(points[chosen], boxes[:, :, None]).amin(dim=-1) > 0.01
    positive = (values >= enough) & inside & present[..., None]
    score = torch.full_like(overlap, -1.0).scatter(2, chosen, torch.where(positive, values, -torch.ones_like(values)))
    best, owner = score.max(dim=1)
    return torch.where(best > 0, owner, -torch.ones_like(owner))


def assign_iou(
    anchors: Float[Tensor, "anchor 4"],
    boxes: Float[Tensor, "batch object 4"],
    present: Bool[Tensor, "batch object"],
    high: float = 0.5,
    low: float = 0.4,
) -> Int[Tensor, "batch anchor"]:
    """The object of every anchor by IoU (RetinaNet): -1 background, -2 neither; every object keeps its best anchors."""
    overlap = ops.pairwise_iou(boxes, anchors.expand(len(boxes), -1, -1))
    overlap = torch.where(present[..., None], overlap, -torch.ones_like(overlap))
    best, owner = overlap.max(dim=1)
    found = torch.where(best >= high, owner, torch.where(best < low, -1, -2))
    top = overlap.amax(dim=2, keepdim=True)
    forced = (overlap == top) & (top > 0)
    return torch.where(forced.any(dim=1), torch.where(forced, overlap, -torch.ones_like(overlap)).argmax(dim=1), found)


# -- losses -----------------------------------------------------------------------------------------------------------


def focal(
    logits: Float[Tensor, "*batch classes"],
    target: Float[Tensor, "*batch classes"],
    gamma: float = 2.0,
    alpha: float = 0.25,
) -> Float[Tensor, "*batch classes"]:
    """Focal loss of every logit (Lin et al. 2017), torchvision's."""
    from torchvision.ops import sigmoid_focal_loss

    return sigmoid_focal_loss(logits, target, alpha=alpha, gamma=gamma)


def quality_focal(
    logits: Float[Tensor, "*batch classes"], target: Float[Tensor, "*batch classes"], beta: float = 2.0
) -> Float[Tensor, "*batch classes"]:
    """Quality focal loss (Li et al. 2020): cross-entropy with a soft target, times |target - p| to the power beta."""
    gap = (target - logits.sigmoid()).abs()
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none") * gap**beta


def distribution_focal(
    logits: Float[Tensor, "*batch bins"], target: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Cross-entropy at the two bins around a real target, weighted by nearness (Li et al. 2020)."""
    low = target.floor()
    logs = logits.log_softmax(dim=-1)
    left = -logs.gather(-1, low.long()[..., None])[..., 0]
    right = -logs.gather(-1, low.long()[..., None] + 1)[..., 0]
    return left * (low + 1 - target) + right * (target - low)


def expected_distance(logits: Float[Tensor, "*batch four_bins"], bins: int) -> Float[Tensor, "*batch 4"]:
    """Mean of the softmax over `bins` bins of each side, in strides."""
    sides = rearrange(logits, "... (side bin) -> ... side bin", bin=bins).softmax(dim=-1)
    return sides @ torch.arange(bins, dtype=logits.dtype, device=logits.device)


def flatten_levels(
    levels: Sequence[Float[Tensor, "batch _ h w"]], anchors: int = 1
) -> Float[Tensor, "batch anchor channel"]:
    """Predictions of all levels in the order of `grid_anchors`."""
    return torch.cat([rearrange(p, "b (a c) h w -> b (h w a) c", a=anchors) for p in levels], dim=1)


def by_level(values: Tensor, level: Int[Tensor, " n"], levels: int) -> Float[Tensor, " level"]:
    """Sum of `values` (n) of each level."""
    return torch.zeros(levels, dtype=values.dtype, device=values.device).index_add(0, level, values)


def gfl_losses(
    scores: Float[Tensor, "batch anchor classes"],
    sides: Float[Tensor, "batch anchor four_bins"],
    anchors: Float[Tensor, "anchor 4"],
    stride: Float[Tensor, " anchor"],
    level: Int[Tensor, " anchor"],
    owner: Int[Tensor, "batch anchor"],
    boxes: Float[Tensor, "batch object 4"],
    labels: Int[Tensor, "batch object"],
    bins: int,
) -> dict[str, Float[Tensor, " level"]]:
    """Quality focal, GIoU and distribution focal loss of each level, unweighted (GFL, Li et al. 2020).

    `gap` is the plain mean of 1 - GIoU over the positives, to be watched: the weighted losses first grow with the scores.
    A positive's target score is the IoU of its box with the object; box losses are weighted by the highest score.
    """
    levels = int(level.max()) + 1
    image, place = (owner >= 0).nonzero(as_tuple=True)
    mine = owner[image, place]
    points = ops.centres(anchors)[place] / stride[place, None]
    wanted = boxes[image, mine] / stride[place, None]
    predicted = ops.from_distances(points, expected_distance(sides[image, place], bins))
    target = torch.zeros_like(scores)
    target[image, place, labels[image, mine]] = ops.iou(predicted.detach(), wanted)
    quality = quality_focal(scores, target).sum(dim=-1)
    positives = (owner >= 0).sum(dim=1).clamp(min=1).sum()
    weight = scores.detach().sigmoid().amax(dim=-1)[image, place]
    total = weight.sum().clamp(min=1)
    gap = 1 - ops.giou(predicted, wanted)
    distances = ops.to_distances(points, wanted).clamp(0, bins - 1 - 0.1)
    side = (
        distribution_focal(rearrange(sides[image, place], "n (s b) -> n s b", b=bins), distances).mean(dim=-1) * weight
    )
    return {
        "classes": by_level(quality.sum(dim=0), level, levels) / positives,
        "boxes": by_level(gap * weight, level[place], levels) / total,
        "sides": by_level(side, level[place], levels) / total,
        "gap": gap.detach().mean() if len(gap) else gap.sum(),
    }


def retina_losses(
    scores: Float[Tensor, "batch anchor classes"],
    deltas: Float[Tensor, "batch anchor 4"],
    anchors: Float[Tensor, "anchor 4"],
    owner: Int[Tensor, "batch anchor"],
    boxes: Float[Tensor, "batch object 4"],
    labels: Int[Tensor, "batch object"],
) -> dict[str, Float[Tensor, ""]]:
    """Focal loss over all decided anchors and L1 on the positives' deltas, both over the number of positives (RetinaNet)."""
    image, place = (owner >= 0).nonzero(as_tuple=True)
    mine = owner[image, place]
    target = torch.zeros_like(scores)
    target[image, place, labels[image, mine]] = 1
    count = max(1, len(place))
    classes = (focal(scores, target) * (owner != -2)[..., None]).sum() / count
    wanted = ops.to_deltas(anchors[place], boxes[image, mine])
    return {"classes": classes, "boxes": (deltas[image, place] - wanted).abs().sum() / count}
