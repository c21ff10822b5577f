"""The process-based rival: environments one at a time in worker processes, behind the same policy and the same PPO."""

import os

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vislab.papers.agents.galactic import task
from vislab.papers.agents.galactic.card import Config
from vislab.papers.agents.galactic.train import Clock
from vislab.worlds.control import reference, simulator
from vislab.worlds.control.simulator import Events, Scene


class Workers:
    """`processes` workers of gymnasium's AsyncVectorEnv, each with its share of the environments, stepped one after the other.

    It has what `train.collect` asks of a batch of environments.
    An episode ends at its step limit alone: the workers know no task, and an untrained policy has no success.
    Rewards come from the same function as the batched side's, applied to what the workers send.
    Raises ValueError when the environments do not divide evenly.
    """

    def __init__(self, config: Config, scene: Scene, processes: int, memory: int, device: torch.device):
        from gymnasium.vector import AsyncVectorEnv

        count = len(scene.row)
        if count % processes:
            raise ValueError(f"{count} environments cannot be shared evenly by {processes} processes")
        self.config, self.world, self.device, self.count = config, task.world_config(config), device, count
        self.colour = task.CHANNELS[config.sensors] == 4
        makers = [
            reference.gymnasium_maker(self.world, share, config.episode_limit, count // processes, self.colour)
            for share in shares(scene, processes)
        ]
        self.pool = AsyncVectorEnv(makers, context="fork")
        self.steps = torch.zeros(count, dtype=torch.int64, device=device)
        self.limit = torch.full((count,), config.episode_limit, device=device)
        self.starts = torch.ones(count, dtype=torch.bool, device=device)
        self.memory = torch.zeros(2, count, memory, device=device)
        self.before = torch.zeros(count, task.action_size(config), device=device)
        self.look(self.pool.reset()[0])

    def look(self, numbers: np.ndarray) -> None:
        """Take what the workers sent apart."""
        flat = torch.from_numpy(numbers.copy()).flatten(0, 1).to(self.device)
        state = simulator.observation_size(self.world)
        self.observation = flat[:, :state]
        done = self.steps[:, None] / self.config.episode_limit
        features = [self.observation, done, (done * torch.pi).sin(), (done * torch.pi).cos()]
        self.seen = {"state": torch.cat(features, dim=1), "before": self.before}
        if task.CHANNELS[self.config.sensors]:
            side = self.config.image_size
            picture = flat[:, state:].unflatten(1, (-1, side, side))
            self.seen["picture"] = task.picture(self.config, picture[:, :1], picture[:, 1:] if self.colour else None)

    def advance(self, action: Float[Tensor, "batch action"], clock: Clock) -> task.Result:
        """One step of every environment."""
        with clock.measure("simulation"):
            before = self.observation
            motors, stops = task.commanded(self.config, action, before)
            groups = motors.clamp(-1, 1).cpu().numpy().reshape(self.pool.num_envs, -1, motors.shape[1])
            numbers = self.pool.step(groups)[0]
            self.steps = self.steps + 1
            ends = self.steps >= self.limit
            self.steps = torch.where(ends, 0, self.steps)
            change = (action - self.before).square().sum(dim=1)
            self.starts, self.before = ends, action * ~ends[:, None]
            self.look(numbers)
            events = self.guess(before, self.observation)
            return task.judge(self.config, before, self.observation, events, self.steps, self.limit, stops, change)

    def guess(self, before: Tensor, after: Tensor) -> Events:
        """What was picked or dropped: the target (0) where it is at the end effector, else another object (1)."""
        held, holds = before[:, -1] > 0, after[:, -1] > 0
        mine = [(task.parts(self.config, o).target_from_tip.norm(dim=1) > 1e-4).long() for o in (before, after)]
        picked, dropped = torch.where(holds & ~held, mine[1], -1), torch.where(held & ~holds, mine[0], -1)
        return Events(picked, dropped, torch.zeros_like(held))

    def close(self) -> None:
        """End the worker processes."""
        self.pool.close()


def shares(scene: Scene, processes: int) -> list[Scene]:
    """The scene's episodes in equal parts on the CPU, for one process each."""
    episode, columns = scene.episode, scene.columns.cpu()
    rows = torch.arange(len(scene.row), device=scene.row.device).chunk(processes)
    found = []
    for part in rows:
        chosen = episode.at(part)
        on_cpu = type(chosen)(*(getattr(chosen, n).cpu() for n in chosen.__dataclass_fields__))
        found.append(Scene(on_cpu, columns, scene.row[part].cpu()))
    return found


def worker_counts(count: int) -> list[int]:
    """Numbers of processes to try: as many as there are cores, twice and four times as many, where they divide `count`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({n for n in (1, cores, 2 * cores, 4 * cores) if n <= count and count % n == 0})
