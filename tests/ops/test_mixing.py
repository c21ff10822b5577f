"""Mixup."""

import torch

from vislab.ops import counter
from vislab.ops.mixing import mixup


def test_mixup_is_a_convex_combination_with_the_items_it_names():
    images, labels = torch.arange(8.0)[:, None].expand(8, 4), torch.arange(8)
    with counter.scope(0, "noise", "mix"):
        mixed, first, second, share = mixup(images, labels, 0.4)
    assert torch.equal(first, labels) and sorted(second.tolist()) == labels.tolist()
    expected = share * first[:, None] + (1 - share) * second[:, None]
    assert torch.allclose(mixed, expected.expand(8, 4).float())
    assert 0 <= share <= 1


def test_small_alpha_mixes_little():
    with counter.scope(0, "noise", "mix"):
        shares = torch.tensor([mixup(torch.zeros(2, 1), torch.zeros(2), 0.1)[3] for _ in range(300)])
    assert float(((shares < 0.1) | (shares > 0.9)).float().mean()) > 0.6
