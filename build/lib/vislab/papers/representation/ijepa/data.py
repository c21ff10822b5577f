"""The task: pictures without labels to learn from, labelled ones for probes; random crops, and augmented views for the rival."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vislab.datasets import class_folders
from vislab.datasets.base import locate
from vislab.papers.representation.ijepa.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes.crowd import CrowdConfig, CrowdWorld

(IMAGENET,) = DATASETS
SIDE_LIMIT = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "label", "count", "distance": (batch,)}; a real set has no count and no distance.

    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source == "world":
        size = min(config.image_size, SIDE_LIMIT)
        found = CrowdWorld(CrowdConfig(size, config.most, config.ground, noise=config.noise), seed).sample(
            absolute(split, index.cpu()), device
        )
        image = found.image
        if size != config.image_size:  # the step benchmark at the paper's size
            image = F.interpolate(image, size=config.image_size, mode="bilinear")
        return {"image": (image - 0.5) / 0.25, "label": found.label, "count": found.count, "distance": found.distance}
    image, label = class_folders.read(IMAGENET, locate(IMAGENET), "imagenet", split, index.cpu(), config.image_size)
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return {"image": ((image - mean) / std).to(device), "label": label.to(device)}


def packed(image: Float[Tensor, "batch 3 h w"]) -> Tensor:
    """A standardised world picture as uint8, as shared parts are stored."""
    return ((image * 0.25 + 0.5) * 255).round().to(torch.uint8)


def unpacked(image: Tensor) -> Float[Tensor, "batch 3 h w"]:
    """The standardised picture of a uint8 one."""
    return (image.float() / 255 - 0.5) / 0.25


def cropped(image: Float[Tensor, "batch 3 h w"], scale: tuple[float, float]) -> Float[Tensor, "batch 3 h w"]:
    """Random resized crops: a share of the area within `scale`, aspect 3/4 to 4/3; drawn inside the step's scope."""
    count, device = len(image), image.device
    area = scale[0] + (scale[1] - scale[0]) * torch.rand(count, device=device)
    ratio = torch.exp((2 * torch.rand(count, device=device) - 1) * 0.2877)
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    x = (2 * torch.rand(count, device=device) - 1) * (1 - width)
    y = (2 * torch.rand(count, device=device) - 1) * (1 - height)
    zero = torch.zeros_like(x)
    theta = torch.stack([torch.stack([width, zero, x], dim=1), torch.stack([zero, height, y], dim=1)], dim=1)
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)


def view(image: Float[Tensor, "batch 3 h w"], scale: tuple[float, float]) -> Float[Tensor, "batch 3 h w"]:
    """A crop, flipped half the time, its brightness, contrast and channels jittered, grey one time in five: views by hand."""
    count, device = len(image), image.device
    one = (count, 1, 1, 1)
    found = cropped(image, scale)
    flip = torch.rand(one, device=device) < 0.5
    found = torch.where(flip, found.flip(-1), found)
    contrast = 0.6 + 0.8 * torch.rand(one, device=device)
    brightness = 0.8 * (torch.rand(one, device=device) - 0.5)
    tint = 0.8 * (torch.rand(count, 3, 1, 1, device=device) - 0.5)
    found = found * contrast + brightness + tint
    grey = torch.rand(one, device=device) < 0.2
    return torch.where(grey, found.mean(dim=1, keepdim=True).expand_as(found), found)
