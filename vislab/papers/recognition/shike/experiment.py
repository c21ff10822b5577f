"""One run of an arm and its evaluation: accuracy by group, margins, how different the experts are, which branch tells a class best."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.engine.fit import State
from vislab.engine.outcome import Outcome
from vislab.ops.longtail import frequency_groups
from vislab.papers.recognition.shike.card import Config
from vislab.papers.recognition.shike.data import batch, class_counts
from vislab.papers.recognition.shike.losses import hardest_negative
from vislab.papers.recognition.shike.model import DEEP
from vislab.papers.recognition.shike.train import train

ITEMS = {"validation": "validation_items", "test": "test_items"}


@torch.no_grad()
def predict(state: State, config: Config, seed: int, split: str) -> dict[str, Tensor]:
    """{"logits": (items, expert, class), "feat": (items, expert, feature), "label": (items,)} of a split, on the CPU.

    By the classifiers that were trained last.
    """
    model, parts = state.network.eval(), []
    for index in torch.arange(getattr(config, ITEMS[split])).split(config.eval_batch_size):
        items = batch(config, split, seed, index, state.device)
        found = model(items["image"], retrained=config.retrain_share > 0)
        parts.append({"logits": found["logits"].cpu(), "feat": found["feat"].cpu(), "label": items["label"].cpu()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def class_accuracy(scores: Float[Tensor, "items classes"], label: Int[Tensor, " items"]) -> Float[Tensor, " classes"]:
    """Share of each class's items that are recognised; NaN for a class without items."""
    count = torch.bincount(label, minlength=scores.shape[1])
    hit = (scores.argmax(dim=1) == label).double()
    return torch.bincount(label, weights=hit, minlength=scores.shape[1]) / count


def margin(logits: Float[Tensor, "items expert classes"], label: Int[Tensor, " items"]) -> Float[Tensor, " items"]:
    """Mean logit of the right class minus that of the hardest negative."""
    mean = logits.mean(dim=1)
    return (mean.gather(1, label[:, None]) - mean.gather(1, hardest_negative(logits, label)[:, None]))[:, 0]


def disagreement(logits: Float[Tensor, "items expert classes"]) -> float:
    """Percent of items on which two experts name different classes, mean over pairs; 0 for a single expert."""
    said = logits.argmax(dim=2)
    experts = said.shape[1]
    pairs = [(said[:, i] != said[:, j]).double().mean() for i in range(experts) for j in range(i)]
    return 100 * float(torch.stack(pairs).mean()) if pairs else 0.0


def linear_cka(a: Float[Tensor, "items p"], b: Float[Tensor, "items q"]) -> float:
    """Centred kernel alignment with linear kernels (Kornblith et al. 2019): 1 for features equal up to rotation and scale."""
    a, b = (x.double() - x.double().mean(dim=0) for x in (a, b))
    return float((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm()))


def mean_cka(feat: Float[Tensor, "items expert feature"]) -> float:
    """Mean over pairs of experts; 1 for a single expert."""
    experts = feat.shape[1]
    pairs = [linear_cka(feat[:, i], feat[:, j]) for i in range(experts) for j in range(i)]
    return sum(pairs) / len(pairs) if pairs else 1.0


def best_branch(logits: Float[Tensor, "items expert classes"], label: Int[Tensor, " items"]) -> Int[Tensor, " classes"]:
    """The branch that recognises most of a class; where several do, the deepest of them, which is the last."""
    experts = logits.shape[1]
    by_branch = torch.stack([class_accuracy(logits[:, k], label) for k in range(experts)])
    return experts - 1 - by_branch.flip(0).argmax(dim=0)


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Balanced accuracy and by group, margins, diversity; for branches alone also which of them tells the rare classes."""
    found = predict(state, config, seed, split)
    logits, label = found["logits"], found["label"]
    by_class = class_accuracy(logits.mean(dim=1), label)
    gaps = margin(logits, label)
    groups = frequency_groups(class_counts(config), config.many_above, config.few_below)
    metrics = {
        "accuracy": 100 * float(by_class.nanmean()), "margin": float(gaps.mean()),
        "margin_few": float(gaps[groups["few"][label]].mean()), "disagreement": disagreement(logits), "cka": mean_cka(found["feat"]),
    }  # fmt: skip
    metrics |= {f"accuracy_{name}": 100 * float(by_class[members].nanmean()) for name, members in groups.items()}
    if config.fusion == "shallow":
        shallow = (torch.tensor(state.network.levels)[best_branch(logits, label)] < DEEP).double()
        metrics["share_shallow_few"] = 100 * float(shallow[groups["few"]].mean())
        metrics["share_shallow_rest"] = 100 * float(shallow[~groups["few"]].mean())
    return metrics


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps accuracies by expert and class, the confusions, and its curve."""
    state = train(config, seed, accelerator, shared)
    return Outcome(evaluate(state, config, seed), artifacts(state, config, seed) if seed == 0 else {})


def artifacts(state: State, config: Config, seed: int, points: int = 50) -> dict[str, Tensor]:
    """Accuracy by expert and class, mean margin by class, and the first stage's loss over steps."""
    found = predict(state, config, seed, "test")
    logits, label = found["logits"], found["label"]
    by_expert = torch.stack([class_accuracy(logits[:, k], label) for k in range(logits.shape[1])])
    count = torch.bincount(label, minlength=config.classes).clamp(min=1)
    gaps = torch.bincount(label, weights=margin(logits, label), minlength=config.classes) / count
    curve = torch.tensor([h["own"] for h in state.history if "own" in h])
    size = max(1, len(curve) // points)
    curve = curve[: len(curve) // size * size].reshape(-1, size).mean(dim=1)
    return {"by_expert": by_expert.float(), "margin": gaps.float(), "curve": curve}
