"""Solids in front of a wall, some of them mirrors or glass, rendered by exact ray tracing.

The scene is the seed's; an item is a view of it.
Cameras stand near z = -1 and look along +z; everything lies in [-2, 2] x [-2, 2] x [-1, 1].
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.ops.cameras import Cameras, forward_rig, project, rays
from vislab.worlds.base import WorldDataset

SPHERE, BOX, WALL = 0, 1, 2
DIFFUSE, MIRROR, GLASS = 0, 1, 2
LIGHT = (0.4, -0.8, -0.45)
FAR = 1e6
# Radius of the dome around the wall's middle that closes the scene, so that every reflected ray meets something.
DOME = 3.5


@dataclass(frozen=True)
class ObjectsConfig:
    """What stands in the scene and how it moves."""

    image_size: int = 48
    """Height and width in pixels."""
    special: Literal["mirror", "glass", "none"] = "mirror"
    """A mirror sphere, a glass slab, or neither, in the front of the scene."""
    solids: int = 2
    """Diffuse solids: spheres and boxes in turn."""
    speed: float = 0.0
    """Distance that the first solid moves over the clip, and angle (half turns) by which the second rotates."""
    wall: float = 0.95
    """Depth of the textured wall."""
    detail: float = 1.0
    """Frequency of the textures."""
    reach: float = 0.3
    """Half-width of the square in which cameras stand."""
    index: float = 1.5
    """Refractive index of glass."""


@dataclass(frozen=True)
class Solids:
    """Parameters of all solids of one scene; row 0 is the wall, row 1 the mirror or glass."""

    shape: Int[Tensor, " solid"]
    material: Int[Tensor, " solid"]
    centre: Float[Tensor, "solid 3"]
    """At time 0."""
    velocity: Float[Tensor, "solid 3"]
    """Metres over the clip, whose time runs from 0 to 1."""
    spin: Float[Tensor, " solid"]
    """Radians over the clip, around the vertical axis."""
    angle: Float[Tensor, " solid"]
    """Radians at time 0, around the vertical axis."""
    size: Float[Tensor, "solid 3"]
    """Radius of a sphere (first entry), half sides of a box."""
    colour: Float[Tensor, "solid 2 3"]
    """The two colours of the texture."""
    frequency: Float[Tensor, " solid"]
    """Texture periods a metre."""


@dataclass(frozen=True)
class Views:
    """Rendered views with exact ground truth."""

    image: Float[Tensor, "view 3 height width"]
    """sRGB in [0, 1]."""
    depth: Float[Tensor, "view height width"]
    """Depth along z of the first surface, metres from the camera."""
    normal: Float[Tensor, "view height width 3"]
    """World normal of the first surface."""
    ids: Int[Tensor, "view height width"]
    """The first solid hit: 0 is the wall, 1 the mirror or glass, then the diffuse solids."""
    point: Float[Tensor, "view height width 3"]
    """World point of the first surface."""
    velocity: Float[Tensor, "view height width 3"]
    """World motion of that point over the clip's unit of time."""
    flow: Float[Tensor, "view height width 2"]
    """Forward optical flow in pixels to the time given, zero where none was."""
    time: Float[Tensor, " view"]
    """Time of the view in [0, 1]."""


def solids(config: ObjectsConfig, seed: int, device: torch.device | str = "cpu") -> Solids:
    """The solids of a seed's scene."""
    zero = torch.zeros(1, dtype=torch.int64, device=device)
    special = config.special != "none"
    count = 1 + special + config.solids

    def draw(name: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        return counter.uniform(seed, "world", zero, name, shape, low, high)[0]

    shape = torch.tensor([WALL] + [SPHERE if config.special == "mirror" else BOX] * special
                         + [BOX if k % 2 else SPHERE for k in range(config.solids)], device=device)  # fmt: skip
    material = torch.full((count,), DIFFUSE, device=device)
    centre = torch.zeros(count, 3, device=device)
    size = torch.ones(count, 3, device=device)
    centre[0, 2] = config.wall
    if special:
        material[1] = MIRROR if config.special == "mirror" else GLASS
        centre[1] = torch.cat([draw("special place", (2,), -0.12, 0.12), draw("special depth", (1,), -0.15, 0.05)])
        size[1] = 0.34 if config.special == "mirror" else torch.tensor([0.45, 0.45, 0.12], device=device)
    first = 1 + special
    k = torch.arange(config.solids, device=device)
    around = 2 * torch.pi * (k / max(1, config.solids)) + draw("around", (1,), 0.0, 6.28)
    ring = draw("ring", (config.solids,), 0.5, 0.65)
    centre[first:, 0], centre[first:, 1] = ring * around.cos(), ring * around.sin()
    centre[first:, 2] = draw("depth", (config.solids,), -0.1, 0.5)
    size[first:] = draw("size", (config.solids, 1), 0.2, 0.28)
    velocity, spin = torch.zeros(count, 3, device=device), torch.zeros(count, device=device)
    if config.solids:
        heading = draw("heading", (), 0.0, 6.28)
        velocity[first] = config.speed * torch.stack([heading.cos(), heading.sin(), 0 * heading])
    if config.solids > 1:
        spin[first + 1] = config.speed * torch.pi
    return Solids(
        shape,
        material,
        centre,
        velocity,
        spin,
        draw("angle", (count,), 0.0, 1.5) * (shape == BOX) * (material == DIFFUSE),
        size,
        draw("colour", (count, 2, 3), 0.05, 1.0),
        config.detail * draw("frequency", (count,), 1.2, 2.2),
    )


def moved(
    scene: Solids, time: Float[Tensor, " ray"]
) -> tuple[Float[Tensor, "ray solid 3"], Float[Tensor, "ray solid"]]:
    """Centres and angles of every solid at each ray's time."""
    centre = scene.centre + scene.velocity * time[:, None, None]
    return centre, scene.angle + scene.spin * time[:, None]


def turn(vector: Float[Tensor, "*batch 3"], angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """Rotate around the vertical (y) axis."""
    x, y, z = vector.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], dim=-1)


@dataclass(frozen=True)
class Hit:
    """First surfaces along rays."""

    t: Float[Tensor, " ray"]
    solid: Int[Tensor, " ray"]
    point: Float[Tensor, "ray 3"]
    normal: Float[Tensor, "ray 3"]
    local: Float[Tensor, "ray 3"]
    """The point in the solid's own frame."""


def intersect(
    scene: Solids,
    origin: Float[Tensor, "ray 3"],
    direction: Float[Tensor, "ray 3"],
    time: Float[Tensor, " ray"],
    skip: Int[Tensor, " ray"] | None = None,
) -> Hit:
    """The nearest surface in front of each ray; `skip` names a solid that a ray passes through (-1 for none)."""
    centre, angle = moved(scene, time)
    o = turn(origin[:, None] - centre, -angle)
    d = turn(direction[:, None].expand_as(o), -angle)
    radius = scene.size[:, 0]
    b, c = (o * d).sum(-1), o.square().sum(-1) - radius**2
    root = (b * b - c).clamp(min=0).sqrt()
    near_sphere = -b - root
    sphere = torch.where((b * b > c) & (near_sphere > 1e-4), near_sphere, FAR)
    inverse = 1 / torch.where(d.abs() < 1e-9, torch.full_like(d, 1e-9), d)
    one, two = (-scene.size - o) * inverse, (scene.size - o) * inverse
    enter, leave = torch.minimum(one, two).amax(-1), torch.maximum(one, two).amin(-1)
    box = torch.where((enter < leave) & (enter > 1e-4), enter, FAR)
    plane = -o[..., 2] * inverse[..., 2]
    dome = -b + (b * b - o.square().sum(-1) + DOME**2).clamp(min=0).sqrt()
    plane = torch.where(plane > 1e-4, torch.minimum(plane, dome), dome)
    t = torch.where(scene.shape == SPHERE, sphere, torch.where(scene.shape == BOX, box, plane))
    if skip is not None:
        t = torch.where(torch.arange(t.shape[1], device=t.device) == skip[:, None], FAR, t)
    t, solid = t.min(dim=1)
    t = t.clamp(max=50.0)
    pick = torch.arange(len(t), device=t.device)
    point = origin + t[:, None] * direction
    local = o[pick, solid] + t[:, None] * d[pick, solid]
    normal = turn(_local_normal(scene.shape[solid], scene.size[solid], local), angle[pick, solid])
    return Hit(t, solid, point, normal, local)


def _local_normal(shape: Tensor, size: Tensor, local: Tensor) -> Tensor:
    sphere = torch.nn.functional.normalize(local, dim=-1)
    scaled = local / size
    face = torch.nn.functional.one_hot(scaled.abs().argmax(-1), 3).to(local.dtype)
    box = face * scaled.sign()
    flat = torch.tensor([0.0, 0.0, -1.0], device=local.device).expand_as(local)
    wall = torch.where((local[:, 2] < -1e-3)[:, None], -sphere, flat)
    return torch.where((shape == SPHERE)[:, None], sphere, torch.where((shape == BOX)[:, None], box, wall))


def reflect(direction: Float[Tensor, "*batch 3"], normal: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Mirror a direction at a surface."""
    return direction - 2 * (direction * normal).sum(-1, keepdim=True) * normal


def refract(direction: Float[Tensor, "*batch 3"], normal: Float[Tensor, "*batch 3"], ratio: float) -> Tensor:
    """Snell's law for unit vectors, `ratio` the index before over the one after; total reflection where there is no refracted ray."""
    cos = -(direction * normal).sum(-1, keepdim=True)
    square = 1 - ratio**2 * (1 - cos**2)
    bent = ratio * direction + (ratio * cos - square.clamp(min=0).sqrt()) * normal
    return torch.where(square >= 0, bent, reflect(direction, normal))


def texture(scene: Solids, solid: Int[Tensor, " ray"], local: Float[Tensor, "ray 3"]) -> Float[Tensor, "ray 3"]:
    """Smooth checks in the solid's own frame, so that they move with it; coarse on the dome, fine on solids."""
    finer = torch.where(scene.shape[solid] == WALL, torch.where(local[:, 2] < -1e-3, 0.4, 1.0), 2.0)
    turns = 2 * torch.pi * scene.frequency[solid] * finer
    phase = (turns[:, None] * local).sin()
    mix = 0.5 + 0.5 * torch.tanh(2.5 * (phase[:, 0] * phase[:, 1] + 0.5 * phase[:, 2] * phase[:, 0]))
    first, second = scene.colour[solid, 0], scene.colour[solid, 1]
    return torch.lerp(first, second, mix[:, None])


def shade(scene: Solids, hit: Hit) -> Float[Tensor, "ray 3"]:
    """Ambient and Lambertian light on the texture; no dependence on the viewing direction."""
    light = torch.nn.functional.normalize(torch.tensor(LIGHT, device=hit.t.device), dim=0)
    lambert = (hit.normal @ light).clamp(min=0)
    return (texture(scene, hit.solid, hit.local) * (0.55 + 0.45 * lambert[:, None])).clamp(0, 1)


def trace(
    scene: Solids,
    origin: Float[Tensor, "ray 3"],
    direction: Float[Tensor, "ray 3"],
    time: Float[Tensor, " ray"],
    index: float = 1.5,
) -> tuple[Float[Tensor, "ray 3"], Hit]:
    """Colours of rays and their first surfaces: one reflection, or a refraction in and one out, then a diffuse surface."""
    hit = intersect(scene, origin, direction, time)
    colour = shade(scene, hit)
    material = scene.material[hit.solid]
    for kind in (MIRROR, GLASS):
        chosen = material == kind
        if not chosen.any():
            continue
        at = {n: getattr(hit, n)[chosen] for n in ("point", "normal", "solid", "local")}
        if kind == MIRROR:
            start, heading = at["point"], reflect(direction[chosen], at["normal"])
        else:
            start, heading = _through(scene, at, direction[chosen], time[chosen], index)
        behind = intersect(scene, start, heading, time[chosen], skip=at["solid"])
        tint = 0.9 if kind == MIRROR else 0.95
        colour = colour.clone()
        colour[chosen] = tint * shade(scene, behind)
    return colour, hit


def _through(
    scene: Solids, at: dict[str, Tensor], direction: Tensor, time: Tensor, index: float
) -> tuple[Tensor, Tensor]:
    """Where a ray leaves a glass box that it has just met, and its direction after it."""
    inside = refract(direction, at["normal"], 1 / index)
    centre, angle = moved(scene, time)
    pick = torch.arange(len(time), device=time.device)
    angle = angle[pick, at["solid"]]
    size = scene.size[at["solid"]]
    d = turn(inside, -angle)
    d = torch.where(d.abs() < 1e-9, torch.full_like(d, 1e-9), d)
    leave = torch.maximum((-size - at["local"]) / d, (size - at["local"]) / d).amin(-1)
    local = at["local"] + leave[:, None] * d
    normal = turn(_local_normal(scene.shape[at["solid"]], size, local), angle)
    start = at["point"] + leave[:, None] * inside
    return start, refract(inside, -normal, index)


class ObjectsWorld:
    """`ObjectsConfig` and a seed give one scene and infinitely many views of it."""

    def __init__(self, config: ObjectsConfig, seed: int = 0):
        self.config, self.seed = config, seed

    def sample(self, indices: Int[Tensor, " batch"], device: torch.device | str = "cpu") -> Views:
        """Views from random places of the rig's square at random times."""
        indices = torch.as_tensor(indices, dtype=torch.int64).to(device)
        reach = self.config.reach
        offsets = counter.uniform(self.seed, "world", indices, "camera", (2,), -reach, reach)
        time = counter.uniform(self.seed, "world", indices, "time")
        return self.view(forward_rig(offsets, self.config.image_size), time)

    def view(
        self,
        cameras: Cameras,
        time: Float[Tensor, " view"],
        later: Float[Tensor, " view"] | None = None,
    ) -> Views:
        """Render given cameras, each at its time; `later` are the times that the flow leads to."""
        scene = solids(self.config, self.seed, time.device)
        origin, direction = rays(cameras)
        shape = origin.shape[:-1]
        clock = time[:, None, None].expand(shape).flatten()
        colour, hit = trace(scene, origin.flatten(0, 2), direction.flatten(0, 2), clock, self.config.index)
        forward = cameras.rotation[:, 2]
        point = hit.point.reshape(*shape, 3)
        depth = torch.einsum("vhwc,vc->vhw", point - origin, forward)
        spun = turn(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0], device=time.device).expand_as(hit.local), hit.local),
                    moved(scene, clock)[1][torch.arange(len(clock), device=time.device), hit.solid])  # fmt: skip
        velocity = scene.velocity[hit.solid] + scene.spin[hit.solid, None] * spun
        flow = torch.zeros(*shape, 2, device=time.device)
        if later is not None:
            there = self.carry(scene, hit, clock, later[:, None, None].expand(shape).flatten()).reshape(*shape, 3)
            flow = project(cameras, there)[0] - project(cameras, point)[0]
        return Views(
            colour.reshape(*shape, 3).permute(0, 3, 1, 2),
            depth,
            hit.normal.reshape(*shape, 3),
            hit.solid.reshape(shape),
            point,
            velocity.reshape(*shape, 3),
            flow,
            time,
        )

    @staticmethod
    def carry(
        scene: Solids, hit: Hit, time: Float[Tensor, " ray"], later: Float[Tensor, " ray"]
    ) -> Float[Tensor, "ray 3"]:
        """Where the surface points of `hit` are at `later` times."""
        pick = torch.arange(len(time), device=time.device)
        centre, angle = moved(scene, later)
        return centre[pick, hit.solid] + turn(hit.local, angle[pick, hit.solid])

    def reflector(self, views: Views) -> Bool[Tensor, "view height width"]:
        """Pixels whose first surface is the mirror or the glass."""
        scene = solids(self.config, self.seed, views.ids.device)
        return scene.material[views.ids] != DIFFUSE

    def dataset(self, start: int, count: int) -> WorldDataset:
        """A torch data set over items [start, start + count)."""
        return WorldDataset(self, start, count)
