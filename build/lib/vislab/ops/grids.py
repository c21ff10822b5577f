"""Look-ups in factor grids."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def sample_plane(
    plane: Float[Tensor, "1 channel h w"], place: Float[Tensor, "point 2"]
) -> Float[Tensor, "channel point"]:
    """Bilinear values at (x, y) in [-1, 1], corners aligned, zero outside."""
    return F.grid_sample(plane, place[None, :, None], align_corners=True)[0, :, :, 0]


def sample_stack(
    volume: Float[Tensor, "1 channel depth h w"], place: Float[Tensor, "point 3"]
) -> Float[Tensor, "channel point"]:
    """Trilinear values at (x, y, z) in [-1, 1], corners aligned, zero outside."""
    return F.grid_sample(volume, place[None, :, None, None], align_corners=True)[0, :, :, 0, 0]


def total_variation(plane: Float[Tensor, "1 channel h w"]) -> Float[Tensor, ""]:
    """Mean squared difference of neighbours along both sides, summed, times 2."""
    loss = plane.new_zeros(())
    if plane.shape[2] > 1:
        loss = loss + (plane[:, :, 1:] - plane[:, :, :-1]).square().mean()
    if plane.shape[3] > 1:
        loss = loss + (plane[:, :, :, 1:] - plane[:, :, :, :-1]).square().mean()
    return 2 * loss


def resize_plane(plane: Float[Tensor, "1 channel h w"], size: Sequence[int]) -> Float[Tensor, "1 channel H W"]:
    """Bilinear resize with aligned corners; a factor without channels only changes its shape."""
    if plane.shape[1] == 0:
        return plane.new_zeros((1, 0, *size))
    return F.interpolate(plane, size=tuple(size), mode="bilinear", align_corners=True)


def log_spaced_sizes(first: int, last: int, count: int) -> tuple[int, ...]:
    """`count` grid sides after `first`, growing to `last` in equal ratios of the number of cells."""
    steps = torch.linspace(0, 1, count + 1)[1:]
    return tuple(int(round(float(first * (last / first) ** s))) for s in steps)
