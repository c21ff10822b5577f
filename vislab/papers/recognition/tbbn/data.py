"""The task: classes that come in tasks, each with a palette, a contrast and a grain of its own."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.datasets import cifar
from vislab.datasets.base import locate
from vislab.engine.continual import tasks
from vislab.ops import counter
from vislab.papers.recognition.tbbn.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes.classes import ClassesConfig, ClassesWorld

(CIFAR100,) = DATASETS


def class_order(config: Config, seed: int) -> list[int]:
    """The world's or CIFAR's class behind every label; labels count up task after task.

    The world's order is the seed's, CIFAR's that of FACIL and iCaRL (a permutation of seed 1993).
    """
    if config.source == "cifar100":
        return np.random.RandomState(1993).permutation(config.classes).tolist()
    return sum(tasks(config.classes, config.tasks, seed), [])


def world(config: Config, seed: int) -> ClassesWorld:
    """The procedural classes, before the tasks' styles."""
    shapes = ClassesConfig(
        classes=config.classes,
        image_size=config.image_size,
        gap=config.gap,
        noise=config.noise,
        pose_jitter=config.pose_jitter,
    )
    return ClassesWorld(shapes, seed)


def styled(
    image: Float[Tensor, "batch 3 h w"], task: Int[Tensor, " batch"], strength: float, seed: int
) -> Float[Tensor, "batch 3 h w"]:
    """Pictures in the style of their task: colours mixed and tinted, contrast changed, a grating of the task's own laid over.

    With `strength` 0 they stay as they are.
    """

    def draw(name: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        return counter.uniform(seed, "world", task, f"task {name}", shape, low, high)

    mix = torch.eye(3, device=image.device) + strength * draw("mix", (3, 3), -0.35, 0.35)
    contrast = 1 + strength * draw("contrast", (1, 1, 1), -0.5, 0.4)
    tint = strength * draw("tint", (3, 1, 1), -0.25, 0.25)
    angle, waves = draw("angle", (), 0, torch.pi), draw("waves", (), 2, 9)
    place = torch.linspace(0, 1, image.shape[-1], device=image.device)
    across = angle.cos()[:, None, None] * place + angle.sin()[:, None, None] * place[:, None]
    grain = (
        strength * draw("grain", (1, 1, 1), 0.02, 0.12) * (2 * torch.pi * waves[:, None, None] * across).sin()[:, None]
    )
    mixed = torch.einsum("bij,bjhw->bihw", mix, image - 0.5)
    return (0.5 + contrast * mixed + tint + grain).clamp(0, 1)


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "label": (batch,)}; training items stand task after task, the others class by class in turn.

    With all 500 pictures of a CIFAR class in training, the validation split is the last of them.
    Raises UserError when the real data set is asked for and is not there.
    """
    within, order = index.cpu(), torch.tensor(class_order(config, seed))
    size, items = config.classes // config.tasks, config.train_items // config.tasks
    label = within % config.classes
    if split == "train":
        label = within // items * size + within % items % size
    if config.source == "cifar100":
        return _cifar(config, split, within, label, order, device)
    shapes = world(config, seed).sample(absolute(split, within), device, order[label])
    image = styled(shapes.image, (label // size).to(device), config.dissimilarity, seed)
    return {"image": (image - 0.5) / 0.25, "label": label.to(device)}


def _cifar(
    config: Config, split: str, within: Tensor, label: Tensor, order: Tensor, device: torch.device | str
) -> dict[str, Tensor]:
    """CIFAR-100 by label: the reader lays training classes out one after the other, the other splits are searched."""
    counts = torch.full((config.classes,), config.train_items // config.classes)
    if split == "train":
        size, items = config.classes // config.tasks, config.train_items // config.tasks
        place = order[label] * counts[0] + within % items // size
    else:
        place = within
    image, found = cifar.read(CIFAR100, locate(CIFAR100), split, place, counts)
    return {"image": cifar.standardise(image, config.classes).to(device), "label": order.argsort()[found].to(device)}


def task_items(config: Config, task: int) -> Int[Tensor, " items"]:
    """Indices of the training items of a task; joint training has them all."""
    if config.joint:
        return torch.arange(config.train_items)
    items = config.train_items // config.tasks
    return torch.arange(task * items, (task + 1) * items)
