"""Reader of image data sets given as text lists: one `PATH LABEL` a line (ImageNet-LT, iNaturalist 2018)."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require

LISTS = {
    "imagenet_lt": {"train": "ImageNet_LT_train.txt", "validation": "ImageNet_LT_val.txt", "test": "ImageNet_LT_test.txt"},
    "inaturalist": {"train": "iNaturalist18_train.txt", "validation": "iNaturalist18_val.txt", "test": "iNaturalist18_val.txt"},
}  # fmt: skip
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@cache
def listed(dataset: DataSet, root: Path, kind: str, split: str) -> tuple[tuple[str, int], ...]:
    """(path, label) of every line of a split's list."""
    file = require(dataset, root / LISTS[kind][split])
    found = []
    for line in file.read_text().splitlines():
        path, _, label = line.rpartition(" ")
        if not path or not label.isdigit():
            raise damaged(dataset, file, f"line {line!r} is not `PATH LABEL`")
        found.append((path, int(label)))
    if not found:
        raise damaged(dataset, file, "it lists no image")
    return tuple(found)


def counts(dataset: DataSet, root: Path, kind: str, classes: int) -> Int[Tensor, " classes"]:
    """Training images of each class."""
    labels = torch.tensor([label for _, label in listed(dataset, root, kind, "train")])
    return torch.bincount(labels, minlength=classes)


def read(
    dataset: DataSet, root: Path, kind: str, split: str, index: Int[Tensor, " batch"], size: int
) -> tuple[Float[Tensor, "batch 3 size size"], Int[Tensor, " batch"]]:
    """Standardised images, shorter side resized to 8/7 of `size` and the middle cropped, and labels."""
    entries = listed(dataset, root, kind, split)
    chosen = [entries[i % len(entries)] for i in index.tolist()]
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    images = torch.stack([_image(dataset, require(dataset, root / path), size) for path, _ in chosen])
    return (images - mean) / std, torch.tensor([label for _, label in chosen])


def _image(dataset: DataSet, file: Path, size: int) -> Float[Tensor, "3 size size"]:
    try:
        with Image.open(file) as image:
            image = image.convert("RGB")
            scale = size * 8 / 7 / min(image.size)
            image = image.resize([max(size, round(s * scale)) for s in image.size], Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise damaged(dataset, file, error) from error
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255


def write_sample(folder: Path, kind: str = "imagenet_lt", items: int = 3) -> None:
    """Three small images and the lists that name them, label k for image k."""
    lines = []
    for k in range(items):
        path = f"train/n{k:08d}/image_{k}.JPEG"
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 48), (80 * k, 40, 200 - 80 * k)).save(file, quality=95)
        lines.append(f"{path} {k}")
    for name in set(LISTS[kind].values()):
        (folder / name).write_text("\n".join(lines) + "\n")
