"""Probes of frozen features."""

import torch

from vislab.engine import probes
from vislab.ops import counter


def cloud(count, draw, classes=3, width=6, gap=4.0):
    index = torch.arange(count)
    label = index % classes
    centre = gap * counter.normal(0, "noise", torch.arange(classes), "centres", (width,))
    return centre[label] + counter.normal(0, "noise", index, draw, (width,)), label


def test_linear_probe_finds_what_is_linear_and_nothing_in_noise():
    train, validation, test = cloud(300, "a"), cloud(150, "b"), cloud(150, "c")
    assert probes.linear_probe(train, validation, test, 3) > 97
    noise = [
        (counter.normal(0, "noise", torch.arange(len(y)), f"n{k}", (6,)), y)
        for k, (_, y) in enumerate((train, validation, test))
    ]
    assert probes.linear_probe(*noise, 3) < 50


def test_logistic_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    x, y = cloud(200, "a", gap=1.0)
    weights = probes.logistic(x, y, 3, 0.01)
    theirs = LogisticRegression(C=1 / (0.01 * len(x)), max_iter=2000, tol=1e-8).fit(x.numpy(), y.numpy())
    mine = probes.predicted(x, weights).softmax(1)
    assert abs(mine.numpy() - theirs.predict_proba(x.numpy())).max() < 2e-2


def test_nearest_and_few():
    train, test = cloud(300, "a"), cloud(150, "c")
    assert probes.nearest(train, test, 3) > 97
    chosen = probes.few(train[1], 5)
    assert torch.bincount(train[1][chosen]).tolist() == [5, 5, 5]
    assert probes.few(torch.tensor([2, 0, 2, 2, 0]), 2).tolist() == [1, 4, 0, 2]


def test_regression_recovers_a_linear_truth():
    def pair(count, draw):
        x = counter.normal(0, "noise", torch.arange(count), draw, (5,))
        return x, x @ torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0]) + 7

    assert probes.regression_probe(pair(200, "a"), pair(100, "b"), pair(100, "c")) > 0.999
    x, y = pair(200, "a")
    assert probes.regression_probe((x, y), (x, y), (x, y[torch.arange(199, -1, -1)])) < 0.5


def test_a_constant_feature_does_no_harm():
    train, validation, test = (
        (torch.cat([x, torch.ones(len(x), 1)], dim=1), y)
        for x, y in (cloud(300, "a"), cloud(150, "b"), cloud(150, "c"))
    )
    assert probes.linear_probe(train, validation, test, 3) > 97
