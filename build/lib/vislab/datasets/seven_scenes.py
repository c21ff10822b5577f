"""Reader of 7-Scenes: colour frames with 4x4 world-from-camera poses, in numbered sequences."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require

SPLITS = {"train": "TrainSplit.txt", "validation": "TrainSplit.txt", "test": "TestSplit.txt"}
FOCAL, HEIGHT = 525.0, 480


@cache
def frames(dataset: DataSet, scene: Path, split: str) -> tuple[Path, ...]:
    """The colour files of a split, by sequence and number; validation is every tenth mapping frame, which mapping leaves out.

    Raises UserError for a missing list, a list that names no sequence, and a sequence without frames.
    """
    listing = require(dataset, scene / SPLITS[split])
    numbers = [int(m[1]) for line in listing.read_text().splitlines() if (m := re.search(r"(\d+)\s*$", line))]
    if not numbers:
        raise damaged(dataset, listing, "it names no sequence")
    found = []
    for number in numbers:
        folder = scene / f"seq-{number:02d}"
        here = sorted(folder.glob("frame-*.color.png"))
        if not here:
            require(dataset, folder / "frame-000000.color.png")
        found += here
    if split != "test":
        found = [f for k, f in enumerate(found) if (k % 10 == 9) == (split == "validation")] or found
    return tuple(found)


def read(
    dataset: DataSet, scene: Path, split: str, index: Int[Tensor, " batch"], height: int
) -> tuple[Float[Tensor, "batch 3 h w"], Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
    """sRGB pictures in [0, 1] resized to `height`, camera-from-world rotations, camera centres in metres."""
    files = frames(dataset, scene, split)
    chosen = [files[i % len(files)] for i in index.tolist()]
    images, poses = [], []
    for file in chosen:
        try:
            with Image.open(require(dataset, file)) as image:
                width = round(image.width * height / image.height)
                image = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise damaged(dataset, file, error) from error
        images.append(torch.from_numpy(np.asarray(image, dtype=np.float32).copy()).permute(2, 0, 1) / 255)
        poses.append(_pose(dataset, file))
    pose = torch.stack(poses)
    return torch.stack(images), pose[:, :3, :3].transpose(1, 2).contiguous(), pose[:, :3, 3]


def centres(dataset: DataSet, scene: Path) -> Float[Tensor, "picture 3"]:
    """Camera centres of all mapping frames, metres."""
    return torch.stack([_pose(dataset, file)[:3, 3] for file in frames(dataset, scene, "train")])


def _pose(dataset: DataSet, colour: Path) -> Float[Tensor, "4 4"]:
    file = colour.with_name(colour.name.replace("color.png", "pose.txt"))
    try:
        values = [float(word) for word in require(dataset, file).read_text().split()]
    except ValueError as error:
        raise damaged(dataset, file, error) from error
    if len(values) != 16 or not np.isfinite(values).all():
        raise damaged(dataset, file, "it is not a 4x4 matrix of finite numbers")
    return torch.tensor(values).reshape(4, 4)


def write_sample(folder: Path, items: int = 3) -> None:
    """One scene, `chess`, with a mapping and a query sequence of three frames."""
    scene = folder / "chess"
    for number, listing in ((1, "TrainSplit.txt"), (2, "TestSplit.txt")):
        place = scene / f"seq-{number:02d}"
        place.mkdir(parents=True, exist_ok=True)
        (scene / listing).write_text(f"sequence{number}\n")
        for k in range(items):
            Image.new("RGB", (64, 48), (80 * k, 40, 200 - 80 * k)).save(place / f"frame-{k:06d}.color.png")
            pose = np.eye(4)
            pose[:3, 3] = (0.5 * k, number, 1.5)
            np.savetxt(place / f"frame-{k:06d}.pose.txt", pose)
