"""The bodies world: items by index, feet on the floor, trackers that see the exact body, a closed skin."""

import pytest
import torch

from vislab.ops.rotations import matrix_from_six
from vislab.ops.skinning import forward_kinematics, rest_joints
from vislab.worlds.base import absolute
from vislab.worlds.bodies import mesh
from vislab.worlds.bodies.clips import ACTIVITIES, ClipsConfig, ClipsWorld, Draw
from vislab.worlds.bodies.skeleton import INDEX, JOINTS, LOWER, PARENTS, TRACKED, UPPER, offsets

QUIET = ClipsConfig(frames=90, position_noise=0.0, rotation_noise=0.0)


def test_an_item_is_the_same_whatever_its_batch():
    world = ClipsWorld(ClipsConfig(frames=40), 3)
    many, alone = world.sample(torch.tensor([5, 900, 2_000_001])), world.sample(torch.tensor([900]))
    assert torch.equal(many.activity[1:2], alone.activity)
    for name in ("rotations", "translation", "joints", "sparse"):
        assert torch.allclose(getattr(many, name)[1:2], getattr(alone, name), atol=1e-5), name


def test_splits_and_seeds_differ():
    world, still = ClipsWorld(QUIET), torch.zeros(1, dtype=torch.int64)
    clips = [world.sample(absolute(s, still), activity=still).joints for s in ("train", "validation", "test")]
    assert not torch.allclose(clips[0], clips[1], atol=0.05) and not torch.allclose(clips[1], clips[2], atol=0.05)
    assert not torch.allclose(clips[0], ClipsWorld(QUIET, 1).sample(still, activity=still).joints, atol=0.05)


def test_joints_are_the_kinematics_of_the_rotations():
    clips = ClipsWorld(QUIET).sample(torch.arange(12))
    _, joints = forward_kinematics(clips.rotations, offsets(), PARENTS, clips.translation)
    assert torch.allclose(joints, clips.joints, atol=1e-4)


def test_the_lowest_sole_stays_at_the_floor_and_motion_is_smooth():
    clips = ClipsWorld(QUIET).sample(torch.arange(60))
    feet = clips.joints[:, :, [INDEX[n] for n in ("left_ankle", "right_ankle", "left_foot", "right_foot")], 1]
    lowest = (feet - torch.tensor([0.08, 0.08, 0.02, 0.02])).amin(dim=-1)
    assert (lowest > -0.001).all() and (lowest < 0.03).all()
    speed = clips.joints.diff(dim=1).norm(dim=-1) * QUIET.fps
    assert float(speed.max()) < 9.0


def test_trackers_see_the_body():
    clips = ClipsWorld(QUIET).sample(torch.arange(12))
    turned, _ = forward_kinematics(clips.rotations, offsets(), PARENTS, clips.translation)
    seen = matrix_from_six(clips.sparse[..., :18].unflatten(-1, (3, 6)))
    assert torch.allclose(seen, turned[:, :, list(TRACKED)], atol=1e-4)
    place = clips.sparse[..., 36:45].unflatten(-1, (3, 3))
    assert torch.allclose(place, clips.joints[:, :, list(TRACKED)], atol=1e-5)
    steps = clips.sparse[:, 1:, 45:].unflatten(-1, (3, 3))
    assert torch.allclose(steps, place.diff(dim=1), atol=1e-5)
    since = matrix_from_six(clips.sparse[:, 1:, 18:36].unflatten(-1, (3, 6)))
    assert torch.allclose(seen[:, :-1] @ since, seen[:, 1:], atol=1e-4)


def test_legs_are_free_where_the_world_says_so():
    def spread(freedom):
        world = ClipsWorld(ClipsConfig(frames=60, freedom=freedom, heading=0.0))
        clips = world.sample(torch.arange(40), activity=torch.full((40,), ACTIVITIES.index("wave")))
        relative = clips.joints - clips.joints[:, :, :1]
        return relative.std(dim=0)[:, list(LOWER)].mean()

    assert spread(0.0) < 0.5 * spread(1.0)


def test_activities_do_what_they_say():
    clips = ClipsWorld(QUIET).sample(torch.arange(60), activity=torch.arange(60) % 6)
    path = clips.joints[:, :, 0, [0, 2]].diff(dim=1).norm(dim=-1).sum(dim=1)
    height = clips.joints[:, :, INDEX["head"], 1]
    kind = torch.arange(60) % 6
    assert path[kind == 0].min() > 1.0 > path[kind == 3].max()
    assert (height[kind == 1].amax(1) - height[kind == 1].amin(1)).max() > 0.15
    hands = clips.joints[:, :, [20, 21], 1].amax(dim=(1, 2))
    assert hands[kind == 3].min() > hands[kind == 4].max() - 0.05


def test_slow_curves_stay_within_their_size():
    draw = Draw(0, torch.arange(200), torch.arange(60) / 30)
    assert float(draw.slow("test", 0.3).abs().max()) <= 0.3


def test_left_and_right_mirror_each_other():
    bones = offsets()
    assert set(LOWER) | set(UPPER) == set(range(22)) and len(JOINTS) == len(PARENTS) == 22
    for name, joint in INDEX.items():
        if name.startswith("left"):
            other = bones[INDEX[name.replace("left", "right")]]
            assert torch.allclose(bones[joint] * torch.tensor([-1.0, 1, 1]), other)
    assert float(rest_joints(bones, PARENTS)[:, 1].max() - rest_joints(bones, PARENTS)[:, 1].min()) == pytest.approx(
        1.5, abs=0.1
    )


def test_the_skin_is_closed_and_hangs_on_its_joints():
    form = mesh.template()
    assert torch.allclose(form.weights.sum(dim=1), torch.ones(len(form.weights)), atol=1e-6)
    shape = torch.tensor([[0.0, 0, 0, 0], [2.0, 0, 0, 0], [0.0, 0, 0, 2]])
    skin = mesh.rest_vertices(shape)
    assert skin[1, :, 1].max() - skin[1, :, 1].min() > 1.05 * (skin[0, :, 1].max() - skin[0, :, 1].min())
    assert (skin[2] - skin[0]).norm(dim=-1).mean() > 0.005
    rest = torch.eye(3).expand(3, 22, 3, 3)
    assert torch.allclose(mesh.pose(shape, rest), skin, atol=1e-5)
    corner = skin[0][form.faces]
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    middle = corner.mean(dim=1)
    centre = torch.stack([skin[0][form.bone == k].mean(dim=0) for k in range(int(form.bone.max()) + 1)])
    outwards = ((middle - centre[form.bone[form.faces[:, 0]]]) * normal).sum(dim=1)
    assert float((outwards > -1e-9).float().mean()) > 0.9


def test_a_bent_arm_takes_its_skin_along():
    rotations = torch.eye(3).expand(1, 22, 3, 3).clone()
    rotations[0, INDEX["left_elbow"]] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    shape = torch.zeros(1, 4)
    moved = (mesh.pose(shape, rotations) - mesh.rest_vertices(shape))[0].norm(dim=-1)
    hangs = mesh.template().weights[:, [INDEX["left_elbow"], INDEX["left_wrist"]]].sum(dim=1)
    assert moved[hangs > 0.99].min() > 0.01 and moved[hangs == 0].max() < 1e-6
