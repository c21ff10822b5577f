"""The task: what three trackers see in, the rotations of all 22 joints out, and the joints that they make."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.datasets import amass
from vislab.datasets.base import locate
from vislab.ops.rotations import exp_so3, matrix_from_six, six_from_matrix
from vislab.ops.skinning import forward_kinematics
from vislab.papers.humans.agrol.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.bodies import skeleton
from vislab.worlds.bodies.clips import ClipsConfig, ClipsWorld, sparse_signal

(AMASS,) = DATASETS


def world(config: Config, seed: int) -> ClipsWorld:
    """The procedural bodies."""
    return ClipsWorld(ClipsConfig(config.clip_frames, config.fps, config.heading, config.freedom, config.cue), seed)


def offsets(config: Config) -> Float[Tensor, "22 3"]:
    """The skeleton: the world's own, or that of the male SMPL-H body, which the paper uses for every subject."""
    return skeleton.offsets() if config.source == "world" else amass.offsets(AMASS, locate(AMASS))


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Whole clips: {"pose": (batch, frame, 132) 6D rotations, "sparse": (batch, frame, 54), "joints": (batch, frame, 22, 3), "activity"}.

    Raises UserError when AMASS is asked for and is not there.
    """
    if config.source == "world":
        clips = world(config, seed).sample(absolute(split, index.cpu()), device)
        pose = six_from_matrix(clips.rotations).flatten(2)
        return {"pose": pose, "sparse": clips.sparse, "joints": clips.joints, "activity": clips.activity}
    protocol = 1 if config.source == "amass1" else 2
    vectors, place = amass.read(
        AMASS, locate(AMASS), protocol, split, index.cpu(), config.clip_frames + 1, config.fps, seed
    )
    rotations = exp_so3(vectors)
    turned, joints = forward_kinematics(rotations, offsets(config), skeleton.PARENTS, place)
    seen = list(skeleton.TRACKED)
    found = {
        "pose": six_from_matrix(rotations[:, 1:]).flatten(2),
        "sparse": sparse_signal(turned[:, :, seen], joints[:, :, seen]),
        "joints": joints[:, 1:],
        "activity": torch.zeros(len(index), dtype=torch.int64),
    }
    return {name: value.to(device) for name, value in found.items()}


def statistics(pose: Float[Tensor, "batch frame 132"]) -> tuple[Float[Tensor, " 132"], Float[Tensor, " 132"]]:
    """Mean and standard deviation of each component; components that never change keep the scale 1."""
    spread, mean = torch.std_mean(pose.flatten(0, 1), dim=0)
    return mean, torch.where(spread < 1e-4, 1.0, spread)


def rotations_of(pose: Float[Tensor, "batch frame 132"]) -> Float[Tensor, "batch frame 22 3 3"]:
    """6D to matrices."""
    return matrix_from_six(pose.unflatten(-1, (22, 6)))


def body(
    rotations: Float[Tensor, "batch frame 22 3 3"],
    sparse: Float[Tensor, "batch frame 54"],
    bones: Float[Tensor, "22 3"],
) -> Float[Tensor, "batch frame 22 3"]:
    """Joints of a predicted motion, placed by the tracked head: the pelvis lies at the head minus its offset (section 4.1)."""
    _, joints = forward_kinematics(rotations, bones.to(rotations), skeleton.PARENTS)
    head = sparse[..., 36:39]
    return joints + (head - joints[..., skeleton.HEAD, :])[..., None, :]
