"""Errors of a body's motion, frame by frame and over time; lengths in metres, one number out."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.ops.rotations import geodesic


def position_error(
    predicted: Float[Tensor, "*batch joint 3"], truth: Float[Tensor, "*batch joint 3"], joints: tuple[int, ...] = ()
) -> float:
    """Mean distance over frames and joints (MPJPE), in metres; of `joints` alone where given."""
    distance = (predicted - truth).norm(dim=-1)
    return float((distance[..., list(joints)] if joints else distance).mean())


def velocity_error(
    predicted: Float[Tensor, "*batch frame joint 3"], truth: Float[Tensor, "*batch frame joint 3"], fps: float
) -> float:
    """Mean distance of the velocities (MPJVE), in metres a second."""
    return float((predicted - truth).diff(dim=-3).norm(dim=-1).mean() * fps)


def jitter(positions: Float[Tensor, "*batch frame joint 3"], fps: float) -> float:
    """Mean length of the third difference over time, in metres a second cubed."""
    return float(positions.diff(n=3, dim=-3).norm(dim=-1).mean() * fps**3)


def vector_error(predicted: Float[Tensor, "*batch 3"], truth: Float[Tensor, "*batch 3"]) -> float:
    """Mean absolute difference of rotation vectors, wrapped to [-pi, pi], in radians.

    This is what AvatarPoser and AGRoL print as MPJRE; it is a third to a half of the angle between the rotations.
    """
    difference = predicted - truth
    return float((torch.remainder(difference + math.pi, 2 * math.pi) - math.pi).abs().mean())


def angle_error(predicted: Float[Tensor, "*batch 3 3"], truth: Float[Tensor, "*batch 3 3"]) -> float:
    """Mean angle between rotations, in radians."""
    return float(geodesic(predicted, truth).mean())
