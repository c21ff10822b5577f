"""Segmentation scenes: exact label maps, folds, items by index, skewed shares, single things of other outlines."""

import pytest
import torch

from vislab.worlds.base import absolute
from vislab.worlds.shapes.segments import (
    CLASSES,
    CLUTTER,
    FOLDS,
    FORMS,
    SINGLES,
    SURFACES,
    SegmentsConfig,
    SegmentsWorld,
    novel_classes,
)

PLAIN = SegmentsConfig(clutter=0, noise=0.0, ground=0.0)


@pytest.mark.parametrize("novel", [3, 6])
def test_every_class_is_novel_in_one_fold_and_shares_outline_and_surface_with_base_classes(novel):
    folds = [novel_classes(fold, novel) for fold in range(FOLDS[novel])]
    assert sorted(sum(folds, ())) == list(range(len(CLASSES)))
    for fold in folds:
        base = [CLASSES[k] for k in range(len(CLASSES)) if k not in fold]
        for k in fold:
            assert any(form == CLASSES[k][0] for form, _ in base)
            assert any(surface == CLASSES[k][1] for _, surface in base)


def test_a_fold_that_is_not_there_is_refused():
    for fold, novel in ((4, 3), (2, 6), (0, 4)):
        with pytest.raises(ValueError, match="there is no fold"):
            novel_classes(fold, novel)


def test_labels_are_the_pixels_of_the_things():
    found = SegmentsWorld(PLAIN, 3).sample(torch.arange(40))
    assert found.image.shape == (40, 3, 65, 65) and found.label.shape == (40, 65, 65)
    assert found.label.min() >= 0 and found.label.max() == len(CLASSES)
    for image, label in zip(found.image, found.label, strict=True):
        ground = image[:, label == 0]
        # a flat ground: label 0 has one colour but for the soft edges of things
        flat = (ground - ground.median(dim=1, keepdim=True).values).abs().amax(dim=0) < 0.02
        assert flat.float().mean() > 0.8
        kinds = label.unique()
        assert 2 <= len(kinds) - (kinds == 0).sum() <= 4


def test_items_do_not_depend_on_their_batch_and_splits_differ():
    world = SegmentsWorld(SegmentsConfig(image_size=33), 1)
    many, one = world.sample(torch.arange(6)), world.sample(torch.tensor([4]))
    assert torch.equal(many.label[4:5], one.label) and torch.allclose(many.image[4:5], one.image, atol=1e-5)
    other = world.sample(absolute("test", torch.arange(6)))
    assert not torch.equal(other.label, many.label)
    assert not torch.equal(SegmentsWorld(SegmentsConfig(image_size=33), 2).sample(torch.arange(6)).label, many.label)
    assert torch.equal(world.dataset(0, 6)[4]["label"], one.label[0])


def test_skew_spreads_the_area_unevenly():
    def largest(skew):
        label = SegmentsWorld(SegmentsConfig(image_size=33, skew=skew, clutter=0), 0).sample(torch.arange(80)).label
        areas = torch.nn.functional.one_hot(label.flatten(1), len(CLASSES) + 1).sum(dim=1)[:, 1:].float()
        return float((areas.amax(dim=1) / areas.sum(dim=1)).mean())

    assert largest(1.0) > largest(0.5) > largest(0.0) + 0.05


def test_clutter_is_background():
    plain = SegmentsWorld(SegmentsConfig(clutter=0), 0).sample(torch.arange(8))
    busy = SegmentsWorld(SegmentsConfig(clutter=4), 0).sample(torch.arange(8))
    assert torch.equal(plain.label, busy.label) and not torch.allclose(plain.image, busy.image, atol=0.1)


def test_single_things_have_none_of_the_classes_outlines():
    assert not set(SINGLES) & set(FORMS) and set(CLUTTER) <= set(SINGLES) and len(SURFACES) == 3
    found = SegmentsWorld(SegmentsConfig(image_size=33), 0).singles(torch.arange(200))
    assert found.image.shape == (200, 3, 33, 33)
    assert found.outline.unique().tolist() == list(range(8)) and found.surface.unique().tolist() == list(range(6))


def test_too_many_things_are_refused():
    with pytest.raises(ValueError, match="1 to 4 things"):
        SegmentsWorld(SegmentsConfig(most=5))
