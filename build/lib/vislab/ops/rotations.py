"""Rotations of three-dimensional space in their usual forms; every function takes any leading dimensions.

Matrices act on column vectors from the left, quaternions are (w, x, y, z), angles are in radians.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

SMALL = 1e-4


def hat(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The skew-symmetric matrix with hat(v) w = v x w."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    return rows.unflatten(-1, (3, 3))


def exp_so3(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation about `vector` by its length (Rodrigues), differentiable at zero."""
    square = vector.square().sum(dim=-1)[..., None, None]
    near = square < SMALL**2
    angle = torch.where(near, torch.ones_like(square), square).sqrt()
    first = torch.where(near, 1 - square / 6, angle.sin() / angle)
    second = torch.where(near, 0.5 - square / 24, (1 - angle.cos()) / angle.square())
    cross = hat(vector)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * cross + second * (cross @ cross)


def log_so3(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """The rotation vector of length at most pi; through the quaternion, so that half turns are exact as well."""
    quaternion = quaternion_from_matrix(matrix)
    scalar, vector = quaternion[..., :1], quaternion[..., 1:]
    square = vector.square().sum(dim=-1, keepdim=True)
    near = square < SMALL**2
    length = torch.where(near, torch.ones_like(square), square).sqrt()
    factor = torch.where(near, 2 / scalar.clamp(min=0.5), 2 * torch.atan2(length, scalar) / length)
    return factor * vector


def matrix_from_quaternion(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation of a quaternion (w, x, y, z), which is normalised first."""
    w, x, y, z = F.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quaternion_from_matrix(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """The unit quaternion (w, x, y, z) of a rotation, with w >= 0.

    Of the four equal formulas, the one whose divisor is largest is used.
    """
    m = matrix.flatten(-2)
    a, b, c, d, e, f, g, h, i = m.unbind(-1)
    options = torch.stack(
        [
            torch.stack([1 + a + e + i, h - f, c - g, d - b], dim=-1),
            torch.stack([h - f, 1 + a - e - i, b + d, c + g], dim=-1),
            torch.stack([c - g, b + d, 1 - a + e - i, f + h], dim=-1),
            torch.stack([d - b, c + g, f + h, 1 - a - e + i], dim=-1),
        ],
        dim=-2,
    )
    best = options.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    chosen = options.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    unit = F.normalize(chosen, dim=-1)
    return torch.where(unit[..., :1] < 0, -unit, unit)


def six_from_matrix(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """The first two columns, one after the other (Zhou et al., CVPR 2019)."""
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def matrix_from_six(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Gram-Schmidt on two 3-vectors, which become the first two columns."""
    first = F.normalize(six[..., :3], dim=-1)
    second = six[..., 3:] - (first * six[..., 3:]).sum(dim=-1, keepdim=True) * first
    second = F.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def turn(angle: Float[Tensor, "*batch"], axis: int) -> Float[Tensor, "*batch 3 3"]:
    """Rotation by `angle` about coordinate axis 0, 1 or 2."""
    cosine, sine, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = {
        0: (one, zero, zero, zero, cosine, -sine, zero, sine, cosine),
        1: (cosine, zero, sine, zero, one, zero, -sine, zero, cosine),
        2: (cosine, -sine, zero, sine, cosine, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def geodesic(first: Float[Tensor, "*batch 3 3"], second: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angle between two rotations, in [0, pi]."""
    return log_so3(first.transpose(-1, -2) @ second).norm(dim=-1)
