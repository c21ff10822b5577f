"""One classifier a seed, shared by all arms; each arm explains the same pictures, and the explanations' fidelity is measured."""

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vislab.engine import attributions
from vislab.engine.attributions import Strength
from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved
from vislab.engine.metrics import accuracy
from vislab.engine.outcome import Outcome
from vislab.ops import counter
from vislab.papers.trust.eva import explain
from vislab.papers.trust.eva.card import Config
from vislab.papers.trust.eva.data import batch
from vislab.papers.trust.eva.model import last_convolution
from vislab.papers.trust.eva.train import train

ITEMS = {"validation": "validation_items", "test": "test_items"}
PREPARE_FIELDS = (
    "network", "width", "hidden", "source", "classes", "image_size", "spurious", "noise", "robust", "train_eps", "weight_robust",
    "steps", "warmup_steps", "batch_size", "learning_rate", "weight_decay", "train_items", "released_weights",
)  # fmt: skip
SHARES = (0.03, 0.06, 0.12, 0.25, 0.5)
BOUNDS = ("ibp", "forward", "crown_ibp", "crown")
KEPT = 6


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """The weights of the classifier that every arm explains."""
    return {n: v.cpu() for n, v in train(config, seed, accelerator).network.state_dict().items()}


@torch.no_grad()
def chosen(state: State, config: Config, seed: int, split: str) -> tuple[dict[str, Tensor], float]:
    """The first correctly classified pictures of a split, `explained` at most, and the accuracy on all of it."""
    model = state.network.eval()
    index = torch.arange(getattr(config, ITEMS[split]))
    parts = [batch(config, split, seed, part, state.device) for part in index.split(config.eval_batch_size)]
    items = {name: torch.cat([p[name] for p in parts]) for name in parts[0]}
    logits = torch.cat([model(part) for part in items["image"].split(config.eval_batch_size)])
    right = (logits.argmax(dim=1) == items["label"]).nonzero()[:, 0][: config.explained]
    right = right if len(right) else torch.arange(min(config.explained, len(index)), device=right.device)
    return {name: value[right] for name, value in items.items()}, accuracy(logits, items["label"])


def overlap(
    model: nn.Sequential, config: Config, images: Tensor, labels: Tensor, against: int | None = None
) -> Float[Tensor, "batch box"]:
    """The adversarial overlap of the free box and of each frozen one, as the config says: certified, sampled or attacked."""
    masks = explain.frozen_masks(config.grid, config.image_size, images.device)
    if config.explainer == "overlap_sampled":
        return explain.sampled_overlap(model, images, labels, config.eps, masks, config.points)
    if config.explainer == "overlap_attacked":
        return explain.sampled_overlap(model, images, labels, config.eps, masks, 1, config.attack_steps)
    return explain.certified_overlap(
        model, images, labels, config.eps, masks, config.bounds, config.cut, config.points, config.chunk, against
    )


def explanation(
    model: nn.Sequential,
    config: Config,
    images: Float[Tensor, "batch channel h w"],
    labels: Int[Tensor, " batch"],
    seed: int = 0,
) -> tuple[Float[Tensor, "batch grid grid"], int, Float[Tensor, "batch box"] | None]:
    """Scores of the patches, calls a picture (each box bounded is one), and the overlaps where there are some."""
    name, grid = config.explainer, config.grid
    bounded = None
    with attributions.counted(model) as seen:
        if name in ("eva", "overlap_sampled", "overlap_attacked"):
            bounded = overlap(model, config, images, labels)
            scores = explain.verified_map(bounded, grid)
        elif name == "greedy":
            scores = explain.greedy_map(
                model, images, labels, config.eps, grid, config.attack_steps, config.step_patches
            )
        elif name in attributions.GRADIENTS:
            scores = attributions.gradient_map(
                name, model, images, labels, grid, config.pooling, config.sample_noise, config.fill, config.points, seed
            )
        elif name in attributions.MAPS:
            scores = attributions.activation_map(name, model, last_convolution(model), images, labels, grid)
        elif name == "random":
            scores = counter.uniform(seed, "evaluate", torch.arange(len(images)), "random map", (grid, grid)).to(images)
        else:
            scores = attributions.sampled_map(name, model, images, labels, grid, config.fill, config.samples, seed)
    boxes = bounded.shape[1] if name == "eva" and bounded is not None else 0
    return scores, round(seen[0] / len(images)) + boxes, bounded


def strength(config: Config) -> Strength:
    """The attack that measures robustness."""
    return Strength(config.measure_steps, config.measure_restarts)


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Fidelity of one arm's explanations; on the validation split only the robustness that tuning minimises."""
    model = state.network.eval()
    items, hits = chosen(state, config, seed, split)
    images, labels = items["image"], items["label"]
    scores, calls, overlaps = explanation(model, config, images, labels, seed)
    order = attributions.ranked(scores)
    top = attributions.robustness(model, images, labels, order, SHARES, "top", strength(config))
    found = {"robustness": float(top.mean())}
    if split == "validation":
        return found
    rest = attributions.robustness(model, images, labels, order, SHARES, "rest", strength(config))
    deletion, insertion = attributions.removal(model, images, labels, order, config.measure_fill)
    fidelity = attributions.mu_fidelity(model, images, labels, scores, config.measure_fill)
    found |= {
        "robustness_rest": float(rest.mean()), "deletion": float(deletion.mean()), "insertion": float(insertion.mean()),
        "fidelity": float(fidelity.mean()), "calls": float(calls), "accuracy": hits,
        "flat": 100 * float((scores.flatten(1).amax(1) - scores.flatten(1).amin(1) < 1e-6).float().mean()),
    }  # fmt: skip
    if "dot" in items:
        found["evidence"] = 100 * float(attributions.share_inside(scores, items["dot"]).mean())
        found["evidence_body"] = 100 * float(attributions.share_inside(scores, items["body"]).mean())
    if config.explainer == "eva":
        found["gap"] = float((overlaps - attacked(model, config, images, labels)).mean())
        if config.cut == 0:
            found["violations"] = float(violations(model, config, images, labels, overlaps))
    return found


def attacked(model: nn.Module, config: Config, images: Tensor, labels: Tensor) -> Float[Tensor, "batch box"]:
    """What the measuring attack finds in each box: a lower bound of the overlap."""
    masks = explain.frozen_masks(config.grid, config.image_size, images.device)
    return explain.sampled_overlap(
        model, images, labels, config.eps, masks, config.measure_restarts, config.measure_steps
    )


def violations(model: nn.Module, config: Config, images: Tensor, labels: Tensor, overlaps: Tensor) -> int:
    """Boxes, of the free one and one frozen one of some pictures, in which random points, corners or an attack exceed the bound."""
    few = min(KEPT, len(images))
    masks = explain.frozen_masks(config.grid, config.image_size, images.device)
    patch = 1 + config.grid * config.grid // 2
    part = masks[[0, patch]]
    images, labels, bound = images[:few], labels[:few], overlaps[:few][:, [0, patch]]
    random = explain.sampled_overlap(model, images, labels, config.eps, part, config.check_points, seed=1)
    pushed = explain.sampled_overlap(
        model, images, labels, config.eps, part, config.measure_restarts, 2 * config.measure_steps
    )
    return int((torch.maximum(random, pushed) > bound + 1e-4).sum())


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Explain and measure one arm; the first seed keeps some maps, the curve of robustness and its change with the attack."""
    state = train(config, seed, accelerator, shared)
    metrics = evaluate(state, config, seed)
    return Outcome(metrics, artifacts(state, config, seed) if seed == 0 else {})


def artifacts(state: State, config: Config, seed: int) -> dict[str, Tensor]:
    """Maps of a few pictures, scaled to [0, 1]; robustness by share of patches; and under weaker and stronger attacks."""
    model = state.network.eval()
    items, _ = chosen(state, dataclasses.replace(config, explained=min(12, config.explained)), seed, "test")
    images, labels = items["image"], items["label"]
    scores, _, _ = explanation(model, config, images, labels, seed)
    order = attributions.ranked(scores)
    curve = attributions.robustness(model, images, labels, order, SHARES, "top", strength(config)).mean(dim=0)
    harder = [
        attributions.robustness(model, images, labels, order, SHARES[1:3], "top", one).mean()
        for one in attack_ladder(config)
    ]
    low, high = scores.flatten(1).amin(1)[:, None, None], scores.flatten(1).amax(1)[:, None, None]
    maps = ((scores - low) / (high - low).clamp(min=1e-9))[:KEPT]
    return {"maps": maps.float().cpu(), "curve": curve.cpu(), "harder": torch.stack(harder).cpu()}


def attack_ladder(config: Config) -> tuple[Strength, ...]:
    """Weaker attacks, the measuring one, and one of twice its steps and starts."""
    steps, starts = config.measure_steps, config.measure_restarts
    return (
        Strength(max(1, steps // 5), 1),
        Strength(max(1, steps // 2), 1),
        Strength(steps, 1),
        Strength(steps, starts),
        Strength(2 * steps, 2 * starts),
    )


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Seconds of an explanation by bounds over one by greedy attacks, on the same network, pictures and patches."""
    state = train(config, 0, accelerator, shared)
    model = state.network.eval()
    items = batch(config, "test", 0, torch.arange(2), state.device)
    rival = dataclasses.replace(config, explainer="greedy")
    sides = {
        name: lambda c=c: explanation(model, c, items["image"], items["label"])
        for name, c in (("eva", config), ("greedy", rival))
    }
    times = interleaved(sides, repeats=10, warmup=1)
    return Outcome(compared("seconds_ratio", times["eva"], times["greedy"]))
