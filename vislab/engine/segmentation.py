"""Intersection over union by class and by group of classes, from one confusion matrix over all pictures."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

IGNORED = 255


def confusion(
    prediction: Int[Tensor, "*pixels"], label: Int[Tensor, "*pixels"], classes: int
) -> Int[Tensor, "classes classes"]:
    """Pixels by label (row) and prediction (column); those labelled `IGNORED` do not count.

    Matrices of parts add up to the matrix of the whole.
    Raises ValueError for a label or a prediction outside [0, classes).
    """
    seen = label != IGNORED
    rows, columns = label[seen].long(), prediction[seen].long()
    if rows.numel() and (min(rows.min(), columns.min()) < 0 or max(rows.max(), columns.max()) >= classes):
        raise ValueError(f"labels and predictions must lie in [0, {classes})")
    return torch.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def class_iou(matrix: Int[Tensor, "classes classes"]) -> Float[Tensor, " classes"]:
    """IoU of each class, percent; NaN for a class that is neither labelled nor predicted."""
    hits = matrix.diagonal().double()
    return 100 * hits / (matrix.sum(dim=0) + matrix.sum(dim=1) - hits)


def group_iou(matrix: Int[Tensor, "classes classes"], groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """{"miou_<group>": mean IoU of its classes, percent}; classes without a pixel are left out, a group without any is NaN."""
    by_class = class_iou(matrix)
    return {f"miou_{name}": float(by_class[list(members)].nanmean()) for name, members in groups.items()}
