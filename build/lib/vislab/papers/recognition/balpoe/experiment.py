"""One run of an arm, its evaluation under every test prior, and the cost of experts."""

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved, parameters
from vislab.engine.metrics import calibration
from vislab.engine.outcome import Outcome
from vislab.ops.longtail import frequency_groups, shifted_prior
from vislab.papers.recognition.balpoe.card import Config
from vislab.papers.recognition.balpoe.data import batch, class_counts
from vislab.papers.recognition.balpoe.losses import spaced_taus
from vislab.papers.recognition.balpoe.model import build, product_of_experts
from vislab.papers.recognition.balpoe.train import train

ITEMS = {"validation": "validation_items", "test": "test_items"}
SHIFTS = (2.0, 5.0, 10.0, 25.0, 50.0)
SHIFT = 10.0


@torch.no_grad()
def predict(
    state: State, config: Config, seed: int, split: str
) -> tuple[Float[Tensor, "items expert classes"], Int[Tensor, " items"]]:
    """Raw logits of every expert and the labels of a split."""
    model = state.network.eval()
    logits, labels = [], []
    for index in torch.arange(getattr(config, ITEMS[split])).split(config.eval_batch_size):
        items = batch(config, split, seed, index, state.device)
        logits.append(model(items["image"])["logits"].cpu())
        labels.append(items["label"].cpu())
    return torch.cat(logits), torch.cat(labels)


def class_accuracy(
    probabilities: Float[Tensor, "items classes"], labels: Int[Tensor, " items"]
) -> Float[Tensor, " classes"]:
    """Share of each class's items that are recognised; NaN for a class without items."""
    classes = probabilities.shape[1]
    hit = (probabilities.argmax(dim=1) == labels).double()
    count = torch.bincount(labels, minlength=classes)
    return torch.bincount(labels, weights=hit, minlength=classes) / count


def shifted_accuracy(
    logits: Float[Tensor, "items expert classes"], labels: Int[Tensor, " items"], imbalance: float, direction: str
) -> float:
    """Expected accuracy, percent, on a test set resampled to a long tail, with the test prior known to the classifier.

    Weighting each class's accuracy by the prior is the expectation over resampled test sets.
    """
    prior = shifted_prior(logits.shape[-1], imbalance, direction)
    by_class = class_accuracy(product_of_experts(logits, prior), labels)
    return 100 * float((prior.double() * by_class).sum())


def fitted_temperature(logits: Float[Tensor, "items expert classes"], labels: Int[Tensor, " items"]) -> float:
    """The temperature with the lowest negative log-likelihood among 60 between 0.25 and 8."""
    options = torch.logspace(-2, 3, 60, base=2.0)
    scores = torch.stack([_nll(product_of_experts(logits, temperature=float(t)), labels) for t in options])
    return float(options[scores.argmin()])


def _nll(probabilities: Tensor, labels: Tensor) -> Tensor:
    return -probabilities[torch.arange(len(labels)), labels].clamp(min=1e-12).log().mean()


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Balanced accuracy, by group and under shifted priors, ECE and MCE with 15 bins, negative log-likelihood."""
    logits, labels = predict(state, config, seed, split)
    temperature = 1.0
    if config.temperature == "validation":
        temperature = fitted_temperature(*predict(state, config, seed, "validation"))
    probabilities = product_of_experts(logits, temperature=temperature)
    by_class = class_accuracy(probabilities, labels)
    found = {"accuracy": 100 * float(by_class.nanmean()), "nll": float(_nll(probabilities, labels))}
    for name, members in frequency_groups(class_counts(config), config.many_above, config.few_below).items():
        if members.any():
            found[f"accuracy_{name}"] = 100 * float(by_class[members].nanmean())
    for direction in ("forward", "backward"):
        found[f"accuracy_{direction}"] = shifted_accuracy(logits, labels, SHIFT, direction)
    return found | calibration(probabilities, labels)


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps its reliability diagram, shifts and accuracies by expert."""
    state = train(config, seed, accelerator, shared)
    metrics = evaluate(state, config, seed)
    return Outcome(metrics, artifacts(state, config, seed) if seed == 0 else {})


def artifacts(state: State, config: Config, seed: int, bins: int = 15) -> dict[str, Tensor]:
    """Reliability (bin: count, confidence, accuracy), accuracy by expert and class, and under every shift."""
    logits, labels = predict(state, config, seed, "test")
    confidence, chosen = product_of_experts(logits).max(dim=1)
    where = (confidence * bins).long().clamp(max=bins - 1)
    count = torch.bincount(where, minlength=bins).float()
    hit = (chosen == labels).float()
    sums = [torch.bincount(where, weights=w, minlength=bins) / count.clamp(min=1) for w in (confidence, hit)]
    by_expert = torch.stack([class_accuracy(logits[:, e : e + 1].mean(1), labels) for e in range(logits.shape[1])])
    shifts = [[shifted_accuracy(logits, labels, s, d) for s in SHIFTS] for d in ("forward", "backward")]
    return {
        "reliability": torch.stack([count, *sums]).float(),
        "by_expert": by_expert.float(),
        "shifts": torch.tensor(shifts),
        "curve": torch.tensor([h["loss"] for h in state.history])[:: max(1, len(state.history) // 80)],
    }


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Parameters and latency of three experts over one, in turns within one process."""
    sides = {
        n: build(dataclasses.replace(config, taus=spaced_taus(n))).eval().to(accelerator.device) for n in (1, 3, 7)
    }
    images = batch(config, "test", 0, torch.arange(min(64, config.test_items)), accelerator.device)["image"]
    with torch.no_grad():
        times = interleaved({str(n): lambda m=m: m(images) for n, m in sides.items()}, repeats=10)
    found = {"parameters_ratio": parameters(sides[3]) / parameters(sides[1])}
    return Outcome(found | compared("seconds_ratio", times["3"], times["1"]))
