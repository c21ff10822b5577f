"""What the chapter draws: domains, accuracy by domain, ablations, styles in a plane, how hard styles are, an attacked feature map."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vislab.engine.fit import State
from vislab.ops import counter
from vislab.papers.recognition.styleadv.attack import few_shot_loss, new_styles
from vislab.papers.recognition.styleadv.card import Config
from vislab.papers.recognition.styleadv.data import HOME, batch, pictures, standardised
from vislab.papers.recognition.styleadv.experiment import PROBED, TEST_SHOTS, statistics
from vislab.papers.recognition.styleadv.model import changed

NAMES = {"original": "own", "swap": "swapped", "random": "random", "adversarial": "attacked"}
COLOURS = {"original": "#7f9bb5", "swap": "#3a8f5c", "random": "#c9a227", "adversarial": "#c0392b"}


def samples(config: Config, seed: int, classes: int = 6) -> tuple[list[list[Tensor]], list[str]]:
    """New pictures of novel classes, a row a domain, and the domains' names."""
    domains, label = (HOME, *config.targets), torch.arange(min(classes, config.novel_classes))
    return [list(pictures(config, "test", seed, label, torch.zeros_like(label), d)) for d in domains], list(domains)


def draw_domains(
    config: Config, tables: Mapping[str, Tensor | None], shots: Sequence[int] = TEST_SHOTS, height: float = 2.6
) -> None:
    """Accuracy by domain, a panel a number of shots; lines are intervals over test episodes of the first seed."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axes = plt.subplots(len(shots), 1, figsize=(7.2, height * len(shots)), sharex=True, squeeze=False)
    domains, width = (HOME, *config.targets), 0.8 / len(tables)
    for axis, shot in zip(axes[:, 0], shots, strict=True):
        for k, (name, table) in enumerate(tables.items()):
            if table is not None:
                mean, half = table[:, TEST_SHOTS.index(shot)].T.numpy()
                x = np.arange(len(mean)) - 0.4 + (k + 0.5) * width
                axis.bar(x, mean, 0.9 * width, yerr=half, color=palette[k], alpha=0.75, label=name)
        if all(table is None for table in tables.values()):
            axis.text(0.5, 0.5, "run missing", ha="center", transform=axis.transAxes)
        axis.axhline(100 / config.way, color="#555555", linewidth=0.8, linestyle=":")
        axis.set(ylabel=f"{shot}-shot accuracy [%]", ylim=(0, 112), xticks=range(len(domains)), xticklabels=domains)
    if any(table is not None for table in tables.values()):
        axes[0, 0].legend(ncols=4, loc="upper right", fontsize=8)
    _show(figure)


def draw_gains(values: Mapping[str, Mapping[str, Sequence[float]]], method: str, arms: Sequence[str]) -> None:
    """Every arm minus the method on the same seed, a bar at the mean and a dot a seed; `values` is {panel: {arm: values over seeds}}."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axes = plt.subplots(1, len(values), figsize=(7.2, 3.2), squeeze=False, sharey=True)
    for axis, (name, found) in zip(axes[0], values.items(), strict=True):
        shown = [a for a in arms if a in found and method in found]
        for k, arm in enumerate(shown):
            gain = [a - b for a, b in zip(found[arm], found[method], strict=False)]
            axis.barh(k, np.mean(gain), color=palette[0] if len(gain) > 1 else "#bbbbbb", alpha=0.7)
            axis.plot(gain, [k] * len(gain), ".", color="black", markersize=4)
        if not shown:
            axis.text(0.5, 0.5, "run missing", ha="center", transform=axis.transAxes)
        axis.axvline(0, color="#555555", linewidth=0.8)
        axis.set(yticks=range(len(shown)), yticklabels=shown, xlabel=f"{name}, difference [%]")
    axes[0, 0].invert_yaxis()
    _show(figure)


def draw_hardness(values: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], arms: Sequence[str]) -> None:
    """Few-shot loss and distance to the source's styles, of own, swapped, random and attacked styles; `values` is
    {"loss" or "statistics": {style: {arm: values over seeds}}}."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.0))
    labels = {"loss": "few-shot loss", "statistics": "distance to source styles [sd]"}
    for axis, (name, found) in zip(axes, values.items(), strict=True):
        for a, arm in enumerate(arms):
            for k, kind in enumerate(PROBED):
                seen = found[kind].get(arm, [])
                x = a - 0.4 + (k + 0.5) * 0.2
                if seen:
                    axis.bar(
                        x, np.mean(seen), 0.18, color=COLOURS[kind], alpha=0.75, label=NAMES[kind] if a == 0 else None
                    )
                    axis.plot([x] * len(seen), seen, ".", color="black", markersize=4)
        axis.set(xticks=range(len(arms)), xticklabels=[f"trained: {a}" for a in arms], ylabel=labels[name])
        axis.margins(y=0.3)
    if axes[0].patches:
        axes[0].legend(ncols=2, fontsize=8, loc="upper left")
    _show(figure)


def style_points(state: State, config: Config, seed: int, count: int = 60) -> dict[str, Tensor]:
    """The first stage's statistics of source pictures, of every target domain, and of episodes in swapped and in the strongest random
    and attacked styles."""
    model, found = state.network.eval(), {}
    label, number = torch.arange(count) % config.base_classes, torch.arange(count) // config.base_classes
    source = standardised(pictures(config, "test", seed, label, number, HOME, "train")).to(state.device)
    found["source"] = statistics(model, source, 0)
    items = batch(dataclasses.replace(config, style="swap"), "train", seed, torch.arange(2), state.device)
    for kind in PROBED[1:]:
        strongest = dataclasses.replace(config, style=kind, strengths=(max(config.strengths),))
        with counter.scope(seed, "evaluate", f"scatter {kind}"):
            changes = new_styles(model, items["image"], items["label"], strongest, items["other"])
        found[NAMES[kind]] = torch.cat(changes[0], dim=1)
    novel = torch.arange(count) % config.novel_classes
    for domain in config.targets:
        images = pictures(config, "test", seed, novel, torch.arange(count) // config.novel_classes, domain)
        found[domain] = statistics(model, standardised(images).to(state.device), 0)
    return {name: value.cpu() for name, value in found.items()}


def draw_styles(points: Mapping[str, Tensor]) -> None:
    """All styles in the plane of the two main directions of source and targets: kinds of new styles left, targets right."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    made = ("swapped", "random", "attacked")
    real = torch.cat([v for n, v in points.items() if n not in made])
    centre, scale = real.mean(dim=0), points["source"].std(dim=0) + 1e-3
    plane = torch.linalg.svd((real - centre) / scale, full_matrices=False).Vh[:2].T
    flat = {name: ((value - centre) / scale @ plane).numpy() for name, value in points.items()}
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), sharex=True, sharey=True)
    targets = [n for n in points if n not in (*made, "source")]
    colours = dict(zip(("swapped", "random", "attacked"), ("#3a8f5c", "#c9a227", "#c0392b"), strict=True))
    for axis, names in zip(axes, (made, targets), strict=True):
        axis.plot(*flat["source"].T, ".", color="#999999", label="source", markersize=5)
        for k, name in enumerate(names):
            axis.plot(*flat[name].T, ".", color=colours.get(name, palette[k % len(palette)]), label=name, markersize=5)
        axis.legend(fontsize=7, loc="best", ncols=2)
        axis.set(xlabel="first direction [sd]")
    axes[0].set(ylabel="second direction [sd]")
    _show(figure)


def attack_states(
    state: State, config: Config, seed: int, strengths: Sequence[float] = (0.008, 0.08, 0.4, 0.8)
) -> dict[tuple[str, str], Any]:
    """For each block and strength: a picture, the block's strongest channels before and after the attack, and the losses."""
    import matplotlib.pyplot as plt

    model = state.network.eval()
    items = batch(config, "train", seed, torch.arange(3), state.device)
    episode, label = items["image"], items["label"]
    with torch.no_grad():
        before = float(few_shot_loss(model(episode)["scores"]))
    states, rows = {}, {}
    for block in (1, 2, 3):
        for strength in strengths:
            alone = dataclasses.replace(config, style="adversarial", blocks=(block,), strengths=(strength,))
            with counter.scope(seed, "evaluate", f"widget {block} {strength}"):
                changes = new_styles(model, episode, label, alone)
            with torch.no_grad():
                rows[block, strength] = float(few_shot_loss(model(episode, changes)["scores"])), changes
    top = max(loss for loss, _ in rows.values())
    for (block, strength), (loss, changes) in rows.items():
        with torch.no_grad():
            x = episode.flatten(0, 2)[:1]
            for k in range(block):
                x = model.backbone.stage(k, x)
            after = changed(model.backbone, x, tuple(value[:1] for value in changes[block - 1]))
        channels = x[0].flatten(1).std(dim=1).argsort(descending=True)[:4]
        figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.3), width_ratios=(1, 2.2, 1.1))
        axes[0].imshow((episode.flatten(0, 2)[0].cpu() * 0.25 + 0.5).permute(1, 2, 0).clamp(0, 1).numpy())
        axes[0].set_axis_off()
        tiles = [torch.cat(list(m[0, channels].cpu()), dim=1) for m in (x, after)]
        shown = torch.cat(tiles).numpy()
        low, high = float(x[0, channels].min()), float(x[0, channels].max())
        axes[1].imshow(shown, cmap="magma", vmin=low - 0.3 * (high - low), vmax=high)
        side = x.shape[-1]
        axes[1].axhline(side - 0.5, color="white", linewidth=1.5)
        for c in range(1, 4):
            axes[1].axvline(c * side - 0.5, color="white", linewidth=0.8)
        axes[1].set(xticks=[], yticks=[side / 2 - 0.5, 1.5 * side - 0.5], yticklabels=["own", "attacked"])
        axes[2].bar(["own", "attacked"], [before, loss], color=[COLOURS["original"], COLOURS["adversarial"]])
        axes[2].set(ylabel="few-shot loss", ylim=(0, 1.1 * top))
        states[f"block {block}", f"{strength:g}"] = figure
    return states


def attack_alt(key: tuple[str, str]) -> str:
    """What a state of the sliders shows."""
    return f"a picture, four channels of {key[0]} before and after a style attack of strength {key[1]}, and the few-shot loss of both"


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
