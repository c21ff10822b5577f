"""What the chapter draws: rooms from above, column grids, the order of work in a step, speeds, success over experience, paths."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vislab.ops import counter
from vislab.papers.agents.galactic import task
from vislab.papers.agents.galactic.card import Config
from vislab.papers.agents.galactic.data import batch, scene
from vislab.papers.agents.galactic.experiment import COMPONENTS, COUNTS, throughput
from vislab.papers.agents.galactic.train import Clock, begin, step
from vislab.worlds.control import reference, simulator
from vislab.worlds.control.episodes import EpisodeConfig
from vislab.worlds.control.robot import BASE_SPHERES
from vislab.worlds.control.simulator import Scene

COLOURS = dict(zip(COMPONENTS, ("#4477aa", "#66ccee", "#ccbb44", "#ee6677"), strict=True))


def plan(axis: Any, config: Config, episode: Any, row: int) -> None:
    """One room from above: furniture with its height in cm (tables hatched), target, other objects, goal, start."""
    from matplotlib.patches import Rectangle

    boxes, colours = episode.boxes[row].numpy(), episode.colours[row].numpy()
    for box, colour in zip(boxes, colours, strict=False):
        hatch = "///" if box[2] > 0 else None
        width, height = box[3] - box[0], box[4] - box[1]
        axis.add_patch(
            Rectangle(box[:2], width, height, facecolor=colour, edgecolor="black", alpha=0.6, hatch=hatch, lw=0.6)
        )
        axis.text(box[0] + width / 2, box[1] - 0.04, f"{100 * box[5]:.0f}", ha="center", va="top", fontsize=6)
    objects, goal = episode.objects[row].numpy(), episode.goal[row].numpy()
    axis.plot(*objects[0, :2], "*", color="black", markersize=10)
    axis.plot(*objects[1:, :2].T, "s", color="black", markersize=4, markerfacecolor="white")
    axis.plot(*goal[:2], "o", color="black", markersize=9, markerfacecolor="none", markeredgewidth=1.8)
    x, y, heading = episode.start[row].tolist()
    axis.add_patch(_disc(x, y, BASE_SPHERES[0][3]))
    axis.plot([x, x + 0.3 * np.cos(heading)], [y, y + 0.3 * np.sin(heading)], color="#cc3311", lw=1.5)
    axis.set(xlim=(0, config.room_size), ylim=(0, config.room_size), aspect="equal", xticks=[], yticks=[])
    axis.grid(False)


def _disc(x: float, y: float, radius: float) -> Any:
    from matplotlib.patches import Circle

    return Circle((x, y), radius, facecolor="#cc3311", alpha=0.35, edgecolor="#cc3311")


def draw_rooms(config: Config, seed: int, count: int = 4) -> None:
    """Rooms from above, what the head camera sees at the start in colour, and the depth that the policy gets."""
    import matplotlib.pyplot as plt

    from vislab.viz import style

    style()
    found = scene(config, "test", seed, batch(config, "test", seed, torch.arange(count)))
    world = task.world_config(config)
    state = simulator.begin(world, found.episode)
    sharp = simulator.render(dataclasses.replace(world, image_size=96), found, state)[1]
    depth = simulator.render(world, found, state, colour=False)[0]
    figure, axes = plt.subplots(3, count, figsize=(7.4, 5.6))
    for k in range(count):
        plan(axes[0, k], config, found.episode, k)
        axes[1, k].imshow(sharp[k].permute(1, 2, 0).numpy(), interpolation="nearest")
        axes[2, k].imshow(depth[k, 0].numpy(), cmap="viridis", vmin=0, vmax=config.max_depth, interpolation="nearest")
        for axis in axes[1:, k]:
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
    for axis, label in zip(axes[:, 0], ("from above", "colour", "depth, for the policy"), strict=True):
        axis.set_ylabel(label, fontsize=8)
    plt.show()
    plt.close(figure)


def draw_grids(config: Config, seed: int, row: int = 0) -> None:
    """Cells in which a sphere of the base, and one of the arm at two heights, is not free, with the furniture's outlines."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    from vislab.viz import style

    style()
    found = scene(config, "test", seed, batch(config, "test", seed, torch.arange(row + 1)))
    world = task.world_config(config)
    side, size = simulator.cells(world), config.room_size
    columns = found.columns[found.row[row]].reshape(-1, side, side, 2 * world.intervals)
    middle = (torch.arange(side) - 0.5) * world.cell
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.7))
    for axis, (kind, height, name) in zip(axes, ((0, 0.25, "base"), (3, 0.3, "arm"), (3, 0.6, "arm")), strict=True):
        low, high = columns[kind].chunk(2, dim=-1)
        blocked = ~((low <= height) & (high >= height)).any(-1)
        edge = (float(middle[0]) - world.cell / 2, float(middle[-1]) + world.cell / 2)
        axis.imshow(blocked.float().numpy(), origin="lower", extent=(*edge, *edge), cmap="Reds", vmin=0, vmax=1.6)
        for box in found.episode.boxes[row].numpy():
            style_ = "--" if box[2] > 0 else "-"
            axis.add_patch(Rectangle(box[:2], box[3] - box[0], box[4] - box[1], fill=False, lw=1.1, ls=style_))
        radius = simulator.grid_radii(world)[kind]
        axis.set(xlim=(-0.1, size + 0.1), ylim=(-0.1, size + 0.1), xticks=[], yticks=[])
        axis.set_title(f"{name}, radius {100 * radius:.0f} cm, at {100 * height:.0f} cm", fontsize=8)
        axis.grid(False)
    plt.show()
    plt.close(figure)


def spans(config: Config, accelerator: Any, overlap: str, steps: int = 6) -> list[tuple[str, int, float, float]]:
    """What worked when during `steps` steps of a rollout: (component, half, begin, end) in milliseconds."""
    config = dataclasses.replace(config, overlap=overlap, rollout=steps)
    state = begin(config, 0, accelerator)
    items = batch(config, "train", 0, torch.arange(config.batch_size), accelerator.device)
    clock = Clock(accelerator.device)
    for keep in (False, True):
        clock.keep = keep
        with counter.scope(0, "noise", "gantt"):
            step(state, items, clock)
    first = min(s[2] for s in clock.spans)
    return [
        (name, half, 1e3 * (a - first), 1e3 * (b - first)) for name, half, a, b in clock.spans if name != "learning"
    ]


def draw_overlap(found: Mapping[str, list[tuple[str, int, float, float]]]) -> None:
    """One bar chart over time for each way of working: a line for the policy, one for the simulator, halves told by brightness."""
    import matplotlib.pyplot as plt

    from vislab.viz import style

    style()
    figure, axes = plt.subplots(len(found), 1, figsize=(7.4, 1.5 * len(found)), sharex=True, squeeze=False)
    for axis, (title, bars) in zip(axes[:, 0], found.items(), strict=True):
        for name, half, start, end in bars:
            line = 1 if name == "inference" else 0
            axis.barh(line, end - start, left=start, color=COLOURS[name], alpha=0.5 if half else 1.0, height=0.7)
        axis.set(yticks=[0, 1], title=title)
        axis.set_yticklabels(["simulator", "policy"])
        axis.grid(False)
    axes[-1, 0].set_xlabel("milliseconds")
    names = COMPONENTS[:3]
    figure.legend(
        [plt.Rectangle((0, 0), 1, 1, color=COLOURS[n]) for n in names], names, loc="outside right", fontsize=8
    )
    plt.show()
    plt.close(figure)


def measure(config: Config, accelerator: Any, counts: tuple[int, ...] = COUNTS) -> dict[int, dict[str, float]]:
    """Seconds of each component an environment step, by number of environments, on this machine now."""
    return {count: throughput(config, count, accelerator) for count in counts}


def draw_speed(times: Mapping[int, Mapping[str, float]]) -> None:
    """Steps a second without and with the policy, over the number of environments."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    figure, axis = plt.subplots(figsize=(5.6, 3))
    counts = list(times)
    simulated = [1 / (times[n]["simulation"] + times[n]["render"]) for n in counts]
    trained = [1 / sum(times[n].values()) for n in counts]
    axis.loglog(counts, simulated, "o-", color=palette[0], label="simulation and rendering")
    axis.loglog(counts, trained, "s-", color=palette[1], label="with inference and learning")
    axis.set(xlabel="environments in one batch", ylabel="environment steps a second", xticks=counts)
    axis.set_xticklabels(counts)
    axis.minorticks_off()
    axis.legend()
    plt.show()
    plt.close(figure)


def environments(count: int) -> str:
    """A number of environments in words."""
    return f"{count} environment" + "s" * (count != 1)


def time_states(times: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """For each number of environments, how long each component takes for one step of one environment."""
    import matplotlib.pyplot as plt

    from vislab.viz import style

    style()
    found = {}
    for count, parts in times.items():
        figure, axis = plt.subplots(figsize=(4.8, 2.2))
        total = sum(parts.values())
        for k, name in enumerate(COMPONENTS):
            axis.barh(k, 100 * parts[name] / total, color=COLOURS[name])
            axis.text(100 * parts[name] / total + 1, k, f"{1e6 * parts[name]:.3g} µs", va="center", fontsize=8)
        axis.set(xlim=(0, 100), yticks=range(len(COMPONENTS)), xlabel="share of the time [%]")
        axis.set_yticklabels(COMPONENTS)
        axis.set_title(f"{environments(count)}: {1 / total:,.0f} steps a second", fontsize=9)
        axis.invert_yaxis()
        found[str(count)] = figure
    return found


def time_alts(times: Mapping[int, Mapping[str, float]]) -> dict[str, str]:
    """What the widget's states show, in words."""
    texts = {}
    for count, parts in times.items():
        said = ", ".join(f"{name} {1e6 * parts[name]:.3g}" for name in COMPONENTS)
        texts[str(count)] = f"{environments(count)}: microseconds an environment step: {said}."
    return texts


def draw_curves(curves: Mapping[str, Tensor | None]) -> None:
    """Success and picks in validation rooms over environment steps (logarithmic) and over the processor's seconds."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style

    style()
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3), sharey=True)
    for k, (name, curve) in enumerate(curves.items()):
        if curve is None:
            axes[0].plot([], [], color=palette[k], label=f"{name} (run missing)")
            continue
        steps, success, picked, seconds = curve[1:].T.numpy()
        axes[0].plot(steps, success, "o-", color=palette[k], label=name, markersize=4)
        axes[1].plot(seconds, picked, "o-", color=palette[k], markersize=4)
    axes[1].axhline(80, color="black", lw=0.8, ls=":")
    if any(curve is not None for curve in curves.values()):
        axes[0].set_xscale("log")
    axes[0].set(xlabel="environment steps", ylabel="success [%]", ylim=(-3, 103))
    axes[1].set(xlabel="seconds of one core", ylabel="target picked [%]")
    axes[0].legend(fontsize=8)
    plt.show()
    plt.close(figure)


def alone(world: EpisodeConfig, found: Scene, actions: Tensor) -> Tensor:
    """Where the base ends after `actions` (episode, time, number), each episode on its own in the reference: (episode, 3)."""
    one, poses = reference.OneEnvironment(world, found), []
    for row, each in enumerate(actions.tolist()):
        one.reset(row)
        for action in each:
            one.step(action)
        poses.append(one.pose)
    return torch.tensor(poses)


def draw_paths(config: Config, seed: int, path: Tensor | None, tip: Tensor | None, lasted: Tensor | None) -> None:
    """Where base and end effector went in three test rooms."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette, style
    from vislab.worlds.control.robot import to_world

    if path is None or tip is None or lasted is None:
        return
    style()
    count = path.shape[1]
    episode = scene(config, "test", seed, batch(config, "test", seed, torch.arange(count))).episode
    figure, axes = plt.subplots(1, count, figsize=(7.4, 2.7))
    for k, axis in enumerate(axes):
        plan(axis, config, episode, k)
        end = min(int(lasted[k]), len(path))
        base = path[:end, k].float()
        hand = to_world(base, tip[:end, k].float()[:, None])[:, 0]
        axis.plot(*base[:, :2].T.numpy(), color="#cc3311", lw=1.5)
        axis.plot(*hand[:, :2].T.numpy(), color=palette[0], lw=1.2)
        axis.set_title(f"{int(lasted[k])} steps", fontsize=9)
    plt.show()
    plt.close(figure)
