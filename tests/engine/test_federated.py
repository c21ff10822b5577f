"""The federated loop: partitions, averages, taking a client out, exact Shapley values, what is sent."""

import itertools

import pytest
import torch

from vislab.engine.federated import (
    average,
    by_size,
    difference,
    dirichlet,
    flat,
    moved,
    rounds,
    shapley,
    size_in_bytes,
    without,
)

LABEL = torch.arange(1000) % 10


def test_a_partition_gives_every_item_to_one_client():
    for parts in (dirichlet(LABEL, 7, 0.3, 0), by_size(1000, [1, 2, 7], 0)):
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(1000))
    assert [len(p) for p in by_size(1000, [1, 2, 7], 0)] == [100, 200, 700]


def test_the_concentration_decides_how_uneven_labels_are():
    def unevenness(concentration):
        shares = [torch.bincount(LABEL[p], minlength=10) / len(p) for p in dirichlet(LABEL, 5, concentration, 1)]
        return float(torch.stack(shares).std(dim=0).mean())

    assert unevenness(0.1) > 2 * unevenness(1.0) > 4 * unevenness(100.0)


def test_every_client_gets_its_least_or_is_told_that_it_cannot():
    assert min(len(p) for p in dirichlet(LABEL, 20, 0.1, 0, least=5)) >= 5
    with pytest.raises(ValueError, match="cannot give 20 clients 60 each"):
        dirichlet(LABEL, 20, 0.1, 0, least=60)


def states():
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "w": torch.randn(3, 2, generator=generator),
            "b.running_var": torch.rand(3, generator=generator) + k,
            "n": torch.tensor(k),
        }
        for k in range(3)
    ]


def test_average_by_hand():
    a, b, c = states()
    found = average([a, b, c], [2.0, 1.0, 1.0])
    assert torch.allclose(found["w"], (2 * a["w"] + b["w"] + c["w"]) / 4, atol=1e-6) and int(found["n"]) == 0


def test_taking_a_client_out_gives_the_average_of_the_others():
    a, b, c = states()
    whole = average([a, b, c], [0.5, 0.3, 0.2])
    assert torch.allclose(without(whole, a, 0.5)["w"], average([b, c], [0.3, 0.2])["w"], atol=1e-5)


def test_taking_a_client_out_stays_finite_and_variances_stay_positive():
    a, b, c = states()
    whole = average([a, b, c], [0.01, 0.01, 0.98])
    found = without(whole, {**c, "b.running_var": 10 * c["b.running_var"]}, 1.0)
    assert torch.isfinite(found["w"]).all() and (found["b.running_var"] >= 0).all()


def test_differences_put_back_give_the_state():
    a, b, _ = states()
    change = difference(b, a)
    assert set(change) == {"w", "b.running_var"}
    assert torch.allclose(moved(a, change)["w"], b["w"]) and torch.allclose(
        moved(a, change, 0.5)["w"], (a["w"] + b["w"]) / 2
    )
    assert flat(change, ["w"]).shape == (6,)


def subsets(clients):
    return [frozenset(c) for n in range(clients + 1) for c in itertools.combinations(range(clients), n)]


def test_shapley_values_of_games_that_are_known():
    additive = {c: float(sum(2.0**k for k in c)) for c in subsets(4)}
    assert shapley(additive, 4) == pytest.approx([1, 2, 4, 8])
    glove = {c: float(min(len(c & {0, 1}), len(c & {2}))) for c in subsets(3)}
    assert shapley(glove, 3) == pytest.approx([1 / 6, 1 / 6, 2 / 3])
    with pytest.raises(KeyError):
        shapley({frozenset(): 0.0}, 2)


def test_shapley_values_sum_to_the_whole_and_treat_twins_alike():
    generator = torch.Generator().manual_seed(3)
    game = {c: float(torch.rand((), generator=generator)) + len(c) for c in subsets(4)}
    game[frozenset()] = 0.0
    for c in subsets(4):
        if 0 in c and 1 not in c:
            game[(c - {0}) | {1}] = game[c]
    values = shapley(game, 4)
    assert sum(values) == pytest.approx(game[frozenset(range(4))]) and values[0] == pytest.approx(values[1])


def test_rounds_log_what_is_sent_and_average_what_comes_back():
    start = {"w": torch.zeros(2)}
    seen = []

    def local(number, client, state):
        seen.append((number, client))
        state["w"] += client + 1
        return state

    def aggregate(number, now, returned):
        weights = [1 / len(returned)] * len(returned)
        return average(returned, weights), weights

    found, log = rounds(start, 3, range(3), local, aggregate, choose=lambda n: range(2) if n == 1 else range(3))
    assert seen == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    assert torch.allclose(found["w"], torch.full((2,), 2.0 + 1.5 + 2.0)) and torch.equal(start["w"], torch.zeros(2))
    assert log.sent == log.received == 8 * size_in_bytes(start) == 64
    assert len(log.weights) == 3 and log.weights[1] == [0.5, 0.5] and log.client_seconds >= 0
