"""Reader of miniImageNet and of the eight target data sets: JSON lists, class folders, and two tables of medical pictures."""

import csv
import json
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require
from vislab.datasets.pictures import centre_crop

LISTS = {"train": "base.json", "validation": "val.json", "test": "novel.json"}
LISTED = ("mini_imagenet", "cub", "cars", "places", "plantae")
ISIC_TABLE, ISIC_FOLDER = "ISIC2018_Task3_Training_GroundTruth.csv", "ISIC2018_Task3_Training_Input"
CHEST_TABLE, CHEST_FOLDER = "Data_Entry_2017.csv", "images"
CHEST_CLASSES = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")


@cache
def files(dataset: DataSet, root: Path, split: str) -> tuple[tuple[Path, ...], ...]:
    """Files of every class of a data set that has any, by its folder's name; sets without a split of classes give all.

    Raises UserError where a list or table is missing or damaged, or no picture is listed.
    """
    by_class: dict[str, list[Path]] = {}
    if dataset.folder in LISTED:
        table = require(dataset, root / LISTS[split])
        try:
            content = json.loads(table.read_text())
            rows = list(zip(content["image_names"], content["image_labels"], strict=True))
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(dataset, table, error) from error
        for name, label in rows:
            # absolute paths of the lists' authors mean nothing here: the last two parts are class and file
            by_class.setdefault(str(label), []).append(root.joinpath(*Path(name).parts[-2:]))
    elif dataset.folder == "isic":
        table = require(dataset, root / ISIC_TABLE)
        for row in _rows(dataset, table, ("image",)):
            kinds = [k for k, v in row.items() if k != "image" and v and float(v) == 1.0]
            if len(kinds) != 1:
                raise damaged(dataset, table, f"{row['image']} has {len(kinds)} classes")
            by_class.setdefault(kinds[0], []).append(root / ISIC_FOLDER / f"{row['image']}.jpg")
    elif dataset.folder == "chestx":
        table = require(dataset, root / CHEST_TABLE)
        for row in _rows(dataset, table, ("Image Index", "Finding Labels")):
            if row["Finding Labels"] in CHEST_CLASSES:
                by_class.setdefault(row["Finding Labels"], []).append(root / CHEST_FOLDER / row["Image Index"])
    else:
        table = root
        for file in sorted(p for p in root.glob("*/*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")):
            by_class.setdefault(file.parent.name, []).append(file)
    if not by_class:
        raise damaged(dataset, table, "it lists no picture")
    return tuple(tuple(sorted(by_class[name])) for name in sorted(by_class))


def _rows(dataset: DataSet, table: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or any(row.get(c) is None for row in rows for c in columns):
        raise damaged(dataset, table, f"no rows with the columns {', '.join(columns)}")
    return rows


def counts(dataset: DataSet, root: Path, split: str) -> Int[Tensor, " classes"]:
    """Pictures of each class."""
    return torch.tensor([len(group) for group in files(dataset, root, split)])


def read(
    dataset: DataSet, root: Path, split: str, label: Int[Tensor, " batch"], number: Int[Tensor, " batch"], size: int
) -> Float[Tensor, "batch 3 size size"]:
    """Picture `number` of class `label`, sRGB in [0, 1], the middle crop of the resized picture."""
    groups = files(dataset, root, split)
    chosen = [groups[c][k % len(groups[c])] for c, k in zip(label.tolist(), number.tolist(), strict=True)]
    return torch.stack([centre_crop(dataset, file, size) for file in chosen])


def write_sample(root: Path, folder: str, items: int = 3) -> None:
    """Three pictures of a class each, in the layout of a data set, for every split it has."""
    from PIL import Image

    def save(path: Path, k: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 48), (80 * k, 40, 200 - 80 * k)).save(path)

    names = [f"picture_{k}" for k in range(items)]
    if folder in LISTED:
        for k, name in enumerate(names):
            save(root / f"class_{k}" / f"{name}.jpg", k)
        content = {
            "label_names": [f"class_{k}" for k in range(items)],
            "image_names": [f"elsewhere/class_{k}/{name}.jpg" for k, name in enumerate(names)],
            "image_labels": list(range(items)),
        }
        for file in LISTS.values():
            (root / file).write_text(json.dumps(content))
    elif folder == "isic":
        kinds = ["MEL", "NV", "BCC"]
        lines = [",".join(["image", *kinds])]
        for k, name in enumerate(names):
            save(root / ISIC_FOLDER / f"{name}.jpg", k)
            lines.append(",".join([name, *(f"{float(j == k)}" for j in range(len(kinds)))]))
        (root / ISIC_TABLE).write_text("\n".join(lines) + "\n")
    elif folder == "chestx":
        lines = ["Image Index,Finding Labels", "both.png,Mass|Nodule"]
        for k, name in enumerate(names):
            save(root / CHEST_FOLDER / f"{name}.png", k)
            lines.append(f"{name}.png,{CHEST_CLASSES[k]}")
        (root / CHEST_TABLE).write_text("\n".join(lines) + "\n")
    else:
        for k, name in enumerate(names):
            save(root / f"class_{k}" / f"{name}.jpg", k)
