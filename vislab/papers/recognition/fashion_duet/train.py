"""Training the duet: anchors with a partner of the same set in one attribute, triplets at two granularities, labels."""

from typing import Any

import torch
from torch import Tensor

from vislab.engine.fit import State, descend, exponential, fit, initialise, start
from vislab.ops.augment import crop_and_flip
from vislab.papers.recognition.fashion_duet.card import Config
from vislab.papers.recognition.fashion_duet.data import batch, items_of, labels, partners, set_numbers
from vislab.papers.recognition.fashion_duet.losses import class_triplet, label_loss, set_triplet, with_negatives
from vislab.papers.recognition.fashion_duet.model import build


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Network and Adam, whose learning rate falls by a constant factor every `decay_steps`."""
    model = initialise(build, config, seed)
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    return start(config, seed, accelerator, model, optimizer, exponential(0.9, config.decay_steps))


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of the multi-granularity loss; a term of weight zero is not computed."""
    config, held, known = state.config, items["held"], items["known"]
    found = state.model(crop_and_flip(items["image"], config.crop_padding))
    counted = known[..., None] & state.network.exists
    losses = {}
    if config.weight_set > 0:
        losses["set"] = config.weight_set * set_triplet(found["vector"], held, known, config.margin)
    if config.weight_labels > 0:
        losses["labels"] = config.weight_labels * label_loss(found["logits"], held, counted)
    if config.duet and config.weight_class > 0:
        losses["class"] = config.weight_class * class_triplet(found["class_vector"], held, known, config.margin)
        trained = counted & with_negatives(held, state.network.exists, config.negatives)
        losses["scores"] = config.weight_class * label_loss(found["class_logits"], held, trained)
    return descend(state, {"loss": sum(losses.values()), **losses})


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """The whole loop; half of a batch are anchors, the other half their partners."""
    state = begin(config, seed, accelerator, shared)
    held, known = labels(config, "train", seed)
    number = set_numbers(held)
    pool = None
    if config.source == "world":
        pool = items_of(config, "train", seed, torch.arange(config.train_items), shared, accelerator.device)

    def load(index: Tensor) -> dict[str, Tensor]:
        anchors = index.cpu()
        both = torch.cat([anchors, partners(number, known, anchors, seed, state.step)])
        if pool is None:
            return batch(config, "train", seed, both, accelerator.device)
        return {name: value[both] for name, value in pool.items()}

    return fit(state, step, load, batch_size=config.batch_size // 2, checkpoint=checkpoint, progress=progress)
