"""Bounds against sampling, against each other, and against the exact maximum of a tiny network by mixed-integer programming."""

import numpy as np
import pytest
import torch
from torch import nn

from vislab.nn.bounds import backward, differences, folded, interval, intervals, tightened, upper_bounds
from vislab.ops import counter

METHODS = ("ibp", "forward", "crown_ibp", "crown")


def network(seed=0):
    with counter.scope(seed, "init", "bounds"):
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 3, padding=1),
            nn.ReLU(), nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 4),
        )  # fmt: skip
        with torch.no_grad():
            model[1].running_mean.normal_()
            model[1].running_var.uniform_(0.5, 2)
            model[1].weight.uniform_(0.5, 2)
    return model.eval()


def points(count, seed=0):
    return counter.uniform(seed, "evaluate", torch.arange(count), "points", (2, 8, 8))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("eps", [0.01, 0.1, 0.5])
def test_no_sample_exceeds_its_bound_and_corners_neither(method, eps):
    model = network()
    x = points(3)
    lower, upper = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    matrix = differences(torch.tensor([0, 1, 3]), 4)
    with torch.no_grad():
        bound = upper_bounds(folded(model), (lower, upper), matrix, method)
        share = torch.cat([points(2000, 1), points(2000, 2).round()])
        for k in range(3):
            values = model(torch.lerp(lower[k], upper[k], share)) @ matrix[k].T
            assert (values <= bound[k] + 1e-5).all()


def test_tighter_methods_are_not_looser():
    layers, x = folded(network()), points(4)
    box = ((x - 0.05).clamp(0, 1), (x + 0.05).clamp(0, 1))
    matrix = differences(torch.tensor([0, 1, 2, 3]), 4)
    with torch.no_grad():
        ibp, forward, crown_ibp, crown = (upper_bounds(layers, box, matrix, m) for m in METHODS)
    for bound in (forward, crown_ibp, crown):
        assert (bound <= ibp + 1e-5).all()
    assert crown.mean() < crown_ibp.mean() < ibp.mean() and forward.mean() < ibp.mean()


@pytest.mark.parametrize("method", METHODS)
def test_a_point_is_bounded_by_its_value(method):
    model, x = network(), points(2)
    matrix = differences(torch.tensor([2, 0]), 4)
    with torch.no_grad():
        bound = upper_bounds(folded(model), (x, x), matrix, method)
        value = torch.einsum("bro,bo->br", matrix, model(x))
    assert torch.allclose(bound, value, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_smaller_box_has_no_larger_bound(method):
    layers, x = folded(network()), points(3)
    matrix = differences(torch.tensor([0, 1, 2]), 4)
    frozen = torch.zeros(2, 8, 8)
    frozen[:, :4] = 1
    wide = ((x - 0.1).clamp(0, 1), (x + 0.1).clamp(0, 1))
    narrow = (torch.where(frozen > 0, x, wide[0]), torch.where(frozen > 0, x, wide[1]))
    with torch.no_grad():
        assert (upper_bounds(layers, narrow, matrix, method) <= upper_bounds(layers, wide, matrix, method) + 1e-5).all()


def test_folding_changes_no_output():
    model, x = network(), points(5)
    with torch.no_grad():
        y = x
        for layer in folded(model):
            y = layer(y)
        assert torch.allclose(y, model(x), atol=1e-5)
    with pytest.raises(TypeError, match="Sigmoid"):
        folded(nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()))


def test_average_pooling_is_bounded_by_the_averages_of_the_bounds():
    lower, upper = points(2), points(2) + 0.3
    pool = nn.AvgPool2d(2)
    found = interval(pool, (lower, upper))
    assert torch.allclose(found[0], pool(lower), atol=1e-6) and torch.allclose(found[1], pool(upper), atol=1e-6)


def test_without_relu_substitution_is_exact():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, 2))
    x = points(1)
    box = (x - 0.2, x + 0.2)
    with torch.no_grad():
        rows = torch.tensor([[[1.0, -1.0]]])
        found = backward(list(model), intervals(list(model), box)[:-1], rows)
        weight = torch.autograd.functional.jacobian(lambda v: (model(v) @ rows[0, 0]).sum(), x)
        exact = model(x) @ rows[0, 0] + 0.2 * weight.abs().sum()
    assert float(found) == pytest.approx(float(exact), rel=1e-4)


def test_intervals_of_hidden_layers_only_shrink():
    layers, x = folded(network()), points(2)
    box = (x - 0.1, x + 0.1)
    with torch.no_grad():
        for (a, b), (c, d) in zip(intervals(layers, box), tightened(layers, box), strict=True):
            assert (c >= a - 1e-5).all() and (d <= b + 1e-5).all()


def exact_maximum(weights, lower, upper, row):
    """Maximum of row @ network(x) over a box by mixed-integer programming (one binary a ReLU)."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    (w1, b1), (w2, b2) = weights
    inputs, hidden = w1.shape[1], w1.shape[0]
    middle, spread = w1 @ (lower + upper) / 2 + b1, np.abs(w1) @ (upper - lower) / 2
    low, high = middle - spread, middle + spread
    # variables: x, z = relu(w1 x + b1), one binary a unit
    eye, zero = np.eye(hidden), np.zeros((hidden, hidden))
    rows = [
        (np.hstack([-w1, eye, zero]), b1, np.inf),  # z >= a
        (np.hstack([-w1, eye, np.diag(-low)]), -np.inf, b1 - low),  # z <= a - low (1 - s)
        (np.hstack([np.zeros_like(w1), eye, np.diag(-high)]), -np.inf, 0),  # z <= high s
    ]
    constraints = [LinearConstraint(matrix, least, most) for matrix, least, most in rows]
    cost = -np.concatenate([np.zeros(inputs), row @ w2, np.zeros(hidden)])
    bounds = Bounds(
        np.concatenate([lower, np.zeros(2 * hidden)]), np.concatenate([upper, np.maximum(high, 0), np.ones(hidden)])
    )
    integers = np.concatenate([np.zeros(inputs + hidden), np.ones(hidden)])
    low_high = milp(cost, constraints=constraints, bounds=bounds, integrality=integers)
    return -low_high.fun + row @ b2


@pytest.mark.parametrize("seed", range(6))
def test_every_bound_lies_above_the_exact_maximum_and_crown_closest(seed):
    with counter.scope(seed, "init", "tiny"):
        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    x = counter.uniform(seed, "evaluate", torch.arange(1), "x", (4,)).double()
    box = (x - 0.4, x + 0.4)
    matrix = differences(torch.tensor([0]), 3).double()
    weights = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in (model[0], model[2])]
    lower, upper = (v[0].numpy() for v in box)
    exact = [exact_maximum(weights, lower, upper, row) for row in matrix[0].numpy()]
    dense = counter.uniform(seed, "evaluate", torch.arange(20000), "dense", (4,)).double()
    with torch.no_grad():
        seen = (model(torch.lerp(box[0], box[1], dense)) @ matrix[0].T).amax(dim=0)
        found = {m: upper_bounds(folded(model), box, matrix, m)[0] for m in METHODS}
    assert (seen.numpy() <= np.array(exact) + 1e-6).all()
    for method, bound in found.items():
        assert (bound.numpy() >= np.array(exact) - 1e-6).all(), method
    assert found["crown"].sum() <= found["ibp"].sum() + 1e-9
