"""The task: episodes of base classes in one style; novel classes in the same style and in styles that training never shows."""

from functools import lru_cache

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import SPLITS
from vislab.datasets import few_shot
from vislab.datasets.base import locate
from vislab.ops import counter
from vislab.papers.recognition.styleadv.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes.classes import ClassesConfig, ClassesWorld
from vislab.worlds.shapes.scenes import STYLES as SCENE_STYLES
from vislab.worlds.shapes.scenes import restyle

HOME = "photo"
"""The style of training."""
MEAN, STD = 0.5, 0.25
KNOWN = {dataset.folder: dataset for dataset in DATASETS}


def world(config: Config, seed: int) -> ClassesWorld:
    """The procedural classes, without pixel noise."""
    classes = config.base_classes + config.validation_classes + config.novel_classes
    return ClassesWorld(ClassesConfig(classes, "joint", config.gap, config.image_size, noise=0.0), seed)


def classes_of(config: Config, split: str) -> Int[Tensor, " classes"]:
    """The world's classes of a split: whole pairs of look-alikes, so that no look-alike of a novel class was ever seen."""
    sizes = {"train": config.base_classes, "validation": config.validation_classes, "test": config.novel_classes}
    total, first = sum(sizes.values()), 0
    for name in SPLITS:
        pairs = torch.arange(first, first + sizes[name] // 2)
        if name == split:
            return torch.cat([pairs, total - 1 - pairs])
        first += sizes[name] // 2
    raise ValueError(f"unknown split {split!r}")


def in_style(image: Float[Tensor, "batch 3 h w"], domain: str) -> Float[Tensor, "batch 3 h w"]:
    """Pictures in the style of a domain; raises ValueError for an unknown one."""
    if domain == "grey":
        return (1.15 * image.mean(dim=1, keepdim=True) - 0.05).clamp(0, 1).square().expand_as(image)
    if domain == "weave":
        side = torch.arange(image.shape[3], device=image.device)
        screen = (side[:, None] % 4 < 2) ^ (side % 4 < 2)
        return image * (1.0 - 0.7 * screen)
    if domain not in SCENE_STYLES:
        raise ValueError(f"unknown domain {domain!r}")
    return restyle(image, torch.full((len(image),), SCENE_STYLES.index(domain), device=image.device))


def pictures(
    config: Config,
    split: str,
    seed: int,
    label: Int[Tensor, " batch"],
    number: Int[Tensor, " batch"],
    domain: str = HOME,
    classes: str | None = None,
) -> Float[Tensor, "batch 3 h w"]:
    """Picture `number` of class `label` of a split, in [0, 1]; `classes` names another split whose classes to show.

    Raises UserError when a real data set is asked for and is not there.
    """  # fmt: skip
    if config.source != "world":
        dataset = KNOWN[config.source if domain == HOME else domain]
        return few_shot.read(dataset, locate(dataset), classes or split, label, number, config.image_size)
    known = classes_of(config, classes or split)
    index = absolute(split, number * len(known) + label)
    image = in_style(world(config, seed).sample(index, label=known[label]).image, domain)
    grain = counter.normal(seed, "world", index, "grain", image.shape[1:])
    return (image + config.noise * grain).clamp(0, 1)


def standardised(image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
    """Pictures of [0, 1] as a network takes them."""
    return (image - MEAN) / STD


def drawn(
    seed: int,
    stream: str,
    index: Int[Tensor, " batch"],
    classes: int,
    way: int,
    counts: Int[Tensor, " classes"],
    each: int,
) -> tuple[Int[Tensor, "batch way"], Int[Tensor, "batch way each"]]:
    """The classes of every episode and different pictures of each, as numbers within the class; too few are used again."""
    label = counter.permutation(seed, stream, index, "classes", classes)[:, :way]
    slots = index[:, None] * way + torch.arange(way)
    number = counter.permutation(seed, stream, slots, "pictures", int(counts.max()))
    # a class with fewer pictures than the largest keeps those of its own
    own = torch.argsort((number >= counts[label][..., None]).int(), dim=-1, stable=True)
    number = number.gather(-1, own)
    place = torch.arange(each) % counts[label][..., None]
    return label, number.gather(-1, place)


@lru_cache(maxsize=16)
def sizes(config: Config, split: str, domain: str = HOME) -> Int[Tensor, " classes"]:
    """Pictures of each class of a split."""
    if config.source != "world":
        dataset = KNOWN[config.source if domain == HOME else domain]
        return few_shot.counts(dataset, locate(dataset), split)
    items = {"train": config.train_items, "validation": config.validation_items, "test": config.test_items}[split]
    classes = len(classes_of(config, split))
    return torch.full((classes,), items // classes)


def batch(
    config: Config,
    split: str,
    seed: int,
    index: Int[Tensor, " batch"],
    device: torch.device | str = "cpu",
    domain: str = HOME,
) -> dict[str, Tensor]:
    """Episodes by index: {"image": (batch, way, shots + queries, 3, h, w) standardised, "label": (batch, way) among the split's classes}.

    Where the second view takes styles from another episode, "other" is one, of the same shape.
    """  # fmt: skip
    within, each = index.cpu(), config.shots + config.queries
    found = {}
    names = ["image"] + ["other"] * (config.style in ("swap", "mix"))
    for name, episode in zip(names, (within, within + 10**5), strict=False):
        counts = sizes(config, split, domain)
        label, number = drawn(seed, "world", absolute(split, episode), len(counts), config.way, counts, each)
        wanted = label[..., None].expand_as(number)
        image = pictures(config, split, seed, wanted.flatten(), number.flatten(), domain)
        found[name] = standardised(rearrange(image, "(b way n) c h w -> b way n c h w", way=config.way, n=each)).to(
            device
        )
        if name == "image":
            found["label"] = label.to(device)
    return found


def pool(config: Config, split: str, seed: int, items: int, domain: str = HOME, classes: str | None = None) -> Tensor:
    """(class, picture, 3, h, w) uint8: `items` pictures, evenly over the classes, as they are kept between arms."""
    count = len(sizes(config, classes or split, domain))
    each = items // count
    label = torch.arange(count).repeat_interleave(each)
    number = torch.arange(each).repeat(count)
    parts = [
        (255 * pictures(config, split, seed, a, b, domain, classes)).round().byte()
        for a, b in zip(label.split(500), number.split(500), strict=True)
    ]
    return torch.cat(parts).reshape(count, each, 3, config.image_size, config.image_size)


def unpacked(image: Tensor) -> Tensor:
    """Standardised pictures from those of a pool."""
    return standardised(image.float() / 255)
