"""EVA: boxes, soundness on a trained network, frozen patches, hybrid bounds, greedy attacks, sharing the classifier, readers."""

import dataclasses

import pytest
import torch
from torch import nn

from vislab.cards import resolve
from vislab.datasets import class_folders, mnist
from vislab.engine.attributions import margin
from vislab.errors import UserError
from vislab.nn.bounds import flatten_layers, upper_bounds
from vislab.ops import counter
from vislab.papers.trust.eva import data, experiment, explain, train
from vislab.papers.trust.eva.card import DATASETS, PAPER, PROFILES
from vislab.papers.trust.eva.model import Standardise, build, last_convolution, vgg16

SMOKE = PROFILES["smoke"]
MEDIUM = dataclasses.replace(SMOKE, steps=60, train_items=400, batch_size=64, width=6, hidden=24, learning_rate=1e-2)


@pytest.fixture(scope="module")
def trained():
    from vislab.engine.device import accelerator

    cpu = accelerator("cpu")
    state = train.train(MEDIUM, 0, cpu)
    return state.network.eval(), data.batch(MEDIUM, "test", 0, torch.arange(6))


def masks(config=MEDIUM):
    return explain.frozen_masks(config.grid, config.image_size)


# -- boxes ------------------------------------------------------------------------------------------------------------


def test_a_frozen_patch_does_not_move_and_pixels_stay_in_range():
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    lower, upper = explain.boxes(images, 0.2, masks())
    assert lower.min() >= 0 and upper.max() <= 1
    assert torch.equal(lower[:, 1, :, :4, :4], images[:, :, :4, :4]) and torch.equal(
        upper[:, 1, :, :4, :4], images[:, :, :4, :4]
    )
    assert (upper[:, 1, :, 4:] > lower[:, 1, :, 4:]).all() and (upper[:, 0] > lower[:, 0]).all()
    assert masks().shape == (10, 1, 12, 12) and masks()[1:].mean() == pytest.approx(8 / 9)


# -- the certified overlap --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", experiment.BOUNDS)
def test_the_bound_is_sound_on_a_trained_network(trained, method):
    model, items = trained
    bound = explain.certified_overlap(model, items["image"], items["label"], 0.05, masks(), method)
    part = masks()[[0, 5]]
    random = explain.sampled_overlap(model, items["image"], items["label"], 0.05, part, 1000)
    pushed = explain.sampled_overlap(model, items["image"], items["label"], 0.05, part, 2, 20)
    assert (torch.maximum(random, pushed) <= bound[:, [0, 5]] + 1e-4).all()
    assert (pushed >= margin(model(items["image"]), items["label"])[:, None] - 1e-5).all()


def test_the_merged_difference_is_tighter_than_two_bounds(trained):
    model, items = trained
    image, label = items["image"][:1], items["label"][:1]
    box = ((image - 0.05).clamp(0, 1), (image + 0.05).clamp(0, 1))
    eye = torch.eye(8)[None]
    with torch.no_grad():
        high = upper_bounds(flatten_layers(model), box, eye, "crown_ibp")[0]
        low = -upper_bounds(flatten_layers(model), box, -eye, "crown_ibp")[0]
        other = torch.arange(8) != label
        merged = explain.certified_overlap(model, image, label, 0.05, masks()[:1], "crown_ibp")
    assert float(merged) < float(high[other].max() - low[label])


def test_scores_are_never_negative_and_vanish_without_a_box(trained):
    model, items = trained
    for eps in (0.05, 0.0):
        overlap = explain.certified_overlap(model, items["image"], items["label"], eps, masks())
        scores = explain.verified_map(overlap, MEDIUM.grid)
        assert (scores >= 0).all() and scores.shape == (6, 3, 3)
        assert (scores.max() > 1e-3) == (eps > 0)
    with torch.no_grad():
        assert torch.allclose(overlap[:, 0], margin(model(items["image"]), items["label"]), atol=1e-4)


def test_a_patch_that_the_network_ignores_has_no_score():
    model = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 8)).eval()
    with torch.no_grad():
        model[3].weight.unflatten(1, (4, 9))[:, :, 4] = 0
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for method in experiment.BOUNDS:
        overlap = explain.certified_overlap(model, images, torch.tensor([0, 1]), 0.1, masks(), method)
        scores = explain.verified_map(overlap, 3).detach().flatten(1)
        assert (scores[:, 4] < 1e-5).all() and (scores.sum(dim=1) > 1e-3).all()


def test_against_one_class_is_at_most_the_maximum_over_all(trained):
    model, items = trained
    image, label = items["image"][:2], items["label"][:2]
    every = explain.certified_overlap(model, image, label, 0.05, masks())
    others = [c for c in range(8) if c not in label.tolist()]
    single = torch.stack([explain.certified_overlap(model, image, label, 0.05, masks(), against=c) for c in others])
    assert (single.amax(dim=0) <= every + 1e-4).all() and not torch.allclose(single[0], single[1])


def test_the_hybrid_samples_the_front_and_is_below_the_certified_bound(trained):
    model, items = trained
    image, label = items["image"][:3], items["label"][:3]
    full = explain.certified_overlap(model, image, label, 0.05, masks(), "ibp")
    half = explain.certified_overlap(model, image, label, 0.05, masks(), "ibp", cut=2, samples=20)
    assert (half <= full + 1e-4).all() and (half[:, 0] < full[:, 0]).all()
    early = nn.Sequential(*flatten_layers(model)[:2])
    box = (image - 0.05).clamp(0, 1), (image + 0.05).clamp(0, 1)
    few, many = (explain.empirical(early, box, n, 0) for n in (2, 30))
    assert (many[0] <= few[0]).all() and (many[1] >= few[1]).all()


# -- attacks ----------------------------------------------------------------------------------------------------------


def test_greedy_takes_the_only_patch_that_counts_first():
    model = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 8)).eval()
    with torch.no_grad():
        keep = torch.zeros(9)
        keep[7] = 1
        model[3].weight.unflatten(1, (4, 9)).mul_(keep)
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    scores = explain.greedy_map(model, images, torch.tensor([0, 1]), 0.1, 3, 4, 1).flatten(1)
    assert scores.argmax(dim=1).tolist() == [7, 7] and sorted(scores[0].tolist()) == list(range(1, 10))


def test_more_points_find_no_less(trained):
    model, items = trained
    few, many = (
        explain.sampled_overlap(model, items["image"], items["label"], 0.05, masks()[:1], n) for n in (10, 200)
    )
    attacked = explain.sampled_overlap(model, items["image"], items["label"], 0.05, masks()[:1], 2, 20)
    assert (many >= few - 1e-6).all() and attacked.mean() > many.mean()


# -- the classifier ---------------------------------------------------------------------------------------------------


def test_interval_training_bounds_the_worst_case(trained):
    model, items = trained
    worst = train.worst_logits(model, items["image"], items["label"], 0.02)
    ibp = explain.certified_overlap(model, items["image"], items["label"], 0.02, masks()[:1], "ibp")[:, 0]
    assert torch.allclose(margin(worst, items["label"]), ibp, atol=1e-4)
    assert (worst.gather(1, items["label"][:, None]) == 0).all()


def test_adversarial_pictures_stay_close_and_raise_the_loss(trained):
    model, items = trained
    with counter.scope(0, "noise", "test"):
        moved = train.perturbed(model, items["image"], items["label"], 0.05)
    assert (moved - items["image"]).abs().max() <= 0.05 + 1e-6 and moved.min() >= 0 and moved.max() <= 1
    loss = nn.functional.cross_entropy
    assert loss(model(moved), items["label"]) > loss(model(items["image"]), items["label"])


def test_every_arm_explains_the_same_classifier(cpu):
    shared = experiment.prepare(SMOKE, 0, cpu)
    states = [train.train(resolve(PAPER, "smoke", arm), 0, cpu, shared) for arm in ("eva", "rise")]
    for state in states:
        assert state.step == SMOKE.steps
        assert all(torch.equal(v, shared[n]) for n, v in state.network.state_dict().items())
    names = {f.name for f in dataclasses.fields(SMOKE)}
    assert set(experiment.PREPARE_FIELDS) <= names and "eps" not in experiment.PREPARE_FIELDS


def test_only_right_pictures_are_explained(trained, cpu):
    state = train.begin(MEDIUM, 0, cpu, {n: v.clone() for n, v in trained[0].state_dict().items()})
    items, accuracy = experiment.chosen(state, dataclasses.replace(MEDIUM, test_items=60, explained=5), 0, "test")
    assert len(items["label"]) == 5 and accuracy > 20
    assert (state.network(items["image"]).argmax(dim=1) == items["label"]).all()


def test_the_spurious_background_is_in_training_alone():
    config = dataclasses.replace(SMOKE, spurious=1.0, image_size=24)
    tells = {}
    for split in ("train", "test"):
        found = data.batch(config, split, 0, torch.arange(200))
        colour = found["image"][:, :, 0].mean(dim=-1)
        mean = torch.stack([colour[found["label"] == c].mean(dim=0) for c in range(8)])
        tells[split] = float(mean.std(dim=0).mean())
    assert tells["train"] > 2 * tells["test"]


def test_vgg_is_one_sequence_that_can_be_cut():
    with torch.device("meta"):
        layers = flatten_layers(vgg16(1000))
    cut = PROFILES["paper"].cut
    assert isinstance(layers[0], Standardise) and isinstance(layers[cut - 1], nn.MaxPool2d)
    assert [type(m).__name__ for m in layers[cut:]][:3] == ["Flatten", "Linear", "ReLU"]
    assert last_convolution(build(SMOKE)).out_channels == 2 * SMOKE.width


# -- real data --------------------------------------------------------------------------------------------------------


def test_mnist_is_read_back_and_faults_are_named(tmp_path, monkeypatch):
    place = tmp_path / "mnist"
    mnist.write_sample(place)
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    config = dataclasses.replace(SMOKE, source="mnist", image_size=28, classes=10)
    found = data.batch(config, "test", 0, torch.arange(3))
    assert found["label"].tolist() == [0, 1, 2] and found["image"].shape == (3, 1, 28, 28)
    assert found["image"][2].unique().tolist() == pytest.approx([20 / 255])
    assert data.batch(config, "validation", 0, torch.arange(1))["label"].tolist() == [2]
    assert build(config)(found["image"]).shape == (3, 10)
    file = place / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])
    mnist.load.cache_clear()
    with pytest.raises(UserError, match="cannot be read"):
        data.batch(config, "test", 0, torch.arange(1))
    file.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        data.batch(config, "test", 0, torch.arange(1))
    (tmp_path / "none" / "mnist").mkdir(parents=True)
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path / "none"))
    with pytest.raises(UserError, match="MNIST is not at"):
        data.batch(config, "test", 0, torch.arange(1))


def test_imagenet_is_read_back(tmp_path, monkeypatch):
    class_folders.write_sample(tmp_path / "imagenet_eva")
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    config = dataclasses.replace(SMOKE, source="imagenet", image_size=32)
    found = data.batch(config, "test", 0, torch.arange(3))
    assert found["label"].tolist() == [0, 1, 2] and found["image"].shape == (3, 3, 32, 32)
    assert DATASETS[2].folder == "imagenet_eva"
