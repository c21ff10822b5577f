"""The main thing among smaller ones."""

import pytest
import torch

from vislab.worlds.shapes.crowd import CLASSES, CrowdConfig, CrowdWorld

WORLD = CrowdWorld(CrowdConfig())
INDEX = torch.arange(200)


def test_truths_cover_their_ranges():
    found = WORLD.sample(INDEX)
    assert set(found.label.tolist()) == set(range(len(CLASSES))) and set(found.count.tolist()) == set(range(5))
    assert float(found.distance.min()) >= 1 and float(found.distance.max()) < 2
    assert found.mask.flatten(1).any(dim=1).all()


def test_distance_is_seen():
    found = WORLD.sample(INDEX)
    plain = torch.tensor([CLASSES[k][0] == "disc" for k in found.label.tolist()])
    area = found.mask.flatten(1).sum(dim=1).float()[plain]
    assert float(torch.corrcoef(torch.stack([area, found.distance[plain] ** -2]))[0, 1]) > 0.8


def test_same_item_whatever_the_batch():
    assert torch.allclose(WORLD.sample(INDEX[:20]).image[7:9], WORLD.sample(INDEX[7:9]).image, atol=1e-5)
    assert not torch.equal(CrowdWorld(CrowdConfig(), 1).sample(INDEX[:5]).image, WORLD.sample(INDEX[:5]).image)


def test_count_changes_nothing_else():
    alone = CrowdWorld(CrowdConfig(most=1)).sample(INDEX[:20])
    assert (alone.count == 0).all() and torch.equal(alone.label, WORLD.sample(INDEX[:20]).label)
    with pytest.raises(ValueError, match="main thing"):
        CrowdWorld(CrowdConfig(most=0))
