"""What every world shares: index ranges of the splits and the torch data set over a world."""

import dataclasses
from typing import Any, Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from vislab.cards import SPLIT_SIZE, SPLITS


class World(Protocol):
    """A pure function of (config, seed, index) with exact ground truth."""

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Any:
        """The items at `indices` as one dataclass of tensors."""
        ...


def absolute(split: str, index: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """World indices of items `index` of `split`.

    Raises ValueError for an unknown split or an index outside [0, 10^6), so that ranges never overlap.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    index = torch.as_tensor(index, dtype=torch.int64)
    if index.numel() and (index.min() < 0 or index.max() >= SPLIT_SIZE):
        raise ValueError(f"indices of a split lie in [0, {SPLIT_SIZE}), got {index.min()} to {index.max()}")
    return index + SPLITS[split]


class WorldDataset(torch.utils.data.Dataset):
    """Items [start, start + count) of a world, each a dict of tensors without the batch dimension."""

    def __init__(self, world: World, start: int, count: int):
        self.world, self.start, self.count = world, start, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        if not 0 <= item < self.count:
            raise IndexError(item)
        sample = self.world.sample(torch.tensor([self.start + item]))
        values = {f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)}
        return {name: value[0] for name, value in values.items() if isinstance(value, Tensor)}
