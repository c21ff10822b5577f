"""HyperReel: samples sorted and in front, gates closed at the start, flow exact, volume growth, readers."""

import dataclasses

import pytest
import torch

from vislab.cards import resolve
from vislab.datasets import multiview
from vislab.errors import UserError
from vislab.ops import counter
from vislab.papers.fields.hyperreel import data, experiment, train
from vislab.papers.fields.hyperreel.card import DATASETS, PAPER, PROFILES
from vislab.papers.fields.hyperreel.model import build, eased
from vislab.papers.fields.hyperreel.volume import Volume

SMOKE = PROFILES["smoke"]
VIDEO = resolve(PAPER, "smoke", "video")


def make(config, seed=0):
    with counter.scope(seed, "init", "test"):
        return build(config)


def some(config, count=40):
    items = data.batch(config, "train", 0, torch.arange(count) * 31)
    return items["origin"], items["direction"], items["time"]


def test_samples_are_sorted_in_front_and_on_the_ray_at_the_start():
    model = make(SMOKE)
    model.step = 0
    found = model(*some(SMOKE))
    origin, direction, _ = some(SMOKE)
    assert torch.all(found["distance"].diff(dim=-1) >= 0) and torch.all(found["distance"] >= 0)
    assert torch.all(found["distance_gate"] == 1) and torch.all(found["offset_gate"] == 1)
    on_ray = origin[:, None] + direction[:, None] * found["distance"][..., None]
    assert torch.allclose(found["points"], on_ray, atol=1e-5)
    planes = torch.linspace(-1, 1, SMOKE.samples)
    hit = found["distance"][:, 1:] > 0
    assert torch.allclose(found["points"][:, 1:, 2][hit], planes[1:].expand(40, -1)[hit], atol=1e-4)


def test_open_gates_let_points_leave_the_ray_and_arms_say_so():
    model = make(dataclasses.replace(SMOKE, gate="open"))
    for layer in model.network.mlp.layers:
        torch.nn.init.normal_(layer.weight, std=0.5, generator=torch.Generator().manual_seed(0))
    origin, direction, time = some(SMOKE)
    found = model(origin, direction, time)
    on_ray = origin[:, None] + direction[:, None] * found["distance"][..., None]
    away = (found["points"] - on_ray).abs().amax()
    assert 0.01 < away <= SMOKE.offset_scale * 1.001
    stays = make(dataclasses.replace(SMOKE, gate="open", offsets=False))
    stays.load_state_dict(model.state_dict())
    kept = stays(origin, direction, time)
    assert torch.allclose(kept["points"], origin[:, None] + direction[:, None] * kept["distance"][..., None], atol=1e-5)


def test_easing_is_linear_and_waits():
    value = torch.tensor(0.2)
    assert float(eased(value, 1.0, 10, 10, 20)) == 1.0
    assert float(eased(value, 1.0, 20, 10, 20)) == pytest.approx(0.6)
    assert float(eased(value, 1.0, 30, 10, 20)) == pytest.approx(0.2)


def test_unsorted_distances_would_composite_wrongly():
    from vislab.ops.volume import compositing_weights, intervals

    density, distance = torch.tensor([[5.0, 5.0]]), torch.tensor([[1.0, 2.0]])
    right = compositing_weights(density, intervals(distance))
    wrong = compositing_weights(density.flip(1), intervals(distance.flip(1)))
    assert not torch.allclose(right, wrong.flip(1))


def test_colour_scale_and_shift_act_on_samples_before_compositing():
    model = make(SMOKE).eval()
    plain = make(dataclasses.replace(SMOKE, colour_transform=False)).eval()
    plain.load_state_dict(model.state_dict())
    rays = some(SMOKE)
    with torch.no_grad():
        found, base = model(*rays), plain(*rays)
        expected = base["rgb"]
        weights = found["weights"][..., None]
        assert torch.allclose(found["weights"], base["weights"])
        scaled = (weights * found["colour_shift"]).sum(1)
        model.network.mlp.layers[-1].weight.zero_()
        model.network.mlp.layers[-1].bias.zero_()
        assert torch.allclose(model(*rays)["rgb"], plain_of(model)(*rays)["rgb"])
    assert scaled.abs().max() > 0 and not torch.allclose(found["rgb"], expected)


def plain_of(model):
    other = make(dataclasses.replace(model.config, colour_transform=False)).eval()
    other.load_state_dict(model.state_dict())
    return other


def test_every_frame_is_answered_by_its_nearest_keyframe():
    model = make(dataclasses.replace(VIDEO, frames=8, keyframes=2))
    time = torch.arange(8) / 7
    base = model.nearest_keyframe(time)
    keys = torch.unique(base)
    assert len(keys) == 2
    assert torch.equal((time[:, None] - keys).abs().argmin(1), (base[:, None] - keys).abs().argmin(1))
    place = model.volume.time_coordinate(keys)
    assert torch.allclose(place.diff(), torch.tensor([1.0]), atol=1e-5)


def test_true_flow_carries_a_moving_point_to_its_keyframe():
    model = make(dataclasses.replace(VIDEO, offsets=False, gate="open"))
    velocity = torch.tensor([0.1, -0.05, 0.0])
    last = model.network.mlp.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        bias = last.bias.view(VIDEO.samples, -1)
        bias[:, 1:4] = velocity / VIDEO.flow_scale
    # a surface point that moves with the velocity, seen by a ray that moves along with it, lands on one canonical point
    origin, direction, _ = some(VIDEO)
    landed = []
    for t in (0.0, 0.1):
        found = model(origin - t * velocity, direction, torch.full((len(origin),), t))
        assert torch.all(found["base_time"] == 0)
        landed.append(found["points"])
    assert torch.allclose(landed[0], landed[1], atol=1e-5)


def test_growth_keeps_what_the_volume_says():
    for kind, config in (
        ("static", SMOKE),
        ("keyframe", VIDEO),
        ("per_frame", resolve(PAPER, "smoke", "video_frames")),
    ):
        with counter.scope(0, "init", kind):
            volume = Volume(config, (5, 6, 7))
        point, time = torch.linspace(-0.8, 0.8, 90).view(30, 3), torch.zeros(30)
        kept = {n: id(p) for n, p in volume.named_parameters()}
        for parameter in volume.parameters():
            parameter.data.fill_(0.3)
        before = volume.density_feature(point, time)
        volume.grow((9, 11, 13))
        assert volume.grid == (9, 11, 13) and kept == {n: id(p) for n, p in volume.named_parameters()}
        assert torch.allclose(volume.density_feature(point, time), before, atol=1e-5)


def test_the_occupancy_grid_skips_what_is_empty_and_nothing_else():
    config = dataclasses.replace(SMOKE, components=(1, 0, 0))
    with counter.scope(0, "init", "occupancy"):
        volume = Volume(config, (16, 16, 16))
    with torch.no_grad():
        volume.density_space[0].fill_(0.0)
        volume.density_space[0][:, :, :, 8:] = 1.0
        volume.density_time[0].fill_(1.0)
    volume.update_occupancy(0.001)
    points = torch.tensor([[[-1.5, 0.0, 0.0], [1.5, 0.0, 0.0]]])
    assert volume.valid(points, torch.ones(1, 2)).tolist() == [[False, True]]
    outside = torch.tensor([[[3.0, 0.0, 0.0], [1.5, 0.0, 0.0]]])
    assert volume.valid(outside, torch.tensor([[1.0, 0.0]])).tolist() == [[False, False]]


def test_schedule_reaches_the_last_grid_and_training_uses_it(cpu):
    plan = train.schedule(SMOKE)
    assert list(plan.values())[-1] == SMOKE.grid_last
    state = train.train(dataclasses.replace(SMOKE, steps=6), 0, cpu)
    assert state.network.volume.grid == SMOKE.grid_last


def test_regularisers_stop_and_are_in_the_loss(cpu):
    config = dataclasses.replace(SMOKE, steps=10)
    state = train.begin(config, 0, cpu)
    items = data.batch(config, "train", 0, torch.arange(64))
    early = train.step(state, items)
    assert early["loss"] > early["colour"]
    state.step = 9
    late = train.step(state, items)
    assert late["loss"] == late["colour"]


def test_held_out_cameras_are_not_trained_on():
    everyone = data.cameras(SMOKE, "train", 0).centre
    for split in ("test", "validation", "outside"):
        gaps = torch.cdist(data.cameras(SMOKE, split, 0).centre, everyone)
        assert gaps.min() > 1e-3
    beyond = data.cameras(SMOKE, "outside", 0).centre[:, :2].abs()
    assert torch.all(beyond > SMOKE.reach)


def test_rays_by_index_walk_pixels_then_views_then_frames():
    side = VIDEO.image_size
    index = torch.tensor([0, 1, side * side, 4 * side * side])
    items = data.batch(VIDEO, "test", 0, index)
    assert torch.equal(items["origin"][0], items["origin"][1]) and not torch.equal(
        items["origin"][0], items["origin"][2]
    )
    assert items["time"].tolist() == pytest.approx([0, 0, 0, 1 / 7])


def test_bytes_a_frame_shrink_with_keyframes(cpu):
    sizes = {}
    for arm in ("video", "video_frames", "keyframes8"):
        config = resolve(PAPER, "smoke", arm)
        sizes[arm] = experiment.stored_bytes(make(config), config)
    assert sizes["video"] < sizes["keyframes8"] < sizes["video_frames"]


@pytest.mark.parametrize(("kind", "dataset"), list(zip(("technicolor", "neural3d", "donerf"), DATASETS, strict=True)))
def test_readers_read_back_and_name_faults(tmp_path, kind, dataset):
    multiview.write_sample(tmp_path, kind)
    items = multiview.read(dataset, tmp_path, kind, "train", torch.arange(40))
    assert items["origin"].shape == (40, 3) and torch.allclose(
        items["direction"].norm(dim=-1), torch.ones(40), atol=1e-5
    )
    assert torch.all(items["direction"][:, 2].abs() > 0.5)
    assert items["rgb"][0].tolist() == pytest.approx([items["rgb"][0, 0].item(), 100 / 255, 50 / 255], abs=1e-3)
    test = multiview.read(dataset, tmp_path, kind, "test", torch.arange(4))
    assert len(test["rgb"]) == 4
    for cached in (multiview._image, multiview._technicolor, multiview._neural3d, multiview._donerf):
        cached.cache_clear()
    picture = sorted(tmp_path.rglob("*.png"))[0]
    content = picture.read_bytes()
    picture.write_bytes(content[:20])
    with pytest.raises(UserError, match="cannot be read"):
        multiview._image(dataset, picture)
    head = {"technicolor": "cameras_parameters.txt", "neural3d": "poses_bounds.npy", "donerf": "dataset_info.json"}[
        kind
    ]
    (tmp_path / "scene" / head).unlink()
    with pytest.raises(UserError, match=head):
        multiview.read(dataset, tmp_path, kind, "train", torch.arange(2))


def test_an_empty_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    (tmp_path / "technicolor").mkdir()
    with pytest.raises(UserError, match="Technicolor light-field video is not at"):
        data.batch(PROFILES["paper"], "train", 0, torch.arange(2))
