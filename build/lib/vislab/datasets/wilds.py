"""Readers of two WILDS data sets with a shift: iWildCam (camera traps) and FMoW (satellite pictures over years and regions)."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor, stack, tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require
from vislab.datasets.pictures import centre_crop


@dataclass(frozen=True)
class Layout:
    """Where a set keeps what: the table, its columns, and how a row names its picture."""

    table: str
    split: str
    label: str
    group: str
    names: dict[str, str]
    """Our split -> theirs; `ood` is the shifted test set."""

    def picture(self, row: dict[str, str], place: int) -> str:
        return f"train/{row['filename']}" if "filename" in row else f"images/rgb_img_{place}.png"


LAYOUTS = {
    "iwildcam": Layout(
        "metadata.csv",
        "split",
        "y",
        "location",
        {"train": "train", "validation": "id_val", "test": "id_test", "ood": "test"},
    ),
    "fmow": Layout(
        "rgb_metadata.csv",
        "split",
        "y",
        "region",
        {"train": "train", "validation": "id_val", "test": "id_test", "ood": "test"},
    ),
}


@cache
def rows(dataset: DataSet, root: Path, kind: str, split: str) -> tuple[tuple[str, int, int], ...]:
    """(picture, label, group) of a split; UserError for a table that lacks a column or a split without rows."""
    layout = LAYOUTS[kind]
    file = require(dataset, root / layout.table)
    found = []
    with file.open(newline="") as stream:
        table = csv.DictReader(stream)
        lacking = {layout.split, layout.label, layout.group} - set(table.fieldnames or ())
        if lacking:
            raise damaged(dataset, file, f"no column {', '.join(sorted(lacking))}")
        for place, row in enumerate(table):
            try:
                if row[layout.split] == layout.names[split]:
                    found.append((layout.picture(row, place), int(row[layout.label]), int(row[layout.group])))
            except (TypeError, ValueError) as error:
                raise damaged(dataset, file, f"line {place + 2}: {error}") from error
    if not found:
        raise damaged(dataset, file, f"it lists no picture of split {layout.names[split]}")
    return tuple(found)


def read(
    dataset: DataSet, root: Path, kind: str, split: str, index: Int[Tensor, " batch"], size: int
) -> tuple[Float[Tensor, "batch 3 size size"], Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """sRGB images in [0, 1], labels and groups (camera location; region)."""
    entries = rows(dataset, root, kind, split)
    chosen = [entries[i % len(entries)] for i in index.tolist()]
    images = stack([centre_crop(dataset, root / picture, size) for picture, _, _ in chosen])
    return images, tensor([label for _, label, _ in chosen]), tensor([group for _, _, group in chosen])


def names(dataset: DataSet, root: Path) -> tuple[str, ...]:
    """Class names by label from categories.csv (columns y and name)."""
    file = require(dataset, root / "categories.csv")
    with file.open(newline="") as stream:
        try:
            found = {int(row["y"]): row["name"] for row in csv.DictReader(stream)}
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(dataset, file, f"{error!r}; its columns are y and name") from error
    return tuple(found[k] for k in sorted(found))


def write_sample(folder: Path, kind: str = "iwildcam", items: int = 3) -> None:
    """Three pictures for every split, label k for picture k."""
    from PIL import Image

    layout = LAYOUTS[kind]
    lines, place = [], 0
    for split in layout.names.values():
        for k in range(items):
            row = {"split": split, "y": str(k), layout.group: str(k % 2)}
            if kind == "iwildcam":
                row["filename"] = f"{split}_{k}.jpg"
            file = folder / layout.picture(row, place)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 48), (80 * k, 40, 200 - 80 * k)).save(file)
            lines.append(row)
            place += 1
    with (folder / layout.table).open("w", newline="") as stream:
        table = csv.DictWriter(stream, lines[0])
        table.writeheader()
        table.writerows(lines)
    (folder / "categories.csv").write_text("y,name\n" + "".join(f"{k},animal {k}\n" for k in range(items)))
