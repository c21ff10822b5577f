"""Training SHIKE: all experts together with two kinds of distillation, then balanced classifiers on frozen features."""

from typing import Any

import torch
from torch import Tensor, nn

from vislab.engine.fit import State, cosine, descend, fit, initialise, start
from vislab.ops.augment import auto_augment, crop_and_flip
from vislab.papers.recognition.shike.card import Config
from vislab.papers.recognition.shike.data import batch, class_counts, statistics
from vislab.papers.recognition.shike.losses import balanced, knowledge_loss, mutual_loss, separate
from vislab.papers.recognition.shike.model import build


def first_steps(config: Config) -> int:
    """Steps before the classifiers are trained anew."""
    return config.steps - round(config.retrain_share * config.steps)


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Network, SGD, warm-up and cosine of the first stage; the second stage's classifiers wait."""
    model = initialise(build, config, seed)
    model.retrained.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, config.learning_rate, momentum=0.9, weight_decay=config.weight_decay)
    schedule = cosine(first_steps(config), config.warmup_steps)
    return start(config, seed, accelerator, model, optimizer, schedule)


def augmented(image: Tensor, config: Config) -> Tensor:
    """The same augmentation for every arm and both stages."""
    image = crop_and_flip(image, config.crop_padding)
    return auto_augment(image, *statistics(config)) if config.automatic_augmentation else image


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of the first stage (eq. 10): each expert's own loss, mutual distillation, the grand teacher's."""
    config, label = state.config, items["label"]
    logits = state.model(augmented(items["image"], config))["logits"]
    if config.loss == "balanced":
        own = balanced(logits, label, class_counts(config).to(label.device))
    else:
        own = separate(logits, label)
    losses = {"own": own}
    if config.weight_mutual > 0:
        losses["mutual"] = mutual_loss(logits, config.reduction)
    if config.weight_transfer > 0:
        released = config.follow == "code"
        losses["transfer"] = knowledge_loss(logits, label, config.damped, config.reduction, released)
    weights = {"own": 1.0, "mutual": config.weight_mutual, "transfer": config.weight_transfer}
    return descend(state, {"loss": sum(weights[n] * v for n, v in losses.items()), **losses})


def retrain_step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of the second stage: balanced softmax on the new classifiers, everything else frozen."""
    config = state.config
    if config.frozen_statistics:
        for module in state.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    logits = state.model(augmented(items["image"], config), retrained=True)["logits"]
    return descend(state, {"loss": balanced(logits, items["label"], class_counts(config).to(logits.device))})


def second_stage(state: State) -> State:
    """The same network with only the new classifiers to train, and an optimiser, warm-up and cosine of their own."""
    config, first = state.config, first_steps(state.config)
    model = state.accelerator.unwrap_model(state.model)
    model.requires_grad_(False)
    model.retrained.requires_grad_(True)
    optimizer = torch.optim.SGD(
        model.retrained.parameters(), config.retrain_learning_rate, momentum=0.9, weight_decay=config.weight_decay
    )
    length = config.steps - first
    found = start(config, state.seed, state.accelerator, model, optimizer, cosine(length, length // 4))
    found.step, found.history = first, state.history
    return found


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """Both stages over the long-tailed training set; the world's is made once and kept."""
    state = begin(config, seed, accelerator, shared)
    items = int(class_counts(config).sum())
    if config.source == "world":
        pool = batch(config, "train", seed, torch.arange(items), accelerator.device)

        def load(index: Tensor) -> dict[str, Tensor]:
            return {name: value[index] for name, value in pool.items()}
    else:

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, accelerator.device)

    first = first_steps(config)
    state = fit(state, step, load, steps=first, items=items, checkpoint=checkpoint, progress=progress)
    if first == config.steps:
        return state
    again = checkpoint and f"{checkpoint}.retrained"
    return fit(second_stage(state), retrain_step, load, items=items, checkpoint=again, progress=progress)
