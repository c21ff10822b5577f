"""What the chapter draws: losses that overlap, mislabelled pictures, plans on points in the plane, accuracy over noise."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.papers.recognition.ot_filter.card import Config
from vislab.papers.recognition.ot_filter.data import clean, labels
from vislab.papers.recognition.ot_filter.filters import barycentre, grouped_plan, propagated

CENTRES = ((-0.7, 0.0), (0.8, 0.7), (0.7, -0.7))
SPREADS = (1.2, 0.4, 0.4)
EACH = 60


def draw_losses(losses: Float[Tensor, " items"], right: Bool[Tensor, " items"]) -> None:
    """Histograms of the losses of right and of wrong labels."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.4, 2.8))
    bins = np.linspace(float(losses.quantile(0.002)), float(losses.quantile(0.998)), 40)
    for k, (name, mask) in enumerate((("right labels", right), ("wrong labels", ~right))):
        axis.hist(
            losses[mask].numpy(), bins, density=True, alpha=0.6, color=palette[k], label=f"{name} ({int(mask.sum())})"
        )
    axis.set(xlabel="loss of the given label", ylabel="density")
    axis.legend()
    _show(figure)


def mislabelled(config: Config, seed: int, count: int = 6) -> tuple[list[Tensor], list[str]]:
    """The first training pictures whose given label is wrong, and "given, truly" classes."""
    true, given = labels(config, seed)
    wrong = (true != given).nonzero()[:count, 0]
    images = clean(config, "train", seed, wrong)["image"] * 0.25 + 0.5
    return list(images), [f"{int(given[i])}, truly {int(true[i])}" for i in wrong]


def toy(rate: float) -> tuple[Float[Tensor, "items 2"], Int[Tensor, " items"], Int[Tensor, " items"]]:
    """Points of three classes in the plane, one of them wide, their true and their given classes."""
    index = torch.arange(len(CENTRES) * EACH)
    true = index % len(CENTRES)
    spread = torch.tensor(SPREADS)[true, None]
    points = torch.tensor(CENTRES)[true] + spread * counter.normal(0, "world", index, "toy", (2,))
    other = counter.integers(0, "world", index, "toy label", len(CENTRES))
    return points.double(), true, torch.where(counter.uniform(0, "world", index, "toy wrong") < rate, other, true)


def toy_plan(
    points: Float[Tensor, "items 2"],
    given: Int[Tensor, " items"],
    entropy: float | None,
    steps: int = 5,
    rounds: int = 2,
) -> tuple[Float[Tensor, "classes items"], Float[Tensor, "classes 2"]]:
    """Plan and barycentres after `rounds` rounds; without `entropy` each point's mass goes to the nearest barycentre."""
    group, trusted = torch.arange(len(CENTRES)), torch.ones_like(given, dtype=torch.bool)
    for _ in range(rounds):
        means = torch.cat([barycentre(points[trusted & (given == c)], points[given == c][:1], 1.0) for c in group])
        cost = torch.cdist(means, points)
        if entropy is None:
            plan = torch.nn.functional.one_hot(cost.argmin(dim=0), len(group)).T.double() / len(points)
        else:
            plan = grouped_plan(cost, group, len(group), entropy, steps)
        trusted = propagated(plan, group, len(group))[1] == given
    return plan, means


def _scatter(axis: Any, points: Tensor, plan: Tensor, means: Tensor, kept: Tensor | None = None) -> None:
    """Points in the mixture of class colours that their mass gives; rejected ones hollow; barycentres as stars."""
    from matplotlib.colors import to_rgb

    from vislab.viz import palette

    colours = torch.tensor([to_rgb(palette[c]) for c in range(len(means))], dtype=torch.float64)
    shades = ((plan / plan.sum(dim=0)).T @ colours).clamp(0, 1).numpy()
    solid = np.ones(len(points), dtype=bool) if kept is None else kept.numpy()
    x, y = points.T.numpy()
    axis.scatter(x[solid], y[solid], s=16, c=shades[solid])
    axis.scatter(x[~solid], y[~solid], s=16, facecolors="none", edgecolors="#bbbbbb", linewidths=0.8)
    for c, mean in enumerate(means):
        axis.plot(*mean.tolist(), "*", markersize=15, color=palette[c], markeredgecolor="black")
    axis.set(xticks=[], yticks=[], aspect="equal", xlim=(-4.2, 2.6), ylim=(-2.9, 2.9))
    axis.grid(False)


def draw_plans(rate: float = 0.5, entropy: float = 2.0) -> None:
    """Where the mass of points in the plane goes: to the nearest barycentre, by one Sinkhorn, and with the penalty on classes."""
    import matplotlib.pyplot as plt

    points, true, given = toy(rate)
    figure, axes = plt.subplots(1, 3, figsize=(7.6, 2.9))
    ways = {"nearest": (None, 1), "one Sinkhorn": (entropy, 1), "with the penalty": (entropy, 5)}
    for axis, (name, (strength, steps)) in zip(axes, ways.items(), strict=True):
        plan, means = toy_plan(points, given, strength, steps)
        hit = 100 * float((plan.argmax(dim=0) == true).double().mean())
        _scatter(axis, points, plan, means)
        axis.set_title(f"{name}: {hit:.0f}% right", fontsize=9)
    _show(figure)


def filter_states(
    rates: Sequence[float] = (0.3, 0.6, 0.9), entropies: Sequence[float | None] = (None, 0.3, 1.0, 3.0, 10.0)
) -> dict[tuple[str, str], Any]:
    """For each noise rate and way of assigning, the points whose label is kept, as figures for the sliders."""
    import matplotlib.pyplot as plt

    states = {}
    for rate in rates:
        points, true, given = toy(rate)
        for entropy in entropies:
            plan, means = toy_plan(points, given, entropy)
            kept = plan.argmax(dim=0) == given
            both, right = float((kept & (true == given)).sum()), float((true == given).sum())
            figure, axis = plt.subplots(figsize=(4.4, 3.7))
            _scatter(axis, points, plan, means, kept)
            axis.set_title(
                f"kept {int(kept.sum())} of {len(kept)}: precision {100 * both / max(1, int(kept.sum())):.0f}%, "
                f"recall {100 * both / right:.0f}%", fontsize=9,
            )  # fmt: skip
            states[f"{rate:.0%}", "nearest" if entropy is None else f"{entropy:g}"] = figure
    return states


def filter_alt(key: tuple[str, str]) -> str:
    """What a state of the sliders shows."""
    way = "the nearest barycentre" if key[1] == "nearest" else f"transport with regularisation {key[1]}"
    return f"Points of three classes with {key[0]} of labels redrawn: kept ones filled, rejected ones hollow, by {way}"


def draw_rates(accuracy: Mapping[str, Sequence[float]], arms: Mapping[str, Mapping[float, str]]) -> None:
    """Accuracy over the noise rate, a dot a seed; `arms` is {criterion: {rate: arm}}."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.0, 3.0))
    for k, (name, by_rate) in enumerate(arms.items()):
        known = {rate: accuracy[arm] for rate, arm in by_rate.items() if arm in accuracy}
        if not known:
            axis.plot([], [], color=palette[k], label=f"{name} (run missing)")
            continue
        axis.plot([100 * r for r in known], [np.mean(v) for v in known.values()], "-", color=palette[k], label=name)
        for rate, values in known.items():
            axis.plot([100 * rate + k - 1] * len(values), values, "o", color=palette[k], markersize=4)
    axis.set(xlabel="labels drawn anew [%]", ylabel="accuracy [%]")
    axis.legend()
    _show(figure)


def draw_selection(values: Mapping[str, Mapping[str, Sequence[float]]], arm: str) -> None:
    """F1 of three selections from the same features, a line a seed; `values` is {criterion: {arm: values over seeds}}."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(5.2, 2.8))
    rows = [found.get(arm, ()) for found in values.values()]
    if not all(rows):
        axis.text(0.5, 0.5, "run missing", ha="center", transform=axis.transAxes)
    else:
        for seed, line in enumerate(zip(*rows, strict=True)):
            axis.plot(
                range(len(line)), line, "o-", color=palette[seed % len(palette)], label=f"seed {seed}", linewidth=1
            )
        axis.legend(fontsize=8)
    axis.set(xticks=range(len(values)), xticklabels=list(values), ylabel="F1 [%]")
    axis.margins(x=0.2)
    _show(figure)


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
