"""Recognition with known evidence: an outline and a small dot on it decide the class; the background's hue may be a false cue."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.base import WorldDataset
from vislab.worlds.shapes.classes import hue_colour
from vislab.worlds.shapes.render import render
from vislab.worlds.shapes.scene import Scene

OUTLINES = ((3.0, 0.55), (4.0, 0.72), (5.0, 0.5), (8.0, 1.0))
"""(tips, notch) of the outlines: triangle, square, star, disc."""


@dataclass(frozen=True)
class EvidenceConfig:
    """How many classes, how large the picture and its decisive dot are, and how much the background tells."""

    classes: int = 8
    """Number of classes, even, at most eight: outline `class // 2`, dot bright for even and dark for odd classes."""
    image_size: int = 24
    """Height and width in pixels."""
    dot: float = 0.1
    """Radius of the dot as a share of the image side."""
    spurious: float = 0.0
    """Share of the pictures whose background has the hue of their class; the others draw any class's hue."""
    noise: float = 0.03
    """Standard deviation of the pixel noise."""


@dataclass(frozen=True)
class Evidence:
    """A batch of pictures and where their evidence lies."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    label: Int[Tensor, " batch"]
    """Class."""
    body: Bool[Tensor, "batch height width"]
    """Pixels of the outline, the dot's included."""
    dot: Bool[Tensor, "batch height width"]
    """Pixels of the dot, which alone tells a class from its partner `label ^ 1`."""
    hue: Int[Tensor, " batch"]
    """Class whose hue the background has."""


class EvidenceWorld:
    """`EvidenceConfig` and a seed give an infinite list of pictures; the classes do not depend on the seed."""

    def __init__(self, config: EvidenceConfig, seed: int = 0):
        if config.classes % 2 or not 2 <= config.classes <= 2 * len(OUTLINES):
            raise ValueError(f"classes must be even and at most {2 * len(OUTLINES)}, got {config.classes}")
        self.config, self.seed = config, seed

    def sample(
        self,
        indices: Int[Tensor, " batch"],
        device: torch.device | str = "cpu",
        label: Int[Tensor, " batch"] | None = None,
    ) -> Evidence:
        """The pictures at `indices`; their classes are drawn evenly unless `label` gives them."""
        config = self.config
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        if label is None:
            label = counter.integers(self.seed, "world", indices, "label", config.classes)
        label = label.to(device)
        other = counter.integers(self.seed, "world", indices, "hue", config.classes)
        tells = counter.uniform(self.seed, "world", indices, "tells") < config.spurious
        hue = torch.where(tells, label, other)
        drawn = render(self.scene(indices, label, hue), config.image_size)
        size = (3, config.image_size, config.image_size)
        noise = config.noise * counter.normal(self.seed, "world", indices, "noise", size)
        return Evidence(
            (drawn.image + noise).clamp(0, 1), label, drawn.amodal[:, 0], drawn.visible[:, 1] & drawn.amodal[:, 0], hue
        )

    def scene(self, indices: Int[Tensor, " batch"], label: Int[Tensor, " batch"], hue: Int[Tensor, " batch"]) -> Scene:
        """The outline behind and the dot in front, somewhere on it."""

        def draw(name: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
            return counter.uniform(self.seed, "world", indices, name, shape, low, high)

        form = torch.tensor(OUTLINES, device=indices.device)[label // 2]
        centre = draw("centre", (2,), 0.42, 0.58)
        radius = draw("radius", (), 0.3, 0.4)
        turned, reach = draw("dot angle", (), 0.0, 6.283), radius * draw("dot place", (), 0.0, 0.3)
        dot = centre + reach[:, None] * torch.stack([turned.cos(), turned.sin()], dim=-1)
        grey = draw("body", (3,), 0.45, 0.7)
        bright = torch.where(label % 2 == 0, 0.95, 0.05)[:, None] + draw("dot shade", (3,), -0.05, 0.05)
        tint = 0.1 + 0.3 * hue_colour(2 * torch.pi * hue.float() / self.config.classes)
        ends = tint[:, None] * draw("background", (2, 1), 0.6, 1.1)
        zero, one = torch.zeros_like(radius), torch.ones_like(radius)

        def pair(first: Tensor, second: Tensor) -> Tensor:
            return torch.stack([first, second], dim=1)

        return Scene(
            present=pair(one, one).bool(),
            points=pair(form[:, 0], 8 * one),
            notch=pair(form[:, 1], one),
            hole=pair(zero, zero),
            texture=pair(zero, zero).long(),
            frequency=pair(one, one),
            colour=pair(grey, bright.clamp(0, 1)),
            second=pair(grey, bright.clamp(0, 1)),
            centre=pair(centre, dot),
            radius=pair(radius, self.config.dot * one),
            angle=pair(draw("angle", (), -0.4, 0.4), zero),
            background=ends.clamp(0, 1),
        )

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)
