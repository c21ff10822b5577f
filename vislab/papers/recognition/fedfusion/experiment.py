"""One run of an arm and its evaluation: accuracy by domain, rounds to a target, and how well the global statistics were inferred."""

import copy
import dataclasses
import time
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine.federated import under
from vislab.engine.fit import State
from vislab.engine.measure import compared
from vislab.engine.outcome import Outcome
from vislab.ops.transport import gaussian_distance
from vislab.papers.recognition.fedfusion.card import Config
from vislab.papers.recognition.fedfusion.data import STYLES, batch, client_domain, labels, partition
from vislab.papers.recognition.fedfusion.fusion import EPS, fit_mixture, merge, uploaded
from vislab.papers.recognition.fedfusion.model import recompute, statistics
from vislab.papers.recognition.fedfusion.train import begin, scored, server_vae, step, train

ITEMS = {"validation": "validation_items", "test": "test_items"}


def holders(state: State, config: Config) -> list[tuple[list[int], dict[str, Tensor]]]:
    """The models that clients hold at the end, each with the clients that hold it; one global model for most arms."""
    found = []
    for c in range(config.clusters):
        weights = under(state.extra, f"cluster{c}/")
        mine = (state.extra["cluster_of"] == c).nonzero()[:, 0].tolist()
        if config.statistics == "own":
            found += [([k], weights | under(state.extra, f"own{k}/")) for k in mine]
        elif mine:
            found.append((mine, weights))
    return found


def label_shares(config: Config, seed: int) -> Float[Tensor, "clients classes"]:
    """Share of each class among a client's training items."""
    label = labels(config)
    counts = torch.stack([torch.bincount(label[part], minlength=config.classes) for part in partition(config, seed)])
    return counts.double() / counts.sum(dim=1, keepdim=True)


def statistics_error(
    mean: Tensor, variance: Tensor, true_mean: Float[Tensor, " channels"], true_variance: Float[Tensor, " channels"]
) -> float:
    """Root mean square over channels of the Wasserstein distance of two Gaussians, in true standard deviations."""
    unit = true_variance + EPS
    apart = gaussian_distance(mean / unit.sqrt(), variance / unit, true_mean / unit.sqrt(), true_variance / unit)
    return float((apart / len(unit)).sqrt())


def true_statistics(state: State, config: Config, seed: int) -> tuple[Tensor, Tensor]:
    """(mean, variance) of every normalised channel when all clients' items together pass through the global model."""
    model = copy.deepcopy(state.network)
    items = batch(config, "train", seed, torch.arange(config.train_items), state.device)
    recompute(model, items["image"], config.train_items)
    return statistics(model.state_dict())


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Accuracy on all classes and domains evenly, by domain, and on what each client itself meets; rounds; statistics; bytes."""
    items = batch(config, split, seed, torch.arange(getattr(config, ITEMS[split])), state.device)
    model, shares = copy.deepcopy(state.network), label_shares(config, seed)
    domain, total = client_domain(config), torch.zeros(config.clients, len(items["label"]), dtype=torch.float64)
    for clients, weights in holders(state, config):
        model.load_state_dict(weights)
        total[clients] = scored(model, items, config.eval_batch_size)["hit"].cpu()
    label, where = items["label"].cpu(), items["domain"].cpu()
    hit = total.mean(dim=0)
    metrics = {"accuracy": 100 * float(hit.mean()), "bytes": float(state.extra["bytes"])}
    if config.domains > 1:
        metrics |= {f"accuracy_{STYLES[d]}": 100 * float(hit[where == d].mean()) for d in range(config.domains)}
    metrics["accuracy_local"] = 100 * float(local_accuracy(total, label, where, shares, domain, config).mean())
    reached = [h["round"] for h in state.history if h["accuracy"] >= config.target_accuracy]
    metrics["rounds_target"] = float(min(reached, default=config.rounds + 1))
    if config.clusters == 1 and config.statistics != "own":
        true = true_statistics(state, config, seed)
        for rule, name in (("fused", ""), ("averaged", "_averaged"), ("pooled", "_pooled")):
            if f"{rule}/mean" in state.extra:
                metrics[f"statistics_error{name}"] = statistics_error(
                    state.extra[f"{rule}/mean"], state.extra[f"{rule}/variance"], *true
                )
    if "mixture/share" in state.extra and config.clients == config.clients_a_round:
        from sklearn.metrics import adjusted_rand_score

        metrics["rand_domains"] = float(adjusted_rand_score(domain, state.extra["mixture/share"].argmax(dim=1)))
    return metrics


def local_accuracy(
    hit: Float[Tensor, "clients items"], label: Tensor, where: Tensor, shares: Tensor, domain: Tensor, config: Config
) -> Float[Tensor, " clients"]:
    """Accuracy of each client's model on items of its own domain, classes weighted by its own shares."""
    found = []
    for k in range(len(hit)):
        here = (where == domain[k]).double()
        count = torch.bincount(label, weights=here, minlength=config.classes)
        right = torch.bincount(label, weights=here * hit[k], minlength=config.classes)
        found.append((shares[k] * right / count.clamp(min=1)).sum())
    return torch.stack(found)


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps its curve, its aggregation weights and a map of the statistics."""
    state = train(config, seed, accelerator, shared)
    return Outcome(evaluate(state, config, seed), artifacts(state) if seed == 0 else {})


def artifacts(state: State) -> dict[str, Tensor]:
    """Validation accuracy by round, weights of clients by round, and the last round's mixture weights."""
    found = {"curve": torch.tensor([h["accuracy"] for h in state.history]), "weights": state.extra["weights"].float()}
    if "mixture/share" in state.extra:
        found["share"] = state.extra["mixture/share"].float()
    return found


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None, repeats: int = 10) -> Outcome:
    """Time of a round over that of a round of federated averaging: the clients' steps are the same, the server's work differs.

    The server's part is timed whole, the clients' part as one step times the steps of a round, in turns within one process.
    """
    state = begin(config, 0, accelerator)
    held = partition(config, 0)
    present = list(range(config.clients_a_round))
    sizes = [len(held[k]) for k in present]
    items = batch(config, "train", 0, torch.arange(config.batch_size), accelerator.device)
    steps = config.local_epochs * sum(-(-n // config.batch_size) for n in sizes)
    returned = []
    for k in present:
        recompute(state.network, items["image"] * (1 + 0.1 * k), config.batch_size)
        returned.append({n: v.detach().clone() for n, v in state.network.state_dict().items()})
    plain = dataclasses.replace(config, fusion="none", weighting="size", statistics="averaged")
    domain = client_domain(config)[present]

    def server(side: Config, number: int) -> None:
        mixture = None
        if side.fusion != "none":
            mixture = fit_mixture(side, vae, *uploaded(returned), sizes, domain, 0, number)
        merge(side, returned, sizes, mixture)

    vae = server_vae(config, len(statistics(returned[0])[0]), 0)
    times: dict[str, list[float]] = {"fused": [], "plain": []}
    for number in range(repeats + 1):
        begin_step = time.perf_counter()
        step(state, items)
        _wait(accelerator)
        clients = steps * (time.perf_counter() - begin_step)
        for name, side in (("fused", config), ("plain", plain)):
            begin_server = time.perf_counter()
            server(side, number)
            _wait(accelerator)
            if number:  # the first round warms up
                times[name].append(clients + time.perf_counter() - begin_server)
    return Outcome(compared("seconds_ratio", times["fused"], times["plain"]))


def _wait(accelerator: Any) -> None:
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()
