"""FedCE: scores by hand, minus models, whose data they are tried on, weights and credits, exact coalitions, resuming, readers."""

import dataclasses
import json

import pytest
import torch

from vislab.cards import resolve
from vislab.datasets import prostate_slices as slices
from vislab.datasets.base import locate
from vislab.engine.federated import average
from vislab.errors import UserError
from vislab.papers.recognition.fedce import data, experiment, fairness, train
from vislab.papers.recognition.fedce.card import CLIENTS, DATASETS, PAPER, PROFILES
from vislab.papers.recognition.fedce.model import build, dice, soft_dice_loss
from vislab.worlds.tissue.sites import SHIFTED, SITES

SMOKE = PROFILES["smoke"]
EVEN = torch.full((3,), 1 / 3, dtype=torch.float64)


def config_of(arm="fedce", **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def after_rounds(cpu, count, arm="fedce", **changes):
    """A state after `count` rounds, with the clients' items."""
    config = config_of(arm, **changes)
    state = train.begin(config, 0, cpu)
    trained, checked = (data.pools(config, split, 0, "cpu") for split in ("train", "validation"))
    train.federate(state, trained, checked, count)
    return state, trained, checked


def updates(*rows):
    return [{"w": torch.tensor(row)} for row in rows]


# -- network and overlap ------------------------------------------------------------------------------------------------


def test_overlap_and_loss_by_hand():
    logits = torch.tensor([[[[9.0, 9.0], [-9.0, -9.0]]], [[[-9.0, -9.0], [-9.0, -9.0]]]])
    mask = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert dice(logits, mask).tolist() == [0.5, 1.0]
    assert float(soft_dice_loss(logits[:1], mask[:1])) == pytest.approx(0.5, abs=1e-3)
    level = torch.zeros(1, 1, 2, 2, requires_grad=True)
    soft_dice_loss(level, mask[:1]).backward()
    assert (level.grad[0, 0, :, 0] < 0).all() and (level.grad[0, 0, :, 1] > 0).all()


def test_a_slice_comes_out_as_large_as_it_went_in():
    model = build(SMOKE).eval()
    assert len(model.encoders) == SMOKE.depth + 1
    assert model(torch.rand(2, 1, 16, 24)).shape == (2, 1, 16, 24)


# -- scores -------------------------------------------------------------------------------------------------------------


def test_a_client_is_compared_with_the_others_and_not_with_itself():
    changes = updates([1.0, 0.0], [1.0, 0.0], [0.0, 5.0])
    found = fairness.other_directions(changes, EVEN, ["w"])
    # without the first, the others point to (1, 5); without the third, to (2, 0)
    assert found.tolist() == pytest.approx([26**-0.5, 26**-0.5, 0.0], abs=1e-6)
    whole = fairness.alignment(changes, EVEN, ["w"])
    assert whole.tolist() == pytest.approx([2 / 29**0.5, 2 / 29**0.5, 5 / 29**0.5], abs=1e-6)
    assert whole[2] > whole[0], "a large update is aligned with a whole that it makes up"
    uneven = fairness.other_directions(changes, torch.tensor([0.1, 0.8, 0.1]).double(), ["w"])
    assert uneven[0] > found[0], "weights of the round before decide what the others' direction is"
    assert fairness.other_directions(updates([1.0, 0.0], [0.0, 0.0]), EVEN[:2] * 1.5, ["w"]).tolist() == [0.0, 0.0]


def test_novelty_and_error_both_raise_a_contribution():
    cosine, error = torch.tensor([0.9, 0.9, 0.4]), torch.tensor([0.2, 0.2, 0.2])
    gradient = torch.tensor([0.1, 0.1, 0.6]).double() / 0.8
    plus = fairness.contributions(cosine, error)
    assert plus.tolist() == pytest.approx(((gradient + 1 / 3) / 2).tolist(), abs=1e-6)
    times = fairness.contributions(cosine, torch.tensor([0.2, 0.4, 0.2]), "times")
    assert times.tolist() == pytest.approx([0.1 / 0.9, 0.2 / 0.9, 0.6 / 0.9], abs=1e-6)
    assert fairness.contributions(cosine, error, "gradient").tolist() == pytest.approx(gradient.tolist(), abs=1e-6)
    worse = fairness.contributions(cosine, torch.tensor([0.2, 0.8, 0.2]), "data")
    assert worse.argmax() == 1 and float(worse.sum()) == pytest.approx(1.0)
    opposite = fairness.contributions(torch.tensor([1.0, 1.0, -1.0]), error, "gradient")
    assert opposite[2] > 0.999 and (opposite > 0).all(), "a client in line with all others keeps the floor"
    with pytest.raises(ValueError, match="finite"):
        fairness.contributions(cosine, torch.tensor([0.2, torch.nan, 0.2]))


def test_the_minus_model_is_the_last_rounds_average_of_the_others(cpu):
    state, trained, checked = after_rounds(cpu, 2)
    weights = state.extra["weights"]
    assert len(set(weights.tolist())) == 4
    now = state.network.state_dict()
    returned = [train.under(state.extra, f"previous{k}/") for k in range(4)]
    for client in range(4):
        rest = [k for k in range(4) if k != client]
        expected = average([returned[k] for k in rest], weights[rest].tolist())
        found = train.minus_model(state, now, client)
        for name, value in expected.items():
            if value.is_floating_point():
                assert torch.allclose(found[name], value, atol=1e-5), name


def test_scores_are_means_over_rounds_and_the_first_is_zero(cpu, monkeypatch):
    state, trained, checked = after_rounds(cpu, 1)
    assert state.extra["score"].tolist() == [0.0] * 4
    first = state.extra["cosine"].clone()
    assert state.extra["by_round"].shape == (1, 4)
    assert torch.allclose(state.extra["weights"], fairness.contributions(first, torch.ones(4)))
    told = iter([0.5, 0.1, 0.0, 0.3])
    monkeypatch.setattr(train, "data_score", lambda state, items, weights, client: next(told))
    train.federate(state, trained, checked, 1)
    error = 1 - torch.tensor([0.5, 0.1, 0.0, 0.3]).double() / 2
    assert torch.allclose(state.extra["credit"], fairness.contributions(state.extra["cosine"], error))
    assert not torch.equal(state.extra["cosine"], first)


def test_contributions_see_validation_items_and_never_test_items(cpu, monkeypatch):
    seen, tried = set(), []
    plain, score = data.batch, train.data_score

    def batch(config, split, *rest):
        seen.add(split)
        return plain(config, split, *rest)

    def data_score(state, items, weights, client):
        tried.append(items["image"])
        return score(state, items, weights, client)

    monkeypatch.setattr(data, "batch", batch)
    monkeypatch.setattr(train, "data_score", data_score)
    train.train(SMOKE, 0, cpu)
    assert seen == {"train", "validation"}
    held, trained = data.pools(SMOKE, "validation", 0, "cpu"), data.pools(SMOKE, "train", 0, "cpu")
    assert len(tried) == 4 and all(torch.equal(t, h["image"]) for t, h in zip(tried, held, strict=True))
    tried.clear()
    train.train(config_of("minus_train"), 0, cpu)
    assert all(torch.equal(t, h["image"]) for t, h in zip(tried, trained, strict=True))
    judged = data.pools(SMOKE, "validation", 0, "cpu", SMOKE.validation_items)
    assert not any(torch.equal(a["image"], b["image"]) for a, b in zip(held, judged, strict=True))


def test_a_client_with_nearly_all_the_weight_leaves_finite_numbers(cpu):
    state, trained, checked = after_rounds(cpu, 1)
    state.extra["weights"] = torch.tensor([1 - 3e-6, 1e-6, 1e-6, 1e-6]).double()
    minus = train.minus_model(state, state.network.state_dict(), 0)
    assert all(torch.isfinite(v).all() for v in minus.values())
    assert all((v >= 0).all() for n, v in minus.items() if n.endswith("running_var"))
    logits = train.logits_of(state.network, minus, checked[0], 4)
    assert torch.isfinite(logits).all()


def test_gain_is_what_the_global_model_has_over_the_minus_model(cpu):
    state, _, checked = after_rounds(cpu, 1)
    now = {n: v.clone() for n, v in state.network.state_dict().items()}
    model = train.drawn_dice(state, now, checked[1])
    minus = train.drawn_dice(state, train.minus_model(state, now, 1), checked[1])
    assert train.data_score(state, checked[1], now, 1) == pytest.approx(minus)
    state.config = config_of("gain_label")
    assert train.data_score(state, checked[1], now, 1) == pytest.approx(model - minus)


# -- weights and rounds -------------------------------------------------------------------------------------------------


def test_weights_of_the_rivals_by_hand():
    size, loss = torch.tensor([3.0, 1.0]).double(), torch.tensor([0.2, 0.6]).double()
    assert fairness.fair_loss_weights(size, loss, 0.0).tolist() == pytest.approx([0.75, 0.25])
    assert fairness.fair_loss_weights(size, loss, 1.0).tolist() == pytest.approx([0.5, 0.5])
    up = fairness.worst_case_weights(torch.tensor([0.5, 0.5]).double(), loss, 1.0)
    assert float(up[1] / up[0]) == pytest.approx(torch.tensor(0.4).exp().item(), rel=1e-6)
    assert fairness.correlation(torch.arange(4), 3 - 2 * torch.arange(4)) == pytest.approx(-1.0)
    assert fairness.correlation(torch.arange(4), torch.ones(4)) == 0.0


def test_switches_change_what_they_name(cpu):
    held = torch.tensor(data.holdings(SMOKE)).double()
    sizes = held / held.sum()
    found = {
        arm: train.train(config_of(arm), 0, cpu)
        for arm in ("fedce", "fedavg", "credit_only", "uniform", "cgsv", "worst_case")
    }
    assert torch.allclose(found["fedavg"].extra["weights"], sizes) and "credit" not in found["fedavg"].extra
    assert torch.allclose(found["credit_only"].extra["weights"], sizes)
    assert not torch.allclose(found["credit_only"].extra["credit"], sizes)
    mine, theirs = (found[arm].network.state_dict() for arm in ("credit_only", "fedavg"))
    assert all(torch.equal(mine[n], theirs[n]) for n in mine), "an estimate alone changes no model"
    assert found["uniform"].extra["weights"].tolist() == [0.25] * 4
    fedce = found["fedce"].extra
    assert torch.equal(fedce["weights"], fedce["credit"]) and torch.equal(fedce["by_round"][-1], fedce["weights"])
    assert torch.allclose(found["cgsv"].extra["credit"], fairness.shares(found["cgsv"].extra["cosine"]))
    assert float(fedce["bytes"] - found["fedavg"].extra["bytes"]) == 4 * 16, "a weight and a score for each client"
    with pytest.raises(ValueError, match="need an estimate"):
        train.train(config_of("fedce", credit="none"), 0, cpu)


def test_a_round_is_the_weighted_sum_of_changes(cpu):
    config = config_of("fedavg")
    state = train.begin(config, 0, cpu)
    before = {n: v.clone() for n, v in state.network.state_dict().items()}
    trained, checked = (data.pools(config, split, 0, "cpu") for split in ("train", "validation"))
    train.federate(state, trained, checked, 1)
    expected = {n: v.clone().double() for n, v in before.items()}
    other = train.begin(config, 0, cpu)
    for client, weight in enumerate(state.extra["weights"].tolist()):
        own, _ = train.local_round(other, trained[client], before, 0, client)
        for n in expected:
            expected[n] += weight * (own[n].double() - before[n].double())
    after = state.network.state_dict()
    assert all(torch.allclose(after[n].double(), v, atol=1e-5) for n, v in expected.items() if "num_batches" not in n)


def test_clients_keep_their_own_moments(cpu):
    state, trained, _ = after_rounds(cpu, 2)
    for client, items in enumerate(trained):
        steps = -(-len(items["image"]) // SMOKE.batch_size)
        assert int(state.extra[f"moments{client}/0/step"]) == 2 * steps
    first = state.extra["moments0/0/exp_avg"]
    assert not torch.equal(first, state.extra["moments1/0/exp_avg"])


def test_fedprox_pulls_towards_the_rounds_weights(cpu):
    state = train.begin(config_of("fedprox", weight_proximal=4.0), 0, cpu)
    items = data.batch(SMOKE, "train", 0, torch.arange(4))
    assert train.step(state, items)["proximal"] == 0.0
    apart = sum(((p.detach() - state.extra[f"global/{n}"]) ** 2).sum() for n, p in state.network.named_parameters())
    assert train.step(state, items)["proximal"] == pytest.approx(2 * float(apart), rel=1e-4)


def test_alone_nobody_gets_anything_from_the_others(cpu):
    state = train.train(config_of("alone"), 0, cpu)
    start = train.begin(config_of("alone"), 0, cpu).network.state_dict()
    assert all(torch.equal(v, start[n]) for n, v in state.network.state_dict().items())
    assert float(state.extra["bytes"]) == 0.0
    single, trained, checked = train.begin(config_of("fedavg"), 0, cpu), *(
        data.pools(SMOKE, split, 0, "cpu") for split in ("train", "validation")
    )  # fmt: skip
    train.federate(single, trained, checked, SMOKE.rounds, [2])
    own = train.under(state.extra, "previous2/")
    assert all(torch.allclose(v, own[n]) for n, v in single.network.state_dict().items())


def test_training_goes_on_where_it_stopped(cpu, tmp_path):
    whole = train.train(SMOKE, 0, cpu)
    file = str(tmp_path / "state.safetensors")
    train.train(dataclasses.replace(SMOKE, rounds=1), 0, cpu, checkpoint=file)
    again = train.train(SMOKE, 0, cpu, checkpoint=file)
    assert all(torch.equal(v, again.network.state_dict()[n]) for n, v in whole.network.state_dict().items())
    assert torch.equal(whole.extra["by_round"], again.extra["by_round"])


# -- exact contributions --------------------------------------------------------------------------------------------------


def test_coalitions_train_their_members_alone(cpu):
    config = config_of("fedce", coalition_rounds=1)
    found = experiment.prepare(config, 0, cpu)
    sets = experiment.coalitions(4)
    assert len(sets) == len(found["utility"]) == 16 and sets[0] == frozenset() and len(sets[-1]) == 4
    assert float(found["shapley"].sum()) == pytest.approx(float(found["utility"][-1] - found["utility"][0]), abs=1e-9)
    plain = train.coalition_config(config)
    trained, checked = (data.pools(plain, split, 0, "cpu") for split in ("train", "validation"))
    pair = train.begin(plain, 0, cpu)
    train.federate(pair, trained, checked, 1, [1, 3])
    begun = train.begin(plain, 0, cpu)
    start = {n: v.clone() for n, v in begun.network.state_dict().items()}
    own = [train.local_round(begun, trained[k], start, 0, k)[0] for k in (1, 3)]
    expected = average(own, [len(trained[k]["image"]) for k in (1, 3)])
    floats = {n: v for n, v in pair.network.state_dict().items() if v.is_floating_point()}
    assert all(torch.allclose(v, expected[n]) for n, v in floats.items())
    assert experiment.prepare(dataclasses.replace(config, coalition_rounds=0), 0, cpu) == {}


def test_every_arm_of_a_federation_is_held_against_the_same_coalitions():
    ends = {"": ("fedce", "fedavg", "qfedavg", "cgsv", "credit_only"), "size": ("fedce_size", "cgsv_size")}
    ends["label"] = ("fedce_label", "cgsv_label", "gain_label")
    keys = {}
    for end, arms in ends.items():
        found = {tuple(getattr(resolve(PAPER, "tutorial", a), n) for n in experiment.PREPARE_FIELDS) for a in arms}
        assert len(found) == 1
        keys[end] = found.pop()
    assert len(set(keys.values())) == 3


def test_credits_are_held_against_shapley_values(cpu):
    state = train.train(SMOKE, 0, cpu, {"shapley": torch.tensor([4.0, 3.0, 2.0, 1.0]).double()})
    state.extra["credit"] = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    found = experiment.evaluate(state, SMOKE, 0)
    assert found["correlation"] == pytest.approx(-1.0) and found["correlation_sizes"] > 0.9
    scores = experiment.client_dice(state, data.pools(SMOKE, "test", 0, "cpu"))
    assert found["dice_worst"] == float(scores.min()) and found["dice"] == pytest.approx(float(scores.mean()))
    assert found["share_last"] == pytest.approx(100 * float(state.extra["weights"][3]))


# -- the task -----------------------------------------------------------------------------------------------------------


def test_every_client_has_its_own_site_and_its_share_of_items():
    config = PROFILES["tutorial"]
    held = data.holdings(config)
    assert sum(held) == config.train_items == 208 and list(held) == sorted(held, reverse=True)
    client, number = data.owners(config, "train", torch.arange(208))
    assert torch.bincount(client).tolist() == list(held)
    assert all(number[client == k].tolist() == list(range(n)) for k, n in enumerate(held))
    assert data.owners(config, "test", torch.arange(6))[0].tolist() == [0, 1, 2, 3, 0, 1]
    for split in ("train", "validation", "test"):
        assert [int(p["client"].unique()) for p in data.pools(SMOKE, split, 0, "cpu")] == [0, 1, 2, 3]


def test_what_is_odd_about_a_federation_is_its_last_client():
    by_name = {f: data.sites(dataclasses.replace(SMOKE, federation=f)) for f in ("domain", "size", "label")}
    assert by_name["domain"][:3] == by_name["label"][:3] == SITES[:3]
    assert by_name["domain"][3].contrast == pytest.approx(SHIFTED.contrast)
    assert data.sites(dataclasses.replace(SMOKE, shift=0.0)) == SITES
    assert set(by_name["size"]) == {SITES[0]}
    assert dataclasses.replace(by_name["label"][3], corruption=0.0) == SITES[3]
    wrong = data.pools(config_of("fedce_label", corruption=1.0), "validation", 0, "cpu")
    assert [bool((p["mask"] == p["given"]).all()) for p in wrong] == [True, True, True, False]


def test_wrong_masks_are_trained_on_and_never_scored_by(cpu):
    config = config_of("fedce_label", corruption=1.0)
    state = train.begin(config, 0, cpu)
    items = data.pools(config, "train", 0, "cpu")[3]
    with torch.no_grad():
        logits = state.model.train()(items["image"])
    assert train.step(state, items)["own"] == pytest.approx(float(soft_dice_loss(logits, items["given"])), abs=1e-5)
    perfect = {**items, "image": items["image"]}
    state.network.forward = lambda image: 2 * items["mask"] - 1
    assert experiment.client_dice(state, [perfect]).tolist() == [100.0]


# -- real data ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def prostate(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    root = tmp_path / DATASETS[0].folder
    slices.write_sample(root, CLIENTS)
    slices.listed.cache_clear()
    return root


def test_slices_are_read_back(prostate):
    config = dataclasses.replace(PROFILES["paper"], image_size=16)
    assert data.holdings(config) == (3,) * 6
    found = data.batch(config, "train", 0, torch.tensor([0, 4, 17]))
    assert found["client"].tolist() == [0, 1, 5] and torch.equal(found["mask"], found["given"])
    levels = [40 / 255, 80 / 255, 120 / 255]
    assert found["image"].mean(dim=(1, 2, 3)).tolist() == pytest.approx(levels, abs=1e-4)
    assert found["mask"].mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.25, 0.5, 0.75], abs=0.07)
    # the first axis of a slice is the first of the tensor
    assert (found["mask"][1, 0, 0] == 1).all() and (found["mask"][1, 0, -1] == 0).all()
    assert len(data.pools(dataclasses.replace(config, test_items=12), "test", 0, "cpu")) == 6


def test_faults_are_named(prostate):
    dataset, config = DATASETS[0], dataclasses.replace(PROFILES["paper"], image_size=16)
    image, label = (prostate / "dataset_2D" / name for name in slices.listed(dataset, prostate, "MSD", "train")[1])
    slices.write_nifti(label, torch.zeros(8, 8).numpy())
    with pytest.raises(UserError, match="image and mask have"):
        data.batch(config, "train", 0, torch.tensor([4]))
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    with pytest.raises(UserError, match=f"{image.name} of Prostate MRI cannot be read"):
        data.batch(config, "train", 0, torch.tensor([4]))
    short = prostate / "dataset_2D" / "short.nii"
    slices.write_nifti(short, torch.zeros(8, 8).numpy())
    short.write_bytes(short.read_bytes()[:-5])
    with pytest.raises(UserError, match="fewer bytes"):
        slices.nifti(dataset, short)
    slices.write_nifti(short, torch.zeros(4, 4, 4).numpy())
    with pytest.raises(UserError, match="3 axes"):
        slices.picture(dataset, short)
    image.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        data.batch(config, "train", 0, torch.tensor([4]))
    file = prostate / "datalist_2D" / "client_MSD.json"
    for content in (file.read_text()[:-20], json.dumps({"training": []}), json.dumps({"training": [{"image": "a"}]})):
        file.write_text(content)
        slices.listed.cache_clear()
        with pytest.raises(UserError, match=r"client_MSD\.json of Prostate MRI cannot be read"):
            slices.listed(dataset, prostate, "MSD", "train")
    file.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        slices.listed(dataset, prostate, "MSD", "train")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="Prostate MRI is not at"):
        locate(DATASETS[0], tmp_path)
