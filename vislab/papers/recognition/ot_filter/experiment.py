"""The warm-up that arms share; one run of an arm; accuracy on clean pictures and how well clean labels were selected."""

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vislab.engine.fit import State
from vislab.engine.outcome import Outcome
from vislab.papers.recognition.ot_filter.card import Config
from vislab.papers.recognition.ot_filter.data import clean, labels
from vislab.papers.recognition.ot_filter.filters import assigned, selected
from vislab.papers.recognition.ot_filter.train import observed, source, train, warm_up

ITEMS = {"validation": "validation_items", "test": "test_items"}
PREPARE_FIELDS = (
    "source", "classes", "noise_kind", "noise_rate", "annotator_items", "gap", "noise", "clutter", "image_size", "crop_padding",
    "width", "depth", "features", "follow", "first_steps", "first_learning_rate", "first_batch_size", "weight_decay", "train_items",
    "eval_batch_size",
)  # fmt: skip


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """The network after the warm-up, and what a filter sees with it: features, losses and given labels of all training items."""
    state = warm_up(config, seed, accelerator)
    seen = observed(state.model, source(config, seed, accelerator.device), config, state.device)
    weights = {f"model.{n}": v for n, v in state.network.state_dict().items()}
    return {n: v.detach().cpu() for n, v in (weights | {f"seen.{n}": v for n, v in seen.items()}).items()}


@torch.no_grad()
def predict(state: State, config: Config, seed: int, split: str) -> tuple[Int[Tensor, " items"], Int[Tensor, " items"]]:
    """Predicted and true classes of a clean split, on the CPU."""
    model, said, true = state.network.eval(), [], []
    for index in torch.arange(getattr(config, ITEMS[split])).split(config.eval_batch_size):
        items = clean(config, split, seed, index, state.device)
        said.append(model(items["image"])[0].argmax(dim=1).cpu())
        true.append(items["label"].cpu())
    return torch.cat(said), torch.cat(true)


def selection(kept: Bool[Tensor, " items"], right: Bool[Tensor, " items"]) -> dict[str, float]:
    """Precision, recall and their harmonic mean of the kept items against those with a right label, percent; 0 where nothing is kept."""
    both = float((kept & right).sum())
    precision, recall = both / max(1, int(kept.sum())), both / max(1, int(right.sum()))
    f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    return {"f1": 100 * f1, "precision": 100 * precision, "recall": 100 * recall}


def compared(config: Config, seed: int, shared: dict[str, Tensor]) -> dict[str, float]:
    """Selection by three criteria from the same features after the warm-up, and how often transport and the nearest centre differ."""
    feature, loss, label = (shared[f"seen.{n}"] for n in ("feature", "loss", "label"))
    true, given = (v.to(label.device) for v in labels(config, seed))
    said, metrics = {}, {}
    for criterion in ("transport", "nearest"):
        said[criterion] = assigned(feature, label, dataclasses.replace(config, criterion=criterion), seed)
        metrics[f"f1_{criterion}"] = selection(said[criterion] == given, given == true)["f1"]
        metrics[f"accuracy_{criterion}"] = 100 * float((said[criterion] == true).double().mean())
    small = selected(feature, loss, label, dataclasses.replace(config, criterion="loss"), seed)
    metrics["f1_loss"] = selection(small, given == true)["f1"]
    metrics["share_moved"] = 100 * float((said["transport"] != said["nearest"]).double().mean())
    return metrics


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Accuracy after the last epoch, and the selection that its filter made."""
    said, true = predict(state, config, seed, split)
    right = torch.eq(*labels(config, seed))
    return {"accuracy": 100 * float((said == true).double().mean())} | selection(state.extra["kept"][-1].cpu(), right)


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; beside the last epoch's accuracy the best epoch's, which this literature reports."""
    curve: list[float] = []

    def watch(state: State) -> None:
        said, true = predict(state, config, seed, "test")
        curve.append(100 * float((said == true).double().mean()))

    state = train(config, seed, accelerator, shared, after=watch)
    metrics = evaluate(state, config, seed) | {"accuracy_best": max(curve)}
    if shared is not None and config.criterion == "transport":
        metrics |= compared(config, seed, shared)
    return Outcome(metrics, artifacts(state, config, seed, curve) if seed == 0 else {})


def artifacts(state: State, config: Config, seed: int, curve: list[float]) -> dict[str, Tensor]:
    """Test accuracy and F1 of the selection, epoch by epoch."""
    right = torch.eq(*labels(config, seed))
    f1 = [selection(kept.cpu(), right)["f1"] for kept in state.extra["kept"]]
    return {"accuracy": torch.tensor(curve), "f1": torch.tensor(f1)}
