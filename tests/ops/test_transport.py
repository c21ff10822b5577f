"""Optimal transport: marginals, limits of the entropy, closed forms."""

import itertools

import pytest
import torch

from vislab.ops.transport import barycentre, exact, gaussian_distance, sinkhorn


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(4, 2, generator=generator).double(), torch.rand(4, 2, generator=generator).double()
    even = torch.full((4,), 0.25, dtype=torch.float64)
    return even, even, torch.cdist(a, b)


def test_a_plan_has_its_marginals(problem):
    source, target, cost = problem
    plan = sinkhorn(source, target, cost, 0.05)
    assert torch.allclose(plan.sum(dim=1), source, atol=1e-4) and torch.allclose(plan.sum(dim=0), target, atol=1e-4)


def test_little_entropy_gives_the_best_assignment_and_much_gives_the_product(problem):
    source, target, cost = problem
    best = min(sum(cost[k, p[k]] for k in range(4)) / 4 for p in itertools.permutations(range(4)))
    assert float((exact(source, target, cost) * cost).sum()) == pytest.approx(float(best), abs=1e-9)
    assert float((sinkhorn(source, target, cost, 1e-3, 20_000) * cost).sum()) == pytest.approx(float(best), abs=1e-3)
    assert torch.allclose(sinkhorn(source, target, cost, 1e3), source[:, None] * target, atol=1e-4)


def test_a_barycentre_of_one_point_is_the_mean():
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(1)).double()
    assert torch.allclose(barycentre(points, 1, points[:1]), points.mean(dim=0, keepdim=True), atol=1e-8)


def test_a_barycentre_of_two_points_finds_two_clusters():
    generator = torch.Generator().manual_seed(2)
    left, right = (
        torch.randn(30, 2, generator=generator).double() * 0.1,
        torch.randn(30, 2, generator=generator).double() * 0.1 + 5,
    )
    found = barycentre(torch.cat([left, right]), 2, torch.tensor([[1.0, 1.0], [3.0, 3.0]], dtype=torch.float64))
    assert torch.allclose(found, torch.stack([left.mean(0), right.mean(0)]), atol=1e-6)


def test_gaussians_of_equal_spread_are_as_far_apart_as_their_means():
    mean, var = torch.tensor([0.0, 0.0]), torch.tensor([2.0, 3.0])
    assert float(gaussian_distance(mean, var, mean + torch.tensor([3.0, 4.0]), var)) == pytest.approx(25.0)
    assert float(gaussian_distance(mean, var, mean, 4 * var)) == pytest.approx(5.0, rel=1e-5)
