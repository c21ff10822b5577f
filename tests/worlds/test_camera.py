"""The RAW camera: exact without noise, noise of the stated model, a truth at every stage that agrees with the others."""

import dataclasses

import pytest
import torch

from vislab.ops import counter
from vislab.ops.bayer import mosaic, pack, unpack
from vislab.worlds.base import absolute
from vislab.worlds.camera import (
    COLOUR_MATRIX,
    GAINS,
    CameraConfig,
    CameraWorld,
    camera_from_linear,
    develop,
    linear_from_camera,
    matrix,
    poisson,
    render,
    tone,
)
from vislab.worlds.photos import PhotosConfig

each_pattern = pytest.mark.parametrize("pattern", sorted(COLOUR_MATRIX))


def camera(pattern="bayer", seed=0, kind="leaves", image_size=24, **changes):
    photos = PhotosConfig(image_size=image_size, kind=kind)
    return CameraWorld(CameraConfig(photos=photos, pattern=pattern, **changes), seed)


def grey(value, count=1, side=48):
    return torch.full((count, 3, side, side), float(value))


@each_pattern
@pytest.mark.parametrize("kind", ["leaves", "real"])
def test_an_item_is_the_same_whatever_the_batch(pattern, kind):
    world = camera(pattern, kind=kind)
    indices = absolute("train", torch.tensor([7, 0, 3]))
    together = world.sample(indices)
    for k, index in enumerate(indices):
        alone = world.sample(index[None])
        for field in dataclasses.fields(alone):
            mine, other = getattr(together, field.name)[k], getattr(alone, field.name)[0]
            assert mine.shape == other.shape
            # rounding to digital numbers may turn a last bit of the scene into one count
            assert ((mine - other).abs() > 1e-5).float().mean() <= 1e-3, field.name


def test_splits_and_seeds_give_other_shots():
    shots = [camera(seed=s).sample(absolute(p, torch.arange(2))) for s, p in ((0, "train"), (0, "test"), (1, "train"))]
    for first, second in ((0, 1), (0, 2)):
        assert (shots[first].linear - shots[second].linear).abs().mean() > 0.02
        assert (shots[first].gains - shots[second].gains).abs().max() > 1e-3


@each_pattern
def test_without_noise_the_input_is_the_clean_mosaic(pattern):
    shot = camera(pattern, noise="none").sample(torch.arange(4))
    assert torch.allclose(shot.noisy, shot.clean, atol=2e-4)


@each_pattern
def test_the_stages_agree(pattern):
    shot = camera(pattern).sample(torch.arange(4))
    colour = camera_from_linear(shot.linear, shot.gains, pattern)
    assert torch.allclose(shot.clean, pack(mosaic(colour, pattern), pattern), atol=1e-6)
    assert torch.allclose(linear_from_camera(colour, shot.gains, pattern), shot.linear, atol=1e-5)
    assert torch.equal(shot.srgb, render(shot.linear))


@each_pattern
def test_a_flat_scene_develops_to_its_reference(pattern):
    world = camera(pattern, noise="none")
    linear = torch.tensor([0.6, 0.3, 0.1])[None, :, None, None].expand(2, 3, 24, 24)
    shot = world.expose(linear, torch.arange(2))
    assert torch.allclose(develop(unpack(shot.clean, pattern), shot.gains, pattern), shot.srgb, atol=1e-5)


@each_pattern
def test_no_colour_of_a_scene_is_clipped_by_the_sensor(pattern):
    corners = torch.cartesian_prod(*(torch.tensor([0.0, 1.0]),) * 3).T.reshape(1, 3, 2, 4)
    # the smallest gains that a shot can have
    width = CameraConfig().white_balance_jitter
    gains = torch.tensor(GAINS[pattern]) * torch.tensor([-width, 0.0, -width]).exp()
    colour = camera_from_linear(corners, gains[None], pattern)
    assert colour.min() >= -1e-6 and colour.max() <= 1 + 1e-6


@each_pattern
def test_the_colour_matrix_mixes_channels_and_keeps_grey(pattern):
    found = matrix(pattern)
    assert torch.allclose(found.sum(dim=1), torch.ones(3), atol=1e-6)
    assert (found - torch.eye(3)).abs().max() > 0.3
    assert not torch.equal(matrix("bayer"), matrix("xtrans"))


def test_the_tone_curve_is_monotone_with_fixed_ends():
    x = torch.linspace(0, 1, 200)
    y = tone(x)
    assert y[0] == 0 and y[-1] == pytest.approx(1) and (y.diff() > 0).all() and (y - x).abs().max() > 0.01


@pytest.mark.parametrize("rate", [0.0, 0.05, 1.0, 6.0, 19.0, 25.0, 200.0])
def test_photon_counts_are_poisson(rate):
    items = torch.arange(40_000)
    u, z = counter.uniform(0, "evaluate", items, "u"), counter.normal(0, "evaluate", items, "z")
    counts = poisson(torch.full((40_000,), rate), u, z)
    assert torch.equal(counts, counts.round()) and counts.min() >= 0
    assert float(counts.mean()) == pytest.approx(rate, rel=0.02, abs=0.01)
    assert float(counts.var()) == pytest.approx(rate, rel=0.05, abs=0.01)
    if rate == 1.0:
        assert float((counts == 0).float().mean()) == pytest.approx(0.3679, abs=0.01)


@pytest.mark.parametrize("ratio", [100.0, 300.0])
@pytest.mark.parametrize("level", [0.05, 0.8])
def test_noise_variance_is_shot_plus_read_plus_row_plus_rounding(ratio, level):
    config = CameraConfig(photos=PhotosConfig(image_size=48))
    world = CameraWorld(config)
    count = 60
    shot = world.expose(grey(level, count), torch.arange(count), torch.full((count,), ratio))
    white = 2**config.bits - 1
    per_electron = (white - config.black_level) / config.full_well
    signal = unpack(shot.clean, "bayer") * config.full_well / ratio
    error = (shot.numbers - config.black_level) / per_electron - signal
    expected = float(signal.mean()) + config.read_noise**2 + config.row_noise**2 + 1 / 12 / per_electron**2
    assert float(error.var()) == pytest.approx(expected, rel=0.03)
    assert abs(float(error.mean())) < 0.05
    assert torch.equal(shot.numbers, shot.numbers.round())


def test_a_row_shares_its_offset():
    world = camera(image_size=48, read_noise=0.0, row_noise=3.0)
    shot = world.expose(grey(0, 40), torch.arange(40), torch.full((40,), 100.0))
    rows = shot.numbers.mean(dim=2)
    assert shot.numbers.std(dim=2).max() == 0
    per_electron = (2**14 - 1 - 512) / 6000
    assert float(rows.std()) / per_electron == pytest.approx(3.0, rel=0.05)


def test_noise_is_independent_between_photosites_in_raw_and_mixed_after_the_colour_transform():
    world = camera(image_size=96, row_noise=0.0)
    shot = world.expose(grey(0.5, 40, 96), torch.arange(40), torch.full((40,), 250.0))
    tiles = shot.noisy[:, [0, 1, 3]]
    noise = tiles - tiles.mean(dim=(-2, -1), keepdim=True)
    raw = torch.corrcoef(noise.transpose(0, 1).flatten(1))
    assert (raw - torch.eye(3)).abs().max() < 0.015
    developed = linear_from_camera(tiles, shot.gains, "bayer")
    developed = developed - developed.mean(dim=(-2, -1), keepdim=True)
    mixed = torch.corrcoef(developed.transpose(0, 1).flatten(1))
    assert (mixed - torch.eye(3)).abs().max() > 0.3


def test_negatives_stay_and_the_top_is_clipped():
    shot = camera().sample(torch.arange(16))
    assert shot.noisy.min() < 0 and shot.noisy.max() <= 1
    bright = camera().expose(grey(1.0, 4), torch.arange(4), torch.full((4,), 300.0))
    assert bright.noisy.max() == 1


def test_ratios_and_white_balance_vary_from_shot_to_shot():
    shot = camera(image_size=6).sample(torch.arange(400))
    assert set(shot.ratio.tolist()) == {100.0, 250.0, 300.0}
    change = (shot.gains / torch.tensor(GAINS["bayer"])).log()
    assert torch.equal(change[:, 1], torch.zeros(400))
    for k in (0, 2):
        assert 0.08 < change[:, k].max() <= 0.1 + 1e-6 and -0.1 - 1e-6 <= change[:, k].min() < -0.08
    assert torch.corrcoef(change[:, [0, 2]].T)[0, 1].abs() < 0.2


def test_a_given_ratio_changes_the_noise_alone():
    world = camera(noise="full")
    scene = world.sample(torch.arange(2))
    low, high = (world.expose(scene.linear, torch.arange(2), torch.full((2,), r)) for r in (50.0, 300.0))
    assert torch.equal(low.srgb, high.srgb) and torch.equal(low.clean, high.clean)
    assert (high.noisy - high.clean).std() > 1.5 * (low.noisy - low.clean).std()


@each_pattern
def test_shapes_of_both_cameras(pattern):
    shot = camera(pattern).sample(torch.arange(2))
    channels, side = {"bayer": (4, 12), "xtrans": (9, 8)}[pattern]
    assert shot.noisy.shape == shot.clean.shape == (2, channels, side, side)
    assert shot.numbers.shape == (2, 24, 24) and shot.srgb.shape == (2, 3, 24, 24)


def test_a_size_that_does_not_fit_the_tile_is_refused():
    with pytest.raises(ValueError, match="no multiple of 3"):
        camera("xtrans", image_size=64)


def test_the_data_set_gives_single_shots():
    world = camera()
    item = world.dataset(5, 2)[1]
    shot = world.sample(torch.tensor([6]))
    assert torch.allclose(item["noisy"], shot.noisy[0], atol=1e-5) and item["ratio"] == shot.ratio[0]
