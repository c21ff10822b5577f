"""What the chapter draws: the camera's stages, noise before and after the colour transform, and a look inside the network."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislab.engine.metrics import psnr
from vislab.ops.bayer import unpack
from vislab.papers.restoration.dnf.card import Config
from vislab.papers.restoration.dnf.data import world
from vislab.papers.restoration.dnf.experiment import predict
from vislab.papers.restoration.dnf.model import DNF
from vislab.worlds.base import absolute
from vislab.worlds.camera import Shot, develop, linear_from_camera, render

RATIOS = (50, 100, 150, 200, 250, 300)
SCENES = {"dead leaves": "leaves", "photograph": "real"}


def shots(config: Config, seed: int, index: Tensor, scenes: str = "leaves", ratio: float | None = None) -> Shot:
    """Test shots `index` with the truth at every stage; `ratio` replaces their own exposure ratios."""
    camera = world(config, seed, scenes)
    items = absolute("test", index)
    if ratio is None:
        return camera.sample(items)
    linear = camera.photos.sample(items).linear
    return camera.expose(linear, items, torch.full((len(index),), float(ratio)))


def developed(packed: Float[Tensor, "batch channel ph pw"], shot: Shot, config: Config) -> Float[Tensor, "batch 3 h w"]:
    """A packed mosaic through the camera's own pipeline: bilinear demosaicing, white balance, colour matrix, tone, sRGB."""
    return develop(unpack(packed, config.pattern), shot.gains, config.pattern)


def noise_clouds(
    config: Config, seed: int, level: float = 0.35, ratio: float = 250.0, side: int = 96
) -> dict[str, Float[Tensor, "3 count"]]:
    """Red, green and blue of photosites that see one grey: as recorded, after the colour matrix, after the sRGB curve."""
    items = absolute("test", torch.zeros(1, dtype=torch.int64))
    shot = world(config, seed).expose(torch.full((1, 3, side, side), level), items, torch.tensor([ratio]))
    raw = shot.noisy[:, [0, 1, 3]]
    linear = linear_from_camera(raw, shot.gains, config.pattern)
    stages = {"RAW": raw, "after the colour matrix": linear, "after the sRGB curve": render(linear)}
    return {name: value[0].flatten(1) for name, value in stages.items()}


def draw_clouds(clouds: Mapping[str, Tensor]) -> None:
    """Green against blue at each stage, with the correlation over the panel."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axes = plt.subplots(1, len(clouds), figsize=(7.4, 2.7))
    for axis, (name, value) in zip(axes, clouds.items(), strict=True):
        green, blue = value[1], value[2]
        correlation = float(torch.corrcoef(torch.stack([green, blue]))[0, 1])
        axis.plot(green, blue, ".", markersize=2, alpha=0.4, color=palette[0], rasterized=True)
        axis.set(xlabel="green", ylabel="blue", title=f"{name}\ncorrelation {correlation:+.2f}")
    plt.show()
    plt.close(figure)


@torch.no_grad()
def trace(model: DNF, noisy: Float[Tensor, "1 packed h w"]) -> dict[str, Any]:
    """What flows through DNF: features of both encoder passes, RAW features, the gates of the feedback, and the outputs."""
    seen: dict[str, list[Any]] = {"passes": [], "raw": [], "fused": []}
    hooks = [block.register_forward_hook(lambda _m, _i, out: seen["passes"].append(out)) for block in model.encoder]
    hooks.append(model.raw_decoder.register_forward_hook(lambda _m, _i, out: seen["raw"].extend(out)))
    hooks += [f.register_forward_hook(lambda _m, i, _o: seen["fused"].append(i)) for f in model.feedback]
    try:
        outputs = predict(model, noisy)
    finally:
        for hook in hooks:
            hook.remove()
    levels = len(model.encoder)
    gates = [fusion.gate(*inputs)[0] for fusion, inputs in zip(model.feedback, seen["fused"], strict=True)]
    return outputs | {
        "first": seen["passes"][:levels],
        "second": seen["passes"][levels:],
        "features": seen["raw"],
        "gates": gates,
    }


def strength(feature: Float[Tensor, "1 channel h w"]) -> Float[Tensor, "h w"]:
    """Root mean square over channels, scaled so that the 98th percentile is 1."""
    value = feature[0].square().mean(dim=0).sqrt()
    return (value / value.flatten().quantile(0.98).clamp(min=1e-8)).clamp(0, 1).cpu()


def draw_gates(gates: list[Tensor]) -> None:
    """Gate maps of all levels with one colour bar."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(gates), figsize=(7.4, 2.2))
    for level, (axis, gate) in enumerate(zip(axes, gates, strict=True)):
        drawn = axis.imshow(strength(gate), vmin=0, vmax=1, interpolation="nearest")
        height, width = gate.shape[-2:]
        axis.set(xticks=[], yticks=[], title=f"level {level + 1}: {height}×{width}")
        axis.grid(False)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="gate, relative")
    plt.show()
    plt.close(figure)


def ratio_states(
    model: nn.Module, config: Config, seed: int
) -> tuple[dict[tuple[str, str], Float[Tensor, "3 h w"]], dict[str, tuple[Any, list[float]]]]:
    """A strip of pictures for every kind of scene and exposure ratio, and the PSNR of its panels over the ratio.

    The strip shows the amplified input and the denoised RAW, both developed by the camera's pipeline, DNF's picture, the reference.
    """
    device = next(model.parameters()).device
    strips, scores = {}, {}
    for name, scenes in SCENES.items():
        for ratio in RATIOS:
            shot = shots(config, seed, torch.tensor([1]), scenes, ratio)
            outputs = {k: v.cpu() for k, v in predict(model, shot.noisy.to(device)).items()}
            pictures = {
                "input, developed": developed(shot.noisy, shot, config),
                "denoised RAW, developed": developed(outputs["raw"], shot, config),
                "DNF": outputs["rgb"],
            }
            for title, image in pictures.items():
                line = scores.setdefault(f"{title}, {name}", (RATIOS, []))
                line[1].append(float(psnr(image.clamp(0, 1), shot.srgb)))
            gap = torch.ones(3, config.image_size, 3)
            parts = [part for image in (*pictures.values(), shot.srgb) for part in (image[0].clamp(0, 1), gap)]
            strips[name, f"{ratio}×"] = torch.cat(parts[:-1], dim=-1)
    return strips, scores


def compared(reference: Float[Tensor, "3 h w"], artifacts: Mapping[str, Tensor | None]) -> tuple[list[Any], list[str]]:
    """Pictures and titles of the arms beside the reference, cut to the size of what the runs stored."""
    pictures: list[Any] = list(artifacts.values())
    titles = list(artifacts)
    stored = next((p for p in pictures if p is not None), None)
    if stored is not None:
        height, width = stored.shape[:2]
        top, left = (reference.shape[-2] - height) // 2, (reference.shape[-1] - width) // 2
        reference = reference[:, top : top + height, left : left + width]
    return [*pictures, reference], [*titles, "reference"]


def sizes_and_scores(slug: str, profile: str) -> list[tuple[str, str, int, float]] | None:
    """(arm, role, parameters, mean PSNR over seeds) of every arm on the first camera, or None where no run is recorded."""
    from vislab import registry
    from vislab.cards import resolve
    from vislab.engine.measure import parameters
    from vislab.papers.restoration.dnf.model import build
    from vislab.viz.sections import find

    card = registry.card(slug)
    found = find(card, profile)
    if found is None:
        return None
    rows = []
    for arm in card.arms:
        config = resolve(card, found.profile, arm.name)
        scores = [v for v in found.arms.get(arm.name, {}).get("psnr", ()) if v is not None]
        # the second camera's pictures are another test set
        if scores and config.pattern == card.config().pattern:
            with torch.device("meta"):
                size = parameters(build(config))
            rows.append((arm.name, arm.role, size, sum(scores) / len(scores)))
    return rows


def draw_sizes(rows: list[tuple[str, str, int, float]] | None) -> None:
    """PSNR against parameters, judged arms filled, ablations hollow."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(7.2, 3.6))
    axis.set(xlabel="parameters", ylabel="PSNR on dead leaves [dB]")
    if rows is None:
        axis.text(0.5, 0.5, "runs missing", ha="center", va="center", transform=axis.transAxes, color="#555555")
    colours = {"method": palette[1], "baseline": palette[0], "ablation": palette[2]}
    height = -float("inf")
    for name, role, size, score in sorted(rows or (), key=lambda row: row[3]):
        hollow = {"markerfacecolor": "white"} if role == "ablation" else {}
        axis.plot(size, score, "o", color=colours[role], **hollow)
        height = max(score, height + 0.17)  # labels of close points climb
        axis.annotate(name, (size, score), xytext=(size * 1.03, height), fontsize=8)
    if rows:
        axis.set_xscale("log")
        low, high = min(r[2] for r in rows), max(r[2] for r in rows)
        axis.set_xlim(low / 1.3, high * 1.9)
    plt.show()
    plt.close(figure)
