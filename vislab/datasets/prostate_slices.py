"""Reader of the prostate slices: a list of images and masks for each client, as 2-D NIfTI-1 or PNG."""

import gzip
import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require

KEYS = {"train": "training", "validation": "validation", "test": "testing"}
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
"""Voxel types of NIfTI-1 by code."""
HEADER = 348


@cache
def listed(dataset: DataSet, root: Path, client: str, split: str) -> tuple[tuple[str, str], ...]:
    """(image, mask) of every slice of a client's split, relative to `dataset_2D`."""
    file = require(dataset, root / "datalist_2D" / f"client_{client}.json")
    try:
        found = tuple((entry["image"], entry["label"]) for entry in json.loads(file.read_text())[KEYS[split]])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(dataset, file, f"no list {KEYS[split]!r} of image and label ({error!r})") from error
    if not found:
        raise damaged(dataset, file, f"its list {KEYS[split]!r} is empty")
    return found


def nifti(dataset: DataSet, file: Path) -> np.ndarray:
    """The voxels of a NIfTI-1 file, first axis first, as float32, axes of length 1 left out."""
    content = require(dataset, file).read_bytes()
    try:
        content = gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(dataset, file, error) from error
    order = "<" if content[:4] == HEADER.to_bytes(4, "little") else ">"
    if len(content) < HEADER or content[344:347] not in (b"n+1", b"ni1") or content[:4] not in (
        HEADER.to_bytes(4, "little"), HEADER.to_bytes(4, "big"),
    ):  # fmt: skip
        raise damaged(dataset, file, "no NIfTI-1 header")
    dimensions = np.frombuffer(content, f"{order}i2", 8, 40)
    shape = tuple(int(n) for n in dimensions[1 : 1 + dimensions[0]])
    code = int(np.frombuffer(content, f"{order}i2", 1, 70)[0])
    start, slope, offset = np.frombuffer(content, f"{order}f4", 3, 108)
    if code not in TYPES:
        raise damaged(dataset, file, f"voxels of type {code}")
    kind = np.dtype(f"{order}{TYPES[code]}")
    if len(content) - int(start) < np.prod(shape) * kind.itemsize:
        raise damaged(dataset, file, f"fewer bytes than its {shape} voxels need")
    voxels = np.frombuffer(content, kind, int(np.prod(shape)), int(start)).reshape(shape, order="F").astype(np.float32)
    return np.squeeze(voxels * slope + offset if slope else voxels)


def picture(dataset: DataSet, file: Path) -> Float[Tensor, "height width"]:
    """One slice in [0, 1]; raises UserError for a missing or damaged file, or one that is not 2-D."""
    if file.suffix == ".png":
        try:
            with Image.open(require(dataset, file)) as image:
                values = np.asarray(image.convert("L"), np.float32)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise damaged(dataset, file, error) from error
    else:
        values = nifti(dataset, file)
    if values.ndim != 2:
        raise damaged(dataset, file, f"it has {values.ndim} axes and not 2")
    return torch.from_numpy(np.ascontiguousarray(values)) / 255


def read(
    dataset: DataSet, root: Path, client: str, split: str, number: Int[Tensor, " batch"], size: int
) -> tuple[Float[Tensor, "batch 1 size size"], Float[Tensor, "batch 1 size size"]]:
    """Images in [0, 1] and masks of 0 and 1 of a client's slices, resized with corners on corners as in the released job."""
    entries, found = listed(dataset, root, client, split), []
    for i in number.tolist():
        both = [picture(dataset, root / "dataset_2D" / path) for path in entries[i % len(entries)]]
        if both[0].shape != both[1].shape:
            shapes = " and ".join(str(tuple(p.shape)) for p in both)
            raise damaged(dataset, root / "dataset_2D" / entries[i % len(entries)][1], f"image and mask have {shapes}")
        found.append(F.interpolate(torch.stack(both)[None], (size, size), mode="bilinear", align_corners=True)[0])
    together = torch.stack(found)
    return together[:, :1], (together[:, 1:] >= 0.5).float()


def write_nifti(file: Path, voxels: np.ndarray) -> None:
    """A NIfTI-1 file of uint8 voxels."""
    head = bytearray(HEADER + 4)
    head[:4] = HEADER.to_bytes(4, "little")
    sizes = np.ones(8, "<i2")
    sizes[0], sizes[1 : 1 + voxels.ndim] = voxels.ndim, voxels.shape
    head[40:56] = sizes.tobytes()
    head[70:74] = np.array([2, 8], "<i2").tobytes()
    head[108:120] = np.array([HEADER + 4, 1, 0], "<f4").tobytes()
    head[344:348] = b"n+1\0"
    content = bytes(head) + voxels.astype(np.uint8).tobytes(order="F")
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def write_sample(root: Path, clients: tuple[str, ...], items: int = 3, size: int = 20) -> None:
    """A list and `items` slices a split for each client; slice k is 40 (k + 1) bright, its mask the upper k + 1 quarters."""
    for folder in ("datalist_2D", "dataset_2D"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for client in clients:
        lists: dict[str, list[dict[str, str]]] = {key: [] for key in KEYS.values()}
        for key, entries in lists.items():
            for k in range(items):
                names = [f"{client}_{key}_{k}_{part}.nii.gz" for part in ("image", "label")]
                values = np.full((size, size), 40 * (k + 1)), np.zeros((size, size))
                values[1][: size * (k + 1) // 4] = 255
                for name, voxels in zip(names, values, strict=True):
                    write_nifti(root / "dataset_2D" / name, voxels)
                entries.append(dict(zip(("image", "label"), names, strict=True)))
        (root / "datalist_2D" / f"client_{client}.json").write_text(json.dumps(lists))
