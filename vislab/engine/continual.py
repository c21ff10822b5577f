"""Class-incremental learning: tasks of classes, a small memory of exemplars, mixed batches, what is kept and what is forgotten."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter


def tasks(classes: int, count: int, seed: int | None = None) -> list[list[int]]:
    """The classes of each of `count` equal tasks, in their order or, with a seed, in a random one.

    Raises ValueError when the classes do not divide evenly.
    """
    if classes % count:
        raise ValueError(f"{classes} classes do not make {count} equal tasks")
    order = list(range(classes))
    if seed is not None:
        order = counter.permutation(seed, "world", torch.tensor([0]), "tasks", classes)[0].tolist()
    size = classes // count
    return [order[k * size : (k + 1) * size] for k in range(count)]


def herding(features: Float[Tensor, "items width"], count: int) -> Int[Tensor, " chosen"]:
    """Items whose running mean stays nearest to the mean of all (Welling 2009; iCaRL), in the order of their choice.

    Fewer exemplars are the first ones of more.
    """
    target = features.mean(dim=0)
    total, left, chosen = torch.zeros_like(target), torch.ones(len(features), dtype=torch.bool), []
    for k in range(min(count, len(features))):
        distance = ((total + features) / (k + 1) - target).norm(dim=1)
        distance[~left.to(distance.device)] = torch.inf
        best = int(distance.argmin())
        chosen.append(best)
        left[best] = False
        total = total + features[best]
    return torch.tensor(chosen, dtype=torch.int64)


def share(memory: int, seen: int) -> int:
    """Exemplars of each class when `seen` classes share a memory evenly."""
    return memory // max(1, seen)


def mixed_batch(
    current: int, memory: int, seed: int, step: int, sizes: tuple[int, int]
) -> tuple[Int[Tensor, " new"], Int[Tensor, " old"]]:
    """Rows of one step: `sizes` of the current task's items and of the memory, each from its own endless shuffle.

    The order [current, memory] is what methods that look at a batch's make-up rely on.
    """
    from vislab.engine.fit import batch_indices

    return batch_indices(seed, step, current, sizes[0]), batch_indices(seed + 1_000_003, step, memory, sizes[1])


def incremental_accuracy(matrix: Float[Tensor, "stages tasks"], sizes: Sequence[int]) -> Float[Tensor, " stages"]:
    """Accuracy over all classes seen after each stage, from accuracies of task t (column) after stage s (row), t <= s."""
    weight = torch.as_tensor(sizes, dtype=matrix.dtype)
    return torch.stack(
        [(matrix[s, : s + 1] * weight[: s + 1]).sum() / weight[: s + 1].sum() for s in range(len(matrix))]
    )


def forgetting(matrix: Float[Tensor, "stages tasks"]) -> float:
    """Mean over all tasks but the last of the best accuracy before the end minus that at the end (Chaudhry et al. 2018)."""
    last = len(matrix) - 1
    if last == 0:
        return 0.0
    return float(torch.stack([matrix[t:last, t].max() - matrix[last, t] for t in range(last)]).mean())
