"""BalPoE: the theorem, the loss by hand, bias in training alone, shared trunk, calibration, readers."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from vislab.cards import resolve
from vislab.datasets import cifar, image_lists
from vislab.errors import UserError
from vislab.ops.augment import auto_augment
from vislab.papers.recognition.balpoe import data, experiment, theory, train
from vislab.papers.recognition.balpoe.card import DATASETS, PAPER, PROFILES
from vislab.papers.recognition.balpoe.losses import BalancedExpertLoss, spaced_taus
from vislab.papers.recognition.balpoe.model import build, product_of_experts

SMOKE = PROFILES["smoke"]
MEANS = torch.tensor([[0.0, 0.0], [2.0, 0.5], [0.5, 2.0]])
PRIOR = torch.tensor([0.8, 0.15, 0.05])
POINTS = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) * 2 + 1


# -- the theorem ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taus", [(1.0,), (0.0, 1.0, 2.0), (-1.0, 1.0, 3.0), (0.0, 0.5, 1.0, 1.5, 2.0), (0.0, 2.0)])
def test_bayes_experts_with_mean_tau_one_are_the_balanced_bayes_rule(taus):
    logits = theory.product(POINTS, MEANS, PRIOR, taus)
    rule = theory.balanced_rule(POINTS, MEANS)
    assert torch.allclose(logits.softmax(1), rule.softmax(1), atol=1e-5)


@pytest.mark.parametrize("taus", [(0.0, 0.5, 1.0), (0.0,), (1.0, 1.5, 2.0)])
def test_another_mean_targets_another_prior(taus):
    mean = sum(taus) / len(taus)
    logits = theory.product(POINTS, MEANS, PRIOR, taus)
    expected = theory.balanced_rule(POINTS, MEANS) + (1 - mean) * PRIOR.log()
    assert torch.allclose(logits.softmax(1), expected.softmax(1), atol=1e-5)
    changed = (logits.argmax(1) != theory.balanced_rule(POINTS, MEANS).argmax(1)).float().mean()
    assert changed > 0.01


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_miscalibrated_experts_break_it(temperature):
    logits = theory.product(POINTS, MEANS, PRIOR, (0.0, 1.0, 2.0), temperature)
    wrong = (logits.argmax(1) != theory.balanced_rule(POINTS, MEANS).argmax(1)).float().mean()
    assert wrong > 0.01


def test_each_expert_alone_is_the_bayes_rule_of_its_own_prior():
    tau = 0.5
    target = PRIOR ** (1 - tau) / (PRIOR ** (1 - tau)).sum()
    expected = theory.class_logits(POINTS, MEANS) + target.log()
    assert torch.allclose(theory.bayes_expert(POINTS, MEANS, PRIOR, tau).softmax(1), expected.softmax(1), atol=1e-5)


@pytest.mark.parametrize("experts", [1, 2, 3, 5, 7])
def test_spaced_taus_keep_their_mean(experts):
    taus = spaced_taus(experts)
    assert len(taus) == experts and sum(taus) / experts == pytest.approx(1.0)


# -- the loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_by_hand():
    loss = BalancedExpertLoss(torch.tensor([90, 10]), (0.0, 2.0))
    logits = torch.tensor([[[1.0, 0.0], [0.5, -0.5]]])
    label = torch.tensor([1])
    first = -math.log(math.exp(0.0) / (math.exp(1.0) + math.exp(0.0)))
    a, b = 0.5 + 2 * math.log(0.9), -0.5 + 2 * math.log(0.1)
    second = -math.log(math.exp(b) / (math.exp(a) + math.exp(b)))
    assert float(loss(logits, label)) == pytest.approx((first + second) / 2, rel=1e-5)


def test_tau_zero_is_cross_entropy_and_tau_one_balanced_softmax():
    counts, logits, labels = torch.tensor([50, 30, 20]), torch.randn(6, 1, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    plain = BalancedExpertLoss(counts, (0.0,))(logits, labels)
    assert torch.allclose(plain, F.cross_entropy(logits[:, 0], labels))
    weighted = logits[:, 0].exp() * counts
    balanced = -(weighted[torch.arange(6), labels] / weighted.sum(1)).log().mean()
    assert torch.allclose(BalancedExpertLoss(counts, (1.0,))(logits, labels), balanced, atol=1e-6)


def test_mixup_uses_the_same_bias_for_both_labels():
    loss = BalancedExpertLoss(torch.tensor([70, 20, 10]), (0.0, 1.0, 2.0))
    logits, a, b = torch.randn(5, 3, 3), torch.tensor([0, 1, 2, 0, 1]), torch.tensor([2, 2, 1, 0, 0])
    soft = 0.3 * F.one_hot(a, 3) + 0.7 * F.one_hot(b, 3)
    expected = -(soft[:, None] * (logits + loss.bias).log_softmax(-1)).sum(-1).mean()
    assert torch.allclose(loss.mixed(logits, a, b, 0.3), expected, atol=1e-6)


def test_sades_last_expert_reverses_the_prior_by_rank():
    bias = BalancedExpertLoss(torch.tensor([60, 10, 30]), (0.0, 1.0, 2.0), "sade").bias[-1]
    prior, reversed_prior = torch.tensor([0.6, 0.1, 0.3]), torch.tensor([0.1, 0.6, 0.3])
    assert torch.allclose(bias, prior.log() - 2 * reversed_prior.log())


def test_a_class_without_items_is_refused():
    with pytest.raises(ValueError, match="every class needs at least one"):
        BalancedExpertLoss(torch.tensor([5, 0]), (1.0,))


# -- training and inference -------------------------------------------------------------------------------------------


def test_the_bias_enters_the_loss_and_not_the_prediction(cpu):
    state = train.begin(SMOKE, 0, cpu)
    items = data.batch(SMOKE, "test", 0, torch.arange(8))
    with torch.no_grad():
        logits = state.network.eval()(items["image"])["logits"]
    found, _ = experiment.predict(state, dataclasses.replace(SMOKE, test_items=8), 0, "test")
    assert torch.allclose(found, logits, atol=1e-5)
    assert torch.allclose(product_of_experts(logits), logits.mean(1).softmax(1))
    uniform = torch.full((24,), 1 / 24)
    assert torch.allclose(product_of_experts(logits, uniform), product_of_experts(logits), atol=1e-6)


def test_the_trunk_is_shared_and_the_experts_are_not():
    model = build(SMOKE)
    assert len(model.branches) == len(model.classifiers) == 3
    images = torch.randn(4, 3, 20, 20)
    model(images)["logits"][:, 0].square().sum().backward()
    assert all(p.grad is not None for p in model.trunk.parameters())
    assert all(p.grad is not None for p in model.branches[0].parameters())
    assert all(p.grad is None or not p.grad.any() for p in model.branches[1].parameters())
    assert build(resolve(PAPER, "smoke", "experts7")).branches.__len__() == 7


def test_cosine_logits_are_bounded_by_their_scale():
    model = build(SMOKE).eval()
    logits = model(torch.randn(4, 3, 20, 20) * 50)["logits"]
    assert float(logits.abs().max()) <= SMOKE.cosine_scale * 1.0001


def test_every_arm_changes_what_it_names():
    method = resolve(PAPER, "gpu", "balpoe")
    for arm in PAPER.arms[1:]:
        assert resolve(PAPER, "gpu", arm.name) != method, arm.name
    means = {
        a.name: sum(resolve(PAPER, "gpu", a.name).taus) / len(resolve(PAPER, "gpu", a.name).taus) for a in PAPER.arms
    }
    assert means["low_mixup"] == 0.5 and means["high_plain"] == 1.5 and means["experts7"] == pytest.approx(1.0)


def test_training_is_long_tailed_and_tests_are_balanced():
    counts = data.class_counts(SMOKE)
    labels = data.batch(SMOKE, "train", 0, torch.arange(int(counts.sum())))["label"]
    assert torch.equal(torch.bincount(labels, minlength=24), counts)
    balanced = torch.bincount(data.batch(SMOKE, "test", 0, torch.arange(48))["label"])
    assert torch.all(balanced == 2)


def test_automatic_augmentation_cuts_a_hole_and_trains(cpu):
    from vislab.ops import counter

    config = dataclasses.replace(SMOKE, automatic_augmentation=True)
    images = data.batch(config, "train", 0, torch.arange(6))["image"]
    with counter.scope(0, "noise", "automatic"):
        changed = auto_augment(images, *data.statistics(config))
    assert ((changed == 0).all(dim=1).flatten(1).sum(1) >= 16).all()
    state = train.begin(config, 0, cpu)
    with counter.scope(0, "noise", "step"):
        assert train.step(state, data.batch(config, "train", 0, torch.arange(16)))["loss"] > 0


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_shifted_accuracy_weighs_classes_by_the_prior():
    logits = torch.full((4, 1, 2), 0.0)
    logits[:2, 0, 0], logits[2, 0, 1], logits[3, 0, 0] = 50.0, 50.0, 50.0
    labels = torch.tensor([0, 0, 1, 1])
    forward = experiment.shifted_accuracy(logits, labels, 4.0, "forward")
    assert forward == pytest.approx(100 * (0.8 * 1.0 + 0.2 * 0.5), rel=1e-4)


def test_a_fitted_temperature_undoes_over_confidence():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 1, 5, generator=random)
    labels = torch.multinomial(logits[:, 0].softmax(1), 1, generator=random)[:, 0]
    assert experiment.fitted_temperature(4 * logits, labels) == pytest.approx(4.0, rel=0.15)


def test_calibration_of_a_classifier_that_is_always_sure_and_half_right():
    from vislab.engine.metrics import calibration

    probabilities = torch.tensor([[1.0, 0.0]] * 10)
    found = calibration(probabilities, torch.tensor([0, 1] * 5))
    assert found["ece"] == pytest.approx(50) and found["mce"] == pytest.approx(50)


# -- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "dataset"), [("CIFAR-100", DATASETS[0]), ("CIFAR-10", DATASETS[1])])
def test_cifar_is_read_back_and_faults_are_named(tmp_path, name, dataset):
    cifar.write_sample(tmp_path, name)
    counts = torch.ones(3, dtype=torch.int64)
    image, label = cifar.read(dataset, tmp_path, "train", torch.arange(3), counts)
    assert label.tolist() == [0, 1, 2] and image.shape == (3, 3, 32, 32)
    assert float(image[1, 0, 0, 0]) == pytest.approx(1 / 255)
    inside, train_files, _, _ = cifar.FILES[name]
    file = tmp_path / inside / train_files[0]
    cifar.load.cache_clear()
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(UserError, match="are no multiple"):
        cifar.read(dataset, tmp_path, "train", torch.arange(1), counts)
    file.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        cifar.read(dataset, tmp_path, "train", torch.arange(1), counts)


@pytest.mark.parametrize(("kind", "dataset"), [("imagenet_lt", DATASETS[2]), ("inaturalist", DATASETS[3])])
def test_image_lists_are_read_back_and_faults_are_named(tmp_path, kind, dataset):
    image_lists.write_sample(tmp_path, kind)
    image, label = image_lists.read(dataset, tmp_path, kind, "train", torch.arange(3), 32)
    assert label.tolist() == [0, 1, 2] and image.shape == (3, 3, 32, 32)
    red = image[:, 0].mean(dim=(1, 2)) * 0.229 + 0.485
    assert red.tolist() == pytest.approx([0, 80 / 255, 160 / 255], abs=0.03)
    assert image_lists.counts(dataset, tmp_path, kind, 4).tolist() == [1, 1, 1, 0]
    picture = tmp_path / "train/n00000001/image_1.JPEG"
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(UserError, match=r"image_1\.JPEG of .* cannot be read"):
        image_lists.read(dataset, tmp_path, kind, "train", torch.tensor([1]), 32)
    picture.unlink()
    with pytest.raises(UserError, match=r"image_1\.JPEG"):
        image_lists.read(dataset, tmp_path, kind, "train", torch.tensor([1]), 32)


def test_an_empty_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    (tmp_path / "cifar100").mkdir()
    with pytest.raises(UserError, match="CIFAR-100 is not at"):
        data.batch(PROFILES["paper"], "train", 0, torch.arange(2))
