"""Training the base network: cross-entropy over background and base classes, nothing that knows of the novel ones.

In the world its trunk first learns to tell single things of other classes, as the paper's trunk comes from ImageNet.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.engine.fit import State, batch_indices, descend, fit, initialise, start
from vislab.engine.segmentation import IGNORED
from vislab.ops import counter
from vislab.papers.segmentation.diam.card import Config
from vislab.papers.segmentation.diam.data import augment, batch, singles
from vislab.papers.segmentation.diam.model import build
from vislab.worlds.shapes.scene import TEXTURES
from vislab.worlds.shapes.segments import SINGLES

POWER = 0.9
PRETRAIN_BATCH = 32


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Network, optimiser and polynomial decay; the shared base network's weights where there are some."""
    model = initialise(build, config, seed)
    if shared is not None:
        model.load_state_dict(shared)
    common = {"lr": config.base_learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, **common)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), **common)
    return start(config, seed, accelerator, model, optimizer, polynomial(config.steps))


def polynomial(steps: int) -> Callable[[int], float]:
    """(1 - step / steps) ** 0.9."""
    return lambda step: max(0.0, 1 - step / max(1, steps)) ** POWER


def pretrain(trunk: nn.Module, config: Config, seed: int, device: torch.device) -> list[float]:
    """Teach the trunk outlines and surfaces of single things; gives the loss of every step."""
    items = singles(config, seed, torch.arange(config.pretrain_items), device)
    with counter.scope(seed, "init", "pretraining"):
        head = nn.Linear(trunk.widths[-1], len(SINGLES) + len(TEXTURES)).to(device)
    moved = [*trunk.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(moved, config.pretrain_learning_rate, weight_decay=config.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, polynomial(config.pretrain_steps))
    losses = []
    trunk.train()
    for step in range(config.pretrain_steps):
        rows = batch_indices(seed, step, config.pretrain_items, PRETRAIN_BATCH).to(device)
        told = head(trunk(items["image"][rows])[-1].mean(dim=(2, 3)))
        loss = F.cross_entropy(told[:, : len(SINGLES)], items["outline"][rows])
        loss = loss + F.cross_entropy(told[:, len(SINGLES) :], items["surface"][rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(float(loss.detach()))
    return losses


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step; novel things count as background."""
    config = state.config
    image, label = augment(items["image"], items["base_label"], config.crop_scale, config.crop_angle)
    return descend(state, {"loss": F.cross_entropy(state.model(image), label, ignore_index=IGNORED)})


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """The loop; a shared base network is trained already, and the world's pictures are made once and kept."""
    state = begin(config, seed, accelerator, shared)
    if shared is not None:
        state.step = config.steps
        return state
    if config.source == "world":
        pretrain(state.network.backbone, config, seed, state.device)
        parts = torch.arange(config.train_items).split(100)
        made = [batch(config, "train", seed, part, accelerator.device) for part in parts]
        pool = {name: torch.cat([part[name] for part in made]) for name in ("image", "base_label")}

        def load(index: Tensor) -> dict[str, Tensor]:
            return {name: value[index] for name, value in pool.items()}
    else:

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, accelerator.device)

    return fit(state, step, load, checkpoint=checkpoint, progress=progress)
