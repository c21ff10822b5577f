"""Retrieval by similarity: average precision and recall of ranked galleries, vectorised over queries."""

from jaxtyping import Bool, Float
from torch import Tensor


def average_precision(
    similarity: Float[Tensor, "query gallery"], relevant: Bool[Tensor, "query gallery"]
) -> Float[Tensor, " query"]:
    """Mean of the precision at each relevant item of the ranking, in [0, 1]; NaN for a query without any.

    Equal similarities count against the query: relevant items stand behind irrelevant ones.
    """
    worst_first = relevant.double().argsort(dim=1, stable=True)
    order = similarity.gather(1, worst_first).argsort(dim=1, descending=True, stable=True)
    hits = relevant.gather(1, worst_first).gather(1, order).double()
    places = hits.new_ones(hits.shape).cumsum(dim=1)
    return (hits * hits.cumsum(dim=1) / places).sum(dim=1) / hits.sum(dim=1)


def recall_at(
    similarity: Float[Tensor, "query gallery"], relevant: Bool[Tensor, "query gallery"], count: int
) -> Float[Tensor, " query"]:
    """1 where one of the `count` most similar items is relevant, else 0."""
    best = similarity.topk(min(count, similarity.shape[1]), dim=1).indices
    return relevant.gather(1, best).any(dim=1).double()
