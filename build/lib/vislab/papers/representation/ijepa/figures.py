"""What the chapter draws: masks, crowds with their truths, features along training, components of patch features."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from vislab.nn import maskers
from vislab.ops import counter
from vislab.papers.representation.ijepa.card import Config
from vislab.papers.representation.ijepa.data import batch

STRATEGIES = ("multiblock", "block", "random", "quadrants")
CONTEXT, TARGET = (
    np.array([0.85, 0.93, 1.0]),
    np.array([[0.84, 0.37, 0.0], [0.0, 0.62, 0.45], [0.8, 0.47, 0.65], [0.9, 0.62, 0.0]]),
)


def pictures(config: Config, seed: int, index: Tensor, split: str = "test") -> Tensor:
    """Pictures in [0, 1]."""
    return batch(config, split, seed, index)["image"] * 0.25 + 0.5


def mask_picture(image: Tensor, visible: Tensor, targets: Tensor, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """What the context encoder sees, and the targets framed by colour on the whole picture; (H, W, 3) in [0, 1]."""
    whole = image.permute(1, 2, 0).numpy()
    side = whole.shape[0] // patch

    def spread(flags: np.ndarray) -> np.ndarray:
        return np.kron(flags.reshape(side, side), np.ones((patch, patch)))[..., None]

    seen = np.zeros(side * side)
    seen[visible.numpy()] = 1
    context = np.where(spread(seen) > 0, whole, 0.88)
    wanted = 0.35 * whole + 0.6
    for block, places in enumerate(targets):
        flags = np.zeros(side * side)
        flags[places.numpy()] = 1
        wanted = np.where(spread(flags) > 0, 0.75 * whole + 0.25 * TARGET[block % len(TARGET)], wanted)
    return context, wanted


def strategies(config: Config, image: Tensor, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The four ways to mask one picture: contexts and targets."""
    side = config.image_size // config.patch
    with counter.scope(seed, "noise", "figure"):
        drawn = [
            maskers.multiblock(1, side, least=config.least_context),
            maskers.single_block(1, side),
            maskers.random_patches(1, side),
            maskers.quadrants(1, side),
        ]
    shown = [mask_picture(image, visible[0], targets[0], config.patch) for visible, targets in drawn]
    return [s[0] for s in shown], [s[1] for s in shown]


def scale_states(config: Config, image: Tensor, seed: int, draws: int = 4) -> dict[tuple[str, str], np.ndarray]:
    """A picture for each target scale and draw: context left, targets right."""
    side, found = config.image_size // config.patch, {}
    for scale in (0.05, 0.1, 0.175, 0.25, 0.35, 0.5):
        for draw in range(draws):
            with counter.scope(seed, "noise", f"slider {draw}"):
                visible, targets = maskers.multiblock(1, side, target_scale=(scale, scale), least=config.least_context)
            pair = mask_picture(image, visible[0], targets[0], config.patch)
            gap = np.ones((pair[0].shape[0], 2, 3))
            joined = (np.concatenate([pair[0], gap, pair[1]], axis=1).clip(0, 1) * 255).astype(np.uint8)
            found[f"{scale:g}", str(draw + 1)] = joined.repeat(4, axis=0).repeat(4, axis=1)
    return found


def scale_alt(key: tuple[str, str]) -> str:
    """What a state of the widget shows, in words."""
    return f"Left, the visible context; right, four targets of {float(key[0]):.0%} of the picture each; draw {key[1]}."


def components(shared: Mapping[str, Tensor | None]) -> list[list[Tensor | None]]:
    """One row an arm: the first three principal components of its patch features as colours, six pictures."""
    return [
        [None] * 6 if value is None else [p.permute(2, 0, 1).float() / 255 for p in value] for value in shared.values()
    ]


def draw_way(ways: Mapping[str, Tensor | None]) -> None:
    """Nearest-neighbour accuracy and the spread of features over the steps, one line an arm."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3))
    for k, (name, way) in enumerate(ways.items()):
        if way is None or not len(way):
            axes[0].plot([], [], color=palette[k], label=f"{name} (run missing)")
            continue
        axes[0].plot(way[:, 0], way[:, 1], "o-", color=palette[k], label=name)
        axes[1].plot(way[:, 0], way[:, 2], "o-", color=palette[k])
    axes[0].set(xlabel="step", ylabel="nearest neighbours [%]")
    axes[1].set(xlabel="step", ylabel="spread of features")
    axes[0].legend(fontsize=8)
    plt.show()
    plt.close(figure)


def draw_bars(
    values: Mapping[str, Mapping[str, list[float]]], metrics: Mapping[str, str], arms: Mapping[str, str]
) -> None:
    """For each metric a panel of arms: the mean over seeds as a bar, every seed as a dot."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    figure, axes = plt.subplots(1, len(metrics), figsize=(7.4, 2.8), sharey=True)
    for axis, (metric, title) in zip(axes, metrics.items(), strict=True):
        for k, arm in enumerate(arms):
            found = values[metric].get(arm)
            if found:
                axis.barh(k, np.mean(found), color=palette[k % len(palette)], alpha=0.75)
                axis.plot(found, [k] * len(found), "o", color="black", markersize=3)
        axis.set(title=title, yticks=range(len(arms)))
        axis.set_yticklabels(list(arms.values()))
        axis.invert_yaxis()
    plt.show()
    plt.close(figure)


def error_map(model: torch.nn.Module, config: Config, image: Tensor, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared error of predicted target features by place, averaged over 40 masks, and the picture; both for display."""
    from vislab.papers.representation.ijepa.losses import target_features
    from vislab.papers.representation.ijepa.train import masks, predict

    side = config.image_size // config.patch
    total, count = torch.zeros(side * side), torch.zeros(side * side)
    device = next(model.parameters()).device
    with torch.no_grad(), counter.scope(seed, "noise", "error map"):
        many = ((image - 0.5) / 0.25).expand(40, -1, -1, -1).to(device)
        visible, targets = masks(config, len(many), device)
        wanted = target_features(model.target(many), targets)
        error = (predict(model, many, visible, targets, False) - wanted).pow(2).mean(dim=-1).cpu()
    places = targets.flatten().cpu()
    total.index_add_(0, places, error.flatten())
    count.index_add_(0, places, torch.ones(len(places)))
    found = (total / count.clamp(min=1)).reshape(side, side).numpy()
    scaled = found / max(found.max(), 1e-6)
    return np.kron(scaled, np.ones((config.patch, config.patch))), image.permute(1, 2, 0).numpy().clip(0, 1)
