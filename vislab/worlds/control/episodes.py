"""Rearrangement episodes: a room with furniture, objects on it, where the robot starts and where the target object must go."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import SPLIT_SIZE
from vislab.ops import counter
from vislab.worlds.base import WorldDataset

SLOTS = 3
BODY = 0.2
"""Radius of the robot's base, metres."""


@dataclass(frozen=True)
class EpisodeConfig:
    """What the rooms are like and what the robot can do in one step."""

    arm: Literal["planar", "fetch"] = "planar"
    """Three joints, or seven with Fetch's link lengths."""
    rooms: int = 0
    """Rooms of a split, shared by its episodes; 0 gives every episode a room of its own."""
    room_size: float = 4.0
    """Side of the square room, metres."""
    ceiling: float = 2.4
    """Height of the room, metres."""
    furniture: int = 5
    """Pieces of furniture, at most eight: each stands in a slot of its own on a grid of three by three."""
    objects: int = 3
    """Movable objects; the first is the target."""
    object_half: float = 0.04
    """Half the side of a movable cube, metres."""
    tables: float = 0.5
    """Share of the furniture with free space below the top."""
    blocked: bool = True
    """Start behind another piece of furniture, seen from the target, where the room has such a place."""
    forward: float = 0.1
    """Longest way of the base in one step, metres."""
    turn: float = 0.25
    """Largest turn of the base in one step, radians."""
    joint: float = 0.2
    """Largest turn of a joint in one step, radians."""
    grasp_radius: float = 0.15
    """An object is sucked up when its centre is this near to the end effector, metres."""
    goal_radius: float = 0.15
    """An object is in place when its centre is this near to the goal, metres."""
    cell: float = 0.1
    """Side of a cell of the column grid, metres."""
    intervals: int = 2
    """Free height intervals kept for each cell."""
    collision: Literal["grid", "boxes"] = "grid"
    """Test the robot against the column grid (approximate), or against every box (exact)."""
    image_size: int = 8
    """Height and width of the head camera's picture in pixels."""
    field_of_view: float = 60.0
    """Horizontal field of view, degrees."""
    camera_tilt: float = 20.0
    """Angle of the camera below the horizon, degrees."""
    camera_height: float = 1.1
    """Height of the camera above the floor, metres."""


@dataclass(frozen=True)
class Episode:
    """A batch of episodes; lengths in metres, angles in radians."""

    boxes: Float[Tensor, "batch furniture 6"]
    """Furniture: lower corner, then upper corner."""
    colours: Float[Tensor, "batch body 3"]
    """RGB of the furniture and then of the objects, in [0, 1]."""
    objects: Float[Tensor, "batch object 3"]
    """Centres of the movable cubes at the start."""
    goal: Float[Tensor, "batch 3"]
    """Where the target's centre must come to lie."""
    start: Float[Tensor, "batch 3"]
    """x, y and heading of the base at the start."""
    room: Int[Tensor, " batch"]
    """Number of the room; splits share none."""

    def at(self, rows: Int[Tensor, " chosen"]) -> "Episode":
        """Some of the episodes."""
        return Episode(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Rearrangement:
    """Episodes as a pure function of (config, seed, index); rooms too, by their number."""

    config: EpisodeConfig = EpisodeConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.config.furniture < SLOTS**2:
            raise ValueError(f"furniture is between 2 and {SLOTS**2 - 1}, got {self.config.furniture}")

    def dataset(self, start: int, count: int) -> WorldDataset:
        """Episodes [start, start + count) as a torch data set."""
        return WorldDataset(self, start, count)

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Episode:
        """The episodes at `indices`."""
        config, indices = self.config, indices.to(device)
        pieces, items = config.furniture, config.objects
        room = self.room_of(indices)
        boxes, free = self.furnish(room)

        def uniform(draw: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
            return counter.uniform(self.seed, "world", indices, f"control {draw}", shape, low, high)

        liking = uniform("liking", (SLOTS**2 - pieces, pieces))
        slot, piece = _start_and_target(free, boxes, liking, config.blocked)
        place = _places(indices, self.seed, pieces, piece, items + 1)
        chosen = boxes.gather(1, place[..., None].expand(-1, -1, 6))
        within = uniform("within", (items + 1, 2), 0.2, 0.8)
        floor = chosen[..., :2].lerp(chosen[..., 3:5], within)
        points = torch.cat([floor, chosen[..., 5:] + config.object_half], dim=-1)

        start = free[torch.arange(len(indices), device=device), slot]
        heading = uniform("heading", (1,), -torch.pi, torch.pi)
        furniture = counter.uniform(self.seed, "world", room, "control furniture", (pieces, 3), 0.15, 0.95)
        colours = torch.cat([furniture, uniform("colour", (items, 3), 0.15, 0.95)], dim=1)
        start = torch.cat([start, heading], dim=1)
        return Episode(boxes, colours, points[:, :items], points[:, items], start, room)

    def room_of(self, indices: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """The room of each episode, within its split's own range of numbers."""
        if self.config.rooms == 0:
            return indices
        first = indices.div(SPLIT_SIZE, rounding_mode="floor") * SPLIT_SIZE
        return first + counter.integers(self.seed, "world", indices, "control room", self.config.rooms)

    def furnish(
        self, rooms: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch furniture 6"], Float[Tensor, "batch free 2"]]:
        """The furniture of rooms by number, and the middles of the slots that are left free."""
        config, pieces, side = self.config, self.config.furniture, self.config.room_size / SLOTS

        def uniform(draw: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
            return counter.uniform(self.seed, "world", rooms, f"control {draw}", shape, low, high)

        slot = counter.permutation(self.seed, "world", rooms, "control slots", SLOTS**2)
        middle = torch.stack([slot % SLOTS, slot // SLOTS], dim=-1) * side + side / 2
        half = uniform("half", (pieces, 2), 0.13 * side, 0.22 * side)
        centre = middle[:, :pieces] + uniform("shift", (pieces, 2), -0.06 * side, 0.06 * side)
        top = uniform("top", (pieces,), 0.4, 0.75)
        bottom = torch.where(uniform("table", (pieces,)) < config.tables, top - 0.06, 0.0)
        return torch.cat([centre - half, bottom[..., None], centre + half, top[..., None]], dim=-1), middle[:, pieces:]


def _start_and_target(
    free: Float[Tensor, "batch free 2"],
    boxes: Float[Tensor, "batch furniture 6"],
    liking: Float[Tensor, "batch free furniture"],
    blocked: bool,
) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """The free slot to start in and the piece of furniture that carries the target: the pair most liked.

    With `blocked`, pairs come first whose straight way, as wide as the robot, leads through another piece.
    """
    target = (boxes[..., :2] + boxes[..., 3:5]) / 2
    if blocked:
        origin, way = free[:, :, None, None], (target[:, None] - free[:, :, None])[:, :, :, None]
        low, high = boxes[:, None, None, :, :2] - BODY, boxes[:, None, None, :, 3:5] + BODY
        enter, leave = slab(origin, way, low, high)
        others = ~torch.eye(boxes.shape[1], dtype=torch.bool, device=boxes.device)
        crossed = (enter < leave) & (enter < 1) & (leave > 0) & others
        liking = liking + crossed.any(-1)
    best = liking.flatten(1).argmax(dim=1)
    return best // boxes.shape[1], best % boxes.shape[1]


def _places(indices: Tensor, seed: int, pieces: int, first: Tensor, count: int) -> Int[Tensor, "batch count"]:
    """The piece of furniture below every object and (last) below the goal: `first` for the target, another for the goal.

    With more objects than furniture some share a top, where they may touch.
    """
    order = counter.permutation(seed, "world", indices, "control places", pieces)
    order = order.gather(1, (order != first[:, None]).int().sort(dim=1, stable=True).indices)
    turn = torch.arange(count, device=indices.device) % pieces
    turn[-1] = turn[-1].clamp(min=1)
    return order[:, turn]


def slab(origin: Tensor, direction: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where lines enter and leave axis-aligned boxes, as multiples of `direction`; they miss where enter >= leave."""
    inverse = 1 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
    first, second = (low - origin) * inverse, (high - origin) * inverse
    return torch.minimum(first, second).amax(-1), torch.maximum(first, second).amin(-1)
