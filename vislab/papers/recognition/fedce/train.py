"""Federated training: minus models before local epochs, contributions after them, and the server's weighted merge."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine import federated
from vislab.engine.federated import above, under
from vislab.engine.fit import State, descend, initialise, load_checkpoint, save_checkpoint, start
from vislab.ops import counter
from vislab.papers.recognition.fedce.card import Config
from vislab.papers.recognition.fedce.data import holdings, pools
from vislab.papers.recognition.fedce.fairness import (
    alignment,
    contributions,
    fair_loss_weights,
    other_directions,
    shares,
    worst_case_weights,
)
from vislab.papers.recognition.fedce.model import build, dice, soft_dice_loss

Weights = Mapping[str, Tensor]
Items = dict[str, Tensor]


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """The global network and the clients' Adam; `extra` holds all that the server and the clients keep between rounds."""
    model = initialise(build, config, seed)
    extra = dict(shared or {})
    if config.weight_proximal:
        extra |= above(dict(model.named_parameters()), "global/")
    return start(
        config, seed, accelerator, model, torch.optim.Adam(model.parameters(), config.learning_rate), extra=extra
    )


def step(state: State, items: Items) -> dict[str, float]:
    """One local step: soft Dice loss against the given masks and, in FedProx, the pull back to the round's global weights."""
    losses = {"own": soft_dice_loss(state.model(items["image"]), items["given"])}
    if state.config.weight_proximal:
        named = state.network.named_parameters()
        apart = sum(((p - state.extra[f"global/{n}"].to(p.device)) ** 2).sum() for n, p in named)
        losses["proximal"] = 0.5 * state.config.weight_proximal * apart
    return descend(state, {"loss": sum(losses.values()), **losses})


@torch.no_grad()
def logits_of(model: torch.nn.Module, weights: Weights, items: Items, batch_size: int) -> Float[Tensor, "items 1 h w"]:
    """What the network says of `items` in evaluation with these weights, which it then keeps."""
    model.load_state_dict(weights)
    model.eval()
    return torch.cat([model(part) for part in items["image"].split(batch_size)])


def drawn_dice(state: State, weights: Weights, items: Items) -> float:
    """Mean Dice of these weights against the masks that the client has drawn."""
    return float(dice(logits_of(state.network, weights, items, state.config.eval_batch_size), items["given"]).mean())


def minus_model(state: State, weights: Weights, client: int) -> dict[str, Tensor]:
    """The global model without the client: its own weights of the previous round taken out at the weight they had."""
    previous, weight = under(state.extra, f"previous{client}/"), float(state.extra["weights"][client])
    return federated.without(weights, previous, weight)


def data_score(state: State, checks: Items, weights: Weights, client: int) -> float:
    """Dice of the minus model on the client's items; of the "gain", what the global model has above it."""
    found = drawn_dice(state, minus_model(state, weights, client), checks)
    return drawn_dice(state, weights, checks) - found if state.config.data_score == "gain" else found


def local_round(
    state: State, items: Items, weights: Weights, number: int, client: int
) -> tuple[dict[str, Tensor], float]:
    """A client's epochs from the global weights with its own Adam moments: its weights after them, and its mean loss."""
    config, model, optimizer = state.config, state.network, state.optimizer
    if config.weighting == "alone":
        weights = under(state.extra, f"previous{client}/") or weights
    model.load_state_dict(weights)
    if config.weight_proximal:
        state.extra |= above(dict(model.named_parameters()), "global/")
    moments = under(state.extra, f"moments{client}/")
    optimizer.state.clear()
    for k, parameter in enumerate(model.parameters()):
        found = under(moments, f"{k}/")
        if found:
            # Adam counts its steps on the CPU
            optimizer.state[parameter].update({n: v.cpu() if n == "step" else v for n, v in found.items()})
    model.train()
    losses, count = [], len(items["image"])
    for epoch in range(config.local_epochs):
        place = torch.tensor([(number * len(holdings(config)) + client) * config.local_epochs + epoch])
        order = counter.permutation(state.seed, "batches", place, "local", count)[0].to(state.device)
        for part in order.split(config.batch_size):
            losses.append(step(state, {name: value[part] for name, value in items.items()})["own"])
    for k, parameter in enumerate(model.parameters()):
        state.extra |= {f"moments{client}/{k}/{n}": v for n, v in optimizer.state[parameter].items()}
    return {n: v.detach().clone() for n, v in model.state_dict().items()}, sum(losses) / len(losses)


def credits(state: State, changes: Sequence[Weights], number: int) -> Float[Tensor, " clients"] | None:
    """Shares of the contribution after a round, from running means over all rounds so far; None where nobody estimates them."""
    config = state.config
    if config.credit == "none":
        return None
    names = [n for n, _ in state.network.named_parameters()]
    measure = other_directions if config.credit == "contribution" else alignment
    state.extra["cosine"] += (measure(changes, state.extra["weights"], names) - state.extra["cosine"]) / (number + 1)
    if config.credit == "alignment":
        return shares(state.extra["cosine"])
    mean = state.extra["score"] / (number + 1)
    return contributions(state.extra["cosine"], mean if config.data_score == "gain" else 1 - mean, config.mode)


def next_weights(state: State, sizes: Float[Tensor, " clients"], credit: Tensor | None) -> Float[Tensor, " clients"]:
    """Aggregation weights of all clients by `config.weighting`."""
    config, extra = state.config, state.extra
    if config.weighting == "credit":
        if credit is None:
            raise ValueError('weights by credit need an estimate of it, set credit to other than "none"')
        return credit
    if config.weighting == "loss":
        return fair_loss_weights(sizes, extra["loss"], config.loss_power)
    if config.weighting == "worst":
        return worst_case_weights(extra["weights"], extra["loss"], config.ascent_rate)
    return shares(sizes if config.weighting == "size" else torch.ones_like(sizes))


def federate(
    state: State,
    trained: Sequence[Items],
    checked: Sequence[Items],
    count: int,
    members: Sequence[int] | None = None,
    checkpoint: str | None = None,
    progress: bool = False,
) -> federated.Log:
    """`count` further rounds among `members` (all by default); the history has one entry a round.

    `trained` and `checked` are each client's training and validation items; members are weighed among themselves.
    """
    config, model, done = state.config, state.network, state.step
    clients = list(range(len(trained))) if members is None else list(members)
    sizes = torch.tensor([len(trained[k]["image"]) for k in clients], dtype=torch.float64, device=state.device)
    zero = torch.zeros(len(trained), dtype=torch.float64, device=state.device)
    if "weights" not in state.extra:
        first = zero + 1
        if config.weighting == "size":
            first[clients] = sizes
        state.extra |= {"weights": shares(first), "cosine": zero.clone(), "score": zero.clone(), "loss": zero.clone()}
        state.extra["by_round"], state.extra["losses"] = zero.new_zeros(0, len(zero)), zero.new_zeros(0, len(zero))
    round_losses = zero.clone()

    def local(number: int, client: int, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        if config.credit == "contribution" and done + number > 0:
            items = checked[client] if config.minus_split == "validation" else trained[client]
            state.extra["score"][client] += data_score(state, items, weights, client)
        if config.weighting in ("loss", "worst"):
            logits = logits_of(model, weights, trained[client], config.eval_batch_size)
            state.extra["loss"][client] = float(soft_dice_loss(logits, trained[client]["given"]))
        found, round_losses[client] = local_round(state, trained[client], weights, done + number, client)
        return found

    def aggregate(
        number: int, before: dict[str, Tensor], returned: list[dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], list[float]]:
        changes = [federated.difference(after, before) for after in returned]
        credit = credits(state, changes, done + number)
        weights = next_weights(state, sizes, credit)
        after = before if config.weighting == "alone" else federated.average(returned, weights.tolist())
        if config.credit == "contribution" or config.weighting == "alone":
            for k, own in zip(clients, returned, strict=True):
                state.extra |= above(own, f"previous{k}/")
        state.extra["weights"][clients] = weights
        if credit is not None:
            state.extra["credit"] = credit
        for name, row in (("by_round", state.extra["weights"]), ("losses", round_losses)):
            state.extra[name] = torch.cat([state.extra[name], row[None]])
        model.load_state_dict(after)
        state.step = done + number + 1
        state.history.append({"round": state.step, "loss": float(round_losses[clients].mean())})
        if checkpoint is not None:
            save_checkpoint(state, checkpoint)
        if progress:
            print(f"round {state.step:3d}: loss {state.history[-1]['loss']:.3f}")
        return after, weights.tolist()

    now = {n: v.detach().clone() for n, v in model.state_dict().items()}
    _, log = federated.rounds(now, count, clients, local, aggregate)
    if config.credit == "contribution":
        # a weight goes to every client, a score comes back
        log.sent, log.received = (bytes_ + 8 * len(clients) * count for bytes_ in (log.sent, log.received))
    return log


def coalition_config(config: Config) -> Config:
    """Plain averaging by size over the rounds of a coalition, the same whatever the arm."""
    return dataclasses.replace(
        config, weighting="size", credit="none", weight_proximal=0.0, rounds=config.coalition_rounds,
        learning_rate=config.coalition_learning_rate,
    )  # fmt: skip


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """All rounds; `extra` keeps credits, weights and losses by round, and the bytes of a round."""
    state = begin(config, seed, accelerator, shared)
    trained, checked = (pools(config, split, seed, accelerator.device) for split in ("train", "validation"))
    if checkpoint is not None and Path(checkpoint).exists():
        load_checkpoint(state, checkpoint)
    left = config.rounds - state.step
    log = federate(state, trained, checked, left, checkpoint=checkpoint, progress=progress)
    if left:
        sent = 0 if config.weighting == "alone" else log.sent + log.received
        state.extra["bytes"] = torch.tensor(sent / left, dtype=torch.float64)
    return state
