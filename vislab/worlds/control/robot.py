"""Kinematic arms on a wheeled base: serial chains with exact forward kinematics, and the spheres that stand for the robot.

The robot's frame has x forward, y left and z up, its origin on the floor below the base's centre.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Chain:
    """A serial arm of revolute joints."""

    axes: tuple[str, ...]
    """Axis of each joint in its own frame: x, y or z."""
    offsets: tuple[tuple[float, float, float], ...]
    """Origin of each joint in the frame before it, then that of the end effector, metres."""
    low: tuple[float, ...]
    """Lower joint limits, radians."""
    high: tuple[float, ...]
    """Upper joint limits, radians."""
    rest: tuple[float, ...]
    """Joint angles at the start of an episode, radians."""

    @property
    def joints(self) -> int:
        return len(self.axes)


PLANAR = Chain(
    axes=("z", "y", "y"),
    offsets=((0.05, 0.0, 0.7), (0.1, 0.0, 0.0), (0.3, 0.0, 0.0), (0.3, 0.0, 0.0)),
    low=(-1.6, -1.5, -2.4),
    high=(1.6, 1.5, 2.4),
    rest=(0.0, -1.0, 2.2),
)
"""Pan, lift and elbow: the shortest arm that reaches the top of every piece of furniture."""

FETCH = Chain(
    axes=("z", "y", "x", "y", "x", "y", "x"),
    offsets=(
        (0.0327, 0.0, 0.726), (0.117, 0.0, 0.06), (0.219, 0.0, 0.0), (0.133, 0.0, 0.0), (0.197, 0.0, 0.0),
        (0.1245, 0.0, 0.0), (0.1385, 0.0, 0.0), (0.1665, 0.0, 0.0),
    ),
    low=(-1.6, -1.22, -math.pi, -2.25, -math.pi, -2.16, -math.pi),
    high=(1.6, 1.51, math.pi, 2.25, math.pi, 2.16, math.pi),
    rest=(0.0, -1.0, 0.0, 2.0, 0.0, 0.6, 0.0),
)  # fmt: skip
"""Seven joints with the link lengths of the Fetch robot, its torso at the lowest position."""

CHAINS = {"planar": PLANAR, "fetch": FETCH}
BASE_SPHERES = ((0.0, 0.0, 0.25, 0.2), (0.0, 0.0, 0.6, 0.15), (0.0, 0.0, 1.0, 0.12))
"""x, y, z and radius of the spheres around base, torso and head, metres."""
LINK_RADIUS = 0.05
"""Radius of the spheres on the arm, metres."""


def forward_kinematics(chain: Chain, angles: Float[Tensor, "batch joints"]) -> Float[Tensor, "batch frames 3"]:
    """Origins of the joints and of the end effector (last) in the robot's frame, metres.

    The frame's axes are kept as three vectors; a joint mixes two of them, and a link follows those along which it has a length.
    """
    axes = list(torch.eye(3, dtype=angles.dtype, device=angles.device).expand(len(angles), 3, 3).unbind(1))
    sines, cosines = angles.sin()[..., None], angles.cos()[..., None]
    position, found = angles.new_zeros(len(angles), 3), []
    for k, offset in enumerate(chain.offsets):
        for axis, length in zip(axes, offset, strict=True):
            if length:
                position = torch.add(position, axis, alpha=length)
        found.append(position)
        if k < chain.joints:
            a, b = MIXED[chain.axes[k]]
            sine, cosine = sines[:, k], cosines[:, k]
            axes[a], axes[b] = cosine * axes[a] + sine * axes[b], cosine * axes[b] - sine * axes[a]
    return torch.stack(found, dim=1)


MIXED = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}
"""The two axes of its frame that a joint turns."""


def spheres(chain: Chain, angles: Float[Tensor, "batch joints"]) -> tuple[Float[Tensor, "batch sphere 3"], list[float]]:
    """Centres in the robot's frame and radii of the robot's spheres; the last is the end effector's.

    The arm has one sphere at the middle of every link and one at its far end; the shoulder, inside the torso, has none.
    """
    frames = forward_kinematics(chain, angles)
    body = angles.new_tensor(BASE_SPHERES)[:, :3].expand(len(angles), -1, -1)
    arm = torch.stack([(frames[:, 1:-1] + frames[:, 2:]) / 2, frames[:, 2:]], dim=2).flatten(1, 2)
    return torch.cat([body, arm], dim=1), radii(chain)


def radii(chain: Chain) -> list[float]:
    """Radii of the robot's spheres, metres."""
    return [s[3] for s in BASE_SPHERES] + [LINK_RADIUS] * (2 * (chain.joints - 1))


def to_world(pose: Float[Tensor, "batch 3"], points: Float[Tensor, "batch point 3"]) -> Float[Tensor, "batch point 3"]:
    """Points of the robot's frame in the room's, for base poses (x, y, heading)."""
    sine, cosine = pose[:, 2:].sin(), pose[:, 2:].cos()
    x, y, z = points.unbind(-1)
    return torch.stack([pose[:, :1] + cosine * x - sine * y, pose[:, 1:2] + sine * x + cosine * y, z], dim=-1)


def to_robot(pose: Float[Tensor, "batch 3"], points: Float[Tensor, "batch point 3"]) -> Float[Tensor, "batch point 3"]:
    """Points of the room in the robot's frame: the inverse of `to_world`."""
    sine, cosine = pose[:, 2:].sin(), pose[:, 2:].cos()
    x, y = points[..., 0] - pose[:, :1], points[..., 1] - pose[:, 1:2]
    return torch.stack([cosine * x + sine * y, cosine * y - sine * x, points[..., 2]], dim=-1)
