"""Reader of VisDrone-DET 2019: one text file of boxes a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, missing, require
from vislab.errors import UserError

FOLDER = "VisDrone2019-DET-{split}"
CATEGORIES = (
    "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor",
)  # fmt: skip
FIELDS = 8


@dataclass(frozen=True)
class Frame:
    """One picture and its annotation."""

    picture: Path
    annotation: Path


def frames(dataset: DataSet, root: Path, split: str) -> list[Frame]:
    """The pictures of `split` ("train" or "val") by name; UserError where there are none."""
    folder = root / FOLDER.format(split=split)
    pictures = sorted((folder / "images").glob("*.jpg"))
    if not pictures:
        raise UserError(missing(dataset, folder / "images"))
    return [Frame(p, folder / "annotations" / f"{p.stem}.txt") for p in pictures]


def read(
    dataset: DataSet, frame: Frame
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "object 4"], Int[Tensor, " object"]]:
    """Picture in [0, 1], boxes in pixels and classes 0 to 9; ignored regions (0) and others (11) are left out.

    Raises UserError for a missing or damaged file.
    """
    rows = table(dataset, frame.annotation, FIELDS)
    rows = rows[(rows[:, 5] >= 1) & (rows[:, 5] <= 10) & (rows[:, 2] > 0) & (rows[:, 3] > 0)]
    boxes = torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4]], dim=1)
    return picture(dataset, frame.picture), boxes, rows[:, 5].long() - 1


def table(dataset: DataSet, file: Path, columns: int) -> Float[Tensor, "row column"]:
    """Lines of numbers between commas; a comma at the end of a line is allowed. An empty file is damaged."""
    found = []
    for number, line in enumerate(require(dataset, file).read_text().splitlines(), start=1):
        words = line.strip().rstrip(",").split(",")
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise damaged(dataset, file, f"line {number}: {error}") from error
        if len(values) < columns:
            raise damaged(dataset, file, f"line {number} has {len(values)} of {columns} numbers")
        found.append(values[:columns])
    return torch.tensor(found).reshape(-1, columns)


def picture(dataset: DataSet, file: Path) -> Float[Tensor, "3 h w"]:
    """sRGB in [0, 1]; UserError for a missing or damaged file."""
    try:
        with Image.open(require(dataset, file)) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise damaged(dataset, file, error) from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255


def write_sample(folder: Path, items: int = 3) -> None:
    """A train and a val part of `items` pictures of 40 x 30, each with a box of class k, an ignored region and an "other"."""
    for split in ("train", "val"):
        part = folder / FOLDER.format(split=split)
        (part / "images").mkdir(parents=True, exist_ok=True)
        (part / "annotations").mkdir(exist_ok=True)
        for k in range(items):
            name = f"{k:07d}_00000_d_0000001"
            Image.new("RGB", (40, 30), (60 * k, 100, 200)).save(part / "images" / f"{name}.jpg")
            lines = [f"{5 + k},6,10,8,1,{k + 1},0,0", "0,0,4,4,0,0,0,0", "20,20,5,5,1,11,0,0,"]
            (part / "annotations" / f"{name}.txt").write_text("\n".join(lines) + "\n")
