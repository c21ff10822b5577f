"""A backbone for scene coordinates, trained on ten rooms at once with a head for each, so that its features know no room."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vislab.nn.scene_coordinates import Backbone, Head, grey, kaiming
from vislab.ops import counter
from vislab.ops.reprojection import camera_points, cells, coordinate_loss, threshold
from vislab.worlds.rooms.views import Views, ViewsConfig, ViewsWorld
from vislab.zoo.base import Member

RECIPE = {
    "seed": 0, "rooms": 10, "first_room": 1000, "frames": 200, "widths": [16, 32, 64, 64], "strides": [1, 2, 2, 2], "features": 64,
    "head_width": 96, "steps": 1500, "learning_rate": 2e-3, "tau_largest": 50.0, "weight_coordinates": 0.02, "temperature": 0.1,
    "points": 128,
}  # fmt: skip


def build(recipe: Mapping[str, Any]) -> Backbone:
    """The untrained backbone."""
    with counter.scope(recipe["seed"], "init", "scene features"):
        return kaiming(Backbone(tuple(recipe["widths"]), recipe["features"], tuple(recipe["strides"])))


def seen_from(
    point: Float[Tensor, "room cell 3"], other: Views, focal: float
) -> tuple[Float[Tensor, "room cell 2"], Bool[Tensor, "room cell"]]:
    """Where each room's points lie in another picture, from -1 to 1 across it, and which of them are in sight there."""
    height, width = other.depth.shape[-2:]
    rotation, centre = (v.repeat_interleave(point.shape[1], 0) for v in (other.rotation, other.centre))
    local = camera_points(point.flatten(0, 1), rotation, centre).unflatten(0, point.shape[:2])
    depth = local[..., 2]
    place = focal * local[..., :2] / depth.clamp(min=0.1)[..., None] * 2 / point.new_tensor([width, height])
    first = F.grid_sample(other.depth[:, None], place[:, None], align_corners=False)[:, 0, 0]
    near = (first - depth).abs() < 0.03 + 0.05 * depth
    return place, (depth > 0.1) & (place.abs() < 1).all(dim=-1) & near


def contrast(
    first: Float[Tensor, "room channel h w"],
    second: Float[Tensor, "room channel h w"],
    chosen: Tensor,
    place: Float[Tensor, "room cell 2"],
    visible: Bool[Tensor, "room cell"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each cell's own point among all points of all rooms in the second pictures (InfoNCE)."""
    here = torch.gather(first.flatten(2), 2, chosen[:, None].expand(-1, first.shape[1], -1)).transpose(1, 2)[visible]
    there = F.grid_sample(second, place[:, None], align_corners=False)[:, :, 0].transpose(1, 2)[visible]
    alike = F.normalize(here, dim=1) @ F.normalize(there, dim=1).T / temperature
    return F.cross_entropy(alike, torch.arange(len(alike), device=alike.device))


def train(recipe: Mapping[str, Any], device: torch.device, say: Callable[[str], None]) -> Backbone:
    """Two pictures a room and step: every room's head pays the clamped reprojection loss, and cells should know their points again.

    Half of the pictures have changed brightness and contrast.
    """
    seed, rooms, steps, frames = recipe["seed"], recipe["rooms"], recipe["steps"], recipe["frames"]
    config = ViewsConfig()
    backbone = build(recipe).to(device)
    stride = backbone.stride
    with counter.scope(seed, "init", "heads"):
        heads = nn.ModuleList(kaiming(Head(recipe["features"], recipe["head_width"])) for _ in range(rooms)).to(device)
    worlds = [ViewsWorld(config, seed, recipe["first_room"] + k) for k in range(rooms)]
    parts = [world.sample(torch.arange(frames), device) for world in worlds]
    for head, part in zip(heads, parts, strict=True):
        head.mean.copy_(part.centre.mean(dim=0)[None, :, None, None])
    weights = [*backbone.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, recipe["learning_rate"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe["learning_rate"], total_steps=steps)
    pixel = cells(config.image_height, config.image_width, stride, device)
    focal = torch.full((2 * len(pixel),), config.focal, device=device)

    def draw(name: str, number: int, shape: tuple[int, ...], k: int) -> Tensor:
        return counter.integers(seed, "batches", torch.tensor([k]), name, number, shape)[0].to(device)

    for k in range(steps):
        pair = draw("frames", frames, (2, rooms), k)
        pair[1] = (pair[0] + _offsets(frames, device)[draw("offsets", len(OFFSETS), (rooms,), k)]) % frames
        one, two = (_gather(parts, rows) for rows in pair)
        light = counter.uniform(seed, "batches", torch.tensor([k]), "light", (2, 2 * rooms, 1, 1, 1), -0.1, 0.1)[0]
        light = light.to(device) * (torch.arange(2 * rooms, device=device) % 2)[:, None, None, None]
        features = backbone(grey(torch.cat([one.image, two.image])) * (1 + light[0]) + light[1] / 0.25)
        first, second = features[:rooms], features[rooms:]
        tau = threshold(k / steps, largest=recipe["tau_largest"])
        total = torch.zeros((), device=device)
        for r, head in enumerate(heads):
            point = head(features[r::rooms]).flatten(2).transpose(1, 2).flatten(0, 1)
            rotation, centre = (
                v[pair[:, r]].repeat_interleave(len(pixel), 0) for v in (parts[r].rotation, parts[r].centre)
            )
            loss, _ = coordinate_loss(point, pixel.repeat(2, 1), rotation, centre, focal, tau)
            total = total + loss / rooms
        chosen = draw("cells", len(pixel), (rooms, recipe["points"]), k)
        corner = one.point[:, :, stride // 2 :: stride, stride // 2 :: stride].flatten(2)
        point = torch.gather(corner, 2, chosen[:, None].expand(-1, 3, -1)).transpose(1, 2)
        place, visible = seen_from(point, two, config.focal)
        again = contrast(first, second, chosen, place, visible, recipe["temperature"])
        optimizer.zero_grad(set_to_none=True)
        (recipe["weight_coordinates"] * total + again).backward()
        optimizer.step()
        schedule.step()
        if k % 100 == 99:
            coordinates, known = total.item(), again.item()
            say(f"scene_features: step {k + 1} of {steps}, coordinates {coordinates:.2f}, correspondence {known:.2f}")
    return standardised(backbone, grey(torch.cat([p.image[::20] for p in parts])))


OFFSETS = (1, 2, 27, 28, 29, 30, 56, 57, 58, 86)
"""Frames between the two pictures of a pair: neighbours, and those that look the same way from elsewhere."""


def _offsets(frames: int, device: torch.device) -> Tensor:
    return torch.tensor(OFFSETS, device=device) % frames


def _gather(parts: list[Views], rows: Tensor) -> Views:
    """One frame of each room."""
    names = ("image", "depth", "point", "rotation", "centre")
    return Views(*(torch.stack([getattr(p, n)[i] for p, i in zip(parts, rows, strict=True)]) for n in names))


@torch.no_grad()
def standardised(backbone: Backbone, pictures: Float[Tensor, "batch 1 h w"]) -> Backbone:
    """The same backbone with channels of mean 0 and deviation 1 over `pictures`; it changes its last layers' weights."""
    features = torch.cat([backbone(part) for part in pictures.split(20)]).transpose(0, 1).flatten(1)
    mean, scale = features.mean(dim=1), 1 / features.std(dim=1).clamp(min=1e-6)
    for layer in (backbone.skip, backbone.second[-1]):
        layer.weight.mul_(scale[:, None, None, None])
        layer.bias.mul_(scale)
    backbone.skip.bias.sub_(mean * scale)
    return backbone


@torch.no_grad()
def measure(model: Backbone, recipe: Mapping[str, Any]) -> dict[str, float]:
    """In a room it never saw: how often a cell's most similar cell two frames on lies within two cells of the truth, percent."""
    config = ViewsConfig()
    world = ViewsWorld(config, recipe["seed"], recipe["first_room"] + 500)
    index = torch.arange(0, recipe["frames"], 10)
    one, two = world.sample(index), world.sample(index + 2)
    first, second = (F.normalize(model(grey(v.image)), dim=1).flatten(2) for v in (one, two))
    stride = model.stride
    point = one.point[:, :, stride // 2 :: stride, stride // 2 :: stride].flatten(2).transpose(1, 2)
    place, visible = seen_from(point, two, config.focal)
    size = place.new_tensor([config.image_width, config.image_height])
    found = cells(config.image_height, config.image_width, stride)[
        torch.einsum("bcn,bcm->bnm", first, second).argmax(2)
    ]
    off = (found - place * size / 2).abs().amax(dim=-1)
    return {"matched": 100 * float((off < 2 * stride)[visible].float().mean())}


MEMBER = Member(
    name="scene_features",
    says="features of grey pictures for scene coordinates",
    version=1,
    recipe=RECIPE,
    build=build,
    train=train,
    measure=measure,
    tolerance=0.5,
)
