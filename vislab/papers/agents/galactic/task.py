"""The task over the batched simulator: what the policy sees, when an episode ends, and what a step is worth.

Everything is computed from the observation vector and the events of a step, never from a path through the room.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.papers.agents.galactic.card import Config
from vislab.worlds.control import simulator
from vislab.worlds.control.episodes import EpisodeConfig
from vislab.worlds.control.robot import CHAINS, to_robot
from vislab.worlds.control.simulator import Events, Scene, State

CHANNELS = {"rgbd": 4, "depth": 1, "none": 0, "boxes": 0}
SKILLS = {"one": 1, "modular": 4}
STOP_ABOVE, STOP_AFTER = 0.5, 5
"""A stop counts above this command, and not in the first steps of an episode."""
NEAR = 0.75
"""The modular rule hands over from going to picking, and from carrying to placing, this near in the floor's plane, metres."""


def world_config(config: Config) -> EpisodeConfig:
    """The world's settings."""
    return EpisodeConfig(
        arm=config.arm, rooms=config.rooms, room_size=config.room_size, furniture=config.furniture, objects=config.objects,
        blocked=config.blocked, collision=config.collision, cell=config.cell, image_size=config.image_size,
    )  # fmt: skip


def action_size(config: Config) -> int:
    """Numbers of an action: grasp, forward, turn, the joints, and where the task has it a stop."""
    return simulator.action_size(world_config(config)) + (config.task == "rearrange")


def state_size(config: Config) -> int:
    """Numbers of the state: the observation, three of the step count, and the furniture where it may be seen."""
    boxes = 7 * config.furniture if config.sensors == "boxes" else 0
    return simulator.observation_size(world_config(config)) + 3 + boxes


@dataclass(frozen=True)
class Parts:
    """The observation vector by name; positions in the robot's frame, `from_tip` those relative to the end effector, metres."""

    start: Float[Tensor, "batch 3"]
    target: Float[Tensor, "batch 3"]
    goal: Float[Tensor, "batch 3"]
    start_from_tip: Float[Tensor, "batch 3"]
    target_from_tip: Float[Tensor, "batch 3"]
    goal_from_tip: Float[Tensor, "batch 3"]
    tip: Float[Tensor, "batch 3"]


def parts(config: Config, observation: Float[Tensor, "batch feature"]) -> Parts:
    """The three-vectors of an observation."""
    joints = CHAINS[config.arm].joints
    return Parts(*observation[:, joints : joints + 21].unflatten(1, (7, 3)).unbind(1))


def seen(
    config: Config, scene: Scene, state: State, before: Float[Tensor, "batch action"], observation: Tensor | None = None
) -> dict[str, Tensor]:
    """What the policy gets: "state", the last action "before", a "picture" with depth first, and the "skill" in charge."""
    world = world_config(config)
    if observation is None:
        observation = simulator.observe(world, scene, state)
    done = state.steps.to(observation.dtype)[:, None] / config.episode_limit
    features = [observation, done, (done * torch.pi).sin(), (done * torch.pi).cos()]
    if config.sensors == "boxes":
        features.append(furniture(scene, state))
    found = {"state": torch.cat(features, dim=1), "before": before}
    if CHANNELS[config.sensors]:
        depth, rgb = simulator.render(world, scene, state, colour=config.sensors == "rgbd")
        found["picture"] = picture(config, depth, rgb)
    if config.skills == "modular":
        found["skill"] = skill(config, observation)
    return found


def picture(config: Config, depth: Tensor, rgb: Tensor | None) -> Float[Tensor, "batch channel h w"]:
    """Depth in [0, 1], and colour behind it."""
    depth = (depth / config.max_depth).clamp(max=1)
    return depth if rgb is None else torch.cat([depth, rgb], dim=1)


def furniture(scene: Scene, state: State) -> Float[Tensor, "batch feature"]:
    """Every piece of furniture in the robot's frame: middle, half its sides, and the heading: for the privileged policy alone."""
    low, high = scene.episode.boxes[..., :3], scene.episode.boxes[..., 3:]
    middle = to_robot(state.pose, (low + high) / 2)
    heading = state.pose[:, None, 2:].expand(-1, low.shape[1], 1)
    return torch.cat([middle, (high - low) / 2, heading.sin()], dim=-1).flatten(1)


def skill(config: Config, observation: Float[Tensor, "batch feature"]) -> Int[Tensor, " batch"]:
    """The modular policy's rule: 0 go to the target, 1 pick it, 2 carry it to the goal, 3 place it."""
    found = parts(config, observation)
    holding = observation[:, -1] > 0
    place = torch.where(holding[:, None], found.goal, found.target)
    return 2 * holding.long() + (place[:, :2].norm(dim=1) < NEAR).long()


def commanded(
    config: Config, action: Float[Tensor, "batch action"], observation: Float[Tensor, "batch feature"]
) -> tuple[Float[Tensor, "batch action"], Bool[Tensor, " batch"]]:
    """The simulator's action, and who says stop.

    In the safe task an object that is held away from its goal is not let go.
    """
    motors = action[:, : simulator.action_size(world_config(config))]
    if config.task == "rearrange":
        return motors, action[:, -1] > STOP_ABOVE
    if config.task == "rearrange_safe":
        away = parts(config, observation).goal_from_tip[:, :2].norm(dim=1) >= world_config(config).goal_radius
        grasp = torch.where(away, 1.0, motors[:, 0])
        motors = torch.cat([grasp[:, None], motors[:, 1:]], dim=1)
    return motors, torch.zeros(len(action), dtype=torch.bool, device=action.device)


@dataclass(frozen=True)
class Result:
    """What a step led to."""

    reward: Float[Tensor, " batch"]
    ends: Bool[Tensor, " batch"]
    """The episode is over."""
    success: Bool[Tensor, " batch"]
    picked: Bool[Tensor, " batch"]
    """The target is held, or was put down in its place."""


def judge(
    config: Config,
    before: Float[Tensor, "batch feature"],
    after: Float[Tensor, "batch feature"],
    events: Events,
    steps: Int[Tensor, " batch"],
    limit: Int[Tensor, " batch"],
    stops: Bool[Tensor, " batch"],
    change: Float[Tensor, " batch"],
) -> Result:
    """Reward and end of a step from the observations around it; `steps` were made in the episode, of `limit`.

    `change` is the squared change of the action.
    """
    old, new = parts(config, before), parts(config, after)
    holding = after[:, -1] > 0
    near = (new.goal - new.target).norm(dim=1) <= world_config(config).goal_radius
    placed = near & ~holding
    picks, wrong = events.picked == 0, events.picked > 0
    progress = old.target_from_tip.norm(dim=1) - new.target_from_tip.norm(dim=1)
    if config.task == "pick":
        success, fails = picks, wrong
    else:
        progress = progress + (old.goal - old.target).norm(dim=1) - (new.goal - new.target).norm(dim=1)
        stops = stops & (steps > STOP_AFTER)
        success = placed & (stops if config.task == "rearrange" else torch.ones_like(placed))
        fails = wrong | ((events.dropped == 0) & ~near) | stops
    fails = fails & ~success
    over = success | fails | (steps >= limit)
    reward = config.reward_progress * progress - config.penalty_action * change
    reward = reward - config.penalty_collision * events.collided
    if config.task != "pick":
        reward = reward + config.reward_pick * (picks & ~near)
    reward = torch.where(success, config.reward_success, reward) - config.penalty_failure * fails
    return Result(reward, over, success, picks | placed)
