"""A backbone for scene coordinates, trained on ten rooms at once with a head for each, so that its features know no room."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislab.nn.scene_coordinates import Backbone, Head
from vislab.ops import counter
from vislab.ops.reprojection import coordinate_loss, threshold
from vislab.worlds.rooms.views import ViewsConfig, ViewsWorld
from vislab.zoo.base import Member

RECIPE = {
    "seed": 0, "rooms": 10, "first_room": 1000, "frames": 120, "widths": [16, 32, 64, 64], "strides": [1, 2, 2, 1], "features": 64,
    "head_width": 96, "steps": 1600, "pictures": 2, "cells": 256, "learning_rate": 1.5e-3, "tau_largest": 20.0,
}  # fmt: skip


def build(recipe: Mapping[str, Any]) -> Backbone:
    """The untrained backbone."""
    with counter.scope(recipe["seed"], "init", "scene features"):
        return Backbone(tuple(recipe["widths"]), recipe["features"], tuple(recipe["strides"]))


def grey(image: Tensor) -> Tensor:
    """sRGB in [0, 1] to one channel with mean 0.4 and deviation 0.25 taken off, as in the released code."""
    weights = image.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    return ((image * weights).sum(dim=1, keepdim=True) - 0.4) / 0.25


def train(recipe: Mapping[str, Any], device: torch.device, say: Callable[[str], None]) -> Backbone:
    """One head a room in parallel, the clamped reprojection loss, half of the pictures with changed brightness and contrast."""
    seed, rooms = recipe["seed"], recipe["rooms"]
    backbone = build(recipe).to(device)
    with counter.scope(seed, "init", "heads"):
        heads = nn.ModuleList(Head(recipe["features"], recipe["head_width"]) for _ in range(rooms)).to(device)
    config, index = ViewsConfig(), torch.arange(recipe["frames"])
    worlds = [ViewsWorld(config, seed, recipe["first_room"] + k) for k in range(rooms)]
    parts = [world.sample(index, device) for world in worlds]
    pictures = [grey(p.image) for p in parts]
    for head, part in zip(heads, parts, strict=True):
        head.mean.copy_(part.centre.mean(dim=0)[None, :, None, None])
    weights = [*backbone.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, recipe["learning_rate"])
    steps = recipe["steps"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe["learning_rate"], total_steps=steps)
    height, width = config.image_height // backbone.stride, config.image_width // backbone.stride
    cell = (torch.arange(height * width, device=device) % width, torch.arange(height * width, device=device) // width)
    pixel = torch.stack(
        [
            (c + 0.5) * backbone.stride - s / 2
            for c, s in zip(cell, (config.image_width, config.image_height), strict=True)
        ],
        dim=1,
    )
    for k in range(steps):
        step = torch.tensor([k])
        chosen = counter.integers(seed, "batches", step, "frames", recipe["frames"], (rooms, recipe["pictures"]))[0]
        light = counter.uniform(seed, "batches", step, "light", (2, rooms * recipe["pictures"], 1, 1, 1), -0.1, 0.1)[
            0
        ].to(device)
        every = torch.cat([pictures[r][chosen[r].to(device)] for r in range(rooms)])
        half = torch.arange(len(every), device=device)[:, None, None, None] % 2
        every = every * (1 + half * light[0]) + half * light[1] / 0.25
        features = backbone(every).unflatten(0, (rooms, -1))
        total = torch.zeros((), device=device)
        for r, (head, part) in enumerate(zip(heads, parts, strict=True)):
            point = head(features[r]).flatten(2).transpose(1, 2)
            kept = counter.integers(seed, "batches", step, f"cells {r}", height * width, (recipe["cells"],))[0].to(
                device
            )
            rows = chosen[r].to(device)
            loss, _ = coordinate_loss(
                point[:, kept].flatten(0, 1), pixel[kept].repeat(len(rows), 1),
                part.rotation[rows].repeat_interleave(len(kept), 0), part.centre[rows].repeat_interleave(len(kept), 0),
                torch.full((len(rows) * len(kept),), config.focal, device=device),
                threshold(k / steps, largest=recipe["tau_largest"]),
            )  # fmt: skip
            total = total + loss / rooms
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()
        schedule.step()
        if k % 100 == 99:
            say(f"scene_features: step {k + 1} of {steps}, loss {float(total):.2f}")
    return backbone


@torch.no_grad()
def measure(model: nn.Module, recipe: Mapping[str, Any]) -> dict[str, float]:
    """In a room it never saw: how often a mapping cell's nearest feature in the next frame lies within two cells of the truth."""
    config = ViewsConfig()
    world = ViewsWorld(config, recipe["seed"], recipe["first_room"] + 500)
    index = torch.arange(0, 100, 10)
    first, second = world.sample(index), world.sample(index + 2)
    a, b = (F.normalize(model(grey(v.image)), dim=1) for v in (first, second))
    stride = model.stride
    point = first.point[:, :, stride // 2 :: stride, stride // 2 :: stride]
    local = torch.einsum("bij,bjn->bin", second.rotation, point.flatten(2) - second.centre[:, :, None])
    x, y = (
        config.focal * local[:, k] / local[:, 2].clamp(min=0.01) + s / 2
        for k, s in ((0, config.image_width), (1, config.image_height))
    )
    inside = (local[:, 2] > 0.1) & (x > 0) & (x < config.image_width) & (y > 0) & (y < config.image_height)
    best = torch.einsum("bcn,bcm->bnm", a.flatten(2), b.flatten(2)).argmax(dim=2)
    width = b.shape[3]
    off = torch.maximum(((best % width + 0.5) * stride - x).abs(), ((best // width + 0.5) * stride - y).abs())
    return {"matched": 100 * float((off < 2 * stride)[inside].float().mean())}


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
