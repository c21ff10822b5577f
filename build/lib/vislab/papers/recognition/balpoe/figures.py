"""What the chapter draws: the long tail, the experts' targets, the Gaussian toy of the theorem, calibration, records."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.engine.metrics import calibration
from vislab.ops import counter
from vislab.ops.longtail import frequency_groups
from vislab.papers.recognition.balpoe import theory
from vislab.papers.recognition.balpoe.card import Config
from vislab.papers.recognition.balpoe.data import class_counts, world
from vislab.papers.recognition.balpoe.experiment import SHIFTS, class_accuracy
from vislab.papers.recognition.balpoe.model import product_of_experts
from vislab.worlds.base import absolute
from vislab.worlds.shapes.classes import Shapes

MEANS = torch.tensor([[0.0, 0.0], [2.0, 0.5], [0.5, 2.0]])
PRIOR = torch.tensor([0.80, 0.15, 0.05])
LOW, HIGH, SIDE = -2.5, 4.5, 200
TAUS = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0)
TEMPERATURES = {"1/2": 1 / 2, "2/3": 2 / 3, "1": 1.0, "4/3": 4 / 3, "2": 2.0}
BINS = 15


# -- the data ---------------------------------------------------------------------------------------------------------


def lookalikes(config: Config, seed: int, pairs: int = 6) -> tuple[Shapes, Shapes]:
    """One test item of each of the `pairs` most frequent classes, and of their look-alikes among the rarest."""
    head = torch.arange(pairs)
    items = absolute("test", torch.arange(pairs))
    shapes = world(config, seed)
    return shapes.sample(items, label=head), shapes.sample(items, label=config.classes - 1 - head)


def outlined(image: Float[Tensor, "3 h w"], mask: Tensor, box: Float[Tensor, "4"]) -> Float[Tensor, "3 h w"]:
    """The picture with all but the mask dimmed, and a red frame along the inner side of the box."""
    shown = torch.where(mask, image, 0.35 * image + 0.5).clone()
    x0, y0, x1, y1 = (int(v) for v in box)
    red = torch.tensor([0.84, 0.1, 0.1])[:, None]
    shown[:, y0, x0:x1], shown[:, y1 - 1, x0:x1] = red, red
    shown[:, y0:y1, x0], shown[:, y0:y1, x1 - 1] = red, red
    return shown


def draw_tail(config: Config, accuracies: Mapping[str, Tensor | None]) -> None:
    """Training items of each class as bars, and accuracy by class of the given runs (1 x class) below."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    counts = class_counts(config)
    groups = frequency_groups(counts, config.many_above, config.few_below)
    figure, (above, below) = plt.subplots(2, 1, figsize=(7.2, 4.4), sharex=True, height_ratios=(1, 1.3))
    for (name, members), shade in zip(groups.items(), ("#3b5b7a", "#7f9bb5", "#c3d1de"), strict=True):
        where = members.nonzero()[:, 0]
        if len(where):
            above.bar(where, counts[where], color=shade, label=f"{name} ({len(where)} classes)")
    above.set(ylabel="training items")
    above.legend()
    for k, (name, values) in enumerate(accuracies.items()):
        colour, marker = palette[k], "os^"[k % 3]
        if values is None:
            below.plot([], [], marker, color=colour, label=f"{name} (run missing)")
            continue
        mine = 100 * values.mean(dim=0)
        below.plot(mine, marker, color=colour, alpha=0.45, markersize=4)
        for n, members in enumerate(m for m in groups.values() if m.any()):
            where = members.nonzero()[:, 0]
            ends = [float(where[0]) - 0.4, float(where[-1]) + 0.4]
            below.plot(ends, [float(mine[members].mean())] * 2, color=colour, linewidth=2.6, label=None if n else name)
    below.set(xlabel="class, from the most to the least frequent", ylabel="accuracy [%]", ylim=(0, 102))
    below.legend(loc="lower left")
    _show(figure)


def target(prior: Float[Tensor, " classes"], tau: float) -> Float[Tensor, " classes"]:
    """The label distribution that an expert with bias tau is trained for: prior^(1 - tau), normalised."""
    return ((1 - tau) * prior.log()).softmax(dim=0)


def draw_targets(config: Config) -> None:
    """The target of each expert and the normalised product (geometric mean) of all."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    counts = class_counts(config).float()
    prior = counts / counts.sum()
    targets = [target(prior, tau) for tau in config.taus]
    mean = torch.stack(targets).log().mean(dim=0).softmax(dim=0)
    figure, axis = plt.subplots(figsize=(6.8, 3.0))
    for k, (tau, values) in enumerate(zip(config.taus, targets, strict=True)):
        axis.plot(values, marker="os^"[k % 3], color=palette[k], label=rf"expert $\tau = {tau:g}$", linewidth=1.2)
    axis.plot(mean, "--", color="black", linewidth=2.4, label="their product")
    axis.set(xlabel="class, from the most to the least frequent", ylabel="target probability", yscale="log")
    axis.legend(ncols=2)
    _show(figure)


# -- the theorem's toy ------------------------------------------------------------------------------------------------


def plane(side: int = SIDE) -> Float[Tensor, "pixels 2"]:
    """Cell centres of the toy's square, row by row from below."""
    line = LOW + (torch.arange(side) + 0.5) * (HIGH - LOW) / side
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def spread(mean_tau: float) -> tuple[float, float, float]:
    """Three experts one unit of tau apart with the given mean."""
    return mean_tau - 1, mean_tau, mean_tau + 1


def balanced_error(chosen: Int[Tensor, " pixels"], points: Float[Tensor, "pixels 2"]) -> float:
    """Balanced error, percent, of a rule given on the cells of `plane`: one minus the mean over classes of the mass it keeps."""
    mass = theory.class_logits(points, MEANS).softmax(dim=0)  # each class's density over the square, summing to one
    kept = mass.gather(1, chosen[:, None])[:, 0].sum() / len(MEANS)
    return 100 * float(1 - kept)


def toy_rule(mean_tau: float, temperature: float, points: Float[Tensor, "pixels 2"]) -> Int[Tensor, " pixels"]:
    """The class that the product of three experts decides for at each point."""
    return theory.product(points, MEANS, PRIOR, spread(mean_tau), temperature).argmax(dim=1)


def effective_prior(mean_tau: float, temperature: float) -> Float[Tensor, " classes"]:
    """The class distribution for which the product's decisions are the Bayes rule: prior^(1 - tau temperature)."""
    return target(PRIOR, mean_tau * temperature)


def _tinted(chosen: Int[Tensor, " pixels"]) -> np.ndarray:
    from matplotlib.colors import to_rgb

    from vislab.viz import palette

    colours = torch.tensor([to_rgb(c) for c in palette[: len(MEANS)]], dtype=torch.float32)
    side = round(len(chosen) ** 0.5)
    return (0.62 + 0.38 * colours[chosen]).reshape(side, side, 3).numpy()


def _boundary(axis: Any, chosen: Int[Tensor, " pixels"], **style: Any) -> None:
    side = round(len(chosen) ** 0.5)
    line = LOW + (np.arange(side) + 0.5) * (HIGH - LOW) / side
    for k in range(len(MEANS)):
        inside = (chosen == k).reshape(side, side).float().numpy()
        if 0 < inside.mean() < 1:
            axis.contour(line, line, inside, levels=[0.5], **style)


def _toy_axis(axis: Any) -> None:
    axis.set(xlim=(LOW, HIGH), ylim=(LOW, HIGH), aspect="equal", xticks=[], yticks=[])
    axis.grid(False)
    axis.plot(*MEANS.T, "k+", markersize=7)


def toy_sample(items: int = 400, seed: int = 0) -> tuple[Float[Tensor, "items 2"], Int[Tensor, " items"]]:
    """Points drawn from the long-tailed toy, with their classes."""
    index = torch.arange(items)
    uniform = counter.uniform(seed, "evaluate", index, "toy class")
    label = torch.searchsorted(PRIOR.cumsum(0), uniform).clamp(max=len(PRIOR) - 1)
    return MEANS[label] + counter.normal(seed, "evaluate", index, "toy point", (2,)), label


def draw_toy(taus: Sequence[float] = (0.0, 1.0, 2.0)) -> None:
    """The decisions of each Bayes expert and of their product, with the balanced Bayes boundary dashed."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    points = plane()
    rule = theory.balanced_rule(points, MEANS).argmax(dim=1)
    panels = {rf"expert $\tau = {tau:g}$": theory.bayes_expert(points, MEANS, PRIOR, tau).argmax(dim=1) for tau in taus}
    panels["product"] = theory.product(points, MEANS, PRIOR, taus).argmax(dim=1)
    where, label = toy_sample()
    figure, axes = plt.subplots(1, len(panels), figsize=(7.4, 2.35))
    for axis, (name, chosen) in zip(axes, panels.items(), strict=True):
        axis.imshow(_tinted(chosen), origin="lower", extent=(LOW, HIGH, LOW, HIGH), interpolation="bilinear")
        _boundary(axis, chosen, colors="black", linewidths=1.4)
        _boundary(axis, rule, colors="white", linewidths=1.6, linestyles="dashed")
        for k in range(len(MEANS)):
            axis.plot(*where[label == k].T, ".", color=palette[k], markersize=2.5, alpha=0.8)
        _toy_axis(axis)
        axis.set_title(f"{name}\nbalanced error {balanced_error(chosen, points):.1f}%", fontsize=9)
    _show(figure)


def toy_errors(taus: Sequence[float]) -> dict[str, tuple[Sequence[float], list[float]]]:
    """Balanced error over the mean tau for over-confident, calibrated and under-confident experts."""
    points = plane()
    names = {"over-confident (T = 1/2)": 1 / 2, "calibrated (T = 1)": 1.0, "under-confident (T = 2)": 2.0}
    return {
        name: (taus, [balanced_error(toy_rule(tau, temperature, points), points) for tau in taus])
        for name, temperature in names.items()
    }


def _edges(chosen: Int[Tensor, " pixels"]) -> np.ndarray:
    """(side, side) bool: the two cells on either side of every change of class."""
    side = round(len(chosen) ** 0.5)
    grid = chosen.reshape(side, side).numpy()
    found = np.zeros((side, side), dtype=bool)
    for first, second in (((slice(1, None),), (slice(-1),)), ((slice(None), slice(1, None)), (slice(None), slice(-1)))):
        changes = grid[first] != grid[second]
        found[first] |= changes
        found[second] |= changes
    return found


def toy_states() -> dict[tuple[str, str], np.ndarray]:
    """A picture for every mean tau and temperature: decisions with both boundaries, and the prior that they are optimal for."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette
    from vislab.viz.look import style

    style()
    points = plane()
    rule = theory.balanced_rule(points, MEANS).argmax(dim=1)
    best = balanced_error(rule, points)
    cells = np.arange(SIDE)
    dashed = _edges(rule) & ((cells[:, None] + cells[None]) // 7 % 2 == 0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(4.8, 2.7), dpi=100, width_ratios=(1.5, 1))
    shown = left.imshow(_tinted(rule), origin="lower", extent=(LOW, HIGH, LOW, HIGH))
    _toy_axis(left)
    title = left.set_title("balanced error 00.0% (Bayes 00.0%)", fontsize=9)
    bars = right.bar(range(3), [1, 1, 1], color=palette[:3])
    right.axhline(1 / 3, color="black", linestyle="--", linewidth=1)
    right.set(ylim=(0, 1), xticks=range(3), xticklabels=("head", "medium", "tail"))
    right.set_title("optimal for this prior", fontsize=9)
    right.grid(False)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # one layout for all states
    found = {}
    for tau in TAUS:
        for name, temperature in TEMPERATURES.items():
            chosen = toy_rule(tau, temperature, points)
            picture = _tinted(chosen)
            picture[_edges(chosen)], picture[dashed] = 0.0, 1.0
            shown.set_data(picture)
            title.set_text(f"balanced error {balanced_error(chosen, points):.1f}% (Bayes {best:.1f}%)")
            for bar, share in zip(bars, effective_prior(tau, temperature).tolist(), strict=True):
                bar.set_height(share)
            figure.canvas.draw()
            found[f"{tau:g}", name] = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return found


def toy_alt(key: tuple[str, str]) -> str:
    """What a state of the widget shows, in words."""
    product = float(key[0]) * TEMPERATURES[key[1]]
    if abs(product - 1) < 1e-6:
        says = "the product decides like the balanced Bayes rule"
    else:
        says = f"the product decides too often for the {'head' if product < 1 else 'tail'} class"
    return f"mean tau {key[0]}, temperature {key[1]}: {says}"


# -- the trained network ----------------------------------------------------------------------------------------------


def reliability(
    probabilities: Float[Tensor, "items classes"], labels: Int[Tensor, " items"]
) -> Float[Tensor, "3 bins"]:
    """Count, mean confidence and accuracy of the top prediction in 15 equal bins of confidence."""
    confidence, chosen = probabilities.max(dim=1)
    where = (confidence * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(where, minlength=BINS).float()
    sums = [
        torch.bincount(where, weights=w, minlength=BINS) / count.clamp(min=1)
        for w in (confidence, (chosen == labels).float())
    ]
    return torch.stack([count, *sums]).float()


def draw_reliability(diagrams: Mapping[str, Tensor | None]) -> None:
    """Accuracy over confidence, the gap to the diagonal in red, how often each confidence occurs as a grey strip."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axes = plt.subplots(1, len(diagrams), figsize=(7.4, 7.4 / len(diagrams) + 0.7), sharey=True, squeeze=False)
    middle = (torch.arange(BINS) + 0.5) / BINS
    for axis, (name, diagram) in zip(axes[0], diagrams.items(), strict=True):
        axis.plot([0, 1], [0, 1], "--", color="#555555", linewidth=1)
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", title=name, aspect="equal")
        if diagram is None:
            axis.text(0.5, 0.5, "run missing", ha="center", va="center", color="#555555")
            continue
        count, confidence, accuracy = diagram
        some = count > 0
        axis.bar(middle[some], accuracy[some], 1 / BINS, color=palette[0], edgecolor="white", linewidth=0.4)
        gap = confidence - accuracy
        axis.bar(
            middle[some], gap[some], 1 / BINS, accuracy[some], color=palette[1], alpha=0.5, edgecolor="white",
            linewidth=0.4,
        )  # fmt: skip
        axis.bar(middle, 0.15 * count / count.max(), 1 / BINS, color="#dddddd", edgecolor="#888888", linewidth=0.4)
        share = count / count.sum()
        ece, mce = 100 * float((share * gap.abs()).sum()), 100 * float(gap[some].abs().max())
        axis.set_title(f"{name}\nECE {ece:.1f}, MCE {mce:.1f}", fontsize=9)
    axes[0, 0].set_ylabel("accuracy")
    _show(figure)


def ece_interval(
    logits: Float[Tensor, "items expert classes"], labels: Int[Tensor, " items"], draws: int = 100
) -> tuple[float, float, float]:
    """ECE of the product, percent, with a 95% bootstrap interval over the test items."""
    items = len(labels)
    probabilities = product_of_experts(logits)
    picks = counter.integers(0, "evaluate", torch.arange(draws), "bootstrap", items, (items,))

    def ece(chosen: Tensor) -> float:
        count, confidence, accuracy = reliability(probabilities[chosen], labels[chosen])
        return 100 * float((count * (confidence - accuracy).abs()).sum() / items)

    values = torch.tensor([ece(pick) for pick in picks])
    low, high = values.quantile(torch.tensor([0.025, 0.975])).tolist()
    return calibration(probabilities, labels)["ece"], low, high


def group_rows(
    config: Config, logits: Float[Tensor, "items expert classes"], labels: Int[Tensor, " items"]
) -> dict[str, dict[str, float]]:
    """{expert or product: {all, many, medium, few: accuracy in percent}} on balanced items."""
    experts = {f"expert τ = {tau:g}": logits[:, [k]] for k, tau in enumerate(config.taus)}
    groups = frequency_groups(class_counts(config), config.many_above, config.few_below)
    groups = {"all": torch.ones(config.classes, dtype=torch.bool)} | groups
    rows = {}
    for name, mine in (experts | {"product": logits}).items():
        by_class = 100 * class_accuracy(product_of_experts(mine), labels)
        rows[name] = {group: float(by_class[members].nanmean()) for group, members in groups.items() if members.any()}
    return rows


def draw_groups(rows: Mapping[str, Mapping[str, float]]) -> None:
    """Accuracy of every expert and of the product for each group of classes."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    names = list(next(iter(rows.values())))
    figure, axis = plt.subplots(figsize=(6.8, 3.0))
    width = 0.8 / len(rows)
    colours = [*palette[: len(rows) - 1], "#333333"]
    for k, ((name, values), colour) in enumerate(zip(rows.items(), colours, strict=True)):
        where = np.arange(len(names)) + (k - (len(rows) - 1) / 2) * width
        drawn = axis.bar(where, [values[n] for n in names], width * 0.92, color=colour, label=name)
        axis.bar_label(drawn, fmt="%.0f", fontsize=7, padding=1)
    axis.set(xticks=range(len(names)), xticklabels=names, ylabel="accuracy [%]", ylim=(0, 105))
    axis.grid(False, axis="x")
    axis.legend(ncols=len(rows), loc="upper center", bbox_to_anchor=(0.5, 1.2), columnspacing=1.0)
    _show(figure)


def expert_temperatures(
    config: Config, logits: Float[Tensor, "items expert classes"], labels: Int[Tensor, " items"]
) -> list[float]:
    """The temperature that calibrates each expert's biased output for the training distribution; 1 is calibrated, above 1 over-confident.

    The items are balanced and stand for the training distribution with the weight of their class's prior.
    """
    from vislab.papers.recognition.balpoe.train import criterion

    counts = class_counts(config).float()
    weight = counts[labels] / counts[labels].sum()
    biased = logits + criterion(config).bias
    options = torch.logspace(-2, 3, 60, base=2.0)
    rows = torch.arange(len(labels))
    found = []
    for expert in biased.unbind(dim=1):
        losses = [-(weight * (expert / t).log_softmax(-1)[rows, labels]).sum() for t in options]
        found.append(float(options[torch.stack(losses).argmin()]))
    return found


def recalibrated(
    config: Config, logits: Float[Tensor, "items expert classes"], temperatures: Sequence[float]
) -> Float[Tensor, "items expert classes"]:
    """Logits whose biased form is divided by each expert's temperature, after which the bias is taken off again."""
    from vislab.papers.recognition.balpoe.train import criterion

    bias = criterion(config).bias
    return (logits + bias) / torch.tensor(list(temperatures))[:, None] - bias


# -- records ----------------------------------------------------------------------------------------------------------


def draw_lines(
    lines: Mapping[str, Mapping[float, str]], values: Mapping[str, Sequence[float]], xlabel: str, ylabel: str
) -> None:
    """For each line {x: arm} the mean over seeds, with every seed as a dot; arms without runs are left out."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.8, 3.1))
    for k, (name, arms) in enumerate(lines.items()):
        known = {x: values[arm] for x, arm in arms.items() if arm in values}
        label = name if known else f"{name} (runs missing)"
        means = [sum(v) / len(v) for v in known.values()]
        axis.plot(list(known), means, "os^"[k % 3] + "-", color=palette[k], label=label)
        for x, seeds in known.items():
            axis.plot([x] * len(seeds), seeds, ".", color=palette[k], alpha=0.4, markersize=4)
    axis.set(xlabel=xlabel, ylabel=ylabel, xticks=sorted({x for arms in lines.values() for x in arms}))
    axis.legend()
    _show(figure)


def draw_shifts(lines: Mapping[str, Tensor | None]) -> None:
    """Accuracy over the test prior, from backward through uniform-like to forward; each is (direction, imbalance) of forward, backward."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.8, 3.0))
    names = [f"{s:g}" for s in SHIFTS]
    ticks = [*reversed(names), *names]
    for k, (name, values) in enumerate(lines.items()):
        if values is None:
            axis.plot([], [], color=palette[k], label=f"{name} (run missing)")
            continue
        forward, backward = values
        line = torch.cat([forward.flip(0), backward])
        axis.plot(line, "os^D"[k % 4] + "-", color=palette[k], label=name)
    axis.set(xticks=range(len(ticks)), xticklabels=ticks, ylabel="accuracy [%]")
    axis.set_xlabel("forward   ←   imbalance of the test set   →   backward")
    axis.axvline(len(names) - 0.5, color="#999999", linewidth=1)
    axis.legend()
    _show(figure)


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
