"""The task's items: rearrangement episodes by index, from procedural rooms or from the released episode sets."""

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import SPLITS
from vislab.datasets import replicacad
from vislab.datasets.base import locate
from vislab.ops import counter
from vislab.papers.agents.galactic.card import DATASETS, Config
from vislab.papers.agents.galactic.task import world_config
from vislab.worlds.base import absolute
from vislab.worlds.control import simulator
from vislab.worlds.control.episodes import Episode, Rearrangement
from vislab.worlds.control.simulator import Scene

(REPLICACAD,) = DATASETS
EPISODES = "train/tidy_house_10k_1k_v1.episode_set.json"
ABSENT = -100.0
"""Height of objects that an episode does not have, metres."""


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """The fields of `Episode` by name; training, validation and test episodes are in different rooms.

    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source == "world":
        episode = Rearrangement(world_config(config), seed).sample(absolute(split, index.cpu()), device)
    else:
        episode = apartment_episodes(config, split, index.cpu())
    return {name: getattr(episode, name).to(device) for name in Episode.__dataclass_fields__}


def apartment_episodes(config: Config, split: str, index: Int[Tensor, " batch"]) -> Episode:
    """Released episodes: those of the layouts `held_out` are for validation and test in turn, the others for training.

    The target comes first among the objects, and the grid's corner is the origin; furniture and objects get colours by their number.
    """
    folder = locate(REPLICACAD)
    found = replicacad.read(REPLICACAD, folder / EPISODES)
    seen, unseen = replicacad.split_scenes(found, config.held_out)
    rows = {"train": seen, "validation": unseen[::2], "test": unseen[1::2]}[split]
    row = rows[index % len(rows)]
    number = torch.arange(found.objects.shape[1])
    first = torch.where(
        number == 0, found.target[row, None], torch.where(number <= found.target[row, None], number - 1, number)
    )
    objects = found.objects[row].gather(1, first[..., None].expand(-1, -1, 3))
    present = (first < found.count[row, None])[..., None]
    objects = torch.where(present, objects, ABSENT)[:, : config.objects]
    missing = config.objects - objects.shape[1]
    objects = torch.cat([objects, objects.new_full((len(row), missing, 3), ABSENT)], dim=1)
    boxes, corners = apartments(config)
    scene = found.scene[row]
    shift = torch.cat([corners[scene], torch.zeros(len(row), 1)], dim=1)
    colours = counter.uniform(0, "world", scene, "replicacad", (config.furniture + config.objects, 3), 0.15, 0.95)
    return Episode(
        boxes[scene], colours, objects - shift[:, None], found.goal[row] - shift,
        found.start[row] - shift * torch.tensor([1.0, 1.0, 0.0]), scene + SPLITS[split],
    )  # fmt: skip


@lru_cache(maxsize=1)
def apartments(config: Config) -> tuple[Float[Tensor, "scene box 6"], Float[Tensor, "scene 2"]]:
    """The largest solid boxes of every scene of the episode set, and the corners of their grids."""
    folder = locate(REPLICACAD)
    scenes = replicacad.read(REPLICACAD, folder / EPISODES).scenes
    grids = [replicacad.read_grid(REPLICACAD, folder / "columngrids" / f"{name}.0.columngrid") for name in scenes]
    ceiling = world_config(config).ceiling
    boxes = torch.stack([replicacad.solid_boxes(g, config.furniture, ceiling) for g in grids])
    return boxes, torch.tensor([g.origin for g in grids])


@lru_cache(maxsize=6)
def columns(
    config: Config, split: str, seed: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "room radius cell bounds"]:
    """The column grids of all rooms of a split, built once."""
    world = world_config(config)
    if config.source == "replicacad":
        return torch.cat([simulator.column_grid(world, box[None]) for box in apartments(config)[0]]).to(device)
    rooms = SPLITS[split] + torch.arange(config.rooms, device=device)
    return simulator.column_grid(world, Rearrangement(world, seed).furnish(rooms)[0])


def scene(config: Config, split: str, seed: int, items: dict[str, Tensor]) -> Scene:
    """Items of a split with the grids of their rooms."""
    episode = Episode(**items)
    return Scene(episode, columns(config, split, seed, episode.start.device), episode.room - SPLITS[split])
