"""What the chapter draws: label maps in colour, the course of an optimisation, bars of shares, the trade-off between base and novel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vislab.engine.fit import State
from vislab.papers.segmentation.diam import adapt, experiment
from vislab.papers.segmentation.diam.card import Config
from vislab.papers.segmentation.diam.data import WORLD_MEAN, WORLD_STD, batch, novel_labels
from vislab.worlds.shapes.segments import CLASSES

GROUND, UNKNOWN = (0.90, 0.90, 0.90), (1.0, 1.0, 1.0)
COOL = ("#0072B2", "#56B4E9", "#009E73", "#7fcdbb", "#3f51b5", "#80b1d3", "#1b7837", "#a6dba0", "#5e4fa2")
WARM = ("#D55E00", "#E69F00", "#CC3377", "#8c510a", "#f46d9b", "#ffd92f")
LARGE = 195


def colours(config: Config) -> np.ndarray:
    """A colour a class, (classes + 1, 3): background grey, base classes cool, novel ones warm."""
    base = config.classes - config.novel
    names = [COOL[k % len(COOL)] for k in range(base)] + [WARM[k % len(WARM)] for k in range(config.novel)]
    return np.array([GROUND, *(tuple(int(n[i : i + 2], 16) / 255 for i in (1, 3, 5)) for n in names)])


def painted(config: Config, label: Tensor) -> np.ndarray:
    """A label map (h, w) in colour, (h, w, 3) in [0, 1]; ignored pixels white."""
    table = np.concatenate([colours(config), [UNKNOWN]])
    return table[np.minimum(label.cpu().numpy(), config.classes + 1)]


def shown(image: Tensor) -> np.ndarray:
    """A standardised picture (3, h, w) as (h, w, 3) in [0, 1]."""
    mean, std = np.array(WORLD_MEAN), np.array(WORLD_STD)
    return (image.permute(1, 2, 0).cpu().numpy() * std + mean).clip(0, 1)


def class_names(config: Config, seed: int) -> list[str]:
    """Names by place in the classifier: background, base classes, novel ones."""
    novel = novel_labels(config, seed)
    order = [k for k in range(1, config.classes + 1) if k not in novel] + list(novel)
    return ["background", *(" ".join(reversed(CLASSES[k - 1])) for k in order)]


def data_rows(config: Config, seed: int, count: int = 6) -> list[list[Tensor]]:
    """Training pictures, all that is in them, and what base training is told."""
    items = batch(config, "train", seed, torch.arange(count))
    rows = [[shown(i) for i in items["image"]]]
    rows += [[painted(config, one) for one in items[name]] for name in ("label", "base_label")]
    return [[torch.from_numpy(p).permute(2, 0, 1) for p in row] for row in rows]


@dataclass(frozen=True)
class Course:
    """An optimisation as it went, for a few queries that show a novel class."""

    config: Config
    image: Tensor
    """(query, 3, h, w), standardised."""
    label: Tensor
    """(query, h, w) the truth."""
    base: Tensor
    """(query, h, w) what the base network says."""
    steps: tuple[int, ...]
    told: Tensor
    """(step, query, h, w) what the classifier says."""
    marginal: Tensor
    """(step, query, class) its mean prediction."""
    pi: Tensor
    """(step, query, class) the estimate of the proportions."""
    truth: Tensor
    """(query, class) the true proportions."""

    def query(self, k: int) -> list[Tensor]:
        """Picture, truth, base network, prototypes, adapted classifier of one query, in colour."""
        maps = (self.label[k], self.base[k], self.told[0, k], self.told[-1, k])
        found = [shown(self.image[k]), *(painted(self.config, one) for one in maps)]
        return [torch.from_numpy(p).permute(2, 0, 1) for p in found]


def course(state: State, config: Config, seed: int, queries: int = 4, kept: Sequence[int] = ()) -> Course:
    """Optimise the classifiers of the first queries that show a novel class, with the first draw of supports."""
    state.network.eval()
    base = config.classes - config.novel
    support, taken = next(experiment.supports(state, config, seed, "test"))
    items = batch(config, "test", seed, torch.arange(config.test_items), state.device)
    area = (items["label"] > base).flatten(1).sum(dim=1)
    order = [k for k in area.argsort(descending=True, stable=True).tolist() if k not in taken][: 3 * queries : 3]
    image, label = items["image"][order], items["label"][order]
    with torch.no_grad():
        here = experiment.Maps(state.network.features(image), label)
    query, size, side = here.features.flatten(2), here.features.shape[-2:], label.shape[-1]
    valid, seen = torch.ones_like(here.small, dtype=torch.bool), []

    def look(step: int, now: adapt.Classifier, pi: Tensor) -> None:
        if not kept or step in kept:
            with torch.no_grad():
                told = experiment.predicted(now.logits(query), size, side)
                seen.append((step, told, adapt.valid_mean(now.probability(query), valid[:, None]), pi))

    adapt.adapt(config, experiment.classifiers(state, config, support, len(query)), support, query, here.small, look)
    with torch.no_grad():
        plain = state.network.classify(here.features, label.shape[-2:]).argmax(dim=1)
    steps, told, marginal, pi = zip(*seen, strict=True)
    truth = adapt.true_proportions(here.small, config.classes + 1)
    return Course(config, image, label, plain, steps, *(torch.stack(v).detach() for v in (told, marginal, pi)), truth)


def bars(config: Config, marginal: Tensor, pi: Tensor, height: int, width: int) -> np.ndarray:
    """Shares of the classes but background as coloured bars, the estimated proportions as black lines; (height, width, 3)."""
    found = np.ones((height, width, 3))
    step = width / config.classes
    top = max(0.12, float(torch.maximum(marginal, pi)[1:].max()) * 1.1)
    for k in range(config.classes):
        left, right = round(k * step) + 2, round((k + 1) * step) - 2
        found[height - 1 - int((height - 2) * min(1, float(marginal[k + 1]) / top)) :, left:right] = colours(config)[
            k + 1
        ]
        line = height - 1 - int((height - 2) * min(1, float(pi[k + 1]) / top))
        found[max(0, line - 1) : line + 1, left - 2 : right + 2] = 0
    return found


def way_states(found: Course) -> dict[tuple[str, str], np.ndarray]:
    """For each query and step: picture, truth, prediction, and shares of the classes against the estimate."""
    config, states = found.config, {}
    for k in range(len(found.label)):
        fixed = [shown(found.image[k]), painted(config, found.label[k])]
        for s, step in enumerate(found.steps):
            maps = [*fixed, painted(config, found.told[s, k])]
            times = max(1, LARGE // maps[0].shape[0])
            large = [p.repeat(times, axis=0).repeat(times, axis=1) for p in maps]
            gap = np.ones((large[0].shape[0], 8, 3))
            shares = bars(config, found.marginal[s, k], found.pi[s, k], large[0].shape[0], 240)
            parts = [p for one in (*large, shares) for p in (one, gap)][:-1]
            states[str(k + 1), str(step)] = (np.concatenate(parts, axis=1).clip(0, 1) * 255).astype(np.uint8)
    return states


def way_alt(key: tuple[str, str]) -> str:
    """What a state of the widget shows, in words."""
    return f"Query {key[0]} after {key[1]} steps: picture, true labels, predicted labels, and bars of the class shares."


def draw_marginals(found: Course, names: Sequence[str], k: int = 0) -> None:
    """The shares of the largest classes of one query along the steps: prediction, estimate (dashed) and truth (dots)."""
    import matplotlib.pyplot as plt

    from vislab.viz import style

    style()
    figure, axis = plt.subplots(figsize=(6.6, 3.1))
    last = torch.maximum(found.truth[k], found.marginal[:, k].amax(dim=0))
    last[0] = 0
    for place in last.argsort(descending=True)[:5].tolist():
        colour = colours(found.config)[place]
        axis.plot(found.steps, 100 * found.marginal[:, k, place].cpu(), color=colour, label=names[place])
        axis.plot(found.steps, 100 * found.pi[:, k, place].cpu(), "--", color=colour, linewidth=1)
        axis.plot([found.steps[-1] * 1.02], [100 * float(found.truth[k, place])], "o", color=colour)
    axis.set(xlabel="step", ylabel="share of the pixels [%]")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plt.show()
    plt.close(figure)


def draw_tradeoff(base: Mapping[str, list[float]], novel: Mapping[str, list[float]], arms: Mapping[str, str]) -> None:
    """Novel against base mIoU, a point an arm with the interval of the mean over seeds, or a single seed.

    A method has one colour, whatever its shots; five shots are squares.
    """
    import matplotlib.pyplot as plt

    from vislab.engine.episodes import mean_interval
    from vislab.viz import palette, style

    style()
    figure, axis = plt.subplots(figsize=(6.6, 3.6))
    methods = list(dict.fromkeys(arm.removesuffix("_5") for arm in arms))
    for arm, title in arms.items():
        if not base.get(arm) or not novel.get(arm):
            axis.plot([], [], "o", color="#aaaaaa", label=f"{title} (run missing)")
            continue
        (x, dx), (y, dy) = (mean_interval(torch.tensor(values[arm])) for values in (base, novel))
        colour = palette[methods.index(arm.removesuffix("_5")) % len(palette)]
        mark = "s" if arm.endswith("_5") else "o"
        axis.errorbar(x, y, dy, dx, mark, color=colour, label=title, capsize=2, elinewidth=1)
    axis.set(xlabel="base mIoU [%]", ylabel="novel mIoU [%]")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plt.show()
    plt.close(figure)


def draw_ablation(base: Mapping[str, list[float]], novel: Mapping[str, list[float]], arms: Mapping[str, str]) -> None:
    """Base and novel mIoU of the first seed, side by side, a row an arm."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.2), sharey=True)
    for axis, values, title in zip(axes, (base, novel), ("base mIoU [%]", "novel mIoU [%]"), strict=True):
        for k, arm in enumerate(arms):
            if values.get(arm):
                axis.barh(k, values[arm][0], color=palette[1 if k == 0 else 0], alpha=0.8)
                axis.text(values[arm][0], k, f" {values[arm][0]:.1f}", va="center", fontsize=8)
        axis.set(xlabel=title, yticks=range(len(arms)))
        axis.set_yticklabels(list(arms.values()))
        axis.margins(x=0.15)
    axes[0].invert_yaxis()
    plt.show()
    plt.close(figure)


def ways(shared: Mapping[str, Tensor | None], column: int) -> dict[str, tuple[np.ndarray, np.ndarray] | None]:
    """Recorded courses as curves over steps: column 0 is base, 1 novel mIoU."""
    return {
        name: None if way is None else (10 * np.arange(len(way)), way[:, column].numpy())
        for name, way in shared.items()
    }
