"""Transformers on subsets of patches, and the masks that choose them."""

import pytest
import torch

from vislab.nn import maskers, vit
from vislab.ops import counter

SIDE = 8


def drawn(masker, *arguments, **more):
    with counter.scope(0, "noise", "masks"):
        return masker(*arguments, **more)


def test_positions_by_hand():
    table = vit.sincos_positions(8, 3)
    assert table.shape == (9, 8)
    row, column = 1, 2
    expected = [column, column / 100, row, row / 100]
    mine = table[row * 3 + column]
    assert torch.allclose(mine[:2], torch.tensor(expected[:2]).sin()) and torch.allclose(
        mine[2:4], torch.tensor(expected[:2]).cos()
    )
    assert torch.allclose(mine[4:6], torch.tensor(expected[2:]).sin()) and torch.allclose(
        mine[6:], torch.tensor(expected[2:]).cos()
    )
    with pytest.raises(ValueError, match="multiple of 4"):
        vit.sincos_positions(6, 2)


def test_hidden_patches_cannot_be_seen():
    """Changing pixels outside the visible patches changes nothing."""
    with counter.scope(0, "init"):
        encoder = vit.PatchEncoder(32, 4, 16, 2, 2)
    image = counter.uniform(0, "world", torch.arange(2), "image", (3, 32, 32))
    visible = torch.tensor([[0, 5, 9], [1, 2, 63]])
    before = encoder(image, visible)
    changed = image.clone()
    changed[0, :, :4, 4:8] += 1.0  # patch 1, hidden in the first picture
    assert torch.equal(encoder(changed, visible)[0], before[0])
    assert not torch.allclose(encoder(changed)[0], encoder(image)[0])


def test_encoder_of_all_visible_is_the_encoder():
    with counter.scope(0, "init"):
        encoder = vit.PatchEncoder(16, 4, 16, 2, 2)
    image = counter.uniform(0, "world", torch.arange(2), "image", (3, 16, 16))
    assert torch.allclose(encoder(image, torch.arange(16).expand(2, -1)), encoder(image), atol=1e-6)


def test_predictor_blocks_do_not_see_each_other():
    with counter.scope(0, "init"):
        predictor = vit.PatchPredictor(16, 16, SIDE, 8, 2, 2)
    context = counter.normal(0, "noise", torch.arange(2), "context", (5, 16))
    visible = torch.arange(5).expand(2, -1)
    two = torch.tensor([[[10, 11], [20, 21]]]).expand(2, -1, -1)
    both = predictor(context, visible, two)
    one = predictor(context, visible, two[:, :1])
    assert both.shape == (2, 2, 2, 16) and torch.allclose(both[:, 0], one[:, 0], atol=1e-6)
    assert not torch.allclose(both[:, 0], both[:, 1], atol=1e-3)


def test_multiblock_context_never_holds_a_target():
    visible, targets = drawn(maskers.multiblock, 64, SIDE, least=4)
    for seen, wanted in zip(visible, targets, strict=True):
        assert not set(seen.tolist()) & set(wanted.flatten().tolist())
        assert len(set(seen.tolist())) == len(seen) >= 4
    share = targets.shape[2] / SIDE**2
    assert targets.shape[1] == 4 and 0.1 < share < 0.25


def test_blocks_are_rectangles():
    _, targets = drawn(maskers.multiblock, 16, SIDE, least=4)
    rows, columns = targets // SIDE, targets % SIDE
    height = rows.amax(dim=2) - rows.amin(dim=2) + 1
    width = columns.amax(dim=2) - columns.amin(dim=2) + 1
    assert (height * width == targets.shape[2]).all() and len(height.unique()) == 1


def test_a_grid_too_small_lets_targets_overlap_rather_than_fail():
    visible, _ = drawn(maskers.multiblock, 32, 4, targets=6, target_scale=(0.3, 0.4), least=6)
    assert visible.shape[1] >= 6


@pytest.mark.parametrize("masker", [maskers.single_block, maskers.random_patches, maskers.quadrants])
def test_other_maskers_split_the_grid(masker):
    visible, targets = drawn(masker, 16, SIDE)
    for seen, wanted in zip(visible, targets, strict=True):
        assert not set(seen.tolist()) & set(wanted.flatten().tolist())
    if masker is not maskers.single_block:
        assert visible.shape[1] + targets[0].numel() == SIDE**2


def test_quadrants_need_an_even_grid():
    with pytest.raises(ValueError, match="even"):
        maskers.quadrants(2, 7)
