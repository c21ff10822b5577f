"""StyleAdv: the attack by hand, what it may touch, progress over blocks, heads, the ViT's tokens, the losses, the task, the readers."""

import dataclasses
import shutil

import pytest
import torch
from torch.nn import functional as F

from vislab.cards import resolve
from vislab.datasets import few_shot
from vislab.datasets.base import locate
from vislab.engine.measure import parameters
from vislab.errors import UserError
from vislab.ops import counter
from vislab.ops.styles import plain, restyled, style
from vislab.papers.recognition.styleadv import data, experiment, train
from vislab.papers.recognition.styleadv.attack import START, attacked_pixels, few_shot_loss, gradients, new_styles
from vislab.papers.recognition.styleadv.card import DATASETS, PAPER, PROFILES
from vislab.papers.recognition.styleadv.model import CosineHead, Edges, EpisodeNorm, GraphHead, ViT, build, changed
from vislab.papers.recognition.styleadv.official import from_timm

SMOKE = PROFILES["smoke"]
ONE = dataclasses.replace(SMOKE, strengths=(0.08,), follow="code")


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


@pytest.fixture(scope="module")
def shared(cpu):
    return experiment.prepare(SMOKE, 0, cpu)


@pytest.fixture(scope="module")
def vit_shared(cpu):
    return experiment.prepare(config_of("vit"), 0, cpu)


def network(config, seed=0):
    with counter.scope(seed, "init", "test"):
        return build(config)


def an_episode(config=SMOKE):
    found = data.batch(dataclasses.replace(config, style="swap"), "train", 0, torch.tensor([3]))
    return found["image"], found["label"], found["other"]


def attacked(model, config, kind="adversarial", **changes):
    image, label, other = an_episode(config)
    with counter.scope(0, "noise", "test"):
        return new_styles(model, image, label, dataclasses.replace(config, style=kind, **changes), other)


# -- the attack -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["styleadv", "vit_adv"])
def test_every_statistic_moves_by_the_strength_towards_a_higher_loss(arm):
    config = config_of(arm, strengths=(0.08,), follow="code", blocks=(1,))
    model = network(config).eval()
    image, label, _ = an_episode(config)
    mean, std = attacked(model, config)[0]
    with torch.no_grad():
        x = model.backbone.stage(0, image.flatten(0, 2))
        own = style(model.backbone.map_of(x))
    content = plain(model.backbone.map_of(x))
    target = label[..., None].expand(image.shape[:3]).flatten()

    def loss(mean, std):
        y = model.backbone.with_map(x, content * std[..., None] + mean[..., None] if content.ndim == 3 else
                                    content * std[..., None, None] + mean[..., None, None])  # fmt: skip
        for k in (1, 2, 3):
            y = model.backbone.stage(k, y)
        return F.cross_entropy(model.classifier(model.backbone.pooled(y)), target)

    leaves = [v.clone().requires_grad_() for v in own]
    slopes = torch.autograd.grad(loss(*leaves), leaves)
    for new, old, slope in zip((mean, std), own, slopes, strict=True):
        sure = slope.abs() > 1e-7
        assert torch.allclose((new - old - START)[sure], (0.08 * slope.sign())[sure], atol=1e-5)


def test_the_start_is_gaussian_in_the_text_and_constant_in_the_code():
    model = network(SMOKE).eval()
    text, code = (
        attacked(model, dataclasses.replace(ONE, strengths=(0.0,), blocks=(1,), follow=f)) for f in ("paper", "code")
    )
    image, _, _ = an_episode()
    with torch.no_grad():
        own = style(model.backbone.stage(0, image.flatten(0, 2)))[0]
    assert torch.allclose(code[0][0] - own, torch.full_like(own, START), atol=1e-6)
    spread = (text[0][0] - own).std() / START
    assert 0.8 < float(spread) < 1.2


def test_the_attack_touches_no_parameter_and_no_running_statistic():
    model = network(SMOKE).train()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    attacked(model, SMOKE)
    attacked_pixels(model, *an_episode()[:2], SMOKE)
    assert model.training
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_block_is_attacked_on_features_that_carry_the_styles_before_it():
    model = network(ONE).eval()
    image, label, _ = an_episode()
    progressive, independent = attacked(model, ONE), attacked(model, ONE, progressive=False)
    assert all(torch.equal(a, b) for a, b in zip(progressive[0], independent[0], strict=True))
    assert not torch.allclose(progressive[1][0], independent[1][0], atol=1e-4)
    with torch.no_grad():
        first = model.backbone.stage(0, image.flatten(0, 2))
        second = model.backbone.stage(1, restyled(first, *progressive[0]))
    content, target = plain(second), label[..., None].expand(image.shape[:3]).flatten()

    def loss(feat):
        return F.cross_entropy(model.classifier(feat), target)

    own = style(second)
    slopes = gradients(model, 1, loss, own, lambda m, s: content * s[..., None, None] + m[..., None, None])
    sure = slopes[0].abs() > 1e-7
    assert torch.allclose((progressive[1][0] - own[0] - START)[sure], (0.08 * slopes[0].sign())[sure], atol=1e-5)


@pytest.mark.parametrize("kind", ["class", "few_shot"])
def test_attacked_styles_are_harder_than_random_ones_of_the_same_size(shared, cpu, kind):
    config = dataclasses.replace(SMOKE, strengths=(0.05,), attack_loss=kind, blocks=(1,))
    model = train.begin(config, 0, cpu, shared).network.eval()
    image, label, _ = an_episode(config)

    def loss(changes):
        with torch.no_grad():
            found = model(image, changes)
        if kind == "few_shot":
            return float(few_shot_loss(found["scores"]))
        return float(F.cross_entropy(found["class_logits"], label[..., None].expand(image.shape[:3]).flatten()))

    hard, chance = (loss(attacked(model, config, k)) for k in ("adversarial", "random"))
    assert hard > chance and hard > loss({})


def test_swapped_styles_are_those_of_the_other_episode_and_mixed_ones_lie_between():
    model = network(SMOKE).eval()
    image, _, other = an_episode()
    with torch.no_grad():
        own, theirs = (style(model.backbone.stage(0, e.flatten(0, 2)))[0] for e in (image, other))
    assert torch.allclose(attacked(model, SMOKE, "swap")[0][0], theirs, atol=1e-6)
    mixed = attacked(model, SMOKE, "mix")[0][0]
    low, high = torch.minimum(own, theirs), torch.maximum(own, theirs)
    assert (mixed >= low - 1e-5).all() and (mixed <= high + 1e-5).all()
    assert not torch.allclose(mixed, theirs)


def test_features_and_pixels_are_moved_by_the_strength_everywhere():
    model = network(SMOKE).eval()
    image, label, _ = an_episode()
    (offset,) = attacked(model, SMOKE, "features", strengths=(0.08,), blocks=(2,))[1]
    size = offset.abs()
    assert ((size < 1e-6) | ((size - 0.08).abs() < 1e-6)).all() and (size > 0).float().mean() > 0.5
    with counter.scope(0, "noise", "test"):
        moved = attacked_pixels(model, image, label, dataclasses.replace(SMOKE, strengths=(0.08,)))
    assert torch.allclose((moved - image).abs().median(), torch.tensor(0.08), atol=1e-5)


def test_a_negative_deviation_mirrors_the_content_unless_clamped():
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, std = style(x)
    assert torch.allclose(plain(restyled(x, mean, -std)), -plain(x), atol=1e-4)
    config = dataclasses.replace(ONE, strengths=(3.0,))
    model = network(config).eval()
    assert attacked(model, config)[0][1].min() < 0
    assert attacked(model, config, clamped=True)[0][1].min() == 0


def test_only_the_named_blocks_are_attacked():
    model = network(SMOKE).eval()
    assert sorted(attacked(model, SMOKE)) == [0, 1, 2]
    assert sorted(attacked(model, SMOKE, blocks=(1,))) == [0] and sorted(attacked(model, SMOKE, blocks=(1, 3))) == [
        0,
        2,
    ]


# -- networks ---------------------------------------------------------------------------------------------------------


def test_the_vit_of_the_paper_has_timms_tensors():
    import timm

    with torch.device("meta"):
        ours = build(resolve(PAPER, "paper", "vit_adv")).backbone
        theirs = timm.create_model("vit_small_patch16_224.dino", pretrained=False, num_classes=0)
    assert parameters(ours) == parameters(theirs) == 21_665_664
    named = from_timm(theirs.state_dict())
    assert {n: v.shape for n, v in named.items()} == {n: v.shape for n, v in ours.state_dict().items()}


@pytest.mark.parametrize("scrambled", [False, True])
def test_the_class_token_has_no_style(scrambled):
    backbone = ViT(16, 8, 8, 4, 2, scrambled)
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    kept = backbone.map_of(x)
    assert kept.shape == (2, 8, 4) and torch.equal(backbone.with_map(x, kept), x)
    assert torch.allclose(style(kept)[0], x[:, 1:].mean(dim=1), atol=1e-6) != scrambled
    moved = changed(backbone, x, (torch.zeros(2, 8), torch.ones(2, 8)))
    assert torch.equal(moved[:, 0], x[:, 0]) and not torch.allclose(moved[:, 1:], x[:, 1:])


def test_a_graph_listens_to_others_alone_and_episodes_do_not_mix():
    generator = torch.Generator().manual_seed(0)
    edges = Edges(6, 4)(torch.randn(2, 3, 5, 6, generator=generator))
    assert torch.allclose(edges.sum(dim=-1), torch.ones(2, 3, 5)) and edges.diagonal(dim1=2, dim2=3).abs().max() == 0
    norm, x = EpisodeNorm(6), torch.randn(2, 7, 6, generator=generator)
    assert torch.allclose(norm(x), torch.stack([F.batch_norm(e, None, None, training=True) for e in x]), atol=1e-5)
    head, feat = GraphHead(10, 6, 8, 3), torch.randn(2, 3, 4, 10, generator=generator)
    scores = head(feat, 2)
    assert scores.shape == (2, 3, 2, 3)
    assert torch.allclose(scores[:1], head(feat[:1], 2), atol=1e-5)
    turned = feat[:, :, [1, 0, 2, 3]]
    assert torch.allclose(scores, head(turned, 2), atol=1e-4), "the order of the support does not matter"
    assert torch.allclose(scores[:, :, [1, 0]], head(feat[:, :, [0, 1, 3, 2]], 2), atol=1e-4)


def test_prototypes_by_hand():
    feat = torch.tensor([[[[3.0, 0.0], [1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 3.0], [5.0, 5.0]]]])
    scores = CosineHead()(feat, 2)
    assert torch.allclose(scores[0, :, 0], torch.tensor([[0.0, 10.0], [50**0.5, 50**0.5]]), atol=1e-5)
    target = torch.tensor([0, 1])
    assert torch.allclose(few_shot_loss(scores), F.cross_entropy(scores[0, :, 0], target))


# -- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["styleadv", "swap", "random", "pixels", "plain"])
def test_every_rival_with_a_second_view_has_the_same_losses(arm, cpu):
    config = config_of(arm)
    items = data.batch(config, "train", 0, torch.arange(1))
    with counter.scope(0, "noise", "step0"):
        found = train.step(train.begin(config, 0, cpu), items)
    second = {"styled", "consistency"} if arm != "plain" else set()
    assert set(found) == {"loss", "few_shot", "class"} | second
    assert found["loss"] == pytest.approx(sum(v for n, v in found.items() if n != "loss"), rel=1e-5)


def test_views_agree_when_every_block_is_skipped_and_the_first_view_is_the_same_in_every_arm(cpu):
    losses = {}
    for arm, changes in (("styleadv", {"skip": 1.0}), ("plain", {}), ("random", {"skip": 0.0})):
        config = config_of(arm, **changes)
        items = data.batch(config, "train", 0, torch.arange(1))
        with counter.scope(0, "noise", "step0"):
            losses[arm] = train.step(train.begin(config, 0, cpu), items)
    assert losses["styleadv"]["consistency"] == pytest.approx(0, abs=1e-6)
    assert losses["styleadv"]["styled"] == pytest.approx(losses["styleadv"]["few_shot"], rel=1e-6)
    assert losses["random"]["consistency"] > 1e-4
    assert len({v["few_shot"] for v in losses.values()}) == 1


def test_consistency_is_the_divergence_from_the_original():
    a, b = torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    p, q = a.softmax(-1), b.softmax(-1)
    assert float(train.consistency(a, b)) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)


def test_the_warm_start_is_the_same_whatever_the_head(shared, cpu):
    images = shared["train"]
    other = train.pretrain(config_of("cosine"), 0, cpu, images)
    assert all(torch.equal(value, shared[name]) for name, value in other.items())
    state = train.begin(config_of("cosine_adv"), 0, cpu, shared)
    for name, value in state.network.state_dict().items():
        assert name.startswith("head.") or torch.equal(value, shared[train.WARM + name])
    fresh = train.begin(SMOKE, 0, cpu)
    assert not torch.equal(
        fresh.network.classifier.weight, train.begin(SMOKE, 0, cpu, shared).network.classifier.weight
    )


def test_fine_tuning_changes_a_copy_and_is_scored(shared, cpu):
    config = config_of("finetuned", finetune_steps=2, test_episodes=2, targets=("fog",))
    state = train.begin(config, 0, cpu, shared)
    plain, tuned = (
        experiment.by_domain(state, dataclasses.replace(config, finetune_steps=n), 0, "test", shared) for n in (0, 2)
    )
    assert tuned.keys() == plain.keys() == {"photo", "fog"} and tuned["fog"][5].shape == (2,)
    assert all(0 <= float(v) <= 100 for found in tuned.values() for values in found.values() for v in values)
    before = {n: v.clone() for n, v in state.network.state_dict().items()}
    model = train.finetuned(state, config, an_episode(config)[0][0, :, :1], 0, 0)
    assert all(torch.equal(v, before[n]) for n, v in state.network.state_dict().items())
    assert not torch.equal(model.backbone.blocks[0].conv1.weight, before["backbone.blocks.0.conv1.weight"])


def test_the_vit_trains_and_is_scored(vit_shared, cpu):
    config = config_of("vit_adv")
    outcome = experiment.run(config, 0, cpu, vit_shared)
    assert outcome.artifacts["domains"].shape == (1 + len(config.targets), 2, 2)
    assert all(torch.isfinite(torch.tensor(v)) for v in outcome.metrics.values())


# -- the task ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["smoke", "tutorial", "paper"])
def test_splits_share_no_class_and_no_look_alike(profile):
    config = PROFILES[profile]
    found = {s: set(data.classes_of(config, s).tolist()) for s in ("train", "validation", "test")}
    total = sum(len(v) for v in found.values())
    assert set.union(*found.values()) == set(range(total))
    assert all({total - 1 - c for c in v} == v for v in found.values())
    assert len(found["train"]) == config.base_classes


def test_training_draws_from_the_pool_what_batch_draws_from_the_world(shared):
    label, number = data.drawn(0, "world", torch.tensor([2]), 8, 3, torch.full((8,), 10), 3)
    assert label.unique().numel() == 3 and all(n.unique().numel() == 3 for n in number[0])
    items = data.batch(SMOKE, "train", 0, torch.tensor([2]))
    assert torch.equal(items["label"], label)
    assert (
        data.unpacked(shared["train"][label[..., None], number]) - items["image"]
    ).abs().max() < 0.5 / 255 / data.STD + 1e-5


def test_classes_with_fewer_pictures_use_their_own_again():
    counts = torch.tensor([2, 50, 50])
    label, number = data.drawn(0, "evaluate", torch.arange(20), 3, 3, counts, 5)
    assert (number < counts[label][..., None]).all()
    few = number[label == 0]
    assert torch.equal(few[:, :2], few[:, 2:4]) and (few[:, 0] != few[:, 1]).all()


def test_styles_change_the_picture_and_not_the_thing():
    label, number = torch.arange(4), torch.zeros(4, dtype=torch.int64)
    own = data.pictures(SMOKE, "test", 0, label, number)
    grey = data.pictures(SMOKE, "test", 0, label, number, "grey")
    seen = [data.pictures(SMOKE, "test", 0, label, number, d) for d in SMOKE.targets]
    assert all((s - own).abs().mean() > 0.03 for s in seen)
    clean = data.in_style(own, "grey")
    assert clean.diff(dim=1).abs().max() == 0 and grey.shape == own.shape
    assert torch.equal(data.in_style(own, "palette"), own[:, [2, 0, 1]])
    with pytest.raises(ValueError, match="opera"):
        data.in_style(own, "opera")


def test_the_nearest_source_style_is_never_the_picture_itself():
    bank = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert float(experiment.nearest(bank[:1], bank)) == pytest.approx(5 / 2**0.5)
    assert float(experiment.nearest(torch.tensor([[3.0, 3.0]]), bank)) == pytest.approx(1 / 2**0.5)


# -- real data --------------------------------------------------------------------------------------------------------


def placed(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    root = tmp_path / folder
    root.mkdir()
    few_shot.files.cache_clear()
    return root


@pytest.mark.parametrize("folder", [d.folder for d in DATASETS])
def test_a_data_set_is_read_back(folder, tmp_path, monkeypatch):
    root = placed(tmp_path, monkeypatch, folder)
    with pytest.raises(UserError, match=r"is not at"):
        few_shot.counts(data.KNOWN[folder], locate(data.KNOWN[folder]), "test")
    root.mkdir(exist_ok=True)
    few_shot.write_sample(root, folder)
    assert few_shot.counts(data.KNOWN[folder], root, "test").tolist() == [1, 1, 1]
    image = few_shot.read(data.KNOWN[folder], root, "test", torch.arange(3), torch.zeros(3, dtype=torch.int64), 16)
    assert image.shape == (3, 3, 16, 16)
    tones = sorted(image[:, 0].mean(dim=(1, 2)).tolist())
    assert tones == pytest.approx([0, 80 / 255, 160 / 255], abs=0.03)


@pytest.mark.parametrize(
    ("folder", "table"), [("cub", "novel.json"), ("isic", few_shot.ISIC_TABLE), ("chestx", few_shot.CHEST_TABLE)]
)
def test_a_missing_or_damaged_table_is_named(folder, table, tmp_path, monkeypatch):
    root = placed(tmp_path, monkeypatch, folder)
    few_shot.write_sample(root, folder)
    file = root / table
    file.write_text(file.read_text()[:7])
    with pytest.raises(UserError, match=table):
        few_shot.counts(data.KNOWN[folder], root, "test")
    file.unlink()
    with pytest.raises(UserError, match="layout"):
        few_shot.counts(data.KNOWN[folder], root, "test")


def test_a_damaged_picture_and_an_empty_set_of_folders_are_named(tmp_path, monkeypatch):
    root = placed(tmp_path, monkeypatch, "eurosat")
    few_shot.write_sample(root, "eurosat")
    (root / "class_0" / "picture_0.jpg").write_bytes(b"\xff\xd8 cut")
    with pytest.raises(UserError, match="picture_0"):
        few_shot.read(data.KNOWN["eurosat"], root, "test", *torch.zeros(2, 1, dtype=torch.int64), 16)
    for place in root.iterdir():
        shutil.rmtree(place)
        (place).mkdir()
    few_shot.files.cache_clear()
    with pytest.raises(UserError, match="no picture"):
        few_shot.counts(data.KNOWN["eurosat"], root, "test")


def test_an_episode_of_real_pictures(tmp_path, monkeypatch):
    root = placed(tmp_path, monkeypatch, "mini_imagenet")
    few_shot.write_sample(root, "mini_imagenet")
    real = dataclasses.replace(SMOKE, source="mini_imagenet", image_size=16)
    data.sizes.cache_clear()
    found = data.batch(real, "train", 0, torch.arange(1))
    assert found["image"].shape == (1, 3, 3, 3, 16, 16)
    data.sizes.cache_clear()
