"""The shapes world: items by index, exact masks and boxes, classes that differ by what the knob says."""

import math

import pytest
import torch

from vislab.ops.longtail import frequency_groups, labels_of, longtail_counts, shifted_prior
from vislab.worlds.base import absolute
from vislab.worlds.shapes.classes import ClassesConfig, ClassesWorld
from vislab.worlds.shapes.render import boxes, outline, render
from vislab.worlds.shapes.scene import Scene

CONFIG = ClassesConfig(classes=24, image_size=32)


def test_an_item_is_the_same_whatever_its_batch():
    world = ClassesWorld(CONFIG, 3)
    many = world.sample(torch.tensor([5, 900, 2_000_001, 17]))
    alone = world.sample(torch.tensor([2_000_001]))
    assert torch.equal(many.label[2:3], alone.label) and torch.equal(many.mask[2:3], alone.mask)
    assert torch.allclose(many.image[2:3], alone.image, atol=1e-5)


def test_splits_do_not_overlap_and_differ():
    ranges = [absolute(s, torch.tensor([0, 10**6 - 1])).tolist() for s in ("train", "validation", "test")]
    assert all(a[1] < b[0] for a, b in zip(ranges, ranges[1:], strict=False))
    with pytest.raises(ValueError, match="indices of a split"):
        absolute("train", torch.tensor([10**6]))
    world, label = ClassesWorld(CONFIG), torch.zeros(1, dtype=torch.int64)
    images = [world.sample(absolute(s, torch.tensor([0])), label=label).image for s in ("train", "test")]
    assert not torch.allclose(*images, atol=0.1)


def one(points=6.0, notch=1.0, hole=0.0, radius=0.3, centre=(0.5, 0.5), angle=0.0, present=True):
    def t(*value):
        return torch.tensor([[*value]])

    return Scene(
        t(present), t(points), t(notch), t(hole), t(0), t(1.0), torch.tensor([[[1.0, 0, 0]]]),
        torch.tensor([[[0.0, 0, 0]]]), torch.tensor([[centre]]), t(radius), t(angle), torch.zeros(1, 2, 3),
    )  # fmt: skip


def test_a_disc_has_the_area_and_box_of_a_disc():
    picture = render(one(), 200)
    area = picture.amodal.sum().item() / 200**2
    assert area == pytest.approx(math.pi * 0.3**2, rel=2e-3)
    assert picture.boxes[0, 0].tolist() == pytest.approx([40, 40, 160, 160], abs=1)


def test_a_polygon_has_the_area_of_a_polygon_and_a_hole_is_cut_out():
    n = 5
    polygon = render(one(points=float(n), notch=math.cos(math.pi / n)), 400).amodal.sum().item() / 400**2
    assert polygon == pytest.approx(n / 2 * math.sin(2 * math.pi / n) * 0.3**2, rel=5e-3)
    ring = render(one(hole=0.5), 400).amodal.sum().item() / 400**2
    assert ring == pytest.approx(math.pi * 0.3**2 * 0.75, rel=5e-3)


def test_a_star_repeats_when_turned_by_one_tip():
    angle = torch.linspace(-3, 3, 50)
    x, y = 0.7 * angle.cos(), 0.7 * angle.sin()
    step = 2 * math.pi / 5
    u, v = 0.7 * (angle + step).cos(), 0.7 * (angle + step).sin()
    shape = torch.tensor(5.0), torch.tensor(0.6), torch.tensor(0.0)
    assert torch.allclose(outline(x, y, *shape), outline(u, v, *shape), atol=1e-5)
    zero, tip = torch.tensor(0.0), torch.tensor(1.0)
    assert abs(float(outline(tip, zero, *shape))) < 1e-6


def test_boxes_are_tight_around_masks():
    masks = torch.zeros(1, 2, 8, 9, dtype=torch.bool)
    masks[0, 0, 2:5, 3:8] = True
    assert boxes(masks)[0].tolist() == [[3, 2, 8, 5], [0, 0, 0, 0]]
    shapes = ClassesWorld(CONFIG).sample(torch.arange(20))
    assert torch.equal(boxes(shapes.mask[:, None])[:, 0], shapes.box)


def test_what_is_in_front_hides_what_is_behind():
    behind, front = one(radius=0.3), one(radius=0.15)
    both = Scene(*(torch.cat([getattr(behind, f), getattr(front, f)], 1) if f != "background" else behind.background
                   for f in Scene.__dataclass_fields__))  # fmt: skip
    picture = render(both, 100)
    assert torch.equal(picture.visible[0, 1], picture.amodal[0, 1])
    assert torch.equal(picture.visible[0, 0], picture.amodal[0, 0] & ~picture.amodal[0, 1])
    inside = picture.image[0, :, 50, 50]
    assert torch.allclose(inside, torch.tensor([1.0, 0.0, 0.0]))


def test_an_absent_object_is_not_drawn():
    picture = render(one(present=False), 20)
    assert not picture.amodal.any() and not picture.image.any()


def test_partners_share_all_but_the_cue():
    for cue, changed in (("outline", {"notch"}), ("texture", {"frequency"}), ("joint", {"notch", "frequency"})):
        world = ClassesWorld(ClassesConfig(classes=24, cue=cue))
        label = torch.arange(12)
        mine, partner = world.attributes(label), world.attributes(23 - label)
        found = {name for name in mine if not torch.allclose(mine[name].float(), partner[name].float())}
        assert found == changed
    assert torch.equal(world.coarse(label), world.coarse(23 - label))


def test_every_class_has_its_own_prototype():
    attributes = ClassesWorld(CONFIG).attributes(torch.arange(24))
    rows = torch.stack([v.float() for v in attributes.values()], dim=1)
    assert len(torch.unique(rows, dim=0)) == 24


def test_labels_given_are_labels_drawn():
    label = torch.tensor([4, 19])
    assert torch.equal(ClassesWorld(CONFIG).sample(torch.tensor([0, 1]), label=label).label, label)


def test_longtail_counts_and_labels_are_exact():
    counts = longtail_counts(10, 200, 100.0)
    assert counts[0] == 200 and counts[-1] == 2 and torch.all(counts.diff() <= 0)
    labels = labels_of(counts, torch.arange(int(counts.sum())))
    assert torch.equal(torch.bincount(labels, minlength=10), counts)
    assert int(longtail_counts(100, 500, 100.0).sum()) == 10847


def test_shifted_priors_mirror_each_other():
    forward, backward = shifted_prior(10, 25.0, "forward"), shifted_prior(10, 25.0, "backward")
    assert torch.allclose(forward.flip(0), backward) and float(forward.sum()) == pytest.approx(1)
    assert float(forward[0] / forward[-1]) == pytest.approx(25, rel=1e-5)
    with pytest.raises(ValueError, match="sideways"):
        shifted_prior(10, 2.0, "sideways")


def test_groups_cover_every_class_once():
    groups = frequency_groups(torch.tensor([500, 101, 100, 20, 19, 1]))
    assert [m.tolist() for m in groups.values()] == [
        [True, True, False, False, False, False],
        [False, False, True, True, False, False],
        [False, False, False, False, True, True],
    ]
