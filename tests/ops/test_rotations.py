"""Rotations: every form leads back to itself, at zero and at half a turn too."""

import math

import pytest
import torch

from vislab.ops.rotations import (
    exp_so3,
    geodesic,
    hat,
    log_so3,
    matrix_from_quaternion,
    matrix_from_six,
    quaternion_from_matrix,
    six_from_matrix,
    turn,
)

VECTORS = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
VECTORS = VECTORS / VECTORS.norm(dim=1, keepdim=True) * torch.linspace(0, math.pi - 1e-3, 200)[:, None]


def test_the_exponential_is_the_matrix_exponential():
    assert torch.allclose(exp_so3(VECTORS), torch.linalg.matrix_exp(hat(VECTORS)), atol=1e-8)
    assert torch.allclose(hat(VECTORS) @ VECTORS[:, :, None], torch.zeros(200, 3, 1, dtype=torch.float64), atol=1e-12)


def test_logarithm_and_exponential_are_inverse():
    assert torch.allclose(log_so3(exp_so3(VECTORS)), VECTORS, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_keep_their_axis(axis):
    vector = log_so3(turn(torch.tensor(math.pi, dtype=torch.float64), axis))
    expected = torch.zeros(3, dtype=torch.float64)
    expected[axis] = math.pi
    assert torch.allclose(vector.abs(), expected, atol=1e-6)


def test_the_gradient_at_zero_is_finite_and_right():
    vector = torch.zeros(3, requires_grad=True)
    (log_so3(exp_so3(vector)) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert torch.allclose(vector.grad, torch.tensor([1.0, 2.0, 3.0]), atol=1e-4)


def test_quaternions_and_six_numbers_give_the_matrix_back():
    matrix = exp_so3(VECTORS)
    assert torch.allclose(matrix_from_quaternion(quaternion_from_matrix(matrix)), matrix, atol=1e-8)
    assert (quaternion_from_matrix(matrix)[:, 0] >= 0).all()
    assert torch.allclose(matrix_from_six(six_from_matrix(matrix)), matrix, atol=1e-8)


def test_any_six_numbers_give_a_rotation():
    matrix = matrix_from_six(torch.randn(50, 6, generator=torch.Generator().manual_seed(1)))
    assert torch.allclose(matrix @ matrix.mT, torch.eye(3).expand(50, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(matrix), torch.ones(50), atol=1e-5)


def test_the_angle_between_turns_is_their_difference():
    angles = torch.tensor([0.2, 1.5, 3.0])
    assert torch.allclose(geodesic(turn(angles, 1), turn(torch.tensor(0.1), 1)), angles - 0.1, atol=1e-5)
    point = turn(torch.tensor(math.pi / 2), 2) @ torch.tensor([1.0, 0, 0])
    assert torch.allclose(point, torch.tensor([0.0, 1, 0]), atol=1e-6)
