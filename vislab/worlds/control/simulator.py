"""Hundreds of rearrangement environments in one call: kinematic motion, column grids for collisions, suction, pictures.

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
from vislab.worlds.control.robot import BASE_SPHERES, CHAINS, LINK_RADIUS, radii, spheres, to_robot, to_world

GRASP_ABOVE, DROP_BELOW = 0.02, 0.01
TRIES = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
"""Shares of a step along x and y that the base tries in turn: all of it, then the slides, then the turn alone."""
EPSILON = 1e-4
AWAY = 1e4


@dataclass(frozen=True)
class State:
    """A batch of environments, one tensor a quantity."""

    pose: Float[Tensor, "batch 3"]
    """x, y [m] and heading [rad] of the base."""
    angles: Float[Tensor, "batch joints"]
    """Joint angles, radians."""
    body: Float[Tensor, "batch sphere 3"]
    """Centres of the robot's spheres in its own frame at these angles; the last is the end effector."""
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
    """A batch of episodes and the column grids of their rooms."""

    episode: Episode
    columns: Float[Tensor, "room radius cell bounds"]
    """`column_grid` of every room."""
    row: Int[Tensor, " batch"]
    """Which room of `columns` each episode has."""


def build_scene(config: EpisodeConfig, episode: Episode) -> Scene:
    """The episodes and the column grids of their rooms, each built once."""
    rooms, row = episode.room.unique(return_inverse=True)
    first = torch.full_like(rooms, len(row)).scatter_reduce(
        0, row, torch.arange(len(row), device=row.device), reduce="amin"
    )
    return Scene(episode, column_grid(config, episode.boxes[first]), row)


def grid_radii(config: EpisodeConfig) -> tuple[float, ...]:
    """Radii of spheres for which there is a grid: base, torso, head, arm, and an end effector that holds a cube."""
    return (*(s[3] for s in BASE_SPHERES), LINK_RADIUS, math.sqrt(3) * config.object_half)


def cells(config: EpisodeConfig) -> int:
    """Cells along one side of the grid, a ring around the room included."""
    return math.ceil(config.room_size / config.cell - 1e-6) + 2


def column_grid(
    config: EpisodeConfig, boxes: Float[Tensor, "room furniture 6"]
) -> Float[Tensor, "room radius cell bounds"]:
    """For every radius and floor cell the `intervals` longest height intervals in which a sphere's centre is free.

    Found for a sphere above the middle of the cell; bounds are all lower ends, then all upper ends.
    An interval that is absent ends before it begins, and so do all near a wall and in the ring around the room.
    """
    middle = (torch.arange(cells(config), device=boxes.device, dtype=boxes.dtype) - 0.5) * config.cell
    away = torch.maximum(boxes[..., :2, None] - middle, middle - boxes[..., 3:5, None]).clamp(min=0).square()
    distance = (away[..., 1, :, None] + away[..., 0, None, :]).flatten(2).transpose(1, 2)  # room, cell (y x), furniture
    return torch.stack([_free_heights(config, boxes, middle, distance, r) for r in grid_radii(config)], dim=1)


def _free_heights(
    config: EpisodeConfig, boxes: Tensor, middle: Tensor, distance: Tensor, radius: float
) -> Float[Tensor, "room cell bounds"]:
    reach = (radius**2 - distance).clamp(min=0).sqrt()
    touched = distance < radius**2
    top = config.ceiling - radius
    low = torch.where(touched, boxes[:, None, :, 2] - reach, top).clamp(max=top)
    high = torch.where(touched, boxes[:, None, :, 5] + reach, top)
    low, order = low.sort(dim=-1)
    high = high.gather(-1, order).cummax(dim=-1).values.clamp(min=radius)
    begin = torch.cat([torch.full_like(high[..., :1], radius), high], dim=-1)
    end = torch.cat([low, torch.full_like(low[..., :1], top)], dim=-1)
    kept = (end - begin).topk(config.intervals, dim=-1).indices
    begin, end = begin.gather(-1, kept), end.gather(-1, kept)
    inside = (middle > radius - EPSILON) & (middle < config.room_size - radius + EPSILON)
    inside = (inside[:, None] & inside[None]).flatten()[:, None]
    bounds = torch.cat([begin - EPSILON, end + EPSILON], dim=-1)
    absent = torch.tensor([1.0, 0.0], device=boxes.device).repeat_interleave(config.intervals)
    return torch.where(inside & (end > begin).repeat(1, 1, 2), bounds, absent)


def begin(config: EpisodeConfig, episode: Episode) -> State:
    """The environments at the start of their episodes."""
    batch, device = len(episode.start), episode.start.device
    chain = CHAINS[config.arm]
    rest = episode.start.new_tensor([chain.rest])
    body = spheres(chain, rest)[0].expand(batch, -1, -1)
    nothing = torch.full((batch,), -1, dtype=torch.int64, device=device)
    return State(episode.start, rest.expand(batch, -1), body, episode.objects, nothing, torch.zeros_like(nothing))


def restart(
    config: EpisodeConfig, scene: Scene, state: State, which: Bool[Tensor, " batch"], following: Scene
) -> tuple[Scene, State]:
    """The environments `which` at the start of the episodes of `following` (a scene over the same grids), the others as they are."""

    def chosen(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(which.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    fresh = begin(config, following.episode)
    names = Episode.__dataclass_fields__
    episode = Episode(*(chosen(getattr(following.episode, n), getattr(scene.episode, n)) for n in names))
    state = State(*(chosen(getattr(fresh, n), getattr(state, n)) for n in State.__dataclass_fields__))
    return Scene(episode, scene.columns, chosen(following.row, scene.row)), state


def action_size(config: EpisodeConfig) -> int:
    """Numbers of an action, each in [-1, 1]: grasp, forward, turn, then one for every joint."""
    return 3 + CHAINS[config.arm].joints


def step(
    config: EpisodeConfig, scene: Scene, state: State, action: Float[Tensor, "batch action"]
) -> tuple[State, Events]:
    """One step of every environment; actions beyond [-1, 1] are clipped."""
    action = action.clamp(-1, 1)
    mine = torch.arange(state.objects.shape[1], device=action.device) == state.held[:, None]
    obstacles = torch.where(mine[..., None], AWAY, state.objects)
    pose, blocked = _move_base(config, scene, state, obstacles, action[:, 1], action[:, 2])
    angles, body, stuck = _move_arm(config, scene, state, obstacles, pose, action[:, 3:])
    tip = to_world(pose, body[:, -1:])
    objects = torch.where(mine[..., None], tip, state.objects)
    state = State(pose, angles, body, objects, state.held, state.steps + 1)
    state, picked, dropped = _grasp(config, scene, state, tip[:, 0], action[:, 0])
    return state, Events(picked, dropped, blocked | stuck)


def _move_base(
    config: EpisodeConfig, scene: Scene, state: State, obstacles: Tensor, forward: Tensor, turn: Tensor
) -> tuple[Float[Tensor, "batch 3"], Bool[Tensor, " batch"]]:
    """Turn and move: the first of `TRIES` that is free, or nothing at all. Also who could not do all."""
    heading = state.pose[:, 2] + turn * config.turn
    pointing = torch.stack([heading.cos(), heading.sin()], dim=1)
    tries = pointing.new_tensor(TRIES)
    places = state.pose[:, None, :2] + (pointing * (forward * config.forward)[:, None])[:, None] * tries
    turned = _rotated(pointing, state.body)
    # the four candidates are tested in one query, so that no environment waits for another's choice
    hit = _hits(config, scene, state.held, obstacles, places[:, :, None] + turned[:, None], state.body[..., 2])
    stay = torch.zeros_like(hit[:, :1])
    choice = torch.cat([hit, stay], dim=1).int().argmin(dim=1)
    # the last candidate's place is where the base stands
    place = places.gather(1, choice.clamp(max=3)[:, None, None].expand(-1, 1, 2))[:, 0]
    heading = torch.where(choice < len(TRIES), heading, state.pose[:, 2])
    return torch.cat([place, heading[:, None]], dim=1), choice > 0


def _move_arm(
    config: EpisodeConfig, scene: Scene, state: State, obstacles: Tensor, pose: Tensor, turns: Tensor
) -> tuple[Float[Tensor, "batch joints"], Float[Tensor, "batch sphere 3"], Bool[Tensor, " batch"]]:
    """Turn the joints where the new arm is free of collisions; also the new spheres, and where it is not."""
    chain = CHAINS[config.arm]
    low, high = turns.new_tensor((chain.low, chain.high))
    angles = torch.minimum(torch.maximum(state.angles + turns * config.joint, low), high)
    body = spheres(chain, angles)[0]
    pointing = torch.stack([pose[:, 2].cos(), pose[:, 2].sin()], dim=1)
    places = pose[:, None, :2] + _rotated(pointing, body)
    hit = _hits(config, scene, state.held, obstacles, places[:, None], body[..., 2])[:, 0]
    stays = hit[:, None]
    return torch.where(stays, state.angles, angles), torch.where(stays[..., None], state.body, body), hit


def _rotated(
    pointing: Float[Tensor, "batch 2"], points: Float[Tensor, "batch point 3"]
) -> Float[Tensor, "batch point 2"]:
    """x and y of points turned by the heading whose cosine and sine are `pointing`."""
    sideways = torch.stack([-pointing[:, 1], pointing[:, 0]], dim=1)
    return points[..., :1] * pointing[:, None] + points[..., 1:2] * sideways[:, None]


def _hits(
    config: EpisodeConfig,
    scene: Scene,
    held: Int[Tensor, " batch"],
    obstacles: Float[Tensor, "batch object 3"],
    places: Float[Tensor, "batch try sphere 2"],
    heights: Float[Tensor, "batch sphere"],
) -> Bool[Tensor, "batch try"]:
    """Whether the robot's spheres at `places` and `heights` touch furniture, wall, floor, ceiling or a cube that is not held.

    A held cube makes the end effector's sphere so large that the cube is within.
    """
    kind, radius = _sizes(config, held, heights.shape[1])
    if config.collision == "grid":
        static = grid_hits(config, scene, places, heights, kind)
    else:
        points = torch.cat([places, heights[:, None, :, None].expand(*places.shape[:3], 1)], dim=-1)
        boxes = scene.episode.boxes
        static = box_hits(points, radius[:, None], boxes[..., :3], boxes[..., 3:])
        top = points.new_tensor([config.room_size, config.room_size, config.ceiling])
        edge = radius[:, None, :, None]
        static |= ((points - edge < -EPSILON) | (points + edge > top + EPSILON)).any(-1)
    half = config.object_half
    x, y = (
        (places[..., axis, None] - obstacles[:, None, None, :, axis]).abs_().sub_(half).clamp_(min=0) for axis in (0, 1)
    )
    z = (heights[..., None] - obstacles[:, None, :, 2]).abs_().sub_(half).clamp_(min=0)
    distance = x.square_().add_(y.square_()).add_(z.square_()[:, None])
    return (static | (distance < radius.square()[:, None, :, None]).any(-1)).any(-1)


def _sizes(
    config: EpisodeConfig, held: Int[Tensor, " batch"], count: int
) -> tuple[Int[Tensor, "batch sphere"], Float[Tensor, "batch sphere"]]:
    """Which of `grid_radii` each sphere has, and that radius."""
    kinds = torch.arange(count, device=held.device).clamp(max=len(BASE_SPHERES)).expand(len(held), -1)
    last = torch.arange(count, device=held.device) == count - 1
    kinds = kinds + (last & (held >= 0)[:, None])
    return kinds, torch.tensor(grid_radii(config), device=held.device)[kinds]


def box_hits(
    points: Float[Tensor, "batch try sphere 3"],
    radius: Float[Tensor, "batch one sphere"],
    low: Float[Tensor, "batch box 3"],
    high: Float[Tensor, "batch box 3"],
) -> Bool[Tensor, "batch try sphere"]:
    """Whether each sphere comes nearer to an axis-aligned box than its radius."""
    centre = points[..., None, :]
    outside = torch.maximum(low[:, None, None] - centre, centre - high[:, None, None]).clamp(min=0)
    return (outside.square().sum(-1) < radius[..., None] ** 2).any(-1)


def grid_hits(
    config: EpisodeConfig,
    scene: Scene,
    places: Float[Tensor, "batch try sphere 2"],
    heights: Float[Tensor, "batch sphere"],
    kind: Int[Tensor, "batch sphere"],
) -> Bool[Tensor, "batch try sphere"]:
    """Whether the centre of a sphere is outside the free intervals of its cell, in the grid of its radius: one look-up each."""
    side, bounds = cells(config), scene.columns.shape[-1]
    cell = (places * (1 / config.cell) + 1).clamp_(0, side - 1).long()
    first = (scene.row[:, None] * scene.columns.shape[1] + kind) * side**2
    index = cell[..., 1] * side + cell[..., 0] + first[:, None]
    found = scene.columns.view(-1, bounds).index_select(0, index.flatten()).view(*index.shape, bounds)
    low, high = found.chunk(2, dim=-1)
    z = heights[:, None, :, None]
    return ~((low <= z) & (high >= z)).any(-1)


def _grasp(
    config: EpisodeConfig, scene: Scene, state: State, tip: Float[Tensor, "batch 3"], command: Float[Tensor, " batch"]
) -> tuple[State, Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Suck up or drop; also the object of either, -1 for none."""
    distance, nearest = (state.objects - tip[:, None]).square().sum(-1).min(dim=1)
    free = state.held < 0
    takes = free & (command > GRASP_ABOVE) & (distance <= config.grasp_radius**2)
    drops = ~free & (command < DROP_BELOW)
    picked, dropped = torch.where(takes, nearest, -1), torch.where(drops, state.held, -1)
    held = torch.where(takes, nearest, torch.where(drops, -1, state.held))
    number = torch.arange(state.objects.shape[1], device=tip.device)
    falling = number == dropped[:, None]
    height = _support(config, scene, state, tip, falling) + config.object_half
    landed = torch.cat([tip[:, :2], height[:, None]], dim=1)
    objects = torch.where(falling[..., None], landed[:, None], state.objects)
    objects = torch.where((number == picked[:, None])[..., None], tip[:, None], objects)
    return replace(state, objects=objects, held=held), picked, dropped


def _support(
    config: EpisodeConfig,
    scene: Scene,
    state: State,
    tip: Float[Tensor, "batch 3"],
    falling: Bool[Tensor, "batch object"],
) -> Float[Tensor, " batch"]:
    """Height of the first surface that a ray down from the end effector meets: furniture, another cube, or the floor."""
    half, boxes = config.object_half, scene.episode.boxes
    flat, height = tip[:, None, :2], tip[:, None, 2] + EPSILON
    above = (flat > boxes[..., :2]).all(-1) & (flat < boxes[..., 3:5]).all(-1) & (boxes[..., 5] <= height)
    tops = state.objects[..., 2] + half
    stacked = ((state.objects[..., :2] - flat).abs() < 2 * half).all(-1) & (tops - half < height) & ~falling
    found = torch.cat([torch.where(above, boxes[..., 5], 0.0), torch.where(stacked, tops, 0.0)], dim=1)
    return found.amax(dim=1)


def in_place(config: EpisodeConfig, scene: Scene, state: State) -> Bool[Tensor, " batch"]:
    """Whether the target lies within the goal's radius and is not held."""
    near = (state.objects[:, 0] - scene.episode.goal).norm(dim=-1) <= config.goal_radius
    return near & (state.held != 0)


def observe(config: EpisodeConfig, scene: Scene, state: State) -> Float[Tensor, "batch feature"]:
    """What the robot knows of itself and the task, without any picture.

    Joint angles; target's first place, target, goal and end effector in the robot's frame; the first three relative to the
    end effector; whether something is held.
    """
    episode, tip = scene.episode, state.body[:, -1]
    points = torch.stack([episode.objects[:, 0], state.objects[:, 0], episode.goal], dim=1)
    local = to_robot(state.pose, points)
    held = (state.held >= 0).to(local.dtype)[:, None]
    return torch.cat([state.angles, local.flatten(1), (local - tip[:, None]).flatten(1), tip, held], dim=1)


def observation_size(config: EpisodeConfig) -> int:
    """Numbers that `observe` gives."""
    return CHAINS[config.arm].joints + 22


WALL = (0.75, 0.73, 0.7)
SHADE = (0.7, 0.85, 1.0)
"""Brightness of surfaces that face along x, y and z."""


def render(
    config: EpisodeConfig, scene: Scene, state: State, colour: bool = True
) -> tuple[Float[Tensor, "batch 1 h w"], Float[Tensor, "batch 3 h w"] | None]:
    """Depth along the camera's axis in metres, and RGB in [0, 1] (None without `colour`), from the head camera.

    Every ray is cut with every axis-aligned box at once, the environments innermost, where a CPU reads them in a row.
    The robot itself is not drawn.
    """
    size, half = config.image_size, config.object_half
    forward, left, up = ray_directions(config, state.pose).T[..., None]  # ray, one
    sine, cosine = state.pose[:, 2].sin(), state.pose[:, 2].cos()
    directions = (cosine * forward - sine * left, sine * forward + cosine * left, up)
    inverse = [1 / torch.where(d.abs() < 1e-9, 1e-9, d) for d in directions]  # ray, environment
    eye = torch.cat([state.pose[:, :2], torch.full_like(state.pose[:, :1], config.camera_height)], dim=1).T
    low = torch.cat([scene.episode.boxes[..., :3], state.objects - half], dim=1).permute(2, 1, 0) - eye[:, None]
    high = torch.cat([scene.episode.boxes[..., 3:], state.objects + half], dim=1).permute(2, 1, 0) - eye[:, None]
    top = eye.new_tensor([config.room_size, config.room_size, config.ceiling])[:, None]
    enter, leave, walls = [], None, []
    for axis, turned in enumerate(inverse):
        first, second = low[axis, :, None] * turned, high[axis, :, None] * turned  # box, ray, environment
        enter.append(torch.minimum(first, second))
        far = torch.maximum(first, second)
        leave = far if leave is None else torch.minimum(leave, far)
        walls.append(torch.maximum(-eye[axis] * turned, (top - eye)[axis] * turned))
    entry = torch.maximum(torch.maximum(enter[0], enter[1]), enter[2])
    met = torch.where((entry < leave) & (entry > 0), entry, torch.inf)
    wall = torch.minimum(torch.minimum(walls[0], walls[1]), walls[2])
    distance = met.amin(dim=0)
    depth = torch.minimum(distance, wall).T.reshape(-1, 1, size, size)
    if not colour:
        return depth, None
    body, seen = met.argmin(dim=0), (distance < wall).T
    face = torch.stack([e.gather(0, body[None])[0] for e in enter]).argmax(dim=0)
    side = torch.where(seen, face.T, torch.stack(walls).argmin(dim=0).T)
    shown = scene.episode.colours.gather(1, body.T[..., None].expand(-1, -1, 3))
    rgb = torch.where(seen[..., None], shown, eye.new_tensor(WALL)) * eye.new_tensor(SHADE)[side][..., None]
    return depth, rgb.transpose(1, 2).unflatten(2, (size, size))


def ray_directions(config: EpisodeConfig, like: Tensor) -> Float[Tensor, "ray 3"]:
    """Rays of the pixels' centres, row by row, in the robot's frame; each has length 1 along the camera's axis."""
    size, tilt = config.image_size, math.radians(config.camera_tilt)
    edge = math.tan(math.radians(config.field_of_view) / 2)
    place = ((torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size * 2 - 1) * edge
    right = like.new_tensor([0.0, -1.0, 0.0])
    down = like.new_tensor([-math.sin(tilt), 0.0, -math.cos(tilt)])
    axis = like.new_tensor([math.cos(tilt), 0.0, -math.sin(tilt)])
    return (axis + place[None, :, None] * right + place[:, None, None] * down).flatten(0, 1)


def sphere_radii(config: EpisodeConfig) -> list[float]:
    """Radii of the robot's spheres with nothing held, metres."""
    return radii(CHAINS[config.arm])
