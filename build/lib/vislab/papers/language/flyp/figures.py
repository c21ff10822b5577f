"""What the chapter draws: domains, the frontier of weight ensembling, accuracy by domain, likeness of class weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vislab.papers.language.flyp.card import DOMAINS, Config
from vislab.papers.language.flyp.data import batch, class_names
from vislab.papers.language.flyp.experiment import SHARES

NAMES = {
    "flyp": "FLYP", "ft": "fine-tuning", "lpft": "LP-FT", "text_ce": "cross-entropy on sentences", "masked": "FLYP, masked",
    "supervised": "FLYP, even targets",
}  # fmt: skip


def domain_rows(config: Config, seed: int, count: int = 6) -> list[list[Tensor]]:
    """For every domain `count` test pictures of different classes, in [0, 1]; the same items in every row."""
    index = torch.arange(count) * 13
    return [list((batch(config, "test", seed, index, domain=d)["image"] + 1) / 2) for d in DOMAINS["world"]]


def outside(frontier: Tensor) -> Tensor:
    """(share,) mean over the shifted domains of a (share, domain) frontier."""
    return frontier[:, 1:].mean(dim=1)


def draw_frontier(frontiers: Mapping[str, Tensor | None], size: tuple[float, float] = (6.5, 3.8)) -> None:
    """Accuracy in and out of distribution along the line from the pre-trained to the fine-tuned weights, one line an arm."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    figure, axis = plt.subplots(figsize=size)
    for k, (arm, frontier) in enumerate(frontiers.items()):
        if frontier is None:
            axis.plot([], [], color=palette[k], label=f"{NAMES.get(arm, arm)} (run missing)")
            continue
        axis.plot(frontier[:, 0], outside(frontier), "o-", color=palette[k], markersize=4, label=NAMES.get(arm, arm))
        axis.plot(frontier[-1, 0], outside(frontier)[-1], "s", color=palette[k], markersize=9)
    known = [f for f in frontiers.values() if f is not None]
    if known:
        axis.plot(known[0][0, 0], outside(known[0])[0], "*", color="black", markersize=13, label="zero-shot")
    axis.set(xlabel="in distribution [%]", ylabel="mean of six shifts [%]")
    axis.legend()
    plt.show()
    plt.close(figure)


def draw_domains(values: Mapping[str, Mapping[str, Sequence[float]]], arms: Sequence[str]) -> None:
    """Mean accuracy over seeds by domain, one marker an arm; `values` is {domain: {arm: values over seeds}}."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    figure, axis = plt.subplots(figsize=(6.8, 3.2))
    for k, arm in enumerate(arms):
        known = [(place, np.mean(found[arm])) for place, found in enumerate(values.values()) if arm in found]
        label = NAMES.get(arm, arm) + ("" if known else " (runs missing)")
        offset = (k - (len(arms) - 1) / 2) * 0.14
        axis.plot([p + offset for p, _ in known], [v for _, v in known], "osD^v"[k % 5], color=palette[k], label=label)
    axis.set(xticks=range(len(values)), ylabel="accuracy [%]")
    axis.set_xticklabels(list(values), rotation=20)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plt.show()
    plt.close(figure)


def draw_likeness(config: Config, matrices: Mapping[str, Tensor | None]) -> None:
    """Cosines between the class weights of the text encoder, one matrix an arm."""
    import matplotlib.pyplot as plt

    from vislab.viz import style

    style()
    known = {name: value for name, value in matrices.items() if value is not None}
    figure, axes = plt.subplots(1, max(1, len(known)), figsize=(7.4, 3.4), squeeze=False)
    names = class_names(config)
    for axis, (name, value) in zip(axes[0], known.items(), strict=False):
        shown = axis.imshow(value, vmin=0, vmax=1, cmap="viridis")
        axis.set(title=name, xticks=[], yticks=range(len(names)) if axis is axes[0, 0] else [])
        axis.grid(False)
        if axis is axes[0, 0]:
            axis.set_yticklabels(names, fontsize=7)
    if known:
        figure.colorbar(shown, ax=list(axes[0]), shrink=0.7)
    else:
        axes[0, 0].set_title("runs missing")
    plt.show()
    plt.close(figure)


def ensemble_states(frontiers: Mapping[str, Tensor | None]) -> dict[str, np.ndarray]:
    """A picture for every share of ensembling: each arm's point on its frontier."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    known = {arm: value for arm, value in frontiers.items() if value is not None}
    figure, axis = plt.subplots(figsize=(5.2, 3.4), dpi=100)
    points: dict[str, Any] = {}
    for k, (arm, frontier) in enumerate(known.items()):
        axis.plot(frontier[:, 0], outside(frontier), "-", color=palette[k], alpha=0.4)
        (points[arm],) = axis.plot([], [], "o", color=palette[k], markersize=10, label=NAMES.get(arm, arm))
    axis.set(xlabel="in distribution [%]", ylabel="mean of six shifts [%]")
    if known:
        axis.legend(loc="lower right")
    figure.canvas.draw()
    figure.set_layout_engine("none")
    found = {}
    for row, share in enumerate(SHARES):
        for arm, point in points.items():
            point.set_data([known[arm][row, 0]], [outside(known[arm])[row]])
        axis.set_title(f"share of the fine-tuned weights {share:.1f}")
        figure.canvas.draw()
        found[f"{share:.1f}"] = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return found


def ensemble_alt(frontiers: Mapping[str, Tensor | None], key: tuple[str, ...]) -> str:
    """What a state of the widget shows, in words."""
    row = SHARES.index(float(key[0]))
    parts = [
        f"{NAMES.get(arm, arm)} {float(value[row, 0]):.0f}% in distribution and {float(outside(value)[row]):.0f}% under shift"
        for arm, value in frontiers.items()
        if value is not None
    ]
    return f"Share {key[0]}: " + ("; ".join(parts) if parts else "runs missing")
