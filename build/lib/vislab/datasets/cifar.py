"""Reader of CIFAR-10 and CIFAR-100 in their binary versions (nothing is unpickled), cut to a long tail."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require

PIXELS = 3 * 32 * 32
MEAN = {10: (0.4914, 0.4822, 0.4465), 100: (0.5071, 0.4867, 0.4408)}
STD = {10: (0.2023, 0.1994, 0.2010), 100: (0.2675, 0.2565, 0.2761)}
FILES = {
    "CIFAR-10": ("cifar-10-batches-bin", [f"data_batch_{k}.bin" for k in range(1, 6)], ["test_batch.bin"], 1),
    "CIFAR-100": ("cifar-100-binary", ["train.bin"], ["test.bin"], 2),
}


@cache
def load(dataset: DataSet, root: Path, split: str) -> tuple[Tensor, Tensor]:
    """All images (item, 3, 32, 32) uint8 and fine labels of the training or the test files."""
    folder, train, test, labels = FILES[dataset.name]
    size = labels + PIXELS
    images, classes = [], []
    for name in test if split == "test" else train:
        file = require(dataset, root / folder / name)
        content = np.fromfile(file, dtype=np.uint8)
        if len(content) % size:
            raise damaged(dataset, file, f"{len(content)} bytes are no multiple of {size}")
        records = content.reshape(-1, size)
        images.append(records[:, labels:].reshape(-1, 3, 32, 32))
        classes.append(records[:, labels - 1].astype(np.int64))
    return torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(classes))


def read(
    dataset: DataSet, root: Path, split: str, index: Int[Tensor, " batch"], counts: Int[Tensor, " classes"]
) -> tuple[Float[Tensor, "batch 3 32 32"], Int[Tensor, " batch"]]:
    """Images in [0, 1] and labels: training keeps the first `counts` of each class, validation the next ten where there are some."""
    images, labels = load(dataset, root, split)
    if split != "test":
        order = torch.argsort(labels, stable=True)
        first = torch.searchsorted(labels[order], torch.arange(len(counts)))
        sizes = torch.bincount(labels, minlength=len(counts))
        kept = torch.minimum(counts, sizes)
        if split == "train":
            chosen = torch.cat([order[f : f + k] for f, k in zip(first.tolist(), kept.tolist(), strict=True)])
        else:
            spans = zip(first.tolist(), kept.tolist(), sizes.tolist(), strict=True)
            chosen = torch.cat([order[f + min(k, s - 1) : f + min(k + 10, s)] for f, k, s in spans if s])
        images, labels = images[chosen], labels[chosen]
    index = index % len(labels)
    return images[index].float() / 255, labels[index]


def standardise(images: Float[Tensor, "batch 3 h w"], classes: int) -> Float[Tensor, "batch 3 h w"]:
    """Subtract the data set's mean and divide by its standard deviation."""
    key = 10 if classes == 10 else 100
    mean, std = torch.tensor(MEAN[key])[:, None, None], torch.tensor(STD[key])[:, None, None]
    return (images - mean) / std


def write_sample(folder: Path, name: str = "CIFAR-100", items: int = 3) -> None:
    """Files of `items` records each, labels 0, 1, 2 and pixels that count up from the label."""
    inside, train, test, labels = FILES[name]
    (folder / inside).mkdir(parents=True, exist_ok=True)
    for file in [*train, *test]:
        records = np.zeros((items, labels + PIXELS), dtype=np.uint8)
        for k in range(items):
            records[k, labels - 1] = k
            records[k, labels:] = (np.arange(PIXELS) + k) % 256
        records.tofile(folder / inside / file)
