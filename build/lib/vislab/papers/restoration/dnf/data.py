"""The task: a noisy packed mosaic in, the rendered sRGB picture and the clean mosaic out."""

from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

from vislab.datasets import mcr, sid
from vislab.datasets.base import locate
from vislab.ops import counter
from vislab.papers.restoration.dnf.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.camera import CameraConfig, CameraWorld
from vislab.worlds.photos import PhotosConfig

SID, MCR = DATASETS


def world(config: Config, seed: int, scenes: Literal["leaves", "real"] | None = None) -> CameraWorld:
    """The procedural camera in front of dead leaves or of real photographs."""
    photos = PhotosConfig(image_size=config.image_size, kind=scenes or config.scenes, saturation=config.saturation)
    return CameraWorld(CameraConfig(photos=photos, pattern=config.pattern, full_well=config.full_well), seed)


def batch(
    config: Config,
    split: str,
    seed: int,
    index: Int[Tensor, " batch"],
    device: torch.device | str = "cpu",
    scenes: Literal["leaves", "real"] | None = None,
) -> dict[str, Tensor]:
    """{"noisy": (batch, packed, h, w), "raw": the same without noise, "rgb": (batch, 3, block h, block w)}.

    `scenes` overrides the config's, so that a network trained on one kind is evaluated on the other.
    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source == "world":
        shot = world(config, seed, scenes).sample(absolute(split, index.cpu()), device)
        return {"noisy": shot.noisy, "raw": shot.clean, "rgb": shot.srgb}
    if config.source == "mcr":
        items = [mcr.read(MCR, locate(MCR), split, i) for i in index.tolist()]
    else:
        camera = "Sony" if config.source == "sid_sony" else "Fuji"
        items = [sid.read(SID, locate(SID), camera, split, i) for i in index.tolist()]
    cut = [crop(item, config.image_size // config.block_size, config.block_size, seed, split, i)
           for i, item in zip(index.tolist(), items, strict=True)]  # fmt: skip
    return {name: torch.stack([c[name] for c in cut]).to(device) for name in cut[0]}


def crop(item: dict[str, Tensor], side: int, block: int, seed: int, split: str, index: int) -> dict[str, Tensor]:
    """A random patch of `side` packed pixels in training, the whole picture otherwise."""
    height, width = item["noisy"].shape[-2:]
    if split != "train" or side >= min(height, width):
        return item
    u, v = counter.uniform(seed, "noise", torch.tensor([index]), "crop", (2,))[0].tolist()
    top, left = int(u * (height - side + 1)), int(v * (width - side + 1))
    big = slice(block * top, block * (top + side)), slice(block * left, block * (left + side))
    small = slice(top, top + side), slice(left, left + side)
    return {name: value[..., *(big if name == "rgb" else small)] for name, value in item.items()}


def augment(items: dict[str, Tensor]) -> dict[str, Tensor]:
    """One random flip or transpose for the whole batch, the same on input and targets (section 4.1).

    Packed channels stay where they are, so that each keeps its colour, as in the authors' code.
    """
    flip_rows, flip_columns, transpose = (torch.rand(3) < 0.5).tolist()
    return {name: turn(value, flip_rows, flip_columns, transpose) for name, value in items.items()}


def turn(image: Tensor, flip_rows: bool, flip_columns: bool, transpose: bool) -> Tensor:
    """Flip and transpose the last two dimensions."""
    image = image.flip(-2) if flip_rows else image
    image = image.flip(-1) if flip_columns else image
    return rearrange(image, "... h w -> ... w h") if transpose else image
