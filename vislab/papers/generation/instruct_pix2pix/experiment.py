"""One run of an arm: edits of drawn scenes over a sweep of its knob, judged by reading attributes; the cost of an edit."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab import zoo
from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved
from vislab.engine.outcome import Outcome
from vislab.papers.generation.instruct_pix2pix.card import Config
from vislab.papers.generation.instruct_pix2pix.data import batch, pool, read_length, wanted, world
from vislab.papers.generation.instruct_pix2pix.pairs import scores
from vislab.papers.generation.instruct_pix2pix.sampling import edit, optimised, own_noise, painted
from vislab.papers.generation.instruct_pix2pix.train import begin, train
from vislab.worlds.base import absolute
from vislab.worlds.shapes.edits import Truth, judged, truth

ITEMS = {"validation": "validation_items", "test": "test_items"}
HELD = 24
"""Generated inputs, each of its own prompt after those of training, for the comparison with drawn ones."""
PREPARE_FIELDS = (
    "source", "train_items", "candidates", "attention_sharing", "follow", "share_low", "share_high", "guidance_low", "guidance_high",
    "pair_steps", "image_size",
)  # fmt: skip


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """The world's candidate pairs, and a few more inputs (named held_...) that no arm trains on."""
    if config.source != "world":
        return {}
    after = config.train_items + config.candidates * (1 + torch.arange(min(HELD, config.train_items)))
    held = pool(config, seed, accelerator.device, after)
    return pool(config, seed, accelerator.device) | {f"held_{name}": value for name, value in held.items()}


def edited(
    state: State, config: Config, seed: int, items: dict[str, Tensor], index: Tensor, value: float
) -> Float[Tensor, "batch 3 height width"]:
    """The arm's edits of `items` at one value of its knob, from noise that depends on the item alone.

    The knob is s_I of the editor, the strength of SDEdit, or how far an optimised embedding is moved to its target.
    """
    model, shares, null = state.network.eval(), state.extra["shares"], state.extra["null"]
    picture = model.encode(items["source"])
    said = items["instruction"] if config.method == "editor" or config.caption == "instruction" else items["after"]
    context = model.read(read_length(config, said))
    fresh = own_noise(seed, "evaluate", index.to(state.device), "edit", tuple(picture.shape[1:]))
    if config.method == "editor":
        latent = edit(model, picture, context, null, fresh, config.sample_steps, shares, value, config.text_scale)
        return model.decode(latent)
    unet, clean = zoo.load("ldm").unet.to(state.device), model.scale * picture
    arguments = (null, fresh, config.sample_steps, shares, config.guidance)
    if config.method == "sdedit":
        return model.decode(painted(unet, context, *arguments, strength=value, clean=clean))
    found = optimised(unet, clean, context, fresh, config.optimise_steps, shares, config.learning_rate)
    return model.decode(painted(unet, torch.lerp(found, context, value), *arguments))


def matched_accuracy(curve: Sequence[tuple[float, float]], level: float) -> float:
    """Highest edit accuracy on the curve of (accuracy, kept) where at least `level` percent is kept.

    Between two settings it runs straight, and it may be mixed with leaving the picture alone: accuracy 0, all kept.
    """
    points = [*curve, (0.0, 100.0)]
    best = max((a for a, kept in points if kept >= level), default=0.0)
    for a, kept in points:
        for b, more in points:
            if kept < level <= more and more > kept:
                best = max(best, b + (a - b) * (more - level) / (more - kept))
    return best


def dominated(curve: Sequence[tuple[float, float]]) -> float:
    """Area of the part of (accuracy, kept) that some setting is at least as good as in both, percent of the square."""
    area, reached = 0.0, 0.0
    for accuracy, kept in sorted(curve, key=lambda point: -point[1]):
        area += max(0.0, accuracy - reached) * kept
        reached = max(reached, accuracy)
    return area / 100


def trade_off(
    state: State, config: Config, seed: int, split: str, values: Sequence[float]
) -> tuple[list[tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """For every value of the knob whether each edit succeeds and what share of the rest it keeps; and edits at the default."""
    index = torch.arange(getattr(config, ITEMS[split]))
    parts = index.split(config.eval_batch_size)
    rows: list[list[tuple[Tensor, Tensor]]] = [[] for _ in values]
    shown: list[Tensor] = []
    every = []
    for part in parts:
        items = batch(config, split, seed, part, state.device)
        known = _truth(split, seed, part)
        for k, value in enumerate(values):
            image = edited(state, config, seed, items, absolute(split, part), value)
            rows[k].append(judged(image.cpu(), known))
            if value == config.image_scale:
                shown.append(image)
        every.append(items)
    found = [tuple(torch.cat(side) for side in zip(*row, strict=True)) for row in rows]
    items = {name: torch.cat([e[name] for e in every]) for name in every[0]}
    return found, items | {"edited": torch.cat(shown)}


def _truth(split: str, seed: int, index: Tensor) -> Truth:
    words, where = wanted(split, seed, index)
    return truth(world(seed), words, where)


def evaluate(
    state: State, config: Config, seed: int, split: str = "test", shared: dict[str, Tensor] | None = None
) -> dict[str, float]:
    """The trade-off's area and its accuracy at equal consistency; the default setting's accuracy, by wording, and direction."""
    return _measured(state, config, seed, split, shared)[0]


def _measured(
    state: State, config: Config, seed: int, split: str, shared: dict[str, Tensor] | None
) -> tuple[dict[str, float], Tensor]:
    if config.source != "world":
        return _released(state, config, seed, split), torch.zeros(0, 2)
    values = tuple(dict.fromkeys((*config.sweep, config.image_scale)))
    rows, items = trade_off(state, config, seed, split, values)
    curve = [(100 * float(right.mean()), 100 * float(kept.mean())) for right, kept in rows]
    right, kept = rows[values.index(config.image_scale)]
    late = torch.arange(len(right)) % 2 == 1
    found = {
        "area": dominated(curve),
        "accuracy_matched": matched_accuracy(curve, config.matched),
        "accuracy": 100 * float(right.mean()),
        "accuracy_kept": 100 * float(kept.mean()),
        "accuracy_seen": 100 * float(right[~late].mean()),
        "accuracy_heldout": 100 * float(right[late].mean()),
    }
    clip = zoo.load("clip").to(state.device)
    found["direction"] = _direction(clip, items, items["edited"])
    if split == "test" and config.method == "editor" and shared:
        held = {name.removeprefix("held_"): value for name, value in shared.items() if name.startswith("held_")}
        held["source"] = held["source"].float() / 255
        index = config.train_items + torch.arange(len(held["source"]))
        image = edited(state, config, seed, held, absolute("train", index), config.image_scale)
        found["direction_generated"] = _direction(clip, held, image)
    return found, torch.tensor(curve)


def _direction(clip: Any, items: dict[str, Tensor], image: Tensor) -> float:
    return float(scores(clip, items["source"], image, items["before"], items["after"])["direction"].mean())


def _released(state: State, config: Config, seed: int, split: str) -> dict[str, float]:
    """Directional similarity on the released set, by CLIP ViT-L/14."""
    import torch.nn.functional as F

    network, _, tokenizer = zoo.load("clip", source="openai/clip-vit-large-patch14")
    network = network.to(state.device)
    total, count = 0.0, getattr(config, ITEMS[split])
    from vislab.nn.clip import normalise
    from vislab.papers.generation.instruct_pix2pix.data import FILTERED, RANDOM, ip2p_pairs, locate

    dataset = FILTERED if config.filtered else RANDOM
    for index in torch.arange(count).split(config.eval_batch_size):
        items = batch(config, split, seed, index, state.device)
        image = edited(state, config, seed, items, absolute(split, index), config.image_scale)
        sides = [normalise(F.interpolate(p, size=(224, 224), mode="bicubic")) for p in (items["source"], image)]
        _, (before, _, after) = ip2p_pairs.read(dataset, locate(dataset), split, index, 8)
        pictures = [network.encode_image(side, normalize=True) for side in sides]
        told = [network.encode_text(tokenizer(list(t)).to(state.device), normalize=True) for t in (before, after)]
        total += float(F.cosine_similarity(pictures[1] - pictures[0], told[1] - told[0]).sum())
    return {"direction": total / count}


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps its trade-off and its loss."""
    state = train(config, seed, accelerator, shared)
    metrics, curve = _measured(state, config, seed, "test", shared)
    if seed:
        return Outcome(metrics)
    losses = torch.tensor([h["loss"] for h in state.history])[:: max(1, len(state.history) // 80)]
    return Outcome(metrics, {"trade_off": curve} | ({"curve": losses} if len(losses) else {}))


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Time of an edit of one picture over that of both stages of the optimisation and its sampling, in turns."""
    other = dataclasses.replace(config, method="optimised", learning_rate=0.05)
    state = begin(config, 0, accelerator)
    index = torch.arange(1)
    items = batch(config, "test", 0, index, accelerator.device)
    model, shares, null = state.network.eval(), state.extra["shares"], state.extra["null"]
    base = zoo.load("ldm").unet.to(accelerator.device)

    def optimise() -> Tensor:
        unet = copy.deepcopy(base).requires_grad_(True)
        picture = model.encode(items["source"])
        fresh = own_noise(0, "evaluate", index.to(accelerator.device), "edit", tuple(picture.shape[1:]))
        target, clean = model.read(read_length(other, items["after"])), model.scale * picture
        found = optimised(
            unet, clean, target, fresh, other.optimise_steps, shares, other.learning_rate, network_too=True
        )
        context = torch.lerp(found, target, 0.7)
        return model.decode(painted(unet, context, null, fresh, other.sample_steps, shares, other.guidance))

    sides = {
        "edit": lambda: edited(state, config, 0, items, absolute("test", index), config.image_scale),
        "optimise": optimise,
    }
    times = interleaved(sides, repeats=10)
    return Outcome(compared("seconds_ratio", times["edit"], times["optimise"]))
