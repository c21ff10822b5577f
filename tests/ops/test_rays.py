"""Ray parameterisations, intersections, contraction."""

import pytest
import torch

from vislab.ops.rays import (
    contract_distance,
    contract_points,
    expand_distance,
    plane_distance,
    pluecker,
    sphere_distance,
    two_plane,
)

RANDOM = torch.Generator().manual_seed(0)
ORIGIN = torch.randn(50, 3, generator=RANDOM)
DIRECTION = torch.nn.functional.normalize(torch.randn(50, 3, generator=RANDOM), dim=-1)


def test_pluecker_coordinates_belong_to_the_line_not_to_the_origin():
    moved = ORIGIN + 2.5 * DIRECTION
    assert torch.allclose(pluecker(ORIGIN, DIRECTION), pluecker(moved, 3 * DIRECTION), atol=1e-5)
    moment = pluecker(ORIGIN, DIRECTION)[:, 3:]
    assert torch.allclose((moment * DIRECTION).sum(-1), torch.zeros(50), atol=1e-5)


def test_two_plane_coordinates_are_points_of_the_line():
    direction = DIRECTION + torch.tensor([0.0, 0.0, 3.0])
    code = two_plane(ORIGIN, direction, -1.0, 0.5)
    for part, depth in ((code[:, :2], -1.0), (code[:, 2:], 0.5)):
        t = (depth - ORIGIN[:, 2]) / direction[:, 2]
        assert torch.allclose(part, (ORIGIN + t[:, None] * direction)[:, :2], atol=1e-4)


def test_plane_distance_lands_on_the_plane_and_survives_parallel_rays():
    depth = torch.tensor([[-0.5, 2.0]]).expand(50, 2)
    t = plane_distance(ORIGIN, DIRECTION, depth)
    landed = (ORIGIN[:, None] + t[..., None] * DIRECTION[:, None])[..., 2]
    assert torch.allclose(landed, depth, atol=1e-3)
    parallel = plane_distance(torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]]), torch.ones(1, 1))
    assert torch.isfinite(parallel).all()


def test_sphere_distance_from_outside_inside_and_past():
    origin = torch.tensor([[0.0, 0, -3], [0, 0, 0], [0, 2, -3]])
    direction = torch.tensor([[0.0, 0, 1]]).expand(3, 3)
    assert sphere_distance(origin, direction, torch.ones(3)).tolist() == pytest.approx([2, 1, 0], abs=1e-4)
    assert float(sphere_distance(origin[:1], direction[:1], -torch.ones(1))) == pytest.approx(4, abs=1e-4)


def test_contraction_keeps_the_near_and_inverts_the_far():
    distance = torch.tensor([-11.0, -0.4, 0.3, 0.99, 1.5, 6.0, 11.9])
    squeezed = contract_distance(distance, 1.0, 12.0)
    assert torch.allclose(squeezed[1:4], distance[1:4]) and squeezed.abs().max() < 2
    assert torch.all(squeezed.diff() > 0)
    assert torch.allclose(expand_distance(squeezed, 1.0, 12.0), distance, rtol=1e-4)
    assert float(contract_distance(torch.tensor(12.0), 1.0, 12.0)) == pytest.approx(2.0)


def test_contracted_points_keep_their_direction_and_agree_with_distances():
    points = DIRECTION * torch.linspace(0.2, 11, 50)[:, None]
    squeezed = contract_points(points, 1.0, 12.0)
    assert torch.allclose(torch.nn.functional.normalize(squeezed, dim=-1), DIRECTION, atol=1e-5)
    assert torch.allclose(squeezed.norm(dim=-1), contract_distance(points.norm(dim=-1), 1.0, 12.0), atol=1e-5)
