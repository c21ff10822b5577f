"""One run of an arm: sampled or regressed motion of whole clips, its errors and its smoothness; the cost of a window."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved
from vislab.engine.motion import angle_error, jitter, position_error, vector_error, velocity_error
from vislab.engine.outcome import Outcome
from vislab.nn import diffusion
from vislab.ops import counter
from vislab.ops.rotations import log_so3
from vislab.papers.humans.agrol.card import PROFILES, Config
from vislab.papers.humans.agrol.data import batch, body, rotations_of
from vislab.papers.humans.agrol.model import build, contexts
from vislab.papers.humans.agrol.train import train
from vislab.worlds.bodies.skeleton import HANDS, LOWER, UPPER

ITEMS = {"validation": "validation_items", "test": "test_items"}
STEPS = (1, 2, 5, 10, 50)
STRIP = tuple(range(0, 48, 6))


def spans(frames: int, window: int, stride: int) -> list[tuple[int, int]]:
    """(start, first new frame) of the windows that cover a clip; the last one is moved back so that it ends with the clip."""
    found, done = [], 0
    while done < frames:
        start = 0 if done == 0 else min(done + stride - window, frames - window)
        found.append((start, done))
        done = start + window
    return found


def sampler(config: Config) -> Any:
    """DDIM (section 4.1); the released code draws ancestral samples at the same five times."""
    kind = "ddim" if config.follow == "paper" else "ddpm"
    return diffusion.scheduler(kind, "squaredcos_cap_v2", config.target, config.times)


@torch.no_grad()
def denoised(
    state: State,
    config: Config,
    sparse: Float[Tensor, "batch frame 54"],
    noise: Float[Tensor, "batch frame 132"],
    known: Float[Tensor, "batch known 132"] | None = None,
    each: Callable[[int, Tensor], None] | None = None,
) -> Float[Tensor, "batch frame 132"]:
    """One window of standardised motion by DDIM.

    Where the first frames are `known`, they stand in the network's clean motion at every step.
    `each(k, x)` sees what the network holds for the clean motion in step k.
    """
    model = state.network.eval()
    calls = iter(range(config.ddim_steps))

    def predict(x: Tensor, time: Tensor) -> Tensor:
        output = model(x, time.to(x.device).expand(len(x)), sparse)
        if known is not None and config.target == "sample":
            output = torch.cat([known, output[:, known.shape[1] :]], dim=1)
        if each is not None:
            whole = time.to(x.device).expand(len(x))
            each(next(calls), diffusion.predicted_clean(output, x, whole, state.extra["cumulative"], config.target))
        return output

    generator = counter.generator(state.seed, "evaluate", "ancestral", sparse.device)
    return diffusion.sample(predict, sampler(config), noise, config.ddim_steps, generator)


@torch.no_grad()
def predict(
    state: State,
    config: Config,
    sparse: Float[Tensor, "batch frame 54"],
    index: Int[Tensor, " batch"],
    draw: str = "",
) -> Float[Tensor, "batch frame 132"]:
    """6D rotations of whole clips; `index` and `draw` name the noise that sampling starts from."""
    model, extra = state.network.eval(), state.extra
    if config.task == "regression" and config.network == "transformer":
        every = contexts(sparse, config.context).flatten(0, 1)
        parts = [model(part) for part in every.split(4 * config.eval_batch_size)]
        pose = torch.cat(parts).reshape(*sparse.shape[:2], -1)
        return pose * extra["spread"] + extra["mean"]
    stride = config.window if config.windows == "apart" else config.overlap_stride
    pieces: list[Tensor] = []
    memory = None
    for number, (first, done) in enumerate(spans(sparse.shape[1], config.window, stride)):
        window = sparse[:, first : first + config.window]
        if config.task == "regression":
            pose = model(window)
        else:
            size = (config.window, 132)
            noise = counter.normal(state.seed, "evaluate", index.to(sparse.device), f"noise {number} {draw}", size)
            keep = config.windows == "overlapping" and config.follow == "paper" and done > first
            pose = denoised(state, config, window, noise, memory[:, first - done :] if keep else None)
        memory = pose
        pieces.append(pose[:, done - first :])
    return torch.cat(pieces, dim=1) * extra["spread"] + extra["mean"]


def lost(sparse: Float[Tensor, "batch frame 54"], config: Config, seed: int, index: Tensor) -> Tensor:
    """The signal with `lost_frames` random frames of every window's length set to zero."""
    order = counter.permutation(seed, "evaluate", index.to(sparse.device), "lost", sparse.shape[1])
    share = config.lost_frames / config.window
    gone = order < round(share * sparse.shape[1])
    return sparse.masked_fill(gone[..., None], 0.0)


def measured(
    pose: Float[Tensor, "batch frame 132"], items: dict[str, Tensor], bones: Tensor, fps: float
) -> tuple[dict[str, float], Float[Tensor, "batch frame 22 3"]]:
    """All metrics of a predicted motion (degrees, centimetres, centimetres a second, hundreds of m/s^3), and its joints."""
    rotations, truth = rotations_of(pose), rotations_of(items["pose"])
    joints, real = body(rotations, items["sparse"], bones), items["joints"]
    rough, exact = jitter(joints, fps) / 100, jitter(real, fps) / 100
    return {
        "mpjre": math.degrees(vector_error(log_so3(rotations[:, :, 1:]), log_so3(truth[:, :, 1:]))),
        "mpjre_geodesic": math.degrees(angle_error(rotations[:, :, 1:], truth[:, :, 1:])),
        "mpjpe": 100 * position_error(joints, real),
        "mpjpe_lower": 100 * position_error(joints, real, LOWER),
        "mpjpe_upper": 100 * position_error(joints, real, UPPER),
        "mpjpe_hands": 100 * position_error(joints, real, HANDS),
        "mpjpe_root": 100 * position_error(joints, real, (0,)),
        "mpjve": 100 * velocity_error(joints, real, fps),
        "jitter": rough,
        "jitter_gap": abs(rough - exact),
        "jitter_truth": exact,
    }, joints


def clips(
    config: Config, seed: int, split: str, device: Any, items: int | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """The clips of a split and their indices."""
    index = torch.arange(items or getattr(config, ITEMS[split]))
    parts = [batch(config, split, seed, part, device) for part in index.split(config.eval_batch_size)]
    return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}, index


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Metrics over whole clips, borders of windows included; on the test split also with lost frames."""
    items, index = clips(config, seed, split, state.device)
    bones = state.extra["bones"]
    found, _ = measured(predict(state, config, items["sparse"], index), items, bones, config.fps)
    if split == "test":
        pose = predict(state, config, lost(items["sparse"], config, seed, index), index)
        found["mpjpe_lost"] = measured(pose, items, bones, config.fps)[0]["mpjpe"]
    return found


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps its curve, its errors by activity and two strips of skeletons."""
    state = train(config, seed, accelerator, shared)
    metrics = evaluate(state, config, seed)
    return Outcome(metrics, artifacts(state, config, seed) if seed == 0 else {})


def artifacts(state: State, config: Config, seed: int, items: int = 36) -> dict[str, Tensor]:
    """Loss, lower-body error by activity, joints of a strip, and for diffusion the metrics over the number of DDIM steps."""
    found, index = clips(config, seed, "test", state.device, min(items, config.test_items))
    bones = state.extra["bones"]
    _, joints = measured(predict(state, config, found["sparse"], index), found, bones, config.fps)
    error = 100 * (joints - found["joints"])[:, :, list(LOWER)].norm(dim=-1).mean(dim=(1, 2))
    activity = found["activity"]
    by_activity = [
        error[activity == k].mean() if (activity == k).any() else error.new_tensor(torch.nan) for k in range(6)
    ]
    frames = [k for k in STRIP if k < joints.shape[1]]
    strip = torch.stack([joints[_first(activity, kind)][frames] for kind in (0, 2)])
    kept = {
        "curve": torch.tensor([h["loss"] for h in state.history])[:: max(1, len(state.history) // 80)],
        "by_activity": torch.stack(by_activity).cpu(),
        "strip": strip.half().cpu(),
    }
    if config.task == "diffusion":
        kept["steps"] = over_steps(state, config, found, index)
    return kept


def _first(activity: Tensor, kind: int) -> int:
    """The first clip of an activity; the first of all where there is none."""
    return int((activity == kind).int().argmax())


def over_steps(state: State, config: Config, items: dict[str, Tensor], index: Tensor) -> Tensor:
    """(metric, count): number of DDIM steps, MPJPE, lower-body error, MPJVE and jitter."""
    rows = []
    for count in STEPS:
        changed = dataclasses.replace(config, ddim_steps=count)
        pose = predict(state, changed, items["sparse"], index)
        values, _ = measured(pose, items, state.extra["bones"], config.fps)
        rows.append([float(count), *(values[n] for n in ("mpjpe", "mpjpe_lower", "mpjve", "jitter"))])
    return torch.tensor(rows).T


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Seconds to denoise one window, over the window's own duration and over the transformer's passes for the same frames."""
    timed = PROFILES["paper"] if config.timed == "paper" else config
    device = accelerator.device
    ours = build(timed).eval().to(device)
    theirs = build(dataclasses.replace(timed, task="regression", network="transformer")).eval().to(device)
    generator = counter.generator(0, "evaluate", "compare", device)
    sparse = torch.randn(1, timed.window, 54, generator=generator, device=device)
    noise = torch.randn(1, timed.window, 132, generator=generator, device=device)
    schedule = sampler(timed)

    def ddim() -> Tensor:
        return diffusion.sample(lambda x, t: ours(x, t.to(device).expand(1), sparse), schedule, noise, timed.ddim_steps)

    with torch.no_grad():
        every = contexts(sparse, timed.context)[0]
        times = interleaved({"ours": ddim, "theirs": lambda: theirs(every)}, repeats=10)
    duration = [timed.window / timed.fps] * len(times["ours"])
    found = compared("seconds_ratio", times["ours"], duration)
    return Outcome(found | compared("seconds_ratio_transformer", times["ours"], times["theirs"]))
