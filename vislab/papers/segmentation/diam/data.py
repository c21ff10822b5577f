"""The task: base classes to train on, in pictures that hold novel things as background; all classes to be told in the test."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vislab.datasets import coco_20i, label_maps, pascal_5i
from vislab.datasets.base import locate
from vislab.engine.segmentation import IGNORED
from vislab.papers.segmentation.diam.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes import segments

REAL = dict(zip(("pascal", "coco"), DATASETS, strict=True))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WORLD_MEAN, WORLD_STD = (0.4, 0.4, 0.4), (0.25, 0.25, 0.25)


def novel_labels(config: Config, seed: int) -> tuple[int, ...]:
    """The data set's labels of the novel classes, from 1; seed s takes the fold s places after the config's."""
    fold = (config.fold + seed) % (config.classes // config.novel)
    if config.source == "pascal":
        return pascal_5i.novel_classes(fold, config.novel)
    if config.source == "coco":
        return coco_20i.novel_classes(fold)
    return tuple(1 + k for k in segments.novel_classes(fold, config.novel))


def places(config: Config, seed: int) -> Int[Tensor, "256"]:
    """Each label's place in the classifier: 0 background, then the base classes, then the novel ones; 255 stays."""
    novel = novel_labels(config, seed)
    order = [k for k in range(1, config.classes + 1) if k not in novel] + list(novel)
    found = torch.full((256,), IGNORED)
    found[0] = 0
    found[order] = torch.arange(1, config.classes + 1)
    return found


def world(config: Config, seed: int, size: int) -> segments.SegmentsWorld:
    """The procedural scenes."""
    look = {"clutter": config.clutter, "skew": config.skew, "ground": config.ground, "noise": config.noise}
    return segments.SegmentsWorld(segments.SegmentsConfig(size, **look), seed)


def standardised(config: Config, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
    """Channels with the mean and standard deviation of the source taken off."""
    mean, std = (WORLD_MEAN, WORLD_STD) if config.source == "world" else (MEAN, STD)
    mean, std = (torch.tensor(v, device=image.device)[:, None, None] for v in (mean, std))
    return (image - mean) / std


def singles(
    config: Config, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """World: pictures of single things of no class, half the size of the scenes, with outline and surface."""
    found = world(config, seed, config.image_size // 2 + 1).singles(absolute("train", index.cpu()), device)
    return {"image": standardised(config, found.image), "outline": found.outline, "surface": found.surface}


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "label": places in the classifier, "base_label": the same with novel things as
    background, which is all that base training sees}; labels are (batch, h, w), 255 ignored.

    Raises UserError when a real data set is asked for and is not there.
    """
    if config.source == "world":
        found = world(config, seed, config.image_size).sample(absolute(split, index.cpu()), device)
        image, label = found.image, found.label
    else:
        dataset = REAL[config.source]
        image, label = label_maps.read(dataset, locate(dataset), split, index.cpu(), config.image_size)
        image, label = image.to(device), label.to(device)
    label = places(config, seed).to(device)[label]
    novel = (label > config.classes - config.novel) & (label != IGNORED)
    return {"image": standardised(config, image), "label": label, "base_label": torch.where(novel, 0, label)}


def novel_areas(config: Config, seed: int, split: str, items: int) -> Int[Tensor, "items novel"]:
    """Pixels of every novel class in the first pictures of a split."""
    novel = torch.tensor(novel_labels(config, seed))
    if config.source != "world":
        dataset = REAL[config.source]
        return label_maps.areas(dataset, locate(dataset), split, config.classes)[:items, novel - 1]
    first = config.classes - config.novel + 1
    parts = [batch(config, split, seed, part)["label"].flatten(1) for part in torch.arange(items).split(100)]
    return torch.cat([F.one_hot(part, config.classes + 1).sum(dim=1) for part in parts])[:, first:]


def augment(
    image: Float[Tensor, "batch 3 h w"], label: Int[Tensor, "batch h w"], scale: tuple[float, float], angle: float
) -> tuple[Float[Tensor, "batch 3 h w"], Int[Tensor, "batch h w"]]:
    """A random scale, rotation (degrees), flip and crop of every picture, and of its labels; what lies outside is ignored.

    Draws from the generator of the step's scope.
    """
    count, device = len(image), image.device

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, device=device)

    size = 1 / draw(*scale)
    turn, flip = torch.deg2rad(draw(-angle, angle)), torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
    free = (1 - size).abs()
    x, y = free * draw(-1, 1), free * draw(-1, 1)
    rows = [torch.stack([flip * size * turn.cos(), -size * turn.sin(), x], dim=1)]
    rows.append(torch.stack([flip * size * turn.sin(), size * turn.cos(), y], dim=1))
    grid = F.affine_grid(torch.stack(rows, dim=1), list(image.shape), align_corners=False)
    moved = F.grid_sample(image, grid, align_corners=False)
    # shifted by one, so that zero marks what lies outside
    shifted = F.grid_sample(label[:, None].float() + 1, grid, mode="nearest", align_corners=False)[:, 0].round().long()
    return moved, torch.where(shifted == 0, IGNORED, shifted - 1)
