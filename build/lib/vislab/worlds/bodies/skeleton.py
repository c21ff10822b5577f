"""A skeleton with SMPL's 22 body joints, y up, x to the body's left, z forward, in metres.

The names and the tree are SMPL's; the measures are this world's own, of a person of 1.7 m.
"""

import torch
from jaxtyping import Float
from torch import Tensor

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle", "spine3",
    "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
INDEX = {name: k for k, name in enumerate(JOINTS)}
LOWER = (0, 1, 2, 4, 5, 7, 8, 10, 11)
UPPER = tuple(k for k in range(22) if k not in LOWER)
HANDS = (20, 21)
HEAD = 15
TRACKED = (15, 20, 21)
_LEFT = {
    "pelvis": (0.0, 0.0, 0.0), "left_hip": (0.07, -0.09, -0.01), "spine1": (0.0, 0.12, -0.02), "left_knee": (0.035, -0.38, 0.005),
    "spine2": (0.0, 0.135, 0.01), "left_ankle": (-0.01, -0.41, -0.03), "spine3": (0.0, 0.055, 0.02),
    "left_foot": (0.03, -0.06, 0.125), "neck": (0.0, 0.21, -0.03), "left_collar": (0.075, 0.115, -0.02),
    "head": (0.0, 0.09, 0.04), "left_shoulder": (0.11, 0.045, -0.01), "left_elbow": (0.26, -0.012, -0.02),
    "left_wrist": (0.25, 0.01, -0.005),
}  # fmt: skip
SHAPES = 4


def offsets(shape: Float[Tensor, "*batch 4"] | None = None) -> Float[Tensor, "*batch 22 3"]:
    """Offset of every joint from its parent in the rest pose (arms stretched to the sides).

    `shape` holds standard scores of stature, leg length, arm length and girth; girth moves no joint.
    """
    rows = [_LEFT[n.replace("right_", "left_")] for n in JOINTS]
    base = torch.tensor(rows) * torch.tensor([[-1.0 if n.startswith("right") else 1.0, 1, 1] for n in JOINTS])
    if shape is None:
        return base
    base = base.to(shape)
    legs = torch.tensor([n.endswith(("knee", "ankle")) for n in JOINTS], device=shape.device)[:, None]
    arms = torch.tensor([n.endswith(("elbow", "wrist")) for n in JOINTS], device=shape.device)[:, None]
    stature, leg, arm, _ = (1 + 0.05 * s[..., None, None] for s in shape.unbind(-1))
    return base * stature * torch.where(legs, leg, 1.0) * torch.where(arms, arm, 1.0)
