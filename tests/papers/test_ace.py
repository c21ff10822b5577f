"""What makes ACE itself: exact augmentation, the shuffled buffer, a frozen backbone, the clamp's schedule, poses from coordinates."""

import dataclasses
import math

import pytest
import torch

from vislab.cards import resolve
from vislab.errors import UserError
from vislab.ops import counter
from vislab.ops.reprojection import cells, errors
from vislab.papers.geometry.ace import data, experiment, train
from vislab.papers.geometry.ace.card import PAPER, PROFILES, TARGET_RATE, slower
from vislab.papers.geometry.ace.model import build

SMOKE = PROFILES["smoke"]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def test_augmentation_keeps_poses_and_focal_lengths_exact():
    """Surface points, coded as a picture, project through the new pose and focal length to where the new picture shows them."""
    config = dataclasses.replace(PROFILES["paper"], source="world", focal=80.0, image_size=96, jitter=0.0)
    found = data.views(config, 0).sample(torch.arange(6))
    coded = []
    for k in range(3):
        with counter.scope(0, "noise", "augmented"):
            items = {"grey": found.point[:, k : k + 1], "rotation": found.rotation, "centre": found.centre}
            changed, focal, real = data.augmented(items, config)
            coded.append(changed["grey"])
    point = torch.cat(coded, dim=1).flatten(2).transpose(1, 2)
    pixel = cells(96, 128, 1)
    many = point.shape[1]
    rotation, centre = (changed[n].repeat_interleave(many, 0) for n in ("rotation", "centre"))
    error, _, _ = errors(point.flatten(0, 1), pixel.repeat(6, 1), rotation, centre, focal.repeat_interleave(many))
    kept = real.flatten()
    assert 0.4 < kept.float().mean() < 1 and focal.max() / focal.min() > 1.2
    assert error[kept].median() < 0.02 and error[kept].quantile(0.9) < 0.2


def test_middles_of_cells():
    pixel = cells(16, 24, 8)
    assert pixel[0].tolist() == [4 - 12, 4 - 8] and pixel[-1].tolist() == [20 - 12, 12 - 8] and len(pixel) == 6


def test_buffer_mixes_pictures_and_holds_their_features(cpu):
    config = config_of("ace", rotation=0.0, zoom=1.0, jitter=0.0)
    items = data.mapping(config, 0, "cpu")
    state = train.begin(config, 0, cpu, items)
    buffer = train.fill_buffer(state.network.backbone, items, config, 0)
    assert {len(v) for v in buffer.values()} == {config.buffer_items} and buffer["feature"].dtype == torch.float16
    entry = 300
    picture = int((items["centre"] - buffer["centre"][entry]).norm(dim=1).argmin())
    assert torch.allclose(items["rotation"][picture], buffer["rotation"][entry], atol=1e-6)
    features = state.network.backbone(items["grey"][picture : picture + 1]).flatten(2)[0].T
    cell = int((cells(48, 64, 8) - buffer["pixel"][entry]).norm(dim=1).argmin())
    assert torch.allclose(features[cell], buffer["feature"][entry].float(), atol=2e-2)
    shuffled = counter.permutation(0, "batches", torch.tensor([0]), "order", config.buffer_items)[0][:64]
    assert len(buffer["centre"][shuffled].unique(dim=0)) == config.train_items  # a batch sees all mapping pictures


@pytest.mark.parametrize(("arm", "moves"), [("ace", False), ("pictures", False), ("end_to_end", True)])
def test_the_backbone_moves_only_end_to_end(cpu, arm, moves):
    config = config_of(arm, step_factor=1.0)
    items = experiment.prepare(config, 0, cpu)
    before = train.begin(config, 0, cpu, items).network.state_dict()
    after = train.train(config, 0, cpu, items).network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(n.startswith("backbone") for n in moved) == moves and any(n.startswith("head") for n in moved)


def test_cycle_goes_up_and_down_once():
    config = dataclasses.replace(PROFILES["paper"], steps=1000)
    rate = train.cycle(config)
    assert rate(0) == pytest.approx(0.1) and rate(300) == pytest.approx(1.0) and rate(1000) == pytest.approx(1e-5)
    assert rate(150) < rate(299) and rate(301) > rate(700)
    assert train.total_steps(dataclasses.replace(config, step_factor=1.5)) == 1500


def test_the_clamp_falls_by_the_schedule(cpu):
    """The same predictions cost less at the end, when the clamp is small; not with a constant clamp."""
    losses = {}
    for arm in ("ace", "constant"):
        config = config_of(arm, steps=100)
        items = data.mapping(config, 0, "cpu")
        for where in (0, 99):
            state = train.begin(config, 0, cpu, items)
            part = train.fill_buffer(state.network.backbone, items, config, 0)
            state.step = where
            losses[arm, where] = train.step(state, {n: v[:64] for n, v in part.items()})["loss"]
    assert losses["ace", 99] < losses["ace", 0] and losses["constant", 99] == pytest.approx(losses["constant", 0])


def test_pictures_and_buffer_predict_the_same_points(cpu):
    config = config_of("ace", rotation=0.0, zoom=1.0, jitter=0.0)
    items = data.mapping(config, 0, "cpu")
    model = train.begin(config, 0, cpu, items).network
    with torch.no_grad():
        found = train.targets(model, {n: v[:1] for n, v in items.items()}, config)
        feature = model.backbone(items["grey"][:1]).flatten(2)[0].T
        known = {n: found[n] for n in ("pixel", "rotation", "centre", "focal")}
        other = train.targets(model, {"feature": feature} | known, config)
    assert len(found["point"]) == len(feature) and torch.allclose(found["point"], other["point"], atol=1e-4)


class Oracle(torch.nn.Module):
    """A network that knows the scene coordinates."""

    def __init__(self, point, stride):
        super().__init__()
        self.backbone = torch.nn.Module()
        self.backbone.stride = stride
        self.point = point

    def forward(self, grey):
        return self.point


def test_true_coordinates_give_true_poses():
    """Cells' middles lie between pixels; the mean of the four around is the point there on a flat surface."""
    config = dataclasses.replace(PROFILES["tutorial"], test_items=4)
    index = 2_000_000 + torch.arange(4)
    found = data.views(config, 0).sample(index)
    half = found.point[:, :, 3::8, 3::8] + found.point[:, :, 3::8, 4::8] + found.point[:, :, 4::8, 3::8]
    point = (half + found.point[:, :, 4::8, 4::8]) / 4
    rotation, centre, inliers = experiment.relocalise(Oracle(point, 8), torch.zeros(4, 1, 96, 128), config, 0, index)
    items = {"rotation": found.rotation, "centre": found.centre}
    metres, degrees = experiment.pose_errors(rotation, centre, items)
    assert metres.max() < 0.02 and degrees.max() < 0.5 and inliers.min() > 150


def test_rate_counts_both_limits():
    config = dataclasses.replace(SMOKE, within_metres=0.1, within_degrees=5.0)
    found = experiment.summary(torch.tensor([0.05, 0.05, 0.2, 0.01]), torch.tensor([1.0, 9.0, 1.0, 4.0]), config)
    assert found["accuracy_pose"] == 50.0


def test_perfect_retrieval_fails_where_queries_keep_away(cpu):
    config = PROFILES["tutorial"]
    items = {"centre": data.centres(config, 0), "rotation": data.views(config, 0).poses(torch.arange(200))[0]}
    far = {"centre": items["centre"] + 1.0, "rotation": items["rotation"]}
    assert experiment.nearest_frame(items, items, config) == 100.0
    assert experiment.nearest_frame(far, items, config) < 50.0


def test_clusters_cover_all_pictures_once():
    centre = counter.uniform(0, "world", torch.arange(50), "centre", (3,)) * torch.tensor([5.0, 1.0, 0.2])
    groups = train.clusters(centre, 4)
    assert sorted(torch.cat(groups).tolist()) == list(range(50)) and max(map(len, groups)) <= 13
    left, right = train.clusters(centre, 2)
    assert centre[left, 0].max() <= centre[right, 0].min()


def test_ensemble_takes_the_pose_with_most_inliers(cpu):
    config = dataclasses.replace(PROFILES["tutorial"], test_items=2)
    query = experiment.queries(config, "test", 0, "cpu")
    found = data.views(config, 0).sample(2_000_000 + torch.arange(2))
    true = Oracle(found.point[:, :, 4::8, 4::8], 8)
    wrong = Oracle(counter.normal(0, "noise", torch.arange(2), "wrong", (3, 12, 16)), 8)
    for model in (true, wrong):
        model.anchor = torch.nn.Parameter(torch.zeros(1))
    metres, _ = experiment.errors([wrong, true], query, config, 0)
    assert metres.max() < 0.1


def test_time_to_the_rate_never_flatters_ace():
    def seed(ours, short, long):
        names = ("seconds_to_rate", "accuracy_way", "seconds_mapping")
        rows = (ours, short, long)
        return {
            a: dict(zip(names, r, strict=True))
            for a, r in zip(("ace", "end_to_end", "end_to_end_long"), rows, strict=True)
        }

    hit, miss = TARGET_RATE, TARGET_RATE - 1
    assert slower(seed((2.0, hit, 10.0), (10.0, miss, 10.0), (50.0, miss, 50.0))) == pytest.approx(math.log(25))
    assert slower(seed((2.0, hit, 10.0), (8.0, hit, 10.0), (20.0, hit, 50.0))) == pytest.approx(math.log(4))
    assert slower(seed((10.0, miss, 10.0), (10.0, miss, 10.0), (50.0, miss, 50.0))) == 0.0
    assert slower(seed((10.0, miss, 10.0), (5.0, hit, 10.0), (50.0, miss, 50.0))) == pytest.approx(math.log(0.5))


def test_gradients_of_mixed_batches_agree_more(cpu):
    config = config_of("ace")
    items = data.mapping(config, 0, "cpu")
    model = train.begin(config, 0, cpu, items).network
    buffer = train.fill_buffer(model.backbone, items, config, 0)
    mixed, single = experiment.gradient_cosines(model, buffer, items, config, 0)
    assert -1 <= single < mixed <= 1


def test_arms_change_what_they_name():
    assert (
        build(config_of("euclidean")).head.out.out_channels == 3 and build(config_of("ace")).head.out.out_channels == 4
    )
    assert build(config_of("context")).head.last[0].kernel_size == (3, 3)
    method = resolve(PAPER, "tutorial", "ace")
    for arm in PAPER.arms[1:]:
        assert resolve(PAPER, "tutorial", arm.name) != method


def test_missing_backbone_and_scene_are_named(cpu, tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    monkeypatch.setenv("VISLAB_ZOO", str(tmp_path))
    with pytest.raises(UserError, match="7-Scenes is not at"):
        data.batch(PROFILES["paper"], "train", 0, torch.arange(2))
    config = config_of("ace", backbone="released")
    with pytest.raises(UserError, match="ace_encoder_pretrained"):
        train.load_backbone(build(config), config)
    file = tmp_path / train.RELEASED
    file.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="ace_encoder_pretrained.*damaged"):
        train.load_backbone(build(config), config)


def test_seven_scenes_gives_the_same_items_as_the_world(tmp_path, monkeypatch):
    from vislab.datasets import seven_scenes

    seven_scenes.write_sample(tmp_path / "seven_scenes")
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    config = dataclasses.replace(PROFILES["paper"], image_size=48, focal=52.5)
    items = data.batch(config, "train", 0, torch.arange(2))
    assert (
        items["grey"].shape == (2, 1, 48, 64) and items.keys() == data.batch(SMOKE, "train", 0, torch.arange(1)).keys()
    )
    assert items["centre"][1].tolist() == pytest.approx([0.5, 1.0, 1.5])
    assert torch.allclose(data.centres(config, 0)[:2], items["centre"])
