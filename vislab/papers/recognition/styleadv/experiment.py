"""One run of an arm: accuracy in the source's style and in unseen ones, how hard and how far new styles are; what a step costs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.engine.episodes import mean_interval
from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved
from vislab.engine.outcome import Outcome
from vislab.ops import counter
from vislab.ops.styles import style
from vislab.papers.recognition.styleadv.attack import few_shot_loss, new_styles
from vislab.papers.recognition.styleadv.card import Config
from vislab.papers.recognition.styleadv.data import HOME, batch, drawn, pool, unpacked
from vislab.papers.recognition.styleadv.train import begin, finetuned, pretrain, step, train
from vislab.worlds.base import absolute

PREPARE_FIELDS = (
    "source", "targets", "base_classes", "validation_classes", "novel_classes", "gap", "noise", "image_size", "crop_padding",
    "jitter", "backbone", "width", "vit_width", "depth", "patch", "heads", "pretrain_steps", "pretrain_batch_size",
    "pretrain_learning_rate", "head_steps", "way", "shots", "queries", "node_features", "graph_width",
    "train_items", "validation_items", "test_items",
)  # fmt: skip
ITEMS = {"train": "train_items", "validation": "validation_items", "test": "test_items"}
TEST_SHOTS = (1, 5)
PROBE_EPISODES, PROBE_PICTURES = 10, 10
"""Episodes of base classes, and new pictures of each, on which new styles are measured."""
PROBED = ("original", "swap", "random", "adversarial")


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """The world's pictures by split and domain, and the backbone's supervised warm start, which all arms of a seed share."""
    found = {}
    if config.source == "world":
        found["train"] = pool(config, "train", seed, config.train_items)
        for split in ("validation", "test"):
            for domain in (HOME, *config.targets):
                found[f"{split}_{domain}"] = pool(config, split, seed, getattr(config, ITEMS[split]), domain)
            found[f"{split}_base"] = pool(config, split, seed, PROBE_PICTURES * config.base_classes, classes="train")
    return found | pretrain(config, seed, accelerator, found.get("train"))


def kept(config: Config, seed: int, split: str, domain: str, shared: Mapping[str, Tensor] | None) -> Tensor:
    """The pool of a domain, from `shared` where it is there."""
    if shared and f"{split}_{domain}" in shared:
        return shared[f"{split}_{domain}"]
    if domain == "base":
        return pool(config, split, seed, PROBE_PICTURES * config.base_classes, classes="train")
    return pool(config, split, seed, getattr(config, ITEMS[split]), domain)


@torch.no_grad()
def embedded(
    state: State, config: Config, images: Float[Tensor, "class item 3 h w"]
) -> Float[Tensor, "class item feature"]:
    """Features of a pool."""
    model, flat = state.network.eval(), images.flatten(0, 1)
    parts = [model.embed(unpacked(part.to(state.device))) for part in flat.split(config.eval_batch_size)]
    return torch.cat(parts).reshape(*images.shape[:2], -1)


def episodes(
    config: Config, split: str, seed: int, images: Tensor, count: int, shots: int
) -> tuple[Int[Tensor, "episode way"], Int[Tensor, "episode way item"]]:
    """Classes and pictures of test episodes; the same for every arm."""
    counts, each = torch.full((images.shape[0],), images.shape[1]), shots + config.queries
    return drawn(seed, "evaluate", absolute(split, torch.arange(count)), len(counts), config.way, counts, each)


@torch.no_grad()
def scored(
    state: State, config: Config, seed: int, split: str, images: Tensor, shots: int, feat: Tensor
) -> Float[Tensor, " episode"]:
    """Accuracy in percent of every test episode of a pool."""
    label, number = episodes(config, split, seed, images, config.test_episodes, shots)
    found = []
    for part in torch.arange(config.test_episodes).split(4):
        scores = state.network.eval().head(feat[label[part][..., None], number[part]], shots)
        right = scores.argmax(dim=-1) == torch.arange(config.way, device=scores.device)[:, None]
        found.append(100 * right.double().mean(dim=(1, 2)).cpu())
    return torch.cat(found)


def scored_finetuned(
    state: State, config: Config, seed: int, split: str, images: Tensor, shots: int
) -> Float[Tensor, " episode"]:
    """Accuracy in percent of every test episode after fine-tuning on its support set."""
    label, number = episodes(config, split, seed, images, config.test_episodes, shots)
    found = []
    for k in range(config.test_episodes):
        episode = unpacked(images[label[k][:, None], number[k]].to(state.device))
        model = finetuned(state, config, episode[:, :shots], seed, k)
        with torch.no_grad():
            scores = model(episode[None], shots=shots)["scores"][0]
        found.append(100 * (scores.argmax(dim=-1) == torch.arange(config.way, device=scores.device)[:, None]).double())
    return torch.stack([right.mean() for right in found]).cpu()


def by_domain(
    state: State, config: Config, seed: int, split: str, shared: Mapping[str, Tensor] | None = None
) -> dict[str, dict[int, Float[Tensor, " episode"]]]:
    """Accuracy of every test episode, by domain and number of shots."""
    found: dict[str, dict[int, Tensor]] = {}
    for domain in (HOME, *config.targets):
        images = kept(config, seed, split, domain, shared)
        if config.finetune_steps:
            found[domain] = {s: scored_finetuned(state, config, seed, split, images, s) for s in TEST_SHOTS}
        else:
            feat = embedded(state, config, images)
            found[domain] = {s: scored(state, config, seed, split, images, s, feat) for s in TEST_SHOTS}
    return found


def probe(
    state: State, config: Config, seed: int, split: str, shared: Mapping[str, Tensor] | None = None
) -> dict[str, float]:
    """Few-shot loss of base classes in their own, swapped, random and attacked styles, and how far these are from the source's.

    Attacked and random styles are averaged over the strengths of the pool, and no block is skipped.
    The distance is that of the first changed block's statistics to those of the nearest other source picture, root mean square
    over statistics, each divided by its standard deviation over source pictures.
    """
    images, device = kept(config, seed, split, "base", shared), state.device
    model, way = state.network.eval(), config.way
    counts = torch.full((images.shape[0],), images.shape[1])
    each = min(config.shots + config.queries, images.shape[1])
    asked = dataclasses.replace(config, shots=min(config.shots, each - 1))
    label, number = drawn(seed, "evaluate", torch.arange(2 * PROBE_EPISODES), len(counts), way, counts, each)
    both = unpacked(images[label[..., None], number].to(device))
    episode, other, label = both[:PROBE_EPISODES], both[PROBE_EPISODES:], label[:PROBE_EPISODES].to(device)
    first = min(config.blocks) - 1
    bank = statistics(model, unpacked(images.flatten(0, 1).to(device)), first)
    scale = bank.std(dim=0) + 1e-6
    found: dict[str, list[Tensor]] = {}
    for name in PROBED:
        for strength in config.strengths if name in ("random", "adversarial") else (0.0,):
            changes = {}
            if name != "original":
                changed = dataclasses.replace(asked, style=name, strengths=(strength,))
                with counter.scope(seed, "evaluate", f"probe {name} {strength}"):
                    changes = new_styles(model, episode, label, changed, other)
            with torch.no_grad():
                loss = few_shot_loss(model(episode, changes, asked.shots)["scores"])
            own = torch.cat(changes[first], dim=1) if changes else statistics(model, episode.flatten(0, 2), first)
            found.setdefault(f"loss_{name}", []).append(loss)
            found.setdefault(f"statistics_{name}", []).append(nearest(own / scale, bank / scale))
    return {name: float(torch.stack(values).mean()) for name, values in found.items()}


@torch.no_grad()
def statistics(model: Any, images: Float[Tensor, "image 3 h w"], k: int) -> Float[Tensor, "image statistic"]:
    """Means and standard deviations of stage `k`'s channels."""
    x = images
    for stage in range(k + 1):
        x = model.backbone.stage(stage, x)
    return torch.cat(style(model.backbone.map_of(x)), dim=1)


def nearest(points: Float[Tensor, "point statistic"], bank: Float[Tensor, "source statistic"]) -> Float[Tensor, ""]:
    """Mean root mean square distance to the nearest row of the bank that is not the point itself."""
    distance = torch.cdist(points, bank) / points.shape[1] ** 0.5
    return distance.masked_fill(distance < 1e-3, torch.inf).amin(dim=1).mean()


def evaluate(
    state: State, config: Config, seed: int, split: str = "test", shared: Mapping[str, Tensor] | None = None
) -> dict[str, float]:
    """Accuracy over the unseen domains by shots, in the source's style, and the probe of new styles."""
    return summary(by_domain(state, config, seed, split, shared), config) | probe(state, config, seed, split, shared)


def summary(found: Mapping[str, Mapping[int, Tensor]], config: Config) -> dict[str, float]:
    """Means over target domains, over shots, and in the source's style."""
    shots = {s: float(torch.stack([found[d][s].mean() for d in config.targets]).mean()) for s in TEST_SHOTS}
    metrics = {f"accuracy_{s}shot": value for s, value in shots.items()}
    metrics["accuracy"] = sum(shots.values()) / len(shots)
    metrics["accuracy_source"] = sum(float(found[HOME][s].mean()) for s in TEST_SHOTS) / len(TEST_SHOTS)
    return metrics


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps accuracies by domain with their intervals, and the curve."""
    state = train(config, seed, accelerator, shared)
    found = by_domain(state, config, seed, "test", shared)
    metrics = summary(found, config) | probe(state, config, seed, "test", shared)
    return Outcome(metrics, artifacts(state, found) if seed == 0 else {})


def artifacts(state: State, found: Mapping[str, Mapping[int, Tensor]], points: int = 50) -> dict[str, Tensor]:
    """"domains" (domain, shots, mean and half width of its interval over episodes), and the loss over steps."""  # fmt: skip
    table = torch.tensor([[mean_interval(found[d][s]) for s in TEST_SHOTS] for d in found])
    curve = torch.tensor([h["few_shot"] for h in state.history])
    size = max(1, len(curve) // points)
    return {"domains": table, "curve": curve[: len(curve) // size * size].reshape(-1, size).mean(dim=1)}


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Seconds of a training step with attacked styles over one without a second view, in turns."""
    other = dataclasses.replace(config, style="none")
    items = batch(config, "train", 0, torch.arange(config.batch_size), accelerator.device)
    states = {name: begin(c, 0, accelerator, shared) for name, c in (("attacked", config), ("plain", other))}

    def stepped(state: State) -> None:
        with counter.scope(0, "noise", "compare"):
            step(state, items)

    times = interleaved({name: lambda s=state: stepped(s) for name, state in states.items()}, repeats=10)
    return Outcome(compared("seconds_ratio", times["attacked"], times["plain"]))
