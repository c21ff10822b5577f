"""Masks and the sparse convolution: the same values as the dense one, fewer products, a gradient through a binary draw."""

import torch
from torch.nn import functional as F

from vislab.engine.measure import macs
from vislab.nn.gating import active_positions, gumbel_gate, sparse_conv, top_share

X = torch.randn(2, 5, 9, 7, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(1))
BIAS = torch.randn(4, generator=torch.Generator().manual_seed(2))


def test_sparse_convolution_equals_the_dense_one_where_active():
    mask = top_share(X[:, :1], 0.3)
    image, row, column = active_positions(mask)
    rows = sparse_conv(X.permute(0, 2, 3, 1), (image, row, column), WEIGHT, BIAS)
    dense = F.conv2d(X, WEIGHT, BIAS, padding=1)
    assert torch.allclose(rows, dense[image, :, row, column], atol=1e-5)


def test_work_is_proportional_to_the_active_positions():
    positions = active_positions(top_share(X[:, :1], 0.25))
    counted = macs(lambda: sparse_conv(X.permute(0, 2, 3, 1), positions, WEIGHT))
    assert counted == len(positions[0]) * 9 * 5 * 4 < macs(lambda: F.conv2d(X, WEIGHT, padding=1)) / 3


def test_no_active_position_is_no_row():
    none = torch.zeros(2, 1, 9, 7, dtype=torch.bool)
    assert sparse_conv(X.permute(0, 2, 3, 1), active_positions(none), WEIGHT, BIAS).shape == (0, 4)


def test_a_gate_is_binary_and_passes_the_sigmoids_gradient():
    logits = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    half = torch.full((3,), 0.5)
    gate = gumbel_gate(logits, noise=(half, half))
    assert gate.tolist() == [0.0, 1.0, 1.0]
    gate.sum().backward()
    p = logits.detach().sigmoid()
    assert torch.allclose(logits.grad, p * (1 - p))


def test_top_share_is_exact():
    assert top_share(X[:, :1], 0.1).flatten(1).sum(dim=1).tolist() == [6, 6]
