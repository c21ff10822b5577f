"""Reader of MNIST's four idx files (unpacked)."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@cache
def load(dataset: DataSet, root: Path, part: str) -> tuple[Tensor, Tensor]:
    """All images (item, 28, 28) uint8 and labels of the training or the test files."""
    images, labels = (_idx(dataset, root / name) for name in FILES[part])
    if images.ndim != 3 or len(images) != len(labels):
        raise damaged(dataset, root / FILES[part][0], f"{images.shape} images and {len(labels)} labels")
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


def _idx(dataset: DataSet, file: Path) -> np.ndarray:
    content = np.fromfile(require(dataset, file), dtype=np.uint8)
    if len(content) < 4 or content[2] != 8 or len(content) < 4 + 4 * content[3]:
        raise damaged(dataset, file, "no idx header of bytes")
    shape = content[4 : 4 + 4 * content[3]].view(">u4").astype(int)
    values = content[4 + 4 * content[3] :]
    if len(values) != shape.prod():
        raise damaged(dataset, file, f"{len(values)} values where the header says {shape.prod()}")
    return values.reshape(shape)


def read(
    dataset: DataSet, root: Path, split: str, index: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch 1 28 28"], Int[Tensor, " batch"]]:
    """Images in [0, 1] and labels; validation is the last sixth of the training file."""
    images, labels = load(dataset, root, "test" if split == "test" else "train")
    if split != "test":
        held = max(1, len(images) // 6)
        images, labels = (v[-held:] if split == "validation" else v[:-held] for v in (images, labels))
    index = index % len(labels)
    return images[index].float()[:, None] / 255, labels[index]


def write_sample(folder: Path, items: int = 3) -> None:
    """Files of `items` images whose pixels all are ten times their label."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.arange(items, dtype=np.uint8)
    images = np.repeat(10 * labels, 28 * 28)
    for pictures, names in FILES.values():
        head = bytes([0, 0, 8, 3]) + np.array([items, 28, 28], dtype=">u4").tobytes()
        (folder / pictures).write_bytes(head + images.tobytes())
        (folder / names).write_bytes(bytes([0, 0, 8, 1]) + np.array([items], dtype=">u4").tobytes() + labels.tobytes())
