"""The task: rays with their colours, from training cameras of a rig and from cameras held out."""

import torch
from jaxtyping import Int
from torch import Tensor

from vislab.datasets import multiview
from vislab.datasets.base import locate
from vislab.ops import counter
from vislab.ops.cameras import Cameras, forward_rig, grid_offsets, rays
from vislab.papers.fields.hyperreel.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.objects import DIFFUSE, ObjectsConfig, ObjectsWorld, solids, trace

SETS = dict(zip(("technicolor", "neural3d", "donerf"), DATASETS, strict=True))


def world(config: Config, seed: int) -> ObjectsWorld:
    """The seed's scene."""
    shown = ObjectsConfig(
        image_size=config.image_size,
        special=config.special,
        solids=config.solids,
        detail=config.detail,
        speed=config.speed,
        reach=config.reach,
    )
    return ObjectsWorld(shown, seed)


def held_out(config: Config) -> list[int]:
    """The four inner cameras of the rig that are never trained on: the corners of its second ring."""
    side = config.rig
    near, far = 1, side - 2
    return [near * side + near, near * side + far, far * side + near, far * side + far]


def cameras(config: Config, split: str, seed: int) -> Cameras:
    """The split's cameras: the rig without its held-out ones, random places for validation, the held-out ones for test.

    "outside" gives four cameras beyond the rig's corners, where nothing was interpolated.
    """
    grid = grid_offsets(config.rig, config.reach)
    out = held_out(config)
    if split == "train":
        offsets = grid[[k for k in range(len(grid)) if k not in out]]
    elif split == "test":
        offsets = grid[out]
    elif split == "validation":
        index = absolute("validation", torch.arange(4))
        offsets = counter.uniform(seed, "world", index, "validation camera", (2,), -config.reach, config.reach)
    else:
        offsets = 1.35 * grid[[0, config.rig - 1, -config.rig, -1]]
    return forward_rig(offsets, config.image_size)


def ray_count(config: Config, split: str) -> int:
    """Rays of a split: cameras x frames x pixels."""
    rig = {"train": config.rig**2 - 4}.get(split, 4)
    return rig * config.frames * config.image_size**2


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"origin", "direction", "rgb": (ray, 3), "time": (ray,), "reflector": (ray,) bool} of rays `index`.

    A ray's index counts pixels within a view, views within a frame, frames last.
    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source != "world":
        dataset = SETS[config.source]
        found = multiview.read(dataset, locate(dataset), config.source, split, index.cpu())
        return {name: value.to(device) for name, value in found.items()}
    index = (index.to(device) % ray_count(config, split)).long()
    rig = cameras(config, split, seed)
    pixels = config.image_size**2
    origin, direction = (r.flatten(1, 2).to(device) for r in rays(rig))
    view, pixel = index // pixels % len(rig.centre), index % pixels
    frame = index // pixels // len(rig.centre)
    time = frame / max(1, config.frames - 1)
    shown = world(config, seed)
    scene = solids(shown.config, seed, device)
    o, d = origin[view, pixel], direction[view, pixel]
    colour, hit = trace(scene, o, d, time, shown.config.index)
    reflector = scene.material[hit.solid] != DIFFUSE
    return {"origin": o, "direction": d, "time": time, "rgb": colour, "reflector": reflector}
