"""Anchors, assigners and losses of one-stage detection."""

import pytest
import torch
from torch.nn import functional as F

from vislab.nn import detection

STRIDES, SIZES = (4, 8), ((8, 8), (4, 4))
ANCHORS = detection.grid_anchors(SIZES, STRIDES, (2.0,))


def test_anchors_are_centred_on_cells_level_by_level():
    assert ANCHORS.shape == (80, 4)
    assert ANCHORS[1].tolist() == [0, -4, 8, 4] and ANCHORS[64 + 5].tolist() == [0, 0, 16, 16]
    nine = detection.grid_anchors(((1, 1),), (8,), (4.0, 5.0, 6.0), (0.5, 1.0, 2.0))
    width, height = (nine[:, 2:] - nine[:, :2]).unbind(1)
    assert (height / width).tolist() == pytest.approx([0.5] * 3 + [1] * 3 + [2] * 3)
    assert (height * width).tolist() == pytest.approx([32**2, 40**2, 48**2] * 3)


def test_flattening_follows_the_anchors():
    maps = [torch.arange(2 * 64).reshape(1, 2, 8, 8), torch.arange(2 * 16).reshape(1, 2, 4, 4)]
    flat = detection.flatten_levels(maps)
    assert flat[0, 9].tolist() == [9, 64 + 9] and flat[0, 64 + 3].tolist() == [3, 19]
    nine = detection.flatten_levels([torch.arange(6 * 4).reshape(1, 6, 2, 2)], 3)
    assert nine[0, 4].tolist() == [9, 13]


def test_atss_takes_centres_inside_and_leaves_empty_places_alone():
    boxes = torch.tensor([[[9.0, 9.0, 16.0, 16.0], [0.0, 0.0, 0.0, 0.0]]])
    owner = detection.assign_atss(ANCHORS, (64, 16), boxes, torch.tensor([[True, False]]))
    positive = (owner[0] == 0).nonzero().flatten()
    assert 0 < len(positive) <= 18 and set(owner.unique().tolist()) == {-1, 0}
    middle = (ANCHORS[positive, :2] + ANCHORS[positive, 2:]) / 2
    assert ((middle > 9) & (middle < 16)).all()
    nothing = detection.assign_atss(ANCHORS, (64, 16), boxes, torch.tensor([[False, False]]))
    assert (nothing == -1).all()


def test_assignment_by_iou_keeps_each_objects_best_anchor():
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0], [30.0, 30.0, 32.0, 32.0]]])
    owner = detection.assign_iou(ANCHORS, boxes, torch.tensor([[True, True]]))
    assert owner[0, 9] == 0 and (owner == 1).any()
    assert (owner == -2).any() or ((owner >= -1).all())


def test_quality_focal_is_zero_at_its_target_and_focal_weights_easy_ones_down():
    logits = torch.tensor([[0.3, -2.0]])
    assert detection.quality_focal(logits, logits.sigmoid()).abs().max() < 1e-12
    hard, easy = detection.focal(torch.tensor([[0.0], [5.0]]), torch.ones(2, 1)).flatten()
    plain = F.binary_cross_entropy_with_logits(torch.tensor([5.0]), torch.ones(1))
    assert easy < 0.01 * plain < hard


def test_distribution_focal_is_least_when_the_mean_is_the_target():
    target = torch.tensor([1.25])
    right = torch.log(torch.tensor([[1e-6, 0.75, 0.25, 1e-6]]))
    assert detection.distribution_focal(right, target) < detection.distribution_focal(right.flip(1), target)
    assert detection.expected_distance(right.repeat(1, 4), 4)[0].tolist() == pytest.approx([1.25] * 4, abs=1e-4)


def test_trunk_and_pyramid_have_the_strides_they_say():
    trunk = detection.SmallTrunk((8, 12, 16))
    features = detection.Pyramid(trunk.widths, 8, 1, 4)(trunk(torch.zeros(1, 3, 64, 64)))
    assert [tuple(f.shape[1:]) for f in features] == [(8, 16, 16), (8, 8, 8), (8, 4, 4), (8, 2, 2)]
