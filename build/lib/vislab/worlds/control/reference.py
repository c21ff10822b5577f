"""One rearrangement environment at a time, in plain Python and numpy: the same rules and pictures as `simulator`, written again.

It is the rival of speed comparisons, one a worker process, and the check that batching changes no result.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vislab.worlds.control import simulator
from vislab.worlds.control.episodes import Episode, EpisodeConfig
from vislab.worlds.control.robot import BASE_SPHERES, CHAINS, LINK_RADIUS

RIM = [(0.0, 0.0, 1.0)] + [
    (
        simulator.RIM * math.cos(k * math.pi / 4),
        simulator.RIM * math.sin(k * math.pi / 4),
        math.sqrt(1 - simulator.RIM**2),
    )
    for k in range(simulator.RAYS)
]


class OneEnvironment:
    """An environment that walks through a list of episodes; `columns` are the grids that `simulator.column_grid` built."""

    def __init__(self, config: EpisodeConfig, episode: Episode, columns: Any):
        self.config, self.chain = config, CHAINS[config.arm]
        self.boxes = episode.boxes.numpy()
        self.colours, self.first = episode.colours.numpy(), episode.objects.numpy()
        self.goals, self.starts, self.columns = episode.goal.numpy(), episode.start.numpy(), columns.numpy()
        forward, across = simulator.ray_directions(config, episode.start)
        self.rays = (forward + across).flatten(0, 1).numpy().astype(np.float64)
        self.reset(0)

    def reset(self, row: int) -> None:
        """Back to the start of episode `row`."""
        self.row, self.held, self.steps = row, -1, 0
        self.pose = [float(v) for v in self.starts[row]]
        self.angles = list(self.chain.rest)
        self.objects = [[float(v) for v in o] for o in self.first[row]]
        self.furniture = [[float(v) for v in b] for b in self.boxes[row]]
        self.grid = self.columns[row].tolist()

    def frames(self, angles: Sequence[float]) -> list[list[float]]:
        """Origins of joints and end effector in the robot's frame."""
        rotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        position, found = [0.0, 0.0, 0.0], []
        for k, offset in enumerate(self.chain.offsets):
            position = [position[i] + sum(rotation[i][j] * offset[j] for j in range(3)) for i in range(3)]
            found.append(position)
            if k < self.chain.joints:
                sine, cosine = math.sin(angles[k]), math.cos(angles[k])
                # the two columns that the rotation mixes, and its sense
                a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[self.chain.axes[k]]
                for line in rotation:
                    line[a], line[b] = cosine * line[a] + sine * line[b], cosine * line[b] - sine * line[a]
        return found

    def spheres(self, angles: Sequence[float]) -> list[tuple[float, float, float, float]]:
        """The robot's spheres in its own frame: x, y, z, radius."""
        frames, found = self.frames(angles), list(BASE_SPHERES)
        for near, far in zip(frames[1:-1], frames[2:], strict=True):
            found.append((*((p + q) / 2 for p, q in zip(near, far, strict=True)), LINK_RADIUS))
            found.append((*far, LINK_RADIUS))
        return found

    def tip(self) -> list[float]:
        """The end effector in the room."""
        return _placed(self.pose, self.frames(self.angles)[-1])

    def hits(self, pose: Sequence[float], spheres: Sequence[tuple[float, float, float, float]]) -> bool:
        """Whether any sphere touches anything that is not held."""
        half = self.config.object_half
        for *point, radius in spheres:
            x, y, z = _placed(pose, point)
            if self.hits_grid(x, y, z, radius) if self.config.collision == "grid" else self.hits_boxes(x, y, z, radius):
                return True
            for k, (u, v, w) in enumerate(self.objects):
                box = (u - half, v - half, w - half, u + half, v + half, w + half)
                if k != self.held and _near_box((x, y, z), box) < radius**2:
                    return True
        return False

    def hits_grid(self, x: float, y: float, z: float, radius: float) -> bool:
        """Whether a sphere sticks out of the free intervals of its columns."""
        config, count = self.config, simulator.cells(self.config)
        for u, v, w in RIM:
            px, py = x + radius * u, y + radius * v
            if not (0 <= px < config.room_size and 0 <= py < config.room_size):
                return True
            intervals = self.grid[min(int(py / config.cell), count - 1) * count + min(int(px / config.cell), count - 1)]
            low, high = z - radius * w + simulator.EPSILON, z + radius * w - simulator.EPSILON
            if not any(a <= low and b >= high for a, b in intervals):
                return True
        return False

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
        spheres, collided = self.spheres(self.angles), True
        for k, (dx, dy) in enumerate(((x, y), (x, 0.0), (0.0, y), (0.0, 0.0))):
            pose = [self.pose[0] + dx, self.pose[1] + dy, heading]
            if not self.hits(pose, spheres):
                self.pose, collided = pose, k > 0
                break
        limits = zip(self.angles, action[3:], self.chain.low, self.chain.high, strict=True)
        angles = [min(high, max(low, angle + turn * config.joint)) for angle, turn, low, high in limits]
        if self.hits(self.pose, self.spheres(angles)):
            collided = True
        else:
            self.angles = angles
        if self.held >= 0:
            self.objects[self.held] = self.tip()
        self.steps += 1
        return *self.grasp(action[0]), collided

    def grasp(self, command: float) -> tuple[int, int]:
        """Suck up or drop."""
        config, tip = self.config, self.tip()
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
        config, count = self.config, simulator.cells(self.config)
        column = [min(count - 1, max(0, int(v // config.cell))) for v in tip[:2]]
        intervals = self.grid[column[1] * count + column[0]]
        height = max([a for a, _ in intervals if a <= tip[2] + simulator.EPSILON], default=0.0)
        for k, (x, y, z) in enumerate(self.objects):
            near = max(abs(x - tip[0]), abs(y - tip[1])) < 2 * config.object_half
            if k != dropped and near and z < tip[2]:
                height = max(height, z + config.object_half)
        return height

    def observe(self) -> np.ndarray:
        """The vector of `simulator.observe`."""
        tip = self.frames(self.angles)[-1]
        points = [self.first[self.row][0], self.objects[0], self.goals[self.row]]
        local = [_local(self.pose, [float(v) for v in p]) for p in points]
        found = list(self.angles) + [v for p in local for v in p]
        found += [v - t for p in local for v, t in zip(p, tip, strict=True)] + list(tip)
        found += [float(self.held >= 0), math.sin(self.pose[2]), math.cos(self.pose[2])]
        return np.array(found, dtype=np.float32)

    def render(self) -> np.ndarray:
        """Depth as `simulator.render` gives it, (1, height, width) float32; vectorised over rays and bodies."""
        config, half = self.config, self.config.object_half
        sine, cosine = math.sin(self.pose[2]), math.cos(self.pose[2])
        x, y, z = self.rays.T
        directions = np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=1)
        inverse = (1 / np.where(np.abs(directions) < 1e-9, 1e-9, directions))[:, None]
        eye = np.array([*self.pose[:2], config.camera_height])
        objects, furniture = np.array(self.objects), np.array(self.furniture)
        low = np.concatenate([furniture[:, :3], objects - half]) - eye
        high = np.concatenate([furniture[:, 3:], objects + half]) - eye
        first, second = low * inverse, high * inverse
        entry, leave = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
        nearest = np.where((entry < leave) & (entry > 0), entry, np.inf).min(-1)
        top = np.array([config.room_size, config.room_size, config.ceiling])
        wall = np.maximum(-eye * inverse[:, 0], (top - eye) * inverse[:, 0]).min(-1)
        size = config.image_size
        return np.minimum(nearest, wall).reshape(1, size, size).astype(np.float32)


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


def gymnasium_maker(config: EpisodeConfig, episode: Episode, columns: Any, limit: int) -> Callable[[], Any]:
    """A function that makes a `gymnasium.Env` of these episodes, as `gymnasium.vector.AsyncVectorEnv` wants it.

    Observations are the state vector followed by the depth picture, flat.
    The reward is left at 0: tasks compute theirs from the observation of all environments at once.
    """
    import gymnasium

    class Environment(gymnasium.Env):
        def __init__(self) -> None:
            self.one, self.turn = OneEnvironment(config, episode, columns), -1
            size = simulator.observation_size(config) + config.image_size**2
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
            self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (simulator.action_size(config),), np.float32)

        def _seen(self) -> np.ndarray:
            return np.concatenate([self.one.observe(), self.one.render().ravel()])

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
            self.turn += 1
            self.one.reset(self.turn % len(self.one.starts))
            return self._seen(), {}

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
            self.one.step(action)
            return self._seen(), 0.0, False, self.one.steps >= limit, {}

    return Environment
