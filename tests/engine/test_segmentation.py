"""Intersection over union against scikit-learn, ignored pixels, groups, and matrices that add up."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from vislab.engine.segmentation import class_iou, confusion, group_iou

RANDOM = np.random.default_rng(0)
LABEL = torch.from_numpy(RANDOM.integers(0, 4, (3, 20, 20)))
TOLD = torch.where(
    torch.from_numpy(RANDOM.random((3, 20, 20))) < 0.6, LABEL, torch.from_numpy(RANDOM.integers(0, 4, (3, 20, 20)))
)


def test_iou_is_scikit_learns_jaccard_score():
    found = class_iou(confusion(TOLD, LABEL, 4))
    expected = 100 * jaccard_score(LABEL.flatten(), TOLD.flatten(), average=None)
    assert found.tolist() == pytest.approx(expected.tolist())


def test_ignored_pixels_count_nowhere():
    label = LABEL.clone()
    label[:, :10] = 255
    assert torch.equal(confusion(TOLD, label, 4), confusion(TOLD[:, 10:], LABEL[:, 10:], 4))


def test_matrices_of_parts_add_up():
    parts = sum(confusion(t, y, 4) for t, y in zip(TOLD, LABEL, strict=True))
    assert torch.equal(parts, confusion(TOLD, LABEL, 4)) and int(parts.sum()) == LABEL.numel()


def test_groups_leave_out_classes_without_a_pixel():
    matrix = confusion(torch.tensor([0, 1, 1, 3]), torch.tensor([0, 1, 3, 3]), 5)
    found = group_iou(matrix, {"first": (0, 1), "second": (2, 3), "none": (2, 4)})
    assert found["miou_first"] == pytest.approx(75) and found["miou_second"] == pytest.approx(50)
    assert np.isnan(found["miou_none"])


def test_labels_outside_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        confusion(torch.tensor([3]), torch.tensor([0]), 3)
