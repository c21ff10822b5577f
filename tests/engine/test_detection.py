"""Average precision: by hand, and against a plain implementation on random detections."""

import pytest
import torch

from vislab.engine.detection import average_precision, summary
from vislab.ops.boxes import iou

BOX = [0.0, 0.0, 10.0, 10.0]


def test_perfect_detections_have_ap_100_and_none_has_0():
    boxes, labels = torch.tensor([[BOX, [20.0, 20, 30, 30]]]), torch.tensor([[0, 1]])
    table = average_precision(boxes, torch.tensor([[0.9, 0.8]]), labels, boxes, labels, 2)
    assert summary(table) == {"map": 100.0, "map_50": 100.0, "map_75": 100.0}
    none = torch.full((1, 2), -1)
    assert summary(average_precision(boxes, torch.zeros(1, 2), none, boxes, labels, 2))["map"] == 0


def test_a_second_hit_on_the_same_object_is_false():
    truth, label = torch.tensor([[BOX]]), torch.zeros(1, 1, dtype=torch.long)
    boxes = torch.tensor([[BOX, BOX, [50.0, 50, 60, 60]]])
    labels = torch.zeros(1, 3, dtype=torch.long)
    first = average_precision(boxes, torch.tensor([[0.9, 0.8, 0.7]]), labels, truth, label, 1)
    assert first[0, 0] == pytest.approx(1.0)
    late = average_precision(boxes, torch.tensor([[0.7, 0.6, 0.9]]), labels, truth, label, 1)
    assert late[0, 0] == pytest.approx(0.5)


def plain(boxes, scores, truth, threshold):
    """AP of one class, loop by loop."""
    rows = sorted(((s, i, k) for i, image in enumerate(scores) for k, s in enumerate(image)), reverse=True)
    free = [[True] * len(t) for t in truth]
    hits = []
    for _, i, k in rows:
        values = [float(iou(boxes[i][k], t)) if f else -1.0 for t, f in zip(truth[i], free[i], strict=True)]
        best = max(range(len(values)), key=values.__getitem__)
        hits.append(values[best] >= threshold)
        if hits[-1]:
            free[i][best] = False
    total, points = sum(map(len, truth)), []
    for n in range(1, len(hits) + 1):
        points.append((sum(hits[:n]) / total, sum(hits[:n]) / n))
    levels = torch.linspace(0, 1, 101, dtype=torch.float64).tolist()
    return sum(max((p for r, p in points if r >= level), default=0.0) for level in levels) / 101


def test_agrees_with_a_plain_implementation():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(4, 6, 2, generator=generator) * 20
    truth = torch.cat([corner, corner + 6], dim=-1)
    boxes = torch.cat([truth, truth], dim=1) + 3 * torch.randn(4, 12, 4, generator=generator)
    scores = torch.rand(4, 12, generator=generator)
    zero = torch.zeros(4, 12, dtype=torch.long)
    table = average_precision(boxes, scores, zero, truth, zero[:, :6], 1, (0.3, 0.5))
    for row, threshold in enumerate((0.3, 0.5)):
        assert float(table[row, 0]) == pytest.approx(plain(boxes, scores.tolist(), list(truth), threshold), abs=1e-9)


def test_a_class_without_objects_does_not_count():
    boxes, labels = torch.tensor([[BOX]]), torch.zeros(1, 1, dtype=torch.long)
    table = average_precision(boxes, torch.ones(1, 1), labels, boxes, labels, 3)
    assert torch.isnan(table[:, 1:]).all() and summary(table)["map"] == 100
