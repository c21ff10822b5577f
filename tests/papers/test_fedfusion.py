"""FedFusion: moments by hand, what one component means, the autoencoder's losses, merging rules, partitions, clients' rounds, resuming."""

import dataclasses
import json
import math

import pytest
import torch

from vislab.cards import resolve
from vislab.datasets import cifar, mnist
from vislab.errors import UserError
from vislab.papers.recognition.fedfusion import experiment, fusion, train
from vislab.papers.recognition.fedfusion.card import PAPER, PROFILES
from vislab.papers.recognition.fedfusion.data import (
    STYLES,
    batch,
    client_domain,
    domains,
    labels,
    partition,
    read_partition,
    shards,
    styled,
)
from vislab.papers.recognition.fedfusion.model import build, normalised, recompute, statistics, with_statistics

SMOKE = PROFILES["smoke"]


def config_of(arm, **changes):
    return dataclasses.replace(resolve(PAPER, "smoke", arm), **changes)


def some_uploads(groups=3, each=3, channels=24, seed=0):
    """Statistics of clients in `groups` distinct groups."""
    draw = torch.Generator().manual_seed(seed)
    centre = 3 * torch.randn(groups, channels, generator=draw, dtype=torch.float64)
    mean = centre.repeat_interleave(each, dim=0) + 0.05 * torch.randn(
        groups * each, channels, generator=draw, dtype=torch.float64
    )
    variance = 0.5 + torch.rand(groups, channels, generator=draw, dtype=torch.float64).repeat_interleave(each, dim=0)
    return mean, variance


# -- networks and their statistics --------------------------------------------------------------------------------------


def test_the_paper_profile_is_a_resnet_18_for_small_pictures_and_a_vae_below_a_million():
    with torch.device("meta"):
        model = build(PROFILES["paper"])
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    channels = len(statistics(model.state_dict())[0])
    vae = train.server_vae(PROFILES["paper"], channels, 0)
    assert channels == 4800 and sum(p.numel() for p in vae.parameters()) < 1e6


def test_statistics_are_read_and_written_in_one_order():
    state = build(SMOKE).state_dict()
    mean, variance = statistics(state)
    again = with_statistics(state, mean + 1, variance * 2)
    assert torch.allclose(statistics(again)[0], mean + 1) and torch.allclose(statistics(again)[1], variance * 2)
    changed = {n for n in state if not torch.equal(state[n], again[n])}
    assert changed == {f"{n}.running_{k}" for n in normalised(state) for k in ("mean", "var")}


def test_recomputed_statistics_are_the_datas_own_and_lag_behind_nothing():
    model = build(SMOKE)
    images = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 + 1
    recompute(model, images, 40)
    seen = model[0](images)
    assert torch.allclose(model[1].running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(model[1].running_var, seen.var(dim=(0, 2, 3)), rtol=1e-4)
    assert model[1].momentum == 0.1


# -- mixtures -----------------------------------------------------------------------------------------------------------


def test_moments_of_a_mixture_by_hand_and_by_samples():
    share = torch.tensor([0.25, 0.75], dtype=torch.float64)
    mean, variance = torch.tensor([[0.0], [4.0]]).double(), torch.tensor([[1.0], [2.0]]).double()
    found = fusion.moments(share, mean, variance)
    assert float(found[0]) == pytest.approx(3.0)
    assert float(found[1]) == pytest.approx(0.25 * 1 + 0.75 * (2 + 16) - 9)


def test_pooled_moments_are_those_of_all_items_together():
    draw = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, 4, generator=draw, dtype=torch.float64) * (k + 1) + k for k, n in enumerate((30, 50, 20))]
    mean, variance = (torch.stack(v) for v in zip(*((p.mean(0), p.var(0, correction=0)) for p in parts), strict=True))
    found = fusion.pooled(mean, variance, [30, 50, 20])
    everything = torch.cat(parts)
    assert torch.allclose(found[0], everything.mean(0)) and torch.allclose(found[1], everything.var(0, correction=0))
    averaged = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64) @ variance
    assert (found[1] > averaged).all(), "the spread between clients is missing"


def test_one_component_fitted_well_is_the_mean_of_means_and_of_log_deviations():
    mean, variance = some_uploads()
    config = dataclasses.replace(
        SMOKE, components=1, fusion_steps=400, fusion_learning_rate=0.05, weight_divergence=0.0
    )
    found = fusion.fit_vae(train.server_vae(config, 24, 0), mean, variance, [1] * 9, config, 0, 0)
    assert torch.allclose(found.mean[0], mean.mean(dim=0), atol=0.05)
    assert torch.allclose(found.variance[0].log(), variance.log().mean(dim=0), atol=0.05)
    assert torch.equal(found.share, torch.ones(9, 1, dtype=torch.float64))


@pytest.mark.parametrize("draw", [0, 1, 2])
def test_the_autoencoder_finds_groups_of_clients(draw):
    mean, variance = some_uploads(seed=draw)
    config = dataclasses.replace(SMOKE, components=4, fusion_steps=300, fusion_learning_rate=0.02, fusion_draw=draw)
    found = fusion.fit_vae(train.server_vae(config, 24, 0), mean, variance, [1] * 9, config, 0, 0)
    groups = found.share.argmax(dim=1).reshape(3, 3)
    assert (groups == groups[:, :1]).all() and len(set(groups[:, 0].tolist())) == 3, "the posterior has collapsed"
    rebuilt = fusion.moments(found.share, found.mean, found.variance)
    assert (rebuilt[0] - mean).square().mean() < 0.75 * (mean.mean(dim=0) - mean).square().mean()


def test_the_vaes_losses_by_hand():
    mean, variance = some_uploads(groups=2, each=1, channels=2)
    vae = train.server_vae(dataclasses.replace(SMOKE, components=1), 2, 0)
    with torch.no_grad():
        vae.encoder[-1].weight.zero_()
        vae.encoder[-1].bias.copy_(torch.tensor([0.5] * 16 + [0.0] * 16))
    size = torch.tensor([1.0, 3.0]).double()
    fit, divergence = fusion.vae_losses(vae, mean, variance, size, torch.zeros(2, 16).double())
    # one component at the centre: standardised statistics of two clients are -1 and 1 in every entry
    assert fit.item() == pytest.approx(0.5 * 4 * 0.5 * 2, rel=1e-2)
    assert divergence.item() == pytest.approx(0.5 * 16 * 0.25)


def test_expectation_maximisation_and_the_oracle_pool_their_groups():
    mean, variance = some_uploads()
    size, domain = [1, 2, 3] * 3, torch.arange(3).repeat_interleave(3)
    known = fusion.fit_mixture(config_of("known"), None, mean, variance, size, domain, 0, 0)
    assert torch.equal(known.share.argmax(dim=1), domain)
    expected = fusion.pooled(mean[:3], variance[:3], size[:3])
    assert torch.allclose(known.mean[0], expected[0]) and torch.allclose(known.variance[0], expected[1])
    found = fusion.fit_mixture(config_of("gaussians", components=3), None, mean, variance, size, domain, 0, 0)
    groups = found.share.argmax(dim=1).reshape(3, 3)
    assert (groups == groups[:, :1]).all() and len(set(groups[:, 0].tolist())) == 3


# -- merging ------------------------------------------------------------------------------------------------------------


def outlier_mixture():
    """Four equal clients, three of one component and one of another far away."""
    share = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]]).double()
    return fusion.Mixture(share, torch.tensor([[0.0], [3.0]]).double(), torch.ones(2, 1).double())


def test_weights_of_clients_by_hand():
    mixture, size = outlier_mixture(), [10, 10, 20, 10]
    by_size = fusion.client_weights(config_of("statistics_only"), mixture, size)
    assert by_size.tolist() == pytest.approx([0.2, 0.2, 0.4, 0.2])
    equal = fusion.client_weights(config_of("component"), mixture, size)
    assert equal.tolist() == pytest.approx([0.125, 0.125, 0.25, 0.5])
    everybody = 0.6
    mean, variance = fusion.moments(torch.tensor([0.8, 0.2]).double(), mixture.mean, mixture.variance)
    assert float(mean) == pytest.approx(everybody)
    kl = [0.5 * (math.log(float(variance)) + (1 + (m - 0.6) ** 2) / float(variance) - 1) for m in (0.0, 3.0)]
    raw = [10 * math.exp(-kl[0]), 10 * math.exp(-kl[0]), 20 * math.exp(-kl[0]), 10 * math.exp(-kl[1])]
    found = fusion.client_weights(config_of("fedfusion"), mixture, size)
    assert found.tolist() == pytest.approx([r / sum(raw) for r in raw], rel=1e-3)
    assert found[3] < by_size[3] < equal[3]
    far = fusion.client_weights(config_of("fedfusion", temperature=1e9), mixture, size)
    assert far.tolist() == pytest.approx(by_size.tolist())
    apart = fusion.client_weights(config_of("wasserstein"), mixture, size)
    assert apart[3] < by_size[3] and apart.tolist() != pytest.approx(found.tolist())


def test_merging_switches_change_what_they_name():
    draw = torch.Generator().manual_seed(0)
    states = []
    for k in range(4):
        model = build(SMOKE)
        recompute(model, torch.randn(8, 3, 16, 16, generator=draw) + k, 8)
        states.append(model.state_dict())
    size, norms = [1, 1, 2, 4], normalised(states[0])
    moving = {f"{n}.running_{k}" for n in norms for k in ("mean", "var")}
    mean, variance = fusion.uploaded(states)
    found = {}
    for arm in ("fedavg", "pooled", "statistics_only", "weights_only", "fedfusion", "known"):
        config = config_of(arm)
        mixture = None
        if config.fusion != "none":
            vae = train.server_vae(config, mean.shape[1], 0)
            mixture = fusion.fit_mixture(config, vae, mean, variance, size, torch.tensor([0, 1, 2, 0]), 0, 0)
        found[arm] = fusion.merge(config, states, size, mixture)

    def differ(a, b):
        return {n for n in found[a][0] if not torch.allclose(found[a][0][n].double(), found[b][0][n].double())}

    assert differ("fedavg", "pooled") <= moving and differ("fedavg", "pooled")
    assert differ("fedavg", "statistics_only") <= moving and differ("fedavg", "statistics_only")
    assert found["fedavg"][1] == found["statistics_only"][1] == pytest.approx([0.125, 0.125, 0.25, 0.5])
    assert "0.weight" in differ("fedavg", "weights_only")
    pooled, known = (statistics(found[arm][0]) for arm in ("pooled", "known"))
    assert torch.allclose(pooled[0], known[0], atol=1e-5) and torch.allclose(pooled[1], known[1], rtol=1e-4), (
        "groups that hold each client once pool to everybody's total moments"
    )


# -- clients ------------------------------------------------------------------------------------------------------------


def test_partitions_give_every_item_to_one_client():
    for kind in ("dirichlet", "shards", "quantity", "even"):
        held = partition(dataclasses.replace(SMOKE, partition=kind), 0)
        assert len(held) == SMOKE.clients
        assert torch.equal(torch.cat(held).sort().values, torch.arange(SMOKE.train_items))
    one = shards(torch.arange(40) % 10, 10, 1, 0)
    assert all(len((part % 10).unique()) == 1 for part in one)
    sizes = [len(p) for p in partition(dataclasses.replace(SMOKE, partition="quantity"), 0)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] >= 2 * sizes[-1]


def test_a_clients_items_share_its_domain_and_a_test_has_all_evenly():
    held, domain = partition(SMOKE, 0), client_domain(SMOKE)
    for k, part in enumerate(held):
        assert (domains(SMOKE, "train", 0, part) == domain[k]).all()
    found = batch(SMOKE, "test", 0, torch.arange(SMOKE.test_items))
    assert torch.bincount(found["domain"] * 10 + found["label"]).unique().tolist() == [SMOKE.test_items // 30]
    mixed = domains(dataclasses.replace(SMOKE, partition="even"), "train", 0, torch.arange(SMOKE.train_items))
    assert len(mixed.unique()) == SMOKE.domains


def test_styles_keep_the_picture_and_change_its_statistics():
    image = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    found = [styled(image, torch.full((4,), d)) for d in range(len(STYLES))]
    assert torch.equal(found[0].roll(-1, dims=1), image)
    assert torch.equal(found[1][..., 2::4], image[..., 2::4]) and (found[1] <= image).all()
    assert found[2].std() < image.std() and found[2].mean() > image.mean()
    mixed = styled(image, torch.tensor([0, 1, 2, 0]))
    assert torch.equal(mixed[2], found[2][2])


def test_fedprox_pulls_towards_the_rounds_weights(cpu):
    config = config_of("fedprox", weight_proximal=4.0)
    state = train.begin(config, 0, cpu)
    items = batch(config, "train", 0, torch.arange(16))
    assert train.step(state, items)["proximal"] == 0.0
    apart = sum(((p - state.extra[f"global/{n}"]) ** 2).sum() for n, p in state.network.named_parameters())
    assert train.step(state, items)["proximal"] == pytest.approx(2 * float(apart), rel=1e-4)
    assert "proximal" not in train.step(train.begin(config_of("fedavg"), 0, cpu), items)


def test_personal_layers_and_clusters_end_with_several_models(cpu):
    own = train.train(config_of("fedbn"), 0, cpu)
    held = experiment.holders(own, config_of("fedbn"))
    assert [clients for clients, _ in held] == [[k] for k in range(SMOKE.clients)]
    first, second = held[0][1], held[1][1]
    norms = normalised(first)
    differ = {n for n in first if not torch.equal(first[n], second[n])}
    assert differ and {n.rpartition(".")[0] for n in differ} <= set(norms)
    several = train.train(config_of("ifca"), 0, cpu)
    clients = sorted(k for mine, _ in experiment.holders(several, config_of("ifca")) for k in mine)
    assert clients == list(range(SMOKE.clients))
    assert float(several.extra["bytes"]) > 1.9 * float(own.extra["bytes"]), "clients get every cluster's model"


def test_the_last_rounds_statistics_are_told_apart_and_scored_against_the_truth(cpu):
    state = train.train(SMOKE, 0, cpu)
    true = experiment.true_statistics(state, SMOKE, 0)
    assert experiment.statistics_error(*true, *true) == 0.0
    assert experiment.statistics_error(true[0] + (true[1] + fusion.EPS).sqrt(), true[1], *true) == pytest.approx(1.0)
    metrics = experiment.evaluate(state, SMOKE, 0)
    names = ["statistics_error", "statistics_error_averaged", "statistics_error_pooled"]
    assert len({round(metrics[n], 9) for n in names}) == 3
    mean, _ = statistics(state.network.state_dict())
    assert torch.allclose(mean.float(), state.extra["fused/mean"].float(), atol=1e-6), (
        "the network carries the fused moments"
    )


def test_local_accuracy_weighs_classes_as_the_client_meets_them():
    config = dataclasses.replace(SMOKE, classes=2)
    hit = torch.tensor([[1.0, 0.0, 1.0, 1.0]]).double()
    label, where = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    found = experiment.local_accuracy(hit, label, where, torch.tensor([[0.9, 0.1]]).double(), torch.tensor([0]), config)
    assert float(found) == pytest.approx(0.9)


def test_training_goes_on_where_it_stopped(cpu, tmp_path):
    whole = train.train(SMOKE, 0, cpu)
    file = str(tmp_path / "state.safetensors")
    train.train(dataclasses.replace(SMOKE, rounds=1), 0, cpu, checkpoint=file)
    again = train.train(SMOKE, 0, cpu, checkpoint=file)
    assert all(torch.equal(v, again.network.state_dict()[n]) for n, v in whole.network.state_dict().items())
    assert [h["accuracy"] for h in whole.history] == [h["accuracy"] for h in again.history]


def test_some_clients_take_part_in_a_round(cpu):
    config = dataclasses.replace(SMOKE, clients_a_round=2, rounds=1)
    state = train.train(config, 0, cpu)
    assert state.extra["weights"].shape == (1, 2) and state.extra["mixture/share"].shape[0] == 2
    assert len({tuple(train.chosen(config, 0, k)) for k in range(8)}) > 1


# -- real data sets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
def test_real_data_sets_are_read(source, tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    place = tmp_path / source
    config = dataclasses.replace(
        SMOKE, source=source, domains=1, classes=100 if source == "cifar100" else 10, clients=2
    )
    if source.startswith("cifar"):
        place.mkdir()
        cifar.write_sample(place, {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}[source])
        config = dataclasses.replace(config, train_items=config.classes)
    else:
        mnist.write_sample(place)
        config = dataclasses.replace(config, train_items=2)
    items = batch(config, "train", 0, torch.arange(2))
    assert items["image"].shape == (2, 3, *((32, 32) if source.startswith("cifar") else (28, 28)))
    assert torch.equal(items["label"], labels(config)[:2])
    with pytest.raises(UserError, match="one domain"):
        batch(dataclasses.replace(config, domains=3), "train", 0, torch.arange(2))


def test_a_missing_data_set_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_DATA", str(tmp_path))
    with pytest.raises(UserError, match="cs.toronto.edu"):
        batch(PROFILES["paper"], "train", 0, torch.arange(2))


def test_a_partition_file_is_read_and_checked(tmp_path):
    config = dataclasses.replace(PROFILES["paper"], clients=2, train_items=6)
    file = tmp_path / "partition.json"
    file.write_text(json.dumps({"0": [0, 2], "1": [1, 5]}))
    assert [part.tolist() for part in read_partition(config, file)] == [[0, 2], [1, 5]]
    for wrong in ({"0": [0]}, {"0": [0, 1], "1": [1]}, {"0": [0], "1": [6]}, {"0": ["a"], "1": [1]}):
        file.write_text(json.dumps(wrong))
        with pytest.raises(UserError, match="partition.json"):
            read_partition(config, file)
    file.write_text('{"0": [0')
    with pytest.raises(UserError, match="partition.json"):
        read_partition(config, file)
