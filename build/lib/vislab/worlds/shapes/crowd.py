"""One main thing among smaller ones in front of a busy ground: its class, how many there are, how far away the main one is."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.base import WorldDataset
from vislab.worlds.shapes.render import render
from vislab.worlds.shapes.scene import TEXTURES, Scene

# tips, radius at the notches, size of the hole
OUTLINES = {"disc": (3, 1.0, 0.0), "triangle": (3, 0.5, 0.0), "star": (5, 0.45, 0.0), "ring": (3, 1.0, 0.5)}
SURFACES = ("plain", "stripes", "checks", "dots")
CLASSES = tuple((outline, surface) for outline in OUTLINES for surface in SURFACES)
"""The main thing's outline and surface."""


@dataclass(frozen=True)
class CrowdConfig:
    """How large the pictures are and how busy."""

    image_size: int = 48
    """Height and width in pixels."""
    most: int = 5
    """Most things, the main one included."""
    ground: float = 0.3
    """Contrast of the textured ground, 0 to 1."""
    turn: float = 0.4
    """Largest rotation of the main thing in radians."""
    noise: float = 0.05
    """Standard deviation of the pixel noise."""


@dataclass(frozen=True)
class Crowd:
    """A batch of pictures with what probes ask for."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    label: Int[Tensor, " batch"]
    """Class of the main thing, an index into `CLASSES`."""
    count: Int[Tensor, " batch"]
    """Number of things less one."""
    distance: Float[Tensor, " batch"]
    """Distance of the main thing, inversely proportional to its radius, between 1 and 2."""
    mask: Tensor
    """(batch, height, width) bool: the main thing's visible pixels."""


class CrowdWorld:
    """`CrowdConfig` and a seed give an infinite list of pictures."""

    def __init__(self, config: CrowdConfig, seed: int = 0):
        if config.most < 1:
            raise ValueError(f"a picture holds at least the main thing, got most={config.most}")
        self.config, self.seed = config, seed

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Crowd:
        """The pictures at `indices`: ground, small things, and the main thing in front."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        config, small, rows = self.config, self.config.most - 1, len(indices)

        def draw(name: str, shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0) -> Tensor:
            return counter.uniform(self.seed, "world", indices, name, shape, low, high)

        def whole(name: str, high: int, shape: tuple[int, ...] = ()) -> Tensor:
            return counter.integers(self.seed, "world", indices, name, high, shape)

        label, count = whole("class", len(CLASSES)), whole("count", config.most)
        distance = draw("distance", (), 1.0, 2.0)
        form = torch.tensor(list(OUTLINES.values()), device=device)
        kind = torch.cat([whole("small class", len(CLASSES), (small,)), label[:, None]], dim=1)
        kinds = form[kind // len(SURFACES)]
        things = small + 1
        # the ground is a disc far larger than the picture that carries a texture
        ground = torch.tensor([3.0, 1.0, 0.0], device=device).expand(rows, 1, 3)
        kinds = torch.cat([ground, kinds], dim=1)
        # things are lighter than the ground, their patterns darker
        first = draw("ground colour", (1, 3), 0.2, 0.5)
        tint = draw("colour", (things, 3), 0.4, 1.0)
        colour = torch.cat([first, tint], dim=1)
        second = torch.cat([first + config.ground * (draw("ground second", (1, 3)) - first), 0.15 * tint], dim=1)
        texture = kind % len(SURFACES)  # the first of `TEXTURES`, in the same order
        angle = draw("angle", (things + 1,), -3.14, 3.14)
        angle[:, -1] = draw("turn", (), -config.turn, config.turn)
        ones = torch.ones(rows, 1, device=device)
        present = torch.arange(small, device=device) < count[:, None]
        drawn = render(
            Scene(
                present=torch.cat([ones.bool(), present, ones.bool()], dim=1),
                points=kinds[..., 0], notch=kinds[..., 1], hole=kinds[..., 2],
                texture=torch.cat([1 + whole("ground texture", len(TEXTURES) - 1, (1,)),
                                   texture], dim=1),
                frequency=torch.cat([draw("ground frequency", (1,), 6.0, 14.0), draw("frequency", (things,), 1.3, 1.7)], dim=1),
                colour=colour, second=second,
                centre=torch.cat([0.5 * ones[..., None].expand(-1, -1, 2), draw("small centre", (small, 2), 0.05, 0.95),
                                  0.5 + draw("centre", (1, 2), -0.14, 0.14)], dim=1),
                radius=torch.cat([2 * ones, draw("small radius", (small,), 0.07, 0.10), 0.42 / distance[:, None]], dim=1),
                angle=angle,
                background=torch.zeros(rows, 2, 3, device=device),
            ),
            config.image_size,
        )  # fmt: skip
        grain = counter.normal(self.seed, "world", indices, "noise", (3, config.image_size, config.image_size))
        image = (drawn.image + config.noise * grain).clamp(0, 1)
        return Crowd(image, label, count, distance, drawn.visible[:, -1])

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)
