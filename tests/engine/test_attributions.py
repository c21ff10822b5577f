"""Attributions and their measures on a classifier whose decisive patch is known."""

import pytest
import torch
from torch import nn

from vislab.engine import attributions
from vislab.engine.attributions import Strength

GRID, SIZE = 4, 16


class Weighs(nn.Module):
    """Two logits: the pixels of patch (1, 2) against a constant; nothing else counts."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)
        with torch.no_grad():
            self.layer.weight.fill_(1.0)
            self.layer.bias.zero_()

    def forward(self, x):
        part = self.layer(x)[..., 4:8, 8:12].mean(dim=(1, 2, 3)) * 8
        return torch.stack([part, torch.full_like(part, 4.0)], dim=1)


MODEL = Weighs().eval()
IMAGES, LABELS = torch.full((2, 1, SIZE, SIZE), 0.75), torch.zeros(2, dtype=torch.int64)
BEST = 1 * GRID + 2


@pytest.mark.parametrize("name", ["saliency", "margin_gradient", "grad_input", "smoothgrad", "integrated_gradients"])
def test_gradients_point_at_the_patch(name):
    scores = attributions.gradient_map(name, MODEL, IMAGES, LABELS, GRID)
    assert scores.flatten(1).argmax(dim=1).tolist() == [BEST, BEST]


@pytest.mark.parametrize("name", attributions.SAMPLERS)
def test_filled_patches_point_at_the_patch(name):
    scores = attributions.sampled_map(name, MODEL, IMAGES, LABELS, GRID, samples=400)
    assert scores.flatten(1).argmax(dim=1).tolist() == [BEST, BEST]


@pytest.mark.parametrize("name", attributions.MAPS)
def test_activation_maps_point_at_the_patch(name):
    scores = attributions.activation_map(name, MODEL, MODEL.layer, IMAGES, LABELS, GRID)
    assert scores.shape == (2, GRID, GRID) and torch.isfinite(scores).all()


def test_unknown_names_are_refused():
    for call in (attributions.gradient_map, attributions.sampled_map):
        with pytest.raises(ValueError, match="unknown attribution"):
            call("guess", MODEL, IMAGES, LABELS, GRID)


def scores_with(best):
    scores = torch.zeros(2, GRID * GRID)
    scores[:, best] = 1.0
    return scores.unflatten(1, (GRID, GRID))


def test_the_smallest_epsilon_is_known():
    masks = torch.zeros(2, 2, 1, SIZE, SIZE)
    masks[:, 0, :, 4:8, 8:12] = 1
    masks[:, 1, :, :4] = 1
    found = attributions.smallest_eps(MODEL, IMAGES, LABELS, masks, Strength(10, 1, 10))
    assert found[:, 0].tolist() == pytest.approx([0.25, 0.25], abs=2e-3)
    assert found[:, 1].tolist() == [1.0, 1.0]


def test_robustness_is_low_for_the_right_patch_and_high_for_the_rest():
    right, wrong = (attributions.ranked(scores_with(k)) for k in (BEST, 0))
    strength = Strength(10, 1, 8)
    for order, top, rest in ((right, 0.25, 1.0), (wrong, 1.0, 0.25)):
        for attacked, expected in (("top", top), ("rest", rest)):
            found = attributions.robustness(MODEL, IMAGES, LABELS, order, (0.06,), attacked, strength)
            assert float(found.mean()) == pytest.approx(expected, abs=0.01)


def test_an_attack_stays_in_its_box_and_starts_at_the_picture():
    seen = []

    def model(x):
        seen.append(x.detach())
        return MODEL(x)

    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[:, :, :8] = 1
    attributions.attack(model, IMAGES, LABELS, mask, torch.tensor([0.1, 0.4]), 5, 2)
    assert torch.equal(seen[0], IMAGES)
    for x in seen:
        moved = (x - IMAGES).abs().amax(dim=(1, 2, 3))
        assert moved[0] <= 0.1 + 1e-6 and moved[1] <= 0.4 + 1e-6 and x.min() >= 0 and x.max() <= 1
        assert torch.equal(x[:, :, 8:], IMAGES[:, :, 8:])


def test_deletion_falls_at_once_and_insertion_rises_at_once():
    right, wrong = (attributions.ranked(scores_with(k)) for k in (BEST, 0))
    good, bad = (attributions.removal(MODEL, IMAGES, LABELS, o, 0.0, 16) for o in (right, wrong))
    assert (good[0] < bad[0]).all() and (good[1] > bad[1]).all()


def test_fidelity_of_the_true_scores_is_one_and_of_a_flat_map_zero():
    assert attributions.mu_fidelity(MODEL, IMAGES, LABELS, scores_with(BEST), 0.0).tolist() == pytest.approx(
        [1, 1], abs=1e-4
    )
    flat = torch.ones(2, GRID, GRID)
    assert attributions.mu_fidelity(MODEL, IMAGES, LABELS, flat, 0.0).tolist() == pytest.approx([0, 0], abs=1e-3)


def test_ties_are_broken_at_random_and_shares_are_areas():
    order = attributions.ranked(torch.zeros(2, GRID, GRID))
    assert not torch.equal(order[0], order[1]) and sorted(order[0].tolist()) == list(range(16))
    mask = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    mask[:, 4:8, 8:12] = True
    assert attributions.share_inside(scores_with(BEST), mask).tolist() == pytest.approx([1, 1])
    assert attributions.share_inside(torch.zeros(2, GRID, GRID), mask).tolist() == pytest.approx([1 / 16, 1 / 16])


def test_pooling_and_spreading_are_inverse_on_patches():
    patches = torch.rand(3, GRID, GRID, generator=torch.Generator().manual_seed(0))
    pixels = attributions.spread(patches, SIZE)
    for how in ("absolute", "signed", "largest"):
        assert torch.allclose(attributions.pooled(pixels, GRID, how), patches, atol=1e-6)
    masks = attributions.top_masks(attributions.ranked(patches), [0, 5, 16], SIZE)
    assert masks.mean(dim=(2, 3, 4)).tolist() == [[0, 5 / 16, 1]] * 3


def test_calls_are_counted():
    with attributions.counted(MODEL) as seen:
        attributions.sampled_map("occlusion", MODEL, IMAGES, LABELS, GRID)
    assert seen == [2 * (1 + GRID * GRID)]
