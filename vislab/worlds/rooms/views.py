"""Cameras that walk through a room: a mapping walk and query walks elsewhere, with exact poses, depths and surface points."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import SPLIT_SIZE
from vislab.ops import counter
from vislab.worlds.base import WorldDataset
from vislab.worlds.rooms.layout import RoomConfig, cast, furnish, paint


@dataclass(frozen=True)
class ViewsConfig:
    """The camera and its walks."""

    room: RoomConfig = field(default_factory=RoomConfig)
    """What the rooms are like."""
    image_height: int = 96
    """Height of a picture in pixels."""
    image_width: int = 128
    """Width of a picture in pixels."""
    focal: float = 80.0
    """Focal length in pixels; the principal point is the middle."""
    frames: int = 200
    """Frames of a walk; later indices go round again, a little off."""


@dataclass(frozen=True)
class Views:
    """A batch of frames."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    depth: Float[Tensor, "batch height width"]
    """Depth along the camera's z in metres."""
    point: Float[Tensor, "batch 3 height width"]
    """World coordinates of what each pixel sees, metres."""
    rotation: Float[Tensor, "batch 3 3"]
    """Camera-from-world rotations (OpenCV axes; the world's z points up)."""
    centre: Float[Tensor, "batch 3"]
    """Camera centres in the world, metres."""


class ViewsWorld:
    """One room: indices below 10^6 lie on the mapping walk, those of the other splits on query walks of their own."""

    def __init__(self, config: ViewsConfig, seed: int = 0, room: int = 0):
        self.config, self.seed, self.room = config, seed, room
        self.layout = furnish(config.room, seed, room)

    def poses(self, indices: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
        """Camera-from-world rotations and centres along the walks."""
        config, room = self.config, self.config.room
        walk, frame = indices // SPLIT_SIZE, indices % SPLIT_SIZE
        code = (self.room * 8 + walk).to(torch.int64)

        def draw(name: str, low: float, high: float) -> Tensor:
            return counter.uniform(self.seed, "world", code, name, (), low, high)

        angle = 2 * math.pi * (frame / config.frames + draw("phase", 0.0, 1.0))
        query = walk > 0
        # the mapping walk winds between the middle and the walls and turns round often, query walks are narrow and higher
        wide = 0.19 + 0.1 * (5 * angle).sin()
        reach = torch.where(query, draw("reach", 0.02, 0.05), wide)
        shift = 0.03 * query
        x = room.width * (0.5 + shift * draw("shift x", -1.0, 1.0) + reach * angle.cos())
        y = room.length * (0.5 + shift * draw("shift y", -1.0, 1.0) + reach * (angle + draw("lag", -0.4, 0.4)).sin())
        z = 1.4 + query * draw("lift", 0.2, 0.4) + torch.where(query, 0.1, 0.2) * (2 * angle).sin()
        yaw = torch.where(query, -3.0, 7.0) * angle + 0.3 * (3 * angle).sin() + draw("yaw", -math.pi, math.pi)
        pitch = -0.12 + 0.15 * (2 * angle + draw("nod", 0.0, 6.0)).cos()
        forward = torch.stack([yaw.cos() * pitch.cos(), yaw.sin() * pitch.cos(), pitch.sin()], dim=1)
        up = torch.tensor([0.0, 0.0, 1.0], device=indices.device).expand_as(forward)
        right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=1)
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
        return rotation, torch.stack([x, y, z], dim=1)

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Views:
        """The frames at `indices`."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        config = self.config
        rotation, centre = self.poses(indices)
        height, width = config.image_height, config.image_width
        y, x = torch.meshgrid(
            torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij"
        )
        local = torch.stack(
            [(x - width / 2) / config.focal, (y - height / 2) / config.focal, torch.ones_like(x)], dim=-1
        )
        direction = torch.einsum("bji,hwj->bhwi", rotation, local)
        origin = centre[:, None, None].expand_as(direction)
        depth, box, face = cast(self.layout, origin, direction)
        point = origin + depth[..., None] * direction
        colour = paint(self.layout, point, box, face)
        return Views(colour.movedim(-1, 1), depth, point.movedim(-1, 1), rotation, centre)

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over frames [start, start + count)."""
        return WorldDataset(self, start, count)
