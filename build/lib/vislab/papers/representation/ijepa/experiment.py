"""One run of an arm: what its frozen features know by several probes, low-shot fine-tuning, and the cost of a step."""

import copy
import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vislab.engine.fit import State, batch_indices
from vislab.engine.measure import compared, interleaved
from vislab.engine.outcome import Outcome
from vislab.engine.probes import few, linear_probe, logistic, nearest, predicted, regression_probe, standardised
from vislab.nn.vit import PatchEncoder
from vislab.ops import counter
from vislab.papers.representation.ijepa.card import Config
from vislab.papers.representation.ijepa.data import batch, packed, unpacked
from vislab.papers.representation.ijepa.losses import spread
from vislab.papers.representation.ijepa.train import begin, step, train

PREPARE_FIELDS = (
    "source",
    "most",
    "ground",
    "noise",
    "image_size",
    "train_items",
    "probe_items",
    "validation_items",
    "test_items",
)
SPLITS = {
    "probe": ("train", "probe_items"),
    "validation": ("validation", "validation_items"),
    "test": ("test", "test_items"),
}
LOW_SHOT_PENALTY = 1e-2


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """The world's pictures and their truths, which all arms of a seed share; nothing for a real data set."""
    if config.source != "world":
        return {}
    found = {}
    for split, items in (("train", "train_items"), ("validation", "validation_items"), ("test", "test_items")):
        parts = [
            batch(config, split, seed, i, accelerator.device) for i in torch.arange(getattr(config, items)).split(500)
        ]
        for name in parts[0]:
            value = torch.cat([part[name] for part in parts])
            found[f"{split}_{name}"] = packed(value) if name == "image" else value
    return found


def items_of(
    config: Config, seed: int, name: str, shared: dict[str, Tensor] | None, index: Tensor, device: Any
) -> dict[str, Tensor]:
    """Items of the probes' sets ("probe", "validation", "test"), from `shared` where it holds them."""
    split, _ = SPLITS[name]
    if not shared:
        return batch(config, split, seed, index, device)
    found = {
        key.removeprefix(f"{split}_"): value[index] for key, value in shared.items() if key.startswith(f"{split}_")
    }
    return found | {"image": unpacked(found["image"])}


@torch.no_grad()
def pooled(
    encoder: PatchEncoder, image: Float[Tensor, "batch 3 h w"], which: str = "last"
) -> Float[Tensor, "batch features"]:
    """Mean of the last layer's patch features, or those of the last four layers side by side (section 5)."""
    tokens, layers = encoder.embed(image), []
    for block in encoder.blocks:
        tokens = block(tokens)
        layers.append(tokens)
    chosen = layers[-1:] if which == "last" else layers[-4:]
    return torch.cat([encoder.norm(layer).mean(dim=1) for layer in chosen], dim=1)


def features(
    state: State, config: Config, seed: int, name: str, shared: dict[str, Tensor] | None = None
) -> tuple[Float[Tensor, "items features"], dict[str, Tensor]]:
    """Pooled features of the target encoder for a probe's set, and the truths."""
    encoder = state.network.target.eval()
    found, truths = [], []
    for index in torch.arange(getattr(config, SPLITS[name][1])).split(config.eval_batch_size):
        items = items_of(config, seed, name, shared, index, state.device)
        found.append(pooled(encoder, items["image"], config.pooled))
        truths.append({key: value for key, value in items.items() if key != "image"})
    return torch.cat(found), {key: torch.cat([t[key] for t in truths]) for key in truths[0]}


def low_shot(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, shots: int) -> float:
    """Accuracy in percent of a logistic regression on `shots` labels a class; its penalty is fixed, as there is nothing to choose it on."""
    chosen = few(train[1], shots)
    a, c = standardised(train[0][chosen], test[0])
    weights = logistic(a, train[1][chosen], classes, LOW_SHOT_PENALTY)
    return 100 * float((predicted(c, weights).argmax(dim=1) == test[1]).float().mean())


def fine_tuned(
    state: State, config: Config, seed: int, shared: dict[str, Tensor] | None, labels: Int[Tensor, " items"]
) -> float:
    """Accuracy in percent after fine-tuning a copy of the encoder with a linear head on `shots` labels a class."""
    chosen = few(labels, config.shots).cpu()
    items = items_of(config, seed, "probe", shared, chosen, state.device)
    encoder = copy.deepcopy(state.network.target).requires_grad_(True).train()
    head = torch.nn.Parameter(torch.zeros(config.width, config.classes, device=state.device))
    optimizer = torch.optim.AdamW(
        [{"params": encoder.parameters(), "lr": 3e-4}, {"params": [head], "lr": 1e-2}], weight_decay=0.05
    )
    size = min(config.batch_size, len(chosen))
    for k in range(config.finetune_steps):
        rows = batch_indices(seed, k, len(chosen), size).to(state.device)
        loss = F.cross_entropy(encoder(items["image"][rows]).mean(dim=1) @ head, items["label"][rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    encoder.eval()
    right = []
    with torch.no_grad():
        for index in torch.arange(config.test_items).split(config.eval_batch_size):
            test = items_of(config, seed, "test", shared, index, state.device)
            right.append((encoder(test["image"]).mean(dim=1) @ head).argmax(dim=1) == test["label"])
    return 100 * float(torch.cat(right).float().mean())


def evaluate(
    state: State, config: Config, seed: int, split: str = "test", shared: dict[str, Tensor] | None = None
) -> dict[str, float]:
    """All probes of the frozen target encoder; on the validation split the linear probe alone, half of it to choose the penalty on."""
    probe, truth = features(state, config, seed, "probe", shared)
    held, held_truth = features(state, config, seed, "validation", shared)
    if split == "validation":
        half = len(held) // 2
        sets = ((held[:half], held_truth["label"][:half]), (held[half:], held_truth["label"][half:]))
        return {"accuracy_linear": linear_probe((probe, truth["label"]), *sets, config.classes)}
    test, test_truth = features(state, config, seed, "test", shared)

    def sets_of(name: str) -> tuple:
        return (probe, truth[name]), (held, held_truth[name]), (test, test_truth[name])

    labelled = sets_of("label")
    found = {
        "accuracy_linear": linear_probe(*labelled, config.classes),
        "accuracy_low_shot": low_shot(labelled[0], labelled[2], config.classes, config.shots),
        "accuracy_nearest": nearest(labelled[0], labelled[2], config.classes),
        "accuracy_finetuned": fine_tuned(state, config, seed, shared, truth["label"]),
        "spread": spread(test),
    }
    if "count" in truth:
        found["accuracy_count"] = linear_probe(*sets_of("count"), config.most)
        found["r2_distance"] = regression_probe(*sets_of("distance"))
    return found


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Pre-train and probe one arm; the first seed keeps its loss, its probe along the way and the patch features of a few pictures."""
    way: list[list[float]] = []

    def look(state: State) -> None:
        if seed == 0 and state.step % max(1, config.steps // 5) == 0:
            few_config = dataclasses.replace(
                config, probe_items=min(400, config.probe_items), test_items=min(300, config.test_items)
            )
            probe, truth = features(state, few_config, seed, "probe", shared)
            test, test_truth = features(state, few_config, seed, "test", shared)
            way.append(
                [
                    state.step,
                    nearest((probe, truth["label"]), (test, test_truth["label"]), config.classes),
                    spread(test),
                ]
            )
            state.model.train()

    state = train(config, seed, accelerator, shared, after=look)
    metrics = evaluate(state, config, seed, shared=shared)
    return Outcome(metrics, artifacts(state, config, seed, shared) | {"way": torch.tensor(way)} if seed == 0 else {})


@torch.no_grad()
def artifacts(state: State, config: Config, seed: int, shared: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """The loss curve, and the first three principal components of the patch features of six test pictures, as uint8."""
    index = torch.arange(6)
    items = items_of(config, seed, "test", shared, index, state.device)
    tokens = state.network.target.eval()(items["image"])
    flat = tokens.flatten(0, 1) - tokens.flatten(0, 1).mean(dim=0)
    _, _, directions = torch.linalg.svd(flat, full_matrices=False)
    parts = (flat @ directions[:3].T).unflatten(0, tokens.shape[:2])
    low, high = parts.amin(dim=(0, 1)), parts.amax(dim=(0, 1))
    colours = ((parts - low) / (high - low).clamp(min=1e-6) * 255).to(torch.uint8)
    side = config.image_size // config.patch
    history = torch.tensor([h["loss"] for h in state.history])
    return {
        "components": colours.reshape(len(index), side, side, 3).cpu(),
        "curve": history[:: max(1, len(history) // 80)],
    }


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Time of an I-JEPA step over that of MAE and of views, in turns within one process."""
    sides = {
        "ijepa": config,
        "mae": dataclasses.replace(config, target="pixels", mask="random", mask_share=0.75),
        "views": dataclasses.replace(config, objective="views"),
    }
    items = batch(config, "train", 0, torch.arange(config.batch_size), accelerator.device)
    states = {name: begin(side, 0, accelerator) for name, side in sides.items()}

    def one(state: State):
        with counter.scope(0, "noise", "compare"):
            return step(state, items)

    times = interleaved({name: lambda s=state: one(s) for name, state in states.items()}, repeats=15)
    found = compared("seconds_ratio_mae", times["ijepa"], times["mae"])
    return Outcome(found | compared("seconds_ratio_views", times["ijepa"], times["views"]))
