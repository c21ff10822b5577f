"""TBBN: the rearranged batch by hand, what reaches gamma and beta, the other norms, losses, memory, diagnostics, the world's styles."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vislab import registry
from vislab.cards import resolve
from vislab.datasets import cifar
from vislab.errors import UserError
from vislab.papers.recognition.tbbn import data, diagnostics, experiment, losses, norms
from vislab.papers.recognition.tbbn.card import DATASETS, PAPER, PROFILES
from vislab.papers.recognition.tbbn.model import CosineHead, IncrementalResNet, build, norm_modules, stage_span, twin
from vislab.papers.recognition.tbbn.norms import TaskBalancedNorm, convert_bn, feasible_groups, set_task, task_weights

train = registry.module("tbbn", "train")
SMOKE = PROFILES["smoke"]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer_of(task, current=6, memory=2, channels=3, **options):
    layer = TaskBalancedNorm(channels, current, memory, **options)
    with torch.no_grad():
        layer.weight.copy_(1 + 0.3 * some(channels, seed=1))
        layer.bias.copy_(0.3 * some(channels, seed=2))
    set_task(layer, task)
    return layer


# -- the layer --------------------------------------------------------------------------------------------------------


def test_feasible_groups_of_the_paper_and_of_the_tutorial():
    assert [feasible_groups(48, 16, t) for t in range(8)] == [1, 2, 4, 8, 8, 8, 16, 16]
    assert [feasible_groups(24, 8, t) for t in range(5)] == [1, 2, 4, 8, 8]
    assert feasible_groups(8, 24, 1) == 1


def test_the_rearranged_batch_by_hand():
    layer, x = layer_of(1), some(8, 3, 2, 2)
    found = layer(x)
    whole = torch.cat([x[:6].reshape(3, 6, 2, 2), torch.cat([x[6:], x[6:]], dim=1)])
    mean, var = whole.mean(dim=(0, 2, 3)), whole.var(dim=(0, 2, 3), correction=0)
    plain = (whole - mean[:, None, None]) / (var[:, None, None] + layer.eps).sqrt()
    plain = plain * layer.weight.repeat(2)[:, None, None] + layer.bias.repeat(2)[:, None, None]
    assert torch.allclose(found[:6], plain[:3].reshape(6, 3, 2, 2), atol=1e-5)
    assert torch.allclose(found[6:], (plain[3:, :3] + plain[3:, 3:]) / 2, atol=1e-5)
    assert torch.allclose(layer.running_mean, 0.1 * (mean[:3] + mean[3:]) / 2, atol=1e-6)
    unbiased = whole.var(dim=(0, 2, 3), correction=1)
    assert torch.allclose(layer.running_var, 0.9 + 0.1 * (unbiased[:3] + unbiased[3:]) / 2, atol=1e-6)
    assert int(layer.num_batches_tracked) == 1


def test_one_group_is_batch_normalisation_forward_and_backward():
    layer, plain = layer_of(1, 4, 4), nn.BatchNorm2d(3)
    assert layer.groups == 1
    plain.load_state_dict(layer.state_dict())
    grads = []
    for norm in (layer, plain):
        x = some(8, 3, 2, 2).requires_grad_()
        out = norm(x)
        (out * some(8, 3, 2, 2, seed=3)).sum().backward()
        grads.append((out, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var))
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_each_group_holds_every_task_about_equally_and_statistics_are_the_balanced_ones():
    """Two tasks of constant value: a balanced mean lies half-way, the batch's own three quarters towards the new one."""
    x = torch.cat([torch.ones(24, 3, 2, 2), torch.zeros(8, 3, 2, 2)])
    assert feasible_groups(24, 8, 1) == 2
    balanced, raw = layer_of(1, 24, 8), layer_of(1, 24, 8, statistics="raw")
    balanced(x), raw(x)
    assert balanced.running_mean.tolist() == pytest.approx([0.06] * 3)  # r* = 2 of 3 leaves 12 against 8
    assert raw.running_mean.tolist() == pytest.approx([0.075] * 3)
    exact = layer_of(2, 16, 8, groups=4, statistics="balanced")
    exact(x[:24].clone().index_fill_(0, torch.arange(16, 24), 0.0))
    assert exact.running_mean.tolist() == pytest.approx([0.1 / 3] * 3)  # r = 4 is feasible: one task in three


def test_in_evaluation_and_in_the_first_task_it_is_batch_normalisation_of_the_same_state():
    layer, plain = layer_of(1), nn.BatchNorm2d(3)
    layer(some(8, 3, 2, 2))
    assert layer.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(layer.state_dict())
    x = some(5, 3, 2, 2, seed=4)
    assert torch.equal(layer.eval()(x), plain.eval()(x))
    set_task(layer.train(), 0)
    assert torch.equal(layer(x), plain.train()(x))


def test_running_statistics_of_a_balanced_batch_give_nearly_the_training_output():
    layer = TaskBalancedNorm(3, 24, 8)
    set_task(layer, 3)
    layer.momentum = 1.0
    x = some(32, 3, 16, 16) * 2 + 1
    trained = layer(x)
    assert float((layer.eval()(x) - trained).detach().abs().max()) < 0.15
    assert float((layer.running_mean - 1).abs().max()) < 0.1 and float((layer.running_var - 4).abs().max()) < 0.2


def test_gradients_of_gamma_and_beta_are_those_of_an_affine_map_after_balanced_statistics():
    """What the mean over the copies gives, the copies' gradients lose: gamma and beta see the batch as it comes."""
    layer, slope = layer_of(2, 24, 8), some(32, 3, 2, 2, seed=5)
    x = some(32, 3, 2, 2)
    (layer(x) * slope).sum().backward()
    assert layer.groups == 4
    plain = layer.normalised(x, None, None)
    assert torch.allclose(layer.weight.grad, (slope * plain).sum(dim=(0, 2, 3)), atol=1e-4)
    assert torch.allclose(layer.bias.grad, slope.sum(dim=(0, 2, 3)), atol=1e-4)


def test_balanced_gradients_weigh_tasks_and_change_no_output():
    x, slope = some(8, 3, 2, 2), some(8, 3, 2, 2, seed=5)
    plain, balanced = layer_of(2), layer_of(2, balanced_gradients=True)
    first, second = plain(x), balanced(x)
    assert torch.allclose(first, second, atol=1e-5)
    (second * slope).sum().backward()
    now, old = task_weights(6, 2, 2)
    assert (now * 6 + old * 2) / 8 == pytest.approx(1) and 6 * now * 2 == pytest.approx(2 * old)
    expected = now * slope[:6].sum(dim=(0, 2, 3)) + old * slope[6:].sum(dim=(0, 2, 3))
    assert torch.allclose(balanced.bias.grad, expected, atol=1e-4)


def test_a_repeated_memory_weighs_the_statistics_and_folds_nothing():
    layer, x = layer_of(1, statistics="repeated"), some(8, 3, 2, 2)
    layer(x)
    assert layer.groups == 2
    assert torch.allclose(layer.running_mean, 0.1 * torch.cat([x, x[6:]]).mean(dim=(0, 2, 3)), atol=1e-6)


def test_another_make_up_of_the_batch_is_refused():
    with pytest.raises(ValueError, match="a batch of 7 is not 6 current and 2 memory"):
        layer_of(1)(some(7, 3, 2, 2))
    with pytest.raises(ValueError, match="3 groups"):
        TaskBalancedNorm(3, 6, 2, groups=3)


def test_converting_a_network_keeps_its_weights_and_reaches_every_layer():
    from torchvision.models import resnet18

    with torch.device("meta"):
        whole = convert_bn(resnet18(num_classes=100), TaskBalancedNorm)
    assert sum(p.numel() for p in whole.parameters()) == 11_227_812
    assert {type(m) for m in norm_modules(whole)} == {TaskBalancedNorm}
    network = IncrementalResNet(8, 4, 6).eval()
    before = network(some(2, 3, 8, 8))["logits"]
    convert_bn(network, lambda channels: TaskBalancedNorm(channels, 6, 2))
    assert torch.equal(network(some(2, 3, 8, 8))["logits"], before)
    set_task(network, 2)
    assert [m.task for m in norm_modules(network)] == [2] * 9


# -- other normalisations ---------------------------------------------------------------------------------------------


def test_continual_normalisation_is_group_then_batch():
    layer, x = norms.ContinualNorm(4, 2), some(6, 4, 3, 3)
    assert torch.allclose(layer(x), nn.BatchNorm2d(4)(nn.GroupNorm(2, 4, affine=False)(x)), atol=1e-5)


def test_batch_renormalisation_answers_as_in_evaluation_where_limits_do_not_bite():
    layer, x = norms.BatchRenorm(3), some(16, 3, 4, 4) * 1.5 + 1
    trained = layer(x)
    assert torch.allclose(trained, x, atol=1e-4)  # running mean 0 and variance 1 so far
    assert torch.allclose(layer.running_mean, 0.1 * x.mean(dim=(0, 2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("place", "other"), [(0, nn.InstanceNorm2d(4)), (1, nn.GroupNorm(1, 4)), (2, nn.BatchNorm2d(4))]
)
def test_switchable_normalisation_at_its_corners(place, other):
    layer, x = norms.SwitchableNorm(4), some(6, 4, 3, 3)
    with torch.no_grad():
        layer.mix_mean[place] = layer.mix_var[place] = 50.0
    assert torch.allclose(layer(x), other(x), atol=1e-4)


@pytest.mark.parametrize("norm", ["gn", "ln", "in", "brn", "sn", "cn", "bn", "tbbn"])
def test_every_normalisation_builds_a_network_that_answers(norm):
    network = build(config_of("tbbn", norm=norm))
    assert network(some(8, 3, 12, 12))["logits"].shape == (8, 6)
    assert (len(norm_modules(network)) == 0) == (norm in ("gn", "ln", "in"))


# -- losses -----------------------------------------------------------------------------------------------------------


def test_separated_softmax_keeps_old_and_new_apart():
    logits, label = some(4, 6).requires_grad_(), torch.tensor([4, 5, 0, 3])
    losses.separated(logits, label, first=4, current=2).backward()
    assert (logits.grad[:2, :4] == 0).all() and (logits.grad[2:, 4:] == 0).all()
    by_hand = F.cross_entropy(logits[:2, 4:], torch.tensor([0, 1]), reduction="sum")
    by_hand = (by_hand + F.cross_entropy(logits[2:, :4], label[2:], reduction="sum")) / 4
    assert torch.allclose(losses.separated(logits, label, 4, 2), by_hand)


def test_distillation_is_within_each_task():
    new, old = some(4, 6), some(4, 4, seed=1)
    shifted = old + torch.tensor([3.0, 3.0, -2.0, -2.0])
    spans = [(0, 2), (2, 4)]
    found = losses.task_distillation(new, old, spans, 2.0)
    assert float(found) > 0 and torch.allclose(found, losses.task_distillation(new, shifted, spans, 2.0), atol=1e-5)
    assert float(losses.task_distillation(old, old, spans, 2.0)) == pytest.approx(0, abs=1e-6)
    parts = sum(losses.task_distillation(new, old, [span], 2.0) for span in spans)
    assert torch.allclose(found, parts)


def test_reweighting_gives_every_task_the_same_say():
    logits = torch.zeros(8, 4)
    label = torch.tensor([2, 2, 3, 3, 2, 3, 0, 1])
    assert float(losses.reweighted(logits, label, 6, 1)) == pytest.approx(float(torch.tensor(4.0).log()), rel=1e-5)
    only_old = logits.clone()
    only_old[torch.arange(6), label[:6]] = 100.0
    assert float(losses.reweighted(only_old, label, 6, 1)) == pytest.approx(
        float(torch.tensor(4.0).log()) / 2, rel=1e-4
    )


def test_lucir_by_hand():
    assert float(losses.less_forget(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]))) == pytest.approx(1)
    cosine = torch.tensor([[0.9, 0.0, 0.6, 0.1, 0.5], [0.0, 0.0, 0.9, 0.0, 0.0]])
    found = losses.margin_ranking(cosine, torch.tensor([0, 2]), first=2, margin=0.5)
    assert float(found) == pytest.approx((0.5 - 0.9 + 0.6) + (0.5 - 0.9 + 0.5))
    head = CosineHead(3, 4, 5.0)
    logits = head(some(2, 3), frozen=2)
    assert float(logits.detach().abs().max()) <= 5
    logits.sum().backward()
    assert (head.weight.grad[:2] == 0).all() and (head.weight.grad[2:] != 0).any()
    features = build(config_of("lucir_bn")).features(some(4, 3, 12, 12))
    assert (features < 0).any()
    assert (build(config_of("bn")).features(some(4, 3, 12, 12)) >= 0).all()


# -- training through tasks -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(cpu):
    return train.train(config_of("tbbn"), 0, cpu)


def test_a_batch_has_its_make_up_and_its_order(learned, cpu):
    config = learned.config
    pool = data.batch(config, "train", 0, data.task_items(config, 2))
    items = train.mixture(learned, pool, train.stacked(learned.memory, 4), 3)
    assert len(items["label"]) == 8 and (items["label"][:6] >= 4).all() and (items["label"][6:] < 4).all()
    state = train.advance(learned, 2, 3)
    assert [m.task for m in norm_modules(state.network)] == [2] * 9
    turned = {name: value.flip(0) for name, value in items.items()}
    with pytest.raises(ValueError, match="6 images of it first"):
        train.step(state, turned)


def test_memory_is_shared_evenly_and_a_task_ends_with_a_snapshot(learned):
    config = learned.config
    assert sorted(learned.memory) == list(range(config.classes))
    assert {len(v) for v in learned.memory.values()} == {config.memory // config.classes}
    assert len(learned.snapshots) == config.tasks and len(learned.history) == config.steps
    assert sum("gap_gradients_bn" in h for h in learned.history) == (config.tasks - 1) * config.probes


def test_the_balanced_stage_sees_every_class_and_plain_statistics(learned):
    state = train.advance(copy.deepcopy(learned), 2, 3, balanced=True)
    assert [m.task for m in norm_modules(state.network)] == [0] * 9
    every = train.stacked(state.memory, 6)
    assert torch.bincount(every["label"]).tolist() == [2] * 6
    state.config = config_of("eeil_tbbn")
    found = train.step(train.advance(state, 2, 3, balanced=True), train.mixture(state, every, None, 0))
    assert found["distil"] == pytest.approx(0, abs=1e-5)  # the teacher is the network itself


@pytest.mark.parametrize(
    ("approach", "follow", "tasks"), [("ssil", "paper", 2), ("ssil", "code", 1), ("eeil", "paper", 2)]
)
def test_which_old_tasks_are_distilled(learned, approach, follow, tasks):
    state = dataclasses.replace(learned, config=config_of("tbbn", approach=approach, follow=follow), task=2)
    logits, old = some(8, 6), {"logits": some(8, 6, seed=1), "feat": None}
    found = train.kept_losses(state, torch.zeros(8).long(), logits, logits, old)["distil"]
    spans = [stage_span(SMOKE, t) for t in range(2)][-tasks:]
    scale = 4.0 if approach == "ssil" else 1.0
    assert torch.allclose(found, scale * losses.task_distillation(logits, old["logits"], spans, 2.0))


def test_a_run_that_was_cut_off_goes_on_to_the_same_end(learned, cpu, tmp_path):
    config = learned.config
    train.train(config, 0, cpu, checkpoint=str(tmp_path / "run"))
    (tmp_path / f"run.{config.steps}").unlink()
    again = train.train(config, 0, cpu, checkpoint=str(tmp_path / "run"))
    whole = learned.snapshots[-1]
    assert all(torch.equal(whole[n], v) for n, v in again.snapshots[-1].items())


def test_accuracies_are_among_the_classes_seen(learned):
    config = learned.config
    items = experiment.items_of(learned, config, 0, "test")
    matrix = experiment.accuracy_matrix(learned, config, items)
    assert (matrix[0, 1:] == 0).all() and matrix.shape == (3, 3)
    network = twin(learned.network, config).eval()
    with torch.no_grad():
        said = network(items["image"])["logits"].argmax(dim=1)
    by_task = [100 * float((said == items["label"])[items["task"] == t].double().mean()) for t in range(3)]
    assert matrix[-1].tolist() == pytest.approx(by_task)


# -- diagnostics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", diagnostics.ALIKE)
def test_the_parts_of_all_tasks_add_up_to_the_gradient(norm):
    config = config_of("tbbn", norm=norm)
    network, image = build(config), some(8, 3, 12, 12)
    one = torch.zeros(8, dtype=torch.long)  # a single task: its share is the whole gradient
    shares = diagnostics.affine_shares(network, image, one, dataclasses.replace(config, tasks=1), 0)
    network.train()
    F.cross_entropy(network(image)["logits"], one).backward()
    whole = [torch.cat([m.weight.grad, m.bias.grad]).norm() for m in norm_modules(network)]
    assert torch.allclose(shares[:, 0], torch.stack(whole), rtol=1e-3, atol=1e-5)


def test_a_gradient_gap_is_zero_for_equal_tasks_and_counts_both_ways():
    assert diagnostics.gradient_gap(torch.tensor([[2.0, 2.0], [1.0, 1.0]])) == pytest.approx(0)
    e = float(torch.tensor(1.0).exp())
    assert diagnostics.gradient_gap(torch.tensor([[1.0, e], [e, 1.0]])) == pytest.approx(1, rel=1e-4)
    assert diagnostics.gradient_gap(torch.tensor([[1.0, float("nan"), e]])) == pytest.approx(1, rel=1e-4)


def test_distances_of_a_running_mean():
    layer = nn.BatchNorm2d(1)
    layer.running_mean.fill_(1.0)
    x = torch.cat([torch.tensor([0.0, 2.0]), torch.tensor([3.0, 5.0])]).reshape(4, 1, 1, 1)
    found = diagnostics.statistics_distances(nn.Sequential(layer), x, torch.tensor([0, 0, 1, 1]))
    assert found.tolist() == pytest.approx([0.0, 3 / 2**0.5])


# -- the task ---------------------------------------------------------------------------------------------------------


def test_tasks_have_their_own_classes_and_styles():
    config = SMOKE
    label = data.batch(config, "train", 0, torch.arange(config.train_items))["label"]
    assert torch.equal(label // 2, torch.arange(3).repeat_interleave(16)) and torch.bincount(label).tolist() == [8] * 6
    held = data.batch(config, "test", 0, torch.arange(config.test_items))["label"]
    assert torch.bincount(held).tolist() == [6] * 6
    grey = torch.full((6, 3, 12, 12), 0.5)
    task = torch.tensor([0, 1, 2, 0, 1, 2])
    styled = data.styled(grey, task, 1.0, 0)
    assert torch.equal(styled[:3], styled[3:]) and float((styled[0] - styled[1]).abs().mean()) > 0.02
    assert torch.equal(data.styled(grey, task, 0.0, 0), grey)


def test_cifar_is_laid_out_by_task_and_its_absence_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    real = PROFILES["paper"]
    with pytest.raises(UserError, match="cifar100"):
        data.batch(real, "train", 0, torch.arange(2))
    folder = tmp_path / DATASETS[0].folder
    folder.mkdir(parents=True)
    cifar.write_sample(folder)
    found = data.batch(real, "test", 0, torch.arange(2))
    assert found["image"].shape == (2, 3, 32, 32)
    assert [data.class_order(real, 0)[c] for c in found["label"].tolist()] == [0, 1]
    assert data.class_order(real, 0)[:5] == [68, 56, 78, 8, 23]
    images = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)
    monkeypatch.setattr(cifar, "load", lambda *_: (images, torch.arange(20) % 4))
    small = dataclasses.replace(real, classes=4, tasks=2, train_items=16)
    items = data.batch(small, "train", 0, torch.arange(16))
    assert items["label"].tolist() == [0, 1] * 4 + [2, 3] * 4
    assert len({float(v) for v in items["image"][:, 0, 0, 0]}) == 16
