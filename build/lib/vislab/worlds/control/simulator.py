"""Hundreds of rearrangement environments in one call: kinematic motion, a column grid for collisions, suction, depth pictures.

All functions map a batch of states to a batch of states; nothing loops over environments, points or rays.
The rules, shared with `reference.OneEnvironment`, in the order of one step:

1. the base turns and moves; where it would collide it slides along x, along y, or stays;
2. the joints turn, within their limits; where the arm would collide they stay;
3. an action above 0.02 on the grasp axis sucks up the nearest object within reach, one below 0.01 drops what is held.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.worlds.control.episodes import Episode, EpisodeConfig
from vislab.worlds.control.robot import CHAINS, Chain, forward_kinematics, spheres, to_robot, to_world

GRASP_ABOVE, DROP_BELOW = 0.02, 0.01
RIM = 0.9
"""Where around a sphere's centre its columns are sampled, as a share of the radius."""
RAYS = 8
EPSILON = 1e-4


@dataclass(frozen=True)
class State:
    """A batch of environments, one tensor a quantity."""

    pose: Float[Tensor, "batch 3"]
    """x, y [m] and heading [rad] of the base."""
    angles: Float[Tensor, "batch joints"]
    """Joint angles, radians."""
    objects: Float[Tensor, "batch object 3"]
    """Centres of the cubes, metres."""
    held: Int[Tensor, " batch"]
    """Index of the held object, -1 for none."""
    steps: Int[Tensor, " batch"]
    """Steps since the start of the episode."""


@dataclass(frozen=True)
class Events:
    """What happened in one step."""

    picked: Int[Tensor, " batch"]
    """Object that was sucked up, -1 for none."""
    dropped: Int[Tensor, " batch"]
    """Object that was dropped, -1 for none."""
    collided: Bool[Tensor, " batch"]
    """Whether base or arm was held up."""


@dataclass(frozen=True)
class Scene:
    """A batch of episodes with the column grid of each."""

    episode: Episode
    columns: Float[Tensor, "batch cells interval 2"]
    """Free height intervals (from, to) of every floor cell, row by row; an absent one has from = to."""


def build_scene(config: EpisodeConfig, episode: Episode) -> Scene:
    """The episodes and their column grids."""
    return Scene(episode, column_grid(config, episode.boxes))


def column_grid(
    config: EpisodeConfig, boxes: Float[Tensor, "batch furniture 6"]
) -> Float[Tensor, "batch cells interval 2"]:
    """For every floor cell the `intervals` longest free height intervals, from low to high.

    A box fills each cell that it touches, so the grid is never more permissive than the boxes, but for intervals left out.
    """
    count = cells(config)
    middle = (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) * config.cell
    reach = config.cell / 2
    inside = [
        (middle[None, None] + reach > boxes[..., axis, None])
        & (middle[None, None] - reach < boxes[..., axis + 3, None])
        for axis in (0, 1)
    ]
    covered = (inside[1][..., :, None] & inside[0][..., None, :]).flatten(2).transpose(1, 2)  # batch, y x, furniture
    ceiling = boxes.new_tensor(config.ceiling)
    low = torch.where(covered, boxes[:, None, :, 2], ceiling)
    high = torch.where(covered, boxes[:, None, :, 5], ceiling)
    low, order = low.sort(dim=-1)
    high = high.gather(-1, order).cummax(dim=-1).values
    begin = torch.cat([torch.zeros_like(high[..., :1]), high], dim=-1)
    end = torch.cat([low, ceiling.expand_as(low[..., :1])], dim=-1)
    length = (end - begin).clamp(min=0)
    kept = length.topk(min(config.intervals, length.shape[-1]), dim=-1).indices.sort(dim=-1).values
    begin = begin.gather(-1, kept)
    return torch.stack([begin, begin + length.gather(-1, kept)], dim=-1)


def cells(config: EpisodeConfig) -> int:
    """Cells along one side of the room."""
    return math.ceil(config.room_size / config.cell - 1e-6)


def begin(config: EpisodeConfig, episode: Episode) -> State:
    """The environments at the start of their episodes."""
    batch, device = len(episode.start), episode.start.device
    rest = episode.start.new_tensor(CHAINS[config.arm].rest).expand(batch, -1)
    nothing = torch.full((batch,), -1, dtype=torch.int64, device=device)
    return State(episode.start, rest, episode.objects, nothing, torch.zeros_like(nothing))


def restart(config: EpisodeConfig, scene: Scene, state: State, which: Bool[Tensor, " batch"]) -> State:
    """`state` with the environments `which` back at the start of their episodes."""
    fresh = begin(config, scene.episode)
    chosen = {}
    for name in State.__dataclass_fields__:
        old, new = getattr(state, name), getattr(fresh, name)
        chosen[name] = torch.where(which.reshape(-1, *[1] * (old.ndim - 1)), new, old)
    return State(**chosen)


def action_size(config: EpisodeConfig) -> int:
    """Numbers of an action, each in [-1, 1]: grasp, forward, turn, then one for every joint."""
    return 3 + CHAINS[config.arm].joints


def step(
    config: EpisodeConfig, scene: Scene, state: State, action: Float[Tensor, "batch action"]
) -> tuple[State, Events]:
    """One step of every environment; actions beyond [-1, 1] are clipped."""
    chain = CHAINS[config.arm]
    action = action.clamp(-1, 1)
    state, blocked = _move_base(config, scene, chain, state, action[:, 1], action[:, 2])
    state, stuck = _move_arm(config, scene, chain, state, action[:, 3:])
    tip = to_world(state.pose, forward_kinematics(chain, state.angles)[:, -1:])[:, 0]
    state = replace(state, objects=_carried(state, tip), steps=state.steps + 1)
    state, picked, dropped = _grasp(config, scene, state, tip, action[:, 0])
    return state, Events(picked, dropped, blocked | stuck)


def _move_base(
    config: EpisodeConfig, scene: Scene, chain: Chain, state: State, forward: Tensor, turn: Tensor
) -> tuple[State, Bool[Tensor, " batch"]]:
    """Turn and move; the first of (all, x alone, y alone, the turn alone, nothing) that is free. Also who could not do all."""
    heading = state.pose[:, 2] + turn * config.turn
    way = forward * config.forward
    x, y = way * heading.cos(), way * heading.sin()
    zero = torch.zeros_like(x)
    tries = torch.stack([torch.stack(t, dim=1) for t in ((x, y), (x, zero), (zero, y), (zero, zero))], dim=1)
    poses = torch.cat([state.pose[:, None, :2] + tries, heading[:, None, None].expand(-1, 4, 1)], dim=2)
    points, radii = spheres(chain, state.angles)
    count, many = len(points), points.shape[1]
    # the four candidates are tested in one query, so that no environment waits for another's choice
    world = to_world(poses.flatten(0, 1), points[:, None].expand(-1, 4, -1, -1).flatten(0, 1))
    free = ~_hits(config, scene, state, world.reshape(count, 4 * many, 3), radii * 4).reshape(count, 4, many).any(-1)
    stay = torch.ones_like(free[:, :1])
    choice = torch.cat([free, stay], dim=1).int().argmax(dim=1)
    poses = torch.cat([poses, state.pose[:, None]], dim=1)
    return replace(state, pose=poses[torch.arange(count, device=choice.device), choice]), choice > 0


def _move_arm(
    config: EpisodeConfig, scene: Scene, chain: Chain, state: State, turns: Tensor
) -> tuple[State, Bool[Tensor, " batch"]]:
    """Turn the joints where the new arm is free of collisions; also where it is not."""
    low, high = state.angles.new_tensor(chain.low), state.angles.new_tensor(chain.high)
    angles = torch.minimum(torch.maximum(state.angles + turns * config.joint, low), high)
    points, radii = spheres(chain, angles)
    hit = _hits(config, scene, state, to_world(state.pose, points), radii).any(dim=1)
    return replace(state, angles=torch.where(hit[:, None], state.angles, angles)), hit


def _hits(
    config: EpisodeConfig, scene: Scene, state: State, points: Float[Tensor, "batch sphere 3"], radii: list[float]
) -> Bool[Tensor, "batch sphere"]:
    """Spheres that touch furniture, floor, wall, ceiling or a cube that is not held.

    The held cube travels inside the end effector's sphere.
    """
    radius = points.new_tensor(radii)
    static = grid_hits(config, scene.columns, points, radius) if config.collision == "grid" else None
    if static is None:
        static = box_hits(points, radius, scene.episode.boxes[..., :3], scene.episode.boxes[..., 3:]).any(-1)
        top = points.new_tensor([config.room_size, config.room_size, config.ceiling])
        static |= ((points - radius[:, None] < -EPSILON) | (points + radius[:, None] > top + EPSILON)).any(-1)
    half = config.object_half
    touched = box_hits(points, radius, state.objects - half, state.objects + half)
    mine = torch.arange(state.objects.shape[1], device=points.device) == state.held[:, None]
    return static | (touched & ~mine[:, None]).any(-1)


def box_hits(
    points: Float[Tensor, "batch sphere 3"],
    radius: Float[Tensor, " sphere"],
    low: Float[Tensor, "batch box 3"],
    high: Float[Tensor, "batch box 3"],
) -> Bool[Tensor, "batch sphere box"]:
    """Whether each sphere comes nearer to each axis-aligned box than its radius."""
    centre = points[:, :, None]
    outside = torch.maximum(low[:, None] - centre, centre - high[:, None]).clamp(min=0)
    return outside.square().sum(-1) < radius[:, None] ** 2


def grid_hits(
    config: EpisodeConfig,
    columns: Float[Tensor, "batch cells interval 2"],
    points: Float[Tensor, "batch sphere 3"],
    radius: Float[Tensor, " sphere"],
) -> Bool[Tensor, "batch sphere"]:
    """Whether a sphere sticks out of the free intervals of its columns: the one of its centre and eight around it."""
    turn = torch.arange(RAYS, device=points.device, dtype=points.dtype) * (2 * math.pi / RAYS)
    rim = torch.stack([turn.cos(), turn.sin()], dim=-1) * RIM
    around = torch.cat([rim.new_zeros(1, 2), rim])
    half = torch.cat([rim.new_ones(1), rim.new_full((RAYS,), math.sqrt(1 - RIM**2))])
    where = points[:, :, None, :2] + radius[:, None, None] * around
    column, inside = _column(config, where.flatten(1, 2))
    free = columns.gather(1, column[..., None, None].expand(-1, -1, *columns.shape[2:]))
    free = free.unflatten(1, where.shape[1:3])
    reach = radius[:, None] * half
    low, high = points[..., 2:] - reach, points[..., 2:] + reach
    fits = (free[..., 0] <= low[..., None] + EPSILON) & (free[..., 1] >= high[..., None] - EPSILON)
    return ~(fits.any(-1) & inside.unflatten(1, where.shape[1:3])).all(-1)


def _column(config: EpisodeConfig, where: Float[Tensor, "batch point 2"]) -> tuple[Tensor, Tensor]:
    """Index of the floor cell of each point (the nearest one where it is outside), and whether it is in the room."""
    count = cells(config)
    place = (where / config.cell).floor().long()
    inside = ((where >= 0) & (where < config.room_size)).all(-1)
    place = place.clamp(0, count - 1)
    return place[..., 1] * count + place[..., 0], inside


def _carried(state: State, tip: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch object 3"]:
    """Objects with the held one at the end effector."""
    mine = torch.arange(state.objects.shape[1], device=tip.device) == state.held[:, None]
    return torch.where(mine[..., None], tip[:, None], state.objects)


def _grasp(
    config: EpisodeConfig, scene: Scene, state: State, tip: Float[Tensor, "batch 3"], command: Float[Tensor, " batch"]
) -> tuple[State, Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Suck up or drop; also the object of either, -1 for none."""
    nothing = torch.full_like(state.held, -1)
    distance, nearest = (state.objects - tip[:, None]).norm(dim=-1).min(dim=1)
    takes = (state.held < 0) & (command > GRASP_ABOVE) & (distance <= config.grasp_radius)
    drops = (state.held >= 0) & (command < DROP_BELOW)
    picked, dropped = torch.where(takes, nearest, nothing), torch.where(drops, state.held, nothing)
    held = torch.where(takes, nearest, torch.where(drops, nothing, state.held))
    state = replace(state, held=held)
    height = _support(config, scene, state, tip, dropped) + config.object_half
    landed = torch.cat([tip[:, :2], height[:, None]], dim=1)
    falling = torch.arange(state.objects.shape[1], device=tip.device) == dropped[:, None]
    objects = torch.where(falling[..., None], landed[:, None], state.objects)
    return replace(state, objects=_carried(replace(state, objects=objects), tip)), picked, dropped


def _support(
    config: EpisodeConfig, scene: Scene, state: State, tip: Float[Tensor, "batch 3"], dropped: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Height of the first surface straight below the end effector: of a column, or of another cube."""
    half = config.object_half
    column, _ = _column(config, tip[:, None, :2])
    free = scene.columns.gather(1, column[..., None, None].expand(-1, -1, *scene.columns.shape[2:]))[:, 0]
    # the end effector is above the bottom of its own interval; a lower one is hidden by it
    floor = torch.where(free[..., 0] <= tip[:, 2:] + EPSILON, free[..., 0], 0.0).amax(dim=1)
    below = ((state.objects[..., :2] - tip[:, None, :2]).abs() < 2 * half).all(-1) & (
        state.objects[..., 2] < tip[:, 2:]
    )
    below &= torch.arange(state.objects.shape[1], device=tip.device) != dropped[:, None]
    return torch.maximum(floor, torch.where(below, state.objects[..., 2] + half, 0.0).amax(dim=1))


def in_place(config: EpisodeConfig, scene: Scene, state: State) -> Bool[Tensor, " batch"]:
    """Whether the target lies within the goal's radius and is not held."""
    near = (state.objects[:, 0] - scene.episode.goal).norm(dim=-1) <= config.goal_radius
    return near & (state.held != 0)


def observe(config: EpisodeConfig, scene: Scene, state: State) -> Float[Tensor, "batch feature"]:
    """What the robot knows of itself and the task, without any picture.

    Joint angles; target's first place, target, goal and end effector in the robot's frame; the first three relative to the
    end effector; whether something is held; the sine and cosine of the heading.
    """
    episode = scene.episode
    tip = forward_kinematics(CHAINS[config.arm], state.angles)[:, -1]
    points = torch.stack([episode.objects[:, 0], state.objects[:, 0], episode.goal], dim=1)
    local = to_robot(state.pose, points)
    held = (state.held >= 0).to(local.dtype)[:, None]
    heading = torch.stack([state.pose[:, 2].sin(), state.pose[:, 2].cos()], dim=1)
    parts = [state.angles, local.flatten(1), (local - tip[:, None]).flatten(1), tip, held, heading]
    return torch.cat(parts, dim=1)


def observation_size(config: EpisodeConfig) -> int:
    """Numbers that `observe` gives."""
    return CHAINS[config.arm].joints + 24


def render(
    config: EpisodeConfig, scene: Scene, state: State
) -> tuple[Float[Tensor, "batch 1 h w"], Float[Tensor, "batch 3 h w"]]:
    """Depth along the camera's axis in metres, and RGB in [0, 1], from the head camera; the robot itself is not drawn."""
    size = config.image_size
    forward, across = ray_directions(config, state.pose)
    directions = to_world(
        torch.cat([torch.zeros_like(state.pose[:, :2]), state.pose[:, 2:]], dim=1),
        (forward + across).flatten(0, 1).expand(len(state.pose), -1, -1),
    )
    eye = torch.cat([state.pose[:, :2], torch.full_like(state.pose[:, :1], config.camera_height)], dim=1)
    half = config.object_half
    low = torch.cat([scene.episode.boxes[..., :3], state.objects - half], dim=1)
    high = torch.cat([scene.episode.boxes[..., 3:], state.objects + half], dim=1)
    inverse = (1 / torch.where(directions.abs() < 1e-9, 1e-9, directions))[:, :, None]
    first, second = (low - eye[:, None])[:, None] * inverse, (high - eye[:, None])[:, None] * inverse
    entry, axis = torch.minimum(first, second).max(-1)
    leave = torch.maximum(first, second).amin(-1)
    distance, body = torch.where((entry < leave) & (entry > 0), entry, torch.inf).min(-1)
    top = eye.new_tensor([config.room_size, config.room_size, config.ceiling])
    wall, side = torch.maximum(-eye[:, None] * inverse[:, :, 0], (top - eye)[:, None] * inverse[:, :, 0]).min(-1)
    seen = distance < wall
    colour = scene.episode.colours.gather(1, body[..., None].expand(-1, -1, 3))
    colour = torch.where(seen[..., None], colour, colour.new_tensor([0.75, 0.73, 0.7]))
    face = torch.where(seen, axis.gather(2, body[..., None])[..., 0], side)
    shade = colour.new_tensor([0.7, 0.85, 1.0])[face]
    rgb = (colour * shade[..., None]).transpose(1, 2).unflatten(2, (size, size))
    return torch.minimum(distance, wall).reshape(-1, 1, size, size), rgb


def ray_directions(config: EpisodeConfig, like: Tensor) -> tuple[Float[Tensor, "1 1 3"], Float[Tensor, "h w 3"]]:
    """The camera's axis in the robot's frame, and what each pixel's centre adds to it; their sum has length 1 along the axis."""
    size, tilt = config.image_size, math.radians(config.camera_tilt)
    edge = math.tan(math.radians(config.field_of_view) / 2)
    place = ((torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size * 2 - 1) * edge
    right = like.new_tensor([0.0, -1.0, 0.0])
    down = like.new_tensor([-math.sin(tilt), 0.0, -math.cos(tilt)])
    axis = like.new_tensor([math.cos(tilt), 0.0, -math.sin(tilt)])
    return axis[None, None], place[None, :, None] * right + place[:, None, None] * down
