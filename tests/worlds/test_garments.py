"""Garments: the same item whatever the batch, sets shown by panels, sets kept from training, factors that change what they name."""

import dataclasses

import pytest
import torch

from vislab.cards import SPLITS
from vislab.worlds.shapes.garments import ATTRIBUTES, CLASSES, PANELS, GarmentsConfig, GarmentsWorld, class_sets

SMALL = GarmentsConfig(image_size=24)


def names_of(held):
    return {tuple(row.nonzero()[:, 0].tolist()) for row in held.reshape(-1, CLASSES)}


def test_an_item_is_the_same_whatever_the_batch():
    world = GarmentsWorld(SMALL, 0)
    together, alone = world.sample(torch.arange(5)), world.sample(torch.tensor([3]))
    assert torch.equal(together.held[3:4], alone.held) and torch.equal(together.panel[3:4], alone.panel)
    assert torch.allclose(together.image[3:4], alone.image, atol=1e-5)
    assert not torch.equal(GarmentsWorld(SMALL, 1).sample(torch.arange(5)).image, together.image)


def test_panels_show_the_classes_that_are_held_and_no_others():
    held, panel = GarmentsWorld(SMALL, 0).sets(torch.arange(500))
    shown = torch.zeros_like(held).scatter_(2, panel, torch.ones_like(panel, dtype=torch.bool))
    assert torch.equal(shown, held)
    assert held.sum(dim=2).unique().tolist() == [1, 2, 3]
    assert names_of(GarmentsWorld(dataclasses.replace(SMALL, most=1), 0).sets(torch.arange(200))[0]) == {
        (k,) for k in range(CLASSES)
    }


def test_some_sets_of_several_classes_never_occur_in_training():
    world = GarmentsWorld(SMALL, 0)
    trained = names_of(world.sets(torch.arange(4000))[0])
    tested = names_of(world.sets(SPLITS["test"] + torch.arange(4000))[0])
    assert trained == set(class_sets(3, seen=True)) and tested == set(class_sets(3))
    new = tested - trained
    assert new and all(len(members) > 1 for members in new)
    assert set().union(*new) == set(range(CLASSES)), "every class occurs in a set that is new"


@pytest.mark.parametrize("attribute", range(len(ATTRIBUTES)))
def test_an_attribute_changes_its_own_panel_alone(attribute):
    world, index = GarmentsWorld(dataclasses.replace(SMALL, image_size=48), 0), torch.tensor([7])
    panel = torch.ones(1, len(ATTRIBUTES), PANELS, dtype=torch.int64)
    other = panel.clone()
    other[0, attribute, 2] = 3
    (image, mask), (changed, after) = world._draw(index, panel), world._draw(index, other)
    rows = (image - changed).abs().sum(dim=(0, 1, 3)) > 1e-5
    touched = (mask | after)[0].any(dim=2)
    assert rows.any() and not (rows & ~touched[2]).sum() > 2, "pixels away from the lowest panel have changed"
    assert torch.equal(mask, after) == (attribute != 0), "only the silhouette moves the mask"


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="1 to 3"):
        GarmentsWorld(GarmentsConfig(most=4))
