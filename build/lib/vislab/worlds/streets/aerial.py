"""Streets from the air: strips of road, walk, yard and grass, and small things of several classes with exact boxes.

Every strip is a row of places, and a place holds at most one thing, so that nothing overlaps and a pixel need only look at
its own place.
A car on a road and a container in a yard look alike, as do a truck and a shed; what lies around tells them apart.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.worlds.base import WorldDataset

CLASSES = (
    "pedestrian", "car", "truck", "container", "bus", "shed", "van", "motorcycle", "trailer", "kiosk",
)  # fmt: skip
_SIZES = (
    (1.5, 1.3), (4.4, 2.0), (7.5, 2.4), (4.4, 2.0), (10.0, 2.5), (7.5, 2.4), (5.4, 2.2), (2.2, 1.0), (10.0, 2.5), (2.2, 2.0),
)  # fmt: skip
"""Length and width in metres."""
_HOMES = (1, 0, 0, 2, 0, 2, 0, 1, 2, 1)
"""Where a class stands: 0 road, 1 walk, 2 yard."""
_WIDTHS = (3.6, 3.6, 2.8, 5.0, 5.0, 2.8, 9.2)
"""Widths of the strips of one period in metres: two lanes, a walk, two rows of a yard, a walk, grass."""
_LENGTHS = (12.0, 12.0, 3.2, 11.0, 11.0, 3.2, 9.2)
"""Lengths of their places."""
_KINDS = (0, 0, 1, 2, 2, 1, 3)
"""What the strips are: 0 road, 1 walk, 2 yard, 3 grass."""
_PERIOD = sum(_WIDTHS)


@dataclass(frozen=True)
class AerialConfig:
    """Size of the picture, altitude, and how much there is to see."""

    image_size: int = 64
    """Height in pixels."""
    image_width: int = 64
    """Width in pixels."""
    classes: int = 4
    """The first so many of `CLASSES`; at least 4."""
    scale: tuple[float, float] = (0.3, 0.7)
    """Metres a pixel at the lowest and at the highest altitude, drawn log-uniformly."""
    density: tuple[float, float] = (0.06, 0.8)
    """Share of the places that are taken, drawn log-uniformly."""
    max_objects: int = 24
    """Most objects listed of a picture; those beyond, the outermost ones, are left out of the picture, too."""
    noise: float = 0.03
    """Standard deviation of the pixel noise."""


@dataclass(frozen=True)
class Aerial:
    """A batch of pictures from the air."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    boxes: Float[Tensor, "batch object 4"]
    """(x0, y0, x1, y1) in pixels, cut to the picture; zeros for an empty place."""
    labels: Int[Tensor, "batch object"]
    """Class, -1 for an empty place."""
    scale: Float[Tensor, " batch"]
    """Metres a pixel."""
    foreground: Float[Tensor, " batch"]
    """Share of the pixels that the boxes cover (boxes hardly overlap, so their areas are added)."""


class AerialWorld:
    """`AerialConfig` and a seed give an infinite list of pictures."""

    def __init__(self, config: AerialConfig, seed: int = 0):
        if not 4 <= config.classes <= len(CLASSES):
            raise ValueError(f"classes must be 4 to {len(CLASSES)}, got {config.classes}")
        self.config, self.seed = config, seed
        # half the diagonal at the highest altitude, and one place more on each side
        reach = config.scale[1] * math.hypot(config.image_size, config.image_width) / 2 + max(_LENGTHS)
        self.periods = 2 * math.ceil(reach / _PERIOD) + 1
        self.places = 2 * math.ceil(reach / min(_LENGTHS)) + 1

    def sample(
        self,
        indices: Int[Tensor, " batch"],
        device: torch.device | str = "cpu",
        scale: Float[Tensor, " batch"] | None = None,
        density: Float[Tensor, " batch"] | None = None,
    ) -> Aerial:
        """The pictures at `indices`; `scale` (metres a pixel) and `density` replace their own, within the config's ranges."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        config, seed = self.config, self.seed

        def draw(name: str, shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0) -> Tensor:
            return counter.uniform(seed, "world", indices, name, shape, low, high)

        def log_uniform(name: str, ends: tuple[float, float]) -> Tensor:
            return draw(name, (), math.log(ends[0]), math.log(ends[1])).exp()

        scale = log_uniform("scale", config.scale) if scale is None else scale.to(device)
        density = log_uniform("density", config.density) if density is None else density.to(device)
        angle = draw("angle", (), 0, 2 * math.pi)
        shift = draw("shift", (2,), -0.5, 0.5) * torch.tensor([12.0, _PERIOD], device=device)
        things = self._things(indices, density)
        boxes, labels, kept = self._boxes(things, scale, angle, shift)
        image = self._draw(things, kept, indices, scale, angle, shift)
        area = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1).sum(dim=1)
        return Aerial(image, boxes, labels, scale, area / (config.image_size * config.image_width))

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)

    def _things(self, indices: Tensor, density: Tensor) -> dict[str, Tensor]:
        """What stands on each place of each strip, (batch, place) with place = (period, strip, number) flattened."""
        strips, device = len(_KINDS), indices.device
        shape = (self.periods * strips * self.places,)

        def draw(name: str, low: float = 0.0, high: float = 1.0) -> Tensor:
            return counter.uniform(self.seed, "world", indices, name, shape, low, high)

        period = torch.arange(self.periods, device=device) - self.periods // 2
        number = torch.arange(self.places, device=device) - self.places // 2
        strip = torch.arange(strips, device=device)
        grid = torch.meshgrid(period, strip, number, indexing="ij")
        period, strip, number = (g.flatten() for g in grid)
        kind, length = torch.tensor(_KINDS, device=device)[strip], torch.tensor(_LENGTHS, device=device)[strip]
        width = torch.tensor(_WIDTHS, device=device)[strip]
        start = torch.tensor([sum(_WIDTHS[:k]) for k in range(strips)], device=device)[strip]
        table = torch.full((4, 8), 0, device=device)
        counts = torch.ones(4, dtype=torch.int64, device=device)
        for home in range(3):
            members = [k for k in range(self.config.classes) if _HOMES[k] == home]
            table[home, : len(members)] = torch.tensor(members, device=device)
            counts[home] = len(members)
        choice = counter.integers(self.seed, "world", indices, "class", 2**20, shape)
        label = table[kind, choice % counts[kind]]
        grass = (kind == 3).expand_as(label)
        size = torch.tensor(_SIZES, device=device)[label] * draw("size", 0.9, 1.1)[..., None]
        free = (length - size[..., 0] - 1.0).clamp(min=0) / 2
        # walks have many short places, so that fewer of them are taken
        share = density[:, None] * torch.tensor([1.0, 0.4, 1.0, 0.8], device=device)[kind]
        turn = torch.tensor([0.05, 3.1, 0.2, 0.0], device=device)[kind] * draw("turn", -1, 1)
        tone = counter.uniform(self.seed, "world", indices, "tone", (*shape, 3), 0.0, 1.0)
        bright = draw("bright", 0.25, 1.0)[..., None]
        return {
            "present": draw("taken") < share,
            "label": torch.where(grass, -1, label),
            "along": (number + 0.5) * length + free * draw("along", -1, 1),
            "across": period * _PERIOD + start + width / 2 + 0.15 * draw("across", -1, 1),
            "size": torch.where(grass[..., None], draw("tree", 2.5, 5.0)[..., None].expand(-1, -1, 2), size),
            "turn": turn,
            "colour": torch.where(
                grass[..., None],
                torch.tensor([0.1, 0.28, 0.1], device=device) * (0.7 + 0.6 * bright),
                bright * (0.55 + 0.45 * tone),
            ),
        }

    def _boxes(
        self, things: dict[str, Tensor], scale: Tensor, angle: Tensor, shift: Tensor
    ) -> tuple[Tensor, Tensor, Bool[Tensor, "batch place"]]:
        """Boxes and labels of what is seen, nearest to the middle first, and which places are drawn."""
        config = self.config
        along, across = things["along"] - shift[:, :1], things["across"] - shift[:, 1:]
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        middle = torch.stack([along * cos - across * sin, along * sin + across * cos], dim=-1) / scale[:, None, None]
        extent = torch.tensor([config.image_width, config.image_size], dtype=torch.float32, device=scale.device)
        turn = angle[:, None] + things["turn"]
        half = things["size"] / 2 / scale[:, None, None]
        c, s = turn.cos().abs(), turn.sin().abs()
        around = torch.stack([half[..., 0] * c + half[..., 1] * s, half[..., 0] * s + half[..., 1] * c], dim=-1)
        # pedestrians are drawn as discs of their mean size
        disc = (things["label"] == 0)[..., None]
        around = torch.where(disc, half.mean(dim=-1, keepdim=True).expand_as(around), around)
        centre = middle + extent / 2
        inside = ((centre > 0) & (centre < extent)).all(dim=-1)
        listed = things["present"] & inside & (things["label"] >= 0)
        distance = (middle / extent).abs().amax(dim=-1).masked_fill(~listed, torch.inf)
        # the places of a picture come in a fixed order, so that ties do not depend on the batch
        count = min(config.max_objects, distance.shape[1])
        near, order = distance.topk(count, dim=1, largest=False)
        found = near < torch.inf
        low = (centre - around).clamp(min=0)
        high = torch.minimum(centre + around, extent)
        boxes = torch.cat([low, high], dim=-1).gather(1, order[..., None].expand(-1, -1, 4))
        labels = things["label"].gather(1, order)
        kept = torch.zeros_like(listed).scatter(1, order, found)
        # what is cut by the border and has its middle outside is neither listed nor drawn; trees always are
        kept = kept | (things["present"] & (things["label"] < 0))
        empty = ~found
        boxes, labels = boxes.masked_fill(empty[..., None], 0.0), labels.masked_fill(empty, -1)
        missing = config.max_objects - count
        if missing > 0:
            boxes = torch.nn.functional.pad(boxes, (0, 0, 0, missing))
            labels = torch.nn.functional.pad(labels, (0, missing), value=-1)
        return boxes, labels, kept

    def _draw(
        self,
        things: dict[str, Tensor],
        kept: Tensor,
        indices: Tensor,
        scale: Tensor,
        angle: Tensor,
        shift: Tensor,
    ) -> Float[Tensor, "batch 3 height width"]:
        """The ground by strip, and at every pixel the thing of its place."""
        config, device = self.config, scale.device
        height, width = config.image_size, config.image_width
        y, x = torch.meshgrid(
            torch.arange(height, device=device) + 0.5 - height / 2,
            torch.arange(width, device=device) + 0.5 - width / 2,
            indexing="ij",
        )
        x, y = x.flatten()[None] * scale[:, None], y.flatten()[None] * scale[:, None]
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        along = x * cos + y * sin + shift[:, :1]
        across = y * cos - x * sin + shift[:, 1:]
        period = (across / _PERIOD).floor()
        within = across - period * _PERIOD
        edges = torch.tensor([sum(_WIDTHS[: k + 1]) for k in range(len(_WIDTHS) - 1)], device=device)
        strip = torch.bucketize(within.contiguous(), edges, right=True)
        kind = torch.tensor(_KINDS, device=device)[strip]
        length = torch.tensor(_LENGTHS, device=device)[strip]
        number = (along / length).floor()
        row = (period.long() + self.periods // 2) * len(_KINDS) + strip
        place = row * self.places + number.long() + self.places // 2

        def here(name: str) -> Tensor:
            value = things[name]
            if value.dim() == 2:
                return value.gather(1, place)
            return value.gather(1, place[..., None].expand(-1, -1, value.shape[2]))

        ground = self._ground(kind, within, along, indices)
        # signed distance to the thing's outline in pixels: half a pixel on either side is blended
        dx, dy = along - here("along"), across - here("across")
        turn, size = here("turn"), here("size")
        c, s = turn.cos(), turn.sin()
        u, v = (dx * c + dy * s).abs() - size[..., 0] / 2, (dy * c - dx * s).abs() - size[..., 1] / 2
        round_ = (here("label") == 0) | (kind == 3)
        outside = torch.where(round_, torch.hypot(dx, dy) - size.mean(dim=-1) / 2, torch.maximum(u, v))
        cover = (0.5 - outside / scale[:, None]).clamp(0, 1) * kept.gather(1, place)
        # a darker middle (windscreen, lid) shows the direction of the larger things
        inner = (torch.maximum(u + 0.3 * size[..., 0], v + 0.12 * size[..., 1]) < 0) & ~round_
        colour = here("colour") * torch.where(inner, 0.6, 1.0)[..., None]
        image = torch.lerp(ground, colour, cover[..., None]).transpose(1, 2).reshape(-1, 3, height, width)
        noise = counter.normal(self.seed, "world", indices, "noise", (3, height, width))
        return (image + config.noise * noise).clamp(0, 1)

    def _ground(self, kind: Tensor, within: Tensor, along: Tensor, indices: Tensor) -> Float[Tensor, "batch pixel 3"]:
        """Colour of the ground: grey roads with a dashed line, grey yards with joints, light walks, green grass."""

        def draw(name: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
            return counter.uniform(self.seed, "world", indices, name, shape, low, high)

        grey = torch.ones(3, device=kind.device)
        grass = torch.tensor([0.55, 1.0, 0.5], device=kind.device)
        tones = torch.stack(
            [
                draw("road", (1,), 0.25, 0.5) * grey,
                draw("walk", (1,), 0.55, 0.7) * grey,
                draw("yard", (1,), 0.25, 0.5) * grey,
                draw("grass", (1,), 0.3, 0.55) * grass,
            ],
            dim=1,
        )
        found = tones.gather(1, kind[..., None].expand(-1, -1, 3))
        dash = (kind == 0) & ((within - _WIDTHS[0]).abs() < 0.25) & ((along / 3).floor() % 2 == 0)
        joint = (kind == 2) & ((along % 5.5 < 0.4) | ((within - sum(_WIDTHS[:4])).abs() < 0.25))
        return found + (0.3 * dash - 0.12 * joint)[..., None]
