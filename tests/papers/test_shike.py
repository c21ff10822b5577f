"""SHIKE: depths, fusion, the grand teacher by hand, what the second stage may change, measures of diversity, the world's two cues."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from vislab.cards import resolve
from vislab.datasets import cifar
from vislab.errors import UserError
from vislab.papers.recognition.shike import experiment, train
from vislab.papers.recognition.shike.card import DATASETS, PAPER, PROFILES
from vislab.papers.recognition.shike.data import batch, class_counts, world
from vislab.papers.recognition.shike.losses import (
    balanced,
    divergence,
    grand_teacher,
    hardest_negative,
    knowledge_loss,
    mutual_loss,
    separate,
    wrong_classes,
)
from vislab.papers.recognition.shike.model import DEEP, aligner, build

SMOKE = PROFILES["smoke"]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def some_logits(experts=3, classes=5, items=4, seed=0):
    return 3 * torch.randn(items, experts, classes, generator=torch.Generator().manual_seed(seed))


# -- the network ------------------------------------------------------------------------------------------------------


def test_an_aligned_feature_fits_the_deep_one_and_experts_take_levels_in_turn():
    model = build(SMOKE).eval()
    images = torch.randn(2, 3, 16, 16)
    first = model.stage1(model.stem(images))
    outputs = first, model.stage2(first)
    assert model.levels == [1, 2, 1]
    for expert, level in enumerate(model.levels):
        deep, shallow = model.branches[expert](outputs[1]), model.aligners[expert](outputs[level - 1])
        assert deep.shape == shallow.shape == (2, 32, 4, 4)
        assert torch.equal(model.joined(expert, outputs), deep * shallow)
        feature = (deep * shallow).mean(dim=(2, 3))
        cosine = F.normalize(feature, dim=1) @ F.normalize(model.classifiers[expert].weight, dim=0)
        assert torch.allclose(model(images)["logits"][:, expert], SMOKE.cosine_scale * cosine, atol=1e-4)


@pytest.mark.parametrize(("level", "last_relu", "relus"), [(1, False, 1), (2, False, 0), (2, True, 1)])
def test_an_aligner_ends_without_a_relu_except_in_the_released_code(level, last_relu, relus):
    layers = aligner(8, level, last_relu)
    assert sum(isinstance(m, torch.nn.ReLU) for m in layers) == relus
    assert sum(isinstance(m, torch.nn.Conv2d) for m in layers) == DEEP - level


@pytest.mark.parametrize("profile", ["tutorial", "paper"])
def test_experts_of_equal_depth_have_nearly_as_many_parameters(profile):
    def count(arm):
        with torch.device("meta"):
            return sum(p.numel() for p in build(resolve(PAPER, profile, arm)).parameters())

    assert count("equal") == pytest.approx(count("shike"), rel=0.1)
    assert count("equal") == count("bs")


def test_switches_change_what_they_name():
    equal, branches, together = (build(config_of(a)) for a in ("equal", "branches", "concatenation"))
    assert sum(p.numel() for p in equal.aligners.parameters()) == 0
    assert branches.levels == [1, 2, 3] and sum(p.numel() for p in branches.branches[0].parameters()) == 0
    assert sum(p.numel() for p in branches.branches[2].parameters()) > 0
    assert together.classifiers[0].weight.shape[0] == 2 * build(SMOKE).classifiers[0].weight.shape[0]
    assert build(config_of("same_level")).levels == [2, 2, 2]


# -- distillation -----------------------------------------------------------------------------------------------------


def test_the_grand_teacher_by_hand():
    logits = torch.tensor([[[9.0, 4.0, 1.0, 0.0], [7.0, 2.0, 3.0, 0.5], [8.0, 3.0, 2.0, 5.0]]])
    label = torch.tensor([0])
    assert hardest_negative(logits, label).tolist() == [1]
    assert grand_teacher(logits, label).tolist() == [[-torch.inf, 3.0, 3.0, 5.0]]
    assert grand_teacher(logits, label, damped=False).tolist() == [[-torch.inf, 4.0, 3.0, 5.0]]


def test_the_damped_class_is_the_only_one_that_damping_changes():
    logits, label = some_logits(), torch.tensor([0, 1, 2, 3])
    changed = grand_teacher(logits, label) != grand_teacher(logits, label, damped=False)
    assert torch.equal(changed.nonzero()[:, 1], hardest_negative(logits, label))


def test_the_right_class_takes_no_part_but_does_in_the_released_code():
    label = torch.tensor([0, 1, 2, 3])
    for released, reached in ((False, False), (True, True)):
        logits = some_logits().requires_grad_()
        shifted = (
            logits.detach().clone().scatter_add_(2, label[:, None, None].expand(-1, 3, 1), torch.full((4, 3, 1), 5.0))
        )
        same = torch.allclose(
            knowledge_loss(logits, label, released=released), knowledge_loss(shifted, label, released=released)
        )
        assert same
        teacher_right = knowledge_loss(logits, label, released=released, reduction="items")
        rest = [wrong_classes(logits[:, k], label) for k in range(3)]
        plain = sum(divergence(wrong_classes(grand_teacher(logits, label), label), s, "items") for s in rest)
        assert torch.allclose(teacher_right, plain) != reached


def test_experts_that_agree_have_nothing_to_teach():
    logits, label = some_logits(1).expand(-1, 3, -1).clone(), torch.tensor([0, 1, 2, 3])
    assert float(mutual_loss(logits)) == pytest.approx(0, abs=1e-6)
    assert float(knowledge_loss(logits, label)) == pytest.approx(0, abs=1e-6)
    assert float(mutual_loss(some_logits())) > 0 and float(knowledge_loss(some_logits(), label)) > 0


def test_mutual_loss_sums_ordered_pairs_and_the_reduction_is_the_stated_one():
    logits = some_logits()
    pairs = [
        (logits[:, j].softmax(1) * (logits[:, j].log_softmax(1) - logits[:, i].log_softmax(1))).sum(1).mean()
        for i in range(3) for j in range(3) if i != j
    ]  # fmt: skip
    assert float(mutual_loss(logits, "items")) == pytest.approx(float(sum(pairs)), rel=1e-5)
    assert float(mutual_loss(logits, "elements")) == pytest.approx(float(sum(pairs)) / 5, rel=1e-5)


def test_balanced_softmax_is_cross_entropy_for_equal_counts_and_favours_the_rare_otherwise():
    logits, label = some_logits(), torch.tensor([0, 1, 2, 3])
    assert torch.allclose(balanced(logits, label, torch.full((5,), 7)), separate(logits, label), atol=1e-5)
    level = torch.zeros(1, 1, 2, requires_grad=True)
    balanced(level, torch.tensor([1]), torch.tensor([90, 10])).backward()
    assert level.grad[0, 0].tolist() == pytest.approx([0.9, -0.9])


# -- two stages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arm", "moves"), [("shike", False), ("moving_statistics", True)])
def test_the_second_stage_changes_the_new_classifiers_alone(cpu, arm, moves):
    config = config_of(arm)
    items = batch(config, "train", 0, torch.arange(8))
    state = train.begin(config, 0, cpu)
    before = {n: v.clone() for n, v in state.network.state_dict().items()}
    again = train.second_stage(state)
    again.model.train()
    train.retrain_step(again, items)
    changed = {n for n, v in again.network.state_dict().items() if not torch.equal(v, before[n])}
    classifiers = {n for n in before if n.startswith("retrained.")}
    assert classifiers <= changed
    assert any("running_mean" in n for n in changed) == moves
    assert {n for n in changed - classifiers if "running" not in n and "num_batches" not in n} == set()


def test_without_a_second_stage_the_first_classifiers_answer(cpu):
    config = config_of("bs")
    state = train.train(config, 0, cpu)
    assert len(state.history) == config.steps and "own" in state.history[-1]
    whole = train.train(config_of("shike"), 0, cpu)
    assert len(whole.history) == config.steps and "own" not in whole.history[-1]
    found = experiment.predict(state, config, 0, "test")
    items = batch(config, "test", 0, torch.arange(config.test_items))
    with torch.no_grad():
        assert torch.allclose(found["logits"], state.network.eval()(items["image"])["logits"], atol=1e-5)


# -- measures ---------------------------------------------------------------------------------------------------------


def test_features_that_are_rotated_and_scaled_are_alike():
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(40, 6, generator=generator)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    assert experiment.linear_cka(a, 3 * a @ turn + 2) == pytest.approx(1.0, abs=1e-6)
    assert experiment.linear_cka(a, torch.randn(40, 6, generator=generator)) < 0.5


def test_disagreement_margin_and_best_branch_by_hand():
    said = torch.tensor([[0, 0, 1], [1, 1, 1]])
    logits = F.one_hot(said, 3).float()
    assert experiment.disagreement(logits) == pytest.approx(100 * (2 / 3 + 0) / 2)
    assert experiment.disagreement(logits[:, :1]) == 0.0
    assert experiment.margin(logits, torch.tensor([0, 1])).tolist() == pytest.approx([2 / 3 - 1 / 3, 1.0])
    # class 0: branch 0 and 1 right, the deeper one counts; class 1: all right, the deepest
    assert experiment.best_branch(logits, torch.tensor([0, 1]))[:2].tolist() == [1, 2]


# -- the task ---------------------------------------------------------------------------------------------------------


def test_partners_differ_in_the_cue_of_their_pair_alone():
    shapes = world(SMOKE, 0)
    classes = SMOKE.classes
    label = torch.arange(classes)
    found, partner = shapes.attributes(label), shapes.attributes(classes - 1 - label)
    local = shapes.local(label)
    assert local.any() and (~local).any()
    assert torch.equal(found["frequency"] != partner["frequency"], local)
    assert torch.equal(found["notch"] != partner["notch"], ~local)
    for name in ("points", "hole", "texture", "hue"):
        assert torch.equal(found[name], partner[name])


def test_training_is_long_tailed_and_the_test_is_balanced():
    counts = class_counts(SMOKE)
    labels = batch(SMOKE, "train", 0, torch.arange(int(counts.sum())))["label"]
    assert torch.equal(torch.bincount(labels), counts) and counts[0] >= 4 * counts[-1]
    held = batch(SMOKE, "test", 0, torch.arange(SMOKE.test_items))["label"]
    assert torch.bincount(held).unique().numel() == 1


def test_cifar_is_read_and_its_absence_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    real = dataclasses.replace(PROFILES["paper"], automatic_augmentation=False)
    with pytest.raises(UserError, match="cifar100"):
        batch(real, "train", 0, torch.arange(2))
    folder = tmp_path / DATASETS[0].folder
    folder.mkdir(parents=True)
    cifar.write_sample(folder)
    found = batch(real, "test", 0, torch.arange(2))
    assert found["image"].shape == (2, 3, 32, 32) and found["label"].shape == (2,)
