"""Pictures with known evidence: items by index, exact masks, the dot decides between partners, the background tells what it is told."""

import pytest
import torch

from vislab.worlds.base import absolute
from vislab.worlds.shapes.evidence import EvidenceConfig, EvidenceWorld

QUIET = EvidenceConfig(image_size=48, noise=0.0)


def test_an_item_is_the_same_whatever_its_batch():
    world = EvidenceWorld(EvidenceConfig(), 3)
    many, alone = world.sample(torch.tensor([5, 900, 2_000_001])), world.sample(torch.tensor([900]))
    assert torch.allclose(many.image[1:2], alone.image, atol=1e-5)
    assert torch.equal(many.dot[1:2], alone.dot) and torch.equal(many.label[1:2], alone.label)
    others = world.sample(absolute("test", torch.tensor([0]))).image, world.sample(torch.tensor([0])).image
    assert not torch.allclose(*others, atol=0.05)


def test_partners_differ_in_the_dot_alone():
    world, index = EvidenceWorld(QUIET), torch.arange(40)
    bright, dark = (world.sample(index, label=torch.full((40,), c)) for c in (2, 3))
    other = (bright.image - dark.image).abs().amax(dim=1) > 1e-3
    near = torch.nn.functional.max_pool2d(bright.dot.float()[:, None], 3, 1, 1)[:, 0] > 0
    assert torch.equal(bright.body, dark.body) and torch.equal(bright.dot, dark.dot)
    assert not (other & ~near).any()
    inside = [(e.image.mean(dim=1) * e.dot).sum((1, 2)) / e.dot.sum((1, 2)) for e in (bright, dark)]
    assert (inside[0] > 0.8).all() and (inside[1] < 0.2).all()


def test_the_dot_lies_on_the_body_and_is_small():
    found = EvidenceWorld(QUIET).sample(torch.arange(100))
    assert (found.dot & ~found.body).sum() == 0
    assert (found.dot.float().mean(dim=(1, 2)) > 0.01).all()
    assert (found.dot.sum((1, 2)) < 0.5 * found.body.sum((1, 2))).all()


@pytest.mark.parametrize(("spurious", "share"), [(0.0, 1 / 8), (1.0, 1.0), (0.6, 0.6 + 0.4 / 8)])
def test_the_background_tells_the_class_as_often_as_it_is_told_to(spurious, share):
    found = EvidenceWorld(EvidenceConfig(spurious=spurious)).sample(torch.arange(1500))
    assert float((found.hue == found.label).float().mean()) == pytest.approx(share, abs=0.04)


def test_an_odd_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="classes must be even"):
        EvidenceWorld(EvidenceConfig(classes=7))
