"""Federated learning in one process: who holds which items, the server's round, contributions, a log of bytes and time."""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import factorial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops import counter

Weights = Mapping[str, Tensor]


def dirichlet(
    label: Int[Tensor, " items"], clients: int, concentration: float, seed: int, least: int = 1
) -> list[Int[Tensor, " held"]]:
    """Item numbers of each client: every class is dealt out by shares from a Dirichlet distribution (Hsu et al. 2019).

    Drawn again until every client holds at least `least` items.
    Raises ValueError when there are too few items for that.
    """
    if clients * least > len(label):
        raise ValueError(f"{len(label)} items cannot give {clients} clients {least} each")
    classes = int(label.max()) + 1
    trial = 0
    while True:
        held: list[list[Tensor]] = [[] for _ in range(clients)]
        with counter.scope(seed, "world", f"dirichlet {trial}"):
            shares = torch.distributions.Dirichlet(torch.full((clients,), concentration)).sample((classes,))
        for k in range(classes):
            mine = (label == k).nonzero()[:, 0]
            order = counter.permutation(seed, "world", torch.tensor([k]), f"dirichlet order {trial}", len(mine))[0]
            ends = (shares[k].double().cumsum(0)[:-1] * len(mine)).round().long().tolist()
            for client, part in enumerate(mine[order].tensor_split(ends)):
                held[client].append(part)
        found = [torch.cat(parts).sort().values for parts in held]
        if min(map(len, found)) >= least:
            return found
        trial += 1


def by_size(items: int, shares: Sequence[float], seed: int) -> list[Int[Tensor, " held"]]:
    """Item numbers of each client in random order, `shares` of all items each; every item belongs to one client."""
    order = counter.permutation(seed, "world", torch.tensor([0]), "sizes", items)[0]
    total = sum(shares)
    ends = [round(items * s / total) for s in itertools.accumulate(shares)][:-1]
    return [part.sort().values for part in order.tensor_split(ends)]


def average(states: Sequence[Weights], weights: Sequence[float]) -> dict[str, Tensor]:
    """The weighted mean of float tensors, weights made to sum to one; other tensors (counters) are the first client's."""
    share = torch.tensor(weights, dtype=torch.float64)
    share = share / share.sum()
    found = {}
    for name, first in states[0].items():
        if first.is_floating_point():
            stacked = torch.stack([s[name].double() for s in states])
            found[name] = torch.einsum("c,c...->...", share.to(stacked.device), stacked).to(first.dtype)
        else:
            found[name] = first.clone()
    return found


def difference(after: Weights, before: Weights) -> dict[str, Tensor]:
    """What a client has changed: float tensors alone."""
    return {n: v - before[n] for n, v in after.items() if v.is_floating_point()}


def moved(state: Weights, change: Weights, factor: float = 1.0) -> dict[str, Tensor]:
    """The state with `factor` times a change added."""
    return {n: v + factor * change[n] if n in change else v.clone() for n, v in state.items()}


def without(state: Weights, client: Weights, weight: float, least: float = 0.05) -> dict[str, Tensor]:
    """An average with one client taken out again: (w - a w_k) / (1 - a), for float tensors; others as they are.

    1 - a is held at `least` or above, and running variances at zero or above, since the extrapolation can pass both.
    """
    rest = max(least, 1 - weight)
    found = {}
    for name, value in state.items():
        if not value.is_floating_point():
            found[name] = value.clone()
            continue
        left = (value - (1 - rest) * client[name]) / rest
        found[name] = left.clamp(min=0) if name.endswith("running_var") else left
    return found


def flat(change: Weights, names: Iterable[str]) -> Float[Tensor, " entries"]:
    """The named tensors side by side."""
    return torch.cat([change[n].flatten() for n in names])


def shapley(utility: Mapping[frozenset[int], float], clients: int) -> list[float]:
    """Exact Shapley values of a game given by the utility of every coalition, the empty one included.

    Raises KeyError for a coalition that is missing.
    """
    found = []
    for one in range(clients):
        others = [k for k in range(clients) if k != one]
        value = 0.0
        for size in range(clients):
            weight = factorial(size) * factorial(clients - size - 1) / factorial(clients)
            for coalition in map(frozenset, itertools.combinations(others, size)):
                value += weight * (utility[coalition | {one}] - utility[coalition])
        found.append(value)
    return found


def under(values: Weights, prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with `prefix`, without it."""
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}


def above(values: Weights, prefix: str) -> dict[str, Tensor]:
    """Copies of the entries with `prefix` before their names, without a gradient."""
    return {prefix + n: v.detach().clone() for n, v in values.items()}


def size_in_bytes(state: Weights) -> int:
    """What sending a state costs."""
    return sum(v.numel() * v.element_size() for v in state.values())


@dataclass
class Log:
    """What the rounds have cost."""

    sent: int = 0
    """Bytes from the server to the clients."""
    received: int = 0
    """Bytes from the clients to the server."""
    client_seconds: float = 0.0
    """Processor time of local training, all clients together."""
    server_seconds: float = 0.0
    """Processor time of aggregation and of whatever the server does beside it."""
    weights: list[list[float]] = field(default_factory=list)
    """Aggregation weight of each client, round by round."""


def rounds(
    state: Weights,
    count: int,
    clients: Sequence[int],
    local: Callable[[int, int, dict[str, Tensor]], dict[str, Tensor]],
    aggregate: Callable[[int, dict[str, Tensor], list[dict[str, Tensor]]], tuple[dict[str, Tensor], list[float]]],
    choose: Callable[[int], Sequence[int]] | None = None,
) -> tuple[dict[str, Tensor], Log]:
    """`count` rounds: clients get the global state, `local(round, client, state)` gives theirs back, the server aggregates.

    `aggregate(round, global, returned)` gives the next global state and the weight of each returned one.
    `choose(round)` limits a round to some clients; by default all of `clients` take part.
    """
    now, log = {n: v.clone() for n, v in state.items()}, Log()
    for number in range(count):
        chosen = list(choose(number)) if choose is not None else list(clients)
        begin = time.process_time()
        returned = []
        for client in chosen:
            log.sent += size_in_bytes(now)
            returned.append(local(number, client, {n: v.clone() for n, v in now.items()}))
            log.received += size_in_bytes(returned[-1])
        middle = time.process_time()
        now, weights = aggregate(number, now, returned)
        log.client_seconds += middle - begin
        log.server_seconds += time.process_time() - middle
        log.weights.append(list(weights))
    return now, log
