"""The losses that the paper compares: contrastive as in pre-training, its two corrected forms, and cross-entropy (sections 3, 5)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vislab.nn.clip import contrastive

flyp_loss = contrastive
"""Symmetric InfoNCE over the batch; another item of the same class counts as a negative (equation 2)."""


def _symmetric(loss, image: Tensor, text: Tensor, scale: Tensor | float) -> Float[Tensor, ""]:
    logits = scale * image @ text.T
    return (loss(logits) + loss(logits.T)) / 2


def masked_loss(
    image: Float[Tensor, "batch embed"],
    text: Float[Tensor, "batch embed"],
    scale: Tensor | float,
    label: Int[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Items of the same class are taken out of the denominator."""
    count = torch.arange(len(label), device=label.device)
    hidden = (label[:, None] == label) & (count[:, None] != count)
    return _symmetric(lambda logits: F.cross_entropy(logits.masked_fill(hidden, -torch.inf), count), image, text, scale)


def supervised_loss(
    image: Float[Tensor, "batch embed"],
    text: Float[Tensor, "batch embed"],
    scale: Tensor | float,
    label: Int[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """The target is even over all items of the same class."""
    same = (label[:, None] == label).float()
    return _symmetric(lambda logits: F.cross_entropy(logits, same / same.sum(dim=1, keepdim=True)), image, text, scale)


def pairwise_loss(
    image: Float[Tensor, "batch embed"],
    text: Float[Tensor, "batch embed"],
    scale: Tensor | float,
    label: Int[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """-log(e / (sum - e)) averaged over the pairs of the same class, the pair itself outside its denominator (a released variant)."""
    same = (label[:, None] == label).float()

    def one(logits: Tensor) -> Tensor:
        rest = torch.stack([
            logits.masked_fill(F.one_hot(torch.tensor(k, device=logits.device), logits.shape[1]).bool(), -torch.inf).logsumexp(dim=1)
            for k in range(logits.shape[1])
        ], dim=1)  # fmt: skip
        return ((rest - logits) * same).sum(dim=1).div(same.sum(dim=1)).mean()

    return _symmetric(one, image, text, scale)


def l2_distance(parameters: dict[str, Tensor], anchor: dict[str, Tensor]) -> Float[Tensor, ""]:
    """Sum of squared differences between parameters and where they started (L2-SP)."""
    return sum(((parameters[name] - anchor[name]) ** 2).sum() for name in anchor)
