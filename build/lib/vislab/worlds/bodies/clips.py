"""Clips of a moving body: six activities with exact rotations and joints, and what a headset and two hand trackers see of it.

Legs are partly told by the head's bob, sway and height and partly free, so that several leg motions fit one signal.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.ops.rotations import exp_so3, six_from_matrix, turn
from vislab.ops.skinning import forward_kinematics
from vislab.worlds.base import WorldDataset
from vislab.worlds.bodies.skeleton import INDEX, PARENTS, TRACKED, offsets

ACTIVITIES = ("walk", "squat", "kick", "wave", "sit", "side-step")
SIDES = ("left", "right")


@dataclass(frozen=True)
class ClipsConfig:
    """How long clips are, and how much of the legs the trackers tell."""

    frames: int = 144
    """Frames of a clip."""
    fps: float = 30.0
    """Frames a second."""
    heading: float = math.pi
    """Largest angle between a clip's first heading and the z axis, in radians."""
    freedom: float = 1.0
    """Size of the leg motion that no tracker sees: 0 is none."""
    cue: float = 1.0
    """Size of the torso motion that tells which leg does what."""
    position_noise: float = 0.00003
    """Standard deviation of the trackers' positions, in metres."""
    rotation_noise: float = 0.0003
    """Standard deviation of the trackers' orientations, in radians."""


@dataclass(frozen=True)
class Clips:
    """A batch of clips; frame 0 has a predecessor that is not shown, so that its velocities are exact as well."""

    rotations: Float[Tensor, "batch frame 22 3 3"]
    """Rotation of every joint relative to its parent, the pelvis's to the world."""
    translation: Float[Tensor, "batch frame 3"]
    """Place of the pelvis in the world, in metres; the floor is y = 0."""
    joints: Float[Tensor, "batch frame 22 3"]
    """World positions, in metres."""
    sparse: Float[Tensor, "batch frame 54"]
    """Head, left and right wrist: 6D orientations (18), 6D rotations since the last frame (18), positions (9), steps (9)."""
    activity: Int[Tensor, " batch"]
    """Index into `ACTIVITIES`."""


class ClipsWorld:
    """`ClipsConfig` and a seed give an infinite list of clips."""

    def __init__(self, config: ClipsConfig, seed: int = 0):
        self.config, self.seed = config, seed

    def sample(
        self,
        indices: Int[Tensor, " batch"],
        device: torch.device | str = "cpu",
        activity: Int[Tensor, " batch"] | None = None,
    ) -> Clips:
        """The clips at `indices`; their activities are drawn evenly unless `activity` gives them."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        if activity is None:
            activity = counter.integers(self.seed, "world", indices, "activity", len(ACTIVITIES))
        activity = activity.to(device)
        rotations, place = self.motion(indices, activity)
        turned, joints = forward_kinematics(rotations, offsets().to(device), PARENTS)
        translation = torch.stack([place[..., 0], standing_height(joints), place[..., 1]], dim=-1)
        joints = joints + translation[:, :, None]
        sparse = self.trackers(indices, turned[:, :, list(TRACKED)], joints[:, :, list(TRACKED)])
        return Clips(rotations[:, 1:], translation[:, 1:], joints[:, 1:], sparse, activity)

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)

    def motion(
        self, indices: Int[Tensor, " batch"], activity: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch time 22 3 3"], Float[Tensor, "batch time 2"]]:
        """Rotations and the pelvis's place on the floor (x, z) for one frame before the clip and all of its frames."""
        config = self.config
        time = torch.arange(-1, config.frames, device=indices.device) / config.fps
        draw = Draw(self.seed, indices, time)
        free, cue = config.freedom, config.cue
        every = [make(draw, free, cue) for make in (_walk, _squat, _kick, _wave, _sit, _side_step)]
        angles = torch.stack([_idle(draw, free, a) for a, _ in every])[activity, torch.arange(len(indices))]
        speed = torch.stack([s for _, s in every])[activity, torch.arange(len(indices))]
        heading = draw.once("heading", -config.heading, config.heading) + draw.slow("turn", 0.25)
        heading = heading + (activity == 0)[:, None] * draw.once("bend", -0.35, 0.35) * time
        angles[:, :, 0, 1] += heading
        # the yaw of the pitch of the roll
        rotations = turn(angles[..., 1], 1) @ turn(angles[..., 0], 0) @ turn(angles[..., 2], 2)
        side, ahead = speed.unbind(-1)
        sine, cosine = heading.sin(), heading.cos()
        velocity = torch.stack([ahead * sine + side * cosine, ahead * cosine - side * sine], dim=-1)
        place = velocity.cumsum(dim=1) / config.fps
        start = counter.uniform(self.seed, "world", indices, "start", (1, 2), -0.5, 0.5)
        return rotations, place - place[:, :1] + start

    def trackers(
        self,
        indices: Int[Tensor, " batch"],
        turned: Float[Tensor, "batch time 3 3 3"],
        placed: Float[Tensor, "batch time 3 3"],
    ) -> Float[Tensor, "batch frame 54"]:
        """The 54 numbers a frame that a headset and two hand trackers give (section 4.1), with their noise."""
        config, shape = self.config, turned.shape[1:3]
        shake = counter.normal(self.seed, "world", indices, "tracker rotation", (*shape, 3))
        shift = counter.normal(self.seed, "world", indices, "tracker position", (*shape, 3))
        return sparse_signal(turned @ exp_so3(config.rotation_noise * shake), placed + config.position_noise * shift)


def standing_height(joints: Float[Tensor, "batch time 22 3"]) -> Float[Tensor, "batch time"]:
    """How far to lift a body so that its lowest sole touches y = 0: a soft minimum, so that feet take turns without a jerk."""
    ankles = joints[:, :, [INDEX["left_ankle"], INDEX["right_ankle"]], 1] - 0.08
    toes = joints[:, :, [INDEX["left_foot"], INDEX["right_foot"]], 1] - 0.02
    return 0.02 * torch.logsumexp(-torch.cat([ankles, toes], dim=-1) / 0.02, dim=-1)


def sparse_signal(
    turned: Float[Tensor, "batch time 3 3 3"], placed: Float[Tensor, "batch time 3 3"]
) -> Float[Tensor, "batch frame 54"]:
    """Orientation, rotation since the last frame, position and step of three trackers in the world's frame, all but the first frame."""
    since = turned[:, :-1].transpose(-1, -2) @ turned[:, 1:]
    parts = (six_from_matrix(turned[:, 1:]), six_from_matrix(since), placed[:, 1:], placed.diff(dim=1))
    return torch.cat([p.flatten(2) for p in parts], dim=-1)


class Draw:
    """Random numbers by name, one a clip, and slow curves made of them."""

    def __init__(self, seed: int, indices: Int[Tensor, " batch"], time: Float[Tensor, " time"]):
        self.seed, self.indices, self.time = seed, indices, time

    def once(self, name: str, low: float, high: float) -> Float[Tensor, "batch 1"]:
        """Uniform in [low, high)."""
        return counter.uniform(self.seed, "world", self.indices, name, (1,), low, high)

    def sign(self, name: str) -> Float[Tensor, "batch 1"]:
        """-1 or 1."""
        return torch.where(self.once(name, 0, 1) < 0.5, -1.0, 1.0)

    def phase(self, name: str, low: float, high: float) -> Float[Tensor, "batch time"]:
        """2 pi f t from a random start, f between `low` and `high` in Hertz."""
        return 2 * math.pi * (self.once(f"{name} rate", low, high) * self.time + self.once(f"{name} start", 0, 1))

    def slow(self, name: str, size: float, low: float = 0.08, high: float = 0.35) -> Float[Tensor, "batch time"]:
        """Two slow sines, together within `size`."""
        first, second = self.phase(f"{name} 1", low, high), self.phase(f"{name} 2", low, high)
        return 0.5 * size * (first.sin() + second.sin())

    def rest(self) -> Float[Tensor, "batch time 22 3"]:
        """Pitch (x), yaw (y) and roll (z) of a body that stands with its arms down."""
        angles = torch.zeros(len(self.indices), len(self.time), 22, 3, device=self.indices.device)
        drop, bend = self.once("arm drop", 1.1, 1.35), self.once("elbow bend", 0.15, 0.5)
        for name, sign in zip(SIDES, (1.0, -1.0), strict=True):
            angles[..., INDEX[f"{name}_shoulder"], 2] = -sign * drop
            angles[..., INDEX[f"{name}_elbow"], 1] = -sign * bend
        return angles


def bump(phase: Tensor, power: float = 1.0) -> Tensor:
    """(1 - cos phase) / 2 to a power: 0 at whole turns, 1 at half turns."""
    return (0.5 - 0.5 * phase.cos()) ** power


def leg(angles: Tensor, side: str, flexion: Tensor, knee: Tensor, spread: Tensor | float = 0.0) -> None:
    """Add hip flexion, knee flexion, and the ankle that keeps the sole level, to one leg; `spread` moves it outwards."""
    sign = 1.0 if side == "left" else -1.0
    angles[..., INDEX[f"{side}_hip"], 0] -= flexion
    angles[..., INDEX[f"{side}_knee"], 0] += knee
    angles[..., INDEX[f"{side}_ankle"], 0] += flexion - knee
    angles[..., INDEX[f"{side}_hip"], 2] += sign * spread


def lean(angles: Tensor, axis: int, amount: Tensor) -> None:
    """Bend the spine by `amount`, spread over its three joints."""
    for name in ("spine1", "spine2", "spine3"):
        angles[..., INDEX[name], axis] += amount / 3


def _idle(draw: Draw, free: float, angles: Tensor) -> Tensor:
    """Looking around, small arm motions, and a slow shift of weight that bends one knee; for every activity."""
    angles = angles.clone()
    angles[..., INDEX["head"], 1] += draw.slow("look", 0.35)
    angles[..., INDEX["head"], 0] += draw.slow("nod", 0.2)
    lean(angles, 1, draw.slow("twist", 0.15))
    for name in SIDES:
        angles[..., INDEX[f"{name}_shoulder"], 0] += draw.slow(f"{name} arm", 0.25)
        angles[..., INDEX[f"{name}_elbow"], 1] += draw.slow(f"{name} elbow", 0.2)
        slack = free * 0.25 * draw.once(f"{name} slack", 0, 1) * bump(draw.phase(f"{name} shift", 0.1, 0.4))
        leg(angles, name, 0.5 * slack, slack, free * draw.once(f"{name} stance", -0.02, 0.12))
    return angles


def _still(draw: Draw) -> Float[Tensor, "batch time 2"]:
    return torch.zeros(len(draw.indices), len(draw.time), 2, device=draw.indices.device)


def _walk(draw: Draw, free: float, cue: float) -> tuple[Tensor, Tensor]:
    """Speed sets cadence and stride; the arms swing by a random share; sway and twist at the stride's rate tell left from right."""
    angles, speed = draw.rest(), draw.once("speed", 0.5, 1.6)
    phase = 2 * math.pi * ((0.5 + 0.3 * speed) * draw.time + draw.once("gait start", 0, 1))
    stride = 0.2 + 0.22 * speed
    swing = draw.once("arm swing", 0.0, 0.6)
    lift = 0.6 + 0.4 * draw.once("lift", 0, 1) * free
    for name, sign in zip(SIDES, (1.0, -1.0), strict=True):
        mine = phase + (0.0 if name == "left" else math.pi)
        leg(angles, name, 0.08 + stride * mine.sin(), 0.12 + lift * bump(mine + 0.9 * math.pi, 2.0))
        angles[..., INDEX[f"{name}_shoulder"], 0] += swing * mine.sin()
        angles[..., INDEX[f"{name}_elbow"], 1] -= sign * 0.3 * swing * bump(mine)
    angles[..., 0, 1] += cue * draw.once("pelvis twist", 0.02, 0.15) * phase.sin()
    angles[..., 0, 2] += cue * draw.once("sway", 0.005, 0.05) * phase.cos()
    lean(angles, 1, -cue * draw.once("counter twist", 0.02, 0.15) * phase.sin())
    lean(angles, 0, 0.04 * speed.expand_as(phase))
    return angles, torch.stack([0 * phase, speed.expand_as(phase)], dim=-1)


def _squat(draw: Draw, free: float, cue: float) -> tuple[Tensor, Tensor]:
    """The head's height tells the depth; how far the knees point outwards is free."""
    angles = draw.rest()
    depth = draw.once("depth", 0.3, 1.0) * bump(draw.phase("squat", 0.3, 0.6))
    spread = free * draw.once("knees apart", 0.0, 0.45)
    for name in SIDES:
        leg(angles, name, 1.5 * depth, 1.8 * depth, spread * depth)
        angles[..., INDEX[f"{name}_shoulder"], 0] -= draw.once("arms forward", 0.0, 1.2) * depth
    lean(angles, 0, 0.6 * depth)
    return angles, _still(draw)


def _kick(draw: Draw, free: float, cue: float) -> tuple[Tensor, Tensor]:
    """One leg swings again and again; the torso leans back a little, and to the other side by a random cue."""
    angles, side = draw.rest(), draw.sign("kicking leg")
    phase = draw.phase("kick", 0.5, 0.9)
    high = draw.once("kick height", 0.5, 1.3) * bump(phase, 2.0)
    fold = 0.9 * bump(phase + 0.35 * math.pi, 3.0)
    for name, sign in zip(SIDES, (1.0, -1.0), strict=True):
        mine = (side == sign).float()
        leg(angles, name, mine * (high - 0.15), mine * fold)
        angles[..., INDEX[f"{name}_shoulder"], 0] += (1 - mine) * -0.3 * high
    lean(angles, 0, -0.2 * high)
    lean(angles, 2, cue * side * draw.once("counter lean", 0.0, 0.12) * high)
    return angles, _still(draw)


def _wave(draw: Draw, free: float, cue: float) -> tuple[Tensor, Tensor]:
    """One arm or both wave; the legs stand with a free shift of weight."""
    angles = draw.rest()
    phase = draw.phase("wave", 1.0, 2.0)
    which = draw.once("waving arms", -1.5, 1.5)
    for name, sign in zip(SIDES, (1.0, -1.0), strict=True):
        raised = torch.sigmoid(8 * (sign * which + 0.5)) * draw.once("raise", 1.2, 2.2)
        angles[..., INDEX[f"{name}_shoulder"], 2] += sign * raised
        angles[..., INDEX[f"{name}_elbow"], 2] += sign * raised / 2 * (0.5 + 0.4 * phase.sin())
    shift = free * draw.slow("weight", 0.12)
    angles[..., 0, 2] += shift
    for name in SIDES:
        angles[..., INDEX[f"{name}_hip"], 2] -= shift
    return angles, _still(draw)


def _sit(draw: Draw, free: float, cue: float) -> tuple[Tensor, Tensor]:
    """Down once and up again or not; where the feet stand, and how far apart the knees, is free."""
    angles = draw.rest()
    down = torch.sigmoid((draw.time - draw.once("sit down", 0.3, 2.5)) / 0.15)
    up = torch.sigmoid((draw.time - draw.once("stand up", 3.0, 6.0)) / 0.15)
    seated = down * (1 - up)
    change = (down * (1 - down) + up * (1 - up)) * 4
    spread = free * draw.once("knees apart sitting", 0.0, 0.4)
    for name in SIDES:
        foot = free * draw.once(f"{name} foot", -0.45, 0.35)
        leg(angles, name, 1.45 * seated, (1.5 + foot) * seated, spread * seated)
        angles[..., INDEX[f"{name}_shoulder"], 0] -= draw.once("hands on knees", 0.2, 0.7) * seated
        angles[..., INDEX[f"{name}_ankle"], 0] += 0.6 * foot * seated
    lean(angles, 0, 0.7 * change)
    return angles, _still(draw)


def _side_step(draw: Draw, free: float, cue: float) -> tuple[Tensor, Tensor]:
    """Steps to one side: the leading leg opens, the other closes, the pelvis moves while they are open."""
    angles, side = draw.rest(), draw.sign("side")
    phase = draw.phase("step", 0.5, 0.9)
    width = draw.once("step width", 0.15, 0.4)
    for name, sign in zip(SIDES, (1.0, -1.0), strict=True):
        leads = (side == sign).float()
        lifted = leads * bump(phase + 0.5 * math.pi, 3.0) + (1 - leads) * bump(phase - 0.5 * math.pi, 3.0)
        lift = 0.5 + 0.5 * free * draw.once("step lift", 0, 1)
        leg(angles, name, 0.5 * lift * lifted, lift * lifted, width * bump(phase))
    angles[..., 0, 2] += cue * side * draw.once("step lean", 0.0, 0.08) * phase.sin()
    lateral = side * width * 1.6 * (1 + phase.sin().square())
    return angles, torch.stack([lateral * 0.5, 0 * phase], dim=-1)
