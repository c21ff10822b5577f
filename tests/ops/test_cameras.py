"""Cameras: projection and its inverse, rays through pixels, OpenCV axes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vislab.ops.cameras import Cameras, back_project, forward_rig, grid_offsets, project, rays


def turned(angle: float) -> Cameras:
    c, s = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    rotation = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])[None]
    return Cameras(torch.tensor([[0.3, -0.2, 0.5]]), rotation, torch.tensor([40.0]), 32)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1, 1), st.floats(1, 5), st.floats(0, 32), st.floats(0, 32))
def test_back_projection_inverts_projection(angle, depth, x, y):
    cameras = turned(angle)
    pixel = torch.tensor([[[x, y]]])
    point = back_project(cameras, pixel, torch.tensor([[depth]]))
    again, far = project(cameras, point)
    assert torch.allclose(again, pixel, atol=1e-3) and torch.allclose(far, torch.tensor([[depth]]), atol=1e-4)


def test_axes_are_right_down_forward():
    camera = forward_rig(torch.zeros(1, 2), 32, z=0.0)
    pixel, depth = project(camera, torch.tensor([[[0.1, 0.0, 1.0], [0.0, 0.1, 1.0], [0.0, 0.0, 2.0]]]))
    assert pixel[0, 0, 0] > 16 and pixel[0, 1, 1] > 16
    assert pixel[0, 2].tolist() == [16, 16] and depth[0].tolist() == [1, 1, 2]


def test_a_point_along_a_ray_projects_to_its_pixel():
    cameras = turned(0.4)
    origin, direction = rays(cameras)
    pixel, _ = project(cameras, (origin + 3 * direction).flatten(1, 2))
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    assert torch.allclose(pixel[0], torch.stack([x, y], -1).flatten(0, 1), atol=1e-3)
    assert torch.allclose(direction.norm(dim=-1), torch.ones(1, 32, 32), atol=1e-6)


def test_grid_offsets_go_row_by_row():
    grid = grid_offsets(3, 0.6)
    assert torch.allclose(grid[1], torch.tensor([0.0, -0.6])) and torch.allclose(grid[3], torch.tensor([-0.6, 0.0]))
