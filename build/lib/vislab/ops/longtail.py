"""Long-tailed label distributions: class counts, priors of shifted tests, groups by frequency."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def longtail_counts(classes: int, head: int, imbalance: float) -> Int[Tensor, " classes"]:
    """Items of each class, falling exponentially from `head` by the factor `imbalance` (Cui et al. 2019); at least 1."""
    falls = imbalance ** -(torch.arange(classes, dtype=torch.float64) / max(1, classes - 1))
    return (head * falls).floor().clamp(min=1).long()


def labels_of(counts: Int[Tensor, " classes"], index: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """The class of item `index` when classes are laid out one after the other with `counts` items each."""
    return torch.searchsorted(counts.cumsum(0), index, right=True)


def shifted_prior(classes: int, imbalance: float, direction: str) -> Float[Tensor, " classes"]:
    """A test prior: "uniform", "forward" (like training) or "backward" (its mirror image)."""
    if direction == "uniform":
        return torch.full((classes,), 1 / classes)
    falls = imbalance ** -(torch.arange(classes, dtype=torch.float32) / max(1, classes - 1))
    if direction == "backward":
        falls = falls.flip(0)
    elif direction != "forward":
        raise ValueError(f"direction {direction!r} is not uniform, forward or backward")
    return falls / falls.sum()


def frequency_groups(
    counts: Int[Tensor, " classes"], many_above: int = 100, few_below: int = 20
) -> dict[str, Bool[Tensor, " classes"]]:
    """Classes with many (> 100), medium and few (< 20) training items."""
    many, few = counts > many_above, counts < few_below
    return {"many": many, "medium": ~many & ~few, "few": few}
