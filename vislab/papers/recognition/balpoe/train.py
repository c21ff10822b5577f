"""Training BalPoE: mixup on the images, a logit-adjusted cross-entropy for each expert."""

from typing import Any

import torch
from torch import Tensor

from vislab.engine.fit import State, descend, fit, initialise, multistep, start
from vislab.ops.augment import auto_augment, crop_and_flip
from vislab.ops.mixing import mixup
from vislab.papers.recognition.balpoe.card import Config
from vislab.papers.recognition.balpoe.data import batch, class_counts, statistics
from vislab.papers.recognition.balpoe.losses import BalancedExpertLoss
from vislab.papers.recognition.balpoe.model import build


def criterion(config: Config) -> BalancedExpertLoss:
    """The loss with the training prior of `config`."""
    return BalancedExpertLoss(class_counts(config), config.taus, config.loss, config.label_smoothing)


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Network, SGD with Nesterov momentum, steps of the learning rate after a warm-up."""
    model = initialise(build, config, seed)
    optimizer = torch.optim.SGD(
        model.parameters(), config.learning_rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
    )
    marks = [int(share * config.steps) for share in config.milestones]
    schedule = multistep(marks, 0.1, config.warmup_steps)
    return start(config, seed, accelerator, model, optimizer, schedule)


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of SGD on the mean of the experts' losses; the bias enters here and nowhere else."""
    config = state.config
    loss = criterion(config).to(state.device)  # a few floats a class: cheaper to make than to carry
    images = crop_and_flip(items["image"], config.crop_padding)
    if config.automatic_augmentation:
        images = auto_augment(images, *statistics(config))
    if config.mixup > 0:
        images, first, second, share = mixup(images, items["label"], config.mixup)
        return descend(state, {"loss": loss.mixed(state.model(images)["logits"], first, second, share)})
    return descend(state, {"loss": loss(state.model(images)["logits"], items["label"])})


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """The loop over the long-tailed training set; the world's is made once and kept."""
    state = begin(config, seed, accelerator, shared)
    items = int(class_counts(config).sum())
    if config.source == "world":
        pool = batch(config, "train", seed, torch.arange(items), accelerator.device)

        def load(index: Tensor) -> dict[str, Tensor]:
            return {name: value[index] for name, value in pool.items()}
    else:

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, accelerator.device)

    return fit(state, step, load, items=items, checkpoint=checkpoint, progress=progress)
