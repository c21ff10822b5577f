"""Slices of tissue: exact masks, items by index, splits, and factors that change what they name and nothing else."""

import dataclasses

import pytest
import torch

from vislab.worlds.base import absolute
from vislab.worlds.tissue.sites import SHIFTED, SITES, STRENGTH, TISSUE, Site, SitesConfig, SitesWorld, between

CLEAN = Site(contrast=0.65, bias=0.0, noise=0.0, blur=0.0)
ITEMS = torch.arange(24)


def seen(site, size=32, seed=0, items=ITEMS):
    return SitesWorld(SitesConfig(size, (site,)), seed).sample(items)


def changed(**factors):
    return dataclasses.replace(CLEAN, **factors)


def test_a_slice_has_one_organ_whose_mask_is_exact():
    found = seen(CLEAN)
    assert found.image.shape == found.mask.shape == found.given.shape == (24, 1, 32, 32)
    assert found.image.min() >= 0 and found.image.max() <= 1 and found.mask.dtype == torch.bool
    share = found.mask.float().mean(dim=(1, 2, 3))
    assert (share > 0.05).all() and (share < 0.25).all()
    # without scanner effects every organ is one level with a faint texture: 0.8 to 1.2 times its contrast
    inside = torch.stack([i[m].mean() for i, m in zip(found.image, found.mask, strict=True)])
    assert (inside - TISSUE > 0.6 * 0.65 * STRENGTH).all() and (inside - TISSUE < 1.4 * 0.65 * STRENGTH).all()
    finer = seen(CLEAN, 64).mask.float()
    coarse = torch.nn.functional.avg_pool2d(finer, 2)
    assert (found.mask.float()[coarse == 1] == 1).float().mean() > 0.99
    assert (found.mask.float()[coarse == 0] == 0).float().mean() > 0.99


def test_items_do_not_depend_on_their_batch_and_splits_differ():
    world = SitesWorld(SitesConfig(32, (*SITES, SHIFTED)), 1)
    many, one = world.sample(torch.arange(8)), world.sample(torch.tensor([4]))
    assert torch.equal(many.mask[4:5], one.mask) and torch.equal(many.given[4:5], one.given)
    assert torch.allclose(many.image[4:5], one.image, atol=1e-5)
    assert many.site.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    held = world.sample(absolute("test", torch.arange(8)), site=many.site)
    other = SitesWorld(world.config, 2).sample(torch.arange(8))
    for found in (held, other):
        assert not (found.mask == many.mask).flatten(1).all(dim=1).any()
    assert torch.equal(world.dataset(0, 8)[4]["mask"], one.mask[0])


@pytest.mark.parametrize(
    ("factors", "anatomy"),
    [({"contrast": -1.0}, False), ({"bias": 0.4}, False), ({"noise": 0.1}, False), ({"blur": 0.03}, False),
     ({"radius": 0.15}, True), ({"elongation": 1.6}, True), ({"lobes": 0.2}, True)],
)  # fmt: skip
def test_a_scanner_changes_images_and_a_shape_prior_changes_masks(factors, anatomy):
    plain, other = seen(CLEAN), seen(changed(**factors))
    assert not torch.allclose(plain.image, other.image, atol=0.01)
    assert torch.equal(plain.mask, other.mask) != anatomy
    assert torch.equal(other.mask, other.given)


def test_factors_have_the_size_that_they_say():
    plain = seen(CLEAN)
    dark = seen(changed(contrast=-0.65))
    outside, inside = ~plain.mask, plain.mask
    assert torch.equal(plain.image[outside], dark.image[outside])
    assert (plain.image - dark.image)[inside].mean() == pytest.approx(2 * 0.65 * STRENGTH, rel=0.1)
    noisy = seen(changed(noise=0.05))
    body = plain.image > 0.3
    assert (noisy.image - plain.image)[body].std() == pytest.approx(0.05, rel=0.1)
    ratio = (seen(changed(bias=0.2)).image / plain.image)[plain.image > 0.1]
    assert ratio.min() < 0.9 and ratio.max() > 1.1 and ratio.min() > 0.6

    def roughness(site):
        return seen(site).image.diff(dim=-1).abs().mean()

    assert roughness(changed(blur=0.04)) < 0.9 * roughness(changed(blur=0.02)) < 0.8 * roughness(CLEAN)
    areas = [seen(changed(radius=r)).mask.float().mean() for r in (0.1, 0.2)]
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.1)


def test_corruption_is_the_share_of_masks_that_are_wrong():
    many = torch.arange(300)
    found = seen(changed(corruption=0.4), 24, items=many)
    wrong = (found.mask != found.given).flatten(1).any(dim=1).float()
    assert wrong.mean() == pytest.approx(0.4, abs=0.08)
    assert torch.equal(found.mask, seen(CLEAN, 24, items=many).mask)
    assert torch.equal(found.image, seen(CLEAN, 24, items=many).image)
    bad = seen(changed(corruption=1.0), 24, items=many)
    overlap = (bad.mask & bad.given).flatten(1).sum(1) * 2 / (bad.mask.flatten(1).sum(1) + bad.given.flatten(1).sum(1))
    assert overlap.mean() < 0.6


def test_between_goes_from_one_site_to_another():
    assert between(SITES[0], SHIFTED, 0.0) == SITES[0]
    middle = between(SITES[0], SHIFTED, 0.5)
    assert middle.contrast == pytest.approx((SITES[0].contrast + SHIFTED.contrast) / 2)
    far = between(SITES[0], SHIFTED, 1.0)
    assert all(getattr(far, f.name) == pytest.approx(getattr(SHIFTED, f.name)) for f in dataclasses.fields(Site))


def test_sites_that_are_not_there_are_refused():
    world = SitesWorld(SitesConfig(16, SITES))
    assert world.sample(ITEMS[:2], site=3).site.tolist() == [3, 3]
    with pytest.raises(ValueError, match="there are 4 sites"):
        world.sample(ITEMS, site=4)
    with pytest.raises(ValueError, match="needs a site"):
        SitesWorld(SitesConfig(16, ()))
