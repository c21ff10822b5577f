"""What the chapter draws: sites, Dice by client, weights over rounds, credits against Shapley values, scores by shift."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vislab.papers.recognition.fedce.card import Config
from vislab.papers.recognition.fedce.data import world
from vislab.worlds.base import absolute


def names(config: Config) -> list[str]:
    """The clients by number, with what is odd about the last one."""
    odd = {"domain": "shifted", "size": "smallest", "label": "wrong masks"}[config.federation]
    usual = [f"client {k + 1}" for k in range(len(config.portions))]
    return [*usual[:-1], f"{usual[-1]}\n({odd})"]


def gallery(config: Config, seed: int, count: int = 5) -> list[list[Tensor]]:
    """A row a client: the same anatomy at every site, the mask's border in green, that of a wrong mask in orange."""
    index = absolute("test", torch.arange(count))
    return [
        [outlined(image, mask, given) for image, mask, given in zip(found.image, found.mask, found.given, strict=True)]
        for found in (world(config, seed).sample(index, site=k) for k in range(len(config.portions)))
    ]


def outlined(image: Tensor, mask: Tensor, given: Tensor) -> Tensor:
    """(3, 3 h, 3 w): the slice magnified, borders of the true and of a differing given mask drawn on it."""
    found = image.repeat_interleave(3, 1).repeat_interleave(3, 2).expand(3, -1, -1).clone()
    for region, colour in ((given, (0.95, 0.5, 0.1)), (mask, (0.2, 0.85, 0.3))):
        wide = region.float().repeat_interleave(3, 1).repeat_interleave(3, 2)[None]
        inner = -torch.nn.functional.max_pool2d(-wide, 3, 1, 1)
        found[:, (wide - inner)[0, 0] > 0] = torch.tensor(colour)[:, None]
    return found


def draw_dice(scores: Mapping[str, Tensor | None], clients: Sequence[str]) -> None:
    """Bars of test Dice by client, a colour an arm."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(7.2, 3.0))
    width = 0.8 / len(scores)
    for k, (name, values) in enumerate(scores.items()):
        place = np.arange(len(clients)) + width * (k - (len(scores) - 1) / 2)
        if values is None:
            axis.bar([], [], color=palette[k], label=f"{name} (run missing)")
        else:
            axis.bar(place, values.numpy(), 0.92 * width, color=palette[k], label=name)
    axis.set(xticks=range(len(clients)), xticklabels=clients, ylabel="test Dice [%]", ylim=(0, 100))
    axis.legend(fontsize=8, ncols=len(scores), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _show(figure)


def draw_weights(weights: Mapping[str, Tensor | None], clients: Sequence[str]) -> None:
    """Aggregation weights over rounds, a panel an arm."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(weights), figsize=(7.4, 2.8), sharey=True, squeeze=False)
    for axis, (name, values) in zip(axes[0], weights.items(), strict=True):
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set(xlabel="round", title=name if values is not None else f"{name} (run missing)")
        if values is not None:
            _lines(axis, values, clients)
    axes[0, 0].set(ylabel="weight", ylim=(0, None))
    axes[0, 0].legend(fontsize=7)
    _show(figure)


def _lines(axis: Any, values: Tensor, clients: Sequence[str]) -> None:
    from vislab.viz import palette

    for k, name in enumerate(clients):
        rounds = np.arange(1, len(values) + 1)
        axis.plot(rounds, values[:, k].numpy(), "o-", color=palette[k], label=name.replace("\n", " "), markersize=3)


def draw_credits(
    pairs: Mapping[str, tuple[Tensor | None, Tensor | None]], clients: Mapping[str, Sequence[str]]
) -> None:
    """Estimated credit against the exact Shapley value, a panel a federation; numbers are clients."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axes = plt.subplots(1, len(pairs), figsize=(7.6, 2.9), squeeze=False)
    for axis, (title, (credit, exact)) in zip(axes[0], pairs.items(), strict=True):
        axis.set(xlabel="Shapley value [% Dice]", title=title)
        axis.margins(0.2)
        if credit is None or exact is None:
            axis.text(0.5, 0.5, "run missing", ha="center", transform=axis.transAxes)
            continue
        for k in range(len(credit)):
            axis.scatter(float(exact[k]), float(credit[k]), color=palette[k], s=40)
            text = str(k + 1) if k < len(credit) - 1 else clients[title][k].replace("\n", " ").removeprefix("client ")
            axis.annotate(
                text, (float(exact[k]), float(credit[k])), xytext=(4, 5), textcoords="offset points", fontsize=8
            )
    axes[0, 0].set(ylabel="credit")
    _show(figure)


def shift_states(
    found: Mapping[float, Mapping[str, Tensor | None]], clients: Sequence[str]
) -> dict[tuple[str, str], Any]:
    """For every shift of the last client, its two scores and the weights over rounds, as figures.

    `found` holds the artifacts `cosine`, `score` (a sum over rounds) and `by_round` of a run at each shift.
    """
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    states = {}
    short = [str(k + 1) for k in range(len(clients) - 1)] + [f"{len(clients)} (shifted)"]
    for shift, part in found.items():
        missing = any(part[n] is None for n in ("cosine", "score", "by_round"))
        figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6))
        if not missing:
            scores = (1 - part["cosine"]).clamp(min=0), 1 - part["score"] / len(part["by_round"])
            for axis, values, title in zip(
                axes, scores, ("novelty of direction", "error without the client"), strict=True
            ):
                axis.bar(range(len(short)), values.numpy(), color=palette[: len(short)])
                axis.set(xticks=range(len(short)), xticklabels=short, ylim=(0, 1.2), title=title, xlabel="client")
        states[f"{shift:g}", "scores"] = figure
        figure, axis = plt.subplots(figsize=(6.4, 2.6))
        if not missing:
            _lines(axis, part["by_round"], clients)
            axis.legend(fontsize=7, loc="upper left", ncols=2)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set(xlabel="round", ylabel="weight", ylim=(0.1, 0.4))
        states[f"{shift:g}", "weights"] = figure
    return states


def shift_alt(key: tuple[str, str]) -> str:
    """What a state of the sliders shows."""
    what = {
        "scores": "gradient-space and data-space score of each client",
        "weights": "weight of each client over rounds",
    }
    return f"Shift {key[0]} of the last client: {what[key[1]]}"


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
