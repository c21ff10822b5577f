"""The task: garments with a set of classes for every attribute; queries, a gallery, and sets that training never shows."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.datasets import fashion
from vislab.datasets.base import locate
from vislab.ops import counter
from vislab.papers.recognition.fashion_duet.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes.garments import ATTRIBUTES, GarmentsConfig, GarmentsWorld

FASHIONAI, DEEPFASHION = DATASETS
KINDS = {"fashionai": FASHIONAI, "deepfashion": DEEPFASHION}
ITEMS = {"train": "train_items", "validation": "validation_items", "test": "test_items"}


def world(config: Config, seed: int) -> GarmentsWorld:
    """The procedural garments."""
    return GarmentsWorld(GarmentsConfig(config.image_size, config.most, config.noise), seed)


def attribute_names(config: Config) -> tuple[str, ...]:
    """Names of the attributes, in their order."""
    return tuple(ATTRIBUTES) if config.source == "world" else tuple(fashion.ATTRIBUTES[config.source])


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "held": (batch, attribute, class) bool, "known": (batch, attribute) bool}.

    "known" says of which attributes the labels are known: of all in the world, of one in FashionAI.
    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source != "world":
        dataset = KINDS[config.source]
        root = locate(dataset)
        held, known = (v[index.cpu()] for v in labels(config, split, seed))
        image = fashion.images(dataset, root, config.source, split, index, config.image_size)
        return {"image": image.to(device), "held": held.to(device), "known": known.to(device)}
    garments = world(config, seed).sample(absolute(split, index.cpu()), device)
    known = torch.ones(garments.held.shape[:2], dtype=torch.bool, device=garments.held.device)
    return {"image": (garments.image - 0.5) / 0.25, "held": garments.held, "known": known}


def labels(
    config: Config, split: str, seed: int
) -> tuple[Bool[Tensor, "items attribute class"], Bool[Tensor, "items attribute"]]:
    """(held, known) of all items of a split, without a picture."""
    items = getattr(config, ITEMS[split])
    if config.source != "world":
        dataset = KINDS[config.source]
        held, known = fashion.labels(dataset, locate(dataset), config.source, split)
        index = torch.arange(items) % len(held)
        return held[index], known[index]
    held, _ = world(config, seed).sets(absolute(split, torch.arange(items)))
    return held, torch.ones(held.shape[:2], dtype=torch.bool)


def set_numbers(held: Bool[Tensor, "items attribute class"]) -> Int[Tensor, "items attribute"]:
    """A number for every set of classes, attribute by attribute: equal for equal sets."""
    return torch.stack([torch.unique(held[:, a], dim=0, return_inverse=True)[1] for a in range(held.shape[1])], dim=1)


def partners(
    number: Int[Tensor, "items attribute"],
    known: Bool[Tensor, "items attribute"],
    index: Int[Tensor, " batch"],
    seed: int,
    step: int,
) -> Int[Tensor, " batch"]:
    """For every anchor an item with the same set of classes in one of its known attributes, at random; itself if there is no other."""
    place = torch.tensor([step])
    draw = counter.uniform(seed, "batches", place, "partner", (2, len(index)))[0]
    weight = known[index].double() + 0.0
    attribute = (
        (draw[0][:, None] * weight.sum(1, keepdim=True) >= weight.cumsum(1)).sum(1).clamp(max=known.shape[1] - 1)
    )
    found = index.clone()
    for a in attribute.unique().tolist():
        rows = attribute == a
        mine = known[:, a].nonzero()[:, 0]
        order = mine[number[mine, a].argsort(stable=True)]
        sets = number[order, a].contiguous()
        wanted = number[index[rows], a].contiguous()
        first, last = torch.searchsorted(sets, wanted), torch.searchsorted(sets, wanted, right=True)
        pick = first + (draw[1][rows] * (last - first)).long()
        # one further on where an anchor has met itself
        pick = torch.where(
            (order[pick] == index[rows]) & (last - first > 1), first + (pick + 1 - first) % (last - first), pick
        )
        found[rows] = order[pick]
    return found


def unseen(
    held: Bool[Tensor, "items attribute class"], trained: Bool[Tensor, "others attribute class"]
) -> Bool[Tensor, "items attribute"]:
    """Whether a set of classes occurs in no training item."""
    both = set_numbers(torch.cat([held, trained]))
    mine, theirs = both[: len(held)], both[len(held) :]
    return torch.stack([~torch.isin(mine[:, a], theirs[:, a]) for a in range(mine.shape[1])], dim=1)


def pictures(image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
    """The world's standardised images in [0, 1] again."""
    return (image * 0.25 + 0.5).clamp(0, 1)


def packed(image: Float[Tensor, "batch 3 h w"]) -> Int[Tensor, "batch 3 h w"]:
    """The world's standardised images as bytes."""
    return (pictures(image) * 255).round().to(torch.uint8)


def unpacked(image: Int[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
    """The reverse of `packed`."""
    return (image.float() / 255 - 0.5) / 0.25


def collect(
    config: Config, split: str, seed: int, index: Int[Tensor, " items"], device: torch.device | str
) -> dict[str, Tensor]:
    """`batch` of many items, drawn in parts."""
    parts = [batch(config, split, seed, part, device) for part in index.split(config.eval_batch_size)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def items_of(
    config: Config,
    split: str,
    seed: int,
    index: Int[Tensor, " items"],
    shared: dict[str, Tensor] | None,
    device: torch.device | str,
) -> dict[str, Tensor]:
    """`batch` of many items, from `shared` where it holds them."""
    if not shared:
        return collect(config, split, seed, index, device)
    found = {n.removeprefix(f"{split}_"): v[index].to(device) for n, v in shared.items() if n.startswith(f"{split}_")}
    return found | {"image": unpacked(found["image"])}
