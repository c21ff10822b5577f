"""Rays: parameterisations, intersections with planes and spheres, the mip-NeRF 360 contraction."""

import torch
from jaxtyping import Float
from torch import Tensor

Vector = Float[Tensor, "*batch 3"]


def plane_distance(origin: Vector, direction: Vector, depth: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch k"]:
    """Ray parameters at which rays meet the planes z = depth; rays along the plane get a tiny parameter instead of infinity."""
    slope = direction[..., 2:3]
    slope = torch.where(slope.abs() < 1e-5, torch.full_like(slope, 1e12), slope)
    return (depth - origin[..., 2:3]) / slope


def two_plane(origin: Vector, direction: Vector, near: float = -1.0, far: float = 0.0) -> Float[Tensor, "*batch 4"]:
    """(x, y) at the planes z = near and z = far, for forward-facing rigs."""
    depths = torch.tensor([near, far], device=origin.device, dtype=origin.dtype).expand(*origin.shape[:-1], 2)
    t = plane_distance(origin, direction, depths)
    points = origin[..., None, :2] + direction[..., None, :2] * t[..., None]
    return points.flatten(-2)


def pluecker(origin: Vector, direction: Vector) -> Float[Tensor, "*batch 6"]:
    """Unit direction and moment origin x direction; the same for every origin on the ray."""
    direction = torch.nn.functional.normalize(direction, dim=-1)
    return torch.cat([direction, torch.linalg.cross(origin, direction)], dim=-1)


def sphere_distance(
    origin: Float[Tensor, "*batch 3"], direction: Float[Tensor, "*batch 3"], radius: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Ray parameter of the first crossing in front of the origin of the sphere around 0, the far one from inside; 0 where it misses.

    A negative radius asks for the far crossing.
    """
    a = direction.square().sum(-1)
    b = 2 * (origin * direction).sum(-1)
    c = origin.square().sum(-1) - radius.square()
    discriminant = (b * b - 4 * a * c).clamp(min=0)
    root = torch.sqrt(discriminant + 1e-8)
    far, near = (-b + root) / (2 * a), (-b - root) / (2 * a)
    t = torch.where((near < 0) | (radius < 0), far, near)
    return torch.where(discriminant <= 0, torch.zeros_like(t), t)


def contract_distance(distance: Tensor, start: float, end: float) -> Tensor:
    """Signed distances in units of `start`, those beyond it squeezed into [1, 2] linearly in disparity, `end` to 2."""
    scaled = distance / start
    squeezed = 2 - (1 / scaled.abs() - start / end) / (1 - start / end)
    return torch.where(scaled.abs() < 1, scaled, scaled.sign() * squeezed)


def expand_distance(contracted: Tensor, start: float, end: float) -> Tensor:
    """Inverse of `contract_distance` on [-2, 2]; values outside are clipped."""
    contracted = contracted.clamp(-2, 2)
    disparity = (2 - contracted.abs()) * (1 - start / end) + start / end
    return torch.where(contracted.abs() < 1, contracted, contracted.sign() / disparity) * start


def contract_points(points: Vector, start: float, end: float) -> Vector:
    """Points beyond the radius `start` squeezed into the shell between 1 and 2 (mip-NeRF 360, with a finite end)."""
    scaled = points / start
    norm = scaled.norm(dim=-1, keepdim=True)
    squeezed = 2 - (1 / norm - start / end) / (1 - start / end)
    return torch.where(norm < 1, scaled, scaled / norm * squeezed)
