"""What makes Galactic itself: the task's rules, one batch for all environments, overlap, and a rival with the same physics."""

import dataclasses

import pytest
import torch

from vislab.cards import resolve
from vislab.datasets import replicacad
from vislab.engine.fit import initialise
from vislab.ops import counter
from vislab.papers.agents.galactic import task
from vislab.papers.agents.galactic.card import PAPER, PROFILES
from vislab.papers.agents.galactic.data import apartments, batch, columns, scene
from vislab.papers.agents.galactic.experiment import COMPONENTS, crossing, looks, throughput
from vislab.papers.agents.galactic.model import Block, build, memory_size
from vislab.papers.agents.galactic.rival import Workers, shares, worker_counts
from vislab.papers.agents.galactic.train import (
    Background,
    Clock,
    Environments,
    NoClock,
    act,
    begin,
    collect,
    environments,
    step,
    train,
)
from vislab.worlds.control import simulator
from vislab.worlds.control.simulator import Events

SMOKE, TUTORIAL = PROFILES["smoke"], PROFILES["tutorial"]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def some(config, count=8, split="train"):
    return scene(config, split, 0, batch(config, split, 0, torch.arange(count)))


def observation(config, tip, target, goal, holding):
    """An observation with the end effector, target and goal at given places in the robot's frame."""
    tip, target, goal = (torch.tensor([v]) for v in (tip, target, goal))
    joints = torch.zeros(1, 3)
    held = torch.tensor([[float(holding)]])
    return torch.cat([joints, target, target, goal, target - tip, target - tip, goal - tip, tip, held], dim=1)


def judged(config, before, after, picked=-1, dropped=-1, steps=10, stop=False, collided=False, change=0.0):
    events = Events(torch.tensor([picked]), torch.tensor([dropped]), torch.tensor([collided]))
    limit = torch.tensor([config.episode_limit])
    found = task.judge(
        config, before, after, events, torch.tensor([steps]), limit, torch.tensor([stop]), torch.tensor([change])
    )
    return float(found.reward), bool(found.ends), bool(found.success), bool(found.picked)


FAR, NEAR = [2.0, 0.0, 0.8], [2.0, 0.1, 0.8]


def test_reward_is_progress_and_prices():
    config = config_of("galactic", episode_limit=99, penalty_collision=0.1, penalty_action=0.01)
    before = observation(config, [0.5, 0.0, 0.8], [1.5, 0.0, 0.8], FAR, False)
    after = observation(config, [0.7, 0.0, 0.8], [1.5, 0.0, 0.8], FAR, False)
    assert judged(config, before, after)[:3] == (pytest.approx(0.2), False, False)
    assert judged(config, before, after, collided=True, change=2.0)[0] == pytest.approx(0.2 - 0.1 - 0.02)
    # carrying: the target comes nearer to the goal
    before = observation(config, [1.0, 0.0, 0.8], [1.0, 0.0, 0.8], FAR, True)
    after = observation(config, [1.3, 0.0, 0.8], [1.3, 0.0, 0.8], FAR, True)
    assert judged(config, before, after)[0] == pytest.approx(0.3)
    assert judged(config, before, after, picked=0)[0] == pytest.approx(0.3 + config.reward_pick)
    assert judged(config, before, after, steps=99)[1], "the limit ends an episode"


def test_picking_is_the_whole_of_the_pick_task_and_a_wrong_object_ends_it():
    config = config_of("pick")
    before = observation(config, [0.5, 0.0, 0.8], [0.6, 0.0, 0.8], FAR, False)
    after = observation(config, [0.6, 0.0, 0.8], [0.6, 0.0, 0.8], FAR, True)
    assert judged(config, before, after, picked=0) == (config.reward_success, True, True, True)
    assert judged(config, before, after, picked=1)[1:] == (True, False, False)


@pytest.mark.parametrize("arm", ["galactic", "stop"])
def test_success_needs_the_target_released_near_the_goal(arm):
    config = config_of(arm)
    held = observation(config, NEAR, NEAR, FAR, True)
    lying = observation(config, [1.5, 0.0, 0.9], NEAR, FAR, False)
    assert not judged(config, held, held)[2], "held near the goal is no success"
    found = judged(config, held, lying, dropped=0, stop=arm == "stop")
    assert found == (config.reward_success, True, True, True)
    away = observation(config, [1.0, 0.0, 0.9], [1.0, 0.0, 0.8], FAR, False)
    assert judged(config, held, away, dropped=0)[1:3] == (True, False), "a wrong drop ends the episode without success"


def test_the_stop_counts_late_and_once():
    config = config_of("stop")
    lying = observation(config, [1.5, 0.0, 0.9], NEAR, FAR, False)
    away = observation(config, [1.0, 0.0, 0.9], [1.0, 0.0, 0.8], FAR, False)
    assert not judged(config, lying, lying)[1], "placed, but nobody said stop"
    assert judged(config, lying, lying, stop=True)[2] and not judged(config, lying, lying, stop=True, steps=5)[1]
    assert judged(config, away, away, stop=True)[1:3] == (True, False)
    assert task.action_size(config) == task.action_size(config_of("galactic")) + 1


def test_a_safe_drop_happens_above_the_goal_alone():
    config = config_of("galactic")
    drop = torch.full((1, task.action_size(config)), -1.0)
    away = task.commanded(config, drop, observation(config, [1.0, 0.0, 0.9], [1.0, 0.0, 0.9], FAR, True))[0]
    above = task.commanded(config, drop, observation(config, [2.0, 0.1, 1.1], [2.0, 0.1, 1.1], FAR, True))[0]
    assert float(away[0, 0]) == 1.0 and float(above[0, 0]) == -1.0 and torch.equal(away[:, 1:], drop[:, 1:])


def test_random_actions_hardly_ever_succeed(cpu):
    for arm in ("galactic", "pick"):
        found = act(resolve(PAPER, "tutorial", arm), None, 0, "test", 200, cpu.device, random=True)
        assert found["success"].float().mean() < 0.03 and found["picked"].float().mean() < 0.03


def test_the_state_knows_nothing_of_the_room():
    config = config_of("galactic")
    found = some(config)
    state = simulator.begin(task.world_config(config), found.episode)
    before = torch.zeros(8, task.action_size(config))
    boxes = found.episode.boxes + torch.tensor([0.3, 0.2, 0.0, 0.3, 0.2, 0.0])
    moved = simulator.Scene(dataclasses.replace(found.episode, boxes=boxes), found.columns, found.row)
    a, b = (task.seen(config, s, state, before) for s in (found, moved))
    assert torch.equal(a["state"], b["state"]) and not torch.equal(a["picture"], b["picture"])
    blind = config_of("blind")
    assert set(task.seen(blind, found, state, before)) == {"state", "before"}
    privileged = config_of("furniture")
    a, b = (task.seen(privileged, s, state, before)["state"] for s in (found, moved))
    assert a.shape[1] == task.state_size(privileged) and not torch.equal(a, b)


def test_evaluation_is_in_rooms_that_training_never_saw():
    train_rooms = batch(TUTORIAL, "train", 0, torch.arange(2000))
    test_rooms = batch(TUTORIAL, "test", 0, torch.arange(400))
    assert len(train_rooms["room"].unique()) == TUTORIAL.rooms
    assert not torch.isin(test_rooms["room"], train_rooms["room"]).any()
    assert not torch.isin(test_rooms["boxes"][..., 0], train_rooms["boxes"][..., 0]).any()


def test_first_episodes_are_staggered(cpu):
    state = begin(SMOKE, 0, cpu)
    items = batch(SMOKE, "train", 0, torch.arange(SMOKE.batch_size))
    (whole,) = environments(state, items)
    assert int(whole.limit.max()) == SMOKE.episode_limit and int(whole.limit.min()) == 1
    assert len(whole.limit.unique()) == SMOKE.episode_limit


def test_environments_go_on_where_the_last_update_left_them(cpu):
    config = dataclasses.replace(SMOKE, episode_limit=50)
    state = begin(config, 0, cpu)
    items = batch(config, "train", 0, torch.arange(config.batch_size))
    with counter.scope(0, "noise", "step0"):
        step(state, items)
    (whole,) = environments(state, batch(config, "train", 0, torch.arange(100, 100 + config.batch_size)))
    late = whole.state.steps == config.rollout
    assert late.float().mean() > 0.7 and torch.equal(whole.scene.episode.goal[late], items["goal"][late])
    assert not torch.equal(whole.following.episode.goal, items["goal"]) and whole.memory.abs().sum() > 0


def test_ended_environments_begin_the_next_episode():
    config = dataclasses.replace(SMOKE, episode_limit=2)
    many = Environments(config, some(config), memory_size(config))
    following = some(config, 16)
    rows = torch.arange(8, 16)
    many.following = simulator.Scene(following.episode.at(rows), following.columns, following.row[rows])
    action = torch.full((8, task.action_size(config)), 0.5)
    for _ in range(2):
        assert not many.starts.all() or int(many.state.steps.max()) == 0
        result = many.advance(action, NoClock())
    assert result.ends.all() and many.starts.all() and not many.before.any()
    assert torch.equal(many.state.pose, following.episode.start[8:])
    assert torch.equal(many.seen["state"][:, -3], torch.zeros(8)), "the step count starts anew"


def test_overlap_changes_no_result(cpu):
    """A half that is simulated in the background while the policy handles the other gives what all at once gives."""
    found = []
    for overlap in ("none", "halves"):
        config = dataclasses.replace(SMOKE, overlap=overlap)
        state = begin(config, 0, cpu)
        items = batch(config, "train", 0, torch.arange(config.batch_size))
        noise = counter.normal(0, "noise", torch.arange(config.rollout), "a", (config.batch_size, 6))
        clock = Clock(keep=True)
        background = Background(cpu.device, overlap == "halves")
        halves = environments(state, items)
        rollout, _ = collect(config, state.network, halves, noise, clock, background)
        background.close()
        found.append(rollout)
        assert {span[0] for span in clock.spans} == {"simulation", "render", "inference"}
        assert len({span[1] for span in clock.spans}) == (2 if overlap == "halves" else 1)
    for name in ("actions", "rewards", "values", "ends", "starts", "final_value"):
        a, b = (getattr(r, name).float() for r in found)
        assert torch.allclose(a, b, atol=1e-4), name


def test_a_rollout_replays_through_the_network(cpu):
    """Values and likelihoods recomputed over whole histories, with memory cleared where episodes start, are the recorded ones."""
    config = dataclasses.replace(SMOKE, episode_limit=5)
    state = begin(config, 0, cpu)
    items = batch(config, "train", 0, torch.arange(config.batch_size))
    noise = counter.normal(0, "noise", torch.arange(config.rollout), "a", (config.batch_size, 6))
    halves, background = environments(state, items), Background(cpu.device, False)
    rollout, _ = collect(config, state.network, halves, noise, NoClock(), background)
    with torch.no_grad():
        mean, value, _ = state.network(rollout.observations, rollout.memory, rollout.starts)
    assert rollout.ends.any() and torch.equal(rollout.starts[1:], rollout.ends[:-1])
    assert torch.allclose(value, rollout.values, atol=1e-5)
    assert torch.allclose(mean + noise * state.network.log_std.exp(), rollout.actions, atol=1e-5)


def test_workers_do_the_same_physics():
    """The process-based rival, given the same actions, sees what the batched simulator sees and gets the same rewards."""
    config = dataclasses.replace(SMOKE, episode_limit=40, sensors="rgbd")
    found = some(config)
    many = Environments(config, found, memory_size(config))
    workers = Workers(config, found, 2, memory_size(config), torch.device("cpu"))
    try:
        agreed = torch.ones(8, dtype=torch.bool)
        for t in range(25):
            action = counter.uniform(0, "noise", torch.arange(8), f"w{t}", (6,), -1.0, 1.0)
            action[:, 1] += 0.5
            ours, theirs = many.advance(action, NoClock()), workers.advance(action, NoClock())
            agreed &= (many.seen["state"] - workers.seen["state"]).abs().amax(1) < 1e-3
            agreed &= (ours.reward - theirs.reward).abs() < 1e-3
        # a collision within float32 rounding of a cell's edge may part one pair of trajectories
        assert agreed.sum() >= 7
        picture = (many.seen["picture"] - workers.seen["picture"])[agreed].abs()
        assert picture.shape[1] == 4 and (picture < 1e-2).float().mean() > 0.95
    finally:
        workers.close()
    with pytest.raises(ValueError, match="evenly"):
        Workers(config, found, 3, memory_size(config), torch.device("cpu"))
    assert torch.equal(shares(found, 2)[1].episode.goal, found.episode.goal[4:])
    assert 1 in worker_counts(8) and all(8 % n == 0 for n in worker_counts(8))


def test_a_smaller_budget_is_the_beginning_of_a_larger_one(cpu):
    config = dataclasses.replace(SMOKE, steps=4)
    whole = train(config, 0, cpu).history
    half = train(dataclasses.replace(config, step_factor=0.5), 0, cpu).history
    assert len(whole) == 4 and half == whole[:2]


def test_the_network_at_the_papers_size():
    with torch.device("meta"):
        model = build(PROFILES["paper"])
    (net,) = model.nets
    assert sum(p.numel() for p in model.parameters()) == 5_147_753
    assert net.picture.outputs == 1024 and net.memory.cell.hidden_size == 512 and len(net.picture.blocks) == 4
    assert net.picture.stem[1].in_channels == 4 * 16 and net.picture.blocks[3].conv1.out_channels == 256


def test_a_block_begins_as_its_shortcut():
    with counter.scope(0, "init"):
        block, x = Block(8, 16, 2, 4, 0.5), torch.rand(2, 8, 6, 6)
    assert torch.allclose(block(x), torch.relu(block.shortcut(x))) and block(x).shape == (2, 16, 3, 3)


def test_skills_are_switched_by_distance_and_holding(cpu):
    config = config_of("modular")
    cases = [([3.0, 0.0, 0.8], False, 0), ([0.5, 0.3, 0.8], False, 1)]
    for target, holding, number in cases:
        seen = observation(config, [0.5, 0.0, 0.8], target, FAR, holding)
        assert int(task.skill(config, seen)) == number
    for goal, number in ((FAR, 2), ([0.5, 0.0, 0.8], 3)):
        seen = observation(config, [0.5, 0.0, 0.8], [0.5, 0.0, 0.8], goal, True)
        assert int(task.skill(config, seen)) == number
    model = initialise(build, config, 0)
    found = some(config, 3)
    seen = Environments(config, found, memory_size(config)).seen
    seen = {n: v[None] for n, v in seen.items()} | {"skill": torch.tensor([[0, 1, 3]])}
    memory, starts = torch.zeros(2, 3, memory_size(config)), torch.ones(1, 3, dtype=torch.bool)
    mean, value, after = model(seen, memory, starts)
    assert after.shape == memory.shape
    for k, number in enumerate((0, 1, 3)):
        alone = model.nets[number](seen, torch.zeros(2, 3, config.width), starts)
        assert torch.equal(mean[0, k], alone[0][0, k]) and torch.equal(value[0, k], alone[1][0, k])


def test_looks_end_with_the_run_and_the_crossing_is_between_them():
    config = dataclasses.replace(TUTORIAL, steps=100, curve_points=5)
    assert list(looks(config)) == [4, 16, 36, 64, 100]
    curve = [[0.0, 0.0, 0.0, 0.0], [100.0, 0.0, 60.0, 1.0], [200.0, 0.0, 100.0, 2.0]]
    assert crossing(curve) == (150.0, 1.5) and crossing(curve[:2]) == (100.0, 1.0)


def test_time_is_measured_by_component(cpu):
    found = throughput(SMOKE, 4, cpu)
    assert tuple(found) == COMPONENTS and all(v > 0 for v in found.values())


def test_released_episodes_become_a_batch(tmp_path, monkeypatch, cpu):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    replicacad.write_sample(tmp_path / "replicacad")
    for cached in (replicacad.read, apartments, columns):
        cached.cache_clear()
    config = dataclasses.replace(SMOKE, source="replicacad", furniture=4, objects=4, batch_size=2, steps=1)
    items = batch(config, "train", 0, torch.arange(2))
    # the sample's first and third episode are in the layout for training; the grid's corner is at (-0.5, 0)
    assert torch.allclose(items["start"], torch.tensor([[0.5, -2.0, 0.0], [1.5, -2.0, torch.pi / 2]]), atol=1e-5)
    assert torch.allclose(items["objects"][1, 0], torch.tensor([0.7, -2.0, 0.7]), atol=1e-5), "the target comes first"
    assert (items["objects"][0, 2:, 2] < 0).all() and items["boxes"].shape == (2, 4, 6)
    unseen = batch(config, "validation", 0, torch.arange(2))
    assert not torch.isin(unseen["room"], items["room"]).any()
    assert columns(config, "train", 0).shape[0] == 2
    assert train(config, 0, cpu).step == 1
    for cached in (replicacad.read, apartments, columns):
        cached.cache_clear()
