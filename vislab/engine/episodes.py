"""Few-shot episodes: which pictures can show a class, random draws of them, and the interval of a mean over draws."""

import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor

from vislab.errors import UserError
from vislab.ops import counter


def candidates(
    area: Int[Tensor, "items classes"], least: int = 1, exclusive: bool = True
) -> Bool[Tensor, "items classes"]:
    """Which pictures may support which of the classes: at least `least` pixels of it and, if `exclusive`, of no other.

    `area` counts the pixels of the classes that are to be learnt, and of no others.
    """
    alone = (area > 0).sum(dim=1, keepdim=True) == 1
    return (area >= max(1, least)) & (alone if exclusive else True)


def draw(suitable: Bool[Tensor, "items classes"], shots: int, seed: int, number: int) -> Int[Tensor, "classes shots"]:
    """`shots` different pictures a class for draw `number`, from the stream "evaluate" of `seed`.

    Fewer shots of one draw are the first ones of more shots.
    A class with fewer candidates than shots repeats them, in turn.
    Raises UserError for a class without a candidate.
    """
    items, classes = suitable.shape
    order = counter.permutation(seed, "evaluate", torch.arange(classes), f"support {number}", items)
    found = []
    for k in range(classes):
        chosen = order[k][suitable[order[k], k].cpu()]
        if not len(chosen):
            raise UserError(f"none of {items} pictures can support class {k}")
        found.append(chosen[torch.arange(shots) % len(chosen)])
    return torch.stack(found)


def mean_interval(values: Float[Tensor, " draws"], level: float = 0.95) -> tuple[float, float]:
    """Mean over draws and half the width of its t interval; 0 for a single draw."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, 0.0
    return mean, float(stats.t.ppf((1 + level) / 2, count - 1)) * float(values.std()) / count**0.5
