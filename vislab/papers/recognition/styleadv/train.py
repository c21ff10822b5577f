"""Training StyleAdv: a supervised warm start, then episodes in their own style and in an attacked one."""

import copy
import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vislab.engine.fit import State, descend, fit, initialise, start
from vislab.ops import counter
from vislab.ops.augment import crop_and_flip
from vislab.papers.recognition.styleadv.attack import attacked_pixels, few_shot_loss, new_styles
from vislab.papers.recognition.styleadv.card import Config
from vislab.papers.recognition.styleadv.data import MEAN, STD, batch, drawn, pictures, sizes, standardised, unpacked
from vislab.papers.recognition.styleadv.model import FewShotNetwork, build
from vislab.worlds.base import absolute

WARM = "warm."
"""Prefix of the warm start's tensors among what arms share."""
HEAD_RATE, HEAD_EPISODES = 1e-2, 4
"""Adam's learning rate and the episodes a step of the graph network's own start."""


def augmented(image: Float[Tensor, "*batch 3 h w"], config: Config) -> Float[Tensor, "*batch 3 h w"]:
    """Every picture cropped and flipped, its brightness, contrast and saturation changed; the same for every arm."""
    shape = image.shape
    flat = crop_and_flip(image.reshape(-1, *shape[-3:]), config.crop_padding)
    if config.jitter > 0:
        bright, contrast, colour = 1 + config.jitter * (2 * torch.rand(3, len(flat), 1, 1, 1, device=image.device) - 1)
        flat = (flat * STD + MEAN) * bright
        flat = torch.lerp(flat.mean(dim=(1, 2, 3), keepdim=True), flat, contrast)
        flat = torch.lerp(flat.mean(dim=1, keepdim=True), flat, colour)
        flat = standardised(flat.clamp(0, 1))
    return flat.reshape(shape)


def pretrain(config: Config, seed: int, accelerator: Any, images: Tensor | None = None) -> dict[str, Tensor]:
    """The warm start: backbone and classifier after supervised training on the base classes, or DINO's backbone.

    `images` is the pool of training pictures (class, picture, 3, h, w) where there is one.
    """
    if config.backbone == "resnet":
        config = dataclasses.replace(config, head="graph")
    model = initialise(build, config, seed)
    if config.backbone == "vit" and config.source != "world":
        model.backbone.load_state_dict(dino())
        return warm(model)
    counts = torch.full((images.shape[0],), images.shape[1]) if images is not None else sizes(config, "train")
    label = torch.arange(len(counts)).repeat_interleave(counts)
    number = torch.cat([torch.arange(int(n)) for n in counts])
    optimizer = torch.optim.Adam(
        [*model.backbone.parameters(), *model.classifier.parameters()], config.pretrain_learning_rate, fused=True
    )
    state = start(config, seed, accelerator, model, optimizer)

    def load(index: Tensor) -> dict[str, Tensor]:
        index = index.cpu()
        if images is not None:
            found = unpacked(images[label[index], number[index]].to(accelerator.device))
        else:
            found = standardised(pictures(config, "train", seed, label[index], number[index])).to(accelerator.device)
        return {"image": found, "label": label[index].to(accelerator.device)}

    def supervised(state: State, items: dict[str, Tensor]) -> dict[str, float]:
        network = state.accelerator.unwrap_model(state.model)
        logits = network.classifier(network.embed(augmented(items["image"], config)))
        return descend(state, {"loss": F.cross_entropy(logits, items["label"])})

    state = fit(
        state, supervised, load, steps=config.pretrain_steps, items=len(label), batch_size=config.pretrain_batch_size
    )
    if config.head == "graph" and images is not None:
        pretrain_head(state.network, config, seed, images)
    return warm(state.network)


def pretrain_head(model: FewShotNetwork, config: Config, seed: int, images: Tensor) -> None:
    """Trains the graph network alone, on episodes of the pool's features as the backbone now gives them."""
    device = model.classifier.weight.device
    with torch.no_grad():
        parts = images.flatten(0, 1).split(config.eval_batch_size)
        feat = torch.cat([model.eval().embed(unpacked(part.to(device))) for part in parts])
    feat = feat.reshape(*images.shape[:2], -1)
    counts, each = torch.full((len(feat),), feat.shape[1]), config.shots + config.queries
    optimizer = torch.optim.Adam(model.head.parameters(), HEAD_RATE, fused=True)
    for k in range(config.head_steps):
        index = absolute("train", 2 * 10**5 + HEAD_EPISODES * k + torch.arange(HEAD_EPISODES))
        label, number = drawn(seed, "world", index, len(feat), config.way, counts, each)
        loss = few_shot_loss(model.head(feat[label[..., None], number], config.shots))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def warm(model: FewShotNetwork) -> dict[str, Tensor]:
    """All tensors of a network, to be shared by the arms with that backbone."""
    return {WARM + name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def dino() -> dict[str, Tensor]:
    """DINO's ViT-S/16 from timm, which downloads it."""
    import timm

    from vislab.papers.recognition.styleadv.official import from_timm

    return from_timm(timm.create_model("vit_small_patch16_224.dino", pretrained=True, num_classes=0).state_dict())


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """The network with the warm start where `shared` holds one; Adam for the ResNet, SGD with momentum for the ViT."""
    model = initialise(build, config, seed)
    ready = {n.removeprefix(WARM): v for n, v in (shared or {}).items() if n.startswith(WARM)}
    if ready:
        if config.head != "graph":
            ready = {n: v for n, v in ready.items() if not n.startswith("head.")}
            ready |= {f"head.{n}": v for n, v in model.head.state_dict().items()}
        model.load_state_dict(ready)
    if config.backbone == "resnet":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), config.learning_rate, fused=True)
    else:
        groups = [
            {"params": [*model.backbone.parameters(), *model.head.parameters()]},
            {"params": model.classifier.parameters(), "lr": config.learning_rate * config.class_factor},
        ]
        optimizer = torch.optim.SGD(groups, config.learning_rate, momentum=0.9)
    return start(config, seed, accelerator, model, optimizer)


def consistency(original: Tensor, styled: Tensor) -> Float[Tensor, ""]:
    """Divergence of the styled view's few-shot distribution from the original's, mean over queries (eq. 7)."""
    first, second = original.flatten(0, -2).log_softmax(dim=-1), styled.flatten(0, -2).log_softmax(dim=-1)
    return F.kl_div(second, first, reduction="batchmean", log_target=True)


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One episode: the inner loop finds new styles, the outer loop learns the episode with and without them (eq. 8)."""
    config, model = state.config, state.accelerator.unwrap_model(state.model)
    image, label = augmented(items["image"], config), items["label"]
    original = state.model(image)
    target = label[..., None].expand(image.shape[:3]).flatten()
    losses = {
        "few_shot": few_shot_loss(original["scores"]),
        "class": F.cross_entropy(original["class_logits"], target),
    }
    weights = {"few_shot": 1.0, "class": config.weight_class}
    if config.style != "none":
        if config.style == "pixels":
            styled = state.model(attacked_pixels(model, image, label, config))
        else:
            other = augmented(items["other"], config) if "other" in items else None
            changes = new_styles(model, image, label, config, other)
            kept = {k: change for k, change in changes.items() if float(torch.rand(())) >= config.skip}
            styled = state.model(image, kept)
        losses["styled"] = few_shot_loss(styled["scores"])
        losses["consistency"] = consistency(original["scores"], styled["scores"])
        weights |= {"styled": config.weight_styled, "consistency": config.weight_consistency}
    return descend(state, {"loss": sum(weights[n] * v for n, v in losses.items()), **losses})


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """All episodes, from the pool of training pictures where `shared` holds it."""
    state = begin(config, seed, accelerator, shared)
    images = None if not shared else shared.get("train")

    def load(index: Tensor) -> dict[str, Tensor]:
        if images is None:
            return batch(config, "train", seed, index, accelerator.device)
        found, each = {}, config.shots + config.queries
        counts = torch.full((images.shape[0],), images.shape[1])
        for name, shift in (("image", 0), ("other", 10**5)):
            if name == "other" and config.style not in ("swap", "mix"):
                continue
            label, number = drawn(
                seed, "world", absolute("train", index.cpu() + shift), len(counts), config.way, counts, each
            )
            found[name] = unpacked(images[label[..., None], number].to(accelerator.device))
            found.setdefault("label", label.to(accelerator.device))
        return found

    return fit(state, step, load, items=config.steps * config.batch_size, checkpoint=checkpoint, progress=progress)


def finetuned(
    state: State, config: Config, support: Float[Tensor, "way shot 3 h w"], seed: int, number: int
) -> FewShotNetwork:
    """A copy of the network after Adam on pseudo episodes: the support set, and queries that are augmented pictures of it."""
    model, shots = copy.deepcopy(state.network).train(), support.shape[1]
    optimizer = torch.optim.Adam(model.parameters(), config.finetune_learning_rate)
    place = torch.arange(config.finetune_queries, device=support.device) % shots
    with counter.scope(seed, "evaluate", f"finetune {number}"):
        for _ in range(config.finetune_steps):
            pseudo = torch.cat([support, augmented(support[:, place], config)], dim=1)[None]
            loss = few_shot_loss(model(pseudo, shots=shots)["scores"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return model.eval()
