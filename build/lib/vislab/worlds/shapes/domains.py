"""One named thing a picture, its class the outline; other domains change style, textures or backgrounds and keep the class."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.base import WorldDataset
from vislab.worlds.shapes.scenes import BACKGROUNDS, COLOURS, SHAPES, STYLES, TEXTURES, Named, ScenesConfig, ScenesWorld

DOMAINS = ("photo", "sketch", "fog", "night", "palette", "texture", "background")
"""The first is in-distribution; four are styles, "texture" has textures that the first never shows, "background" the wrong ground."""


@dataclass(frozen=True)
class DomainsConfig:
    """How strongly the background gives the class away, and how hard the classes are to see."""

    classes: int = 12
    """Classes: the first of `SHAPES`."""
    image_size: int = 32
    """Height and width in pixels."""
    spurious: float = 0.8
    """Share of pictures whose background is its class's usual one; in domain "background" it never is."""
    textures: int = 4
    """Textures of every domain but "texture", which has the others."""
    noise: float = 0.06
    """Standard deviation of the pixel noise."""


@dataclass(frozen=True)
class Domains:
    """A batch of labelled pictures of one domain."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    label: Int[Tensor, " batch"]
    """Class, an index into `SHAPES`."""
    background: Int[Tensor, " batch"]
    """Index into `BACKGROUNDS`."""
    mask: Tensor
    """(batch, height, width) bool: the thing's pixels."""


class DomainsWorld:
    """`DomainsConfig` and a seed give, for every domain, an infinite list of pictures."""

    def __init__(self, config: DomainsConfig, seed: int = 0):
        if not 2 <= config.classes <= len(SHAPES) or not 1 <= config.textures < len(TEXTURES):
            raise ValueError(f"2 to {len(SHAPES)} classes and 1 to {len(TEXTURES) - 1} textures, got {config}")
        self.config, self.seed = config, seed
        self.scenes = ScenesWorld(ScenesConfig(image_size=config.image_size, most=1, noise=config.noise), seed)

    def usual(self, label: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """The background that goes with a class; two classes share each."""
        return label % len(BACKGROUNDS)

    def sample(
        self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu", domain: str = "photo"
    ) -> Domains:
        """The pictures at `indices` of a domain; class c stands at indices equal to c modulo the number of classes.

        Raises ValueError for an unknown domain.
        """
        if domain not in DOMAINS:
            raise ValueError(f"unknown domain {domain!r}; known are {', '.join(DOMAINS)}")
        config = self.config
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        label = indices % config.classes

        def draw(name: str, high: int) -> Tensor:
            return counter.integers(self.seed, "world", indices, name, high)

        usual, other = self.usual(label), draw("other background", len(BACKGROUNDS) - 1) + 1
        stays = counter.uniform(self.seed, "world", indices, "spurious") < config.spurious
        if domain == "background":
            stays = torch.zeros_like(stays)
        if domain == "texture":
            texture = config.textures + draw("texture", len(TEXTURES) - config.textures)
        else:
            texture = draw("texture", config.textures)
        style = domain if domain in STYLES else "photo"
        named = Named(
            present=torch.ones_like(label, dtype=torch.bool)[:, None],
            shape=label[:, None],
            colour=draw("colour", len(COLOURS))[:, None],
            texture=texture[:, None],
            size=1 + draw("size", 2)[:, None],
            cell=torch.zeros_like(label)[:, None],
            background=torch.where(stays, usual, (usual + other) % len(BACKGROUNDS)),
            style=torch.full_like(label, STYLES.index(style)),
        )
        drawn = self.scenes.draw(named, indices)
        return Domains(drawn.image, label, named.background, drawn.visible[:, 0])

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over in-distribution items [start, start + count)."""
        return WorldDataset(self, start, count)
