"""Reader of the See-in-the-Dark data set: pairs of short and long RAW exposures.

The list files hold one pair a line: `./Sony/short/NAME ./Sony/long/NAME ISO F-number`.
RAW files are developed with rawpy (extra `raw`).
A 16-bit mosaic stored as `NAME.png` beside where `NAME` would be is read in its place,
and for a long exposure its developed picture `NAME.rgb.png`.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require
from vislab.errors import UserError
from vislab.ops.bayer import pack

LARGEST_RATIO = 300.0
MISALIGNED = ("10034", "10045", "10172")
BLACK = {"Sony": 512.0, "Fuji": 1024.0}
WHITE = 16383.0
PATTERN = {"Sony": "bayer", "Fuji": "xtrans"}
LISTS = {"train": "train", "validation": "val", "test": "test"}


def exposure(name: str) -> float:
    """Seconds of exposure in a file name such as 10003_00_0.04s.ARW; raises ValueError when there are none."""
    match = re.search(r"_([0-9.]+)s\.", name)
    if not match:
        raise ValueError(f"{name} holds no exposure time")
    return float(match[1])


@cache
def pairs(dataset: DataSet, root: Path, camera: str, split: str) -> tuple[tuple[Path, Path], ...]:
    """(short, long) files of a split; the test split keeps only `_00` shots and drops three misaligned Sony scenes."""
    listing = require(dataset, root / f"{camera}_{LISTS[split]}_list.txt")
    found = []
    for line in listing.read_text().splitlines():
        fields = line.split()
        if len(fields) < 2:
            raise damaged(dataset, listing, f"line {line!r} is not a pair of files")
        short, long = (root / f.removeprefix("./") for f in fields[:2])
        scene = short.name.split("_")[0]
        if split == "test" and (f"{scene}_00" not in short.name or scene in MISALIGNED):
            continue
        found.append((short, long))
    if not found:
        raise damaged(dataset, listing, "it lists no pair")
    return tuple(found)


def read(dataset: DataSet, root: Path, camera: str, split: str, index: int) -> dict[str, Tensor]:
    """Pair `index` of a split: {"noisy", "raw": packed mosaics, "rgb": (3, height, width)}, float32."""
    listed = pairs(dataset, root, camera, split)
    short, long = listed[index % len(listed)]
    ratio = min(exposure(long.name) / exposure(short.name), LARGEST_RATIO)
    dark, _ = _raw(dataset, short, render=False)
    bright, rgb = _raw(dataset, long, render=True)
    span = WHITE - BLACK[camera]

    def packed(mosaic: np.ndarray, gain: float) -> Tensor:
        signal = torch.from_numpy((mosaic.astype(np.float32) - BLACK[camera]) / span * gain)
        block = 6 if camera == "Fuji" else 2
        height, width = (s // block * block for s in signal.shape)
        return pack(signal[:height, :width], PATTERN[camera]).clamp(max=1)

    noisy = packed(dark, ratio)
    side = 3 if camera == "Fuji" else 2
    height, width = noisy.shape[-2] * side, noisy.shape[-1] * side
    picture = torch.from_numpy(rgb.astype(np.float32) / 65535).permute(2, 0, 1)[:, :height, :width]
    return {"noisy": noisy, "raw": packed(bright, 1.0), "rgb": picture}


def _raw(dataset: DataSet, file: Path, render: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Mosaic and, with `render`, the picture that rawpy develops (camera white balance, no auto-brightening, 16 bit)."""
    stored = file.with_name(file.name + ".png")
    if stored.exists():
        rgb = _png(dataset, require(dataset, file.with_name(file.name + ".rgb.png"))) if render else None
        return _png(dataset, require(dataset, stored)), None if rgb is None else rgb.astype(np.uint32) * 257
    require(dataset, file)
    try:
        import rawpy
    except ImportError as error:
        raise UserError("reading RAW files needs rawpy: pip install 'vislab[raw]'") from error
    try:
        with rawpy.imread(str(file)) as raw:
            mosaic = raw.raw_image_visible.copy()
            rgb = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16) if render else None
    except rawpy.LibRawError as error:
        raise damaged(dataset, file, error) from error
    return mosaic, rgb


def _png(dataset: DataSet, file: Path) -> np.ndarray:
    try:
        with Image.open(file) as image:
            return np.array(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise damaged(dataset, file, error) from error


def write_sample(folder: Path, camera: str = "Sony", items: int = 3, side: int = 48) -> None:
    """Three pairs in the data set's layout, as 16-bit mosaics and 8-bit pictures beside the RAW names."""
    ending = {"Sony": "ARW", "Fuji": "RAF"}[camera]
    lines = []
    for scene in range(items):
        short = f"{camera}/short/{scene + 1:05d}_00_0.04s.{ending}"
        long = f"{camera}/long/{scene + 1:05d}_00_10s.{ending}"
        ramp = np.linspace(0, 1, side * side).reshape(side, side)
        for name, gain in ((short, 1 / 250), (long, 1.0)):
            path = folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            mosaic = BLACK[camera] + ramp * gain * (WHITE - BLACK[camera]) * (scene + 1) / items
            Image.fromarray(mosaic.round().astype(np.uint16)).save(path)
        rgb = np.repeat((255 * ramp[..., None]).astype(np.uint8), 3, axis=2)
        Image.fromarray(rgb).save(folder / f"{long}.rgb.png")
        lines.append(f"./{short} ./{long} ISO200 F9")
    for split in LISTS.values():
        (folder / f"{camera}_{split}_list.txt").write_text("\n".join(lines) + "\n")
