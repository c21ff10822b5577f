"""Scenes of one to three named things: every picture is drawn from attributes that have words, so it can be told and edited."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.base import WorldDataset
from vislab.worlds.shapes.render import render
from vislab.worlds.shapes.scene import Scene

# name: tips, radius at the notches, size of the hole
SHAPES = {
    "circle": (3, 1.0, 0.0),
    "triangle": (3, 0.5, 0.0),
    "square": (4, 0.7071, 0.0),
    "pentagon": (5, 0.809, 0.0),
    "hexagon": (6, 0.866, 0.0),
    "ring": (3, 1.0, 0.5),
    "star": (5, 0.42, 0.0),
    "cross": (4, 0.35, 0.0),
    "propeller": (3, 0.25, 0.0),
    "flower": (6, 0.6, 0.0),
    "frame": (4, 0.7071, 0.42),
    "gear": (8, 0.72, 0.3),
}
COLOURS = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.95, 0.55, 0.10),
    "yellow": (0.95, 0.90, 0.15),
    "green": (0.15, 0.65, 0.20),
    "cyan": (0.20, 0.80, 0.85),
    "blue": (0.15, 0.25, 0.85),
    "purple": (0.55, 0.20, 0.70),
    "pink": (0.98, 0.55, 0.75),
}
TEXTURES = ("plain", "striped", "checked", "dotted", "ringed", "wavy")
"""Words for `scene.TEXTURES`, in its order."""
SIZES = {"small": 0.14, "medium": 0.20, "large": 0.32}
"""Radius at the tips as a share of the image side; only a thing that stands alone is large."""
BACKGROUNDS = {
    "white": (0.93, 0.93, 0.93),
    "grey": (0.55, 0.55, 0.55),
    "black": (0.10, 0.10, 0.10),
    "brown": (0.42, 0.28, 0.16),
    "olive": (0.45, 0.48, 0.22),
    "navy": (0.10, 0.13, 0.38),
}
STYLES = ("photo", "sketch", "fog", "night", "palette")
"""How the whole scene is rendered; a palette turns red into green, green into blue and blue into red."""
CELLS = ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73))


@dataclass(frozen=True)
class ScenesConfig:
    """What may stand in a scene and how much of it changes without changing its words."""

    image_size: int = 32
    """Height and width in pixels."""
    least: int = 1
    """Fewest things."""
    most: int = 3
    """Most things, at most 4."""
    shapes: int = 12
    """How many of `SHAPES`, from the first."""
    textures: int = 6
    """How many of `TEXTURES`, from the first."""
    styles: tuple[str, ...] = STYLES
    """Which of `STYLES` occur."""
    noise: float = 0.03
    """Standard deviation of the pixel noise."""
    jitter: float = 1.0
    """Freedom of place, size, rotation and tint: 0 is none, 1 is full."""


@dataclass(frozen=True)
class Named:
    """The words of a batch of scenes, as indices into the tables of this module."""

    present: Bool[Tensor, "batch object"]
    """Which slots hold a thing."""
    shape: Int[Tensor, "batch object"]
    """Index into `SHAPES`; the things of a scene differ in it."""
    colour: Int[Tensor, "batch object"]
    """Index into `COLOURS`."""
    texture: Int[Tensor, "batch object"]
    """Index into `TEXTURES`."""
    size: Int[Tensor, "batch object"]
    """Index into `SIZES`."""
    cell: Int[Tensor, "batch object"]
    """Index into `CELLS`; a thing alone in its scene stands in the middle."""
    background: Int[Tensor, " batch"]
    """Index into `BACKGROUNDS`."""
    style: Int[Tensor, " batch"]
    """Index into `STYLES`."""

    def __getitem__(self, rows: Tensor | slice) -> "Named":
        return Named(**{name: value[rows] for name, value in vars(self).items()})

    def to(self, device: torch.device | str) -> "Named":
        return Named(**{name: value.to(device) for name, value in vars(self).items()})

    def edited(self, **changes: Tensor) -> "Named":
        """The same scenes with some attributes replaced."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Scenes:
    """A batch of pictures with their words and the truth about every thing."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    named: Named
    """What the picture shows, in words."""
    visible: Bool[Tensor, "batch object height width"]
    """Pixels of every thing."""
    boxes: Float[Tensor, "batch object 4"]
    """(x0, y0, x1, y1) in pixels; zeros for an empty slot."""


class ScenesWorld:
    """`ScenesConfig` and a seed give an infinite list of scenes."""

    def __init__(self, config: ScenesConfig, seed: int = 0):
        if not 1 <= config.least <= config.most <= len(CELLS):
            raise ValueError(f"a scene holds 1 to {len(CELLS)} things, got {config.least} to {config.most}")
        unknown = set(config.styles) - set(STYLES)
        if unknown:
            raise ValueError(f"unknown styles {', '.join(sorted(unknown))}; known are {', '.join(STYLES)}")
        self.config, self.seed = config, seed

    def names(self, indices: Int[Tensor, " batch"]) -> Named:
        """What stands in the scenes at `indices`."""
        config, most = self.config, self.config.most

        def draw(name: str, high: int, shape: tuple[int, ...] = (most,)) -> Tensor:
            return counter.integers(self.seed, "world", indices, name, high, shape)

        count = config.least + draw("count", config.most - config.least + 1, ())
        slots = torch.arange(most, device=indices.device)
        styles = torch.tensor([STYLES.index(s) for s in config.styles], device=indices.device)
        alone = (count == 1)[:, None]
        return Named(
            present=slots < count[:, None],
            shape=counter.permutation(self.seed, "world", indices, "shape", config.shapes)[:, :most],
            colour=draw("colour", len(COLOURS)),
            texture=draw("texture", config.textures),
            size=draw("size", 2) + alone.long(),
            cell=counter.permutation(self.seed, "world", indices, "cell", len(CELLS))[:, :most],
            background=draw("background", len(BACKGROUNDS), ()),
            style=styles[draw("style", len(styles), ())],
        )

    def draw(self, named: Named, indices: Int[Tensor, " batch"]) -> Scenes:
        """The pictures of `named`; what has no words (place in the cell, rotation, tint, noise) follows from `indices`.

        Drawing edited words at the same indices therefore changes what was edited and nothing else.
        """
        config = self.config
        free, slots, device = config.jitter, named.present.shape[1], indices.device

        def spread(name: str, shape: tuple[int, ...], by: float) -> Tensor:
            return free * by * counter.uniform(self.seed, "world", indices, name, shape, -1.0, 1.0)

        form = torch.tensor(list(SHAPES.values()), device=device)[named.shape]
        tint = torch.tensor(list(COLOURS.values()), device=device)[named.colour]
        ground = torch.tensor(list(BACKGROUNDS.values()), device=device)[named.background]
        colour = (tint + spread("tint", (slots, 3), 0.06)).clamp(0, 1)
        alone = (named.present.sum(dim=1) == 1)[:, None, None]
        centre = torch.tensor(CELLS, device=device)[named.cell]
        centre = torch.where(alone, torch.full_like(centre, 0.5), centre) + spread("place", (slots, 2), 0.06)
        light = torch.stack([spread("top", (3,), 0.07), spread("bottom", (3,), 0.07)], dim=1)
        radius = torch.tensor(list(SIZES.values()), device=device)[named.size]
        drawn = render(
            Scene(
                present=named.present, points=form[..., 0], notch=form[..., 1], hole=form[..., 2],
                texture=named.texture, frequency=torch.full_like(radius, 1.4),
                colour=colour, second=colour * 0.35, centre=centre,
                radius=radius * (1 + spread("radius", (slots,), 0.12)), angle=spread("angle", (slots,), 0.5),
                background=(ground[:, None] + light).clamp(0, 1),
            ),
            config.image_size,
        )  # fmt: skip
        image = restyle(drawn.image, named.style)
        grain = counter.normal(self.seed, "world", indices, "noise", (3, config.image_size, config.image_size))
        return Scenes((image + config.noise * grain).clamp(0, 1), named, drawn.visible, drawn.boxes)

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Scenes:
        """The scenes at `indices`."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        return self.draw(self.names(indices), indices)

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count): pictures, masks and boxes."""
        return WorldDataset(self, start, count)


def restyle(
    image: Float[Tensor, "batch 3 height width"], style: Int[Tensor, " batch"]
) -> Float[Tensor, "batch 3 height width"]:
    """Every picture in its style, an index into `STYLES`."""
    size = image.shape[-1]
    grey = image.mean(dim=1, keepdim=True)
    across = torch.nn.functional.pad(grey.diff(dim=-1).abs(), (0, 1))
    down = torch.nn.functional.pad(grey.diff(dim=-2).abs(), (0, 0, 0, 1))
    sketch = (1 - 4 * (across + down)).clamp(0.05, 1).expand_as(image)
    depth = torch.linspace(0.75, 0.45, size, device=image.device)[None, None, :, None]
    fog = torch.lerp(image, torch.full_like(image, 0.78), depth)
    night = image * torch.tensor([0.22, 0.26, 0.42], device=image.device)[None, :, None, None]
    palette = image[:, [2, 0, 1]]
    every = torch.stack([image, sketch, fog, night, palette])
    return every[style, torch.arange(len(image), device=image.device)]
