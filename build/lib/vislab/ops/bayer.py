"""Colour filter arrays: which colour each photosite sees, packing a mosaic into channels, bilinear demosaicing."""

from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

Pattern = Literal["bayer", "xtrans"]
R, G, B = 0, 1, 2
TILES: dict[str, tuple[tuple[int, ...], ...]] = {
    "bayer": ((R, G), (G, B)),
    "xtrans": (
        (G, B, G, G, R, G),
        (R, G, R, B, G, B),
        (G, B, G, G, R, G),
        (G, R, G, G, B, G),
        (B, G, B, R, G, R),
        (G, R, G, G, B, G),
    ),
}
BLOCK = {"bayer": 2, "xtrans": 3}


def colour_map(pattern: Pattern, height: int, width: int, device: torch.device | str = "cpu") -> Int[Tensor, "h w"]:
    """The channel (0 red, 1 green, 2 blue) that each photosite of a sensor sees."""
    tile = torch.tensor(TILES[pattern], device=device)
    n = len(tile)
    rows, columns = torch.arange(height, device=device) % n, torch.arange(width, device=device) % n
    return tile[rows[:, None], columns[None, :]]


def mosaic(image: Float[Tensor, "*batch 3 h w"], pattern: Pattern) -> Float[Tensor, "*batch h w"]:
    """What the sensor keeps of a full-colour image."""
    seen = colour_map(pattern, image.shape[-2], image.shape[-1], image.device)
    return torch.gather(image, -3, seen.expand(*image.shape[:-3], 1, *seen.shape)).squeeze(-3)


def pack(raw: Float[Tensor, "*batch h w"], pattern: Pattern) -> Float[Tensor, "*batch channel ph pw"]:
    """A mosaic as channels of one colour each at 1/block size: 4 for Bayer, 9 for X-Trans.

    X-Trans tiles of 3x3 alternate in a checkerboard with red and blue swapped.
    The odd ones are transposed, so that every channel has one colour.
    """
    block = BLOCK[pattern]
    tiles = rearrange(raw, "... (h a) (w b) -> ... a b h w", a=block, b=block)
    if pattern == "xtrans":
        tiles = _swap_odd(tiles)
    return rearrange(tiles, "... a b h w -> ... (a b) h w")


def unpack(packed: Float[Tensor, "*batch channel ph pw"], pattern: Pattern) -> Float[Tensor, "*batch h w"]:
    """The inverse of `pack`."""
    block = BLOCK[pattern]
    tiles = rearrange(packed, "... (a b) h w -> ... a b h w", a=block, b=block)
    if pattern == "xtrans":
        tiles = _swap_odd(tiles)
    return rearrange(tiles, "... a b h w -> ... (h a) (w b)")


def _swap_odd(tiles: Float[Tensor, "*batch a b h w"]) -> Float[Tensor, "*batch a b h w"]:
    rows = torch.arange(tiles.shape[-2], device=tiles.device)[:, None]
    columns = torch.arange(tiles.shape[-1], device=tiles.device)[None, :]
    return torch.where((rows + columns) % 2 == 1, tiles.transpose(-4, -3), tiles)


def demosaic(raw: Float[Tensor, "batch h w"], pattern: Pattern) -> Float[Tensor, "batch 3 h w"]:
    """Bilinear demosaicing by normalised convolution: each colour is averaged over the nearest photosites that saw it."""
    seen = colour_map(pattern, raw.shape[-2], raw.shape[-1], raw.device)
    masks = F.one_hot(seen, 3).permute(2, 0, 1).to(raw.dtype)[None]
    reach = BLOCK[pattern]
    ramp = torch.arange(1, reach + 1, device=raw.device, dtype=raw.dtype)
    ramp = torch.cat([ramp, ramp.flip(0)[1:]])
    kernel = (ramp[:, None] * ramp[None, :]).expand(3, 1, -1, -1)
    pad = reach - 1
    known = F.conv2d(F.pad(masks * raw[:, None], (pad,) * 4, mode="reflect"), kernel, groups=3)
    weight = F.conv2d(F.pad(masks, (pad,) * 4, mode="reflect"), kernel, groups=3)
    return torch.where(masks > 0, raw[:, None], known / weight)
