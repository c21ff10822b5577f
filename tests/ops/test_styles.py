"""Styles: statistics by hand, exact restyling, identities."""

import pytest
import torch

from vislab.ops.styles import mixed, plain, restyled, style, swapped


@pytest.fixture
def maps():
    return torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1


def test_a_restyled_map_has_the_style_and_the_content(maps):
    mean, std = torch.rand(4, 3), 0.5 + torch.rand(4, 3)
    found = restyled(maps, mean, std)
    after = style(found)
    assert torch.allclose(after[0], mean, atol=1e-5) and torch.allclose(after[1], std, rtol=1e-3)
    assert torch.allclose(plain(found), plain(maps), atol=1e-4)


def test_its_own_style_changes_nothing(maps):
    assert torch.allclose(restyled(maps, *style(maps)), maps, atol=1e-5)
    assert torch.allclose(swapped(maps, torch.arange(4)), maps, atol=1e-5)


def test_swapping_exchanges_statistics(maps):
    order = torch.tensor([1, 0, 3, 2])
    before, after = style(maps), style(swapped(maps, order))
    assert torch.allclose(after[0], before[0][order], atol=1e-5)
    assert torch.allclose(swapped(swapped(maps, order), order), maps, atol=1e-3)


def test_mixing_runs_from_the_other_style_to_the_own_one(maps):
    order = torch.tensor([1, 2, 3, 0])
    assert torch.allclose(mixed(maps, order, torch.ones(4)), maps, atol=1e-5)
    assert torch.allclose(mixed(maps, order, torch.zeros(4)), swapped(maps, order), atol=1e-5)
    half = style(mixed(maps, order, torch.full((4,), 0.5)))[0]
    assert torch.allclose(half, (style(maps)[0] + style(maps)[0][order]) / 2, atol=1e-5)


def test_gradients_reach_the_statistics(maps):
    mean, std = (v.requires_grad_() for v in style(maps))
    (restyled(maps.detach(), mean, std) ** 2).sum().backward()
    assert mean.grad.abs().min() > 0 and std.grad.abs().min() > 0
