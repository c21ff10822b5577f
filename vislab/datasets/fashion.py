"""Readers of FashionAI's attribute labels and of DeepFashion's attributes: a set of classes for every attribute of a picture."""

import csv
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require
from vislab.datasets.image_lists import MEAN, STD
from vislab.datasets.pictures import centre_crop
from vislab.ops import counter

ATTRIBUTES = {
    "fashionai": {
        "coat_length": 8, "collar_design": 5, "lapel_design": 5, "neck_design": 5, "neckline_design": 10, "pant_length": 6,
        "skirt_length": 6, "sleeve_length": 9,
    },
    "deepfashion": {"texture": 156, "fabric": 218, "shape": 180, "part": 216, "style": 230},
}  # fmt: skip
"""Attributes of each data set and their numbers of classes."""
PARTS = {"train": "train", "validation": "val", "test": "test"}

Listing = tuple[tuple[str, ...], Bool[Tensor, "items attribute class"], Bool[Tensor, "items attribute"]]


def labels(
    dataset: DataSet, root: Path, kind: str, split: str
) -> tuple[Bool[Tensor, "items attribute class"], Bool[Tensor, "items attribute"]]:
    """(held, known) of all pictures of a split; see `listed`."""
    return listed(dataset, root, kind, split)[1:]


@cache
def listed(dataset: DataSet, root: Path, kind: str, split: str) -> Listing:
    """(paths, held, known) of a split of "fashionai" or "deepfashion".

    FashionAI says "y" or "m" (maybe) of the classes of one attribute a picture; both count as held.
    It has no official split: eight tenths of the pictures, in an order drawn once, are for training, a tenth each for the others.
    """
    paths, held, known = _fashionai(dataset, root) if kind == "fashionai" else _deepfashion(dataset, root, split)
    if kind == "fashionai":
        order = counter.permutation(0, "world", torch.tensor([0]), "fashionai", len(paths))[0]
        ends = round(0.8 * len(paths)), round(0.9 * len(paths))
        span = {"train": order[: ends[0]], "validation": order[ends[0] : ends[1]], "test": order[ends[1] :]}[split]
        paths, held, known = tuple(paths[i] for i in span.tolist()), held[span], known[span]
    return paths, held, known


def images(
    dataset: DataSet, root: Path, kind: str, split: str, index: Int[Tensor, " batch"], size: int
) -> Float[Tensor, "batch 3 size size"]:
    """Standardised pictures, the middle of each cropped to a square."""
    paths = listed(dataset, root, kind, split)[0]
    found = [centre_crop(dataset, require(dataset, root / paths[i % len(paths)]), size) for i in index.tolist()]
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return (torch.stack(found) - mean) / std


def _empty(kind: str, items: int) -> tuple[Tensor, Tensor]:
    sizes = ATTRIBUTES[kind].values()
    return torch.zeros(items, len(sizes), max(sizes), dtype=torch.bool), torch.zeros(
        items, len(sizes), dtype=torch.bool
    )


def _fashionai(dataset: DataSet, root: Path) -> Listing:
    file = require(dataset, root / "Annotations/label.csv")
    names, sizes = list(ATTRIBUTES["fashionai"]), ATTRIBUTES["fashionai"]
    with file.open(newline="") as opened:
        rows = list(csv.reader(opened))
    held, known = _empty("fashionai", len(rows))
    for i, row in enumerate(rows):
        name = row[1].removesuffix("_labels") if len(row) == 3 else ""
        if name not in sizes or len(row[2]) != sizes[name] or set(row[2]) - set("ymn"):
            raise damaged(
                dataset, file, f"line {i + 1} is not `IMAGE,ATTRIBUTE_labels,` and a letter y, m or n for each class"
            )
        held[i, names.index(name), : len(row[2])] = torch.tensor([letter != "n" for letter in row[2]])
        known[i, names.index(name)] = True
    if not rows:
        raise damaged(dataset, file, "it lists no image")
    return tuple(row[0] for row in rows), held, known


def _table(dataset: DataSet, file: Path) -> list[list[str]]:
    """The rows of a DeepFashion list below its count and its header, names with spaces kept together with the last column apart."""
    lines = require(dataset, file).read_text().splitlines()
    if len(lines) < 3 or not lines[0].strip().isdigit() or int(lines[0]) != len(lines) - 2:
        raise damaged(dataset, file, "its first line is not the number of rows below the header")
    return [line.split() for line in lines[2:]]


def _deepfashion(dataset: DataSet, root: Path, split: str) -> Listing:
    names = _table(dataset, root / "Anno/list_attr_cloth.txt")
    try:
        kinds = torch.tensor([int(row[-1]) for row in names]) - 1
        part = {row[0]: row[1] for row in _table(dataset, root / "Eval/list_eval_partition.txt")}
        rows = [row for row in _table(dataset, root / "Anno/list_attr_img.txt") if part.get(row[0]) == PARTS[split]]
        values = torch.tensor([[int(v) for v in row[1:]] for row in rows])
    except (ValueError, IndexError) as error:
        raise damaged(dataset, root / "Anno/list_attr_img.txt", error) from error
    if not len(rows) or values.shape[1] != len(names):
        raise damaged(dataset, root / "Anno/list_attr_img.txt", f"no row of {len(names)} attributes for {split}")
    held, known = _empty("deepfashion", len(rows))
    for a in range(held.shape[1]):
        mine = values[:, kinds == a] == 1
        held[:, a, : mine.shape[1]] = mine
        known[:, a] = mine.any(dim=1)
    return tuple(row[0] for row in rows), held, known


def write_sample(folder: Path, kind: str = "fashionai", items: int = 3) -> None:
    """`items` small pictures; in FashionAI ten of them at least, so that every split has one."""

    def picture(path: str, k: int) -> None:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 48), (20 * k % 256, 40, 200)).save(file, quality=95)

    if kind == "fashionai":
        lines = []
        for k in range(max(10, items)):
            path = f"Images/skirt_length_labels/{k:032x}.jpg"
            picture(path, k)
            lines.append(f"{path},skirt_length_labels,{'nymnnn' if k % 2 else 'ynnnnn'}")
        (folder / "Annotations").mkdir(parents=True, exist_ok=True)
        (folder / "Annotations/label.csv").write_text("\n".join(lines) + "\n")
        return
    kinds = [k + 1 for k, size in enumerate(ATTRIBUTES["deepfashion"].values()) for _ in range(size)]
    for place in ("Anno", "Eval"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    cloth = [f"attribute {k}  {kind}" for k, kind in enumerate(kinds)]
    (folder / "Anno/list_attr_cloth.txt").write_text(
        "\n".join([str(len(cloth)), "attribute_name  attribute_type", *cloth]) + "\n"
    )
    rows, parts = [], []
    for k in range(items):
        path = f"img/Sheer_Blouse/img_{k:08d}.jpg"
        picture(path, k)
        held = [1 if number in (k, k + 156) else -1 for number in range(len(kinds))]
        rows.append(f"{path}  {' '.join(map(str, held))}")
        parts.append(f"{path}  {('train', 'val', 'test')[k % 3]}")
    (folder / "Anno/list_attr_img.txt").write_text(
        "\n".join([str(items), "image_name  attribute_labels", *rows]) + "\n"
    )
    (folder / "Eval/list_eval_partition.txt").write_text(
        "\n".join([str(items), "image_name  evaluation_status", *parts]) + "\n"
    )
