"""The task: mapping pictures with poses, queries of the same scene from elsewhere; and the augmentation of mapping pictures."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.datasets import seven_scenes
from vislab.datasets.base import locate
from vislab.nn.scene_coordinates import grey
from vislab.ops.rotations import turn
from vislab.papers.geometry.ace.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.rooms.views import ViewsConfig, ViewsWorld

(SEVEN_SCENES,) = DATASETS


def views(config: Config, seed: int) -> ViewsWorld:
    """The room of a seed; the zoo's backbone saw rooms of other numbers."""
    height = config.image_size
    return ViewsWorld(ViewsConfig(image_height=height, image_width=height * 4 // 3, focal=config.focal), seed)


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"grey": (batch, 1, h, w), "rotation": (batch, 3, 3) camera-from-world, "centre": (batch, 3) metres}; no depth.

    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source == "world":
        found = views(config, seed).sample(absolute(split, index.cpu()), device)
        return {"grey": grey(found.image), "rotation": found.rotation, "centre": found.centre}
    scene = locate(SEVEN_SCENES) / config.scene
    image, rotation, centre = seven_scenes.read(SEVEN_SCENES, scene, split, index.cpu(), config.image_size)
    return {"grey": grey(image).to(device), "rotation": rotation.to(device), "centre": centre.to(device)}


def mapping(config: Config, seed: int, device: torch.device | str) -> dict[str, Tensor]:
    """All mapping pictures with their poses, as `batch` gives them."""
    parts = [batch(config, "train", seed, index, device) for index in torch.arange(config.train_items).split(50)]
    return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}


def centres(config: Config, seed: int) -> Float[Tensor, "picture 3"]:
    """Camera centres of all mapping pictures, metres."""
    if config.source == "world":
        return views(config, seed).poses(torch.arange(config.train_items))[1]
    return seven_scenes.centres(SEVEN_SCENES, locate(SEVEN_SCENES) / config.scene)


def augmented(
    items: dict[str, Tensor], config: Config
) -> tuple[dict[str, Tensor], Float[Tensor, " batch"], Bool[Tensor, "batch 1 h w"]]:
    """Pictures rolled, zoomed and re-lit, with poses and focal lengths that stay exact, and which pixels are real (section 4).

    A roll by an angle is one of the camera about its axis; a zoom is one of the focal length.
    Draws from torch's global generator, inside a scope.
    """
    picture, device = items["grey"], items["grey"].device
    count, _, height, width = picture.shape
    angle = config.rotation * (2 * torch.rand(count, device=device) - 1)
    zoom = torch.exp(math.log(config.zoom) * (2 * torch.rand(count, device=device) - 1))
    cos, sin, zero = angle.cos() / zoom, angle.sin() / zoom, torch.zeros_like(angle)
    aspect = height / width
    # from new to old places, in coordinates that run from -1 to 1 across the picture
    theta = torch.stack([
        torch.stack([cos, sin * aspect, zero], dim=1), torch.stack([-sin / aspect, cos, zero], dim=1),
    ], dim=1)  # fmt: skip
    grid = F.affine_grid(theta, list(picture.shape), align_corners=False)
    real = (grid.abs() < 1).all(dim=-1)[:, None]
    picture = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)
    light = 1 + config.jitter * (2 * torch.rand(count, 1, 1, 1, device=device) - 1)
    shift = config.jitter / 0.25 * (2 * torch.rand(count, 1, 1, 1, device=device) - 1)
    found = {
        "grey": torch.where(real, picture * light + shift, torch.zeros_like(picture)),
        "rotation": turn(angle, 2) @ items["rotation"],
        "centre": items["centre"],
    }
    return found, config.focal * zoom, real
