"""AGRoL: time in every block, frames mixed by channels, DDIM by hand, windows and borders, the head's alignment, AMASS."""

import dataclasses

import numpy as np
import pytest
import torch

from vislab.cards import resolve
from vislab.datasets import amass
from vislab.errors import UserError
from vislab.nn import diffusion
from vislab.papers.humans.agrol import data, experiment, train
from vislab.papers.humans.agrol.card import DATASETS, PAPER, PROFILES
from vislab.papers.humans.agrol.model import Block, MotionMLP, build, contexts, sinusoid
from vislab.worlds.bodies.skeleton import HEAD, PARENTS

SMOKE = PROFILES["smoke"]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def begin(arm, cpu, **changes):
    return train.begin(config_of(arm, **changes), 0, cpu)


# -- the network ------------------------------------------------------------------------------------------------------


def test_the_first_mix_acts_on_frames_and_the_second_on_features():
    torch.manual_seed(0)
    block = Block(5, 8, timed=False).double()
    x = torch.randn(1, 5, 8, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        block.feature_mix.weight.zero_()
    reach = torch.autograd.grad(block(x)[0, 2, 3], x)[0][0].abs().sum(dim=1) > 0
    assert reach.all(), "every frame reaches every frame"
    with torch.no_grad():
        block.feature_mix.weight.normal_()
        block.frame_mix.weight.zero_()
    reach = torch.autograd.grad(block(x)[0, 2, 3], x)[0][0].abs().sum(dim=1) > 0
    assert reach.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(("embedding", "blocks"), [("blocks", 3), ("input", 0), ("none", 0)])
def test_where_the_time_enters(embedding, blocks):
    model = MotionMLP(12, 16, 3, embedding)
    assert sum(b.time is not None for b in model.blocks) == blocks
    noisy, sparse = torch.randn(2, 12, 132), torch.randn(2, 12, 54)
    early, late = (model(noisy, torch.full((2,), t), sparse) for t in (10, 900))
    assert early.shape == (2, 12, 132)
    assert torch.equal(early, late) == (embedding == "none")


def test_the_condition_reaches_the_output_and_time_is_a_sinusoid():
    model = MotionMLP(12, 16, 2)
    noisy, time = torch.randn(1, 12, 132), torch.tensor([5])
    assert not torch.equal(model(noisy, time, torch.zeros(1, 12, 54)), model(noisy, time, torch.ones(1, 12, 54)))
    table = sinusoid(torch.tensor([0.0, 3.0]), 4)
    assert table[0].tolist() == [0, 1, 0, 1]
    assert table[1].tolist() == pytest.approx([np.sin(3), np.cos(3), np.sin(0.03), np.cos(0.03)], abs=1e-6)


def test_the_transformers_denoiser_has_about_as_many_parameters():
    def count(arm):
        return sum(p.numel() for p in build(resolve(PAPER, "tutorial", arm)).parameters())

    assert 0.6 < count("transformer_denoiser") / count("agrol") < 1.7
    assert 0.6 < count("transformer") / count("agrol") < 1.7


def test_contexts_end_with_their_frame_and_repeat_the_first():
    sparse = torch.arange(6.0)[None, :, None].expand(1, 6, 54)
    found = contexts(sparse, 3)[0, :, :, 0]
    assert found.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]


def test_the_regressing_transformer_sees_no_future(cpu):
    state = begin("transformer", cpu)
    sparse = torch.randn(1, 30, 54)
    changed = sparse.clone()
    changed[:, 20:] += 1
    first, second = (experiment.predict(state, state.config, s, torch.arange(1)) for s in (sparse, changed))
    assert torch.allclose(first[:, :20], second[:, :20], atol=1e-5) and not torch.allclose(
        first[:, 20:], second[:, 20:]
    )


# -- diffusion --------------------------------------------------------------------------------------------------------


def test_ddim_with_five_steps_by_hand(cpu):
    state = begin("agrol", cpu)
    config = state.config
    sparse = torch.randn(2, config.window, 54)
    noise = torch.randn(2, config.window, 132)
    found = experiment.denoised(state, config, sparse, noise)
    share = torch.cat([diffusion.cumulative(), torch.ones(1)])
    x, times = noise, [800, 600, 400, 200, 0]
    with torch.no_grad():
        for now, after in zip(times, [600, 400, 200, 0, -1], strict=True):
            clean = state.model(x, torch.full((2,), now), sparse)
            eps = (x - share[now].sqrt() * clean) / (1 - share[now]).sqrt()
            x = share[after].sqrt() * clean + (1 - share[after]).sqrt() * eps
    assert torch.allclose(found, x, atol=1e-3)


def test_the_last_ddim_step_returns_the_networks_clean_motion(cpu):
    state = begin("agrol", cpu)
    config = state.config
    seen = []
    noise = torch.randn(1, config.window, 132)
    found = experiment.denoised(
        state, config, torch.randn(1, config.window, 54), noise, each=lambda k, x: seen.append(x)
    )
    assert len(seen) == config.ddim_steps
    assert torch.allclose(found, seen[-1], atol=1e-2)


def test_both_targets_mean_the_same_motion(cpu):
    share = diffusion.cumulative()
    clean, noise, time = torch.randn(4, 6, 132), torch.randn(4, 6, 132), torch.tensor([0, 100, 500, 900])
    noisy = diffusion.add_noise(clean, noise, time, share)
    for target in ("sample", "epsilon"):
        output = diffusion.training_target(clean, noise, time, share, target)
        assert torch.allclose(diffusion.predicted_clean(output, noisy, time, share, target), clean, atol=1e-3)


def test_the_released_loss_is_a_mean_length():
    output, target = torch.zeros(1, 1, 12), torch.zeros(1, 1, 12)
    output[0, 0, :2] = torch.tensor([3.0, 4.0])
    assert float(train.error(output, target, "paper")) == pytest.approx(25 / 12)
    assert float(train.error(output, target, "code")) == pytest.approx(2.5)


# -- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "window", "stride"), [(144, 48, 48), (60, 24, 24), (60, 24, 12), (50, 24, 24), (24, 24, 24)]
)
def test_windows_cover_every_frame_once(frames, window, stride):
    covered = []
    for start, done in experiment.spans(frames, window, stride):
        assert 0 <= start <= done <= start + window <= frames
        covered += range(done, start + window)
    assert covered == list(range(frames))


def test_windows_side_by_side_are_independent(cpu):
    state = begin("agrol", cpu)
    config = state.config
    sparse = torch.randn(1, 48, 54)
    changed = sparse.clone()
    changed[:, 30:] += 1
    first, second = (experiment.predict(state, config, s, torch.arange(1)) for s in (sparse, changed))
    assert torch.allclose(first[:, :24], second[:, :24], atol=1e-5) and not torch.allclose(
        first[:, 24:], second[:, 24:]
    )


def test_overlapping_windows_keep_the_known_part(cpu):
    state = begin("overlapping", cpu)
    config = state.config
    sparse, noise = torch.randn(1, config.window, 54), torch.randn(1, config.window, 132)
    known = torch.randn(1, 10, 132)
    found = experiment.denoised(state, config, sparse, noise, known)
    assert torch.allclose(found[:, :10], known, atol=1e-2)
    assert not torch.allclose(found[:, 10:], experiment.denoised(state, config, sparse, noise)[:, 10:])


def test_a_clip_is_the_same_whatever_its_batch(cpu):
    state = begin("agrol", cpu)
    items, index = experiment.clips(state.config, 0, "test", cpu.device, 6)
    together = experiment.predict(state, state.config, items["sparse"], index)
    alone = experiment.predict(state, state.config, items["sparse"][4:5], index[4:5])
    assert torch.allclose(together[4:5], alone, atol=1e-4)


# -- evaluation -------------------------------------------------------------------------------------------------------


def test_the_truth_has_no_error_but_the_trackers():
    items = data.batch(SMOKE, "test", 0, torch.arange(12))
    found, _ = experiment.measured(items["pose"], items, data.offsets(SMOKE), SMOKE.fps)
    assert found["mpjre"] < 1e-2 and found["mpjre_geodesic"] < 0.05 and found["mpjpe"] < 0.02
    assert found["jitter_gap"] < 0.2 * found["jitter_truth"] + 0.1


def test_the_body_is_placed_by_the_tracked_head_and_not_by_the_truth():
    items = data.batch(SMOKE, "test", 0, torch.arange(3))
    moved = items["sparse"].clone()
    moved[..., 36:39] += torch.tensor([1.0, 0, 0])
    rotations = data.rotations_of(items["pose"])
    joints = data.body(rotations, moved, data.offsets(SMOKE))
    assert torch.allclose(joints[:, :, HEAD], moved[..., 36:39], atol=1e-5)
    assert torch.allclose(joints[..., 0] - items["joints"][..., 0], torch.ones(3, 60, 22), atol=1e-2)
    assert len(PARENTS) == 22


def test_a_frozen_pose_has_a_gap_in_jitter():
    items = data.batch(SMOKE, "test", 0, torch.arange(12))
    items["sparse"][..., 36:39] = items["joints"][:, :, HEAD]  # no noise of the trackers
    frozen = items["pose"][:, :1].expand_as(items["pose"])
    found, _ = experiment.measured(frozen, items, data.offsets(SMOKE), SMOKE.fps)
    assert found["jitter"] < found["jitter_truth"]
    assert found["jitter_gap"] == pytest.approx(found["jitter_truth"] - found["jitter"])


def test_lost_frames_are_a_share_of_each_clip():
    sparse = torch.ones(4, 60, 54)
    found = experiment.lost(sparse, SMOKE, 0, torch.arange(4))
    gone = (found == 0).all(dim=-1)
    assert gone.sum(dim=1).tolist() == [round(60 * SMOKE.lost_frames / SMOKE.window)] * 4
    assert not torch.equal(gone[0], gone[1])


def test_statistics_come_from_the_training_split(cpu):
    state = begin("agrol", cpu)
    pose = data.batch(SMOKE, "train", 0, torch.arange(SMOKE.train_items))["pose"]
    assert torch.allclose(state.extra["mean"], pose.flatten(0, 1).mean(dim=0), atol=1e-5)
    plain = begin("pure_mlp", cpu)
    assert (plain.extra["mean"] == 0).all() and (plain.extra["spread"] == 1).all()


def test_released_sampling_is_ancestral(cpu):
    state = begin("agrol", cpu, follow="code")
    items, index = experiment.clips(state.config, 0, "test", cpu.device, 2)
    released = experiment.predict(state, state.config, items["sparse"], index)
    plain = experiment.predict(state, dataclasses.replace(state.config, follow="paper"), items["sparse"], index)
    assert released.shape == plain.shape and not torch.allclose(released, plain, atol=1e-3)


# -- real data --------------------------------------------------------------------------------------------------------


def test_amass_is_read_back(tmp_path, monkeypatch):
    amass.write_sample(tmp_path / "amass")
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    config = dataclasses.replace(SMOKE, source="amass1", clip_frames=12, fps=60.0)
    found = data.batch(config, "test", 0, torch.arange(3))
    assert found["pose"].shape == (3, 12, 132) and found["sparse"].shape == (3, 12, 54)
    assert torch.allclose(found["joints"].diff(dim=1)[:, :, 0, 0], torch.tensor(0.02), atol=1e-5)
    bones = data.offsets(config)
    assert torch.allclose(bones[4], torch.tensor([3.0, 0.3, 0.0]))
    vectors, _ = amass.motion(DATASETS[0], amass.files(DATASETS[0], tmp_path / "amass", 1, "test")[1], 60.0)
    assert torch.allclose(vectors.diff(dim=0)[:, 4, 0], torch.tensor(0.04))
    second = amass.files(DATASETS[0], tmp_path / "amass", 2, "test")
    assert {f.parent.parent.name for f in second} == set(amass.PROTOCOL_2_TEST)


def test_amass_faults_are_named(tmp_path, monkeypatch):
    place = tmp_path / "amass"
    amass.write_sample(place)
    dataset, index = DATASETS[0], torch.arange(1)
    file = place / "BioMotionLab_NTroje/01/01_01_poses.npz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"01_01_poses\.npz of AMASS cannot be read"):
        amass.read(dataset, place, 1, "test", index, 10, 60.0)
    file.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        amass.read(dataset, place, 1, "test", index, 10, 60.0)
    with pytest.raises(UserError, match="no multiple of 50"):
        amass.motion(dataset, place / "CMU/01/01_01_poses.npz", 50.0)
    (tmp_path / "empty" / "amass").mkdir(parents=True)
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="AMASS is not at"):
        data.batch(dataclasses.replace(SMOKE, source="amass1"), "train", 0, index)
