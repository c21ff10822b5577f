"""Training I-JEPA and its rivals: masks, prediction, the target encoder's slow copy, schedules of momentum and weight decay."""

import math
from typing import Any

import torch
from torch import Tensor

from vislab.engine.fit import State, descend, fit, initialise, start
from vislab.nn import maskers
from vislab.nn.vit import taken
from vislab.papers.representation.ijepa.card import Config
from vislab.papers.representation.ijepa.data import batch, cropped, unpacked, view
from vislab.papers.representation.ijepa.losses import prediction_loss, target_features, target_pixels, view_loss
from vislab.papers.representation.ijepa.model import JEPA, build

FLOOR = 1e-3


def total_steps(config: Config) -> int:
    """Steps of this run."""
    return round(config.steps * config.step_factor)


def rate(config: Config):
    """Warm-up from a fifth to one, then a cosine to a thousandth."""

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return 0.2 + 0.8 * step / config.warmup_steps
        done = min(1.0, (step - config.warmup_steps) / max(1, total_steps(config) - config.warmup_steps))
        return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def decay_at(config: Config, step: int) -> float:
    """Weight decay of a step: a cosine from the first value to the last."""
    done = min(1.0, step / max(1, total_steps(config)))
    return config.final_weight_decay + (config.weight_decay - config.final_weight_decay) * 0.5 * (
        1 + math.cos(math.pi * done)
    )


def momentum_at(config: Config, step: int) -> float:
    """Momentum of the target encoder at a step, linear."""
    first, last = config.momentum
    return first + (last - first) * min(1.0, step / max(1, total_steps(config)))


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Networks, AdamW without decay on biases and norms, schedule; views also keep their centre."""
    model = initialise(build, config, seed)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, config.learning_rate)
    centre = (
        {"centre": torch.zeros(config.prototypes, device=accelerator.device)} if config.objective == "views" else {}
    )
    return start(config, seed, accelerator, model, optimizer, rate(config), extra=centre)


def masks(config: Config, count: int, device: torch.device) -> maskers.Masks:
    """Context and targets by the config's strategy."""
    side = config.image_size // config.patch
    if config.mask == "multiblock":
        return maskers.multiblock(
            count, side, config.targets, config.target_scale, config.target_aspect, config.context_scale,
            config.least_context, device=device,
        )  # fmt: skip
    if config.mask == "quadrants":
        return maskers.quadrants(count, side, device)
    choose = maskers.single_block if config.mask == "block" else maskers.random_patches
    return choose(count, side, config.mask_share, device)


def predict(model: JEPA, image: Tensor, visible: Tensor, targets: Tensor, inside: bool) -> Tensor:
    """Predictions (batch, block, place, outputs) from the visible patches alone."""
    if not inside:
        return model.predictor(model.encoder(image, visible), visible, targets)
    tokens = model.encoder.embed(image)
    hidden = torch.ones(tokens.shape[:2], dtype=torch.bool, device=image.device).scatter(1, visible, False)
    covered = model.predictor.token + model.encoder.positions
    tokens = model.encoder.encode(torch.where(hidden[..., None], covered, tokens))
    return taken(model.predictor.proj(tokens), targets.flatten(1)).unflatten(1, targets.shape[1:])


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step: predict the targets of a fresh mask, descend, let the target encoder follow."""
    config = state.config
    model: JEPA = state.accelerator.unwrap_model(state.model)
    for group in state.optimizer.param_groups:
        if group["weight_decay"] > 0:
            group["weight_decay"] = decay_at(config, state.step)
    if config.objective == "views":
        losses = _agree(state, model, items["image"])
    else:
        image = cropped(items["image"], config.crop_scale)
        visible, targets = masks(config, len(image), state.device)
        if config.target == "features":
            with torch.no_grad():
                wanted = target_features(model.target(image), targets)
        else:
            wanted = target_pixels(image, targets, config.patch)
        prediction = predict(model, image, visible, targets, config.objective == "inside")
        losses = {"loss": prediction_loss(prediction, wanted, config.follow)}
    found = descend(state, losses)
    model.follow(momentum_at(config, state.step))
    return found


def _agree(state: State, model: JEPA, image: Tensor) -> dict[str, Tensor]:
    """DINO's loss on two views; the centre follows the teacher's mean output."""
    both = torch.stack([view(image, state.config.crop_scale) for _ in range(2)])
    student = model.predictor(model.encoder(both.flatten(0, 1))).unflatten(0, both.shape[:2])
    with torch.no_grad():
        teacher = model.target_predictor(model.target(both.flatten(0, 1))).unflatten(0, both.shape[:2])
    loss = view_loss(student, teacher, state.extra["centre"])
    state.extra["centre"] = state.extra["centre"].lerp(teacher.mean(dim=(0, 1)), 0.1)
    return {"loss": loss}


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
    after: Any = None,
) -> State:
    """The loop; the world's pictures come from `shared`, or are made once and kept."""
    state = begin(config, seed, accelerator, shared)
    if config.source == "world":
        if shared is not None:
            pool = unpacked(shared["train_image"])
        else:
            pool = batch(config, "train", seed, torch.arange(config.train_items), accelerator.device)["image"]

        def load(index: Tensor) -> dict[str, Tensor]:
            return {"image": pool[index]}
    else:

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, accelerator.device)

    return fit(state, step, load, steps=total_steps(config), after=after, checkpoint=checkpoint, progress=progress)
