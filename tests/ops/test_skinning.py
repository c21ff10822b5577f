"""Kinematic chains by hand, and skin that moves rigidly with its bone."""

import math

import torch

from vislab.ops.rotations import exp_so3, turn
from vislab.ops.skinning import blend, forward_kinematics, rest_joints, unblend

PARENTS = (-1, 0, 1)
OFFSETS = torch.tensor([[0.0, 1, 0], [1, 0, 0], [1, 0, 0]])


def test_a_bent_chain_ends_where_it_should():
    quarter = turn(torch.tensor(math.pi / 2), 2)
    rotations = torch.stack([quarter, quarter, torch.eye(3)])
    turned, placed = forward_kinematics(rotations, OFFSETS, PARENTS, torch.tensor([0.0, 0, 5]))
    assert torch.allclose(placed, torch.tensor([[0.0, 1, 5], [0, 2, 5], [-1, 2, 5]]), atol=1e-6)
    assert torch.allclose(turned[2], turn(torch.tensor(math.pi), 2), atol=1e-6)


def test_without_rotations_joints_rest():
    _, placed = forward_kinematics(torch.eye(3).expand(4, 3, 3, 3), OFFSETS, PARENTS)
    assert torch.allclose(placed, rest_joints(OFFSETS, PARENTS).expand(4, 3, 3))


def test_bones_keep_their_length():
    vectors = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(0))
    _, placed = forward_kinematics(exp_so3(vectors), OFFSETS, PARENTS)
    assert torch.allclose(placed.diff(dim=1).norm(dim=2), torch.ones(20, 2), atol=1e-5)


def test_skin_of_one_bone_moves_rigidly_and_comes_back():
    vectors = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(0))
    rest = rest_joints(OFFSETS, PARENTS)
    turned, placed = forward_kinematics(exp_so3(vectors), OFFSETS, PARENTS)
    vertices = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    weights = torch.nn.functional.one_hot(torch.arange(10) % 3, 3).float()
    moved = blend(vertices, weights, rest, turned, placed)
    own = torch.arange(10) % 3
    expected = (turned[:, own] @ (vertices - rest[own])[..., None]).squeeze(-1) + placed[:, own]
    assert torch.allclose(moved, expected, atol=1e-5)
    soft = torch.softmax(torch.randn(10, 3, generator=torch.Generator().manual_seed(2)), dim=1)
    moved = blend(vertices, soft, rest, turned, placed)
    assert torch.allclose(unblend(moved, soft, rest, turned, placed), vertices.expand(5, 10, 3), atol=1e-3)
