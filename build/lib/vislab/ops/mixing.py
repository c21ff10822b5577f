"""Mixing items of a batch."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def mixup(
    images: Float[Tensor, "batch *rest"], labels: Int[Tensor, " batch"], alpha: float
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mixup (Zhang et al. 2018): (l x + (1 - l) x', labels, labels', l) with l from Beta(alpha, alpha) and x' a permuted batch.

    Draws from torch's global generator, inside the step's scope.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(len(images), device=images.device)
    return share * images + (1 - share) * images[order], labels, labels[order], share
