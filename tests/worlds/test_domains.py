"""Classes under shifts of style, texture and background."""

import pytest
import torch

from vislab.worlds.shapes.domains import DOMAINS, DomainsConfig, DomainsWorld

WORLD = DomainsWorld(DomainsConfig())
INDEX = torch.arange(600)


def test_labels_are_even_and_the_same_in_every_domain():
    for domain in DOMAINS:
        label = WORLD.sample(INDEX[:60], domain=domain).label
        assert torch.equal(label, INDEX[:60] % 12)


def test_spurious_background_has_its_share():
    photo, flipped = WORLD.sample(INDEX), WORLD.sample(INDEX, domain="background")
    assert abs(float((photo.background == WORLD.usual(photo.label)).float().mean()) - 0.8) < 0.05
    assert not (flipped.background == WORLD.usual(flipped.label)).any()


@pytest.mark.parametrize("domain", DOMAINS[1:])
def test_domains_differ_and_keep_the_outline(domain):
    photo, other = WORLD.sample(INDEX[:40]), WORLD.sample(INDEX[:40], domain=domain)
    assert torch.equal(photo.mask, other.mask)
    assert ((photo.image - other.image).abs().mean(dim=(1, 2, 3)) > 0.005).float().mean() > 0.4


def test_same_item_whatever_the_batch():
    assert torch.allclose(WORLD.sample(INDEX[:30]).image[10:12], WORLD.sample(INDEX[10:12]).image, atol=1e-5)


def test_unknown_domain():
    with pytest.raises(ValueError, match="sketch"):
        WORLD.sample(INDEX[:2], domain="oil")
