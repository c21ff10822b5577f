"""Pictures with label maps, given as text lists: one `PICTURE LABELS` a line, both paths below the data set's folder."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require

LISTS = {"train": "train.txt", "validation": "val.txt", "test": "val.txt"}
IGNORED = 255
MULTIPLE = 8


@cache
def listed(dataset: DataSet, root: Path, split: str) -> tuple[tuple[str, str], ...]:
    """(picture, label map) of every line of a split's list; validation and test share one."""
    file = require(dataset, root / LISTS[split])
    found = [tuple(line.split()) for line in file.read_text().splitlines() if line.strip()]
    wrong = next((pair for pair in found if len(pair) != 2), None)
    if wrong is not None or not found:
        raise damaged(
            dataset, file, f"line {' '.join(wrong)!r} is not `PICTURE LABELS`" if wrong else "it lists no picture"
        )
    return tuple(found)


def opened(dataset: DataSet, file: Path) -> Image.Image:
    """The decoded picture; raises UserError for a missing or damaged file."""
    try:
        with Image.open(require(dataset, file)) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise damaged(dataset, file, error) from error


@cache
def areas(dataset: DataSet, root: Path, split: str, classes: int) -> Int[Tensor, "items classes"]:
    """Pixels of classes 1 to `classes` in every label map of a split, at its own size."""
    found = []
    for _, path in listed(dataset, root, split):
        counts = np.bincount(np.asarray(opened(dataset, root / path)).ravel(), minlength=256)
        if counts[classes + 1 : IGNORED].any():
            raise damaged(dataset, root / path, f"it holds labels above {classes}")
        found.append(torch.from_numpy(counts[1 : classes + 1]))
    return torch.stack(found)


def read(
    dataset: DataSet, root: Path, split: str, index: Int[Tensor, " batch"], size: int
) -> tuple[Float[Tensor, "batch 3 size size"], Int[Tensor, "batch size size"]]:
    """sRGB in [0, 1] and labels: the longer side made `size`, both sides cut to multiples of 8, at the top left.

    The rest is black and labelled 255.
    """
    entries = listed(dataset, root, split)
    image, label = torch.zeros(len(index), 3, size, size), torch.full((len(index), size, size), IGNORED)
    for k, i in enumerate(index.tolist()):
        paths = entries[i % len(entries)]
        picture, labels = (opened(dataset, root / path) for path in paths)
        if picture.size != labels.size:
            raise damaged(dataset, root / paths[1], f"it has {labels.size} pixels and its picture {picture.size}")
        sides = [int(size * s / max(picture.size)) // MULTIPLE * MULTIPLE for s in picture.size]
        width, height = (max(MULTIPLE, s) for s in sides)
        colours = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), np.float32)
        image[k, :, :height, :width] = torch.from_numpy(colours).permute(2, 0, 1) / 255
        numbers = np.asarray(labels.resize((width, height), Image.Resampling.NEAREST), np.int64)
        label[k, :height, :width] = torch.from_numpy(numbers)
    return image, label
