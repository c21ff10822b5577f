"""Reader of ImageNet and its shifted test sets: one folder a class, named by WordNet id (ObjectNet: by object name)."""

import json
from functools import cache
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor, stack, tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require
from vislab.datasets.pictures import centre_crop

FOLDERS = {
    "imagenet": {"train": "imagenet/train", "validation": "imagenet/val", "test": "imagenet/val"},
    "imagenet_v2": {"test": "imagenetv2-matched-frequency-format-val"},
    "imagenet_r": {"test": "imagenet-r"},
    "imagenet_a": {"test": "imagenet-a"},
    "imagenet_sketch": {"test": "sketch"},
    "objectnet": {"test": "objectnet-1.0/images"},
}
OBJECTNET_MAP = "objectnet-1.0/mappings/folder_to_wnid.json"
_SUFFIXES = (".jpeg", ".jpg", ".png")


@cache
def wnids(dataset: DataSet, root: Path) -> tuple[str, ...]:
    """All classes: the sorted folder names of ImageNet's validation set; a label is a place in this list."""
    folder = root / FOLDERS["imagenet"]["test"]
    found = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir())) if folder.is_dir() else ()
    if not found:
        require(dataset, folder / "n01440764")
    return found


@cache
def listed(dataset: DataSet, root: Path, kind: str, split: str) -> tuple[tuple[Path, int], ...]:
    """(file, label) of every image of a set, by class and name.

    ImageNetV2's folders are numbered by label; ObjectNet's are named by object and mapped by a JSON file.
    Raises UserError where a folder is missing, empty, or of no known class.
    """
    folder = root / FOLDERS[kind][split]
    place = {wnid: label for label, wnid in enumerate(wnids(dataset, root))}
    if kind == "imagenet_v2":
        place = {str(label): label for label in place.values()}
    if kind == "objectnet":
        file = require(dataset, root / OBJECTNET_MAP)
        try:
            place = {name: place[wnid] for name, wnid in json.loads(file.read_text()).items() if wnid in place}
        except (ValueError, AttributeError) as error:
            raise damaged(dataset, file, error) from error
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and p.name in place) if folder.is_dir() else []
    found = [
        (file, place[one.name]) for one in classes for file in sorted(one.iterdir()) if file.suffix.lower() in _SUFFIXES
    ]
    if not found:
        require(dataset, folder / "CLASS" / "IMAGE.JPEG")
    return tuple(found)


def read(
    dataset: DataSet, root: Path, kind: str, split: str, index: Int[Tensor, " batch"], size: int
) -> tuple[Float[Tensor, "batch 3 size size"], Int[Tensor, " batch"]]:
    """sRGB images in [0, 1], the middle crop of the resized picture, and labels; ObjectNet loses its red border of 2 pixels."""
    entries = listed(dataset, root, kind, split)
    chosen = [entries[i % len(entries)] for i in index.tolist()]
    border = 2 if kind == "objectnet" else 0
    images = [centre_crop(dataset, file, size, border) for file, _ in chosen]
    return stack(images), tensor([label for _, label in chosen])


def write_sample(folder: Path, items: int = 3) -> None:
    """Three classes of one image each, in every set's layout."""
    from PIL import Image

    names = [f"n{k:08d}" for k in range(items)]
    for kind, splits in FOLDERS.items():
        for place in set(splits.values()):
            for k, name in enumerate(names):
                one = {"imagenet_v2": str(k), "objectnet": f"thing_{k}"}.get(kind, name)
                file = folder / place / one / ("image.png" if kind == "objectnet" else "image.JPEG")
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40, 48), (80 * k, 40, 200 - 80 * k)).save(file)
    mapping = folder / OBJECTNET_MAP
    mapping.parent.mkdir(parents=True, exist_ok=True)
    mapping.write_text(json.dumps({f"thing_{k}": name for k, name in enumerate(names)}))
