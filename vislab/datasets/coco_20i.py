"""COCO-20i: COCO 2014, its 80 classes dealt to four folds in turn; label maps are rendered once from the instances."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require

CLASSES = 80
FOLDS = 4
PARTS = ("train", "val")


def novel_classes(fold: int) -> tuple[int, ...]:
    """The 20 novel classes of a fold, from 1: every fourth; raises ValueError for a fold that is not there."""
    if not 0 <= fold < FOLDS:
        raise ValueError(f"COCO has folds 0 to {FOLDS - 1}, not {fold}")
    return tuple(range(1 + fold, CLASSES + 1, FOLDS))


def render_masks(dataset: DataSet, root: Path, part: str) -> int:
    """Write `<part>/<picture>.png` for every picture with instances ("train" or "val"); gives their number.

    Classes are 1 to 80 in the order of the file's categories; the first outline of each instance is filled, crowds are left out,
    and later instances cover earlier ones.
    Raises UserError for a missing or damaged file of instances.
    """
    file = require(dataset, root / "annotations" / f"instances_{part}2014.json")
    try:
        content = json.loads(file.read_text())
        place = {category["id"]: k + 1 for k, category in enumerate(content["categories"])}
        sizes = {image["id"]: (image["file_name"], image["width"], image["height"]) for image in content["images"]}
        instances: dict[int, list] = {}
        for one in content["annotations"]:
            if not one["iscrowd"]:
                instances.setdefault(one["image_id"], []).append((place[one["category_id"]], one["segmentation"][0]))
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(dataset, file, repr(error)) from error
    (root / part).mkdir(exist_ok=True)
    for image, shapes in instances.items():
        name, width, height = sizes[image]
        mask = Image.new("L", (width, height))
        pen = ImageDraw.Draw(mask)
        for label, outline in shapes:
            corners = np.asarray(outline).reshape(-1, 2).astype(int)
            pen.polygon([tuple(c) for c in corners.tolist()], fill=label)
        mask.save((root / part / name).with_suffix(".png"))
    return len(instances)


def write_sample(folder: Path, items: int = 3) -> None:
    """Pictures of one square each, of the first, second, ... category, as COCO's instances, and both lists; masks are not rendered."""
    square = [8, 8, 31, 8, 31, 31, 8, 31]
    for part in PARTS:
        lines, images, annotations = [], [], []
        for k in range(items):
            name = f"COCO_{part}2014_{k:012d}.jpg"
            (folder / f"{part}2014").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (50, 40), (80 * k, 40, 200 - 80 * k)).save(folder / f"{part}2014" / name, quality=95)
            images.append({"id": k, "file_name": name, "width": 50, "height": 40})
            plain = {"image_id": k, "category_id": 10 * k + 1, "iscrowd": 0, "segmentation": [square]}
            crowd = {
                "image_id": k,
                "category_id": 1,
                "iscrowd": 1,
                "segmentation": {"counts": [2000], "size": [40, 50]},
            }
            annotations += [plain, crowd]
            lines.append(f"{part}2014/{name} {part}/{Path(name).stem}.png")
        categories = [{"id": 10 * k + 1, "name": f"thing {k}"} for k in range(items)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"instances_{part}2014.json").write_text(json.dumps(content))
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")
