"""What the chapter draws: look-alikes, the tail, which branch tells a class best, margins, what the teacher says of one picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vislab.ops.longtail import frequency_groups
from vislab.papers.recognition.shike.card import Config
from vislab.papers.recognition.shike.data import class_counts, world
from vislab.papers.recognition.shike.losses import grand_teacher, hardest_negative
from vislab.worlds.base import absolute

BRANCHES = ("one stage", "two stages", "three stages")


def lookalikes(config: Config, seed: int, pairs: int = 6) -> tuple[list[Tensor], list[Tensor], list[str]]:
    """Pictures of the most frequent classes, of their look-alikes among the rarest at the same place, and what tells them apart."""
    head = torch.arange(pairs)
    items, shapes = absolute("test", torch.arange(pairs)), world(config, seed)
    front, back = shapes.sample(items, label=head).image, shapes.sample(items, label=config.classes - 1 - head).image
    return list(front), list(back), ["texture" if local else "outline" for local in shapes.local(head)]


def _groups(config: Config, axis: Any) -> None:
    """Lines between the groups of classes, with their names."""
    counts = class_counts(config)
    for name, members in frequency_groups(counts, config.many_above, config.few_below).items():
        where = members.nonzero()[:, 0]
        if len(where):
            axis.axvline(float(where[-1]) + 0.5, color="#999999", linewidth=0.8)
            axis.text(
                float(where.float().mean()), 1.01, name, ha="center", fontsize=8, transform=axis.get_xaxis_transform()
            )


def draw_tail(config: Config, by_expert: Tensor | None) -> None:
    """Training items of each class, and under them the accuracy of the mean of experts and of each expert, if there is a run."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    counts = class_counts(config)
    figure, (above, below) = plt.subplots(2, 1, figsize=(7.2, 4.2), sharex=True, height_ratios=(1, 1.3))
    above.bar(np.arange(len(counts)), counts.numpy(), color="#7f9bb5")
    above.set(ylabel="training items", yscale="log")
    _groups(config, above)
    if by_expert is None:
        below.text(0.5, 0.5, "run missing", ha="center", transform=below.transAxes)
    else:
        for k, line in enumerate(by_expert):
            below.plot(100 * line.numpy(), "o", color=palette[k], label=f"expert {k + 1}", markersize=4)
        below.legend(ncols=3, loc="upper right")
    below.set(xlabel="class, by frequency", ylabel="accuracy [%]", ylim=(-3, 118))
    _show(figure)


def draw_branches(config: Config, by_expert: Tensor | None, seed: int) -> None:
    """Accuracy of each branch over the classes; the best of a class is filled, and the cue of its pair stands below."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(7.2, 3.0))
    if by_expert is None:
        axis.text(0.5, 0.5, "run missing", ha="center", transform=axis.transAxes)
    else:
        count = by_expert.shape[0]
        best = count - 1 - by_expert.flip(0).argmax(dim=0)
        for k in range(count):
            axis.plot(
                100 * by_expert[k].numpy(),
                "o",
                color=palette[k],
                markerfacecolor="none",
                markersize=5,
                label=BRANCHES[k],
            )
            mine = (best == k).nonzero()[:, 0]
            axis.plot(mine.numpy(), 100 * by_expert[k, mine].numpy(), "o", color=palette[k], markersize=6)
        local = world(config, seed).local(torch.arange(config.classes))
        for c in range(config.classes):
            axis.text(c, -9, "t" if local[c] else "o", ha="center", fontsize=7, color="#555555")
        axis.legend(ncols=3, loc="upper right")
        _groups(config, axis)
    axis.set(xlabel="class, by frequency (t: told by texture, o: by outline)", ylabel="accuracy [%]", ylim=(-13, 118))
    _show(figure)


def draw_margins(config: Config, margins: Mapping[str, Tensor | None]) -> None:
    """Mean margin of the right class over the hardest negative, class by class."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    for k, (name, values) in enumerate(margins.items()):
        if values is not None:
            axis.plot(values.numpy(), "o-", color=palette[k], label=name, markersize=4, linewidth=1)
    axis.axhline(0, color="#555555", linewidth=0.8)
    axis.set(xlabel="class, by frequency", ylabel="margin")
    axis.legend(loc="upper right")
    _groups(config, axis)
    _show(figure)


def draw_groups(values: Mapping[str, Mapping[str, Sequence[float]]], arms: Sequence[str]) -> None:
    """Accuracy by group of classes, a dot a seed and a bar at the mean; `values` is {group: {arm: values over seeds}}."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(7.2, 3.0))
    shown = [a for a in arms if any(a in found for found in values.values())]
    width = 0.8 / max(1, len(shown))
    for k, arm in enumerate(shown):
        for g, found in enumerate(values.values()):
            if arm in found:
                x = g - 0.4 + (k + 0.5) * width
                axis.bar(
                    x,
                    np.mean(found[arm]),
                    0.9 * width,
                    color=palette[k % len(palette)],
                    alpha=0.55,
                    label=arm if g == 0 else None,
                )
                axis.plot([x] * len(found[arm]), found[arm], ".", color="black", markersize=4)
    axis.set(xticks=range(len(values)), xticklabels=list(values), ylabel="accuracy [%]")
    axis.legend(ncols=min(5, max(1, len(shown))), loc="upper right", fontsize=8)
    axis.margins(y=0.18)
    _show(figure)


def teacher_states(
    found: Mapping[str, Tensor], images: Float[Tensor, "items 3 h w"], config: Config, items: Sequence[int]
) -> dict[tuple[str, str], Any]:
    """For each picture, the strongest logits of every expert and of the grand teacher, as figures for the sliders."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    states = {}
    for number, item in enumerate(items):
        logits, label = found["logits"][item : item + 1], found["label"][item : item + 1]
        hardest, right = int(hardest_negative(logits, label)), int(label)
        teacher = grand_teacher(logits, label)[0]
        rivals = [int(c) for c in logits.mean(dim=1)[0].argsort(descending=True) if int(c) not in (right, hardest)][:4]
        shown = [right, hardest, *rivals]
        views = {f"expert {k + 1}": logits[0, k] for k in range(logits.shape[1])} | {"grand teacher": teacher}
        low, high = float(logits[0, :, shown].min()), float(logits.max())
        for view, values in views.items():
            figure, (left, axis) = plt.subplots(1, 2, figsize=(6.0, 2.3), width_ratios=(1, 2.2))
            left.imshow(images[item].permute(1, 2, 0).clamp(0, 1).numpy())
            left.set_axis_off()
            for place, c in enumerate(shown):
                value = float(values[c])
                colour = palette[2] if c == right else palette[1] if c == hardest else "#9fb3c8"
                if np.isfinite(value):
                    axis.barh(place, value - low + 1, left=low - 1, color=colour)
                else:
                    axis.text(low - 0.8, place, "left out", va="center", fontsize=8, color="#555555")
            names = [f"class {right} (right)", f"class {hardest} (hardest)", *(f"class {c}" for c in rivals)]
            axis.set(yticks=range(len(shown)), yticklabels=names, xlim=(low - 1, high + 1), xlabel="logit")
            axis.invert_yaxis()
            states[f"picture {number + 1}", view] = figure
    return states


def teacher_alt(key: tuple[str, str]) -> str:
    """What a state of the sliders shows."""
    return f"{key[0]}: logits by {key[1]} of the right class, the hardest negative and the next wrong classes"


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
