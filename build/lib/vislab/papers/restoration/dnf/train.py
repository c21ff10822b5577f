"""Training DNF: L1 on the picture and on the denoised mosaic (section 3.5)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vislab.engine.fit import State, cosine, descend, fit, initialise, start
from vislab.papers.restoration.dnf.card import Config
from vislab.papers.restoration.dnf.data import augment, batch
from vislab.papers.restoration.dnf.model import build

POOL_LIMIT = 4000


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Network, AdamW and the cosine schedule."""
    model = initialise(build, config, seed)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    return start(config, seed, accelerator, model, optimizer, cosine(config.steps, floor=config.final_rate))


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of AdamW on w_rgb |rgb - rgb*|_1 + w_raw |raw - raw*|_1."""
    config = state.config
    items = augment(items)
    found = state.model(items["noisy"])
    losses = {"rgb": F.l1_loss(found["rgb"], items["rgb"])}
    loss = config.weight_rgb * losses["rgb"]
    if config.weight_raw:
        losses["raw"] = F.l1_loss(found["raw"], items["raw"])
        loss = loss + config.weight_raw * losses["raw"]
    return descend(state, {"loss": loss, **losses})


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """The loop: a pool of world shots is made once, real ones are read as they are needed."""
    state = begin(config, seed, accelerator, shared)
    device = accelerator.device
    if config.source == "world" and config.train_items <= POOL_LIMIT:
        pool = batch(config, "train", seed, torch.arange(config.train_items), device)

        def load(index: Tensor) -> dict[str, Tensor]:
            return {name: value[index] for name, value in pool.items()}
    else:

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, device)

    return fit(state, step, load, checkpoint=checkpoint, progress=progress)
