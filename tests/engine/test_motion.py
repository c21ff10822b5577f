"""Motion metrics against motions whose errors are known."""

import math

import pytest
import torch

from vislab.engine.motion import angle_error, jitter, position_error, vector_error, velocity_error
from vislab.ops.rotations import turn

TIME = torch.arange(60, dtype=torch.float64)[:, None, None] / 30


def test_a_shift_is_a_position_error_and_no_velocity_error():
    truth = TIME * torch.ones(60, 4, 3)
    shifted = truth + torch.tensor([0.03, 0.04, 0.0])
    assert position_error(shifted, truth) == pytest.approx(0.05)
    assert velocity_error(shifted, truth, 30) == pytest.approx(0.0, abs=1e-9)
    shifted[:, :3] = truth[:, :3]
    assert position_error(shifted, truth) == pytest.approx(0.0125)
    assert position_error(shifted, truth, (3,)) == pytest.approx(0.05)


def test_velocity_error_is_the_difference_of_speeds():
    direction = torch.tensor([1.0, 0, 0])
    assert velocity_error(TIME * 2 * direction, TIME * 5 * direction, 30) == pytest.approx(3.0)


def test_jitter_of_a_cubic_is_its_third_derivative_and_of_a_parabola_nothing():
    direction = torch.tensor([0.0, 1, 0])
    assert jitter(TIME**3 * direction, 30) == pytest.approx(6.0, rel=1e-6)
    assert jitter(TIME**2 * direction, 30) == pytest.approx(0.0, abs=1e-6)


def test_rotation_vectors_are_compared_around_the_circle():
    a, b = torch.tensor([[3.1, 0, 0]]), torch.tensor([[-3.1, 0, 0]])
    assert vector_error(a, b) == pytest.approx((2 * math.pi - 6.2) / 3, rel=1e-4)
    assert angle_error(turn(torch.tensor([0.5]), 0), turn(torch.tensor([0.2]), 0)) == pytest.approx(0.3, rel=1e-4)
