"""One run of an arm: its accuracy in and out of distribution, alone and ensembled with the weights it started from."""

import copy
import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved
from vislab.engine.outcome import Outcome
from vislab.ops import counter
from vislab.papers.language.flyp.card import DOMAINS, Config
from vislab.papers.language.flyp.data import batch, prompts
from vislab.papers.language.flyp.model import Classifier
from vislab.papers.language.flyp.train import begin, pretrained, step, train

ITEMS = {"validation": "validation_items", "test": "test_items"}
SHARES = tuple(k / 10 for k in range(11))


@torch.no_grad()
def predict(
    model: Classifier, config: Config, seed: int, split: str, domain: str | None = None, items: int | None = None
) -> tuple[Float[Tensor, "items classes"], Int[Tensor, " items"]]:
    """Logits and labels; the class weights come from the text encoder as it is now, or are the head's."""
    model.eval()
    device = model.clip.logit_scale.device
    weights = None if model.head is not None else model.class_weights(prompts(config).to(device))
    logits, labels = [], []
    for index in torch.arange(items or getattr(config, ITEMS[split])).split(config.eval_batch_size):
        found = batch(config, split, seed, index, device, domain)
        logits.append(model.logits(found["image"], weights).cpu())
        labels.append(found["label"].cpu())
    return torch.cat(logits), torch.cat(labels)


def accuracy(logits: Float[Tensor, "items classes"], labels: Int[Tensor, " items"]) -> float:
    """Percent right among the classes that occur in the labels, as is usual for test sets with a part of the classes."""
    present = torch.zeros(logits.shape[1], dtype=torch.bool)
    present[labels] = True
    chosen = logits.masked_fill(~present, -torch.inf).argmax(dim=1)
    return 100 * float((chosen == labels).float().mean())


def macro_f1(logits: Float[Tensor, "items classes"], labels: Int[Tensor, " items"]) -> float:
    """Mean over the classes that occur of 2 TP / (2 TP + FP + FN), in percent (iWildCam's measure)."""
    classes, chosen = logits.shape[1], logits.argmax(dim=1)
    right = torch.bincount(labels[chosen == labels], minlength=classes).double()
    total = torch.bincount(labels, minlength=classes) + torch.bincount(chosen, minlength=classes)
    occurs = torch.bincount(labels, minlength=classes) > 0
    return 100 * float((2 * right / total.clamp(min=1))[occurs].mean())


def worst_group(correct: Tensor, group: Int[Tensor, " items"]) -> float:
    """Lowest accuracy of any group, in percent (FMoW's measure over regions)."""
    sums = torch.bincount(group, weights=correct.double())
    count = torch.bincount(group)
    return 100 * float((sums / count.clamp(min=1))[count > 0].min())


def interpolated(start: Classifier, end: Classifier, share: float) -> Classifier:
    """The network with weights (1 - share) start + share end (section 4, weight ensembling)."""
    mixed = copy.deepcopy(end)
    first, last = start.state_dict(), end.state_dict()
    mixed.load_state_dict({name: torch.lerp(first[name], last[name], share) for name in last})
    return mixed


def by_domain(
    model: Classifier, config: Config, seed: int, split: str = "test", items: int | None = None
) -> dict[str, float]:
    """Accuracy of every domain of the source, the in-distribution one first."""
    return {d: accuracy(*predict(model, config, seed, split, d, items)) for d in DOMAINS[config.source]}


def _summary(found: dict[str, float]) -> tuple[float, float]:
    first, *others = found.values()
    return first, sum(others) / len(others)


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """On the test split accuracy in and out of distribution, alone and ensembled; the share of ensembling is chosen in distribution.

    On the validation split only the in-distribution accuracy: nothing is ever chosen on shifted data.
    """
    model = state.network
    if split == "validation":
        return {"accuracy_id": accuracy(*predict(model, config, seed, split))}
    found = by_domain(model, config, seed)
    inside, outside = _summary(found)
    metrics = {"accuracy_id": inside, "accuracy_ood": outside}
    metrics |= {f"accuracy_{name}": value for name, value in list(found.items())[1:]}
    if config.source == "iwildcam":
        metrics |= {
            f"f1_{name}": macro_f1(*predict(model, config, seed, "test", d))
            for name, d in (("id", "test"), ("ood", "ood"))
        }
    if config.source == "fmow":
        metrics["accuracy_worst"] = _worst_region(model, config, seed)
    start = pretrained(config, seed).to(state.device)
    share = chosen_share(start, model, config, seed)
    inside, outside = _summary(by_domain(interpolated(start, model, share), config, seed))
    return metrics | {"accuracy_ensembled_id": inside, "accuracy_ensembled_ood": outside}


def _worst_region(model: Classifier, config: Config, seed: int) -> float:
    from vislab.datasets import wilds
    from vislab.datasets.base import locate
    from vislab.papers.language.flyp.data import FMOW

    logits, labels = predict(model, config, seed, "test", "ood")
    entries = wilds.rows(FMOW, locate(FMOW), "fmow", "ood")
    group = torch.tensor([entries[i % len(entries)][2] for i in range(len(labels))])
    return worst_group(logits.argmax(dim=1) == labels, group)


def chosen_share(start: Classifier, end: Classifier, config: Config, seed: int) -> float:
    """The share of `end` with the best in-distribution validation accuracy; the larger one on ties."""
    scores = [accuracy(*predict(interpolated(start, end, s), config, seed, "validation")) for s in SHARES]
    return max(s for s, score in zip(SHARES, scores, strict=True) if score == max(scores))


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps its frontier of ensembling and the likeness of its class weights."""
    state = train(config, seed, accelerator, shared)
    return Outcome(evaluate(state, config, seed), artifacts(state, config, seed) if seed == 0 else {})


@torch.no_grad()
def artifacts(state: State, config: Config, seed: int) -> dict[str, Tensor]:
    """Accuracy (share, domain) along the line of ensembling, the class weights' cosines, and the loss curve."""
    start, model = pretrained(config, seed).to(state.device), state.network
    items = min(240, config.test_items)
    frontier = [list(by_domain(interpolated(start, model, s), config, seed, items=items).values()) for s in SHARES]
    weights = model.class_weights(prompts(config).to(state.device))
    return {
        "frontier": torch.tensor(frontier),
        "likeness": (weights @ weights.T).cpu(),
        "curve": torch.tensor([h["loss"] for h in state.history])[:: max(1, len(state.history) // 80)],
    }


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Time of a FLYP step over a step of standard fine-tuning, in turns within one process."""
    sides = {
        "flyp": config,
        "ft": dataclasses.replace(config, loss="head", trained="image", scale_trained=False),
    }
    items = batch(config, "train", 0, torch.arange(config.batch_size), accelerator.device)
    states = {name: begin(side, 0, accelerator) for name, side in sides.items()}

    def one(state: State):
        with counter.scope(0, "noise", "compare"):
            return step(state, items)

    times = interleaved({name: lambda s=state: one(s) for name, state in states.items()}, repeats=15)
    return Outcome(compared("seconds_ratio", times["flyp"], times["ft"]))
