"""CEASC: the sparse path equals the masked dense one, whose statistics count, what the masks aim at, what is counted."""

import dataclasses

import pytest
import torch

from vislab.cards import resolve
from vislab.engine.measure import macs
from vislab.nn.detection import flatten_levels
from vislab.papers.perception.ceasc import data, experiment
from vislab.papers.perception.ceasc.card import PAPER, PROFILES
from vislab.papers.perception.ceasc.losses import detection_losses, masking_loss, total_loss
from vislab.papers.perception.ceasc.model import SparseHead, SparseNorm, build, group_moments, head_macs

SMOKE = PROFILES["smoke"]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FEATURES = [draw(2, 32, 16, 16), draw(2, 32, 8, 8, seed=1), draw(2, 32, 4, 4, seed=2)]


def head(**changes):
    torch.manual_seed(0)
    found = SparseHead(dataclasses.replace(SMOKE, **changes))
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return found


# -- the sparse path --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["context", "masked", "instance", "batch", "none"])
@pytest.mark.parametrize("residual", [True, False])
def test_gather_and_scatter_give_what_masking_a_dense_head_gives(norm, residual):
    sparse = head(norm=norm, residual=residual).eval()
    with torch.no_grad():
        found = sparse(FEATURES)
        for level, x in enumerate(FEATURES):
            gate = found.masks[level]
            dense, _ = sparse.classify(x, gate[:, :1])
            assert torch.allclose(found.scores[level], dense, atol=1e-4)
            dense, _ = sparse.regress(x, gate[:, 1:])
            assert torch.allclose(found.sides[level], dense * sparse.scales[level], atol=1e-4)
    assert 0 < found.masks[0].mean() < 1


def test_a_head_with_nothing_to_do_answers_background():
    sparse = head().eval()
    none = [torch.zeros(2, 2, *f.shape[-2:], dtype=torch.bool) for f in FEATURES]
    with torch.no_grad():
        found = sparse(FEATURES, masks=none)
    assert (found.scores[0] == -5).all() and (found.sides[0] == 0).all()


def test_the_count_is_what_the_sparse_path_multiplies():
    config = dataclasses.replace(SMOKE, target="fixed", fixed_share=0.2)
    sparse = SparseHead(config).eval()
    one = [f[:1] for f in FEATURES]
    sizes = [tuple(f.shape[-2:]) for f in one]
    active = [m.sum(dim=(0, 2, 3)).tolist() for m in sparse(one).masks]
    assert macs(lambda: sparse(one)) == head_macs(config, sizes, active)
    dense = dataclasses.replace(SMOKE, head="dense")
    assert macs(lambda: build(dense).head(one)) == head_macs(dense, sizes)
    assert head_macs(config, sizes, active) < 0.4 * head_macs(dense, sizes)


def test_the_test_draws_no_noise_and_training_does():
    sparse = head()
    sparse.eval()
    with torch.no_grad():
        assert torch.equal(sparse(FEATURES).scores[0], sparse(FEATURES).scores[0])
        sparse.train()
        assert not torch.equal(sparse(FEATURES).masks[0], sparse(FEATURES).masks[0])


def test_a_fixed_share_is_exact_in_the_test_at_every_level():
    found = head(target="fixed", fixed_share=0.25).eval()(FEATURES)
    assert [m[:, 0].mean().item() for m in found.masks] == [0.25] * 3


# -- normalisation ----------------------------------------------------------------------------------------------------


def test_context_statistics_do_not_see_the_mask_and_masked_ones_see_nothing_else():
    x, context = draw(2, 8, 6, 6), draw(2, 8, 6, 6, seed=1)
    gate = torch.zeros(2, 1, 6, 6)
    gate[:, :, :3] = 1
    elsewhere = x.clone()
    elsewhere[:, :, 3:] += 100
    norm = SparseNorm(8, 4, "context")
    mean, var = norm.statistics(x, context, gate)
    assert torch.allclose(mean, context.reshape(2, 4, -1).mean(-1), atol=1e-5)
    assert torch.allclose(var, context.reshape(2, 4, -1).var(-1), atol=1e-5)
    masked = SparseNorm(8, 4, "masked")
    for a, b in zip(masked.statistics(x, context, gate), masked.statistics(elsewhere, context, gate), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    whole = torch.ones_like(gate)
    assert torch.allclose(masked.statistics(x, context, whole)[0], group_moments(x, 4)[0], atol=1e-5)


def test_the_normalisation_loss_vanishes_when_both_statistics_agree():
    branch = head(norm="masked").classify.train()
    _, mismatch = branch(FEATURES[0], torch.ones(2, 1, 16, 16))
    assert max(float(m.detach()) for m in mismatch) < 1e-9
    branch = head().classify.train()
    assert float(branch(FEATURES[0], torch.ones(2, 1, 16, 16))[1][0].detach()) > 1e-3


# -- masks ------------------------------------------------------------------------------------------------------------


def test_the_masking_loss_by_hand():
    masks = [torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 2, 2)]
    masks[0][0, 0, 0, 0] = 1
    shares = torch.tensor([0.25, 0.5])
    by_hand = ((1 / 16 - 0.25) ** 2 + 0.25**2 + 0.5**2 + 0.5**2) / 4
    assert float(masking_loss(masks, shares)) == pytest.approx(by_hand)
    wanted = (0.25 * 16 + 0.5 * 4) / 20
    by_hand = ((5 / 20 - wanted) ** 2 + (4 / 20 - wanted) ** 2) / 2
    assert float(masking_loss(masks, shares, "global")) == pytest.approx(by_hand)
    by_hand = ((1 / 16 - 0.1) ** 2 + 0.01 + 0.81 + 0.81) / 4
    assert float(masking_loss(masks, shares, "fixed", 0.1)) == pytest.approx(by_hand)


def test_the_masking_loss_reaches_the_mask_and_the_detection_loss_does_too():
    config = dataclasses.replace(SMOKE, weight_norm=0.0, weight_mask=0.0)
    model = build(config).train()
    items = data.batch(config, "train", 0, torch.arange(4))
    torch.manual_seed(0)
    total_loss(config, model(items["image"]), items["boxes"], items["labels"])["loss"].backward()
    assert all(b.mask.weight.grad.abs().sum() > 0 for b in (model.head.classify, model.head.regress))


def test_shares_are_those_of_the_assigned_positions():
    items = data.batch(SMOKE, "train", 0, torch.arange(4))
    model = build(SMOKE).eval()
    prediction = model(items["image"])
    shares = detection_losses(SMOKE, prediction, items["boxes"], items["labels"])["shares"]
    sizes = [tuple(s.shape[-2:]) for s in prediction.scores]
    masks = experiment.positive_masks(SMOKE, sizes, items)
    assert torch.allclose(shares, torch.stack([m.float().mean() for m in masks]))
    assert 0 < shares[0] < 0.5


# -- detection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", ["gfl", "retinanet"])
def test_perfect_predictions_decode_to_the_objects(detector):
    config = dataclasses.replace(SMOKE, detector=detector, head="dense", reg_max=16)
    items = data.batch(config, "test", 0, torch.arange(4))
    model = build(config).eval()
    with torch.no_grad():
        prediction = model(items["image"])
    sizes = [tuple(s.shape[-2:]) for s in prediction.scores]
    owner = experiment.assign(config, sizes, items["boxes"], items["labels"])
    places = experiment.anchors(config, sizes)
    each = 1 if detector == "gfl" else 9
    scores = torch.full_like(flatten_levels(prediction.scores, each), -9.0)
    sides = flatten_levels(prediction.sides, each) * 0 - 30.0 * (detector == "gfl")
    image, place = (owner >= 0).nonzero(as_tuple=True)
    wanted, label = items["boxes"][image, owner[image, place]], items["labels"][image, owner[image, place]]
    scores[image, place, label] = 5.0
    if detector == "gfl":
        per_level = torch.tensor([h * w for h, w in sizes])
        stride = torch.repeat_interleave(torch.tensor(config.strides), per_level)[place].float()
        distances = experiment.ops.to_distances(experiment.ops.centres(places)[place], wanted) / stride[:, None]
        bins = torch.arange(17.0)
        weight = (1 - (distances[..., None] - bins).abs()).clamp(min=1e-9)
        sides[image, place] = weight.log().flatten(1)
    else:
        sides[image, place] = experiment.ops.to_deltas(places[place], wanted)

    def unflatten(flat):
        parts = flat.split([each * h * w for h, w in sizes], dim=1)
        return [p.reshape(4, h, w, -1).permute(0, 3, 1, 2) for p, (h, w) in zip(parts, sizes, strict=True)]

    boxes, _, labels = experiment.decode(config, prediction._replace(scores=unflatten(scores), sides=unflatten(sides)))
    for k in range(4):
        found, true = boxes[k][labels[k] >= 0], items["boxes"][k][items["labels"][k] >= 0]
        assigned = owner[k][owner[k] >= 0].unique()
        overlap = experiment.ops.pairwise_iou(items["boxes"][k][assigned], found)
        assert (overlap.amax(dim=1) > 0.95).all() and len(found) <= len(true)


def test_flips_move_boxes_with_the_picture():
    items = data.batch(SMOKE, "train", 0, torch.arange(8))
    torch.manual_seed(0)
    moved = data.augment(items)
    flipped = ((moved["boxes"] - items["boxes"]).abs().amax(dim=(1, 2)) > 1e-3).nonzero().flatten()
    assert 0 < len(flipped) < 8
    for k in flipped.tolist():
        change = moved["image"][k] - items["image"][k].flip(-1)
        assert change.abs().max() < 0.15 * (1 + items["image"][k].abs().max())
        assert torch.allclose(moved["boxes"][k][:, 0] + items["boxes"][k][:, 2], torch.where(
            items["labels"][k] >= 0, torch.tensor(64.0), torch.tensor(0.0)))  # fmt: skip


def test_pictures_of_another_size_are_fitted_with_their_boxes():
    image, boxes = torch.rand(3, 100, 50), torch.tensor([[10.0, 20, 30, 60]])
    found, fitted, labels = data.fit(image, boxes, torch.tensor([2]), SMOKE)
    assert found.shape == (3, 64, 64) and labels.tolist()[:2] == [2, -1]
    assert fitted[0].tolist() == pytest.approx([6.4, 12.8, 19.2, 38.4])
    assert torch.allclose(found[:, :, 40], torch.tensor(data.MEAN)[:, None].expand(-1, 64))


def test_heads_share_of_retinanets_cost():
    assert experiment.retina_share() == pytest.approx(82.3, abs=0.1)


def test_narrow_costs_what_ceasc_costs_at_a_tenth():
    sizes = ((16, 16), (8, 8), (4, 4))
    narrow, method = resolve(PAPER, "tutorial", "narrow"), resolve(PAPER, "tutorial", "ceasc")
    cost = head_macs(method, sizes, [(0.1 * h * w,) * 2 for h, w in sizes])
    assert head_macs(narrow, sizes) == pytest.approx(cost, rel=0.1)


@pytest.mark.parametrize("beyond", [1.0, 4.0, 30.0])
def test_the_curve_of_fixed_shares_is_level_beyond_its_ends(beyond):
    part = next(c for c in PAPER.claims if c.id == "C4").parts[0]
    seed = {"fixed_05": (2, 10), "fixed_10": (8, 20), "fixed_30": (16, 22), "ceasc": (beyond, 17)}
    seed = {arm: {"macs_head": m, "map": v} for arm, (m, v) in seed.items()}
    wanted = {1.0: 7.0, 4.0: 2.0, 30.0: -5.0}[beyond]
    assert part.reduce(seed) == pytest.approx(wanted)
