"""The rearrangement world: episodes by index, arms, column grid against boxes, batched against one at a time, pictures."""

import math
from dataclasses import replace

import pytest
import torch

from vislab.ops import counter
from vislab.worlds.control import reference, robot, simulator
from vislab.worlds.control.episodes import EpisodeConfig, Rearrangement, slab

CONFIG = EpisodeConfig()


def start(config=CONFIG, count=16, seed=0):
    episode = Rearrangement(config, seed).sample(torch.arange(count))
    scene = simulator.build_scene(config, episode)
    return scene, simulator.begin(config, episode)


def actions(config, count, step):
    # drives forward more often than not, so that robots meet furniture
    drawn = counter.uniform(0, "noise", torch.arange(count), f"a{step}", (simulator.action_size(config),), -1.3, 1.3)
    drawn[:, 1] += 0.5
    return drawn


def test_an_episode_depends_on_its_index_alone():
    world = Rearrangement(CONFIG, 3)
    together, alone = world.sample(torch.arange(8)), world.sample(torch.tensor([5]))
    for name in together.__dataclass_fields__:
        assert torch.allclose(getattr(together, name)[5:6], getattr(alone, name), atol=1e-6), name
    assert len(world.dataset(0, 4)) == 4 and world.dataset(0, 4)[2]["boxes"].shape == (5, 6)
    with pytest.raises(ValueError, match="furniture"):
        Rearrangement(replace(CONFIG, furniture=9))


def test_furniture_stands_apart_and_objects_lie_on_it():
    episode = Rearrangement(CONFIG, 0).sample(torch.arange(64))
    low, high = episode.boxes[..., :2], episode.boxes[..., 3:5]
    gap = torch.maximum(low[:, :, None] - high[:, None], low[:, None] - high[:, :, None]).amax(-1)
    apart = ~torch.eye(CONFIG.furniture, dtype=torch.bool)
    assert (gap[:, apart] > 0.2).all() and (low > 0).all() and (high < CONFIG.room_size).all()
    for point in [*episode.objects.unbind(1), episode.goal]:
        on = ((point[:, None, :2] > low) & (point[:, None, :2] < high)).all(-1)
        assert (on.sum(1) == 1).all()
        top = episode.boxes[..., 5][on]
        assert torch.allclose(point[:, 2] - CONFIG.object_half, top, atol=1e-6)
    assert ((episode.goal - episode.objects[:, 0]).norm(dim=1) > CONFIG.goal_radius).all()


def test_most_starts_lie_behind_furniture():
    def share(config):
        episode = Rearrangement(config, 0).sample(torch.arange(200))
        origin, way = episode.start[:, None, :2], (episode.objects[:, 0, :2] - episode.start[:, :2])[:, None]
        enter, leave = slab(origin, way, episode.boxes[..., :2] - 0.2, episode.boxes[..., 3:5] + 0.2)
        target = episode.objects[:, :1, :2]
        own = ((target > episode.boxes[..., :2]) & (target < episode.boxes[..., 3:5])).all(-1)
        return float(((enter < leave) & (enter < 1) & (leave > 0) & ~own).any(1).float().mean())

    assert share(CONFIG) > 0.85 and share(replace(CONFIG, blocked=False)) < 0.7


def test_kinematics_of_known_poses():
    straight = robot.forward_kinematics(robot.PLANAR, torch.zeros(1, 3))[0, -1]
    assert torch.allclose(straight, torch.tensor([0.75, 0.0, 0.7]), atol=1e-6)
    down = robot.forward_kinematics(robot.PLANAR, torch.tensor([[math.pi / 2, math.pi / 2, 0.0]]))[0, -1]
    assert torch.allclose(down, torch.tensor([0.05, 0.1, 0.1]), atol=1e-6)
    fetch = robot.forward_kinematics(robot.FETCH, torch.zeros(1, 7))[0, -1]
    assert torch.allclose(fetch, torch.tensor([1.1282, 0.0, 0.786]), atol=1e-4)
    pose, points = torch.tensor([[1.0, 2.0, 0.7]]), torch.tensor([[[0.3, -0.2, 0.5]]])
    assert torch.allclose(robot.to_robot(pose, robot.to_world(pose, points)), points, atol=1e-6)


def test_the_column_grid_of_a_table():
    table = torch.tensor([[[1.0, 1.0, 0.5, 2.0, 2.0, 0.6], [3.0, 3.0, 0.0, 3.5, 3.5, 0.8]]])
    grid = simulator.column_grid(CONFIG, table).reshape(5, 42, 42, 2, 2)  # radius, y, x, (lower, upper), interval

    def spans(radius, y, x):
        found = grid[radius, y + 1, x + 1].T.tolist()
        return sorted([round(v, 2) for v in i] for i in found if i[1] > i[0])

    # the arm's spheres of 5 cm keep that far from the table, below and above
    assert spans(3, 15, 15) == [[0.05, 0.45], [0.65, 2.35]]
    assert spans(3, 32, 32) == [[0.85, 2.35]] and spans(3, 15, 32) == [[0.05, 2.35]]
    # the base's of 20 cm do not fit into the 15 cm beside a wall, and meet the table's edge from 15 cm away
    assert spans(0, 1, 20) == [] and spans(0, 15, 0) == []
    reach = math.sqrt(0.2**2 - 0.15**2)
    assert spans(0, 8, 15) == [[0.2, round(0.5 - reach, 2)], [round(0.6 + reach, 2), 2.2]]
    assert grid[:, 0].flatten(0, 1)[..., 0, :].min() == 1.0, "the ring around the room is not free"


@pytest.mark.parametrize(("cell", "most"), [(0.1, 0.07), (0.05, 0.035)])
def test_the_grid_agrees_with_the_boxes_but_near_edges(cell, most):
    config = replace(CONFIG, cell=cell)
    scene, _ = start(config, 16)
    points = counter.uniform(0, "noise", torch.arange(16), "probe", (400, 3)) * torch.tensor([4.0, 4.0, 1.2])
    kind = torch.full((16, 400), 3)
    grid = simulator.grid_hits(config, scene, points[:, None, :, :2], points[..., 2], kind)[:, 0]
    boxes, radius = scene.episode.boxes, torch.full((16, 1, 400), 0.05)
    exact = simulator.box_hits(points[:, None], radius, boxes[..., :3], boxes[..., 3:])[:, 0]
    top = torch.tensor([4.0, 4.0, 2.4])
    exact |= ((points < 0.05) | (points > top - 0.05)).any(-1)
    assert 0.1 < exact.float().mean() < 0.5 and (grid != exact).float().mean() < most
    # a cell's middle is at most 7.1 cm from any point of the cell
    low, high = boxes[:, None, :, :3] + 0.03, boxes[:, None, :, 3:] - 0.03
    deep = ((points[:, :, None] > low) & (points[:, :, None] < high)).all(-1)
    assert grid[deep.any(-1)].all() and deep.any()


@pytest.mark.parametrize("arm", ["planar", "fetch"])
@pytest.mark.parametrize("collision", ["grid", "boxes"])
def test_batched_and_single_environments_agree(arm, collision):
    """Same trajectories for random actions, grasps included: the target is put within reach of the first environments."""
    config = replace(CONFIG, arm=arm, collision=collision)
    count = 6
    scene, state = start(config, count)
    tip = robot.to_world(state.pose, robot.forward_kinematics(robot.CHAINS[arm], state.angles)[:, -1:])[:, 0]
    objects = scene.episode.objects.clone()
    objects[:3, 0] = tip[:3] + torch.tensor([0.0, 0.0, -0.12])
    scene = replace(scene, episode=replace(scene.episode, objects=objects))
    state = simulator.begin(config, scene.episode)
    ones = []
    for k in range(count):
        one = reference.OneEnvironment(config, scene)
        one.reset(k)
        ones.append(one)
    collisions, picks, drops, agreed = 0, 0, 0, torch.ones(count, dtype=torch.bool)
    for k in range(60):
        action = actions(config, count, k)
        if k == 0:
            action = torch.eye(action.shape[1])[:1].expand(count, -1)  # grasp, and stand still
        state, events = simulator.step(config, scene, state, action)
        for j, one in enumerate(ones):
            picked, dropped, collided = one.step(action[j].tolist())
            same = (picked, dropped, collided) == (
                int(events.picked[j]), int(events.dropped[j]), bool(events.collided[j])
            )  # fmt: skip
            same &= bool(torch.allclose(state.pose[j], torch.tensor(one.pose), atol=1e-3))
            same &= bool(torch.allclose(state.objects[j], torch.tensor(one.objects), atol=1e-3))
            agreed[j] &= same
        collisions, picks = collisions + int(events.collided.sum()), picks + int((events.picked >= 0).sum())
        drops += int((events.dropped >= 0).sum())
    # a collision within float32 rounding of a cell's edge may part one pair of trajectories
    assert agreed.sum() >= count - 1
    assert collisions > 10 and picks >= 2 and drops >= 1
    seen, picture = simulator.observe(config, scene, state), torch.cat(simulator.render(config, scene, state), dim=1)
    assert seen.shape == (count, simulator.observation_size(config))
    for j in torch.nonzero(agreed).flatten().tolist():
        assert torch.allclose(seen[j], torch.from_numpy(ones[j].observe()), atol=2e-3)
        far = (picture[j] - torch.from_numpy(ones[j].render(colour=True))).abs()
        assert (far < 1e-2).float().mean() > 0.95
        assert torch.equal(torch.from_numpy(ones[j].render()), torch.from_numpy(ones[j].render(colour=True)[:1]))


def test_the_robot_never_stands_in_furniture():
    config = replace(CONFIG, collision="boxes")
    scene, state = start(config, 32)
    moved = state.pose[:, :2].clone()
    for k in range(60):
        state, _ = simulator.step(config, scene, state, actions(config, 32, k))
        world, radii = robot.to_world(state.pose, state.body), torch.tensor([[simulator.sphere_radii(config)]])
        boxes = scene.episode.boxes
        assert not simulator.box_hits(world[:, None], radii.expand(32, -1, -1), boxes[..., :3], boxes[..., 3:]).any()
        assert torch.allclose(state.body, robot.spheres(robot.PLANAR, state.angles)[0], atol=1e-6)
    assert ((state.pose[:, :2] - moved).norm(dim=1) > 0.3).float().mean() > 0.5


def test_held_near_the_goal_is_not_in_place_and_dropped_is():
    scene, state = start()
    objects = state.objects.clone()
    objects[:, 0] = scene.episode.goal
    state = replace(state, objects=objects)
    assert simulator.in_place(CONFIG, scene, state).all()
    assert not simulator.in_place(CONFIG, scene, replace(state, held=torch.zeros_like(state.held))).any()
    assert simulator.in_place(CONFIG, scene, replace(state, held=torch.ones_like(state.held))).all()


def test_restart_takes_the_next_episode_in_the_named_environments_alone():
    scene, state = start()
    following = Rearrangement(CONFIG, 0).sample(torch.arange(100, 116))
    following = simulator.Scene(following, scene.columns, scene.row.flip(0))
    for k in range(3):
        state, _ = simulator.step(CONFIG, scene, state, actions(CONFIG, 16, k))
    which = torch.arange(16) % 2 == 0
    mixed, again = simulator.restart(CONFIG, scene, state, which, following)
    assert torch.equal(again.pose[which], following.episode.start[which]) and (again.steps[which] == 0).all()
    assert torch.equal(again.pose[~which], state.pose[~which]) and (again.steps[~which] == 3).all()
    assert torch.equal(mixed.episode.boxes[which], following.episode.boxes[which])
    assert torch.equal(mixed.row[which], scene.row.flip(0)[which]) and torch.equal(mixed.row[~which], scene.row[~which])


def test_rooms_are_shared_within_a_split_and_by_no_two_splits():
    world = Rearrangement(replace(CONFIG, rooms=8), 0)
    train, test = world.sample(torch.arange(60)), world.sample(torch.arange(2_000_000, 2_000_060))
    assert len(train.room.unique()) == 8 and int(test.room.min()) >= 2_000_000
    same = train.room == train.room[0]
    assert same.sum() > 1 and (train.boxes[same] == train.boxes[0]).all()
    assert not torch.isin(train.boxes.flatten(), test.boxes[..., 0].flatten()).any()
    scene = simulator.build_scene(world.config, train)
    assert len(scene.columns) == 8
    alone = simulator.build_scene(world.config, train.at(torch.tensor([7])))
    assert torch.equal(alone.columns[0], scene.columns[scene.row[7]])


def test_a_held_cube_collides_too():
    """Just above a table top the bare end effector is free, and is not with a cube in it."""
    scene, state = start(replace(CONFIG, collision="boxes"), 1)
    table = torch.tensor([[[1.0, -0.5, 0.0, 1.8, 0.5, 0.5], [3.0, 3.0, 0.0, 3.5, 3.5, 0.8]]])
    episode = replace(scene.episode, boxes=table, objects=scene.episode.objects + 50)
    held = torch.zeros(1, dtype=torch.int64)
    for collision in ("grid", "boxes"):
        config = replace(CONFIG, collision=collision)
        scene = simulator.build_scene(config, episode)
        body = state.body.clone() + torch.tensor([1.0, 1.0, 50.0])
        body[:, -1] = torch.tensor([1.45, 0.25, 0.56])
        for what, expected in ((held - 1, False), (held, True)):
            hit = simulator._hits(config, scene, what, episode.objects, body[:, None, -1:, :2].expand(-1, -1, 7, -1),
                                  torch.full((1, 7), 2.0).index_fill(1, torch.tensor([6]), 0.56))  # fmt: skip
            assert bool(hit) is expected


def test_depth_of_a_bare_wall_and_of_the_floor():
    config = replace(CONFIG, image_size=9)
    scene, state = start(config, 1)
    away = replace(scene.episode, boxes=scene.episode.boxes + 50, objects=scene.episode.objects + 50)
    scene, state = replace(scene, episode=away), replace(state, objects=away.objects)
    state = replace(state, pose=torch.tensor([[1.0, 2.0, 0.0]]))
    depth, rgb = simulator.render(config, scene, state)
    assert depth.shape == (1, 1, 9, 9) and rgb.shape == (1, 3, 9, 9) and float(rgb.min()) >= 0 and float(rgb.max()) <= 1
    tilt = math.radians(20)
    wall, floor = 3.0 / math.cos(tilt), 1.1 / math.sin(tilt)
    assert float(depth[0, 0, 4, 4]) == pytest.approx(min(wall, floor), abs=1e-4)
    assert depth[0, 0, 8, 4] < depth[0, 0, 4, 4]


@pytest.mark.parametrize("arm", ["planar", "fetch"])
def test_episodes_start_free_of_collisions(arm):
    config = replace(CONFIG, arm=arm)
    scene, state = start(config, 100)
    stay = torch.zeros(100, simulator.action_size(config))
    assert simulator.step(config, scene, state, stay)[1].collided.float().mean() < 0.05


def test_gymnasium_environments_walk_through_their_episodes():
    import gymnasium

    scene, state = start(count=3)
    make = reference.gymnasium_maker(CONFIG, scene, limit=3, count=2)
    vector = gymnasium.vector.SyncVectorEnv([make, make])
    seen, _ = vector.reset()
    expected = torch.cat(
        [simulator.observe(CONFIG, scene, state), simulator.render(CONFIG, scene, state)[0].flatten(1)], dim=1
    )
    assert seen.shape == (2, 2, expected.shape[1]) and vector.single_action_space.shape == (2, 6)
    assert torch.allclose(torch.from_numpy(seen), expected[:2].expand(2, -1, -1), atol=1e-3)
    for k in range(3):
        seen, _, ended, limited, _ = vector.step(actions(CONFIG, 4, k).reshape(2, 2, -1).clamp(-1, 1).numpy())
    # the third episode follows on the first of two, and the first one again on the second
    assert torch.allclose(torch.from_numpy(seen), expected[torch.tensor([2, 0])].expand(2, -1, -1), atol=1e-3)
    assert not limited.any() and not ended.any()
    vector.close()
