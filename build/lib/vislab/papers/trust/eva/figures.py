"""What the chapter draws: overlaps found and certified, intervals of logits, maps of all methods, fidelity and its attacks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislab.engine.attributions import margin, spread
from vislab.nn.bounds import differences, flatten_layers, upper_bounds
from vislab.papers.trust.eva import explain
from vislab.papers.trust.eva.card import Config
from vislab.papers.trust.eva.data import world
from vislab.papers.trust.eva.experiment import BOUNDS, KEPT, SHARES, attack_ladder
from vislab.worlds.base import absolute
from vislab.worlds.shapes.evidence import Evidence

NAMES = {"ibp": "intervals", "forward": "forward", "crown_ibp": "CROWN-IBP", "crown": "CROWN"}
EPS = (0.005, 0.01, 0.02, 0.04)
FROZEN = ("nothing", "best patch", "second best", "middle", "last")


def pairs(config: Config, seed: int) -> Evidence:
    """A picture of every class; partners stand one after the other in the same pose."""
    label = torch.arange(config.classes)
    return world(config, seed).sample(absolute("test", label // 2), label=label)


def outlined(found: Evidence) -> list[Tensor]:
    """The pictures with all but the body dimmed and the dot in red."""
    dimmed = torch.where(found.body[:, None], found.image, 0.3 * found.image + 0.6)
    red = torch.tensor([0.85, 0.1, 0.1])[:, None, None]
    return list(torch.where(found.dot[:, None], red, dimmed))


# -- found and certified ----------------------------------------------------------------------------------------------


def found_and_certified(
    model: nn.Sequential, image: Float[Tensor, "channel h w"], label: Tensor, eps: float, counts: Sequence[int]
) -> tuple[list[float], float, dict[str, float]]:
    """Overlap by the best of so many random points, by an attack of 40 steps, and each method's bound, for one free box."""
    images, labels = image[None], label[None]
    free = torch.ones(1, 1, *image.shape[1:], device=image.device)
    random = [float(explain.sampled_overlap(model, images, labels, eps, free, n)) for n in counts]
    pushed = float(explain.sampled_overlap(model, images, labels, eps, free, 3, 40))
    bounds = {m: float(explain.certified_overlap(model, images, labels, eps, free, m)) for m in BOUNDS}
    return random, pushed, bounds


def draw_found(counts: Sequence[int], random: Sequence[float], pushed: float, bounds: Mapping[str, float]) -> None:
    """Overlap over the number of random points, with the attack's and the bounds as lines; intervals may be off the axis."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.8, 3.0))
    axis.plot(counts, random, "o-", color=palette[0], label="random points")
    axis.axhline(pushed, color=palette[1], label="attack")
    shown = {m: v for m, v in bounds.items() if m != "ibp"}
    for k, (method, value) in enumerate(shown.items(), start=2):
        axis.axhline(value, color=palette[k], linestyle="--", label=f"bound: {NAMES[method]}")
    axis.set(xscale="log", xlabel="points tried", ylabel="adversarial overlap")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    _show(figure)


@torch.no_grad()
def gaps(model: nn.Sequential, images: Tensor, labels: Tensor, eps: Sequence[float]) -> dict[str, list[float]]:
    """Mean overlap of the free box over eps: what an attack finds, and each method's bound."""
    free = torch.ones(1, 1, *images.shape[2:], device=images.device)
    with torch.enable_grad():
        lines = {"attack": [float(explain.sampled_overlap(model, images, labels, e, free, 2, 20).mean()) for e in eps]}
    for method in BOUNDS:
        lines[NAMES[method]] = [
            float(explain.certified_overlap(model, images, labels, e, free, method).mean()) for e in eps
        ]
    return lines


# -- intervals of logits ----------------------------------------------------------------------------------------------


@torch.no_grad()
def class_intervals(
    model: nn.Sequential, image: Float[Tensor, "channel h w"], label: Tensor, eps: float, mask: Float[Tensor, "1 h w"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Lowest, actual and highest logit of every other class minus the label's over a box, certified by CROWN."""
    classes = flatten_layers(model)[-1].out_features
    lower, upper = (v[:, 0] for v in explain.boxes(image[None], eps, mask[None]))
    rows = differences(label[None], classes)
    layers = flatten_layers(model)
    high = upper_bounds(layers, (lower, upper), rows)[0]
    low = -upper_bounds(layers, (lower, upper), -rows)[0]
    return low.cpu(), (rows[0] @ model(image[None])[0]).cpu(), high.cpu()


def _draw_intervals(
    axis: Any, intervals: Sequence[Tensor], others: Sequence[int], colour: str, shift: float, label: str
) -> None:
    low, value, high = intervals
    where = np.arange(len(others)) + shift
    axis.vlines(where, low, high, color=colour, linewidth=5, alpha=0.7, label=label)
    axis.plot(where, value, "_", color="black", markersize=8)


def draw_intervals(
    model: nn.Sequential,
    image: Float[Tensor, "channel h w"],
    label: Tensor,
    eps: float,
    scores: Float[Tensor, "grid grid"],
) -> None:
    """Intervals of all other classes with everything free, and with the best and the worst patch frozen."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    grid = scores.shape[-1]
    masks = explain.frozen_masks(grid, image.shape[-1], image.device)
    order = scores.flatten().argsort(descending=True)
    others = [c for c in range(flatten_layers(model)[-1].out_features) if c != int(label)]
    figure, axis = plt.subplots(figsize=(7.0, 3.0))
    cases = {"all free": 0, "best patch frozen": 1 + int(order[0]), "last patch frozen": 1 + int(order[-1])}
    for k, (name, box) in enumerate(cases.items()):
        found = class_intervals(model, image, label, eps, masks[box])
        _draw_intervals(axis, found, others, palette[k], 0.22 * (k - 1), name)
    axis.axhline(0, color="#555555", linewidth=1)
    axis.set(xticks=range(len(others)), xticklabels=others, xlabel="other class", ylabel="logit minus the label's")
    axis.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.18))
    _show(figure)


def frozen_states(
    model: nn.Sequential, image: Float[Tensor, "channel h w"], label: Tensor, scores: Float[Tensor, "grid grid"]
) -> dict[tuple[str, str], np.ndarray]:
    """For every eps and frozen patch: the picture with the patch framed, and the certified intervals of the other classes."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette
    from vislab.viz.look import style

    style()
    grid, size = scores.shape[-1], image.shape[-1]
    masks = explain.frozen_masks(grid, size, image.device)
    order = scores.flatten().argsort(descending=True).tolist()
    boxes = dict(zip(FROZEN, (0, *(1 + order[k] for k in (0, 1, len(order) // 2, -1))), strict=True))
    others = [c for c in range(flatten_layers(model)[-1].out_features) if c != int(label)]
    low_end, _, high_end = class_intervals(model, image, label, EPS[-1], masks[0])
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.0, 2.6), dpi=90, width_ratios=(1, 1.7))
    found = {}
    for eps in EPS:
        for name, box in boxes.items():
            left.clear()
            right.clear()
            left.imshow(image.cpu().permute(1, 2, 0), interpolation="nearest")
            if box:
                row, column = divmod(box - 1, grid)
                side = size / grid
                corner = (column * side - 0.5, row * side - 0.5)
                left.add_patch(plt.Rectangle(corner, side, side, fill=False, color="#c0392b", linewidth=2.5))
            left.set(xticks=[], yticks=[], title=f"class {int(label)}")
            left.grid(False)
            intervals = class_intervals(model, image, label, eps, masks[box])
            _draw_intervals(right, intervals, others, palette[0], 0.0, "")
            worst = float(intervals[2].max())
            right.axhline(0, color="#555555", linewidth=1)
            right.axhline(worst, color=palette[1], linestyle="--", linewidth=1)
            right.set(
                ylim=(float(low_end.min()) - 0.3, float(high_end.max()) + 0.5),
                xticks=range(len(others)),
                xticklabels=others,
            )
            right.set_title(f"overlap at most {worst:+.2f}" + (": certified" if worst < 0 else ""), fontsize=9)
            figure.canvas.draw()
            found[f"{eps:g}", name] = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return found


def frozen_alt(key: tuple[str, str]) -> str:
    """What a state of the widget shows, in words."""
    return f"box of {key[0]}, frozen: {key[1]}; vertical bars, the certified range of every other class's logit minus the label's"


# -- maps -------------------------------------------------------------------------------------------------------------


def overlay(image: Float[Tensor, "channel h w"], scores: Float[Tensor, "grid grid"]) -> Float[Tensor, "3 h w"]:
    """The grey picture tinted by its scores, scaled to [0, 1]."""
    import matplotlib as mpl

    low, high = scores.min(), scores.max()
    level = spread((scores - low) / (high - low).clamp(min=1e-9), image.shape[-1])[0].cpu().numpy()
    colour = torch.from_numpy(mpl.colormaps["viridis"](level)[..., :3]).permute(2, 0, 1).float()
    return 0.65 * colour + 0.35 * image.cpu().mean(dim=0, keepdim=True)


def explained(
    images: Float[Tensor, "batch channel h w"], config: Config, seed: int, maps: Mapping[str, Tensor | None]
) -> Tensor:
    """The pictures that recorded maps belong to: those of the chapter's own classifier at the first seed, else even grey.

    Maps of another profile than the pictures' are known by their grid.
    """
    grids = {found.shape[-1] for found in maps.values() if found is not None}
    fits = seed == 0 and grids <= {config.grid}
    return images if fits else torch.full((KEPT, 3, 40, 40), 0.5)


def map_rows(
    images: Float[Tensor, "batch channel h w"], maps: Mapping[str, Tensor | None]
) -> list[list[Tensor | None]]:
    """One row a method, the pictures themselves first; a run that is missing gives grey squares."""
    count = min(KEPT, len(images))
    rows: list[list[Tensor | None]] = [[image.cpu() for image in images[:count]]]
    for found in maps.values():
        rows.append([None if found is None else overlay(images[k], found[k]) for k in range(count)])
    return rows


def shares(config: Config) -> list[float]:
    """The shares of patches at which robustness is measured, percent."""
    patches = config.grid**2
    return [100 * max(1, round(share * patches)) / patches for share in SHARES]


def draw_ladder(config: Config, lines: Mapping[str, Tensor | None]) -> None:
    """Smallest adversarial epsilon under attacks of growing strength, one line an arm."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    rungs = [f"{s.steps} steps\n{s.restarts} starts" for s in attack_ladder(config)]
    figure, axis = plt.subplots(figsize=(6.8, 2.9))
    for k, (name, values) in enumerate(lines.items()):
        if values is None:
            axis.plot([], [], color=palette[k], label=f"{name} (run missing)")
        else:
            axis.plot(range(len(rungs)), values, "o-", color=palette[k], label=name)
    axis.set(xticks=range(len(rungs)), ylabel="smallest epsilon")
    axis.set_xticklabels(rungs, fontsize=8)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    _show(figure)


def draw_costs(rows: Sequence[Sequence[Any]]) -> None:
    """Robustness over calls: rows of (arm, calls, robustness), with the arm's name beside its dot; missing runs are left out."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.8, 3.6))
    known = [row for row in rows if row[1] is not None and row[2] is not None]
    for name, calls, value in known:
        ours = name.startswith("eva")
        axis.plot(max(calls, 1), value, "s" if ours else "o", color=palette[1] if ours else palette[0])
        axis.annotate(name, (max(calls, 1), value), xytext=(5, 3), textcoords="offset points", fontsize=8)
    axis.set(xscale="log", xlabel="calls an explanation", ylabel="robustness of the top patches")
    if not known:
        axis.set_title("runs missing")
    _show(figure)


# -- exercises --------------------------------------------------------------------------------------------------------


def against_maps(
    model: nn.Sequential, config: Config, image: Tensor, label: Tensor, classes: Sequence[int]
) -> list[Tensor]:
    """EVA's maps of one picture against each of the classes alone."""
    masks = explain.frozen_masks(config.grid, config.image_size, image.device)
    found = []
    for other in classes:
        overlap = explain.certified_overlap(
            model, image[None], label[None], config.eps, masks, config.bounds, against=other
        )
        found.append(explain.verified_map(overlap, config.grid)[0])
    return found


def certified_share(
    model: nn.Sequential, images: Tensor, labels: Tensor, eps: Sequence[float]
) -> dict[str, list[float]]:
    """Percent of pictures with a certificate (bound below zero) and percent that withstand an attack, over eps."""
    free = torch.ones(1, 1, *images.shape[2:], device=images.device)
    certified, survive = [], []
    for e in eps:
        bound = explain.certified_overlap(model, images, labels, e, free)
        pushed = explain.sampled_overlap(model, images, labels, e, free, 2, 20)
        certified.append(100 * float((bound < 0).float().mean()))
        survive.append(100 * float((pushed < 0).float().mean()))
    return {"withstand the attack": survive, "certified": certified}


def plain_margin(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Mean overlap of the pictures themselves."""
    with torch.no_grad():
        return float(margin(model(images), labels).mean())


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
