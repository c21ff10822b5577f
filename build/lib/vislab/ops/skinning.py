"""Articulated bodies: joints by forward kinematics, skin by linear blending."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def forward_kinematics(
    rotations: Float[Tensor, "*batch joint 3 3"],
    offsets: Float[Tensor, "*#batch joint 3"],
    parents: Sequence[int],
    translation: Float[Tensor, "*#batch 3"] | None = None,
) -> tuple[Float[Tensor, "*batch joint 3 3"], Float[Tensor, "*batch joint 3"]]:
    """World rotations and positions of all joints, in metres.

    `rotations` are relative to the parent, the root's to the world; `offsets` lead from the parent to the joint in the rest pose.
    `parents[k] < k`, and -1 for the root, which lies at its offset plus `translation`.
    """
    offsets = offsets.expand(*rotations.shape[:-2], 3)
    turned, placed = [], []
    for joint, parent in enumerate(parents):
        if parent < 0:
            turned.append(rotations[..., joint, :, :])
            placed.append(offsets[..., joint, :])
        else:
            turned.append(turned[parent] @ rotations[..., joint, :, :])
            placed.append(placed[parent] + (turned[parent] @ offsets[..., joint, :, None]).squeeze(-1))
    positions = torch.stack(placed, dim=-2)
    if translation is not None:
        positions = positions + translation[..., None, :]
    return torch.stack(turned, dim=-3), positions


def rest_joints(offsets: Float[Tensor, "*batch joint 3"], parents: Sequence[int]) -> Float[Tensor, "*batch joint 3"]:
    """Joint positions in the rest pose: the sums of offsets from the root."""
    placed: list[Tensor] = []
    for joint, parent in enumerate(parents):
        own = offsets[..., joint, :]
        placed.append(own if parent < 0 else placed[parent] + own)
    return torch.stack(placed, dim=-2)


def blend(
    vertices: Float[Tensor, "*#batch vertex 3"],
    weights: Float[Tensor, "vertex joint"],
    rest: Float[Tensor, "*#batch joint 3"],
    rotations: Float[Tensor, "*batch joint 3 3"],
    positions: Float[Tensor, "*batch joint 3"],
) -> Float[Tensor, "*batch vertex 3"]:
    """Linear blend skinning: every vertex moves with the weighted mean of its joints' rigid motions x -> R (x - rest) + position."""
    shift = positions - (rotations @ rest[..., None]).squeeze(-1)
    turned = torch.einsum("vj,...jab->...vab", weights, rotations)
    return (turned @ vertices[..., None]).squeeze(-1) + torch.einsum("vj,...ja->...va", weights, shift)


def unblend(
    points: Float[Tensor, "*batch vertex 3"],
    weights: Float[Tensor, "vertex joint"],
    rest: Float[Tensor, "*#batch joint 3"],
    rotations: Float[Tensor, "*batch joint 3 3"],
    positions: Float[Tensor, "*batch joint 3"],
) -> Float[Tensor, "*batch vertex 3"]:
    """The inverse of `blend` for given weights: posed points back in the rest pose."""
    shift = positions - (rotations @ rest[..., None]).squeeze(-1)
    turned = torch.einsum("vj,...jab->...vab", weights, rotations)
    moved = points - torch.einsum("vj,...ja->...va", weights, shift)
    return torch.linalg.solve(turned, moved[..., None]).squeeze(-1)
