"""A room as numbers: a box seen from inside, furniture along its walls, and how every face is painted."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter

OCTAVES = ((0.5, 0.5), (1.5, 0.35), (4.5, 0.15))
"""Cells a metre and weight of the texture's octaves."""


@dataclass(frozen=True)
class RoomConfig:
    """Size of a room, its furniture and its paint."""

    width: float = 4.0
    """Extent along x in metres."""
    length: float = 3.4
    """Extent along y in metres."""
    height: float = 2.5
    """Extent along z in metres; the floor is at 0."""
    furniture: int = 5
    """Boxes that stand on the floor along the walls."""
    repetition: float = 0.3
    """Share of the faces whose paint repeats, like tiles."""
    bare: float = 0.2
    """Share of the faces with little texture."""


@dataclass(frozen=True)
class Layout:
    """A room and its furniture as axis-aligned boxes; box 0 is the room itself, seen from inside."""

    low: Float[Tensor, "box 3"]
    """Lower corners in metres."""
    high: Float[Tensor, "box 3"]
    """Upper corners in metres."""
    colour: Float[Tensor, "box face 3"]
    """Mean sRGB of every face; faces are -x, +x, -y, +y, -z, +z."""
    contrast: Float[Tensor, "box face"]
    """Contrast of the texture."""
    period: Int[Tensor, "box face"]
    """Cells of the middle octave after which the texture repeats, a multiple of three; 0 never."""
    scale: Float[Tensor, "box face"]
    """Cells of the texture over the usual number a metre."""
    key: int
    """Seed of the textures."""


def furnish(config: RoomConfig, seed: int, room: int) -> Layout:
    """The room with number `room`."""
    index, count = torch.tensor([room]), config.furniture
    extent = torch.tensor([config.width, config.length, config.height])

    def draw(name: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        return counter.uniform(seed, "world", index, name, shape, low, high)[0]

    size = torch.stack(
        [draw("size x", (count,), 0.5, 1.2), draw("size y", (count,), 0.4, 0.9), draw("size z", (count,), 0.4, 2.0)],
        dim=1,
    )
    wall = torch.arange(count) % 4
    along = draw("along", (count,))
    size = torch.where((wall < 2)[:, None], size[:, [1, 0, 2]], size)  # the long side lies along its wall
    free = extent[:2] - size[:, :2]
    near = torch.tensor([0.0, 1.0, 0.0, 1.0])[wall]
    x = torch.where(wall < 2, near * free[:, 0], along * free[:, 0])
    y = torch.where(wall < 2, along * free[:, 1], near * free[:, 1])
    low = torch.stack([x, y, torch.zeros(count)], dim=1)
    faces = (count + 1, 6)
    repeats = draw("repeats", faces) < config.repetition
    return Layout(
        low=torch.cat([torch.zeros(1, 3), low]),
        high=torch.cat([extent[None], low + size]),
        colour=draw("colour", (*faces, 3), 0.2, 0.8),
        contrast=torch.where(draw("bare", faces) < config.bare, 0.15, 0.5),
        period=torch.where(repeats, 3 * (1 + counter.integers(seed, "world", index, "period", 2, faces)[0]), 0),
        scale=2 ** draw("scale", faces, -0.5, 0.5),
        key=int(counter.bits(seed, "world", index, "texture key", (1,))[0, 0] & 0x7FFFFFFF),
    )


def cast(
    layout: Layout, origin: Float[Tensor, "*batch 3"], direction: Float[Tensor, "*batch 3"]
) -> tuple[Float[Tensor, "*batch"], Int[Tensor, "*batch"], Int[Tensor, "*batch"]]:
    """Distance along each ray (in units of its direction's length), the box and the face that it meets first.

    Rays start inside the room and outside the furniture.
    """
    step = torch.where(direction.abs() < 1e-9, torch.full_like(direction, 1e-9), direction)[..., None, :]
    low, high = layout.low.to(origin.device), layout.high.to(origin.device)
    first, second = (low - origin[..., None, :]) / step, (high - origin[..., None, :]) / step
    near, far = torch.minimum(first, second), torch.maximum(first, second)
    enter, enter_axis = near.max(dim=-1)
    leave, leave_axis = far.min(dim=-1)
    hit = (enter < leave) & (enter > 1e-6)
    distance = torch.where(hit, enter, torch.full_like(enter, torch.inf))
    distance[..., 0] = leave[..., 0]
    best, box = distance.min(dim=-1)
    axis = torch.where(box == 0, leave_axis[..., 0], torch.gather(enter_axis, -1, box[..., None])[..., 0])
    forward = torch.gather(direction, -1, axis[..., None])[..., 0] > 0
    # the room is met from inside, furniture from outside
    upper = torch.where(box == 0, forward, ~forward)
    return best, box, 2 * axis + upper.long()


def paint(
    layout: Layout, point: Float[Tensor, "*batch 3"], box: Int[Tensor, "*batch"], face: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3"]:
    """sRGB of surface points: value noise of three octaves on the face's own coordinates, the same from every view."""
    axis, where = face // 2, (box, face)
    scale = layout.scale.to(box.device)[where]
    first = torch.where(axis == 0, point[..., 1], point[..., 0]) * scale
    second = torch.where(axis == 2, point[..., 1], point[..., 2]) * scale
    period, contrast = layout.period.to(box.device)[where], layout.contrast.to(box.device)[where]
    total = torch.zeros_like(first)
    for octave, (cells, weight) in enumerate(OCTAVES):
        # repeated faces repeat in metres: the number of cells grows with the octave
        repeat = period * 3**octave // 3
        total = total + weight * _noise(layout.key, 6 * box + face, first * cells, second * cells, repeat, octave)
    shade = (2 * total - 1) * 1.6 * contrast
    return (layout.colour.to(box.device)[where] + shade[..., None]).clamp(0, 1)


def _noise(key: int, face: Tensor, u: Tensor, v: Tensor, cells: Tensor, octave: int) -> Tensor:
    """Smoothly interpolated lattice values in [0, 1]."""
    i, j = u.floor().long(), v.floor().long()
    s, t = u - i, v - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)

    def value(a: Tensor, b: Tensor) -> Tensor:
        wrap = cells.clamp(min=1)
        a, b = torch.where(cells > 0, a % wrap, a), torch.where(cells > 0, b % wrap, b)
        return counter.uniform(key, "world", ((face * 8192) + a + 4096) * 8192 + b + 4096, f"octave {octave}")

    top = torch.lerp(value(i, j), value(i + 1, j), s)
    bottom = torch.lerp(value(i, j + 1), value(i + 1, j + 1), s)
    return torch.lerp(top, bottom, t)
