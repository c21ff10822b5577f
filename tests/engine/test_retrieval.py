"""Retrieval measures against scikit-learn and by hand."""

import pytest
import torch
from sklearn.metrics import average_precision_score

from vislab.engine.retrieval import average_precision, recall_at


def test_average_precision_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    scores, relevant = torch.rand(6, 40, generator=generator), torch.rand(6, 40, generator=generator) < 0.3
    expected = [average_precision_score(r.numpy(), s.numpy()) for r, s in zip(relevant, scores, strict=True)]
    assert average_precision(scores, relevant).tolist() == pytest.approx(expected, abs=1e-6)


def test_by_hand_with_ties_against_the_query():
    relevant = torch.tensor([[True, False, True, False]])
    assert float(average_precision(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), relevant)) == pytest.approx((1 + 2 / 3) / 2)
    assert float(average_precision(torch.zeros(1, 4), relevant)) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert torch.isnan(average_precision(torch.rand(1, 3), torch.zeros(1, 3).bool())).all()


def test_recall_at_a_count():
    scores, relevant = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([[0, 1, 0], [0, 0, 1]]).bool()
    assert recall_at(scores, relevant, 1).tolist() == [0, 0]
    assert recall_at(scores, relevant, 2).tolist() == [1, 0]
    assert recall_at(scores, relevant, 9).tolist() == [1, 1]
