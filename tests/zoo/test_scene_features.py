"""The backbone for scene coordinates: other rooms than anybody maps, exact correspondences, features on one scale."""

import pytest
import torch

from vislab import zoo
from vislab.nn.scene_coordinates import Backbone, grey
from vislab.ops import counter
from vislab.papers.geometry.ace import data
from vislab.papers.geometry.ace.card import PROFILES
from vislab.worlds.rooms.views import ViewsConfig, ViewsWorld
from vislab.zoo import scene_features


def test_the_mapped_rooms_are_not_among_those_it_was_trained_on():
    recipe = scene_features.RECIPE
    trained = {(recipe["seed"], recipe["first_room"] + k) for k in range(recipe["rooms"])}
    mapped = [data.views(PROFILES["tutorial"], seed) for seed in (0, 1, 2, 3, 4, 100)]
    assert not trained & {(world.seed, world.room) for world in mapped}
    assert (recipe["seed"], recipe["first_room"] + 500) not in trained  # the room that it is measured in
    layouts = [ViewsWorld(ViewsConfig(), *pair).layout.low for pair in sorted(trained)]
    assert all(not torch.equal(world.layout.low, low) for world in mapped for low in layouts)


def test_points_are_where_the_other_picture_sees_them():
    config = ViewsConfig()
    world = ViewsWorld(config, 0, 7)
    one, two = world.sample(torch.tensor([0, 40])), world.sample(torch.tensor([1, 42]))
    point = one.point[:, :, 4::8, 4::8].flatten(2).transpose(1, 2)
    place, visible = scene_features.seen_from(point, two, config.focal)
    there = torch.nn.functional.grid_sample(two.point, place[:, None], align_corners=False)[:, :, 0].transpose(1, 2)
    off = (there - point).norm(dim=-1)[visible]
    assert visible.float().mean() > 0.3 and off.median() < 0.02 and off.quantile(0.9) < 0.15
    behind = one.centre[:, None] - 2 * (point - one.centre[:, None])
    assert not scene_features.seen_from(behind, one, config.focal)[1].any()


def test_contrast_is_low_only_for_the_right_places():
    features = counter.normal(0, "noise", torch.arange(2), "features", (16, 4, 4))
    chosen = torch.arange(16).expand(2, -1)
    y, x = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    place = ((torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5) / 2 - 1).expand(2, -1, -1)
    visible = torch.ones(2, 16, dtype=torch.bool)
    right = scene_features.contrast(features, features, chosen, place, visible, 0.05)
    assert right < 0.1
    assert scene_features.contrast(features, features, chosen, place.flip(1), visible, 0.05) > 2


def test_standardising_changes_scale_and_nothing_else():
    with counter.scope(0, "init", "backbone"):
        backbone = Backbone((4, 8, 8, 8), 8, (1, 2, 2, 2))
    pictures = counter.normal(0, "noise", torch.arange(6), "pictures", (1, 32, 32))
    before = backbone(pictures)
    after = scene_features.standardised(backbone, pictures)(pictures)
    flat = after.transpose(0, 1).flatten(1)
    assert torch.allclose(flat.mean(dim=1), torch.zeros(8), atol=1e-4)
    assert torch.allclose(flat.std(dim=1), torch.ones(8), atol=1e-3)
    mean, deviation = (f(before.transpose(0, 1).flatten(1), dim=1)[:, None, None] for f in (torch.mean, torch.std))
    assert torch.allclose((before - mean) / deviation, after, atol=1e-3)


def test_features_of_the_shipped_weights_are_on_one_scale():
    backbone = zoo.load("scene_features")
    pictures = grey(ViewsWorld(ViewsConfig(), 0, 8).sample(torch.arange(0, 200, 10)).image)
    features = backbone(pictures).transpose(0, 1).flatten(1)
    assert (
        float(features.std(dim=1).median()) == pytest.approx(1.0, abs=0.3) and features.mean(dim=1).abs().median() < 0.4
    )


def test_training_lowers_both_losses():
    said = []
    recipe = dict(scene_features.RECIPE) | {
        "rooms": 2,
        "frames": 60,
        "steps": 100,
        "points": 24,
        "strides": [2, 2, 2, 2],
    }
    scene_features.train(
        recipe | {"widths": [4, 8, 8, 8], "features": 8, "head_width": 8}, torch.device("cpu"), said.append
    )
    (line,) = said
    assert float(line.rsplit(" ", 1)[1]) < 3.6  # the logarithm of about 40 points
