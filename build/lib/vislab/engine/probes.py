"""What frozen features know: linear, nearest-neighbour, low-shot and regression probes, the same for every arm."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)


def standardised(
    train: Float[Tensor, "train width"], *others: Float[Tensor, "items width"]
) -> tuple[Float[Tensor, "items width"], ...]:
    """All sets with the training set's mean and standard deviation taken off; a constant feature becomes zero."""
    mean, std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
    return tuple((x - mean) / std for x in (train, *others))


def logistic(
    features: Float[Tensor, "items width"], labels: Int[Tensor, " items"], classes: int, penalty: float, steps: int = 60
) -> Float[Tensor, "width_plus_one classes"]:
    """Weights (the last row is the bias) of a multinomial logistic regression with `penalty` |w|^2 / 2, by L-BFGS."""
    inputs = F.pad(features, (0, 1), value=1.0)
    weights = torch.zeros(inputs.shape[1], classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=steps, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(inputs @ weights, labels) + penalty / 2 * (weights[:-1] ** 2).sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weights.detach()


def predicted(features: Float[Tensor, "items width"], weights: Tensor) -> Float[Tensor, "items outputs"]:
    """Outputs of a linear model whose last row is the bias."""
    return F.pad(features, (0, 1), value=1.0) @ weights


def linear_probe(
    train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int
) -> float:
    """Accuracy in percent on `test` of the logistic regression whose penalty is best on `validation`; sets are (features, labels)."""
    a, b, c = standardised(train[0], validation[0], test[0])

    def score(x: Tensor, y: Tensor, weights: Tensor) -> float:
        return 100 * float((predicted(x, weights).argmax(dim=1) == y).float().mean())

    fits = [logistic(a, train[1], classes, penalty) for penalty in PENALTIES]
    best = max(fits, key=lambda weights: score(b, validation[1], weights))
    return score(c, test[1], best)


def nearest(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, neighbours: int = 20) -> float:
    """Accuracy in percent of a vote of the nearest neighbours by cosine, weighted by exp(cosine / 0.07)."""
    a, c = (F.normalize(x, dim=1) for x in standardised(train[0], test[0]))
    likeness, place = (c @ a.T).topk(min(neighbours, len(a)), dim=1)
    votes = torch.zeros(len(c), classes, device=c.device)
    votes.scatter_add_(1, train[1][place], (likeness / 0.07).exp())
    return 100 * float((votes.argmax(dim=1) == test[1]).float().mean())


def few(labels: Int[Tensor, " items"], shots: int) -> Int[Tensor, " chosen"]:
    """Places of the first `shots` items of every class."""
    order = torch.argsort(labels, stable=True)
    ordered = labels[order]
    start = torch.searchsorted(ordered, ordered)  # where each item's class begins
    rank = torch.arange(len(labels), device=labels.device) - start
    return order[rank < shots]


def regression_probe(
    train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> float:
    """Explained share of variance (R2) on `test` of a ridge regression whose penalty is best on `validation`."""
    a, b, c = standardised(train[0], validation[0], test[0])
    inputs, mean = F.pad(a, (0, 1), value=1.0).double(), train[1].double().mean()

    def r2(x: Tensor, y: Tensor, weights: Tensor) -> float:
        left = y.double() - predicted(x.double(), weights)[:, 0] - mean
        return float(1 - (left**2).sum() / ((y.double() - y.double().mean()) ** 2).sum())

    gram, target = inputs.T @ inputs, inputs.T @ (train[1].double() - mean)[:, None]
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    fits = [torch.linalg.solve(gram + penalty * len(a) * eye, target) for penalty in PENALTIES]
    best = max(fits, key=lambda weights: r2(b, validation[1], weights))
    return r2(c, test[1], best)
