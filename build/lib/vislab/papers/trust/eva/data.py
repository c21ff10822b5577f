"""The task: pictures and their classes, with the evidence's mask where the world knows it."""

import dataclasses

import torch
from jaxtyping import Int
from torch import Tensor

from vislab.datasets import cifar, class_folders, mnist
from vislab.datasets.base import locate
from vislab.papers.trust.eva.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes.evidence import EvidenceConfig, EvidenceWorld

MNIST, CIFAR10, IMAGENET = DATASETS


def world(config: Config, seed: int) -> EvidenceWorld:
    """Outlines with a decisive dot."""
    return EvidenceWorld(
        EvidenceConfig(config.classes, config.image_size, spurious=config.spurious, noise=config.noise), seed
    )


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, channel, h, w) in [0, 1], "label": (batch,), "dot" and "body": (batch, h, w) bool}; no masks for real data.

    The spurious background is in the training split alone; elsewhere the hue is any class's.
    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source == "world":
        fair = config if split == "train" else dataclasses.replace(config, spurious=0.0)
        if config.image_size > 64:  # the step benchmark: VGG-16 needs large pictures, the world draws small ones
            fair = dataclasses.replace(fair, image_size=64, classes=8)
        found = world(fair, seed).sample(absolute(split, index.cpu()), device)
        items = {"image": found.image, "label": found.label, "dot": found.dot, "body": found.body}
        if config.image_size > 64:
            items["image"] = torch.nn.functional.interpolate(found.image, size=config.image_size, mode="bilinear")
        return items
    if config.source == "mnist":
        image, label = mnist.read(MNIST, locate(MNIST), split, index.cpu())
    elif config.source == "cifar10":
        counts = torch.full((10,), 4500)
        image, label = cifar.read(CIFAR10, locate(CIFAR10), split, index.cpu(), counts)
    else:
        part = "test" if split == "test" else "train"
        image, label = class_folders.read(IMAGENET, locate(IMAGENET), "imagenet", part, index.cpu(), config.image_size)
    return {"image": image.to(device), "label": label.to(device)}
