"""Training FLYP and its rivals: one step whose loss the config names; a probe of frozen features where a head comes first."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vislab import zoo
from vislab.engine.fit import State, batch_indices, cosine, descend, fit, initialise, start
from vislab.papers.language.flyp.card import Config
from vislab.papers.language.flyp.data import batch, class_names, prompts, sentences
from vislab.papers.language.flyp.losses import flyp_loss, l2_distance, masked_loss, pairwise_loss, supervised_loss
from vislab.papers.language.flyp.model import Classifier, build

CORRECTED = {"masked": masked_loss, "supervised": supervised_loss, "pairwise": pairwise_loss}


def pretrained(config: Config, seed: int) -> Classifier:
    """The network with pre-trained weights; its head, where it has one, holds the class weights of the text encoder."""
    model = initialise(build, config, seed)
    if config.base == "zoo":
        model.clip.load_state_dict(zoo.load("clip").state_dict())
    elif config.source != "world":
        network, _, _ = zoo.load("clip", source=config.base)
        model.clip.load_state_dict(released_names(network.state_dict()))
    if model.head is not None:
        with torch.no_grad():
            model.head.copy_(model.class_weights(prompts(config)))
    return model


def released_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state of open_clip's network under OpenAI's names, which are ours; its attention mask is no weight."""
    return {name: value for name, value in state.items() if name != "attn_mask"}


def head_steps(config: Config) -> int:
    """Steps of the probe that comes first."""
    return round(config.head_share * config.steps)


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Pre-trained network, AdamW, warm-up and cosine; the head is probed first when the config says so."""
    model = pretrained(config, seed).to(accelerator.device)
    image_side = {*(f"clip.visual.{name}" for name, _ in model.clip.visual.named_parameters()), "head"}
    for name, parameter in model.named_parameters():
        is_scale = name == "clip.logit_scale"
        parameter.requires_grad_(config.scale_trained if is_scale else config.trained == "all" or name in image_side)
    if head_steps(config):
        probe(model, config, seed, accelerator.device)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, config.learning_rate, weight_decay=config.weight_decay)
    schedule = cosine(max(1, config.steps - head_steps(config)), config.warmup_steps)
    anchor = {}
    if config.weight_anchor:
        anchor = {f"anchor {name}": p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    return start(config, seed, accelerator, model, optimizer, schedule, extra=anchor)


def probe(model: Classifier, config: Config, seed: int, device: torch.device) -> None:
    """`head_steps(config)` steps of AdamW on the head, with features of the frozen towers."""
    with torch.no_grad():
        pool = loader(config, seed, device)(torch.arange(config.train_items))
        features = torch.cat([model.clip.encode_image(part) for part in pool["image"].split(config.eval_batch_size)])
    head = model.head.detach().clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([head], config.head_learning_rate, weight_decay=0.0)
    scale = model.clip.logit_scale.exp().detach()
    for step in range(head_steps(config)):
        rows = batch_indices(seed, step, config.train_items, config.batch_size).to(device)
        loss = F.cross_entropy(scale * features[rows] @ head.T, pool["label"][rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    model.head.data.copy_(head.detach())


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of AdamW on the loss that the config names; sentences are drawn anew every time."""
    config, model = state.config, state.model
    image, label = items["image"], items["label"]
    if config.loss == "head":
        loss = F.cross_entropy(state.accelerator.unwrap_model(model).logits(image), label)
    elif config.loss == "text":
        every = sentences(config, torch.arange(len(class_names(config)), device=label.device))
        features, text, scale = model(image, every)
        loss = F.cross_entropy(scale * features @ text.T, label)
    else:
        features, text, scale = model(image, sentences(config, label))
        if config.loss == "contrastive":
            loss = flyp_loss(features, text, scale)
        else:
            loss = CORRECTED[config.loss](features, text, scale, label)
    if config.weight_anchor:
        now = dict(state.accelerator.unwrap_model(model).named_parameters())
        anchor = {name.removeprefix("anchor "): value for name, value in state.extra.items()}
        loss = loss + config.weight_anchor * l2_distance(now, anchor)
    return descend(state, {"loss": loss})


def loader(config: Config, seed: int, device: torch.device):
    """Training items by index; the world's are made once and kept."""
    if config.source != "world":
        return lambda index: batch(config, "train", seed, index, device)
    pool = batch(config, "train", seed, torch.arange(config.train_items), device)
    return lambda index: {name: value[index] for name, value in pool.items()}


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """The loop; the probe's steps count in `steps`."""
    state = begin(config, seed, accelerator, shared)
    load = loader(config, seed, accelerator.device)
    return fit(state, step, load, steps=config.steps - head_steps(config), checkpoint=checkpoint, progress=progress)
