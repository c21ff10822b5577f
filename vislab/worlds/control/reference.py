"""One rearrangement environment at a time, in plain Python and numpy: the same rules and pictures as `simulator`, written again.

It is the rival of speed comparisons, one a worker process, and the check that batching changes no result.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vislab.worlds.control import simulator
from vislab.worlds.control.episodes import EpisodeConfig
from vislab.worlds.control.robot import BASE_SPHERES, CHAINS, LINK_RADIUS, MIXED
from vislab.worlds.control.simulator import Scene

Sphere = tuple[float, float, float, float, int]
"""x, y, z, radius, and which grid has that radius."""


class OneEnvironment:
    """An environment that walks through the episodes of a scene."""

    def __init__(self, config: EpisodeConfig, scene: Scene):
        self.config, self.chain, self.scene = config, CHAINS[config.arm], scene
        episode = scene.episode
        self.boxes, self.colours = episode.boxes.numpy(), episode.colours.numpy()
        self.first, self.goals, self.starts = episode.objects.numpy(), episode.goal.numpy(), episode.start.numpy()
        self.rays = simulator.ray_directions(config, episode.start).numpy().astype(np.float64)
        self.largest, self.grids = simulator.grid_radii(config)[-1], {}
        self.reset(0)

    def reset(self, row: int) -> None:
        """Back to the start of episode `row`."""
        self.row, self.held, self.steps = row, -1, 0
        self.pose = [float(v) for v in self.starts[row]]
        self.angles = list(self.chain.rest)
        self.objects = [[float(v) for v in o] for o in self.first[row]]
        self.furniture = [[float(v) for v in b] for b in self.boxes[row]]
        room = int(self.scene.row[row])
        if room not in self.grids:
            self.grids[room] = self.scene.columns[room].tolist()
        self.grid = self.grids[room]

    def frames(self, angles: Sequence[float]) -> list[list[float]]:
        """Origins of joints and end effector in the robot's frame."""
        axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        position, found = [0.0, 0.0, 0.0], []
        for k, offset in enumerate(self.chain.offsets):
            for axis, length in zip(axes, offset, strict=True):
                if length:
                    position = [p + length * v for p, v in zip(position, axis, strict=True)]
            found.append(position)
            if k < self.chain.joints:
                sine, cosine = math.sin(angles[k]), math.cos(angles[k])
                a, b = MIXED[self.chain.axes[k]]
                first, second = axes[a], axes[b]
                axes[a] = [cosine * p + sine * q for p, q in zip(first, second, strict=True)]
                axes[b] = [cosine * q - sine * p for p, q in zip(first, second, strict=True)]
        return found

    def spheres(self, frames: Sequence[Sequence[float]]) -> list[Sphere]:
        """The robot's spheres in its own frame; a held cube makes the last one larger."""
        found = [(*sphere, k) for k, sphere in enumerate(BASE_SPHERES)]
        link = len(BASE_SPHERES)
        for near, far in zip(frames[1:-1], frames[2:], strict=True):
            found.append((*((p + q) / 2 for p, q in zip(near, far, strict=True)), LINK_RADIUS, link))
            found.append((*far, LINK_RADIUS, link))
        if self.held >= 0:
            found[-1] = (*found[-1][:3], self.largest, link + 1)
        return found

    def tip(self) -> list[float]:
        """The end effector in the room."""
        return _placed(self.pose, self.frames(self.angles)[-1])

    def hits(self, pose: Sequence[float], spheres: Sequence[Sphere]) -> bool:
        """Whether any sphere touches anything that is not held."""
        config, half = self.config, self.config.object_half
        sine, cosine = math.sin(pose[2]), math.cos(pose[2])
        others = [o for k, o in enumerate(self.objects) if k != self.held]
        for u, v, z, radius, kind in spheres:
            x, y = pose[0] + cosine * u - sine * v, pose[1] + sine * u + cosine * v
            if self.hits_grid(x, y, z, kind) if config.collision == "grid" else self.hits_boxes(x, y, z, radius):
                return True
            for a, b, c in others:
                away = (max(abs(x - a) - half, 0.0), max(abs(y - b) - half, 0.0), max(abs(z - c) - half, 0.0))
                if away[0] ** 2 + away[1] ** 2 + away[2] ** 2 < radius**2:
                    return True
        return False

    def hits_grid(self, x: float, y: float, z: float, kind: int) -> bool:
        """Whether a sphere's centre is outside the free intervals of its cell."""
        cell, side = self.config.cell, simulator.cells(self.config)
        column, row = min(max(int(x / cell + 1), 0), side - 1), min(max(int(y / cell + 1), 0), side - 1)
        bounds = self.grid[kind][row * side + column]
        count = len(bounds) // 2
        return not any(bounds[k] <= z <= bounds[count + k] for k in range(count))

    def hits_boxes(self, x: float, y: float, z: float, radius: float) -> bool:
        """Whether a sphere touches a piece of furniture or leaves the room."""
        config, point = self.config, (x, y, z)
        for value, top in zip(point, (config.room_size, config.room_size, config.ceiling), strict=True):
            if value - radius < -simulator.EPSILON or value + radius > top + simulator.EPSILON:
                return True
        return any(_near_box(point, box) < radius**2 for box in self.furniture)

    def step(self, action: Sequence[float]) -> tuple[int, int, bool]:
        """One step; which object was picked, which was dropped (-1 for none), whether anything collided."""
        config = self.config
        action = [min(1.0, max(-1.0, float(a))) for a in action]
        heading = self.pose[2] + action[2] * config.turn
        x, y = (action[1] * config.forward * f(heading) for f in (math.cos, math.sin))
        spheres, collided = self.spheres(self.frames(self.angles)), True
        for k, (along, across) in enumerate(simulator.TRIES):
            pose = [self.pose[0] + along * x, self.pose[1] + across * y, heading]
            if not self.hits(pose, spheres):
                self.pose, collided = pose, k > 0
                break
        limits = zip(self.angles, action[3:], self.chain.low, self.chain.high, strict=True)
        angles = [min(high, max(low, angle + turn * config.joint)) for angle, turn, low, high in limits]
        if self.hits(self.pose, self.spheres(self.frames(angles))):
            collided = True
        else:
            self.angles = angles
        tip = self.tip()
        if self.held >= 0:
            self.objects[self.held] = tip
        self.steps += 1
        return *self.grasp(action[0], tip), collided

    def grasp(self, command: float, tip: list[float]) -> tuple[int, int]:
        """Suck up or drop."""
        config = self.config
        if self.held < 0 and command > simulator.GRASP_ABOVE:
            nearest = min(range(len(self.objects)), key=lambda k: math.dist(self.objects[k], tip))
            if math.dist(self.objects[nearest], tip) <= config.grasp_radius:
                self.held, self.objects[nearest] = nearest, tip
                return nearest, -1
        elif self.held >= 0 and command < simulator.DROP_BELOW:
            dropped, self.held = self.held, -1
            self.objects[dropped] = [tip[0], tip[1], self.support(tip, dropped) + config.object_half]
            return -1, dropped
        return -1, -1

    def support(self, tip: Sequence[float], dropped: int) -> float:
        """Height of the first surface below the end effector."""
        half, height = self.config.object_half, 0.0
        for x0, y0, _, x1, y1, top in self.furniture:
            if x0 < tip[0] < x1 and y0 < tip[1] < y1 and top <= tip[2] + simulator.EPSILON:
                height = max(height, top)
        for k, (x, y, z) in enumerate(self.objects):
            near = max(abs(x - tip[0]), abs(y - tip[1])) < 2 * half
            if k != dropped and near and z < tip[2] + simulator.EPSILON:
                height = max(height, z + half)
        return height

    def observe(self) -> np.ndarray:
        """The vector of `simulator.observe`."""
        tip = self.frames(self.angles)[-1]
        points = [self.first[self.row][0], self.objects[0], self.goals[self.row]]
        local = [_local(self.pose, [float(v) for v in p]) for p in points]
        found = list(self.angles) + [v for p in local for v in p]
        found += [v - t for p in local for v, t in zip(p, tip, strict=True)] + list(tip)
        return np.array([*found, float(self.held >= 0)], dtype=np.float32)

    def render(self, colour: bool = False) -> np.ndarray:
        """The picture of `simulator.render`, (1 or 4, height, width) float32, depth and then RGB; vectorised over rays and bodies."""
        config, half, size = self.config, self.config.object_half, self.config.image_size
        sine, cosine = math.sin(self.pose[2]), math.cos(self.pose[2])
        x, y, z = self.rays.T
        directions = np.stack([cosine * x - sine * y, sine * x + cosine * y, z])
        inverse = (1 / np.where(np.abs(directions) < 1e-9, 1e-9, directions))[:, None]
        eye = np.array([*self.pose[:2], config.camera_height])
        objects, furniture = np.array(self.objects), self.boxes[self.row]
        low = (np.concatenate([furniture[:, :3], objects - half]) - eye).T[..., None]
        high = (np.concatenate([furniture[:, 3:], objects + half]) - eye).T[..., None]
        first, second = low * inverse, high * inverse  # axis, box, ray
        enter, leave = np.minimum(first, second), np.maximum(first, second).min(axis=0)
        entry = enter.max(axis=0)
        met = np.where((entry < leave) & (entry > 0), entry, np.inf)
        top = np.array([config.room_size, config.room_size, config.ceiling])
        walls = np.maximum(-eye[:, None] * inverse[:, 0], (top - eye)[:, None] * inverse[:, 0])
        wall, distance = walls.min(axis=0), met.min(axis=0)
        depth = np.minimum(distance, wall).reshape(1, size, size)
        if not colour:
            return depth.astype(np.float32)
        body, seen = met.argmin(axis=0), distance < wall
        face = np.where(seen, enter[:, body, np.arange(len(body))].argmax(axis=0), walls.argmin(axis=0))
        shown = np.where(seen[:, None], self.colours[self.row][body], simulator.WALL)
        rgb = (shown * np.array(simulator.SHADE)[face][:, None]).T.reshape(3, size, size)
        return np.concatenate([depth, rgb]).astype(np.float32)


def _placed(pose: Sequence[float], point: Sequence[float]) -> list[float]:
    sine, cosine = math.sin(pose[2]), math.cos(pose[2])
    x, y, z = point
    return [pose[0] + cosine * x - sine * y, pose[1] + sine * x + cosine * y, z]


def _local(pose: Sequence[float], point: Sequence[float]) -> list[float]:
    sine, cosine = math.sin(pose[2]), math.cos(pose[2])
    x, y = point[0] - pose[0], point[1] - pose[1]
    return [cosine * x + sine * y, cosine * y - sine * x, point[2]]


def _near_box(point: Sequence[float], box: Sequence[float]) -> float:
    """Squared distance of a point from a box given by its lower and upper corner."""
    return sum(max(box[i] - point[i], point[i] - box[i + 3], 0.0) ** 2 for i in range(3))


def gymnasium_maker(
    config: EpisodeConfig, scene: Scene, limit: int, count: int = 1, colour: bool = False
) -> Callable[[], Any]:
    """A function that makes a `gymnasium.Env`, as `gymnasium.vector.AsyncVectorEnv` wants it: one process with `count` environments.

    The process steps its environments one after the other; a step of the process is a step of each.
    Observations (count, numbers) are the state vector followed by the picture, flat; an environment starts its next episode
    after `limit` steps, those of one process `count` episodes on.
    The reward is left at 0: tasks compute theirs from the observations of all environments at once.
    """
    import gymnasium

    class Environment(gymnasium.Env):
        def __init__(self) -> None:
            self.ones = [OneEnvironment(config, scene) for _ in range(count)]
            size = simulator.observation_size(config) + (4 if colour else 1) * config.image_size**2
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (count, size), np.float32)
            self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (count, simulator.action_size(config)), np.float32)

        def _seen(self) -> np.ndarray:
            return np.stack([np.concatenate([one.observe(), one.render(colour).ravel()]) for one in self.ones])

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
            for k, one in enumerate(self.ones):
                one.reset(k % len(one.starts))
            return self._seen(), {}

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
            for one, mine in zip(self.ones, action.tolist(), strict=True):
                one.step(mine)
                if one.steps >= limit:
                    one.reset((one.row + count) % len(one.starts))
            return self._seen(), 0.0, False, False, {}

    return Environment
