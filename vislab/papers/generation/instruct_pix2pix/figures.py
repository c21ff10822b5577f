"""What the chapter draws: pairs with and without shared attention, the grid of the two scales, trade-offs, bars of the data."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vislab.engine.fit import State
from vislab.nn.diffusion import guided_twice
from vislab.papers.generation.instruct_pix2pix.card import Config
from vislab.papers.generation.instruct_pix2pix.data import batch, read_length, wanted, world
from vislab.papers.generation.instruct_pix2pix.experiment import edited
from vislab.papers.generation.instruct_pix2pix.pairs import ASKED, generate, passes
from vislab.papers.generation.instruct_pix2pix.sampling import ancestral, own_noise
from vislab.worlds.base import absolute
from vislab.worlds.shapes.captions import words
from vislab.worlds.shapes.edits import edits

NAMES = {
    "ip2p": "InstructPix2Pix", "sdedit": "SDEdit", "sdedit_instruction": "SDEdit told the instruction",
    "optimised": "optimised embedding", "data10": "a tenth of the pairs", "data1": "a hundredth", "unfiltered": "no filter",
    "scratch": "from scratch", "random_channels": "random channels", "single_scale": "one scale",
    "independent": "no shared attention", "longer": "ten times the steps",
}  # fmt: skip
SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0)


def factory(config: Config, seed: int, count: int = 6) -> tuple[list[list[Tensor]], list[str]]:
    """Columns of prompts with two things: the first picture, its partner from the same noise alone, and with shared attention.

    The titles say what was asked, and over the last row the filter's scores and its decision on that pair.
    """
    found = edits(world(seed), torch.arange(10 * count), held_out=False, kinds=ASKED)
    index = found.before.present.all(dim=1).nonzero()[:count, 0] * config.candidates
    alone, pair = (
        generate(dataclasses.replace(config, attention_sharing=on, share_low=0.5, share_high=0.9), seed, index)
        for on in (False, True)
    )
    good = passes(dataclasses.replace(config, candidates=1), pair)
    rows = [list(alone["source"]), list(alone["target"]), list(pair["target"])]
    scores = [
        f"{float(pair['similarity'][k]):.2f} / {float(pair['direction'][k]):.2f}\n{'kept' if good[k] else 'dropped'}"
        for k in range(count)
    ]
    return rows, [*folded(pair["instruction"]), *[""] * count, *scores]


def truths(seed: int, count: int = 6) -> tuple[list[list[Tensor]], list[str]]:
    """Drawn scenes of the test above their true edits, and what was asked."""
    found, where = wanted("test", seed, torch.arange(count))
    sides = [list(world(seed).draw(scene, where).image) for scene in (found.before, found.after)]
    return sides, folded(found.instruction)


def folded(instruction: Tensor) -> list[str]:
    """Instructions as words, in lines of a picture's width."""
    return [textwrap.fill(text, 15) for text in words(instruction)]


def rivals(state: State, seed: int, configs: Mapping[str, Config], count: int = 8) -> list[list[Tensor]]:
    """Rows: test pictures, their true edits, and the edits of every config, which share the frozen parts of `state`."""
    index = torch.arange(count)
    items = batch(state.config, "test", seed, index, state.device)
    rows = [
        edited(state, config, seed, items, absolute("test", index), config.image_scale) for config in configs.values()
    ]
    return [list(row.cpu()) for row in (items["source"], items["target"], *rows)]


@torch.no_grad()
def text_first(state: State, seed: int, count: int = 6) -> list[list[Tensor]]:
    """Rows: test pictures; edits with the picture as the first condition, as in the paper; with the instruction as the first."""
    index, config = torch.arange(count), state.config
    items = batch(config, "test", seed, index, state.device)
    model, shares, null = state.network.eval(), state.extra["shares"], state.extra["null"]
    picture, said = model.encode(items["source"]), model.read(read_length(config, items["instruction"]))
    fresh = own_noise(seed, "evaluate", absolute("test", index), "edit", tuple(picture.shape[1:]))
    blank = torch.zeros_like(picture)

    def denoise(x: Tensor, time: Tensor, k: int) -> Tensor:
        inputs = torch.cat([blank, blank, picture]), torch.cat([null.expand(count, -1, -1), said, said])
        none, text, both = model(torch.cat([x, x, x]), time.expand(3 * count), *inputs).chunk(3)
        return guided_twice(none, text, both, config.text_scale, config.image_scale)

    ours = edited(state, config, seed, items, absolute("test", index), config.image_scale)
    other = model.decode(ancestral(denoise, fresh, config.sample_steps, shares))
    return [list(row.cpu()) for row in (items["source"], ours, other)]


def scale_grid(
    state: State, seed: int, scales: Sequence[float] = SCALES, count: int = 4
) -> tuple[dict[tuple[float, float], Tensor], Tensor, list[str]]:
    """Edits of the first test pictures for every pair (s_I, s_T) of `scales`; the pictures; what was asked."""
    index = torch.arange(count)
    items = batch(state.config, "test", seed, index, state.device)
    found = {}
    for text in scales:
        config = dataclasses.replace(state.config, text_scale=text)
        for image in scales:
            found[(image, text)] = edited(state, config, seed, items, absolute("test", index), image).cpu()
    return found, items["source"].cpu(), words(items["instruction"].cpu())


def strip(source: Tensor, images: Tensor, zoom: int = 3) -> np.ndarray:
    """Pictures above their edits as one (height, width, 3) uint8 array, every pixel `zoom` wide."""
    both = torch.cat([torch.cat(list(source), dim=2), torch.cat(list(images), dim=2)], dim=1)
    large = both.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
    return (255 * large.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()


def scale_alt(grid: Mapping[tuple[float, float], Tensor], source: Tensor, key: tuple[float, float]) -> str:
    """What a state of the widget shows, in words."""
    changed = float((grid[key] - source).square().mean().sqrt())
    return f"Edits with s_I = {key[0]} and s_T = {key[1]}; they differ from the pictures by {changed:.2f} (root mean square)"


def draw_trade_off(curves: Mapping[str, Tensor | None]) -> None:
    """Edit accuracy against what is kept of the rest, one line an arm; leaving the picture alone is the corner at the right."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    figure, axis = plt.subplots(figsize=(6.5, 3.8))
    for k, (arm, curve) in enumerate(curves.items()):
        label = NAMES.get(arm, arm)
        if curve is None:
            axis.plot([], [], color=palette[k], label=f"{label} (run missing)")
            continue
        curve = curve[curve[:, 1].argsort()]
        axis.plot(curve[:, 1], curve[:, 0], "osD^v"[k % 5] + "-", color=palette[k], label=label)
    axis.plot(100, 0, "*", color="black", markersize=12, label="no edit")
    axis.set(xlabel="other attributes kept [%]", ylabel="edits that read as asked [%]", ylim=(-3, None))
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plt.show()
    plt.close(figure)


def draw_bars(values: Mapping[str, Sequence[float]], arms: Sequence[str], label: str) -> None:
    """Mean over seeds as a bar and every seed as a dot, one bar an arm."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    figure, axis = plt.subplots(figsize=(6.5, 0.5 + 0.42 * len(arms)))
    for row, arm in enumerate(arms):
        found = list(values.get(arm, ()))
        axis.barh(row, np.mean(found) if found else 0.0, color=palette[0], alpha=0.45)
        axis.plot(found, [row] * len(found), "o", color=palette[0], markersize=4)
    axis.set(yticks=range(len(arms)), xlabel=label)
    axis.set_yticklabels([NAMES.get(a, a) + ("" if values.get(a) else " (runs missing)") for a in arms])
    axis.invert_yaxis()
    plt.show()
    plt.close(figure)
