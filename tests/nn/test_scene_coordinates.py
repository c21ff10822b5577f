"""The scene coordinate network against facts from the authors' released one, and its read-out."""

import math

import torch

from vislab.nn.scene_coordinates import Backbone, Head


def test_sizes_of_the_released_network():
    backbone, head = Backbone(), Head()
    assert sum(p.numel() for p in [*backbone.parameters(), *head.parameters()]) == 7671300
    assert backbone.stride == 8 and backbone(torch.zeros(1, 1, 64, 80)).shape == (1, 512, 8, 10)


def test_read_out_by_hand():
    head = Head(8, 8)
    raw = torch.tensor([2.0, 4.0, -6.0, 0.0])[None, :, None, None]
    beta = math.log(2) / 0.75
    scale = math.log(2) / beta + 0.25
    assert math.isclose(scale, 1.0)
    assert torch.allclose(head.read_out(raw)[0, :, 0, 0], torch.tensor([2.0, 4.0, -6.0]))
    far = torch.tensor([1.0, 0, 0, -1e4])[None, :, None, None]
    near = torch.tensor([1.0, 0, 0, 1e4])[None, :, None, None]
    assert math.isclose(float(head.read_out(far)[0, 0]), 4.0, rel_tol=1e-4)
    assert math.isclose(float(head.read_out(near)[0, 0]), 0.01, rel_tol=1e-4)


def test_a_head_of_one_by_one_sees_one_cell():
    features = torch.rand(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    head, wide = Head(8, 8), Head(8, 8, kernel=3)
    other = features.clone()
    other[..., 0, 0] += 1
    changed = (head(features) != head(other)).any(dim=1)[0]
    assert changed[0, 0] and changed.sum() == 1
    assert (wide(features) != wide(other)).any(dim=1).sum() > 1


def test_mean_is_added():
    head = Head(8, 8, homogeneous=False)
    features = torch.zeros(1, 8, 2, 2)
    before = head(features)
    head.mean += torch.tensor([1.0, 2.0, 3.0])[None, :, None, None]
    assert torch.allclose(head(features) - before, torch.tensor([1.0, 2, 3])[None, :, None, None].expand(1, 3, 2, 2))
