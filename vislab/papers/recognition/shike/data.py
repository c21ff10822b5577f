"""The task: long-tailed training, balanced validation and test, in a world whose look-alikes differ at different depths."""

import torch
from jaxtyping import Int
from torch import Tensor

from vislab.datasets import cifar
from vislab.datasets.base import locate
from vislab.ops.longtail import labels_of, longtail_counts
from vislab.papers.recognition.shike.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes.classes import ClassesConfig
from vislab.worlds.shapes.depths import DepthsWorld

(CIFAR100,) = DATASETS


def class_counts(config: Config) -> Int[Tensor, " classes"]:
    """Training items of each class."""
    return longtail_counts(config.classes, config.head, config.imbalance)


def world(config: Config, seed: int) -> DepthsWorld:
    """The procedural classes."""
    shapes = ClassesConfig(classes=config.classes, image_size=config.image_size, gap=config.gap, noise=config.noise)
    return DepthsWorld(shapes, seed)


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "label": (batch,)}; training is long-tailed, the other splits are balanced.

    Raises UserError when the real data set is asked for and is not there.
    """
    within = index.cpu()
    if config.source == "cifar100":
        image, label = cifar.read(CIFAR100, locate(CIFAR100), split, within, class_counts(config))
        return {"image": cifar.standardise(image, config.classes).to(device), "label": label.to(device)}
    label = labels_of(class_counts(config), within) if split == "train" else within % config.classes
    shapes = world(config, seed).sample(absolute(split, within), device, label)
    return {"image": (shapes.image - 0.5) / 0.25, "label": shapes.label}


def statistics(config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each colour with which pictures are standardised."""
    if config.source == "cifar100":
        return tuple(cifar.MEAN[config.classes]), tuple(cifar.STD[config.classes])
    return (0.5,) * 3, (0.25,) * 3
