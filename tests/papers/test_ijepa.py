"""What makes I-JEPA itself: hidden targets, a slow target encoder, normalised features, and what its ablations change."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from vislab.cards import resolve
from vislab.ops import counter
from vislab.papers.representation.ijepa import losses
from vislab.papers.representation.ijepa.card import PAPER, PROFILES
from vislab.papers.representation.ijepa.data import batch, cropped, packed, unpacked, view
from vislab.papers.representation.ijepa.experiment import evaluate, features, pooled, prepare
from vislab.papers.representation.ijepa.model import build, counted
from vislab.papers.representation.ijepa.train import (
    begin,
    decay_at,
    masks,
    momentum_at,
    predict,
    rate,
    step,
    total_steps,
    train,
)

SMOKE = PROFILES["smoke"]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def one_step(arm, cpu, **changes):
    config = config_of(arm, **changes)
    state = begin(config, 0, cpu)
    items = batch(config, "train", 0, torch.arange(config.batch_size))
    with counter.scope(0, "noise", "step0"):
        step(state, items)
    return state, items


@pytest.mark.parametrize("arm", ["ijepa", "block", "random", "quadrants", "inside"])
def test_predictions_cannot_see_the_target(arm, cpu):
    """Pixels of the target patches may change at will; the prediction stays."""
    config = config_of(arm)
    state = begin(config, 0, cpu)
    image = batch(config, "train", 0, torch.arange(4))["image"]
    with counter.scope(0, "noise", "masks"):
        visible, targets = masks(config, 4, cpu.device)
    side = config.image_size // config.patch
    hidden = torch.zeros(4, side * side, dtype=torch.bool).scatter(1, targets.flatten(1), True)
    pixels = hidden.reshape(4, 1, side, side).repeat_interleave(config.patch, 2).repeat_interleave(config.patch, 3)
    other = torch.where(pixels, torch.full_like(image, 3.0), image)
    inside = config.objective == "inside"
    with torch.no_grad():
        assert torch.equal(
            predict(state.model, image, visible, targets, inside), predict(state.model, other, visible, targets, inside)
        )
        assert not torch.allclose(state.model.target(image), state.model.target(other))


def test_targets_are_normalised_over_channels():
    tokens = counter.normal(0, "noise", torch.arange(2), "tokens", (9, 16)) * 5 + 3
    found = losses.target_features(tokens, torch.tensor([[[0, 1], [4, 8]]]).expand(2, -1, -1))
    assert found.shape == (2, 2, 2, 16)
    assert torch.allclose(found.mean(dim=-1), torch.zeros(2, 2, 2), atol=1e-5)
    assert torch.allclose(found.var(dim=-1, correction=0), torch.ones(2, 2, 2), atol=1e-3)
    assert torch.allclose(found[:, 1, 1], F.layer_norm(tokens[:, 8], (16,)))


def test_pixels_of_the_right_patches():
    image = torch.arange(3 * 4 * 4, dtype=torch.float32).reshape(1, 3, 4, 4)
    found = losses.target_pixels(image, torch.tensor([[[3]]]), 2)[0, 0, 0]
    patch = image[0, :, 2:, 2:].permute(1, 2, 0).flatten()
    assert torch.allclose(found, (patch - patch.mean()) / patch.std(), atol=1e-4)


def test_loss_of_paper_and_of_code():
    a, b = torch.tensor([0.0, 0.0]), torch.tensor([0.5, 3.0])
    assert float(losses.prediction_loss(a, b, "paper")) == pytest.approx((0.25 + 9) / 2)
    assert float(losses.prediction_loss(a, b, "code")) == pytest.approx((0.125 + 2.5) / 2)


def test_target_encoder_follows_and_gets_no_gradient(cpu):
    state, _ = one_step("ijepa", cpu, momentum=(0.9, 0.9))
    model = state.model
    start = begin(config_of("ijepa"), 0, cpu).model
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())
    for before, fast, slow in zip(
        start.encoder.parameters(), model.encoder.parameters(), model.target.parameters(), strict=True
    ):
        assert torch.allclose(slow, 0.9 * before + 0.1 * fast, atol=1e-6)


def test_online_target_is_the_encoder(cpu):
    state, _ = one_step("online", cpu)
    assert all(
        torch.equal(a, b)
        for a, b in zip(state.model.encoder.parameters(), state.model.target.parameters(), strict=True)
    )


def test_schedules():
    config = dataclasses.replace(PROFILES["paper"], steps=100, warmup_steps=10)
    assert (
        momentum_at(config, 0) == 0.996
        and momentum_at(config, 100) == 1.0
        and momentum_at(config, 50) == pytest.approx(0.998)
    )
    assert decay_at(config, 0) == pytest.approx(0.04) and decay_at(config, 100) == pytest.approx(0.4)
    factor = rate(config)
    assert factor(0) == pytest.approx(0.2) and factor(10) == pytest.approx(1.0) and factor(100) == pytest.approx(1e-3)
    assert total_steps(dataclasses.replace(config, step_factor=1.9)) == 190


def test_weight_decay_moves_and_spares_biases(cpu):
    state, _ = one_step("ijepa", cpu)
    decayed, spared = state.optimizer.param_groups
    assert decayed["weight_decay"] == pytest.approx(decay_at(state.config, 0)) and spared["weight_decay"] == 0.0
    assert all(p.ndim <= 1 for p in spared["params"]) and all(p.ndim > 1 for p in decayed["params"])


def test_view_loss_by_hand():
    student, teacher = torch.zeros(2, 1, 2), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert float(losses.view_loss(student, teacher, torch.zeros(2))) == pytest.approx(0.6931, abs=1e-3)
    aligned = teacher.flip(0) * 5
    assert float(losses.view_loss(aligned, teacher, torch.zeros(2))) < 1e-3
    assert (
        float(losses.view_loss(teacher * 5, teacher, torch.zeros(2))) > 10
    )  # each view must match the other's teacher


def test_spread_tells_collapse():
    assert losses.spread(torch.ones(5, 3)) == 0.0
    assert losses.spread(torch.tensor([[0.0], [2.0]])) == pytest.approx(2**0.5)


def test_crops_keep_the_whole_picture_at_scale_one():
    image = batch(SMOKE, "train", 0, torch.arange(3))["image"]
    with counter.scope(0, "noise", "crop"):
        small, large = cropped(image, (0.3, 0.3)), view(image, (0.3, 1.0))
    assert small.shape == large.shape == image.shape and not torch.allclose(small, image, atol=0.1)
    assert torch.allclose(unpacked(packed(image)), image.clamp(-2, 2), atol=0.01)


def test_features_are_means_of_patches(cpu):
    model = begin(SMOKE, 0, cpu).model.eval()
    image = batch(SMOKE, "test", 0, torch.arange(4))["image"]
    assert torch.allclose(pooled(model.encoder, image), model.encoder(image).mean(dim=1), atol=1e-5)
    assert pooled(model.encoder, image, "last4").shape == (4, min(4, SMOKE.depth) * SMOKE.width)


def test_probes_leave_the_encoder_as_it_is(cpu):
    shared = prepare(SMOKE, 0, cpu)
    state = begin(SMOKE, 0, cpu, shared)
    before = {n: v.clone() for n, v in state.model.state_dict().items()}
    evaluate(state, SMOKE, 0, shared=shared)
    assert all(torch.equal(before[n], v) for n, v in state.model.state_dict().items())


def test_shared_pictures_are_the_worlds(cpu):
    shared = prepare(SMOKE, 0, cpu)
    state = begin(SMOKE, 0, cpu)
    with_it, truth = features(state, SMOKE, 0, "test", shared)
    without, other = features(state, SMOKE, 0, "test", None)
    assert torch.equal(truth["label"], other["label"]) and torch.allclose(with_it, without, atol=0.05)


def test_ablations_change_what_they_name(cpu):
    base = build(config_of("ijepa"))
    assert len(build(config_of("deep_predictor")).predictor.blocks) == 6
    assert build(config_of("wide_predictor")).predictor.embed.out_features == 2 * base.predictor.embed.out_features
    assert build(config_of("mae")).predictor.proj.out_features == 3 * SMOKE.patch**2
    with counter.scope(0, "noise", "masks"):
        visible, targets = masks(config_of("mae"), 4, cpu.device)
    assert targets.shape[1] == 1 and visible.shape[1] == (SMOKE.image_size // SMOKE.patch) ** 2 // 4
    assert counted(base) == sum(p.numel() for p in base.parameters() if p.requires_grad)


def test_training_from_shared_is_training_from_the_world(cpu):
    config = config_of("ijepa", steps=2)
    a = train(config, 0, cpu, prepare(config, 0, cpu)).history
    b = train(config, 0, cpu).history
    assert a[1]["loss"] == pytest.approx(b[1]["loss"], rel=0.02)
