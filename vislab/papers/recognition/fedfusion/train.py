"""Federated training: local steps, statistics recomputed on local data, and the server's merge; readable top to bottom."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vislab.engine import federated
from vislab.engine.federated import above, under
from vislab.engine.fit import State, descend, initialise, load_checkpoint, save_checkpoint, start
from vislab.ops import counter
from vislab.papers.recognition.fedfusion.card import Config
from vislab.papers.recognition.fedfusion.data import batch, client_domain, partition
from vislab.papers.recognition.fedfusion.fusion import FusionVAE, fit_mixture, merge, moments, pooled, uploaded
from vislab.papers.recognition.fedfusion.model import build, normalised, recompute, statistics

Weights = Mapping[str, Tensor]


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """The global network and the clients' SGD; `extra` holds all that the server and the clients keep between rounds."""
    model = initialise(build, config, seed)
    optimizer = torch.optim.SGD(
        model.parameters(), config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    extra = {f"global/{n}": p.detach().clone() for n, p in model.named_parameters()} if config.weight_proximal else {}
    return start(config, seed, accelerator, model, optimizer, extra=extra)


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One local step: cross-entropy and, in FedProx, mu / 2 times the squared distance from the round's global weights."""
    losses = {"own": F.cross_entropy(state.model(items["image"]), items["label"])}
    if state.config.weight_proximal:
        named = state.network.named_parameters()
        apart = sum(((p - state.extra[f"global/{n}"].to(p.device)) ** 2).sum() for n, p in named)
        losses["proximal"] = 0.5 * state.config.weight_proximal * apart
    return descend(state, {"loss": sum(losses.values()), **losses})


def server_vae(config: Config, channels: int, seed: int) -> FusionVAE | None:
    """The server's autoencoder, in double precision, where `config.fusion` asks for one."""
    if config.fusion != "vae":
        return None
    with counter.scope(seed, "init", f"fusion {config.fusion_draw}"):
        return FusionVAE(channels, config.components, config.hidden, config.latent).double()


def chosen(config: Config, seed: int, number: int) -> list[int]:
    """Clients of a round, drawn without replacement."""
    order = counter.permutation(seed, "batches", torch.tensor([number]), "clients", config.clients)[0]
    return sorted(order[: config.clients_a_round].tolist())


@torch.no_grad()
def scored(model: torch.nn.Module, items: dict[str, Tensor], batch_size: int) -> dict[str, Tensor]:
    """{"loss": (items,), "hit": (items,)} of a network in evaluation."""
    model.eval()
    logits = torch.cat([model(part) for part in items["image"].split(batch_size)])
    hit = (logits.argmax(dim=1) == items["label"]).double()
    return {"loss": F.cross_entropy(logits, items["label"], reduction="none"), "hit": hit}


def local_round(state: State, pool: dict[str, Tensor], weights: Weights, number: int, client: int) -> dict[str, Tensor]:
    """A client's part of a round: take the weights, descend over its own items, measure its statistics anew.

    Of several clusters a client takes the model with the lowest loss on its items (IFCA, Ghosh et al. 2020).
    In FedBN (Li et al. 2021) it keeps its own normalisation layers.
    """
    config, model = state.config, state.network
    mine = under(state.extra, f"own{client}/")
    fits = []
    for c in range(config.clusters):
        model.load_state_dict(under(weights, f"cluster{c}/") | mine)
        if config.clusters > 1:
            fits.append(float(scored(model, pool, config.eval_batch_size)["loss"].mean()))
    if fits:
        best = fits.index(min(fits))
        model.load_state_dict(under(weights, f"cluster{best}/") | mine)
        state.extra["cluster_of"][client] = best
    if config.weight_proximal:
        state.extra.update(above(dict(model.named_parameters()), "global/"))
    state.optimizer.state.clear()
    model.train()
    items = len(pool["label"])
    for epoch in range(config.local_epochs):
        place = torch.tensor([(number * config.clients + client) * config.local_epochs + epoch])
        order = counter.permutation(state.seed, "batches", place, "local", items)[0]
        for part in order.split(config.batch_size):
            if len(part) > 1:  # one item has no batch statistics
                step(state, {name: value[part] for name, value in pool.items()})
    recompute(model, pool["image"], config.eval_batch_size)
    found = {n: v.detach().clone() for n, v in model.state_dict().items()}
    if config.statistics == "own":
        layers = normalised(found)
        state.extra.update(above({n: v for n, v in found.items() if n.rpartition(".")[0] in layers}, f"own{client}/"))
    return found


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """All rounds; the history has one entry a round, with the global model's accuracy on validation items.

    A global state is `clusters` models side by side, and one in every arm but IFCA.
    """
    state = begin(config, seed, accelerator, shared)
    everything = batch(config, "train", seed, torch.arange(config.train_items), accelerator.device)
    held, domain = partition(config, seed), client_domain(config)
    pools = [{name: value[part] for name, value in everything.items()} for part in held]
    checks = batch(config, "validation", seed, torch.arange(config.validation_items), accelerator.device)
    model, size = state.network, [len(part) for part in held]
    state.extra["cluster_of"] = torch.zeros(config.clients, dtype=torch.int64)
    for c in range(config.clusters):
        first = model if c == 0 else initialise(build, config, seed, f"cluster {c}")
        state.extra.update(above(first.state_dict(), f"cluster{c}/"))
    vae = server_vae(config, len(statistics(model.state_dict())[0]), seed)
    if checkpoint is not None and Path(checkpoint).exists():
        load_checkpoint(state, checkpoint)
        if vae is not None:
            vae.load_state_dict(under(state.extra, "vae/"))
    done = state.step

    def local(number: int, client: int, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return local_round(state, pools[client], weights, done + number, client)

    def aggregate(
        number: int, before: dict[str, Tensor], returned: list[dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], list[float]]:
        present = chosen(config, seed, done + number)
        sizes = [size[k] for k in present]
        mixture = None
        if config.fusion != "none":
            mixture = fit_mixture(config, vae, *uploaded(returned), sizes, domain[present], seed, done + number)
        after, weights = dict(before), [0.0] * len(present)
        for c in range(config.clusters):
            mine = [i for i, k in enumerate(present) if state.extra["cluster_of"][k] == c]
            if mine:
                merged, share = merge(config, [returned[i] for i in mine], [sizes[i] for i in mine], mixture)
                after |= above(merged, f"cluster{c}/")
                for i, w in zip(mine, share, strict=True):
                    weights[i] = w
        state.extra.update(after)
        state.extra |= inferred(returned, sizes, mixture)
        if vae is not None:
            state.extra.update(above(vae.state_dict(), "vae/"))
        model.load_state_dict(under(after, "cluster0/"))
        hit = scored(model, checks, config.eval_batch_size)
        entry = {
            "round": done + number + 1,
            "loss": float(hit["loss"].mean()),
            "accuracy": 100 * float(hit["hit"].mean()),
        }
        state.history.append(entry)
        state.step = done + number + 1
        if checkpoint is not None:
            save_checkpoint(state, checkpoint)
        if progress:
            print(f"round {entry['round']:3d}: loss {entry['loss']:.3f}, accuracy {entry['accuracy']:.1f}%")
        return after, weights

    packed = {n: v for n, v in state.extra.items() if n.startswith("cluster") and "/" in n}
    _, log = federated.rounds(
        packed, config.rounds - done, range(config.clients), local, aggregate, lambda n: chosen(config, seed, done + n)
    )
    if log.weights:
        state.extra["weights"] = torch.tensor(log.weights)
        state.extra["bytes"] = torch.tensor((log.sent + log.received) / len(log.weights))
    return state


def inferred(returned: list[dict[str, Tensor]], sizes: list[int], mixture: Any) -> dict[str, Tensor]:
    """What three rules make of the last round's uploads: {"<rule>/mean", "<rule>/variance"}, and the mixture if there is one."""
    mean, variance = uploaded(returned)
    share = torch.tensor(sizes, dtype=mean.dtype) / sum(sizes)
    found = {"averaged": (share @ mean, share @ variance), "pooled": pooled(mean, variance, sizes)}
    rest = {"upload/mean": mean, "upload/variance": variance}
    if mixture is not None:
        found["fused"] = moments(share @ mixture.share, mixture.mean, mixture.variance)
        rest |= {f"mixture/{n}": getattr(mixture, n) for n in ("share", "mean", "variance")}
    return rest | {
        f"{rule}/{n}": v for rule, both in found.items() for n, v in zip(("mean", "variance"), both, strict=True)
    }
