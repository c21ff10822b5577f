"""Training Galactic: hundreds of environments in one batch, rollouts, PPO; physics of one half beside the policy's work on the other."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine import ppo
from vislab.engine.fit import State, descend, fit, initialise, start
from vislab.ops import counter
from vislab.papers.agents.galactic import task
from vislab.papers.agents.galactic.card import Config
from vislab.papers.agents.galactic.data import batch, scene
from vislab.papers.agents.galactic.model import Policy, build, memory_size
from vislab.worlds.control import simulator
from vislab.worlds.control.episodes import Episode
from vislab.worlds.control.simulator import Scene

STATE, EPISODE = simulator.State.__dataclass_fields__, Episode.__dataclass_fields__


@dataclass
class Clock:
    """Seconds by component, and with `keep` every span as (component, which half, begin, end)."""

    device: torch.device = torch.device("cpu")
    seconds: dict[str, float] = field(default_factory=dict)
    spans: list[tuple[str, int, float, float]] = field(default_factory=list)
    keep: bool = False

    @contextmanager
    def measure(self, component: str, half: int = 0) -> Iterator[None]:
        """Add the block's seconds to `component`; work on a GPU is waited for before and after."""
        self._wait()
        begin = time.perf_counter()
        yield
        self._wait()
        end = time.perf_counter()
        self.seconds[component] = self.seconds.get(component, 0.0) + end - begin
        if self.keep:
            self.spans.append((component, half, begin, end))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class NoClock(Clock):
    """Measures nothing."""

    @contextmanager
    def measure(self, component: str, half: int = 0) -> Iterator[None]:
        yield


class Environments:
    """A batch of environments between two steps; `following` holds the episodes that begin where one ends."""

    def __init__(self, config: Config, following: Scene, memory: int, number: int = 0):
        self.config, self.following, self.number = config, following, number
        self.scene = following
        self.state = simulator.begin(task.world_config(config), following.episode)
        count, device = len(self.state.pose), self.state.pose.device
        self.starts = torch.ones(count, dtype=torch.bool, device=device)
        self.limit = torch.full((count,), config.episode_limit, device=device)
        self.memory = torch.zeros(2, count, memory, device=device)
        self.before = torch.zeros(count, task.action_size(config), device=device)
        self.look(NoClock())

    def look(self, clock: Clock) -> None:
        """Observe and render."""
        with clock.measure("render", self.number):
            world = task.world_config(self.config)
            self.observation = simulator.observe(world, self.scene, self.state)
            self.seen = task.seen(self.config, self.scene, self.state, self.before, self.observation)

    def advance(self, action: Float[Tensor, "batch action"], clock: Clock) -> task.Result:
        """One step, new episodes where one ended, and the next observations."""
        config, world = self.config, task.world_config(self.config)
        with clock.measure("simulation", self.number):
            motors, stops = task.commanded(config, action, self.observation)
            self.state, events = simulator.step(world, self.scene, self.state, motors)
            after = simulator.observe(world, self.scene, self.state)
            change = (action - self.before).square().sum(dim=1)
            result = task.judge(config, self.observation, after, events, self.state.steps, self.limit, stops, change)
            self.starts = result.ends
            self.before = action * ~result.ends[:, None]
            if action.is_cuda or bool(result.ends.any()):  # a look at the flag would make the GPU wait
                self.scene, self.state = simulator.restart(world, self.scene, self.state, result.ends, self.following)
                self.limit = torch.where(result.ends, config.episode_limit, self.limit)
        self.look(clock)
        return result

    def packed(self) -> dict[str, Tensor]:
        """Everything but grids and `following`, as plain tensors."""
        found = {f"state/{n}": getattr(self.state, n) for n in STATE} | {"row": self.scene.row}
        found |= {f"episode/{n}": getattr(self.scene.episode, n) for n in EPISODE}
        names = ("starts", "limit", "memory", "before")
        return {n: v.contiguous() for n, v in found.items()} | {n: getattr(self, n) for n in names}

    def unpack(self, values: dict[str, Tensor]) -> None:
        """Go on where `packed` left off."""
        self.state = simulator.State(*(values[f"state/{n}"] for n in STATE))
        self.scene = Scene(Episode(*(values[f"episode/{n}"] for n in EPISODE)), self.following.columns, values["row"])
        self.starts, self.limit = values["starts"], values["limit"]
        self.memory, self.before = values["memory"], values["before"]
        self.look(NoClock())


class Background:
    """Runs one call beside the caller: in a thread on the CPU, on a stream of its own on a GPU; or at once, without overlap."""

    def __init__(self, device: torch.device, overlap: bool):
        self.pool = ThreadPoolExecutor(1) if overlap and device.type == "cpu" else None
        self.stream = torch.cuda.Stream(device) if overlap and device.type == "cuda" else None

    def submit(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """Start `call`; the function that is returned waits for its result."""
        if self.pool is not None:
            future: Future = self.pool.submit(call)
            return future.result
        if self.stream is None:
            result = call()
            return lambda: result
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = call()
            done = self.stream.record_event()

        def wait() -> Any:
            torch.cuda.current_stream().wait_event(done)
            return result

        return wait

    def close(self) -> None:
        """Let the thread go."""
        if self.pool is not None:
            self.pool.shutdown()


def stack(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Dictionaries of one step each, with time in front."""
    return {name: torch.stack([p[name] for p in parts]) for name in parts[0]}


@torch.no_grad()
def collect(
    config: Config,
    policy: Policy,
    halves: Sequence[Environments],
    noise: Float[Tensor, "time batch action"],
    clock: Clock,
    background: Background,
) -> tuple[ppo.Rollout, list[task.Result]]:
    """`config.rollout` steps of every environment; while the policy handles one of `halves`, the others are simulated."""
    std = policy.log_std.exp()
    noises = noise.split([len(h.limit) for h in halves], dim=1)
    first = torch.cat([h.memory for h in halves], dim=1)
    records: list[list[dict[str, Tensor]]] = [[] for _ in halves]
    looks: list[list[dict[str, Tensor]]] = [[] for _ in halves]
    results: list[list[task.Result]] = [[] for _ in halves]
    waiting: list[Callable[[], task.Result] | None] = [None for _ in halves]
    for t in range(config.rollout):
        for k, half in enumerate(halves):
            if waiting[k] is not None:
                results[k].append(waiting[k]())
            with clock.measure("inference", k):
                mean, value, half.memory = policy(
                    {n: v[None] for n, v in half.seen.items()}, half.memory, half.starts[None]
                )
                action = mean[0] + std * noises[k][t]
                likely = ppo.gaussian_log_probability(action, mean[0], policy.log_std)
            looks[k].append(half.seen)
            records[k].append(
                {"actions": action, "log_probabilities": likely, "values": value[0], "starts": half.starts}
            )
            waiting[k] = background.submit(lambda h=half, a=action: h.advance(a, clock))
    final = []
    for k, half in enumerate(halves):
        results[k].append(waiting[k]())
        with clock.measure("inference", k):
            final.append(policy({n: v[None] for n, v in half.seen.items()}, half.memory, half.starts[None])[1][0])

    def joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([p[name] for p in parts], dim=1) for name in parts[0]}

    merged = [
        task.Result(*(torch.cat(v) for v in zip(*map(_values, row), strict=True))) for row in zip(*results, strict=True)
    ]
    rollout = ppo.Rollout(
        observations=joined([stack(p) for p in looks]),
        rewards=torch.stack([r.reward for r in merged]),
        ends=torch.stack([r.ends for r in merged]),
        memory=first,
        final_value=torch.cat(final),
        **joined([stack(p) for p in records]),
    )
    return rollout, merged


def _values(result: task.Result) -> tuple[Tensor, ...]:
    return result.reward, result.ends, result.success, result.picked


def learn(state: State, rollout: ppo.Rollout) -> dict[str, float]:
    """PPO: advantages, normalised over the whole rollout, then descent on parts of the environments with whole histories."""
    config = state.config
    gain = ppo.advantages(rollout, config.discount, config.smoothing)
    returns, gain = gain + rollout.values, ppo.normalised(gain)
    losses: list[dict[str, float]] = []
    for _ in range(config.epochs):
        order = torch.randperm(rollout.rewards.shape[1], device=gain.device)
        for chosen in order.chunk(config.minibatches):
            part = rollout.environments(chosen)
            mean, value, _ = state.model(part.observations, part.memory, part.starts)
            log_std = state.network.log_std
            likely = ppo.gaussian_log_probability(part.actions, mean, log_std)
            found = ppo.clipped_losses(
                likely, part.log_probabilities, gain[:, chosen], value, returns[:, chosen], config.clip
            )
            entropy = ppo.gaussian_entropy(log_std)
            loss = found["loss_policy"] + config.weight_value * found["loss_value"] - config.weight_entropy * entropy
            losses.append(descend(state, {"loss": loss, **found}))
    return {name: sum(v[name] for v in losses) / len(losses) for name in losses[0]}


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """The policy and Adam; environments begin with the first step."""
    model = initialise(build, config, seed)
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate, eps=1e-5)
    return start(config, seed, accelerator, model, optimizer)


def environments(state: State, items: dict[str, Tensor]) -> list[Environments]:
    """All environments, in two halves where physics and policy overlap: as the last step left them, or at new episodes.

    At the very start each has gone through a part of its first episode's time, so that they do not all end together.
    """
    config = state.config
    following = scene(config, "train", state.seed, items)
    whole = Environments(config, following, memory_size(config))
    if state.extra:
        whole.unpack(state.extra)
    else:
        late = torch.arange(len(whole.limit), device=whole.limit.device) / len(whole.limit)
        whole.limit = (config.episode_limit * (1 - late)).ceil().long()
    if config.overlap == "none":
        return [whole]
    return [part(whole, rows, k) for k, rows in enumerate(torch.arange(len(whole.limit)).chunk(2))]


def part(whole: Environments, rows: Tensor, number: int) -> Environments:
    """Some of the environments on their own."""
    rows = rows.to(whole.limit.device)
    following = Scene(whole.following.episode.at(rows), whole.following.columns, whole.following.row[rows])
    found = Environments(whole.config, following, whole.memory.shape[2], number)
    values = {n: v[:, rows] if n == "memory" else v[rows] for n, v in whole.packed().items()}
    found.unpack(values)
    return found


def step(state: State, items: dict[str, Tensor], clock: Clock | None = None) -> dict[str, float]:
    """One update: a rollout of every environment, then PPO on it; `items` are the episodes that begin where one ends.

    Beside the losses it reports the mean reward of a step, the same with its sign turned (what training lowers, "shortfall"),
    how many episodes ended, and how many of these with success, per cent.
    """
    config, clock = state.config, clock or NoClock()
    policy: Policy = state.network
    halves = environments(state, items)
    noise = torch.randn(config.rollout, len(items["start"]), task.action_size(config), device=state.device)
    background = Background(state.device, config.overlap == "halves")
    rollout, results = collect(config, policy, halves, noise, clock, background)
    background.close()
    packed = [h.packed() for h in halves]
    state.extra = {n: torch.cat([p[n] for p in packed], dim=1 if n == "memory" else 0) for n in packed[0]}
    with clock.measure("learning"):
        found = learn(state, rollout)
    ended = torch.stack([r.ends for r in results])
    success = torch.stack([r.success for r in results])
    found["reward"] = float(rollout.rewards.mean())
    found["shortfall"] = -found["reward"]
    found["ended"] = float(ended.sum())
    return found | {"success": 100 * float(success.sum()) / max(1.0, found["ended"])}


def total_steps(config: Config) -> int:
    """Updates of this run."""
    return max(1, round(config.steps * config.step_factor))


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
    after: Callable[[State], None] | None = None,
) -> State:
    """The loop; every update hands one fresh episode to each environment."""
    state = begin(config, seed, accelerator, shared)

    def load(index: Tensor) -> dict[str, Tensor]:
        return batch(config, "train", seed, index, accelerator.device)

    return fit(state, step, load, steps=total_steps(config), after=after, checkpoint=checkpoint, progress=progress)


@torch.no_grad()
def act(
    config: Config, policy: Policy, seed: int, split: str, count: int, device: torch.device, random: bool = False
) -> dict[str, Tensor]:
    """`count` episodes of a split with the policy's mean action, or with random ones.

    "success", "picked" and "steps" (of the episode) for each, "collided" steps, and the base's "path" (time, batch, 3).
    """
    episodes = scene(config, split, seed, batch(config, split, seed, torch.arange(count), device))
    many = Environments(config, episodes, memory_size(config))
    going = torch.ones(count, dtype=torch.bool, device=device)
    found = {name: torch.zeros(count, dtype=torch.bool, device=device) for name in ("success", "picked")}
    steps, path, tips = torch.zeros(count, device=device), [], []
    for t in range(config.episode_limit):
        path.append(many.state.pose)
        tips.append(many.state.body[:, -1])
        if random:
            action = counter.uniform(
                seed, "evaluate", torch.arange(count, device=device), f"{t}", (task.action_size(config),), -1.0, 1.0
            )
        else:
            mean, _, many.memory = policy({n: v[None] for n, v in many.seen.items()}, many.memory, many.starts[None])
            action = mean[0]
        result = many.advance(action, NoClock())
        found["success"] |= result.success & going
        found["picked"] |= result.picked & going
        steps += going
        going &= ~result.ends
        if not bool(going.any()):
            break
    return found | {"steps": steps, "path": torch.stack(path), "tip": torch.stack(tips)}
