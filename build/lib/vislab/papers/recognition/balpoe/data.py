"""The task: long-tailed training, balanced validation and test."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vislab.datasets import cifar, image_lists
from vislab.datasets.base import locate
from vislab.ops.longtail import labels_of, longtail_counts
from vislab.papers.recognition.balpoe.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes.classes import ClassesConfig, ClassesWorld

CIFAR100, CIFAR10, IMAGENET, INATURALIST = DATASETS


def class_counts(config: Config) -> Int[Tensor, " classes"]:
    """Training items of each class."""
    if config.source in ("imagenet_lt", "inaturalist"):
        dataset = IMAGENET if config.source == "imagenet_lt" else INATURALIST
        return image_lists.counts(dataset, locate(dataset), config.source, config.classes)
    return longtail_counts(config.classes, config.head, config.imbalance)


def world(config: Config, seed: int) -> ClassesWorld:
    """The procedural classes."""
    shapes = ClassesConfig(classes=config.classes, image_size=config.image_size, gap=config.gap, noise=config.noise)
    return ClassesWorld(shapes, seed)


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "label": (batch,)}; training is long-tailed, the other splits are balanced.

    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source == "world":
        within = index.cpu()
        label = labels_of(class_counts(config), within) if split == "train" else within % config.classes
        shapes = world(config, seed).sample(absolute(split, within), device, label)
        return {"image": (shapes.image - 0.5) / 0.25, "label": shapes.label}
    if config.source in ("cifar10", "cifar100"):
        dataset = CIFAR10 if config.source == "cifar10" else CIFAR100
        image, label = cifar.read(dataset, locate(dataset), split, index.cpu(), class_counts(config))
        return {"image": cifar.standardise(image, config.classes).to(device), "label": label.to(device)}
    dataset = IMAGENET if config.source == "imagenet_lt" else INATURALIST
    image, label = image_lists.read(dataset, locate(dataset), config.source, split, index.cpu(), config.image_size)
    return {"image": image.to(device), "label": label.to(device)}


def automatic(image: Float[Tensor, "batch 3 h w"], config: Config) -> Float[Tensor, "batch 3 h w"]:
    """AutoAugment's CIFAR policy and a Cutout of half the side, each image by itself, as in the paper's long training."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    mean, std = statistics(config, image.device)
    policy = AutoAugment(AutoAugmentPolicy.CIFAR10)
    whole = ((image * std + mean).clamp(0, 1) * 255).byte()
    changed = torch.stack([policy(one) for one in whole]).float() / 255
    side = image.shape[-1]
    centre = torch.randint(0, side, (2, len(image), 1), device=image.device)
    near = (torch.arange(side, device=image.device) - centre).abs() < side // 4
    hole = near[0][:, None, :, None] & near[1][:, None, None, :]
    return ((changed - mean) / std).masked_fill(hole, 0.0)


def statistics(config: Config, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (3, 1, 1), with which images are standardised."""
    if config.source in ("cifar10", "cifar100"):
        found = cifar.MEAN[config.classes], cifar.STD[config.classes]
    elif config.source == "world":
        found = (0.5,) * 3, (0.25,) * 3
    else:
        found = image_lists.MEAN, image_lists.STD
    return tuple(torch.tensor(v, device=device)[:, None, None] for v in found)


def augment(image: Float[Tensor, "batch 3 h w"], padding: int) -> Float[Tensor, "batch 3 h w"]:
    """Random crops from the zero-padded image and random flips, drawn inside the step's scope."""
    count, _, height, width = image.shape
    padded = F.pad(image, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, count), device=image.device)
    flip = torch.rand(count, device=image.device) < 0.5
    rows = top[:, None] + torch.arange(height, device=image.device)
    columns = torch.arange(width, device=image.device).expand(count, -1)
    columns = left[:, None] + torch.where(flip[:, None], columns.flip(-1), columns)
    item = torch.arange(count, device=image.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[item, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
