"""What makes FLYP itself: its loss, its rivals' beginnings, classification by the text encoder as it is now, weight ensembling."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from vislab import registry
from vislab.cards import resolve
from vislab.datasets import class_folders, wilds
from vislab.engine.fit import batch_indices
from vislab.errors import UserError
from vislab.ops import counter
from vislab.papers.language.flyp import losses
from vislab.papers.language.flyp.card import DATASETS, PAPER, PROFILES
from vislab.papers.language.flyp.data import batch, class_names, prompts, sentences
from vislab.papers.language.flyp.experiment import accuracy, chosen_share, interpolated, macro_f1, predict, worst_group
from vislab.papers.language.flyp.train import begin, pretrained, step, train
from vislab.worlds.shapes import captions

SMOKE = PROFILES["smoke"]
IMAGENET, IWILDCAM, FMOW = DATASETS


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def features(count=6, width=5, draw="a"):
    return F.normalize(counter.normal(0, "noise", torch.arange(count), draw, (width,)), dim=-1)


def test_loss_by_hand():
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    logits = 2.0 * torch.tensor([[1.0, 0.6], [0.0, 0.8]])
    rows = -(logits[0, 0] - logits[0].logsumexp(0)) - (logits[1, 1] - logits[1].logsumexp(0))
    columns = -(logits[0, 0] - logits[:, 0].logsumexp(0)) - (logits[1, 1] - logits[:, 1].logsumexp(0))
    assert torch.allclose(losses.flyp_loss(image, text, 2.0), (rows + columns) / 4)


def test_corrections_agree_without_collisions_and_differ_with_them():
    image, text = features(draw="a"), features(draw="b")
    apart, together = torch.arange(6), torch.tensor([0, 0, 1, 1, 2, 2])
    plain = losses.flyp_loss(image, text, 10.0)
    for loss in (losses.masked_loss, losses.supervised_loss):
        assert torch.allclose(loss(image, text, 10.0, apart), plain, atol=1e-5)
        assert not torch.allclose(loss(image, text, 10.0, together), plain, atol=1e-3)
    assert losses.masked_loss(image, text, 10.0, together) < plain


def test_same_class_items_are_negatives():
    """Two items of one class with one sentence: the loss cannot fall below log 2."""
    text = features(1).expand(2, -1)
    image = features(2, draw="c").requires_grad_(True)
    assert losses.flyp_loss(image, text, 100.0) >= 0.69 / 2
    assert float(losses.flyp_loss(text, text, 100.0)) == pytest.approx(0.6931, abs=1e-3)


def test_head_starts_from_the_text_encoder():
    """Before a step, standard fine-tuning predicts what zero-shot classification predicts: the rival is not made weak."""
    head, text = pretrained(config_of("ft"), 0), pretrained(config_of("flyp"), 0)
    a, labels = predict(head, SMOKE, 0, "test")
    b, _ = predict(text, SMOKE, 0, "test")
    assert torch.allclose(a, b, atol=1e-4) and set(labels.tolist()) == set(range(12))


def test_zero_shot_is_neither_at_chance_nor_saturated():
    config = dataclasses.replace(PROFILES["tutorial"], test_items=240)
    found = accuracy(*predict(pretrained(config, 0), config, 0, "test"))
    assert 25 < found < 85


def test_classification_uses_the_fine_tuned_text_encoder(cpu):
    model = pretrained(SMOKE, 0)
    before, _ = predict(model, SMOKE, 0, "test")
    with torch.no_grad():
        model.clip.text_projection.copy_(torch.roll(model.clip.text_projection, 1, dims=1))
    after, _ = predict(model, SMOKE, 0, "test")
    assert not torch.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize(
    ("arm", "moves", "stays"),
    [
        ("flyp", ("clip.text_projection", "clip.visual.proj", "clip.logit_scale"), ()),
        ("text_ce", ("clip.text_projection", "clip.visual.proj", "clip.logit_scale"), ()),
        ("ft", ("clip.visual.proj", "head"), ("clip.text_projection", "clip.logit_scale")),
        ("frozen_text", ("clip.visual.proj", "clip.logit_scale"), ("clip.text_projection", "clip.token_embedding.weight")),
        ("frozen_scale", ("clip.text_projection",), ("clip.logit_scale",)),
        ("linear_probe", ("head",), ("clip.visual.proj", "clip.text_projection")),
    ],
)  # fmt: skip
def test_each_arm_trains_what_it_names(arm, moves, stays, cpu):
    config = config_of(arm, learning_rate=1e-2)
    before = pretrained(config, 0).state_dict()
    after = train(config, 0, cpu).network.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in moves)
    assert all(torch.equal(before[name], after[name]) for name in stays)


def test_probe_counts_in_the_steps(cpu):
    config = config_of("lpft", steps=4)
    assert train(config, 0, cpu).step == 3


def test_anchor_draws_back(cpu):
    config = config_of("l2sp", steps=3, learning_rate=1e-2)

    def moved(weight):
        trained = train(dataclasses.replace(config, weight_anchor=weight), 0, cpu).network.state_dict()
        start = pretrained(config, 0).state_dict()
        return sum(float(((trained[n] - start[n]) ** 2).sum()) for n in start)

    assert moved(100.0) < moved(1e-6)


def test_sentences_name_the_label_and_vary():
    label = torch.arange(12).repeat(8)
    with counter.scope(0, "noise", "sentences"):
        told = captions.words(sentences(PROFILES["tutorial"], label))
    names = class_names(SMOKE)
    assert all(names[k] in text.split() for k, text in zip(label.tolist(), told, strict=True))
    assert len({t.split()[0] for t in told}) > 3
    assert prompts(config_of("one_template")).shape[1] == 1


def test_ensembling_ends(cpu):
    start = pretrained(SMOKE, 0)
    end = train(config_of("flyp", learning_rate=1e-2), 0, cpu).network
    for share, expected in ((0.0, start), (1.0, end)):
        mixed = interpolated(start, end, share).state_dict()
        assert all(torch.allclose(mixed[n], v, atol=1e-6) for n, v in expected.state_dict().items())
    half = interpolated(start, end, 0.5).clip.visual.proj
    assert torch.allclose(half, (start.clip.visual.proj + end.clip.visual.proj) / 2, atol=1e-6)
    assert chosen_share(start, start, SMOKE, 0) == 1.0  # all shares tie: the largest


def test_shots_are_balanced_and_differ_by_seed():
    config = config_of("flyp_4")
    first = batch(config, "train", 0, torch.arange(config.train_items))
    assert (torch.bincount(first["label"]) == 4).all()
    assert not torch.equal(first["image"], batch(config, "train", 1, torch.arange(config.train_items))["image"])


def test_collisions_are_frequent():
    config = PROFILES["tutorial"]
    label = batch_indices(0, 0, config.train_items, config.batch_size) % config.classes
    assert int((torch.bincount(label, minlength=12) > 1).sum()) >= 10


def test_metrics_by_hand():
    logits = torch.tensor([[9.0, 1, 0], [0, 2, 5], [0, 3, 1], [4, 1, 0]])
    labels = torch.tensor([0, 1, 1, 1])
    assert accuracy(logits, labels) == 75.0  # class 2 does not occur, so the second is right
    assert macro_f1(logits, labels) == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)
    assert worst_group(torch.tensor([True, False, True, True]), torch.tensor([0, 0, 2, 2])) == 50.0


def test_step_of_every_loss_is_finite(cpu):
    for arm in ("flyp", "text_ce", "masked", "supervised", "pairwise", "ft"):
        config = config_of(arm)
        state = begin(config, 0, cpu)
        with counter.scope(0, "noise", "step0"):
            assert step(state, batch(config, "train", 0, torch.arange(24)))["loss"] > 0


def test_imagenet_and_its_shifts(tmp_path):
    class_folders.write_sample(tmp_path)
    for kind in class_folders.FOLDERS:
        image, label = class_folders.read(IMAGENET, tmp_path, kind, "test", torch.arange(3), 32)
        assert image.shape == (3, 3, 32, 32) and label.tolist() == [0, 1, 2]
        assert torch.allclose(image.mean(dim=(2, 3))[:, 0], torch.tensor([0.0, 80.0, 160.0]) / 255, atol=0.02)
    (tmp_path / class_folders.OBJECTNET_MAP).write_text("[")
    class_folders.listed.cache_clear()
    with pytest.raises(UserError, match="folder_to_wnid"):
        class_folders.listed(IMAGENET, tmp_path, "objectnet", "test")
    picture = next((tmp_path / "imagenet-r").glob("*/*"))
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(UserError, match="cannot be read"):
        class_folders.read(IMAGENET, tmp_path, "imagenet_r", "test", torch.arange(3), 32)


def test_imagenet_missing_says_layout(tmp_path):
    (tmp_path / "imagenet/val/n01440764").mkdir(parents=True)
    with pytest.raises(UserError, match="Expected layout"):
        class_folders.read(IMAGENET, tmp_path, "imagenet_a", "test", torch.arange(3), 32)
    with pytest.raises(UserError, match="Expected layout"):
        class_folders.wnids(IMAGENET, tmp_path / "nothing")


@pytest.mark.parametrize(("kind", "dataset"), [("iwildcam", IWILDCAM), ("fmow", FMOW)])
def test_wilds(tmp_path, kind, dataset):
    wilds.write_sample(tmp_path, kind)
    for split in ("train", "validation", "test", "ood"):
        image, label, group = wilds.read(dataset, tmp_path, kind, split, torch.arange(3), 32)
        assert image.shape == (3, 3, 32, 32) and label.tolist() == [0, 1, 2] and group.tolist() == [0, 1, 0]
    assert wilds.names(dataset, tmp_path) == ("animal 0", "animal 1", "animal 2")
    table = tmp_path / wilds.LAYOUTS[kind].table
    text = table.read_text()
    table.write_text(text.replace("split", "part", 1))
    wilds.rows.cache_clear()
    with pytest.raises(UserError, match="no column split"):
        wilds.rows(dataset, tmp_path, kind, "train")
    table.write_text("")
    with pytest.raises(UserError, match="empty"):
        wilds.rows(dataset, tmp_path, kind, "train")
    table.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        wilds.rows(dataset, tmp_path, kind, "train")


def test_nothing_is_chosen_on_shifted_data(cpu):
    """The validation split, which tuning and ensembling read, gives in-distribution accuracy alone."""
    from vislab.papers.language.flyp.experiment import evaluate

    state = begin(SMOKE, 0, cpu)
    assert set(evaluate(state, SMOKE, 0, "validation")) == {"accuracy_id"}
    assert registry.tuning("flyp")["flyp"] == registry.tuning("flyp")["ft"]
