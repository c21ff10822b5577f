"""Which labels are clean: optimal transport onto class barycentres, and the criteria that it is compared with."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from vislab.ops import counter
from vislab.papers.recognition.ot_filter.card import Config

TOLERANCE = 1e-2
"""Change of the support, and of its weights, below which a barycentre is found."""
STEPS = 100
FLOOR = 1e-6


def plan(
    rows: Float[Tensor, " rows"],
    columns: Float[Tensor, " columns"],
    cost: Float[Tensor, "rows columns"],
    entropy: float,
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, " rows"]]:
    """The entropic plan with these marginals, and the scaling of its rows (Sinkhorn, by POT)."""
    import ot

    found, log = ot.sinkhorn(rows, columns, cost, reg=entropy, log=True, warn=False)
    return found, log["u"]


def barycentre(
    points: Float[Tensor, "items width"], start: Float[Tensor, "count width"], entropy: float
) -> Float[Tensor, "count width"]:
    """Free-support Wasserstein barycentre under Euclidean cost, from `start` on: weights by mirror ascent, then half a step of support.

    With one point its limit is the mean of `points`.
    """
    count, support, turn = len(start), start, 1.1
    even = points.new_full((len(points),), 1 / len(points))
    for _ in range(STEPS):
        weight = points.new_full((count,), 1 / count)
        transport = even[None]
        if count > 1:
            cost = torch.cdist(support, points)
            weight, turn = support_weights(cost, even, entropy, turn)
            transport, _ = plan(weight, even, cost, entropy)
        moved = 0.5 * support + 0.5 * (transport @ points) / weight[:, None]
        close = (moved - support).norm() <= TOLERANCE
        support = moved
        if close:
            break
    return support


def support_weights(
    cost: Float[Tensor, "count items"], even: Float[Tensor, " items"], entropy: float, turn: float
) -> tuple[Float[Tensor, " count"], float]:
    """Weights of the support by accelerated mirror ascent on the row scaling of the plan, and the ascent's running step count."""
    weight = ascent = cost.new_full((len(cost),), 1 / len(cost))
    for _ in range(STEPS):
        beta = (turn + 1) / 2
        _, scaling = plan((1 - 1 / beta) * weight + ascent / beta, even, cost, entropy)
        risen = ascent * (-beta * scaling).exp()
        if risen.isinf().sum() == 1:
            ascent = risen.isinf().to(risen)
        elif (risen == 0).all():
            ascent = torch.full_like(risen, 1 / len(risen))
        else:
            ascent = risen / risen.sum()
        before, weight = weight, (1 - 1 / beta) * weight + ascent / beta
        turn += 1
        if (weight - before).norm() <= TOLERANCE:
            break
    return weight, turn


def grouped_plan(
    cost: Float[Tensor, "rows items"],
    group: Int[Tensor, " rows"],
    classes: int,
    entropy: float,
    steps: int = 5,
    power: float = 0.5,
    weight: float = 1.0,
) -> Float[Tensor, "rows items"]:
    """The plan with even marginals under a concave penalty of each item's mass in a class, by majorisation.

    Every step but the first adds the penalty's slope at the last plan to the cost; with one step there is no penalty.
    """
    rows = cost.new_full((len(cost),), 1 / len(cost))
    items = cost.new_full((cost.shape[1],), 1 / cost.shape[1])
    member = F.one_hot(group, classes).to(cost)
    slope, found = torch.zeros_like(cost), cost
    for _ in range(steps):
        found, _ = plan(rows, items, cost + slope, entropy)
        slope = weight * power * (member @ (member.T @ found) + FLOOR) ** (power - 1)
    return found


def propagated(
    transport: Float[Tensor, "rows items"], group: Int[Tensor, " rows"], classes: int
) -> tuple[Float[Tensor, " items"], Int[Tensor, " items"]]:
    """Each item's largest mass in a class, and that class."""
    mass = F.one_hot(group, classes).to(transport).T @ transport
    best = mass.max(dim=0)
    return best.values, best.indices


def centres(
    features: Float[Tensor, "items width"],
    labels: Int[Tensor, " items"],
    trusted: Bool[Tensor, " items"],
    config: Config,
    seed: int,
    before: Sequence[Tensor] = (),
) -> list[Float[Tensor, "count width"]]:
    """The barycentres of each class from its trusted items; a class that has none keeps those of `before`, or takes the mean of all."""
    found = []
    for c in range(config.classes):
        mine = features[trusted & (labels == c)]
        if len(mine) == 0:
            found.append(before[c] if before else features.mean(dim=0).expand(config.barycentres, -1))
            continue
        draw = counter.integers(seed, "noise", torch.tensor([c]), "barycentre", len(mine), (config.barycentres,))[0]
        found.append(barycentre(mine, mine[draw.to(mine.device)], config.regularisation))
    return found


def assigned(
    features: Float[Tensor, "items width"], labels: Int[Tensor, " items"], config: Config, seed: int = 0
) -> Int[Tensor, " items"]:
    """The class of every item by transport or by the nearest barycentre, after `rounds` rounds.

    The first round takes barycentres of all labels, each later one those of the labels that the round before agreed with.
    """
    features = features.double()
    trusted, means, found = torch.ones_like(labels, dtype=torch.bool), [], labels
    group = torch.arange(config.classes, device=labels.device).repeat_interleave(config.barycentres)
    for _ in range(config.rounds):
        means = centres(features, labels, trusted, config, seed, means)
        cost = torch.cdist(torch.cat(means), features)
        if config.criterion == "nearest":
            found = group[cost.argmin(dim=0)]
        else:
            transport = grouped_plan(
                cost, group, config.classes, config.regularisation, config.group_steps, weight=config.weight_group
            )
            found = propagated(transport, group, config.classes)[1]
        trusted = found == labels
    return found


def small_losses(losses: Float[Tensor, " items"]) -> Bool[Tensor, " items"]:
    """Items that more likely belong to the lower part of a mixture of two Gaussians on the losses (Li et al. 2020)."""
    from sklearn.mixture import GaussianMixture

    scaled = ((losses - losses.min()) / (losses.max() - losses.min()).clamp(min=1e-8)).cpu().double().numpy()[:, None]
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(scaled)
    lower = mixture.predict_proba(scaled)[:, mixture.means_.argmin()]
    return torch.from_numpy(lower > 0.5).to(losses.device)


def agreeing_neighbours(
    features: Float[Tensor, "items width"], labels: Int[Tensor, " items"], classes: int, count: int
) -> Bool[Tensor, " items"]:
    """Items whose label is the commonest among the `count` nearest by cosine, themselves left out (as in SSR, Feng et al. 2022)."""
    unit = F.normalize(features.float(), dim=1)
    votes = []
    for part in torch.arange(len(unit), device=unit.device).split(1000):
        near = unit[part] @ unit.T
        near[torch.arange(len(part), device=unit.device), part] = -torch.inf
        found = labels[near.topk(min(count, len(unit) - 1), dim=1).indices]
        votes.append(F.one_hot(found, classes).sum(dim=1).argmax(dim=1))
    return torch.cat(votes) == labels


def selected(
    features: Float[Tensor, "items width"],
    losses: Float[Tensor, " items"],
    labels: Int[Tensor, " items"],
    config: Config,
    seed: int = 0,
) -> Bool[Tensor, " items"]:
    """The items whose label the config's criterion trusts; sees features, losses and given labels, never true ones or a noise rate."""
    if config.criterion == "all":
        return torch.ones_like(labels, dtype=torch.bool)
    if config.criterion == "loss":
        return small_losses(losses)
    if config.criterion == "neighbours":
        return agreeing_neighbours(features, labels, config.classes, config.neighbours)
    return assigned(features, labels, config, seed) == labels
