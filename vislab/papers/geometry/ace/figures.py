"""What the chapter draws: walks, scene coordinates as colours, the rate against the clock, gradients, the clamp."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vislab.ops.reprojection import cells, clamped, errors, threshold
from vislab.papers.geometry.ace import data, experiment, train
from vislab.papers.geometry.ace.card import TARGET_RATE, Config

STAGES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
MOST = 80.0
"""Reprojection errors are shown up to this, pixels."""


@dataclass(frozen=True)
class Snapshot:
    """The network at one moment of mapping, asked about one query."""

    share: float
    """Share of training that is done."""
    point: Tensor
    """Predicted scene coordinates, (3, h, w), metres."""
    error: Tensor
    """L1 reprojection errors under the true pose, (h, w), pixels."""
    cosines: tuple[float, float]
    """Cosine between the head's gradients of successive batches: shuffled features, single pictures."""


def watched(config: Config, seed: int, accelerator: Any, query: int = 0) -> tuple[train.State, list[Snapshot]]:
    """Map the room and take snapshots on the way."""
    items = data.mapping(config, seed, accelerator.device)
    asked = data.batch(config, "test", seed, torch.tensor([query]), accelerator.device)
    buffer: dict[str, Tensor] = {}
    steps, found = train.total_steps(config), []
    at = {max(1, round(share * steps)): share for share in STAGES}

    def look(state: train.State) -> None:
        if state.step not in at:
            return
        model = state.network
        if not buffer:
            buffer.update(train.fill_buffer(model.backbone, items, config, seed + 1))
        with torch.no_grad():
            point = model(asked["grey"])[0]
        found.append(
            Snapshot(
                at[state.step], point.cpu(), picture_error(point, asked, config, model.backbone.stride).cpu(),
                experiment.gradient_cosines(model, buffer, items, config, seed),
            )
        )  # fmt: skip

    return train.train(config, seed, accelerator, items, after=look), found


def picture_error(point: Tensor, asked: Mapping[str, Tensor], config: Config, stride: int) -> Tensor:
    """L1 reprojection errors of a query's coordinates (3, h, w) under its true pose, pixels."""
    flat = point.flatten(1).T
    pixel = cells(*asked["grey"].shape[-2:], stride, point.device)
    rotation, centre = (asked[name].expand(len(flat), *asked[name].shape[1:]) for name in ("rotation", "centre"))
    focal = torch.full((len(flat),), config.focal, device=point.device)
    error, _, valid = errors(flat, pixel, rotation, centre, focal)
    return torch.where(valid, error, torch.full_like(error, 1000.0)).unflatten(0, point.shape[1:])


def coloured(point: Tensor, config: Config, seed: int) -> Tensor:
    """Scene coordinates (3, h, w) as colours: the room's x, y and z from 0 to 1 are red, green and blue; (3, 8 h, 8 w)."""
    extent = data.views(config, seed).layout.high[0][:, None, None]
    shown = (point.float() / extent).clamp(0, 1)
    return shown.repeat_interleave(8, 1).repeat_interleave(8, 2)


def true_coordinates(config: Config, seed: int, query: int, stride: int) -> Tensor:
    """What the query sees at the pixels beside the cells' middles, (3, h, w) metres."""
    found = data.views(config, seed).sample(2_000_000 + torch.tensor([query]))
    return found.point[0, :, stride // 2 :: stride, stride // 2 :: stride]


def pictures(config: Config, seed: int, split: str, index: Tensor) -> list[Tensor]:
    """Grey pictures in [0, 1] of a split."""
    return [(p * 0.25 + 0.4).clamp(0, 1) for p in data.batch(config, split, seed, index)["grey"]]


def _axes(columns: int, width: float = 7.4, height: float = 3.0) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    from vislab.viz import style

    style()
    return plt.subplots(1, columns, figsize=(width, height))


def _finish(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)


def draw_walks(config: Config, seed: int) -> None:
    """The room from above with its furniture, and where the cameras stand and look."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    world = data.views(config, seed)
    figure, axis = _axes(1, 5.2, 4.0)
    for k, (low, high) in enumerate(zip(world.layout.low, world.layout.high, strict=True)):
        size = (high - low)[:2].tolist()
        axis.add_patch(plt.Rectangle(low[:2].tolist(), *size, fill=k > 0, facecolor="0.85", edgecolor="0.4"))
    for k, (name, start, count) in enumerate(
        (("mapping", 0, config.train_items), ("queries", 2_000_000, config.test_items))
    ):
        rotation, centre = world.poses(start + torch.arange(count))
        ahead = rotation[:, 2]
        axis.quiver(*centre[:, :2].T, *ahead[:, :2].T, color=palette[k], label=name, scale=18, width=0.004)
    axis.set(aspect="equal", xlabel="x [m]", ylabel="y [m]")
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _finish(figure)


def draw_cloud(
    config: Config, seed: int, snapshots: list[Snapshot], shares: tuple[float, ...] = (0.05, 0.2, 1.0)
) -> None:
    """Predicted points of one query from above, at several moments, beside the true ones."""
    from vislab.viz import palette

    stride = config.image_size // snapshots[0].point.shape[1]
    truth = true_coordinates(config, seed, 0, stride).flatten(1)
    figure, axes = _axes(len(shares), 7.4, 2.6)
    high = data.views(config, seed).layout.high[0]
    for axis, share in zip(axes, shares, strict=True):
        point = min(snapshots, key=lambda s: abs(s.share - share)).point.flatten(1)
        axis.plot(*truth[:2], ".", color="0.7", markersize=3, label="true")
        axis.plot(*point[:2], ".", color=palette[0], markersize=3, label="predicted")
        axis.set(
            xlim=(-1, float(high[0]) + 1),
            ylim=(-1, float(high[1]) + 1),
            aspect="equal",
            title=f"{share:.0%} of training",
        )
    axes[0].legend(fontsize=8, markerscale=3, loc="lower right")
    _finish(figure)


def draw_way(ways: Mapping[str, Tensor | None]) -> None:
    """Relocalisation rate of validation queries over the seconds of mapping, logarithmic, one line an arm."""
    from vislab.viz import palette

    figure, axis = _axes(1, 5.6, 3.2)
    for k, (name, way) in enumerate(ways.items()):
        if way is None:
            axis.plot([], [], color=palette[k], label=f"{name} (run missing)")
        else:
            axis.plot(way[:, 1], way[:, 2], "o-", color=palette[k], label=name, markersize=4)
    axis.plot([1, 50], [TARGET_RATE, TARGET_RATE], color="0.6", linewidth=0.8, linestyle="--")
    axis.set(xscale="log", xlabel="seconds of mapping", ylabel="queries relocalised [%]", ylim=(-3, 100))
    axis.legend(fontsize=8)
    _finish(figure)


def draw_cosines(snapshots: list[Snapshot]) -> None:
    """Cosine of successive gradients over training, in both regimes."""
    from vislab.viz import palette

    figure, axis = _axes(1, 5.6, 2.8)
    for k, name in enumerate(("shuffled features", "one picture a batch")):
        axis.plot([s.share for s in snapshots], [s.cosines[k] for s in snapshots], "o-", color=palette[k], label=name)
    axis.axhline(0, color="0.6", linewidth=0.8)
    axis.set(xlabel="share of training", ylabel="cosine of successive gradients")
    axis.legend(fontsize=8)
    _finish(figure)


def draw_losses(config: Config) -> None:
    """Left, the clamped loss at several moments; right, the clamp over training for the three schedules."""
    from vislab.viz import palette

    figure, axes = _axes(2)
    error = torch.linspace(0, 2 * config.tau_largest, 200)
    for k, share in enumerate((0.0, 0.5, 0.9, 1.0)):
        tau = threshold(share, "circle", config.tau_largest, config.tau_smallest)
        axes[0].plot(error, clamped(error, tau), color=palette[k], label=f"t = {share:g}")
    axes[0].set(xlabel="reprojection error [px]", ylabel="loss")
    axes[0].legend(fontsize=8)
    time = np.linspace(0, 1, 101)
    for k, schedule in enumerate(("circle", "linear", "constant")):
        clamp = [threshold(t, schedule, config.tau_largest, config.tau_smallest) for t in time]
        axes[1].plot(time, clamp, color=palette[k], label=schedule)
    axes[1].set(xlabel="progress t", ylabel="clamp [px]", ylim=(0, None))
    axes[1].legend(fontsize=8)
    _finish(figure)


def clamp_states(config: Config, picture: Tensor, snapshots: list[Snapshot]) -> dict[str, Any]:
    """For each moment: the loss with the errors under it, and where in the query they lie."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    states: dict[str, Any] = {}
    curve = torch.linspace(0, MOST, 200)
    for snap in snapshots:
        tau = threshold(snap.share, config.schedule, config.tau_largest, config.tau_smallest)
        figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.3), dpi=90, layout="constrained")
        error = snap.error.flatten().clamp(max=MOST)
        axes[0].hist(error.numpy(), bins=30, range=(0, MOST), color="0.8")
        axes[0].set(xlabel="reprojection error [px]", ylabel="cells", title=f"clamp {tau:.0f} px")
        twin = axes[0].twinx()
        twin.plot(curve, clamped(curve, tau, config.loss) / tau, color=palette[0])
        twin.set(ylim=(0, 1.05), yticks=[])
        axes[1].imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=1)
        axes[1].set_title("query")
        axes[2].imshow(snap.error.clamp(max=MOST).numpy(), cmap="magma", vmin=0, vmax=MOST)
        axes[2].set_title(f"{100 * active(snap, tau):.0f}% below the clamp")
        for axis in axes[1:]:
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        states[f"{snap.share:.0%}"] = figure
        plt.close(figure)
    return states


def active(snap: Snapshot, tau: float) -> float:
    """Share of the cells whose error lies below the clamp, where the loss still pulls."""
    return float((snap.error < tau).float().mean())


def clamp_alt(key: str) -> str:
    """What a state of the widget shows, in words."""
    return f"After {key} of training: the tanh loss over a histogram of reprojection errors, the query, and its errors by place."
