"""Boxes: overlaps by hand, codings that invert each other."""

import pytest
import torch

from vislab.ops import boxes as ops

A = torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 3.0, 5.0]])
B = torch.tensor([[2.0, 2.0, 6.0, 6.0], [8.0, 8.0, 9.0, 9.0]])


def test_iou_and_giou_by_hand():
    assert ops.iou(A[0], B[0]).item() == pytest.approx(4 / 28)
    assert ops.giou(A[0], B[0]).item() == pytest.approx(4 / 28 - (36 - 28) / 36)
    assert ops.giou(A[0], B[1]).item() == pytest.approx(-(81 - 17) / 81)
    assert ops.pairwise_iou(A, B).shape == (2, 2) and ops.pairwise_iou(A, A).diagonal().tolist() == pytest.approx(
        [1, 1]
    )


def test_codings_invert_each_other():
    points = torch.tensor([[2.0, 3.0], [1.5, 2.0]])
    assert torch.allclose(ops.from_distances(points, ops.to_distances(points, A)), A)
    assert torch.allclose(ops.from_deltas(B, ops.to_deltas(B, A)), A, atol=1e-5)
    assert ops.to_deltas(A, A).abs().max() < 1e-6


def test_suppression_keeps_groups_apart():
    boxes, scores = torch.stack([A[0], A[0] + 0.2, B[1]]), torch.tensor([0.5, 0.9, 0.1])
    assert ops.suppress(boxes, scores, torch.zeros(3, dtype=torch.long), 0.5).tolist() == [1, 2]
    assert ops.suppress(boxes, scores, torch.tensor([0, 1, 0]), 0.5).tolist() == [1, 0, 2]
