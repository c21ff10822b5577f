"""Rooms and walks through them: exact depths, paint that stays on its surface, walks that do not meet."""

import torch

from vislab.worlds.base import absolute
from vislab.worlds.rooms.layout import RoomConfig, cast, furnish
from vislab.worlds.rooms.views import ViewsConfig, ViewsWorld

WORLD = ViewsWorld(ViewsConfig(image_height=24, image_width=32, focal=26.0))


def test_furniture_stands_on_the_floor_inside_the_room():
    layout = furnish(RoomConfig(), 0, 3)
    assert (
        (layout.low >= -1e-6).all() and (layout.high <= layout.high[0] + 1e-6).all() and (layout.low[1:, 2] == 0).all()
    )
    assert not torch.equal(layout.low, furnish(RoomConfig(), 0, 4).low)


def test_rays_by_hand():
    layout = furnish(RoomConfig(width=5.0, length=4.0, height=2.6, furniture=0), 0, 0)
    origin = torch.tensor([[1.0, 2.0, 1.0]]).expand(3, -1)
    direction = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, 2]])
    distance, box, face = cast(layout, origin, direction)
    assert torch.allclose(distance, torch.tensor([4.0, 2.0, 0.8])) and (box == 0).all() and face.tolist() == [1, 2, 5]


def test_furniture_hides_the_wall():
    layout = furnish(RoomConfig(), 0, 0)
    target = (layout.low[1] + layout.high[1]) / 2
    origin = torch.tensor([2.0, 1.7, 1.3])
    distance, box, face = cast(layout, origin[None], (target - origin)[None])
    hit = origin + distance * (target - origin)
    assert int(box) > 0 and float(distance) < 1
    side = torch.stack([layout.low[box[0]], layout.high[box[0]]])[int(face) % 2, int(face) // 2]
    assert abs(float(hit[int(face) // 2] - side)) < 1e-5


def test_points_project_to_their_pixels_at_their_depth():
    found = WORLD.sample(torch.arange(5))
    local = torch.einsum("bij,bjhw->bihw", found.rotation, found.point - found.centre[:, :, None, None])
    assert torch.allclose(local[:, 2], found.depth, atol=1e-4)
    x = 26 * local[:, 0] / local[:, 2] + 16
    assert torch.allclose(x, (torch.arange(32) + 0.5).expand_as(x), atol=1e-3)
    assert torch.allclose(found.rotation @ found.rotation.transpose(1, 2), torch.eye(3).expand(5, 3, 3), atol=1e-5)


def test_a_surface_point_has_one_colour_from_every_view():
    from vislab.worlds.rooms.layout import paint

    a, b = WORLD.sample(torch.arange(4)), WORLD.sample(torch.arange(4) + 1)
    point = a.point.flatten(2).transpose(1, 2)
    origin = b.centre[:, None].expand_as(point)
    distance, box, face = cast(WORLD.layout, origin, point - origin)
    seen = (distance - 1).abs() < 1e-4
    colour = paint(WORLD.layout, origin + distance[..., None] * (point - origin), box, face)
    assert seen.float().mean() > 0.5
    assert torch.allclose(colour[seen], a.image.flatten(2).transpose(1, 2)[seen], atol=2e-2)


def test_walks_keep_apart_and_inside():
    index = torch.arange(200)
    mapping, query = (WORLD.poses(absolute(split, index))[1] for split in ("train", "test"))
    extent = WORLD.layout.high[0]
    for centre in (mapping, query):
        assert (centre > 0.3).all() and (centre < extent - 0.3).all()
    assert float(torch.cdist(query, mapping).min(dim=1).values.median()) > 0.3
    assert not torch.equal(WORLD.poses(absolute("validation", index))[1], query)


def test_same_frame_whatever_the_batch():
    assert torch.allclose(WORLD.sample(torch.arange(6)).image[3:5], WORLD.sample(torch.arange(3, 5)).image, atol=1e-5)
    other = ViewsWorld(WORLD.config, 1).sample(torch.arange(1))
    assert not torch.allclose(other.image, WORLD.sample(torch.arange(1)).image)
