"""Axis-aligned boxes (x0, y0, x1, y1): overlaps, codings by distances and by deltas, suppression."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

EPSILON = 1e-6


def area(boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Width times height; 0 where a box is turned inside out."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def iou(a: Float[Tensor, "*batch 4"], b: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Intersection over union of boxes in pairs; leading dimensions broadcast."""
    both = _intersection(a, b)
    return both / (area(a) + area(b) - both).clamp(min=EPSILON)


def pairwise_iou(a: Float[Tensor, "*batch n 4"], b: Float[Tensor, "*batch m 4"]) -> Float[Tensor, "*batch n m"]:
    """Intersection over union of every box of `a` with every box of `b`."""
    return iou(a[..., :, None, :], b[..., None, :, :])


def giou(a: Float[Tensor, "*batch 4"], b: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Generalised IoU in (-1, 1]: IoU minus the share of the hull that neither box covers (Rezatofighi et al. 2019)."""
    both = _intersection(a, b)
    union = (area(a) + area(b) - both).clamp(min=EPSILON)
    hull = torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], dim=-1)
    around = area(hull).clamp(min=EPSILON)
    return both / union - (around - union) / around


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    return (high - low).clamp(min=0).prod(dim=-1)


def centres(boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 2"]:
    """Middle (x, y) of every box."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def to_distances(points: Float[Tensor, "*batch 2"], boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Distances of a point to the left, top, right and bottom side; negative outside of the box."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def from_distances(
    points: Float[Tensor, "*batch 2"], distances: Float[Tensor, "*batch 4"]
) -> Float[Tensor, "*batch 4"]:
    """The inverse of `to_distances`."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def to_deltas(anchors: Float[Tensor, "*batch 4"], boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Shift of the centre in anchor sizes and logarithm of the ratio of sizes (R-CNN's coding)."""
    size, wanted = anchors[..., 2:] - anchors[..., :2], (boxes[..., 2:] - boxes[..., :2]).clamp(min=EPSILON)
    return torch.cat([(centres(boxes) - centres(anchors)) / size, torch.log(wanted / size)], dim=-1)


def from_deltas(
    anchors: Float[Tensor, "*batch 4"], deltas: Float[Tensor, "*batch 4"], limit: float = 4.135
) -> Float[Tensor, "*batch 4"]:
    """The inverse of `to_deltas`; the logarithm of sizes is cut to plus or minus `limit` (log(1000 / 16))."""
    size = anchors[..., 2:] - anchors[..., :2]
    middle = centres(anchors) + deltas[..., :2] * size
    half = size * deltas[..., 2:].clamp(-limit, limit).exp() / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def suppress(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], groups: Int[Tensor, " n"], threshold: float
) -> Int[Tensor, " kept"]:
    """Indices that survive non-maximum suppression within each group, by falling score (torchvision's batched NMS)."""
    from torchvision.ops import batched_nms

    return batched_nms(boxes, scores, groups, threshold)
