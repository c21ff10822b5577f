"""Readers of posed multi-view images and videos: Technicolor, Neural 3D Video, DoNeRF; rays by index.

World axes follow each data set; rays use pinhole cameras without distortion, pixel middles at half-integers.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, missing, require
from vislab.errors import UserError

HELD_OUT = {"technicolor": (10,), "neural3d": (0,)}


@dataclass(frozen=True)
class Clip:
    """Views of one split of one scene."""

    files: tuple[Path, ...]
    """An image a view."""
    centre: Float[Tensor, "view 3"]
    to_world: Float[Tensor, "view 3 3"]
    """World-from-camera rotations, camera axes x right, y down, z forward."""
    focal: Float[Tensor, " view"]
    """Focal lengths in pixels."""
    middle: Float[Tensor, "view 2"]
    """Principal points in pixels."""
    time: Float[Tensor, " view"]
    """Times in [0, 1]."""


def read(dataset: DataSet, root: Path, kind: str, split: str, index: Int[Tensor, " batch"]) -> dict[str, Tensor]:
    """Rays `index` of a split of the first scene: {"origin", "direction", "rgb", "time", "reflector" (all false)}."""
    scene = first_scene(dataset, root)
    clip = {"technicolor": _technicolor, "neural3d": _neural3d, "donerf": _donerf}[kind](dataset, scene, split)
    height, width = _image(dataset, clip.files[0]).shape[:2]
    index = index % (len(clip.files) * height * width)
    view, pixel = index // (height * width), index % (height * width)
    place = torch.stack([pixel % width + 0.5, pixel // width + 0.5], dim=-1)
    plane = (place - clip.middle[view]) / clip.focal[view, None]
    local = torch.cat([plane, torch.ones_like(plane[:, :1])], dim=-1)
    direction = torch.nn.functional.normalize(torch.einsum("nij,nj->ni", clip.to_world[view], local), dim=-1)
    rgb = torch.empty(len(index), 3)
    for k in view.unique().tolist():
        here = view == k
        rgb[here] = _image(dataset, clip.files[k]).reshape(-1, 3)[pixel[here]]
    return {
        "origin": clip.centre[view],
        "direction": direction,
        "rgb": rgb,
        "time": clip.time[view],
        "reflector": torch.zeros(len(index), dtype=torch.bool),
    }


def first_scene(dataset: DataSet, root: Path) -> Path:
    """The first scene folder in alphabetical order; raises UserError when there is none."""
    scenes = sorted(p for p in root.iterdir() if p.is_dir())
    if not scenes:
        raise UserError(missing(dataset, root))
    return scenes[0]


@cache
def _image(dataset: DataSet, file: Path) -> Float[Tensor, "height width 3"]:
    require(dataset, file)
    try:
        with Image.open(file) as image:
            return torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32) / 255)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise damaged(dataset, file, error) from error


def _chosen(kind: str, split: str, count: int) -> list[int]:
    """Cameras of a split: those held out for test and validation, the others for training."""
    out = HELD_OUT[kind]
    return [k for k in range(count) if (k in out) == (split != "train")]


@cache
def _technicolor(dataset: DataSet, scene: Path, split: str) -> Clip:
    table = require(dataset, scene / "cameras_parameters.txt")
    rows = []
    for line in table.read_text().splitlines():
        try:
            numbers = [float(v) for v in line.split()[:12]]
        except ValueError:
            continue
        if len(numbers) == 12:
            rows.append(numbers)
    if not rows:
        raise damaged(dataset, table, "no line holds the twelve numbers of a camera")
    data = torch.tensor(rows)
    to_camera = _rotations(data[:, 5:9])
    centre = -torch.einsum("vji,vj->vi", to_camera, data[:, 9:12])
    files = sorted(scene.glob(f"{scene.name}_undist_*_*.png"))
    if not files:
        raise UserError(missing(dataset, scene / f"{scene.name}_undist_00000_00.png"))
    frames = sorted({int(f.stem.split("_")[-2]) for f in files})
    kept = [f for f in files if int(f.stem.split("_")[-1]) in _chosen("technicolor", split, len(rows))]
    camera = torch.tensor([int(f.stem.split("_")[-1]) for f in kept])
    time = torch.tensor([frames.index(int(f.stem.split("_")[-2])) for f in kept]) / max(1, len(frames) - 1)
    return Clip(
        tuple(kept), centre[camera], to_camera.transpose(1, 2)[camera], data[camera, 0], data[camera, 1:3], time
    )


def _rotations(quaternion: Float[Tensor, "view 4"]) -> Float[Tensor, "view 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z)."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


@cache
def _neural3d(dataset: DataSet, scene: Path, split: str) -> Clip:
    file = require(dataset, scene / "poses_bounds.npy")
    try:
        table = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise damaged(dataset, file, error) from error
    if table.ndim != 2 or table.shape[1] != 17:
        raise damaged(dataset, file, f"its shape is {table.shape}, not (cameras, 17)")
    poses = torch.from_numpy(table[:, :15].reshape(-1, 3, 5).astype(np.float32))
    # LLFF columns are (down, right, backwards); ours are (right, down, forwards)
    to_world = torch.stack([poses[:, :, 1], poses[:, :, 0], -poses[:, :, 2]], dim=2)
    files, camera, time = [], [], []
    for k in _chosen("neural3d", split, len(table)):
        frames = _frames(dataset, scene, k)
        files += frames
        camera += [k] * len(frames)
        time += [i / max(1, len(frames) - 1) for i in range(len(frames))]
    where = torch.tensor(camera)
    middle = poses[:, :2, 4].flip(-1) / 2
    return Clip(
        tuple(files), poses[where, :, 3], to_world[where], poses[where, 2, 4], middle[where], torch.tensor(time)
    )


def _frames(dataset: DataSet, scene: Path, camera: int) -> list[Path]:
    """The frames of a camera as images: the folder camXX, or camXX.mp4 decoded into it once."""
    folder = scene / f"cam{camera:02d}"
    video = folder.with_suffix(".mp4")
    if not folder.is_dir():
        require(dataset, video)
        try:
            import av
        except ImportError as error:
            raise UserError(
                f"{video} needs PyAV to be decoded (pip install av), or put its frames in {folder}/"
            ) from error
        folder.mkdir()
        with av.open(str(video)) as container:
            for k, frame in enumerate(container.decode(video=0)):
                frame.to_image().save(folder / f"{k:04d}.png")
    files = sorted(folder.glob("*.png"))
    if not files:
        raise UserError(missing(dataset, folder / "0000.png"))
    return files


@cache
def _donerf(dataset: DataSet, scene: Path, split: str) -> Clip:
    def load(name: str) -> dict:
        file = require(dataset, scene / name)
        try:
            return json.loads(file.read_text())
        except ValueError as error:
            raise damaged(dataset, file, error) from error

    info = load("dataset_info.json")
    name = f"transforms_{'train' if split == 'train' else 'test'}.json"
    try:
        frames = load(name)["frames"]
        angle = float(info["camera_angle_x"])
        pose = torch.tensor([f["transform_matrix"] for f in frames], dtype=torch.float32)[:, :3]
        files = tuple((scene / f["file_path"]).with_suffix(".png") for f in frames)
    except (KeyError, TypeError, IndexError) as error:
        raise damaged(dataset, scene / name, f"lacks {error}") from error
    height, width = _image(dataset, files[0]).shape[:2]
    # Blender cameras look along -z with y up
    to_world = pose[:, :, :3] * torch.tensor([1.0, -1.0, -1.0])
    count = len(files)
    focal = torch.full((count,), 0.5 * width / float(np.tan(0.5 * angle)))
    middle = torch.tensor([width / 2, height / 2]).expand(count, 2)
    return Clip(files, pose[:, :, 3], to_world, focal, middle, torch.zeros(count))


def write_sample(folder: Path, kind: str, items: int = 3, side: int = 6) -> None:
    """A scene with `items` cameras (Technicolor: and the held-out one) of small images in the data set's layout."""
    scene = folder / "scene"
    scene.mkdir(parents=True)

    def picture(path: Path, k: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), (60 * k % 256, 100, 50)).save(path)

    if kind == "technicolor":
        count = HELD_OUT["technicolor"][0] + 1
        lines = [f"{side} {side / 2} {side / 2} 1 0 1 0 0 0 {0.1 * k} 0 0" for k in range(count)]
        (scene / "cameras_parameters.txt").write_text("\n".join(lines) + "\n")
        for k in (*range(items), count - 1):
            picture(scene / f"scene_undist_00000_{k:02d}.png", k)
    elif kind == "neural3d":
        pose = np.zeros((items, 3, 5))
        pose[:, :, :3] = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]])
        pose[:, 0, 3] = 0.1 * np.arange(items)
        pose[:, :, 4] = (side, side, side)
        np.save(
            scene / "poses_bounds.npy", np.concatenate([pose.reshape(items, 15), np.tile([1.0, 9.0], (items, 1))], 1)
        )
        for k in range(items):
            picture(scene / f"cam{k:02d}" / "0000.png", k)
    else:
        (scene / "dataset_info.json").write_text(json.dumps({"camera_angle_x": 0.9273, "depth_range": [0.5, 8.0]}))
        matrix = np.eye(4)
        for split in ("train", "test"):
            frames = []
            for k in range(items):
                matrix[0, 3] = 0.1 * k
                frames.append({"file_path": f"{split}/{k:05d}", "transform_matrix": matrix.tolist()})
                picture(scene / split / f"{k:05d}.png", k)
            (scene / f"transforms_{split}.json").write_text(json.dumps({"frames": frames}))
