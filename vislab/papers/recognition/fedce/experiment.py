"""What arms share (exact Shapley values), one run of an arm, its evaluation by client, and the comparison of costs."""

import dataclasses
import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine.federated import shapley, under
from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved
from vislab.engine.outcome import Outcome
from vislab.papers.recognition.fedce.card import Config
from vislab.papers.recognition.fedce.data import holdings, pools
from vislab.papers.recognition.fedce.fairness import correlation
from vislab.papers.recognition.fedce.model import dice
from vislab.papers.recognition.fedce.train import begin, coalition_config, federate, logits_of, train

PREPARE_FIELDS = (
    "source", "federation", "shift", "corruption", "portions", "train_items", "width", "depth", "image_size", "batch_size", "local_epochs",
    "validation_items", "eval_batch_size", "coalition_rounds", "coalition_learning_rate",
)  # fmt: skip


def coalitions(clients: int) -> list[frozenset[int]]:
    """All sets of clients, the empty one first."""
    members = range(clients)
    return [frozenset(c) for size in range(clients + 1) for c in itertools.combinations(members, size)]


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """{"utility": (coalitions,), "shapley": (clients,)}: every coalition trained alone, from the same initial weights.

    Utility is the mean over all clients of Dice against true masks on their validation items; nothing of a method enters it.
    Empty where `coalition_rounds` is 0.
    """
    if not config.coalition_rounds:
        return {}
    plain = coalition_config(config)
    trained, checked = (pools(plain, split, seed, accelerator.device) for split in ("train", "validation"))
    found = {}
    for members in coalitions(len(trained)):
        state = begin(plain, seed, accelerator)
        if members:
            federate(state, trained, checked, plain.rounds, sorted(members))
        found[members] = float(client_dice(state, checked).mean())
    values = torch.tensor(shapley(found, len(trained)), dtype=torch.float64)
    return {"utility": torch.tensor(list(found.values()), dtype=torch.float64), "shapley": values}


def client_dice(state: State, items: list[dict[str, Tensor]]) -> Float[Tensor, " clients"]:
    """Mean Dice of every client's items against true masks, in percent: by the global model, or by its own where clients never merge."""
    now = {n: v.clone() for n, v in state.network.state_dict().items()}
    found = []
    for client, mine in enumerate(items):
        own = under(state.extra, f"previous{client}/") if state.config.weighting == "alone" else {}
        logits = logits_of(state.network, own or now, mine, state.config.eval_batch_size)
        found.append(100 * dice(logits, mine["mask"]).mean())
    state.network.load_state_dict(now)
    return torch.stack(found).cpu()


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Dice over clients (mean, worst, standard deviation), credits against exact Shapley values, the last client's weight, bytes.

    On the validation split, items are others than those that contributions were measured on.
    """
    start = config.validation_items if split == "validation" else 0
    scores = client_dice(state, pools(config, split, seed, state.device, start))
    extra = state.extra
    metrics = {
        "dice": float(scores.mean()), "dice_worst": float(scores.min()), "dice_spread": float(scores.std(correction=0)),
        "share_last_first": 100 * float(extra["by_round"][0, -1]), "share_last": 100 * float(extra["by_round"][-1, -1]),
        "bytes": float(extra["bytes"]),
    }  # fmt: skip
    if "shapley" in extra and config.credit != "none":
        metrics["correlation"] = correlation(extra["credit"].cpu(), extra["shapley"].cpu())
        metrics["correlation_sizes"] = correlation(torch.tensor(holdings(config)), extra["shapley"].cpu())
    return metrics


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps Dice by client, weights by round, credits and Shapley values."""
    state = train(config, seed, accelerator, shared)
    return Outcome(evaluate(state, config, seed), artifacts(state, config, seed) if seed == 0 else {})


def artifacts(state: State, config: Config, seed: int) -> dict[str, Tensor]:
    """Test Dice by client, weights and losses by round, the two scores and, where there are such, credits and Shapley values."""
    found = {"by_client": client_dice(state, pools(config, "test", seed, state.device))}
    found |= {
        name: state.extra[name]
        for name in ("by_round", "losses", "cosine", "score", "credit", "shapley")
        if name in state.extra
    }
    return {name: value.float().cpu() for name, value in found.items()}


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None, repeats: int = 10) -> Outcome:
    """Time of a whole round, local epochs and minus models included, over that of a round of averaging, in turns."""
    plain = dataclasses.replace(config, weighting="size", credit="none")
    trained, checked = (pools(config, split, 0, accelerator.device) for split in ("train", "validation"))
    states = {name: begin(side, 0, accelerator) for name, side in (("fedce", config), ("plain", plain))}
    sides = {name: lambda state=state: federate(state, trained, checked, 1) for name, state in states.items()}
    times = interleaved(sides, repeats)
    return Outcome(compared("seconds_ratio", times["fedce"], times["plain"]))
