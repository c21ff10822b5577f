"""One run of an arm, its success in unseen rooms, and the comparison of speeds with the process-based rival."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved
from vislab.engine.outcome import Outcome
from vislab.ops import counter
from vislab.papers.agents.galactic import task
from vislab.papers.agents.galactic.card import Config
from vislab.papers.agents.galactic.data import batch, scene
from vislab.papers.agents.galactic.model import Policy, memory_size
from vislab.papers.agents.galactic.rival import Workers, worker_counts
from vislab.papers.agents.galactic.train import (
    Background,
    Clock,
    Environments,
    NoClock,
    act,
    begin,
    collect,
    learn,
    step,
    total_steps,
    train,
)

ENOUGH = 80.0
"""Per cent of picks at which the paper's clock stops."""
COUNTS = (1, 4, 16, 64, 256, 1024)
COMPONENTS = ("simulation", "render", "inference", "learning")


def evaluate(
    state: State, config: Config, seed: int, split: str = "test", shared: dict[str, Tensor] | None = None
) -> dict[str, float]:
    """Success in rooms that training never saw, with the mean action: the task's, and that of picking the target, per cent."""
    count = {"validation": config.validation_items, "test": config.test_items}[split]
    found = act(config, state.network.eval(), seed, split, count, state.device)
    return {
        "success": 100 * float(found["success"].float().mean()),
        "success_pick": 100 * float(found["picked"].float().mean()),
    }


def looks(config: Config) -> dict[int, int]:
    """Updates after which validation episodes are run, by the square so that they are denser at the start."""
    total = total_steps(config)
    return {max(1, round(total * (k / config.curve_points) ** 2)): k for k in range(1, config.curve_points + 1)}


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm, with validation along the way.

    `experience_pick` is where the share of picks passes 80%, in environment steps, and `seconds_pick` the seconds of training up
    to there (of the processor on a CPU, of the clock on a GPU); both are those of the whole run where it never does.
    """
    now = time.process_time if accelerator.device.type == "cpu" else time.perf_counter
    marks, begun, lost = looks(config), now(), 0.0
    curve: list[list[float]] = [[0.0, 0.0, 0.0, 0.0]]

    def look(state: State) -> None:
        nonlocal lost
        if state.step in marks:
            pause = now()
            found = evaluate(state, config, seed, "validation")
            made = state.step * config.rollout * config.batch_size
            curve.append([made, found["success"], found["success_pick"], pause - begun - lost])
            lost += now() - pause

    state = train(config, seed, accelerator, shared, after=look)
    steps, seconds = crossing(curve)
    metrics = evaluate(state, config, seed) | {"experience_pick": steps / 1e6, "seconds_pick": seconds}
    if seed != 0:
        return Outcome(metrics)
    return Outcome(metrics, artifacts(state, config, seed) | {"curve": torch.tensor(curve)})


def crossing(curve: list[list[float]]) -> tuple[float, float]:
    """Steps and seconds at which picks pass `ENOUGH`, linear between evaluations; those of the last one where they do not."""
    for old, new in zip(curve, curve[1:], strict=False):
        if new[2] >= ENOUGH:
            share = (ENOUGH - old[2]) / max(new[2] - old[2], 1e-9)
            return old[0] + share * (new[0] - old[0]), old[3] + share * (new[3] - old[3])
    return curve[-1][0], curve[-1][3]


def artifacts(state: State, config: Config, seed: int) -> dict[str, Tensor]:
    """Training success in at most 60 points, and the paths of base and end effector in three test episodes."""
    found = act(config, state.network, seed, "test", 3, state.device)
    history = torch.tensor([[h["reward"], h["success"]] for h in state.history])
    width = -(-len(history) // 60)
    history = torch.stack([part.mean(dim=0) for part in history.split(width)])
    long = min(len(found["path"]), 200)
    return {
        "history": history,
        "path": found["path"][:long].half().cpu(),
        "tip": found["tip"][:long].half().cpu(),
        "lasted": found["steps"].cpu(),
    }


def throughput(config: Config, count: int, accelerator: Any, updates: int = 1) -> dict[str, float]:
    """Seconds of each component for one environment step, of `count` environments."""
    config = dataclasses.replace(config, batch_size=count, minibatches=min(config.minibatches, count))
    state = begin(config, 0, accelerator)
    items = batch(config, "train", 0, torch.arange(count), accelerator.device)
    clock = Clock(accelerator.device)
    for spare in (NoClock(), *[clock] * updates):
        with counter.scope(0, "noise", "throughput"):
            step(state, items, spare)
    made = updates * config.rollout * count
    return {name: clock.seconds[name] / made for name in COMPONENTS}


def simulate(config: Config, side: Environments | Workers, steps: int) -> Callable[[], None]:
    """A call that makes `steps` steps of all environments of one side with random actions, observed and rendered."""
    count = len(side.limit)
    actions = counter.uniform(
        0, "evaluate", torch.arange(count), "speed", (16, task.action_size(config)), -1.0, 1.0
    ).to(side.limit.device)

    def call() -> None:
        for t in range(steps):
            side.advance(actions[:, t % 16], NoClock())

    return call


def update_with(state: State, side: Workers) -> Callable[[], None]:
    """A call that makes one update of PPO from the rival's environments."""
    config, background = state.config, Background(state.device, False)
    policy: Policy = state.network
    noise = counter.normal(
        0, "evaluate", torch.arange(config.rollout), "speed", (len(side.limit), task.action_size(config))
    ).to(state.device)

    def call() -> None:
        with counter.scope(0, "noise", "compare"):
            learn(state, collect(config, policy, [side], noise, NoClock(), background)[0])

    return call


def update(state: State, items: dict[str, Tensor]) -> Callable[[], None]:
    """A call that makes one update of the batched side."""

    def call() -> None:
        with counter.scope(0, "noise", "compare"):
            step(state, items)

    return call


def best_workers(config: Config, items: dict[str, Tensor], device: torch.device) -> int:
    """The number of worker processes that simulates fastest."""
    speeds = {}
    for processes in worker_counts(config.batch_size):
        side = Workers(config, scene(config, "train", 0, items), processes, memory_size(config), device)
        call = simulate(config, side, 2)
        speeds[processes] = min(interleaved({"one": call}, repeats=3, warmup=1)["one"])
        side.close()
    return min(speeds, key=speeds.__getitem__)


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Environment steps a second of the batched simulator and of worker processes, without and with learning.

    Same rooms, sensors, dynamics, policy, PPO and number of environments, in turns within one process; the rival has all cores
    and the number of processes that is best for it, the batched side one thread (two with overlap, in `speedup_overlap`).
    Where the dynamics are the same, so is the number of steps to 80% picks; the times to get there differ as those of a step do,
    and `speedup_pick` is `speedup_training`.
    """
    device, count = accelerator.device, config.batch_size
    config = dataclasses.replace(config, overlap="none")
    items = batch(config, "train", 0, torch.arange(count), device)
    found: dict[str, float] = {"workers": float(best_workers(config, items, device))}
    workers = Workers(config, scene(config, "train", 0, items), int(found["workers"]), memory_size(config), device)

    def batched(**changes: Any) -> Environments:
        other = dataclasses.replace(config, **changes)
        return Environments(other, scene(other, "train", 0, items), memory_size(other))

    try:
        many, few = min(16, config.rollout), 4
        sides = {"workers": simulate(config, workers, few)}
        variants = {
            "batched": {}, "boxes": {"collision": "boxes"}, "blind": {"sensors": "none"},
            "large": {"image_size": 4 * config.image_size},
        }  # fmt: skip
        for name, changes in variants.items():
            other = dataclasses.replace(config, **changes)
            sides[name] = simulate(other, batched(**changes), many)
        times = interleaved(sides, repeats=12)
        each = {name: [t / (few if name == "workers" else many) / count for t in times[name]] for name in sides}
        found |= compared("speedup_simulation", each["workers"], each["batched"])
        found |= compared("speedup_grid", each["boxes"], each["batched"])
        found |= compared("speedup_blind", each["batched"], each["blind"])
        found |= compared("speedup_small", each["large"], each["batched"])
        states = {name: begin(config, 0, accelerator) for name in ("batched", "workers", "halves")}
        states["halves"].config = dataclasses.replace(config, overlap="halves")
        times = interleaved(
            {
                "batched": update(states["batched"], items),
                "halves": update(states["halves"], items),
                "workers": update_with(states["workers"], workers),
            },
            repeats=10,
            warmup=1,
        )
    finally:
        workers.close()
    found |= compared("speedup_training", times["workers"], times["batched"])
    found |= compared("speedup_pick", times["workers"], times["batched"])
    found |= compared("speedup_overlap", times["batched"], times["halves"])
    made = config.rollout * count
    for name in ("batched", "workers"):
        found[f"throughput_simulation_{name}"] = 1 / sorted(each[name])[len(each[name]) // 2]
        found[f"throughput_training_{name}"] = made / sorted(times[name])[len(times[name]) // 2]
    for size in COUNTS if config.steps > 10 else COUNTS[:2]:
        parts = throughput(config, size, accelerator)
        found[f"throughput_simulation_{size}"] = 1 / (parts["simulation"] + parts["render"])
        found[f"throughput_training_{size}"] = 1 / sum(parts.values())
    return Outcome(found)
