"""Training OT-Filter: a warm-up on all labels, then every epoch a new split by the filter and MixMatch on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.datasets import cifar
from vislab.engine.fit import State, batch_indices, descend, fit, initialise, load_checkpoint, save_checkpoint, start
from vislab.ops.augment import crop_and_flip
from vislab.papers.recognition.ot_filter.card import Config
from vislab.papers.recognition.ot_filter.data import batch
from vislab.papers.recognition.ot_filter.filters import selected
from vislab.papers.recognition.ot_filter.model import build

Source = Callable[[Int[Tensor, " batch"]], dict[str, Tensor]]


def weak(image: Tensor, config: Config) -> Tensor:
    """A random crop, perhaps flipped."""
    return crop_and_flip(image, config.crop_padding)


def strong(image: Tensor, config: Config) -> Tensor:
    """A random crop, perhaps flipped, and AutoAugment's CIFAR policy where the config asks for it."""
    image = weak(image, config)
    if not config.automatic_augmentation:
        return image
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    world = config.source == "world"
    mean, std = ((0.5,) * 3, (0.25,) * 3) if world else (cifar.MEAN[config.classes], cifar.STD[config.classes])
    shift, scale = (torch.tensor(v, device=image.device)[:, None, None] for v in (mean, std))
    policy = AutoAugment(AutoAugmentPolicy.CIFAR10)
    whole = ((image * scale + shift).clamp(0, 1) * 255).round().byte()
    return (torch.stack([policy(one) for one in whole]).float() / 255 - shift) / scale


def sharpened(probability: Float[Tensor, "batch classes"], temperature: float) -> Float[Tensor, "batch classes"]:
    """Powers of 1 / temperature, scaled to sum one."""
    raised = probability ** (1 / temperature)
    return raised / raised.sum(dim=1, keepdim=True)


def mixed(
    images: Float[Tensor, "batch 3 h w"], targets: Float[Tensor, "batch classes"], alpha: float
) -> tuple[Tensor, Tensor]:
    """Mixup whose larger share, of at least one half, stays with the item at its own place."""
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    share, order = max(share, 1 - share), torch.randperm(len(images), device=images.device)
    return share * images + (1 - share) * images[order], share * targets + (1 - share) * targets[order]


def guessed(model: nn.Module, image: Tensor, config: Config) -> Float[Tensor, "batch classes"]:
    """Targets of items without a label: the mean prediction on two weak views, sharpened."""
    with torch.no_grad():
        views = [model(weak(image, config))[0].softmax(dim=1) for _ in range(2)]
    return sharpened((views[0] + views[1]) / 2, config.temperature)


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One MixMatch step on trusted items and, under "rest", pictures of rejected ones; without `semi` plain cross-entropy on the former."""
    config, model, image = state.config, state.model, items["image"]
    target = F.one_hot(items["label"], config.classes).float()
    if not config.semi:
        return descend(state, {"loss": F.cross_entropy(model(weak(image, config))[0], items["label"])})
    views, targets = [strong(image, config), strong(image, config)], [target, target]
    if "rest" in items:
        guess = guessed(model, items["rest"], config)
        views += [strong(items["rest"], config), strong(items["rest"], config)]
        targets += [guess, guess]
    inputs, aims = mixed(torch.cat(views), torch.cat(targets), config.mixup_alpha)
    logits, trusted = model(inputs)[0], 2 * len(image)
    losses = {"labelled": F.cross_entropy(logits[:trusted], aims[:trusted])}
    losses["loss"] = losses["labelled"]
    if "rest" in items:
        losses["unlabelled"] = F.mse_loss(logits[trusted:].softmax(dim=1), aims[trusted:])
        losses["loss"] = losses["labelled"] + config.weight_unlabelled * losses["unlabelled"]
    return descend(state, losses)


def source(config: Config, seed: int, device: torch.device) -> Source:
    """Training items by index; the world's are made once and kept."""
    if config.source != "world":
        return lambda index: batch(config, "train", seed, index, device)
    parts = [batch(config, "train", seed, part, device) for part in torch.arange(config.train_items).split(1000)]
    pool = {name: torch.cat([p[name] for p in parts]) for name in parts[0]}
    return lambda index: {name: value[index] for name, value in pool.items()}


@torch.no_grad()
def observed(model: nn.Module, load: Source, config: Config, device: torch.device) -> dict[str, Tensor]:
    """What a filter may see of every training item, by the network at rest: "feature", "loss" of the given "label"."""
    model.eval()
    parts = []
    for index in torch.arange(config.train_items, device=device).split(config.eval_batch_size):
        items = load(index)
        logits, feature = model(items["image"])
        loss = F.cross_entropy(logits, items["label"], reduction="none")
        parts.append({"feature": feature, "loss": loss, "label": items["label"]})
    model.train()
    return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}


def warm_up(config: Config, seed: int, accelerator: Any) -> State:
    """Plain cross-entropy on all given labels for `first_steps` steps; what every arm of a seed starts from."""
    model = initialise(build, config, seed)
    optimizer = torch.optim.SGD(
        model.parameters(), config.first_learning_rate, momentum=0.9, weight_decay=config.weight_decay
    )
    state = start(config, seed, accelerator, model, optimizer)

    def plain(state: State, items: dict[str, Tensor]) -> dict[str, float]:
        logits, _ = state.model(weak(items["image"], config))
        return descend(state, {"loss": F.cross_entropy(logits, items["label"])})

    load = source(config, seed, accelerator.device)
    return fit(state, plain, load, steps=config.first_steps, batch_size=config.first_batch_size)


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """The network, with the shared weights of the warm-up if there are any, and SGD; `extra` keeps every epoch's split."""
    model = initialise(build, config, seed)
    if shared:
        model.load_state_dict({n: shared[f"model.{n}"] for n in model.state_dict()})
    optimizer = torch.optim.SGD(
        model.parameters(), config.learning_rate, momentum=0.9, weight_decay=config.weight_decay
    )
    kept = torch.zeros(config.epochs, config.train_items, dtype=torch.bool, device=accelerator.device)
    extra = {"kept": kept, "epoch": torch.zeros(1, dtype=torch.long, device=accelerator.device)}
    return start(config, seed, accelerator, model, optimizer, extra=extra)


def split(state: State, load: Source) -> Bool[Tensor, " items"]:
    """The items that are trusted in this epoch; where the filter trusts fewer than a batch, all are."""
    seen = observed(state.model, load, state.config, state.device)
    kept = selected(seen["feature"], seen["loss"], seen["label"], state.config, state.seed)
    return kept if int(kept.sum()) >= state.config.batch_size else torch.ones_like(kept)


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
    after: Callable[[State], None] | None = None,
) -> State:
    """The epochs after the warm-up, each on a new split; `after(state)` runs at the end of each."""
    state = begin(config, seed, accelerator, shared)
    if checkpoint and Path(checkpoint).exists():
        load_checkpoint(state, checkpoint)
    load = source(config, seed, accelerator.device)
    for epoch in range(int(state.extra["epoch"]), config.epochs):
        kept = split(state, load)
        trusted, rest = kept.nonzero()[:, 0], (~kept).nonzero()[:, 0]
        for group in state.optimizer.param_groups:
            group["lr"] = config.learning_rate * (0.1 if epoch >= config.drop_epoch else 1.0)

        def pair(index: Tensor, trusted: Tensor = trusted, rest: Tensor = rest) -> dict[str, Tensor]:
            items = load(trusted[index])
            if config.semi and len(rest):
                other = batch_indices(seed, state.step, len(rest), config.batch_size)
                items["rest"] = load(rest[other.to(rest.device)])["image"]
            return items

        steps = config.epoch_steps or len(trusted) // config.batch_size
        fit(state, step, pair, steps=state.step + steps, items=len(trusted), progress=progress)
        state.extra["kept"][epoch] = kept
        state.extra["epoch"] += 1
        if checkpoint:
            save_checkpoint(state, checkpoint)
        if after is not None:
            after(state)
    return state
