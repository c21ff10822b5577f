"""Learned binary masks with a straight-through gradient, and a convolution that computes at the active positions alone."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

EPSILON = 1e-8


def gumbel_gate(
    logits: Float[Tensor, "*shape"],
    temperature: float = 1.0,
    noise: tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]] | None = None,
) -> Float[Tensor, "*shape"]:
    """A Bernoulli draw, 0 or 1, whose gradient is that of its sigmoid relaxation (Gumbel-softmax with two classes).

    `noise` holds two uniform draws; without it they come from torch's generator, inside the step's scope.
    """
    first, second = noise if noise is not None else (torch.rand_like(logits), torch.rand_like(logits))
    soft = torch.sigmoid((logits + _gumbel(first) - _gumbel(second)) / temperature)
    return ((soft >= 0.5).to(soft.dtype) - soft).detach() + soft


def _gumbel(uniform: Tensor) -> Tensor:
    return -torch.log(-torch.log(uniform + EPSILON) + EPSILON)


def top_share(logits: Float[Tensor, "batch 1 height width"], share: float) -> Bool[Tensor, "batch 1 height width"]:
    """The highest `share` of the positions of every image, at least one."""
    flat = logits.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    chosen = flat.topk(count, dim=1).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, chosen, True).reshape(logits.shape)


def active_positions(mask: Bool[Tensor, "batch 1 height width"]) -> tuple[Int[Tensor, " active"], ...]:
    """Image, row and column of every active position."""
    return mask[:, 0].nonzero(as_tuple=True)


def gather_patches(
    x: Float[Tensor, "batch height width channel"], positions: tuple[Int[Tensor, " active"], ...]
) -> Float[Tensor, "active nine_channel"]:
    """The 3 x 3 neighbourhoods of the active positions alone, zero outside of the map, (row, column, channel) flattened."""
    image, row, column = positions
    height, width, channels = x.shape[1:]
    padded = torch.nn.functional.pad(x, (0, 0, 1, 1, 1, 1)).reshape(-1, channels)
    start = (image * (height + 2) + row) * (width + 2) + column
    step = torch.arange(3, device=x.device)
    around = (step[:, None] * (width + 2) + step).flatten()
    return padded[start[:, None] + around].flatten(1)


def sparse_conv(
    x: Float[Tensor, "batch height width channel"],
    positions: tuple[Int[Tensor, " active"], ...],
    weight: Float[Tensor, "out channel 3 3"],
    bias: Float[Tensor, " out"] | None = None,
) -> Float[Tensor, "active out"]:
    """A 3 x 3 convolution with padding 1 at the active positions: gather, then one matrix product.

    Channels come last; scattering the rows back is the caller's, who knows what stands elsewhere.
    """
    kernel = weight.permute(2, 3, 1, 0).flatten(0, 2)
    product = gather_patches(x, positions) @ kernel
    return product if bias is None else product + bias
