"""Training HyperReel: mean squared error on rays, sparse and smooth factors, a grid that grows (section 3.5)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vislab.engine.fit import State, descend, exponential, fit, initialise, start
from vislab.ops.grids import log_spaced_sizes
from vislab.papers.fields.hyperreel.card import Config
from vislab.papers.fields.hyperreel.data import batch, ray_count
from vislab.papers.fields.hyperreel.model import HyperReel, build


def groups(model: HyperReel, config: Config) -> list[dict[str, Any]]:
    """Adam's parameter groups: space factors, the other factors and the basis, the sample network."""
    volume, rate = model.volume, config.learning_rate
    space = [*volume.density_space, *volume.colour_space]
    found = [
        {"params": space, "lr": rate},
        {"params": [*volume.density_time, *volume.colour_time, volume.basis.weight], "lr": rate * config.vector_rate},
    ]
    if hasattr(model, "network"):
        found.append({"params": list(model.network.parameters()), "lr": rate * config.network_rate})
    return found


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Renderer and Adam with a rate that decays exponentially."""
    model = initialise(build, config, seed)
    optimizer = torch.optim.Adam(groups(model, config), betas=(0.9, 0.99))
    return start(config, seed, accelerator, model, optimizer, exponential(config.final_rate, config.steps))


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of Adam on |c - c*|^2 + w_l1 |density factors|_1 + w_tv TV(space factors)."""
    config, model = state.config, state.accelerator.unwrap_model(state.model)
    model.step = state.step
    found = state.model(items["origin"], items["direction"], items["time"])
    losses = {"colour": F.mse_loss(found["rgb"], items["rgb"])}
    loss = losses["colour"]
    if state.step < config.regularise_until * config.steps:
        l1 = config.weight_l1 * (0.5 if state.step >= config.mask_at[0] * config.steps else 1.0)
        decay = config.final_rate ** (state.step / config.steps)
        loss = loss + l1 * model.volume.sparsity() + decay * config.weight_tv * model.volume.variation()
    return descend(state, {"loss": loss, **losses})


def schedule(config: Config) -> dict[int, tuple[int, int, int]]:
    """step -> grid after it, in equal ratios from the first grid to the last."""
    marks = [max(1, int(share * config.steps)) for share in config.grow_at]
    sides = [log_spaced_sizes(a, b, len(marks)) for a, b in zip(config.grid_first, config.grid_last, strict=True)]
    return dict(zip(marks, zip(*sides, strict=True), strict=True))


def after(state: State) -> None:
    """Grid growth with a fresh optimiser, and the occupancy grid, at their steps."""
    config, model = state.config, state.accelerator.unwrap_model(state.model)
    grid = schedule(config).get(state.step)
    if grid is not None:
        model.volume.grow(grid)
        optimizer = getattr(state.optimizer, "optimizer", state.optimizer)
        optimizer.state.clear()
    if state.step in [max(1, int(share * config.steps)) for share in config.mask_at]:
        model.volume.update_occupancy(config.mask_threshold)


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    watch: Any = None,
) -> State:
    """The loop over random rays of all training views; the world's are traced once and kept.

    `watch(state)` is called after every step, to film training.
    """
    state = begin(config, seed, accelerator, shared)
    device = accelerator.device
    items = ray_count(config, "train") if config.source == "world" else config.train_items
    if config.source == "world":
        pool = batch(config, "train", seed, torch.arange(items), device)

        def load(index: Tensor) -> dict[str, Tensor]:
            return {name: value[index] for name, value in pool.items()}
    else:

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, device)

    def follow(current: State) -> None:
        after(current)
        if watch is not None:
            watch(current)

    return fit(state, step, load, items=items, after=follow, progress=progress)
