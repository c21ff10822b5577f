"""PASCAL-5i and PASCAL-10i: VOC 2012 with the augmented masks, its 20 classes cut into folds of 5 or 10 in their order."""

from pathlib import Path

import numpy as np
from PIL import Image

from vislab.datasets.label_maps import IGNORED

CLASSES = 20


def novel_classes(fold: int, novel: int = 5) -> tuple[int, ...]:
    """The novel classes of a fold, from 1; raises ValueError for a fold that is not there."""
    if novel not in (5, 10) or not 0 <= fold < CLASSES // novel:
        raise ValueError(f"PASCAL has folds 0 to 3 of 5 and 0 to 1 of 10 classes, not fold {fold} of {novel}")
    return tuple(range(1 + fold * novel, 1 + (fold + 1) * novel))


def write_sample(folder: Path, items: int = 3) -> None:
    """Pictures with a square of class 1, 2, ... and its ignored border, and both lists."""
    lines = []
    for k in range(items):
        picture, labels = f"JPEGImages/2007_{k:06d}.jpg", f"SegmentationClassAug/2007_{k:06d}.png"
        for path in (picture, labels):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), (80 * k, 40, 200 - 80 * k)).save(folder / picture, quality=95)
        mask = np.zeros((40, 50), np.uint8)
        mask[8:32, 8:32], mask[10:30, 10:30] = IGNORED, k + 1
        Image.fromarray(mask).save(folder / labels)
        lines.append(f"{picture} {labels}")
    for name in ("train.txt", "val.txt"):
        (folder / name).write_text("\n".join(lines) + "\n")
