"""Reader of the rearrangement episode sets over ReplicaCAD, and of the column grids of their scenes.

Episodes say where the robot starts, what lies where and what must go where; a grid says for every floor cell at which heights a
small sphere is free.

The files are y-up with the floor in x and z; positions come back z-up, (x, -z, y), with headings about z from x to y.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require


@dataclass(frozen=True)
class EpisodeSet:
    """The episodes of one file; episodes with fewer objects than others are filled up with their last one."""

    scenes: tuple[str, ...]
    """Names of the static scenes, each a layout of one of ReplicaCAD's apartments."""
    scene: Int[Tensor, " episode"]
    """Index into `scenes`."""
    start: Float[Tensor, "episode 3"]
    """x, y [m] and heading [rad] of the robot's base."""
    kinds: tuple[str, ...]
    """Names of the movable objects' kinds."""
    kind: Int[Tensor, "episode object"]
    """Index into `kinds`."""
    objects: Float[Tensor, "episode object 3"]
    """Positions of the objects at the start, metres."""
    count: Int[Tensor, " episode"]
    """Objects that are really there."""
    target: Int[Tensor, " episode"]
    """Which object must be moved."""
    goal: Float[Tensor, "episode 3"]
    """Where to, metres."""


@dataclass(frozen=True)
class ColumnGrid:
    """Free heights of a static scene, z-up."""

    origin: tuple[float, float]
    """x and y of the grid's lowest corner, metres."""
    cell: float
    """Side of a cell, metres."""
    radius: float
    """Radius of the sphere whose centre is free there, metres."""
    free: Float[Tensor, "layer y x 2"]
    """Lower and upper end of each free interval, metres; an interval that is absent is (inf, inf)."""


_HEADER = np.dtype(
    [("magic", "<u8"), ("version", "<u4"), ("x", "<f4"), ("z", "<f4"), ("cell", "<f4"), ("radius", "<f4"),
     ("columns", "<u4"), ("rows", "<u4"), ("layers", "<u4")]
)  # fmt: skip
_MAGIC, _VERSION = 0xFACEB00501234567, 1


def read_grid(dataset: DataSet, file: Path) -> ColumnGrid:
    """A `*.columngrid` of one scene and one radius.

    Raises UserError for a file that is missing, empty, cut off or of another kind.
    """
    content = require(dataset, file).read_bytes()
    if len(content) < _HEADER.itemsize:
        raise damaged(dataset, file, "its header is cut off")
    head = np.frombuffer(content, _HEADER, 1)[0]
    if int(head["magic"]) != _MAGIC or int(head["version"]) != _VERSION:
        raise damaged(dataset, file, "it is not a column grid of version 1")
    shape = tuple(int(head[n]) for n in ("layers", "rows", "columns")) + (2,)
    if len(content) != _HEADER.itemsize + 4 * math.prod(shape):
        raise damaged(dataset, file, f"its length does not fit {shape[0]} layers of {shape[1]} x {shape[2]} cells")
    values = np.frombuffer(content, "<f4", offset=_HEADER.itemsize).reshape(shape)
    free = torch.from_numpy(np.where(values > 1e30, np.inf, values)).flip(1)  # y runs against the files' z
    cell = float(head["cell"])
    return ColumnGrid((float(head["x"]), -float(head["z"]) - shape[1] * cell), cell, float(head["radius"]), free)


def solid_boxes(grid: ColumnGrid, count: int, ceiling: float, step: float = 0.05) -> Float[Tensor, "count 6"]:
    """What is not free as axis-aligned boxes (lower corner, upper corner), the origin at the grid's corner, largest first.

    Heights are rounded to `step`; cells of equal solids are joined into rectangles; boxes beyond `count` are left out.
    Fewer boxes are filled up with empty ones far below the floor.
    """
    low, high = grid.free.clamp(max=ceiling).unbind(-1)
    floor = torch.zeros_like(low[:1])
    begin = torch.cat([floor, high]).div(step).round().long()
    end = torch.cat([low, torch.full_like(floor, ceiling)]).div(step).round().long()
    solid = end > begin
    found = []
    for bottom, top in {tuple(p) for p in torch.stack([begin[solid], end[solid]], dim=1).tolist()}:
        mask = (solid & (begin == bottom) & (end == top)).any(0).numpy()
        found += [(x0, y0, bottom * step, x1, y1, top * step) for x0, y0, x1, y1 in _rectangles(mask, grid.cell)]
    boxes = torch.tensor(found, dtype=torch.float32).reshape(-1, 6)
    volume = (boxes[:, 3:] - boxes[:, :3]).prod(1)
    boxes = boxes[volume.argsort(descending=True, stable=True)[:count]]
    spare = torch.tensor([0.0, 0.0, -101.0, 0.1, 0.1, -100.0]).expand(count - len(boxes), -1)
    return torch.cat([boxes, spare])


def _rectangles(mask: np.ndarray, cell: float) -> list[tuple[float, float, float, float]]:
    """Rectangles that cover a mask exactly: each as far along x as it goes, then along y; one pass a rectangle."""
    mask, found = mask.copy(), []
    while mask.any():
        y, x = divmod(int(mask.argmax()), mask.shape[1])
        row = mask[y, x:]
        width = int(row.argmin()) if not row.all() else len(row)
        full = mask[y:, x : x + width].all(axis=1)
        height = int(full.argmin()) if not full.all() else len(full)
        mask[y : y + height, x : x + width] = False
        found.append((x * cell, y * cell, (x + width) * cell, (y + height) * cell))
    return found


@cache
def read(dataset: DataSet, file: Path) -> EpisodeSet:
    """All episodes of an `*.episode_set.json`.

    Raises UserError for a missing or empty file, for JSON that is cut off, and for members that are absent or contradict each other.
    """
    try:
        content = json.loads(require(dataset, file).read_text())["episodeSet"]
        return _parse(content)
    except KeyError as error:
        raise damaged(dataset, file, f"it has no member {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise damaged(dataset, file, error) from error


def split_scenes(
    episodes: EpisodeSet, held_out: tuple[str, ...]
) -> tuple[Int[Tensor, " seen"], Int[Tensor, " unseen"]]:
    """Rows of the episodes whose scene's name starts with none of `held_out`, and with one of them."""
    unseen = torch.tensor([name.startswith(held_out) for name in episodes.scenes])[episodes.scene]
    return torch.nonzero(~unseen).flatten(), torch.nonzero(unseen).flatten()


def _parse(content: dict[str, Any]) -> EpisodeSet:
    episodes, spawns = content["episodes"], content["freeObjectSpawns"]
    if not episodes:
        raise ValueError("it holds no episode")
    count = torch.tensor([e["numFreeObjectSpawns"] for e in episodes])
    first = torch.tensor([e["firstFreeObjectSpawnIndex"] for e in episodes])
    target = torch.tensor([e["targetObjIndex"] for e in episodes])
    if int((first + count).max()) > len(spawns) or int(count.min()) < 1:
        raise ValueError(f"episodes name objects beyond the {len(spawns)} in the file")
    if not bool(((target >= 0) & (target < count)).all()):
        raise ValueError("the target of an episode is none of its objects")
    row = first[:, None] + torch.minimum(torch.arange(int(count.max())), count[:, None] - 1)
    places = _up(torch.tensor([s["startPos"] for s in spawns]))
    kind = torch.tensor([s["freeObjIndex"] for s in spawns])
    floor = torch.tensor([e["agentStartPos"] for e in episodes])
    yaw = torch.tensor([[e["agentStartYaw"]] for e in episodes])
    found = EpisodeSet(
        scenes=tuple(s["name"] for s in content["staticScenes"]),
        scene=torch.tensor([e["staticSceneIndex"] for e in episodes]),
        start=torch.cat([floor[:, :1], -floor[:, 1:], yaw], dim=1).float(),
        kinds=tuple(o["name"] for o in content["freeObjects"]),
        kind=kind[row],
        objects=places[row],
        count=count,
        target=target,
        goal=_up(torch.tensor([e["targetObjGoalPos"] for e in episodes])),
    )
    if int(found.scene.max()) >= len(found.scenes) or int(found.kind.max()) >= len(found.kinds):
        raise ValueError("episodes name scenes or kinds that are not in the file")
    return found


def _up(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """y-up to z-up."""
    return torch.stack([points[..., 0], -points[..., 2], points[..., 1]], dim=-1).float()


def write_sample(folder: Path, items: int = 3) -> Path:
    """Three episodes in two scenes, the first with one object less than the others, and the scenes' grids; the set's path.

    Each grid is 4 m x 3 m with a solid block of 1 m x 0.5 m, 0.8 m high, and a table top of 1 m x 1 m from 0.6 to 0.7 m.
    """
    spawns, episodes = [], []
    for k in range(items):
        count = 2 + (k > 0)
        episodes.append(
            {
                "staticSceneIndex": k % 2, "numFreeObjectSpawns": count, "targetObjIndex": k % count,
                "firstFreeObjectSpawnIndex": len(spawns), "agentStartPos": [0.5 * k, 2.0],
                "agentStartYaw": 0.25 * math.pi * k, "robotStartJointPositions": [0.0] * 7,
                "targetObjGoalPos": [1.0, 0.8, -0.5 * k], "targetObjGoalRotation": [1.0, 0.0, 0.0, 0.0],
            }
        )  # fmt: skip
        for j in range(count):
            place = {"freeObjIndex": j % 2, "startRotation": [1.0, 0.0, 0.0, 0.0], "startPos": [0.1 * j, 0.7, float(k)]}
            spawns.append(place)
    names = ("Baked_sc0_staging_00", "Baked_sc3_staging_01")
    content = {
        "renderAssets": [{"name": n} for n in (*names, "024_bowl", "003_cracker_box")],
        "staticScenes": [{"name": n, "renderAssetInstances": [], "columnGridSetName": n} for n in names],
        "freeObjects": [{"name": n} for n in ("024_bowl", "003_cracker_box")],
        "freeObjectSpawns": spawns,
        "episodes": episodes,
    }
    (folder / "train").mkdir(parents=True, exist_ok=True)
    (folder / "columngrids").mkdir(exist_ok=True)
    file = folder / "train" / "tidy_house_10k_1k_v1.episode_set.json"
    columns = np.full((2, 30, 40, 2), np.finfo("<f4").max, "<f4")
    columns[0] = (0.0, 2.5)
    columns[0, 5:10, 5:15] = (0.8, 2.5)
    columns[0, 20:30, 20:30], columns[1, 20:30, 20:30] = (0.0, 0.6), (0.7, 2.5)
    head = np.array([(_MAGIC, _VERSION, -0.5, -3.0, 0.1, 0.015, 40, 30, 2)], _HEADER)
    for name in names:
        (folder / "columngrids" / f"{name}.0.columngrid").write_bytes(head.tobytes() + columns.tobytes())
    file.write_text(json.dumps({"episodeSet": content}))
    return file
