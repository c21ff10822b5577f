"""Pinhole cameras, OpenCV axes: x right, y down, z forward; poses are camera-from-world rotations and camera centres."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras that share the image size."""

    centre: Float[Tensor, "camera 3"]
    """Camera centres in the world, metres."""
    rotation: Float[Tensor, "camera 3 3"]
    """Camera-from-world rotations."""
    focal: Float[Tensor, " camera"]
    """Focal lengths in pixels."""
    size: int
    """Height and width in pixels; the principal point is the middle."""

    def __getitem__(self, index) -> "Cameras":
        return Cameras(self.centre[index], self.rotation[index], self.focal[index], self.size)


def project(
    cameras: Cameras, points: Float[Tensor, "camera *batch 3"]
) -> tuple[Float[Tensor, "camera *batch 2"], Float[Tensor, "camera *batch"]]:
    """Pixel coordinates (x, y), the middle of the first pixel at 0.5, and depths along z."""
    flat = points.flatten(1, -2)
    local = torch.einsum("cij,cnj->cni", cameras.rotation, flat - cameras.centre[:, None])
    depth = local[..., 2]
    pixel = cameras.focal[:, None, None] * local[..., :2] / depth[..., None] + cameras.size / 2
    return pixel.reshape(*points.shape[:-1], 2), depth.reshape(points.shape[:-1])


def back_project(
    cameras: Cameras, pixel: Float[Tensor, "camera *batch 2"], depth: Float[Tensor, "camera *batch"]
) -> Float[Tensor, "camera *batch 3"]:
    """World points at pixel coordinates and depths; inverse of `project`."""
    flat, far = pixel.flatten(1, -2), depth.flatten(1)
    plane = (flat - cameras.size / 2) / cameras.focal[:, None, None]
    local = torch.cat([plane, torch.ones_like(plane[..., :1])], dim=-1) * far[..., None]
    world = torch.einsum("cij,cni->cnj", cameras.rotation, local) + cameras.centre[:, None]
    return world.reshape(*pixel.shape[:-1], 3)


def rays(cameras: Cameras) -> tuple[Float[Tensor, "camera h w 3"], Float[Tensor, "camera h w 3"]]:
    """Origins and unit directions of the rays through all pixel middles."""
    middle = torch.arange(cameras.size, device=cameras.centre.device) + 0.5
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    pixel = torch.stack([x, y], dim=-1).expand(len(cameras.centre), -1, -1, -1)
    far = back_project(cameras, pixel, torch.ones(pixel.shape[:-1], device=pixel.device))
    origin = cameras.centre[:, None, None].expand_as(far)
    return origin, torch.nn.functional.normalize(far - origin, dim=-1)


def forward_rig(offsets: Float[Tensor, "camera 2"], size: int, half_angle: float = 0.6, z: float = -1.0) -> Cameras:
    """Cameras at (x, y, z) that look along +z; `half_angle` is the tangent of half the field of view."""
    count = len(offsets)
    centre = torch.cat([offsets, torch.full((count, 1), z, device=offsets.device)], dim=1)
    rotation = torch.eye(3, device=offsets.device).expand(count, 3, 3)
    focal = torch.full((count,), size / 2 / half_angle, device=offsets.device)
    return Cameras(centre, rotation, focal, size)


def grid_offsets(side: int, reach: float) -> Float[Tensor, "camera 2"]:
    """`side` x `side` places (x, y) in [-reach, reach], row by row."""
    line = torch.linspace(-reach, reach, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1)
