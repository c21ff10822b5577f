"""Pictures of the photos world: same item whatever the batch, disjoint splits, the statistics that the config promises."""

import dataclasses

import pytest
import torch

from vislab.cards import SPLIT_SIZE, SPLITS
from vislab.worlds.base import absolute
from vislab.worlds.photos import REAL, PhotosConfig, PhotosWorld, photograph

KINDS = ("leaves", "texture", "real")
each_kind = pytest.mark.parametrize("kind", KINDS)


def world(kind="leaves", seed=0, **changes):
    return PhotosWorld(PhotosConfig(kind=kind, **{"image_size": 32, **changes}), seed)


@each_kind
def test_an_item_is_the_same_whatever_the_batch(kind):
    indices = absolute("train", torch.tensor([5, 0, 3, 900_000]))
    together = world(kind).sample(indices)
    for k, index in enumerate(indices):
        alone = world(kind).sample(index[None])
        assert torch.allclose(together.linear[k], alone.linear[0], atol=1e-5)
        assert (together.labels[k] != alone.labels[0]).float().mean() <= 1e-3


@each_kind
def test_another_index_or_seed_gives_another_picture(kind):
    first = world(kind).sample(torch.tensor([0, 1])).linear
    assert not torch.allclose(first[0], first[1], atol=0.01)
    assert not torch.allclose(first, world(kind, seed=1).sample(torch.tensor([0, 1])).linear, atol=0.01)


@each_kind
def test_pictures_are_linear_srgb_in_range(kind):
    sample = world(kind).sample(torch.arange(8))
    assert sample.linear.shape == (8, 3, 32, 32) and sample.labels.shape == (8, 32, 32)
    assert sample.linear.min() >= 0 and sample.linear.max() <= 1
    assert sample.linear.std(dim=(-2, -1)).mean() > 0.02


@each_kind
def test_splits_do_not_overlap(kind):
    pictures = [world(kind).sample(absolute(split, torch.arange(3))).linear for split in SPLITS]
    for a in range(3):
        for b in range(a):
            assert (pictures[a][:, None] - pictures[b][None]).abs().mean(dim=(-3, -2, -1)).min() > 0.01


def test_an_index_outside_its_split_is_refused():
    for index in (-1, SPLIT_SIZE):
        with pytest.raises(ValueError, match="lie in"):
            absolute("test", torch.tensor([index]))


def test_the_data_set_gives_the_items_of_its_range():
    items = world().dataset(10, 3)
    assert len(items) == 3
    assert torch.allclose(items[2]["linear"], world().sample(torch.tensor([12])).linear[0], atol=1e-5)
    with pytest.raises(IndexError):
        items[3]


def test_without_texture_a_leaf_has_one_colour():
    sample = world(texture=0.0, image_size=64).sample(torch.tensor([0]))
    image, labels = sample.linear[0], sample.labels[0]
    interior = torch.nn.functional.max_pool2d(labels[None].float(), 5, 1, 2)[0] == labels
    interior &= -torch.nn.functional.max_pool2d(-labels[None].float(), 5, 1, 2)[0] == labels
    # a leaf outside the picture may tint the border without being seen there
    interior &= torch.nn.functional.pad(torch.ones(60, 60, dtype=torch.bool), (2, 2, 2, 2))
    seen = [int(label) for label in labels[interior].unique() if (labels[interior] == label).sum() > 20]
    assert len(seen) >= 3
    for label in seen:
        assert image[:, interior & (labels == label)].std(dim=1).max() < 1e-4


def test_no_saturation_gives_grey_pictures():
    image = world(saturation=0.0).sample(torch.arange(4)).linear
    assert torch.allclose(image, image[:, :1].expand_as(image), atol=1e-5)
    assert world(saturation=1.0).sample(torch.arange(4)).linear.std(dim=1).mean() > 0.05


def test_a_later_leaf_hides_an_earlier_one():
    config = dataclasses.replace(PhotosConfig(), image_size=48, leaves=400, smallest=0.2, largest=0.5)
    labels = PhotosWorld(config).sample(torch.arange(4)).labels
    assert labels.min() > 0 and labels.float().mean() > 300


def test_texture_is_one_over_frequency():
    slope, n = 1.0, 64
    image = world("texture", image_size=n, slope=slope, texture=0.1).sample(torch.arange(64)).linear[:, 0]
    power = torch.fft.rfft2(image.log() - image.log().mean(dim=(-2, -1), keepdim=True)).abs().square().mean(dim=0)
    frequency = torch.hypot(torch.fft.fftfreq(n)[:, None], torch.fft.rfftfreq(n)[None, :])
    band = (frequency > 2 / n) & (frequency < 0.4)
    x, y = frequency[band].log(), power[band].log()
    fitted = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert fitted == pytest.approx(-2 * slope, abs=0.15)


def test_texture_has_the_strength_that_the_config_says():
    image = world("texture", texture=0.1).sample(torch.arange(16)).linear[:, 1]
    assert torch.allclose(image.log().std(dim=(-2, -1), correction=0), torch.tensor(0.1), atol=2e-3)


def test_photographs_ship_and_no_file_is_in_two_splits():
    names = [name for files in REAL.values() for name in files]
    assert len(set(names)) == len(names)
    assert {name.split("/")[1].split(".")[0] for name in REAL["test"]} == {"coffee", "china", "grace_hopper"}
    for name in names:
        image = photograph(name)
        assert image.shape[0] == 3 and min(image.shape[1:]) >= 300
        assert image.min() >= 0 and image.max() <= 1


def test_a_missing_photograph_says_its_name():
    with pytest.raises(FileNotFoundError, match="nothing"):
        photograph("skimage/nothing.png")


@pytest.mark.parametrize("split", SPLITS)
def test_crops_come_from_the_files_of_their_split(split):
    sample = world("real").sample(absolute(split, torch.arange(24)))
    assert {int(label[0, 0]) for label in sample.labels} == set(range(len(REAL[split])))
    for k, file in enumerate(REAL[split]):
        source = photograph(file)
        crops = sample.linear[sample.labels[:, 0, 0] == k]
        assert crops.amax(dim=(0, 2, 3)).le(source.amax(dim=(1, 2)) + 1e-5).all()
        assert crops.amin(dim=(0, 2, 3)).ge(source.amin(dim=(1, 2)) - 1e-5).all()


def test_a_crop_is_a_piece_of_its_photograph():
    """An area average of a crop equals the mean of the pixels that it covers; found by searching the integral image."""
    sample = world("real", image_size=300).sample(absolute("validation", torch.tensor([0])))
    source = photograph(REAL["validation"][0])
    crop = sample.linear[0]
    candidates = (crop, crop.flip(-1))
    best = min(
        float((source[:, top : top + side, left : left + side].mean(dim=(1, 2)) - c.mean(dim=(1, 2))).abs().max())
        for c in candidates
        for side in range(300, min(source.shape[1:]) + 1, 4)
        for top in range(0, source.shape[1] - side + 1, 16)
        for left in range(0, source.shape[2] - side + 1, 16)
    )
    assert best < 0.01
