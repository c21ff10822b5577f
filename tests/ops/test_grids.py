"""Factor grids, harmonics, encodings."""

import pytest
import torch

from vislab.ops.grids import log_spaced_sizes, resize_plane, sample_plane, sample_stack, total_variation
from vislab.ops.harmonics import frequencies, harmonics


def test_a_linear_plane_is_read_exactly_and_is_zero_outside():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 7), indexing="ij")
    place = torch.tensor([[0.3, -0.7], [-1.0, 1.0], [2.0, 0.0]])
    values = sample_plane((2 * x + 3 * y)[None, None], place)
    assert values[0].tolist() == pytest.approx([2 * 0.3 - 3 * 0.7, 1.0, 0.0], abs=1e-5)


def test_a_stack_is_read_frame_by_frame():
    stack = torch.arange(3.0)[None, None, :, None, None].expand(1, 1, 3, 4, 4)
    values = sample_stack(stack, torch.tensor([[0.1, 0.2, -1.0], [0.3, 0.4, 0.0], [0.0, 0.0, 1.0]]))
    assert values[0].tolist() == pytest.approx([0, 1, 2])


def test_resizing_keeps_linear_functions_and_empty_factors():
    plane = torch.linspace(0, 1, 4)[None, None, None, :].expand(1, 2, 3, 4)
    grown = resize_plane(plane, (6, 10))
    assert torch.allclose(grown[0, 0, 0], torch.linspace(0, 1, 10), atol=1e-6)
    assert resize_plane(torch.zeros(1, 0, 3, 4), (6, 10)).shape == (1, 0, 6, 10)


def test_total_variation_by_hand():
    plane = torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])
    assert float(total_variation(plane)) == pytest.approx(2 * ((0 + 4) / 2 + (1 + 9) / 2))
    assert float(total_variation(torch.full((1, 2, 4, 4), 5.0))) == 0
    assert float(total_variation(torch.ones(1, 1, 1, 3))) == 0


def test_grids_grow_in_equal_ratios():
    sizes = log_spaced_sizes(16, 128, 3)
    assert sizes == (32, 64, 128)


def test_harmonics_are_orthonormal_on_the_sphere():
    count = 20000
    k = torch.arange(count) + 0.5
    z = 1 - 2 * k / count
    angle = torch.pi * (1 + 5**0.5) * k
    ring = (1 - z * z).sqrt()
    basis = harmonics(torch.stack([ring * angle.cos(), ring * angle.sin(), z], dim=-1))
    gram = 4 * torch.pi * basis.T @ basis / count
    assert torch.allclose(gram, torch.eye(9), atol=1e-3)


def test_frequencies_double():
    code = frequencies(torch.tensor([[0.3]]), 2)[0]
    x = torch.tensor(0.3)
    expected = torch.stack([x, (2 * x).sin(), (2 * x).cos(), (4 * x).sin(), (4 * x).cos()])
    assert torch.allclose(code, expected)
    assert frequencies(torch.zeros(2, 4), 0).shape == (2, 4)
