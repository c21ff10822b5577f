"""Drawing for the chapter: samples along a scanline, errors against samples and storage, crops of the mirror."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.papers.fields.hyperreel.card import PAPER, Config
from vislab.papers.fields.hyperreel.data import cameras, world
from vislab.papers.fields.hyperreel.experiment import first_view
from vislab.papers.fields.hyperreel.model import HyperReel
from vislab.worlds.objects import DIFFUSE, solids, trace


def scanline(config: Config, seed: int, row: float = 0.5) -> dict[str, Tensor]:
    """The rays of one row of the first held-out view and the depth z of the surface that each meets."""
    items = first_view(config, seed)
    side = config.image_size
    start = int(row * side) * side
    line = {name: value[start : start + side] for name, value in items.items()}
    scene = solids(world(config, seed).config, seed)
    _, hit = trace(scene, line["origin"], line["direction"], line["time"])
    return line | {"surface": hit.point, "solid": hit.solid, "special": scene.material[hit.solid] != DIFFUSE}


@torch.no_grad()
def placed(
    model: HyperReel, line: dict[str, Tensor]
) -> tuple[Float[Tensor, "ray sample 3"], Float[Tensor, "ray sample"]]:
    """Sample points of a scanline and their compositing weights."""
    training = model.training
    found = model.eval()(line["origin"], line["direction"], line["time"])
    model.train(training)
    return found["points"].cpu(), found["weights"].cpu()


class Film:
    """Keeps the samples of one scanline at chosen steps of training; pass it to `train` as `watch`."""

    def __init__(self, config: Config, seed: int, frames: int = 12):
        self.line = scanline(config, seed)
        self.steps = {round(config.steps * k / (frames - 1)) for k in range(1, frames)} | {1}
        self.frames: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, state: Any) -> None:
        if state.step in self.steps:
            model = state.accelerator.unwrap_model(state.model)
            here = {n: v.to(state.device) for n, v in self.line.items()}
            self.frames[state.step] = placed(model, here)


def draw_scanline(line: dict[str, Tensor], points: Tensor, weights: Tensor, title: str = "", axis: Any = None) -> Any:
    """The epipolar picture of a scanline: true surface, and samples coloured by their weight, over the pixel's column."""
    import matplotlib.pyplot as plt

    figure = None
    if axis is None:
        figure, axis = plt.subplots(figsize=(6.2, 3.2))
    column = torch.arange(len(points)) + 0.5
    axis.plot(column, line["surface"][:, 2].cpu(), color="black", linewidth=1.2, label="surface")
    axis.fill_between(
        column, -1.05, 1.05, where=line["special"].cpu(), color="0.9", step="mid", label="mirror", linewidth=0
    )
    shown = column[:, None].expand(points.shape[:2]).flatten()
    dots = axis.scatter(
        shown, points[..., 2].flatten(), c=weights.flatten(), s=5, cmap="viridis", vmin=0, vmax=1, label="samples"
    )
    axis.set(xlim=(0, len(points)), ylim=(1.05, -1.05), xlabel="pixel of the row", ylabel="depth z", title=title)
    if figure is None:
        return dots
    figure.colorbar(dots, label="weight")
    axis.legend(loc="upper right", fontsize=7)
    return figure


def draw_pair(line: dict[str, Tensor], sides: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Scanlines of several samplers beside each other."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(sides), figsize=(4.2 * len(sides), 3.2), sharey=True, squeeze=False)
    for axis, (title, (points, weights)) in zip(axes[0], sides.items(), strict=True):
        dots = draw_scanline(line, points, weights, title, axis)
    for axis in axes[0, 1:]:
        axis.set_ylabel("")
    figure.colorbar(dots, ax=list(axes[0]), label="weight")
    plt.show()


def scores(profile: str, arms: Sequence[str], metric: str) -> dict[str, list[float] | None]:
    """Values of a metric by arm, one a seed, from the records of a profile or the published ones; None where there are none."""
    from vislab import registry
    from vislab.engine.collect import collect, published_or_none

    found = collect(PAPER, registry.module(PAPER.slug, "experiment"), profile).arms
    record = published_or_none(PAPER, profile)
    published = record.arms if record else {}
    return {a: (found.get(a) or published.get(a) or {}).get(metric) for a in arms}


def _first(values: list[float] | None) -> float | None:
    """The first seed's value: arms with one seed and arms with five are compared on one scene."""
    return values[0] if values else None


def draw_samples(profile: str) -> None:
    """PSNR against the number of coloured samples on the first seed's scene, predicted and stratified."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    lines = {
        "predicted": {8: "hyperreel", 16: "samples16", 32: "samples32"},
        "stratified": {8: "uniform", 32: "uniform_many"},
        "two passes": {8: "two_pass"},
    }
    figure, axis = plt.subplots(figsize=(5.6, 3.2))
    for colour, (label, arms) in zip(palette, lines.items(), strict=False):
        values = scores(profile, list(arms.values()), "psnr")
        points = [(n, m) for n, a in arms.items() if (m := _first(values[a])) is not None]
        name = label if points else f"{label} (run missing)"
        axis.plot(*zip(*points, strict=True), "o-", color=colour, label=name) if points else axis.plot(
            [], [], "o-", label=name
        )
    axis.set(
        xscale="log", xlabel="coloured samples a ray", ylabel="PSNR [dB]", xticks=[8, 16, 32], xticklabels=[8, 16, 32]
    )
    axis.minorticks_off()
    axis.legend()
    plt.show()


def draw_storage(profile: str) -> None:
    """PSNR against bytes a frame on the first seed's scene, for keyframe spacings and the two rivals."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    arms = {
        "keyframes1": "1 keyframe", "video": "2 keyframes", "keyframes4": "4 keyframes", "keyframes8": "8 keyframes",
        "video_held": "2 keyframes, no flow", "video_frames": "a volume a frame",
    }  # fmt: skip
    quality, size = scores(profile, list(arms), "psnr"), scores(profile, list(arms), "bytes")
    figure, axis = plt.subplots(figsize=(5.6, 3.2))
    for k, (arm, label) in enumerate(arms.items()):
        y, x = _first(quality[arm]), _first(size[arm])
        if y is None:
            axis.plot([], [], "o", label=f"{label} (run missing)")
            continue
        axis.plot(
            x / 1000, y, "o" if arm.startswith(("key", "video")) else "s", color=palette[k % len(palette)], label=label
        )
    axis.set(xscale="log", xlabel="kilobytes a frame", ylabel="PSNR [dB]")
    axis.legend(fontsize=7)
    plt.show()


def mirror_box(config: Config, seed: int) -> tuple[slice, slice]:
    """The rows and columns around the mirror in the first held-out view."""
    inside = first_view(config, seed)["reflector"].view(config.image_size, config.image_size)
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    return slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)


def rig(config: Config, seed: int) -> dict[str, Tensor]:
    """Camera places (x, y) by split."""
    return {s: cameras(config, s, seed).centre[:, :2] for s in ("train", "test", "outside")}


def draw_rig(places: dict[str, Tensor]) -> None:
    """The rig seen from the front."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(3.2, 3.2))
    for (name, place), marker in zip(places.items(), "os^", strict=True):
        axis.plot(place[:, 0], place[:, 1], marker, label=name)
    axis.set(aspect="equal", xlabel="x [m]", ylabel="y [m]")
    axis.invert_yaxis()
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3)
    plt.show()
