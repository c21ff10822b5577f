"""Training AGRoL and its rivals: windows out of clips, and a squared error on the clean motion."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine.fit import State, descend, fit, initialise, multistep, start
from vislab.nn.diffusion import add_noise, cumulative, predicted_clean, training_target
from vislab.ops.skinning import forward_kinematics
from vislab.papers.humans.agrol.card import Config
from vislab.papers.humans.agrol.data import batch, offsets, rotations_of, statistics
from vislab.papers.humans.agrol.model import build
from vislab.worlds.bodies.skeleton import PARENTS

STATISTICS_ITEMS = 128


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Network, AdamW with one drop of the rate, and the training set's statistics from its first clips."""
    model = initialise(build, config, seed)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    drop = config.drop_share if config.follow == "paper" else 0.75
    schedule = multistep([int(drop * config.steps)], 1 / 30, config.warmup_steps)
    first = torch.arange(min(STATISTICS_ITEMS, config.train_items))
    mean, spread = statistics(batch(config, "train", seed, first, accelerator.device)["pose"])
    if not config.normalise:
        mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
    extra = {"mean": mean, "spread": spread, "bones": offsets(config).to(accelerator.device)}
    if config.task == "diffusion":
        extra["cumulative"] = cumulative("squaredcos_cap_v2", config.times).to(accelerator.device)
    return start(config, seed, accelerator, model, optimizer, schedule, extra)


def crop(items: dict[str, Tensor], length: int) -> dict[str, Tensor]:
    """A window of `length` frames of each clip, drawn inside the step's scope."""
    pose = items["pose"]
    first = torch.randint(0, pose.shape[1] - length + 1, (len(pose), 1), device=pose.device)
    frame = first + torch.arange(length, device=pose.device)
    item = torch.arange(len(pose), device=pose.device)[:, None]
    return {name: items[name][item, frame] for name in ("pose", "sparse")}


def error(output: Tensor, target: Tensor, follow: str) -> Float[Tensor, ""]:
    """Mean squared error (eq. 4); the released code takes the mean length of the error of each joint's six numbers instead."""
    if follow == "code":
        return (output - target).unflatten(-1, (-1, 6)).norm(dim=-1).mean()
    return (output - target).square().mean()


def geometry(pose: Tensor, truth: Tensor, bones: Tensor) -> Float[Tensor, ""]:
    """Squared errors of the joints relative to the pelvis and of their steps, in decimetres: the losses that the paper does without."""
    joints = [forward_kinematics(rotations_of(p), bones, PARENTS)[1] for p in (pose, truth)]
    difference = 10 * (joints[0] - joints[1])
    return difference.square().mean() + difference.diff(dim=1).square().mean()


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of AdamW: a denoising step at a random time, or a regression of the pose."""
    config, extra = state.config, state.extra
    last_frame = config.task == "regression" and config.network == "transformer"
    window = crop(items, config.context if last_frame else config.window)
    sparse, truth = window["sparse"], window["pose"][:, -1:] if last_frame else window["pose"]
    clean = (truth - extra["mean"]) / extra["spread"]
    if config.task == "diffusion":
        time = torch.randint(0, config.times, (len(clean),), device=clean.device)
        noise = torch.randn_like(clean)
        noisy = add_noise(clean, noise, time, extra["cumulative"])
        output = state.model(noisy, time, sparse)
        target = training_target(clean, noise, time, extra["cumulative"], config.target)
        pose = predicted_clean(output, noisy, time, extra["cumulative"], config.target)
    else:
        output = pose = state.model(sparse)
        target = clean
    losses = {"loss": error(output, target, config.follow)}
    if config.weight_geometry:
        losses["geometry"] = geometry(pose * extra["spread"] + extra["mean"], truth, extra["bones"])
        losses["loss"] = losses["loss"] + config.weight_geometry * losses["geometry"]
    return descend(state, losses)


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """The loop; the world's clips are made once and kept."""
    state = begin(config, seed, accelerator, shared)
    if config.source == "world":
        pool = batch(config, "train", seed, torch.arange(config.train_items), accelerator.device)

        def load(index: Tensor) -> dict[str, Tensor]:
            return {name: pool[name][index] for name in ("pose", "sparse")}
    else:

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, accelerator.device)

    return fit(state, step, load, checkpoint=checkpoint, progress=progress)
