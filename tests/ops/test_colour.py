"""Colour spaces, CIEDE2000 and colour filter arrays, against scikit-image and published numbers."""

import numpy as np
import pytest
import torch
from skimage import color

from vislab.ops import counter
from vislab.ops.bayer import BLOCK, TILES, colour_map, demosaic, mosaic, pack, unpack
from vislab.ops.colour import delta_e_2000, lab_from_srgb, linear_from_srgb, mix_channels, srgb_from_linear


def picture(count=2, side=24, seed=0):
    return counter.uniform(seed, "evaluate", torch.arange(count), "picture", (3, side, side)).double()


def last(image):
    return image.movedim(-3, -1).numpy()


def test_the_srgb_curve_at_known_points():
    linear = torch.tensor([0.0, 0.0031308, 0.21404114, 1.0], dtype=torch.float64)
    assert torch.allclose(
        srgb_from_linear(linear), torch.tensor([0, 0.04045, 0.5, 1.0], dtype=torch.float64), atol=1e-5
    )


def test_the_srgb_curve_is_inverted():
    srgb = picture()
    assert torch.allclose(srgb_from_linear(linear_from_srgb(srgb)), srgb, atol=1e-6)


def test_the_srgb_curve_has_a_finite_gradient_near_zero():
    linear = torch.tensor([-0.1, 0.0, 1e-6, 1e-9], requires_grad=True)
    srgb_from_linear(linear).sum().backward()
    assert torch.isfinite(linear.grad).all()
    assert torch.allclose(linear.grad[2:], torch.tensor(12.92))


def test_lab_agrees_with_scikit_image():
    srgb = picture()
    assert np.abs(last(lab_from_srgb(srgb)) - color.rgb2lab(last(srgb))).max() < 0.02


def test_white_is_neutral_in_lab():
    lab = lab_from_srgb(torch.ones(3, 1, 1, dtype=torch.float64))
    assert torch.allclose(lab.flatten(), torch.tensor([100.0, 0, 0], dtype=torch.float64), atol=0.02)


def test_ciede2000_agrees_with_scikit_image():
    first, second = lab_from_srgb(picture(seed=1)), lab_from_srgb(picture(seed=2))
    expected = color.deltaE_ciede2000(last(first), last(second))
    assert np.abs(delta_e_2000(first, second).numpy() - expected).max() < 1e-4


# Pairs and differences from Sharma, Wu and Dalal (2005), table 1: blue rotation, hue jumps, grey, large and small steps.
SHARMA = (
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
)


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_ciede2000_of_published_pairs(first, second, expected):
    a, b = (torch.tensor(c, dtype=torch.float64)[:, None, None] for c in (first, second))
    assert delta_e_2000(a, b).item() == pytest.approx(expected, abs=1e-4)
    assert delta_e_2000(b, a).item() == pytest.approx(expected, abs=1e-4)


def test_a_matrix_an_item_mixes_channels():
    image = picture()
    matrices = counter.uniform(0, "evaluate", torch.arange(2), "matrix", (3, 3)).double()
    mixed = mix_channels(image, matrices)
    for k in range(2):
        assert torch.allclose(mixed[k, :, 3, 5], matrices[k] @ image[k, :, 3, 5])
    assert torch.allclose(mix_channels(image, matrices[0])[1, :, 3, 5], matrices[0] @ image[1, :, 3, 5])


each_pattern = pytest.mark.parametrize("pattern", sorted(BLOCK))


@each_pattern
def test_unpacking_inverts_packing(pattern):
    raw = picture(side=36)[:, 0]
    packed = pack(raw, pattern)
    block = BLOCK[pattern]
    assert packed.shape == (2, block**2, 36 // block, 36 // block)
    assert torch.equal(unpack(packed, pattern), raw)


@each_pattern
def test_every_packed_channel_has_one_colour(pattern):
    packed = pack(colour_map(pattern, 36, 36), pattern)
    assert torch.equal(packed, packed[:, :1, :1].expand_as(packed))
    colours = packed[:, 0, 0].tolist()
    assert {c: colours.count(c) for c in range(3)} == {"bayer": {0: 1, 1: 2, 2: 1}, "xtrans": {0: 2, 1: 5, 2: 2}}[
        pattern
    ]


def test_the_xtrans_tile_has_every_colour_in_each_row_and_column():
    tile = torch.tensor(TILES["xtrans"])
    assert [int((tile == c).sum()) for c in range(3)] == [8, 20, 8]
    for line in (*tile, *tile.T):
        assert set(line.tolist()) == {0, 1, 2}


@each_pattern
def test_a_mosaic_keeps_one_colour_a_photosite(pattern):
    image = picture(side=12)
    raw, seen = mosaic(image, pattern), colour_map(pattern, 12, 12)
    for row, column in ((0, 0), (1, 0), (4, 7), (11, 11)):
        assert torch.equal(raw[:, row, column], image[:, seen[row, column], row, column])


@each_pattern
def test_demosaicing_keeps_what_was_seen_and_restores_flat_colour(pattern):
    image = picture(side=12)
    raw = mosaic(image, pattern)
    assert torch.equal(mosaic(demosaic(raw, pattern), pattern), raw)
    flat = image[:, :, :1, :1].expand(-1, -1, 12, 12)
    assert torch.allclose(demosaic(mosaic(flat, pattern), pattern), flat)


def test_bilinear_demosaicing_is_exact_on_a_ramp_inside_the_border():
    row, column = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    image = torch.stack([row + 2 * column, 3 * row - column, row])[None]
    assert torch.allclose(demosaic(mosaic(image, "bayer"), "bayer")[..., 2:-2, 2:-2], image[..., 2:-2, 2:-2], atol=1e-4)
