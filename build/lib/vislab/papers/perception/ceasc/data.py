"""The task: boxes and classes of small things seen from the air."""

from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.datasets import uavdt, visdrone
from vislab.datasets.base import locate
from vislab.papers.perception.ceasc.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.streets.aerial import AerialConfig, AerialWorld

VISDRONE, UAVDT = DATASETS
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def world(config: Config, seed: int) -> AerialWorld:
    """The procedural streets."""
    return AerialWorld(
        AerialConfig(
            image_size=config.image_size,
            image_width=config.image_width,
            classes=config.classes,
            scale=config.scale,
            density=config.density,
            max_objects=config.max_objects,
        ),
        seed,
    )


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "boxes": (batch, object, 4) in pixels, "labels": (batch, object), -1 if empty}.

    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source == "world":
        found = world(config, seed).sample(absolute(split, index.cpu()), device)
        image, boxes, labels = found.image, found.boxes, found.labels
    else:
        frames = listed(config.source, split)
        reader = visdrone if config.source == "visdrone" else uavdt
        dataset = VISDRONE if config.source == "visdrone" else UAVDT
        items = [reader.read(dataset, frames[k % len(frames)]) for k in index.tolist()]
        fitted = [fit(*item, config) for item in items]
        image, boxes, labels = (torch.stack(part).to(device) for part in zip(*fitted, strict=True))
    return {"image": standardise(image), "boxes": boxes, "labels": labels}


@cache
def listed(source: str, split: str) -> list:
    """The frames of a real data set's split; both sets are tested on what is also their validation set."""
    if source == "visdrone":
        return visdrone.frames(VISDRONE, locate(VISDRONE), "train" if split == "train" else "val")
    return uavdt.frames(UAVDT, locate(UAVDT), "train" if split == "train" else "test")


def fit(
    image: Float[Tensor, "3 h w"], boxes: Float[Tensor, "object 4"], labels: Int[Tensor, " object"], config: Config
) -> tuple[Tensor, Tensor, Tensor]:
    """The picture scaled to fit in the configured size, aspect kept, padded with the mean; boxes padded to `max_objects`."""
    height, width = image.shape[-2:]
    factor = min(config.image_size / height, config.image_width / width)
    size = (round(height * factor), round(width * factor))
    scaled = torch.nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    canvas = torch.tensor(MEAN)[:, None, None].repeat(1, config.image_size, config.image_width)
    canvas[:, : size[0], : size[1]] = scaled
    kept = min(len(boxes), config.max_objects)
    all_boxes, all_labels = torch.zeros(config.max_objects, 4), torch.full((config.max_objects,), -1)
    all_boxes[:kept], all_labels[:kept] = boxes[:kept] * factor, labels[:kept]
    return canvas, all_boxes, all_labels


def standardise(image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
    """Subtract ImageNet's mean and divide by its deviation."""
    mean, std = (torch.tensor(v, device=image.device)[:, None, None] for v in (MEAN, STD))
    return (image - mean) / std


def augment(items: dict[str, Tensor]) -> dict[str, Tensor]:
    """Flips from left to right and changes of brightness and contrast, drawn inside the step's scope."""
    image, boxes = items["image"], items["boxes"]
    width, device = image.shape[-1], image.device
    flip = torch.rand(len(image), device=device) < 0.5
    gain, shift = 1 + 0.2 * (torch.rand(2, len(image), 1, 1, 1, device=device) - 0.5)
    image = torch.where(flip[:, None, None, None], image.flip(-1), image) * gain + (shift - 1)
    mirrored = torch.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], dim=-1)
    empty = (items["labels"] < 0)[..., None]
    mirrored = torch.where(empty, boxes, mirrored)
    return items | {"image": image, "boxes": torch.where(flip[:, None, None], mirrored, boxes)}
