"""Average precision of detections, as COCO defines it, vectorised over images, classes and thresholds.

torchmetrics' version needs a compiled COCO package that is not among our libraries.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops.boxes import pairwise_iou

THRESHOLDS = tuple(0.5 + 0.05 * k for k in range(10))
RECALLS = 101


def match(
    boxes: Float[Tensor, "image detection 4"],
    scores: Float[Tensor, "image detection"],
    labels: Int[Tensor, "image detection"],
    true_boxes: Float[Tensor, "image object 4"],
    true_labels: Int[Tensor, "image object"],
    thresholds: Sequence[float] = THRESHOLDS,
) -> Tensor:
    """(threshold, image, detection) bool: whether each detection is a true positive.

    By falling score each detection takes the free object of its class with the highest IoU of at least the threshold.
    Absent detections have label -1, absent objects too.
    """
    same = (labels[:, :, None] == true_labels[:, None]) & (labels[:, :, None] >= 0)
    overlap = torch.where(same, pairwise_iou(boxes, true_boxes), torch.zeros(()))
    order = scores.masked_fill(labels < 0, -torch.inf).argsort(dim=1, descending=True, stable=True)
    limits = torch.tensor(thresholds)[:, None]
    free = torch.ones(len(limits), *true_labels.shape, dtype=torch.bool)
    hit = torch.zeros(len(limits), *labels.shape, dtype=torch.bool)
    rows = torch.arange(len(labels))
    # one detection of every image at a time, because a match takes its object away from the next
    for rank in range(labels.shape[1]):
        place = order[:, rank]
        value, which = (overlap[rows, place] * free).max(dim=2)
        matched = value >= limits - 1e-9
        hit[:, rows, place] = matched
        taken = torch.zeros_like(free).scatter(2, which[..., None], matched[..., None])
        free &= ~taken
    return hit


def average_precision(
    boxes: Float[Tensor, "image detection 4"],
    scores: Float[Tensor, "image detection"],
    labels: Int[Tensor, "image detection"],
    true_boxes: Float[Tensor, "image object 4"],
    true_labels: Int[Tensor, "image object"],
    classes: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Float[Tensor, "threshold classes"]:
    """Precision averaged over 101 recalls, the highest precision at that recall or above; NaN for a class without objects."""
    hit = match(boxes, scores, labels, true_boxes, true_labels, thresholds)
    found = torch.full((len(thresholds), classes), torch.nan, dtype=torch.float64)
    levels = torch.linspace(0, 1, RECALLS, dtype=torch.float64)
    for label in range(classes):
        count = int((true_labels == label).sum())
        if not count:
            continue
        mine = labels == label
        order = scores[mine].argsort(descending=True, stable=True)
        right = hit[:, mine][:, order].double().cumsum(dim=1)
        if not right.shape[1]:
            found[:, label] = 0
            continue
        precision = right / torch.arange(1, right.shape[1] + 1)
        envelope = precision.flip(1).cummax(dim=1).values.flip(1)
        recall = (right / count).contiguous()
        place = torch.searchsorted(recall, levels.expand(len(recall), -1).contiguous())
        padded = torch.nn.functional.pad(envelope, (0, 1))
        found[:, label] = padded.gather(1, place).mean(dim=1)
    return found


def summary(precision: Float[Tensor, "threshold classes"]) -> dict[str, float]:
    """`map` over all thresholds, `map_50` and `map_75`, percent, of a table over the ten `THRESHOLDS`."""
    by_threshold = 100 * precision.nanmean(dim=1)
    return {"map": float(by_threshold.mean()), "map_50": float(by_threshold[0]), "map_75": float(by_threshold[5])}
