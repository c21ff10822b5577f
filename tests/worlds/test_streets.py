"""Streets from the air: the same item whatever its batch, exact boxes, altitude and density, look-alikes by context."""

import pytest
import torch

from vislab.worlds.streets.aerial import AerialConfig, AerialWorld

CONFIG = AerialConfig()


def test_an_item_is_the_same_whatever_its_batch():
    world = AerialWorld(CONFIG, 3)
    many, alone = world.sample(torch.tensor([5, 900, 2_000_001, 17])), world.sample(torch.tensor([2_000_001]))
    assert torch.equal(many.labels[2:3], alone.labels) and torch.allclose(many.image[2:3], alone.image, atol=1e-5)
    assert torch.allclose(many.boxes[2:3], alone.boxes, atol=1e-4)


def test_boxes_are_tight_around_what_is_drawn():
    quiet = AerialWorld(AerialConfig(noise=0.0, image_size=96, image_width=96), 0)
    index = torch.arange(12)
    full = quiet.sample(index, density=torch.full((12,), 0.25))
    assert (full.labels >= 0).sum() > 20
    # the same ground without anything on it: the difference is what stands there (trees are among it)
    empty = quiet.sample(index, density=torch.zeros(12))
    changed = (full.image - empty.image).abs().amax(dim=1) > 0.02
    checked = 0
    for image, boxes, labels in zip(changed, full.boxes, full.labels, strict=True):
        for x0, y0, x1, y1 in boxes[labels >= 0].tolist():
            if min(x0, y0) < 4 or max(x1, y1) > 92:
                continue
            around = image[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1]
            rows, columns = around.any(dim=1).nonzero().flatten(), around.any(dim=0).nonzero().flatten()
            if not len(rows):
                continue  # as dark as the ground
            checked += 1
            assert len(rows) >= 0.5 * (y1 - y0) - 1 and len(columns) >= 0.5 * (x1 - x0) - 1
    assert checked > 10


def test_higher_up_things_are_smaller_and_more():
    world, index = AerialWorld(CONFIG, 0), torch.arange(40)
    low = world.sample(index, scale=torch.full((40,), 0.3), density=torch.full((40,), 0.4))
    high = world.sample(index, scale=torch.full((40,), 0.7), density=torch.full((40,), 0.4))
    assert (high.labels >= 0).sum() > 2 * (low.labels >= 0).sum()

    def side(found):
        return (found.boxes[..., 2:] - found.boxes[..., :2])[found.labels >= 0].amax(dim=-1).median()

    assert side(high) < 0.7 * side(low)


def test_density_sets_the_foreground():
    world, index = AerialWorld(CONFIG, 0), torch.arange(40)
    few, many = (world.sample(index, density=torch.full((40,), d)).foreground.mean() for d in (0.06, 0.6))
    assert many > 4 * few and many < 0.3


def test_look_alikes_differ_by_their_home_alone():
    from vislab.worlds.streets import aerial

    for a, b in (("car", "container"), ("truck", "shed")):
        a, b = aerial.CLASSES.index(a), aerial.CLASSES.index(b)
        assert aerial._SIZES[a] == aerial._SIZES[b] and aerial._HOMES[a] != aerial._HOMES[b]


def test_places_suffice_for_the_highest_altitude_and_all_classes_appear():
    world = AerialWorld(AerialConfig(image_size=80, image_width=120, classes=10, max_objects=60), 1)
    found = world.sample(torch.arange(60), scale=torch.full((60,), 0.7), density=torch.full((60,), 0.8))
    assert set(found.labels.unique().tolist()) == set(range(-1, 10))
    assert found.boxes[..., 2].max() <= 120 and found.boxes[..., 3].max() <= 80


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match="classes"):
        AerialWorld(AerialConfig(classes=2))


def test_dataset_gives_single_items():
    item = AerialWorld(CONFIG).dataset(10, 2)[1]
    assert item["image"].shape == (3, 64, 64) and item["labels"].shape == (24,)
