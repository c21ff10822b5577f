"""Retrieval by attribute: a thing of three panels, each with a silhouette, a texture, a colour and a border of its own.

Every attribute of a garment holds a set of one to three classes, shown on different panels.
Some sets of several classes never occur in training.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.cards import SPLITS
from vislab.ops import counter
from vislab.worlds.base import WorldDataset
from vislab.worlds.shapes.classes import hue_colour
from vislab.worlds.shapes.render import pattern

ATTRIBUTES = {
    "silhouette": ("straight", "flared", "tapered", "round", "waisted"),
    "texture": ("striped", "checked", "dotted", "ringed", "wavy"),
    "colour": ("red", "yellow", "green", "blue", "violet"),
    "border": ("none", "dark", "light", "dashed", "double"),
}
CLASSES = 5
"""Classes of every attribute."""
PANELS = 3
HUES = (0.0, 1.0, 2.1, 4.0, 5.2)
"""Radians of the colours."""


@dataclass(frozen=True)
class GarmentsConfig:
    """How large the pictures are, how many classes an attribute may hold, and how hard they are to see."""

    image_size: int = 48
    """Height and width in pixels."""
    most: int = 3
    """Most classes that an attribute holds at once, 1 to 3."""
    noise: float = 0.05
    """Standard deviation of the pixel noise."""
    pose_jitter: float = 1.0
    """Freedom of place, size and rotation: 0 is none, 1 is full."""
    clutter: int = 3
    """Discs in the background."""


@dataclass(frozen=True)
class Garments:
    """A batch of garments."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    held: Bool[Tensor, "batch attribute class"]
    """Which classes each attribute holds."""
    panel: Int[Tensor, "batch attribute panel"]
    """The class that each panel, from the top, shows."""
    mask: Bool[Tensor, "batch panel height width"]
    """The pixels of each panel."""


def class_sets(most: int, seen: bool = False) -> list[tuple[int, ...]]:
    """All sets of 1 to `most` classes; with `seen`, only those that occur in training: a fifth of the larger ones does not."""
    found = []
    for size in range(1, most + 1):
        for members in itertools.combinations(range(CLASSES), size):
            if not (seen and size > 1 and sum(members) % CLASSES == 0):
                found.append(members)
    return found


class GarmentsWorld:
    """`GarmentsConfig` and a seed give an infinite list of garments; indices of the training split hold seen sets alone."""

    def __init__(self, config: GarmentsConfig, seed: int = 0):
        if not 1 <= config.most <= PANELS:
            raise ValueError(f"an attribute holds 1 to {PANELS} classes, got {config.most}")
        self.config, self.seed = config, seed

    def sets(self, indices: Int[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """(held, panel) of `Garments`: sizes of sets are drawn evenly, then a set of that size, then who shows what."""
        most, count = self.config.most, len(ATTRIBUTES)
        size = 1 + counter.integers(self.seed, "world", indices, "size", most, (count,))
        draw = counter.uniform(self.seed, "world", indices, "set", (count,))
        rows = torch.zeros(len(indices), count, PANELS, dtype=torch.int64, device=indices.device)
        training = (indices < SPLITS["validation"])[:, None]
        for seen in (False, True):
            everything = class_sets(most, seen)
            for s in range(1, most + 1):
                members = [m for m in everything if len(m) == s]
                # a set of s classes fills three panels by repeating its members
                table = torch.tensor([[m[k % s] for k in range(PANELS)] for m in members], device=indices.device)
                mine = (size == s) & (training == seen)
                rows = torch.where(mine[..., None], table[(draw * len(members)).long()], rows)
        held = torch.zeros(len(indices), count, CLASSES, dtype=torch.bool, device=indices.device)
        held.scatter_(2, rows, torch.ones_like(rows, dtype=torch.bool))
        order = torch.stack(
            [counter.permutation(self.seed, "world", indices, f"panels {a}", PANELS) for a in range(count)], dim=1
        )
        return held, rows.gather(2, order)

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Garments:
        """The garments at `indices`."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        held, panel = self.sets(indices)
        image, mask = self._draw(indices, panel)
        size = self.config.image_size
        noise = self.config.noise * counter.normal(self.seed, "world", indices, "noise", (3, size, size))
        return Garments((image + noise).clamp(0, 1), held, panel, mask)

    def _draw(self, indices: Tensor, panel: Tensor) -> tuple[Tensor, Tensor]:
        """(image, panel masks): the ground with its discs, then the panels from the top."""
        config, free, size = self.config, self.config.pose_jitter, self.config.image_size

        def draw(name: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
            return counter.uniform(self.seed, "world", indices, name, shape, low, high)

        pixel = (torch.arange(size, device=indices.device) + 0.5) / size
        x, y = pixel[None, None, :], pixel[None, :, None]
        ends = draw("ground", (2, 3, 1, 1), 0.15, 0.85)
        image = torch.lerp(ends[:, 0], ends[:, 1], y[:, None].expand(-1, -1, -1, size))
        for k in range(config.clutter):
            place, radius = draw(f"disc {k}", (2, 1, 1), 0, 1), draw(f"radius {k}", (1, 1), 0.06, 0.16)
            inside = (radius - torch.hypot(x - place[:, 0], y - place[:, 1])) * size + 0.5
            image = torch.lerp(image, draw(f"disc colour {k}", (3, 1, 1), 0, 1), inside.clamp(0, 1)[:, None])
        centre = 0.5 + 0.07 * free * draw("place", (2, 1, 1), -1, 1)
        scale, angle = (
            0.42 * (1 + 0.12 * free * draw("scale", (1, 1), -1, 1)),
            0.25 * free * draw("angle", (1, 1), -1, 1),
        )
        dx, dy = x - centre[:, 0], y - centre[:, 1]
        u, v = (angle.cos() * dx + angle.sin() * dy) / scale, (angle.cos() * dy - angle.sin() * dx) / scale
        frequency = draw("frequency", (PANELS, 1, 1), 1.9, 2.3)
        hue = torch.tensor(HUES, device=indices.device)[panel[:, 2]] + draw("hue", (PANELS,), -0.2, 0.2)
        value, masks = draw("value", (PANELS, 1), 0.75, 1.0), []
        for p in range(PANELS):
            silhouette, texture, border = panel[:, 0, p], panel[:, 1, p], panel[:, 3, p]
            t = 3 * (v + 1) - (2 * p + 1)  # -1 at the panel's upper end, 1 at its lower one
            inside = torch.minimum(self._half_width(t, silhouette) - u.abs(), (1 - t.abs()) / 3)
            colour = (hue_colour(hue[:, p]) * value[:, p])[..., None, None]
            mix = pattern(u, t / 3, (1 + texture)[:, None, None], frequency[:, p])[:, None]
            filled = torch.lerp(colour, 0.45 * colour, mix)
            filled = self._bordered(filled, self._half_width(t, silhouette) - u.abs(), v, border)
            image = torch.lerp(image, filled, (inside * scale * size + 0.5).clamp(0, 1)[:, None])
            masks.append(inside > 0)
        return image, torch.stack(masks, dim=1)

    def _half_width(self, t: Tensor, silhouette: Tensor) -> Tensor:
        """Half the width of a panel at height t in [-1, 1]."""
        bow = 1 - t.clamp(-1, 1) ** 2
        options = torch.stack([0.0 * t + 0.6, 0.6 + 0.22 * t, 0.6 - 0.22 * t, 0.45 + 0.35 * bow, 0.8 - 0.42 * bow])
        return torch.gather(options, 0, silhouette[None, :, None, None].expand(1, *t.shape))[0]

    def _bordered(self, filled: Tensor, edge: Tensor, v: Tensor, border: Tensor) -> Tensor:
        """Bands along both sides: none, dark, light, dashed in the dark colour, or dark with a light one inside."""
        outer, inner = edge < 0.13, (edge >= 0.13) & (edge < 0.24)
        dashes = torch.sin(18 * v) > 0
        kind = border[:, None, None]
        dark = outer & ((kind == 1) | (kind == 4) | ((kind == 3) & dashes))
        light = (outer & (kind == 2)) | (inner & (kind == 4))
        filled = torch.where(dark[:, None], torch.full_like(filled, 0.06), filled)
        return torch.where(light[:, None], torch.full_like(filled, 0.96), filled)

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)
