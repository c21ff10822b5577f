"""One run of an arm and its evaluation: accuracy by task after every task, forgetting, how far layers lean to the current task."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine.continual import forgetting, incremental_accuracy
from vislab.engine.fit import initialise
from vislab.engine.measure import compared, interleaved
from vislab.engine.outcome import Outcome
from vislab.papers.recognition.tbbn.card import Config
from vislab.papers.recognition.tbbn.data import batch
from vislab.papers.recognition.tbbn.diagnostics import ALIKE, statistics_distances
from vislab.papers.recognition.tbbn.model import build, stage_span, twin
from vislab.papers.recognition.tbbn.norms import set_task
from vislab.papers.recognition.tbbn.train import Learner, train

ITEMS = {"validation": "validation_items", "test": "test_items"}


def items_of(state: Learner, config: Config, seed: int, split: str) -> dict[str, Tensor]:
    """A whole split, made batch by batch, with the task of every item."""
    index = torch.arange(getattr(config, ITEMS[split])).split(config.eval_batch_size)
    parts = [batch(config, split, seed, i, state.device) for i in index]
    items = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return items | {"task": items["label"] // (config.classes // config.tasks)}


@torch.no_grad()
def accuracy_matrix(state: Learner, config: Config, items: dict[str, Tensor]) -> Float[Tensor, "stage task"]:
    """Percent recognised of each task (column) after each stage (row), among all classes seen; 0 for a task to come."""
    network = copy.deepcopy(state.network).eval()
    rows = []
    for stage, kept in enumerate(state.snapshots):
        network.load_state_dict(kept)
        seen = stage_span(config, stage)[1]
        known = items["label"] < seen
        image, label, task = (items[n][known] for n in ("image", "label", "task"))
        said = torch.cat(
            [network(part)["logits"][:, :seen].argmax(dim=1) for part in image.split(config.eval_batch_size)]
        )
        count = torch.bincount(task, minlength=config.tasks)
        hits = torch.bincount(task, weights=(said == label).double(), minlength=config.tasks)
        rows.append(100 * hits / count.clamp(min=1))
    return torch.stack(rows).cpu()


def evaluate(state: Learner, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Final and average incremental accuracy, old tasks against the last, forgetting, and the biases that were measured."""
    items = items_of(state, config, seed, split)
    matrix = accuracy_matrix(state, config, items)
    last = matrix[-1]
    metrics = {"accuracy": float(last.mean()), "accuracy_old": float(last[:-1].mean()), "accuracy_new": float(last[-1])}
    if config.joint:
        return metrics
    sizes = [1] * config.tasks
    metrics |= {"accuracy_average": float(incremental_accuracy(matrix, sizes).mean()), "forgetting": forgetting(matrix)}
    if config.norm in ALIKE:
        metrics["gap_statistics"] = float(statistics_lean(state, config, items)[-1])
    if config.norm in ("bn", "tbbn"):
        metrics["gap_output"] = output_gap(state, config, items["image"][: config.eval_batch_size])
    probes = [h for h in state.history if "gap_gradients_bn" in h]
    if probes:
        names = [f"gap_gradients_{norm}" for norm in ALIKE]
        metrics |= {name: sum(h[name] for h in probes) / len(probes) for name in names}
    return metrics


def distances(state: Learner, config: Config, items: dict[str, Tensor]) -> list[Float[Tensor, " task"]]:
    """After every task, the distance of the running means to each seen task's own (`statistics_distances`)."""
    network, found = copy.deepcopy(state.network), []
    for stage, kept in enumerate(state.snapshots):
        network.load_state_dict(kept)
        known = items["task"] <= stage
        found.append(statistics_distances(network, items["image"][known], items["task"][known]).cpu())
    return found


def statistics_lean(state: Learner, config: Config, items: dict[str, Tensor]) -> Sequence[float]:
    """After every task but the first, the mean distance to old tasks' means minus that to the current task's; 0 is balanced."""
    return [float(d[:-1].mean() - d[-1]) for d in distances(state, config, items)[1:]]


@torch.no_grad()
def output_gap(state: Learner, config: Config, image: Tensor) -> float:
    """Largest difference of the logits from those of the same weights under batch normalisation, in evaluation."""
    other = twin(state.network, dataclasses.replace(config, norm="bn")).eval()
    return float((state.network.eval()(image)["logits"] - other(image)["logits"]).abs().max())


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps accuracies and distances by task and stage, and the biases of gradients."""
    state = train(config, seed, accelerator, shared)
    return Outcome(evaluate(state, config, seed), artifacts(state, config, seed) if seed == 0 else {})


def artifacts(state: Learner, config: Config, seed: int) -> dict[str, Tensor]:
    """Accuracy (stage, task); distances of running means (stage, task), NaN for tasks to come; gaps (probe, normalisation)."""
    items = items_of(state, config, seed, "test")
    found = {"matrix": accuracy_matrix(state, config, items).float()}
    if config.joint or config.norm not in ALIKE:
        return found
    far = torch.full((config.tasks, config.tasks), torch.nan)
    for stage, row in enumerate(distances(state, config, items)):
        far[stage, : stage + 1] = row
    found["distances"] = far
    probes = [[h[f"gap_gradients_{norm}"] for norm in ALIKE] for h in state.history if "gap_gradients_bn" in h]
    if probes:
        found["gaps"] = torch.tensor(probes)
    return found


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Time of the paper's layer over batch normalisation's, in evaluation and in a training pass of the last task, in turns."""
    sides = {
        norm: initialise(build, dataclasses.replace(config, norm=norm), 0).to(accelerator.device)
        for norm in ("tbbn", "bn")
    }
    image = batch(config, "test", 0, torch.arange(config.batch_size), accelerator.device)["image"]

    @torch.no_grad()
    def answers(network: torch.nn.Module) -> Tensor:
        return network(image)["logits"]

    def learns(network: torch.nn.Module) -> None:
        network.zero_grad()
        network(image)["logits"].logsumexp(dim=1).mean().backward()

    for network in sides.values():
        network.eval()
    still = interleaved({n: lambda m=m: answers(m) for n, m in sides.items()}, repeats=30)
    for network in sides.values():
        set_task(network.train(), config.tasks - 1)
    moving = interleaved({n: lambda m=m: learns(m) for n, m in sides.items()}, repeats=30)
    return Outcome(
        compared("seconds_ratio", still["tbbn"], still["bn"])
        | compared("seconds_ratio_training", moving["tbbn"], moving["bn"])
    )
