"""What the chapter draws: pictures with their boxes, masks, statistics of features, cost against accuracy."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vislab.engine.measure import interleaved, macs
from vislab.papers.perception.ceasc import data
from vislab.papers.perception.ceasc.card import PROFILES, Config
from vislab.papers.perception.ceasc.experiment import masked, positive_masks
from vislab.papers.perception.ceasc.losses import assign, counts, positive_shares
from vislab.papers.perception.ceasc.model import Detector, Prediction, build, group_moments, head_macs
from vislab.worlds.base import absolute
from vislab.worlds.streets.aerial import CLASSES, Aerial

COLOURS = ((230, 57, 70), (69, 123, 255), (80, 220, 220), (255, 200, 40), (200, 80, 255), (120, 220, 60))
ALTITUDES = {"low": 0.0, "rather low": 0.25, "middle": 0.5, "rather high": 0.75, "high": 1.0}
DENSITIES = {"few": 0.1, "some": 0.25, "many": 0.5, "crowded": 0.8}
ZOOM = 4


def view(
    config: Config, seed: int, index: Sequence[int], height: float | None = None, density: float | None = None
) -> Aerial:
    """Test pictures; `height` from 0 (lowest) to 1 (highest) and `density` replace their own."""
    items = absolute("test", torch.tensor(index))
    low, high = config.scale
    scale = None if height is None else torch.full((len(items),), low ** (1 - height) * high**height)
    share = None if density is None else torch.full((len(items),), density)
    return data.world(config, seed).sample(items, scale=scale, density=share)


def outlined(
    image: Float[Tensor, "3 h w"], boxes: Float[Tensor, "object 4"], labels: Tensor
) -> Float[Tensor, "3 zh zw"]:
    """The picture enlarged, with a frame in its class's colour around every object."""
    from torchvision.utils import draw_bounding_boxes

    large = (F.interpolate(image[None], scale_factor=ZOOM)[0].clamp(0, 1) * 255).byte()
    there = labels >= 0
    if not there.any():
        return large.float() / 255
    colours: Any = [COLOURS[k % len(COLOURS)] for k in labels[there].tolist()]
    return draw_bounding_boxes(large, boxes[there] * ZOOM, colors=colours).float() / 255


def altitude_rows(config: Config, seed: int, index: int = 3) -> list[list[Tensor]]:
    """One place seen from three altitudes, almost empty and crowded."""
    rows = []
    for density in (0.1, 0.8):
        row = []
        for height in (0.0, 0.5, 1.0):
            found = view(config, seed, [index], height, density)
            row.append(outlined(found.image[0], found.boxes[0], found.labels[0]))
        rows.append(row)
    return rows


def positive_table(config: Config, seed: int) -> list[list[Any]]:
    """Per cent of positive positions at each level, from three altitudes."""
    sizes = level_sizes(config)
    rows = []
    for name, height in (("low", 0.0), ("middle", 0.5), ("high", 1.0)):
        found = view(config, seed, range(48), height)
        shares = positive_shares(assign(config, sizes, found.boxes, found.labels), counts(config, sizes))
        rows.append([name, *(f"{100 * s:.1f}" for s in shares.tolist())])
    return rows


def level_sizes(config: Config) -> list[tuple[int, int]]:
    """Height and width of every level's map."""
    sizes, height, width = [], config.image_size, config.image_width
    for k, stride in enumerate(config.strides):
        if k < 3:
            sizes.append((-(-height // stride), -(-width // stride)))
        else:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


# -- inside the network -----------------------------------------------------------------------------------------------


@torch.no_grad()
def predict(model: Detector, found: Aerial) -> Prediction:
    """The detector's answer to some pictures, by the sparse path."""
    device = next(model.parameters()).device
    return model.eval()(data.standardise(found.image).to(device))


def shaded(image: Float[Tensor, "3 h w"], mask: Float[Tensor, "mh mw"]) -> Float[Tensor, "3 zh zw"]:
    """The picture enlarged, dark where the mask is 0."""
    large = F.interpolate(image[None], scale_factor=ZOOM)[0]
    bright = F.interpolate(mask.float()[None, None].cpu(), large.shape[-2:])[0]
    return large * (0.25 + 0.75 * bright)


def mask_rows(model: Detector, config: Config, seed: int, index: int = 3) -> tuple[list[list[Tensor]], list[str]]:
    """Rows: positives, class mask, box mask; columns: levels. Titles give the share of each."""
    found = view(config, seed, [index])
    prediction = predict(model, found)
    sizes = [tuple(m.shape[-2:]) for m in prediction.masks]
    wanted = positive_masks(config, sizes, {"boxes": found.boxes, "labels": found.labels})
    rows, titles = [], []
    for masks in ([m[0, 0] for m in wanted], [m[0, 0] for m in prediction.masks], [m[0, 1] for m in prediction.masks]):
        rows.append([shaded(found.image[0], m) for m in masks])
        titles += [f"{100 * float(m.float().mean()):.1f}%" for m in masks]
    return rows, titles


@torch.no_grad()
def normalised(model: Detector, config: Config, seed: int, index: Sequence[int] = range(24)) -> dict[str, np.ndarray]:
    """Features of the class branch's first block at its active positions, finest level, by three kinds of statistics."""
    branch = model.head.classify
    found = view(config, seed, index)
    x = model.eval().features(data.standardise(found.image).to(next(model.parameters()).device))[0]
    gate = model.head.decide(branch.mask(x)).float()
    features, groups = branch.blocks[0].conv(x), branch.groups
    weight = gate[:, None].flatten(3)
    grouped = rearrange(features, "b (g c) h w -> b g c (h w)", g=groups)
    count = (weight.sum(dim=(2, 3)) * grouped.shape[2]).clamp(min=1)
    mean = (grouped * weight).sum(dim=(2, 3)) / count
    var = ((grouped - mean[..., None, None]).square() * weight).sum(dim=(2, 3)) / count
    kinds = {
        "dense (all positions)": group_moments(features, groups),
        "active positions": (mean, var),
        "global feature (CE-GN)": group_moments(branch.context(x), groups),
    }
    active = gate[:, 0].bool()
    values = {}
    for name, (middle, spread) in kinds.items():
        scaled = (grouped - middle[..., None, None]) / (spread[..., None, None] + 1e-5).sqrt()
        rows = rearrange(scaled, "b g c n -> b n (g c)")[active.flatten(1)]
        values[name] = rows.flatten().cpu().numpy()
    return values


def draw_statistics(values: Mapping[str, np.ndarray]) -> None:
    """Distribution of the normalised features of each kind."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.6, 2.9))
    bins = np.linspace(-4, 6, 61)
    for k, (name, value) in enumerate(values.items()):
        if len(value):
            height, _ = np.histogram(value, bins, density=True)
            label = f"{name}: {value.mean():+.2f} ± {value.std():.2f}"
            axis.plot((bins[1:] + bins[:-1]) / 2, height, color=palette[k], label=label)
    axis.set(xlabel="normalised feature", ylabel="density")
    axis.legend()
    _show(figure)


@torch.no_grad()
def slider_states(model: Detector, config: Config, seed: int, index: int = 3) -> dict[tuple[str, str], np.ndarray]:
    """For every altitude and density: the picture, where the class branch computes at the finest level, and shares by level."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette
    from vislab.viz.look import style

    style()
    sizes = level_sizes(config)
    dense = head_macs(dataclasses.replace(config, head="dense"), sizes)
    states = {}
    for name, height in ALTITUDES.items():
        for crowd, density in DENSITIES.items():
            found = view(config, seed, [index], height, density)
            prediction = predict(model, found)
            active = [m.sum(dim=(0, 2, 3)).tolist() for m in prediction.masks]
            cost = head_macs(config, sizes, active)
            owner = assign(config, sizes, found.boxes, found.labels)
            wanted = 100 * positive_shares(owner, counts(config, sizes))
            computed = [100 * float(m[:, 0].mean()) for m in prediction.masks]
            figure, axes = plt.subplots(1, 3, figsize=(6.2, 2.1), dpi=80, width_ratios=(1, 1, 1.25))
            pictures = (
                outlined(found.image[0], found.boxes[0], found.labels[0]),
                shaded(found.image[0], prediction.masks[0][0, 0]),
            )
            for axis, picture in zip(axes, pictures, strict=False):
                axis.imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy())
                axis.set(xticks=[], yticks=[])
                axis.grid(False)
            axes[0].set_title("objects", fontsize=9)
            axes[1].set_title(f"computed, stride {config.strides[0]}", fontsize=9)
            place = np.arange(len(sizes))
            axes[2].bar(place - 0.2, wanted.tolist(), 0.38, color=palette[0], label="positive")
            axes[2].bar(place + 0.2, computed, 0.38, color=palette[1], label="computed")
            strides = [str(s) for s in config.strides]
            axes[2].set(xticks=place, xticklabels=strides, xlabel="stride", ylim=(0, 60))
            axes[2].set_title(f"% by level; head {100 * cost / dense:.0f}% of dense", fontsize=9)
            axes[2].legend(fontsize=7)
            figure.tight_layout()
            figure.canvas.draw()
            states[name, crowd] = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
            plt.close(figure)
    return states


def slider_alt(key: tuple[str, str]) -> str:
    """What a state of the widget shows, in words."""
    return f"Altitude {key[0]}, {key[1]} objects: the picture, the computed positions, and shares by level"


# -- cost -------------------------------------------------------------------------------------------------------------


def cost_parts(share: float | None) -> dict[str, float]:
    """Multiply-accumulates, in units of 10^9, of GFL at the paper's size; `share` of the positions is computed, None is the dense head."""
    config = dataclasses.replace(PROFILES["paper"], head="dense" if share is None else "sparse")
    sizes = level_sizes(config)
    with torch.device("meta"):
        model = build(config).eval()
        image = torch.zeros(1, 3, config.image_size, config.image_width)
        trunk = macs(lambda: model.features(image))
    if share is None:
        return {
            "trunk and pyramid": trunk / 1e9,
            "masks and 1×1": 0.0,
            "3×3 convolutions": head_macs(config, sizes) / 1e9,
        }
    fixed = head_macs(config, sizes, [(0.0, 0.0)] * len(sizes))
    total = head_macs(config, sizes, [(share * h * w,) * 2 for h, w in sizes])
    return {"trunk and pyramid": trunk / 1e9, "masks and 1×1": fixed / 1e9, "3×3 convolutions": (total - fixed) / 1e9}


def draw_costs(bars: Mapping[str, Mapping[str, float]]) -> None:
    """Stacked bars of `cost_parts`."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.8, 2.6))
    names, left = list(bars), np.zeros(len(bars))
    for k, part in enumerate(next(iter(bars.values()))):
        width = np.array([bars[n][part] for n in names])
        axis.barh(names, width, left=left, color=palette[k], label=part)
        left += width
    axis.invert_yaxis()
    axis.set(xlabel="10⁹ multiply-accumulates a picture of 1344×800", xlim=(0, left.max() * 1.02))
    axis.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.45, 1.25), fontsize=8)
    axis.grid(False, axis="y")
    _show(figure)


@torch.no_grad()
def timings(model: Detector, config: Config, seed: int, repeats: int = 10) -> list[list[Any]]:
    """Median milliseconds of one tutorial picture: trunk and pyramid, sparse head, and the same head computed everywhere."""
    found = view(config, seed, [3])
    image = data.standardise(found.image).to(next(model.parameters()).device)
    features = model.eval().features(image)
    masks = [m.bool() for m in model.head(features).masks]
    sides = {
        "trunk and pyramid": lambda: model.features(image),
        "head, gathered": lambda: model.head(features, masks=masks),
        "trunk and head, computed everywhere and multiplied by the mask": lambda: masked(model, image, masks),
    }
    times = interleaved(sides, repeats=repeats)
    return [[name, f"{1000 * float(np.median(value)):.2f}"] for name, value in times.items()]


def draw_pareto(cost: Mapping[str, Sequence[float]], score: Mapping[str, Sequence[float]]) -> None:
    """AP over the head's multiply-accumulates: fixed shares joined by a line, every seed as a dot."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(6.8, 3.4))
    axis.set(xlabel="multiply-accumulates of the head a picture [10⁶]", ylabel="AP [%]")
    groups = {
        "fixed share, CE-GN": (("fixed_05", "fixed_10", "fixed_30"), palette[0], "o-"),
        "adaptive share (CEASC)": (("ceasc",), palette[1], "D"),
        "dense": (("dense",), palette[2], "s"),
        "narrow dense (first seed)": (("narrow",), "#777777", "^"),
        "10%, group norm over active": (("masked_10",), palette[3], "v"),
        "10%, no normalisation": (("none_10",), palette[4], "x"),
    }
    for name, (arms, colour, mark) in groups.items():
        known = [a for a in arms if a in cost and a in score]
        means = [(np.mean(cost[a]) / 1e6, np.mean(score[a])) for a in known]
        label = name if known else f"{name}: runs missing"
        axis.plot([m[0] for m in means], [m[1] for m in means], mark, color=colour, label=label)
        for arm in known:
            axis.plot(np.array(cost[arm]) / 1e6, score[arm], ".", color=colour, alpha=0.4, markersize=4)
    if cost:
        axis.set_xscale("log")
    axis.legend(fontsize=8)
    _show(figure)


def draw_shares(shares: Tensor | None) -> None:
    """Computed against positive share of every test picture, a panel for each level."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    levels = 3 if shares is None else shares.shape[1]
    figure, axes = plt.subplots(1, levels, figsize=(7.2, 2.6))
    for level, axis in enumerate(axes):
        axis.set(xlabel="positive [%]", title=f"level {level + 1}")
        if shares is None:
            axis.text(0.5, 0.5, "run missing", ha="center", transform=axis.transAxes)
            continue
        part = 100 * shares[:, level]
        axis.plot(part[:, 2], part[:, 0], ".", color=palette[0], label="class mask")
        axis.plot(part[:, 2], part[:, 1], "x", color=palette[1], markersize=4, label="box mask")
        top = float(part.max()) * 1.05 + 1
        axis.plot([0, top], [0, top], color="#999999", linewidth=1)
    axes[0].set_ylabel("computed [%]")
    if shares is not None:
        axes[0].legend(fontsize=8)
    figure.tight_layout()
    _show(figure)


def names(config: Config) -> list[str]:
    """The classes of the configuration."""
    return list(CLASSES[: config.classes])


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
