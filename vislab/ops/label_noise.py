"""Wrong labels: which class an item claims to be, drawn item by item from the counter."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter


def symmetric(classes: int, rate: float, own: bool = True) -> Float[Tensor, "classes classes"]:
    """Transition matrix (true class, label): with probability `rate` the label is drawn evenly over the classes.

    With `own` the true class is among them, so that `1 - rate + rate / classes` of the labels stay right; without, `1 - rate` do.
    """
    if own:
        return (1 - rate) * torch.eye(classes) + rate / classes
    return (1 - rate) * torch.eye(classes) + rate / (classes - 1) * (1 - torch.eye(classes))


def asymmetric(partner: Sequence[int], rate: float) -> Float[Tensor, "classes classes"]:
    """Transition matrix: with probability `rate` class c is labelled `partner[c]`; a class that is its own partner stays right."""
    classes = len(partner)
    matrix = (1 - rate) * torch.eye(classes)
    matrix[torch.arange(classes), torch.as_tensor(partner)] += rate
    return matrix


def corrupted(
    label: Int[Tensor, " items"], matrix: Float[Tensor, "classes classes"], seed: int, index: Int[Tensor, " items"]
) -> Int[Tensor, " items"]:
    """Labels drawn from the rows of `matrix`; an item's label depends on its own index alone."""
    draw = counter.uniform(seed, "world", index, "label noise")[:, None].double()
    edges = matrix.double().cumsum(dim=1).to(label.device)[label]
    return (draw >= edges).sum(dim=1).clamp(max=len(matrix) - 1)


def instance_dependent(
    probability: Float[Tensor, "items classes"],
    label: Int[Tensor, " items"],
    rate: float,
    seed: int,
    index: Int[Tensor, " items"],
) -> Int[Tensor, " items"]:
    """A share `rate` of all items, those that a separate weak classifier doubts most, take its likeliest wrong class as label.

    `probability` is that classifier's, never the one's under test; ties fall by a draw of the item's own.
    """
    rows = torch.arange(len(label), device=label.device)
    wrong = probability.clone()
    wrong[rows, label] = -1.0
    rival = wrong.max(dim=1)
    doubt = rival.values - probability[rows, label]
    doubt = doubt + 1e-6 * counter.uniform(seed, "world", index, "label doubt").to(doubt)
    chosen = doubt.argsort(descending=True)[: round(rate * len(label))]
    found = label.clone()
    found[chosen] = rival.indices[chosen]
    return found
