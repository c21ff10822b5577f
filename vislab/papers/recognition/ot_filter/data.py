"""The task: training labels that are partly wrong, clean validation and test, in a world of look-alikes or on CIFAR."""

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vislab.datasets import cifar
from vislab.datasets.base import locate
from vislab.ops.label_noise import asymmetric, corrupted, instance_dependent, symmetric
from vislab.papers.recognition.ot_filter.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes.classes import ClassesConfig, ClassesWorld

CIFAR10_PARTNERS = (0, 1, 0, 5, 7, 3, 6, 7, 8, 1)
"""Bird is called airplane, cat and dog each other, deer horse, truck automobile."""
CIFAR100_SUPERCLASS = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9,
    11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1,
    16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)  # fmt: skip
ANNOTATOR_FROM = 500_000
"""Training items from here on teach the annotator and nobody else."""
ANNOTATOR_SIDE = 6


def partners(config: Config) -> tuple[int, ...]:
    """For every class the one it is taken for: a look-alike, CIFAR-10's of the literature, or the next in CIFAR-100's superclass."""
    if config.source == "world":
        return tuple(config.classes - 1 - c for c in range(config.classes))
    if config.source == "cifar10":
        return CIFAR10_PARTNERS
    members = {s: [c for c, own in enumerate(CIFAR100_SUPERCLASS) if own == s] for s in CIFAR100_SUPERCLASS}
    place = [members[s].index(c) for c, s in enumerate(CIFAR100_SUPERCLASS)]
    return tuple(members[s][(place[c] + 1) % len(members[s])] for c, s in enumerate(CIFAR100_SUPERCLASS))


def clean(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "label": (batch,) the true class}; the world's classes are of equal size.

    Raises UserError when a real data set is asked for and is not there.
    """
    within = index.cpu()
    if config.source == "world":
        shapes = ClassesConfig(
            classes=config.classes, image_size=config.image_size, gap=config.gap, noise=config.noise, clutter=config.clutter
        )  # fmt: skip
        found = ClassesWorld(shapes, seed).sample(absolute(split, within), device, within % config.classes)
        return {"image": (found.image - 0.5) / 0.25, "label": found.label}
    dataset = DATASETS[config.source == "cifar100"]
    each = torch.full((config.classes,), config.train_items // config.classes)
    image, label = cifar.read(dataset, locate(dataset), split, within, each)
    return {"image": cifar.standardise(image, config.classes).to(device), "label": label.to(device)}


def coarse(images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch cells"]:
    """What the annotator sees: colours on a grid of a few cells."""
    return F.adaptive_avg_pool2d(images, ANNOTATOR_SIDE).flatten(1)


def annotator(config: Config, seed: int, images: Float[Tensor, "items 3 h w"]) -> Float[Tensor, "items classes"]:
    """Class probabilities by a linear classifier on coarse pictures, taught with true labels of items of its own."""
    from sklearn.linear_model import LogisticRegression

    lesson = clean(config, "train", seed, ANNOTATOR_FROM + torch.arange(config.annotator_items))
    taught = LogisticRegression(C=0.1, max_iter=200).fit(coarse(lesson["image"]).numpy(), lesson["label"].numpy())
    said = torch.zeros(len(images), config.classes)
    said[:, torch.from_numpy(taught.classes_)] = torch.from_numpy(taught.predict_proba(coarse(images).numpy())).float()
    return said


@lru_cache(maxsize=4)
def labels(config: Config, seed: int) -> tuple[Int[Tensor, " items"], Int[Tensor, " items"]]:
    """True and given labels of all training items; symmetric noise draws evenly over all classes, the true one among them."""
    index = torch.arange(config.train_items)
    parts = [clean(config, "train", seed, part) for part in index.split(1000)]
    true = torch.cat([p["label"] for p in parts])
    if config.noise_kind == "symmetric":
        return true, corrupted(true, symmetric(config.classes, config.noise_rate), seed, index)
    if config.noise_kind == "asymmetric":
        return true, corrupted(true, asymmetric(partners(config), config.noise_rate), seed, index)
    said = annotator(config, seed, torch.cat([p["image"] for p in parts]))
    return true, instance_dependent(said, true, config.noise_rate, seed, index)


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "label": (batch,)}; training labels are the given ones, the other splits' are true."""
    items = clean(config, split, seed, index, device)
    if split == "train":
        items["label"] = labels(config, seed)[1][index.cpu() % config.train_items].to(device)
    return items
