"""M3-Net: attention by hand, triplets by sets and by classes, partners, scores and pruning, labels that do not leak, readers."""

import dataclasses
import math

import pytest
import torch

from vislab.cards import resolve
from vislab.datasets import fashion
from vislab.datasets.base import locate
from vislab.errors import UserError
from vislab.papers.recognition.fashion_duet import experiment, losses, train
from vislab.papers.recognition.fashion_duet.card import DATASETS, PAPER, PROFILES
from vislab.papers.recognition.fashion_duet.data import batch, labels, packed, partners, set_numbers, unpacked, unseen
from vislab.papers.recognition.fashion_duet.model import ChannelAttention, SpatialAttention, build

SMOKE = PROFILES["smoke"]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def on_meta(config):
    with torch.device("meta"):
        return build(config)


def size(model):
    return sum(p.numel() for p in model.parameters())


# -- the network ------------------------------------------------------------------------------------------------------


def test_the_paper_profile_has_a_resnet_50_up_to_its_fourth_block_and_a_duet_on_top():
    model = on_meta(PROFILES["paper"])
    assert size(model.backbone) == 8_543_296
    assert model.features(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 196, 1024)
    heads = size(model) - size(model.backbone)
    assert heads == size(model.attribute_branch) + size(model.class_branch) + size(model.attributes) + size(
        model.classes
    ) + size(model.labels) + size(model.class_scores)
    assert 10e6 < size(model) < 33e6


@pytest.mark.parametrize("profile", ["tutorial", "paper"])
def test_the_wide_rival_has_as_many_parameters_as_the_duet(profile):
    duet, wide, alone = (size(on_meta(resolve(PAPER, profile, arm))) for arm in ("duet", "wide", "attribute"))
    assert wide == pytest.approx(duet, rel=0.005) and alone < 0.9 * duet


def test_spatial_attention_by_hand():
    attention = SpatialAttention(3, 2, 4)
    x, condition = torch.randn(1, 5, 3), torch.randn(1, 2, 2)
    seen = (x @ attention.seen.weight.T + attention.seen.bias).tanh()
    given = (condition @ attention.given.weight.T + attention.given.bias).tanh()
    raw = torch.stack([(seen[0] * given[0, k]).sum(-1) for k in range(2)]) / math.sqrt(4)
    assert torch.allclose(attention(x, condition)[0], raw.exp() / raw.exp().sum(-1, keepdim=True), atol=1e-6)


def test_channel_attention_scales_every_channel_by_less_than_one():
    attention = ChannelAttention(6, 2, 2)
    x = torch.ones(1, 3, 6)
    gate = attention(x, torch.randn(1, 3, 2))
    assert ((gate > 0) & (gate < 1)).all() and not torch.allclose(gate[:, 0], gate[:, 1])


def test_conditions_change_the_vectors_and_masks_and_none_do_what_they_say():
    image = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    found = build(config_of("duet")).eval()(image)
    assert torch.allclose(found["vector"].norm(dim=-1), torch.ones(2, 4))
    assert torch.allclose(found["class_vector"].norm(dim=-1), torch.ones(2, 4, 5))
    assert torch.allclose(found["where"].sum(-1), torch.ones(2, 4))
    assert (found["class_vector"][:, :, 0] - found["class_vector"][:, :, 1]).abs().max() > 1e-3
    alike = build(config_of("global")).eval()(image)["vector"]
    assert torch.allclose(alike[:, 0], alike[:, 1]), "one embedding for all attributes"
    masked = build(config_of("masks")).eval()(image)
    assert not torch.allclose(masked["vector"][:, 0], masked["vector"][:, 1])
    assert masked["where"].unique().numel() == 1
    flat = build(config_of("no_class_spatial")).eval()(image)["class_where"]
    assert torch.allclose(flat, torch.full_like(flat, 1 / flat.shape[-1]))
    twice = build(config_of("two_scales")).eval()
    vectors = twice(image)["vector"]
    twice.local_branch.out.weight.data.zero_()
    twice.local_branch.out.bias.data.zero_()
    assert not torch.allclose(vectors, twice(image)["vector"]), "the second look counts"


def test_a_class_sees_the_map_as_its_attribute_attends_to_it():
    model = build(config_of("duet")).eval()
    x = model.features(torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)))
    where = torch.zeros(1, 4, x.shape[1])
    where[:, :, 2] = 1.0
    chosen = torch.zeros(1, 4, 1, dtype=torch.int64)
    vector, _ = model.class_vectors(x, where, chosen)
    hidden = x.clone()
    hidden[:, [p for p in range(x.shape[1]) if p != 2]] = 7.0
    assert torch.allclose(vector, model.class_vectors(hidden, where, chosen)[0], atol=1e-6), (
        "it looked where it must not"
    )
    every = torch.arange(5).expand(1, 4, 5)
    all_vectors = model.class_vectors(x, where, every)[0]
    assert torch.allclose(all_vectors[:, :, :1], vector, atol=1e-6), (
        "a class's vector depends on which others are asked for"
    )


def test_classes_that_an_attribute_lacks_are_never_likely():
    config = config_of("duet", classes=(5, 2))
    model = build(config).eval()
    found = model(torch.randn(3, 3, 24, 24))
    assert torch.isinf(found["logits"][:, 1, 2:]).all() and torch.isfinite(found["logits"][:, 0]).all()
    assert set(model.likely(found["logits"], 2)[:, 1].unique().tolist()) == {0, 1}


# -- losses -----------------------------------------------------------------------------------------------------------


def test_a_hinge_by_hand():
    a, p, n = torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[0.6, 0.8]] * 2), torch.tensor([[0.8, 0.6]] * 2)
    assert float(losses.hinge(a, p, n, torch.tensor([True, True]), 0.2)) == pytest.approx(0.4)
    assert float(losses.hinge(a, p, -n, torch.tensor([True, True]), 0.2)) == 0.0
    assert float(losses.hinge(a, p, n, torch.tensor([True, False]), 0.2)) == pytest.approx(0.4)
    assert float(losses.hinge(a, p, n, torch.tensor([False, False]), 0.2)) == 0.0


def some_sets():
    """Four items, one attribute of three classes: {0}, {0}, {0, 1}, {2}."""
    held = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)[:, None]
    return held, torch.ones(4, 1, dtype=torch.bool)


def test_positives_of_an_attribute_share_the_whole_set():
    same, other = losses.same_set(*some_sets())
    assert same[0].nonzero().tolist() == [[0, 1], [1, 0]]
    assert not (same & other).any() and int((same | other).sum()) == 12
    held, known = some_sets()
    known[1] = False
    same, other = losses.same_set(held, known)
    assert not same.any() and not other[0, 1].any(), "an unknown label makes no pair"


def test_set_triplets_pull_equal_sets_together_and_class_triplets_equal_classes():
    held, known = some_sets()
    vector = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert float(losses.set_triplet(vector[:, None], held, known, 0.2)) == 0.0
    swapped = vector[[0, 3, 2, 1]]
    assert float(losses.set_triplet(swapped[:, None], held, known, 0.2)) > 1.0
    by_class = vector[:, None, None].expand(-1, -1, 3, -1).clone()
    by_class[2, 0, 0] = torch.tensor([1.0, 0.0])  # {0, 1} shows class 0 as {0} does
    assert float(losses.class_triplet(by_class, held, known, 0.2)) == 0.0
    by_class[2, 0, 0] = torch.tensor([-1.0, 0.0])
    assert float(losses.class_triplet(by_class, held, known, 0.2)) > 0.0


def test_negatives_are_classes_that_exist_and_are_not_held():
    held = torch.zeros(50, 2, 5, dtype=torch.bool)
    held[:, 0, 1] = True
    exists = torch.tensor([[True] * 5, [True, True, True, False, False]])
    found = losses.with_negatives(held, exists, 2)
    assert found[:, 0, 1].all() and (found[:, 0].sum(1) == 3).all() and (found[:, 1].sum(1) == 2).all()
    assert not found[:, 1, 3:].any() and found[:, 0].float().mean(0).min() > 0


def test_label_loss_counts_what_is_known():
    logits, held = torch.tensor([[[2.0, -torch.inf]]]), torch.tensor([[[True, False]]])
    counted = torch.tensor([[[True, False]]])
    assert float(losses.label_loss(logits, held, counted)) == pytest.approx(math.log1p(math.exp(-2.0)))


def test_weights_of_zero_leave_terms_out_and_switches_say_which(cpu):
    terms = {}
    for arm in ("duet", "attribute", "no_class_loss", "no_set_loss", "all_classes"):
        config = config_of(arm)
        state = train.begin(config, 0, cpu)
        terms[arm] = set(train.step(state, batch(config, "train", 0, torch.arange(32)))) - {"loss"}
    assert terms["duet"] == {"set", "labels", "class", "scores"}
    assert terms["attribute"] == {"set", "labels"} == terms["no_class_loss"]
    assert terms["no_set_loss"] == {"labels", "class", "scores"}
    assert terms["all_classes"] == {"set", "class", "scores"}


# -- partners ---------------------------------------------------------------------------------------------------------


def test_a_partner_shares_a_whole_set_with_its_anchor_and_is_another_item():
    held, known = labels(SMOKE, "train", 0)
    number, index = set_numbers(held), torch.arange(60)
    found = partners(number, known, index, 0, 3)
    assert (number[found] == number[index]).any(dim=1).all()
    assert (found != index).float().mean() > 0.95
    assert torch.equal(found, partners(number, known, index, 0, 3))
    assert not torch.equal(found, partners(number, known, index, 0, 4))
    one = torch.zeros_like(known)
    one[:, 2] = True
    found = partners(number, one, index, 0, 3)
    assert torch.equal(number[found, 2], number[index, 2]), "only known attributes make partners"


def test_set_numbers_tell_sets_apart():
    held = torch.tensor([[[1, 0]], [[1, 1]], [[1, 0]], [[0, 1]]], dtype=torch.bool)
    number = set_numbers(held)[:, 0]
    assert number[0] == number[2] and len(set(number.tolist())) == 3
    assert unseen(held, held[:2])[:, 0].tolist() == [False, False, False, True]


# -- scores -----------------------------------------------------------------------------------------------------------


def some_found(items=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    vector = torch.nn.functional.normalize(torch.randn(items, 1, 4, generator=draw), dim=-1)
    classes = torch.nn.functional.normalize(torch.randn(items, 1, 5, 4, generator=draw), dim=-1)
    return {
        "vector": vector, "logits": torch.randn(items, 1, 5, generator=draw), "class_vector": classes,
        "chosen": torch.arange(5).expand(items, 1, 5),
    }  # fmt: skip


def test_a_score_by_hand():
    query, gallery = some_found(1), some_found(1, seed=1)
    config = config_of("duet", class_share=0.25)
    p, r = (side["logits"][0, 0].sigmoid() for side in (query, gallery))
    best, there = p.topk(2).indices.tolist(), set(r.topk(2).indices.tolist())
    cosines = (query["class_vector"][0, 0] * gallery["class_vector"][0, 0]).sum(-1)
    wanted = sum(float(p[c] * cosines[c]) for c in best if c in there) / float(p[best].sum())
    wanted = 0.75 * float(query["vector"][0, 0] @ gallery["vector"][0, 0]) + 0.25 * wanted
    assert float(experiment.similarity(config, query, gallery, 0, 2)) == pytest.approx(wanted, abs=1e-6)
    alone = experiment.similarity(config_of("attribute"), query, gallery, 0, 2)
    assert torch.allclose(alone, experiment.similarity(config, query, gallery, 0, 2, share=0.0))


def test_pruned_vectors_give_the_score_of_pruned_weights():
    query, gallery = some_found(4), some_found(5, seed=1)
    config = config_of("duet")
    full = experiment.similarity(config, query, gallery, 0, 2)
    pruned = []
    for side in (query, gallery):
        chosen = side["logits"].topk(2, dim=-1).indices
        kept = side["class_vector"].gather(2, chosen[..., None].expand(-1, -1, -1, 4))
        pruned.append(side | {"chosen": chosen, "class_vector": kept})
    assert torch.allclose(full, experiment.similarity(config, *pruned, 0, 2), atol=1e-6)


def test_scores_use_the_networks_own_labels(cpu):
    state = train.begin(SMOKE, 0, cpu)
    found = experiment.embedded(state, SMOKE, 0, "test", None, 5)
    lied = found | {"held": ~found["held"]}
    sides = [{n: v[:5] for n, v in side.items()} for side in (found, lied)]
    assert torch.equal(
        experiment.similarity(SMOKE, sides[0], found, 1, 2), experiment.similarity(SMOKE, sides[1], lied, 1, 2)
    )


def test_perfect_vectors_retrieve_perfectly_and_queries_are_not_in_the_gallery():
    held = torch.eye(5, dtype=torch.bool)[torch.arange(40) % 5][:, None]
    found = {
        "vector": held.float()[:, :, :5], "logits": torch.zeros(40, 1, 5), "held": held, "known": torch.ones(40, 1, dtype=torch.bool)
    }  # fmt: skip
    config = config_of("attribute")
    by_query = experiment.precision(config, found, 1)
    assert by_query.shape == (8, 1) and torch.allclose(by_query, torch.full((8, 1), 100.0, dtype=by_query.dtype))
    one = found | {"held": torch.cat([held[:8], torch.zeros(32, 1, 5, dtype=torch.bool)])}
    assert experiment.precision(config, one, 1).isnan().all(), "a query found itself"


def test_pictures_are_packed_to_a_byte():
    image = batch(SMOKE, "train", 0, torch.arange(4))["image"]
    assert (unpacked(packed(image)) - image).abs().max() < 4.1 / 255 / 2


# -- real data sets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fashionai", "deepfashion"])
def test_real_data_sets_are_read(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    fashion.write_sample(tmp_path / kind, kind)
    sizes = tuple(fashion.ATTRIBUTES[kind].values())
    config = dataclasses.replace(SMOKE, source=kind, classes=sizes, train_items=4)
    items = batch(config, "train", 0, torch.arange(2))
    assert items["image"].shape == (2, 3, 24, 24) and items["held"].shape == (2, len(sizes), max(sizes))
    assert items["known"].sum(1).tolist() == ([1, 1] if kind == "fashionai" else [2, 2])
    if kind == "fashionai":
        parts = [fashion.listed(DATASETS[0], locate(DATASETS[0]), kind, s)[0] for s in ("train", "validation", "test")]
        assert [len(p) for p in parts] == [8, 1, 1] and len(set().union(*map(set, parts))) == 10
        assert items["held"].sum(dim=(1, 2)).max() <= 2, "yes and maybe are held, no is not"
    else:
        assert items["held"][0, 0, 0] and items["held"][0, 1, 0]
    assert set(train.step(train.begin(config, 0, _cpu()), batch(config, "train", 0, torch.arange(4)))) >= {
        "loss",
        "set",
    }


def _cpu():
    from accelerate import Accelerator

    return Accelerator(cpu=True)


def test_damaged_lists_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    config = dataclasses.replace(SMOKE, source="fashionai", classes=PROFILES["paper"].classes)
    with pytest.raises(UserError, match="tianchi"):
        batch(config, "train", 0, torch.arange(2))
    fashion.write_sample(tmp_path / "fashionai")
    file = tmp_path / "fashionai/Annotations/label.csv"
    for content in ("Images/a.jpg,skirt_length_labels,nyx\n", "Images/a.jpg\n", ""):
        file.write_text(content)
        fashion.listed.cache_clear()
        with pytest.raises(UserError, match=r"label\.csv"):
            batch(config, "train", 0, torch.arange(2))
    fashion.listed.cache_clear()
    fashion.write_sample(tmp_path / "fashionai")
    next((tmp_path / "fashionai/Images/skirt_length_labels").glob("*.jpg")).write_bytes(b"no picture")
    with pytest.raises(UserError, match="jpg"):
        batch(config, "train", 0, torch.arange(8))
    deep = dataclasses.replace(SMOKE, source="deepfashion", classes=tuple(fashion.ATTRIBUTES["deepfashion"].values()))
    fashion.write_sample(tmp_path / "deepfashion", "deepfashion")
    (tmp_path / "deepfashion/Eval/list_eval_partition.txt").write_text("7\nheader\nimg/a.jpg train\n")
    with pytest.raises(UserError, match="list_eval_partition"):
        batch(deep, "train", 0, torch.arange(2))
    fashion.listed.cache_clear()
