"""Reprojection errors and their clamp."""

import math

import pytest
import torch

from vislab.ops import reprojection

EYE, ORIGIN, FOCAL = torch.eye(3)[None], torch.zeros(1, 3), torch.tensor([100.0])


def loss(point, pixel=(0.0, 0.0), tau=50.0, shape="tanh"):
    return reprojection.coordinate_loss(torch.tensor([point]), torch.tensor([pixel]), EYE, ORIGIN, FOCAL, tau, shape)


def test_valid_by_hand():
    value, valid = loss((0.1, -0.2, 2.0), (1.0, 0.0))
    error = abs(5 - 1) + abs(-10)
    assert float(value) == pytest.approx(50 * math.tanh(error / 50)) and float(valid) == 1
    assert float(loss((0.1, -0.2, 2.0), (1.0, 0.0), 8.0, "l1")[0]) == 8.0


def test_behind_the_camera_pays_the_distance_to_the_proxy():
    value, valid = loss((0.0, 0.0, -2.0), (50.0, 0.0))
    assert float(valid) == 0 and float(value) == pytest.approx(0.5 * 10 + 12)
    point = torch.tensor([[0.0, 0.0, -2.0]], requires_grad=True)
    reprojection.coordinate_loss(point, torch.zeros(1, 2), EYE, ORIGIN, FOCAL, 50.0)[0].backward()
    assert float(point.grad[0, 2]) < 0  # descending brings it forward


def test_perfect_prediction_costs_nothing_and_tanh_forgives_outliers():
    assert float(loss((0.0, 0.0, 3.0))[0]) == pytest.approx(0, abs=1e-6)
    point = torch.tensor([[2.0, 0.0, 1.0]], requires_grad=True)
    reprojection.coordinate_loss(point, torch.zeros(1, 2), EYE, ORIGIN, FOCAL, 5.0)[0].backward()
    assert point.grad.abs().max() < 1e-6


def test_schedule():
    assert reprojection.threshold(0.0) == 51 and reprojection.threshold(1.0) == 1
    assert reprojection.threshold(0.6) == pytest.approx(0.8 * 50 + 1)  # w = 1 - sqrt(1 - 0.36) = 0.2
    assert reprojection.threshold(0.6, "linear") == pytest.approx(21) and reprojection.threshold(0.9, "constant") == 51
    with pytest.raises(ValueError, match="circle"):
        reprojection.threshold(0.5, "cosine")
