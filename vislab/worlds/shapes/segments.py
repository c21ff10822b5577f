"""Segmentation: several things of twelve classes, an outline with a surface each, in front of a cluttered ground; exact label maps.

Single things of other outlines are there to learn features from, before any class of the label maps is seen.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.base import WorldDataset
from vislab.worlds.shapes.render import render
from vislab.worlds.shapes.scene import TEXTURES, Scene
from vislab.worlds.shapes.scenes import SHAPES

FORMS = ("circle", "triangle", "cross", "ring")
"""Outlines of the classes, names of `scenes.SHAPES`."""
SURFACES = {"plain": 0, "striped": 1, "dotted": 3}
"""Surfaces of the classes, as indices into `scene.TEXTURES`."""
CLASSES = tuple((form, surface) for form in FORMS for surface in SURFACES)
SINGLES = ("square", "pentagon", "hexagon", "star", "propeller", "flower", "frame", "gear")
"""Outlines of single things, none of them a class."""
CLUTTER = ("flower", "gear", "frame", "star")
"""Outlines of things that are background."""
FOLDS = {3: 4, 6: 2}
"""Novel classes of a fold: number of folds."""


@dataclass(frozen=True)
class SegmentsConfig:
    """How large the pictures are, how much stands in them and how unevenly it is spread."""

    image_size: int = 65
    """Height and width in pixels."""
    least: int = 2
    """Fewest things."""
    most: int = 4
    """Most things, at most 4; they differ in class."""
    clutter: int = 4
    """Small things of no class, labelled background."""
    skew: float = 0.6
    """How unevenly the things of a picture share its area: 0 makes them alike, 1 makes the first 3 times as wide as the others."""
    turn: float = 0.5
    """Largest rotation of a thing in radians."""
    ground: float = 0.3
    """Contrast of the textured ground, 0 to 1."""
    noise: float = 0.05
    """Standard deviation of the pixel noise."""


@dataclass(frozen=True)
class Segments:
    """A batch of pictures with their label maps."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    label: Int[Tensor, "batch height width"]
    """0 for background, 1 + class (an index into `CLASSES`) for things."""


@dataclass(frozen=True)
class Singles:
    """A batch of pictures of one thing each."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    outline: Int[Tensor, " batch"]
    """Index into `SINGLES`."""
    surface: Int[Tensor, " batch"]
    """Index into `scene.TEXTURES`."""


def novel_classes(fold: int, novel: Literal[3, 6]) -> tuple[int, ...]:
    """The novel classes of a fold, from 0; of every outline and every surface there are base classes as well.

    With `novel` classes a fold there are `FOLDS[novel]` folds, and each class is novel in one of them.
    Raises ValueError for a fold that is not there.
    """
    if novel not in FOLDS or not 0 <= fold < FOLDS[novel]:
        raise ValueError(f"{novel} novel classes make {FOLDS.get(novel, 'no')} folds, there is no fold {fold}")
    surfaces, diagonals = len(SURFACES), novel // len(SURFACES)
    place = [(k, (k // surfaces - k % surfaces) % len(FORMS)) for k in range(len(CLASSES))]
    return tuple(k for k, diagonal in place if diagonal // diagonals == fold)


class SegmentsWorld:
    """`SegmentsConfig` and a seed give an infinite list of pictures; the classes do not depend on the seed."""

    def __init__(self, config: SegmentsConfig, seed: int = 0):
        if not 1 <= config.least <= config.most <= 4:
            raise ValueError(f"a picture holds 1 to 4 things, got {config.least} to {config.most}")
        self.config, self.seed = config, seed

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Segments:
        """The pictures at `indices`: ground, clutter, and the things in front, the widest of them at the back."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        config, most, small = self.config, self.config.most, self.config.clutter
        kind = counter.permutation(self.seed, "world", indices, "class", len(CLASSES))[:, :most]
        count = config.least + self._whole(indices, "count", config.most - config.least + 1)
        forms = torch.tensor([SHAPES[name] for name in FORMS], device=device)[kind // len(SURFACES)]
        others = torch.tensor([SHAPES[name] for name in CLUTTER], device=device)
        others = others[self._whole(indices, "clutter outline", len(CLUTTER), (small,))]
        surfaces = torch.tensor(list(SURFACES.values()), device=device)[kind % len(SURFACES)]
        slots = torch.arange(most, device=device)
        # things stand in the quarters of the picture
        cell = counter.permutation(self.seed, "world", indices, "cell", 4)[:, :most]
        place = torch.stack([cell % 2, cell // 2], dim=-1) * 0.5 + 0.25
        place = place + self._draw(indices, "place", (most, 2), -0.09, 0.09)
        wide = torch.where(slots == 0, 1 + 0.5 * config.skew, 1 - 0.5 * config.skew)
        visible, image = self._picture(
            indices,
            present=torch.cat([torch.ones(len(indices), small, device=device).bool(), slots < count[:, None]], dim=1),
            forms=torch.cat([others, forms], dim=1),
            textures=torch.cat([self._whole(indices, "clutter texture", len(TEXTURES), (small,)), surfaces], dim=1),
            centre=torch.cat([self._draw(indices, "clutter place", (small, 2)), place], dim=1),
            radius=torch.cat(
                [
                    self._draw(indices, "clutter radius", (small,), 0.06, 0.11),
                    0.24 * wide * self._draw(indices, "radius", (most,), 0.85, 1.15),
                ],
                dim=1,
            ),
        )
        return Segments(image, (visible[:, -most:] * (1 + kind)[..., None, None]).sum(dim=1))

    def singles(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Singles:
        """Pictures of one thing each, near the middle, on grounds of the same kind, without clutter."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        outline = self._whole(indices, "single outline", len(SINGLES))
        surface = self._whole(indices, "single surface", len(TEXTURES))
        forms = torch.tensor([SHAPES[name] for name in SINGLES], device=device)
        _, image = self._picture(
            indices,
            present=torch.ones(len(indices), 1, device=device).bool(),
            forms=forms[outline][:, None],
            textures=surface[:, None],
            centre=0.5 + self._draw(indices, "single place", (1, 2), -0.15, 0.15),
            radius=self._draw(indices, "single radius", (1,), 0.25, 0.48),
        )
        return Singles(image, outline, surface)

    def _draw(
        self, indices: Tensor, name: str, shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0
    ) -> Tensor:
        return counter.uniform(self.seed, "world", indices, name, shape, low, high)

    def _whole(self, indices: Tensor, name: str, high: int, shape: tuple[int, ...] = ()) -> Tensor:
        return counter.integers(self.seed, "world", indices, name, high, shape)

    def _picture(
        self, indices: Tensor, present: Tensor, forms: Tensor, textures: Tensor, centre: Tensor, radius: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(visible masks, image) of things on a ground; things are lighter than the ground, their patterns darker."""
        config, device, (rows, things) = self.config, indices.device, present.shape
        one = torch.ones(rows, 1, device=device)
        # the ground is a disc far larger than the picture that carries a texture
        disc = torch.tensor([3.0, 1.0, 0.0], device=device).expand(rows, 1, 3)
        base, other = (
            self._draw(indices, f"ground {k}", (1, 3), *ends) for k, ends in enumerate(((0.15, 0.55), (0, 1)))
        )
        # drawn from the last thing to the first, so that clutter changes nothing in front of it
        tint = self._draw(indices, "tint", (things, 3), 0.4, 1.0).flip(1)
        form = torch.cat([disc, forms], dim=1)
        drawn = render(
            Scene(
                present=torch.cat([one.bool(), present], dim=1),
                points=form[..., 0], notch=form[..., 1], hole=form[..., 2],
                texture=torch.cat([1 + self._whole(indices, "ground texture", len(TEXTURES) - 1, (1,)), textures], dim=1),
                frequency=torch.cat([self._draw(indices, "ground frequency", (1,), 4.0, 12.0),
                                     self._draw(indices, "frequency", (things,), 1.2, 1.6).flip(1)], dim=1),
                colour=torch.cat([base, tint], dim=1),
                second=torch.cat([base + config.ground * (other - base), 0.15 * tint], dim=1),
                centre=torch.cat([(0.5 * one[..., None]).expand(-1, -1, 2), centre], dim=1),
                radius=torch.cat([2 * one, radius], dim=1),
                angle=torch.cat([self._draw(indices, "ground angle", (1,), -3.14, 3.14),
                                 self._draw(indices, "angle", (things,), -config.turn, config.turn).flip(1)], dim=1),
                background=torch.zeros(rows, 2, 3, device=device),
            ),
            config.image_size,
        )  # fmt: skip
        grain = counter.normal(self.seed, "world", indices, "noise", (3, config.image_size, config.image_size))
        return drawn.visible, (drawn.image + config.noise * grain).clamp(0, 1)

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)
