"""Poses from points: exact on noiseless input, robust to outliers."""

import torch

from vislab.ops import counter, pnp
from vislab.ops.rotations import exp_so3, geodesic

FOCAL = 105.0


def scene(batch=6, points=60):
    index = torch.arange(batch)
    rotation = exp_so3(counter.normal(0, "world", index, "rotation", (3,)))
    local = counter.uniform(0, "world", index, "points", (points, 3), -1, 1) * torch.tensor(
        [1.5, 1.0, 1.0]
    ) + torch.tensor([0, 0, 3.0])
    centre = counter.normal(0, "world", index, "centre", (3,))
    world = local @ rotation + centre[:, None]
    pixel = FOCAL * local[..., :2] / local[..., 2:]
    return world, pixel, rotation, centre


def test_kabsch_recovers_a_rigid_motion():
    world, _, rotation, centre = scene()
    found, shift = pnp.kabsch(world, world @ rotation.transpose(-1, -2) + centre[:, None])
    assert torch.allclose(found, rotation, atol=1e-4) and torch.allclose(shift, centre, atol=1e-3)
    mirrored, _ = pnp.kabsch(world, -world)
    assert torch.allclose(torch.det(mirrored), torch.ones(6), atol=1e-4)


def test_roots_of_a_known_quartic():
    # (x - 1)(x - 2)(x + 3)(x - 4), and x^4 + 1 without real roots
    found = pnp.roots(torch.tensor([[1.0, -4.0, -7.0, 34.0, -24.0], [1.0, 0, 0, 0, 1.0]], dtype=torch.float64))
    assert torch.allclose(found[0].sort().values, torch.tensor([-3.0, 1, 2, 4], dtype=torch.float64), atol=1e-6)
    assert found[1].isnan().all()


def test_three_points_include_the_truth():
    world, pixel, rotation, centre = scene(200, 3)
    ray = torch.nn.functional.normalize(torch.cat([pixel / FOCAL, torch.ones(200, 3, 1)], dim=-1), dim=-1)
    found, shift, good = pnp.three_points(world, ray)
    truth = -torch.einsum("nij,nj->ni", rotation, centre)
    off = (found - rotation[:, None]).abs().amax(dim=(-1, -2)) + (shift - truth[:, None]).abs().amax(dim=-1)
    best = torch.where(good, off, torch.full_like(off, torch.inf)).amin(dim=1)
    assert (best < 1e-2).float().mean() > 0.97
    local = world[:, None] @ found.transpose(-1, -2) + shift[:, :, None]
    again = FOCAL * local[..., :2] / local[..., 2:]
    wrong = (again - pixel[:, None]).abs().amax(dim=(-1, -2))[good]
    assert (wrong < 0.05).float().mean() > 0.97  # every solution puts the points on their pixels


def test_exact_pose_from_exact_points_and_despite_outliers():
    world, pixel, rotation, centre = scene()
    for outliers in (0, 25):
        spoilt = world.clone()
        spoilt[:, :outliers] += 2 * counter.normal(0, "noise", torch.arange(6), "outliers", (outliers, 3))
        found, where, inliers = pnp.robust_pose(spoilt, pixel, FOCAL, 2.0, 0, torch.arange(6), 128)
        assert (geodesic(found, rotation) < 1e-3).all() and ((where - centre).norm(dim=1) < 2e-3).all()
        assert (inliers >= 60 - outliers - 2).all()


def test_refinement_descends_from_a_rough_pose():
    world, pixel, rotation, centre = scene()
    rough = exp_so3(torch.full((6, 3), 0.03)) @ rotation
    shift = -torch.einsum("nij,nj->ni", rotation, centre) + 0.05
    found, moved = pnp.refine(rough, shift, world, pixel, FOCAL, 1000.0)
    assert (pnp.pixel_errors(found, moved, world, pixel, FOCAL) < 1e-2).all()


def test_points_behind_the_camera_are_far_off():
    error = pnp.pixel_errors(torch.eye(3), torch.zeros(3), torch.tensor([[0.0, 0, -2]]), torch.zeros(1, 2), FOCAL)
    assert float(error) == 1000.0
