"""Slices of tissue from several sites: one organ to outline among look-alike neighbours, scanned and drawn as each site does it.

The anatomy belongs to an item alone; a site changes how large and how lobed organs are, how the scanner shows them, and who drew the masks.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.base import WorldDataset

TISSUE = 0.45
"""Mean brightness of the tissue around the organ."""
STRENGTH = 0.24
"""Brightness of an organ above the tissue at contrast 1."""
NEIGHBOURS = 4
"""Structures beside the organ that may look like it."""
WAVES = 6
"""Plane waves that make the tissue's texture."""


@dataclass(frozen=True)
class Site:
    """What is particular to one hospital."""

    contrast: float = 0.65
    """Brightness of the organ above the tissue, in units of `STRENGTH`; negative where the organ is darker."""
    bias: float = 0.15
    """Amplitude of the smooth field that the image is multiplied by."""
    noise: float = 0.07
    """Standard deviation of the scanner's noise; magnitudes are Rician."""
    blur: float = 0.012
    """Resolution: standard deviation of the point spread, as a share of the width."""
    radius: float = 0.2
    """Shape prior: mean radius of the organ, as a share of the width."""
    elongation: float = 1.2
    """Shape prior: long over short axis."""
    lobes: float = 0.1
    """Shape prior: amplitude of three lobes, as a share of the radius."""
    corruption: float = 0.0
    """Share of the given masks that are wrong: moved by about a radius, and of another size."""


SITES = (
    Site(),
    Site(contrast=0.55, bias=0.25, noise=0.08, radius=0.18),
    Site(contrast=0.75, blur=0.02, elongation=1.35, lobes=0.05),
    Site(contrast=0.6, noise=0.1, radius=0.22, elongation=1.1),
)
"""Sites that differ as hospitals with like scanners do."""
SHIFTED = Site(contrast=-1.1, bias=0.4, noise=0.07, blur=0.02, radius=0.17, elongation=1.5, lobes=0.18)
"""A site far from all of `SITES`: another sequence, in which organs are dark, small and lobed."""


def between(first: Site, second: Site, amount: float) -> Site:
    """The site `amount` of the way from `first` to `second`, factor by factor."""
    values = ((f.name, getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(Site))
    return Site(**{name: a + amount * (b - a) for name, a, b in values})


@dataclass(frozen=True)
class SitesConfig:
    """Which sites there are, and how large slices are."""

    image_size: int = 48
    """Height and width in pixels."""
    sites: tuple[Site, ...] = SITES
    """The sites, by number."""


@dataclass(frozen=True)
class Slices:
    """A batch of slices."""

    image: Float[Tensor, "batch 1 height width"]
    """Magnitudes in [0, 1]."""
    mask: Tensor
    """(batch, 1, height, width) bool: the pixels whose centre lies in the organ."""
    given: Tensor
    """(batch, 1, height, width) bool: the mask that the site has drawn, wrong where it is corrupted."""
    site: Int[Tensor, " batch"]
    """Number of the site."""


class SitesWorld:
    """`SitesConfig` and a seed give an infinite list of slices; any item can be seen at any site.

    Raises ValueError for a config without sites.
    """

    def __init__(self, config: SitesConfig, seed: int = 0):
        if not config.sites:
            raise ValueError("a world needs a site")
        self.config, self.seed = config, seed

    def sample(
        self,
        indices: Int[Tensor, " batch"],
        device: torch.device | str = "cpu",
        site: Int[Tensor, " batch"] | Sequence[int] | int | None = None,
    ) -> Slices:
        """The slices at `indices`, at the sites given (all, or one for each); by default sites take turns.

        Raises ValueError for a site that is not there.
        """
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        count = len(self.config.sites)
        site = indices % count if site is None else torch.as_tensor(site, device=device).expand(len(indices))
        if len(site) and (site.min() < 0 or site.max() >= count):
            raise ValueError(f"there are {count} sites, got numbers {int(site.min())} to {int(site.max())}")
        factor = {
            f.name: torch.tensor([getattr(s, f.name) for s in self.config.sites], device=device)[site][:, None, None]
            for f in dataclasses.fields(Site)
        }
        place, scale = self._draw(indices, "place", (2,), 0.42, 0.58), self._draw(indices, "scale", (), 0.85, 1.15)
        mask = self._organ(indices, factor, place, scale)
        way = self._draw(indices, "wrong way", (), 0, 2 * math.pi)
        moved = torch.stack([way.cos(), way.sin()], dim=1) * self._draw(indices, "wrong far", (1,), 0.7, 1.3)
        wrong = self._organ(
            indices,
            factor,
            place + factor["radius"][:, 0] * moved,
            scale * self._draw(indices, "wrong scale", (), 0.6, 1.3),
        )
        corrupted = self._draw(indices, "corrupted")[:, None, None] < factor["corruption"]
        image = self._scanned(indices, factor, self._anatomy(indices, factor, place, mask))
        return Slices(image[:, None], mask[:, None], torch.where(corrupted, wrong, mask)[:, None], site)

    def _draw(
        self, indices: Tensor, name: str, shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0
    ) -> Tensor:
        return counter.uniform(self.seed, "world", indices, name, shape, low, high)

    def _grid(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """x (1, 1, width) and y (1, height, 1) of pixel centres, as shares of the width."""
        centres = (torch.arange(self.config.image_size, device=device) + 0.5) / self.config.image_size
        return centres[None, None], centres[None, :, None]

    def _organ(self, indices: Tensor, factor: dict[str, Tensor], place: Tensor, scale: Tensor) -> Tensor:
        """(batch, height, width) bool: inside the lobed ellipse, by pixel centres."""
        x, y = self._grid(indices.device)
        dx, dy = x - place[:, :1, None], y - place[:, 1:, None]
        turn = self._draw(indices, "turn", (), -0.5, 0.5)[:, None, None]
        along, across = dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin()
        stretch = factor["elongation"].sqrt()
        along, across = along / stretch, across * stretch
        phase = self._draw(indices, "lobe phase", (2,), 0, 2 * math.pi)[:, :, None, None]
        theta = torch.atan2(across, along)
        lobes = factor["lobes"] * (3 * theta + phase[:, 0]).cos() + 0.05 * (2 * theta + phase[:, 1]).cos()
        return (along**2 + across**2).sqrt() < factor["radius"] * scale[:, None, None] * (1 + lobes)

    def _anatomy(self, indices: Tensor, factor: dict[str, Tensor], place: Tensor, mask: Tensor) -> Tensor:
        """(batch, height, width): what a perfect scanner would show, the organ in front of its neighbours."""
        x, y = self._grid(indices.device)
        axes = self._draw(indices, "body", (2,), 0.42, 0.48)[:, :, None, None]
        body = ((x - 0.5) / axes[:, 0]) ** 2 + ((y - 0.5) / axes[:, 1]) ** 2 < 1
        way = self._draw(indices, "wave way", (WAVES,), 0, 2 * math.pi)[:, :, None, None]
        pitch = self._draw(indices, "wave pitch", (WAVES,), 8, 40)[:, :, None, None]
        phase = self._draw(indices, "wave phase", (WAVES,), 0, 2 * math.pi)[:, :, None, None]
        waves = (pitch * (x[:, None] * way.cos() + y[:, None] * way.sin()) + phase).sin()
        image = TISSUE + 0.025 * waves.sum(dim=1)
        # neighbours stand around the organ, as bright or as dark as it may be
        quarter = torch.arange(NEIGHBOURS, device=indices.device) * (2 * math.pi / NEIGHBOURS)
        angle = quarter + self._draw(indices, "neighbour angle", (NEIGHBOURS,), -0.5, 0.5)
        far = self._draw(indices, "neighbour far", (NEIGHBOURS,), 0.24, 0.34)
        size = self._draw(indices, "neighbour size", (NEIGHBOURS, 2), 0.05, 0.11)
        shade = self._draw(indices, "neighbour shade", (NEIGHBOURS,), -1.1, 1.1)
        for k in range(NEIGHBOURS):
            cx = place[:, 0] + far[:, k] * angle[:, k].cos()
            cy = place[:, 1] + far[:, k] * angle[:, k].sin()
            dx, dy = (x - cx[:, None, None]) / size[:, k, :1, None], (y - cy[:, None, None]) / size[:, k, 1:, None]
            image = torch.where(dx**2 + dy**2 < 1, TISSUE + STRENGTH * shade[:, k, None, None], image)
        organ = self._draw(indices, "organ shade", (), 0.8, 1.2)[:, None, None]
        inside = TISSUE + STRENGTH * factor["contrast"] * organ + 0.015 * waves.sum(dim=1)
        return torch.where(mask, inside, torch.where(body, image, torch.full_like(image, 0.05)))

    def _scanned(self, indices: Tensor, factor: dict[str, Tensor], anatomy: Tensor) -> Tensor:
        """(batch, height, width) in [0, 1]: blurred, multiplied by the bias field, with Rician noise."""
        size = self.config.image_size
        x, y = self._grid(indices.device)
        # a Gaussian along rows and columns as a matrix each; its rows sum to one, also at the border
        apart = (x - x.transpose(1, 2)) / factor["blur"].clamp(min=1e-4)
        spread = (-0.5 * apart**2).softmax(dim=-1)
        image = spread @ anatomy @ spread.transpose(1, 2)
        c = self._draw(indices, "bias", (4,), -1, 1)[:, :, None, None]
        u, v = 2 * x - 1, 2 * y - 1
        field = (c[:, 0] * u + c[:, 1] * v + c[:, 2] * u * v + c[:, 3] * (u**2 + v**2 - 2 / 3)) / 1.5
        image = image * (1 + factor["bias"] * field)
        grain = factor["noise"][:, None] * counter.normal(self.seed, "world", indices, "noise", (2, size, size))
        return ((image + grain[:, 0]) ** 2 + grain[:, 1] ** 2).sqrt().clamp(0, 1)

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)
