"""Training a detector, and with it the masks that say where its head computes."""

from typing import Any

import torch
from torch import Tensor

from vislab.engine.fit import State, descend, fit, initialise, multistep, start
from vislab.papers.perception.ceasc.card import Config
from vislab.papers.perception.ceasc.data import augment, batch
from vislab.papers.perception.ceasc.losses import total_loss
from vislab.papers.perception.ceasc.model import build


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Detector, with the `shared` trunk and pyramid where given; SGD or AdamW; steps of the rate after a warm-up."""
    model = initialise(build, config, seed)
    if shared is not None:
        model.load_state_dict({**model.state_dict(), **shared})
    rates = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, **rates)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), **rates)
    marks = [int(share * config.steps) for share in config.milestones]
    return start(config, seed, accelerator, model, optimizer, multistep(marks, 0.1, config.warmup_steps))


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step on the detector's losses, the normalisation loss and the masking loss; labels are used here alone."""
    items = augment(items)
    prediction = state.model(items["image"])
    return descend(state, total_loss(state.config, prediction, items["boxes"], items["labels"]))


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """The loop; the world's training pictures are made once and kept."""
    state = begin(config, seed, accelerator, shared)
    if config.source == "world":
        pool = batch(config, "train", seed, torch.arange(config.train_items), accelerator.device)

        def load(index: Tensor) -> dict[str, Tensor]:
            return {name: value[index] for name, value in pool.items()}
    else:

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, accelerator.device)

    return fit(state, step, load, checkpoint=checkpoint, progress=progress)
