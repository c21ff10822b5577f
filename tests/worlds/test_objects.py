"""The objects world: depth reprojects, flow warps, mirrors reflect, glass obeys Snell, items by index."""

import math

import pytest
import torch

from vislab.ops.cameras import back_project, forward_rig, project, rays
from vislab.worlds.objects import (
    DIFFUSE,
    DOME,
    GLASS,
    MIRROR,
    ObjectsConfig,
    ObjectsWorld,
    Solids,
    intersect,
    reflect,
    refract,
    solids,
    trace,
)

RIG = forward_rig(torch.tensor([[0.0, 0.0], [0.2, -0.1]]), 48)
ZERO = torch.zeros(2)


def pixels(size=48):
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1)


def test_depth_reprojects_to_the_points_and_to_the_other_view():
    world = ObjectsWorld(ObjectsConfig(special="none", solids=3), 1)
    views = world.view(RIG, ZERO)
    points = back_project(RIG, pixels().expand(2, -1, -1, -1), views.depth)
    assert torch.allclose(points, views.point, atol=1e-4)
    scene = solids(world.config, 1)
    # the same surface points, traced from the second camera: what is not hidden has the same colour
    target = points[0].flatten(0, 1)
    origin = RIG.centre[1].expand_as(target)
    heading = torch.nn.functional.normalize(target - origin, dim=-1)
    colour, hit = trace(scene, origin, heading, torch.zeros(len(target)))
    seen = (hit.point - target).norm(dim=-1) < 1e-3
    assert seen.float().mean() > 0.7
    first = views.image[0].permute(1, 2, 0).flatten(0, 1)
    assert torch.allclose(colour[seen], first[seen], atol=2e-3)


def test_flow_carries_a_pixel_to_where_its_surface_goes():
    world = ObjectsWorld(ObjectsConfig(special="none", solids=2, speed=0.5), 4)
    early, late = torch.tensor([0.2, 0.2]), torch.tensor([0.6, 0.6])
    views = world.view(RIG, early, late)
    moving = views.flow.norm(dim=-1) > 0.5
    assert moving.any()
    scene = solids(world.config, 4)
    place = (pixels() + views.flow)[moving]
    camera = torch.arange(2)[:, None, None].expand(2, 48, 48)[moving]
    plane = torch.cat([(place - 24) / RIG.focal[0], torch.ones(len(place), 1)], dim=1)
    heading = torch.nn.functional.normalize(plane, dim=-1)
    _, hit = trace(scene, RIG.centre[camera], heading, torch.full((len(place),), 0.6))
    same = hit.solid == views.ids[moving]
    assert same.float().mean() > 0.7
    # the texture moves with the solid: local coordinates agree
    _, before = trace(scene, *(r[moving] for r in rays(RIG)), torch.full((len(place),), 0.2))
    close = (hit.local - before.local).norm(dim=-1) < 5e-3
    assert close[same].float().mean() > 0.9


def test_velocity_is_the_derivative_of_the_motion():
    world = ObjectsWorld(ObjectsConfig(special="none", solids=2, speed=0.5), 4)
    step = 1e-3
    views = world.view(RIG, torch.full((2,), 0.3), torch.full((2,), 0.3 + step))
    ahead, _ = project(RIG, views.point + step * views.velocity)
    now, _ = project(RIG, views.point)
    assert torch.allclose(ahead - now, views.flow, atol=1e-3)


def test_a_mirror_shows_what_stands_in_the_reflected_direction():
    world = ObjectsWorld(ObjectsConfig(special="mirror"), 2)
    views = world.view(RIG, ZERO)
    inside = world.reflector(views)
    scene = solids(world.config, 2)
    assert inside.any() and torch.all(scene.material[views.ids[inside]] == MIRROR)
    origin, direction = (r[inside] for r in rays(RIG))
    normal = torch.nn.functional.normalize(views.point[inside] - scene.centre[1], dim=-1)
    bounced = direction - 2 * (direction * normal).sum(-1, keepdim=True) * normal
    assert torch.allclose((bounced * normal).sum(-1), -(direction * normal).sum(-1), atol=1e-5)
    start = views.point[inside]
    expected, hit = trace(scene, start + 1e-4 * bounced, bounced, torch.zeros(len(start)))
    plain = scene.material[hit.solid] == DIFFUSE
    found = views.image.permute(0, 2, 3, 1)[inside]
    assert torch.allclose(found[plain], 0.9 * expected[plain], atol=5e-3)


def test_snell_and_total_reflection():
    normal = torch.tensor([[0.0, 0.0, -1.0]])
    angle = 0.5
    ray = torch.tensor([[math.sin(angle), 0.0, math.cos(angle)]])
    bent = refract(ray, normal, 1 / 1.5)
    assert float(bent[0, 0]) == pytest.approx(math.sin(angle) / 1.5, abs=1e-6)
    assert float(bent.norm()) == pytest.approx(1)
    steep = torch.tensor([[math.sin(1.2), 0.0, math.cos(1.2)]])
    assert torch.allclose(refract(steep, normal, 1.5), reflect(steep, normal))


def test_a_slab_of_glass_shifts_a_ray_and_keeps_its_direction():
    from vislab.worlds.objects import _through

    world = ObjectsWorld(ObjectsConfig(special="glass", solids=0), 0)
    scene = solids(world.config, 0)
    assert scene.material[1] == GLASS
    angle = 0.3
    direction = torch.tensor([[math.sin(angle), 0.0, math.cos(angle)]])
    front = scene.centre[1] - torch.tensor([0.0, 0.0, float(scene.size[1, 2])])
    hit = intersect(scene, front[None] - direction, direction, torch.zeros(1))
    assert hit.solid.item() == 1
    at = {n: getattr(hit, n) for n in ("point", "normal", "solid", "local")}
    start, heading = _through(scene, at, direction, torch.zeros(1), 1.5)
    assert torch.allclose(heading, direction, atol=1e-5)
    inside = math.asin(math.sin(angle) / 1.5)
    thickness = 2 * float(scene.size[1, 2])
    assert float(start[0, 0] - hit.point[0, 0]) == pytest.approx(thickness * math.tan(inside), abs=1e-4)


def test_every_ray_meets_something():
    world = ObjectsWorld(ObjectsConfig(), 7)
    views = world.view(RIG, ZERO)
    assert torch.isfinite(views.depth).all() and views.point.norm(dim=-1).max() < 2 * DOME
    assert views.image.min() >= 0 and views.image.max() <= 1


def test_a_sphere_covers_the_pixels_of_its_silhouette():
    scene = Solids(
        torch.tensor([2, 0]), torch.tensor([0, 0]), torch.tensor([[0.0, 0, 0.95], [0, 0, 0.5]]), torch.zeros(2, 3),
        torch.zeros(2), torch.zeros(2), torch.tensor([[1.0, 1, 1], [0.3, 0.3, 0.3]]), torch.rand(2, 2, 3), torch.ones(2),
    )  # fmt: skip
    origin, direction = rays(forward_rig(torch.zeros(1, 2), 64))
    _, hit = trace(scene, origin.flatten(0, 2), direction.flatten(0, 2), torch.zeros(64 * 64))
    cos = direction.flatten(0, 2)[:, 2]
    limit = math.sqrt(1.5**2 - 0.3**2) / 1.5
    assert torch.equal(hit.solid == 1, cos > limit)


def test_an_item_is_the_same_whatever_its_batch():
    world = ObjectsWorld(ObjectsConfig(image_size=16, speed=0.3), 5)
    many, alone = world.sample(torch.tensor([3, 2_000_007, 8])), world.sample(torch.tensor([2_000_007]))
    assert torch.allclose(many.image[1:2], alone.image, atol=1e-5)
    assert (many.ids[1:2] == alone.ids).float().mean() > 0.999
    item = world.dataset(0, 2)[1]
    assert item["image"].shape == (3, 16, 16)
