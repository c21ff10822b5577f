"""What the chapter draws: tasks, the rearranged batch, accuracy by task, where running means and gradients lean."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vislab.papers.recognition.tbbn.card import Config
from vislab.papers.recognition.tbbn.data import batch, task_items
from vislab.papers.recognition.tbbn.diagnostics import ALIKE
from vislab.papers.recognition.tbbn.norms import feasible_groups

NAMES = {"bn": "batch", "cn": "continual", "tbbn": "task-balanced"}
"""What figures call the normalisations of `ALIKE`."""


def task_rows(config: Config, seed: int, each: int = 6) -> list[list[Tensor]]:
    """Training pictures of every task, one row a task."""
    return [
        list(batch(config, "train", seed, task_items(config, t)[:each])["image"] * 0.25 + 0.5)
        for t in range(config.tasks)
    ]


def toy_batch(current: int, memory: int, task: int) -> list[int]:
    """The task of every image of a batch [current, memory] whose memory holds the old tasks in turn."""
    return [task] * current + [k % task for k in range(memory)]


def grouped(of: Sequence[int], current: int, r: int) -> list[list[int]]:
    """The task of every image in each of r groups: group g has the current images g, g + r, ... and the whole memory."""
    return [[*of[:current][g::r], *of[current:]] for g in range(r)]


def task_shares(of: Sequence[int], task: int) -> list[float]:
    """Share of each task, from the first to the current one."""
    return [list(of).count(k) / len(of) for k in range(task + 1)]


def draw_batch(current: int, memory: int, task: int) -> Any:
    """The batch as it comes and in r* groups, one square an image in its task's colour, and each task's share in both."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    from vislab.viz import palette

    r = feasible_groups(current, memory, task)
    of = toy_batch(current, memory, task)
    columns = grouped(of, current, r)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 3.1), width_ratios=(0.7, 1.5, 1.6))
    for axis, groups in ((left, [of]), (middle, columns)):
        for x, group in enumerate(groups):
            for y, k in enumerate(group):
                axis.add_patch(Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, facecolor=palette[k % len(palette)]))
        most = len(of)
        axis.set(xlim=(0, max(2, len(groups))), ylim=(most, 0), xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
        axis.axhline(len(groups[0]) - memory, color="#555555", linewidth=0.8, linestyle="--")
    left.set_title(f"batch: {current} + {memory}", fontsize=9)
    wanted = max(1.0, current / memory * task)
    middle.set_title(f"{r} group{'s' * (r > 1)} (r = {wanted:g})", fontsize=9)
    for place, group in ((-0.2, of), (0.2, columns[0])):
        shares = task_shares(group, task)
        colours = [palette[k % len(palette)] for k in range(task + 1)]
        right.bar(np.arange(task + 1) + place, shares, 0.38, color=colours, alpha=0.4 if place < 0 else 0.95)
    right.axhline(1 / (task + 1), color="#555555", linewidth=0.8, linestyle="--")
    right.set(xticks=range(task + 1), xticklabels=[str(k + 1) for k in range(task + 1)], xlabel="task", ylim=(0, 1))
    right.set_title("share: as it comes (pale), in a group", fontsize=9)
    return figure


def show_batch(current: int, memory: int, task: int) -> None:
    """`draw_batch`, shown."""
    draw_batch(current, memory, task)
    _show()


def batch_states(
    most_tasks: int = 4, sizes: Sequence[tuple[int, int]] = ((16, 16), (24, 8), (28, 4))
) -> dict[tuple[str, str], Any]:
    """`draw_batch` for every number of past tasks and every make-up of a batch of 32, for the sliders."""
    return {
        (str(task), f"{now} : {old}"): draw_batch(now, old, task)
        for task in range(1, most_tasks + 1)
        for now, old in sizes
    }


def batch_alt(key: tuple[str, str]) -> str:
    """What a state of the sliders shows."""
    task = int(key[0])
    current, memory = (int(v) for v in key[1].split(" : "))
    r = feasible_groups(current, memory, task)
    raw = task_shares(toy_batch(current, memory, task), task)[-1]
    new = task_shares(grouped(toy_batch(current, memory, task), current, r)[0], task)[-1]
    make_up = f"{task} past task{'s' * (task > 1)}, {current} current and {memory} memory images"
    return f"{make_up}: {r} group{'s' * (r > 1)}; the current task's share goes from {raw:.0%} to {new:.0%}"


def draw_lean(matrix: Tensor | None, far: Tensor | None) -> None:
    """After the last task: accuracy of each task, and the distance of the running means to each task's own."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7))
    for axis, values, name in zip(axes, (matrix, far), ("accuracy [%]", "distance of running mean [std]"), strict=True):
        if values is None:
            axis.text(0.5, 0.5, "run missing", ha="center", transform=axis.transAxes)
            continue
        last = values[-1].numpy()
        axis.bar(range(1, len(last) + 1), last, color=[palette[0]] * (len(last) - 1) + [palette[1]], alpha=0.8)
        axis.set(xlabel="task (the last is the current one)", ylabel=name, xticks=range(1, len(last) + 1))
    _show()


def draw_matrices(matrices: Mapping[str, Float[Tensor, "stage task"] | None]) -> None:
    """Accuracy of each task (column) after each stage (row), one square a normalisation."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(matrices), figsize=(7.2, 2.9), squeeze=False)
    for axis, (name, values) in zip(axes[0], matrices.items(), strict=True):
        axis.set_title(name, fontsize=9)
        axis.grid(False)
        if values is None:
            axis.text(0.5, 0.5, "run missing", ha="center", transform=axis.transAxes)
            continue
        shown = np.where(np.tril(np.ones(values.shape)) > 0, values.numpy(), np.nan)
        axis.imshow(shown, vmin=0, vmax=100, cmap="viridis")
        for (stage, task), value in np.ndenumerate(shown):
            if np.isfinite(value):
                axis.text(
                    task,
                    stage,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if value < 60 else "black",
                )
        numbers = range(len(values))
        axis.set(
            xticks=numbers, yticks=numbers, xticklabels=[k + 1 for k in numbers], yticklabels=[k + 1 for k in numbers]
        )
        axis.set(xlabel="task")
    axes[0][0].set_ylabel("after training task")
    _show()


def draw_distances(runs: Mapping[str, Float[Tensor, "stage task"] | None]) -> None:
    """Over the tasks, the distance of the running means to the current task's mean and to those of old tasks (dots, and their mean)."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axes = plt.subplots(1, len(runs), figsize=(7.2, 2.7), sharey=True, squeeze=False)
    for axis, (name, far) in zip(axes[0], runs.items(), strict=True):
        axis.set_title(name, fontsize=9)
        if far is None:
            axis.text(0.5, 0.5, "run missing", ha="center", transform=axis.transAxes)
            continue
        stages = range(1, len(far))
        axis.plot(
            [s + 1 for s in stages], [float(far[s, s]) for s in stages], "s-", color=palette[1], label="current task"
        )
        axis.plot(
            [s + 1 for s in stages],
            [float(far[s, :s].mean()) for s in stages],
            "o-",
            color=palette[0],
            label="old tasks",
        )
        for s in stages:
            axis.plot([s + 1] * s, far[s, :s].numpy(), ".", color=palette[0], alpha=0.5)
        axis.set(xlabel="after task", xticks=[s + 1 for s in stages])
    axes[0][0].set_ylabel("distance of running mean [std]")
    axes[0][0].legend(fontsize=8)
    _show()


def draw_gaps(values: Mapping[str, Sequence[float]]) -> None:
    """Bias of gradients on the same weights and batches, a dot a seed and a bar at the mean."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(5.4, 2.7))
    for k, norm in enumerate(ALIKE):
        found = values.get(norm, ())
        if len(found):
            axis.bar(k, np.mean(found), 0.6, color=palette[k], alpha=0.6)
            axis.plot([k] * len(found), found, ".", color="black", markersize=4)
    axis.set(xticks=range(len(ALIKE)), xticklabels=[NAMES[n] for n in ALIKE], ylabel="|log ratio|, current to old task")
    _show()


def gradient_parts(state: Any, batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Float[Tensor, " task"]]:
    """Each task's share of the gradients of gamma and beta, by normalisation, on the same weights; mean over layers and batches.

    `state` is `train.Learner` at its last task.
    """
    from vislab.papers.recognition.tbbn.diagnostics import affine_shares
    from vislab.papers.recognition.tbbn.model import twin

    found = {}
    for norm in ALIKE:
        copy = twin(state.network, dataclasses.replace(state.config, norm=norm))
        parts = [affine_shares(copy, b["image"], b["label"], state.config, state.task) for b in batches]
        shares = torch.stack([p / p.nansum(dim=1, keepdim=True) for p in parts])
        found[norm] = shares.nanmean(dim=(0, 1)).cpu()
    return found


def draw_parts(found: Mapping[str, Float[Tensor, " task"]]) -> None:
    """`gradient_parts` as groups of bars, the current task's in its own colour."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    _, axis = plt.subplots(figsize=(6.4, 2.7))
    for k, share in enumerate(found.values()):
        count = len(share)
        places = k + (torch.arange(count) - (count - 1) / 2) * 0.8 / count
        axis.bar(places, share, 0.7 / count, color=[palette[0]] * (count - 1) + [palette[1]], alpha=0.85)
        axis.plot([k - 0.42, k + 0.42], [1 / count] * 2, "--", color="#555555", linewidth=0.8)
    axis.set(xticks=range(len(found)), xticklabels=[NAMES[n] for n in found], ylabel="share of the gradient")
    _show()


def _show() -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close()
