"""Volume rendering along rays: weights, composites, sample placement."""

import torch
from jaxtyping import Float
from torch import Tensor


def compositing_weights(
    density: Float[Tensor, "*batch sample"], delta: Float[Tensor, "*batch sample"]
) -> Float[Tensor, "*batch sample"]:
    """w_k = (1 - exp(-density_k delta_k)) prod_(j<k) exp(-density_j delta_j) (Max 1995, eq. 3 of NeRF)."""
    alpha = 1 - torch.exp(-density * delta)
    through = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], dim=-1), dim=-1)
    return alpha * through[..., :-1]


def intervals(distance: Float[Tensor, "*batch sample"], last: float = 1e10) -> Float[Tensor, "*batch sample"]:
    """Differences between sorted distances; the last sample gets `last`."""
    return torch.cat([distance.diff(dim=-1), torch.full_like(distance[..., :1], last)], dim=-1)


def composite(
    weights: Float[Tensor, "*batch sample"], values: Float[Tensor, "*batch sample channel"]
) -> Float[Tensor, "*batch channel"]:
    """Weighted sum along the ray."""
    return (weights[..., None] * values).sum(dim=-2)


def stratified(near: float, far: float, count: int, jitter: Float[Tensor, "*batch"] | None) -> Tensor:
    """`count` increasing values in [near, far], the middle of each bin or moved inside it by `jitter` (..., count) in [0, 1)."""
    step = (far - near) / count
    if jitter is None:
        return near + step * (torch.arange(count) + 0.5)
    return near + step * (torch.arange(count, device=jitter.device) + jitter)


def resample(
    edges: Float[Tensor, "*batch edge"], weights: Float[Tensor, "*batch bin"], count: int, jitter: Tensor | None = None
) -> Float[Tensor, "*batch count"]:
    """Sorted samples from the piecewise-constant density of `weights` between `edges`, by its inverse distribution function.

    `jitter` (..., count) in [0, 1) moves each quantile inside its share; without it the middles are taken.
    """
    probability = (weights + 1e-5) / (weights + 1e-5).sum(dim=-1, keepdim=True)
    cdf = torch.cat([torch.zeros_like(probability[..., :1]), probability.cumsum(dim=-1)], dim=-1).clamp(max=1)
    base = torch.arange(count, device=edges.device).expand(*edges.shape[:-1], count)
    u = (base + (0.5 if jitter is None else jitter)) / count
    right = torch.searchsorted(cdf.contiguous(), u.contiguous(), right=True).clamp(1, edges.shape[-1] - 1)
    low, high = cdf.gather(-1, right - 1), cdf.gather(-1, right)
    left_edge, right_edge = edges.gather(-1, right - 1), edges.gather(-1, right)
    return left_edge + (u - low) / (high - low).clamp(min=1e-8) * (right_edge - left_edge)
