"""One run of an arm and its evaluation: average precision by attribute and by size of the query's set, pruning, labels."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved
from vislab.engine.outcome import Outcome
from vislab.engine.retrieval import average_precision
from vislab.papers.recognition.fashion_duet.card import Config
from vislab.papers.recognition.fashion_duet.data import ITEMS, batch, collect, items_of, labels, packed, unseen
from vislab.papers.recognition.fashion_duet.model import Duet
from vislab.papers.recognition.fashion_duet.train import begin, train

PREPARE_FIELDS = ("source", "most", "noise", "image_size", "train_items", "validation_items", "test_items")


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """The world's pictures, as bytes, and their labels, which all arms of a seed share; nothing for a real data set."""
    if config.source != "world":
        return {}
    found = {}
    for split, items in ITEMS.items():
        everything = collect(config, split, seed, torch.arange(getattr(config, items)), accelerator.device)
        everything["image"] = packed(everything["image"])
        found |= {f"{split}_{name}": value for name, value in everything.items()}
    return found


@torch.no_grad()
def embed(model: Duet, image: Float[Tensor, "batch 3 h w"], count: int) -> dict[str, Tensor]:
    """{"vector", "logits"} of the attributes and, with the duet, {"chosen", "class_vector"} of the `count` likeliest classes."""
    x = model.features(image)
    found = model.attribute_vectors(x)
    if model.config.two_scales:
        found["vector"] = model.second_look(image, found)
    if model.config.duet:
        found["chosen"] = model.likely(found["logits"], count)
        found["class_vector"], _ = model.class_vectors(x, found["where"], found["chosen"])
    return found


def embedded(
    state: State, config: Config, seed: int, split: str, shared: dict[str, Tensor] | None, count: int
) -> dict[str, Tensor]:
    """`embed` of a whole split, with its labels, on the CPU."""
    model, parts = state.network.eval(), []
    for index in torch.arange(getattr(config, ITEMS[split])).split(config.eval_batch_size):
        items = items_of(config, split, seed, index, shared, state.device)
        found = embed(model, items["image"], count)
        found.pop("where")
        parts.append({n: v.cpu() for n, v in (found | {"held": items["held"], "known": items["known"]}).items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def likelihood(config: Config, found: dict[str, Tensor], count: int) -> Float[Tensor, "items attribute class"]:
    """Weight of every class in a query's score: its probability if it is among the `count` likeliest, else 0; or all alike."""
    probability = found["logits"].sigmoid()
    if config.likely == "all":
        return torch.isfinite(found["logits"]).to(probability.dtype)
    best = found["logits"].topk(min(count, probability.shape[-1]), dim=-1).indices
    return probability * torch.zeros_like(probability).scatter(-1, best, 1.0)


def similarity(
    config: Config,
    query: dict[str, Tensor],
    gallery: dict[str, Tensor],
    attribute: int,
    count: int,
    share: float | None = None,
) -> Float[Tensor, "query gallery"]:
    """Score of every pair in one attribute.

    (1 - s) cos(f_a(q), f_a(g)) + s sum_c p_c(q) cos(f_ac(q), f_ac(g)) / sum_c p_c(q), over the query's likely classes c.
    A class that is not among the gallery item's likely ones has no vector there and adds nothing.
    """
    score = query["vector"][:, attribute] @ gallery["vector"][:, attribute].T
    share = config.class_share if share is None else share
    if not config.duet or share == 0:
        return score
    weight, kept = (likelihood(config, side, count)[:, attribute] for side in (query, gallery))
    total = torch.zeros_like(score)
    for c in range(weight.shape[1]):
        pair = _vectors_of(query, attribute, c) @ _vectors_of(gallery, attribute, c).T
        total += weight[:, c, None] * (kept[:, c] > 0) * pair
    return (1 - share) * score + share * total / weight.sum(dim=1, keepdim=True).clamp(min=1e-6)


def _vectors_of(found: dict[str, Tensor], attribute: int, c: int) -> Float[Tensor, "items embedding"]:
    """The vectors of class c, zero where it was not embedded."""
    mine = (found["chosen"][:, attribute] == c).to(found["class_vector"].dtype)
    return torch.einsum("nk,nke->ne", mine, found["class_vector"][:, attribute])


def precision(
    config: Config, found: dict[str, Tensor], count: int, share: float | None = None
) -> Float[Tensor, "query attribute"]:
    """Average precision in percent of each query in each attribute; NaN where its labels are unknown or nothing is relevant.

    The first items are queries, the others the gallery; relevant is what holds the same set of classes.
    """
    queries = round(config.queries * len(found["held"]))
    query, gallery = ({n: v[part] for n, v in found.items()} for part in (slice(queries), slice(queries, None)))
    columns = []
    for a in range(found["held"].shape[1]):
        there = gallery["known"][:, a]
        side = {n: v[there] for n, v in gallery.items()}
        relevant = (query["held"][:, None, a] == side["held"][None, :, a]).all(dim=-1)
        column = 100 * average_precision(similarity(config, query, side, a, count, share), relevant)
        columns.append(torch.where(query["known"][:, a] & relevant.any(dim=1), column, torch.nan))
    return torch.stack(columns, dim=1)


def evaluate(
    state: State, config: Config, seed: int, split: str = "test", shared: dict[str, Tensor] | None = None
) -> dict[str, float]:
    """Mean average precision, by size of the set of a query, for sets unseen in training, and by pruning; F1 of the labels."""
    most = max(config.classes)
    every = most if config.duet else 0
    found = embedded(state, config, seed, split, shared, every)
    by_query = precision(config, found, config.top_k)
    queries = len(by_query)
    size = found["held"][:queries].sum(dim=-1)
    new = unseen(found["held"][:queries], labels(config, "train", seed)[0])
    metrics = {
        "map": by_query.nanmean(), "map_single": by_query[size == 1].nanmean(), "map_several": by_query[size > 1].nanmean(),
        "map_unseen": by_query[new].nanmean(), "f1_labels": label_f1(config, found),
    }  # fmt: skip
    if config.duet:
        metrics |= {f"map_{k}": precision(config, found, k).nanmean() for k in (1, 2)}
        metrics["map_all"] = precision(config, found, most).nanmean()
    return {name: float(value) for name, value in metrics.items() if torch.isfinite(torch.as_tensor(value))}


def label_f1(config: Config, found: dict[str, Tensor]) -> float:
    """F1 in percent of the multi-label head over all known attributes."""
    said, true = (found["logits"] > 0) & found["known"][..., None], found["held"] & found["known"][..., None]
    return 200 * float((said & true).sum()) / max(1, int(said.sum() + true.sum()))


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps average precision by attribute and by size of the set, and its curve."""
    state = train(config, seed, accelerator, shared)
    metrics = evaluate(state, config, seed, shared=shared)
    return Outcome(metrics, artifacts(state, config, seed, shared) if seed == 0 else {})


def artifacts(
    state: State, config: Config, seed: int, shared: dict[str, Tensor] | None, points: int = 40
) -> dict[str, Tensor]:
    """Mean average precision by attribute and by size of the query's set, and the loss over steps."""
    found = embedded(state, config, seed, "test", shared, max(config.classes))
    by_query = precision(config, found, config.top_k)
    size = found["held"][: len(by_query)].sum(dim=-1)
    by_size = torch.stack([by_query[size == s].nanmean() for s in range(1, config.most + 1)])
    curve = torch.tensor([h["loss"] for h in state.history])
    width = max(1, len(curve) // points)
    curve = curve[: len(curve) // width * width].reshape(-1, width).mean(dim=1)
    return {"by_attribute": by_query.nanmean(dim=0).float(), "by_size": by_size.float(), "curve": curve}


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Time to embed a batch with vectors of the likely classes over that with all class vectors, in turns within one process."""
    model = begin(config, 0, accelerator).network.eval()
    image = batch(config, "train", 0, torch.arange(min(32, config.batch_size)), accelerator.device)["image"]
    sides = {"likely": config.top_k, "all": max(config.classes)}
    times = interleaved({name: lambda k=count: embed(model, image, k) for name, count in sides.items()}, repeats=15)
    return Outcome(compared("seconds_ratio", times["likely"], times["all"]))
