"""Volume rendering against closed forms; resampling against its density."""

import math

import pytest
import torch

from vislab.ops import counter
from vislab.ops.volume import composite, compositing_weights, intervals, resample, stratified


def test_constant_density_gives_beer_lambert():
    density, depth, count = 1.7, 2.0, 4000
    delta = torch.full((1, count), depth / count)
    weights = compositing_weights(torch.full((1, count), density), delta)
    assert float(weights.sum()) == pytest.approx(1 - math.exp(-density * depth), rel=1e-4)
    distance = (torch.arange(count) + 0.5) * depth / count
    mean = float(composite(weights, distance[None, :, None]))
    expected = (1 - math.exp(-density * depth)) / density - depth * math.exp(-density * depth)
    assert mean == pytest.approx(expected, rel=1e-3)


def test_weights_by_hand():
    alpha = torch.tensor([[0.5, 0.25, 1.0]])
    density = -torch.log(1 - alpha.clamp(max=1 - 1e-7))
    weights = compositing_weights(density, torch.ones(1, 3))
    assert weights[0].tolist() == pytest.approx([0.5, 0.125, 0.375], abs=1e-5)


def test_an_opaque_sample_hides_the_rest():
    weights = compositing_weights(torch.tensor([[0.0, 1e6, 5.0]]), torch.ones(1, 3))
    assert weights[0].tolist() == pytest.approx([0, 1, 0], abs=1e-6)


def test_intervals_and_their_last():
    assert intervals(torch.tensor([[1.0, 3.0, 3.5]]), last=9.0)[0].tolist() == [2.0, 0.5, 9.0]


def test_stratified_samples_stay_in_their_bins():
    with counter.scope(0, "noise", "jitter"):
        jitter = torch.rand(100, 8)
    samples = stratified(1.0, 5.0, 8, jitter)
    edges = torch.linspace(1, 5, 9)
    assert torch.all(samples >= edges[:-1]) and torch.all(samples <= edges[1:])
    assert torch.allclose(stratified(1.0, 5.0, 8, None), (edges[1:] + edges[:-1]) / 2)


def test_resampling_follows_the_weights():
    edges = torch.linspace(0, 4, 5).expand(2, 5)
    weights = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5]])
    samples = resample(edges, weights, 100)
    assert torch.all(samples.diff(dim=-1) >= 0)
    assert float(((samples[0] >= 1) & (samples[0] <= 2)).float().mean()) > 0.97
    assert float((samples[1] < 1).float().mean()) == pytest.approx(0.5, abs=0.03)
