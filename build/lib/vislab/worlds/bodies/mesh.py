"""A simple skin: a tube around every bone, with blendshapes for the body's build and smooth skinning weights."""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops.skinning import blend, forward_kinematics, rest_joints
from vislab.worlds.bodies.skeleton import INDEX, PARENTS, offsets

RINGS, SIDES = 6, 8
_RADII = {
    "spine": (0.135, 0.125), "neck": (0.12, 0.06), "head": (0.06, 0.075), "collar": (0.08, 0.07), "hip": (0.12, 0.10),
    "knee": (0.085, 0.055), "ankle": (0.055, 0.04), "foot": (0.045, 0.035), "shoulder": (0.065, 0.055),
    "elbow": (0.05, 0.04), "wrist": (0.038, 0.03),
}  # fmt: skip
SKULL = (0.0, 0.16, 0.02)


@dataclass(frozen=True)
class Template:
    """What is the same for every body: how vertices hang on bones, which triangles join them, who moves them."""

    bone: Int[Tensor, " vertex"]
    """Index into `ends` of the bone a vertex belongs to."""
    along: Float[Tensor, " vertex"]
    """Place on the bone, 0 at its upper end and 1 at its lower."""
    angle: Float[Tensor, " vertex"]
    """Angle around the bone."""
    radius: Float[Tensor, " vertex"]
    """Distance from the bone, in metres."""
    faces: Int[Tensor, "face 3"]
    """Triangles, seen counter-clockwise from outside."""
    weights: Float[Tensor, "vertex joint"]
    """Skinning weights; rows sum to one."""


def _bones() -> list[tuple[int, int, tuple[float, float]]]:
    """(upper joint, lower joint, radii at both ends); the skull hangs on the head and has no lower joint (-1)."""
    found = []
    for name, joint in INDEX.items():
        if PARENTS[joint] >= 0:
            key = next(k for k in _RADII if k in name)
            found.append((PARENTS[joint], joint, _RADII[key]))
    return [*found, (INDEX["head"], -1, (0.09, 0.05))]


@cache
def template() -> Template:
    """The tubes of all bones, closed at their ends by a last narrow ring."""
    bones = _bones()
    per = RINGS * SIDES
    bone = torch.arange(len(bones)).repeat_interleave(per)
    ring = torch.arange(RINGS).repeat_interleave(SIDES).repeat(len(bones))
    side = torch.arange(SIDES).repeat(RINGS * len(bones))
    inner = (ring.clamp(1, RINGS - 2) - 1).float() / (RINGS - 3)
    cap = torch.where((ring == 0) | (ring == RINGS - 1), 0.02, 1.0)
    radii = torch.tensor([b[2] for b in bones])[bone]
    radius = cap * torch.lerp(radii[:, 0], radii[:, 1], inner)
    quads = []
    for k in range(RINGS - 1):
        here = k * SIDES + torch.arange(SIDES)
        beside = k * SIDES + (torch.arange(SIDES) + 1) % SIDES
        quads += [torch.stack([here, beside, beside + SIDES], 1), torch.stack([here, beside + SIDES, here + SIDES], 1)]
    one = torch.cat(quads)
    faces = (one[None] + per * torch.arange(len(bones))[:, None, None]).flatten(0, 1)
    weights = torch.zeros(len(bone), len(PARENTS))
    for k, (upper, lower, _) in enumerate(bones):
        mine, place = bone == k, inner[bone == k]
        # near its upper end a bone shares its motion with the bone above, near its lower end with the one below
        above = 0.5 * (1 - place / 0.3).clamp(min=0) * (PARENTS[upper] >= 0)
        below = 0.5 * ((place - 0.7) / 0.3).clamp(min=0) * (lower >= 0)
        weights[mine, upper] += 1 - above - below
        if PARENTS[upper] >= 0:
            weights[mine, PARENTS[upper]] += above
        if lower >= 0:
            weights[mine, lower] += below
    return Template(bone, inner, side * (2 * torch.pi / SIDES), radius, faces, weights)


def rest_vertices(shape: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch vertex 3"]:
    """The skin in the rest pose for a build: its blendshapes lengthen bones and, by girth, widen tubes."""
    form = template()
    joints = rest_joints(offsets(shape), PARENTS)
    skull = joints[..., [INDEX["head"]], :] + torch.tensor(SKULL, device=shape.device)
    ends = torch.cat([joints, skull], dim=-2)
    upper = torch.tensor([b[0] for b in _bones()], device=shape.device)[form.bone]
    lower = torch.tensor([b[1] % (len(PARENTS) + 1) for b in _bones()], device=shape.device)[form.bone]
    top, bottom = ends[..., upper, :], ends[..., lower, :]
    direction = torch.nn.functional.normalize(bottom - top, dim=-1)
    helper = torch.tensor([0.0, 0.0, 1.0], device=shape.device).expand_as(direction)
    first = torch.nn.functional.normalize(torch.linalg.cross(helper, direction), dim=-1)
    second = torch.linalg.cross(direction, first)
    place = torch.lerp(top, bottom, form.along[:, None].to(shape))
    around = form.angle.cos()[:, None] * first + form.angle.sin()[:, None] * second
    girth = 1 + 0.12 * shape[..., 3, None, None]
    return place + girth * form.radius[:, None] * around


def pose(
    shape: Float[Tensor, "*batch 4"],
    rotations: Float[Tensor, "*batch 22 3 3"],
    translation: Float[Tensor, "*batch 3"] | None = None,
) -> Float[Tensor, "*batch vertex 3"]:
    """The skin of a body of a build in a pose, by linear blend skinning."""
    bones = offsets(shape)
    turned, placed = forward_kinematics(rotations, bones, PARENTS, translation)
    return blend(rest_vertices(shape), template().weights, rest_joints(bones, PARENTS), turned, placed)
