"""DIaM: what base training sees, prototypes and losses by hand, one classifier a query, proportions, supports, readers."""

import dataclasses
import math

import pytest
import torch

from vislab.cards import resolve
from vislab.datasets import coco_20i, label_maps, pascal_5i
from vislab.engine.run import prepared_path, units
from vislab.errors import UserError
from vislab.ops import counter
from vislab.papers.segmentation.diam import adapt, data, experiment, train
from vislab.papers.segmentation.diam.card import PAPER, PROFILES

SMOKE = PROFILES["smoke"]
BASE, NOVEL, FEATURES, PIXELS = 4, 2, 6, 10
RANDOM = torch.Generator().manual_seed(0)
SUPPORT = adapt.Support(
    torch.rand(FEATURES, 12, generator=RANDOM), torch.tensor([0, 0, 0, 4, 4, 4, 5, 5, 5, 255, 0, 4]), 1
)
QUERY = torch.rand(3, FEATURES, PIXELS, generator=RANDOM)
LABEL = torch.randint(0, BASE + NOVEL, (3, PIXELS), generator=RANDOM)
LABEL[1, 7:] = 255
WEIGHT, BIAS = torch.randn(BASE, FEATURES, generator=RANDOM), torch.randn(BASE, generator=RANDOM)


def config_of(arm="diam", **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def start(queries=3):
    return adapt.extended(WEIGHT, BIAS, adapt.prototypes(SUPPORT, BASE, NOVEL), queries)


def adapted(label=LABEL, query=QUERY, **changes):
    config = config_of(**{"adapt_steps": 20, "refresh_at": 10, "learning_rate": 0.01} | changes)
    seen = []
    found = adapt.adapt(config, start(len(query)), SUPPORT, query, label, lambda step, now, pi: seen.append((now, pi)))
    return found, seen


# -- what base training sees ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("novel", [3, 6])
def test_base_training_sees_novel_things_as_background_and_leaves_out_no_picture(novel):
    config = config_of(novel=novel)
    items = data.batch(config, "train", 1, torch.arange(20))
    first = config.classes - novel + 1
    hidden = items["label"] >= first
    assert hidden.flatten(1).any(dim=1).float().mean() > 0.4
    assert (items["base_label"][hidden] == 0).all()
    assert torch.equal(items["base_label"][~hidden], items["label"][~hidden])
    state = train.begin(config, 0, pytest.importorskip("vislab.engine.device").accelerator("cpu"))
    assert state.network.classifier.out_channels == first


def test_places_put_base_classes_before_novel_ones_and_seeds_take_folds_in_turn():
    for seed in range(4):
        found, novel = data.places(SMOKE, seed), data.novel_labels(SMOKE, seed)
        assert found[list(novel)].tolist() == [10, 11, 12] and found[0] == 0 and found[255] == 255
        assert sorted(found[:13].tolist()) == list(range(13))
    folds = [data.novel_labels(SMOKE, seed) for seed in range(5)]
    assert len(set(folds)) == 4 and folds[0] == folds[4]


def test_augmentation_moves_pictures_and_labels_together():
    label = data.batch(SMOKE, "train", 0, torch.arange(4))["base_label"]
    image = label[:, None].expand(-1, 3, -1, -1).float()
    with counter.scope(0, "noise", "augment"):
        moved, told = data.augment(image, label, (0.5, 2.0), 10.0)
    inside = told != 255
    assert inside.any() and (~inside).any()
    edge = torch.nn.functional.max_pool2d(told.float()[:, None], 3, 1, 1) != -torch.nn.functional.max_pool2d(
        -told.float()[:, None], 3, 1, 1
    )
    flat = inside & ~edge[:, 0]
    assert ((moved[:, 0] - told)[flat].abs() < 1e-3).float().mean() > 0.995
    with counter.scope(0, "noise", "still"):
        still, same = data.augment(image, label, (1.0, 1.0), 0.0)
    for k in range(4):
        assert torch.equal(same[k], label[k]) or torch.equal(same[k], label[k].flip(-1))
        assert torch.allclose(still[k, 0], same[k].float(), atol=1e-3)


def test_pretraining_teaches_the_trunk_and_only_it(cpu):
    config = config_of(pretrain_steps=25, pretrain_items=64, pretrain_learning_rate=1e-2)
    model = train.begin(config, 0, cpu).network
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = train.pretrain(model.backbone, config, 0, cpu.device)
    assert sum(losses[-5:]) < sum(losses[:5])
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("backbone.") for name in changed)


# -- prototypes and losses by hand ------------------------------------------------------------------------------------


def test_prototypes_are_unit_means_of_the_masked_features():
    found = adapt.prototypes(SUPPORT, BASE, NOVEL)
    for k in range(NOVEL):
        mean = SUPPORT.features[:, SUPPORT.label == BASE + k].mean(dim=1)
        assert torch.allclose(found[k], mean / mean.norm(), atol=1e-6)
    begun = start()
    assert torch.equal(begun.weight[0, :BASE], WEIGHT) and not begun.bias[:, BASE:].any()
    assert torch.equal(begun.weight[0], begun.weight[2])


def test_the_support_loss_by_hand():
    probability = torch.tensor([[[0.1, 0.2], [0.3, 0.1], [0.4, 0.1], [0.2, 0.6]]])
    support = adapt.Support(torch.zeros(1, 2), torch.tensor([0, 3]), 1)
    found = adapt.support_loss(probability, support, 2, 0.01)
    assert float(found[0]) == pytest.approx((0.01 * -math.log(0.4) - math.log(0.6)) / 2, rel=1e-5)
    other = probability.clone()
    other[0, :2, 0] = torch.tensor([0.35, 0.05])  # which base class holds the mass does not matter
    assert torch.allclose(adapt.support_loss(other, support, 2, 0.01), found)


def test_the_query_losses_by_hand():
    probability = torch.tensor([[[0.5, 0.1, 0.9], [0.25, 0.2, 0.05], [0.25, 0.7, 0.05]]])
    valid = torch.tensor([[True, True, False]])
    rows = probability[0, :, :2].T
    entropy = -(rows * rows.log()).sum(dim=1).mean()
    assert float(adapt.entropy_loss(probability, valid)) == pytest.approx(float(entropy), rel=1e-5)
    marginal, pi = rows.mean(dim=0), torch.tensor([[0.6, 0.2, 0.2]])
    expected = (marginal * (marginal / pi[0]).log()).sum()
    assert float(adapt.marginal_loss(probability, valid, pi)) == pytest.approx(float(expected), rel=1e-5)
    before = torch.tensor([[[0.8, 0.5, 0.5], [0.2, 0.5, 0.5]]])
    merged = torch.stack([rows[:, 0] + rows[:, 2], rows[:, 1]], dim=1)
    expected = (merged * (merged / before[0, :, :2].T).log()).sum(dim=1).mean()
    assert float(adapt.distillation_loss(probability, before, valid)) == pytest.approx(float(expected), rel=1e-5)


def test_distillation_is_zero_when_novel_mass_comes_out_of_the_background():
    before = torch.tensor([[[0.7], [0.3]]])
    now = torch.tensor([[[0.1], [0.3], [0.6]]])
    assert float(adapt.distillation_loss(now, before, torch.tensor([[True]]))) == pytest.approx(0, abs=1e-6)


# -- the optimisation -------------------------------------------------------------------------------------------------


def test_no_query_sees_another():
    together, _ = adapted()
    for k in range(3):
        alone, _ = adapted(LABEL[k : k + 1], QUERY[k : k + 1])
        assert torch.allclose(alone.weight[0], together.weight[k], atol=1e-5)
        assert torch.allclose(alone.bias[0], together.bias[k], atol=1e-5)
    assert not torch.allclose(together.weight[0], together.weight[2], atol=1e-3)


def test_fine_tuning_on_supports_gives_every_query_the_same_classifier():
    found, _ = adapted(weight_marginal=0.0, weight_entropy=0.0, weight_distillation=0.0)
    assert found.weight.shape == (3, BASE + NOVEL, FEATURES) and torch.equal(found.weight[0], found.weight[2])
    nearly, _ = adapted(weight_marginal=1e-9, weight_entropy=0.0, weight_distillation=0.0)
    assert torch.allclose(nearly.weight, found.weight, atol=1e-5)


@pytest.mark.parametrize(("kind", "reads"), [("self", False), ("uniform", False), ("image", True), ("true", True)])
def test_only_the_upper_bounds_read_the_querys_labels(kind, reads):
    changed = torch.where(LABEL == 255, 255, (LABEL > 0) * 1)
    one, other = adapted(proportions=kind)[0], adapted(changed, proportions=kind)[0]
    assert torch.equal(one.weight, other.weight) != reads


def test_proportions():
    begun, valid = start(), LABEL != 255
    truth = adapt.true_proportions(LABEL, BASE + NOVEL)
    assert torch.allclose(truth.sum(dim=1), torch.ones(3)) and truth[1, 0] == (LABEL[1, :7] == 0).float().mean()
    own = adapt.proportions("self", begun, QUERY, valid, truth)
    assert torch.allclose(own[1], begun.probability(QUERY)[1, :, :7].mean(dim=1), atol=1e-6)
    known = adapt.proportions("image", begun, QUERY, valid, truth)
    assert torch.equal(known > 0, truth > 0) and torch.allclose(known.sum(dim=1), torch.ones(3))
    assert torch.equal(adapt.proportions("true", begun, QUERY, valid, truth), truth)
    assert torch.allclose(adapt.proportions("uniform", begun, QUERY, valid, truth), torch.full_like(truth, 1 / 6))


def test_the_estimate_is_renewed_once():
    _, seen = adapted()
    pis = [pi for _, pi in seen]
    assert len(pis) == 21
    assert all(torch.equal(pi, pis[0]) for pi in pis[:10]) and all(torch.equal(pi, pis[10]) for pi in pis[10:])
    assert not torch.equal(pis[0], pis[10])
    own = seen[10][0].probability(QUERY)
    assert torch.allclose(pis[10], adapt.valid_mean(own, (LABEL != 255)[:, None]), atol=1e-6)


def test_the_marginal_moves_towards_the_proportions():
    def distance(**changes):
        found, seen = adapted(proportions="true", adapt_steps=60, **changes)
        marginal = adapt.valid_mean(found.probability(QUERY), (LABEL != 255)[:, None])
        return float((marginal - seen[-1][1]).abs().sum())

    assert distance(weight_marginal=30.0) < distance(weight_marginal=0.0)


def test_distillation_holds_the_base_predictions():
    def drift(**changes):
        found, _ = adapted(adapt_steps=60, **changes)
        before = torch.softmax(WEIGHT @ QUERY + BIAS[:, None], dim=1)
        return float(adapt.distillation_loss(found.probability(QUERY), before, LABEL != 255).mean())

    assert drift() < 0.5 * drift(weight_distillation=0.0)


def test_the_base_rows_can_be_held():
    found, _ = adapted(update_base=False)
    assert torch.equal(found.weight[:, :BASE], start().weight[:, :BASE])
    assert not torch.equal(found.weight[:, BASE:], start().weight[:, BASE:])
    assert not torch.equal(adapted()[0].weight[:, :BASE], start().weight[:, :BASE])


def test_background_weight_depends_on_the_shots():
    five = dataclasses.replace(SUPPORT, shots=5)
    config = config_of(adapt_steps=5, background_weight=(0.01, 0.5))
    same = config_of(adapt_steps=5, background_weight=(0.5, 0.01))
    one = adapt.adapt(config, start(), SUPPORT, QUERY, LABEL)
    assert not torch.equal(one.weight, adapt.adapt(config, start(), five, QUERY, LABEL).weight)
    assert torch.equal(one.weight, adapt.adapt(same, start(), five, QUERY, LABEL).weight)


# -- the protocol -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state():
    from vislab.engine.device import accelerator

    return train.begin(SMOKE, 0, accelerator("cpu"))


def test_supports_show_one_novel_class_and_are_no_queries(state):
    config = config_of("diam_5", draws=2, test_items=60)
    label = data.batch(config, "test", 0, torch.arange(60))["label"]
    for support, taken in experiment.supports(state, config, 0, "test"):
        assert taken and support.shots == 5
        assert support.label.unique().tolist() == [0, 10, 11, 12]
        for item in taken:
            assert (label[item].unique() >= 10).sum() == 1
    matrix = experiment.matrices(state, config_of("prototype", test_items=60), 0, "test")
    assert int(matrix.sum()) == (60 - 3) * 65 * 65  # every other picture is a query, whatever it shows


def test_supports_from_training_pictures_leave_all_queries(state):
    config = config_of("train_supports", adapt_steps=1)
    assert all(not taken for _, taken in experiment.supports(state, config, 0, "test"))
    assert int(experiment.matrices(state, config, 0, "test").sum()) == config.test_items * 65 * 65


def test_the_chunk_of_queries_changes_nothing(state):
    whole = experiment.matrices(state, config_of(), 0, "test")
    assert torch.equal(experiment.matrices(state, config_of(eval_batch_size=7), 0, "test"), whole)


def test_scores_leave_out_the_background():
    matrix = torch.diag(torch.full((13,), 5))
    matrix[0, 0], matrix[10, 10], matrix[10, 0] = 0, 0, 5
    found = experiment.scores(SMOKE, matrix)
    assert found == {"miou_base": 100.0, "miou_novel": pytest.approx(200 / 3), "miou_mean": pytest.approx(250 / 3)}


def test_the_base_head_tells_no_novel_class_and_cosines_ignore_length(state):
    matrix = experiment.matrices(state, config_of("base"), 0, "test")
    assert not matrix[:, :, 10:].any()
    config, begun = config_of("cosine"), start()
    short, long = (experiment.logits(config, begun, QUERY * scale)[:, BASE:] for scale in (1.0, 3.0))
    assert torch.allclose(short, long, atol=1e-5)


def test_arms_of_a_layout_share_one_base_network():
    found = {}
    for unit in units(PAPER, experiment, "tutorial", seeds=(0,), device="cpu"):
        found.setdefault(unit.config.novel, set()).add(prepared_path(unit, experiment.PREPARE_FIELDS))
    assert {novel: len(paths) for novel, paths in found.items()} == {3: 1, 6: 1}


def test_every_arm_changes_what_it_names():
    method = resolve(PAPER, "gpu", "diam")
    for arm in PAPER.arms[1:]:
        assert resolve(PAPER, "gpu", arm.name) != method, arm.name


# -- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["pascal", "coco"])
def test_real_data_sets_are_read_by_fold(source, tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    root = tmp_path / data.REAL[source].folder
    classes, novel = (20, 5) if source == "pascal" else (80, 20)
    config = dataclasses.replace(SMOKE, source=source, classes=classes, novel=novel)
    root.mkdir()
    with pytest.raises(UserError, match=r"is not at .*[\s\S]*Expected layout"):
        data.batch(config, "train", 0, torch.arange(2))
    if source == "pascal":
        pascal_5i.write_sample(root)
    else:
        coco_20i.write_sample(root)
        for part in coco_20i.PARTS:
            coco_20i.render_masks(data.REAL[source], root, part)
    label_maps.listed.cache_clear()
    label_maps.areas.cache_clear()
    items = data.batch(config, "test", 0, torch.arange(3))
    first = classes - novel + 1
    # classes 1, 2 and 3 are novel in PASCAL's first fold; of COCO's, class 1 alone
    expected = [first, first + 1, first + 2] if source == "pascal" else [first, 1, 2]
    assert [int(one[24, 24]) for one in items["label"]] == expected
    assert (items["base_label"][items["label"] >= first] != 255).any() and (items["label"][:, 60:] == 255).all()
    areas = data.novel_areas(config, 0, "test", 3)
    assert areas.shape == (3, novel) and int(areas[0, 0]) > 300
