"""OT-Filter: barycentres against means and POT, the class penalty, balanced assignment, rounds, MixMatch by hand, noise, readers."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from vislab.cards import resolve
from vislab.datasets import cifar
from vislab.errors import UserError
from vislab.ops import counter, transport
from vislab.papers.recognition.ot_filter import data, experiment, filters, train
from vislab.papers.recognition.ot_filter.card import DATASETS, PAPER, PROFILES
from vislab.papers.recognition.ot_filter.model import PreActBlock, build

SMOKE = PROFILES["smoke"]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clouds(sizes, spread, seed=0, width=8):
    """Points around one centre a class, and their classes."""
    label = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return 4 * draws(len(sizes), width, seed=seed)[label] + spread * draws(len(label), width, seed=seed + 1), label


# -- the network ------------------------------------------------------------------------------------------------------


def test_the_filters_feature_is_linear_between_pool_and_logits():
    model = build(SMOKE).eval()
    logits, feature = model(torch.randn(3, 3, 12, 12))
    assert logits.shape == (3, 10) and feature.shape == (3, SMOKE.features)
    assert torch.equal(logits, model.classifier(feature)) and (feature < 0).any()


def test_the_papers_shortcut_adds_the_input_and_the_released_one_its_activation():
    image = torch.randn(2, 4, 5, 5)
    for activated in (False, True):
        block = PreActBlock(4, 4, 1, activated).eval()
        torch.nn.init.zeros_(block.conv2.weight)
        wanted = F.relu(block.bn1(image)) if activated else image
        assert torch.equal(block(image), wanted)
    assert all(
        b.activated == (f == "code") for f in ("paper", "code") for b in build(config_of("ot", follow=f)).stages[0]
    )


# -- barycentres ------------------------------------------------------------------------------------------------------


def test_one_support_point_is_the_mean_of_the_class():
    points = draws(60, 8)
    found = filters.barycentre(points, points[7:8], 10.0)
    assert (found - points.mean(dim=0)).norm() < 0.011


def test_two_support_points_find_two_modes_as_pot_does():
    points, label = clouds([40, 40], 0.3)
    found = filters.barycentre(points, points[[0, 40]], 0.5)
    modes = torch.stack([points[label == c].mean(dim=0) for c in (0, 1)])
    assert torch.allclose(found, modes, atol=0.05)
    assert torch.allclose(found, transport.barycentre(points, 2, points[[0, 40]]), atol=0.05)


def test_a_class_without_trusted_items_keeps_its_barycentre():
    points, label = clouds([20, 20], 0.3)
    config = config_of("ot", classes=2)
    first = filters.centres(points, label, torch.ones(40, dtype=torch.bool), config, 0)
    second = filters.centres(points, label, label == 0, config, 0, first)
    assert torch.equal(second[1], first[1]) and torch.allclose(second[0], first[0], atol=0.03)


# -- the plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_keeps_both_marginals_and_the_penalty_concentrates_each_items_mass():
    cost, group = 5 * draws(6, 60).abs(), torch.arange(3).repeat_interleave(2)
    purity = {}
    for steps in (1, 5):
        found = filters.grouped_plan(cost, group, 3, 1.0, steps)
        assert torch.allclose(found.sum(dim=1), torch.full((6,), 1 / 6, dtype=torch.float64), atol=1e-6)
        assert torch.allclose(found.sum(dim=0), torch.full((60,), 1 / 60, dtype=torch.float64), atol=1e-6)
        purity[steps] = float(filters.propagated(found, group, 3)[0].mean() * 60)
    assert purity[1] < 0.85 < 0.95 < purity[5]


def test_without_a_penalty_it_is_sinkhorns_plan():
    cost, even = draws(4, 30).abs(), torch.full((30,), 1 / 30, dtype=torch.float64)
    rows = torch.full((4,), 0.25, dtype=torch.float64)
    wanted = transport.sinkhorn(rows, even, cost, 0.5)
    assert torch.allclose(filters.grouped_plan(cost, torch.arange(4), 4, 0.5, steps=1), wanted, atol=1e-6)
    assert torch.allclose(filters.grouped_plan(cost, torch.arange(4), 4, 0.5, weight=0.0), wanted, atol=1e-6)


def test_more_entropy_makes_a_plan_flatter():
    cost = draws(4, 30).abs()

    def entropy(strength):
        found = filters.grouped_plan(cost, torch.arange(4), 4, strength, steps=1)
        return float(torch.special.entr(30 * found).sum(dim=0).mean())

    flat = float(torch.tensor(4.0).log())
    assert entropy(0.1) < 0.5 * flat < 0.99 * flat < entropy(10.0) < flat


def test_mass_is_read_by_class_not_by_support_point():
    found = torch.tensor([[0.3, 0.0], [0.3, 0.1], [0.4, 0.9]])
    mass, label = filters.propagated(found, torch.tensor([0, 0, 1]), 2)
    assert label.tolist() == [0, 1] and mass.tolist() == pytest.approx([0.6, 0.9])


# -- assignment -------------------------------------------------------------------------------------------------------


def test_every_class_receives_its_share_where_the_nearest_centre_gives_none():
    spot = draws(200, 4)
    # centres that a network of biased features leaves: one far outside attracts nothing
    cost = torch.cdist(torch.stack([torch.zeros(4), torch.full((4,), 6.0)]).double(), spot)
    assert int((cost.argmin(dim=0) == 1).sum()) < 5
    found = filters.propagated(filters.grouped_plan(cost, torch.arange(2), 2, 10.0), torch.arange(2), 2)[1]
    assert 70 <= int((found == 1).sum()) <= 130


def noisy_clouds(sizes, rate=0.6, spread=3.0):
    points, true = clouds(sizes, spread)
    index = torch.arange(len(true))
    mixed = counter.uniform(0, "world", index, "test") < rate
    return points, true, torch.where(mixed, counter.integers(0, "world", index, "other", len(sizes)), true)


def test_transport_is_not_the_nearest_centre_and_rounds_clean_the_barycentres():
    points, true, given = noisy_clouds([100] * 4)
    config = config_of("ot", classes=4)
    said = filters.assigned(points, given, config)
    nearest = filters.assigned(points, given, dataclasses.replace(config, criterion="nearest"))
    assert (said != nearest).any()
    assert float((said == true).double().mean()) > 0.9 > float((given == true).double().mean())
    everyone = torch.ones(400, dtype=torch.bool)
    means = torch.stack([points[true == c].mean(dim=0) for c in range(4)])
    away = {}
    for name, trusted in (("all", everyone), ("agreed", said == given)):
        found = torch.cat(filters.centres(points, given, trusted, config, 0))
        away[name] = float((found - means).norm(dim=1).mean())
    assert away["agreed"] < 0.5 * away["all"]


def test_even_shares_are_wrong_for_a_long_tail():
    accuracy = {}
    for sizes in ([100] * 4, [280, 80, 30, 10]):
        points, true, given = noisy_clouds(sizes, 0.3)
        for criterion in ("transport", "nearest"):
            said = filters.assigned(points, given, config_of("ot", classes=4, criterion=criterion))
            accuracy[criterion, sizes[0]] = float((said == true).double().mean())
    assert accuracy["transport", 100] > 0.9
    assert accuracy["transport", 280] < accuracy["nearest", 280] - 0.2


def test_the_other_criteria():
    points, true, given = noisy_clouds([100] * 4, spread=1.0)
    right = true == given
    losses = torch.where(right, 0.2, 2.0) + 0.1 * draws(400, seed=5)
    for criterion in ("loss", "neighbours"):
        config = config_of("ot", classes=4, criterion=criterion, neighbours=40)
        kept = filters.selected(points, losses, given, config)
        assert experiment.selection(kept, right)["f1"] > 95
    assert filters.selected(points, losses, given, config_of("ce", classes=4)).all()


def test_a_filter_sees_no_true_label_and_no_noise_rate():
    points, _, given = noisy_clouds([20] * 10)
    found = [
        filters.selected(points, torch.ones(200), given, config_of("ot", noise_rate=rate, noise_kind=kind))
        for rate, kind in ((0.1, "symmetric"), (0.9, "instance"))
    ]
    assert torch.equal(*found)


# -- MixMatch ---------------------------------------------------------------------------------------------------------


def test_sharpening_and_mixing_by_hand():
    assert train.sharpened(torch.tensor([[0.6, 0.4]]), 0.5)[0].tolist() == pytest.approx([0.36 / 0.52, 0.16 / 0.52])
    images, targets = torch.arange(6.0)[:, None, None, None].expand(6, 3, 2, 2), torch.eye(6)
    with counter.scope(0, "noise", "mix"):
        mixed, aims = train.mixed(images, targets, 4.0)
    assert torch.allclose(aims.sum(dim=1), torch.ones(6)) and (aims.diagonal() >= 0.5).all()
    assert torch.allclose(aims @ torch.arange(6.0), mixed[:, 0, 0, 0], atol=1e-5)


def test_rejected_pictures_teach_without_labels(cpu):
    config = config_of("ot")
    state = train.begin(config, 0, cpu)
    items = data.batch(config, "train", 0, torch.arange(16))
    with counter.scope(0, "noise", "a"):
        alone = train.step(state, items)
    with counter.scope(0, "noise", "a"):
        both = train.step(state, items | {"rest": items["image"]})
    assert "unlabelled" not in alone
    assert both["loss"] == pytest.approx(both["labelled"] + config.weight_unlabelled * both["unlabelled"], rel=1e-5)
    clean = train.begin(config_of("clean_only"), 0, cpu)
    with counter.scope(0, "noise", "a"):
        assert set(train.step(clean, items)) == {"loss"}


def test_arms_start_from_the_same_warm_up_and_split_anew_every_epoch(cpu, tmp_path):
    config = config_of("ot")
    shared = experiment.prepare(config, 0, cpu)
    state = train.begin(config, 0, cpu, shared)
    assert all(torch.equal(v, shared[f"model.{n}"]) for n, v in state.network.state_dict().items())
    true, given = data.labels(config, 0)
    assert torch.equal(shared["seen.label"], given)
    whole = train.train(config, 0, cpu, shared, checkpoint=str(tmp_path / "state"))
    first = filters.selected(shared["seen.feature"], shared["seen.loss"], given, config, 0)
    assert torch.equal(whole.extra["kept"][0], first)
    assert len(whole.history) == config.epochs * config.epoch_steps and int(whole.extra["epoch"]) == config.epochs
    again = train.train(config, 0, cpu, shared, checkpoint=str(tmp_path / "state"))
    assert all(torch.equal(a, b) for a, b in zip(whole.network.parameters(), again.network.parameters(), strict=True))
    assert whole.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * config.learning_rate)
    assert set(experiment.compared(config, 0, shared)) >= {"f1_transport", "f1_nearest", "f1_loss", "share_moved"}


def test_an_epoch_is_as_many_steps_as_there_are_trusted_batches(cpu):
    config = config_of("ce", epoch_steps=0, epochs=1)
    assert len(train.train(config, 0, cpu).history) == config.train_items // config.batch_size


def test_selection_by_hand():
    kept, right = torch.tensor([True, True, True, False]), torch.tensor([True, False, True, True])
    assert list(experiment.selection(kept, right).values()) == pytest.approx([200 / 3] * 3)
    assert experiment.selection(~kept & False, right) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


# -- the task ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rate", "right"), [("symmetric", 0.9, 0.19), ("asymmetric", 0.4, 0.6), ("instance", 0.4, 0.6)]
)
def test_training_labels_are_wrong_as_stated_and_the_test_is_clean(kind, rate, right):
    config = config_of("ot", noise_kind=kind, noise_rate=rate, train_items=400)
    true, given = data.labels(config, 0)
    assert float((true == given).double().mean()) == pytest.approx(right, abs=0.07)
    index = torch.tensor([3, 250])
    assert torch.equal(data.batch(config, "train", 0, index)["label"], given[index])
    assert data.batch(config, "test", 0, index)["label"].tolist() == [3, 0]
    if kind == "asymmetric":
        assert set((true + given)[true != given].tolist()) == {config.classes - 1}


def test_instance_noise_comes_from_a_classifier_of_its_own_and_follows_the_picture():
    config = config_of("ot_doubt", train_items=200)
    images = data.clean(config, "train", 0, torch.arange(200))["image"]
    said = data.annotator(config, 0, images)
    assert torch.allclose(said.sum(dim=1), torch.ones(200), atol=1e-4)
    true, given = data.labels(config, 0)
    wrong = true != given
    own = said[torch.arange(200), true]
    assert own[wrong].mean() < own[~wrong].mean()


def test_partners_on_cifar():
    hundred = data.partners(dataclasses.replace(PROFILES["paper"], source="cifar100", classes=100))
    superclass = torch.tensor(data.CIFAR100_SUPERCLASS)
    assert torch.bincount(superclass).tolist() == [5] * 20
    assert torch.equal(superclass[list(hundred)], superclass) and sorted(hundred) == list(range(100))
    assert all(a != b for a, b in enumerate(hundred))
    ten = data.partners(PROFILES["paper"])
    assert [ten[c] for c in (9, 2, 4, 3, 5)] == [1, 0, 7, 5, 3]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_and_its_absence_is_explained(tmp_path, monkeypatch, name):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    classes = 10 if name == "cifar10" else 100
    real = dataclasses.replace(PROFILES["paper"], source=name, classes=classes, train_items=3 * classes)
    with pytest.raises(UserError, match=name):
        data.clean(real, "train", 0, torch.arange(2))
    dataset = DATASETS[name == "cifar100"]
    folder = tmp_path / dataset.folder
    folder.mkdir(parents=True)
    cifar.write_sample(folder, dataset.name)
    cifar.load.cache_clear()
    found = data.batch(real, "train", 0, torch.arange(2))
    assert found["image"].shape == (2, 3, 32, 32)
    true = data.clean(real, "test", 0, torch.arange(3))["label"]
    assert true.tolist() == [0, 1, 2]
    with counter.scope(0, "noise", "a"):
        assert train.strong(found["image"], real).shape == (2, 3, 32, 32)
