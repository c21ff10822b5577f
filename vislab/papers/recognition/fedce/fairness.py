"""Who contributes what, and who counts how much: FedCE's two scores, and the weights and credits of its rivals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine.federated import flat

Weights = Mapping[str, Tensor]
FLOOR = 1e-6
"""Least share of a client before shares are made to sum to one."""


def shares(values: Float[Tensor, " clients"]) -> Float[Tensor, " clients"]:
    """Values held at `FLOOR` or above, divided by their sum; raises ValueError for one that is not finite."""
    if not torch.isfinite(values).all():
        raise ValueError(f"contributions must be finite, got {values.tolist()}")
    held = values.clamp(min=FLOOR)
    return held / held.sum()


def _vectors(changes: Sequence[Weights], names: Iterable[str]) -> Float[Tensor, "clients entries"]:
    names = list(names)
    return torch.stack([flat(change, names) for change in changes])


def _cosine(a: Tensor, b: Tensor) -> Float[Tensor, " clients"]:
    """Cosine of each row's angle, 0 where a row is zero."""
    norms = (a.norm(dim=1) * b.norm(dim=1)).double()
    return torch.where(norms > 0, (a * b).sum(dim=1).double() / norms.clamp(min=1e-30), torch.zeros_like(norms))


def other_directions(
    changes: Sequence[Weights], weights: Float[Tensor, " clients"], names: Iterable[str]
) -> Float[Tensor, " clients"]:
    """s_k = cos(D_k, sum_j a_j D_j - a_k D_k): how much each client's update points where the others' does, the gradient-space score.

    Over the named tensors side by side; 0 where a norm is 0.
    """
    each = _vectors(changes, names)
    weights = weights.to(each)
    together = weights @ each
    return _cosine(each, together - weights[:, None] * each)


def alignment(
    changes: Sequence[Weights], weights: Float[Tensor, " clients"], names: Iterable[str]
) -> Float[Tensor, " clients"]:
    """cos(D_k, sum_j a_j D_j): CGSV's measure, in which the client itself is part of the whole (Xu et al. 2021)."""
    each = _vectors(changes, names)
    return _cosine(each, (weights.to(each) @ each).expand_as(each))


def contributions(
    cosine: Float[Tensor, " clients"],
    error: Float[Tensor, " clients"],
    mode: Literal["plus", "times", "gradient", "data"] = "plus",
) -> Float[Tensor, " clients"]:
    """Shares of the contribution: novelty of direction, max(0, 1 - mean cosine), with the error of the model without the client.

    `error` is 1 minus the mean Dice of the minus model on the client's data, or another score of which more is a larger contribution.
    Each is made to sum to one before they are added or multiplied; "gradient" and "data" take one of them alone.
    """
    gradient, data = shares((1 - cosine.double()).clamp(min=0)), shares(error.double())
    return shares({"plus": gradient + data, "times": gradient * data, "gradient": gradient, "data": data}[mode])


def fair_loss_weights(
    sizes: Float[Tensor, " clients"], loss: Float[Tensor, " clients"], power: float
) -> Float[Tensor, " clients"]:
    """Shares of items times the global model's loss to `power`: q-FedAvg (Li et al. 2020), its step made one of size one."""
    return shares(sizes * loss.clamp(min=FLOOR) ** power)


def worst_case_weights(
    before: Float[Tensor, " clients"], loss: Float[Tensor, " clients"], rate: float
) -> Float[Tensor, " clients"]:
    """One step of mirror ascent towards the client with the highest loss: agnostic federated learning (Mohri et al. 2019)."""
    return shares(before * (rate * loss).exp())


def correlation(a: Float[Tensor, " clients"], b: Float[Tensor, " clients"]) -> float:
    """Pearson's; 0 where one of them is constant."""
    a, b = (x.double() - x.double().mean() for x in (a, b))
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 1e-12 else 0.0
