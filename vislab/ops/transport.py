"""Optimal transport through POT: entropic plans, barycentres with free support, distances of Gaussians."""

from jaxtyping import Float
from torch import Tensor


def sinkhorn(
    source: Float[Tensor, " rows"],
    target: Float[Tensor, " columns"],
    cost: Float[Tensor, "rows columns"],
    entropy: float,
    steps: int = 1000,
) -> Float[Tensor, "rows columns"]:
    """The plan that moves `source` to `target` (each of sum one) at the least cost plus `entropy` times the plan's negative entropy.

    In the logarithmic domain, so that small `entropy` is safe.
    """
    import ot

    return ot.sinkhorn(source, target, cost, reg=entropy, method="sinkhorn_log", numItermax=steps, warn=False)


def exact(
    source: Float[Tensor, " rows"], target: Float[Tensor, " columns"], cost: Float[Tensor, "rows columns"]
) -> Float[Tensor, "rows columns"]:
    """The plan of least cost, by linear programming."""
    import ot

    return ot.emd(source, target, cost)


def barycentre(
    points: Float[Tensor, "items width"],
    count: int,
    start: Float[Tensor, "count width"],
    steps: int = 100,
) -> Float[Tensor, "count width"]:
    """`count` points of equal weight whose distribution is nearest to that of `points` in squared Wasserstein distance.

    With one point it is their mean.
    """
    import ot

    even = points.new_full((len(points),), 1 / len(points))
    return ot.lp.free_support_barycenter(
        [points], [even], start, b=points.new_full((count,), 1 / count), numItermax=steps
    )


def gaussian_distance(
    mean_a: Float[Tensor, "*batch width"],
    var_a: Float[Tensor, "*batch width"],
    mean_b: Float[Tensor, "*batch width"],
    var_b: Float[Tensor, "*batch width"],
) -> Float[Tensor, "*batch"]:
    """Squared Wasserstein distance of Gaussians with diagonal covariance."""
    return ((mean_a - mean_b) ** 2 + (var_a.sqrt() - var_b.sqrt()) ** 2).sum(dim=-1)
