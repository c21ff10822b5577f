"""Reader of the Mono-Colored RAW paired data set: 16-bit mosaics of a colour sensor and developed pictures.

The list files hold one pair a line: `Color_RAW_Input/NAME RGB_GT/NAME RATIO`.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require
from vislab.ops.bayer import pack

BLACK, WHITE = 0.0, 1023.0
INSIDE = "Mono_Colored_RAW_Paired_DATASET"
LISTS = {"train": "train.txt", "validation": "train.txt", "test": "test.txt"}


@cache
def pairs(dataset: DataSet, root: Path, split: str) -> tuple[tuple[Path, Path, float], ...]:
    """(mosaic, picture, exposure ratio) of a split; validation is every tenth pair of the training list."""
    listing = require(dataset, root / INSIDE / LISTS[split])
    found = []
    for line in listing.read_text().splitlines():
        try:
            raw, rgb, ratio = line.split()
            found.append((root / INSIDE / raw, root / INSIDE / rgb, float(ratio)))
        except ValueError as error:
            raise damaged(dataset, listing, f"line {line!r} is not `RAW PICTURE RATIO`") from error
    if split != "test":
        held = [p for k, p in enumerate(found) if (k % 10 == 0) == (split == "validation")]
        found = held or found
    if not found:
        raise damaged(dataset, listing, "it lists no pair")
    return tuple(found)


def read(dataset: DataSet, root: Path, split: str, index: int) -> dict[str, Tensor]:
    """Pair `index` of a split: {"noisy", "raw": packed mosaics, "rgb": (3, height, width)}, float32.

    The data set holds no long-exposure mosaic; `raw` is the packed green-weighted picture, as the target of the RAW decoder.
    """
    listed = pairs(dataset, root, split)
    raw, rgb, ratio = listed[index % len(listed)]
    mosaic = _image(dataset, raw).astype(np.float32)
    signal = torch.from_numpy((mosaic - BLACK) / (WHITE - BLACK) * ratio).clamp(max=1)
    picture = torch.from_numpy(_image(dataset, rgb).astype(np.float32) / 255).permute(2, 0, 1)
    from vislab.ops.bayer import mosaic as seen_by

    return {"noisy": pack(signal, "bayer"), "raw": pack(seen_by(picture, "bayer"), "bayer"), "rgb": picture}


def _image(dataset: DataSet, file: Path) -> np.ndarray:
    require(dataset, file)
    try:
        with Image.open(file) as image:
            return np.array(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise damaged(dataset, file, error) from error


def write_sample(folder: Path, items: int = 3, side: int = 48) -> None:
    """Three pairs in the data set's layout."""
    place = folder / INSIDE
    for name in ("Color_RAW_Input", "RGB_GT"):
        (place / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for k in range(items):
        ramp = np.linspace(0, 1, side * side).reshape(side, side)
        Image.fromarray((ramp * 64 * (k + 1) / items).astype(np.uint16)).save(place / f"Color_RAW_Input/C{k:05d}.tif")
        Image.fromarray(np.repeat((255 * ramp[..., None]).astype(np.uint8), 3, 2)).save(place / f"RGB_GT/C{k:05d}.png")
        lines.append(f"Color_RAW_Input/C{k:05d}.tif RGB_GT/C{k:05d}.png {8 * (k + 1)}")
    for name in ("train.txt", "test.txt"):
        (place / name).write_text("\n".join(lines) + "\n")
