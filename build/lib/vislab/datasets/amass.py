"""Reader of AMASS motion files and of the SMPL-H body that gives the joints (archives of arrays; nothing is unpickled)."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.cards import DataSet
from vislab.datasets.base import damaged, require
from vislab.errors import UserError
from vislab.ops import counter

PROTOCOL_1 = ("BioMotionLab_NTroje", "CMU", "MPI_HDM05")
PROTOCOL_2_TEST = ("HumanEva", "Transitions_mocap")
JOINTS = 22


@cache
def files(dataset: DataSet, root: Path, protocol: int, split: str) -> tuple[Path, ...]:
    """The motion files of a split, sorted; every twentieth training file is kept for validation.

    Protocol 1 follows AvatarPoser's lists; protocol 2 tests on two whole subsets and trains on all others.
    """
    part = "test" if split == "test" else "train"
    if protocol == 1:
        found = []
        for subset in PROTOCOL_1:
            listed = require(dataset, root / "splits" / subset / f"{part}_split.txt")
            found += [root / line.strip() for line in listed.read_text().splitlines() if line.strip()]
    else:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name not in ("splits", "smplh"))
        chosen = [p for p in folders if (p.name in PROTOCOL_2_TEST) == (part == "test")]
        found = sorted(f for p in chosen for f in p.rglob("*_poses.npz"))
    if split != "test":
        found = [f for k, f in enumerate(found) if (k % 20 == 0) == (split == "validation")]
    if not found:
        raise UserError(
            f"{dataset.name} at {root} has no motion of protocol {protocol}, {split}; expected {dataset.layout}"
        )
    return tuple(found)


def _arrays(dataset: DataSet, file: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    require(dataset, file)
    try:
        with np.load(file, allow_pickle=False) as content:
            return [content[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise damaged(dataset, file, error) from error
    except Exception as error:  # a truncated archive raises zipfile's own errors
        raise damaged(dataset, file, error) from error


def offsets(dataset: DataSet, root: Path) -> Float[Tensor, "22 3"]:
    """Offsets of the first 22 joints of the male SMPL-H body of mean shape, from `smplh/male/model.npz`."""
    file = root / "smplh" / "male" / "model.npz"
    template, regressor, tree = _arrays(dataset, file, ("v_template", "J_regressor", "kintree_table"))
    joints = torch.from_numpy((regressor @ template).astype(np.float32))[:JOINTS]
    parents = [int(p) for p in tree[0][:JOINTS]]
    return torch.stack([joints[k] - joints[p] if k else joints[0] for k, p in enumerate(parents)])


def motion(dataset: DataSet, file: Path, fps: float) -> tuple[Float[Tensor, "time 22 3"], Float[Tensor, "time 3"]]:
    """Rotation vectors of 22 joints and the body's translation, thinned to `fps`.

    Raises UserError where the file's rate is no multiple of it.
    """
    poses, place, rate = _arrays(dataset, file, ("poses", "trans", "mocap_framerate"))
    stride = float(rate) / fps
    if abs(stride - round(stride)) > 1e-3 or round(stride) < 1:
        raise UserError(f"{file.name} of {dataset.name} has {float(rate):g} frames a second, no multiple of {fps:g}")
    vectors = poses[:: round(stride), : 3 * JOINTS].reshape(-1, JOINTS, 3).astype(np.float32)
    return torch.from_numpy(vectors), torch.from_numpy(place[:: round(stride)].astype(np.float32))


def read(
    dataset: DataSet,
    root: Path,
    protocol: int,
    split: str,
    index: Int[Tensor, " batch"],
    frames: int,
    fps: float,
    seed: int = 0,
) -> tuple[Float[Tensor, "batch frames 22 3"], Float[Tensor, "batch frames 3"]]:
    """Rotation vectors and translations of `frames` frames of each motion: a random stretch in training, the first otherwise.

    A motion that is too short repeats its first frame.
    """
    known = files(dataset, root, protocol, split)
    found = []
    for number in index.tolist():
        vectors, place = motion(dataset, known[number % len(known)], fps)
        lacking = max(0, frames - len(vectors))
        vectors = torch.cat([vectors[:1].expand(lacking, -1, -1), vectors])
        place = torch.cat([place[:1].expand(lacking, -1), place])
        first = 0
        if split == "train":
            room = len(vectors) - frames + 1
            first = int(counter.integers(seed, "noise", torch.tensor([number]), "stretch", room))
        found.append((vectors[first : first + frames], place[first : first + frames]))
    return torch.stack([v for v, _ in found]), torch.stack([p for _, p in found])


def write_sample(folder: Path, items: int = 3, frames: int = 40) -> None:
    """`items` motions of 120 frames a second in every subset of protocol 1, their lists, and a body whose joints lie on a line."""
    for subset in (*PROTOCOL_1, *PROTOCOL_2_TEST):
        place = folder / subset / "01"
        place.mkdir(parents=True, exist_ok=True)
        lines = []
        for k in range(items):
            time = np.arange(frames)[:, None]
            poses = np.zeros((frames, 156))
            poses[:, 3 * 4 : 3 * 4 + 1] = 0.01 * (k + 1) * time
            trans = np.concatenate([0.01 * time, 0 * time + 0.9, 0 * time], axis=1)
            name = f"01_{k + 1:02d}_poses.npz"
            np.savez(place / name, poses=poses, trans=trans, betas=np.zeros(16), gender="male", mocap_framerate=120.0)
            lines.append(f"{subset}/01/{name}")
        if subset in PROTOCOL_1:
            listed = folder / "splits" / subset
            listed.mkdir(parents=True, exist_ok=True)
            (listed / "train_split.txt").write_text("\n".join(lines))
            (listed / "test_split.txt").write_text("\n".join(lines))
    parents = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, *[20] * 15, *[21] * 15]
    template = np.stack([np.arange(52), 0.1 * np.arange(52), np.zeros(52)], axis=1)
    body = folder / "smplh" / "male"
    body.mkdir(parents=True, exist_ok=True)
    tree = np.stack([np.array(parents), np.arange(52)])
    np.savez(body / "model.npz", v_template=template, J_regressor=np.eye(52), kintree_table=tree)
