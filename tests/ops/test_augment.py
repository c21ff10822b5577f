"""Augmentations: what a crop may show, how often pictures flip, the hole's size."""

import torch

from vislab.ops import counter
from vislab.ops.augment import auto_augment, crop_and_flip


def test_without_padding_a_picture_stays_or_flips():
    images = torch.rand(200, 3, 6, 6)
    with counter.scope(0, "noise", "test"):
        found = crop_and_flip(images, 0)
    same = (found == images).flatten(1).all(1)
    flipped = (found == images.flip(-1)).flatten(1).all(1)
    assert (same | flipped).all() and 60 < int(flipped.sum()) < 140


def test_a_crop_is_a_window_of_the_padded_picture():
    image = torch.arange(1, 26, dtype=torch.float32).reshape(1, 1, 5, 5).expand(300, 3, 5, 5).clone()
    with counter.scope(0, "noise", "test"):
        found = crop_and_flip(image, 2)
    zeros = (found[:, 0] == 0).sum(dim=(1, 2))
    windows = {(5 - abs(a)) * (5 - abs(b)) for a in range(-2, 3) for b in range(-2, 3)}
    assert set((25 - zeros).tolist()) == windows


def test_the_hole_has_half_the_side_and_pictures_are_changed():
    images = (torch.rand(4, 3, 16, 16) - 0.5) / 0.25
    with counter.scope(0, "noise", "test"):
        found = auto_augment(images, (0.5,) * 3, (0.25,) * 3)
    holes = (found == 0).all(dim=1).sum(dim=(1, 2))
    assert found.shape == images.shape and (holes <= 64).all() and (holes >= 16).all()
    assert not torch.equal(found, images)
