"""What the chapter draws: skeletons and skins over time, errors by activity, the number of DDIM steps, a motion taking shape."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine.fit import State
from vislab.ops import counter
from vislab.ops.rotations import turn
from vislab.papers.humans.agrol import experiment
from vislab.papers.humans.agrol.card import Config
from vislab.papers.humans.agrol.data import batch, body, rotations_of, world
from vislab.worlds.base import absolute
from vislab.worlds.bodies import mesh
from vislab.worlds.bodies.clips import ACTIVITIES, Clips, ClipsConfig, ClipsWorld
from vislab.worlds.bodies.skeleton import INDEX, JOINTS, PARENTS, TRACKED

COLOURS = {"left": "#1f77b4", "right": "#ff7f0e", "other": "#333333"}
VIEW = 0.7
SHOWN = ("walk", "squat", "kick", "sit")


def examples(config: Config, seed: int, activities: Sequence[str] = ACTIVITIES, first: int = 0) -> Clips:
    """One test clip of each activity."""
    index = first + torch.arange(len(activities))
    chosen = torch.tensor([ACTIVITIES.index(a) for a in activities])
    return world(config, seed).sample(absolute("test", index), activity=chosen)


def flat(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
    """Seen from the front right: horizontal and vertical, in metres."""
    turned = (turn(torch.tensor(VIEW), 1) @ points.float()[..., None]).squeeze(-1)
    return turned[..., :2]


def bones(joints: Float[Tensor, "22 3"], shift: float = 0.0) -> tuple[np.ndarray, list[str]]:
    """(bone, end, 2) of one skeleton and a colour for each bone: left limbs blue, right ones orange."""
    place = flat(joints) + torch.tensor([shift, 0.0])
    pairs = [(parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0]
    colours = [next((c for n, c in COLOURS.items() if JOINTS[j].startswith(n)), COLOURS["other"]) for _, j in pairs]
    return place[torch.tensor(pairs)].numpy(), colours


def strip(
    axis: Any, joints: Float[Tensor, "frame 22 3"], title: str, trackers: bool = False, gap: float = 0.95
) -> None:
    """Skeletons of a motion side by side, each moved to its place in the row."""
    from matplotlib.collections import LineCollection

    middle = joints[:, [0]] * torch.tensor([1.0, 0.0, 1.0])
    for k, frame in enumerate(joints.float() - middle.float()):
        segments, colours = bones(frame, gap * k)
        axis.add_collection(LineCollection(segments, colors=colours, linewidths=1.6, capstyle="round"))
        if trackers:
            seen = flat(frame[list(TRACKED)])
            axis.plot(seen[:, 0] + gap * k, seen[:, 1], "o", color="#c0392b", markersize=4, zorder=5)
    axis.set(xlim=(-0.7, gap * (len(joints) - 1) + 0.7), ylim=(-0.08, 1.85), aspect="equal", xticks=[], yticks=[])
    axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set_title(title, fontsize=9, loc="left")


def draw_strips(rows: Mapping[str, Tensor | None], trackers: bool = False) -> None:
    """One row of skeletons for each motion (frame, joint, 3); a missing run leaves its row empty."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), 1, figsize=(7.4, 1.75 * len(rows)), squeeze=False)
    for axis, (name, joints) in zip(axes[:, 0], rows.items(), strict=True):
        if joints is None:
            axis.set(xticks=[], yticks=[], title=f"{name} (run missing)")
            axis.grid(False)
            continue
        strip(axis, joints, name, trackers)
    _show(figure)


def recorded_strips(
    artifacts: Mapping[str, Tensor | None], clip: int, config: Config, seed: int
) -> dict[str, Tensor | None]:
    """The truth's strip and those that the arms left, of their walk (0) or kick (1)."""
    found = batch(config, "test", seed, torch.arange(min(36, config.test_items)))
    kind = (0, 2)[clip]
    chosen = int((found["activity"] == kind).int().argmax())
    frames = [k for k in experiment.STRIP if k < config.clip_frames]
    rows = {f"{ACTIVITIES[kind]}, truth": found["joints"][chosen][frames]}
    return rows | {name: None if value is None else value[clip].float() for name, value in artifacts.items()}


def draw_skins(clips: Clips, frames: Sequence[int]) -> None:
    """The skin of one moment of each clip, shaded from the upper left."""
    import matplotlib.pyplot as plt
    from matplotlib.collections import PolyCollection

    faces = mesh.template().faces
    figure, axes = plt.subplots(1, len(clips.activity), figsize=(7.4, 2.2))
    for k, axis in enumerate(axes):
        pose = clips.rotations[k, frames[k]]
        shape = torch.zeros(4)
        shape[3] = -0.5
        skin = mesh.pose(shape, pose, torch.tensor([0.0, float(clips.translation[k, frames[k], 1]), 0.0]))
        turned = (turn(torch.tensor(VIEW), 1) @ skin[..., None]).squeeze(-1)
        corner = turned[faces]
        normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        normal = torch.nn.functional.normalize(normal, dim=-1)
        light = torch.nn.functional.normalize(torch.tensor([-0.5, 0.6, 0.7]), dim=0)
        shade = (0.45 + 0.5 * (normal @ light).clamp(min=0)).numpy()
        order = corner[..., 2].mean(dim=1).argsort().numpy()
        colours = shade[:, None] * np.array([0.62, 0.72, 0.85]) + 0.05
        axis.add_collection(
            PolyCollection(corner[order][..., :2].numpy(), facecolors=colours[order], edgecolors="none")
        )
        axis.set(xlim=(-0.75, 0.75), ylim=(-0.05, 1.85), aspect="equal", xticks=[], yticks=[])
        axis.set_title(ACTIVITIES[int(clips.activity[k])], fontsize=9)
        axis.grid(False)
        axis.spines[:].set_visible(False)
    _show(figure)


def ambiguity(config: Config, seed: int, items: int = 60) -> dict[str, list[float]]:
    """Spread of the joints about the clips' mean for each activity, in centimetres, relative to the pelvis: arms and legs."""
    bodies = ClipsWorld(ClipsConfig(config.clip_frames, config.fps, 0.0, config.freedom, config.cue), seed)
    kind = torch.arange(items) % 6
    clips = bodies.sample(absolute("test", torch.arange(items)), activity=kind)
    relative = clips.joints - clips.joints[:, :, :1]
    groups = {
        "wrists": ("left_wrist", "right_wrist"),
        "knees": ("left_knee", "right_knee"),
        "feet": ("left_foot", "right_foot"),
    }
    found = {}
    for name, joints in groups.items():
        mine = relative[:, :, [INDEX[j] for j in joints]]
        spread = [mine[kind == k].flatten(0, 1).std(dim=0).norm(dim=-1).mean() for k in range(6)]
        found[name] = [100 * float(s) for s in spread]
    return found


def draw_bars(rows: Mapping[str, Sequence[float] | Tensor | None], ylabel: str) -> None:
    """Grouped bars over the six activities; missing runs are named in the legend."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(7.2, 3.0))
    width = 0.8 / len(rows)
    for k, (name, values) in enumerate(rows.items()):
        where = np.arange(6) + (k - (len(rows) - 1) / 2) * width
        if values is None:
            axis.bar(where, np.zeros(6), width, color=palette[k], label=f"{name} (run missing)")
        else:
            axis.bar(where, [float(v) for v in values], width * 0.92, color=palette[k], label=name)
    axis.set(xticks=range(6), xticklabels=ACTIVITIES, ylabel=ylabel)
    axis.grid(False, axis="x")
    axis.legend(ncols=len(rows), loc="upper center", bbox_to_anchor=(0.5, 1.18))
    _show(figure)


def draw_steps(lines: Mapping[str, Tensor | None], truth: float | None) -> None:
    """Lower-body error, velocity error and jitter over the number of DDIM steps, one line an arm."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axes = plt.subplots(1, 3, figsize=(7.6, 2.8))
    names = ("lower-body error [cm]", "MPJVE [cm/s]", "jitter [10² m/s³]")
    for row, (axis, name) in enumerate(zip(axes, names, strict=True), start=2):
        for k, (arm, values) in enumerate(lines.items()):
            if values is None:
                axis.plot([], [], color=palette[k], label=f"{arm} (run missing)")
            else:
                axis.plot(values[0], values[row], "os^"[k % 3] + "-", color=palette[k], label=arm, markersize=4)
        axis.set(xscale="log", xlabel="DDIM steps", title=name, xticks=experiment.STEPS)
        axis.set_xticklabels([str(s) for s in experiment.STEPS])
        axis.minorticks_off()
    if truth is not None:
        axes[2].axhline(truth, color="#555555", linestyle="--", linewidth=1, label="truth")
    axes[2].legend(fontsize=7)
    _show(figure)


def foot_heights(state: State, config: Config, seed: int, activity: str = "walk") -> dict[str, Tensor]:
    """Height of the left foot in the truth, as the network trained here denoises it, and as one step alone does; in centimetres."""
    clips = examples(config, seed, (activity,))
    items = {"sparse": clips.sparse.to(state.device)}
    found = {"truth": 100 * clips.joints[0, :, INDEX["left_foot"], 1]}
    for steps in (1, config.ddim_steps):
        changed = dataclasses.replace(config, ddim_steps=steps)
        pose = experiment.predict(state, changed, items["sparse"], torch.arange(1))
        joints = body(rotations_of(pose), items["sparse"], state.extra["bones"])
        found[f"{steps} steps" if steps > 1 else "1 step"] = 100 * joints[0, :, INDEX["left_foot"], 1].cpu()
    return found


def draw_heights(lines: Mapping[str, Tensor], config: Config) -> None:
    """Curves over the frames, with the borders of windows as grey lines."""
    import matplotlib.pyplot as plt

    from vislab.viz import palette

    figure, axis = plt.subplots(figsize=(7.0, 2.8))
    for k, (name, values) in enumerate(lines.items()):
        style = {"color": "#333333", "linewidth": 2.2} if name == "truth" else {"color": palette[k], "linewidth": 1.3}
        axis.plot(np.arange(len(values)) / config.fps, values, label=name, **style)
    for border in range(config.window, config.clip_frames, config.window):
        axis.axvline(border / config.fps, color="#bbbbbb", linewidth=1)
    axis.set(xlabel="time [s]", ylabel="left foot [cm]")
    axis.legend()
    _show(figure)


@torch.no_grad()
def taking_shape(state: State, config: Config, seed: int, frames: int = 7) -> dict[tuple[str, str], np.ndarray]:
    """A strip for each activity and each step of sampling: what the network holds for the clean motion; step 0 is noise."""
    import matplotlib.pyplot as plt

    from vislab.viz.look import style

    style()
    clips = examples(config, seed, SHOWN)
    sparse = clips.sparse[:, : config.window].to(state.device)
    size = (config.window, 132)
    noise = counter.normal(seed, "evaluate", torch.arange(len(SHOWN)).to(state.device), "widget", size)
    held = [noise]
    experiment.denoised(state, config, sparse, noise, each=lambda k, x: held.append(x))
    shown = torch.linspace(0, config.window - 1, frames).long()
    extra = state.extra
    found = {}
    for row, activity in enumerate(SHOWN):
        for step, clean in enumerate(held):
            pose = clean[row : row + 1] * extra["spread"] + extra["mean"]
            joints = body(rotations_of(pose), sparse[row : row + 1], extra["bones"])[0].cpu()
            figure, axes = plt.subplots(2, 1, figsize=(5.6, 3.3), dpi=90)
            strip(axes[0], joints[shown], "noise" if step == 0 else f"clean motion at step {step}")
            strip(axes[1], clips.joints[row, : config.window][shown], "truth")
            figure.canvas.draw()
            found[activity, str(step)] = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
            plt.close(figure)
    return found


def shape_alt(key: tuple[str, str]) -> str:
    """What a state of the widget shows, in words."""
    activity, step = key
    if step == "0":
        return f"{activity}: random rotations, no body to recognise, above the true motion"
    return f"{activity}: the motion that the network predicts at step {step} of sampling, above the true motion"


@torch.no_grad()
def without_height(state: State, config: Config, seed: int, items: int = 36) -> dict[str, float]:
    """Change of the position error of each group of joints, in centimetres, when the head's height is set to its mean."""
    found, index = experiment.clips(config, seed, "test", state.device, min(items, config.test_items))
    changed = found["sparse"].clone()
    changed[..., 37] = changed[..., 37].mean()
    errors = []
    for sparse in (found["sparse"], changed):
        pose = experiment.predict(state, config, sparse, index)
        joints = body(rotations_of(pose), found["sparse"], state.extra["bones"])
        errors.append(100 * (joints - found["joints"]).norm(dim=-1).mean(dim=(0, 1)))
    groups = {
        "arms": ("shoulder", "elbow", "wrist"),
        "spine": ("spine", "neck", "collar"),
        "knees": ("knee",),
        "feet": ("ankle", "foot"),
    }
    return {
        name: float((errors[1] - errors[0])[[k for n, k in INDEX.items() if any(w in n for w in words)]].mean())
        for name, words in groups.items()
    }


@torch.no_grad()
def leg_spread(state: State, config: Config, seed: int, draws: int = 8) -> dict[str, float]:
    """Standard deviation of the feet and wrists over `draws` samples of one signal, in centimetres, by activity."""
    clips = examples(config, seed)
    sparse = clips.sparse[:, : config.window].to(state.device)
    samples = []
    for k in range(draws):
        pose = experiment.predict(state, config, sparse, torch.arange(len(ACTIVITIES)), f"draw {k}")
        samples.append(body(rotations_of(pose), sparse, state.extra["bones"]))
    spread = 100 * torch.stack(samples).std(dim=0).norm(dim=-1).mean(dim=1)
    feet = spread[:, [INDEX["left_foot"], INDEX["right_foot"]]].mean(dim=1)
    return dict(zip(ACTIVITIES, feet.tolist(), strict=True))


def _show(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.show()
    plt.close(figure)
