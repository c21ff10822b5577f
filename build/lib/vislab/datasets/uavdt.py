"""Reader of UAVDT: sequences of frames, the boxes of a whole sequence in one text file."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, missing, require
from vislab.datasets.visdrone import picture, table
from vislab.errors import UserError

PICTURES, TRUTH = "UAV-benchmark-M", "UAV-benchmark-MOTD_v1.0/GT"
CATEGORIES = ("car", "truck", "bus")
FIELDS = 9


@dataclass(frozen=True)
class Frame:
    """One picture, the file of its sequence's boxes, and its number there."""

    picture: Path
    annotation: Path
    number: int


def frames(dataset: DataSet, root: Path, split: str) -> list[Frame]:
    """All frames of the sequences that `split`.txt lists; UserError where a file or a sequence is missing."""
    found = []
    names = require(dataset, root / f"{split}.txt").read_text().split()
    for name in names:
        pictures = sorted((root / PICTURES / name).glob("img*.jpg"))
        if not pictures:
            raise UserError(missing(dataset, root / PICTURES / name))
        truth = require(dataset, root / TRUTH / f"{name}_gt_whole.txt")
        for file in pictures:
            digits = file.stem.removeprefix("img")
            if not digits.isdigit():
                raise damaged(dataset, file, "the name is not img and a number")
            found.append(Frame(file, truth, int(digits)))
    return found


@cache
def _boxes(dataset: DataSet, file: Path) -> Tensor:
    return table(dataset, file, FIELDS)


def read(
    dataset: DataSet, frame: Frame
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "object 4"], Int[Tensor, " object"]]:
    """Picture in [0, 1], boxes in pixels and classes 0 to 2; UserError for a missing or damaged file."""
    rows = _boxes(dataset, frame.annotation)
    rows = rows[(rows[:, 0] == frame.number) & (rows[:, 8] >= 1) & (rows[:, 8] <= 3)]
    boxes = torch.cat([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], dim=1)
    return picture(dataset, frame.picture), boxes, rows[:, 8].long() - 1


def write_sample(folder: Path, items: int = 3) -> None:
    """One sequence a split, of `items` frames of 40 x 30 with one box each."""
    for split, name in (("train", "M0101"), ("test", "M0203")):
        (folder / PICTURES / name).mkdir(parents=True, exist_ok=True)
        (folder / TRUTH).mkdir(parents=True, exist_ok=True)
        (folder / f"{split}.txt").write_text(name + "\n")
        lines = []
        for k in range(items):
            Image.new("RGB", (40, 30), (60 * k, 100, 200)).save(folder / PICTURES / name / f"img{k + 1:06d}.jpg")
            lines.append(f"{k + 1},1,{5 + k},6,10,8,1,1,{k % 3 + 1}")
        (folder / TRUTH / f"{name}_gt_whole.txt").write_text("\n".join(lines) + "\n")
