"""Recognition: one object a picture, whose class fixes its outline, texture and hue, with a look-alike for every class."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.base import WorldDataset
from vislab.worlds.shapes.render import render
from vislab.worlds.shapes.scene import TEXTURES, Scene


@dataclass(frozen=True)
class ClassesConfig:
    """How many classes, what tells them apart, and how hard they are to see."""

    classes: int = 24
    """Number of classes, even: class c looks like class `classes - 1 - c`, so that in a long tail head and tail are partners."""
    cue: Literal["outline", "texture", "joint"] = "joint"
    """What differs between partners: the notch of the outline, the texture's frequency, or both, each half as much."""
    gap: float = 0.25
    """How far partners are apart in their cue, as a share."""
    image_size: int = 24
    """Height and width in pixels."""
    noise: float = 0.08
    """Standard deviation of the pixel noise."""
    hue_jitter: float = 0.12
    """Standard deviation of the change in colour from item to item."""
    pose_jitter: float = 1.0
    """Freedom of place, size and rotation: 0 is none, 1 is full."""
    clutter: int = 2
    """Small distractors behind the object."""


@dataclass(frozen=True)
class Shapes:
    """A batch of labelled pictures."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    label: Int[Tensor, " batch"]
    """Fine class."""
    coarse: Int[Tensor, " batch"]
    """Coarse class: the number of tips, shared by several fine ones."""
    mask: Tensor
    """(batch, height, width) bool: the object's visible pixels."""
    box: Float[Tensor, "batch 4"]
    """(x0, y0, x1, y1) of the mask in pixels."""


class ClassesWorld:
    """`ClassesConfig` and a seed give an infinite list of pictures; the classes themselves do not depend on the seed."""

    def __init__(self, config: ClassesConfig, seed: int = 0):
        if config.classes % 2:
            raise ValueError(f"classes must be even, got {config.classes}")
        self.config, self.seed = config, seed

    def attributes(self, label: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """What the class fixes: points, notch, hole, texture, frequency, hue (radians) of its prototype."""
        config = self.config
        pair = torch.minimum(label, config.classes - 1 - label)
        sign = torch.where(label == pair, 1.0, -1.0)
        points = (3 + pair % 4).float()
        outline_gap = config.gap * {"outline": 1.0, "texture": 0.0, "joint": 0.5}[config.cue]
        texture_gap = config.gap * {"outline": 0.0, "texture": 1.0, "joint": 0.5}[config.cue]
        base = 0.55 + 0.15 * ((pair // 4) % 2).float()
        return {
            "points": points,
            "notch": (base * (1 + sign * outline_gap)).clamp(0.2, 0.95),
            "hole": torch.where(pair % 3 == 2, 0.3, 0.0),
            "texture": 1 + (pair // 2) % (len(TEXTURES) - 1),
            "frequency": 1.2 * (1 + sign * texture_gap),
            "hue": 2 * torch.pi * ((pair * 5) % 12).float() / 12,
        }

    def coarse(self, label: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Coarse class of a fine one: its number of tips, from 0."""
        return torch.minimum(label, self.config.classes - 1 - label) % 4

    def scene(self, indices: Int[Tensor, " batch"], label: Int[Tensor, " batch"]) -> Scene:
        """The clutter and, last and in front, the object."""
        config, seed, count = self.config, self.seed, self.config.clutter

        def draw(name: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
            return counter.uniform(seed, "world", indices, name, shape, low, high)

        mine = self.attributes(label)
        free = config.pose_jitter
        hue = mine["hue"] + config.hue_jitter * 3 * counter.normal(seed, "world", indices, "hue")
        colour = hue_colour(hue) * draw("value", (1,), 0.6, 1.0)
        other = (colour * draw("second", (1,), 0.15, 0.5)).clamp(0, 1)

        def joined(behind: Tensor, front: Tensor) -> Tensor:
            return torch.cat([behind, front.to(behind.dtype)[:, None]], dim=1)

        ones = torch.ones(len(indices), count, device=indices.device)
        return Scene(
            present=torch.ones(len(indices), count + 1, dtype=torch.bool, device=indices.device),
            points=joined(3 + counter.integers(seed, "world", indices, "clutter points", 4, (count,)).float(), mine["points"]),
            notch=joined(draw("clutter notch", (count,), 0.5, 0.9), mine["notch"]),
            hole=joined(0 * ones, mine["hole"]),
            texture=joined(0 * ones.long(), mine["texture"]),
            frequency=joined(ones, mine["frequency"]),
            colour=joined(draw("clutter colour", (count, 3), 0.1, 0.9), colour),
            second=joined(draw("clutter colour", (count, 3), 0.1, 0.9), other),
            centre=joined(draw("clutter centre", (count, 2), 0.0, 1.0), 0.5 + 0.1 * free * draw("centre", (2,), -1.0, 1.0)),
            radius=joined(draw("clutter radius", (count,), 0.06, 0.14), 0.36 * (1 + 0.15 * free * draw("radius", (), -1.0, 1.0))),
            angle=joined(draw("clutter angle", (count,), 0.0, 6.28), free * draw("angle", (), -3.14, 3.14)),
            background=draw("background", (2, 3), 0.1, 0.9),
        )  # fmt: skip

    def sample(
        self,
        indices: Int[Tensor, " batch"],
        device: torch.device | str = "cpu",
        label: Int[Tensor, " batch"] | None = None,
    ) -> Shapes:
        """The pictures at `indices`; their classes are drawn evenly unless `label` gives them."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        if label is None:
            label = counter.integers(self.seed, "world", indices, "label", self.config.classes)
        label = label.to(device)
        drawn = render(self.scene(indices, label), self.config.image_size)
        size = (3, self.config.image_size, self.config.image_size)
        noise = self.config.noise * counter.normal(self.seed, "world", indices, "noise", size)
        image = (drawn.image + noise).clamp(0, 1)
        return Shapes(image, label, self.coarse(label), drawn.visible[:, -1], drawn.boxes[:, -1])

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)


def hue_colour(hue: Float[Tensor, " batch"]) -> Float[Tensor, "batch 3"]:
    """A saturated sRGB colour of `hue` radians."""
    shift = torch.tensor([0.0, 2.0, 4.0], device=hue.device) * torch.pi / 3
    return 0.5 + 0.45 * torch.cos(hue[:, None] - shift)
