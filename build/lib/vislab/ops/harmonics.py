"""Real spherical harmonics up to degree 2, and sinusoidal encodings."""

import torch
from jaxtyping import Float
from torch import Tensor

_C0 = 0.28209479177387814
_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)


def harmonics(direction: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """The nine basis functions at unit directions, in the order and signs of NeRF code bases."""
    x, y, z = direction.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, _C0),
            -_C1 * y,
            _C1 * z,
            -_C1 * x,
            _C2[0] * x * y,
            -_C2[0] * y * z,
            _C2[1] * (2 * z * z - x * x - y * y),
            -_C2[0] * x * z,
            _C2[2] * (x * x - y * y),
        ],
        dim=-1,
    )


def frequencies(value: Float[Tensor, "*batch c"], count: int) -> Float[Tensor, "*batch d"]:
    """The value itself, then sin and cos of 2 x, 4 x, ... 2 ** count x."""
    parts = [value]
    for k in range(1, count + 1):
        parts += [torch.sin(2.0**k * value), torch.cos(2.0**k * value)]
    return torch.cat(parts, dim=-1)
