"""Reader of the rearrangement episode sets over ReplicaCAD: where the robot starts, what lies where, what must go where.

The files are y-up with the floor in x and z; positions come back z-up, (x, -z, y), with headings about z from x to y.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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
    """A set of three episodes in two scenes, the first with one object less than the others; its path."""
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
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tidy_house_10k_1k_v1.episode_set.json"
    file.write_text(json.dumps({"episodeSet": content}))
    return file
