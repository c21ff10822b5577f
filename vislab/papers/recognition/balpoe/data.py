"""The task: long-tailed training, balanced validation and test."""

import torch
from jaxtyping import Int
from torch import Tensor

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


def statistics(config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each colour with which pictures are standardised."""
    if config.source in ("cifar10", "cifar100"):
        return tuple(cifar.MEAN[config.classes]), tuple(cifar.STD[config.classes])
    return ((0.5,) * 3, (0.25,) * 3) if config.source == "world" else (image_lists.MEAN, image_lists.STD)
