"""Which patches are seen and which are to be predicted: several blocks, one block, random patches, quadrants.

Every masker returns (visible, targets): int64 (batch, kept) and (batch, block, place) places of a square grid, row by row.
They draw from torch's global generator, inside the step's scope.
"""

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Masks = tuple[Int[Tensor, "batch kept"], Int[Tensor, "batch block place"]]


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def block_size(side: int, scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
    """Height and width in patches of a block with a drawn share of the grid and a drawn aspect ratio."""
    area, ratio = side * side * _between(*scale), _between(*aspect)
    height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return max(1, min(height, side)), max(1, min(width, side))


def blocks(
    batch: int, count: int, side: int, size: tuple[int, int], device: torch.device | str
) -> Int[Tensor, "batch block place"]:
    """Places of `count` blocks of one size an image, each dropped anywhere on the grid."""
    height, width = size
    top = torch.randint(0, side - height + 1, (batch, count, 1, 1), device=device)
    left = torch.randint(0, side - width + 1, (batch, count, 1, 1), device=device)
    rows = top + torch.arange(height, device=device)[:, None]
    columns = left + torch.arange(width, device=device)
    return (rows * side + columns).flatten(2)


def _covered(places: Int[Tensor, "batch block place"], side: int) -> Bool[Tensor, "batch token"]:
    found = torch.zeros(len(places), side * side, dtype=torch.bool, device=places.device)
    return found.scatter(1, places.flatten(1), True)


def _shortest(seen: Bool[Tensor, "batch token"]) -> Int[Tensor, "batch kept"]:
    """The first places of every row, as many as the poorest row has: rows of equal length, nothing padded."""
    count = int(seen.sum(dim=1).min())
    order = torch.argsort((~seen).long(), dim=1, stable=True)
    return order[:, :count]


def multiblock(
    batch: int,
    side: int,
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    target_aspect: tuple[float, float] = (0.75, 1.5),
    context_scale: tuple[float, float] = (0.85, 1.0),
    least: int = 10,
    tries: int = 20,
    device: torch.device | str = "cpu",
) -> Masks:
    """I-JEPA's masks (section 3): several large targets, and one large context block with the targets cut out.

    The size of the blocks is shared by the batch, their places are not.
    An image whose context keeps fewer than `least` patches gets another context block, up to `tries` times for each target that
    it may then overlap.
    """
    wanted = blocks(batch, targets, side, block_size(side, target_scale, target_aspect), device)
    size = block_size(side, context_scale, (1.0, 1.0))
    seen = torch.zeros(batch, side * side, dtype=torch.bool, device=device)
    for avoided in range(targets, -1, -1):
        for _ in range(tries):
            poor = seen.sum(dim=1) < least
            if not poor.any():
                return _shortest(seen), wanted
            fresh = _covered(blocks(batch, 1, side, size, device), side)
            fresh &= ~_covered(wanted[:, :avoided], side)
            seen = torch.where(poor[:, None], fresh, seen)
    return _shortest(seen), wanted


def single_block(batch: int, side: int, scale: float = 0.6, device: torch.device | str = "cpu") -> Masks:
    """One large target; the context is the rest."""
    wanted = blocks(batch, 1, side, block_size(side, (scale, scale), (0.75, 1.5)), device)
    return _shortest(~_covered(wanted, side)), wanted


def random_patches(batch: int, side: int, share: float = 0.6, device: torch.device | str = "cpu") -> Masks:
    """A share of the patches, drawn without order, is the target; the context is the rest."""
    order = torch.rand(batch, side * side, device=device).argsort(dim=1)
    hidden = round(share * side * side)
    return order[:, hidden:].sort(dim=1).values, order[:, None, :hidden].sort(dim=2).values


def quadrants(batch: int, side: int, device: torch.device | str = "cpu") -> Masks:
    """One quadrant is the context, the other three are the targets.

    Raises ValueError for a grid of odd side.
    """
    if side % 2:
        raise ValueError(f"quadrants need an even grid, got {side}")
    half = torch.arange(side // 2, device=device)
    one = (half[:, None] * side + half).flatten()
    corner = torch.tensor([0, side // 2, side * side // 2, side * side // 2 + side // 2], device=device)
    places = corner[:, None] + one
    order = torch.rand(batch, 4, device=device).argsort(dim=1)
    chosen = places[order]
    return chosen[:, 0], chosen[:, 1:]
