"""What the chapter draws: styles, who holds which classes, curves, statistics and components, inferred moments, weights of clients."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vislab.engine.fit import State
from vislab.papers.recognition.fedfusion.card import Config
from vislab.papers.recognition.fedfusion.data import STYLES, client_domain, styled, world
from vislab.papers.recognition.fedfusion.experiment import label_shares, statistics_error, true_statistics
from vislab.papers.recognition.fedfusion.fusion import Mixture, client_weights, fit_mixture, scales
from vislab.papers.recognition.fedfusion.model import normalised
from vislab.papers.recognition.fedfusion.train import server_vae
from vislab.worlds.base import absolute

MARKS = ("o", "s", "^")
RULES = {"averaged": "means of the clients'", "pooled": "total moments", "fused": "mixture"}


def samples(config: Config, seed: int, count: int = 6) -> list[list[Tensor]]:
    """A row a style: the first classes, the same items in every style."""
    index = torch.arange(count)
    image = world(config, seed).sample(absolute("test", index), label=index % config.classes).image
    return [list(styled(image, torch.full((count,), d)).clamp(0, 1)) for d in range(config.domains)]


def draw_clients(config: Config, seed: int) -> None:
    """Share of each class among every client's items; the client's hidden style stands at the bottom."""
    import matplotlib.pyplot as plt

    shares = label_shares(config, seed)
    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    shown = axis.imshow(shares.T.numpy(), cmap="Blues", aspect="auto", vmin=0)
    names = [f"{k + 1}\n{STYLES[d]}" for k, d in enumerate(client_domain(config).tolist())]
    axis.set(xlabel="client and its style", ylabel="class", xticks=range(config.clients), xticklabels=names)
    axis.grid(False)
    figure.colorbar(shown, label="share of its items")
    _show(figure)


def draw_curves(curves: Mapping[str, Tensor | None], target: float | None = None) -> None:
    """Validation accuracy over rounds."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(7.2, 3.0))
    for k, (name, values) in enumerate(curves.items()):
        if values is None:
            axis.plot([], [], color=palette[k], label=f"{name} (run missing)")
        else:
            axis.plot(np.arange(1, len(values) + 1), values.numpy(), "o-", color=palette[k], label=name, markersize=3)
    if target is not None:
        axis.axhline(target, color="#777777", linewidth=0.8, linestyle="--")
    axis.set(xlabel="round", ylabel="validation accuracy [%]", ylim=(0, 100))
    axis.legend(ncols=2, fontsize=8)
    _show(figure)


def draw_statistics(state: State, config: Config) -> None:
    """The last round's standardised statistics on their two principal axes: clients by hidden style, components as crosses."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    mean, variance = state.extra["upload/mean"], state.extra["upload/variance"]
    mixture = _mixture(state)
    scale = scales(mean, variance)
    x, components = scale.apply(mean, variance), scale.apply(mixture.mean, mixture.variance)
    axes = torch.linalg.svd(x, full_matrices=False).Vh[:2]
    points, crosses = (x @ axes.T).numpy(), (components @ axes.T).numpy()
    figure, axis = plt.subplots(figsize=(5.2, 3.8))
    for d in range(config.domains):
        mine = (client_domain(config) == d).numpy()
        axis.scatter(*points[mine].T, marker=MARKS[d], s=60, color=palette[d], label=f"clients: {STYLES[d]}")
    axis.scatter(*crosses.T, marker="x", s=90, color="black", label="components")
    for m, (a, b) in enumerate(crosses):
        axis.annotate(f"{m + 1}", (a, b), xytext=(6, 4), textcoords="offset points")
    axis.set(xlabel="first principal axis", ylabel="second principal axis")
    axis.legend(fontsize=8)
    _show(figure)


def layer_errors(state: State, config: Config, seed: int) -> dict[str, list[float]]:
    """Distance of each rule's statistics from the truth, layer by layer."""
    true, weights = true_statistics(state, config, seed), state.network.state_dict()
    widths = [len(weights[f"{name}.running_mean"]) for name in normalised(weights)]
    found = {}
    for rule, says in RULES.items():
        parts = [v.split(widths) for v in (state.extra[f"{rule}/mean"], state.extra[f"{rule}/variance"], *true)]
        found[says] = [statistics_error(*values) for values in zip(*parts, strict=True)]
    return found


def draw_layers(errors: Mapping[str, Sequence[float]]) -> None:
    """Bars of `layer_errors`."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.4, 2.8))
    for k, (name, values) in enumerate(errors.items()):
        axis.bar(np.arange(len(values)) + 0.27 * (k - 1), values, 0.25, color=palette[k], label=name)
    layers = len(next(iter(errors.values())))
    axis.set(xticks=range(layers), xticklabels=[f"layer {n + 1}" for n in range(layers)], ylabel="distance [true sd]")
    axis.legend(fontsize=8)
    _show(figure)


def draw_components(found: Mapping[int, float | None], reference: float | None) -> None:
    """Accuracy against the number of components, with that of averaging as a line."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(5.2, 2.8))
    known = {m: a for m, a in found.items() if a is not None}
    axis.plot(list(known), list(known.values()), "o-", color=palette[0], label="mixture")
    if reference is not None:
        axis.axhline(reference, color=palette[1], linestyle="--", label="federated averaging")
    axis.set(xlabel="components", ylabel="accuracy [%]", xscale="log", xticks=list(found), xticklabels=list(found))
    axis.minorticks_off()
    axis.margins(y=0.3)
    axis.legend(fontsize=8)
    _show(figure)


def weight_states(state: State, config: Config, seed: int, counts: Sequence[int], sizes: Sequence[int]) -> dict:
    """For every number of components and every rule, what clients take of the components and how much they count."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    mean, variance = state.extra["upload/mean"], state.extra["upload/variance"]
    domain, states = client_domain(config), {}
    for count in counts:
        side = dataclasses.replace(config, components=count, fusion="vae", fusion_steps=4 * config.fusion_steps)
        mixture = fit_mixture(side, server_vae(side, mean.shape[1], seed), mean, variance, sizes, domain, seed, 0)
        for rule in ("size", "distance", "component"):
            weights = client_weights(dataclasses.replace(side, weighting=rule), mixture, sizes)
            figure, (above, below) = plt.subplots(2, 1, figsize=(6.0, 3.4), sharex=True)
            base = np.zeros(len(weights))
            for m in range(count):
                share = mixture.share[:, m].numpy()
                above.bar(range(len(share)), share, bottom=base, color=palette[m % len(palette)])
                base += share
            below.bar(range(len(weights)), weights.numpy(), color="#7f9bb5")
            above.set(ylabel="components", ylim=(0, 1.02))
            names = [f"{k + 1}\n{STYLES[d]}" for k, d in enumerate(domain.tolist())]
            below.set(ylabel="weight", xticks=range(len(weights)), xticklabels=names, ylim=(0, 0.5))
            states[str(count), rule] = figure
    return states


def weight_alt(key: tuple[str, str]) -> str:
    """What a state of the sliders shows."""
    return f"{key[0]} components: what each client takes of them, and its weight by the rule {key[1]}"


def _mixture(state: State) -> Mixture:
    return Mixture(*(state.extra[f"mixture/{n}"] for n in ("share", "mean", "variance")))


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
